"""What `loadstar bench plan` says of itself and of HiGHS."""

import sys

import pytest

from controlplane.bench import plan


def test_a_plan_is_measured_beside_highs() -> None:
    pytest.importorskip("highspy")
    result = plan.run(60, slots=24, highs=True)
    assert result["violations"] == 0
    assert result["bound"] <= result["highs_cost"] + 1e-6 * abs(result["cost"])
    assert result["highs_finished"]
    assert result["ratio"] == pytest.approx(result["highs_ms"] / result["cold_ms"], abs=0.1)
    assert result["gap"] <= 1e-3
    assert result["not_measured"] == {}


def test_where_highs_is_stopped_its_time_is_called_a_lower_bound() -> None:
    pytest.importorskip("highspy")
    result = plan.run(400, slots=96, highs=True, highs_timeout_s=0.05)
    assert result["highs_finished"] is False
    assert result["highs_ms"] == 50
    assert result["highs_cost"] is None
    assert "lower bounds" in result["not_measured"]["highs_cost"]
    assert result["violations"] == 0


def test_a_plan_is_measured_without_highs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "highspy", None)
    result = plan.run(40, slots=24, highs=True)
    assert result["ratio"] is None
    assert "not installed" in result["not_measured"]["ratio"]
    assert result["violations"] == 0


def test_sizes_that_make_no_day_are_refused() -> None:
    with pytest.raises(ValueError, match="at least 20"):
        plan.run(10)
