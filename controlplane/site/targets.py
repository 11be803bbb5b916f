"""What a plan wants of every session at this moment.

A plan gives each session energy per slot. Here that becomes a current: on average over what is left
of the slot, so that the slot's energy is met, and corrected only where following it would miss that
clearly, because a charger that is told something new every minute wears. Many small averages are
gathered into few that vehicles can charge at.

Invariant: a target only ever narrows what a session is offered. Where no plan holds, where nobody
knows what a session needs, where the plan has come to contradict what is owed to a driver, there is
none, and urgency decides."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import TYPE_CHECKING

import msgspec
import numpy as np
from numpy.typing import NDArray

from controlplane.ids import ConnectorKey
from controlplane.planning.inputs import SiteInputs
from controlplane.planning.schedule import Schedule
from controlplane.site.demand import Demand, Pace, Source
from controlplane.site.gathering import Wish, enough, gathered
from controlplane.site.plan_terms import LAXITY_MIN_MS
from controlplane.units import MS_PER_HOUR

if TYPE_CHECKING:
    from controlplane.site.live import LiveConnector

__all__ = ["Sought", "SoughtSession", "Targets", "least_charging_ma"]

Slots = NDArray[np.intp]
"""Their numbers, ascending."""

STICK_MS = 3_600_000
"""Who charges goes on before those that can wait up to so much less."""

PEAK_PRICE_MIN = Decimal("0.001")
"""Of a kilowatt, in the currency; a peak for less is not held."""

PEAK_NEAR_PERCENT = 90
"""Of what can be drawn for no more; who comes within a slot could well take it beyond."""

_CORRECT_MS = 180_000
"""How long a current is kept before it is corrected within a slot."""

_CORRECT_PERMILLE = 50
"""The part of a slot's energy at full power by which a slot may be missed without a correction."""

_OTHER_DEPARTURE_MS = 60_000
_OTHER_NEED_WH = 1_000
"""Who leaves at a time so different, or needs so much more or less in all, wants something else
than when the last plan was made; states of charge are rounded, and jump by less."""

_GUESS_MAX_MS = 60_000
"""For how long a sample's power is counted on as energy."""


class SoughtSession(msgspec.Struct, frozen=True, kw_only=True):
    """A session as it stood in the question."""

    key: ConnectorKey | None
    """None: it is only expected."""
    arrival_ms: int
    departure_ms: int
    """When it leaves, by what is known or assumed."""
    need_wh: int
    """What it still needed, as its meter counts."""
    need_source: Source | None
    departure_source: Source | None
    held: bool
    """Whether the plan may hold it back: need and departure are known or forecast."""
    energy_wh: int
    """What it had then."""
    max_ma: int
    wh_per_mah: float
    """What its meter counts for a milliampere-hour on each of its lines."""
    grid_w_per_ma: float
    """What it draws from the grid for a milliampere on each of its lines."""
    aims_ms: int
    """By when the plan would have it ready."""
    tier: int
    path: tuple[str, ...] = ()
    """The circuits that feed it."""
    lines: tuple[int, ...] = ()
    """1 to 3."""


class Sought(msgspec.Struct, frozen=True, kw_only=True):
    """What a plan was asked for: the other half of its schedule."""

    asked_ms: int
    inputs: SiteInputs
    limit_w: tuple[int, ...]
    """By slot, what the supply leaves for vehicles."""
    metered_w: int
    """What flows through the meter in the running slot, on average over all of it, beside what the
    plan gives: what was drawn before, and the building where it is metered."""
    sessions: dict[str, SoughtSession]
    """By the names that vehicles have in the schedule."""
    feeder_id: str = ""
    """Whose plan for all its sites this one keeps to; empty: nobody's."""


class _Pursuit(msgspec.Struct):
    """How one session follows its slot."""

    goal_wh: float
    """What it is to gain in the slot."""
    from_wh: float
    """What it had when that began."""
    current_ma: int
    """What it follows at the moment; below its minimum only where it feeds in or waits."""
    partial: bool
    """It charges at its minimum until it has the goal, and then waits."""
    since_ms: int


