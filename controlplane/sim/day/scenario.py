"""The network of the day and the vehicles that come to it, feeder by feeder.

Real are the sessions and the shape of the buildings' loads; invented, and drawn from the seed, are
the wiring, the kinds of stations and vehicles, and the size of the buildings. A site's supply
carries its building and about half of its chargers at full current; a feeder carries less than its
sites' supplies together.

Invariant: feeders share nothing, so each can be lived through by itself."""

from __future__ import annotations

import csv
import gzip
import math
from dataclasses import dataclass, replace
from datetime import date, datetime
from functools import cache
from random import Random
from typing import Literal
from zoneinfo import ZoneInfo

from controlplane.network import (
    BuildingLoadConfig,
    ChargerConfig,
    CircuitConfig,
    ConnectorConfig,
    FeederConfig,
    LimitUnit,
    Phase,
    SiteConfig,
)
from controlplane.network_tariff import TariffConfig
from controlplane.sim.acn import DATA
from controlplane.sim.building import BuildingLoad
from controlplane.sim.day.sessions import DAY_MS, TIME_ZONE, Session, SiteDay, days, midnight_ms
from controlplane.sim.outlet import OutletSpec, StationSpec
from controlplane.sim.vehicle import Vehicle, VehicleSpec
from controlplane.units import ms_from_datetime

__all__ = ["FEEDER_SITES", "FeederDay", "SitePlan", "Visit", "feeder_days"]

FEEDER_SITES = 10
"""How many sites hang on one feeder, at most."""

VOLTAGE_V = 230
_ROWS = ("row-a", "row-b")
_SERVED_AT_ONCE = 0.5
"""The share of its chargers that a supply carries at full current beside its building."""
_ROW_SHARE = 0.7
"""The same of each of the two rows of chargers below the supply."""
_FEEDER_SHARE = 0.75
"""Of what its sites' supplies have for chargers, what a feeder carries beside all their buildings:
the peaks of many sites do not fall together."""
_FEEDER_DESCRIBED = 0.98
"""A feeder's description has no margin of its own, so its owner states a little less than the
conductor takes: buildings move between two reports."""
_MARGIN_PERCENT = 2.0
_BATTERIES_WH = (40_000.0, 52_000.0, 60_000.0, 75_000.0, 82_000.0, 100_000.0)
_EFFICIENCY = 0.9
_HYBRID_MAX_WH = 12_000
_PHASES = (3,) * 18 + (2, 1)
"""How many phases the other vehicles use where the outlet has them."""


@dataclass(frozen=True)
class Visit:
    """A session on this network. `id` is unique in the network and its driver's card."""

    id: str
    site: int
    """The site's number on its feeder."""
    charger_id: str
    lines: tuple[int, ...]
    """The site's lines that this vehicle draws from."""
    current_max_a: float
    """The most that vehicle and station take, per line."""
    session: Session
    vehicle: VehicleSpec
    arrival_soc: float

    @property
    def power_max_w(self) -> float:
        return self.current_max_a * len(self.lines) * VOLTAGE_V

    def arrive(self, outlet_phases: int) -> Vehicle:
        """The vehicle as it is plugged in."""
        return Vehicle(
            self.vehicle, self.arrival_soc, outlet_phases=outlet_phases, voltage_v=VOLTAGE_V
        )


@dataclass(frozen=True)
class SitePlan:
    """One site: how it is described to Loadstar, what it is made of, and what it lives through."""

    config: SiteConfig
    stations: tuple[StationSpec, ...]
    building: BuildingLoad
    source: SiteDay
    visits: tuple[Visit, ...]


@dataclass(frozen=True)
class FeederDay:
    """One feeder with its sites. `rating_a` is what its conductors take, per phase."""

    config: FeederConfig
    rating_a: float
    start_ms: int
    sites: tuple[SitePlan, ...]

    @property
    def end_ms(self) -> int:
        return self.start_ms + DAY_MS

    @property
    def day(self) -> date:
        return datetime.fromtimestamp(self.start_ms / 1_000, ZoneInfo(TIME_ZONE)).date()

    def with_tariff(self, tariff: TariffConfig) -> FeederDay:
        """The same day at sites that are told what energy costs, and so plan."""
        sites = tuple(
            replace(site, config=site.config.model_copy(update={"tariff": tariff}))
            for site in self.sites
        )
        return replace(self, sites=sites)

    @property
    def visits(self) -> list[Visit]:
        return [visit for site in self.sites for visit in site.visits]


