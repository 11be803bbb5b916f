"""Every reason and every kind of row, in the words an operator reads."""

from __future__ import annotations

import cmath
from typing import Any

import numpy as np
import pytest

from controlplane import _core
from controlplane.allocation import (
    Connector,
    DeltaPrimary,
    Node,
    Reason,
    Rotation,
    RowKind,
    RowLoad,
    Share,
    arrays_of,
    loads_of,
    shares_of,
    solve,
)

PLENTY = (10**6, 10**6, 10**6)


def panel(l1_ma: int, l2_ma: int | None = None, l3_ma: int | None = None, **more: Any) -> Node:
    current_ma = (l1_ma, l1_ma if l2_ma is None else l2_ma, l1_ma if l3_ma is None else l3_ma)
    return Node(id="P2", kind="panel", import_ma=current_ma, **more)


def on_panel(*connectors: dict[str, Any]) -> list[Connector]:
    return [Connector(id=f"CP-{n}", node="P2", **given) for n, given in enumerate(connectors, 1)]


def words(shares: list[Share]) -> list[str]:
    return [share.words for share in shares]


# --- reasons --------------------------------------------------------------------------------------


def test_a_fair_share_names_the_full_row() -> None:
    first, second = solve([panel(63_000, l3_ma=20_000)], on_panel({}, {}))
    assert (first.current_ma, second.current_ma) == (10_000, 10_000)
    assert first.reason is second.reason is Reason.SHARE
    assert first.words == second.words == "limited by panel P2 phase L3"
    assert first.level == 10_000 * 65_536
    assert first.binding is not None
    assert (first.binding.node.id, first.binding.kind, first.binding.line) == (
        "P2",
        RowKind.PHASE,
        2,
    )


def test_at_the_maximum() -> None:
    (share,) = solve([panel(63_000)], on_panel({}))
    assert (share.current_ma, share.reason, share.binding) == (32_000, Reason.MAXIMUM, None)
    assert (share.level, share.words) == (-1, "at its maximum")


def test_wanting_nothing() -> None:
    (share,) = solve([panel(63_000)], on_panel({"max_ma": 0}))
    assert (share.current_ma, share.admitted, share.words) == (0, True, "wants nothing")


def test_setpoints_of_which_none_fits() -> None:
    (share,) = solve([panel(63_000)], on_panel({"setpoints_ma": (40_000, 48_000)}))
    assert share.current_ma == 0
    assert share.words == "none of its setpoints lies between its minimum and its maximum"


def test_not_admitted_says_what_did_not_fit_and_where() -> None:
    nodes = [
        panel(63_000),
        Node(id="C4", kind="circuit", parent="P2", import_ma=(10_000,) * 3),
    ]
    running = Connector(id="CP-1", node="C4", keep_on=True, rank=9)
    newcomer = Connector(id="CP-2", node="C4", rank=1)
    shares = solve(nodes, [newcomer, running])
    assert [share.admitted for share in shares] == [False, True]
    assert shares[0].reason is Reason.ADMISSION
    assert shares[0].level == 0
    assert shares[0].words == "not admitted: no room for its minimum of 6 A at circuit C4 phase L1"


def test_the_minimum_of_a_station_with_setpoints_is_the_least_it_accepts() -> None:
    (share,) = solve([panel(7_500)], on_panel({"setpoints_ma": (32_000, 8_000, 0, 16_000)}))
    assert share.words == "not admitted: no room for its minimum of 8 A at panel P2 phase L1"


def test_held_at_the_minimum() -> None:
    light, heavy = solve([panel(20_000)], on_panel({"min_ma": 6_500}, {"weight": 10}))
    assert (light.current_ma, heavy.current_ma) == (6_500, 13_500)
    assert light.reason is Reason.MINIMUM
    assert light.words == (
        "held at its minimum of 6.5 A: its share is smaller, limited by panel P2 phase L1"
    )


