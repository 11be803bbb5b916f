"""Plans beside the optimum of a linear program that shares nothing with the search."""

import numpy as np
import pytest

from controlplane import _core
from controlplane.bench import plan_problem, plan_program
from controlplane.bench.plan_proof import horizon, judge

pytest.importorskip("highspy")


@pytest.mark.parametrize("block", range(6))
def test_the_optimum_lies_between_the_bound_and_the_plan(block: int) -> None:
    for seed in range(20 * block, 20 * block + 20):
        for verdict in judge(horizon(seed)):
            assert verdict.proven, (seed, verdict)
            assert verdict.closed, (seed, verdict)


@pytest.mark.parametrize("seed", [200_509, 1_000_091, 1_000_189, 1_002_861])
def test_a_horizon_that_was_not_closed_once_is_closed(seed: int) -> None:
    """Long steps that lead in rings, a demand charge of nothing, a battery that tapers all day, a
    peak that costs more than all energy."""
    for verdict in judge(horizon(seed, large=seed % 10 == 9)):
        assert verdict.proven, verdict
        assert verdict.closed, verdict


def test_a_day_of_real_sessions_is_planned_to_a_thousandth_of_the_optimum() -> None:
    day = plan_problem.build(100, slots=24)
    plan = _core.plan(day.problem())
    solved = plan_program.solve(
        node_parent=day.node_parent,
        leaf_node=day.leaf_node,
        leaf_phases=day.leaf_phases,
        limits=day.limits,
        meters=day.meters,
        fleet=day.fleet,
        slots=day.slots,
        slot_s=day.slot_s,
        late_price=day.late_price,
        method="ipm",
    )
    assert plan.bound <= solved.cost <= plan.cost <= solved.cost + 1e-3 * abs(plan.cost)
    assert not _core.check_plan(day.problem(), plan.current_ma)


def test_the_next_plan_begins_where_the_last_one_ended() -> None:
    day = plan_problem.build(400)
    plan = _core.plan(day.problem())
    later, start = day.one_slot_later(plan, seed=1)
    warm, cold = _core.plan(later.problem(), start=start), _core.plan(later.problem())
    assert warm.steps < cold.steps / 2
    assert not _core.check_plan(later.problem(), warm.current_ma)
    assert warm.bound <= cold.cost
    assert cold.bound <= warm.cost


@pytest.mark.parametrize("timeout_s", [0.0, 0.001])
def test_a_plan_out_of_time_is_still_safe_and_its_gap_true(timeout_s: float) -> None:
    day = plan_problem.build(400)
    hasty = _core.plan(day.problem(), timeout_s=timeout_s)
    whole = _core.plan(day.problem())
    assert hasty.steps < whole.steps
    assert not _core.check_plan(day.problem(), hasty.current_ma)
    assert hasty.bound <= whole.cost
    assert hasty.cost >= whole.bound
    assert hasty.cost - hasty.bound > whole.cost - whole.bound


def test_the_plan_of_batteries_that_taper_is_the_same_on_any_number_of_threads() -> None:
    day = plan_problem.build(400)
    day.fleet["taper_from_wh"] = day.fleet["room_wh"] * 8 // 10
    day.fleet["taper_ma"] = day.fleet["max_ma"] // 10
    problem = day.problem()
    one = _core.plan(problem, steps=60)
    for threads in (2, 3, 5):
        other = _core.plan(problem, steps=60, threads=threads)
        assert np.array_equal(one.current_ma, other.current_ma)
        assert np.array_equal(one.import_price, other.import_price)
        assert np.array_equal(one.taper_price, other.taper_price)
        assert (one.cost, one.bound, one.steps) == (other.cost, other.bound, other.steps)
    assert not _core.check_plan(problem, one.current_ma)


def test_the_checker_sees_a_row_that_is_too_full() -> None:
    day = plan_problem.build(400)
    everyone_ma = np.repeat(day.fleet["max_ma"][:, None], day.slots, axis=1).astype(np.int32)
    faults = _core.check_plan(day.problem(), everyone_ma)
    assert any(fault.startswith("node 0 import line 0") for fault in faults)
    assert any("more than it can do" in fault for fault in faults)
    assert any("battery out of bounds" in fault for fault in faults)
