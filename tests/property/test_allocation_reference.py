"""The Rust round against its slow reference, bit for bit, and against laws that need none."""

from __future__ import annotations

import dataclasses
from fractions import Fraction
from typing import TypeVar

import numpy as np
import pytest
from allocation_reference import Problem, fill, solve
from hypothesis import example, given, settings
from hypothesis import strategies as st

from controlplane import _core

T = TypeVar("T")


def build(problem: Problem) -> _core.Network:
    return _core.Network(
        node_parent=np.array(problem.node_parent, np.int32),
        leaf_node=np.array(problem.leaf_node, np.int32),
        leaf_phases=np.array(problem.leaf_phases, np.uint8),
    )


def capacity(problem: Problem) -> _core.Capacity:
    return _core.Capacity(import_ma=np.array(problem.capacity_ma, np.int64).reshape(-1, 3))


def demand(problem: Problem) -> _core.Demand:
    return _core.Demand(
        min_ma=np.array(problem.min_ma, np.int64),
        max_ma=np.array(problem.max_ma, np.int64),
        step_ma=np.array(problem.step_ma, np.int64),
        weight=np.array(problem.weight, np.int64),
        tier=np.array(problem.tier, np.uint8),
        rank=np.array(problem.rank, np.int64),
    )


def allocate(problem: Problem) -> _core.Allocation:
    return _core.allocate(build(problem), capacity(problem), demand(problem))


