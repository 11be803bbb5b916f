"""Coefficients of combined rows and capacities through time, as Python sees them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from controlplane import _core


def test_a_line_with_mixed_loads_carries_their_vector_sum() -> None:
    # Two loads between L1 and its neighbours; as numbers they would add to 100 A.
    network = _core.Network(
        node_parent=np.array([-1], np.int32),
        leaf_node=np.zeros(2, np.int32),
        leaf_phases=np.array([0b011, 0b101], np.uint8),
        leaf_kind=np.array([8, 10], np.uint8),
        combined_node=np.zeros(1, np.int32),
        combined_coefficient=np.stack([_core.line_current_row(0)]),
    )
    capacity = _core.Capacity(
        import_ma=np.full((1, 3), 10**9), combined=np.array([86_620 * 10_000])
    )
    demand = _core.Demand(
        min_ma=np.zeros(2, np.int64),
        max_ma=np.full(2, 80_000),
        step_ma=np.full(2, 100),
        weight=np.ones(2, np.int64),
        tier=np.zeros(2, np.uint8),
        rank=np.zeros(2, np.int64),
    )
    result = _core.allocate(network, capacity, demand)
    assert result.current_ma.tolist() == [50_000, 50_000]
    assert _core.certify(network, capacity, demand, result) == []


def test_rows_have_a_vector_for_each_kind() -> None:
    power = _core.total_power_row(230)
    assert (power.shape, power.dtype) == ((16, 2), np.dtype(np.int32))
    assert power[:, 0].tolist() == [0, 230, 230, 460, 230, 460, 460, 690, *[399] * 3, *[0] * 5]
    assert np.flatnonzero(_core.imbalance_row(0, 1)[:, 0]).tolist() == [1, 5, 10]
    primary = _core.delta_wye_primary_row(0, 4, 1)
    assert primary[8:11].tolist() == [[1251, 2165], [1251, -2165], [5000, 0]]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: _core.total_power_row(0), "volts_line_to_neutral is 0, must be 1 to 349525"),
        (lambda: _core.imbalance_row(2, 2), "over and under are both line 2, must differ"),
        (lambda: _core.line_current_row(3), "line is 3, must be 0 to 2"),
        (lambda: _core.delta_wye_primary_row(0, 21, 1), "turns_numerator is 21, must be 1 to 20"),
    ],
)
def test_arguments_out_of_range_are_refused_by_name(call: Any, message: str) -> None:
    with pytest.raises(_core.NetworkError, match=message):
        call()


def caps(**changes: Any) -> _core.Caps:
    given: dict[str, Any] = {
        "rating_ma": np.array([[100] * 3, [50] * 3]),
        "row": np.array([0, 5, 0], np.int32),
        "start_s": np.array([2_000, 1_000, 1_000]),
        "capacity_ma": np.array([400, 0, 30]),
    }
    return _core.Caps(**(given | changes))


def test_caps_hold_from_their_start_and_never_exceed_the_rating() -> None:
    assert caps().at(999).tolist() == [[100, 100, 100], [50, 50, 50]]
    assert caps().at(1_000).tolist() == [[30, 100, 100], [50, 50, 0]]
    assert caps().at(2_000).tolist() == [[100, 100, 100], [50, 50, 0]]
    assert caps().lowest(0, 1_000).tolist() == caps().at(0).tolist()
    assert caps().lowest(1_999, 3_000).tolist() == [[30, 100, 100], [50, 50, 0]]
    assert [caps().next_change_s(after) for after in (0, 1_000, 2_000)] == [1_000, 2_000, None]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"row": np.array([0, 6, 0], np.int32)}, r"row\[1\] is 6, must be 0 to 5"),
        ({"start_s": np.array([1, 2])}, "start_s has 2 elements, expected 3"),
        ({"start_s": np.array([1, 2, 1])}, r"start_s\[2\]: row 0 has another capacity from 1"),
        ({"rating_ma": np.array([[1, 1, -1]])}, r"rating_ma\[2\] is -1, must be 0"),
        ({"rating_ma": np.zeros((2, 2), np.int64)}, r"shape \(2, 2\), expected \(2, 3\)"),
    ],
)
def test_caps_that_contradict_themselves_are_refused(changes: Any, message: str) -> None:
    with pytest.raises(_core.NetworkError, match=message):
        caps(**changes)


def test_a_window_that_ends_before_it_begins_is_refused() -> None:
    with pytest.raises(_core.NetworkError, match="until_s is 5, must be 6 to"):
        caps().lowest(5, 5)


def test_rows_are_added_up_as_often_as_they_count_a_connector() -> None:
    sums = _core.RowSums(3, [[0, 2], [0, 1, 1], []])
    assert sums.of([5, 7, 9]) == [12, 14, 5]
    assert sums.of([0, 2**62, 0]) == [2**62, 2**63 - 1, 0]


def test_sums_refuse_a_row_that_is_not_there_and_a_current_too_few() -> None:
    with pytest.raises(_core.NetworkError, match="above"):
        _core.RowSums(2, [[0], [2]])
    with pytest.raises(_core.NetworkError, match="leaf_ma"):
        _core.RowSums(1, [[0]]).of([])
