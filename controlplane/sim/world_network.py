"""The networks, buildings and vehicles that a world is made of, drawn from its seed.

Invariant: every described network is safe when nobody says anything, and has room for about half of
what its chargers could draw, so that the rows are worth guarding and no fault can make a violation
unavoidable."""

from __future__ import annotations

import math
from random import Random

from controlplane.network import (
    BuildingLoadConfig,
    ChargerConfig,
    CircuitConfig,
    ConnectorConfig,
    CurrentType,
    FeederConfig,
    LimitUnit,
    Phase,
    SiteConfig,
)
from controlplane.sim.building import BuildingLoad
from controlplane.sim.outlet import OutletSpec, StationSpec, Version
from controlplane.sim.vehicle import Vehicle, VehicleSpec

__all__ = [
    "VOLTAGE_V",
    "draw_building",
    "draw_network",
    "draw_tariffs",
    "draw_vehicle",
    "station_spec",
]

VOLTAGE_V = 230
_CHARGERS_PER_SITE = 10
_PANELS = ("panel0", "panel1")
_BUILDING_MAX_A = 40.0
_BUILDING_SWING_A = 7.0
"""Below the margin of the smallest supply."""
_BUILDING_HOURS = 48
_SPARE_A = 8.0
_ROOM_SHARE = 0.35
"""What a circuit carries of all that hangs on it."""
_OFFLINE_A = (0.0, 3.0, 6.0)
_LINES = ((1,), (2,), (3,), (1, 2), (1, 2, 3), (2, 3, 1), (3, 1, 2))
_DC_CURRENT_MAX_A = 48.0
"""Of the grid, on each phase: a small fast charger of 33 kW."""
_EFFICIENCY_PERCENT = 92.0


def draw_network(random: Random, chargers: int) -> tuple[FeederConfig, list[SiteConfig]]:
    """Sites of up to ten mixed chargers with room for about half of them, under one feeder that
    cannot serve all sites at once."""
    sites = []
    for first in range(0, chargers, _CHARGERS_PER_SITE):
        numbers = range(first, min(first + _CHARGERS_PER_SITE, chargers))
        sites.append(_site(random, f"site{first // _CHARGERS_PER_SITE}", list(numbers)))
    supply_a = sum(site.supply.rating_a for site in sites)
    power_max_w = round(supply_a * 0.9 * VOLTAGE_V * 3)
    return FeederConfig(id="feeder0", power_max_w=power_max_w, voltage_v=VOLTAGE_V), sites


def _site(random: Random, id: str, numbers: list[int]) -> SiteConfig:
    """A supply for the building and two panels. Either the building moves and a margin holds what
    it may add while chargers are out of reach, so that no fault can make a violation unavoidable,
    or it stands still and there is no margin that could hide a mistake."""
    offline_a = random.choice(_OFFLINE_A)
    chargers = [_charger(random, number, offline_a) for number in numbers]
    margin_percent = random.choice((0.0, 15.0))
    panels = [[charger for charger in chargers if charger.circuit == panel] for panel in _PANELS]
    supply_a = _rating_a(chargers, margin_percent, building_a=_BUILDING_MAX_A)
    panels_a = [_rating_a(each, margin_percent) for each in panels]
    return SiteConfig(
        id=id,
        feeder="feeder0",
        voltage_v=VOLTAGE_V,
        margin_percent=margin_percent,
        circuits=(
            CircuitConfig(id="supply", rating_a=supply_a),
            *(
                CircuitConfig(id=panel, parent="supply", rating_a=rating_a)
                for panel, rating_a in zip(_PANELS, panels_a, strict=True)
            ),
        ),
        building_load=BuildingLoadConfig(circuit="supply", assumed_a=30.0, stale_after_s=300.0),
        chargers=tuple(chargers),
    )


def _charger(random: Random, number: int, offline_a: float) -> ChargerConfig:
    """Most have one connector and alternating current; some have two, some are fast chargers."""
    kind = random.choice(("ac", "ac", "ac", "ac", "double", "dc"))
    connectors = []
    for connector_id in (1, 2) if kind == "double" else (1,):
        lines = (1, 2, 3) if kind == "dc" else random.choice(_LINES)
        connectors.append(
            ConnectorConfig(
                id=connector_id,
                phases=tuple(Phase(f"L{line}") for line in lines),
                current_max_a=_DC_CURRENT_MAX_A if kind == "dc" else random.choice((16.0, 32.0)),
                current_step_a=random.choice((0.1, 1.0)),
                weight=random.choice((1, 1, 2)),
            )
        )
    unit = LimitUnit.W if kind == "dc" else random.choice((LimitUnit.A, LimitUnit.A, LimitUnit.W))
    return ChargerConfig(
        id=f"CP{number}",
        circuit=_PANELS[number % 2],
        connectors=tuple(connectors),
        current_type=CurrentType.DC if kind == "dc" else CurrentType.AC,
        efficiency_percent=_EFFICIENCY_PERCENT if kind == "dc" else None,
        limit_unit=unit,
        offline_current_a=offline_a,
    )


