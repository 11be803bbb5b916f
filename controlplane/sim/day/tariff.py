"""What energy costs: a published time-of-use tariff with a charge for the highest demand.

The numbers stand in `data/sce_tou_ev_4_march_2019.json` (Southern California Edison, TOU-EV-4,
effective 1 March 2019: charging that is metered apart from the building). The demand charge is for
a month's highest quarter hour; a day bears its share of a month in which every day is like it."""

from __future__ import annotations

import json
from bisect import bisect_right
from calendar import monthrange
from dataclasses import dataclass
from datetime import date

import numpy as np
from numpy.typing import NDArray

from controlplane.network_tariff import TariffConfig
from controlplane.sim.acn import DATA
from controlplane.sim.day.sessions import is_workday

__all__ = ["SLOTS", "SLOT_H", "SLOT_MS", "Tariff", "described", "load_tariff"]

SLOTS = 96
SLOT_MS = 900_000
SLOT_H = 0.25
_WORKDAYS = ["mon", "tue", "wed", "thu", "fri"]


@dataclass(frozen=True)
class Tariff:
    """One day of a tariff.

    Attributes:
        name: as its issuer calls it.
        energy_usd_per_kwh: shape (96,), for each quarter hour of the day.
        demand_usd_per_kw: the day's share of the month's charge for the highest quarter hour.
    """

    name: str
    energy_usd_per_kwh: NDArray[np.float64]
    demand_usd_per_kw: float

    def energy_usd(self, slot_wh: NDArray[np.float64]) -> float:
        """The energy of each quarter hour, shape (..., 96), at its price."""
        return float((slot_wh @ self.energy_usd_per_kwh).sum() / 1_000)

    def demand_usd(self, slot_wh: NDArray[np.float64]) -> float:
        """The day's share of the demand charges of sites, shape (sites, 96)."""
        peak_kw = slot_wh.max(axis=1) / SLOT_H / 1_000
        return float(peak_kw.sum() * self.demand_usd_per_kw)


def load_tariff(day: date) -> Tariff:
    """The tariff as it holds on a day."""
    document = json.loads((DATA / "sce_tou_ev_4_march_2019.json").read_text(encoding="utf-8"))
    schedule = next(each for each in document["schedule"] if _applies(each, day))
    hours = [schedule["tariffs"][bisect_right(schedule["times"], hour) - 1] for hour in range(24)]
    _, days_of_month = monthrange(day.year, day.month)
    return Tariff(
        name=f"{document['name']}, effective {document['effective']}",
        energy_usd_per_kwh=np.repeat(np.array(hours), SLOTS // 24),
        demand_usd_per_kw=schedule["demand_charge"] / days_of_month,
    )


def described(day: date) -> TariffConfig:
    """The same tariff as a site is described with, all seasons and hours of it."""
    document = json.loads((DATA / "sce_tou_ev_4_march_2019.json").read_text(encoding="utf-8"))
    seasons: dict[tuple[str, str], str] = {}
    periods = []
    for schedule in document["schedule"]:
        span = schedule["effective_start"], schedule["effective_end"]
        season = seasons.setdefault(span, f"season-{len(seasons) + 1}")
        days = ["sat", "sun"] if schedule["dow_mask"] == "WEEKENDS" else _WORKDAYS
        ends = [*schedule["times"][1:], 24]
        for begins, until, price in zip(schedule["times"], ends, schedule["tariffs"], strict=True):
            hours = {"from": f"{begins:02}:00", "to": f"{until:02}:00"}
            periods.append(
                {
                    "hours": [{"seasons": [season], "days": days, **hours}],
                    "import_price_per_kwh": str(price),
                }
            )
    charge = {"name": "peak", "price_per_kw": str(document["schedule"][0]["demand_charge"])}
    return TariffConfig.model_validate(
        {
            "currency": "USD",
            "name": document["name"],
            "import_price_per_kwh": str(document["schedule"][0]["tariffs"][0]),
            "seasons": [{"id": name, "from": b, "to": e} for (b, e), name in seasons.items()],
            "holidays": [] if is_workday(day) else [day.isoformat()],
            "periods": periods,
            "demand_charges": [charge],
            "chargers_only": True,
        }
    )


def _applies(schedule: dict[str, str], day: date) -> bool:
    start, end, today = schedule["effective_start"], schedule["effective_end"], f"{day:%m-%d}"
    in_season = start <= today <= end if start <= end else not end < today < start
    return in_season and (schedule["dow_mask"] == "WEEKDAYS") == is_workday(day)