def test_nothing_left_for_who_needs_no_minimum() -> None:
    (share,) = solve([panel(0)], on_panel({"min_ma": 0}))
    assert (share.current_ma, share.admitted) == (0, True)
    assert share.words == "limited by panel P2 phase L1"


def test_leftovers_of_rounding() -> None:
    shares = solve([panel(20_000)], on_panel(*[{"step_ma": 1_000}] * 3))
    assert [share.current_ma for share in shares] == [7_000, 7_000, 6_000]
    assert [share.reason for share in shares] == [Reason.LEFTOVER, Reason.LEFTOVER, Reason.SHARE]
    assert shares[0].words == (
        "limited by panel P2 phase L1; more than its share, from what was left over"
    )


# --- kinds of rows --------------------------------------------------------------------------------


@pytest.mark.parametrize("phase", [1, 2, 3])
def test_each_line_has_its_name(phase: int) -> None:
    (share,) = solve([panel(10_000)], on_panel({"phases": (phase,)}))
    assert share.words == f"limited by panel P2 phase L{phase}"


@pytest.mark.parametrize(
    ("rotation", "line"),
    [("RST", 1), ("RTS", 1), ("SRT", 2), ("STR", 2), ("TRS", 3), ("TSR", 3)],
)
def test_a_rotated_first_phase_sits_on_another_line(rotation: str, line: int) -> None:
    (share,) = solve([panel(10_000)], on_panel({"phases": (1,), "rotation": Rotation[rotation]}))
    assert share.words == f"limited by panel P2 phase L{line}"


def test_a_node_without_a_kind_goes_by_its_id() -> None:
    (share,) = solve(
        [Node(id="Hall 7", import_ma=(10_000,) * 3)], [Connector(id="CP-1", node="Hall 7")]
    )
    assert share.words == "limited by Hall 7 phase L1"


def test_total_power() -> None:
    site = Node(id="S1", kind="site", power_max_w=13_800)
    nodes = [site, panel(63_000, parent="S1")]
    shares = solve(nodes, on_panel({}, {}))
    assert [share.current_ma for share in shares] == [10_000, 10_000]
    assert words(shares) == ["limited by the total power of site S1"] * 2
    refused = solve(nodes, on_panel({"min_ma": 16_000}, {"min_ma": 16_000}))[1]
    assert refused.words == (
        "not admitted: no room for its minimum of 16 A within the total power of site S1"
    )


def test_imbalance() -> None:
    site = Node(id="S1", kind="site", import_ma=PLENTY, imbalance_max_ma=20_000)
    one = Connector(id="CP-1", node="S1", phases=(1,))
    three = Connector(id="CP-2", node="S1")
    both = Connector(id="CP-3", node="S1", phases=(1, 2), max_ma=5_000, min_ma=0)
    shares = solve([site], [one, three, both])
    assert [share.current_ma for share in shares] == [15_000, 32_000, 5_000]
    # The pair of L1 and L2 makes L1 differ from L3 only.
    assert shares[0].words == "limited by phase imbalance L1 over L3 at site S1"
    alone = solve([site], [one])
    assert words(alone) == ["limited by phase imbalance L1 over L2 at site S1"]


def test_vector_sums_give_more_than_arithmetic_ones() -> None:
    connectors = on_panel({"phases": (1,)}, {"phases": (1, 2), "line_to_line": True})
    plain = solve([panel(50_000)], connectors)
    assert [share.current_ma for share in plain] == [25_000, 25_000]
    vectors = solve([panel(50_000, vector_sum=True)], connectors)
    # Between L1 and L2 the current leads that from L1 to neutral by 30 degrees.
    neutral_ma, pair_ma = (share.current_ma for share in vectors)
    sum_ma = abs(neutral_ma + cmath.rect(pair_ma, cmath.pi / 6))
    assert 49_500 <= sum_ma <= 50_000
    assert min(neutral_ma, pair_ma) > 25_500
    assert all("limited by panel P2 phase L1 (vector sum)" in told for told in words(vectors))