@st.composite
def problems(
    draw: st.DrawFn, *, fine_steps: bool = False, tiers: int = 3, nodes_max: int = 6
) -> Problem:
    """Small networks of every shape; currents from a few milliamperes, where every tie and
    rounding edge occurs, to real ones."""
    nodes = draw(st.integers(1, nodes_max))
    leaves = draw(st.integers(1, 9))
    scale = draw(st.sampled_from([1, 7, 1_000]))
    order = draw(st.permutations(range(nodes)))
    node_parent = [-1] * nodes
    for at in range(1, nodes):
        up = draw(st.integers(-1 if draw(st.booleans()) else 0, at - 1))
        node_parent[order[at]] = order[up] if up >= 0 else -1

    def per_leaf(values: st.SearchStrategy[int]) -> list[int]:
        return draw(st.lists(values, min_size=leaves, max_size=leaves))

    max_ma = [scale * value for value in per_leaf(st.integers(0, 40))]
    min_share = per_leaf(st.sampled_from([0, 0, 15, 50, 100]))
    steps = [1] if fine_steps else [1, 1, 3, 8 * scale, 100]
    capacity = st.integers(-2, 120).map(lambda value: value * scale)
    return Problem(
        node_parent=node_parent,
        leaf_node=per_leaf(st.integers(0, nodes - 1)),
        leaf_phases=per_leaf(st.sampled_from([1, 2, 4, 7, 7, 3, 6])),
        capacity_ma=draw(
            st.lists(st.lists(capacity, min_size=3, max_size=3), min_size=nodes, max_size=nodes)
        ),
        min_ma=[most * share // 100 for most, share in zip(max_ma, min_share, strict=True)],
        max_ma=max_ma,
        step_ma=per_leaf(st.sampled_from(steps)),
        weight=per_leaf(st.sampled_from([1, 1, 1, 2, 3, 10, 1_000])),
        tier=per_leaf(st.integers(0, tiers - 1)),
        rank=per_leaf(st.integers(-2, 2)),
    )


def one_row(capacity_ma: int, *, max_ma: list[int], step_ma: int, weight: list[int]) -> Problem:
    leaves = len(max_ma)
    return Problem(
        node_parent=[-1],
        leaf_node=[0] * leaves,
        leaf_phases=[1] * leaves,
        capacity_ma=[[capacity_ma] * 3],
        min_ma=[0] * leaves,
        max_ma=max_ma,
        step_ma=[step_ma] * leaves,
        weight=weight,
        tier=[0] * leaves,
        rank=[0] * leaves,
    )


@settings(max_examples=400, deadline=None)
@given(problems())
# The maximum lies between two levels, and the row fills just there.
@example(one_row(9, max_ma=[10, 10], step_ma=1, weight=[3, 1_000]))
@example(one_row(10, max_ma=[10, 1], step_ma=1, weight=[1_000, 1]))
def test_allocation_equals_the_slow_reference(problem: Problem) -> None:
    given_by_core, expected = allocate(problem), solve(problem)
    assert given_by_core.current_ma.tolist() == expected.current_ma
    assert given_by_core.binding_row.tolist() == expected.binding_row
    assert given_by_core.admitted.tolist() == expected.admitted
    assert given_by_core.row_load_ma.reshape(-1).tolist() == expected.row_load_ma


@settings(max_examples=300, deadline=None)
@given(problems())
def test_nothing_exceeds_its_limits(problem: Problem) -> None:
    result = allocate(problem)
    current = result.current_ma.tolist()
    assert problem.fits(current)
    assert result.row_load_ma.reshape(-1).tolist() == problem.loads(current)
    for leaf in problem.leaves:
        if not result.admitted[leaf]:
            assert current[leaf] == 0
            continue
        assert problem.min_ma[leaf] <= current[leaf] <= problem.max_ma[leaf]
        assert (
            current[leaf] in (problem.min_ma[leaf], problem.max_ma[leaf])
            or current[leaf] % problem.step_ma[leaf] == 0
        )


@settings(max_examples=300, deadline=None)
@given(problems(fine_steps=True))
def test_every_connector_below_its_maximum_has_a_bottleneck_certificate(problem: Problem) -> None:
    """But for the whole milliamperes that rounding moves: its binding row is full, nobody of a
    later tier has more than the minimum there, and nobody of its own tier that is above the minimum
    has a higher level."""
    result = allocate(problem)
    current = result.current_ma.tolist()
    loads = problem.loads(current)
    rounding = len(problem.leaves)
    for leaf in problem.leaves:
        row = int(result.binding_row[leaf])
        if not result.admitted[leaf]:
            assert row in problem.rows_of(leaf)
            continue
        if current[leaf] == problem.max_ma[leaf]:
            assert row == -1
            continue
        assert row in problem.rows_of(leaf)
        assert loads[row] > problem.capacity_of(row) - rounding
        level = Fraction(current[leaf] + 1, problem.weight[leaf])
        for other in problem.leaves:
            sure = current[other] - rounding
            if row not in problem.rows_of(other) or sure <= problem.min_ma[other]:
                continue
            assert problem.tier[other] <= problem.tier[leaf]
            if problem.tier[other] == problem.tier[leaf]:
                assert Fraction(sure, problem.weight[other]) <= level


@settings(max_examples=200, deadline=None)
@given(problems())
def test_nobody_can_be_raised_by_another_step(problem: Problem) -> None:
    result = allocate(problem)
    current = result.current_ma.tolist()
    for leaf in problem.leaves:
        step = problem.step_ma[leaf]
        above = min((current[leaf] // step + 1) * step, problem.max_ma[leaf])
        if result.admitted[leaf] and above > current[leaf]:
            assert not problem.fits([*current[:leaf], above, *current[leaf + 1 :]])


@settings(max_examples=200, deadline=None)
@given(problems(fine_steps=True, tiers=1))
def test_levels_on_the_grid_stay_within_rounding_of_exact_fractions(problem: Problem) -> None:
    """A grid 2**64 times finer moves nobody by more than what rounding hands out."""
    result = allocate(problem)
    current = [
        least if admitted else 0
        for least, admitted in zip(problem.min_ma, result.admitted.tolist(), strict=True)
    ]
    rising = [leaf for leaf in problem.leaves if result.admitted[leaf] and problem.max_ma[leaf]]
    exact, _ = fill(problem, current, rising, levels_per_ma=2**80)
    for leaf in problem.leaves:
        assert abs(int(result.current_ma[leaf]) - exact[leaf]) <= len(problem.leaves)


@settings(max_examples=200, deadline=None)
@given(problems(), st.data())
def test_the_order_of_nodes_and_connectors_does_not_matter(
    problem: Problem, data: st.DataObject
) -> None:
    """With ranks that differ, renaming everything renames the result."""
    problem = dataclasses.replace(problem, rank=problem.leaves)
    new_leaf = data.draw(st.permutations(problem.leaves))
    new_node = data.draw(st.permutations(range(len(problem.node_parent))))

    def by_leaf(values: list[int]) -> list[int]:
        return [values[new_leaf.index(leaf)] for leaf in range(len(new_leaf))]

    def by_node(values: list[T]) -> list[T]:
        return [values[new_node.index(node)] for node in range(len(new_node))]

    renamed = Problem(
        node_parent=[new_node[up] if up >= 0 else -1 for up in by_node(problem.node_parent)],
        leaf_node=[new_node[node] for node in by_leaf(problem.leaf_node)],
        leaf_phases=by_leaf(problem.leaf_phases),
        capacity_ma=by_node(problem.capacity_ma),
        min_ma=by_leaf(problem.min_ma),
        max_ma=by_leaf(problem.max_ma),
        step_ma=by_leaf(problem.step_ma),
        weight=by_leaf(problem.weight),
        tier=by_leaf(problem.tier),
        rank=by_leaf(problem.rank),
    )
    before, after = allocate(problem), allocate(renamed)
    assert after.current_ma.tolist() == by_leaf(before.current_ma.tolist())
    assert after.admitted.tolist() == [bool(value) for value in by_leaf(before.admitted.tolist())]
    assert after.binding_row.tolist() == by_leaf(
        [
            3 * new_node[row // 3] + row % 3 if row >= 0 else -1
            for row in before.binding_row.tolist()
        ]
    )


@settings(max_examples=100, deadline=None)
@given(problems())
def test_the_same_input_gives_the_same_bits(problem: Problem) -> None:
    first, second = allocate(problem), allocate(problem)
    for name in ("current_ma", "binding_row", "admitted", "row_load_ma"):
        assert np.array_equal(getattr(first, name), getattr(second, name))


@settings(max_examples=150, deadline=None)
@given(problems(), st.data())
def test_splitting_a_node_in_two_equal_rows_changes_nothing(
    problem: Problem, data: st.DataObject
) -> None:
    node = data.draw(st.integers(0, len(problem.node_parent) - 1))
    new = len(problem.node_parent)
    node_parent = [*problem.node_parent, problem.node_parent[node]]
    node_parent[node] = new
    split = dataclasses.replace(
        problem,
        node_parent=node_parent,
        capacity_ma=[*problem.capacity_ma, problem.capacity_ma[node]],
    )
    before, after = allocate(problem), allocate(split)
    assert before.current_ma.tolist() == after.current_ma.tolist()
    # Which of the two equal rows is named is open.
    named = [3 * node + row % 3 if row // 3 == new else row for row in after.binding_row.tolist()]
    assert before.binding_row.tolist() == named


@settings(max_examples=200, deadline=None)
@given(problems(), st.data())
def test_check_finds_exactly_the_overloaded_rows(problem: Problem, data: st.DataObject) -> None:
    current = [
        data.draw(st.just(0) | st.integers(problem.min_ma[leaf], problem.max_ma[leaf]))
        for leaf in problem.leaves
    ]
    over = _core.check(
        build(problem), capacity(problem), demand(problem), np.array(current, np.int64)
    )
    assert over.tolist() == sorted(problem.overloaded(current))


@pytest.mark.parametrize("scale", [2, 1_000])
@settings(max_examples=75, deadline=None)
@given(problem=problems(fine_steps=True))
def test_scaling_every_current_scales_the_result(problem: Problem, scale: int) -> None:
    """Scaled by whole numbers, everybody gets the scaled share, up to what rounding hands out."""
    scaled = dataclasses.replace(
        problem,
        capacity_ma=[[scale * value for value in row] for row in problem.capacity_ma],
        min_ma=[scale * value for value in problem.min_ma],
        max_ma=[scale * value for value in problem.max_ma],
        step_ma=[scale for _ in problem.leaves],
    )
    before, after = allocate(problem), allocate(scaled)
    assert before.admitted.tolist() == after.admitted.tolist()
    rounding = scale * len(problem.leaves) ** 2
    difference = after.current_ma - scale * before.current_ma
    assert np.abs(difference).max() <= rounding
