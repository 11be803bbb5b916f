"""The liability ledger: how much each connector may draw at this moment, whatever we wish.

A limit is a liability until the charger has let go of it. The table, row by row:

| what is known of the charger | counted |
| --- | --- |
| limit acknowledged | that limit |
| decrease sent, not acknowledged or not yet seen in the meter | the old limit |
| increase sent | the new limit, from the moment of sending |
| timeout, error, rejected | the larger of old and new, retried with back-off |
| offline or booting with a transaction profile | the larger of it and the default profile |
| offline without, or idle | the default profile it acknowledged |
| default profile never acknowledged | the hardware rating |
| meter shows more than the limit | the meter |
| default profile lowered | the old one, for the ramp time of a vehicle that ran at it |
| limit below 0: it feeds in | the default profile, which counts when that ends |

What a connector may feed in is counted apart, on the rows for export, by the same table; it is
never taken off what others draw.

Invariant: `liability_ma` only falls on evidence (an acknowledgement followed by a meter sample that
was asked for after it, at or under the new limit, of a vehicle that is not on its way up, or by the
vehicle's ramp time with a silent meter; the end of the transaction), and rises in the step that
sends an increase, before it leaves."""

from __future__ import annotations

import msgspec

from controlplane.ids import SessionId
from controlplane.ocpp.commands import CommandState

__all__ = ["FAILURES_STUCK", "PENDING_MAX", "Entry", "Followed", "PendingLimit", "tolerance_ma"]

FAILURES_STUCK = 3
"""After so many limits in a row that failed, the round stops planning with the charger."""

PENDING_MAX = 8
"""Limits in flight per connector. Only a reduction may overtake another limit, so this bound is
met by a charger that answers nothing while its site shrinks again and again."""

FOLLOWED_MAX = 8
"""Decreases that are told apart while a vehicle follows them."""

RISE_MS = 5_000
"""How long a vehicle may take to follow a changed pilot signal (IEC 61851-1). One that was raised
less long ago may be on its way up: what its meter shows is no evidence that it stays there."""

STAMP_RESOLUTION_MS = 1_000
"""Many stations stamp samples with whole seconds, rounded down."""


