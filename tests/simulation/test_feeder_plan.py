"""Depots below one feeder that carries one of them at a time, with the actors of production.

Planned together, everybody is ready and power is cheap; with an equal part each, they are not."""

from __future__ import annotations

from typing import Any

import pytest

from controlplane.sim.day.depots import depots_table, run_depots


@pytest.fixture(scope="module")
def result() -> dict[str, Any]:
    return run_depots(3, vans=2)


def test_planned_together_all_are_ready_and_it_costs_less(result: dict[str, Any]) -> None:
    together, equal, fair = result["together"], result["equal"], result["fair"]
    assert together["ready"] == result["vans"] == 6
    assert equal["ready"] == 4
    assert together["delivered_kwh"] > equal["delivered_kwh"]
    assert together["cost_eur_per_kwh"] < 0.9 * equal["cost_eur_per_kwh"]
    assert together["cost_eur"] < 0.9 * fair["cost_eur"]


def test_no_row_is_over_its_rating_whoever_plans(result: dict[str, Any]) -> None:
    assert result["violations"] == 0, result["details"]
    for way in ("fair", "equal", "together"):
        assert 80 < result[way]["feeder_peak_percent"] <= 100


def test_the_table_says_the_same(result: dict[str, Any]) -> None:
    table = depots_table(result)
    assert f"ready when leaving, of 6{result['fair']['ready']:>18}" in table
