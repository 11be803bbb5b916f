"""The horizon plan against HiGHS on random and adversarial horizons: `make plan-proof`.

Each horizon is small and mean: rows without any room, prices below zero, demand charges that count
in some slots only, batteries without losses or without room, needs that no power can meet.
Judged is that the optimum of HiGHS lies between the bound and the cost, that the plan is as near
to the bound as was asked, and that no row is overloaded: of a plan from nothing, and of one that
begins where that ended, moved by a slot, whose last slot's prices so are those of the first."""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from controlplane import _core
from controlplane.bench import plan_program
from controlplane.bench.plan_problem import Horizon

__all__ = ["Verdict", "horizon", "judge", "main"]

_GAP = 1e-3
_STEPS = 20_000
_UNLIMITED = 10**12
_TOLERANCE = 1e-5
"""What HiGHS's own tolerances may shift an optimum by, as a part of it."""
_CENTS = 1e-3
"""A plan this near to the bound, in the currency, is near enough whatever it costs."""


@dataclass(frozen=True)
class Verdict:
    """One horizon's plan beside its optimum."""

    bound: float
    optimum: float
    cost: float
    steps: int
    faults: tuple[str, ...]
    grain: float
    """What rounding to whole milliamperes may cost."""

    @property
    def proven(self) -> bool:
        """The bound and the plan are what they are said to be."""
        slack = _TOLERANCE * abs(self.optimum) + 1e-4
        inside = self.bound <= self.optimum + slack and self.optimum <= self.cost + slack
        return inside and not self.faults

    @property
    def closed(self) -> bool:
        """The plan is as near to the bound as was asked."""
        return self.cost - self.bound <= _GAP * abs(self.cost) + self.grain + _CENTS


