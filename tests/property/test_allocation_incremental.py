"""A stateful allocator against full rounds of the slow reference, through every change it takes.

Long sequences of changes, compared with full rounds of the core, are in the tests of the crate."""

from __future__ import annotations

from typing import Any

from allocation_cases import capacity, demand, network, problems
from allocation_reference import Problem, solve
from hypothesis import given, settings
from hypothesis import strategies as st
from test_allocation_reference import as_solution

from controlplane import _core

OF_CONNECTORS = (
    "min_ma", "max_ma", "step_ma", "weight", "tier", "rank", "keep_on", "discharge", "liability_ma",
)  # fmt: skip


def change(
    problem: Problem, allocator: _core.Allocator, *, wanted: Problem, data: st.DataObject
) -> None:
    """Take what `wanted` says of some element over into the problem and the allocator."""
    what = data.draw(st.sampled_from(["connector", "connector", "capacity", "combined"]))
    if what == "connector":
        leaf = data.draw(st.sampled_from([*problem.leaves]))
        names = {*data.draw(st.lists(st.sampled_from(OF_CONNECTORS), min_size=1))}
        if names & {"min_ma", "max_ma"}:
            names |= {"min_ma", "max_ma"}
        values: dict[str, Any] = {}
        for name in names:
            of_all = getattr(wanted, name)
            values[name] = of_all[leaf % len(of_all)]
        for name, value in values.items():
            getattr(problem, name)[leaf] = value
        allocator.set_connector(leaf, **values)
    elif what == "capacity":
        node = data.draw(st.integers(0, len(problem.node_parent) - 1))
        phase = data.draw(st.integers(0, 2))
        import_ma = wanted.capacity_ma[node % len(wanted.node_parent)][phase]
        export_ma = wanted.export_capacity_ma[node % len(wanted.node_parent)][phase]
        problem.capacity_ma[node][phase] = import_ma
        problem.export_capacity_ma[node][phase] = export_ma
        allocator.set_capacity(node, phase, import_ma=import_ma, export_ma=export_ma)
    elif problem.combined_limit:
        row = data.draw(st.integers(0, len(problem.combined_limit) - 1))
        problem.combined_limit[row] //= 2
        problem.combined_export_limit[row] //= 3
        allocator.set_combined(
            row,
            limit=problem.combined_limit[row],
            export_limit=problem.combined_export_limit[row],
        )


@settings(max_examples=150, deadline=None)
@given(problems(), problems(scales=(1, 7, 1_000)), st.data())
def test_every_change_gives_what_a_full_round_gives(
    problem: Problem, wanted: Problem, data: st.DataObject
) -> None:
    allocator = _core.Allocator(network(problem), capacity(problem), demand(problem))
    before = [0 for _ in problem.leaves]
    for _ in range(4):
        changed = allocator.solve().tolist()
        expected = solve(problem)
        assert as_solution(allocator.allocation()) == expected
        assert sorted(changed) == [
            leaf for leaf in problem.leaves if expected.current_ma[leaf] != before[leaf]
        ]
        before = expected.current_ma
        for _ in range(data.draw(st.integers(1, 3))):
            change(problem, allocator, wanted=wanted, data=data)
