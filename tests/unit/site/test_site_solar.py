"""Charging from the sun: who waits for it, who does not, and what a cloud does."""

from __future__ import annotations

from typing import Any

from site_bench import Bench, charger, site

from controlplane.site.messages import ReportSitePower
from controlplane.units import MS_PER_HOUR

SURPLUS = {"mode": "surplus"}
DWELL_MS = 300_000


def sunny(*chargers: dict[str, Any], **values: Any) -> Bench:
    described = list(chargers) or [charger("A"), charger("B")]
    return Bench(site(described, supply_a=200, **({"solar": SURPLUS} | values)))


def shine(bench: Bench, solar_w: int, duration_ms: int, **values: Any) -> None:
    """The sun gives `solar_w`, told every ten seconds; everybody draws what he is given."""
    until_ms = bench.now_ms + duration_ms
    while bench.now_ms < until_ms:
        bench.sun(solar_w, **values)
        bench.answer()
        bench.advance(10_000)
        for each in bench.view().connectors:
            if each.session_id is not None:
                given_a = (each.limit_ma or 0) / 1_000
                bench.meter(each.charger_id, given_a, given_a, given_a)


def given(bench: Bench) -> list[float]:
    return [each or 0 for each in bench.limits_a()]


def test_vehicles_charge_from_the_surplus() -> None:
    bench = sunny()
    bench.plug("A")
    bench.plug("B")
    bench.sun(0)
    bench.settle(30_000)
    assert given(bench) == [0, 0]
    assert bench.connector("A").reason == "waits for the sun: the solar surplus allows no more"
    shine(bench, 13_800, 900_000)
    assert 19 <= sum(given(bench)) <= 20
    assert min(given(bench)) >= 9


def test_the_building_goes_first() -> None:
    bench = sunny(building_load={"circuit": "supply", "stale_after_s": 3_600})
    bench.plug("A")
    bench.building(8, 8, 8)
    shine(bench, 13_800, 900_000)
    assert 11 <= given(bench)[0] <= 12


def test_the_grid_may_help() -> None:
    bench = sunny(solar=SURPLUS | {"grid_power_w": 4_140})
    bench.plug("A")
    bench.settle(60_000)
    assert given(bench)[0] == 6


def test_without_a_report_there_is_no_sun() -> None:
    bench = sunny()
    bench.plug("A")
    shine(bench, 13_800, DWELL_MS + 600_000)
    assert given(bench)[0] >= 19
    bench.settle(120_000)
    assert given(bench)[0] == 0
    found = bench.view().power
    assert found is not None
    assert found.report_stale


def test_a_cloud_dims_and_does_not_switch() -> None:
    bench = sunny()
    bench.plug("A")
    shine(bench, 13_800, 900_000)
    told = []
    for _ in range(10):
        for solar_w in (2_000, 13_800):
            shine(bench, solar_w, 40_000)
            told.append(given(bench)[0])
    assert min(told) >= 6, "kept at least at its minimum"
    assert max(told) - min(told) < 12


def test_who_has_begun_goes_on_for_a_dwell() -> None:
    bench = sunny()
    bench.plug("A")
    shine(bench, 13_800, 120_000)
    assert given(bench)[0] >= 6
    shine(bench, 0, 150_000)
    assert given(bench)[0] == 6
    shine(bench, 0, DWELL_MS)
    assert given(bench)[0] == 0


def test_a_session_in_a_hurry_does_not_wait() -> None:
    bench = sunny()
    bench.plug("A", need_wh=20_000, departure_ms=bench.now_ms + MS_PER_HOUR)
    bench.plug("B", need_wh=20_000, departure_ms=bench.now_ms + 12 * MS_PER_HOUR)
    shine(bench, 0, 120_000)
    assert given(bench) == [32, 0]


def test_the_first_priority_does_not_wait() -> None:
    bench = sunny(charger("A", priority=0), charger("B"))
    bench.plug("A")
    bench.plug("B")
    shine(bench, 0, 120_000)
    assert given(bench) == [32, 0]


