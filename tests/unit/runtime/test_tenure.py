"""How long an owner may go on, and what it holds meanwhile."""

from __future__ import annotations

import pytest

from controlplane.errors import Fenced
from controlplane.runtime.tenure import Tenure


def _tenure(**epochs: int) -> Tenure:
    tenure = Tenure(10.0)
    tenure.extended({int(name[1:]): epoch for name, epoch in epochs.items()}, started_s=100.0)
    return tenure


def test_time_is_counted_from_the_start_of_the_statement() -> None:
    tenure = Tenure(10.0)
    assert not tenure.valid(0.0)
    assert tenure.extended({1: 4}, started_s=100.0) == {1: 4}
    assert tenure.valid(106.9)
    assert not tenure.valid(107.0)
    with pytest.raises(Fenced):
        tenure.check(107.0)
    assert tenure.renew_after_s == 3.0


def test_one_that_holds_nothing_may_begin_again() -> None:
    tenure = Tenure(10.0)
    tenure.extended({}, started_s=100.0)
    tenure.check(500.0)
    assert tenure.extended({7: 1}, started_s=500.0) == {7: 1}
    assert tenure.valid(506.0)


@pytest.mark.parametrize("owned", [{}, {1: 5}, {2: 4}])
def test_a_shard_that_is_not_owned_under_its_epoch_any_more_is_lost(owned: dict[int, int]) -> None:
    tenure = _tenure(s1=4)
    with pytest.raises(Fenced):
        tenure.extended(owned, started_s=101.0)
    assert not tenure.valid(107.0), "a renewal that failed extends nothing"


def test_what_is_given_back_is_not_held_again_under_its_epoch() -> None:
    tenure = _tenure(s1=4, s2=9)
    tenure.give_back({1})
    assert tenure.epochs == {2: 9}
    assert tenure.returning == {1: 4}
    assert tenure.extended({1: 4, 2: 9}, started_s=101.0) == {}
    tenure.returned([1])
    assert tenure.extended({1: 6, 2: 9}, started_s=102.0) == {1: 6}


def test_an_ended_tenure_is_over_at_once() -> None:
    tenure = _tenure(s1=4)
    tenure.end()
    assert not tenure.valid(100.0)