def feeder_days(day: date, *, sites: int, seed: int) -> list[FeederDay]:
    """The whole network on a date.

    Raises:
        InvalidInput: as `sessions.days`.
    """
    site_days = days(day, sites)
    found = []
    for first in range(0, sites, FEEDER_SITES):
        number = first // FEEDER_SITES + 1
        found.append(_feeder(number, site_days[first : first + FEEDER_SITES], day, seed=seed))
    return found


def _feeder(number: int, site_days: list[SiteDay], day: date, *, seed: int) -> FeederDay:
    feeder_id = f"feeder-{number:02d}"
    plans = tuple(
        _site(feeder_id, index, site_day, day, Random(f"{seed}/{feeder_id}/{index}"))
        for index, site_day in enumerate(site_days)
    )
    # One site alone has nobody to share with: its feeder carries all of its supply.
    share = _FEEDER_SHARE if len(plans) > 1 else 1.0
    buildings_a = sum(_peak_a(plan.building) for plan in plans)
    supplies_a = sum(plan.config.supply.rating_a for plan in plans)
    rating_a = math.floor(buildings_a + (supplies_a - buildings_a) * share)
    config = FeederConfig(
        id=feeder_id,
        power_max_w=math.floor(rating_a * _FEEDER_DESCRIBED * VOLTAGE_V * 3),
        voltage_v=VOLTAGE_V,
    )
    return FeederDay(config=config, rating_a=rating_a, start_ms=midnight_ms(day), sites=plans)


# --- a site ---------------------------------------------------------------------------------------


def _site(feeder_id: str, index: int, site_day: SiteDay, day: date, random: Random) -> SitePlan:
    site_id = f"site-{feeder_id.removeprefix('feeder-')}-{index + 1:02d}"
    building = _building(day, random)
    station_ids = sorted({session.station_id for session in site_day.sessions})
    chargers = {
        station_id: _charger(f"{site_id}-{station_id}", number, random)
        for number, station_id in enumerate(station_ids)
    }
    config = SiteConfig(
        id=site_id,
        feeder=feeder_id,
        voltage_v=VOLTAGE_V,
        time_zone=TIME_ZONE,
        margin_percent=_MARGIN_PERCENT,
        circuits=_circuits(list(chargers.values()), building),
        building_load=BuildingLoadConfig(
            circuit="supply", assumed_a=_peak_a(building), stale_after_s=300
        ),
        chargers=tuple(chargers.values()),
    )
    stations = tuple(_station(charger, random) for charger in config.chargers)
    visits = tuple(
        _visit(f"{site_id}-EV{number:03d}", index, chargers[session.station_id], session, random)
        for number, session in enumerate(site_day.sessions, start=1)
    )
    return SitePlan(config, stations, building, site_day, visits)


def _charger(id: str, number: int, random: Random) -> ChargerConfig:
    """Three in five draw 16 A from three phases, the others 32 A from one; in each kind, the first
    line wanders from station to station, as electricians connect them."""
    turn = number % 3
    lines: tuple[int, ...] = (turn, (turn + 1) % 3, (turn + 2) % 3)
    current_max_a = 16.0
    if random.random() >= 0.6:
        lines, current_max_a = (turn,), 32.0
    connector = ConnectorConfig(
        id=1,
        phases=tuple(Phase(f"L{line + 1}") for line in lines),
        current_max_a=current_max_a,
        current_step_a=random.choice((0.1, 0.1, 1.0)),
    )
    return ChargerConfig(
        id=id,
        circuit=_ROWS[number % len(_ROWS)],
        connectors=(connector,),
        limit_unit=random.choice((LimitUnit.A, LimitUnit.A, LimitUnit.A, LimitUnit.W)),
        # What silence lets a station draw is reserved for it on every row: on a supply for half of
        # the chargers nothing would be left to share out.
        offline_current_a=0.0,
    )


def _circuits(chargers: list[ChargerConfig], building: BuildingLoad) -> tuple[CircuitConfig, ...]:
    rows = tuple(
        CircuitConfig(
            id=row,
            parent="supply",
            rating_a=_rating_a([each for each in chargers if each.circuit == row], _ROW_SHARE),
        )
        for row in _ROWS
    )
    supply_a = math.ceil(_peak_a(building)) + _rating_a(chargers, _SERVED_AT_ONCE)
    return (CircuitConfig(id="supply", rating_a=supply_a), *rows)