def tolerance_ma(limit_ma: int) -> int:
    """How far a meter may stand above a limit that is obeyed: meter class and the granularity of
    the pilot signal (IEC 61851-1 annex A)."""
    return max(500, limit_ma * 3 // 100)


class PendingLimit(msgspec.Struct, frozen=True, array_like=True):
    """A limit that was sent and whose outcome is not known."""

    limit_id: int
    limit_ma: int
    session_id: SessionId
    sent_ms: int


class Followed(msgspec.Struct, frozen=True, array_like=True):
    """What a vehicle may still draw while it follows a lower limit, and since when it does."""

    current_ma: int
    since_ms: int


class Entry(msgspec.Struct, array_like=True):
    """The account of one connector. Currents are milliamperes per phase, 0 and up, but for limits:
    one below 0 has the vehicle feed in as much.

    Methods that take news return True when something durable changed. What counts is asked for
    several times per connector and round: comparisons cost a third of what calls of `max` do.
    """

    hardware_ma: int
    offline_ma: int
    """The default profile it is to have, by its description."""
    default_ma: int | None = None
    """The default profile the charger acknowledged; None while unknown."""
    online: bool = False
    settled: bool = False
    session_id: SessionId | None = None
    acknowledged_ma: int | None = None
    """The running transaction's profile, as last acknowledged; None while it has none."""
    acknowledged_ms: int = 0
    uncertain_ma: int = 0
    """The largest limit that was sent, failed, and may be in force all the same."""
    draining_ma: int = 0
    """What the vehicle may still draw while it follows acknowledged decreases: the most of
    `followed`."""
    excess_ma: int = 0
    """What the meter shows, where that is above everything the charger was allowed."""
    pending: list[PendingLimit] = []
    failures: int = 0
    retry_ms: int = 0
    reassert: bool = False
    """The charger was away: its limit is to be acknowledged again, though it has not changed."""
    measured_ma: int | None = None
    measured_ms: int = 0
    uncertain_feed_ma: int = 0
    """The most that it was told to feed in, that failed, and may be in force all the same."""
    fading_ma: int = 0
    """What the vehicle may still feed in while it follows an acknowledged limit above that."""
    feed_excess_ma: int = 0
    """What the meter shows to be fed in, where that is more than the charger was ever told."""
    fed_ma: int = 0
    """What was fed in when it was measured last."""
    risen_ms: int = 0
    """When a raise was acknowledged last."""
    receding_ma: int = 0
    """What may still be drawn that a default profile allowed which has given way to a lower one. It
    outlives a session: one that ran at that profile may be told of later than that it changed."""
    receded_ms: int = 0
    """When a default profile gave way to a lower one last."""
    followed: list[Followed] = []
    """Of each decrease that may still be followed, what it was from: the oldest and highest first.
    The time for one runs from its own acknowledgement, whatever is told after it: a vehicle that
    had its time to come down to a limit draws no more than that, or than a later, higher one."""
    doubted_ma: int | None = None
    """The smallest limit that was sent, failed, and may be in force all the same; None: none."""

    # --- what counts ------------------------------------------------------------------------------

    @property
    def fallback_ma(self) -> int:
        """What the connector may draw without a transaction profile: a default profile that is
        being replaced counts as the larger of both."""
        default_ma, offline_ma, hardware_ma = self.default_ma, self.offline_ma, self.hardware_ma
        if default_ma is None:
            return hardware_ma
        larger_ma = default_ma if default_ma > offline_ma else offline_ma
        return larger_ma if larger_ma < hardware_ma else hardware_ma

    @property
    def held_ma(self) -> int:
        """The limit in force, as far as the charger has said."""
        acknowledged_ma = self.acknowledged_ma
        if acknowledged_ma is None or acknowledged_ma < 0:
            # A limit below 0 ends by itself, and with the connection.
            return self.fallback_ma
        if not (self.online and self.settled) or self.reassert:
            # It may have ended the transaction, or lost its profiles, while it was away or booted.
            return max(acknowledged_ma, self.fallback_ma)
        return acknowledged_ma

    @property
    def allowed_ma(self) -> int:
        """The largest limit that may be in force: held, in doubt, in flight, or still followed."""
        allowed_ma, uncertain_ma, draining_ma = self.held_ma, self.uncertain_ma, self.draining_ma
        if not (uncertain_ma or draining_ma or self.receding_ma or self.pending):
            return allowed_ma
        allowed_ma = uncertain_ma if uncertain_ma > allowed_ma else allowed_ma
        allowed_ma = draining_ma if draining_ma > allowed_ma else allowed_ma
        allowed_ma = self.receding_ma if self.receding_ma > allowed_ma else allowed_ma
        if self.pending:
            return max(allowed_ma, *[pending.limit_ma for pending in self.pending])
        return allowed_ma

    @property
    def liability_ma(self) -> int:
        """What counts on every row above the connector."""
        allowed_ma, excess_ma = self.allowed_ma, self.excess_ma
        return allowed_ma if allowed_ma > excess_ma else excess_ma

    @property
    def feed_ma(self) -> int:
        """The most that may be fed in: told, in flight, in doubt, or still on its way to less."""
        feed_ma, fading_ma, excess_ma = self.uncertain_feed_ma, self.fading_ma, self.feed_excess_ma
        feed_ma = fading_ma if fading_ma > feed_ma else feed_ma
        feed_ma = excess_ma if excess_ma > feed_ma else feed_ma
        acknowledged_ma = self.acknowledged_ma
        if acknowledged_ma is not None and -acknowledged_ma > feed_ma:
            feed_ma = -acknowledged_ma
        for pending in self.pending:
            feed_ma = max(feed_ma, -pending.limit_ma)
        return feed_ma

    def proven_feed_ma(self, *, now_ms: int, fresh_ms: int) -> int:
        """What is surely fed in at the moment: acknowledged, and measured since not longer than
        `fresh_ms` ago."""
        acknowledged_ma = self.acknowledged_ma
        if acknowledged_ma is None or acknowledged_ma >= 0 or not (self.online and self.settled):
            return 0
        asked_ma = self.asked_ma or 0
        fresh = self.acknowledged_ms < self.measured_ms and now_ms - self.measured_ms <= fresh_ms
        return min(-acknowledged_ma, max(0, -asked_ma), self.fed_ma) if fresh else 0

    @property
    def reserve_ma(self) -> int:
        """What must stay free for it. A transaction can end at any moment, and what comes next
        starts under the default profile: room below that cannot be given to others."""
        liability_ma, fallback_ma = self.liability_ma, self.fallback_ma
        return liability_ma if liability_ma > fallback_ma else fallback_ma

    @property
    def asked_ma(self) -> int | None:
        """The limit that was sent last for the running session; None when none was."""
        if self.pending and self.pending[-1].session_id == self.session_id:
            return self.pending[-1].limit_ma
        return self.acknowledged_ma

    @property
    def secure_ma(self) -> int:
        """Up to here a limit raises nothing: what it was told last, or what it was told before that
        and may have obeyed without a word; or else its default profile by description, whatever
        more is counted for it."""
        asked_ma = self.asked_ma
        if asked_ma is None:
            asked_ma = min(self.fallback_ma, self.offline_ma)
        return asked_ma if self.doubted_ma is None else min(asked_ma, self.doubted_ma)

    @property
    def idle(self) -> bool:
        """No vehicle draws, and none can without being heard of."""
        return self.online and self.session_id is None

    @property
    def stuck(self) -> bool:
        return self.failures >= FAILURES_STUCK

    @property
    def reducing(self) -> bool:
        """A reduction is under way: more is counted than was asked for last."""
        asked_ma = self.asked_ma
        if asked_ma is not None and asked_ma < 0:
            return bool(self.pending or self.draining_ma)
        return asked_ma is not None and self.allowed_ma > asked_ma

    @property
    def settling(self) -> bool:
        """Something will change by itself or by an answer."""
        return bool(
            self.pending
            or self.draining_ma
            or self.receding_ma
            or self.uncertain_ma
            or self.reassert
            or self.fading_ma
            or self.uncertain_feed_ma
        )

    def follows_until_ms(self, ramp_ms: int) -> int | None:
        """When the time is over that a vehicle may take to follow what was lowered, the earliest;
        None where nothing was."""
        ends_ms = [each.since_ms + ramp_ms for each in self._followed()[:1]]
        if self.receding_ma:
            ends_ms.append(self.receded_ms + ramp_ms)
        return min(ends_ms, default=None)

    def outdated(self, *, now_ms: int, ramp_ms: int) -> bool:
        """Whether the meter showed more than the limit in force when it was read last, and should
        show less by now."""
        if self.session_id is None or self.measured_ma is None:
            return False
        if not (self.online and self.settled) or self.pending:
            return False
        over = self.measured_ma > self.held_ma + tolerance_ma(self.held_ma)
        return over and (self.excess_ma > 0 or now_ms - self.acknowledged_ms >= ramp_ms)

    # --- what is sent -----------------------------------------------------------------------------

    def may_send(self, limit_ma: int, *, now_ms: int) -> bool:
        """Whether `limit_ma` may go out now: one limit in flight, unless it is nearer to nothing
        than all of them; failed ones only after their back-off."""
        if len(self.pending) >= PENDING_MAX or now_ms < self.retry_ms:
            return False
        return all(
            0 <= limit_ma < pending.limit_ma or pending.limit_ma < limit_ma <= 0
            for pending in self.pending
        )

    def sent(self, limit_id: int, limit_ma: int, *, now_ms: int) -> None:
        """`limit_ma` leaves for the running session: it counts from now.

        Raises:
            ValueError: there is no session, or the limit is beyond the hardware's rating.
        """
        if self.session_id is None or not -self.hardware_ma <= limit_ma <= self.hardware_ma:
            raise ValueError(f"limit of {limit_ma} mA for session {self.session_id}")
        self.pending.append(PendingLimit(limit_id, limit_ma, self.session_id, now_ms))

    # --- what is heard ----------------------------------------------------------------------------

    def outcome(
        self,
        limit_id: int,
        state: CommandState,
        *,
        superseded: bool,
        now_ms: int,
        backoff_ms: int,
        backoff_max_ms: int,
    ) -> bool:
        """Take in what became of a limit; one that is not pending (any more) changes nothing."""
        pending = next((each for each in self.pending if each.limit_id == limit_id), None)
        if pending is None:
            return False
        acknowledged_ma = self.acknowledged_ma
        feeds = acknowledged_ma is not None and acknowledged_ma < 0
        held_ma = 0 if feeds else self.held_ma
        before_ma = max(held_ma, self.uncertain_ma)
        fed_ma = max(-(acknowledged_ma or 0), self.uncertain_feed_ma, self.fading_ma)
        self.pending.remove(pending)
        if superseded:
            return True
        if pending.session_id != self.session_id:
            # Sent for a transaction that is over: its profile died with it. A station that takes it
            # while the next one runs has not compared them, and may hold that one to it.
            if state is CommandState.ACCEPTED and self.session_id is not None:
                self._doubt(pending.limit_ma)
            return True
        if state is not CommandState.ACCEPTED:
            self._doubt(pending.limit_ma)
            # Silence has taken its time already, and is the line's fault more often than the
            # station's: that one fails again is no reason to wait longer and longer.
            silent = state is CommandState.TIMED_OUT
            wait_ms = backoff_ms if silent else backoff_ms << min(self.failures, 16)
            self.retry_ms = now_ms + min(backoff_max_ms, wait_ms)
            self.failures += 1
            return True
        # A station works through its calls in order: what it accepts replaces all that was sent
        # before and left in doubt.
        if pending.limit_ma > held_ma:
            self.risen_ms = now_ms
        self.acknowledged_ma = pending.limit_ma
        self.acknowledged_ms = now_ms
        self.uncertain_ma = self.uncertain_feed_ma = 0
        self.doubted_ma = None
        self.reassert = False
        self._give_way(before_ma, max(0, pending.limit_ma), now_ms)
        self.fading_ma = fed_ma if fed_ma > max(0, -pending.limit_ma) else 0
        self.failures = 0
        self.retry_ms = 0
        return True

    def _followed(self) -> list[Followed]:
        """`followed`, and what a snapshot from before there was such a list has of it."""
        if not self.draining_ma:
            return []
        return self.followed or [Followed(self.draining_ma, self.acknowledged_ms)]

    def _follow(self, followed: list[Followed]) -> None:
        self.followed = followed
        self.draining_ma = followed[0].current_ma if followed else 0

    def _give_way(self, before_ma: int, limit_ma: int, now_ms: int) -> None:
        """`limit_ma` is in force where `before_ma` was."""
        most_ma = max(before_ma, limit_ma)
        followed = [each for each in self._followed() if each.current_ma > most_ma]
        if before_ma > limit_ma:
            followed.append(Followed(before_ma, now_ms))
        if len(followed) > FOLLOWED_MAX:
            # The time for the two oldest ends together.
            followed[:2] = [Followed(followed[0].current_ma, followed[1].since_ms)]
        self._follow(followed)

    def _doubt(self, limit_ma: int) -> None:
        """A limit may be in force or not."""
        self.uncertain_ma = max(self.uncertain_ma, limit_ma)
        self.uncertain_feed_ma = max(self.uncertain_feed_ma, -limit_ma)
        least_ma = max(0, limit_ma)
        self.doubted_ma = least_ma if self.doubted_ma is None else min(self.doubted_ma, least_ma)

    def metered(
        self,
        current_ma: int,
        *,
        at_ms: int,
        now_ms: int,
        ramp_ms: int,
        confirms: bool,
        fed_ma: int = 0,
    ) -> bool:
        """A sample of the highest conductor, taken at `at_ms` of the station's clock; `fed_ma` is
        what was fed in.

        `confirms` is False for a value that was worked out from power and may hide an uneven load,
        and for one that may be older than the limit in force: samples wait in stations for minutes,
        and no two clocks agree. Such a one can raise suspicion, not settle a decrease.
        """
        self.measured_ma, self.fed_ma = current_ma, fed_ma
        self.measured_ms = now_ms
        draining_ma, excess_ma = self.draining_ma, self.excess_ma
        fading_ma, feed_excess_ma = self.fading_ma, self.feed_excess_ma
        after_acknowledgement = (
            now_ms > self.acknowledged_ms and at_ms + STAMP_RESOLUTION_MS > self.acknowledged_ms
        )
        rising = min(at_ms, now_ms) < self.risen_ms + RISE_MS
        if draining_ma:
            # Whatever the station's clock says: what still flows after its time is an excess.
            followed = [each for each in self._followed() if now_ms - each.since_ms < ramp_ms]
            obeys = confirms and after_acknowledgement and not rising
            obeys = obeys and current_ma <= self.held_ma + tolerance_ma(self.held_ma)
            if obeys and followed:
                # Near enough to be on its way, but what it draws above the limit still flows.
                still_ma = min(followed[0].current_ma, current_ma)
                since_ms = followed[-1].since_ms
                followed = [Followed(still_ma, since_ms)] if current_ma > self.held_ma else []
            self._follow(followed)
        told_ma = max(0, -(self.acknowledged_ma or 0))
        receding_ma = self.receding_ma
        if now_ms - self.receded_ms >= ramp_ms:
            self.receding_ma = 0
        if self.fading_ma and (
            now_ms - self.acknowledged_ms >= ramp_ms
            or (after_acknowledgement and confirms and fed_ma <= told_ma)
        ):
            self.fading_ma = 0
        allowed_ma = self.allowed_ma
        over = current_ma > allowed_ma + tolerance_ma(allowed_ma)
        self.excess_ma = current_ma if over else 0
        self.feed_excess_ma = 0
        if fed_ma:
            feed_ma = self.feed_ma
            over = fed_ma > feed_ma + tolerance_ma(feed_ma)
            self.feed_excess_ma = fed_ma if over else 0
        return (
            self.draining_ma != draining_ma
            or self.receding_ma != receding_ma
            or self.excess_ma != excess_ma
            or self.fading_ma != fading_ma
            or self.feed_excess_ma != feed_excess_ma
        )

    def expired(
        self, *, now_ms: int, ramp_ms: int, answer_ms: int, backoff_ms: int, backoff_max_ms: int
    ) -> bool:
        """Let time pass: the ramp of a decrease is over, or an answer is overdue by far."""
        changed = False
        for pending in tuple(self.pending):
            if now_ms - pending.sent_ms >= answer_ms:
                changed |= self.outcome(
                    pending.limit_id,
                    CommandState.TIMED_OUT,
                    superseded=False,
                    now_ms=now_ms,
                    backoff_ms=backoff_ms,
                    backoff_max_ms=backoff_max_ms,
                )
        draining_ma, receding_ma = self.draining_ma, self.receding_ma
        if draining_ma:
            self._expire_followed(now_ms=now_ms, ramp_ms=ramp_ms)
        if receding_ma and now_ms - self.receded_ms >= ramp_ms:
            self.receding_ma = self._still_seen_ma(receding_ma, since_ms=self.receded_ms)
        changed |= (self.draining_ma, self.receding_ma) != (draining_ma, receding_ma)
        if self.fading_ma and now_ms - self.acknowledged_ms >= ramp_ms:
            self.fading_ma, changed = 0, True
        return changed

    def _expire_followed(self, *, now_ms: int, ramp_ms: int) -> None:
        followed = self._followed()
        while followed and now_ms - followed[0].since_ms >= ramp_ms:
            over, *followed = followed
            seen_ma = self._still_seen_ma(over.current_ma, since_ms=over.since_ms)
            if seen_ma > (followed[0].current_ma if followed else 0):
                followed.insert(0, Followed(seen_ma, over.since_ms))
                break
        self._follow(followed)

    def _still_seen_ma(self, before_ma: int, *, since_ms: int) -> int:
        """What counts of `before_ma` once a vehicle has had its time to follow. A meter that showed
        too much while it was still free to is no alarm yet, but what it showed counts until it says
        otherwise."""
        seen_ma = self.measured_ma or 0
        suspicious = self.measured_ms > since_ms and (
            seen_ma > self.held_ma + tolerance_ma(self.held_ma)
        )
        return min(before_ma, seen_ma) if suspicious else 0

    def presence(self, *, online: bool, settled: bool, default_ma: int | None, now_ms: int) -> bool:
        """The charger came, went or settled; `default_ma` is its default profile.

        A vehicle that ran at a profile which is replaced needs its time to follow, and may not have
        been heard of yet. Only a charger of which nothing was known is not waited for.
        """
        returned = online and settled and not (self.online and self.settled)
        changed = (self.online, self.settled, self.default_ma) != (online, settled, default_ma)
        known = self.default_ma is not None or self.session_id is not None
        held_ma = self.held_ma
        if returned:
            self.reassert = self.session_id is not None
            self.failures = self.retry_ms = 0
        self.online, self.settled, self.default_ma = online, settled, default_ma
        if known and self.held_ma < held_ma:
            self.receding_ma, self.receded_ms = max(self.receding_ma, held_ma), now_ms
        return changed

    def session(self, session_id: SessionId | None) -> bool:
        """Another session runs, or none: the profile of the one before is gone with it."""
        if session_id == self.session_id:
            return False
        self.session_id = session_id
        self.acknowledged_ma = None
        self.uncertain_ma = self.draining_ma = self.excess_ma = 0
        self.doubted_ma = None
        self.followed = []
        self.uncertain_feed_ma = self.fading_ma = self.feed_excess_ma = self.fed_ma = 0
        self.failures = self.retry_ms = 0
        self.reassert = False
        self.measured_ma = None
        return True

    def clock_set(self, change_ms: int) -> None:
        """The clock was set by so much: what lasted so long has lasted so long still."""
        self.acknowledged_ms += change_ms
        self.measured_ms += change_ms
        self.risen_ms += change_ms
        self.receded_ms += change_ms
        self.retry_ms += change_ms
        self.pending = [
            msgspec.structs.replace(each, sent_ms=each.sent_ms + change_ms) for each in self.pending
        ]
        self.followed = [
            Followed(each.current_ma, each.since_ms + change_ms) for each in self.followed
        ]

    def recovered(self) -> None:
        """The host was lost: what was in flight has no answer any more, and nobody is known to be
        online."""
        if self.session_id is not None:
            # Those of a session that is over as well: see `outcome`.
            for pending in self.pending:
                self._doubt(pending.limit_ma)
        self.pending = []
        self.online = self.settled = False
        self.retry_ms = 0

    def resumed(self, now_ms: int) -> None:
        """Another host goes on, by a clock that may be ahead of the last one's: whoever still
        follows a lower limit has all of its time before it."""
        if self.draining_ma:
            self._follow([Followed(self.draining_ma, now_ms)])
        if self.receding_ma:
            self.receded_ms = now_ms
        if self.fading_ma:
            self.acknowledged_ms = now_ms
