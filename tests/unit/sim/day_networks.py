"""Feeders small enough to work out by hand."""

from __future__ import annotations

from datetime import date

from controlplane.network import (
    ChargerConfig,
    CircuitConfig,
    ConnectorConfig,
    FeederConfig,
    Phase,
    SiteConfig,
)
from controlplane.sim.building import BuildingLoad
from controlplane.sim.day.scenario import VOLTAGE_V, FeederDay, SitePlan, Visit
from controlplane.sim.day.sessions import Session, SiteDay, midnight_ms
from controlplane.sim.outlet import OutletSpec, StationSpec
from controlplane.sim.vehicle import VehicleSpec
from controlplane.units import MS_PER_HOUR

DAY = date(2019, 6, 12)
START_MS = midnight_ms(DAY)
FULL_W = 32 * VOLTAGE_V
"""What each of the chargers here takes: 32 A on L1."""


def session(station_id: str, begin_h: float, end_h: float, requested_wh: int) -> Session:
    """A stay from one hour of the day to another."""
    return Session(
        station_id=station_id,
        arrival_ms=START_MS + round(begin_h * MS_PER_HOUR),
        departure_ms=START_MS + round(end_h * MS_PER_HOUR),
        requested_wh=requested_wh,
        estimated_departure_ms=START_MS + round(end_h * MS_PER_HOUR),
        told=True,
    )


def feeder_day(
    *sessions: Session, supply_a: float, feeder_a: float | None = None, building_w: float = 0.0
) -> FeederDay:
    """One site whose supply carries a steady building and all chargers."""
    ids = sorted({each.station_id for each in sessions})
    connector = ConnectorConfig(id=1, phases=(Phase.L1,), current_max_a=32.0)
    chargers = tuple(
        ChargerConfig(id=each, circuit="supply", connectors=(connector,), offline_current_a=0)
        for each in ids
    )
    config = SiteConfig(
        id="site",
        feeder="feeder",
        circuits=(CircuitConfig(id="supply", rating_a=supply_a),),
        chargers=chargers,
    )
    outlet = OutletSpec(connector_id=1, lines=(0,), current_max_a=32.0, voltage_v=VOLTAGE_V)
    plan = SitePlan(
        config=config,
        stations=tuple(
            StationSpec(id=each, version="1.6", unit="A", outlets=(outlet,)) for each in ids
        ),
        building=BuildingLoad(start_ms=START_MS, hours_w=(building_w,) * 25, voltage_v=VOLTAGE_V),
        source=SiteDay("somewhere", DAY, sessions),
        visits=tuple(_visit(number, each) for number, each in enumerate(sessions)),
    )
    rating_a = supply_a if feeder_a is None else feeder_a
    described = FeederConfig(id="feeder", power_max_w=round(rating_a * VOLTAGE_V * 3))
    return FeederDay(config=described, rating_a=rating_a, start_ms=START_MS, sites=(plan,))


def _visit(number: int, session: Session) -> Visit:
    """A vehicle without a taper that takes exactly what is asked for."""
    battery_wh = 100_000.0
    return Visit(
        id=f"EV{number}",
        site=0,
        charger_id=session.station_id,
        lines=(0,),
        current_max_a=32.0,
        session=session,
        vehicle=VehicleSpec(
            battery_wh=battery_wh,
            phases=1,
            current_max_a=32.0,
            taper_soc=0.99,
            charge_limit_soc=0.9,
            efficiency=1.0,
        ),
        arrival_soc=0.9 - session.requested_wh / battery_wh,
    )
