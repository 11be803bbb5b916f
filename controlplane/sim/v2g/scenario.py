"""The sites, vehicles and drivers of a grid event that only vehicles can meet, drawn from a seed.

Some come and leave during the event, and must charge meanwhile. Invariant: everybody's need can be
met by a vehicle that charges on: what it lacks on leaving, the event or feeding in has taken."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from random import Random

from controlplane.network import (
    BuildingLoadConfig,
    ChargerConfig,
    CircuitConfig,
    ConnectorConfig,
    CurrentType,
    FeederConfig,
    LimitUnit,
    SiteConfig,
    VehicleToGridConfig,
)
from controlplane.sim.building import BuildingLoad
from controlplane.sim.outlet import OutletSpec, StationSpec
from controlplane.sim.vehicle import Vehicle, VehicleSpec
from controlplane.units import MS_PER_HOUR

__all__ = [
    "ARRIVALS_MS",
    "CREDIT_PER_KWH",
    "CURRENCY",
    "LEAD_MS",
    "STAYS_AFTER_MS",
    "TOWN",
    "Driver",
    "Scenario",
    "draw_scenario",
]

VOLTAGE_V = 230
VEHICLES_PER_SITE = 50
ARRIVALS_MS = 2 * MS_PER_HOUR
"""Within this time nearly everybody comes; the others while the event lasts."""
LEAD_MS = 3 * MS_PER_HOUR
"""After this the event begins."""
STAYS_AFTER_MS = 6 * MS_PER_HOUR
"""Nobody stays for longer after it."""
CREDIT_PER_KWH = Decimal("0.31")
CURRENCY = "EUR"
TOWN, STREET = "town", "street"
_CARRIED = 0.8
_AGREES = 0.8
"""The share of drivers who let their vehicles feed in."""
_LEAVES_DURING = 0.25
_COMES_DURING = 0.1
_NEED_W = 2_500
"""What a driver asks for could be charged at this power."""
_EFFICIENCY_PERCENT = 96.0
_DIRECT_MAX_A = 32.0
_ALTERNATING_MAX_A = 16.0
_PANEL_EXPORT_A = 220.0
_PANEL_A = 420.0
_BUILDING_A = 300.0


@dataclass(frozen=True)
class Driver:
    """One driver's stay at one charger, from the start of the world."""

    charger_id: str
    vehicle: Vehicle
    arrives_ms: int
    leaves_ms: int
    need_wh: int
    """Wanted at the meter."""
    reserve_percent: int | None
    """None: may not feed in."""
    soc_needed: float
    """What has to be in the battery on leaving, 0 to 1."""


@dataclass(frozen=True)
class Scenario:
    """`feeders` is empty where each site is asked for itself."""

    sites: tuple[SiteConfig, ...]
    stations: dict[str, StationSpec]
    buildings: tuple[BuildingLoad, ...]
    drivers: tuple[Driver, ...]
    feeders: tuple[FeederConfig, ...] = ()


