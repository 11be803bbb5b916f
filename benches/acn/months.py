"""Months of sessions for the profit study, made as the published study makes its own.

A vehicle asks for what it took in reality and leaves when it left, but after twelve hours at most;
it never asks for more than full power would bring. Networks are ACN-Sim's, with their own ratings:
150 kW at Caltech; 150 and 45 kW at JPL."""

from __future__ import annotations

import csv
import gzip
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from zoneinfo import ZoneInfo

import scenario
from acnportal import acnsim
from scenario import PERIOD_MIN, VOLTAGE_V

__all__ = [
    "DAY",
    "MONTHS",
    "POWER_KW",
    "Month",
    "Stay",
    "Transformer",
    "load",
    "network",
    "transformers",
]

DAY = 24 * 60 // PERIOD_MIN
"""Periods of a day."""
POWER_KW = 32 * VOLTAGE_V / 1_000
_STAY_MAX = DAY // 2
_SECONDARY_V = 120
_ZONE = ZoneInfo("America/Los_Angeles")
_DATA = scenario.DATA

MONTHS = (
    ("caltech", 3),
    *(("caltech", month) for month in range(5, 9)),
    *(("jpl", month) for month in range(5, 9)),
)
"""All months at hand, of 2019."""


@dataclass(frozen=True)
class Stay:
    """One session: periods from the month's beginning, kilowatt-hours."""

    station_id: str
    arrival: int
    departure: int
    energy_kwh: float


@dataclass(frozen=True)
class Month:
    """A month at one site."""

    site: str
    start: datetime
    days: int
    stays: tuple[Stay, ...]

    @property
    def weekdays(self) -> tuple[int, ...]:
        """Of each of its days, Monday is 0."""
        return tuple((self.start.weekday() + day) % 7 for day in range(self.days))

    def events(self) -> acnsim.EventQueue:
        """A fresh queue of plug-in events."""
        queue = acnsim.EventQueue()
        for number, stay in enumerate(self.stays):
            battery = acnsim.Battery(stay.energy_kwh, 0, POWER_KW)
            vehicle = acnsim.EV(
                stay.arrival,
                stay.departure,
                stay.energy_kwh,
                stay.station_id,
                f"session-{number}",
                battery,
            )
            queue.add_event(acnsim.PluginEvent(stay.arrival, vehicle))
        return queue


def network(site: str) -> acnsim.ChargingNetwork:
    """The site's network."""
    build = acnsim.sites.caltech_acn if site == "caltech" else acnsim.sites.jpl_acn
    return build(basic_evse=True, voltage=VOLTAGE_V)


@dataclass(frozen=True)
class Transformer:
    """One of a network's, whose secondary side has three lines of 120 V.

    Attributes:
        station_ids: behind it.
        power_w: what it carries when its lines are level.
    """

    name: str
    station_ids: tuple[str, ...]
    power_w: int


def transformers(charging_network: acnsim.ChargingNetwork) -> list[Transformer]:
    """The network's, read from the names of its rows."""
    found: dict[str, Transformer] = {}
    rows = zip(
        charging_network.constraint_index,
        charging_network.constraint_matrix,
        charging_network.magnitudes,
        strict=True,
    )
    for row, coefficients, limit_a in rows:
        name, secondary, _ = row.partition("Secondary")
        if secondary:
            known = found[name].station_ids if name in found else ()
            on_line = [
                station
                for station, coefficient in zip(
                    charging_network.station_ids, coefficients, strict=True
                )
                if coefficient
            ]
            stations = tuple(dict.fromkeys([*known, *on_line]))
            title = name.strip() or "transformer"
            found[name] = Transformer(title, stations, int(3 * _SECONDARY_V * limit_a))
    return list(found.values())


@cache
def load(site: str, month: int) -> Month:
    """A month of 2019."""
    start = datetime(2019, month, 1, tzinfo=_ZONE)
    end = datetime(2019, month + 1, 1, tzinfo=_ZONE)
    days = (end.replace(tzinfo=None) - start.replace(tzinfo=None)).days
    stays = _published() if (site, month) == ("caltech", 3) else _recorded(site, start, end)
    return Month(site, start, days, tuple(sorted(stays, key=lambda stay: stay.arrival)))


def _stay(station_id: str, arrival: int, departure: int, energy_kwh: float) -> Stay:
    departure = min(departure, arrival + _STAY_MAX)
    most_kwh = POWER_KW * (departure - arrival) * PERIOD_MIN / 60
    return Stay(station_id, arrival, departure, min(energy_kwh, most_kwh))


def _published() -> list[Stay]:
    vehicles = [event.ev for _, event in scenario.events().queue]
    return [_stay(ev.station_id, ev.arrival, ev.departure, ev.requested_energy) for ev in vehicles]


def _recorded(site: str, start: datetime, end: datetime) -> list[Stay]:
    stays = []
    with gzip.open(_DATA / f"acn_{site}_2019-05_2019-08.csv.gz", "rt", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            if start <= datetime.fromisoformat(row["arrival"]) < end:
                arrival, departure = (
                    _period(row[name]) - _period(start.isoformat())
                    for name in ("arrival", "departure")
                )
                energy_kwh = float(row["delivered_energy (kWh)"])
                if departure > arrival and energy_kwh > 0:
                    stays.append(_stay(row["station_id"], arrival, departure, energy_kwh))
    return stays


def _period(instant: str) -> int:
    return int(datetime.fromisoformat(instant).timestamp() / (60 * PERIOD_MIN))
