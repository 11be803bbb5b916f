"""Real sessions of real days at two workplaces, and which of them stand for a network's sites.

Invariant: each site of a network lives a day of its own: no session is used twice. A session that
is moved to another date keeps its time of day."""

from __future__ import annotations

import csv
import gzip
from collections import defaultdict
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, time, timedelta
from functools import cache
from zoneinfo import ZoneInfo

from controlplane.errors import InvalidInput
from controlplane.sim.acn import DATA
from controlplane.units import MS_PER_HOUR, ms_from_datetime

__all__ = [
    "DAY_MS",
    "TIME_ZONE",
    "Session",
    "SiteDay",
    "days",
    "is_workday",
    "midnight_ms",
    "weeks_before",
]

TIME_ZONE = "America/Los_Angeles"
DAY_MS = 24 * MS_PER_HOUR
_CAMPUSES = ("jpl", "caltech")
_HOLIDAYS = frozenset({date(2019, 5, 27), date(2019, 7, 4)})
"""Memorial Day and Independence Day: nobody is at work, and tariffs count them as Sundays."""
_OVERLAP_MS = 2_000
"""How far apart two sessions at one station are at least; the data have none closer."""


@dataclass(frozen=True)
class Session:
    """One vehicle at one station. What the driver entered on arrival is `requested_wh` and
    `estimated_departure_ms`, if `told`; who told nothing has a request equal to what was
    delivered."""

    station_id: str
    arrival_ms: int
    departure_ms: int
    requested_wh: int
    estimated_departure_ms: int
    told: bool

    def moved(self, by_ms: int) -> Session:
        """The same session at another instant."""
        return replace(
            self,
            arrival_ms=self.arrival_ms + by_ms,
            departure_ms=self.departure_ms + by_ms,
            estimated_departure_ms=self.estimated_departure_ms + by_ms,
        )


@dataclass(frozen=True)
class SiteDay:
    """What one workplace saw on one date: the sessions that began on it, by arrival."""

    campus: str
    day: date
    sessions: tuple[Session, ...]

    def moved(self, day: date) -> SiteDay:
        """The same sessions on another date, at the same times of day."""
        by_ms = midnight_ms(day) - midnight_ms(self.day)
        return replace(self, sessions=tuple(session.moved(by_ms) for session in self.sessions))


def midnight_ms(day: date) -> int:
    """The instant at which a date begins at the workplaces."""
    return ms_from_datetime(datetime.combine(day, time(), ZoneInfo(TIME_ZONE)).astimezone(UTC))


def is_workday(day: date) -> bool:
    return day.weekday() < 5 and day not in _HOLIDAYS


def days(day: date, sites: int) -> list[SiteDay]:
    """The days that `sites` sites live through on `day`: what both workplaces saw on that date,
    then what they saw on the nearest other dates of its kind (workdays, or the rest), moved to it.

    Raises:
        InvalidInput: there are no sessions of that date, or not that many days of its kind.
    """
    known = _site_days()
    dates = sorted({known_day for _, known_day in known})
    if day not in dates:
        raise InvalidInput(
            f"no sessions of {day}; there are those of every day from {dates[0]} to {dates[-1]}",
            reason="DAY_UNKNOWN",
        )
    alike = sorted(
        (other for other in dates if is_workday(other) == is_workday(day)),
        key=lambda other: (abs(other - day), other),
    )
    chosen = [
        known[campus, other] for other in alike for campus in _CAMPUSES if (campus, other) in known
    ]
    if not 1 <= sites <= len(chosen):
        kind = "workdays" if is_workday(day) else "weekends and holidays"
        raise InvalidInput(
            f"{sites} sites: 1 to {len(chosen)}, each with a real day of its own, are possible "
            f"for {day}, because so many days of {kind} are known",
            reason="SITES_OUT_OF_RANGE",
        )
    return [site_day.moved(day) for site_day in chosen[:sites]]


def weeks_before(site_day: SiteDay, day: date, *, weeks: int) -> list[SiteDay]:
    """What the workplace that a site lives through saw in the weeks before, moved with it; less
    where the data begin later."""
    known = _site_days()
    found = []
    for ahead in range(7 * weeks, 0, -1):
        other = known.get((site_day.campus, site_day.day - timedelta(days=ahead)))
        if other is not None:
            found.append(other.moved(day - timedelta(days=ahead)))
    return found


@cache
def _site_days() -> dict[tuple[str, date], SiteDay]:
    found: dict[tuple[str, date], list[Session]] = defaultdict(list)
    for campus in _CAMPUSES:
        path = DATA / f"acn_{campus}_2019-05_2019-08.csv.gz"
        with gzip.open(path, "rt", encoding="utf-8", newline="") as file:
            for row in csv.DictReader(file):
                arrival = datetime.fromisoformat(row["arrival"])
                found[campus, arrival.date()].append(_session(row, arrival))
    return {
        (campus, day): SiteDay(campus, day, _one_after_the_other(sessions))
        for (campus, day), sessions in found.items()
    }


def _session(row: dict[str, str], arrival: datetime) -> Session:
    return Session(
        station_id=row["station_id"],
        arrival_ms=ms_from_datetime(arrival),
        departure_ms=ms_from_datetime(datetime.fromisoformat(row["departure"])),
        requested_wh=round(float(row["requested_energy (kWh)"]) * 1_000),
        estimated_departure_ms=ms_from_datetime(datetime.fromisoformat(row["estimated_departure"])),
        told=row["claimed"] == "True",
    )


def _one_after_the_other(sessions: list[Session]) -> tuple[Session, ...]:
    """By arrival; refuses data in which two vehicles stand at one station."""
    free_ms: dict[str, int] = {}
    for session in sorted(sessions, key=lambda each: (each.arrival_ms, each.station_id)):
        if session.arrival_ms < free_ms.get(session.station_id, 0) + _OVERLAP_MS:
            raise InvalidInput(f"{session.station_id}: two sessions at once", reason="ACN_OVERLAP")
        free_ms[session.station_id] = session.departure_ms
    return tuple(sorted(sessions, key=lambda each: (each.arrival_ms, each.station_id)))
