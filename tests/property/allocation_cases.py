"""Small rounds of every kind for the tests of the allocation core, and the way to hand them to it.

Currents go from a few milliamperes, where every tie and rounding edge occurs, to the largest that
are accepted."""

from __future__ import annotations

from typing import Any

import numpy as np
from allocation_reference import KINDS, Problem
from hypothesis import strategies as st
from numpy.typing import ArrayLike, NDArray

from controlplane import _core

COMBINED_LIMIT_MAX = 2**46

ALL_FEATURES = frozenset(
    {"combined", "export", "keep_on", "liability", "rotation", "sets", "steps", "tiers"}
)

Coefficient = list[tuple[int, int]]


def network(problem: Problem) -> _core.Network:
    return _core.Network(
        node_parent=np.array(problem.node_parent, np.int32),
        leaf_node=np.array(problem.leaf_node, np.int32),
        leaf_phases=np.array(problem.leaf_phases, np.uint8),
        leaf_rotation=_unless_all(0, problem.leaf_rotation, np.uint8),
        leaf_kind=None if problem.leaf_kind is None else np.array(problem.leaf_kind, np.uint8),
        combined_node=_if_any(problem.combined_node, np.int32),
        combined_coefficient=_if_any(problem.combined_coefficient, np.int32),
    )


def capacity(problem: Problem) -> _core.Capacity:
    return _core.Capacity(
        import_ma=_rows(problem.capacity_ma),
        export_ma=_unless_all(0, _rows(problem.export_capacity_ma), np.int64),
        combined=_if_any(problem.combined_limit, np.int64),
        combined_export=_unless_all(0, problem.combined_export_limit, np.int64),
    )


def demand(problem: Problem) -> _core.Demand:
    """What is optional and says nothing is left out."""
    sets = [members for members in problem.setpoints_ma if members is not None]
    index = iter(range(len(sets)))
    set_of = [-1 if members is None else next(index) for members in problem.setpoints_ma]
    start = [sum(map(len, sets[:at])) for at in range(len(sets) + 1)] if sets else []
    return _core.Demand(
        min_ma=np.array(problem.min_ma, np.int64),
        max_ma=np.array(problem.max_ma, np.int64),
        step_ma=np.array(problem.step_ma, np.int64),
        weight=np.array(problem.weight, np.int64),
        tier=np.array(problem.tier, np.uint8),
        rank=np.array(problem.rank, np.int64),
        keep_on=_unless_all(False, problem.keep_on, np.bool_),
        discharge=_unless_all(False, problem.discharge, np.bool_),
        liability_ma=_unless_all(0, problem.liability_ma, np.int64),
        setpoint_set=_unless_all(-1, set_of, np.int32),
        setpoint_start=_if_any(start, np.int32),
        setpoint_ma=_if_any([value for members in sets for value in members], np.int64),
    )


def _rows(values: list[list[int]]) -> NDArray[np.int64]:
    return np.array(values, np.int64).reshape(-1, 3)


def _if_any(values: list[Any], dtype: type[np.generic]) -> NDArray[Any] | None:
    return np.array(values, dtype) if values else None


def _unless_all(default: int, values: ArrayLike, dtype: type[np.generic]) -> NDArray[Any] | None:
    array = np.array(values, dtype)
    return None if (array == default).all() else array


def allocate(problem: Problem, *, threads: int = 1) -> _core.Allocation:
    return _core.allocate(network(problem), capacity(problem), demand(problem), threads=threads)