def draw_scenario(
    random: Random, *, vehicles: int, event_ms: int, start_ms: int, below_feeder: bool = False
) -> Scenario:
    """Sites of up to fifty chargers, two in three of direct current, one vehicle at each.

    Args:
        below_feeder: they hang on a feeder, at least two of them, and every other one on a second
            feeder below it.
    """
    sites, stations, buildings, drivers = [], {}, [], []
    each = min(VEHICLES_PER_SITE, -(-vehicles // 2)) if below_feeder else VEHICLES_PER_SITE
    for first in range(0, vehicles, each):
        count = min(each, vehicles - first)
        chargers = [_charger(random, first + number) for number in range(count)]
        feeder = (TOWN, STREET)[first // each % 2] if below_feeder else None
        site = _site(f"site{first // each}", chargers, feeder=feeder)
        sites.append(site)
        buildings.append(_building(random, start_ms, count))
        for charger in chargers:
            stations[charger.id] = _station(charger)
            drivers.append(_driver(random, charger, event_ms=event_ms))
    feeders = _feeders(sites) if below_feeder else ()
    return Scenario(tuple(sites), stations, tuple(buildings), tuple(drivers), feeders)


def _feeders(sites: list[SiteConfig]) -> tuple[FeederConfig, ...]:
    """The one that is asked, and one below it; each carries four fifths of its sites' ratings."""

    def carried_w(below: list[SiteConfig]) -> int:
        rated_a = sum(site.supply.rating_ma for site in below) / 1_000
        return round(_CARRIED * rated_a * 3 * VOLTAGE_V)

    street = [site for site in sites if site.feeder == STREET]
    town = FeederConfig(id=TOWN, power_max_w=carried_w(sites), voltage_v=VOLTAGE_V)
    if not street:
        return (town,)
    power_max_w = carried_w(street)
    return town, FeederConfig(id=STREET, parent=TOWN, power_max_w=power_max_w, voltage_v=VOLTAGE_V)


def _site(id: str, chargers: list[ChargerConfig], *, feeder: str | None) -> SiteConfig:
    share = len(chargers) / VEHICLES_PER_SITE
    return SiteConfig(
        id=id,
        feeder=feeder,
        voltage_v=VOLTAGE_V,
        margin_percent=3.0,
        circuits=(
            CircuitConfig(id="supply", rating_a=_BUILDING_A * 1.2 * share + 2 * _PANEL_A),
            CircuitConfig(
                id="panel0", parent="supply", rating_a=_PANEL_A, export_a=_PANEL_EXPORT_A
            ),
            CircuitConfig(
                id="panel1", parent="supply", rating_a=_PANEL_A, export_a=_PANEL_EXPORT_A
            ),
        ),
        building_load=BuildingLoadConfig(
            circuit="supply", assumed_a=_BUILDING_A * share, stale_after_s=300.0
        ),
        chargers=tuple(chargers),
        vehicle_to_grid=VehicleToGridConfig(credit_per_kwh=CREDIT_PER_KWH, currency=CURRENCY),
    )


def _charger(random: Random, number: int) -> ChargerConfig:
    direct = random.random() < 2 / 3
    return ChargerConfig(
        id=f"V{number}",
        circuit=f"panel{number % 2}",
        connectors=(
            ConnectorConfig(
                id=1,
                current_min_a=1.0 if direct else 6.0,
                current_max_a=_DIRECT_MAX_A if direct else _ALTERNATING_MAX_A,
            ),
        ),
        current_type=CurrentType.DC if direct else CurrentType.AC,
        efficiency_percent=_EFFICIENCY_PERCENT if direct else None,
        limit_unit=LimitUnit.W if direct else LimitUnit.A,
        offline_current_a=0.0,
    )


def _station(charger: ChargerConfig) -> StationSpec:
    (connector,) = charger.connectors
    return StationSpec(
        id=charger.id,
        version="2.1",
        unit="W" if charger.limit_unit is LimitUnit.W else "A",
        outlets=(
            OutletSpec(
                connector_id=connector.id,
                lines=(0, 1, 2),
                current_max_a=connector.current_max_a,
                voltage_v=VOLTAGE_V,
                direct_current=charger.current_type is CurrentType.DC,
                efficiency=charger.efficiency_permille / 1_000,
            ),
        ),
    )


def _building(random: Random, start_ms: int, chargers: int) -> BuildingLoad:
    """It moves by a tenth from hour to hour."""
    full_w = _BUILDING_A * VOLTAGE_V * 3 * chargers / VEHICLES_PER_SITE
    hours_w = tuple(random.uniform(0.85, 0.95) * full_w for _ in range(24))
    return BuildingLoad(start_ms=start_ms, hours_w=hours_w, voltage_v=VOLTAGE_V)


def _driver(random: Random, charger: ChargerConfig, *, event_ms: int) -> Driver:
    direct = charger.current_type is CurrentType.DC
    capacity_wh = random.uniform(50_000, 85_000)
    vehicle = Vehicle(
        VehicleSpec(
            battery_wh=capacity_wh,
            current_max_a=80.0 if direct else 16.0,
            current_min_a=0.5 if direct else 6.0,
            efficiency=random.uniform(0.91, 0.95),
            ramp_down_a_per_s=random.choice((40.0, 2.0)),
            discharge_max_a=random.choice((16.0, 24.0, 32.0)) if direct else 16.0,
        ),
        soc=random.uniform(0.45, 0.85),
        outlet_phases=3,
        voltage_v=VOLTAGE_V,
    )
    arrives_ms = random.randrange(ARRIVALS_MS)
    ends_ms = LEAD_MS + event_ms
    if random.random() < _LEAVES_DURING:
        leaves_ms = random.randrange(LEAD_MS + event_ms // 4, ends_ms)
    else:
        leaves_ms = random.randrange(ends_ms + MS_PER_HOUR // 2, ends_ms + STAYS_AFTER_MS)
    calm_ms = LEAD_MS - arrives_ms + max(0, leaves_ms - ends_ms)
    if random.random() < _COMES_DURING:
        # What these need has to be charged while others feed in.
        arrives_ms = LEAD_MS + random.randrange(event_ms // 4)
        leaves_ms = random.randrange(LEAD_MS + 3 * event_ms // 4, ends_ms)
        calm_ms = (leaves_ms - arrives_ms) * 3 // 4
    room_wh = (0.95 - vehicle.soc) * capacity_wh / vehicle.spec.efficiency
    most_wh = min(_NEED_W * calm_ms / MS_PER_HOUR, room_wh)
    need_wh = max(200, round(random.uniform(0.2, 0.9) * most_wh))
    return Driver(
        charger_id=charger.id,
        vehicle=vehicle,
        arrives_ms=arrives_ms,
        leaves_ms=leaves_ms,
        need_wh=need_wh,
        reserve_percent=random.randrange(25, 45) if random.random() < _AGREES else None,
        soc_needed=vehicle.soc + need_wh * vehicle.spec.efficiency / capacity_wh,
    )
