"""The network of the demonstration and the day it lives through.

Made from a seed, so that every process of the demonstration can work it out for itself and gets the
same. Real are the arrivals, departures and requested energies (ACN-Data, 12 June 2019, one stay
after the other at each charger) and the building load; invented are the sites and the vehicles.

Time: a working day is squeezed into the wanted duration. What belongs to the day (arrivals,
batteries, the building) runs on the fast clock; what belongs to wires and software (how soon a
vehicle obeys, how often a meter reports) keeps its real pace, so that Loadstar is asked for no more
and no less than in earnest."""

from __future__ import annotations

import random
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, Literal

from controlplane.errors import InvalidInput
from controlplane.network import ChargerConfig, CurrentType, LimitUnit, NetworkConfig, SiteConfig
from controlplane.sim.acn import DATA, Stay, load_stays, seat
from controlplane.sim.building import BuildingLoad, load_hours_w
from controlplane.sim.outlet import OutletSpec, StationSpec
from controlplane.sim.vehicle import Vehicle, VehicleSpec
from controlplane.units import MS_PER_HOUR, MS_PER_S, ms_from_datetime

__all__ = ["Scenario", "Visit", "make_scenario"]

TIME_ZONE = "America/Los_Angeles"
MIDNIGHT_MS = ms_from_datetime(datetime(2019, 6, 12, 7, tzinfo=UTC))
DAY_START_MS = MIDNIGHT_MS + 7 * MS_PER_HOUR
DAY_END_MS = MIDNIGHT_MS + 19 * MS_PER_HOUR
SPEED_MAX = 480.0
"""Beyond this a minute of the building's morning would pass between two rounds; a shorter
demonstration shows a shorter day instead."""
PRELUDE_S = 12.0
"""Real seconds that Loadstar is given to start before the day begins; where it takes longer, the
whole day is put off (`late_ms`)."""
DURATION_MIN_S, DURATION_MAX_S = 10.0, 86_400.0

GAP_MS = 20 * 60 * MS_PER_S
BATTERIES_WH = (40_000.0, 52_000.0, 60_000.0, 75_000.0, 82_000.0)
TARGET_SOC = 0.95
"""A vehicle that got what its driver asked for is this full: its driver's charge limit."""
SHARES = {"office": (0.34, 0.33, 0.33), "depot": (0.32, 0.33, 0.35)}
LOAD_SCALE = {"office": 1.0, "depot": 0.1}
PHYSICAL_SHARE = 0.98
DEPOT_STAY_MAX_MS = 6 * MS_PER_HOUR


@dataclass(frozen=True)
class Visit:
    """One vehicle's stay at one connector. `id_token` is its driver's card and names the visit."""

    id_token: str
    site_id: str
    charger_id: str
    connector_id: int
    arrival_ms: int
    departure_ms: int
    requested_wh: int
    vehicle: VehicleSpec
    arrival_soc: float
    could_take_wh: int
    """What the vehicle would have drawn by its departure, alone and never held back."""
    leaves_in_time: bool
    """Its departure lies within the demonstration, so its deadline counts."""

    def satisfied_by(self, delivered_wh: int) -> bool:
        """Whether the driver got what was asked for, or, where that is less, `PHYSICAL_SHARE` of
        what the vehicle could have drawn alone. A register in whole watt-hours may hide one."""
        enough_wh = min(self.requested_wh, PHYSICAL_SHARE * self.could_take_wh)
        return delivered_wh + 1 >= enough_wh


@dataclass(frozen=True)
class Scenario:
    """What is to happen. `version_of` names the OCPP version of each charger."""

    network: NetworkConfig
    version_of: dict[str, Literal["1.6", "2.0.1"]]
    visits: tuple[Visit, ...]
    buildings: dict[str, BuildingLoad]
    clock_start_ms: int
    """What the clock shows when Loadstar is started."""
    start_ms: int
    end_ms: int
    speed: float

    def site(self, site_id: str) -> SiteConfig:
        return next(site for site in self.network.sites if site.id == site_id)

    def stations(self, site_id: str) -> list[StationSpec]:
        """The stations of a site, as themselves and not as Loadstar describes them."""
        site = self.site(site_id)
        return [_station(charger, site, self.version_of[charger.id]) for charger in site.chargers]


