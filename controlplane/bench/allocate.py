"""`loadstar bench allocate`: how fast a round of the allocation core is, and beside what.

Timed are calls from Python, arrays in, arrays out: a whole round, a pass that only checks it, one
connector's change, and two threads where the network has several trees. In the same run the fair
shares of a problem with one tier are computed by two methods that share no code with the core,
and must agree with it: repeated linear programs, and progressive filling in NumPy."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from controlplane import _core
from controlplane.bench import linear_programs, progressive_filling
from controlplane.bench.round_problem import (
    Problem,
    another_max_ma,
    build,
    crossings,
    violations,
)
from controlplane.errors import TimedOut, Unavailable

__all__ = ["run"]

_ONE_FEEDER_CONNECTORS = 100_000
_CONNECTORS_PER_FEEDER = 10_000
"""Beyond what one feeder carries, a network is a forest of feeders of this size."""
_PART_S = 10.0
"""What no part takes much more than, whatever the size; a single call may."""
_CHANGES = 2_000
_LP_CONNECTORS = 1_000
_LP_TIMEOUT_S = 60.0
_NUMPY_CONNECTORS = 100_000
_BASELINE_REPEATS = 5
_LEVELS_PER_MA = 65_536
_AGREEMENT_MA = 0.5
"""How far a fair share of the core may be from the continuous one. Rows stop on a grid of levels of
1/65,536 mA per unit of weight, and what one keeps back by that others may give: thousandths of a
milliampere here. Anything near a step of 1 mA would be a mistake."""


def run(
    connectors: int,
    *,
    feeders: int | None = None,
    repeats: int = 200,
    seed: int = 1,
    progress: Callable[[str], object] = lambda _: None,
) -> dict[str, Any]:
    """Measure everything; nothing but the network's size makes it longer than a few minutes.

    Args:
        connectors: 10 and up for each feeder.
        feeders: trees of the network, 1 and up; None for one up to 100,000 connectors, and for one
            for every 10,000 beyond.
        repeats: how many rounds and checks are timed, 1 and up; fewer where ten seconds are over.
        seed: of the network and of the changes.
        progress: is told what is measured next.

    Returns:
        What `docs/benchmarks.md` lists. A figure that could not be taken is None, and
        `not_measured` says why. `violations` counts what is wrong: rows over their capacity,
        currents a connector does not accept, results that differ by threads or by changes from a
        full round, fair shares that a baseline contradicts.

    Raises:
        ValueError: a size out of range.
    """
    if feeders is None:
        many = connectors > _ONE_FEEDER_CONNECTORS
        feeders = connectors // _CONNECTORS_PER_FEEDER if many else 1
    if repeats < 1:
        raise ValueError(f"{repeats} repeats: at least 1")
    progress(f"building a network of {connectors:,} connectors, trees: {feeders:,}")
    problem = build(connectors, feeders=feeders, seed=seed)
    network = problem.network()
    result: dict[str, Any] = {
        "connectors": connectors,
        "rows": problem.capacity_ma.size,
        "trees": feeders,
        "violations": 0,
        "not_measured": {},
    }
    result |= _machine()
    parts: list[tuple[str, Callable[[], dict[str, Any]]]] = [
        ("whole rounds", lambda: _rounds(problem, network, repeats)),
        ("two threads", lambda: _threads(problem, network, repeats)),
        ("one connector's change", lambda: _changes("change", problem, network, seed)),
        (
            "one connector's change where feeders have room",
            lambda: _changes("change_with_room", problem.with_room(), network, seed),
        ),
        ("linear programs", lambda: _linear_programs(min(connectors, _LP_CONNECTORS), seed)),
        ("filling in NumPy", lambda: _numpy(min(connectors, _NUMPY_CONNECTORS), seed)),
    ]
    for name, measure in parts:
        progress(f"measuring {name}")
        measured = measure()
        result["violations"] += measured.pop("violations", 0)
        result["not_measured"] |= measured.pop("not_measured", {})
        result |= measured
    return result


def _machine() -> dict[str, Any]:
    return {
        "cores": os.cpu_count() or 1,
        "machine": platform.machine(),
        "python": platform.python_version(),
        "load_average": round(os.getloadavg()[0], 2),
    }


def _rounds(problem: Problem, network: _core.Network, repeats: int) -> dict[str, Any]:
    given = problem.allocate(network)

    def allocate() -> _core.Allocation:
        return problem.allocate(network)

    def inside_ms() -> float:
        return _core.time_rounds(network, *problem.inputs(), rounds=1)[0] / 1e6

    def check() -> NDArray[np.int32]:
        return _core.check(network, *problem.inputs(), given.current_ma)

    on_processor_ms = _timed(allocate, time.thread_time_ns)
    taken_ms = _sample(repeats, _timed(allocate), inside_ms, on_processor_ms)
    solve_ms, core_ms, cpu_ms = taken_ms.T
    check_ms = _sample(repeats, _timed(check))
    return {
        "solve_ms": _rounded(np.median(solve_ms)),
        "solve_min_ms": _rounded(solve_ms.min()),
        "solve_cpu_ms": _rounded(np.median(cpu_ms)),
        "check_ms": _rounded(np.median(check_ms)),
        "ratio": round(float(np.median(solve_ms) / np.median(check_ms)), 2),
        "python_overhead_percent": round(100 * (float(np.median(solve_ms / core_ms)) - 1), 2),
        "violations": violations(problem, given.current_ma) + check().size,
    }


def _threads(problem: Problem, network: _core.Network, repeats: int) -> dict[str, Any]:
    nothing = {"two_threads_ms": None, "threads_speedup": None}
    if problem.feeders == 1:
        return nothing | {"not_measured": {"threads_speedup": "one tree is one thread's work"}}
    if (os.cpu_count() or 1) < 2:
        return nothing | {"not_measured": {"threads_speedup": "this machine has one core"}}

    def allocate(threads: int) -> _core.Allocation:
        return problem.allocate(network, threads=threads)

    taken_ms = _sample(repeats, _timed(lambda: allocate(1)), _timed(lambda: allocate(2)))
    one_ms, two_ms = np.median(taken_ms, axis=0)
    return {
        "two_threads_ms": _rounded(two_ms),
        "threads_speedup": round(float(one_ms / two_ms), 2),
        "violations": _differences(allocate(1), allocate(2)),
    }


def _changes(key: str, problem: Problem, network: _core.Network, seed: int) -> dict[str, Any]:
    """A connector at random unplugs, or wants another current than before."""
    random = np.random.default_rng(seed)
    least_ma = problem.wanted["min_ma"]
    min_ma, max_ma = least_ma.copy(), problem.wanted["max_ma"].copy()
    allocator = _core.Allocator(network, *problem.inputs())
    allocator.solve()

    def change_us() -> tuple[float, float]:
        leaf = int(random.integers(problem.connectors))
        max_ma[leaf] = to_max_ma = another_max_ma(random, int(max_ma[leaf]))
        min_ma[leaf] = to_min_ma = min(to_max_ma, int(least_ma[leaf]))
        before_ns = time.perf_counter_ns(), time.thread_time_ns()
        allocator.set_connector(leaf, min_ma=to_min_ma, max_ma=to_max_ma)
        allocator.solve()
        after_ns = time.perf_counter_ns(), time.thread_time_ns()
        return (after_ns[0] - before_ns[0]) / 1e3, (after_ns[1] - before_ns[1]) / 1e3

    taken_us, cpu_us = _repeated(_CHANGES, change_us).T
    changed = replace(problem, wanted=problem.wanted | {"min_ma": min_ma, "max_ma": max_ma})
    return {
        f"{key}_count": taken_us.size,
        f"{key}_us_p50": round(float(np.percentile(taken_us, 50)), 1),
        f"{key}_us_p99": round(float(np.percentile(taken_us, 99)), 1),
        f"{key}_cpu_us_p99": round(float(np.percentile(cpu_us, 99)), 1),
        "violations": _differences(allocator.allocation(), changed.allocate(network)),
    }


def _linear_programs(connectors: int, seed: int) -> dict[str, Any]:
    problem = build(connectors, step_ma=1, seed=seed)
    crossed = crossings(problem)
    currents_ma, programs = np.zeros(0), 0

    def fill() -> None:
        nonlocal currents_ma, programs
        currents_ma, programs = linear_programs.fill(problem, crossed, timeout_s=_LP_TIMEOUT_S)

    try:
        lp_ms = _sample(_BASELINE_REPEATS, _timed(fill))
    except (TimedOut, Unavailable) as error:
        keys = "lp_connectors", "lp_programs", "lp_ms", "lp_ratio", "lp_difference_ma"
        return dict.fromkeys(keys) | {"not_measured": {"lp_ratio": error.message}}
    solve_ms, difference_ma = _beside(problem, currents_ma)
    return {
        "lp_connectors": connectors,
        "lp_programs": programs,
        "lp_ms": _rounded(np.median(lp_ms)),
        "lp_ratio": round(float(np.median(lp_ms)) / solve_ms, 1),
        "lp_difference_ma": _rounded(difference_ma.max()),
        "violations": int((difference_ma > _AGREEMENT_MA).sum()),
    }


def _numpy(connectors: int, seed: int) -> dict[str, Any]:
    problem = build(connectors, step_ma=1, seed=seed)
    crossed = crossings(problem)

    def fill() -> NDArray[np.float64]:
        return progressive_filling.fill(problem, crossed)

    numpy_ms = _sample(_BASELINE_REPEATS, _timed(fill))
    solve_ms, difference_ma = _beside(problem, fill())
    return {
        "numpy_connectors": connectors,
        "numpy_ms": _rounded(np.median(numpy_ms)),
        "numpy_ratio": round(float(np.median(numpy_ms)) / solve_ms, 1),
        "numpy_difference_ma": _rounded(difference_ma.max()),
        "violations": int((difference_ma > _AGREEMENT_MA).sum()),
    }


def _beside(
    problem: Problem, baseline_ma: NDArray[np.float64]
) -> tuple[float, NDArray[np.float64]]:
    """The core's median time for a baseline's problem, and how far each connector is from it: the
    fair share of those that a row stops, since the others may have come to their maximum by what
    rounding left over; and what anyone was given less than the baseline, but for one step."""
    network, wanted = problem.network(), problem.wanted
    given = problem.allocate(network)
    solve_ms = _sample(20 * _BASELINE_REPEATS, _timed(lambda: problem.allocate(network)))
    share_ma = wanted["weight"] * given.level / _LEVELS_PER_MA
    share_ma = np.clip(share_ma, wanted["min_ma"], wanted["max_ma"])
    short_ma = baseline_ma - given.current_ma - wanted["step_ma"]
    apart_ma = np.where(given.binding_row >= 0, np.abs(share_ma - baseline_ma), 0.0)
    return float(np.median(solve_ms)), np.maximum(apart_ma, short_ma)


def _differences(one: _core.Allocation, other: _core.Allocation) -> int:
    """Connectors whose results are not the same bits."""
    same = one.current_ma == other.current_ma
    same &= one.binding_row == other.binding_row
    same &= one.level == other.level
    same &= one.reason == other.reason
    return int((~same).sum())


def _timed(
    call: Callable[[], object], clock_ns: Callable[[], int] = time.perf_counter_ns
) -> Callable[[], float]:
    """The call, giving how many milliseconds it took; what it returns is freed within that."""

    def measure() -> float:
        before_ns = clock_ns()
        call()
        return (clock_ns() - before_ns) / 1e6

    return measure


def _sample(repeats: int, *measures: Callable[[], float]) -> NDArray[np.float64]:
    """Shape (repeats, measures). What is to be compared is measured in turn, so that both see the
    same neighbours."""
    return _repeated(repeats, lambda: [measure() for measure in measures])


def _repeated(repeats: int, measure: Callable[[], Sequence[float]]) -> NDArray[np.float64]:
    """A row of figures for each repeat, or as many rows as ten seconds allow, at least one."""
    until_s = time.perf_counter() + _PART_S
    rows = [measure()]
    while len(rows) < repeats and time.perf_counter() < until_s:
        rows.append(measure())
    return np.array(rows)


def _rounded(value: float) -> float:
    return round(float(value), 4)
