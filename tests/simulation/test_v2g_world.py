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
    (site,), (asked,) = quiet["sites"], quiet["asked"]
    assert site["fed_in_max_w"] > 0.2 * asked["baseline_w"], "the building alone draws too much"
    reported = asked["reported_wh"] / asked["delivered_wh"]
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


@pytest.fixture(scope="module")
def on_feeder() -> dict[str, Any]:
    """Two sites, one of them on a feeder below the one that is asked, which is to give power."""
    return run(seed=2, vehicles=8, hours=0.25, on_feeder=True, share=-0.1)


def test_what_a_feeder_is_asked_to_give_its_sites_feed_in(on_feeder: dict[str, Any]) -> None:
    assert on_feeder["violations"] == 0, on_feeder["details"]
    assert abs(on_feeder["delivered_percent"] - 100) <= 2
    (asked,) = on_feeder["asked"]
    assert asked["feeder"] == "town"
    assert asked["limit_w"] < 0
    assert asked["drawn_mean_w"] < 0
    assert all(site["fed_in_max_w"] > 0 for site in on_feeder["sites"])
    assert 0 < asked["acknowledged_s"] < 120
    assert 0 < asked["met_s"] < 120
    assert asked["reported_wh"] == pytest.approx(on_feeder["delivered_wh"], rel=0.03)
    assert asked["reported_fed_in_wh"] == pytest.approx(
        on_feeder["credits"]["metered_wh"], rel=0.03
    )


def test_a_feeders_event_keeps_needs_and_credits(on_feeder: dict[str, Any]) -> None:
    assert (on_feeder["left"], on_feeder["left_short"]) == (8, [])
    owed = on_feeder["credits"]
    assert owed["metered_wh"] == owed["credited_wh"] > 1_000
    assert on_feeder["export_utilisation_max"] <= 1.001


def test_faults_below_a_feeder_cost_neither_needs_nor_credits_nor_rows() -> None:
    faults = "drop,lost,crash,delay,duplicate"
    result = run(seed=3, vehicles=6, hours=0.25, faults=faults, on_feeder=True)
    assert result["violations"] == 0, (result["details"], result["replay"])
    assert result["left_short"] == []
    assert result["credits"]["metered_wh"] == result["credits"]["credited_wh"]