def make_scenario(*, duration_s: float, seed: int, late_ms: int = 0) -> Scenario:
    """The demonstration's day, squeezed into `duration_s` real seconds, everything that happens put
    off by `late_ms` of the day's time.

    Raises:
        InvalidInput: the duration is out of range.
    """
    if not DURATION_MIN_S <= duration_s <= DURATION_MAX_S:
        raise InvalidInput(
            f"duration {duration_s:g} s: {DURATION_MIN_S:g} to {DURATION_MAX_S:g} s",
            reason="DURATION_OUT_OF_RANGE",
        )
    speed = min(SPEED_MAX, max(1.0, (DAY_END_MS - DAY_START_MS) / MS_PER_S / duration_s))
    end_ms = min(DAY_END_MS, DAY_START_MS + round(duration_s * speed * MS_PER_S))
    network = NetworkConfig.model_validate(_network(speed))
    hours_w = load_hours_w(DATA / "office_load_06-12.csv")
    return Scenario(
        network=network,
        version_of={
            charger["id"]: charger["version"]
            for chargers in _CHARGERS.values()
            for charger in chargers
        },
        visits=tuple(
            replace(
                visit,
                arrival_ms=visit.arrival_ms + late_ms,
                departure_ms=visit.departure_ms + late_ms,
            )
            for visit in _visits(network, end_ms=end_ms, speed=speed, rng=random.Random(seed))
        ),
        buildings={
            site.id: BuildingLoad(
                start_ms=MIDNIGHT_MS + late_ms,
                hours_w=tuple(power_w * LOAD_SCALE[site.id] for power_w in hours_w),
                phase_shares=SHARES[site.id],
                voltage_v=site.voltage_v,
            )
            for site in network.sites
        },
        clock_start_ms=DAY_START_MS - round(PRELUDE_S * speed * MS_PER_S),
        start_ms=DAY_START_MS + late_ms,
        end_ms=end_ms + late_ms,
        speed=speed,
    )


# --- the network ----------------------------------------------------------------------------------


def _ac(
    number: int,
    version: str,
    circuit: str,
    phases: str,
    current_max_a: float,
    *,
    site: str = "OFFICE",
    unit: str = "A",
    step_a: float = 0.1,
) -> dict[str, Any]:
    connector = {
        "id": 1,
        "phases": [f"L{phase}" for phase in phases],
        "current_max_a": current_max_a,
        "current_step_a": step_a,
    }
    return {
        "id": f"{site}-{number:02d}",
        "version": version,
        "circuit": circuit,
        "limit_unit": unit,
        "connectors": [connector],
    }


def _dc(number: int, version: str) -> dict[str, Any]:
    """50 kW, counted and limited where it takes them from the grid: 72.5 A on each of three
    lines."""
    charger = _ac(number, version, "dc", "123", 72.5, site="DEPOT", unit="W")
    return charger | {"current_type": "dc", "efficiency_percent": 100}


_CHARGERS: dict[str, list[dict[str, Any]]] = {
    "office": [
        _ac(1, "1.6", "row-a", "123", 16),
        _ac(2, "1.6", "row-a", "231", 16, step_a=1.0),
        _ac(3, "2.0.1", "row-a", "312", 16),
        _ac(4, "1.6", "row-a", "1", 32),
        _ac(5, "2.0.1", "row-a", "2", 32),
        _ac(6, "2.0.1", "row-b", "123", 16),
        _ac(7, "1.6", "row-b", "231", 16, unit="W"),
        _ac(8, "2.0.1", "row-b", "312", 16),
        _ac(9, "1.6", "row-b", "3", 32, step_a=1.0),
        _ac(10, "2.0.1", "row-b", "1", 32),
    ],
    "depot": [
        _dc(1, "2.0.1"),
        _dc(2, "1.6"),
        _dc(3, "2.0.1"),
        _ac(4, "2.0.1", "ac", "123", 32, site="DEPOT"),
        _ac(5, "1.6", "ac", "231", 32, site="DEPOT"),
        _ac(6, "1.6", "ac", "2", 32, site="DEPOT"),
    ],
}


