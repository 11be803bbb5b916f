"""Limits over time, as sites and feeders are given them: now or scheduled, until an instant or
until changed.

Invariant: at every instant at most one limit is in force, the one that was set last among those
whose window holds that instant; setting None lifts what was set before it inside its window."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

__all__ = [
    "WINDOWS_MAX",
    "LimitWindow",
    "limit_at",
    "next_change_ms",
    "scheduled",
    "still_in_force",
]

WINDOWS_MAX = 1_000
"""How many windows one site or feeder may hold: ten days of quarter hours."""


class LimitWindow(msgspec.Struct, frozen=True, array_like=True):
    """`limit` (its unit is its owner's; None: no limit) from `from_ms` up to, not including,
    `until_ms` (None: until changed)."""

    limit: int | None
    from_ms: int
    until_ms: int | None = None

    def holds(self, at_ms: int) -> bool:
        return self.from_ms <= at_ms and (self.until_ms is None or at_ms < self.until_ms)

    def covers(self, other: LimitWindow) -> bool:
        """Whether no instant of `other` lies outside this window."""
        if self.from_ms > other.from_ms:
            return False
        if self.until_ms is None:
            return True
        return other.until_ms is not None and other.until_ms <= self.until_ms


def scheduled(
    windows: Sequence[LimitWindow], window: LimitWindow, *, now_ms: int
) -> tuple[LimitWindow, ...]:
    """`windows` with `window` set last, without those that can never be in force again."""
    kept = [
        each
        for each in windows
        if not window.covers(each) and (each.until_ms is None or each.until_ms > now_ms)
    ]
    lifts_nothing = window.limit is None and not kept
    return tuple(kept) if lifts_nothing else (*kept, window)


def still_in_force(
    windows: Sequence[LimitWindow], *, before_ms: int, now_ms: int
) -> tuple[LimitWindow, ...]:
    """`windows` after the clock was set back from `before_ms` to `now_ms`: what held then has not
    still to begin."""
    return tuple(
        msgspec.structs.replace(each, from_ms=min(each.from_ms, now_ms))
        if each.holds(before_ms)
        else each
        for each in windows
    )


def limit_at(windows: Sequence[LimitWindow], at_ms: int) -> int | None:
    """The limit in force at an instant, or None."""
    for window in reversed(windows):
        if window.holds(at_ms):
            return window.limit
    return None


def next_change_ms(windows: Sequence[LimitWindow], now_ms: int) -> int | None:
    """The next instant after `now_ms` at which another limit may come into force."""
    instants = [window.from_ms for window in windows]
    instants += [window.until_ms for window in windows if window.until_ms is not None]
    return min((instant for instant in instants if instant > now_ms), default=None)
