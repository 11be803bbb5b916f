"""How far a site's outlook is off: its building and its visitors, on days that it had not seen.

    python benches/forecast/outlook.py [--load HOURS.csv[.gz]] [SESSIONS.csv[.gz] ...]

Without files, those that come with Loadstar are used (May to August 2019). A site lives through
them as its actor does (`controlplane.planning.outlook.Outlook`); at each midnight it says what it
expects of the day, and at each hour what it expects of the next. Beside it stand the naive guesses.
Prints one JSON object."""

from __future__ import annotations

import argparse
import csv
import gzip
import json
import sys
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta, timezone
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from controlplane.network_tariff import TariffConfig
from controlplane.planning.history import Calendar, hour_of
from controlplane.planning.outlook import Outlook
from controlplane.planning.scores import loss
from controlplane.sim.acn import DATA

HOUR_MS = 3_600_000
DAY_H = 24
LEARNING_DAYS = 35
"""Of these nothing is held out: there is no week before, or too few of them."""

HIGH = 90
ZONE = ZoneInfo("America/Los_Angeles")
TARIFF = TariffConfig(currency="USD", import_price_per_kwh="0.1")
STANDARD = timezone(timedelta(hours=-8))
"""The reference building knows no daylight saving time."""

REFERENCE_YEAR = datetime(2017, 1, 1, tzinfo=STANDARD)
"""A year whose weekends are those of the reference year, which names none."""


class Errors:
    """The errors of several forecasters at the same hours."""

    def __init__(self, *names: str) -> None:
        self._names = names
        self._sums = {name: [0.0, 0.0] for name in names}
        self.count = 0

    def add(self, came: float, **expected: tuple[float, float]) -> None:
        """What came, beside the middle and the high forecast of each."""
        self.count += 1
        for name, (middle, high) in expected.items():
            self._sums[name][0] += abs(came - middle)
            self._sums[name][1] += loss(came, high, HIGH)

    def report(self, unit: float = 1.0) -> dict[str, Any]:
        columns = {"mean_error": 0, "loss_p90": 1}
        return {"compared": self.count} | {
            column: {
                name: round(self._sums[name][at] / max(1, self.count) / unit, 4)
                for name in self._names
            }
            for column, at in columns.items()
        }


