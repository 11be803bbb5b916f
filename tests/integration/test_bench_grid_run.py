"""The benches of grid events and site rounds, small: what they print must be true whatever the
figures are."""

from __future__ import annotations

import pytest

from controlplane.bench import grid_event, site_round


@pytest.mark.timeout(240)
def test_forty_chargers_give_up_half_and_get_it_back() -> None:
    result = grid_event.run(chargers=40, ramp_s=3.0, sample_interval_s=1.0)
    assert result["violations"] == 0, result["first_violations"]
    assert result["sites"] == 4
    assert result["limit_w"] == result["drawn_before_w"] // 2
    assert result["reductions"] + result["later_reductions"] >= 40, "everybody gives something"
    assert result["raises"] >= 40, "and gets it back"
    assert result["raises_judged"] >= 40
    assert result["acknowledged_ms"] >= result["station_answer_ms"]
    assert result["ramp_end_s"] >= 3.0
    # The meters can only show what has happened.
    assert result["measured_within_s"] >= 2.0
    assert result["drawn_within_s"] is not None
    assert result["recovery_ms"] > 0


@pytest.mark.timeout(240)
def test_every_event_at_a_site_is_followed_by_its_limits() -> None:
    result = site_round.run(connectors=40, events=6)
    assert result["violations"] == 0, result["first_violations"]
    assert result["arrival_events"] == result["departure_events"] == 6
    assert (result["arrival_frames"], result["building_frames"]) == (3, 30)
    for event in ("arrival", "departure", "building"):
        assert result[f"{event}_incomplete"] == 0, event
        assert 0 < result[f"{event}_p50_ms"] <= result[f"{event}_max_ms"], event