def _network(speed: float) -> dict[str, Any]:
    """One feeder, two sites. Ten vehicles at the office, whose `parking` circuit carries five of
    them at full current (5 times 16 A on three phases); its supply is shared with the building."""
    stale_after_s = 10 * speed  # ten real seconds
    sites: list[dict[str, Any]] = [
        {
            "id": "office",
            "name": "Office, staff parking",
            "circuits": [
                {"id": "supply", "rating_a": 315},
                {"id": "parking", "parent": "supply", "rating_a": 80},
                {"id": "row-a", "parent": "parking", "rating_a": 63},
                {"id": "row-b", "parent": "parking", "rating_a": 63},
            ],
            "building_load": {
                "circuit": "supply",
                "assumed_a": 235,
                "stale_after_s": min(stale_after_s, 86_400),
            },
        },
        {
            "id": "depot",
            "name": "Depot, fast charging",
            "circuits": [
                {"id": "supply", "rating_a": 125},
                {"id": "dc", "parent": "supply", "rating_a": 100},
                {"id": "ac", "parent": "supply", "rating_a": 63},
            ],
            "building_load": {
                "circuit": "supply",
                "assumed_a": 25,
                "stale_after_s": min(stale_after_s, 86_400),
            },
        },
    ]
    for site in sites:
        site |= {"feeder": "feeder-1", "time_zone": TIME_ZONE, "margin_percent": 5.0}
        site["chargers"] = [
            {key: value for key, value in charger.items() if key != "version"}
            for charger in _CHARGERS[site["id"]]
        ]
    feeder = {"id": "feeder-1", "name": "Feeder 1", "power_max_w": 280_000}
    return {"feeders": [feeder], "sites": sites}


def _station(
    charger: ChargerConfig, site: SiteConfig, version: Literal["1.6", "2.0.1"]
) -> StationSpec:
    direct_current = charger.current_type is CurrentType.DC
    return StationSpec(
        id=charger.id,
        version=version,
        unit="W" if charger.limit_unit is LimitUnit.W else "A",
        outlets=tuple(
            OutletSpec(
                connector_id=connector.id,
                lines=tuple(phase.column for phase in connector.phases),
                current_max_a=connector.current_max_a,
                voltage_v=site.voltage_v,
                direct_current=direct_current,
            )
            for connector in charger.connectors
        ),
        model="Fast 50" if direct_current else f"Wall {len(charger.connectors[0].phases)}",
    )


# --- the vehicles ---------------------------------------------------------------------------------


def _visits(
    network: NetworkConfig, *, end_ms: int, speed: float, rng: random.Random
) -> tuple[Visit, ...]:
    """Seat the day's real stays: those of one workplace at the office, the shorter ones that are
    left and those of the other workplace at the depot."""
    left = {
        stay
        for name in ("acn_jpl_2019-06-12.csv", "acn_caltech_2019-06-12.csv")
        for stay in load_stays(DATA / name)
        if _credible(stay, end_ms)
    }
    visits: list[Visit] = []
    for site in network.sites:
        fitting = [
            stay
            for stay in left
            if (stay.station_id.startswith("AG") if site.id == "office" else _short(stay))
        ]
        seats = list(range(len(site.chargers)))
        rng.shuffle(seats)
        for stay, number in seat(fitting, seats, gap_ms=GAP_MS).items():
            left.discard(stay)
            token, charger = f"EV{len(visits) + 1:03d}", site.chargers[number]
            visits.append(_visit(stay, site, charger, token, end_ms=end_ms, speed=speed, rng=rng))
    return tuple(visits)


def _short(stay: Stay) -> bool:
    return stay.duration_ms <= DEPOT_STAY_MAX_MS


