"""Which CALLs of stations go to a host that takes only so many at a time."""

from __future__ import annotations

import pytest

from controlplane.runtime.credits import Credits, Weight, weight_of


@pytest.mark.parametrize(
    ("action", "weight"),
    [
        ("Heartbeat", Weight.HEARTBEAT),
        ("MeterValues", Weight.SAMPLE),
        ("NotifyPeriodicEventStream", Weight.SAMPLE),
        ("StartTransaction", Weight.KEPT),
        ("StopTransaction", Weight.KEPT),
        ("TransactionEvent", Weight.KEPT),
        ("Authorize", Weight.KEPT),
        ("NotifyEvent", Weight.KEPT),
        ("BootNotification", Weight.KEPT),
    ],
)
def test_only_heartbeats_and_samples_give_way(action: str, weight: Weight) -> None:
    assert weight_of(action) is weight


def test_a_host_has_so_many_calls_and_no_more() -> None:
    found = Credits(2)
    assert found.take("a", "h", Weight.KEPT)
    assert not found.exhausted("h")
    assert found.take("b", "h", Weight.KEPT)
    assert found.exhausted("h")
    assert not found.take("c", "h", Weight.KEPT)
    assert found.take("c", "other", Weight.KEPT), "each host has its own"
    assert (found.under_way, found.waiting) == (3, 0)


def test_what_is_kept_goes_before_samples_and_each_in_its_order() -> None:
    found = Credits(1)
    assert found.take("first", "h", Weight.SAMPLE)
    for connection, weight in (
        ("sample-1", Weight.SAMPLE),
        ("kept-1", Weight.KEPT),
        ("sample-2", Weight.SAMPLE),
        ("kept-2", Weight.KEPT),
    ):
        assert not found.take(connection, "h", weight)
    gone = "first"
    order = []
    while gone:
        assert found.forget(gone) == "h"
        gone = found.next("h") or ""
        order.append(gone)
    assert order == ["kept-1", "kept-2", "sample-1", "sample-2", ""]
    assert (found.under_way, found.waiting) == (0, 0)


def test_the_same_call_again_takes_no_second_credit() -> None:
    found = Credits(1)
    assert found.take("a", "h", Weight.KEPT)
    assert found.take("a", "h", Weight.KEPT)
    assert found.take("a", "next", Weight.KEPT), "its shard has moved"
    assert found.take("b", "h", Weight.KEPT)


def test_a_socket_that_goes_takes_nothing_along() -> None:
    found = Credits(1)
    assert found.take("a", "h", Weight.KEPT)
    assert not found.take("b", "h", Weight.KEPT)
    assert not found.take("c", "h", Weight.SAMPLE)
    assert found.forget("b") == ""
    assert found.next("h") is None
    assert found.forget("a") == "h"
    assert found.next("h") == "c"
    assert found.next("h") is None
