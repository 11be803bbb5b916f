"""Weighted max-min by repeated linear programs, solved by HiGHS: the textbook way, on continuous
currents.

Each program raises the level that all open connectors share as far as it goes. Whoever cannot then
be raised, at the maximum or below a row that the least solution at this level fills, is fixed, and
the next program starts from the solution of the last. Fixing all of them at once, instead of those
whose dual value is not zero, takes fewer programs; primal simplex keeps the last basis feasible and
was the fastest of the solver's methods here."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from controlplane.bench.round_problem import Crossings, Problem
from controlplane.errors import TimedOut, Unavailable

if TYPE_CHECKING:
    from highspy import Highs

__all__ = ["fill"]

_PRIMAL_SIMPLEX = 4
_TOLERANCE_MA = 1e-3
"""Nearer than this a row is full: far above the rounding of 64-bit floats and what HiGHS allows
itself, far below what anyone could measure."""


def fill(
    problem: Problem, crossed: Crossings, *, timeout_s: float
) -> tuple[NDArray[np.float64], int]:
    """The continuous max-min currents in mA, shape (leaves,), and how many programs that took.

    One tier; all minimums must fit together. Steps are not rounded to.

    Raises:
        Unavailable: the solver is not installed, or gives no optimum.
        TimedOut: not done after `timeout_s`.
    """
    wanted = problem.wanted
    min_ma, max_ma, weight = wanted["min_ma"], wanted["max_ma"], wanted["weight"]
    capacity_ma = problem.capacity_ma.ravel()
    rows, leaves = capacity_ma.size, weight.size
    solver = _model(problem, crossed)
    until_s = time.perf_counter() + timeout_s
    current_ma = np.zeros(leaves)
    still_open = np.ones(leaves, np.bool_)
    programs = 0
    while still_open.any():
        level = _solve(solver, until_s - time.perf_counter(), timeout_s)
        programs += 1
        least_ma = np.where(still_open, np.clip(weight * level, min_ma, max_ma), current_ma)
        load_ma = np.bincount(crossed.row, least_ma[crossed.leaf], rows)
        is_full = capacity_ma - load_ma < _TOLERANCE_MA
        blocked = weight * level >= max_ma - _TOLERANCE_MA
        blocked[crossed.leaf[is_full[crossed.row]]] = True
        fixed = np.flatnonzero(blocked & still_open).astype(np.int32)
        if not fixed.size:
            raise Unavailable(f"program {programs} blocks nobody; HiGHS was not exact enough")
        current_ma[fixed] = least_ma[fixed]
        still_open[fixed] = False
        solver.changeColsBounds(fixed.size, fixed, current_ma[fixed], current_ma[fixed])
        free = np.full(fixed.size, np.inf)
        solver.changeRowsBounds(fixed.size, (rows + fixed).astype(np.int32), -free, free)
    return current_ma, programs


def _model(problem: Problem, crossed: Crossings) -> Highs:
    """Maximise the level: a column for each current and a last one for the level; the rows of the
    network, then `current - weight * level >= 0` for each connector."""
    try:
        from highspy import Highs  # noqa: PLC0415 - measured where it is installed
    except ImportError as error:
        raise Unavailable("highspy is not installed: pip install highspy") from error
    wanted = problem.wanted
    capacity_ma = problem.capacity_ma.ravel().astype(np.float64)
    rows, leaves = capacity_ma.size, problem.connectors
    solver = Highs()
    solver.silent()
    solver.setOptionValue("threads", 1)
    solver.setOptionValue("simplex_strategy", _PRIMAL_SIMPLEX)
    no_index, no_value = np.zeros(0, np.int32), np.zeros(0)
    solver.addCols(
        leaves + 1,
        np.append(np.zeros(leaves), -1.0),
        np.append(wanted["min_ma"], 0.0),
        np.append(wanted["max_ma"], np.inf),
        0,
        np.zeros(leaves + 1, np.int32),
        no_index,
        no_value,
    )
    by_row = np.argsort(crossed.row, kind="stable")
    before_row = np.searchsorted(crossed.row[by_row], np.arange(rows)).astype(np.int32)
    solver.addRows(
        rows,
        np.full(rows, -np.inf),
        capacity_ma,
        crossed.row.size,
        before_row,
        crossed.leaf[by_row].astype(np.int32),
        np.ones(crossed.row.size),
    )
    leaf = np.arange(leaves, dtype=np.int32)
    solver.addRows(
        leaves,
        np.zeros(leaves),
        np.full(leaves, np.inf),
        2 * leaves,
        2 * leaf,
        np.column_stack([leaf, np.full_like(leaf, leaves)]).ravel(),
        np.column_stack([np.ones(leaves), -wanted["weight"]]).ravel(),
    )
    return solver


def _solve(solver: Highs, left_s: float, timeout_s: float) -> float:
    """The highest level of those still open."""
    from highspy import HighsModelStatus  # noqa: PLC0415 - as above

    # HiGHS counts all runs of one instance together, so its own limit is set to what it has used
    # plus what is left.
    solver.setOptionValue("time_limit", solver.getRunTime() + max(0.0, left_s))
    solver.run()
    status = solver.getModelStatus()
    if status == HighsModelStatus.kTimeLimit:
        raise TimedOut(f"not done after {timeout_s:g} s")
    if status != HighsModelStatus.kOptimal:
        raise Unavailable(f"HiGHS ended with {solver.modelStatusToString(status)}")
    return float(solver.getSolution().col_value[-1])
