"""A figure is worth what its problem and its baselines are: the network must bind everywhere, the
baselines must be right, and what is wrong must be counted."""

from __future__ import annotations

import sys
from dataclasses import replace

import numpy as np
import pytest

from controlplane.bench import linear_programs, progressive_filling
from controlplane.bench.allocate import run
from controlplane.bench.round_problem import Problem, Wanted, build, crossings, violations
from controlplane.errors import TimedOut

LEVELS_PER_MA = 65_536

KEYS = {
    *("connectors", "rows", "trees", "violations", "not_measured"),
    *("cores", "machine", "python", "load_average"),
    *("solve_ms", "solve_min_ms", "solve_cpu_ms", "check_ms", "ratio"),
    "python_overhead_percent",
    *("two_threads_ms", "threads_speedup"),
    *("change_count", "change_us_p50", "change_us_p99", "change_cpu_us_p99"),
    *("change_with_room_count", "change_with_room_us_p50", "change_with_room_us_p99"),
    "change_with_room_cpu_us_p99",
    *("lp_connectors", "lp_programs", "lp_ms", "lp_ratio", "lp_difference_ma"),
    *("numpy_connectors", "numpy_ms", "numpy_ratio", "numpy_difference_ma"),
}


def one_panel() -> Problem:
    """Of 50 A, for a three-phase car, two one-phase ones on L1, and one on L2 that wants little."""
    whole = np.array([32_000, 32_000, 10_000, 8_000])
    wanted = Wanted(
        min_ma=np.full(4, 6_000),
        max_ma=whole,
        step_ma=np.ones(4, np.int64),
        weight=np.array([1, 2, 1, 1]),
        tier=np.zeros(4, np.uint8),
        rank=np.arange(4),
    )
    node_parent, leaf_node = np.array([-1], np.int32), np.zeros(4, np.int32)
    leaf_phases = np.array([7, 1, 1, 2], np.uint8)
    return Problem(node_parent, leaf_node, leaf_phases, np.full((1, 3), 50_000), wanted)


def test_baselines_solve_a_panel_that_can_be_worked_out_by_hand() -> None:
    problem = one_panel()
    # 10 A for the one that wants no more; 40 A on L1 are left for weights of 1 and 2.
    expected_ma = pytest.approx([40_000 / 3, 80_000 / 3, 10_000, 8_000])
    crossed = crossings(problem)
    assert list(progressive_filling.fill(problem, crossed)) == expected_ma
    assert list(linear_programs.fill(problem, crossed, timeout_s=10.0)[0]) == expected_ma


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize(("connectors", "feeders"), [(12, 1), (150, 1), (400, 5)])
def test_baselines_agree_with_each_other_and_with_the_core(
    connectors: int, feeders: int, seed: int
) -> None:
    problem = build(connectors, feeders=feeders, step_ma=1, seed=seed)
    crossed = crossings(problem)
    filled_ma = progressive_filling.fill(problem, crossed)
    programmed_ma, programs = linear_programs.fill(problem, crossed, timeout_s=10.0)
    assert programs > 1
    np.testing.assert_allclose(filled_ma, programmed_ma, atol=1e-3)
    given = problem.allocate(problem.network())
    wanted = problem.wanted
    share_ma = wanted["weight"] * given.level / LEVELS_PER_MA
    share_ma = np.clip(share_ma, wanted["min_ma"], wanted["max_ma"])
    stopped = given.binding_row >= 0
    assert stopped.any()
    np.testing.assert_allclose(share_ma[stopped], filled_ma[stopped], atol=0.1)
    assert (given.current_ma > filled_ma - 1.1).all()


def test_linear_programs_end_when_their_time_is_over() -> None:
    problem = build(150)
    with pytest.raises(TimedOut):
        linear_programs.fill(problem, crossings(problem), timeout_s=0.0)


@pytest.mark.parametrize(("connectors", "feeders"), [(2_000, 1), (4_000, 4)])
def test_the_network_binds_at_every_level_and_its_result_is_sound(
    connectors: int, feeders: int
) -> None:
    problem = build(connectors, feeders=feeders, seed=3)
    assert problem.feeders == feeders
    assert problem.network().leaves == connectors
    result = problem.allocate(problem.network())
    assert violations(problem, result.current_ma) == 0
    node = result.binding_row[result.binding_row >= 0] // 3
    parent = problem.node_parent[node]
    at_feeder = parent < 0
    at_site = ~at_feeder & (problem.node_parent[parent] < 0)
    assert at_feeder.any()
    assert at_site.any()
    assert (~at_feeder & ~at_site).any()


def test_the_same_seed_gives_the_same_problem() -> None:
    one, same, other = build(100, seed=1), build(100, seed=1), build(100, seed=2)
    assert np.array_equal(one.capacity_ma, same.capacity_ma)
    assert not np.array_equal(one.capacity_ma, other.capacity_ma)


def test_violations_are_seen() -> None:
    problem = build(200)
    result = problem.allocate(problem.network())
    capacity_ma = problem.capacity_ma.copy()
    capacity_ma[0] = result.row_load_ma[0] - 1
    lower = replace(problem, capacity_ma=capacity_ma)
    assert violations(lower, result.current_ma) == 3
    off_step_ma = result.current_ma.copy()
    off_step_ma[np.argmin(off_step_ma)] = 5_999
    assert violations(problem, off_step_ma) == 1


def test_a_run_measures_everything_and_tells_how_far_it_is() -> None:
    told: list[str] = []
    result = run(400, feeders=2, repeats=2, progress=told.append)
    assert set(result) == KEYS
    assert (result["connectors"], result["trees"], result["violations"]) == (400, 2, 0)
    assert result["change_count"] >= 1
    assert len(told) == 7


def test_what_could_not_be_measured_is_none_and_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "highspy", None)
    result = run(40, repeats=1)
    assert set(result) == KEYS
    assert result["lp_ratio"] is None
    assert "not installed" in result["not_measured"]["lp_ratio"]
    assert result["threads_speedup"] is None
    assert "one tree" in result["not_measured"]["threads_speedup"]
    assert result["violations"] == 0


def test_a_size_that_makes_no_network_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 10 each"):
        run(19, feeders=2)
    with pytest.raises(ValueError, match="at least 1"):
        run(10, repeats=0)
