"""The proof of what nobody could have done better, beside a linear program that knows it all."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from random import Random
from typing import Any
from zoneinfo import ZoneInfo

import highspy
import pytest

from controlplane.network import SiteConfig
from controlplane.site.tree import SiteTree
from controlplane.units import MS_PER_HOUR
from controlplane.what_if.money import AHEAD, Money
from controlplane.what_if.optimum import least
from controlplane.what_if.question import Visit
from controlplane.what_if.rows import Rows
from controlplane.what_if.stays import Stay, place

ZONE = ZoneInfo("Europe/Berlin")
START_MS = int(datetime(2026, 9, 28, tzinfo=ZONE).timestamp()) * 1_000
SLOTS = 96
SLOT_MS = MS_PER_HOUR // 4
DEMAND = Decimal("1.7")


def site(cap_w: int) -> SiteTree:
    return SiteTree(
        SiteConfig.model_validate(
            {
                "id": "depot",
                "time_zone": "Europe/Berlin",
                "margin_percent": 0,
                "circuits": [{"id": "supply", "rating_a": 1_000}],
                "contract": {"power_w": cap_w},
                "tariff": {
                    "currency": "EUR",
                    "import_price_per_kwh": "0.40",
                    "periods": [
                        {
                            "hours": [{"from": "11:00", "to": "15:00"}],
                            "import_price_per_kwh": "0.10",
                        }
                    ],
                    "demand_charges": [{"name": "peak", "price_per_kw": str(DEMAND)}],
                },
                "chargers": [
                    {"id": f"CP-{n}", "circuit": "supply", "offline_current_a": 0} for n in range(6)
                ],
            }
        )
    )


def visits(random: Random) -> list[Visit]:
    found = []
    for number in range(6):
        arrival_ms = START_MS + round(random.uniform(6, 14) * MS_PER_HOUR)
        departure_ms = arrival_ms + round(random.uniform(1, 7) * MS_PER_HOUR)
        found.append(
            Visit(
                id=f"v{number}",
                charger_id=f"CP-{number}",
                connector_id=1,
                arrival_ms=arrival_ms,
                departure_ms=departure_ms,
                energy_wh=round(random.uniform(3_000, 25_000)),
                power_max_w=11_040,
            )
        )
    return found


def program(tree: SiteTree, money: Money, stays: tuple[Stay, ...], cap_w: int) -> tuple[Any, Any]:
    """Energy of each stay in each slot, the peak, and what each stay misses; in kWh and kW."""
    solver = highspy.Highs()
    solver.silent()
    peak = solver.addVariable(lb=0, ub=cap_w / 1_000)
    drawn: list[list[Any]] = [[] for _ in range(SLOTS)]
    cost, missing = float(DEMAND) * peak, []
    for stay in stays:
        most_kw = stay.max_ma * stay.wh_per_mah / 1_000
        taken = []
        for slot in range(SLOTS):
            begins_ms = START_MS + slot * SLOT_MS
            from_ms = max(stay.visit.arrival_ms, begins_ms)
            there_h = (min(stay.visit.departure_ms, begins_ms + SLOT_MS) - from_ms) / MS_PER_HOUR
            if there_h > 0:
                energy = solver.addVariable(lb=0, ub=most_kw * there_h)
                taken.append(energy)
                drawn[slot].append(energy)
                cost = cost + float(money.import_price[slot]) * energy
        lacks = solver.addVariable(lb=0, ub=stay.want_wh / 1_000)
        solver.addConstr(sum(taken) + lacks == stay.want_wh / 1_000)
        missing.append(lacks)
    for energies in drawn:
        if energies:
            solver.addConstr(sum(energies) <= 0.25 * peak)
    return solver, (cost, sum(missing))


@pytest.mark.parametrize("seed", range(4))
def test_the_bounds_lie_below_the_optimum_and_close_to_it(seed: int) -> None:
    random = Random(seed)
    cap_w = random.choice([9_000, 14_000, 40_000])
    tree = site(cap_w)
    stays = place(tree, visits(random)).stays
    assert tree.config.tariff is not None
    money = Money(
        tree.config.tariff,
        ZONE,
        start_ms=START_MS,
        slots=SLOTS,
        base_w=[0] * (SLOTS + AHEAD),
        market=(),
    )
    rows = Rows(tree, building_w=[0] * (SLOTS + AHEAD), base_w=[0] * (SLOTS + AHEAD))
    solver, (cost, missing) = program(tree, money, stays, cap_w)
    solver.minimize(missing)
    fewest_kwh = solver.getObjectiveValue()
    # As somebody might who does not know what will come: a little more than need be.
    allowed_wh = round(fewest_kwh * 1_000 * 1.1) + 500
    solver.addConstr(missing <= allowed_wh / 1_000)
    solver.minimize(cost)
    cheapest = solver.getObjectiveValue()
    found = least(
        rows, money, stays, missing_wh=allowed_wh, price_max=Decimal(50), told=lambda _: None
    )
    assert found.missing_wh <= fewest_kwh * 1_000 + 1
    assert found.missing_wh == pytest.approx(fewest_kwh * 1_000, rel=0.01, abs=50)
    assert float(found.cost) <= cheapest + 0.01
    assert float(found.cost) == pytest.approx(cheapest, rel=0.02)
