"""Whatever is described by name is either refused by name or solved within every limit, and every
sentence names the row that proves it."""

from __future__ import annotations

from typing import Any

from hypothesis import event, given
from hypothesis import strategies as st

from controlplane import _core
from controlplane.allocation import (
    Connector,
    DeltaPrimary,
    Node,
    Reason,
    arrays_of,
    loads_of,
    shares_of,
)
from controlplane.errors import InvalidInput

EDGES = [0, 1, -1, 10**9, 10**9 + 1, 2**31, 2**46, 10**12 + 1, 2**63 - 1, -(2**63), 2**63, 10**30]
GARBAGE = st.sampled_from([*EDGES, float("nan"), float("inf"), 0.5, "6000", None, True])


def mostly(sound: st.SearchStrategy[Any], garbage: st.SearchStrategy[Any]) -> Any:
    """Garbage in one of about forty places, so that some problems have none."""
    return st.integers(0, 39).flatmap(lambda n: garbage if n == 39 else sound)


currents = mostly(st.integers(0, 60_000), GARBAGE)
lines = st.tuples(currents, currents, currents)
primaries = st.builds(
    DeltaPrimary,
    max_ma=lines,
    turns_primary=st.sampled_from([1, 3, 4, 287, 10_000]),
    turns_secondary=st.sampled_from([1, 2, 10_000]),
)


@st.composite
def problems(draw: st.DrawFn) -> tuple[list[Node], list[Connector]]:
    ids = [f"N{n}" for n in range(draw(st.integers(1, 5)))]
    nodes = [
        Node(
            id=draw(mostly(st.just(name), st.sampled_from([*ids, ""]))),
            parent=draw(mostly(st.sampled_from([None, *ids[:n]]), st.sampled_from([*ids, "?"]))),
            kind=draw(st.sampled_from(["", "panel"])),
            import_ma=draw(st.none() | lines) if draw(st.booleans()) else (50_000,) * 3,
            export_ma=draw(st.none() | lines),
            vector_sum=draw(st.integers(0, 3)) == 3,
            power_max_w=draw(st.none() | currents),
            export_power_max_w=draw(st.none() | currents),
            voltage_v=draw(mostly(st.sampled_from([120, 230, 277]), GARBAGE)),
            imbalance_max_ma=draw(st.none() | currents),
            primary=draw(st.none() | primaries),
        )
        for n, name in enumerate(ids)
    ]
    connectors = [
        Connector(
            id=f"C{n}",
            node=draw(mostly(st.sampled_from(ids), st.just("?"))),
            phases=draw(
                mostly(
                    st.sampled_from([(1,), (2,), (3,), (1, 2), (3, 1), (1, 2, 3)]),
                    st.sampled_from([(), (0,), (1, 1), (1, 2, 3, 4)]),
                )
            ),
            rotation=draw(mostly(st.integers(1, 6), st.sampled_from([0, 7]))),
            line_to_line=draw(st.integers(0, 15)) == 15,
            min_ma=draw(st.none() | mostly(st.sampled_from([0, 5_000, 6_000]), GARBAGE)),
            max_ma=draw(mostly(st.integers(6_000, 80_000), GARBAGE)),
            step_ma=draw(mostly(st.sampled_from([1, 100, 1_000]), GARBAGE)),
            setpoints_ma=draw(
                mostly(st.sampled_from([(), (), (16_000, 8_000, 0)]), st.tuples(GARBAGE))
            ),
            weight=draw(mostly(st.integers(1, 1_000), GARBAGE)),
            tier=draw(mostly(st.integers(0, 2), GARBAGE)),
            rank=draw(mostly(st.integers(-5, 5), GARBAGE)),
            keep_on=draw(st.booleans()),
            discharge=draw(st.booleans()),
            liability_ma=draw(mostly(st.integers(-9_000, 9_000), GARBAGE)),
        )
        for n in range(draw(st.integers(0, 6)))
    ]
    return nodes, connectors


@given(problems())
def test_refused_by_name_or_solved_within_every_limit(
    problem: tuple[list[Node], list[Connector]],
) -> None:
    nodes, connectors = problem
    try:
        arrays = arrays_of(nodes, connectors)
    except InvalidInput as error:
        event("refused")
        assert 1 <= len(error.violations) <= 10
        assert all(place.startswith(("nodes[", "connectors[")) for place, _ in error.violations)
        return
    event("solved")
    allocation = arrays.allocate()
    inputs = (arrays.network, arrays.capacity, arrays.demand)
    assert _core.check(*inputs, allocation.current_ma).size == 0
    assert _core.certify(*inputs, allocation) == []
    for connector, share in zip(connectors, shares_of(arrays, allocation), strict=True):
        assert share.id == connector.id
        assert (share.current_ma < 0) <= connector.discharge
        assert share.words
        assert (share.binding is None) == (share.reason is Reason.MAXIMUM)
        if share.binding is not None:
            assert share.binding.words in share.words
    assert all(load.load >= 0 and load.export_load >= 0 for load in loads_of(arrays, allocation))
