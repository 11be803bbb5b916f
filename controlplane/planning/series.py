"""Values over time as others push them: intervals of any length, with gaps, the latest push winning
where two of them overlap.

Values are integers: millionths of the currency per kilowatt-hour, or watts. Invariant: intervals
are in order and do not overlap, and there are never more than `INTERVALS_MAX`."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from itertools import pairwise

import msgspec

from controlplane.units import MS_PER_HOUR, MS_PER_S

__all__ = ["INTERVALS_MAX", "KEPT_MS", "Interval", "Series", "overlaps"]

INTERVALS_MAX = 1_000
"""Ten days of quarter hours."""

KEPT_MS = 48 * MS_PER_HOUR
"""For how long what is past is kept: it stands in for what is missing, and is compared with what
came."""


class Interval(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One value, from `start_s` (of the Unix epoch) for `length_s`."""

    start_s: int
    length_s: int
    value: int

    @property
    def end_s(self) -> int:
        return self.start_s + self.length_s


class Series(msgspec.Struct, array_like=True):
    """What was pushed; part of a durable state."""

    intervals: list[Interval] = []
    pushed_ms: int = 0
    """When something was pushed last; 0 for never."""

    def push(self, intervals: Sequence[Interval], now_ms: int) -> int:
        """Take a push in; what it overlaps makes way. How many intervals of it are in use: those
        that ended long ago, or lie beyond the bound, are not.

        Args:
            intervals: in any order, without overlaps among themselves; see `overlaps`.
        """
        oldest_s = (now_ms - KEPT_MS) // MS_PER_S
        taken = sorted(
            (each for each in intervals if each.end_s > oldest_s), key=lambda each: each.start_s
        )
        kept = [
            part for old in self.intervals if old.end_s > oldest_s for part in _without(old, taken)
        ]
        ordered = sorted([*kept, *taken], key=lambda each: each.start_s)
        self.intervals = _joined(ordered)[:INTERVALS_MAX]
        self.pushed_ms = now_ms
        until_s = self.intervals[-1].end_s if self.intervals else 0
        return sum(each.start_s < until_s for each in taken)

    def mean(self, start_ms: int, end_ms: int) -> int | None:
        """The mean over a time, rounded to whole units; None where any part of it is missing."""
        start_s, end_s = start_ms // MS_PER_S, -(-end_ms // MS_PER_S)
        total, covered_s = 0, start_s
        for each in self._from(start_s):
            if each.start_s > covered_s or covered_s >= end_s:
                break
            until_s = min(each.end_s, end_s)
            total += each.value * (until_s - covered_s)
            covered_s = until_s
        if covered_s < end_s or start_s >= end_s:
            return None
        length_s = end_s - start_s
        return (2 * total + length_s) // (2 * length_s)

    @property
    def until_ms(self) -> int | None:
        """The end of the last interval; None where there is none."""
        return self.intervals[-1].end_s * MS_PER_S if self.intervals else None

    def _from(self, start_s: int) -> Iterator[Interval]:
        """The intervals that end after `start_s`."""
        first = bisect_right(self.intervals, start_s, key=lambda each: each.start_s)
        for each in self.intervals[max(0, first - 1) :]:
            if each.end_s > start_s:
                yield each


def overlaps(intervals: Sequence[Interval]) -> tuple[int, int] | None:
    """The positions of two intervals that overlap; None where none do."""
    order = sorted(range(len(intervals)), key=lambda at: intervals[at].start_s)
    for before, after in pairwise(order):
        if intervals[before].end_s > intervals[after].start_s:
            return before, after
    return None


def _without(old: Interval, taken: Sequence[Interval]) -> Iterator[Interval]:
    """What is left of an interval beside newer ones, which are in order."""
    start_s = old.start_s
    at = bisect_right(taken, old.start_s, key=lambda each: each.end_s)
    while at < len(taken) and taken[at].start_s < old.end_s:
        if taken[at].start_s > start_s:
            yield Interval(start_s, taken[at].start_s - start_s, old.value)
        start_s = taken[at].end_s
        at += 1
    if start_s < old.end_s:
        yield Interval(start_s, old.end_s - start_s, old.value)


def _joined(ordered: Sequence[Interval]) -> list[Interval]:
    """Neighbours of one value as one."""
    joined: list[Interval] = []
    for each in ordered:
        last = joined[-1] if joined else None
        if last is not None and last.end_s == each.start_s and last.value == each.value:
            joined[-1] = Interval(last.start_s, last.length_s + each.length_s, last.value)
        else:
            joined.append(each)
    return joined
