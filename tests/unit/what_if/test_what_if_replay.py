"""Months that are lived through again: what was known, what it cost, and what nobody could beat."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from random import Random
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

import msgspec
import numpy as np
import pytest

from controlplane.network import SiteConfig, TariffConfig
from controlplane.planning.series import Interval
from controlplane.units import MS_PER_HOUR
from controlplane.what_if.changes import changed
from controlplane.what_if.money import AHEAD, Money
from controlplane.what_if.question import Outcome, Progress, Question, Visit
from controlplane.what_if.work import answer

DAY_MS = 24 * MS_PER_HOUR
ZONE = ZoneInfo("Europe/Berlin")
START_MS = int(datetime(2026, 9, 28, tzinfo=ZONE).timestamp()) * 1_000
"""A Monday; the month ends on the Wednesday."""

TARIFF: dict[str, Any] = {
    "currency": "EUR",
    "import_price_per_kwh": "0.40",
    "periods": [{"hours": [{"from": "00:00", "to": "06:00"}], "import_price_per_kwh": "0.10"}],
}


class Answer(NamedTuple):
    """Both halves."""

    as_is: Outcome
    what_if: Outcome
    assumptions: tuple[str, ...]


def site(chargers: int = 3, **values: Any) -> SiteConfig:
    known: dict[str, Any] = {
        "id": "depot",
        "time_zone": "Europe/Berlin",
        "margin_percent": 0,
        "circuits": [{"id": "supply", "rating_a": 100}],
        "tariff": TARIFF,
        "chargers": [
            {"id": f"CP-{n}", "circuit": "supply", "offline_current_a": 0} for n in range(chargers)
        ],
    }
    return SiteConfig.model_validate(known | values)


def visit(name: str, charger: int, from_h: float, until_h: float, **values: Any) -> Visit:
    known: dict[str, Any] = {"energy_wh": 20_000, "power_max_w": 11_040}
    arrival_ms = START_MS + round(from_h * MS_PER_HOUR)
    departure_ms = START_MS + round(until_h * MS_PER_HOUR)
    return Visit(
        id=name,
        charger_id=f"CP-{charger}",
        connector_id=1,
        arrival_ms=arrival_ms,
        departure_ms=departure_ms,
        **(known | values),
    )


def told(name: str, charger: int, from_h: float, until_h: float, wh: int = 20_000) -> Visit:
    """One whose driver said everything, and truly."""
    departure_ms = START_MS + round(until_h * MS_PER_HOUR)
    return visit(name, charger, from_h, until_h, energy_wh=wh, need_wh=wh, said_ms=departure_ms)


def asked(
    as_is: SiteConfig, what_if: SiteConfig, visits: list[Visit], *, days: int = 1, **values: Any
) -> Answer:
    question = Question(
        as_is=as_is.model_dump_json().encode(),
        what_if=what_if.model_dump_json().encode(),
        start_ms=START_MS,
        end_ms=START_MS + days * DAY_MS,
        visits=tuple(visits),
        before=(),
        **values,
    )
    crossed = msgspec.msgpack.decode(msgspec.msgpack.encode(question), type=Question)
    halves = []
    for other in (False, True):
        progress: list[Progress] = []
        halves.append(answer(crossed, progress.append, what_if=other))
        done = [each.done_percent for each in progress]
        assert done == sorted(done) and done[-1] == 100
    assert halves[0].assumptions == halves[1].assumptions
    return Answer(halves[0].outcome, halves[1].outcome, halves[0].assumptions)


def test_who_is_known_waits_for_cheap_power_as_the_optimum_does() -> None:
    visits = [told("night", 0, 20, 31)]
    found = asked(site(), site(tariff=TARIFF | {"periods": []}), visits, days=2)
    is_, flat = found.as_is, found.what_if
    assert is_.delivered_wh == pytest.approx(20_000, abs=5)
    assert is_.cost == pytest.approx(Decimal("2.00"), abs=Decimal("0.01"))
    assert flat.cost == pytest.approx(Decimal("8.00"), abs=Decimal("0.01"))
    for outcome in (is_, flat):
        assert outcome.cost_least <= outcome.cost
        assert outcome.cost_least == pytest.approx(outcome.cost, rel=Decimal("0.01"))
        assert (outcome.missing_least_wh, outcome.short) == (0, 0)


def test_a_cap_that_is_too_small_leaves_what_nobody_could_have_brought() -> None:
    """Two want 20 kWh in two hours below 10 kW: half of it is out of anybody's reach."""
    visits = [told("a", 0, 8, 10), told("b", 1, 8, 10)]
    as_is = site()
    found = asked(as_is, changed(as_is, visits, cap_w=10_000)[0], visits)
    assert found.as_is.missing_wh == 0
    assert found.what_if.peak_w <= 10_000
    assert found.what_if.missing_least_wh == pytest.approx(20_000, rel=0.01)
    assert found.what_if.missing_wh == pytest.approx(20_000, rel=0.02)
    assert found.what_if.short == 2


def test_more_chargers_serve_some_of_those_who_found_none() -> None:
    """Two come at eight on each of four days; on the fifth all three chargers are taken since
    six."""
    visits = [
        told(f"{day}-{n}", n, day * 24 + 8 + n / 4, day * 24 + 9, wh=3_000)
        for day in range(4)
        for n in (0, 1)
    ]
    visits += [told(f"long-{n}", n, 4 * 24 + 3 + n, 4 * 24 + 12) for n in range(3)]
    as_is = site(3)
    more, words = changed(as_is, visits, added_charger_count=2)
    assert words == ["added chargers are like CP-0, on circuit supply"]
    found = asked(as_is, more, visits, days=5)
    assert found.as_is.turned_away == found.as_is.turned_away_estimated == 2
    assert (found.what_if.turned_away, found.what_if.estimated) == (0, 2)
    assert found.what_if.sessions == found.as_is.sessions + 2
    assert any("found no free connector" in each for each in found.assumptions)
    fewer, _ = changed(as_is, visits, added_charger_count=-1)
    lost = asked(as_is, fewer, visits, days=5).what_if
    assert lost.turned_away - lost.turned_away_estimated == 1