def _rating_a(
    chargers: list[ChargerConfig],
    margin_percent: float,
    *,
    building_a: float = 0.0,
) -> float:
    """Room for a part of what the chargers could draw, and never less than what makes silence of
    all safe."""
    least_a = 0.0
    for phase in Phase:
        connectors = [
            (charger, connector)
            for charger in chargers
            for connector in charger.connectors
            if phase in connector.phases
        ]
        silent_a = sum(charger.offline_current_a for charger, _ in connectors)
        could_a = sum(connector.current_max_a for _, connector in connectors)
        least_a = max(least_a, silent_a, could_a * _ROOM_SHARE)
    return math.ceil((building_a + max(least_a, _SPARE_A)) / (1.0 - margin_percent / 100.0))


def draw_tariffs(random: Random, sites: list[SiteConfig]) -> list[SiteConfig]:
    """The same sites, each with cheap hours of its own; most pay for their peak as well."""
    priced = []
    for site in sites:
        begins = random.randrange(0, 24)
        tariff = {
            "currency": "EUR",
            "import_price_per_kwh": str(random.choice((0.2, 0.3, 0.5))),
            "periods": [
                {
                    "hours": [{"from": f"{begins:02}:00", "to": f"{(begins + 3) % 24:02}:00"}],
                    "import_price_per_kwh": str(random.choice((-0.02, 0.05, 0.1))),
                }
            ],
            "demand_charges": random.choice(
                (
                    [],
                    [{"name": "peak", "price_per_kw": "10"}],
                    [{"name": "peak", "price_per_kw": "2"}],
                )
            ),
        }
        priced.append(SiteConfig.model_validate(site.model_dump() | {"tariff": tariff}))
    return priced


def station_spec(charger: ChargerConfig, version: Version) -> StationSpec:
    """The station that a description describes."""
    direct = charger.current_type is CurrentType.DC
    return StationSpec(
        id=charger.id,
        version=version,
        unit="W" if charger.limit_unit is LimitUnit.W else "A",
        outlets=tuple(
            OutletSpec(
                connector_id=connector.id,
                lines=tuple(phase.column for phase in connector.phases),
                current_max_a=connector.current_max_a,
                voltage_v=VOLTAGE_V,
                direct_current=direct,
                efficiency=charger.efficiency_permille / 1_000,
            )
            for connector in charger.connectors
        ),
    )


def draw_building(random: Random, site: SiteConfig, start_ms: int) -> BuildingLoad:
    """So many amperes on each phase, in a rhythm of its own where the site has a margin."""
    hours = _BUILDING_HOURS if site.margin_percent else 1
    hours_w = tuple(
        random.uniform(_BUILDING_MAX_A - _BUILDING_SWING_A, _BUILDING_MAX_A) * VOLTAGE_V * 3
        for _ in range(hours)
    )
    return BuildingLoad(start_ms=start_ms, hours_w=hours_w, voltage_v=VOLTAGE_V)


def draw_vehicle(random: Random, outlet: OutletSpec, *, cautious: bool) -> Vehicle:
    """Vehicles of all kinds: of one to three phases, quick and slow to follow, with batteries that
    are nearly full or empty; some fall asleep. `cautious` ones may pause by themselves."""
    direct = outlet.direct_current
    spec = VehicleSpec(
        battery_wh=random.uniform(20_000, 90_000),
        phases=3 if direct else random.choice((1, 2, 3, 3)),
        current_max_a=80.0 if direct else random.choice((10.0, 16.0, 32.0)),
        current_min_a=0.5 if direct else random.choice((6.0, 6.0, 8.0)),
        # As fast as a pilot signal, or slow: half a minute from full to nothing.
        ramp_down_a_per_s=random.choice((40.0, 2.0 if direct else 1.2)),
        sleep_after_s=random.choice((None, None, 1_800.0)),
        rhythm_s=random.uniform(120, 900) if cautious and random.random() < 0.3 else None,
    )
    return Vehicle(
        spec,
        soc=random.uniform(0.1, 0.9),
        outlet_phases=len(outlet.lines),
        voltage_v=outlet.voltage_v,
    )
