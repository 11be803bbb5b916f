"""A night of vans at depots below one feeder that carries one depot at a time, lived three ways.

The vans come in dear hours. Those of the first depot leave before power is cheap, those of the
others one depot after the other in the cheap hours. Shared alike at every moment, all pay dear;
with an equal part of the feeder each, the first are not ready; by a plan for all depots the first
has the feeder for itself, the others wait for cheap power, and everybody is ready.

Invariant: the ways differ in what the sites are told and in nothing else."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import date
from typing import Any

import numpy as np

from controlplane.errors import InvalidInput
from controlplane.network import (
    BuildingLoadConfig,
    ChargerConfig,
    CircuitConfig,
    ConnectorConfig,
    FeederConfig,
    SiteConfig,
)
from controlplane.network_tariff import TariffConfig
from controlplane.sim.building import BuildingLoad
from controlplane.sim.day.actors import ActorsDay
from controlplane.sim.day.outcome import Outcome, ready
from controlplane.sim.day.rows import Rows
from controlplane.sim.day.scenario import VOLTAGE_V, FeederDay, SitePlan, Visit
from controlplane.sim.day.sessions import TIME_ZONE, Session, SiteDay, midnight_ms
from controlplane.sim.day.tariff import SLOTS
from controlplane.sim.day.uncontrolled import charge_alone
from controlplane.sim.outlet import OutletSpec, StationSpec
from controlplane.sim.vehicle import VehicleSpec
from controlplane.units import MS_PER_HOUR

__all__ = ["DEPOTS_MAX", "depot_feeder", "depots_table", "run_depots"]

DAY = date(2019, 6, 12)
VANS = 6
"""At each depot, unless somebody wants fewer."""
_CURRENT_A = 32.0
_NEED_WH = 40_000
_EFFICIENCY = 0.9
_SPARE_A = 18
"""What the feeder carries on each phase beyond one depot at full power."""
_TURN_H = 2
"""A little more than one depot takes with the whole feeder."""
_CHEAP_H = 4
"""The hour from which on power is cheap; they come at midnight."""
_FIRST_LEAVES_H = 0.5
"""So long before the cheap hours the first depot's vans leave."""
_CHEAP, _DEAR = "0.12", "0.38"
DEPOTS_MAX = 8
_SLOTS_PER_H = 4
_VIOLATIONS_SHOWN = 20


def depot_feeder(depots: int, *, vans: int) -> FeederDay:
    """The depots, without a tariff."""
    start_ms, feeder_a = midnight_ms(DAY), vans * _CURRENT_A + _SPARE_A
    power_max_w = round(feeder_a * 3 * VOLTAGE_V)
    config = FeederConfig(id="street", power_max_w=power_max_w, voltage_v=VOLTAGE_V)
    sites = tuple(_depot(number, vans, start_ms) for number in range(depots))
    # What is described has no margin of its own, and chargers may be a little off.
    return FeederDay(config=config, rating_a=feeder_a * 1.02, start_ms=start_ms, sites=sites)


def _depot(number: int, vans: int, start_ms: int) -> SitePlan:
    site_id = f"depot-{number + 1}"
    supply = CircuitConfig(id="supply", rating_a=vans * _CURRENT_A * 1.1)
    chargers = tuple(
        ChargerConfig(
            id=f"{site_id}-{van + 1}",
            circuit=supply.id,
            connectors=(ConnectorConfig(id=1, current_max_a=_CURRENT_A),),
            offline_current_a=0.0,
        )
        for van in range(vans)
    )
    cheap_ms = start_ms + _CHEAP_H * MS_PER_HOUR
    leaves_ms = cheap_ms + number * _TURN_H * MS_PER_HOUR
    if number == 0:
        leaves_ms -= round(_FIRST_LEAVES_H * MS_PER_HOUR)
    return SitePlan(
        config=SiteConfig(
            id=site_id,
            feeder="street",
            voltage_v=VOLTAGE_V,
            time_zone=TIME_ZONE,
            circuits=(supply,),
            building_load=BuildingLoadConfig(circuit=supply.id, assumed_a=0, stale_after_s=300),
            chargers=chargers,
        ),
        stations=tuple(map(_station, chargers)),
        building=BuildingLoad(start_ms=start_ms, hours_w=(0.0,), voltage_v=VOLTAGE_V),
        source=SiteDay("depot", DAY, ()),
        visits=tuple(_visit(charger, number, start_ms, leaves_ms) for charger in chargers),
    )


def _station(charger: ChargerConfig) -> StationSpec:
    outlet = OutletSpec(
        connector_id=1, lines=(0, 1, 2), current_max_a=_CURRENT_A, voltage_v=VOLTAGE_V
    )
    return StationSpec(id=charger.id, version="2.0.1", unit="A", outlets=(outlet,))


