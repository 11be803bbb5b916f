"""What the Rust core takes and refuses at its Python edge."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest

from controlplane import _core
from controlplane.bench.round_problem import build

NETWORK: dict[str, Any] = {
    "node_parent": np.array([-1, 0], np.int32),
    "leaf_node": np.array([1, 1, 0], np.int32),
    "leaf_phases": np.array([0b111, 0b001, 0b010], np.uint8),
}


def arrays(**changes: Any) -> dict[str, Any]:
    return {
        "import_ma": np.array([[40_000] * 3, [20_000] * 3]),
        "min_ma": np.full(3, 6_000),
        "max_ma": np.full(3, 32_000),
        "step_ma": np.full(3, 100),
        "weight": np.ones(3, np.int64),
        "tier": np.zeros(3, np.uint8),
        "rank": np.arange(3),
    } | changes


def inputs(**changes: Any) -> tuple[_core.Capacity, _core.Demand]:
    given = arrays(**changes)
    return _core.Capacity(import_ma=given.pop("import_ma")), _core.Demand(**given)


def test_shares_are_equal_below_a_full_row_and_name_it() -> None:
    result = _core.allocate(_core.Network(**NETWORK), *inputs())
    assert result.current_ma.tolist() == [10_000, 10_000, 30_000]
    assert result.binding_row.tolist() == [3, 3, 1]
    assert result.admitted.tolist() == [True, True, True]
    assert result.row_load_ma.tolist() == [[20_000, 40_000, 10_000], [20_000, 10_000, 10_000]]


def test_not_all_minimums_fit_and_the_later_rank_waits() -> None:
    result = _core.allocate(
        _core.Network(**NETWORK),
        *inputs(import_ma=np.array([[40_000] * 3, [9_000] * 3]), rank=np.array([2, 1, 0])),
    )
    assert result.admitted.tolist() == [False, True, True]
    assert result.current_ma.tolist() == [0, 9_000, 32_000]
    assert result.binding_row.tolist() == [3, 3, -1]


def test_arrays_that_do_not_lie_in_one_piece_are_read_the_same() -> None:
    network = _core.Network(**NETWORK)
    plain, strided = arrays(), arrays()
    for name, values in plain.items():
        strided[name] = np.repeat(values, 2, axis=0)[::2]
    strided["import_ma"] = np.asfortranarray(plain["import_ma"])
    assert not strided["min_ma"].flags.c_contiguous
    first = _core.allocate(network, *inputs(**plain))
    second = _core.allocate(network, *inputs(**strided))
    assert first.current_ma.tolist() == second.current_ma.tolist()


def test_arrays_that_lie_askew_are_read_the_same() -> None:
    plain, packed, shifted = arrays(), arrays(), arrays()
    for name, values in plain.items():
        fields = np.zeros(values.shape, np.dtype([("before", np.uint8), ("value", values.dtype)]))
        fields["value"] = values
        packed[name] = fields["value"]
        if values.dtype != np.uint8:
            piece = np.frombuffer(b"?" + values.tobytes(), values.dtype, offset=1)
            shifted[name] = piece.reshape(values.shape)
    assert not packed["max_ma"].flags.aligned
    assert shifted["max_ma"].flags.c_contiguous and not shifted["max_ma"].flags.aligned
    network = _core.Network(**NETWORK)
    expected = _core.allocate(network, *inputs()).current_ma.tolist()
    assert _core.allocate(network, *inputs(**packed)).current_ma.tolist() == expected
    assert _core.allocate(network, *inputs(**shifted)).current_ma.tolist() == expected


def test_a_network_of_nothing_feeds_nothing_in() -> None:
    nothing = {name: values[:0] for name, values in NETWORK.items()}
    given = {name: values[:0] for name, values in arrays().items()}
    result = _core.allocate(_core.Network(**nothing), *inputs(**given))
    assert result.row_load_ma.shape == (0, 3)
    assert result.export_load_ma is None
    assert result.combined_export_load is None


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"node_parent": np.array([1, 0], np.int32)}, "node 0 is its own ancestor"),
        ({"node_parent": np.array([-1, 2], np.int32)}, r"node_parent\[1\] is 2"),
        ({"node_parent": np.array([-1, -2], np.int32)}, r"node_parent\[1\] is -2"),
        ({"leaf_node": np.array([1, -1, 0], np.int32)}, r"leaf_node\[1\] is -1"),
        ({"leaf_phases": np.array([1, 1, 0], np.uint8)}, r"leaf_phases\[2\] is 0"),
        ({"leaf_phases": np.array([8, 1, 1], np.uint8)}, r"leaf_phases\[0\] is 8"),
        ({"leaf_phases": np.array([1], np.uint8)}, "leaf_phases has 1 elements, expected 3"),
    ],
)
def test_a_network_that_contradicts_itself_is_refused(changes: Any, message: str) -> None:
    with pytest.raises(_core.NetworkError, match=message):
        _core.Network(**(NETWORK | changes))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"import_ma": np.zeros((3, 3), np.int64)}, r"shape \(3, 3\), expected \(2, 3\)"),
        ({"import_ma": np.full((2, 3), 10**12 + 1)}, r"import_ma\[0\]"),
        ({"min_ma": np.array([6_000, -1, 0])}, r"min_ma\[1\] is -1, must be 0 to 32000"),
        ({"min_ma": np.array([6_000, 0, 32_001])}, r"min_ma\[2\] is 32001"),
        ({"max_ma": np.array([6_000, 10**9 + 1, 6_000])}, r"max_ma\[1\]"),
        ({"step_ma": np.array([1, 0, 1])}, r"step_ma\[1\] is 0"),
        ({"weight": np.array([1, 1, 1_001])}, r"weight\[2\] is 1001, must be 1 to 1000"),
        ({"rank": np.arange(2)}, "rank has 2 elements, expected 3"),
        ({"tier": np.zeros(4, np.uint8)}, "tier has 4 elements, expected 3"),
    ],
)
def test_inputs_outside_their_range_are_refused(changes: Any, message: str) -> None:
    with pytest.raises(_core.NetworkError, match=message):
        _core.allocate(_core.Network(**NETWORK), *inputs(**changes))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"max_ma": np.full(3, 1, np.int32)},
            "(?s)of int64 with 1 dim.*of int32 with 1 dim.*max_ma",
        ),
        (
            {"tier": np.zeros((3, 1), np.uint8)},
            "(?s)of uint8 with 1 dim.*of uint8 with 2 dim.*tier",
        ),
        ({"keep_on": [True, False, True]}, "(?s)of bool with 1 dim.*is list.*keep_on"),
    ],
)
def test_an_array_of_another_type_is_told_apart(changes: Any, message: str) -> None:
    with pytest.raises(TypeError, match=message):
        inputs(**changes)


def test_a_change_of_a_row_is_made_whole_or_not_at_all() -> None:
    network = _core.Network(**NETWORK)
    allocator = _core.Allocator(network, *inputs())
    allocator.solve()
    before = allocator.allocation().current_ma.tolist()
    with pytest.raises(_core.NetworkError, match="export_ma"):
        allocator.set_capacity(0, 0, import_ma=3, export_ma=10**15)
    with pytest.raises(_core.NetworkError, match="does not exist"):
        allocator.set_capacity(9, 0)
    assert allocator.solve().size == 0
    assert allocator.allocation().current_ma.tolist() == before


def test_check_refuses_a_current_nobody_runs_at() -> None:
    network = _core.Network(**NETWORK)
    with pytest.raises(_core.NetworkError, match=r"current_ma\[1\] is 5000, must be 0 or 6000"):
        _core.check(network, *inputs(), np.array([6_000, 5_000, 0]))


def test_threads_share_a_network_and_get_the_same_bits() -> None:
    problem = build(2_000)
    network = problem.network()
    with ThreadPoolExecutor(4) as threads:
        rounds = list(threads.map(lambda _: problem.allocate(network), range(16)))
    for result in rounds:
        assert np.array_equal(result.current_ma, rounds[0].current_ma)
        assert np.array_equal(result.binding_row, rounds[0].binding_row)
