"""What a site with a tariff learns from what it sees, and what is pushed into it."""

from __future__ import annotations

from typing import Any

import pytest
from site_bench import Bench, charger, site

from controlplane.planning.forecasts import SiteForecasts
from controlplane.planning.series import Interval
from controlplane.site.foresight_messages import (
    ForecastKind,
    ForesightTaken,
    GetForecasts,
    PushForecast,
    PushPrices,
)

HOUR_MS = 3_600_000
TARIFF: dict[str, Any] = {
    "currency": "EUR",
    "import_price_per_kwh": "0.3",
    "demand_charges": [{"name": "peak", "price_per_kw": "10"}],
    "day_ahead": {"adder_per_kwh": "0.1"},
}


def bench(**values: Any) -> Bench:
    described = {"tariff": TARIFF, "building_load": {"circuit": "supply"}, **values}
    return Bench(site([charger("A"), charger("B")], **described))


def forecasts(of: Bench, slots: int = 24) -> SiteForecasts:
    return of.ask(GetForecasts(slot_s=3_600, slots=slots), SiteForecasts)


def hourly(of: Bench, *values: int, ahead_h: int = 0) -> tuple[Interval, ...]:
    first_s = of.now_ms // HOUR_MS * 3_600 + 3_600 * ahead_h
    return tuple(Interval(first_s + 3_600 * at, 3_600, each) for at, each in enumerate(values))


def push(of: Bench, *micro: int, currency: str = "EUR", ahead_h: int = 0) -> ForesightTaken:
    return of.ask(PushPrices(currency, hourly(of, *micro, ahead_h=ahead_h)), ForesightTaken)


def prices(of: Bench, slots: int) -> list[str]:
    return [f"{slot.import_price_per_kwh:.2f}" for slot in forecasts(of, slots).slots]


