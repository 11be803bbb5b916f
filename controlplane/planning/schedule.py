"""What an actor asks of a planner, and what it is given: plain data that may cross between hosts.

Invariant: a schedule says the same as the plan it was made of; nothing here decides anything."""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from functools import cached_property

import msgspec
import numpy as np
from numpy.typing import NDArray

from controlplane.planning.answer import Plan, Shortfall, solve
from controlplane.planning.arrays import KINDS
from controlplane.planning.problem import Horizon
from controlplane.units import MS_PER_S

__all__ = ["Desk", "PlanQuestion", "RowPrice", "Schedule"]

_KEPT_MAX = 512
"""How many plans a desk remembers to begin the next one from; who was not there for longest is
forgotten first, and costs a search from nothing."""

_WORTH_MIN = 1e-6
"""Rows that are worth less, in the currency, are not full."""


class PlanQuestion(msgspec.Struct, frozen=True, kw_only=True):
    """A horizon, and when it begins."""

    horizon: Horizon
    start_ms: int
    gap: float = 1e-3
    """The proof that is enough, as a part of the cost."""
    steps: int = 1_000
    """After so many the search ends with what it has found: it bounds the time by what is done and
    not by a clock, so that simulations repeat."""


class RowPrice(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A row that is full in some slot."""

    node: str
    kind: str
    """What people call the node."""
    line: int
    """1 to 3; 0: the power on all lines."""
    price: tuple[float, ...]
    """By slot, what one more ampere, or kilowatt, would be worth."""


class Schedule(msgspec.Struct, frozen=True, kw_only=True, dict=True):
    """What every vehicle is to draw, and what proves that it is the cheapest."""

    start_ms: int
    slot_s: int
    slots: int
    vehicles: tuple[str, ...]
    current: bytes
    """`current_ma` as 32-bit integers, little end first, vehicle by vehicle."""
    cost: float
    bound: float
    shortfalls: tuple[Shortfall, ...] = ()
    rows: tuple[RowPrice, ...] = ()
    export_rows: tuple[RowPrice, ...] = ()
    """Rows that carry no more of what is fed in."""
    demand_price: dict[str, tuple[float, ...]] = {}
    """By meter and slot, what one more kilowatt adds to all its demand charges; meters without a
    charge, or without a peak, are left out."""

    @classmethod
    def of(cls, plan: Plan, start_ms: int) -> Schedule:
        """The plan as data."""
        horizon = plan.horizon
        return cls(
            start_ms=start_ms,
            slot_s=horizon.slot_s,
            slots=horizon.slots,
            vehicles=tuple(vehicle.id for vehicle in horizon.vehicles),
            current=plan.core.current_ma.astype("<i4").tobytes(),
            cost=plan.cost,
            bound=plan.bound,
            shortfalls=plan.shortfalls,
            rows=tuple(_full_rows(plan, plan.core.import_price)),
            export_rows=tuple(_full_rows(plan, plan.core.export_price)),
            demand_price=_demand_prices(plan),
        )

    @property
    def slot_ms(self) -> int:
        return self.slot_s * MS_PER_S

    @property
    def end_ms(self) -> int:
        return self.start_ms + self.slots * self.slot_ms

    @property
    def gap(self) -> float:
        """No plan is cheaper by more than this part of the cost."""
        return (self.cost - self.bound) / abs(self.cost) if self.cost else 0.0

    @cached_property
    def current_ma(self) -> NDArray[np.int32]:
        """Shape (vehicles, slots): on each line, on average over the slot; below 0: fed in."""
        return np.frombuffer(self.current, "<i4").reshape(len(self.vehicles), self.slots)

    @cached_property
    def index(self) -> dict[str, int]:
        """The place of each vehicle."""
        return {name: place for place, name in enumerate(self.vehicles)}

    def slot(self, at_ms: int) -> int | None:
        """The slot of an instant; None outside of the schedule."""
        slot = (at_ms - self.start_ms) // self.slot_ms
        return slot if 0 <= slot < self.slots else None


class Desk:
    """Where questions are answered: it remembers the last plan of everybody who asks, where the
    search for the next one begins."""

    def __init__(self) -> None:
        self._last: dict[Hashable, tuple[int, Plan]] = {}

    def answer(
        self, asker: Hashable, question: PlanQuestion, *, timeout_s: float | None = None
    ) -> Schedule:
        """The plan for `question`.

        Args:
            asker: whose last plan is the beginning.
            timeout_s: give the best plan found by then.

        Raises:
            InvalidInput: the horizon contradicts itself.
        """
        start_ms, last = self._last.pop(asker, (question.start_ms, None))
        slot_ms = question.horizon.slot_s * MS_PER_S
        slots_since, rest_ms = divmod(question.start_ms - start_ms, slot_ms)
        if last is not None and (
            rest_ms
            or last.horizon.slot_s != question.horizon.slot_s
            or not 0 <= slots_since < last.horizon.slots
        ):
            last, slots_since = None, 0
        plan = solve(
            question.horizon,
            last=last,
            slots_since=slots_since,
            gap=question.gap,
            steps=question.steps,
            timeout_s=timeout_s,
        )
        while len(self._last) >= _KEPT_MAX:
            del self._last[next(iter(self._last))]
        self._last[asker] = (question.start_ms, plan)
        return Schedule.of(plan, question.start_ms)


def _full_rows(plan: Plan, row_prices: NDArray[np.float64]) -> Iterator[RowPrice]:
    prices = row_prices.reshape(-1, KINDS, plan.horizon.slots)
    for node, kind in np.argwhere(prices.max(axis=2, initial=0.0) > _WORTH_MIN).tolist():
        named = plan.horizon.nodes[node]
        price = tuple(float(each) for each in prices[node, kind])
        line = 0 if kind == KINDS - 1 else kind + 1
        yield RowPrice(node=named.id, kind=named.kind, line=line, price=price)


def _demand_prices(plan: Plan) -> dict[str, tuple[float, ...]]:
    prices = plan.core.demand_price.reshape(-1, plan.horizon.slots)
    found: dict[str, tuple[float, ...]] = {}
    first = 0
    for meter in plan.horizon.meters:
        last = first + len(meter.demand)
        summed = prices[first:last].sum(axis=0)
        if summed.max(initial=0.0) > _WORTH_MIN:
            found[meter.id] = tuple(float(each) for each in summed)
        first = last
    return found
