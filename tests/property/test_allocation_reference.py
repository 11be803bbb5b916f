"""The Rust round against its slow reference, bit for bit, and against laws that need none.

What must not change when a round is changed in a known way is in the tests of the crate."""

from __future__ import annotations

import dataclasses
from fractions import Fraction

import numpy as np
from allocation_cases import allocate, capacity, demand, network, one_row, problems
from allocation_reference import Problem, Solution, fill, one_way, solve
from hypothesis import example, given, settings
from hypothesis import strategies as st

from controlplane import _core

PLAIN = frozenset({"tiers", "steps"})


def as_solution(result: _core.Allocation) -> Solution:
    def listed(values: np.ndarray | None) -> list[int] | None:
        return None if values is None else values.reshape(-1).tolist()

    return Solution(
        current_ma=result.current_ma.tolist(),
        binding_row=result.binding_row.tolist(),
        admitted=result.admitted.tolist(),
        level=result.level.tolist(),
        reason=result.reason.tolist(),
        row_load_ma=result.row_load_ma.reshape(-1).tolist(),
        export_load_ma=listed(result.export_load_ma),
        combined_load=result.combined_load.tolist(),
        combined_export_load=listed(result.combined_export_load),
    )


@settings(max_examples=600, deadline=None)
@given(problems(), st.integers(1, 3))
# The maximum lies between two levels, and the row fills just there.
@example(one_row(9, max_ma=[10, 10], weight=[3, 1_000]), 1)
@example(one_row(10, max_ma=[10, 1], weight=[1_000, 1]), 1)
def test_allocation_equals_the_slow_reference(problem: Problem, threads: int) -> None:
    assert as_solution(allocate(problem, threads=threads)) == solve(problem)


@settings(max_examples=150, deadline=None)
@given(problems(nodes_max=20, leaves_max=25))
def test_larger_rounds_equal_the_slow_reference(problem: Problem) -> None:
    assert as_solution(allocate(problem, threads=2)) == solve(problem)


@settings(max_examples=300, deadline=None)
@given(problems(features=PLAIN))
def test_every_connector_below_its_maximum_has_a_bottleneck_certificate(problem: Problem) -> None:
    """But for the whole milliamperes that rounding moves: its binding row is full, nobody of a
    later tier has more than the minimum there, and nobody of its own tier that is above the minimum
    has a higher level."""
    problem = dataclasses.replace(problem, step_ma=[1 for _ in problem.leaves])
    result = allocate(problem)
    current = result.current_ma.tolist()
    loads = result.row_load_ma.reshape(-1).tolist()
    rounding = len(problem.leaves)
    for leaf in problem.leaves:
        row = int(result.binding_row[leaf])
        if not result.admitted[leaf]:
            assert row in problem.rows_of[leaf]
            continue
        if current[leaf] == problem.max_ma[leaf]:
            assert row == -1
            continue
        assert row in problem.rows_of[leaf]
        assert loads[row] > problem.limit_of(row) - rounding
        level = Fraction(current[leaf] + 1, problem.weight[leaf])
        for other in problem.leaves_on[row]:
            sure = current[other] - rounding
            if sure <= problem.min_ma[other]:
                continue
            assert problem.tier[other] <= problem.tier[leaf]
            if problem.tier[other] == problem.tier[leaf]:
                assert Fraction(sure, problem.weight[other]) <= level


@settings(max_examples=200, deadline=None)
@given(problems(features=frozenset()))
def test_levels_on_the_grid_stay_within_rounding_of_exact_fractions(problem: Problem) -> None:
    """A grid 2**64 times finer moves nobody by more than what rounding hands out."""
    result = allocate(problem)
    current = [
        least if admitted else 0
        for least, admitted in zip(problem.min_ma, result.admitted.tolist(), strict=True)
    ]
    rising = [leaf for leaf in problem.leaves if result.admitted[leaf] and problem.max_ma[leaf]]
    per_ma = 2**80
    exact, _ = fill(problem, current, rising, per_ma=per_ma)
    for leaf in problem.leaves:
        difference = Fraction(exact[leaf], per_ma) - int(result.current_ma[leaf])
        assert abs(difference) <= len(problem.leaves)


@settings(max_examples=300, deadline=None)
@given(problems(), st.data())
def test_check_finds_exactly_the_overloaded_rows(problem: Problem, data: st.DataObject) -> None:
    def any_current(leaf: int) -> int:
        ends = problem.min_ma[leaf], problem.max_ma[leaf]
        value = data.draw(st.just(0) | st.just(ends[0]) | st.integers(*ends))
        return -value if problem.discharge[leaf] else value

    current = [any_current(leaf) for leaf in problem.leaves]
    drawn = one_way(problem, exporting=False).overloaded([max(0, value) for value in current])
    fed = one_way(problem, exporting=True).overloaded([max(0, -value) for value in current])
    over = _core.check(
        network(problem), capacity(problem), demand(problem), np.array(current, np.int64)
    )
    assert over.tolist() == sorted({*drawn, *fed})
