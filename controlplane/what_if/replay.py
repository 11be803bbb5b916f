"""The months of a question lived through, step by step, knowing only what a site would have known.

At each arrival, whenever somebody leaves who lacked something, and every hour, the next day is
planned anew with the production planner, as long as it could hold anybody back: from what is known
of those who are there (their drivers' word, else forecasts learned from sessions that are over),
those expected by the same forecasts, prices, the building and the peak of the month so far. In each
step everybody follows the plan and the production allocation shares out the rows, by priority and
urgency, as in a site's rounds. When a vehicle really leaves nobody knows
before it does. Invariants: in every step all rows hold; nothing that lies ahead is used but what
happens within the running step of five minutes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from controlplane import _core
from controlplane.planning.arrivals import Arrivals
from controlplane.planning.history import hour_of
from controlplane.planning.inputs import ExpectedSession
from controlplane.planning.outlook import Outlook, calendar_of
from controlplane.planning.problem import Horizon, Meter, Vehicle
from controlplane.planning.schedule import Desk, PlanQuestion, Schedule
from controlplane.rows_ahead import SLOT_S, SLOTS, Slots
from controlplane.site.forecast import Forecast, History
from controlplane.site.plan_terms import (
    EARLY_PARTS,
    GAP_MANY,
    LAXITY_MIN_MS,
    NEED_LEAST_WH,
    NEED_USUAL_WH,
    aims_ms,
    dearest,
    expected_vehicles,
    penalties,
    tier_of_priority,
)
from controlplane.site.tree import SiteTree
from controlplane.site.urgency import STEPS, urgency_step
from controlplane.units import MS_PER_HOUR, MS_PER_S
from controlplane.what_if.money import Money
from controlplane.what_if.question import STEP_MS, Visit
from controlplane.what_if.rows import Rows
from controlplane.what_if.stays import Stay

__all__ = ["Replayed", "replay"]

Floats = NDArray[np.float64]

_SLOT_MS = SLOT_S * MS_PER_S
_STEP_H = STEP_MS / MS_PER_HOUR
_SLOT_H = _SLOT_MS / MS_PER_HOUR
_REPLAN_MS = MS_PER_HOUR
"""A plan is made anew after so long though nothing happened: prices beyond its end are known."""

_STEPS = 400
"""The search for a plan ends after so many, where a site gives it 1,000: over months what is left
in a plan is lost among what nobody could know (docs/what-if.md has the figures)."""

_TIER_SATISFIED = STEPS * 10
"""Who has what its driver asked for takes what all others leave."""

_NOTHING_WH = 1.0
"""Less is not worth a plan."""


@dataclass(frozen=True)
class Replayed:
    """What came of it.

    Attributes:
        got_wh: of each stay, in their order, by its meter.
        step_wh: what all chargers drew from the grid in each step.
        plans: how many were made.
    """

    got_wh: Floats
    step_wh: Floats
    plans: int


@dataclass(slots=True)
class _Guest:
    """Who is there."""

    number: int
    stay: Stay
    forecast: Forecast | None = None
    got_wh: float = 0.0
    from_wh: float = 0.0
    """What it had when its slot, or the plan in it, began."""
    goal_wh: float | None = None
    """What it is to gain from then to the end of the slot; None: it is not held back."""

    @property
    def visit(self) -> Visit:
        return self.stay.visit

    @property
    def served(self) -> bool:
        """Whether it has what its driver asked for."""
        return self.visit.need_wh is not None and self.got_wh >= self.visit.need_wh

    @property
    def wants(self) -> bool:
        """Whether a plan has to do with it."""
        return not self.served and self.got_wh < self.stay.want_wh

    def known(self, now_ms: int) -> bool:
        """Whether a plan could hold it back: it is known what it lacks, and for how long."""
        return self.wants and bool(self.lacks_wh()) and self.leaves_ms(now_ms) is not None

    @property
    def full_w(self) -> float:
        return self.stay.max_ma * self.stay.wh_per_mah

    def lacks_wh(self) -> float | None:
        """What it is known to lack; None where nobody knows."""
        need_wh = self.visit.need_wh
        if need_wh is None and self.forecast is not None:
            need_wh = self.forecast.need_wh
        return None if need_wh is None else max(0.0, need_wh - self.got_wh)

    def leaves_ms(self, now_ms: int) -> int | None:
        """When it leaves, by what is known."""
        said_ms = self.visit.said_ms
        if said_ms is not None and said_ms > now_ms:
            return said_ms
        return None if self.forecast is None else self.forecast.departure_ms

    def laxity_ms(self, now_ms: int) -> int | None:
        lacks_wh, leaves_ms = self.lacks_wh(), self.leaves_ms(now_ms)
        if not lacks_wh or leaves_ms is None:
            return None
        return leaves_ms - now_ms - round(lacks_wh * MS_PER_HOUR / self.full_w)


def replay(
    rows: Rows,
    money: Money,
    stays: Sequence[Stay],
    before: Sequence[Visit],
    *,
    told: Callable[[int], None],
) -> Replayed:
    """Live through all steps of the question.

    Args:
        before: sessions that were over before it began.
        told: called with the slot whenever a day is over.
    """
    return _Replay(rows, money, stays, before).run(told)


class _Replay:
    def __init__(
        self, rows: Rows, money: Money, stays: Sequence[Stay], before: Sequence[Visit]
    ) -> None:
        self._rows, self._money, self._stays = rows, money, stays
        self._tree: SiteTree = rows.tree
        self._learned = _Learned(rows.tree, money, before)
        self._guests: list[_Guest] = []
        self._next = 0
        self._peaks_w: dict[tuple[str, int], int] = {}
        self._desk = Desk()
        self._schedule: Schedule | None = None
        self._planned_ms = 0
        self._slot = -1
        self._slot_wh = 0.0
        """What chargers have drawn in the running slot."""
        self._window_ms = 0
        """When the running window of the demand charges began."""
        self._window_wh = 0.0
        self._offline_ma = [leaf.offline_ma for leaf in self._tree.leaves]
        self._kept_ma = np.array(self._tree.row_sums(self._offline_ma), np.int64)
        leaves = len(self._tree.leaves)
        self._there = [0] * leaves
        self._nothing = np.zeros(leaves, np.int64)
        self._milliampere = np.ones(leaves, np.int64)
        self._weight = np.array([leaf.weight for leaf in self._tree.leaves], np.int64)
        self._got_wh = np.zeros(len(stays))
        self._plans = 0

    def run(self, told: Callable[[int], None]) -> Replayed:
        money = self._money
        steps = money.slots * (_SLOT_MS // STEP_MS)
        step_wh = np.zeros(steps)
        for step in range(steps):
            at_ms = money.start_ms + step * STEP_MS
            news = self._come_and_go(at_ms)
            slot = (at_ms - money.start_ms) // _SLOT_MS
            if slot != self._slot:
                self._next_slot(slot)
                if slot % SLOTS == 0 and slot:
                    told(slot)
            self._next_window(at_ms)
            if self._guests:
                due = self._schedule is None or at_ms - self._planned_ms >= _REPLAN_MS
                if news or due:
                    self._plan_or_not(at_ms, slot)
                step_wh[step] = self._flow(at_ms, slot)
                self._slot_wh += step_wh[step]
                self._window_wh += step_wh[step]
        self._come_and_go(money.start_ms + steps * STEP_MS + STEP_MS)
        return Replayed(self._got_wh, step_wh, self._plans)

    # --- who is there -----------------------------------------------------------------------------

    def _come_and_go(self, at_ms: int) -> bool:
        """Let those go who have left by now, and those in who come within this step; whether a plan
        would be another now. One that has what it wants is in no plan, whether it is there or
        not."""
        gone = [guest for guest in self._guests if guest.visit.departure_ms <= at_ms]
        freed = any(guest.wants or self._offline_ma[guest.stay.position] for guest in gone)
        for guest in gone:
            self._guests.remove(guest)
            self._taken(guest.stay.position, -1)
            self._got_wh[guest.number] = guest.got_wh
            self._learned.ended(guest.visit, round(guest.got_wh))
        came = False
        stays = self._stays
        while self._next < len(stays) and stays[self._next].visit.arrival_ms < at_ms + STEP_MS:
            stay = stays[self._next]
            guest = _Guest(self._next, stay)
            guest.forecast = self._learned.forecast(stay.visit, stay.visit.arrival_ms)
            self._learned.arrived(stay.visit)
            self._guests.append(guest)
            self._taken(stay.position, +1)
            self._next += 1
            came = True
        for guest in self._guests:
            known = guest.forecast
            if known is not None and known.departure_ms is not None and known.departure_ms <= at_ms:
                guest.forecast = self._learned.forecast(guest.visit, at_ms)
        return came or freed

    def _taken(self, position: int, more: int) -> None:
        """So many more stand at a connector, at which one may go and the next come within a step;
        while nobody does, its offline current is kept for it."""
        before = self._there[position]
        self._there[position] += more
        change = bool(before) - bool(self._there[position])
        leaf = self._tree.leaves[position]
        for row, times in leaf.loads:
            self._kept_ma[row] += change * times * leaf.offline_ma

    def _next_window(self, at_ms: int) -> None:
        """A step counts for the window in which it begins."""
        start_ms = at_ms - at_ms % self._money.window_ms
        if start_ms != self._window_ms:
            if self._window_wh:
                self._money.window_over(self._peaks_w, self._window_ms, self._window_wh)
            self._window_ms, self._window_wh = start_ms, 0.0

    def _next_slot(self, slot: int) -> None:
        self._slot, self._slot_wh = slot, 0.0
        schedule = self._schedule
        if schedule is None:
            return
        place = schedule.slot(self._money.start_ms + slot * _SLOT_MS)
        if place is None:
            self._schedule = None
            return
        for guest in self._guests:
            self._set_out(guest, schedule, place)

    # --- the plan ---------------------------------------------------------------------------------

    def _plan_or_not(self, at_ms: int, slot: int) -> None:
        """Plan where that could hold anybody back; else nobody is."""
        if any(guest.known(at_ms) for guest in self._guests):
            self._plan(at_ms, slot)
            return
        self._schedule = None
        for guest in self._guests:
            guest.goal_wh = None

    def _plan(self, at_ms: int, slot: int) -> None:
        money, tree = self._money, self._tree
        slots = Slots(money.start_ms + slot * _SLOT_MS, _SLOT_MS, SLOTS)
        inputs = money.inputs(
            slot,
            SLOTS,
            peaks_w=self._peaks_w,
            expected=tuple(self._learned.expected(at_ms, slots.at(SLOTS))),
            arrivals=self._learned.arrivals,
        )
        left = (slots.at(1) - at_ms) / _SLOT_MS
        base_w = list(inputs.base_w or (0,) * SLOTS)
        base_w[0] += round(self._slot_wh / _SLOT_H)
        held = {}
        vehicles = []
        for guest in self._guests:
            vehicle, known = self._vehicle(guest, slots, at_ms)
            if vehicle is not None:
                vehicles.append(vehicle)
                held[guest.number] = known
        expected = expected_vehicles(tree.config, inputs, slots, at_ms + _REPLAN_MS)
        horizon = Horizon(
            slots=SLOTS,
            slot_s=SLOT_S,
            nodes=self._rows.nodes(slots, slot, self._kept_ma[: tree.lines], left=left),
            meters=(
                Meter(
                    id="meter",
                    node=tree.config.supply.id,
                    import_price_per_kwh=inputs.import_price_per_kwh,
                    export_price_per_kwh=inputs.export_price_per_kwh,
                    base_w=tuple(base_w),
                    demand=inputs.demand,
                ),
            ),
            vehicles=(*vehicles, *(vehicle for vehicle, _ in expected)),
            tier_penalties_per_kwh=penalties(inputs),
            late_price_per_kwh=dearest(inputs) / EARLY_PARTS,
        )
        asked = PlanQuestion(horizon=horizon, start_ms=slots.start_ms, gap=GAP_MANY, steps=_STEPS)
        self._schedule = self._desk.answer("site", asked)
        self._planned_ms = at_ms
        self._plans += 1
        for guest in self._guests:
            if held.get(guest.number):
                self._set_out(guest, self._schedule, 0)
            else:
                guest.goal_wh = None

    def _vehicle(self, guest: _Guest, slots: Slots, now_ms: int) -> tuple[Vehicle | None, bool]:
        """What a plan is told of somebody who is there, and whether it may hold it back."""
        stay, visit = guest.stay, guest.visit
        if not guest.wants:
            return None, False
        leaf = self._tree.leaves[stay.position]
        lacks_wh, leaves = guest.lacks_wh(), guest.leaves_ms(now_ms)
        known = bool(lacks_wh) and leaves is not None
        if lacks_wh is None:
            lacks_wh = max(NEED_USUAL_WH - guest.got_wh, NEED_LEAST_WH)
        elif lacks_wh < _NOTHING_WH:
            lacks_wh = NEED_LEAST_WH
        fastest_ms = round(lacks_wh * MS_PER_HOUR / guest.full_w)
        leaves_ms = now_ms + fastest_ms if leaves is None else leaves
        begins_ms = max(now_ms, visit.arrival_ms)
        ready_ms = aims_ms(
            arrival_ms=begins_ms,
            leaves_ms=leaves_ms,
            fastest_ms=fastest_ms,
            usual_ms=None if guest.forecast is None else guest.forecast.departure_ms,
        )
        charger = self._tree.config.chargers[self._learned.charger[stay.position]]
        return (
            Vehicle(
                id=visit.id,
                node=charger.circuit,
                lines=tuple(column + 1 for column in leaf.phases),
                voltage_v=self._tree.config.voltage_v,
                max_ma=stay.max_ma,
                arrival_s=(begins_ms - slots.start_ms) // MS_PER_S,
                departure_s=(ready_ms - slots.start_ms) // MS_PER_S,
                need_wh=round(lacks_wh),
                room_wh=round(lacks_wh),
                tier=tier_of_priority(leaf.priority),
                charge_permille=charger.efficiency_permille,
            ),
            known,
        )

    def _set_out(self, guest: _Guest, schedule: Schedule, slot: int) -> None:
        """What it is to gain in a slot of the plan, from now on."""
        place = schedule.index.get(guest.visit.id)
        if place is None or (slot and guest.goal_wh is None):
            guest.goal_wh = None
            return
        planned_ma = float(schedule.current_ma[place, slot])
        guest.goal_wh = planned_ma * guest.stay.wh_per_mah * _SLOT_H
        guest.from_wh = guest.got_wh

    # --- a step -----------------------------------------------------------------------------------

    def _flow(self, at_ms: int, slot: int) -> float:
        """Let everybody draw for one step; what the chargers take from the grid."""
        tree = self._tree
        max_ma = np.zeros(len(tree.leaves), np.int64)
        tier = np.zeros(len(tree.leaves), np.uint8)
        present: list[tuple[_Guest, int, float]] = []
        for guest in self._guests:
            visit, position = guest.visit, guest.stay.position
            until_ms = min(at_ms + STEP_MS, visit.departure_ms)
            span_h = (until_ms - max(at_ms, visit.arrival_ms)) / MS_PER_HOUR
            left_wh = guest.stay.want_wh - guest.got_wh
            if span_h <= 0 or left_wh <= 0:
                continue
            target_ma, tier[position] = self._target(guest, at_ms, slot)
            # On average over the step, of which it may be there for a part only.
            mean_ma = min(target_ma * span_h / _STEP_H, left_wh / guest.stay.wh_per_mah / _STEP_H)
            most_ma = int(mean_ma + 0.999)
            present.append((guest, most_ma, left_wh))
            # One may go and the next one come within a step.
            max_ma[position] += most_ma
        if not present:
            return 0.0
        given = self._allocated(slot, max_ma, tier)
        flows_wh = 0.0
        for guest, most_ma, left_wh in present:
            position = guest.stay.position
            current_ma = min(most_ma, given[position])
            given[position] -= current_ma
            gained_wh = min(current_ma * guest.stay.wh_per_mah * _STEP_H, left_wh)
            guest.got_wh += gained_wh
            flows_wh += gained_wh / self._learned.efficiency[position]
        return flows_wh

    def _target(self, guest: _Guest, at_ms: int, slot: int) -> tuple[float, int]:
        """The current that it is to have on average for the rest of the slot, and its tier."""
        leaf = self._tree.leaves[guest.stay.position]
        full_ma = float(guest.stay.max_ma)
        if guest.served:
            return full_ma, _TIER_SATISFIED
        laxity_ms = guest.laxity_ms(at_ms)
        guessed = guest.visit.need_wh is None or guest.visit.said_ms is None
        tier = STEPS * leaf.priority + urgency_step(laxity_ms, forecast=guessed)
        if guest.goal_wh is None or (laxity_ms is not None and laxity_ms < LAXITY_MIN_MS):
            return full_ma, tier
        ends_ms = self._money.start_ms + (slot + 1) * _SLOT_MS
        rest_h = (ends_ms - max(at_ms, guest.visit.arrival_ms)) / MS_PER_HOUR
        left_wh = max(0.0, guest.goal_wh - (guest.got_wh - guest.from_wh))
        return min(full_ma, left_wh / (guest.stay.wh_per_mah * rest_h)), tier

    def _allocated(
        self, slot: int, max_ma: NDArray[np.int64], tier: NDArray[np.uint8]
    ) -> list[int]:
        room_ma, contract_w = self._rows.at(slot, self._kept_ma.tolist())
        combined = None
        if self._tree.power_row is not None:
            room = int(room_ma.sum())
            if contract_w is not None:
                room = min(room, contract_w * 1_000 // self._tree.config.voltage_v)
            combined = np.array([room], np.int64)
        found = _core.allocate(
            self._tree.network,
            _core.Capacity(import_ma=room_ma, combined=combined),
            _core.Demand(
                min_ma=self._nothing,
                max_ma=max_ma,
                step_ma=self._milliampere,
                weight=self._weight,
                tier=tier,
                rank=self._nothing,
            ),
        )
        return list(found.current_ma.tolist())


@dataclass
class _Learned:
    """What the site knows from sessions that are over; and what stays the same of its chargers."""

    tree: SiteTree
    money: Money
    before: Sequence[Visit]
    charger: list[int] = field(init=False)
    """Of each connector."""
    efficiency: list[float] = field(init=False)

    def __post_init__(self) -> None:
        config = self.tree.config
        self.charger = [at for at, each in enumerate(config.chargers) for _ in each.connectors]
        self.efficiency = [config.chargers[at].efficiency_permille / 1_000 for at in self.charger]
        self._zone = self.money.zone
        self._calendar = calendar_of(config.tariff, self._zone)
        self._history, self._outlook = History(), Outlook()
        self._expected: list[ExpectedSession] = []
        self._expected_hour = -1
        edges = [(visit.arrival_ms, 0, visit) for visit in self.before]
        edges += [(visit.departure_ms, 1, visit) for visit in self.before]
        for _, over, visit in sorted(edges, key=lambda edge: (*edge[:2], edge[2].id)):
            if over:
                self.ended(visit, visit.energy_wh)
            else:
                self.arrived(visit)

    @property
    def arrivals(self) -> Arrivals:
        """Those who came before."""
        return self._outlook.arrivals

    def arrived(self, visit: Visit) -> None:
        self._outlook.arrived(visit.arrival_ms)

    def ended(self, visit: Visit, energy_wh: int) -> None:
        self._history.ended(
            visit.token,
            started_ms=visit.arrival_ms,
            ended_ms=visit.departure_ms,
            energy_wh=energy_wh,
            zone=self._zone,
        )
        self._outlook.ended(
            started_ms=visit.arrival_ms,
            ended_ms=visit.departure_ms,
            energy_wh=energy_wh,
            power_max_w=visit.power_max_w or 0,
            calendar=self._calendar,
        )

    def forecast(self, visit: Visit, now_ms: int) -> Forecast | None:
        return self._history.forecast(
            visit.token, started_ms=visit.arrival_ms, now_ms=now_ms, zone=self._zone
        )

    def expected(self, now_ms: int, until_ms: int) -> Iterator[ExpectedSession]:
        """Who will probably come; looked at anew every hour, as only hours that are over count."""
        if hour_of(now_ms) != self._expected_hour:
            self._expected_hour = hour_of(now_ms)
            arrivals = self._outlook.arrivals
            arrivals.passed(now_ms)
            self._expected = arrivals.expected(now_ms, until_ms, self._calendar)
        return (each for each in self._expected if each.arrival_ms > now_ms)