def judge(given: Horizon) -> tuple[Verdict, Verdict]:
    """Plan a horizon from nothing and from a start that is a little wrong, and solve it with HiGHS.

    Raises:
        Unavailable: HiGHS is not installed.
    """
    problem = given.problem()
    cold = _core.plan(problem, gap=_GAP, steps=_STEPS)
    warm = _core.plan(problem, start=_moved(cold, given.slots), gap=_GAP, steps=_STEPS)
    solved = plan_program.solve(
        node_parent=given.node_parent,
        leaf_node=given.leaf_node,
        leaf_phases=given.leaf_phases,
        limits=given.limits,
        meters=given.meters,
        fleet=given.fleet,
        slots=given.slots,
        slot_s=given.slot_s,
        late_price=given.late_price,
    )
    # The last milliampere of the dearest vehicle in a slot or two. One whose battery takes less and
    # less is held back by its own row in every slot, and loses up to a milliampere in each.
    fleet = given.fleet
    kwh = fleet["volts"] * given.slot_s / 3.6e9
    tapers = fleet.get("taper_from_wh", fleet["room_wh"]) < fleet["room_wh"]
    begin_s, end_s = fleet["arrival_s"].clip(0), fleet["departure_s"].clip(0)
    stay = np.minimum(end_s // given.slot_s - begin_s // given.slot_s + 1, given.slots)
    lost = np.where(tapers, stay.clip(2), 2)
    grain = float((lost * kwh * (fleet["penalty"] / 1e6 + 2.0)).max())

    def verdict(plan: _core.Plan) -> Verdict:
        faults = tuple(_core.check_plan(problem, plan.current_ma))
        return Verdict(plan.bound, solved.cost, plan.cost, plan.steps, faults, grain)

    return verdict(cold), verdict(warm)


def _moved(plan: _core.Plan, slots: int) -> _core.PlanStart:
    """A plan as if a slot had gone by."""

    def later(values: NDArray[Any]) -> NDArray[Any]:
        return np.roll(values.reshape(-1, slots), -1, axis=1).ravel()

    return _core.PlanStart(
        current_ma=later(plan.current_ma),
        import_price=later(plan.import_price),
        export_price=later(plan.export_price),
        energy_price=later(plan.energy_price),
        demand_price=later(plan.demand_price),
        taper_price=later(plan.taper_price),
    )


def horizon(seed: int, *, large: bool = False) -> Horizon:
    """A horizon of up to 8 vehicles and 12 slots, or 40 and 48."""
    random = np.random.default_rng(seed)
    vehicles = int(random.integers(1, 40 if large else 9))
    slots = int(random.integers(1, 49 if large else 13))
    slot_s = int(random.choice([300, 900, 1_800, 3_600]))
    nodes = int(random.integers(1, 12 if large else 5))
    node_parent = np.array([-1, *(int(random.integers(0, k)) for k in range(1, nodes))], np.int32)
    children = np.flatnonzero(node_parent == 0)
    leaf_node = random.integers(0, nodes, vehicles)
    meter = np.zeros(1, np.int32)
    if children.size and random.random() < 0.5:
        meter = children.astype(np.int32)
        leaf_node = np.where(leaf_node == 0, random.choice(children, vehicles), leaf_node)
    leaf_phases = random.choice(np.array([1, 2, 4, 7, 7, 7, 3, 6, 5], np.uint8), vehicles)
    return Horizon(
        node_parent=node_parent,
        leaf_node=leaf_node.astype(np.int32),
        leaf_phases=leaf_phases,
        limits=_limits(random, nodes, slots),
        meters=_meters(random, meter, slots),
        fleet=_fleet(random, leaf_phases, slots * slot_s),
        slots=slots,
        slot_s=slot_s,
        late_price=int(random.choice([0, 0, 10, 1_000])),
    )


def _fleet(
    random: np.random.Generator, leaf_phases: np.ndarray, end_s: int
) -> dict[str, np.ndarray]:
    count = leaf_phases.size
    lines = np.array([int(lines).bit_count() for lines in leaf_phases])
    volts = lines * np.where(random.random(count) < 0.1, 120, 230)
    max_ma = random.choice([0, 6_000, 10_000, 16_000, 32_000, 63_000], count)
    here = random.random(count) < 0.6
    arrival_s = np.where(here, -random.integers(0, 3_600, count), random.integers(0, end_s, count))
    departure_s = arrival_s + random.integers(1, end_s * 2, count)
    stay_s = np.maximum(0, np.minimum(departure_s, end_s) - np.maximum(arrival_s, 0))
    need_wh = max_ma * volts / 3.6e6 * stay_s * random.uniform(0, 1.3, count)
    two_way = random.random(count) < random.choice([0.0, 0.3, 1.0])
    spares = two_way & (random.random(count) < 0.7)
    spare_wh = np.where(spares, random.integers(0, 20_000, count), 0)
    leaves_less = two_way & (random.random(count) < 0.3)
    need_wh = np.where(leaves_less, -spare_wh // 2, need_wh.astype(np.int64))
    room_wh = np.maximum(0, need_wh) + random.choice([0, 1_000, 20_000], count)
    fleet = {
        "volts": volts,
        "max_ma": max_ma,
        "arrival_s": arrival_s,
        "departure_s": departure_s,
        "need_wh": need_wh,
        "room_wh": room_wh,
        "penalty": random.choice([0, 100_000, 500_000, 5_000_000, 50_000_000], count),
        "charge_permille": random.choice([1_000, 920, 800], count),
        "discharge_ma": np.where(two_way, max_ma, 0),
        "discharge_permille": random.choice([1_000, 930], count),
        "spare_wh": spare_wh,
        "wear_price": random.choice([0, 50_000], count),
    }
    if random.random() < 0.4:
        tapers = random.random(count) < 0.7
        from_wh = (room_wh * random.uniform(0, 1.2, count)).astype(np.int64)
        fleet["taper_from_wh"] = np.where(tapers, from_wh, room_wh)
        fleet["taper_ma"] = (max_ma * random.choice([0, 0.1, 1], count)).astype(np.int64)
    return {name: column.astype(np.int64) for name, column in fleet.items()}


def _limits(random: np.random.Generator, nodes: int, slots: int) -> dict[str, np.ndarray]:
    if random.random() < 0.5:
        levels = [0, 10_000, 20_000, 40_000, 100_000, _UNLIMITED]
        chances = [0.05, 0.1, 0.2, 0.25, 0.2, 0.2]
        import_ma = random.choice(levels, (nodes, 3, slots), p=chances)
    else:
        levels = [10_000, 20_000, 40_000, 100_000, _UNLIMITED]
        import_ma = np.repeat(random.choice(levels, (nodes, 3, 1)), slots, axis=2)
    limits = {"import_ma": import_ma}
    if random.random() < 0.5:
        power = random.choice([5_000, 20_000, 50_000, _UNLIMITED], (nodes, 1))
        limits["import_w"] = np.repeat(power, slots, axis=1)
    if random.random() < 0.8:
        limits["export_ma"] = random.choice([0, 10_000, 30_000, _UNLIMITED], (nodes, 3, slots))
    if random.random() < 0.3:
        limits["export_w"] = random.choice([0, 5_000, 30_000, _UNLIMITED], (nodes, slots))
    return {name: limit.astype(np.int64).ravel() for name, limit in limits.items()}


def _meters(random: np.random.Generator, node: np.ndarray, slots: int) -> dict[str, np.ndarray]:
    meters = node.size
    if random.random() < 0.3:
        import_price = random.integers(-50_000, 400_000, (meters, slots))
    else:
        import_price = np.tile(random.choice([50_000, 90_000, 260_000], slots), (meters, 1))
    less = random.integers(0, 80_000, import_price.shape)
    alike = random.random(import_price.shape) < 0.5
    export_price = np.where(alike, import_price, import_price - less)
    if random.random() < 0.3:
        export_price = np.minimum(import_price, 0)
    result = {
        "base_w": random.integers(-30_000, 60_000, (meters, slots)),
        "import_price": import_price,
        "export_price": export_price,
    }
    found = {name: column.astype(np.int64).ravel() for name, column in result.items()}
    found["node"] = node
    charges = int(random.integers(0, 3))
    if charges:
        found["demand_meter"] = random.integers(0, meters, charges).astype(np.int32)
        found["demand_price"] = random.choice([0, 500_000, 15_000_000], charges)
        found["demand_so_far_w"] = random.choice([0, 20_000, 60_000], charges)
        counted = random.random((charges, slots)) < random.choice([0.3, 1.0])
        found["demand_slot"] = counted.ravel()
    return found


def main() -> int:
    """Judge many horizons and say which are wrong, by the seed that gives them again."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--count", type=int, default=3_000)
    parser.add_argument("--first-seed", type=int, default=0)
    given = parser.parse_args()
    wrong = still_open = 0
    for seed in range(given.first_seed, given.first_seed + given.count):
        large = seed % 10 == 9
        for start, verdict in zip(("cold", "warm"), judge(horizon(seed, large=large)), strict=True):
            if not verdict.proven:
                wrong += 1
                sys.stdout.write(f"seed {seed} {start} is wrong: {verdict}\n")
            elif not verdict.closed:
                still_open += 1
                sys.stdout.write(f"seed {seed} {start} is not closed: {verdict}\n")
    sys.stdout.write(f"{2 * given.count} plans, {wrong} wrong, {still_open} not closed\n")
    return int(wrong + still_open > 0)


if __name__ == "__main__":
    sys.exit(main())
