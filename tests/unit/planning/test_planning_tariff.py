"""What energy costs at each hour, and when a demand charge counts."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, timedelta, tzinfo
from decimal import Decimal
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from pydantic import ValidationError

from controlplane.network_tariff import TariffConfig
from controlplane.network_yaml import dump_site, parse_site
from controlplane.planning.series import Interval, Series
from controlplane.planning.tariff import Tariff
from controlplane.sim.day.tariff import load_tariff

PAGE = Path(__file__).parents[3] / "docs/tariffs.md"
BERLIN = ZoneInfo("Europe/Berlin")
WEEKDAYS = ["mon", "tue", "wed", "thu", "fri"]
NIGHT = {"import_price_per_kwh": "0.1", "hours": [{"from": "22:00", "to": "06:00"}]}


def tariff(zone: ZoneInfo = BERLIN, **fields: Any) -> Tariff:
    described = {"currency": "EUR", "import_price_per_kwh": "0.3", **fields}
    return Tariff(TariffConfig.model_validate(described), zone)


def ms(  # noqa: PLR0917 - a date, as `datetime` takes it
    year: int, month: int, day: int, hour: int = 0, minute: int = 0, zone: tzinfo = BERLIN
) -> int:
    return int(datetime(year, month, day, hour, minute, tzinfo=zone).timestamp() * 1_000)


def prices(of: Tariff, start_ms: int, slots: int, slot_s: int = 3_600) -> list[Decimal]:
    found = of.prices(start_ms=start_ms, slot_s=slot_s, slots=slots)
    return list(found.import_price_per_kwh)


def pushed(start_ms: int, *hourly: int) -> Series:
    series = Series()
    begins_s = start_ms // 1_000
    series.push(
        [Interval(begins_s + 3_600 * at, 3_600, price) for at, price in enumerate(hourly)], start_ms
    )
    return series


def test_the_pages_tariff_is_the_published_one() -> None:
    document = re.findall(r"```yaml\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)[0]
    site = parse_site(document, source="docs/tariffs.md")
    assert site.tariff is not None
    zone = ZoneInfo(site.time_zone)
    described = Tariff(site.tariff, zone)
    day = date(2019, 1, 1)
    while day < date(2020, 1, 1):
        start_ms = int(datetime(day.year, day.month, day.day, tzinfo=zone).timestamp() * 1_000)
        published = load_tariff(day).energy_usd_per_kwh[::4]
        found = prices(described, start_ms, 24)
        if ms(day.year, day.month, day.day, 23, zone=zone) - start_ms == 23 * 3_600_000:
            assert [float(price) for price in found] == pytest.approx(list(published)), day
        day += timedelta(days=1)
    assert site.tariff.demand_charges[0].price_per_kw == Decimal("15.51")
    assert parse_site(dump_site(site)) == site


def test_a_period_over_midnight_belongs_to_the_day_on_which_it_begins() -> None:
    hours = [{"days": ["fri"], "from": "22:00", "to": "06:00"}]
    found = tariff(periods=[{"import_price_per_kwh": "0.1", "hours": hours}])
    friday_ms = ms(2026, 5, 1, 21)
    assert (
        prices(found, friday_ms, 11)
        == [Decimal("0.3"), *[Decimal("0.1")] * 8] + [Decimal("0.3")] * 2
    )
    thursday_ms = ms(2026, 4, 30, 21)
    assert set(prices(found, thursday_ms, 11)) == {Decimal("0.3")}


@pytest.mark.parametrize(("day", "cheap"), [((2026, 3, 28), 7), ((2026, 10, 24), 9)])
def test_a_night_has_an_hour_less_or_more_where_the_clock_jumps(
    day: tuple[int, int, int], cheap: int
) -> None:
    found = prices(tariff(periods=[NIGHT]), ms(*day, 20), 14)
    assert found.count(Decimal("0.1")) == cheap


def test_a_slot_in_which_the_price_changes_has_the_mean() -> None:
    hours = [{"from": "12:20", "to": "13:00"}]
    found = tariff(periods=[{"import_price_per_kwh": "0.6", "hours": hours}])
    assert prices(found, ms(2026, 5, 1, 12), 2) == [Decimal("0.5"), Decimal("0.3")]


def test_a_holiday_counts_as_a_sunday() -> None:
    hours = [{"days": WEEKDAYS}]
    found = tariff(
        periods=[{"import_price_per_kwh": "0.5", "hours": hours}], holidays=["2026-05-01"]
    )
    friday = ms(2026, 5, 1, 0)
    assert prices(found, friday - 86_400_000, 3, 86_400) == [
        Decimal("0.5"),
        Decimal("0.3"),
        Decimal("0.3"),
    ]


def test_a_season_runs_over_new_year() -> None:
    hours = [{"seasons": ["winter"]}]
    found = tariff(
        seasons=[{"id": "winter", "from": "11-15", "to": "02-29"}],
        periods=[{"import_price_per_kwh": "0.5", "hours": hours}],
    )
    days = [(2025, 11, 14), (2025, 11, 15), (2026, 1, 1), (2026, 2, 28), (2026, 3, 1)]
    assert [str(prices(found, ms(*day), 1)[0])[:3] for day in days] == [
        *("0.3", "0.5", "0.5", "0.5", "0.3")
    ]


def test_feeding_in_never_earns_more_than_drawing_costs() -> None:
    found = tariff(
        export_price_per_kwh="0.08",
        periods=[{"import_price_per_kwh": "0.05", "hours": [{"from": "00:00", "to": "01:00"}]}],
    ).prices(start_ms=ms(2026, 5, 1), slot_s=3_600, slots=2)
    assert found.export_price_per_kwh == (Decimal("0.05"), Decimal("0.08"))
    assert tariff().prices(start_ms=0, slot_s=900, slots=1).export_price_per_kwh == ()


def test_a_market_is_followed_with_multiplier_and_adder() -> None:
    start_ms = ms(2026, 5, 1, 21)
    found = tariff(
        day_ahead={"multiplier": "2", "adder_per_kwh": "0.1", "export_multiplier": "1"},
        periods=[{"adder_per_kwh": "0.01", "hours": [{"from": "22:00", "to": "06:00"}]}],
    ).prices(start_ms=start_ms, slot_s=3_600, slots=2, pushed=pushed(start_ms, 50_000, -20_000))
    assert found.import_price_per_kwh == (Decimal("0.2"), Decimal("-0.03"))
    assert found.export_price_per_kwh == (Decimal("0.05"), Decimal("-0.03"))
    assert found.stale == ()


def test_what_was_not_pushed_is_guessed_and_named() -> None:
    start_ms = ms(2026, 5, 1, 0)
    series = pushed(start_ms, *range(100_000, 124_000, 1_000))
    by_tariff = tariff(day_ahead={}).prices(
        start_ms=start_ms, slot_s=3_600, slots=26, pushed=series
    )
    assert by_tariff.import_price_per_kwh[23:] == (
        *(Decimal("0.123"), Decimal("0.3"), Decimal("0.3")),
    )
    assert by_tariff.stale == (
        "day-ahead prices are missing between 2026-05-02 00:00 and 2026-05-02 02:00: the tariff "
        "stands in for them",
    )
    alone = tariff(day_ahead={}, import_price_per_kwh=None)
    by_day = alone.prices(start_ms=start_ms, slot_s=3_600, slots=50, pushed=series)
    assert by_day.import_price_per_kwh[24:26] == (Decimal("0.1"), Decimal("0.101"))
    assert by_day.import_price_per_kwh[48] == Decimal("0.1"), "the latest day that is known"
    assert "the same hour of a day before" in by_day.stale[0]
    nothing = alone.prices(start_ms=start_ms, slot_s=3_600, slots=2)
    assert nothing.import_price_per_kwh == (Decimal(0), Decimal(0))
    assert "no price is known" in nothing.stale[0]


def test_a_demand_charge_counts_windows_that_lie_in_its_hours_in_part() -> None:
    hours = [{"days": WEEKDAYS, "from": "16:00", "to": "21:00"}]
    found = tariff(demand_charges=[{"name": "peak", "price_per_kw": "9", "hours": hours}])
    charge = found.config.demand_charges[0]
    friday = [ms(2026, 5, 1, 15, 45), ms(2026, 5, 1, 16), ms(2026, 5, 1, 20, 45)]
    counted = [found.measured(charge.hours, start_ms=at, length_ms=900_000) for at in friday]
    assert counted == [False, True, True]
    at_ms = ms(2026, 5, 1, 15, 50)
    assert found.measured(charge.hours, start_ms=at_ms, length_ms=900_000)
    assert not found.measured(charge.hours, start_ms=ms(2026, 5, 2, 17), length_ms=900_000)


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"import_price_per_kwh": None}, "import_price_per_kwh must be given"),
        ({"currency": "euro"}, "currency"),
        ({"export_price_per_kwh": "0.4"}, "what is drawn would be fed in again"),
        ({"window_s": 700}, "an hour must be a whole number of windows"),
        ({"seasons": [{"id": "s", "from": "02-30", "to": "03-01"}]}, "no day of the year"),
        ({"periods": [{"hours": [{"seasons": ["autumn"]}]}]}, "unknown season 'autumn'"),
        ({"periods": [{"adder_per_kwh": "1", "hours": [{}]}]}, "for tariffs with day_ahead"),
        ({"periods": [{"hours": [{"from": "08:00", "to": "08:00"}]}]}, "are the same"),
        (
            {"demand_charges": [{"name": "a", "price_per_kw": 1}] * 2},
            "two demand charges share a name",
        ),
    ],
)
def test_a_tariff_that_cannot_be_is_refused(wrong: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError, match=re.escape(words)):
        tariff(**wrong)


def test_utc_is_a_clock_as_any_other() -> None:
    found = tariff(ZoneInfo("UTC"), periods=[NIGHT])
    assert prices(found, ms(2026, 5, 1, 5, 30, zone=UTC), 3, 900) == [
        Decimal("0.1"),
        Decimal("0.1"),
        Decimal("0.3"),
    ]
