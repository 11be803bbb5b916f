"""A plan with names: what every vehicle draws, what rows are worth, and why somebody falls short.

Invariant: `cost` and `bound` are the core's; what a sentence says follows from the prices that
prove them."""

from __future__ import annotations

import math
from enum import IntEnum
from typing import Final, TypeVar

import msgspec
import numpy as np
from numpy.typing import NDArray

from controlplane import _core
from controlplane.errors import InvalidInput
from controlplane.planning.arrays import KINDS, Arrays, arrays_of, refuse
from controlplane.planning.problem import Horizon

__all__ = ["Plan", "Shortfall", "ShortfallReason", "solve"]

_Value = TypeVar("_Value", bound=np.generic)
_LINES = ("phase L1", "phase L2", "phase L3")
_EFFORTS: Final = {"gap": math.inf, "steps": 2**32 - 1, "timeout_s": math.inf, "threads": 256}
"""The most of each that a search can be given; the least is 0, and one thread."""


class ShortfallReason(IntEnum):
    """Why a vehicle leaves with less than it needs; the values of `_core.Plan.reason`."""

    STAY = 1
    """Full power all the time would not do."""
    ROW = 2
    """A row has no more room at a price worth paying."""
    PRICE = 3
    """What is missing would cost more than it is worth."""


class Shortfall(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What one vehicle will lack on departure."""

    vehicle: str
    missing_wh: int
    reason: ShortfallReason
    words: str
    """A sentence for operators."""


class Plan:
    """A plan for a horizon.

    Attributes:
        current_ma: of each vehicle, by slot, on each of its lines, on average over the slot; below
            0 where it feeds in.
        cost: in the currency, without what nobody can change: the building's energy, and energy
            that no power could bring in the time.
        bound: what every plan costs at least.
        shortfalls: who leaves with less than it needs.
    """

    def __init__(self, horizon: Horizon, core: _core.Plan) -> None:
        self.horizon = horizon
        self.core = core
        self.cost = core.cost
        self.bound = core.bound
        names = [vehicle.id for vehicle in horizon.vehicles]
        self.current_ma = dict(zip(names, core.current_ma, strict=True))
        self.shortfalls = tuple(
            self._shortfall(index) for index in np.flatnonzero(core.reason).tolist()
        )

    @property
    def gap(self) -> float:
        """No plan is cheaper by more than this part of the cost."""
        return (self.cost - self.bound) / abs(self.cost) if self.cost else 0.0

    def row_price(self, node: str, line: int) -> NDArray[np.float64]:
        """What one more ampere on a line (1 to 3) of a node would be worth in each slot, or with
        line 0 one more kilowatt on all lines together, in the currency."""
        index = [each.id for each in self.horizon.nodes].index(node)
        kind = KINDS - 1 if line == 0 else line - 1
        prices = self.core.import_price.reshape(-1, KINDS, self.horizon.slots)
        return np.asarray(prices[index, kind])

    def _shortfall(self, index: int) -> Shortfall:
        vehicle = self.horizon.vehicles[index]
        missing_wh = int(self.core.shortfall_wh[index])
        reason = ShortfallReason(int(self.core.reason[index]))
        match reason:
            case ShortfallReason.STAY:
                why = "its stay is too short even at full power"
            case ShortfallReason.ROW:
                node, line = divmod(int(self.core.short_row[index]), KINDS)
                named = self.horizon.nodes[node]
                row = _LINES[line] if line < KINDS - 1 else "in total power"
                why = f"{named.kind} {named.id}".lstrip() + f" is full {row}"
            case ShortfallReason.PRICE:
                why = "more would cost more than it is worth"
        words = f"{vehicle.id} will leave {missing_wh / 1_000:.1f} kWh short: {why}"
        return Shortfall(vehicle=vehicle.id, missing_wh=missing_wh, reason=reason, words=words)


def solve(
    horizon: Horizon,
    *,
    last: Plan | None = None,
    slots_since: int = 0,
    gap: float = 1e-3,
    steps: int = 20_000,
    timeout_s: float | None = None,
    threads: int = 1,
) -> Plan:
    """The cheapest plan up to `gap`, as a part of its cost.

    Args:
        last: an earlier plan of much the same horizon, where the search begins; nodes, meters and
            vehicles are recognised by their names.
        slots_since: how many slots later this horizon begins than that of `last`.
        gap: the proof that is enough, 0 and up.
        steps: return the best plan found after so many, and its gap.
        timeout_s: return the best plan found by then, and its gap.
        threads: the plan does not depend on it.

    Raises:
        InvalidInput: the horizon contradicts itself, or one of these cannot be; the message names
            it.
    """
    _check_effort(gap=gap, steps=steps, timeout_s=timeout_s, threads=threads)
    arrays = arrays_of(horizon)
    start = None if last is None else _start(arrays, last, slots_since)
    try:
        found = _core.plan(
            arrays.problem, start=start, gap=gap, steps=steps, timeout_s=timeout_s, threads=threads
        )
    except _core.NetworkError as error:
        refuse(horizon, error)
    return Plan(horizon, found)


def _check_effort(**given: float | None) -> None:
    """Refuse efforts that would be none, or endless: no comparison is true of what is no number."""
    for name, most in _EFFORTS.items():
        value = given[name]
        if value is not None and not (name == "threads") <= value <= most:
            words = f"{name} is {value}, must be {int(name == 'threads')} to {most:g}"
            raise InvalidInput(words, reason="PLAN_INVALID")


def _start(arrays: Arrays, last: Plan, slots_since: int) -> _core.PlanStart:
    """The last plan moved to the slots and names of now; what was not there begins at nothing.

    The balance of the last search is not taken over: easy plans move it without need, and in a
    chain of them, a quiet night, it would go so far that the next hard plan is not found."""
    new, old, slots = arrays.horizon, last.horizon, arrays.horizon.slots

    def moved(
        values: NDArray[_Value], kinds: int, names: list[str], known: list[str]
    ) -> NDArray[_Value]:
        place = {name: position for position, name in enumerate(known)}
        result = np.zeros((len(names), kinds, slots), values.dtype)
        by_name = values.reshape(len(known), kinds, old.slots)[:, :, max(0, slots_since) :][
            ..., :slots
        ]
        for position, name in enumerate(names):
            if name in place:
                result[position, :, : by_name.shape[2]] = by_name[place[name]]
        return result.ravel()

    core = last.core
    vehicles = [each.id for each in new.vehicles], [each.id for each in old.vehicles]
    nodes = [each.id for each in new.nodes], [each.id for each in old.nodes]
    meters = [each.id for each in new.meters], [each.id for each in old.meters]
    demands = _charges(new), _charges(old)
    return _core.PlanStart(
        current_ma=moved(core.current_ma, 1, *vehicles),
        import_price=moved(core.import_price, KINDS, *nodes),
        export_price=moved(core.export_price, KINDS, *nodes) if core.export_price.size else None,
        energy_price=moved(core.energy_price, 1, *meters),
        demand_price=moved(core.demand_price, 1, *demands),
        taper_price=moved(core.taper_price, 1, *vehicles) if core.taper_price.size else None,
    )


def _charges(horizon: Horizon) -> list[str]:
    """A name for every demand charge."""
    return [f"{meter.id} {at}" for meter in horizon.meters for at, _ in enumerate(meter.demand)]
