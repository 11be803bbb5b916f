"""A station's clock, judged by what it says and when that arrives; and what time it was in truth.

Clocks in the field are hours off (a time zone taken for UTC), a day behind, or in 1970 until they
are set. Stations also tell late of what happened while they were offline, and both look alike in
one message. The difference: nothing is told before it happened, so a time ahead of ours is a clock
that is ahead; and a clock that is behind goes on in step with ours, while a history told late runs
through hours in seconds. A history that halts for as long as lies between two of its messages looks
like a clock in step all the same, until it goes on: then what was concluded is taken back. The
invariant: no time is corrected on the word of one message that may be history, and what cannot be
believed either way counts as when it was heard."""

from __future__ import annotations

from typing import Final

import msgspec

from controlplane.units import MS_PER_HOUR, MS_PER_S

__all__ = ["HISTORY_MS", "StationClock"]

HISTORY_MS: Final = 120_000
"""What is told this much later than it happened is history."""

_FUTURE_MAX_MS: Final = 5 * 60_000
_PAST_MAX_MS: Final = 30 * 24 * MS_PER_HOUR
"""How far a corrected time may be from ours: behind by the longest offline replay seen, ahead by
little."""
_SAME_MS: Final = 10 * MS_PER_S
"""Two offsets this near are one: messages travel, and meters are read a little before they are
sent."""
_SKEW_MIN_MS: Final = 60 * MS_PER_S
"""Less than this is not worth a correction."""
_IN_STEP_MS: Final = 30 * MS_PER_S
"""How long a clock must have gone on in step with ours to be taken for behind."""
_UNPROVEN_MS: Final = 5 * 60_000
"""A clock that was found to be behind, and shows so soon that it is less so, was telling its
history: stations call once more after half a minute without an answer, and measure as often."""


class StationClock(msgspec.Struct, array_like=True):
    """What is known of one station's clock. `offset_ms` is how far it is ahead of ours, negative
    behind; 0 until there is reason to think otherwise."""

    offset_ms: int = 0
    lower_ms: int | None = None
    """A lower offset that was seen, and not long enough yet to be believed."""
    lower_since_ms: int = 0
    found_ms: int = 0
    """When it was found to be behind, last."""

    @property
    def skewed(self) -> bool:
        """Whether times of this station are corrected."""
        return abs(self.offset_ms) > _SKEW_MIN_MS

    def expects(self, at_ms: int, received_ms: int) -> bool:
        """Whether a time is that of a right clock which has given no reason for doubt: nothing is
        learned from it."""
        return (
            not self.offset_ms
            and self.lower_ms is None
            and -_SAME_MS <= at_ms - received_ms <= _SAME_MS
        )

    def hear(self, at_ms: int, received_ms: int) -> bool:
        """Take in that the station's clock showed `at_ms` at or before `received_ms` of ours.
        Returns whether the estimate changed."""
        ahead_ms = at_ms - received_ms
        before_ms = self.offset_ms
        if -_SAME_MS <= ahead_ms <= _SAME_MS:
            # Right is what clocks are set to: one such time is enough.
            self.offset_ms, self.lower_ms = 0, None
        elif ahead_ms > before_ms + _SAME_MS:
            # A clock that is ahead proves itself. One that is less behind than was thought has been
            # set; to what, only time tells.
            self.offset_ms, self.lower_ms = max(0, ahead_ms), None
            if ahead_ms < 0:
                self.lower_ms, self.lower_since_ms = ahead_ms, received_ms
        elif ahead_ms >= before_ms - _SAME_MS:
            self.lower_ms = None
        elif self.lower_ms is None or abs(ahead_ms - self.lower_ms) > _SAME_MS:
            self.lower_ms, self.lower_since_ms = ahead_ms, received_ms
        elif received_ms - self.lower_since_ms >= _IN_STEP_MS:
            self.offset_ms, self.lower_ms = max(ahead_ms, self.lower_ms), None
            self.found_ms = received_ms
        return self.offset_ms != before_ms

    def was_history(self, before_ms: int, received_ms: int) -> bool:
        """Whether what was heard last, at `received_ms`, shows that the clock never was `before_ms`
        ahead: it has not been set right, and the estimate is too young for a clock that was set."""
        return (
            before_ms < 0
            and self.offset_ms == 0
            and self.lower_ms is not None
            and received_ms - self.found_ms < _UNPROVEN_MS
        )

    def believes(self, at_ms: int | None, received_ms: int) -> bool:
        """Whether a time of the station, corrected, is within reason."""
        if at_ms is None:
            return False
        true_ms = at_ms - self.offset_ms if self.skewed else at_ms
        return received_ms - _PAST_MAX_MS <= true_ms <= received_ms + _FUTURE_MAX_MS

    def correct(self, at_ms: int | None, received_ms: int) -> int:
        """When something happened, by our clock: the station's time, corrected, when that is within
        reason, else when we heard."""
        if at_ms is None:
            return received_ms
        offset_ms = self.offset_ms
        if not -_SKEW_MIN_MS <= offset_ms <= _SKEW_MIN_MS:
            at_ms -= offset_ms
        if received_ms - _PAST_MAX_MS <= at_ms <= received_ms + _FUTURE_MAX_MS:
            return at_ms
        return received_ms

    def explains(self, at_ms: int | None, received_ms: int) -> bool:
        """Whether a time was told as it happened, by this clock."""
        return at_ms is not None and abs(at_ms - received_ms - self.offset_ms) <= _SAME_MS