def _visit(charger: ChargerConfig, site: int, start_ms: int, leaves_ms: int) -> Visit:
    vehicle = VehicleSpec(battery_wh=75_000, current_max_a=_CURRENT_A, efficiency=_EFFICIENCY)
    session = Session(
        station_id=charger.id,
        arrival_ms=start_ms,
        departure_ms=leaves_ms,
        requested_wh=_NEED_WH,
        estimated_departure_ms=leaves_ms,
        told=True,
    )
    # It stops by itself when it has what its driver asked for.
    limit_soc = 0.3 + _NEED_WH * _EFFICIENCY / vehicle.battery_wh
    return Visit(
        id=f"van-{charger.id}",
        site=site,
        charger_id=charger.id,
        lines=(0, 1, 2),
        current_max_a=_CURRENT_A,
        session=session,
        vehicle=replace(vehicle, charge_limit_soc=limit_soc),
        arrival_soc=0.3,
    )


# --- three ways -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Lived:
    outcome: Outcome
    violations: list[str]


def run_depots(depots: int = 3, *, vans: int = VANS) -> dict[str, Any]:
    """Live through the night three ways.

    Args:
        depots: 2 to 8.
        vans: how many at each.

    Raises:
        InvalidInput: another number of depots.

    Returns:
        `fair`: without a tariff; `equal`: every depot plans for itself with an equal part of the
        feeder; `together`: as Loadstar does. Each with `ready` of `vans`, `delivered_kwh`,
        `cost_eur`, `cost_eur_per_kwh`; besides `violations` and `details`.
    """
    if not 2 <= depots <= DEPOTS_MAX:
        raise InvalidInput(f"depots: 2 to {DEPOTS_MAX}")
    feeder = depot_feeder(depots, vans=vans)
    tariff = TariffConfig.model_validate(
        {
            "currency": "EUR",
            "import_price_per_kwh": _DEAR,
            "periods": [
                {
                    "hours": [{"from": f"{_CHEAP_H:02}:00", "to": "24:00"}],
                    "import_price_per_kwh": _CHEAP,
                }
            ],
        }
    )
    told = feeder.with_tariff(tariff)
    possible_wh = {name: each.total_wh for name, each in charge_alone(feeder).items()}
    ways = {"fair": feeder, "equal": _equal(told), "together": told}
    result: dict[str, Any] = {"depots": depots, "vans": depots * vans}
    found: list[str] = []
    for name, each in ways.items():
        lived = _live(each, possible_wh)
        found += [f"{name}: {words}" for words in lived.violations]
        result[name] = _figures(feeder, lived.outcome, possible_wh)
    return result | {"violations": len(found), "details": found[:_VIOLATIONS_SHOWN]}


def _equal(feeder: FeederDay) -> FeederDay:
    """The same where each site's supply carries no more than an equal part of the feeder."""
    part_a = feeder.config.current_max_ma / 1_000 / len(feeder.sites)

    def narrowed(plan: SitePlan) -> SitePlan:
        supply = plan.config.supply
        rating_a = min(supply.rating_a, part_a / (1 - plan.config.margin_percent / 100))
        circuits = (supply.model_copy(update={"rating_a": rating_a}),)
        return replace(plan, config=plan.config.model_copy(update={"circuits": circuits}))

    return replace(feeder, sites=tuple(map(narrowed, feeder.sites)))


def _live(feeder: FeederDay, possible_wh: dict[str, float]) -> _Lived:
    world = ActorsDay(feeder, Rows(feeder), possible_wh)
    last_h = _CHEAP_H + _TURN_H * len(feeder.sites)
    outcome = world.live(slots=last_h * _SLOTS_PER_H)
    return _Lived(outcome, [str(each) for each in world.violations.found])


def _figures(
    feeder: FeederDay, outcome: Outcome, possible_wh: dict[str, float]
) -> dict[str, float | int]:
    price = np.repeat(float(_DEAR), SLOTS)
    price[_CHEAP_H * _SLOTS_PER_H :] = float(_CHEAP)
    delivered_kwh = sum(outcome.delivered_wh.values()) / 1_000
    cost = float((outcome.slot_wh.sum(axis=0) @ price) / 1_000)
    return {
        "ready": sum(
            ready(
                outcome.delivered_wh[visit.id],
                requested_wh=visit.session.requested_wh,
                possible_wh=possible_wh[visit.id],
            )
            for visit in feeder.visits
        ),
        "delivered_kwh": round(delivered_kwh, 1),
        "cost_eur": round(cost, 2),
        "cost_eur_per_kwh": round(cost / delivered_kwh, 4),
        "feeder_peak_percent": round(float(outcome.peak_a[:3].max()) / feeder.rating_a * 100, 1),
    }


def depots_table(result: dict[str, Any]) -> str:
    """The figures side by side, for people."""
    ways = ("fair", "equal", "together")
    lines = [f"{'':28}" + "".join(f"{name:>12}" for name in ways)]
    for key, words in (
        ("ready", f"ready when leaving, of {result['vans']}"),
        ("delivered_kwh", "energy delivered, kWh"),
        ("cost_eur", "cost, EUR"),
        ("cost_eur_per_kwh", "cost, EUR per kWh"),
        ("feeder_peak_percent", "highest load of the feeder, %"),
    ):
        lines.append(f"{words:30}" + "".join(f"{result[name][key]:>12}" for name in ways))
    lines += [f"violations {result['violations']}", *(f"  {each}" for each in result["details"])]
    return "\n".join(lines)
