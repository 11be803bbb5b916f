"""What a site saw in each hour of its last weeks, and what it expects of hours to come.

One bounded ring of whole numbers serves building, sun and arrivals alike; forecasts and their
errors both follow from it, so nothing that was learned can drift from what was seen. An hour is
expected to be as the same hour of the latest days of its kind: a weighted quantile of what these
had, a day counting `FRESHNESS` of the day after it. Working days, Saturdays and Sundays are kinds;
a holiday is a Sunday.

Invariant: a forecast uses nothing of the instant from which it is made or later; hours of which too
little was seen count as unknown, never as nothing."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import date, datetime, timedelta, tzinfo
from enum import IntEnum

import msgspec

from controlplane.units import MS_PER_HOUR, datetime_from_ms

__all__ = [
    "DAYS_MAX",
    "DAY_H",
    "Calendar",
    "Hours",
    "Kind",
    "Mean",
    "hour_of",
    "weighted_quantile",
]

DAY_H = 24
DAYS_MAX = 35
FRESHNESS = 0.85
"""Of a day's weight, what the day before it has. See `benches/forecast`: on a year of office load,
values from 0.8 to 0.95 differ by less than a tenth."""

COVERED_MIN_MS = MS_PER_HOUR // 2
"""An hour of which less was measured is unknown."""

HELD_MAX_MS = MS_PER_HOUR // 4
"""A measurement counts for so long where no other follows."""

_HOURS_MAX = DAYS_MAX * DAY_H
_UNKNOWN = -1
_ALIKE_MIN = 2
"""Of fewer days of a kind nothing is concluded: then all days count."""


def hour_of(at_ms: int) -> int:
    """The hour of an instant, counted from the Unix epoch."""
    return at_ms // MS_PER_HOUR


class Kind(IntEnum):
    """Days that are alike."""

    WORKDAY = 0
    SATURDAY = 1
    SUNDAY = 2


class Calendar:
    """A site's days: when they begin and of which kind they are.

    Args:
        zone: of the site.
        holidays: days that are as Sundays.
    """

    def __init__(self, zone: tzinfo, holidays: Collection[date] = ()) -> None:
        self.zone = zone
        self._holidays = frozenset(holidays)
        self._midnights: dict[date, int] = {}
        self._kinds: dict[date, Kind] = {}

    def place(self, hour: int) -> tuple[date, int]:
        """The day and the hour of the day, 0 to 23, of an hour."""
        local = datetime_from_ms(hour * MS_PER_HOUR).astimezone(self.zone)
        return local.date(), local.hour

    def kind(self, day: date) -> Kind:
        found = self._kinds.get(day)
        if found is None:
            weekday = 6 if day in self._holidays else day.weekday()
            found = self._kinds[day] = Kind(max(0, weekday - 4))
        return found

    def midnight(self, day: date) -> int:
        """The hour in which a day begins. Counted from there, the same number is the same hour of
        the day on all days but the two of a year on which the clock jumps."""
        found = self._midnights.get(day)
        if found is None:
            begins = datetime(day.year, day.month, day.day, tzinfo=self.zone)
            found = self._midnights[day] = int(begins.timestamp()) * 1_000 // MS_PER_HOUR
        return found


class Hours(msgspec.Struct, array_like=True):
    """The last weeks by the hour; part of a durable state."""

    first: int = 0
    """The hour of the first value."""
    values: list[int] = []

    @property
    def end(self) -> int:
        """The hour after the last value."""
        return self.first + len(self.values)

    def keep(self, hour: int, value: int) -> None:
        """Note an hour. Those left out are unknown; those after it, by a clock that was set back,
        are forgotten."""
        if not self.values or not self.first <= hour < self.end + _HOURS_MAX:
            self.first, self.values = hour, [value]
            return
        del self.values[hour - self.first :]
        self.values += [_UNKNOWN] * (hour - self.end)
        self.values.append(value)
        surplus = len(self.values) - _HOURS_MAX
        if surplus > 0:
            del self.values[:surplus]
            self.first += surplus

    def at(self, hour: int) -> int | None:
        """What an hour had; None where it is unknown."""
        if not self.first <= hour < self.end:
            return None
        value = self.values[hour - self.first]
        return None if value == _UNKNOWN else value

    def expected(
        self, hour: int, percents: Sequence[int], *, before: int, calendar: Calendar
    ) -> list[int] | None:
        """Quantiles of what an hour will have, in per cent; None where too little is known.

        Args:
            before: only hours before this one are known.
        """
        seen = self.alike(hour, before=before, calendar=calendar)
        return None if not seen else [weighted_quantile(seen, each) for each in percents]

    def mean(self, hour: int, *, before: int, calendar: Calendar) -> float | None:
        """The mean of what an hour will have; None where too little is known."""
        seen = self.alike(hour, before=before, calendar=calendar)
        weight = sum(each for _, each in seen)
        return sum(value * each for value, each in seen) / weight if seen else None

    def alike(self, hour: int, *, before: int, calendar: Calendar) -> list[tuple[int, float]]:
        """Values with weights of the same hour of days like it; of all days where these are too
        few."""
        day, hour_of_day = calendar.place(hour)
        kind = calendar.kind(day)
        alike: list[tuple[int, float]] = []
        others: list[tuple[int, float]] = []
        last = min(before, self.end)
        for back in range(1, 2 * DAYS_MAX):
            earlier = day - timedelta(days=back)
            then = calendar.midnight(earlier) + hour_of_day
            if then < self.first:
                break
            value = self.at(then) if then < last else None
            if value is not None:
                same = calendar.kind(earlier) is kind
                (alike if same else others).append((value, FRESHNESS**back))
        return alike if len(alike) >= _ALIKE_MIN else alike + others


class Mean(msgspec.Struct, array_like=True):
    """The mean power of the running hour, from measurements at any instants, each of which counts
    until the next."""

    at_ms: int = 0
    """Of the last measurement."""
    power_w: int = 0
    w_ms: int = 0
    covered_ms: int = 0

    def observe(self, power_w: int, at_ms: int) -> tuple[int, int] | None:
        """Take a measurement in; the hour that is over by it and its mean, where enough of it was
        measured."""
        over = None
        if at_ms < self.at_ms:
            if self.at_ms - at_ms <= HELD_MAX_MS:
                # A message that comes late.
                return None
            # The clock was set back.
            self.w_ms = self.covered_ms = 0
        else:
            until_ms = min(at_ms, self.at_ms + HELD_MAX_MS)
            hour = hour_of(self.at_ms)
            edge_ms = (hour + 1) * MS_PER_HOUR
            self._count(min(until_ms, edge_ms) - self.at_ms)
            if at_ms >= edge_ms:
                if self.covered_ms >= COVERED_MIN_MS:
                    over = hour, self.w_ms // self.covered_ms
                self.w_ms = self.covered_ms = 0
                if hour_of(at_ms) == hour + 1:
                    self._count(max(0, until_ms - edge_ms))
        self.at_ms, self.power_w = at_ms, power_w
        return over

    def _count(self, length_ms: int) -> None:
        self.w_ms += self.power_w * length_ms
        self.covered_ms += length_ms


def weighted_quantile(values: Sequence[tuple[int, float]], percent: int) -> int:
    """The smallest value that `percent` per cent of the weight do not exceed; there is at least
    one."""
    ordered = sorted(values)
    wanted = sum(weight for _, weight in ordered) * percent / 100
    passed = 0.0
    for value, weight in ordered:
        passed += weight
        if passed >= wanted:
            return value
    return ordered[-1][0]
