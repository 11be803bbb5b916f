"""Weighted max-min by progressive filling in vectorised NumPy: what one would write without a core
of its own, and write well. It shares no code with the core and none of its rounding.

The common way raises one level and stops at every row that fills, a thousand times at ten thousand
connectors. Here all rows whose level is already certain stop in the same pass. The level at which a
row would be full if nothing else stopped anybody below it is a lower bound of its true one; where
it is also the least bound of every connector below that still grows then, it is the true one. So a
network takes about ten passes, each of a fixed number of operations on whole arrays, and no loop
over connectors or rows."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from controlplane.bench.round_problem import Crossings, Problem

__all__ = ["fill"]


@dataclass
class _Kinks:
    """Where the load of a row bends: a connector starts to grow there, or is at its maximum.

    Ordered by row, then level. `grow` is what the bend adds to the slope, `offset_ma` what the
    slope's change takes off the straight line through level 0."""

    row: NDArray[np.int64]
    leaf: NDArray[np.int64]
    level: NDArray[np.float64]
    grow: NDArray[np.int64]
    offset_ma: NDArray[np.int64]

    def keep(self, kept: NDArray[np.bool_]) -> None:
        self.row, self.leaf = self.row[kept], self.leaf[kept]
        self.level, self.grow = self.level[kept], self.grow[kept]
        self.offset_ma = self.offset_ma[kept]


def fill(problem: Problem, crossed: Crossings) -> NDArray[np.float64]:
    """Shape (leaves,): the continuous max-min currents in mA, each in [min_ma, max_ma].

    One tier; all minimums must fit together. Steps are not rounded to.
    """
    wanted = problem.wanted
    min_ma, max_ma, weight = wanted["min_ma"], wanted["max_ma"], wanted["weight"]
    full_level = max_ma / weight
    row, leaf = crossed
    rows = problem.capacity_ma.size
    # What is left above the minimums; exact, since sums of whole milliamperes stay below 2**53.
    room_ma = (problem.capacity_ma.ravel() - np.bincount(row, min_ma[leaf], rows)).astype(float)
    current_ma = max_ma.astype(np.float64)
    kinks = _kinks(problem, crossed)
    while leaf.size:
        row_level = _levels_if_alone(kinks, room_ma)
        first = _first_of_each(leaf)
        least = np.minimum.reduceat(row_level[row], first)
        leaf_level = np.full(weight.size, np.inf)
        leaf_level[leaf[first]] = least
        bound, own = leaf_level[leaf], row_level[row]
        at_max = full_level[leaf] <= bound
        held_back = np.zeros(rows, np.bool_)
        held_back[row[~at_max & (bound < own)]] = True
        certain = at_max | (own == bound) & ~held_back[row]
        stopped = np.zeros(weight.size, np.bool_)
        stopped[leaf[certain]] = True
        reached = np.clip(weight[stopped] * leaf_level[stopped], min_ma[stopped], max_ma[stopped])
        current_ma[stopped] = reached
        gone = stopped[leaf]
        room_ma -= np.bincount(row[gone], (current_ma - min_ma)[leaf[gone]], rows)
        row, leaf = row[~gone], leaf[~gone]
        kinks.keep(~stopped[kinks.leaf])
    return current_ma


def _kinks(problem: Problem, crossed: Crossings) -> _Kinks:
    wanted = problem.wanted
    min_ma, max_ma, weight = wanted["min_ma"], wanted["max_ma"], wanted["weight"]
    level = np.concatenate([min_ma / weight, max_ma / weight])
    # Sorted once for connectors, then as whole numbers for the many more crossings.
    by_level = np.argsort(level)
    place = np.empty_like(by_level)
    place[by_level] = np.arange(by_level.size)
    of_start, of_end = place[: weight.size], place[weight.size :]
    first = crossed.row * by_level.size
    keys = np.concatenate([first + of_start[crossed.leaf], first + of_end[crossed.leaf]])
    keys.sort()
    row, at = np.divmod(keys, by_level.size)
    kink = by_level[at]
    return _Kinks(
        row=row,
        leaf=kink % weight.size,
        level=level[kink],
        grow=np.concatenate([weight, -weight])[kink],
        offset_ma=np.concatenate([min_ma, -max_ma])[kink],
    )


def _levels_if_alone(kinks: _Kinks, room_ma: NDArray[np.float64]) -> NDArray[np.float64]:
    """Shape (rows,): the level at which each row would be full if no other stopped anybody;
    infinity where it carries all maximums."""
    first = _first_of_each(kinks.row)
    row = kinks.row[first]
    count = np.diff(first, append=kinks.row.size)
    grow, offset_ma = np.cumsum(kinks.grow), np.cumsum(kinks.offset_ma)
    # Sums run on from row to row; growing and stopping cancel in the slope, not in the offset.
    offset_ma -= np.repeat(offset_ma[first] - kinks.offset_ma[first], count)
    fits = grow * kinks.level - offset_ma <= np.repeat(room_ma[row], count)
    fitting = np.add.reduceat(fits, first, dtype=np.int64)
    # At a row's first kink nobody has more than the minimum yet, which fits.
    last = first + np.maximum(fitting, 1) - 1
    full = fitting < count
    level = np.full(room_ma.size, np.inf)
    level[row[full]] = (room_ma[row[full]] + offset_ma[last[full]]) / grow[last[full]]
    return level


def _first_of_each(ordered: NDArray[np.int64]) -> NDArray[np.intp]:
    """Where each run of equal values begins."""
    return np.flatnonzero(np.diff(ordered, prepend=-1))
