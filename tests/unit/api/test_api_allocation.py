"""`AllocationService` between its messages and the room that calculates."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from google.protobuf.json_format import ParseDict

from controlplane.allocation import (
    Connector,
    DeltaPrimary,
    Node,
    Reason,
    Rotation,
    RowKind,
    solve,
)
from controlplane.api.allocation import CONNECTORS_MAX, NODES_MAX, answer
from controlplane.api.v1 import allocation_pb2, electrical_pb2
from controlplane.errors import InvalidInput

EXAMPLE = Path(__file__).parents[3] / "deploy/examples/allocation.yaml"
PLENTY = electrical_pb2.PhaseCurrents(l1_ma=63_000, l2_ma=63_000, l3_ma=63_000)


def node(**given: object) -> allocation_pb2.AllocationNode:
    return allocation_pb2.AllocationNode(**({"id": "P2", "import_ma": PLENTY} | given))  # type: ignore[arg-type]


def connector(**given: object) -> allocation_pb2.AllocationConnector:
    return allocation_pb2.AllocationConnector(**({"id": "CP-1", "node": "P2"} | given))  # type: ignore[arg-type]


def one(
    node: allocation_pb2.AllocationNode, *connectors: allocation_pb2.AllocationConnector
) -> allocation_pb2.AllocateResponse:
    return answer(allocation_pb2.AllocateRequest(nodes=[node], connectors=connectors))


def test_every_field_has_its_place_in_the_contract() -> None:
    for model, message in (
        (Node, allocation_pb2.AllocationNode),
        (Connector, allocation_pb2.AllocationConnector),
        (DeltaPrimary, allocation_pb2.DeltaPrimary),
    ):
        assert {field.name for field in message.DESCRIPTOR.fields} == set(model.__struct_fields__)


def test_words_of_the_contract_are_those_of_the_room() -> None:
    kinds = dict(allocation_pb2.RowKind.items())
    assert {f"ROW_KIND_{kind.name}": kind.value for kind in RowKind} | {
        "ROW_KIND_UNSPECIFIED": 0
    } == kinds
    reasons = dict(allocation_pb2.AllocationReason.items())
    assert {f"ALLOCATION_REASON_{reason.name}": reason + 1 for reason in Reason} | {
        "ALLOCATION_REASON_UNSPECIFIED": 0
    } == reasons
    rotations = dict(allocation_pb2.PhaseRotation.items())
    assert {f"PHASE_ROTATION_{rotation.name}": rotation.value for rotation in Rotation} | {
        "PHASE_ROTATION_UNSPECIFIED": 0
    } == rotations


def test_what_is_not_given_is_as_the_contract_says() -> None:
    (share,) = one(node(), connector()).shares
    assert share.current_ma == 32_000
    small = electrical_pb2.PhaseCurrents(l1_ma=5_999, l2_ma=9_950, l3_ma=9_950)
    (refused,) = one(node(import_ma=small), connector()).shares
    assert not refused.admitted
    assert "minimum of 6 A" in refused.words
    (given,) = one(node(import_ma=small), connector(phases=[2])).shares
    assert given.current_ma == 9_900
    (little,) = one(node(), connector(max_ma=4_000)).shares
    assert little.current_ma == 4_000


def test_what_is_given_as_zero_is_zero() -> None:
    (share,) = one(node(power_max_w=0), connector(min_ma=0)).shares
    assert (share.current_ma, share.admitted) == (0, True)
    assert share.binding_row.kind == allocation_pb2.ROW_KIND_POWER
    (idle,) = one(node(), connector(max_ma=0)).shares
    assert idle.reason == allocation_pb2.ALLOCATION_REASON_MAXIMUM
    assert not idle.HasField("binding_row")
    with pytest.raises(InvalidInput, match=r"connectors\[0\].weight"):
        one(node(), connector(weight=0))


def test_the_binding_row_is_told_in_parts_and_in_words() -> None:
    site = node(id="S1", kind="site", imbalance_max_ma=10_000)
    (share,) = one(site, connector(node="S1", phases=[1])).shares
    row = share.binding_row
    assert (row.node, row.kind) == ("S1", allocation_pb2.ROW_KIND_IMBALANCE)
    assert (row.phase, row.over_phase) == (electrical_pb2.PHASE_L1, electrical_pb2.PHASE_L2)
    assert share.reason == allocation_pb2.ALLOCATION_REASON_SHARE
    assert share.words == "limited by phase imbalance L1 over L2 at site S1"
    assert share.level == 10_000 * 65_536


def test_loads_have_their_units() -> None:
    response = one(node(power_max_w=20_000), connector(max_ma=10_000))
    lines, power = response.loads[:3], response.loads[3]
    assert [(load.load_ma, load.capacity_ma) for load in lines] == [(10_000, 63_000)] * 3
    assert not any(load.HasField("load_w") for load in lines)
    assert (power.load_w, power.capacity_w) == (6_900, 20_000)
    assert not power.HasField("load_ma")
    assert not power.HasField("export_capacity_w")


def test_an_unknown_rotation_or_phase_is_refused() -> None:
    for change, field, shown in (
        ({"rotation": 7}, "rotation", "7 is no rotation"),
        ({"phases": [0]}, "phases", "(0,) are not among"),
    ):
        with pytest.raises(InvalidInput) as caught:
            one(node(), connector(**change))
        ((place, told),) = caught.value.violations
        assert place == f"connectors[0].{field}"
        assert shown in told


def test_the_size_is_bounded() -> None:
    empty = allocation_pb2.AllocateRequest()
    with pytest.raises(InvalidInput, match=f"1 to {NODES_MAX:,} nodes, not 0"):
        answer(empty)
    nodes = allocation_pb2.AllocateRequest()
    nodes.nodes.extend([node()] * (NODES_MAX + 1))
    with pytest.raises(InvalidInput, match="not 20,001"):
        answer(nodes)
    connectors = allocation_pb2.AllocateRequest(nodes=[node()])
    connectors.connectors.extend([connector()] * (CONNECTORS_MAX + 1))
    with pytest.raises(InvalidInput, match="not 100,001"):
        answer(connectors)


def test_the_example_solves_and_shows_every_kind_of_row() -> None:
    document = yaml.safe_load(EXAMPLE.read_text(encoding="utf-8"))
    response = answer(ParseDict(document, allocation_pb2.AllocateRequest()))
    assert [share.admitted for share in response.shares].count(False) == 1
    assert {int(load.row.kind) for load in response.loads} == {int(kind) for kind in RowKind}
    us = {share.id: share.current_ma for share in response.shares if share.id.startswith("US")}
    assert us["US-1"] in {8_000, 16_000, 24_000, 32_000}
    for load in response.loads:
        assert load.load_ma <= load.capacity_ma
        assert load.load_w <= load.capacity_w


def test_the_same_as_from_the_room() -> None:
    (share,) = solve(
        [Node(id="P2", kind="panel", import_ma=(9_000,) * 3)], [Connector(id="CP-1", node="P2")]
    )
    small = electrical_pb2.PhaseCurrents(l1_ma=9_000, l2_ma=9_000, l3_ma=9_000)
    (told,) = one(node(kind="panel", import_ma=small), connector()).shares
    assert (told.current_ma, told.level, told.words) == (
        share.current_ma,
        share.level,
        share.words,
    )