def one_row(
    capacity_ma: int,
    *,
    max_ma: list[int],
    step_ma: int = 1,
    weight: list[int] | None = None,
    min_ma: list[int] | None = None,
) -> Problem:
    """Connectors on L1 of a single node."""
    leaves = len(max_ma)
    return Problem(
        node_parent=[-1],
        leaf_node=[0] * leaves,
        leaf_phases=[1] * leaves,
        leaf_rotation=[0] * leaves,
        leaf_kind=None,
        combined_node=[],
        combined_coefficient=[],
        capacity_ma=[[capacity_ma] * 3],
        export_capacity_ma=[[0] * 3],
        combined_limit=[],
        combined_export_limit=[],
        min_ma=min_ma or [0] * leaves,
        max_ma=max_ma,
        step_ma=[step_ma] * leaves,
        weight=weight or [1] * leaves,
        tier=[0] * leaves,
        rank=[0] * leaves,
        keep_on=[False] * leaves,
        discharge=[False] * leaves,
        liability_ma=[0] * leaves,
        setpoints_ma=[None] * leaves,
    )


def power_row() -> Coefficient:
    """Watts: 230 V for every line against neutral, 400 V between lines."""
    phases = [(230 * kind.bit_count(), 0) for kind in range(8)]
    return _of_all_kinds([*phases, (400, 0), (400, 0), (400, 0)])


def imbalance_row(over: int, under: int) -> Coefficient:
    """What is drawn on one line and not on another."""
    return _of_all_kinds([(int(kind >> over & 1 > kind >> under & 1), 0) for kind in range(8)])


def line_row() -> Coefficient:
    """The current of L1, of loads against neutral and between lines, in 1 / 10,000."""
    phases = [(10_000 * (kind & 1), 0) for kind in range(8)]
    return _of_all_kinds([*phases, (8_660, 5_000), (0, 0), (8_660, -5_000)])


def delta_wye_row() -> Coefficient:
    """A primary line of a delta-wye transformer 480 to 208 V: that of L1 less that of L2."""
    l1, l2 = (4_333, 0), (2_167, 3_753)
    both = (l1[0] + l2[0], l1[1] + l2[1])
    phases = [(0, 0), l1, l2, both, (0, 0), l1, l2, both]
    return _of_all_kinds([*phases, (7_505, 4_333), (0, 4_333), (3_753, -2_167)])


def _of_all_kinds(coefficient: Coefficient) -> Coefficient:
    return [*coefficient, *[(0, 0)] * (KINDS - len(coefficient))]


def coefficients() -> st.SearchStrategy[Coefficient]:
    """The practical forms, and vectors in all directions, opposite ones among them."""
    part = st.sampled_from([0, 0, 1, -1, 2, -3, 7])
    largest = st.sampled_from([0, 2**20, -(2**20), 2**20 - 1])
    any_vectors = [
        st.lists(st.tuples(one, one), min_size=11, max_size=11) for one in (part, largest)
    ]
    lines = st.permutations(range(3))
    return st.one_of(
        st.builds(power_row),
        lines.map(lambda line: imbalance_row(line[0], line[1])),
        st.builds(line_row),
        st.builds(delta_wye_row),
        *(one.map(_of_all_kinds) for one in any_vectors),
    )


def one_sided_coefficients() -> st.SearchStrategy[Coefficient]:
    """Rows of whose load a linear program can tell: nothing on them points elsewhere."""
    lines = st.permutations(range(3))
    parts = st.lists(st.sampled_from([0, 0, 1, 2, 3]), min_size=11, max_size=11)
    return st.one_of(
        st.builds(power_row),
        lines.map(lambda line: imbalance_row(line[0], line[1])),
        parts.map(lambda each: _of_all_kinds([(part, 0) for part in each])),
    )


ANY_COEFFICIENTS = coefficients()


@st.composite
def trees(draw: st.DrawFn, nodes_max: int) -> list[int]:
    """Parents of nodes in any order: forests, bushes, and chains."""
    chain = draw(st.integers(0, 9)) == 0
    nodes = draw(st.integers(8, 12)) if chain else draw(st.integers(1, nodes_max))
    order = draw(st.permutations(range(nodes)))
    roots_too = draw(st.booleans())
    node_parent = [-1] * nodes
    for at in range(1, nodes):
        lowest = max(0, at - 2) if chain else (-1 if roots_too else 0)
        up = draw(st.integers(lowest, at - 1))
        node_parent[order[at]] = order[up] if up >= 0 else -1
    return node_parent


