"""What a plan wants of every session at this moment.

A plan gives each session energy per slot. Here that becomes a current: on average over what is left
of the slot, so that the slot's energy is met, and corrected only where following it would miss that
clearly, because a charger that is told something new every minute wears. Averages below what a
vehicle charges at are gathered: so many vehicles charge at their minimum as the averages of all add
up to, one of them perhaps for a part of the slot.

Invariant: a target only ever narrows what a session is offered. Where no plan holds, where nobody
knows what a session needs, where the plan has come to contradict what is owed to a driver, there is
none, and urgency decides."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import msgspec

from controlplane.ids import ConnectorKey
from controlplane.planning.inputs import SiteInputs
from controlplane.planning.schedule import Schedule
from controlplane.site.demand import Demand, Pace, Source
from controlplane.units import MS_PER_HOUR

if TYPE_CHECKING:
    from controlplane.site.live import LiveConnector

__all__ = ["LAXITY_MIN_MS", "Sought", "SoughtSession", "Targets", "Wish", "gathered"]

LAXITY_MIN_MS = 300_000
"""A session that can wait no longer than this is not held back by any plan."""

_FULL_PERMILLE = 970
"""An average this near to all that a vehicle takes is all."""

_CORRECT_MS = 180_000
"""How long a current is kept before it is corrected within a slot."""

_CORRECT_PERMILLE = 50
"""The part of a slot's energy at full power by which a slot may be missed without a correction."""

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


class Sought(msgspec.Struct, frozen=True, kw_only=True):
    """What a plan was asked for: the other half of its schedule."""

    asked_ms: int
    inputs: SiteInputs
    limit_w: tuple[int, ...]
    """By slot, what the supply leaves for vehicles."""
    sessions: dict[str, SoughtSession]
    """By the names that vehicles have in the schedule."""


class Wish(msgspec.Struct, frozen=True):
    """What one vehicle is to draw on average, for `gathered`."""

    average_ma: int
    min_ma: int
    w_per_ma: float
    rank: tuple[int, int]
    """Who charges first where not all do: lowest first."""