@pytest.mark.parametrize("rotation", list(Rotation))
def test_a_delta_wye_transformer_is_protected_on_its_primary_side(rotation: Rotation) -> None:
    transformer = Node(
        id="T1",
        kind="transformer",
        voltage_v=120,
        import_ma=PLENTY,
        vector_sum=True,
        primary=DeltaPrimary(max_ma=(20_000,) * 3, turns_primary=4),
    )
    connector = Connector(
        id="CP-1",
        node="T1",
        phases=(1, 2),
        line_to_line=True,
        rotation=rotation,
        max_ma=100_000,
    )
    (share,) = solve([transformer], [connector])
    # One secondary winding carries the current one way, another the other way; the primary line
    # between them carries both, each a fourth.
    assert 39_600 <= share.current_ma <= 40_000
    assert "limited by the primary side of transformer T1, line L" in share.words


@pytest.mark.parametrize("turns", [(4, 1), (287, 1), (3, 2), (1, 5)])
def test_a_three_phase_load_on_the_primary_side(turns: tuple[int, int]) -> None:
    transformer = Node(
        id="T1",
        primary=DeltaPrimary(
            max_ma=(100_000,) * 3, turns_primary=turns[0], turns_secondary=turns[1]
        ),
        import_ma=(10**9,) * 3,
        vector_sum=True,
    )
    connector = Connector(id="CP-1", node="T1", max_ma=10**8, step_ma=1)
    (share,) = solve([transformer], [connector])
    exact_ma = 100_000 * turns[0] / turns[1] / 3**0.5
    assert 0.998 * exact_ma <= share.current_ma <= exact_ma
    found = loads([transformer], [connector])
    assert 99_800 <= found["the primary side of T1, line L1"].load <= 100_000


def test_export_is_named_and_never_netted() -> None:
    node = panel(20_000, export_ma=(8_000, 8_000, 8_000))
    drawing, feeding = solve([node], on_panel({}, {"discharge": True}))
    assert (drawing.current_ma, feeding.current_ma) == (20_000, -8_000)
    assert drawing.words == "limited by panel P2 phase L1"
    assert feeding.words == "limited by panel P2 phase L1 (export)"


def test_nothing_is_fed_back_unless_that_is_allowed() -> None:
    (share,) = solve([panel(63_000)], on_panel({"discharge": True}))
    assert (share.current_ma, share.admitted) == (0, False)
    assert share.words == (
        "not admitted: no room for its minimum of 6 A at panel P2 phase L1 (export)"
    )


@pytest.mark.parametrize(
    ("limits", "name"),
    [
        ({"export_power_max_w": 6_900}, "the total power of panel P2 (export)"),
        ({"vector_sum": True, "export_ma": (10_000,) * 3}, "panel P2 phase L1 (vector sum)"),
        ({"primary": DeltaPrimary(max_ma=(10_000,) * 3)}, "the primary side of panel P2, line L"),
    ],
    ids=["power", "vector", "primary"],
)
def test_every_limit_holds_for_export(limits: dict[str, Any], name: str) -> None:
    node = panel(63_000, **({"export_ma": PLENTY} | limits))
    (share,) = solve([node], on_panel({"discharge": True, "min_ma": 0}))
    assert -10_000 <= share.current_ma <= -5_000
    assert name in share.words


# --- what else holds ------------------------------------------------------------------------------


def loads(nodes: list[Node], connectors: list[Connector]) -> dict[str, RowLoad]:
    arrays = arrays_of(nodes, connectors)
    return {load.row.words: load for load in loads_of(arrays, arrays.allocate())}


