"""`loadstar bench plan`: how fast the horizon plan is, how good, and beside what.

Timed are calls from Python, arrays in, arrays out, on two threads: a plan from nothing, and the
plan of the next slot from that of the last. Every plan is checked by a path of its own. Where it is
wanted, HiGHS solves the same program in the same run by its interior point method, the faster one
here; its optimum must lie between the bound and the cost. Where it is not done in time, its time so
far is said to be no more than that: a lower bound."""

from __future__ import annotations

import os
import platform
import resource
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from controlplane import _core
from controlplane.bench import plan_program
from controlplane.bench.plan_problem import Horizon, build
from controlplane.errors import TimedOut, Unavailable

__all__ = ["run"]

_THREADS = 2
_REPEATS = 5
_PART_S = 20.0
_HIGHS_TIMEOUT_S = 600.0
_AGREEMENT = 1e-6
"""How far HiGHS's optimum, exact to its own tolerances, may be outside, as a part of it."""


def run(
    vehicles: int,
    *,
    slots: int = 96,
    highs: bool = False,
    highs_timeout_s: float = _HIGHS_TIMEOUT_S,
    seed: int = 1,
    progress: Callable[[str], object] = lambda _: None,
) -> dict[str, Any]:
    """Measure everything.

    Args:
        vehicles: sessions of the day, 20 and up.
        slots: parts of the day.
        highs: also solve it with HiGHS.
        highs_timeout_s: when HiGHS is stopped.
        seed: of the problem.
        progress: is told what is measured next.

    Returns:
        What `docs/benchmarks.md` lists. A figure that was not taken is None, and `not_measured`
        says why. `gap` is the larger one of both plans; `violations` counts what is wrong: faults
        of plans, results that differ by threads, an optimum of HiGHS outside its bounds.

    Raises:
        ValueError: a size out of range.
    """
    progress(f"building a day of {vehicles:,} vehicles")
    horizon = build(vehicles, slots=slots, seed=seed)
    problem = horizon.problem()
    progress("planning from nothing")
    plan, cold_ms, cold_cpu_ms = _timed(lambda: _core.plan(problem, threads=_THREADS))
    progress("planning from the last plan")
    later, start = horizon.one_slot_later(plan, seed)
    later_problem = later.problem()
    warm, warm_ms, warm_cpu_ms = _timed(
        lambda: _core.plan(later_problem, start=start, threads=_THREADS)
    )
    peak_rss_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1_024
    progress("checking")
    violations = len(_core.check_plan(problem, plan.current_ma))
    violations += len(_core.check_plan(later_problem, warm.current_ma))
    alone = _core.plan(problem, threads=1)
    violations += int(not np.array_equal(alone.current_ma, plan.current_ma))
    result: dict[str, Any] = {
        "vehicles": vehicles,
        "slots": slots,
        "rows": horizon.rows,
        "cold_ms": round(cold_ms, 2),
        "cold_cpu_ms": round(cold_cpu_ms, 2),
        "warm_ms": round(warm_ms, 2),
        "warm_cpu_ms": round(warm_cpu_ms, 2),
        "cold_steps": plan.steps,
        "warm_steps": warm.steps,
        "gap": max(_gap(plan), _gap(warm)),
        "cost": plan.cost,
        "bound": plan.bound,
        "peak_rss_mb": round(peak_rss_mb, 1),
        "cores": os.cpu_count() or 1,
        "machine": platform.machine(),
        "load_average": round(os.getloadavg()[0], 2),
    }
    if highs:
        progress("solving with HiGHS")
        result |= _highs(horizon, plan, cold_ms, highs_timeout_s)
    else:
        result |= _no_highs("not asked for")
    result["violations"] = violations + result.pop("disagreements")
    return result


def _gap(plan: _core.Plan) -> float:
    return (plan.cost - plan.bound) / abs(plan.cost)


def _timed(plan: Callable[[], _core.Plan]) -> tuple[_core.Plan, float, float]:
    """The plan, and the median time and processor time of a few runs, as many as there is time
    for."""
    until_s = time.perf_counter() + _PART_S
    taken: list[tuple[float, float]] = []
    while True:
        before_ns, cpu_ns = time.perf_counter_ns(), time.process_time_ns()
        found = plan()
        after = (time.perf_counter_ns() - before_ns, time.process_time_ns() - cpu_ns)
        taken.append((after[0] / 1e6, after[1] / 1e6))
        if len(taken) >= _REPEATS or time.perf_counter() > until_s:
            wall_ms, cpu_ms = np.median(np.array(taken), axis=0).tolist()
            return found, wall_ms, cpu_ms


def _no_highs(why: str) -> dict[str, Any]:
    nothing = dict.fromkeys(("highs_ms", "highs_cpu_ms", "highs_finished", "highs_cost", "ratio"))
    return {**nothing, "disagreements": 0, "not_measured": {"ratio": why}}


def _highs(horizon: Horizon, plan: _core.Plan, cold_ms: float, timeout_s: float) -> dict[str, Any]:
    try:
        solved = plan_program.solve(
            node_parent=horizon.node_parent,
            leaf_node=horizon.leaf_node,
            leaf_phases=horizon.leaf_phases,
            limits=horizon.limits,
            meters=horizon.meters,
            fleet=horizon.fleet,
            slots=horizon.slots,
            slot_s=horizon.slot_s,
            late_price=horizon.late_price,
            timeout_s=timeout_s,
            method="ipm",
        )
    except TimedOut as error:
        stopped = {"highs_cost": f"{error.message}: highs_ms and ratio are lower bounds"}
        least_ms = 1e3 * timeout_s
        least = {"highs_ms": least_ms, "ratio": round(least_ms / cold_ms, 1)}
        return {**_no_highs(""), **least, "highs_finished": False, "not_measured": stopped}
    except Unavailable as error:
        return _no_highs(error.message)
    return {
        "highs_ms": round(1e3 * solved.wall_s, 1),
        "highs_cpu_ms": round(1e3 * solved.cpu_s, 1),
        "highs_finished": True,
        "highs_cost": solved.cost,
        "ratio": round(1e3 * solved.wall_s / cold_ms, 1),
        "disagreements": int(not _agrees(plan, solved.cost)),
        "not_measured": {},
    }


def _agrees(plan: _core.Plan, optimum: float) -> bool:
    slack = _AGREEMENT * abs(optimum)
    return plan.bound - slack <= optimum <= plan.cost + slack
