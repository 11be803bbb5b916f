"""The round of `controlplane._core.allocate` once more, slow and obvious: the oracle of its tests.

Every level is found by bisection on the plain sum of every row, in exact fractions; nothing is
cached or updated. A page of this is meant to be checked by eye against the words of
`_core.pyi`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

LEVELS_PER_MA = 65_536
"""The grid of fair levels; see `_core.pyi`."""


@dataclass(frozen=True)
class Problem:
    """A network and a demand, as plain lists; meanings as in `_core.pyi`."""

    node_parent: list[int]
    leaf_node: list[int]
    leaf_phases: list[int]
    capacity_ma: list[list[int]]
    min_ma: list[int]
    max_ma: list[int]
    step_ma: list[int]
    weight: list[int]
    tier: list[int]
    rank: list[int]

    @property
    def leaves(self) -> list[int]:
        return list(range(len(self.leaf_node)))

    @property
    def rows(self) -> list[int]:
        return list(range(3 * len(self.node_parent)))

    def capacity_of(self, row: int) -> int:
        return max(0, self.capacity_ma[row // 3][row % 3])

    def rows_of(self, leaf: int) -> list[int]:
        """From the connector's own node upwards, L1 to L3 on each."""
        rows = []
        node = self.leaf_node[leaf]
        while node != -1:
            rows += [3 * node + phase for phase in range(3) if self.leaf_phases[leaf] >> phase & 1]
            node = self.node_parent[node]
        return rows

    def depth_and_phase(self, row: int) -> tuple[int, int]:
        node, depth = row // 3, 0
        while self.node_parent[node] != -1:
            node, depth = self.node_parent[node], depth + 1
        return depth, row % 3

    def loads(self, current: Sequence[int] | Sequence[Fraction]) -> list[int | Fraction]:
        loads: list[int | Fraction] = [0 for _ in self.rows]
        for leaf in self.leaves:
            for row in self.rows_of(leaf):
                loads[row] += current[leaf]
        return loads

    def fits(self, current: Sequence[int] | Sequence[Fraction]) -> bool:
        return not self.overloaded(current)

    def overloaded(self, current: Sequence[int] | Sequence[Fraction]) -> set[int]:
        loads = self.loads(current)
        return {row for row in self.rows if loads[row] > self.capacity_of(row)}


@dataclass(frozen=True)
class Solution:
    current_ma: list[int]
    binding_row: list[int]
    admitted: list[bool]
    row_load_ma: list[int]


def solve(problem: Problem) -> Solution:
    current, admitted, binding = _admit(problem)
    for tier in sorted(set(problem.tier)):
        rising = [
            leaf
            for leaf in problem.leaves
            if problem.tier[leaf] == tier
            and admitted[leaf]
            and current[leaf] < problem.max_ma[leaf]
        ]
        while rising:
            reached, filled = fill(problem, current, rising, levels_per_ma=LEVELS_PER_MA)
            for leaf in rising:
                current[leaf] = _accepted(problem, leaf, reached[leaf], current[leaf])
            by_loss = sorted(
                rising, key=lambda leaf: (current[leaf] - reached[leaf], problem.rank[leaf], leaf)
            )
            for leaf in by_loss:
                if problem.fits(_raised(problem, current, leaf)):
                    current = _raised(problem, current, leaf)
            for leaf in rising:
                if binding[leaf] == -1:
                    binding[leaf] = filled.get(leaf, -1)
                if current[leaf] == problem.max_ma[leaf]:
                    binding[leaf] = -1
            rising = [
                leaf
                for leaf in rising
                if current[leaf] < problem.max_ma[leaf]
                and problem.fits(_raised(problem, current, leaf))
            ]
    loads = [int(load) for load in problem.loads(current)]
    return Solution(current, binding, admitted, loads)


def _admit(problem: Problem) -> tuple[list[int], list[bool], list[int]]:
    current = [0 for _ in problem.leaves]
    admitted = [True for _ in problem.leaves]
    binding = [-1 for _ in problem.leaves]
    for leaf in sorted(
        problem.leaves, key=lambda leaf: (problem.tier[leaf], problem.rank[leaf], leaf)
    ):
        with_it = [*current]
        with_it[leaf] = problem.min_ma[leaf]
        full = problem.overloaded(with_it)
        if full:
            admitted[leaf] = False
            binding[leaf] = next(row for row in problem.rows_of(leaf) if row in full)
        else:
            current = with_it
    return current, admitted, binding


def _raised(problem: Problem, current: list[int], leaf: int) -> list[int]:
    """`current` with this leaf at the next current it accepts."""
    step = problem.step_ma[leaf]
    above = (current[leaf] // step + 1) * step
    return [*current[:leaf], min(above, problem.max_ma[leaf]), *current[leaf + 1 :]]


def _accepted(problem: Problem, leaf: int, reached: Fraction, has: int) -> int:
    """The largest current the connector accepts up to `reached`."""
    step = problem.step_ma[leaf]
    most = problem.max_ma[leaf]
    return max(has, most if reached == most else int(reached // step) * step)


def fill(
    problem: Problem, current: list[int], rising: list[int], *, levels_per_ma: int
) -> tuple[list[Fraction], dict[int, int]]:
    """Weighted max-min of `rising`, from what they have up to their maximums.

    The level rises by one unit at a time for everyone that is not stopped. Where a level overloads
    rows, everybody below one of them stays at the level before: below the one nearest to the root
    first, L1 before L2, then it is tried again.

    Returns what each has reached, and the row that stopped each that one stopped."""
    stopped: dict[int, Fraction] = {}
    by_row: dict[int, int] = {}

    def at(level: int) -> list[Fraction]:
        values = [Fraction(value) for value in current]
        for leaf in rising:
            share = Fraction(problem.weight[leaf] * level, levels_per_ma)
            values[leaf] = stopped.get(
                leaf, min(max(share, Fraction(current[leaf])), Fraction(problem.max_ma[leaf]))
            )
        return values

    top = levels_per_ma * max(problem.max_ma)
    level = 0
    while not problem.fits(at(top)):
        low, high = level, top
        while high - low > 1:
            middle = (low + high) // 2
            if problem.fits(at(middle)):
                low = middle
            else:
                high = middle
        level = low
        row = min(problem.overloaded(at(high)), key=problem.depth_and_phase)
        reached = at(level)
        for leaf in rising:
            if row in problem.rows_of(leaf) and leaf not in stopped:
                if reached[leaf] < problem.max_ma[leaf]:
                    by_row[leaf] = row
                stopped[leaf] = reached[leaf]
    return at(top), by_row
