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


def test_a_plan_out_of_time_is_still_safe() -> None:
    day = plan_problem.build(400)
    plan = _core.plan(day.problem(), timeout_s=0.0)
    assert plan.steps == 1
    assert plan.bound <= plan.cost
    assert not _core.check_plan(day.problem(), plan.current_ma)


def test_the_checker_sees_a_row_that_is_too_full() -> None:
    day = plan_problem.build(400)
    everyone_ma = np.repeat(day.fleet["max_ma"][:, None], day.slots, axis=1).astype(np.int32)
    faults = _core.check_plan(day.problem(), everyone_ma)
    assert any(fault.startswith("node 0 import line 0") for fault in faults)
    assert any("more than it can do" in fault for fault in faults)
    assert any("battery out of bounds" in fault for fault in faults)
