"""A row counts what stations may draw by the profiles they hold, and what their vehicles do."""

from __future__ import annotations

from controlplane.chaos.network import make_network, station_spec
from controlplane.chaos.rows import RowWatch
from controlplane.runtime.clock import SystemClock
from controlplane.sim.console import VERSIONS
from controlplane.sim.profiles import Kind, Period, Profile, Purpose
from controlplane.sim.station import Station
from controlplane.sim.vehicle import Draw, Vehicle, VehicleSpec

NETWORK = make_network(20)
SITE = NETWORK.sites[0]
"""Eight stations of 16 A below 76.8 A, of which four on each of two circuits of 44.8 A."""


def stations() -> dict[str, Station]:
    return {
        charger.id: Station(
            spec := station_spec(site, charger.id),
            url="ws://nowhere",
            clock=SystemClock(),
            dialect=VERSIONS[spec.version],
        )
        for site in NETWORK.sites
        for charger in site.chargers
    }


def hold(station: Station, purpose: Purpose, limit_a: float, *, after_s: int = 0) -> None:
    periods = (Period(0, 0.0), Period(after_s, limit_a)) if after_s else (Period(0, limit_a),)
    station.book.install(
        Profile(
            id=1 + (purpose is Purpose.TRANSACTION),
            stack_level=0,
            purpose=purpose,
            connector_id=1,
            unit="A",
            periods=periods,
            kind=Kind.ABSOLUTE,
            start_ms=0,
        )
    )


def charge(station: Station, vehicle: Vehicle | None = None) -> None:
    outlet = station.outlets[1]
    outlet.vehicle = vehicle
    station.begin(outlet, "CARD")


async def test_default_profiles_of_everybody_fit_every_row() -> None:
    known = stations()
    watch = RowWatch(NETWORK, known)
    for station in known.values():
        hold(station, Purpose.DEFAULT, 6.0)
    watch.look(0)
    assert watch.over == 0
    assert 0 < watch.utilisation_max < 1


async def test_stations_that_were_never_commissioned_count_once_they_charge() -> None:
    known = stations()
    watch = RowWatch(NETWORK, known)
    watch.look(0)
    assert watch.utilisation_max == 0
    charge(known["CHAOS0000"])
    watch.look(1_000)
    assert watch.utilisation_max > 0


async def test_too_much_is_seen_on_every_row_above_with_the_acknowledgement() -> None:
    known = stations()
    watch = RowWatch(NETWORK, known)
    for station in known.values():
        hold(station, Purpose.DEFAULT, 6.0)
    watch.look(0)
    seen = []
    for charger in SITE.chargers:
        station = known[charger.id]
        charge(station)
        hold(station, Purpose.TRANSACTION, 16.0)
        watch.changed(charger.id, 0)
        seen.append(watch.over)
    assert seen == [0, 0, 2, 4, 6, 8, 11, 14], "left and supply, supply and feeder, all"
    assert any("chaos-0/supply" in line for line in watch.told)


async def test_a_default_profile_counts_beside_a_lower_limit_of_a_transaction() -> None:
    """The transaction may end at any moment, and the next one begin where nobody hears of it."""
    known = stations()
    watch = RowWatch(NETWORK, known)
    for charger in SITE.chargers:
        station = known[charger.id]
        hold(station, Purpose.DEFAULT, 16.0)
        charge(station)
        hold(station, Purpose.TRANSACTION, 0.0)
    watch.look(0)
    assert watch.over == 3


async def test_a_limit_that_rises_by_its_schedule_counts_from_then_on() -> None:
    known = stations()
    watch = RowWatch(NETWORK, known)
    for charger in SITE.chargers:
        station = known[charger.id]
        hold(station, Purpose.DEFAULT, 6.0)
        charge(station)
        hold(station, Purpose.TRANSACTION, 16.0, after_s=60)
    watch.look(59_900)
    assert watch.over == 0
    watch.look(60_000)
    assert watch.over == 3


async def test_what_flows_counts_where_it_is_more_than_the_offer() -> None:
    known = stations()
    watch = RowWatch(NETWORK, known)
    for charger in SITE.chargers:
        known[charger.id].outlets[1].draw = Draw(16.0, 3, 11_040.0, 0.0)
    watch.look(0)
    assert watch.over == 3


async def test_a_vehicle_that_has_not_heard_of_a_lower_offer_counts_with_the_one_before() -> None:
    known = stations()
    watch = RowWatch(NETWORK, known)
    for charger in SITE.chargers:
        station, vehicle = known[charger.id], Vehicle(VehicleSpec(battery_wh=60_000.0), soc=0.5)
        hold(station, Purpose.DEFAULT, 6.0)
        charge(station, vehicle)
        vehicle.step(0.5, 16.0)
        vehicle.step(0.2, 6.0)
        assert vehicle.current_a < 6.0, "on its way up"
    watch.look(0)
    assert watch.over == 3
    for charger in SITE.chargers:
        heard = known[charger.id].outlets[1].vehicle
        assert heard is not None
        heard.step(0.6, 6.0)
    watch.look(600)
    assert watch.over == 3


async def test_a_transaction_that_ends_gives_back_what_is_above_the_default() -> None:
    known = stations()
    watch = RowWatch(NETWORK, known)
    station = known["CHAOS0000"]
    hold(station, Purpose.DEFAULT, 6.0)
    charge(station)
    hold(station, Purpose.TRANSACTION, 16.0)
    watch.changed("CHAOS0000", 0)
    judged = watch.judged
    watch.changed("CHAOS0000", 1)
    assert watch.judged == judged, "nothing has changed"
    station.end(station.outlets[1], "Local")
    watch.changed("CHAOS0000", 2)
    assert watch.judged > judged


def test_a_network_has_stations_of_every_version() -> None:
    assert {station_spec(SITE, charger.id).version for charger in SITE.chargers} == {
        "1.6",
        "2.0.1",
        "2.1",
    }


def test_the_last_site_may_be_small() -> None:
    assert [len(site.chargers) for site in make_network(9).sites] == [8, 1]
