"""When the intervals of an event are: OpenADR 3.1 user guide, section 7.3, and 3.0.1.

Invariant: the same event always lies at the same instants, whoever reads it and however often. So
a start that means "now" is the instant at which the utility last wrote the event, and a random
shift follows from names."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import blake2b

from controlplane.integrations.openadr.wire import Event, IntervalPeriod, Program, ValuesMap
from controlplane.units import MS_PER_HOUR, MS_PER_S, ms_from_datetime

__all__ = [
    "FOREVER_MS",
    "SHIFT_MAX_MS",
    "Window",
    "duration_ms",
    "instant_ms",
    "lay_out",
    "written_ms",
]

FOREVER_MS = 2**62
"""The end of what has no end."""

_ENDLESS_MS = 250_000_000_000_000
"""Around the year 9900: what ends later has no end."""

SHIFT_MAX_MS = MS_PER_HOUR
"""No start is shifted further than this at random, whatever `randomizeStart` says."""

_DAY_MS = 24 * MS_PER_HOUR
_LOOP_KEPT_MS = _DAY_MS
_LOOP_WINDOWS_MAX = 1_000
_INFINITE_YEARS = 100
_NOW = re.compile(r"^(0000-|0001-01-01)")
_DURATION = re.compile(
    r"^P(?=\d|T\d)(?:(\d+)Y)?(?:(\d+)M)?(?:(\d+)W)?(?:(\d+)D)?"
    r"(?:T(?:(\d+)H)?(?:(\d+)M)?(?:(\d+(?:\.\d+)?)S)?)?$"
)


@dataclass(frozen=True)
class Window:
    """One interval of an event, laid out in time.

    Attributes:
        interval_id: as the utility numbered it; not a sequence.
        cycle: which repetition of the event's intervals, from 0.
        end_ms: `FOREVER_MS` where it lasts until it is called off.
        immediate: it was asked for "now"; it has begun, whatever our clock says.
    """

    interval_id: int
    cycle: int
    start_ms: int
    end_ms: int
    immediate: bool
    payloads: tuple[ValuesMap, ...]


def duration_ms(text: str | None) -> int:
    """Milliseconds of an ISO 8601 duration; 0 for none, `FOREVER_MS` for 100 years and more
    (`P9999Y` means without end). A year counts 365 days, a month 30.

    Raises:
        ValueError: not a duration.
    """
    if text is None or not text.strip():
        return 0
    match = _DURATION.match(text.strip())
    if match is None:
        raise ValueError(f"{text!r} is not an ISO 8601 duration")
    years, months, weeks, days, hours, minutes = (int(part or 0) for part in match.groups()[:6])
    if years >= _INFINITE_YEARS:
        return FOREVER_MS
    whole_days = years * 365 + months * 30 + weeks * 7 + days
    seconds = whole_days * 86_400 + hours * 3_600 + minutes * 60 + float(match.group(7) or 0)
    return min(round(seconds * MS_PER_S), FOREVER_MS)


def instant_ms(text: str | None) -> int | None:
    """The instant of an RFC 3339 text, UTC where it names no zone; None where it means "now"
    (nothing, `0000-00-00` of 3.0, `0001-01-01` of 3.1).

    Raises:
        ValueError: not an instant.
    """
    if text is None or not text.strip() or _NOW.match(text.strip()):
        return None
    given = datetime.fromisoformat(text.strip())
    return ms_from_datetime(given if given.tzinfo else given.replace(tzinfo=UTC))


def lay_out(
    event: Event, program: Program, *, ven_name: str, seen_ms: int, ahead_ms: int = 0
) -> list[Window]:
    """The event's intervals, in its order; those that are past as well.

    A duration of none or PT0S lasts until the next interval begins, and that of the last interval
    without end. An event that repeats its intervals is laid out from a day before `seen_ms` to a
    day after.

    Args:
        ven_name: decides on random shifts.
        seen_ms: when we look, and "now" of an event for which the utility gave no instant of its
            own.
        ahead_ms: how far the utility's clock is ahead of ours: "now" is by its clock.

    Raises:
        ValueError: something is no instant or no duration, or the intervals have no order.
    """
    said_ms = written_ms(event)
    now_ms = seen_ms if said_ms is None else said_ms - ahead_ms
    default = event.interval_period or program.interval_period or IntervalPeriod()
    windows: list[Window] = []
    shift_ms = 0
    starts_ms: int | None = None
    immediate = False
    for position, interval in enumerate(event.intervals or []):
        period = interval.interval_period or IntervalPeriod()
        given_ms = instant_ms(period.start)
        if position == 0 and given_ms is None:
            given_ms = instant_ms(default.start)
        randomized = period.randomize_start or (default.randomize_start if position == 0 else None)
        if randomized:
            shift_ms = _shift_ms(duration_ms(randomized), f"{ven_name}/{event.id}/{position}")
        if given_ms is not None:
            starts_ms = given_ms + shift_ms
            immediate = False
        elif position == 0:
            starts_ms = now_ms + shift_ms
            immediate = shift_ms <= 0
        if starts_ms is None or starts_ms >= FOREVER_MS:
            raise ValueError(f"interval {interval.id} begins after one that has no end")
        lasts_ms = duration_ms(period.duration or default.duration)
        ends_ms = starts_ms + lasts_ms if lasts_ms else FOREVER_MS
        ends_ms = FOREVER_MS if ends_ms > _ENDLESS_MS else ends_ms
        payloads = tuple(interval.payloads)
        windows.append(Window(interval.id, 0, starts_ms, ends_ms, immediate, payloads))
        starts_ms, immediate = ends_ms, False
        if not lasts_ms:
            starts_ms = _next_start_ms(event, position, shift_ms)
            if starts_ms is not None:
                windows[-1] = _until(windows[-1], starts_ms)
    return _within(windows, duration_ms(event.duration), around_ms=seen_ms)


def _next_start_ms(event: Event, position: int, shift_ms: int) -> int | None:
    """When the interval after `position` begins, which must then say so itself."""
    following = (event.intervals or [])[position + 1 : position + 2]
    if not following:
        return None
    period = following[0].interval_period
    given_ms = instant_ms(period.start if period else None)
    if given_ms is None:
        raise ValueError(f"interval {following[0].id} begins after one that has no duration")
    return given_ms + shift_ms


def _within(windows: list[Window], span_ms: int, *, around_ms: int) -> list[Window]:
    """Cut short or repeat intervals so that they fill the event's own duration (3.1)."""
    if not windows or not span_ms:
        return windows
    start_ms = windows[0].start_ms
    end_ms = min(start_ms + span_ms, FOREVER_MS)
    cycle_ms = max(window.end_ms for window in windows) - start_ms
    if cycle_ms >= FOREVER_MS // 2 or end_ms <= start_ms + cycle_ms:
        return [_until(window, end_ms) for window in windows if window.start_ms < end_ms]
    first = max(0, (around_ms - _LOOP_KEPT_MS - start_ms) // cycle_ms)
    found: list[Window] = []
    for cycle in range(first, first + _LOOP_WINDOWS_MAX):
        for window in windows:
            begins_ms = window.start_ms + cycle * cycle_ms
            if begins_ms >= min(end_ms, around_ms + _LOOP_KEPT_MS):
                return found
            if len(found) >= _LOOP_WINDOWS_MAX:
                return found
            found.append(
                Window(
                    window.interval_id,
                    cycle,
                    begins_ms,
                    min(window.end_ms + cycle * cycle_ms, end_ms),
                    window.immediate and cycle == 0,
                    window.payloads,
                )
            )
    return found


def _until(window: Window, end_ms: int) -> Window:
    return Window(
        window.interval_id,
        window.cycle,
        window.start_ms,
        min(window.end_ms, end_ms),
        window.immediate,
        window.payloads,
    )


def written_ms(event: Event) -> int | None:
    """When the utility last wrote the event, by its clock."""
    for text in (event.modification_date_time, event.created_date_time):
        try:
            said_ms = instant_ms(text)
        except ValueError:
            # Only needed for "now"; the reference VTN once wrote a time without a day.
            continue
        if said_ms is not None:
            return said_ms
    return None


def _shift_ms(extent_ms: int, name: str) -> int:
    """Between minus and plus `extent_ms`, evenly spread over names."""
    extent_ms = min(extent_ms, SHIFT_MAX_MS)
    drawn = int.from_bytes(blake2b(name.encode(), digest_size=8).digest())
    return drawn % (2 * extent_ms + 1) - extent_ms
