"""`loadstar sim --v2g`: a grid event that only vehicles can meet, in small."""

from __future__ import annotations

from typing import Any

import pytest

from controlplane.sim.v2g.world import run


@pytest.fixture(scope="module")
def quiet() -> dict[str, Any]:
    return run(seed=1, vehicles=8, hours=0.5)


def test_what_was_asked_is_delivered(quiet: dict[str, Any]) -> None:
    assert quiet["violations"] == 0, quiet["details"]
    assert abs(quiet["delivered_percent"] - 100) <= 2
    (site,) = quiet["sites"]
    assert site["fed_in_max_w"] > 0.2 * site["baseline_w"], "the building alone draws too much"
    reported = site["reported_wh"] / site["delivered_wh"]
    assert reported == pytest.approx(1, abs=0.03), "Loadstar says so, too"


def test_nobody_leaves_with_less_than_needed(quiet: dict[str, Any]) -> None:
    assert quiet["left"] == 8
    assert quiet["left_short"] == []


def test_every_credit_is_what_the_meter_counted(quiet: dict[str, Any]) -> None:
    owed = quiet["credits"]
    assert owed["metered_wh"] == owed["credited_wh"] > 1_000
    assert owed["sessions"] >= 4


def test_faults_cost_neither_needs_nor_credits_nor_rows() -> None:
    result = run(seed=2, vehicles=8, hours=0.5, faults="all")
    assert result["violations"] == 0, (result["details"], result["replay"])
    assert result["left_short"] == []
    assert result["credits"]["metered_wh"] == result["credits"]["credited_wh"]