@st.composite
def problems(
    draw: st.DrawFn,
    *,
    features: frozenset[str] = ALL_FEATURES,
    nodes_max: int = 6,
    leaves_max: int = 9,
    scales: tuple[int, ...] = (1, 7, 1_000, 25_000_000),
    combined: st.SearchStrategy[Coefficient] = ANY_COEFFICIENTS,
) -> Problem:
    """Rounds with any of `features`, each of them only sometimes."""
    used = draw(st.sets(st.sampled_from(sorted(features)))) if features else set()
    scale = draw(st.sampled_from(scales))
    node_parent = draw(trees(nodes_max))
    nodes = len(node_parent)
    leaves = draw(st.integers(1, leaves_max))

    def per_leaf(values: st.SearchStrategy[Any], *, feature: str = "", default: Any = None) -> Any:
        if feature and feature not in used:
            return [default] * leaves
        return draw(st.lists(values, min_size=leaves, max_size=leaves))

    # Few different capacities, so that rows fill together.
    few = draw(st.lists(st.integers(-2, 120), min_size=1, max_size=6))
    capacity = (st.sampled_from(few) | st.integers(0, 120)).map(lambda value: value * scale)
    capacities = st.lists(
        st.lists(capacity, min_size=3, max_size=3), min_size=nodes, max_size=nodes
    )
    max_ma = [scale * value for value in per_leaf(st.integers(0, 40))]
    min_share = per_leaf(st.sampled_from([0, 0, 15, 50, 100]))
    steps = st.sampled_from([1, 3, scale, 8 * scale, 100])
    members = st.sampled_from([(8, 16, 24, 32), (6, 10, 13), (1, 2), (20,)]) | st.lists(
        st.integers(1, 40), min_size=1, max_size=4, unique=True
    ).map(sorted)
    sets = st.none() | members.map(lambda values: [scale * value for value in values])
    liability = st.just(0) | st.integers(-30, 40).map(lambda value: value * scale)

    combined_coefficient = (
        draw(st.lists(combined, min_size=1, max_size=3)) if "combined" in used else []
    )
    rows = len(combined_coefficient)

    def combined_limits() -> list[int]:
        return [
            min(
                draw(st.integers(0, 120)) * scale * max(max(map(abs, one)) for one in coefficient)
                + draw(st.integers(0, 1)),
                COMBINED_LIMIT_MAX,
            )
            for coefficient in combined_coefficient
        ]

    exports = "export" in used
    return Problem(
        node_parent=node_parent,
        leaf_node=per_leaf(st.integers(0, nodes - 1)),
        leaf_phases=per_leaf(st.sampled_from([1, 2, 4, 7, 7, 3, 6, 5])),
        leaf_rotation=per_leaf(st.integers(0, 5), feature="rotation", default=0),
        leaf_kind=per_leaf(st.integers(0, 10)) if rows and draw(st.booleans()) else None,
        combined_node=[draw(st.integers(0, nodes - 1)) for _ in combined_coefficient],
        combined_coefficient=combined_coefficient,
        capacity_ma=draw(capacities),
        export_capacity_ma=draw(capacities) if exports else [[0] * 3 for _ in range(nodes)],
        combined_limit=combined_limits(),
        combined_export_limit=combined_limits() if exports else [0] * rows,
        min_ma=[most * share // 100 for most, share in zip(max_ma, min_share, strict=True)],
        max_ma=max_ma,
        step_ma=per_leaf(steps, feature="steps", default=1),
        weight=per_leaf(st.sampled_from([1, 1, 1, 2, 3, 10, 1_000])),
        tier=per_leaf(st.integers(0, 2), feature="tiers", default=0),
        rank=per_leaf(st.integers(-2, 2)),
        keep_on=per_leaf(st.booleans(), feature="keep_on", default=False),
        discharge=per_leaf(st.booleans(), feature="export", default=False),
        liability_ma=per_leaf(liability, feature="liability", default=0),
        setpoints_ma=per_leaf(sets, feature="sets", default=None),
    )
