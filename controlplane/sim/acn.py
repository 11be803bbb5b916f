"""Real stays of real vehicles, from ACN-Data, and a way to seat them at simulated chargers.

Invariant: stays that share a seat never overlap, so one connector can serve them one after the
other."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from controlplane.errors import InvalidInput
from controlplane.units import ms_from_datetime

__all__ = ["DATA", "Stay", "load_stays", "seat"]

DATA = Path(__file__).parent / "data"


@dataclass(frozen=True)
class Stay:
    """One vehicle at one charger: from arrival to departure, with what its driver asked for and
    what it then took in reality."""

    session_id: str
    station_id: str
    arrival_ms: int
    departure_ms: int
    requested_wh: int
    delivered_wh: int

    @property
    def duration_ms(self) -> int:
        return self.departure_ms - self.arrival_ms


def load_stays(path: Path) -> tuple[Stay, ...]:
    """The stays of a CSV file in ACN-Data's form, by arrival.

    Raises:
        InvalidInput: the file cannot be read, or a row of it is malformed (named by its line).
    """
    stays = []
    try:
        with path.open(encoding="utf-8", newline="") as file:
            reader = csv.DictReader(file)
            for row in reader:
                try:
                    stays.append(_stay(row))
                except (KeyError, TypeError, ValueError) as error:
                    raise InvalidInput(
                        f"{path.name} line {reader.line_num}: {error!r}", reason="ACN_ROW_INVALID"
                    ) from error
    except OSError as error:
        raise InvalidInput(f"{path}: {error}", reason="ACN_UNREADABLE") from error
    return tuple(sorted(stays, key=lambda stay: (stay.arrival_ms, stay.session_id)))


def _stay(row: dict[str, str]) -> Stay:
    stay = Stay(
        session_id=row["session_id"],
        station_id=row["station_id"],
        arrival_ms=ms_from_datetime(datetime.fromisoformat(row["arrival"])),
        departure_ms=ms_from_datetime(datetime.fromisoformat(row["departure"])),
        requested_wh=round(float(row["requested_energy (kWh)"]) * 1_000),
        delivered_wh=round(float(row["delivered_energy (kWh)"]) * 1_000),
    )
    if stay.duration_ms <= 0 or stay.requested_wh < 0 or stay.delivered_wh < 0:
        raise ValueError("departs before it arrives, or takes negative energy")
    return stay


def seat(stays: Iterable[Stay], seats: Sequence[int], *, gap_ms: int) -> dict[Stay, int]:
    """Give each stay the first of `seats` (any distinct numbers, in order of preference) that has
    been free for `gap_ms` when it arrives; stays that find none are left out."""
    free_from_ms = dict.fromkeys(seats, -(2**63))
    seated = {}
    for stay in sorted(stays, key=lambda stay: (stay.arrival_ms, stay.session_id)):
        number = next(
            (seat for seat in seats if free_from_ms[seat] + gap_ms <= stay.arrival_ms), None
        )
        if number is not None:
            seated[stay] = number
            free_from_ms[number] = stay.departure_ms
    return seated