def live(of: Bench, hours: int, amperes: Any) -> None:
    """The building is measured every ten minutes."""
    for minute in range(0, hours * 60, 10):
        of.building(*[amperes(minute // 60)] * 3)
        of.advance(600_000)


# --- pushes ---------------------------------------------------------------------------------------


def test_pushed_prices_count_with_the_adder_and_survive_a_crash() -> None:
    of = bench()
    taken = push(of, 50_000, -20_000, 80_000)
    assert (taken.taken, taken.until_ms) == (3, of.now_ms // HOUR_MS * HOUR_MS + 3 * HOUR_MS)
    assert prices(of, 4) == ["0.15", "0.08", "0.18", "0.30"], "the tariff stands in for the rest"
    assert "day-ahead prices are missing" in forecasts(of).stale[0]
    (event,) = [each for each in of.events if each.kind == "site.prices_pushed"]
    assert event.data == {
        "site_id": "site-1",
        "currency": "EUR",
        "taken": 3,
        "until_ms": taken.until_ms,
    }
    of.crash()
    push(of, 60_000, ahead_h=1)
    of.crash()
    assert prices(of, 4) == ["0.15", "0.16", "0.18", "0.30"], "the latest push counts"


def test_a_forecast_that_was_pushed_counts_before_what_was_learned() -> None:
    of = bench()
    of.building(10, 10, 10)
    of.ask(PushForecast(ForecastKind.BUILDING, hourly(of, 20_000, ahead_h=1)), ForesightTaken)
    of.ask(PushForecast(ForecastKind.SOLAR, hourly(of, 3_000, 0, 4_000)), ForesightTaken)
    of.crash()
    found = forecasts(of, 3).slots
    assert [slot.building_w for slot in found][1:] == [20_000, 6_900]
    assert [slot.solar_w for slot in found] == [3_000, 0, 4_000]


@pytest.mark.parametrize(
    ("tariff", "reason"),
    [
        (None, "TARIFF_UNDESCRIBED"),
        ({"currency": "EUR", "import_price_per_kwh": "0.3"}, "TARIFF_NOT_DAY_AHEAD"),
        ({"currency": "USD", "day_ahead": {}}, "CURRENCY_DIFFERS"),
    ],
)
def test_prices_that_would_have_no_effect_are_refused(
    tariff: dict[str, Any] | None, reason: str
) -> None:
    of = bench(tariff=tariff)
    assert of.refused(PushPrices("EUR", hourly(of, 1))).reason == reason


def test_a_push_that_contradicts_itself_is_refused() -> None:
    of = bench()
    first = hourly(of, 1)[0]
    assert of.refused(PushPrices("EUR", (first, first))).reason == "INTERVALS_OVERLAP"
    assert of.refused(PushForecast(ForecastKind.SOLAR, (first, first))).kind == "invalid_input"


def test_prices_of_another_currency_are_forgotten() -> None:
    of = bench()
    push(of, 50_000)
    of.configure(
        site([charger("A"), charger("B")], tariff={**TARIFF, "currency": "USD"}),
    )
    assert prices(of, 1) == ["0.30"]
    assert forecasts(of).prices_until_ms is None


# --- what it sees ---------------------------------------------------------------------------------


def test_the_building_is_learned_by_the_hour_and_remembered() -> None:
    of = bench()
    live(of, 49, lambda hour: 20 if hour % 24 < 12 else 60)
    of.crash()
    of.configure(
        site(
            [charger("A"), charger("B"), charger("C")],
            tariff=TARIFF,
            building_load={"circuit": "supply"},
        )
    )
    found = forecasts(of)
    assert found.building_day_count >= 2
    seen = [slot.building_w for slot in found.slots]
    assert min(seen[3:]) == 13_800
    assert max(seen[3:]) >= 41_000


def test_the_sun_is_learned() -> None:
    of = bench()
    for minute in range(0, 30 * 60, 10):
        of.sun(9_000 if minute // 60 % 24 < 8 else 0)
        of.advance(600_000)
    seen = [slot.solar_w for slot in forecasts(of).slots]
    assert max(seen) == 9_000
    assert seen.count(0) >= 12


def test_a_session_counts_once_however_often_it_is_told() -> None:
    of = bench()
    of.plug("A", energy_wh=0)
    of.plug("A", energy_wh=500)
    of.crash()
    of.online("A")
    of.plug("A", energy_wh=800)
    of.plug("B")
    site_state = of.actor._site
    assert site_state is not None
    assert sum(site_state.outlook.arrivals.counts.values) == 1, "the host that died had the other"
    of.advance(2 * HOUR_MS)
    of.meter("A", 16, 16, 16, energy_wh=12_000)
    of.unplug("A")
    assert forecasts(of).visit_count == 1
    of.crash()
    assert forecasts(of).visit_count == 1


def test_what_is_drawn_in_a_window_is_the_peak_so_far() -> None:
    of = bench(building_load=None)
    of.plug("A")
    of.answer()
    for _ in range(4 * 30):
        of.advance(15_000)
        of.answer()
        of.meter("A", 20, 20, 20)
    (peak,) = forecasts(of).peaks
    assert peak.power_w == 20 * 3 * 230
    of.crash()
    assert forecasts(of).peaks == (peak,)


def test_a_site_without_a_tariff_learns_nothing() -> None:
    of = bench(tariff=None)
    live(of, 3, lambda _: 20)
    of.plug("A")
    of.advance(HOUR_MS)
    of.unplug("A")
    assert of.actor._site is not None
    assert of.actor._site.state.outlook == b""
    assert of.refused(GetForecasts(slot_s=3_600, slots=1)).reason == "TARIFF_UNDESCRIBED"


def test_learning_is_written_down_by_the_hour() -> None:
    def written(**values: Any) -> int:
        load = {"circuit": "supply", "stale_after_s": 86_400}
        of = bench(building_load=load, **values)
        of.building(20, 20, 20)
        before = of.snapshots
        for _ in range(6 * 60):
            of.advance(60_000)
            of.building(20, 20, 20)
        return of.snapshots - before

    assert written() - written(tariff=None) in range(5, 9)
