"""What a site asks its planner: its rows, its meter and its vehicles over the next day.

Everything that the real-time round keeps is in the question as well, slot by slot: ratings less
margin less building, limits and events to come, the contract, the feeder's cap, and what is kept
for connectors that nobody plans with. Of the slot that runs, only the rest is left. Invariant:
nothing here limits anybody; a wrong question costs money, never safety."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from controlplane.planning.inputs import ExpectedSession, SiteInputs
from controlplane.planning.joint import FEEDER, SitePart
from controlplane.planning.problem import Horizon, Meter, Node, PhaseCurrents, Vehicle
from controlplane.planning.schedule import PlanQuestion
from controlplane.rows_ahead import Slots, caps_of, events_w, windows_limit
from controlplane.site.demand import Demand
from controlplane.site.feeding import PlanTerms
from controlplane.site.live import LiveConnector, LiveSite
from controlplane.site.plan_terms import (
    EARLY_PARTS,
    ENERGY_MAX_WH,
    FEW,
    GAP_FEW,
    GAP_MANY,
    NEED_LEAST_WH,
    NEED_USUAL_WH,
    STAY_MAX_MS,
    STAY_MIN_MS,
    TIER_EXPECTED,
    aims_ms,
    dearest,
    expected_vehicles,
    penalties,
)
from controlplane.site.targets import Sought, SoughtSession
from controlplane.units import MS_PER_HOUR, MS_PER_S

__all__ = ["Above", "Asked", "question"]

Limits = NDArray[np.int64]


class Above(NamedTuple):
    """What the feeder above leaves the site."""

    feeder_id: str
    """Which feeder it is that has no more."""
    cap_ma: Limits
    """By slot, per phase, building included."""
    allotted: bool = False
    """By a plan for all its sites; otherwise it is the cap of this moment."""


class Asked(NamedTuple):
    """What a site asks when it plans."""

    question: PlanQuestion
    """Of its own planner."""
    part: SitePart | None
    """What the feeder above plans with; None where there is none."""
    sought: Sought
    """What the answer is followed with."""


def question(
    site: LiveSite,
    inputs: SiteInputs,
    now_ms: int,
    *,
    next_ms: int,
    drawn_wh: float,
    above: Above | None,
) -> Asked:
    """The question of a site, and what its answer will be followed with.

    Args:
        next_ms: when the next plan is due, if nothing happens before.
        drawn_wh: what vehicles have drawn since the first slot began.
        above: None where no feeder limits the site.
    """
    slots = Slots(inputs.start_ms, inputs.slot_s * MS_PER_S, inputs.slots)
    sessions = {
        name: (connector, session)
        for connector in site.connectors
        if (found := _session(site, connector, now_ms)) is not None
        for name, session in [found]
    }
    vehicles = [
        _vehicle(site, connector, name, session, slots=slots, now_ms=now_ms)
        for name, (connector, session) in sessions.items()
    ]
    expected = {
        vehicle.id: (vehicle, _expected_session(site, each, vehicle.max_ma))
        for vehicle, each in expected_vehicles(site.config, inputs, slots, next_ms)
    }
    rows = _Rows(site, inputs, slots, now_ms, planned=sessions.keys())
    meter = _meter(site, inputs, drawn_wh)
    horizon = Horizon(
        slots=slots.count,
        slot_s=inputs.slot_s,
        nodes=tuple(rows.nodes()),
        meters=(meter,),
        vehicles=(*vehicles, *(vehicle for vehicle, _ in expected.values())),
        tier_penalties_per_kwh=penalties(inputs),
        late_price_per_kwh=dearest(inputs) / EARLY_PARTS,
    )
    sought = Sought(
        asked_ms=now_ms,
        inputs=inputs,
        limit_w=tuple(rows.supply_w(above).tolist()),
        metered_w=meter.base_w[0],
        sessions={name: session for name, (_, session) in sessions.items()}
        | {name: session for name, (_, session) in expected.items()},
        feeder_id=above.feeder_id if above is not None and above.allotted else "",
    )
    gap = GAP_FEW if len(horizon.vehicles) <= FEW else GAP_MANY
    asked = PlanQuestion(horizon=horizon, start_ms=slots.start_ms, gap=gap)
    part = None if site.config.feeder is None else rows.part(site.config.feeder, asked)
    if above is not None:
        nodes = tuple(rows.below(above, horizon.nodes))
        asked = msgspec.structs.replace(
            asked, horizon=msgspec.structs.replace(horizon, nodes=nodes)
        )
    return Asked(asked, part, sought)


# --- vehicles -------------------------------------------------------------------------------------


def _session(
    site: LiveSite, connector: LiveConnector, now_ms: int
) -> tuple[str, SoughtSession] | None:
    """What is known or assumed of the session on a connector; None where it takes nothing, or
    nobody steers it."""
    demand, entry, leaf = connector.demand, connector.entry, connector.leaf
    if demand is None or not (entry.online and entry.settled) or entry.stuck:
        return None
    terms = _feeds(site, connector, demand, now_ms)
    if demand.holding and terms is None:
        return None
    if entry.session_id != demand.session.session_id:
        return None
    arrival_ms, closes_ms = now_ms, None
    if demand.ceiling_ma == 0:
        opens_ms = site.policy.standing(now_ms).opens_ms
        if demand.terms.may_charge or not demand.session.authorised or opens_ms is None:
            return None
        arrival_ms = opens_ms
    if not demand.terms.outside_hours:
        closes_ms = site.policy.closes_ms(arrival_ms)
    power_w = demand.power_max_w(leaf)
    max_ma, grid_w_per_ma = _current(site, connector, demand, power_w)
    if max_ma <= 0:
        return None
    need, departure = demand.need, demand.departure(now_ms)
    missing_wh = demand.energy_needed_wh()
    known = (bool(missing_wh) or terms is not None) and departure is not None
    if terms is not None:
        missing_wh = max(0, terms.need_wh)
    elif missing_wh is None:
        missing_wh = max(NEED_USUAL_WH - demand.energy_wh, NEED_LEAST_WH)
    elif missing_wh == 0:
        missing_wh = NEED_LEAST_WH
    missing_wh = min(missing_wh, ENERGY_MAX_WH)
    efficiency = _efficiency_permille(site, connector) / 1_000
    wh_per_mah = grid_w_per_ma * efficiency
    fastest_ms = round(missing_wh * MS_PER_HOUR / (max_ma * wh_per_mah))
    # Of who may leave at any moment, the soonest that it could be ready.
    leaves_ms = now_ms + fastest_ms if departure is None else departure[0]
    if closes_ms is not None:
        leaves_ms = min(leaves_ms, closes_ms)
    leaves_ms = min(max(leaves_ms, arrival_ms + STAY_MIN_MS), arrival_ms + STAY_MAX_MS)
    return demand.session.session_id, SoughtSession(
        key=leaf.key,
        arrival_ms=arrival_ms if arrival_ms > now_ms else demand.session.started_ms,
        departure_ms=leaves_ms,
        need_wh=missing_wh,
        need_source=None if need is None else need[1],
        departure_source=None if departure is None else departure[1],
        held=known,
        energy_wh=demand.net_wh,
        max_ma=max_ma,
        wh_per_mah=wh_per_mah,
        grid_w_per_ma=grid_w_per_ma,
        aims_ms=aims_ms(
            arrival_ms=arrival_ms,
            leaves_ms=leaves_ms,
            fastest_ms=fastest_ms,
            usual_ms=None if demand.forecast is None else demand.forecast.departure_ms,
        ),
        tier=0 if demand.boosted else 1 + demand.priority(leaf),
        path=tuple(site.config.circuits[row // 3].id for row in leaf.rows[:: len(leaf.phases)]),
        lines=tuple(column + 1 for column in leaf.phases),
    )


def _feeds(
    site: LiveSite, connector: LiveConnector, demand: Demand, now_ms: int
) -> PlanTerms | None:
    """On what terms a plan may have it feed in; None where it may not, or nobody knows until
    when."""
    if demand.departure(now_ms) is None:
        return None
    return site.feed.plan_terms(site.tree.index[connector.leaf.key], now_ms)


def _current(
    site: LiveSite, connector: LiveConnector, demand: Demand, power_w: int
) -> tuple[int, float]:
    """The most that it takes on each line at present, and the grid's watts for each milliampere.

    Rows count all conductors of a connector, because a vehicle may switch over; what it does not
    use of them makes its power less."""
    leaf = connector.leaf
    conductors = len(leaf.phases)
    used = conductors
    if not leaf.direct_current:
        used = min(demand.behaviour.known.phases or demand.vehicle.phases or conductors, conductors)
    w_per_ma = site.config.voltage_v * used / 1_000
    max_ma = min(demand.current_max_ma(leaf), -int(-power_w // w_per_ma))
    for bound_ma in (demand.ceiling_ma or None, demand.behaviour.cap_ma):
        if bound_ma is not None:
            max_ma = min(max_ma, bound_ma)
    return max_ma, w_per_ma


def _efficiency_permille(site: LiveSite, connector: LiveConnector) -> int:
    return site.efficiency_permille[connector.leaf.key.charger_id]


def _vehicle(
    site: LiveSite,
    connector: LiveConnector,
    name: str,
    session: SoughtSession,
    *,
    slots: Slots,
    now_ms: int,
) -> Vehicle:
    leaf, demand = connector.leaf, connector.demand
    assert demand is not None
    begins_ms = max(now_ms, session.arrival_ms)
    conductors = len(leaf.phases)
    vehicle = Vehicle(
        id=name,
        node=session.path[0],
        lines=session.lines,
        voltage_v=max(1, round(session.grid_w_per_ma * 1_000 / conductors)),
        max_ma=session.max_ma,
        arrival_s=(begins_ms - slots.start_ms) // MS_PER_S,
        departure_s=(session.aims_ms - slots.start_ms) // MS_PER_S,
        need_wh=session.need_wh,
        room_wh=session.need_wh,
        tier=session.tier,
        charge_permille=_efficiency_permille(site, connector),
    )
    terms, offered = _feeds(site, connector, demand, now_ms), site.config.vehicle_to_grid
    if terms is None or offered is None or not session.held:
        return vehicle
    wear = offered.credit_per_kwh
    return msgspec.structs.replace(vehicle, **terms._asdict(), wear_price_per_kwh=wear)


def _expected_session(site: LiveSite, each: ExpectedSession, max_ma: int) -> SoughtSession:
    w_per_ma = site.config.voltage_v * 3 / 1_000
    return SoughtSession(
        key=None,
        arrival_ms=each.arrival_ms,
        departure_ms=each.departure_ms,
        need_wh=each.need_wh,
        need_source=None,
        departure_source=None,
        held=False,
        energy_wh=0,
        max_ma=max_ma,
        wh_per_mah=w_per_ma,
        grid_w_per_ma=w_per_ma,
        aims_ms=each.departure_ms,
        tier=TIER_EXPECTED,
    )


# --- money ----------------------------------------------------------------------------------------


def _meter(site: LiveSite, inputs: SiteInputs, drawn_wh: float) -> Meter:
    """The site's own meter. What vehicles have drawn in the first slot already flows in it."""
    tariff = site.config.tariff
    apart = not inputs.base_w or (tariff is not None and tariff.chargers_only)
    base_w = [0] * inputs.slots if apart else list(inputs.base_w)
    base_w[0] += round(drawn_wh * 3_600 / inputs.slot_s)
    return Meter(
        id="meter",
        node=site.config.supply.id,
        import_price_per_kwh=inputs.import_price_per_kwh,
        export_price_per_kwh=inputs.export_price_per_kwh,
        base_w=tuple(base_w),
        demand=inputs.demand,
    )


