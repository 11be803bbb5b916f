"""What a site learns of the hours to come, and how far it says that it is off."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from random import Random
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from controlplane.network_tariff import TariffConfig
from controlplane.planning.arrivals import EXPECTED_MAX
from controlplane.planning.forecasts import SiteForecasts, site_forecasts
from controlplane.planning.outlook import Expectation, Outlook, calendar_of
from controlplane.planning.series import Interval
from controlplane.units import MS_PER_HOUR

ZONE = ZoneInfo("Europe/Berlin")
DAY_MS = 24 * MS_PER_HOUR
MONDAY_MS = int(datetime(2026, 6, 1, tzinfo=ZONE).timestamp() * 1_000)
DEMAND = [{"name": "peak", "price_per_kw": "10"}]


def tariff(**fields: Any) -> TariffConfig:
    described = {"currency": "EUR", "import_price_per_kwh": "0.3", **fields}
    return TariffConfig.model_validate(described)


def building(outlook: Outlook, days: int, power_w: Any, start_ms: int = MONDAY_MS) -> int:
    """Measurements every five minutes; `power_w` says what of the hour since `start_ms`."""
    end_ms = start_ms + days * DAY_MS
    for at_ms in range(start_ms, end_ms + 1, 300_000):
        outlook.observe_building(power_w((at_ms - start_ms) // MS_PER_HOUR), at_ms)
    return end_ms


def office(hour: int) -> int:
    """More by day, little at weekends."""
    day, hour_of_day = divmod(hour, 24)
    if day % 7 == 6:
        return 5_000
    busy = 8 <= hour_of_day < 18
    return (60_000 if busy else 20_000) if day % 7 < 5 else (30_000 if busy else 10_000)


def base(outlook: Outlook, start_ms: int, slots: int = 24) -> tuple[int, ...]:
    return outlook.inputs(tariff(), start_ms=start_ms, slot_s=3_600, slots=slots, zone=ZONE).base_w


def forecasts(outlook: Outlook, now_ms: int, slots: int = 24) -> SiteForecasts:
    return site_forecasts(outlook, tariff(), now_ms=now_ms, slot_s=3_600, slots=slots, zone=ZONE)


def test_kinds_of_days_are_told_apart() -> None:
    outlook = Outlook()
    now_ms = building(outlook, 21, office)
    expected = base(outlook, now_ms, 168)
    assert expected[24:] == tuple(office(hour) for hour in range(24, 168))


def test_a_building_that_is_new_stays_as_it_is() -> None:
    outlook = Outlook()
    assert base(outlook, MONDAY_MS) == ()
    outlook.observe_building(7_000, MONDAY_MS)
    assert base(outlook, MONDAY_MS) == (7_000,) * 24


def test_the_next_hours_follow_what_is_measured_now() -> None:
    outlook = Outlook()
    now_ms = building(outlook, 14, lambda _: 20_000)
    outlook.observe_building(30_000, now_ms + 60_000)
    expected = base(outlook, now_ms + 60_000)
    assert 27_000 < expected[0] < 30_000
    assert list(expected) == sorted(expected, reverse=True)
    assert expected[-1] < 20_100


def test_the_sun_is_subtracted_and_what_is_told_comes_first() -> None:
    outlook = Outlook()
    now_ms = building(outlook, 14, lambda _: 20_000)
    for day in range(14):
        for minute in range(0, 1_440, 10):
            at_ms = MONDAY_MS + day * DAY_MS + minute * 60_000
            outlook.observe_solar(15_000 if 600 <= minute < 960 else 0, at_ms)
    assert base(outlook, now_ms)[9:17] == (20_000, *[5_000] * 6, 20_000)
    start_s = now_ms // 1_000 + 12 * 3_600
    taken = outlook.told(outlook.sun, [Interval(start_s, 3_600, 40_000)], now_ms)
    assert taken == 1
    assert base(outlook, now_ms)[11:14] == (5_000, -20_000, 5_000)


def test_hours_that_were_not_seen_count_as_unknown() -> None:
    outlook = Outlook()
    building(outlook, 7, lambda _: 20_000)
    later_ms = building(outlook, 7, lambda _: 20_000, MONDAY_MS + 9 * DAY_MS)
    assert set(base(outlook, later_ms)) == {20_000}
    assert any("the building was last heard" in each for each in stale(outlook, later_ms))


def stale(outlook: Outlook, now_ms: int) -> tuple[str, ...]:
    after_ms = now_ms + 5 * MS_PER_HOUR
    return outlook.inputs(tariff(), start_ms=after_ms, slot_s=900, slots=4, zone=ZONE).stale


def test_days_on_which_the_clock_jumps_are_days() -> None:
    outlook = Outlook()
    start_ms = int(datetime(2026, 3, 16, tzinfo=ZONE).timestamp() * 1_000)
    end_ms = int(datetime(2026, 4, 8, tzinfo=ZONE).timestamp() * 1_000)
    for at_ms in range(start_ms, end_ms, 300_000):
        hour = datetime.fromtimestamp(at_ms / 1_000, ZONE).hour
        outlook.observe_building(50_000 if 8 <= hour < 18 else 10_000, at_ms)
    assert base(outlook, end_ms) == tuple(50_000 if 8 <= h < 18 else 10_000 for h in range(24))


# --- visitors -------------------------------------------------------------------------------------


def visited(outlook: Outlook, at_ms: int, *, hours: float, wh: int, power_w: int = 7_400) -> None:
    outlook.arrived(at_ms)
    outlook.ended(
        started_ms=at_ms,
        ended_ms=at_ms + int(hours * MS_PER_HOUR),
        energy_wh=wh,
        power_max_w=power_w,
        calendar=calendar_of(tariff(), ZONE),
    )


def test_as_many_are_expected_as_came() -> None:
    outlook = Outlook()
    for day in range(14):
        for place in range(3 if day % 7 < 5 else 1):
            visited(outlook, MONDAY_MS + day * DAY_MS + 8 * MS_PER_HOUR, hours=8, wh=9_000 + place)
        if day % 3:
            visited(outlook, MONDAY_MS + day * DAY_MS + 14 * MS_PER_HOUR, hours=2, wh=20_000)
    start_ms = MONDAY_MS + 14 * DAY_MS
    found = outlook.inputs(tariff(), start_ms=start_ms, slot_s=900, slots=96, zone=ZONE).expected
    morning = [each for each in found if each.need_wh < 10_000]
    assert len(morning) == 3
    assert {each.departure_ms - each.arrival_ms for each in morning} == {8 * MS_PER_HOUR}
    assert all(0 <= each.arrival_ms - start_ms - 8 * MS_PER_HOUR < MS_PER_HOUR for each in morning)
    assert {each.power_max_w for each in found} == {7_400, 10_000}, "faster than was said"
    assert len(found) == 4, "one that comes on two days of three is one"


def test_nobody_is_expected_who_would_have_come_by_now() -> None:
    outlook = Outlook()
    for day in range(10):
        for place in range(4):
            at_ms = MONDAY_MS + day * DAY_MS + 8 * MS_PER_HOUR + place * 600_000
            visited(outlook, at_ms, hours=8, wh=9_000)
    start_ms = MONDAY_MS + 10 * DAY_MS + 8 * MS_PER_HOUR
    for minutes, number in ((0, 4), (30, 2), (59, 0)):
        found = outlook.inputs(
            tariff(),
            start_ms=start_ms,
            slot_s=900,
            slots=16,
            zone=ZONE,
            now_ms=start_ms + minutes * 60_000,
        ).expected
        assert len(found) == number, minutes
        assert all(each.arrival_ms >= start_ms + minutes * 60_000 for each in found)


def test_what_is_expected_is_bounded() -> None:
    outlook = Outlook()
    for day in range(3):
        for place in range(3_000):
            visited(outlook, MONDAY_MS + day * DAY_MS + place * 20_000, hours=1, wh=5_000)
    start_ms = MONDAY_MS + 3 * DAY_MS
    found = outlook.inputs(tariff(), start_ms=start_ms, slot_s=900, slots=96, zone=ZONE)
    assert len(found.expected) == EXPECTED_MAX


# --- peaks ----------------------------------------------------------------------------------------


def drawn(outlook: Outlook, start_ms: int, power_w: int, minutes: int, **how: Any) -> None:
    for minute in range(minutes + 1):
        outlook.observe_draw(
            power_w,
            measured=how.get("measured", True),
            at_ms=start_ms + minute * 60_000,
            tariff=tariff(demand_charges=DEMAND),
            zone=ZONE,
        )


def so_far(outlook: Outlook, start_ms: int) -> list[tuple[int, int]]:
    found = outlook.inputs(
        tariff(demand_charges=DEMAND), start_ms=start_ms, slot_s=900, slots=96, zone=ZONE
    ).demand
    return [(each.so_far_w, sum(each.slots) or 96) for each in found]


def test_the_highest_window_of_the_month_is_what_was_paid_for() -> None:
    outlook = Outlook()
    drawn(outlook, MONDAY_MS, 40_000, 15)
    drawn(outlook, MONDAY_MS + 900_000, 90_000, 7)
    drawn(outlook, MONDAY_MS + 900_000 + 7 * 60_000, 0, 30)
    (peak,) = so_far(outlook, MONDAY_MS)
    assert peak[1] == 96
    assert 40_000 <= peak[0] <= 46_000, "a window counts with its mean"


def test_windows_that_were_not_measured_do_not_count() -> None:
    outlook = Outlook()
    drawn(outlook, MONDAY_MS, 90_000, 30, measured=False)
    drawn(outlook, MONDAY_MS + 40 * 60_000, 80_000, 4)
    drawn(outlook, MONDAY_MS + 70 * 60_000, 10_000, 20)
    assert so_far(outlook, MONDAY_MS) == [(10_000, 96)]


def test_a_new_month_begins_at_nothing() -> None:
    outlook = Outlook()
    last_day_ms = int(datetime(2026, 6, 30, 12, tzinfo=ZONE).timestamp() * 1_000)
    drawn(outlook, last_day_ms, 50_000, 20)
    assert so_far(outlook, last_day_ms) == [(50_000, 48), (0, 48)]


# --- errors ---------------------------------------------------------------------------------------


def errors(outlook: Outlook, now_ms: int) -> dict[str, Any]:
    return {error.what: error for error in forecasts(outlook, now_ms).errors}


def test_a_forecast_is_judged_by_days_that_it_had_not_seen() -> None:
    outlook, dice = Outlook(), Random(7)
    noise = [dice.randrange(-3_000, 3_000) for _ in range(24 * 28)]
    now_ms = building(outlook, 28, lambda hour: office(hour) + noise[min(hour, 24 * 28 - 1)])
    found = errors(outlook, now_ms)["building"]
    assert found.compared_count == 14 * 24
    assert 1_000 < found.mean_error < 2_500, "no less than the noise allows"
    day, week = found.baselines
    assert day.mean_error > week.mean_error > found.mean_error
    assert "better than the same hour of the week before" in found.words


def test_a_change_that_nobody_foresaw_is_an_error() -> None:
    outlook = Outlook()
    now_ms = building(outlook, 21, lambda hour: 20_000 if hour < 20 * 24 else 50_000)
    found = errors(outlook, now_ms)["building"]
    assert found.mean_error == pytest.approx(30_000 / 14, rel=0.02), "one day of fourteen"


def test_a_pushed_forecast_is_judged_by_what_it_said_beforehand() -> None:
    outlook = Outlook()
    now_ms = building(outlook, 3, lambda _: 20_000)
    hours = [Interval(now_ms // 1_000 + 3_600 * hour, 3_600, 26_000) for hour in range(-5, 5)]
    outlook.told(outlook.building, hours, now_ms)
    later_ms = building(outlook, 1, lambda _: 20_000, now_ms)
    outlook.told(outlook.building, [Interval(now_ms // 1_000, 86_400, 20_000)], later_ms)
    found = errors(outlook, later_ms)["building as told"]
    assert (found.compared_count, found.mean_error) == (5, 6_000), (
        "what is past cannot be told anew"
    )


def test_sessions_are_compared_with_what_was_forecast_when_they_began() -> None:
    outlook = Outlook()
    for day in range(20):
        at_ms = MONDAY_MS + day * DAY_MS
        outlook.ended(
            started_ms=at_ms,
            ended_ms=at_ms + 4 * MS_PER_HOUR,
            energy_wh=10_000,
            power_max_w=0,
            calendar=calendar_of(tariff(), ZONE),
            expected=Expectation(stay_ms=3 * MS_PER_HOUR, need_wh=10_000),
        )
    found = errors(outlook, MONDAY_MS + 20 * DAY_MS)
    assert found["stay"].mean_error == 60
    assert found["stay"].loss == 15, "a quarter of the hour by which they stayed longer"
    assert found["stay"].baselines[0].loss == 0
    assert found["need"].mean_error == 0


# --- the state ------------------------------------------------------------------------------------


def test_an_outlook_survives_in_a_few_kilobytes() -> None:
    outlook = Outlook()
    now_ms = building(outlook, 40, office)
    for day in range(40):
        outlook.observe_solar(9_000, MONDAY_MS + day * DAY_MS)
        for hour in range(24):
            for place in range(4):
                at_ms = MONDAY_MS + day * DAY_MS + hour * MS_PER_HOUR + place
                visited(outlook, at_ms, hours=3, wh=12_345)
    prices = [Interval(now_ms // 1_000 + 900 * n, 900, 100_000 + n) for n in range(192)]
    outlook.pushed(prices, now_ms)
    written = outlook.snapshot()
    assert len(written) < 20_000
    again = Outlook.restore(written)
    assert again == outlook
    assert forecasts(again, now_ms) == forecasts(outlook, now_ms)
    assert Outlook.restore(b"") == Outlook()


def test_a_clock_that_was_set_back_spoils_nothing() -> None:
    outlook = Outlook()
    now_ms = building(outlook, 10, lambda _: 20_000)
    earlier_ms = building(outlook, 2, lambda _: 30_000, now_ms - 3 * DAY_MS)
    assert base(outlook, earlier_ms)[0] > 25_000
    outlook.arrived(earlier_ms)
    outlook.arrived(earlier_ms - 2 * DAY_MS)
    assert len(
        outlook.inputs(tariff(), start_ms=earlier_ms, slot_s=900, slots=96, zone=ZONE).base_w
    )


def test_the_tariff_has_its_prices_in_the_inputs() -> None:
    found = Outlook().inputs(tariff(), start_ms=MONDAY_MS, slot_s=900, slots=4, zone=ZONE)
    assert found.import_price_per_kwh == (Decimal("0.3"),) * 4
    assert (found.export_price_per_kwh, found.demand, found.expected) == ((), (), ())
