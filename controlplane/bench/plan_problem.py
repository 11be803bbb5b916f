"""The horizon that is planned in the bench: real arrivals under a tree on which rows of every level
bind.

A feeder, sites of 200 vehicles on ten panels; half of the vehicles draw on three lines. When they
come and go and what they ask for are sessions of ACN-Data, drawn from the workdays of four months.
The tariff has times of use and a charge for the highest quarter hour, the feeder a grid event in
the afternoon; a tenth of the vehicles can feed in. The same seed gives the same problem."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import date
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from controlplane import _core
from controlplane.sim.day.sessions import days, midnight_ms
from controlplane.sim.day.tariff import load_tariff

__all__ = ["Horizon", "build"]

_DAY = date(2019, 6, 12)
_DAYS_OF_SESSIONS = 150
_DAY_S = 86_400
_VEHICLES_PER_SITE = 200
_PANELS_PER_SITE = 10
_ONE_PHASE = np.array([0b001, 0b010, 0b100], np.uint8)
_TWO_WAY_SHARE = 0.1
_CHANGED_SHARE = 0.02
_MICRO = 1_000_000
_PENALTIES = (2 * _MICRO, 5 * _MICRO)
_LATE_PRICE = 10

Integers = NDArray[np.int64]


@dataclass(frozen=True)
class Horizon:
    """Everything that `_core.PlanProblem` takes, and the tree as other solvers want it."""

    node_parent: NDArray[np.int32]
    leaf_node: NDArray[np.int32]
    leaf_phases: NDArray[np.uint8]
    limits: dict[str, Any]
    meters: dict[str, Any]
    fleet: dict[str, Any]
    slots: int
    slot_s: int
    late_price: int = _LATE_PRICE

    @property
    def vehicles(self) -> int:
        return self.leaf_node.size

    @property
    def rows(self) -> int:
        """Rows of lines in all slots."""
        return int(self.limits["import_ma"].size)

    def problem(self) -> _core.PlanProblem:
        network = _core.Network(
            node_parent=self.node_parent, leaf_node=self.leaf_node, leaf_phases=self.leaf_phases
        )
        return _core.PlanProblem(
            network,
            _core.PlanLimits(**self.limits),
            _core.PlanMeters(**self.meters),
            _core.PlanFleet(**self.fleet),
            slots=self.slots,
            slot_s=self.slot_s,
            late_price=self.late_price,
        )

    def one_slot_later(self, plan: _core.Plan, seed: int) -> tuple[Horizon, _core.PlanStart]:
        """The next horizon, when the first slot went by the plan, and where to begin: the plan
        moved by a slot. A few vehicles changed their minds about when they leave."""
        random = np.random.default_rng(seed)
        fleet = dict(self.fleet)
        first_ma = plan.current_ma[:, 0].astype(np.float64)
        permille = np.where(
            first_ma > 0, fleet["charge_permille"], 1e6 / fleet["discharge_permille"]
        )
        gained_wh = first_ma * fleet["volts"] * self.slot_s * permille / 3.6e9
        gained = np.floor(gained_wh).astype(np.int64)
        changed = random.random(self.vehicles) < _CHANGED_SHARE
        moved_s = np.where(changed, random.integers(-3_600, 3_601, self.vehicles), 0)
        arrival_s = fleet["arrival_s"] - self.slot_s
        fleet["arrival_s"] = arrival_s
        departure_s = fleet["departure_s"] - self.slot_s + moved_s
        fleet["departure_s"] = np.maximum(departure_s, arrival_s + 60)
        for name in ("need_wh", "room_wh"):
            fleet[name] = fleet[name] - gained
        fleet["spare_wh"] = np.maximum(0, fleet["spare_wh"] + gained)
        fleet["room_wh"] = np.maximum(0, fleet["room_wh"])
        fleet["need_wh"] = np.clip(fleet["need_wh"], -fleet["spare_wh"], fleet["room_wh"])

        def later(values: NDArray[Any]) -> NDArray[Any]:
            by_slot = values.reshape(-1, self.slots)
            return np.concatenate([by_slot[:, 1:], by_slot[:, :1]], axis=1).ravel()

        moved = {"base_w", "import_price", "export_price", "demand_slot"}
        meters = {k: later(v) if k in moved else v for k, v in self.meters.items()}
        limits = {k: later(v) for k, v in self.limits.items()}
        start = _core.PlanStart(
            current_ma=later(plan.current_ma.ravel()),
            import_price=later(plan.import_price),
            export_price=later(plan.export_price),
            energy_price=later(plan.energy_price),
            demand_price=later(plan.demand_price),
            balance=np.array([plan.balance]),
        )
        return replace(self, fleet=fleet, meters=meters, limits=limits), start


@cache
def _sessions() -> tuple[Integers, Integers, Integers]:
    """Arrival and departure in seconds after midnight, and the request in Wh, of real sessions."""
    midnight = midnight_ms(_DAY)
    found = [
        (
            (session.arrival_ms - midnight) // 1_000,
            (session.departure_ms - midnight) // 1_000,
            session.requested_wh,
        )
        for day in days(_DAY, _DAYS_OF_SESSIONS)
        for session in day.sessions
    ]
    arrival, departure, request = np.array(found, np.int64).T
    return arrival, np.maximum(departure, arrival + 60), request


def build(vehicles: int, *, slots: int = 96, seed: int = 1) -> Horizon:
    """A day of `vehicles` sessions in `slots` slots, 20 vehicles and up, slots that divide a day.

    Raises:
        ValueError: a size out of range.
    """
    if vehicles < 20 or slots < 1 or _DAY_S % slots:
        raise ValueError(f"{vehicles} vehicles in {slots} slots: at least 20, and parts of a day")
    random = np.random.default_rng(seed)
    sites = max(1, vehicles // _VEHICLES_PER_SITE)
    panels = sites * _PANELS_PER_SITE
    node_parent = np.full(1 + sites + panels, -1, np.int32)
    node_parent[1 : 1 + sites] = 0
    node_parent[1 + sites :] = 1 + np.arange(panels) // _PANELS_PER_SITE
    leaf_node = (1 + sites + np.arange(vehicles) * panels // vehicles).astype(np.int32)
    three_phase = random.random(vehicles) < 0.5
    leaf_phases = np.where(three_phase, np.uint8(0b111), random.choice(_ONE_PHASE, vehicles))
    fleet = _fleet(vehicles, three_phase, random)
    hour = np.arange(slots) * 24 / slots
    return Horizon(
        node_parent=node_parent,
        leaf_node=leaf_node,
        leaf_phases=leaf_phases,
        limits=_limits(
            node_parent,
            leaf_node,
            leaf_phases,
            max_ma=fleet["max_ma"],
            sites=sites,
            hour=hour,
            random=random,
        ),
        meters=_meters(sites, hour, random),
        fleet=fleet,
        slots=slots,
        slot_s=_DAY_S // slots,
    )


def _fleet(
    vehicles: int, three_phase: NDArray[np.bool_], random: np.random.Generator
) -> dict[str, Any]:
    arrival_s, departure_s, request_wh = _drawn(vehicles, random)
    two_way = random.random(vehicles) < _TWO_WAY_SHARE
    max_ma = np.where(three_phase, 16_000, 32_000).astype(np.int64)
    room_wh = request_wh + np.where(two_way, 10_000, 2_000)
    return {
        "volts": np.where(three_phase, 690, 230).astype(np.int64),
        "max_ma": max_ma,
        "arrival_s": arrival_s,
        "departure_s": departure_s,
        "need_wh": request_wh,
        "room_wh": room_wh,
        "penalty": random.choice(np.array(_PENALTIES), vehicles, p=(0.8, 0.2)),
        "charge_permille": np.full(vehicles, 920, np.int64),
        "discharge_ma": np.where(two_way, max_ma, 0),
        "discharge_permille": np.full(vehicles, 930, np.int64),
        "spare_wh": np.where(two_way, 8_000, 0).astype(np.int64),
        "wear_price": np.full(vehicles, 40_000, np.int64),
    }


def _drawn(vehicles: int, random: np.random.Generator) -> tuple[Integers, Integers, Integers]:
    arrival_s, departure_s, request_wh = _sessions()
    chosen = random.integers(arrival_s.size, size=vehicles)
    return arrival_s[chosen], departure_s[chosen], request_wh[chosen]


def _limits(
    node_parent: NDArray[np.int32],
    leaf_node: NDArray[np.int32],
    leaf_phases: NDArray[np.uint8],
    *,
    max_ma: Integers,
    sites: int,
    hour: NDArray[np.float64],
    random: np.random.Generator,
) -> dict[str, Any]:
    """Rows carry parts of what all below them could draw at once, wide enough apart that at each
    level some bind and some do not. The feeder gives a good third less from 16 to 18 h."""
    nodes = node_parent.size
    wanted = np.zeros((nodes, 3))
    np.add.at(wanted, leaf_node, (leaf_phases[:, None] >> np.arange(3) & 1) * max_ma[:, None])
    for node in range(nodes - 1, 0, -1):
        wanted[node_parent[node]] += wanted[node]
    share = np.empty((nodes, 3))
    share[0] = 0.27
    share[1 : 1 + sites] = random.uniform(0.29, 0.64, (sites, 3))
    share[1 + sites :] = random.uniform(0.32, 1.12, (nodes - 1 - sites, 3))
    import_ma = np.repeat((share * wanted)[:, :, None], hour.size, axis=2)
    import_ma[0] *= np.where((hour >= 16) & (hour < 18), 0.6, 1.0)
    drawn = import_ma.astype(np.int64).ravel()
    return {"import_ma": drawn, "export_ma": drawn // 2}


def _meters(sites: int, hour: NDArray[np.float64], random: np.random.Generator) -> dict[str, Any]:
    tariff = load_tariff(_DAY)
    quarter = (hour * 4).astype(np.int64)
    price = np.rint(tariff.energy_usd_per_kwh[quarter] * _MICRO).astype(np.int64)
    base_kw = (40 + 120 * np.exp(-(((hour - 14) / 5) ** 2))) * random.uniform(0.5, 1.5, (sites, 1))
    slots = hour.size
    return {
        "node": np.arange(1, 1 + sites, dtype=np.int32),
        "base_w": (base_kw * 1_000).astype(np.int64).ravel(),
        "import_price": np.tile(price, sites),
        "export_price": np.tile(price * 8 // 10, sites),
        "demand_meter": np.arange(sites, dtype=np.int32),
        "demand_price": np.full(sites, round(tariff.demand_usd_per_kw * _MICRO), np.int64),
        "demand_so_far_w": (base_kw.max(axis=1) * 1_050).astype(np.int64),
        "demand_slot": np.ones(sites * slots, np.bool_),
    }
