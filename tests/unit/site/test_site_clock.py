"""The clock of a host is set: what vehicles still follow stays counted, and nothing waits for the
old time to come again."""

from __future__ import annotations

import pytest
from site_bench import Bench, charger, site

from controlplane.charger.messages import SampleWanted
from controlplane.ocpp.commands import CommandState
from controlplane.site.messages import SetCircuitLimit, SetSiteLimit, SiteView
from controlplane.units import MS_PER_HOUR

BUILDING = {"circuit": "supply", "stale_after_s": 60, "assumed_a": 30}


def shrinking() -> Bench:
    """A follows a reduction from 32 A to 20 A, which it has acknowledged; B waits for the rest."""
    bench = Bench(site([charger("A"), charger("B")], supply_a=40))
    bench.plug("A")
    bench.settle(20_000)
    bench.plug("B")
    bench.answer()
    bench.advance(1_000)
    assert bench.counted_a("A") == 32
    return bench


@pytest.mark.parametrize("hours", [1, 1_000])
def test_a_clock_set_forward_confirms_no_reduction(hours: int) -> None:
    bench = shrinking()
    bench.now_ms += hours * MS_PER_HOUR
    bench.advance(2_000)
    assert bench.counted_a("A") == 32
    assert bench.pending() == {}
    bench.settle(60_000)
    assert bench.limits_a() == [20, 20]


@pytest.mark.parametrize("hours", [1, 1_000])
def test_a_clock_set_back_holds_nothing_up(hours: int) -> None:
    bench = shrinking()
    bench.now_ms -= hours * MS_PER_HOUR
    bench.meter("A", 32, 32, 32)
    bench.advance(2_000)
    assert bench.counted_a("A") == 32
    bench.meter("A", 20, 20, 20)
    bench.settle(10_000)
    assert bench.limits_a() == [20, 20]


@pytest.mark.parametrize("ahead_ms", [0, 20_000, 45_000])
def test_the_clock_of_the_next_host_confirms_no_reduction(ahead_ms: int) -> None:
    """Whatever its clock shows, a vehicle has its ramp from when that host began."""
    bench = shrinking()
    bench.now_ms += ahead_ms
    bench.crash()
    for name in "AB":
        bench.online(name)
    for _ in range(14):
        bench.advance(2_000)
        bench.answer()
        assert bench.counted_a("A") == 32
    bench.advance(4_000)
    assert bench.counted_a("A") == 20


def test_meters_are_asked_as_before_where_the_clock_was_set_back() -> None:
    bench = Bench(site([charger("A")]))
    bench.plug("A")
    bench.settle(5_000)
    bench.meter("A", 40, 40, 40)
    bench.advance(30_000)
    assert any(isinstance(each.message, SampleWanted) for each in bench.sent)
    bench.sent.clear()
    bench.now_ms -= MS_PER_HOUR
    bench.meter("A", 40, 40, 40)
    bench.advance(60_000)
    assert any(isinstance(each.message, SampleWanted) for each in bench.sent)


def test_a_limit_that_failed_before_the_clock_was_set_back_is_tried_again_soon() -> None:
    bench = Bench(site([charger("A"), charger("B")], supply_a=40))
    bench.plug("A")
    bench.settle(20_000)
    bench.plug("B")
    bench.answer(CommandState.TIMED_OUT)
    bench.now_ms -= MS_PER_HOUR
    bench.meter("A", 32, 32, 32)
    bench.settle(120_000)
    assert bench.limits_a() == [20, 20]


@pytest.mark.parametrize("crashes", [False, True])
def test_a_meter_that_is_silent_since_the_clock_was_set_back_goes_stale(*, crashes: bool) -> None:
    bench = Bench(site([charger("A")], building_load=BUILDING))
    bench.building(5, 5, 5)
    bench.plug("A")
    bench.settle(5_000)
    bench.now_ms -= MS_PER_HOUR
    if crashes:
        bench.crash()
    bench.meter("A", 32, 32, 32)
    bench.advance(61_000)
    assert bench.view().building_load_stale
    assert bench.view().circuits[0].building_ma == (30_000,) * 3


def test_a_host_whose_clock_is_behind_goes_on_from_where_the_lost_one_was() -> None:
    bench = shrinking()
    bench.now_ms -= MS_PER_HOUR
    bench.crash()
    for name in ("A", "B"):
        bench.online(name)
        bench.plug(name)
    assert bench.counted_a("A") == 32
    bench.settle(60_000)
    assert bench.limits_a() == [20, 20]


@pytest.mark.parametrize("limit", [SetSiteLimit(10_000), SetCircuitLimit("supply", 10_000)])
def test_a_limit_in_force_stays_in_force(limit: SetSiteLimit | SetCircuitLimit) -> None:
    bench = Bench(site([charger("A")]))
    bench.plug("A")
    bench.ask(limit, SiteView)
    bench.settle(60_000)
    bench.now_ms -= MS_PER_HOUR
    bench.meter("A", 10, 10, 10)
    bench.settle(60_000)
    assert bench.connector("A").limit_ma == 10_000
