"""The round of `controlplane._core.allocate` once more, slow and obvious: the oracle of its tests.

Every level is found by bisection on the plain sum of every row, every combined row by trying every
subset of kinds, all in whole numbers of any size; nothing is cached or updated but what never
changes. A page of this is meant to be checked by eye against the words of `_core.pyi`."""

from __future__ import annotations

import dataclasses
import enum
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from math import isqrt

LEVELS_PER_MA = 65_536
"""The grid of fair levels; see `_core.pyi`."""

KINDS = 16

LINES_BEHIND_CONDUCTORS = ["RST", "RTS", "SRT", "STR", "TRS", "TSR"]
"""Phase rotation as OCPP 2.0.1 part 2 names it (`PhaseRotation`), by code."""


class Reason(enum.IntEnum):
    MAXIMUM = 0
    ADMISSION = 1
    MINIMUM = 2
    SHARE = 3
    LEFTOVER = 4


@dataclass(frozen=True)
class Problem:
    """A network and a demand, as plain lists; meanings as in `_core.pyi`."""

    node_parent: list[int]
    leaf_node: list[int]
    leaf_phases: list[int]
    leaf_rotation: list[int]
    leaf_kind: list[int] | None
    combined_node: list[int]
    combined_coefficient: list[list[tuple[int, int]]]
    capacity_ma: list[list[int]]
    export_capacity_ma: list[list[int]]
    combined_limit: list[int]
    combined_export_limit: list[int]
    min_ma: list[int]
    max_ma: list[int]
    step_ma: list[int]
    weight: list[int]
    tier: list[int]
    rank: list[int]
    keep_on: list[bool]
    discharge: list[bool]
    liability_ma: list[int]
    setpoints_ma: list[list[int] | None]
    """For each connector the members of its set, or None where `step_ma` rules."""

    @property
    def leaves(self) -> range:
        return range(len(self.leaf_node))

    @property
    def plain_rows(self) -> range:
        return range(3 * len(self.node_parent))

    @property
    def combined_rows(self) -> range:
        return range(len(self.plain_rows), len(self.plain_rows) + len(self.combined_node))

    def lines_of(self, leaf: int) -> list[int]:
        lines = LINES_BEHIND_CONDUCTORS[self.leaf_rotation[leaf]]
        return sorted("RST".index(lines[at]) for at in range(3) if self.leaf_phases[leaf] >> at & 1)

    def kind_of(self, leaf: int) -> int:
        if self.leaf_kind is None:
            return sum(1 << line for line in self.lines_of(leaf))
        return self.leaf_kind[leaf]

    @cached_property
    def rows_of(self) -> list[list[int]]:
        """The rows each connector counts on: from its own node upwards, on each node L1 to L3, then
        the combined ones that have a coefficient for its kind."""
        rows: list[list[int]] = []
        for leaf in self.leaves:
            rows.append([])
            node = self.leaf_node[leaf]
            while node != -1:
                rows[leaf] += [3 * node + line for line in self.lines_of(leaf)]
                for row, at, coefficient in self._combined():
                    if at == node and coefficient[self.kind_of(leaf)] != (0, 0):
                        rows[leaf].append(row)
                node = self.node_parent[node]
        return rows

    @cached_property
    def leaves_on(self) -> list[list[int]]:
        return [
            [leaf for leaf in self.leaves if row in self.rows_of[leaf]]
            for row in (*self.plain_rows, *self.combined_rows)
        ]

    def _combined(self) -> list[tuple[int, int, list[tuple[int, int]]]]:
        return [
            *zip(self.combined_rows, self.combined_node, self.combined_coefficient, strict=True)
        ]

    def from_the_root(self, row: int) -> tuple[int, int]:
        """Rows nearer to the root come first, on one node L1 to L3, then combined by index."""
        node, place = divmod(row, 3)
        if row in self.combined_rows:
            node, place = self.combined_node[row - len(self.plain_rows)], row
        depth = 0
        while self.node_parent[node] != -1:
            node, depth = self.node_parent[node], depth + 1
        return depth, place

    def limit_of(self, row: int) -> int:
        if row in self.plain_rows:
            return max(0, self.capacity_ma[row // 3][row % 3])
        return self.combined_limit[row - len(self.plain_rows)]

    def squared_load(self, row: int, current: Sequence[int]) -> int:
        """The square of what a row bears of these currents."""
        if row in self.plain_rows:
            return sum(current[leaf] for leaf in self.leaves_on[row]) ** 2
        coefficient = self.combined_coefficient[row - len(self.plain_rows)]
        of_kind = [0] * KINDS
        for leaf in self.leaves_on[row]:
            of_kind[self.kind_of(leaf)] += current[leaf]
        sums = [(0, 0)]  # over every subset of kinds
        for (x, y), total in zip(coefficient, of_kind, strict=True):
            if total != 0:
                sums += [(a + x * total, b + y * total) for a, b in sums]
        return max(a * a + b * b for a, b in sums)

    def overloaded(self, current: Sequence[int], per_ma: int = 1) -> list[int]:
        """Rows on which something is drawn and which, with their liabilities, bear more than their
        limit. `current` is in units of 1 / `per_ma` milliampere."""
        with_liability = [
            drawn + per_ma * max(0, liable)
            for drawn, liable in zip(current, self.liability_ma, strict=True)
        ]
        return [
            row
            for row in (*self.plain_rows, *self.combined_rows)
            if any(current[leaf] for leaf in self.leaves_on[row])
            and self.squared_load(row, with_liability) > (per_ma * self.limit_of(row)) ** 2
        ]

    def fits(self, current: Sequence[int], per_ma: int = 1) -> bool:
        return not self.overloaded(current, per_ma)

    def choices(self, leaf: int) -> Sequence[int]:
        """The currents above 0 that a connector accepts, but for its minimum and maximum where it
        is steered in steps."""
        members = self.setpoints_ma[leaf]
        if members is None:
            return range(self.step_ma[leaf], self.max_ma[leaf], self.step_ma[leaf])
        return [value for value in members if self.min_ma[leaf] <= value <= self.max_ma[leaf]]

    def least(self, leaf: int) -> int:
        if self.setpoints_ma[leaf] is None or self.min_ma[leaf] == 0:
            return self.min_ma[leaf]
        return min(self.choices(leaf), default=0)

    def most(self, leaf: int) -> int:
        if self.setpoints_ma[leaf] is None:
            return self.max_ma[leaf]
        return max(self.choices(leaf), default=0)

    def accepted_above(self, leaf: int, current: int) -> int:
        choices = self.choices(leaf)
        above = bisect_right(choices, current)
        return choices[above] if above < len(choices) else self.most(leaf)

    def accepted_up_to(self, leaf: int, current: int) -> int:
        if current >= self.most(leaf):
            return self.most(leaf)
        choices = self.choices(leaf)
        above = bisect_right(choices, current)
        return choices[above - 1] if above > 0 else 0

    def raised(self, current: list[int], leaf: int) -> list[int]:
        """`current` with this leaf at the next current it accepts."""
        return [*current[:leaf], self.accepted_above(leaf, current[leaf]), *current[leaf + 1 :]]

    def may_rise(self, current: list[int], leaf: int) -> bool:
        return current[leaf] < self.most(leaf) and self.fits(self.raised(current, leaf))


@dataclass(frozen=True)
class Solution:
    current_ma: list[int]
    binding_row: list[int]
    admitted: list[bool]
    level: list[int]
    reason: list[Reason]
    row_load_ma: list[int]
    export_load_ma: list[int] | None
    combined_load: list[int]
    combined_export_load: list[int] | None


def one_way(problem: Problem, *, exporting: bool) -> Problem:
    """Import or export on its own, in magnitudes: nothing of one is netted against the other."""
    part = [discharge == exporting for discharge in problem.discharge]
    sign = -1 if exporting else 1
    return dataclasses.replace(
        problem,
        capacity_ma=problem.export_capacity_ma if exporting else problem.capacity_ma,
        combined_limit=problem.combined_export_limit if exporting else problem.combined_limit,
        min_ma=[least if mine else 0 for least, mine in zip(problem.min_ma, part, strict=True)],
        max_ma=[most if mine else 0 for most, mine in zip(problem.max_ma, part, strict=True)],
        liability_ma=[max(0, sign * liable) for liable in problem.liability_ma],
    )


def solve(problem: Problem) -> Solution:
    drawn = _solve_one_way(one_way(problem, exporting=False))
    fed = _solve_one_way(one_way(problem, exporting=True))
    exports = any(problem.discharge) or min(problem.liability_ma) < 0

    def each(drawn: list[int], fed: list[int]) -> list[int]:
        return [fed[at] if problem.discharge[at] else drawn[at] for at in problem.leaves]

    return Solution(
        current_ma=each(drawn.current_ma, [-current for current in fed.current_ma]),
        binding_row=each(drawn.binding_row, fed.binding_row),
        admitted=[bool(one) for one in each([*drawn.admitted], [*fed.admitted])],
        level=each(drawn.level, fed.level),
        reason=[Reason(one) for one in each([*drawn.reason], [*fed.reason])],
        row_load_ma=drawn.row_load_ma,
        export_load_ma=fed.row_load_ma if exports else None,
        combined_load=drawn.combined_load,
        combined_export_load=fed.combined_load if exports else None,
    )


def _solve_one_way(problem: Problem) -> Solution:
    current, refused_by = _admit(problem)
    stopped_by: dict[int, tuple[int, int]] = {}
    for tier in sorted(set(problem.tier)):
        rising = [
            leaf
            for leaf in problem.leaves
            if problem.tier[leaf] == tier
            and leaf not in refused_by
            and current[leaf] < problem.most(leaf)
        ]
        while rising:
            reached, stops = fill(problem, current, rising, per_ma=LEVELS_PER_MA)
            stopped_by = stops | stopped_by  # what the first filling says stands
            for leaf in rising:
                whole = reached[leaf] // LEVELS_PER_MA
                current[leaf] = max(current[leaf], problem.accepted_up_to(leaf, whole))
            lost = {leaf: reached[leaf] - LEVELS_PER_MA * current[leaf] for leaf in rising}
            for leaf in sorted(rising, key=lambda leaf: (-lost[leaf], problem.rank[leaf], leaf)):
                if problem.may_rise(current, leaf):
                    current = problem.raised(current, leaf)
            rising = [leaf for leaf in rising if problem.may_rise(current, leaf)]
    return _explained(problem, current, refused_by, stopped_by)


def _admit(problem: Problem) -> tuple[list[int], dict[int, int]]:
    """Everyone's minimum where it still fits, and the row without room for it of the others."""
    current = [0 for _ in problem.leaves]
    refused_by = {}
    for leaf in sorted(
        problem.leaves,
        key=lambda leaf: (problem.tier[leaf], not problem.keep_on[leaf], problem.rank[leaf], leaf),
    ):
        with_it = [*current[:leaf], problem.least(leaf), *current[leaf + 1 :]]
        full = problem.overloaded(with_it)
        if full:
            refused_by[leaf] = next(row for row in problem.rows_of[leaf] if row in full)
        else:
            current = with_it
    return current, refused_by


def fill(
    problem: Problem, current: list[int], rising: list[int], *, per_ma: int
) -> tuple[list[int], dict[int, tuple[int, int]]]:
    """Weighted max-min of `rising`, from what they have up to their maximums.

    The level rises by one unit (1 / `per_ma` milliampere per unit of weight) at a time for everyone
    that is not stopped. Where a level overloads rows, everybody on one of them stays at the level
    before: on the one nearest to the root first, L1 before L2, then it is tried again.

    Returns what each has reached, in the same unit, and the row and the level that stopped each."""
    stopped: dict[int, int] = {}
    stops: dict[int, tuple[int, int]] = {}

    def at(level: int) -> list[int]:
        values = [per_ma * value for value in current]
        for leaf in rising:
            share = problem.weight[leaf] * level
            free = min(max(share, per_ma * current[leaf]), per_ma * problem.most(leaf))
            values[leaf] = stopped.get(leaf, free)
        return values

    top = per_ma * max(problem.max_ma)
    level = 0
    while not problem.fits(at(top), per_ma):
        low, high = level, top
        while high - low > 1:
            middle = (low + high) // 2
            if problem.fits(at(middle), per_ma):
                low = middle
            else:
                high = middle
        level = low
        row = min(problem.overloaded(at(high), per_ma), key=problem.from_the_root)
        reached = at(level)
        for leaf in rising:
            if row in problem.rows_of[leaf] and leaf not in stopped:
                if reached[leaf] < per_ma * problem.most(leaf):
                    stops[leaf] = (row, level)
                stopped[leaf] = reached[leaf]
    return at(top), stops


def _explained(
    problem: Problem,
    current: list[int],
    refused_by: dict[int, int],
    stopped_by: dict[int, tuple[int, int]],
) -> Solution:
    row = [-1 for _ in problem.leaves]
    level = [0 for _ in problem.leaves]
    reason = [Reason.MAXIMUM for _ in problem.leaves]
    for leaf in problem.leaves:
        weight, has = problem.weight[leaf], LEVELS_PER_MA * current[leaf]
        if leaf in refused_by:
            row[leaf], reason[leaf] = refused_by[leaf], Reason.ADMISSION
        elif current[leaf] == problem.most(leaf):
            level[leaf] = -1
        else:
            row[leaf], level[leaf] = stopped_by[leaf]
            share, least = weight * level[leaf], LEVELS_PER_MA * problem.least(leaf)
            if has > max(share, least):
                reason[leaf] = Reason.LEFTOVER
            else:
                reason[leaf] = Reason.MINIMUM if share <= least else Reason.SHARE
    drawn = [given + liable for given, liable in zip(current, problem.liability_ma, strict=True)]
    return Solution(
        current_ma=current,
        binding_row=row,
        admitted=[leaf not in refused_by for leaf in problem.leaves],
        level=level,
        reason=reason,
        row_load_ma=[isqrt(problem.squared_load(row, drawn)) for row in problem.plain_rows],
        export_load_ma=None,
        combined_load=[_root_up(problem.squared_load(row, drawn)) for row in problem.combined_rows],
        combined_export_load=None,
    )


def _root_up(square: int) -> int:
    """Rounded up, so that a load above its limit shows as such."""
    return isqrt(square - 1) + 1 if square else 0
