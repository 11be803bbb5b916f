"""Real days: which of them a network lives through, and how a row is held to its rating."""

from __future__ import annotations

from datetime import UTC, date, datetime
from zoneinfo import ZoneInfo

import pytest
from day_networks import START_MS, feeder_day, session

from controlplane.errors import InvalidInput
from controlplane.network import NetworkConfig
from controlplane.sim.day.rows import RowMeter, Rows
from controlplane.sim.day.scenario import feeder_days
from controlplane.sim.day.sessions import TIME_ZONE, days, is_workday, midnight_ms
from controlplane.sim.outlet import Outlet
from controlplane.sim.vehicle import Draw
from controlplane.sim.violations import Violations

WEDNESDAY, SATURDAY = date(2019, 6, 12), date(2019, 6, 15)


def test_the_first_sites_live_the_very_day() -> None:
    jpl, caltech = days(WEDNESDAY, 2)
    assert {jpl.day, caltech.day} == {WEDNESDAY}
    assert {len(jpl.sessions), len(caltech.sessions)} == {72, 46}
    first = jpl.sessions[0]
    local = datetime.fromtimestamp(first.arrival_ms / 1_000, UTC).astimezone(ZoneInfo(TIME_ZONE))
    assert local.isoformat() == "2019-06-12T05:14:59-07:00"
    assert (first.requested_wh, first.told) == (24_000, True)


@pytest.mark.parametrize(("day", "sites"), [(WEDNESDAY, 100), (SATURDAY, 60)])
def test_every_site_lives_a_day_of_its_own_of_the_same_kind(day: date, sites: int) -> None:
    found = days(day, sites)
    assert len({(each.campus, each.day) for each in found}) == sites
    assert {is_workday(each.day) for each in found} == {is_workday(day)}
    begin_ms = midnight_ms(day)
    for each in found:
        assert all(0 <= s.arrival_ms - begin_ms < 86_400_000 for s in each.sessions)


def test_a_moved_session_keeps_its_time_of_day_and_its_length() -> None:
    original = days(date(2019, 8, 1), 1)[0]
    moved = original.moved(WEDNESDAY)
    for before, after in zip(original.sessions, moved.sessions, strict=True):
        assert (before.arrival_ms - after.arrival_ms) % 86_400_000 == 0
        assert (
            after.departure_ms - after.arrival_ms,
            after.estimated_departure_ms - after.arrival_ms,
        ) == (
            before.departure_ms - before.arrival_ms,
            before.estimated_departure_ms - before.arrival_ms,
        )


def test_an_unknown_day_is_refused_with_those_that_are_known() -> None:
    with pytest.raises(InvalidInput, match="from 2019-05-01 to 2019-08-31"):
        days(date(2020, 6, 12), 1)


@pytest.mark.parametrize("sites", [0, 500])
def test_more_sites_than_days_are_refused_with_how_many_there_are(sites: int) -> None:
    with pytest.raises(InvalidInput, match="1 to 172, each with a real day of its own"):
        days(WEDNESDAY, sites)


def test_the_network_can_be_described_and_serves_half_of_its_chargers() -> None:
    feeders = feeder_days(WEDNESDAY, sites=12, seed=3)
    assert [len(feeder.sites) for feeder in feeders] == [10, 2]
    described = NetworkConfig(
        feeders=tuple(feeder.config for feeder in feeders),
        sites=tuple(plan.config for feeder in feeders for plan in feeder.sites),
    )
    kinds = {len(c.connectors[0].phases) for site in described.sites for c in site.chargers}
    assert kinds == {1, 3}
    for feeder in feeders:
        for plan in feeder.sites:
            full_a = sum(
                charger.connectors[0].current_max_a * len(charger.connectors[0].phases)
                for charger in plan.config.chargers
            )
            building_a = max(plan.building.hours_w) / 230
            room_a = plan.config.supply.rating_a * 3 - building_a
            assert 0.45 < room_a / full_a < 0.65


def test_a_seed_decides_the_network() -> None:
    one, same, other = (feeder_days(WEDNESDAY, sites=2, seed=seed) for seed in (1, 1, 2))
    assert one == same
    assert one != other


def test_a_row_is_held_to_its_rating_by_what_flows_and_by_what_may_flow() -> None:
    feeder = feeder_day(session("A", 8, 9, 1), session("B", 8, 9, 1), supply_a=40)
    violations = Violations()
    meter = RowMeter(Rows(feeder), feeder, violations)
    station = feeder.sites[0].stations[0]
    outlet = Outlet(station.outlets[0], vehicle=feeder.visits[0].arrive(1))

    def change(*, flows_a: float, offered_a: float) -> list[str]:
        violations.found.clear()
        outlet.draw, outlet.offered_a = Draw(flows_a, 1, 0.0, 0.0), offered_a
        meter.station("A", outlet, START_MS)
        return [violation.detail for violation in violations.found]

    meter.building(0, (20.0, 0.0, 0.0), START_MS)
    assert change(flows_a=20, offered_a=20) == []
    assert len(change(flows_a=0, offered_a=20.1)) == 2, "supply and feeder, by the offer alone"
    assert change(flows_a=0, offered_a=25) == [], "a condition that lasts counts once"
    assert change(flows_a=0, offered_a=10) == []
    assert any("supply L1" in detail for detail in change(flows_a=21, offered_a=10))
    assert meter.take_peaks_a().max() == 41
    assert change(flows_a=5, offered_a=5) == []
    meter.take_peaks_a()
    assert meter.take_peaks_a().max() == 25
