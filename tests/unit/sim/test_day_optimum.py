"""The offline optimum and the day without control, on networks worked out by hand."""

from __future__ import annotations

import sys
from itertools import pairwise

import numpy as np
import pytest
from day_networks import DAY, FULL_W, feeder_day, session

from controlplane.errors import Unavailable
from controlplane.sim.day.optimum import Optimum, solve
from controlplane.sim.day.outcome import Outcome
from controlplane.sim.day.rows import Rows
from controlplane.sim.day.scenario import VOLTAGE_V, FeederDay
from controlplane.sim.day.tariff import SLOT_H, load_tariff
from controlplane.sim.day.uncontrolled import charge_alone, live_uncontrolled


def _solve(feeder: FeederDay) -> tuple[Optimum, Outcome]:
    pytest.importorskip("highspy")
    rows = Rows(feeder)
    free = live_uncontrolled(feeder, rows, charge_alone(feeder))
    return solve(feeder, rows, load_tariff(DAY), free.delivered_wh), free


def test_room_for_all_delivers_all() -> None:
    feeder = feeder_day(session("A", 8, 10, 4_000), session("B", 8, 10, 5_000), supply_a=64)
    optimum, free = _solve(feeder)
    assert optimum.bound_wh == pytest.approx(9_000, rel=1e-6)
    assert sum(optimum.outcome.delivered_wh.values()) == pytest.approx(9_000, rel=1e-5)
    assert sum(free.delivered_wh.values()) == pytest.approx(9_000, rel=1e-6)


@pytest.mark.parametrize(("supply_a", "feeder_a"), [(32, None), (64, 32)])
def test_a_full_row_bounds_what_anybody_delivers(supply_a: float, feeder_a: float | None) -> None:
    """Two vehicles for an hour, room for one: one full charger's hour, whoever gets it."""
    stays = [session(station_id, 8, 9, 7_000) for station_id in ("A", "B")]
    feeder = feeder_day(*stays, supply_a=supply_a, feeder_a=feeder_a)
    optimum, free = _solve(feeder)
    assert optimum.bound_wh == pytest.approx(FULL_W, rel=1e-6)
    assert sum(optimum.outcome.delivered_wh.values()) == pytest.approx(FULL_W, rel=1e-5)
    assert sum(free.delivered_wh.values()) == pytest.approx(14_000, rel=1e-6)
    assert free.over_h.max() == pytest.approx(7_000 / FULL_W, abs=1 / 60)
    assert optimum.outcome.peak_a.max() <= 32 + 1e-6


def test_the_building_comes_first() -> None:
    """A third of 16 A times three phases leaves half of 32 A on L1."""
    building_w = 16 * VOLTAGE_V * 3
    feeder = feeder_day(session("A", 8, 9, 7_000), supply_a=32, building_w=building_w)
    optimum, _ = _solve(feeder)
    assert optimum.bound_wh == pytest.approx(FULL_W / 2, rel=1e-6)


def test_part_of_a_quarter_hour_counts_as_part() -> None:
    feeder = feeder_day(session("A", 8.1, 8.6, 20_000), supply_a=64)
    optimum, _ = _solve(feeder)
    assert optimum.bound_wh == pytest.approx(FULL_W / 2, rel=0.01)
    assert np.flatnonzero(optimum.outcome.slot_wh[0]).tolist() == [32, 33, 34]


def test_the_same_energy_is_taken_where_it_costs_least() -> None:
    """From eight to two, with the dear hours from noon on: all before noon, as level as can
    be; a lower peak would not pay for what it moves behind noon."""
    feeder = feeder_day(session("A", 8, 14, 8_000), supply_a=64)
    optimum, free = _solve(feeder)
    slot_wh = optimum.outcome.slot_wh[0]
    assert slot_wh[32:48] == pytest.approx(500, rel=1e-4)
    assert slot_wh.sum() == pytest.approx(8_000, rel=1e-5)
    tariff = load_tariff(DAY)
    assert tariff.energy_usd(slot_wh[None]) == pytest.approx(8 * 0.0925, rel=1e-5)
    assert tariff.demand_usd(slot_wh[None]) == pytest.approx(2 * 15.51 / 30, rel=1e-4)
    assert tariff.demand_usd(free.slot_wh) > tariff.demand_usd(slot_wh[None])


def test_energy_goes_before_cost() -> None:
    """Who is there only in the dear hours is charged all the same."""
    feeder = feeder_day(session("A", 13, 14, 6_000), supply_a=64)
    optimum, _ = _solve(feeder)
    assert sum(optimum.outcome.delivered_wh.values()) == pytest.approx(6_000, rel=1e-5)


def test_who_stays_overnight_counts_until_midnight() -> None:
    feeder = feeder_day(session("A", 23, 30, 50_000), supply_a=64)
    optimum, free = _solve(feeder)
    assert optimum.bound_wh == pytest.approx(FULL_W, rel=0.01)
    assert sum(free.delivered_wh.values()) == pytest.approx(FULL_W, rel=0.01)


def test_without_the_solver_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "highspy", None)
    feeder = feeder_day(session("A", 8, 10, 4_000), supply_a=64)
    with pytest.raises(Unavailable, match="pip install highspy"):
        solve(feeder, Rows(feeder), load_tariff(DAY), {"EV0": 4_000.0})


def test_prices_follow_the_published_hours() -> None:
    tariff = load_tariff(DAY)
    hourly = tariff.energy_usd_per_kwh[:: round(1 / SLOT_H)].tolist()
    assert [hour for hour, (a, b) in enumerate(pairwise(hourly), 1) if a != b] == [8, 12, 18, 23]
    assert hourly[12] == max(hourly) == 0.26668
    weekend = load_tariff(DAY.replace(day=15))
    assert set(weekend.energy_usd_per_kwh.tolist()) == {0.05623}
    assert load_tariff(DAY.replace(month=5, day=15)).energy_usd_per_kwh[50] == 0.0869
    assert tariff.demand_usd_per_kw == pytest.approx(15.51 / 30)