def _rating_a(chargers: list[ChargerConfig], share: float) -> float:
    """A share of what they draw together on their fullest line, and never less than silence of all
    asks for, nor than one of them."""
    full_a = max(_sum_a(chargers, phase, offline=False) for phase in Phase)
    silent_a = max(_sum_a(chargers, phase, offline=True) for phase in Phase)
    return float(math.ceil(max(full_a * share, silent_a * 1.05, 33.0)))


def _sum_a(chargers: list[ChargerConfig], phase: Phase, *, offline: bool) -> float:
    return sum(
        charger.offline_current_a if offline else charger.connectors[0].current_max_a
        for charger in chargers
        if phase in charger.connectors[0].phases
    )


def _station(charger: ChargerConfig, random: Random) -> StationSpec:
    version: Literal["1.6", "2.0.1"] = random.choice(("1.6", "2.0.1"))
    connector = charger.connectors[0]
    outlet = OutletSpec(
        connector_id=connector.id,
        lines=tuple(phase.column for phase in connector.phases),
        current_max_a=connector.current_max_a,
        voltage_v=VOLTAGE_V,
    )
    return StationSpec(
        id=charger.id,
        version=version,
        unit="W" if charger.limit_unit is LimitUnit.W else "A",
        outlets=(outlet,),
    )


# --- its building ---------------------------------------------------------------------------------


def _building(day: date, random: Random) -> BuildingLoad:
    """The reference office on that date, larger or smaller, uneven over its lines."""
    scale = random.uniform(0.6, 1.4)
    uneven = [random.uniform(0.95, 1.05) for _ in range(3)]
    l1, l2, l3 = (each / sum(uneven) for each in uneven)
    midnight = midnight_ms(day)
    hours = [midnight + hour * 3_600_000 for hour in range(25)]
    load_w = _office_w()
    return BuildingLoad(
        start_ms=midnight,
        hours_w=tuple(load_w[at_ms] * scale for at_ms in hours),
        phase_shares=(l1, l2, l3),
        voltage_v=VOLTAGE_V,
    )


@cache
def _office_w() -> dict[int, float]:
    """The office's load by instant."""
    path, zone = DATA / "office_load_2019-05_2019-08.csv.gz", ZoneInfo(TIME_ZONE)
    with gzip.open(path, "rt", encoding="utf-8", newline="") as file:
        return {
            ms_from_datetime(datetime.fromisoformat(row["local_time"]).replace(tzinfo=zone)): (
                float(row["load_kw"]) * 1_000
            )
            for row in csv.DictReader(file)
        }


def _peak_a(building: BuildingLoad) -> float:
    peak_w = max(building.hours_w) * max(building.phase_shares)
    return math.ceil(peak_w / building.voltage_v * 10) / 10


# --- its vehicles ---------------------------------------------------------------------------------


def _visit(id: str, site: int, charger: ChargerConfig, session: Session, random: Random) -> Visit:
    """A vehicle that has room for what its driver asked for and stops there: at the top of its
    battery, or at the limit that its driver has set."""
    connector = charger.connectors[0]
    limit_soc = random.choice((0.8, 0.9, 1.0))
    gained_wh = max(session.requested_wh, 1) * _EFFICIENCY
    sizes = [size for size in _BATTERIES_WH if size * (limit_soc - 0.05) >= gained_wh]
    battery_wh = random.choice(sizes) if sizes else gained_wh / (limit_soc - 0.05)
    # Small needs are often those of plug-in hybrids, which charge on one phase.
    hybrid = session.requested_wh <= _HYBRID_MAX_WH and random.random() < 0.5
    phases = min(1 if hybrid else random.choice(_PHASES), len(connector.phases))
    vehicle = VehicleSpec(
        battery_wh=battery_wh,
        charge_limit_soc=limit_soc,
        phases=phases,
        current_max_a=connector.current_max_a,
        current_min_a=6.0,
        efficiency=_EFFICIENCY,
        pilot_delay_s=random.uniform(0.3, 2.0),
        ramp_up_a_per_s=random.uniform(1.0, 8.0),
        ramp_down_a_per_s=random.uniform(4.0, 40.0),
        sleep_after_s=random.choice((None, None, None, None, 1_800.0)),
    )
    return Visit(
        id=id,
        site=site,
        charger_id=charger.id,
        lines=tuple(phase.column for phase in connector.phases[:phases]),
        current_max_a=min(vehicle.current_max_a, connector.current_max_a),
        session=session,
        vehicle=vehicle,
        arrival_soc=limit_soc - gained_wh / battery_wh,
    )
