"""What each connector could use, and who goes first where not everybody can be served.

Nothing here is durable: sessions are told again after a crash, habits are learned again within
minutes. Invariant: demand only ever narrows what a connector is offered; what it may draw is the
ledger's business alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from controlplane.ids import ConnectorKey
from controlplane.ocpp.events import ConnectorStatus
from controlplane.site.ledger import Entry
from controlplane.site.messages import SessionDemand
from controlplane.site.policy import UNRULED, Terms
from controlplane.site.tree import Leaf
from controlplane.units import MS_PER_HOUR

__all__ = ["TIER_BOOST", "TIER_HOLDING", "Demand", "Habit", "Pace", "Turn", "tier_of"]

TIER_BOOST: Final = 0
"""Served before all priorities: what somebody asked to go first for a while."""

TIER_HOLDING: Final = 200
"""Served after all priorities: vehicles that do not charge, but may wake."""

HEADROOM_MIN_MA = 2_000
"""What a vehicle is offered above what it draws, so that it shows when it wants more."""


def tier_of(priority: int) -> int:
    """The core's tier of a priority, 0 to 9. Up to nine more urgent tiers fit before the next."""
    return 10 + 10 * priority


@dataclass(frozen=True, slots=True)
class Pace:
    """Durations that follow from how long a vehicle takes to obey (`ActorSettings.ramp_ms`)."""

    ramp_ms: int

    @property
    def habit_ms(self) -> int:
        """How long a vehicle must draw less than it is offered before the rest is lent."""
        return 2 * self.ramp_ms

    @property
    def probe_ms(self) -> int:
        """How often a vehicle that was narrowed is offered everything again."""
        return 20 * self.ramp_ms

    @property
    def dwell_ms(self) -> int:
        """How long a vehicle charges at least before it may be paused for another's turn."""
        return 10 * self.ramp_ms

    @property
    def turn_ms(self) -> int:
        """How long a paused vehicle waits until it goes before those that are charging."""
        return 30 * self.ramp_ms


@dataclass(slots=True)
class Habit:
    """What the meter teaches about one session: how much of its limit it uses."""

    cap_ma: int | None = None
    capped_ms: int = 0
    below_since_ms: int | None = None

    def metered(self, entry: Entry, *, now_ms: int, pace: Pace) -> bool:
        """Learn from the entry's newest sample; a limit that is still being followed teaches
        nothing. True if what the vehicle is offered changes by it."""
        before_ma = self.cap_ma
        self._learn(entry, now_ms=now_ms, pace=pace)
        return self.cap_ma != before_ma

    def _learn(self, entry: Entry, *, now_ms: int, pace: Pace) -> None:
        measured, limit = entry.measured_ma, entry.asked_ma
        if measured is None or limit is None or entry.settling:
            self.below_since_ms = None
            return
        headroom_ma = max(HEADROOM_MIN_MA, measured // 10)
        if self.cap_ma is not None and (
            measured > limit - headroom_ma // 2 or now_ms - self.capped_ms >= pace.probe_ms
        ):
            self.cap_ma = self.below_since_ms = None
        elif limit == 0 or measured >= limit - headroom_ma:
            self.below_since_ms = None
        elif self.below_since_ms is None or self.below_since_ms < entry.acknowledged_ms:
            self.below_since_ms = now_ms
        elif now_ms - self.below_since_ms >= pace.habit_ms:
            if self.cap_ma is None:
                self.capped_ms = now_ms
            self.cap_ma = measured + headroom_ma


@dataclass(slots=True)
class Turn:
    """Since when a session has been charging or paused by us."""

    on: bool = False
    since_ms: int = 0

    def observe(self, *, on: bool, now_ms: int) -> None:
        if on != self.on:
            self.on, self.since_ms = on, now_ms


@dataclass(slots=True)
class Demand:
    """What one connector's session wants."""

    status: ConnectorStatus | None
    session: SessionDemand
    energy_wh: int
    habit: Habit
    turn: Turn
    terms: Terms = UNRULED
    """What the site's hours and rules give its session at the moment."""
    boosted: bool = False
    """It goes first at the moment, because somebody asked for that."""
    override_ma: int | None = None
    """What an operator holds its connector to at the moment."""

    @property
    def charging(self) -> bool:
        """Whether it would draw if it were allowed to."""
        return self.session.charging or self.status is ConnectorStatus.SUSPENDED_EVSE

    @property
    def satisfied(self) -> bool:
        need_wh = self.session.need_wh
        return need_wh is not None and self.energy_wh >= need_wh

    @property
    def holding(self) -> bool:
        """It does not charge for reasons of its own, or has all it needs: it is offered its
        minimum where there is room, because it may wake."""
        return not self.charging or self.satisfied

    def differs(self, other: Demand) -> bool:
        """Whether another round could come out differently for it."""
        return (
            self.holding != other.holding
            or self.session.session_id != other.session.session_id
            or self.session.need_wh != other.session.need_wh
            or self.session.departure_ms != other.session.departure_ms
            or self.session.id_token != other.session.id_token
            or self.session.boost_until_ms != other.session.boost_until_ms
        )

    def tier(self, leaf: Leaf) -> int:
        if self.holding:
            return TIER_HOLDING
        if self.boosted:
            return TIER_BOOST
        return tier_of(self.priority(leaf))

    def priority(self, leaf: Leaf) -> int:
        """0 to 9, by its rule or its connector."""
        return leaf.priority if self.terms.priority is None else self.terms.priority

    def weight(self, leaf: Leaf) -> int:
        return leaf.weight if self.terms.weight is None else self.terms.weight

    @property
    def ceiling_ma(self) -> int | None:
        """What it may be given at most, by rules and operators; None where they do not say."""
        return self.override_ma if self.terms.may_charge else 0

    def laxity_ms(self, leaf: Leaf, now_ms: int) -> int | None:
        """How long the session could wait at full power and still be ready; None where need or
        departure is unknown."""
        need_wh, departure_ms = self.session.need_wh, self.session.departure_ms
        if need_wh is None or departure_ms is None or leaf.power_max_w == 0:
            return None
        deficit_wh = max(0, need_wh - self.energy_wh)
        return departure_ms - now_ms - deficit_wh * MS_PER_HOUR // leaf.power_max_w

    def order(self, leaf: Leaf, now_ms: int, pace: Pace) -> tuple[int, int, int, ConnectorKey]:
        """Sort key of admission: lowest first.

        A vehicle that charges is kept for a dwell; then those go first that have waited a turn,
        whoever has the least laxity leading; then who charges; then who was paused lately.
        """
        lasted_ms = now_ms - self.turn.since_ms
        if self.turn.on:
            group = 0 if lasted_ms < pace.dwell_ms else 2
        else:
            group = 1 if lasted_ms >= pace.turn_ms else 3
        laxity_ms = self.laxity_ms(leaf, now_ms)
        # Who was switched on last stays; who was switched off first comes back first.
        waited = -self.turn.since_ms if self.turn.on else self.turn.since_ms
        return (group, 2**62 if laxity_ms is None else laxity_ms, waited, leaf.key)
