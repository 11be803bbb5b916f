"""What a kilowatt above the month's peak costs today, given the days to come."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from itertools import pairwise
from random import Random
from zoneinfo import ZoneInfo

import numpy as np
import pytest

from controlplane.network_tariff import TariffConfig
from controlplane.planning import Horizon, Meter, Node, Vehicle, solve
from controlplane.planning.month_peak import Need, Step, peak_worth, price_steps
from controlplane.planning.outlook import Outlook, calendar_of
from controlplane.planning.problem import DemandCharge
from controlplane.units import MS_PER_HOUR

ZONE = ZoneInfo("Europe/Berlin")
GRID_KW = np.arange(10.0, 101.0, 10.0)
NEEDS_50 = np.where(GRID_KW < 50, 5.0, 0.0)[None]
"""Days on which another kilowatt brought 5 up to a peak of 50 kW, and nothing above."""
SLOTS = 96
PRICES = np.array([0.10] * 32 + [0.20] * 16 + [0.40] * 24 + [0.20] * 24)


def price_at(steps: list[Step], peak_kw: float) -> float:
    return sum(step.price_per_kw for step in steps if step.from_kw <= peak_kw)


def test_on_the_last_day_of_the_month_all_of_the_charge_counts() -> None:
    assert price_steps({0: np.repeat(NEEDS_50, 20, axis=0)}, [], 12.0, GRID_KW) == [(10.0, 12.0)]


def test_what_days_to_come_will_need_is_free_today_and_more_is_not() -> None:
    steps = price_steps({0: np.repeat(NEEDS_50, 20, axis=0)}, [0] * 15, 12.0, GRID_KW)
    assert price_at(steps, 35.0) < 0.5
    assert price_at(steps, 60.0) == pytest.approx(12.0)


def test_days_of_another_kind_say_nothing_and_few_days_say_little() -> None:
    other = {"saturday": np.repeat(NEEDS_50, 20, axis=0)}
    assert price_steps(other, ["workday"] * 15, 12.0, GRID_KW) == [(10.0, 12.0)]
    one, many = (
        price_at(price_steps({0: np.repeat(NEEDS_50, days, axis=0)}, [0] * 2, 12.0, GRID_KW), 20.0)
        for days in (1, 20)
    )
    assert 12.0 - 10.0 < many < one < 12.0


def test_the_latest_days_count_most() -> None:
    light, heavy = np.zeros((20, len(GRID_KW))), np.repeat(NEEDS_50, 20, axis=0)
    grows = price_steps({0: np.vstack([light, heavy])}, [0] * 2, 12.0, GRID_KW)
    falls = price_steps({0: np.vstack([heavy, light])}, [0] * 2, 12.0, GRID_KW)
    assert price_at(grows, 20.0) < price_at(falls, 20.0)


@pytest.mark.parametrize("seed", range(20))
def test_steps_ascend_and_never_exceed_the_charge(seed: int) -> None:
    random = np.random.default_rng(seed)
    worth = -np.sort(-random.random((9, len(GRID_KW))) * 9, axis=1)
    steps = price_steps({0: worth, 1: worth / 9}, random.integers(0, 2, 20).tolist(), 9.0, GRID_KW)
    assert [step.from_kw for step in steps] == sorted({step.from_kw for step in steps})
    assert all(step.price_per_kw > 0 for step in steps)
    assert sum(step.price_per_kw for step in steps) <= 9.0 + 1e-9


def cost_of_day(needs: list[Need], peak_kw: float) -> float:
    """By the planner, with a row of so much power."""
    vehicles = tuple(
        Vehicle(
            id=f"v{number}",
            node="site",
            lines=(1,),
            voltage_v=200,
            max_ma=round(need.power_kw * 5_000),
            arrival_s=int(need.arrival_s),
            departure_s=int(need.departure_s),
            need_wh=round(need.energy_kwh * 1_000),
            room_wh=round(need.energy_kwh * 1_000),
            charge_permille=1_000,
        )
        for number, need in enumerate(needs)
    )
    meter = Meter(
        id="m", node="site", import_price_per_kwh=tuple(Decimal(f"{each:.2f}") for each in PRICES)
    )
    horizon = Horizon(
        slots=SLOTS,
        slot_s=900,
        nodes=(Node(id="site", power_max_w=round(peak_kw * 1_000)),),
        meters=(meter,),
        vehicles=vehicles,
        tier_penalties_per_kwh=(Decimal(3),),
        late_price_per_kwh=Decimal(0),
    )
    return solve(horizon, gap=1e-6, steps=4_000).cost


@pytest.mark.parametrize("seed", range(4))
def test_a_kilowatt_is_worth_what_the_planner_makes_of_it(seed: int) -> None:
    """Between two peaks, what the day costs less is what its kilowatts were worth."""
    random = Random(seed)
    needs = []
    for _ in range(25):
        arrival, stay = random.randrange(24, 48), random.randrange(8, 40)
        energy_kwh = random.uniform(0.1, 0.8) * stay / 4 * 11
        needs.append(Need(arrival * 900.0, (arrival + stay) * 900.0, energy_kwh, 11.0))
    grid_kw = np.arange(10.0, 130.0, 1.0)
    worth = peak_worth(needs, PRICES, slot_s=900, grid_kw=grid_kw, missing_per_kwh=3.0)
    peaks = np.array([20, 40, 60, 80, 110])
    costs = np.array([cost_of_day(needs, float(peak)) for peak in peaks])
    summed = [worth[low - 10 : high - 10].sum() for low, high in pairwise(peaks)]
    assert summed == pytest.approx((costs[:-1] - costs[1:]).tolist(), rel=0.06, abs=1.0)


# --- a site ---------------------------------------------------------------------------------------


def tariff() -> TariffConfig:
    return TariffConfig.model_validate(
        {
            "currency": "EUR",
            "import_price_per_kwh": "0.3",
            "demand_charges": [{"name": "peak", "price_per_kw": "12"}],
        }
    )


def at_ms(month: int, day: int, hour: int = 0) -> int:
    return int(datetime(2026, month, day, hour, tzinfo=ZONE).timestamp() * 1_000)


def charged(outlook: Outlook, now_ms: int) -> tuple[DemandCharge, ...]:
    return outlook.inputs(tariff(), start_ms=now_ms, slot_s=900, slots=40, zone=ZONE).demand


def seen(vehicles: int) -> Outlook:
    """Every day of May so many come at eight for four hours and take 20 kWh each, at up to 11 kW:
    5 kW each is the least that makes them ready."""
    outlook, calendar = Outlook(), calendar_of(tariff(), ZONE)
    for day in range(1, 32):
        for _ in range(vehicles):
            outlook.arrived(at_ms(5, day, 8))
        for _ in range(vehicles):
            outlook.ended(
                started_ms=at_ms(5, day, 8),
                ended_ms=at_ms(5, day, 12),
                energy_wh=20_000,
                power_max_w=11_000,
                calendar=calendar,
            )
    outlook.arrivals.passed(at_ms(6, 1))
    return outlook


def price_at_w(charges: tuple[DemandCharge, ...], power_w: int) -> float:
    return float(sum(each.price_per_kw for each in charges if each.so_far_w <= power_w))


def test_a_site_pays_early_for_no_peak_that_will_come_anyway() -> None:
    first = charged(seen(10), at_ms(6, 1))
    assert price_at_w(first, 40_000) < 0.5
    assert price_at_w(first, 90_000) == pytest.approx(12.0, abs=0.2)
    last = charged(seen(10), at_ms(6, 30))
    assert price_at_w(last, 20_000) == pytest.approx(12.0, abs=0.2)


def test_of_a_site_of_which_nothing_is_known_all_days_need_as_much_as_the_first() -> None:
    (first,) = charged(Outlook(), at_ms(6, 1))
    assert float(first.price_per_kw) == pytest.approx(12 / (1 + 29), abs=1e-6)
    assert [float(each.price_per_kw) for each in charged(Outlook(), at_ms(6, 30))] == [12.0]


def test_what_was_drawn_already_is_free() -> None:
    outlook = seen(10)
    for minute in range(16):
        outlook.observe_draw(
            70_000,
            measured=True,
            at_ms=at_ms(6, 1) + minute * MS_PER_HOUR // 60,
            tariff=tariff(),
            zone=ZONE,
        )
    assert {each.so_far_w >= 70_000 for each in charged(outlook, at_ms(6, 1, 1))} == {True}


def test_the_rule_is_not_part_of_a_snapshot() -> None:
    outlook = seen(10)
    before = outlook.snapshot()
    charged(outlook, at_ms(6, 1))
    assert outlook.snapshot() == before


@pytest.mark.parametrize(("doubts", "seen"), [(1, 2 / 3), (2, 1 / 2)])
def test_two_heavy_days_pay_for_a_months_peak_as_far_as_they_are_not_doubted(
    doubts: float, seen: float
) -> None:
    two, many = (
        price_at(
            price_steps({0: np.repeat(NEEDS_50, days, axis=0)}, [0], 12.0, GRID_KW, doubts), 20.0
        )
        for days in (2, 30)
    )
    assert two == pytest.approx(12.0 - 5.0 * seen, abs=0.25)
    assert many == pytest.approx(12.0 - 5.0, abs=0.75)
