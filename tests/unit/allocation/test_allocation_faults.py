"""What contradicts itself is refused, with the element's name and its place."""

from __future__ import annotations

from typing import Any

import pytest

from controlplane.allocation import Connector, DeltaPrimary, Node, solve
from controlplane.errors import InvalidInput

NODE: dict[str, Any] = {"id": "P2", "import_ma": (63_000, 63_000, 63_000)}
CONNECTOR: dict[str, Any] = {"id": "CP-1", "node": "P2"}


def refused(nodes: list[dict[str, Any]], connectors: list[dict[str, Any]]) -> InvalidInput:
    with pytest.raises(InvalidInput) as caught:
        solve([Node(**node) for node in nodes], [Connector(**each) for each in connectors])
    assert caught.value.reason == "ALLOCATION_INVALID"
    return caught.value


def primary(**changes: Any) -> DeltaPrimary:
    return DeltaPrimary(**({"max_ma": (20_000, 20_000, 20_000)} | changes))


@pytest.mark.parametrize(
    ("change", "place", "told"),
    [
        ({"id": ""}, "nodes[0].id", "1 to 128 printable characters"),
        ({"id": "x" * 129}, "nodes[0].id", "1 to 128 printable characters"),
        ({"id": "line\nbreak"}, "nodes[0].id", "1 to 128 printable characters"),
        ({"id": 7}, "nodes[0].id", "7 is not 1 to 128 printable characters"),
        ({"kind": "a\tb"}, "nodes[0].kind", "node 'P2': at most 128 printable characters"),
        ({"parent": "P9"}, "nodes[0].parent", "node 'P2': there is no node 'P9'"),
        ({"parent": "P2"}, "nodes[0].parent", "node 'P2' is its own ancestor"),
        ({"import_ma": None}, "nodes[0]", "one of import_ma, power_max_w and primary"),
        ({"import_ma": (1, 2)}, "nodes[0].import_ma", "a current for each of L1, L2 and L3"),
        ({"export_ma": 16_000}, "nodes[0].export_ma", "a current for each of L1, L2 and L3"),
        ({"import_ma": (1, -5, 3)}, "nodes[0].import_ma.l2_ma", "node 'P2': -5 is not an integer"),
        ({"import_ma": (1, 2, 7 * 10**9 + 1)}, "nodes[0].import_ma.l3_ma", "7000000001 is not"),
        ({"import_ma": (float("nan"), 2, 3)}, "nodes[0].import_ma.l1_ma", "nan is not an integer"),
        ({"import_ma": (True, 2, 3)}, "nodes[0].import_ma.l1_ma", "True is not an integer"),
        ({"export_ma": (0, 0, -1)}, "nodes[0].export_ma.l3_ma", "-1 is not an integer"),
        ({"power_max_w": -1}, "nodes[0].power_max_w", "node 'P2': -1 is not an integer"),
        ({"power_max_w": 10**10 + 1}, "nodes[0].power_max_w", "10000000001 is not"),
        ({"export_power_max_w": 1.5}, "nodes[0].export_power_max_w", "1.5 is not an integer"),
        ({"voltage_v": 0}, "nodes[0].voltage_v", "0 is not an integer of 1 to 100000"),
        ({"imbalance_max_ma": -20}, "nodes[0].imbalance_max_ma", "-20 is not an integer"),
        ({"import_ma": None, "power_max_w": 9, "vector_sum": True}, "nodes[0].vector_sum", "no"),
        (
            {"primary": primary(max_ma=(1, 2, -3))},
            "nodes[0].primary.max_ma.l3_ma",
            "node 'P2': -3 is not an integer",
        ),
        ({"primary": primary(turns_primary=0)}, "nodes[0].primary.turns_primary", "0 is not"),
        (
            {"primary": primary(turns_secondary=10_001)},
            "nodes[0].primary.turns_secondary",
            "10001 is not",
        ),
    ],
)
def test_a_node_that_is_wrong(change: dict[str, Any], place: str, told: str) -> None:
    error = refused([NODE | change], [])
    found = dict(error.violations)
    assert place in found, found
    assert told in found[place]
    assert place in error.message