def test_what_a_question_costs_is_the_same_on_every_day_that_it_is_asked() -> None:
    random = Random(7)
    visits = []
    for number in range(9):
        arrival_h = random.uniform(0, 14)
        stay_h = random.uniform(0.5, 9)
        make = told if random.random() < 0.6 else None
        charger = number % 3
        wh = round(random.uniform(2_000, 30_000))
        if make is not None:
            visits.append(told(f"v{number}", charger, arrival_h, arrival_h + stay_h, wh))
        else:
            visits.append(visit(f"v{number}", charger, arrival_h, arrival_h + stay_h, energy_wh=wh))
    charge = {"name": "peak", "price_per_kw": "9"}
    as_is = site(tariff=TARIFF | {"demand_charges": [charge]}, contract={"power_w": 30_000})
    what_if = changed(as_is, visits, cap_w=15_000)[0]
    building = tuple(2_000 + 100 * (hour % 24) for hour in range(168))
    values: dict[str, Any] = {"days": 1, "building_w": building, "solar_w": (0,) * 168}
    found = asked(as_is, what_if, visits, **values)
    assert asked(as_is, what_if, visits, **values) == found
    for outcome, cap_w in ((found.as_is, 30_000), (found.what_if, 15_000)):
        assert outcome.delivered_wh + outcome.missing_wh == pytest.approx(outcome.wanted_wh, abs=30)
        assert outcome.missing_least_wh <= outcome.missing_wh
        assert outcome.cost_least <= outcome.cost
        assert outcome.charging_peak_w < outcome.peak_w <= cap_w
        assert [month.month for month in outcome.months] == ["2026-09"]
    assert found.what_if.cost_least < found.as_is.cost_least + found.as_is.cost


# --- money ----------------------------------------------------------------------------------------


def money(tariff: dict[str, Any], *, days: int, base_w: int = 0, **values: Any) -> Money:
    slots = days * 96
    return Money(
        TariffConfig.model_validate(tariff),
        ZONE,
        start_ms=START_MS,
        slots=slots,
        base_w=[base_w] * (slots + AHEAD),
        market=values.get("market", ()),
    )


def test_a_bill_is_exact_and_every_month_has_its_own_peak() -> None:
    """12 kW in the first half hour of September 30th and 6 kW at noon of October 1st."""
    charges = [
        {"name": "always", "price_per_kw": "10"},
        {"name": "noon", "price_per_kw": "3", "hours": [{"from": "12:00", "to": "13:00"}]},
    ]
    found = money(TARIFF | {"demand_charges": charges, "window_s": 1800}, days=4)
    step_wh = np.zeros(4 * 288)
    step_wh[2 * 288 : 2 * 288 + 6] = 1_000
    step_wh[3 * 288 + 144 : 3 * 288 + 150] = 500
    bill = found.bill(step_wh)
    september, october = bill.months
    assert (september.month, october.month) == ("2026-09", "2026-10")
    assert september.energy_cost == Decimal("0.600")
    assert october.energy_cost == Decimal("1.200")
    assert [(each.peak_w, int(each.cost)) for each in september.demand] == [(12_000, 120), (0, 0)]
    assert [(each.peak_w, int(each.cost)) for each in october.demand] == [(6_000, 60), (6_000, 18)]
    assert bill.cost == Decimal("199.800")
    assert september.demand[0].at_ms == START_MS + 2 * DAY_MS
    assert found.base_cost() == 0


def test_building_and_sun_are_on_the_bill_unless_chargers_are_metered_apart() -> None:
    priced = TARIFF | {"demand_charges": [{"name": "peak", "price_per_kw": "1"}]}
    step_wh = np.full(288, 100.0)
    together = money(priced, days=1, base_w=4_000).bill(step_wh)
    assert together.months[0].demand[0].peak_w == 5_200
    assert together.energy_cost == (Decimal("0.10") * 6 + Decimal("0.40") * 18) * Decimal("5.2")
    apart = money(priced | {"chargers_only": True}, days=1, base_w=4_000).bill(step_wh)
    assert apart.months[0].demand[0].peak_w == 1_200
    sunny = money(TARIFF, days=1, base_w=-4_000).bill(step_wh)
    assert sunny.energy_cost == 0, "feeding in earns nothing unless described"


def test_prices_of_a_market_are_those_that_were_given() -> None:
    tariff = {"currency": "EUR", "day_ahead": {"multiplier": 1, "adder_per_kwh": "0.1"}}
    spot = Interval(START_MS // 1_000, 86_400, 50_000)
    found = money(tariff, days=1, market=[spot])
    assert found.bill(np.full(288, 100.0)).energy_cost == Decimal("28.8") * Decimal("0.15")
    assert "stand in for them" in " ".join(money(tariff, days=3, market=[spot]).stale)


def test_nothing_is_planned_where_nobody_could_be_held_back() -> None:
    flat = site(tariff={"currency": "EUR", "import_price_per_kwh": "0.40"})
    stranger = asked(flat, flat, [visit("stranger", 0, 8, 20)])
    assert stranger.as_is.plans == 0, "nobody knows what it needs"
    assert stranger.as_is.missing_wh == 0
    guest = asked(flat, flat, [told("guest", 0, 8, 20, wh=5_000)])
    assert 1 <= guest.as_is.plans <= 3, "it is ready within the hour"
    assert guest.as_is.missing_wh == 0
