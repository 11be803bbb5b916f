"""A row counts what stations offer and what vehicles draw, whichever is more."""

from __future__ import annotations

from controlplane.chaos.network import make_network, station_spec
from controlplane.chaos.rows import RowWatch
from controlplane.runtime.clock import SystemClock
from controlplane.sim.console import VERSIONS
from controlplane.sim.station import Station
from controlplane.sim.vehicle import Draw

NETWORK = make_network(20)


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


async def test_offline_currents_and_silence_fit_every_row() -> None:
    known = stations()
    watch = RowWatch(NETWORK, known)
    for station in known.values():
        station.outlets[1].offered_a = 6.0
    watch.look(0)
    assert watch.over == 0
    assert 0 < watch.utilisation_max < 1


async def test_too_much_on_offer_is_seen_on_every_row_above() -> None:
    known = stations()
    watch = RowWatch(NETWORK, known)
    for charger in NETWORK.sites[0].chargers:
        known[charger.id].outlets[1].offered_a = 16.0
    watch.look(0)
    assert watch.over == 3
    assert any("chaos-0/supply" in line for line in watch.told)


async def test_what_flows_counts_where_it_is_more_than_the_offer() -> None:
    known = stations()
    watch = RowWatch(NETWORK, known)
    for charger in NETWORK.sites[0].chargers:
        known[charger.id].outlets[1].draw = Draw(16.0, 3, 11_040.0, 0.0)
    watch.look(0)
    assert watch.over == 3


def test_a_network_has_stations_of_every_version() -> None:
    site = NETWORK.sites[0]
    assert {station_spec(site, charger.id).version for charger in site.chargers} == {
        "1.6",
        "2.0.1",
        "2.1",
    }


def test_the_last_site_may_be_small() -> None:
    assert [len(site.chargers) for site in make_network(9).sites] == [8, 1]