class Targets:
    """The plan that a site follows, and how far it is. Not durable: a host that takes over asks for
    a plan of its own."""

    def __init__(self) -> None:
        self.schedule: Schedule | None = None
        self.sought: Sought | None = None
        self.valid_until_ms = 0
        self._begun_ms: int | None = None
        """The beginning of the slot that is pursued."""
        self._adopted = False
        """Whether the plan is new since pursuits were set out last."""
        self._changed: frozenset[str] = frozenset()
        """Sessions of which the plan that is new has been told something else than the last."""
        self._pursuits: dict[str, _Pursuit] = {}

    def adopt(
        self,
        schedule: Schedule,
        sought: Sought,
        *,
        valid_until_ms: int,
        anew: bool,
    ) -> None:
        """Follow another plan.

        Args:
            anew: from this moment on. Otherwise those who pursue what the last plan gave them in
                the running slot go on until it ends, unless their needs or departures are others
                now, or somebody came who would draw beside them and take the site beyond a peak
                that is free.
        """
        if self.sought is not None:
            self._changed |= _changed(self.sought, sought)
        self.schedule, self.sought = schedule, sought
        self.valid_until_ms = valid_until_ms
        self._adopted = True
        if anew:
            self._begun_ms = None

    def drop(self) -> None:
        """Follow no plan."""
        self.schedule = self.sought = self._begun_ms = None
        self.valid_until_ms, self._changed = 0, frozenset()
        self._pursuits = {}

    def followed(self, now_ms: int) -> bool:
        """Whether there is a plan that still holds."""
        schedule = self.schedule
        return (
            schedule is not None
            and now_ms < self.valid_until_ms
            and schedule.slot(now_ms) is not None
        )

    def wanted_ma(self, session_id: str) -> int | None:
        """What a session is to follow in this slot, whatever it is given for the sake of its
        charger; None where the plan leaves it alone."""
        pursuit = self._pursuits.get(session_id)
        return None if pursuit is None else pursuit.current_ma

    def unknown(self, connectors: Sequence[LiveConnector]) -> bool:
        """Whether somebody could be planned for who is not in the plan."""
        known = {} if self.sought is None else self.sought.sessions
        return self.schedule is not None and any(
            demand is not None
            and demand.session.session_id not in known
            and not demand.holding
            and connector.entry.online
            and connector.entry.settled
            for connector in connectors
            for demand in [connector.demand]
        )

    def next_change_ms(self, now_ms: int) -> int | None:
        """When targets change by themselves, at the latest."""
        schedule = self.schedule
        if schedule is None or not self.followed(now_ms):
            return None
        slot = schedule.slot(now_ms)
        assert slot is not None  # `followed` says so
        return min(schedule.start_ms + (slot + 1) * schedule.slot_ms, self.valid_until_ms)

    # --- following --------------------------------------------------------------------------------

    def follow(self, connectors: Sequence[LiveConnector], now_ms: int, pace: Pace) -> None:
        """Give every demand the target of this moment, or none."""
        if not self.followed(now_ms):
            for connector in connectors:
                if connector.demand is not None:
                    connector.demand.target_ma = None
            return
        schedule = self.schedule
        assert schedule is not None
        slot = schedule.slot(now_ms)
        assert slot is not None
        begins_ms = schedule.start_ms + slot * schedule.slot_ms
        if begins_ms != self._begun_ms:
            self._pursuits = self._set_out(connectors, slot, now_ms, before=self._pursuits)
        elif self._adopted:
            others = [
                connector
                for connector in connectors
                if connector.demand is not None
                and (name := connector.demand.session.session_id)
                and (name not in self._pursuits or name in self._changed)
            ]
            found = self._set_out(others, slot, now_ms, before={})
            if found and self._near_peak(slot):
                found = self._set_out(connectors, slot, now_ms, before=self._pursuits)
            self._pursuits |= found
        self._begun_ms, self._adopted, self._changed = begins_ms, False, frozenset()
        for connector in connectors:
            if connector.demand is not None:
                connector.demand.target_ma = self._target_ma(connector, slot, now_ms, pace)

    def _near_peak(self, slot: int) -> bool:
        """Whether what the plan has for the slot in which it was asked is about as much as can be
        drawn without paying for another peak."""
        schedule, sought = self.schedule, self.sought
        assert schedule is not None and sought is not None
        free_w = [
            charge.so_far_w
            for charge in sought.inputs.demand
            if charge.price_per_kw > PEAK_PRICE_MIN and (not charge.slots or charge.slots[slot])
        ]
        if not free_w:
            return False
        planned_w = sum(
            int(schedule.current_ma[place, slot]) * sought.sessions[name].grid_w_per_ma
            for name, place in schedule.index.items()
            if name in sought.sessions
        )
        return (sought.metered_w + planned_w) * 100 >= min(free_w) * PEAK_NEAR_PERCENT

    def _set_out(
        self,
        connectors: Sequence[LiveConnector],
        slot: int,
        now_ms: int,
        *,
        before: Mapping[str, _Pursuit],
    ) -> dict[str, _Pursuit]:
        """What each of these is to gain in a slot, or in what a new plan leaves of it."""
        schedule, sought = self.schedule, self.sought
        assert schedule is not None and sought is not None
        span_h = (schedule.start_ms + (slot + 1) * schedule.slot_ms - now_ms) / MS_PER_HOUR
        cheap = self._no_dearer(slot)
        known: list[tuple[str, SoughtSession, float]] = []
        wishes = []
        for connector in connectors:
            demand = connector.demand
            name = "" if demand is None else demand.session.session_id
            session = sought.sessions.get(name)
            if demand is None or session is None or not session.held:
                continue
            if name in schedule.index and session.arrival_ms <= now_ms:
                energy_wh = _energy_wh(connector, now_ms)
                known.append((name, session, energy_wh))
                wishes.append(
                    self._wish(connector, session, slot, cheap, energy_wh=energy_wh, span_h=span_h)
                )
        pursuits = {}
        for (name, session, energy_wh), wish, given_ma in zip(
            known, wishes, gathered(wishes), strict=True
        ):
            low = 0 < given_ma < wish.min_ma
            current_ma = wish.min_ma if low else given_ma
            pursuits[name] = _Pursuit(
                goal_wh=given_ma * session.wh_per_mah * span_h,
                from_wh=energy_wh,
                current_ma=_kept(before.get(name), current_ma, session),
                # Who needs no more than that stops by itself.
                partial=low and not enough(wish, given_ma),
                since_ms=now_ms,
            )
        return pursuits

    def _wish(
        self,
        connector: LiveConnector,
        session: SoughtSession,
        slot: int,
        cheap: Slots,
        *,
        energy_wh: float,
        span_h: float,
    ) -> Wish:
        """What a vehicle is to have in what is left of a slot: all that the plan gives it up to the
        slot's end, less what it has gained since the plan was made."""
        schedule, demand = self.schedule, connector.demand
        assert schedule is not None and demand is not None
        row = schedule.current_ma[schedule.index[demand.session.session_id]]
        gained_wh = energy_wh - session.energy_wh
        per_ma = session.wh_per_mah * span_h
        planned_ma, slot_h = int(row[slot]), schedule.slot_ms / MS_PER_HOUR
        if planned_ma < 0:
            # On average over all of a slot, of which a plan has only what is left.
            planned_ma = max(round(planned_ma * slot_h / span_h), -session.max_ma)
        else:
            due_wh = float(row[: slot + 1].sum()) * session.wh_per_mah * slot_h
            planned_ma = round(max(0.0, due_wh - gained_wh) / per_ma)
        planned_ma = min(planned_ma, session.max_ma)
        full_wh = session.max_ma * session.wh_per_mah
        left_wh = max(0.0, session.need_wh - gained_wh)
        ends_ms = schedule.start_ms + (slot + 1) * schedule.slot_ms
        later_wh = full_wh * max(0, session.aims_ms - ends_ms) / MS_PER_HOUR
        most_wh = min(left_wh, full_wh * span_h)
        due_wh, cheap_ms = self._as_cheap(session, row, cheap)
        due_wh = min(left_wh, due_wh + max(0, planned_ma) * per_ma)
        must_wh = max(left_wh - later_wh, due_wh - full_wh * cheap_ms / MS_PER_HOUR)
        latest_ms = ends_ms + cheap_ms - round(due_wh / full_wh * MS_PER_HOUR)
        return Wish(
            planned_ma=planned_ma,
            min_ma=least_charging_ma(connector, demand),
            most_ma=math.ceil(most_wh / per_ma),
            must_ma=max(0, math.ceil(min(must_wh, most_wh) / per_ma)),
            w_per_ma=session.grid_w_per_ma,
            rank=(due_wh < per_ma, latest_ms - (STICK_MS if demand.turn.on else 0)),
            group=(session.tier, self._full_rows(session, slot)),
        )

    def _no_dearer(self, slot: int) -> Slots:
        """The slots after one at whose price or less energy can be had, ascending."""
        sought = self.sought
        assert sought is not None
        price, *later = (float(each) for each in sought.inputs.import_price_per_kwh[slot:])
        return np.flatnonzero(np.array(later) <= price) + slot + 1

    def _as_cheap(
        self, session: SoughtSession, row: NDArray[np.int32], cheap: Slots
    ) -> tuple[float, int]:
        """What the plan gives a vehicle in `cheap` slots before it is to be ready, and how long
        these last.

        Whoever charges in its place now, it has only those left: at full power they must suffice,
        or something is charged at a dearer time than planned."""
        schedule = self.schedule
        assert schedule is not None
        until, rest_ms = divmod(session.aims_ms - schedule.start_ms, schedule.slot_ms)
        later = cheap[: np.searchsorted(cheap, until)]
        planned = float(row[later].clip(0).sum())
        cheap_ms = len(later) * schedule.slot_ms
        if rest_ms and len(later) < len(cheap) and cheap[len(later)] == until:
            planned += max(0, int(row[until]))
            cheap_ms += rest_ms
        slot_h = schedule.slot_ms / MS_PER_HOUR
        return planned * session.wh_per_mah * slot_h, cheap_ms

    def _full_rows(self, session: SoughtSession, slot: int) -> tuple[tuple[str, int], ...]:
        """The rows above a session that are full in a slot."""
        schedule = self.schedule
        assert schedule is not None
        return tuple(
            (row.node, row.line)
            for row in schedule.rows
            if row.price[slot] > 0
            and row.node in session.path
            and (row.line == 0 or row.line in session.lines)
        )

    def _target_ma(
        self, connector: LiveConnector, slot: int, now_ms: int, pace: Pace
    ) -> int | None:
        demand, leaf = connector.demand, connector.leaf
        schedule, sought = self.schedule, self.sought
        assert demand is not None and schedule is not None and sought is not None
        name = demand.session.session_id
        pursuit, session = self._pursuits.get(name), sought.sessions.get(name)
        if pursuit is None or session is None or demand.boosted:
            return None
        if demand.holding and pursuit.current_ma >= 0:
            return None
        laxity_ms = demand.laxity_ms(leaf, now_ms)
        if laxity_ms is not None and laxity_ms < LAXITY_MIN_MS:
            return None
        ends_ms = schedule.start_ms + (slot + 1) * schedule.slot_ms
        min_ma = least_charging_ma(connector, demand)
        left_wh = pursuit.goal_wh - (_energy_wh(connector, now_ms) - pursuit.from_wh)
        if pursuit.current_ma >= min_ma and not pursuit.partial:
            _correct(pursuit, session, left_wh, min_ma, ends_ms=ends_ms, now_ms=now_ms)
        target_ma = pursuit.current_ma
        if pursuit.partial and left_wh <= 0:
            target_ma = 0
        if target_ma < 0:
            return target_ma
        return _steady(connector, demand, target_ma, now_ms=now_ms, pace=pace)


