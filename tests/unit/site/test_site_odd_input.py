"""What no meter should say, and some do: a site goes on serving."""

from __future__ import annotations

import pytest
from site_bench import Bench, charger, site

from controlplane.actor import Ask
from controlplane.site.messages import ReportBuildingLoad

METERED = {"circuit": "supply", "stale_after_s": 60}
CONTRACT = {"power_w": 10**10, "window_s": 86_400}


@pytest.mark.parametrize("current_a", [2e9, 8e15])
def test_a_meter_beyond_all_reason_holds_back_its_own_rows_only(current_a: float) -> None:
    panels = [{"id": name, "parent": "supply", "rating_a": 40} for name in ("left", "right")]
    bench = Bench(
        site(
            [charger("A", "left", phases=["L1"]), charger("B", "right", phases=["L2"])],
            panels=panels,
            contract=CONTRACT,
        )
    )
    bench.plug("A")
    bench.settle(5_000)
    bench.meter("A", current_a)
    bench.plug("B")
    bench.settle(10_000)
    assert bench.alarms() == ["limit_exceeded", "overload", "overload"]
    assert bench.connector("B").limit_ma == 32_000
    bench.crash()
    bench.online("A")
    bench.plug("A")
    bench.meter("A", 10)
    bench.settle(60_000)
    assert bench.alarms() == []


@pytest.mark.parametrize("power_w", [10**13, 2**53])
def test_a_power_beyond_all_reason_is_survived(power_w: int) -> None:
    bench = Bench(site([charger("A")], contract=CONTRACT))
    bench.plug("A")
    bench.settle(5_000)
    bench.meter("A", power_w=power_w)
    bench.advance(60_000)
    bench.meter("A", 20, 20, 20)
    bench.settle(60_000)
    assert bench.connector("A").limit_ma == 32_000


@pytest.mark.parametrize("measures", ["building", "supply"])
@pytest.mark.parametrize("load_ma", [-(2**62), -(10**9), 10**13, 2**62])
def test_a_building_beyond_all_reason_gives_nothing_away(measures: str, load_ma: int) -> None:
    described = METERED | {"measures": measures}
    bench = Bench(site([charger("A")], building_load=described, contract=CONTRACT))
    bench.plug("A")
    bench.settle(5_000)
    bench.tell(Ask("ask", ReportBuildingLoad(bench.now_ms, (load_ma, load_ma, load_ma))))
    bench.settle(10_000)
    assert bench.connector("A").limit_ma == (0 if load_ma > 0 else 32_000)
    assert bench.view().violations == 0


def test_a_contract_and_a_sun_without_bounds_are_within_what_can_be_counted() -> None:
    bench = Bench(
        site(
            [charger("A")],
            contract=CONTRACT,
            solar={"mode": "surplus"},
            battery={"capacity_wh": 10**12, "discharge_max_w": 10**12},
            voltage_v=50,
        )
    )
    bench.plug("A")
    for _ in range(10):
        bench.sun(10**12, battery_w=-(10**12), soc_percent=100)
        bench.settle(30_000)
    assert bench.connector("A").limit_ma == 32_000


@pytest.mark.parametrize("power_w", [0, 1, -5_000])
def test_a_station_that_knows_current_and_no_power_is_served(power_w: int) -> None:
    bench = Bench(site([charger("A")]))
    bench.plug("A", need_wh=20_000)
    bench.settle(5_000)
    for shown_w in [power_w, 0] * 30:
        bench.meter("A", 20, 20, 20, power_w=shown_w)
        bench.settle(30_000)
    assert bench.connector("A").limit_ma == 32_000