def gathered(wishes: Sequence[Wish]) -> list[int]:
    """Averages that vehicles can charge at, of the same power in all but for half of one minimum:
    nothing, the minimum or more, or for the last one in a row less than its minimum, which means
    the minimum for a part of the time."""
    result = [wish.average_ma for wish in wishes]
    low = [at for at, wish in enumerate(wishes) if 0 < wish.average_ma < wish.min_ma]
    left_w = sum(wishes[at].average_ma * wishes[at].w_per_ma for at in low)
    for at in sorted(low, key=lambda each: (wishes[each].rank, each)):
        wish = wishes[at]
        minimum_w = wish.min_ma * wish.w_per_ma
        given_w = min(left_w, minimum_w)
        # Less than a third of a slot is not worth switching for.
        worth = given_w * 3 >= minimum_w
        result[at] = round(wish.min_ma * given_w / minimum_w) if worth else 0
        left_w -= given_w if worth else 0.0
    return result


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
        self.feeder_id = ""
        """Who planned it, where that was not the site."""
        self._slot: int | None = None
        self._pursuits: dict[str, _Pursuit] = {}

    def adopt(
        self, schedule: Schedule, sought: Sought, *, valid_until_ms: int, feeder_id: str = ""
    ) -> None:
        """Follow another plan from now on."""
        self.schedule, self.sought = schedule, sought
        self.valid_until_ms, self.feeder_id = valid_until_ms, feeder_id
        self._slot = None

    def drop(self) -> None:
        """Follow no plan."""
        self.schedule = self.sought = self._slot = None
        self.valid_until_ms = 0
        self._pursuits = {}

    def followed(self, now_ms: int) -> bool:
        """Whether there is a plan that still holds."""
        schedule = self.schedule
        return (
            schedule is not None
            and now_ms < self.valid_until_ms
            and schedule.slot(now_ms) is not None
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
        if slot != self._slot:
            self._begin(connectors, slot, now_ms, pace)
        for connector in connectors:
            if connector.demand is not None:
                connector.demand.target_ma = self._target_ma(connector, now_ms, pace)

    def _begin(
        self, connectors: Sequence[LiveConnector], slot: int, now_ms: int, pace: Pace
    ) -> None:
        """Set out what everybody is to gain in a slot, or in what a new plan leaves of it."""
        schedule, sought = self.schedule, self.sought
        assert schedule is not None and sought is not None
        begins_ms = schedule.start_ms + slot * schedule.slot_ms
        ends_ms = begins_ms + schedule.slot_ms
        fresh = self._slot is None
        from_ms = max(begins_ms, sought.asked_ms) if fresh else now_ms
        stretch = schedule.slot_ms / max(1, ends_ms - from_ms)
        self._slot = slot
        names: list[tuple[str, LiveConnector, SoughtSession]] = []
        wishes = []
        for connector in connectors:
            demand = connector.demand
            name = "" if demand is None else demand.session.session_id
            session = sought.sessions.get(name)
            place = schedule.index.get(name)
            if demand is None or session is None or place is None or not session.held:
                continue
            average_ma = round(int(schedule.current_ma[place, slot]) * stretch)
            min_ma = _min_ma(connector, demand)
            if average_ma * 1_000 >= session.max_ma * _FULL_PERMILLE:
                average_ma = max(min_ma, session.max_ma)
            names.append((name, connector, session))
            wishes.append(
                Wish(average_ma, min_ma, session.grid_w_per_ma, _rank(connector, now_ms, pace))
            )
        before, self._pursuits = self._pursuits, {}
        for (name, connector, session), wish, gathered_ma in zip(
            names, wishes, gathered(wishes), strict=True
        ):
            partial = 0 < gathered_ma < wish.min_ma
            energy_wh = float(session.energy_wh) if fresh else _energy_wh(connector, now_ms)
            span_h = (ends_ms - from_ms) / MS_PER_HOUR
            current_ma = wish.min_ma if partial else gathered_ma
            known = before.get(name)
            if known is not None and abs(known.current_ma - current_ma) * 20 <= session.max_ma:
                # Hardly another: not worth a message.
                current_ma = known.current_ma
            self._pursuits[name] = _Pursuit(
                goal_wh=gathered_ma * session.wh_per_mah * span_h,
                from_wh=energy_wh,
                current_ma=current_ma,
                partial=partial,
                since_ms=now_ms,
            )

    def _target_ma(self, connector: LiveConnector, now_ms: int, pace: Pace) -> int | None:
        demand, leaf = connector.demand, connector.leaf
        schedule, sought, slot = self.schedule, self.sought, self._slot
        assert demand is not None and schedule is not None and sought is not None
        assert slot is not None
        name = demand.session.session_id
        pursuit = self._pursuits.get(name)
        if pursuit is None or demand.boosted or demand.holding:
            return None
        laxity_ms = demand.laxity_ms(leaf, now_ms)
        if laxity_ms is not None and laxity_ms < LAXITY_MIN_MS:
            return None
        session = sought.sessions[name]
        ends_ms = schedule.start_ms + (slot + 1) * schedule.slot_ms
        min_ma = _min_ma(connector, demand)
        left_wh = pursuit.goal_wh - (_energy_wh(connector, now_ms) - pursuit.from_wh)
        if pursuit.current_ma >= min_ma and not pursuit.partial:
            _correct(pursuit, session, left_wh, min_ma, ends_ms=ends_ms, now_ms=now_ms)
        target_ma = pursuit.current_ma
        if pursuit.partial and left_wh <= 0:
            target_ma = 0
        if target_ma < 0:
            return target_ma
        return self._steady(connector, demand, max(0, target_ma), min_ma, now_ms, pace)

    @staticmethod
    def _steady(
        connector: LiveConnector,
        demand: Demand,
        target_ma: int,
        min_ma: int,
        now_ms: int,
        pace: Pace,
    ) -> int:
        """Neither switched off nor on before it has lasted, and never below a guarantee."""
        turn = demand.turn
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


def _min_ma(connector: LiveConnector, demand: Demand) -> int:
    """The least at which it charges: no less than its default profile, which nobody is sent
    below."""
    leaf, fallback_ma = connector.leaf, connector.entry.fallback_ma
    min_ma = demand.current_min_ma(leaf)
    return max(min_ma, fallback_ma) if fallback_ma >= leaf.min_ma else min_ma


def _rank(connector: LiveConnector, now_ms: int, pace: Pace) -> tuple[int, int]:
    """Who charges goes on, then by laxity."""
    demand = connector.demand
    assert demand is not None
    laxity_ms = demand.laxity_ms(connector.leaf, now_ms)
    short = laxity_ms is not None and laxity_ms < pace.known_turn_ms
    group = 0 if short else 1 if demand.turn.on else 2
    return group, 2**62 if laxity_ms is None else laxity_ms


def _energy_wh(connector: LiveConnector, now_ms: int) -> float:
    """What the session has drawn by now, by its meter and the power since."""
    demand = connector.demand
    assert demand is not None
    energy_wh = float(demand.energy_wh)
    if connector.measured_w is not None:
        since_ms = min(max(0, now_ms - connector.measured_at_ms), _GUESS_MAX_MS)
        energy_wh += connector.measured_w * since_ms / MS_PER_HOUR
    return energy_wh