def _credible(stay: Stay, end_ms: int) -> bool:
    """A stay that begins in the demonstrated part of the day, lasts an hour or more, and whose
    driver asked for something like what the vehicle then took (many ask for 150 kWh and take
    10)."""
    return (
        DAY_START_MS <= stay.arrival_ms <= end_ms - MS_PER_HOUR // 2
        and stay.duration_ms >= MS_PER_HOUR
        and 2_000 <= stay.requested_wh <= 2 * stay.delivered_wh
    )


def _visit(
    stay: Stay,
    site: SiteConfig,
    charger: ChargerConfig,
    id_token: str,
    *,
    end_ms: int,
    speed: float,
    rng: random.Random,
) -> Visit:
    connector = charger.connectors[0]
    spec = _vehicle(stay, charger, speed=speed, rng=rng)
    arrival_soc = TARGET_SOC - stay.requested_wh * spec.efficiency / spec.battery_wh
    departure_ms = min(stay.departure_ms, end_ms)
    vehicle = Vehicle(
        spec, arrival_soc, outlet_phases=len(connector.phases), voltage_v=site.voltage_v
    )
    # Plugging in, authorising and the first limit take real seconds, which the fast clock blows up.
    present_s = (departure_ms - stay.arrival_ms) / MS_PER_S - 6 * speed
    return Visit(
        id_token=id_token,
        site_id=site.id,
        charger_id=charger.id,
        connector_id=connector.id,
        arrival_ms=stay.arrival_ms,
        departure_ms=departure_ms,
        requested_wh=stay.requested_wh,
        vehicle=spec,
        arrival_soc=arrival_soc,
        could_take_wh=_alone_wh(vehicle, present_s, connector.current_max_a),
        leaves_in_time=stay.departure_ms <= end_ms,
    )


def _vehicle(
    stay: Stay, charger: ChargerConfig, *, speed: float, rng: random.Random
) -> VehicleSpec:
    """A vehicle that suits the outlet and what was asked for. Its reactions are given in real
    seconds and stretched to the fast clock."""
    connector = charger.connectors[0]
    direct_current = charger.current_type is CurrentType.DC
    efficiency = 0.95 if direct_current else 0.9
    least_wh = stay.requested_wh * efficiency / 0.85
    battery_wh = rng.choice([size for size in BATTERIES_WH if size >= least_wh] or [least_wh])
    phases = 3
    if not direct_current and len(connector.phases) == 3 and stay.requested_wh <= 12_000:
        phases = rng.choice((3, 2, 1))
    sleepy = not direct_current and rng.random() < 0.3
    return VehicleSpec(
        battery_wh=battery_wh,
        charge_limit_soc=TARGET_SOC,
        phases=min(phases, len(connector.phases)),
        current_max_a=_on_board_a(stay, connector.current_max_a, rng),
        power_max_w=rng.choice((46_000.0, 50_000.0, 60_000.0)),
        efficiency=efficiency,
        pilot_delay_s=rng.uniform(0.1, 0.3) * speed,
        ramp_up_a_per_s=connector.current_max_a / (rng.uniform(0.5, 1.5) * speed),
        ramp_down_a_per_s=connector.current_max_a / (0.2 * speed),
        sleep_after_s=rng.uniform(4, 8) * speed if sleepy else None,
        wake_delay_s=rng.uniform(0.5, 1.5) * speed,
    )


def _on_board_a(stay: Stay, outlet_max_a: float, rng: random.Random) -> float:
    """Above 32 A the vehicle's own charger is not used; below, small needs come with either kind of
    it."""
    if outlet_max_a > 32.0 or stay.requested_wh > 15_000:
        return outlet_max_a
    return min(outlet_max_a, rng.choice((16.0, 32.0)))


def _alone_wh(vehicle: Vehicle, present_s: float, current_max_a: float) -> int:
    step_s = 60.0
    for _ in range(int(max(present_s, 0.0) / step_s)):
        vehicle.step(step_s, current_max_a)
    return int(vehicle.drawn_wh)