def test_loads_are_in_the_units_of_their_rows_and_hold_liabilities() -> None:
    site = Node(
        id="S1",
        import_ma=(63_000,) * 3,
        export_ma=(16_000,) * 3,
        power_max_w=40_000,
        imbalance_max_ma=20_000,
    )
    found = loads(
        [site],
        [
            Connector(id="CP-1", node="S1", max_ma=10_000),
            Connector(id="CP-2", node="S1", phases=(1,), max_ma=0, liability_ma=7_000),
            Connector(id="CP-3", node="S1", phases=(2,), max_ma=9_000, discharge=True),
            Connector(id="CP-4", node="S1", phases=(2,), max_ma=0, liability_ma=-500),
        ],
    )
    l1, l2, power = found["S1 phase L1"], found["S1 phase L2"], found["the total power of S1"]
    assert (l1.load, l1.row.limit, l1.export_load) == (17_000, 63_000, 0)
    assert (l2.load, l2.export_load, l2.row.export_limit) == (10_000, 9_500, 16_000)
    assert (power.load, power.row.limit) == (37 * 230, 40_000)
    assert (power.export_load, power.row.export_limit) == (9_500 * 230 // 1_000, None)
    assert found["phase imbalance L1 over L2 at S1"].load == 7_000
    assert len(found) == 3 + 1 + 6


def test_rows_without_a_limit_are_not_told() -> None:
    feeder = Node(id="F", power_max_w=10_000)
    vectors = Node(id="T", parent="F", import_ma=PLENTY, vector_sum=True)
    found = loads([feeder, vectors], [])
    # A node that exports nothing bounds that on each line.
    assert [name for name, load in found.items() if load.row.limit is not None] == [
        "the total power of F",
        *(f"T phase L{line} (vector sum)" for line in (1, 2, 3)),
    ]


def test_a_problem_without_connectors_has_no_shares() -> None:
    assert solve([panel(10_000)], []) == []


def test_networks_side_by_side_give_the_same_on_any_number_of_threads() -> None:
    nodes = [Node(id=f"S{n}", import_ma=(10_000 + 1_000 * n,) * 3) for n in range(20)]
    connectors = [
        Connector(id=f"CP-{n}-{k}", node=f"S{n}", weight=k + 1) for n in range(20) for k in range(3)
    ]
    alone = solve(nodes, connectors, threads=1)
    together = solve(nodes, connectors, threads=4)
    assert list(map(told, together)) == list(map(told, alone))


def told(share: Share) -> tuple[Any, ...]:
    return share.id, share.current_ma, share.level, share.reason, share.words


def test_names_change_nothing_of_what_the_core_gives() -> None:
    random = np.random.default_rng(5)
    nodes_count, count = 40, 400
    parent = np.array([n // 4 - 1 for n in range(nodes_count)], np.int32)
    node = random.integers(0, nodes_count, count).astype(np.int32)
    lines = random.integers(1, 8, count).astype(np.uint8)
    import_ma = random.integers(100_000, 900_000, (nodes_count, 3))
    max_ma = random.integers(6_000, 80_000, count)
    weight, rank = random.integers(1, 5, count), random.permutation(count)
    expected = _core.allocate(
        _core.Network(node_parent=parent, leaf_node=node, leaf_phases=lines),
        _core.Capacity(import_ma=import_ma),
        _core.Demand(
            min_ma=np.full(count, 6_000),
            max_ma=max_ma,
            step_ma=np.full(count, 100),
            weight=weight,
            tier=np.zeros(count, np.uint8),
            rank=rank,
        ),
    )
    arrays = arrays_of(
        [
            Node(id=f"N{n}", parent=f"N{above}" if above >= 0 else None, import_ma=tuple(limits))
            for n, (above, limits) in enumerate(
                zip(parent.tolist(), import_ma.tolist(), strict=True)
            )
        ],
        [
            Connector(
                id=f"C{n}",
                node=f"N{node[n]}",
                phases=tuple(phase + 1 for phase in range(3) if lines[n] >> phase & 1),
                max_ma=int(max_ma[n]),
                weight=int(weight[n]),
                rank=int(rank[n]),
            )
            for n in range(count)
        ],
    )
    shares = shares_of(arrays, arrays.allocate())
    assert [share.current_ma for share in shares] == expected.current_ma.tolist()
    assert [share.level for share in shares] == expected.level.tolist()
    rows = [-1 if s.binding is None else arrays.rows.index(s.binding) for s in shares]
    assert rows == expected.binding_row.tolist()
    assert len(set(rows)) > 10