def test_who_does_not_wait_takes_from_the_sun_first() -> None:
    bench = sunny(charger("A", priority=0, current_max_a=10), charger("B"))
    bench.plug("A")
    bench.plug("B")
    shine(bench, 13_800, 900_000)
    assert given(bench)[0] == 10
    assert 9 <= given(bench)[1] <= 10


def test_an_idle_neighbour_takes_nothing_from_the_sun() -> None:
    bench = sunny(*(charger(f"CP{number}", offline_a=6) for number in range(8)))
    bench.plug("CP0")
    shine(bench, 13_800, 900_000)
    assert given(bench)[0] >= 19


def test_a_battery_gives_above_its_reserve_only() -> None:
    battery = {"capacity_wh": 20_000, "discharge_max_w": 6_900, "reserve_percent": 30}
    bench = sunny(battery=battery)
    bench.plug("A")
    shine(bench, 0, 600_000, soc_percent=30)
    assert given(bench)[0] == 0
    shine(bench, 0, 900_000, soc_percent=80)
    assert 9 <= given(bench)[0] <= 10
    shine(bench, 0, 900_000)
    assert given(bench)[0] == 0, "nobody knows its charge"


def test_a_battery_that_charges_yields_to_vehicles() -> None:
    """The building's meter sees what the battery takes; above the reserve, vehicles go first."""
    battery = {"capacity_wh": 20_000, "discharge_max_w": 0, "reserve_percent": 30}
    bench = sunny(battery=battery, building_load={"circuit": "supply", "stale_after_s": 3_600})
    bench.plug("A")
    bench.building(10, 10, 10)
    shine(bench, 6_900, 900_000, battery_w=6_900, soc_percent=20)
    assert given(bench)[0] == 0
    shine(bench, 6_900, 900_000, battery_w=6_900, soc_percent=60)
    assert 9 <= given(bench)[0] <= 10


def test_the_sun_gives_no_line_more_than_its_rating() -> None:
    described = site([charger("A"), charger("B")], supply_a=20, solar={"mode": "surplus"})
    bench = Bench(described)
    bench.plug("A")
    bench.plug("B")
    shine(bench, 100_000, 900_000)
    assert sum(given(bench)) <= 20
    assert bench.view().violations == 0


def test_a_report_is_checked() -> None:
    bench = sunny()
    assert bench.refused(ReportSitePower(bench.now_ms, -1)).reason == "POWER_INVALID"
    assert bench.refused(ReportSitePower(bench.now_ms, 1, 0, 101.0)).reason == "POWER_INVALID"
    assert bench.refused(ReportSitePower(bench.now_ms + 120_000, 1)).reason == "AT_IN_FUTURE"
    bench.sun(5_000)
    bench.advance(10_000)
    bench.sun(9_000)
    bench.sun(1_000, at_ms=bench.now_ms - 5_000)
    found = bench.view().power
    assert found is not None
    assert found.solar_w == 9_000


RULES = [{"id": "staff", "id_tokens": ["STAFF-*"], "guaranteed_a": 10}]


def test_what_a_rule_guarantees_needs_no_sun() -> None:
    bench = sunny(rules=RULES)
    bench.plug("A", id_token="STAFF-1")
    bench.plug("B")
    shine(bench, 0, 600_000)
    assert given(bench) == [10, 0]
    shine(bench, 20_700, 900_000)
    assert sum(given(bench)) >= 29
    assert given(bench)[0] >= 10


def test_a_boost_needs_no_sun() -> None:
    bench = sunny()
    bench.plug("A", boost_until_ms=bench.now_ms + MS_PER_HOUR)
    bench.plug("B")
    shine(bench, 0, 120_000)
    assert given(bench) == [32, 0]


def test_a_rule_of_the_first_priority_needs_no_sun() -> None:
    bench = sunny(rules=[{"id": "fleet", "id_tokens": ["FLEET-*"], "priority": 0}])
    bench.plug("A", id_token="FLEET-1")
    bench.plug("B")
    shine(bench, 0, 120_000)
    assert given(bench) == [32, 0]