def rows(path: Path) -> list[dict[str, str]]:
    opened: Any = gzip.open if path.suffix == ".gz" else open
    with opened(path, "rt", encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


# --- the building ---------------------------------------------------------------------------------


def building(path: Path) -> dict[str, Any]:
    """A building's hours, measured every quarter of an hour."""
    read = rows(path)
    loads_w = [round(float(row["load_kw"]) * 1_000) for row in read]
    start = REFERENCE_YEAR
    if "local_time" in read[0]:
        start = datetime.fromisoformat(read[0]["local_time"]).replace(tzinfo=STANDARD)
    start_ms = int(start.timestamp() * 1_000)
    outlook, calendar = Outlook(), Calendar(STANDARD)
    ahead, soon = (
        Errors("site", "day_before", "week_before"),
        Errors("site", "hour_before", "day_before"),
    )
    for at, load_w in enumerate(loads_w):
        now_ms = start_ms + at * HOUR_MS
        if at >= LEARNING_DAYS * DAY_H:
            if at % DAY_H == 0:
                _day_ahead(outlook, calendar, loads_w, ahead, at=at, now_ms=now_ms)
            (middle,) = _expected(outlook, calendar, now_ms, slots=1)
            before, day = loads_w[at - 1], loads_w[at - DAY_H]
            soon.add(
                load_w, site=(middle, middle), hour_before=(before,) * 2, day_before=(day,) * 2
            )
        for quarter in range(4):
            outlook.observe_building(load_w, now_ms + quarter * 900_000)
    next_hour = soon.report(1_000)
    del next_hour["loss_p90"]
    return {
        "days": len(loads_w) // DAY_H,
        "day_ahead_kw": ahead.report(1_000),
        "next_hour_kw": next_hour,
        "snapshot_bytes": len(outlook.snapshot()),
    }


def _day_ahead(
    outlook: Outlook,
    calendar: Calendar,
    loads_w: Sequence[int],
    into: Errors,
    *,
    at: int,
    now_ms: int,
) -> None:
    """Judge what is expected at a midnight of the day that begins."""
    middle = _expected(outlook, calendar, now_ms, slots=DAY_H)
    high = _expected(outlook, calendar, now_ms, slots=DAY_H, percent=HIGH)
    for hour, came in enumerate(loads_w[at : at + DAY_H]):
        day, week = (loads_w[at + hour - back] for back in (DAY_H, 7 * DAY_H))
        into.add(
            came,
            site=(middle[hour], high[hour]),
            day_before=(day, day),
            week_before=(week, week),
        )


def _expected(
    outlook: Outlook, calendar: Calendar, now_ms: int, *, slots: int, percent: int = 50
) -> list[int]:
    return outlook.building.expected_w(
        now_ms, now_ms=now_ms, slot_s=3_600, slots=slots, calendar=calendar, percent=percent
    )


# --- visitors -------------------------------------------------------------------------------------


def visitors(path: Path) -> dict[str, Any]:
    """A site's sessions: how many begin in each hour, and what a day brings."""
    sessions = sorted(
        (
            _ms(row["arrival"]),
            _ms(row["departure"]),
            round(
                float(row.get("delivered_energy (kWh)") or row["requested_energy (kWh)"]) * 1_000
            ),
        )
        for row in rows(path)
    )
    outlook, calendar = Outlook(), Calendar(ZONE)
    happenings = [(begin_ms, 1, None) for begin_ms, _, _ in sessions]
    happenings += [(each[1], 0, each) for each in sessions]  # type: ignore[misc]
    happenings.sort(key=lambda each: each[:2])
    first = calendar.place(hour_of(sessions[0][0]))[0] + timedelta(days=LEARNING_DAYS)
    last = calendar.place(hour_of(sessions[-1][0]))[0]
    hourly = Errors("site", "day_before", "week_before")
    daily = Errors("site", "day_before", "week_before")
    energy = Errors("site", "day_before", "week_before")
    came = _counts(sessions)
    at, day = 0, first
    while day < last:
        midnight_ms = calendar.midnight(day) * HOUR_MS
        while at < len(happenings) and happenings[at][0] < midnight_ms:
            _live(outlook, calendar, happenings[at])
            at += 1
        outlook.arrivals.passed(midnight_ms - 1)
        _judge(outlook, calendar, day, came, hourly)
        _judge_day(outlook, calendar, day, sessions, number=daily, energy=energy)
        day += timedelta(days=1)
    return {
        "sessions": len(sessions),
        "held_out_days": daily.count,
        "arrivals_an_hour": hourly.report(),
        "arrivals_a_day": _middle(daily.report()),
        "energy_a_day_kwh": _middle(energy.report(1_000)),
        "snapshot_bytes": len(outlook.snapshot()),
    }


def _live(outlook: Outlook, calendar: Calendar, happening: Any) -> None:
    at_ms, begins, session = happening
    if begins:
        outlook.arrived(at_ms)
    else:
        begin_ms, end_ms, energy_wh = session
        outlook.ended(
            started_ms=begin_ms,
            ended_ms=end_ms,
            energy_wh=energy_wh,
            power_max_w=0,
            calendar=calendar,
        )


def _judge(
    outlook: Outlook, calendar: Calendar, day: date, came: dict[int, int], into: Errors
) -> None:
    midnight = calendar.midnight(day)
    for hour in range(midnight, midnight + DAY_H):
        expected = outlook.arrivals.counts.expected(
            hour, (50, HIGH), before=midnight, calendar=calendar
        )
        middle, high = expected or (0, 0)
        day_before, week_before = came.get(hour - DAY_H, 0), came.get(hour - 7 * DAY_H, 0)
        into.add(
            came.get(hour, 0),
            site=(middle, high),
            day_before=(day_before, day_before),
            week_before=(week_before, week_before),
        )


def _judge_day(
    outlook: Outlook,
    calendar: Calendar,
    day: date,
    sessions: Sequence[tuple[int, int, int]],
    *,
    number: Errors,
    energy: Errors,
) -> None:
    """The sessions that a plan would start from at midnight."""
    begins_ms = calendar.midnight(day) * HOUR_MS
    ends_ms = calendar.midnight(day + timedelta(days=1)) * HOUR_MS
    expected = outlook.arrivals.expected(begins_ms, ends_ms, calendar)
    past = [
        [each for each in sessions if lag <= (ends_ms - 1 - each[0]) // 86_400_000 < lag + 1]
        for lag in (0, 1, 7)
    ]
    counts = [len(each) for each in past]
    energies_wh = [sum(each[2] for each in part) for part in past]
    need_wh = sum(each.need_wh for each in expected)
    for into, site, (came, day_before, week_before) in (
        (number, len(expected), counts),
        (energy, need_wh, energies_wh),
    ):
        into.add(
            came,
            site=(site, site),
            day_before=(day_before,) * 2,
            week_before=(week_before,) * 2,
        )


def _middle(report: dict[str, Any]) -> dict[str, Any]:
    return {name: each for name, each in report.items() if name != "loss_p90"}


def _counts(sessions: Sequence[tuple[int, int, int]]) -> dict[int, int]:
    found: dict[int, int] = {}
    for begin_ms, _, _ in sessions:
        found[hour_of(begin_ms)] = found.get(hour_of(begin_ms), 0) + 1
    return found


def _ms(text: str) -> int:
    return round(datetime.fromisoformat(text).astimezone(UTC).timestamp() * 1_000)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    span = "2019-05_2019-08.csv.gz"
    defaults = [DATA / f"acn_{campus}_{span}" for campus in ("caltech", "jpl")]
    parser.add_argument("files", nargs="*", type=Path, default=defaults, help="sessions of a site")
    parser.add_argument("--load", type=Path, default=DATA / f"office_load_{span}")
    arguments = parser.parse_args()
    report = {arguments.load.name: building(arguments.load)} | {
        path.name: visitors(path) for path in arguments.files
    }
    sys.stdout.write(json.dumps(report, indent=2) + "\n")


if __name__ == "__main__":
    main()
