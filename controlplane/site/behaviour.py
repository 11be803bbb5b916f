"""What the meter teaches about one vehicle: at what current it begins, which conductors it uses,
how fast it follows, how much it really takes, when it is nearly full, and whether a pause put it
to sleep.

Nothing is taken from one sample. A limit that is still being followed teaches nothing; what is seen
must last. What was learned is the first guess at the driver's next visit (`forecast.Vehicle`).

Invariants: what is learned narrows or orders what a vehicle is offered and raises no limit above
what the round would have given; rows count all conductors of a connector, whichever the vehicle
uses; a sleeper is nudged twice in a session at most, and one that does not bear a pause is not
toggled."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Final

import msgspec

from controlplane.site.forecast import Vehicle
from controlplane.site.ledger import Entry
from controlplane.site.messages import ConnectorMetered
from controlplane.site.tree import Leaf
from controlplane.site.urgency import Pace
from controlplane.units import MS_PER_HOUR

__all__ = ["IDLE_MA", "NOT_NUDGED", "OFFER", "START_MAX_MA", "Behaviour", "Nudge"]

HEADROOM_MIN_MA = 2_000
"""What a vehicle is offered above what it draws, so that it shows when it wants more."""

IDLE_MA = 1_000
"""Below this a vehicle draws for its electronics at most."""

SURE_MA = 5_000
"""A conductor that carries this much tells which of the others are used."""

START_STEP_MA = 2_000
START_MAX_MA = 14_000
"""A vehicle that does not begin is offered this much more than what failed, up to here: no vehicle
is known that needs more than 13 A to begin."""

NUDGES_MAX = 2

_TAPER_PERCENT = 80
"""A vehicle is nearly full once it takes this much of what it took, though it is offered more."""


class Nudge(Enum):
    """What is being done to a vehicle that does not begin."""

    NONE = auto()
    REST = auto()
    """Offered nothing for a moment, so that what comes next is news to it."""
    OFFER = auto()
    """Offered more than its minimum, as if it charged."""


NOT_NUDGED: Final = Nudge.NONE
OFFER: Final = Nudge.OFFER
"""By names of their own: a member is asked of its enumeration four times as slowly, and these are
asked for several times for each session and round."""


@dataclass(slots=True)
class _Taper:
    since_ms: int
    power_w: int


@dataclass(slots=True)
class Behaviour:
    """What is known of the vehicle of one session. Feed it every sample and every round."""

    known: Vehicle = field(default_factory=Vehicle)
    cap_ma: int | None = None
    """What it is offered where others could use the rest; None: all."""
    nudge: Nudge = Nudge.NONE
    nudges: int = 0
    power_w: int | None = None
    _capped_ms: int = 0
    _below_since_ms: int | None = None
    _peak_w: int = 0
    _taper: _Taper | None = None
    _phases_seen: int = 0
    _idle_since_ms: int | None = None
    _failed_ma: int = 0
    """The highest limit at which it did not begin."""
    _willing: bool = False
    _turned_ms: int = 0
    """When it last changed its mind about charging."""
    _drew: bool = False
    _paused_ms: int | None = None
    """When we paused it last, until it draws again."""
    _raised: tuple[int, int] | None = None
    """A raise that it has yet to follow: when it was acknowledged, and to what."""
    _seen_ma: int = 0
    """The limit in force at the last sample."""
    _nudged_ms: int = 0

    # --- what follows from it ---------------------------------------------------------------------

    @property
    def start_ma(self) -> int:
        """The least that is worth offering to a vehicle that would charge; 0 where nothing speaks
        against the connector's minimum."""
        known_ma = self.known.start_ma or 0
        if not self._failed_ma:
            return known_ma
        return max(known_ma, min(self._failed_ma + START_STEP_MA, START_MAX_MA))

    @property
    def untried_ma(self) -> int:
        """The least that has not failed in this session, whatever was learned at visits before:
        another vehicle may have come with the same token."""
        return self._failed_ma + 1 if self._failed_ma else 0

    @property
    def delicate(self) -> bool:
        """Whether a pause is worse for it than for others."""
        return self.known.sleeps or self.known.faults

    @property
    def stopped(self) -> bool:
        """Whether it drew and has not been paused by us since: if it draws nothing, that is its own
        choice."""
        return self._drew and self._paused_ms is None

    def left_wh(self, now_ms: int, pace: Pace) -> int | None:
        """How much a vehicle that is nearly full still takes, or None while it does not taper.

        The end of charging falls off like exp(-t / tau), and what is left of that is power times
        tau. One that falls off in a straight line has less left.
        """
        taper, power_w = self._taper, self.power_w
        if taper is None or power_w is None:
            return None
        lasted_ms = now_ms - taper.since_ms
        # A meter without power, or one that shows it the other way round, tells of no taper.
        power_w = max(1, power_w)
        if lasted_ms < pace.probe_ms or power_w * 100 > taper.power_w * _TAPER_PERCENT:
            return None
        tau_ms = lasted_ms / math.log(taper.power_w / power_w)
        return round(power_w * tau_ms / MS_PER_HOUR)

    # --- what is heard ----------------------------------------------------------------------------

    def metered(
        self, leaf: Leaf, entry: Entry, sample: ConnectorMetered, *, now_ms: int, pace: Pace
    ) -> bool:
        """Learn from the entry's newest sample. True if what the vehicle is offered changes by
        it."""
        before = (self.cap_ma, self.start_ma, self.nudge)
        self._see_conductors(leaf, sample)
        self._see_limit(entry)
        measured_ma = entry.measured_ma
        if measured_ma is not None:
            self._see_power(leaf, sample, measured_ma)
            # What still flows on the way down to a lower limit is no answer to that limit.
            if measured_ma >= IDLE_MA <= self._seen_ma and not entry.draining_ma:
                self._draws(leaf, entry, measured_ma, now_ms=now_ms, pace=pace)
        self._lend(entry, now_ms=now_ms, pace=pace)
        self._follow_taper(entry, now_ms=now_ms)
        return (self.cap_ma, self.start_ma, self.nudge) != before

    def faulted(self, *, now_ms: int, pace: Pace) -> None:
        """Its connector reports a fault: shortly after a pause, the pause is to blame."""
        if self._paused_ms is not None and now_ms - self._paused_ms <= 4 * pace.ramp_ms:
            self._learn(faults=True)

    def consider(
        self,
        leaf: Leaf,
        entry: Entry,
        *,
        willing: bool,
        declines: bool,
        now_ms: int,
        pace: Pace,
    ) -> bool:
        """Let time pass: does it begin, is it to be nudged? True if what it is offered changes.

        Args:
            willing: its station says that it would charge, and it lacks something.
            declines: its station says that the vehicle takes nothing, and it lacks something.
        """
        before = (self.start_ma, self.nudge)
        self._see_limit(entry)
        if willing != self._willing:
            self._willing, self._turned_ms, self._idle_since_ms = willing, now_ms, None
            if willing and self.nudge is NOT_NUDGED:
                # It begins when it wants to: no limit had kept it.
                self._failed_ma = 0
        limit_ma, measured_ma = entry.acknowledged_ma, entry.measured_ma
        if self.nudge is not NOT_NUDGED:
            self._go_on(entry, now_ms=now_ms, pace=pace)
        elif (
            not (willing or declines)
            or limit_ma is None
            or limit_ma < leaf.min_ma
            or entry.settling
            or measured_ma is None
            or measured_ma >= IDLE_MA
            or entry.measured_ms < entry.acknowledged_ms
        ):
            self._idle_since_ms = None
        elif self._idle_since_ms is None:
            self._idle_since_ms = max(entry.acknowledged_ms, self._turned_ms)
        elif entry.measured_ms - self._idle_since_ms >= self._patience_ms(pace):
            self._does_not_begin(leaf, limit_ma, now_ms=now_ms, pace=pace)
        return (self.start_ma, self.nudge) != before

    def _patience_ms(self, pace: Pace) -> int:
        """How long it may take to begin."""
        return max(4 * pace.ramp_ms, 2 * (self.known.ramp_ms or 0))

    # --- how it is learned ------------------------------------------------------------------------

    def _learn(self, **values: int | bool | None) -> None:
        self.known = msgspec.structs.replace(self.known, **values)

    def _see_conductors(self, leaf: Leaf, sample: ConnectorMetered) -> None:
        """Believe the measured conductors, once two samples agree."""
        currents = sample.current_ma[: len(leaf.phases)]
        known = [current for current in currents if current is not None]
        if leaf.direct_current or len(known) < len(leaf.phases):
            return
        highest_ma = max(known)
        if highest_ma < SURE_MA:
            return
        used = len(known)
        if 3 * min(known) < highest_ma:
            used = len([None for current in known if 3 * current >= highest_ma])
        # A vehicle that uses all of fewer than three may be able to use more elsewhere.
        tells = used < len(known) or len(known) == 3
        if tells and used == self._phases_seen and used != self.known.phases:
            self._learn(phases=used)
        self._phases_seen = used

    def _see_limit(self, entry: Entry) -> None:
        """Notice pauses and raises as they are acknowledged."""
        limit_ma = entry.acknowledged_ma
        if limit_ma is None or limit_ma == self._seen_ma:
            return
        if limit_ma < IDLE_MA <= self._seen_ma and self._drew:
            self._paused_ms = entry.acknowledged_ms
        drawn_ma = entry.measured_ma or 0
        higher = limit_ma > max(self._seen_ma, drawn_ma + HEADROOM_MIN_MA)
        self._raised = (entry.acknowledged_ms, limit_ma) if higher else None
        self._idle_since_ms = None
        self._seen_ma = limit_ma

    def _see_power(self, leaf: Leaf, sample: ConnectorMetered, measured_ma: int) -> None:
        if sample.power_w is not None:
            self.power_w = sample.power_w
        else:
            # The whole connector at its maximum, scaled to the conductors in use.
            carried_ma = sum(current or 0 for current in sample.current_ma[: len(leaf.phases)])
            full_ma = leaf.max_ma * len(leaf.phases)
            self.power_w = leaf.power_max_w * (carried_ma or measured_ma) // full_ma
        self._peak_w = max(self._peak_w, self.power_w)
        if self.known.power_max_w is not None and self._peak_w > self.known.power_max_w:
            self._learn(power_max_w=self._peak_w)

    def _draws(
        self, leaf: Leaf, entry: Entry, measured_ma: int, *, now_ms: int, pace: Pace
    ) -> None:
        """It charges: what it was waited for has happened."""
        if self._paused_ms is not None and self.nudge is not Nudge.NONE:
            self._learn(sleeps=True)
        self._drew, self._idle_since_ms, self._paused_ms = True, None, None
        if self.nudge is Nudge.OFFER:
            self.nudge = Nudge.NONE
        limit_ma = self._seen_ma
        if self._failed_ma and limit_ma > self._failed_ma:
            # Only what follows soon on a higher offer was caused by it.
            if now_ms - entry.acknowledged_ms <= self._patience_ms(pace):
                self._learn(start_ma=min(self.start_ma, limit_ma))
            self._failed_ma = 0
        elif leaf.min_ma <= limit_ma < self.start_ma:
            # It begins below what failed before: something else had kept it.
            self._failed_ma = 0
            self._learn(start_ma=None if limit_ma == leaf.min_ma else limit_ma)
        if self._raised is not None:
            since_ms, to_ma = self._raised
            if now_ms - since_ms > 4 * pace.ramp_ms:
                # So slow is no ramp: it had something else to wait for.
                self._raised = None
            elif measured_ma * 10 >= to_ma * 9:
                self._learn(ramp_ms=max(0, now_ms - since_ms))
                self._raised = None

    def _lend(self, entry: Entry, *, now_ms: int, pace: Pace) -> None:
        """Notice that it uses less than its limit, so that the rest can be lent."""
        measured, limit = entry.measured_ma, entry.asked_ma
        if measured is None or limit is None or entry.settling:
            self._below_since_ms = None
            return
        headroom_ma = max(HEADROOM_MIN_MA, measured // 10)
        if self.cap_ma is not None and (
            measured > limit - headroom_ma // 2 or now_ms - self._capped_ms >= pace.probe_ms
        ):
            self.cap_ma = self._below_since_ms = None
        elif limit == 0 or measured >= limit - headroom_ma:
            self._below_since_ms = None
        elif self._below_since_ms is None or self._below_since_ms < entry.acknowledged_ms:
            self._below_since_ms = now_ms
        elif now_ms - self._below_since_ms >= self._habit_ms(pace):
            if self.cap_ma is None:
                self._capped_ms = now_ms
            self.cap_ma = measured + headroom_ma
            # What it takes freely is its most, unless it was more when less was on offer.
            free_w = self.power_w or 0
            if measured >= IDLE_MA and free_w * 10 >= self._peak_w * 9:
                self._learn(power_max_w=self._peak_w)

    def _habit_ms(self, pace: Pace) -> int:
        """How long it must use less than its limit for that to be its habit."""
        return max(pace.habit_ms, min(2 * (self.known.ramp_ms or 0), 5 * pace.habit_ms))

    def _follow_taper(self, entry: Entry, *, now_ms: int) -> None:
        """Remember from where its power has been falling by itself."""
        measured, limit = entry.measured_ma, entry.asked_ma
        if measured is None or limit is None or self.power_w is None:
            return
        free = measured >= IDLE_MA and measured < limit - HEADROOM_MIN_MA // 2
        if not free:
            self._taper = None
        elif self._taper is None or self.power_w > self._taper.power_w:
            self._taper = _Taper(now_ms, self.power_w)

    # --- nudging ----------------------------------------------------------------------------------

    def _does_not_begin(self, leaf: Leaf, limit_ma: int, *, now_ms: int, pace: Pace) -> None:
        """Offered enough by all that is known, and yet it has drawn nothing for long."""
        asleep = self._paused_ms is not None
        if not asleep and (self._drew or limit_ma >= START_MAX_MA):
            # It stopped or waits of its own accord.
            return
        if limit_ma < START_MAX_MA:
            self._failed_ma = max(self._failed_ma, limit_ma)
        if self.nudges >= NUDGES_MAX:
            return
        if self.nudges and now_ms - self._nudged_ms < pace.probe_ms:
            return
        self.nudges += 1
        self._nudged_ms, self._idle_since_ms = now_ms, None
        # The first time a higher offer may do, where there is a higher one; who never began is not
        # known to sleep.
        gently = not asleep or self.known.faults or (self.nudges == 1 and limit_ma < leaf.max_ma)
        self.nudge = Nudge.OFFER if gently else Nudge.REST

    def _go_on(self, entry: Entry, *, now_ms: int, pace: Pace) -> None:
        lasted_ms = now_ms - self._nudged_ms
        if self.nudge is Nudge.REST:
            rested = entry.acknowledged_ma == 0 and not entry.pending
            rested = rested and now_ms - entry.acknowledged_ms >= pace.ramp_ms
            if rested or lasted_ms >= 10 * pace.ramp_ms:
                self.nudge, self._nudged_ms = Nudge.OFFER, now_ms
        elif lasted_ms >= 4 * pace.ramp_ms:
            self.nudge = Nudge.NONE