# --- rows -----------------------------------------------------------------------------------------


class _Rows:
    """What vehicles may use of every circuit in every slot."""

    def __init__(
        self,
        site: LiveSite,
        inputs: SiteInputs,
        slots: Slots,
        now_ms: int,
        *,
        planned: Collection[str],
    ) -> None:
        self._site, self._slots = site, slots
        self._left = max(0, slots.at(1) - now_ms) / slots.slot_ms
        self._building_ma = self._building(inputs, now_ms)
        self._kept_ma = self._kept(planned)
        self._contract_w = self._contract(inputs)

    def nodes(self) -> Iterator[Node]:
        """The circuits of the site."""
        config = self._site.config
        for number, circuit in enumerate(config.circuits):
            supply = number == self._site.tree.supply
            yield Node(
                id=circuit.id,
                parent=circuit.parent,
                kind="circuit",
                export_ma=self._export_ma(number),
                caps=caps_of(
                    self._first(self._room_ma(number)),
                    self._first(self._contract_w) if supply else None,
                    self._slots,
                ),
            )

    def _export_ma(self, node: int) -> PhaseCurrents | None:
        """What may be fed back through a circuit."""
        if not self._site.feed.possible:
            return None
        l1, l2, l3 = self._site.tree.export_ma[node * 3 : node * 3 + 3]
        return l1, l2, l3

    def below(self, above: Above, nodes: tuple[Node, ...]) -> Iterator[Node]:
        """The feeder as a node of its own, and the site's circuits below it."""
        name = above.feeder_id
        while any(node.id == name for node in nodes):
            name += "'"
        yield Node(
            id=name,
            kind=FEEDER,
            export_ma=self._export_ma(self._site.tree.supply),
            caps=caps_of(self._first(self._left_ma(above)), None, self._slots),
        )
        for node in nodes:
            yield msgspec.structs.replace(node, parent=name) if node.parent is None else node

    def part(self, feeder_id: str, asked: PlanQuestion) -> SitePart:
        """What the feeder above plans with."""
        tree = self._site.tree
        bears_ma = [tree.rating_ma[row] - tree.margin_ma[row] for row in tree.supply_rows]
        return SitePart(
            site_id=self._site.config.id,
            feeder_id=feeder_id,
            question=asked,
            load_ma=tuple(self._load_ma().max(axis=0).tolist()),
            able_ma=max(bears_ma),
        )

    def _load_ma(self) -> Limits:
        """What is drawn beside the vehicles that are planned; shape (3, slots)."""
        tree = self._site.tree
        load_ma = np.repeat(
            self._kept_ma[tree.supply * 3 : tree.supply * 3 + 3, None], self._slots.count, axis=1
        )
        if tree.supply in tree.building_nodes:
            load_ma = load_ma + self._building_ma
        return np.asarray(load_ma, np.int64)

    def _left_ma(self, above: Above) -> Limits:
        """What the feeder leaves for vehicles; shape (3, slots)."""
        return np.asarray(np.maximum(above.cap_ma[None] - self._load_ma(), 0), np.int64)

    def supply_w(self, above: Above | None) -> Limits:
        """What supply and feeder leave for vehicles, in W, whole first slot included."""
        room_ma = self._room_ma(self._site.tree.supply)
        if above is not None:
            room_ma = np.minimum(room_ma, self._left_ma(above))
        room_w = room_ma.sum(axis=0) * self._site.config.voltage_v
        room_w = room_w // 1_000
        if self._contract_w is None:
            return np.asarray(room_w, np.int64)
        return np.asarray(np.minimum(room_w, self._contract_w), np.int64)

    def _room_ma(self, node: int) -> Limits:
        """Shape (3, slots)."""
        site, tree = self._site, self._site.tree
        rows = range(node * 3, node * 3 + 3)
        bears_ma = np.array([tree.rating_ma[row] - tree.margin_ma[row] for row in rows], np.int64)
        room_ma = np.repeat(bears_ma[:, None], self._slots.count, axis=1)
        circuit = site.config.circuits[node].id
        given = [windows_limit(site.state.overrides.circuits.get(circuit, ()), self._slots)]
        if node == tree.supply:
            given += self._given()
        np.minimum(room_ma, np.minimum.reduce(given)[None], out=room_ma)
        if node in tree.building_nodes:
            room_ma -= self._building_ma
        room_ma -= self._kept_ma[node * 3 : node * 3 + 3, None]
        return np.asarray(np.maximum(room_ma, 0), np.int64)

    def _given(self) -> Iterator[Limits]:
        """What owners and the grid leave the whole site, per phase."""
        site, slots = self._site, self._slots
        yield windows_limit(site.state.windows, slots)
        if site.state.grid.events:
            limit_w = events_w(site.state.grid.events, slots, self._planned_w)
            yield limit_w * 1_000 // (3 * site.config.voltage_v)

    def _planned_w(self, at_ms: int) -> int | None:
        """What the site draws at an instant by the plan that is followed."""
        return planned_w(self._site, at_ms)

    def _building(self, inputs: SiteInputs, now_ms: int) -> Limits:
        """The forecast on the lines, as it lies on them now; shape (3, slots). What the sun gives
        is never room on a row."""
        tree = self._site.tree
        measured_ma = [0, 0, 0]
        if tree.building_nodes:
            first = tree.building_nodes[0] * 3
            measured_ma = self._site.building_ma(now_ms)[first : first + 3]
        lines_ma = np.maximum(np.array(measured_ma, np.int64), 0)
        total_ma = int(lines_ma.sum())
        shares = lines_ma / total_ma if total_ma else np.full(3, 1 / 3)
        base_w = np.array(inputs.base_w or (0,) * inputs.slots, np.float64)
        ahead_ma = np.maximum(base_w, 0)[None] * shares[:, None] * 1_000
        ahead_ma = np.ceil(ahead_ma / self._site.config.voltage_v).astype(np.int64)
        if not inputs.base_w:
            ahead_ma[:] = lines_ma[:, None]
        ahead_ma[:, 0] = np.maximum(ahead_ma[:, 0], lines_ma)
        return np.asarray(ahead_ma, np.int64)

    def _kept(self, planned: Collection[str]) -> Limits:
        """What rows keep for connectors that nobody plans with, by row."""
        kept = [
            0
            if connector.demand is not None and connector.demand.session.session_id in planned
            else connector.entry.reserve_ma
            for connector in self._site.connectors
        ]
        return np.array(self._site.tree.row_sums(kept), np.int64)

    def _contract(self, inputs: SiteInputs) -> Limits | None:
        """What the contract leaves beside building and sun, by slot."""
        config = self._site.config
        if config.contract is None:
            return None
        aim_w = int(config.contract.power_w * (100 - config.margin_percent) // 100)
        base_w = np.array(inputs.base_w or (0,) * inputs.slots, np.int64)
        return np.asarray(np.maximum(aim_w - base_w, 0), np.int64)

    def _first(self, limits: Limits | None) -> Limits | None:
        """The same, of which the first slot has only what is left of it."""
        if limits is None:
            return None
        rest = limits.copy()
        rest[..., 0] = (rest[..., 0] * self._left).astype(np.int64)
        return np.asarray(rest, np.int64)


def planned_w(site: LiveSite, at_ms: int) -> int | None:
    """What a site draws at an instant by the plan that it follows, building included; None where
    that does not say."""
    schedule, sought = site.targets.schedule, site.targets.sought
    slot = None if schedule is None else schedule.slot(at_ms)
    if schedule is None or sought is None or slot is None:
        return None
    base_w = sought.inputs.base_w
    load_w = float(max(0, base_w[slot])) if slot < len(base_w) else 0.0
    for name, session in sought.sessions.items():
        place = schedule.index.get(name)
        if place is not None:
            load_w += int(schedule.current_ma[place, slot]) * session.grid_w_per_ma
    return round(load_w)