def _steady(
    connector: LiveConnector, demand: Demand, target_ma: int, *, now_ms: int, pace: Pace
) -> int:
    """Neither switched off nor on before it has lasted, and never below a guarantee."""
    turn, min_ma = demand.turn, least_charging_ma(connector, demand)
    lasted = now_ms - turn.since_ms >= pace.dwell_ms
    if turn.on and target_ma < min_ma and (not lasted or demand.behaviour.delicate):
        target_ma = min_ma
    began = now_ms - demand.session.started_ms < pace.dwell_ms
    if not turn.on and target_ma >= min_ma and not lasted and not began:
        target_ma = 0
    guaranteed_ma = demand.terms.guaranteed_ma
    if guaranteed_ma:
        # A guarantee is given in whole steps, and is no less than what charges at all.
        step_ma = connector.leaf.step_ma
        return max(target_ma, min_ma, -(-guaranteed_ma // step_ma) * step_ma)
    return target_ma


def _correct(
    pursuit: _Pursuit,
    session: SoughtSession,
    left_wh: float,
    min_ma: int,
    *,
    ends_ms: int,
    now_ms: int,
) -> None:
    """Follow another current where this one would clearly miss what the slot is to bring."""
    left_h = (ends_ms - now_ms) / MS_PER_HOUR
    if left_h <= 0 or now_ms - pursuit.since_ms < _CORRECT_MS:
        return
    wanted_ma = left_wh / (left_h * session.wh_per_mah)
    slot_h = (ends_ms - pursuit.since_ms) / MS_PER_HOUR
    missed_wh = abs(wanted_ma - pursuit.current_ma) * session.wh_per_mah * left_h
    most_wh = session.max_ma * session.wh_per_mah * slot_h
    if missed_wh * 1_000 > most_wh * _CORRECT_PERMILLE:
        pursuit.current_ma = max(min_ma, min(round(wanted_ma), session.max_ma))
        pursuit.since_ms = now_ms


def _changed(before: Sought, after: Sought) -> frozenset[str]:
    """The sessions that want clearly something else, or until another time, than they did."""
    return frozenset(
        name
        for name, session in after.sessions.items()
        if (known := before.sessions.get(name)) is not None
        and known.held
        and session.held
        and (
            abs(session.departure_ms - known.departure_ms) >= _OTHER_DEPARTURE_MS
            or abs(session.need_wh + session.energy_wh - known.need_wh - known.energy_wh)
            >= _OTHER_NEED_WH
        )
    )


def _kept(last: _Pursuit | None, current_ma: int, session: SoughtSession) -> int:
    """The current of the slot before where the new one is hardly another: no news is best."""
    if last is None or last.partial or not last.current_ma or not current_ma:
        return current_ma
    near = abs(last.current_ma - current_ma) * 1_000 <= session.max_ma * _CORRECT_PERMILLE
    return last.current_ma if near else current_ma


def least_charging_ma(connector: LiveConnector, demand: Demand) -> int:
    """The least at which it charges: no less than its default profile, which nobody is sent
    below."""
    leaf, fallback_ma = connector.leaf, connector.entry.fallback_ma
    min_ma = demand.current_min_ma(leaf)
    return max(min_ma, fallback_ma) if fallback_ma >= leaf.min_ma else min_ma


def _energy_wh(connector: LiveConnector, now_ms: int) -> float:
    """What the session has drawn by now, by its meter and the power since."""
    demand = connector.demand
    assert demand is not None
    energy_wh = float(demand.net_wh)
    if connector.measured_w is not None:
        since_ms = min(max(0, now_ms - connector.measured_at_ms), _GUESS_MAX_MS)
        energy_wh += connector.measured_w * since_ms / MS_PER_HOUR
    return energy_wh
