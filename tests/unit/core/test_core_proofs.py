"""The proof of a round, as Python sees it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from controlplane import _core
from controlplane.bench.round_problem import build

NETWORK: dict[str, Any] = {
    "node_parent": np.array([-1, 0], np.int32),
    "leaf_node": np.array([1, 1, 0], np.int32),
    "leaf_phases": np.array([0b001, 0b001, 0b001], np.uint8),
}


def inputs(**changes: Any) -> tuple[_core.Capacity, _core.Demand]:
    demand: dict[str, Any] = {
        "min_ma": np.full(3, 6_000),
        "max_ma": np.full(3, 32_000),
        "step_ma": np.full(3, 100),
        "weight": np.ones(3, np.int64),
        "tier": np.zeros(3, np.uint8),
        "rank": np.arange(3),
    }
    capacity = _core.Capacity(
        import_ma=np.array([[60_000] * 3, [20_000] * 3]), export_ma=np.full((2, 3), 9_000)
    )
    return capacity, _core.Demand(**(demand | changes))


def test_a_round_is_proven_and_a_changed_one_is_not() -> None:
    network = _core.Network(**NETWORK)
    result = _core.allocate(network, *inputs())
    assert result.current_ma.tolist() == [10_000, 10_000, 32_000]
    assert _core.certify(network, *inputs(), result) == []
    result.current_ma[:] = [10_100, 9_900, 32_000]
    assert _core.certify(network, *inputs(), result) == [
        "connector 0 has reason 4, reported is 3",
        "connector 1 has less than its share, which is 10000 mA rounded down",
    ]


def test_what_is_fed_in_is_proven_on_rows_of_its_own() -> None:
    network = _core.Network(**NETWORK)
    feeding = inputs(discharge=np.array([True, False, True]))
    result = _core.allocate(network, *feeding)
    assert result.current_ma.tolist() == [-9_000, 20_000, 0]
    assert _core.certify(network, *feeding, result) == []
    assert result.export_load_ma is not None
    result.export_load_ma[0, 0] += 1
    assert _core.certify(network, *feeding, result) == [
        "export row 0 carries 9000, reported are 9001"
    ]


def test_an_allocation_of_another_network_is_refused() -> None:
    network = _core.Network(**NETWORK)
    other = _core.Network(**(NETWORK | {"node_parent": np.array([-1, 0, 0], np.int32)}))
    result = _core.allocate(network, *inputs())
    capacity = _core.Capacity(import_ma=np.full((3, 3), 60_000))
    with pytest.raises(_core.NetworkError, match="row_load_ma has 6 elements, expected 9"):
        _core.certify(other, capacity, inputs()[1], result)


def test_the_round_of_a_large_network_is_proven() -> None:
    problem = build(3_000, seed=5)
    network = problem.network()
    result = problem.allocate(network)
    assert _core.certify(network, *problem.inputs(), result) == []