@pytest.mark.parametrize(
    ("change", "place", "told"),
    [
        ({"id": ""}, "id", "1 to 128 printable characters"),
        ({"node": "P9"}, "node", "connector 'CP-1': there is no node 'P9'"),
        ({"phases": ()}, "phases", "connector 'CP-1': one to three different phases"),
        ({"phases": (1, 1)}, "phases", "one to three different phases"),
        ({"phases": [1, 2]}, "phases", "[1, 2] is no tuple"),
        ({"phases": 1}, "phases", "1 is no tuple"),
        ({"phases": (0,)}, "phases", "(0,) are not among 1, 2, 3"),
        ({"phases": (1, 2, 4)}, "phases", "(1, 2, 4) are not among 1, 2, 3"),
        ({"rotation": 7}, "rotation", "7 is no rotation"),
        ({"rotation": 0}, "rotation", "0 is no rotation"),
        ({"phases": (1,), "line_to_line": True}, "line_to_line", "between two phases, not 1"),
        ({"line_to_line": True}, "line_to_line", "between two phases, not 3"),
        ({"min_ma": -1}, "min_ma", "-1 is not an integer of 0 to 1000000000"),
        ({"min_ma": 33_000}, "min_ma", "connector 'CP-1': 33000 is above max_ma, 32000"),
        ({"min_ma": float("nan")}, "min_ma", "nan is not an integer"),
        ({"max_ma": 10**9 + 1}, "max_ma", "1000000001 is not an integer of 0 to 1000000000"),
        ({"max_ma": 10**30}, "max_ma", "is not an integer"),
        ({"max_ma": 2**63}, "max_ma", "is not an integer"),
        ({"max_ma": float("inf")}, "max_ma", "inf is not an integer"),
        ({"max_ma": "32"}, "max_ma", "'32' is not an integer"),
        ({"max_ma": None}, "max_ma", "None is not an integer"),
        ({"max_ma": True}, "max_ma", "True is not an integer"),
        ({"max_ma": [16_000, 32_000]}, "max_ma", "[16000, 32000] is not an integer"),
        ({"step_ma": 0}, "step_ma", "0 is not an integer of 1 to"),
        ({"step_ma": 0.1}, "step_ma", "0.1 is not an integer"),
        ({"weight": 0}, "weight", "0 is not an integer of 1 to 1000"),
        ({"weight": 1_001}, "weight", "1001 is not"),
        ({"tier": 256}, "tier", "256 is not an integer of 0 to 255"),
        ({"tier": -1}, "tier", "-1 is not"),
        ({"rank": 2**63}, "rank", "is not an integer"),
        ({"liability_ma": -(10**9) - 1}, "liability_ma", "-1000000001 is not"),
        ({"setpoints_ma": [8_000]}, "setpoints_ma", "[8000] is no tuple"),
        ({"setpoints_ma": (0,)}, "setpoints_ma", "none is above 0"),
        ({"setpoints_ma": (8_000, -1)}, "setpoints_ma[1]", "-1 is not an integer"),
        ({"setpoints_ma": (8_000, 2.5)}, "setpoints_ma[1]", "2.5 is not an integer"),
        ({"setpoints_ma": tuple(range(1, 102))}, "setpoints_ma", "more than 100 setpoints"),
    ],
)
def test_a_connector_that_is_wrong(change: dict[str, Any], place: str, told: str) -> None:
    # Beside a sound one, so that whole columns are read.
    error = refused([NODE], [CONNECTOR | {"id": "CP-0"}, CONNECTOR | change])
    found = dict(error.violations)
    assert list(found) == [f"connectors[1].{place}"]
    assert told in found[f"connectors[1].{place}"]


def test_ids_that_are_taken() -> None:
    error = refused([NODE, NODE], [CONNECTOR, CONNECTOR])
    assert error.violations == (
        ("nodes[1].id", "'P2' is taken by nodes[0]"),
        ("connectors[1].id", "'CP-1' is taken by connectors[0]"),
    )


def test_a_station_more_than_there_may_be_kinds_of_is_named() -> None:
    stations = [
        {"id": f"CP-{at}", "node": "P2", "setpoints_ma": (8_000, 16_000 + at)}
        for at in range(1_001)
    ]
    error = refused([NODE], [*stations, stations[0] | {"id": "CP-again"}])
    assert len(error.violations) == 1
    place, told = error.violations[0]
    assert place == "connectors[1000].setpoints_ma"
    assert "CP-1000" in told
    assert "more than 1,000 different sets" in told


def test_a_longer_cycle_names_who_is_in_it() -> None:
    ring = [NODE | {"id": f"N{n}", "parent": f"N{(n + 1) % 3}"} for n in range(3)]
    error = refused([*ring, NODE | {"parent": "N0"}], [])
    assert [fault for _, fault in error.violations] == [
        *(f"node 'N{n}' is its own ancestor" for n in range(3)),
        "node 'P2' is more than 64 levels below its root",
    ]


def test_a_tree_may_be_so_deep_and_no_deeper() -> None:
    chain = [NODE | {"id": "N0"}]
    chain += [NODE | {"id": f"N{n}", "parent": f"N{n - 1}"} for n in range(1, 65)]
    (share,) = solve([Node(**node) for node in chain], [Connector(id="CP-1", node="N64")])
    assert share.current_ma == 32_000
    error = refused([*chain, NODE | {"id": "N65", "parent": "N64"}], [])
    assert error.violations == (
        ("nodes[65].parent", "node 'N65' is more than 64 levels below its root"),
    )


def test_the_first_ten_faults_are_told_and_all_are_counted() -> None:
    error = refused([NODE], [CONNECTOR | {"id": f"CP-{n}", "weight": 0} for n in range(500)])
    assert [place for place, _ in error.violations] == [
        f"connectors[{n}].weight" for n in range(10)
    ]
    assert error.message.endswith("; and 497 more")


def test_values_are_cut_before_they_are_told() -> None:
    long = {"id": "y" * 10_000}
    error = refused([NODE | long | {"voltage_v": 0}], [CONNECTOR | long | {"max_ma": 10**9_000}])
    assert all(len(fault) < 400 for _, fault in error.violations)
    assert error.violations[-1][1].endswith(
        "an integer of 29898 bits is not an integer of 0 to 1000000000"
    )


def test_a_ring_of_many_is_refused_as_fast_as_a_tree_is_read() -> None:
    count = 20_000
    ring = [NODE | {"id": f"N{n}", "parent": f"N{(n + 1) % count}"} for n in range(count)]
    error = refused(ring, [])
    assert error.violations[0] == ("nodes[0].parent", "node 'N0' is its own ancestor")
    assert error.message.endswith(f"; and {count - 3} more")
