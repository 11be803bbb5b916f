"""Which CALLs of stations go to a host that takes only so many at a time."""

from __future__ import annotations

import pytest

from controlplane.runtime.credits import Credits, Holder, Weight, weight_of


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
    a, b, c = Holder(), Holder(), Holder()
    assert found.take(a, "h", Weight.KEPT)
    assert not found.exhausted("h")
    assert found.take(b, "h", Weight.KEPT)
    assert found.exhausted("h")
    assert not found.take(c, "h", Weight.KEPT)
    assert found.take(c, "other", Weight.KEPT), "each host has its own"
    assert (found.under_way, found.waiting) == (3, 0)


def test_what_is_kept_goes_before_samples_and_each_in_its_order() -> None:
    found = Credits(1)
    first = Holder()
    assert found.take(first, "h", Weight.SAMPLE)
    names: dict[Holder, str] = {}
    for name, weight in (
        ("sample-1", Weight.SAMPLE),
        ("kept-1", Weight.KEPT),
        ("sample-2", Weight.SAMPLE),
        ("kept-2", Weight.KEPT),
    ):
        waiting = Holder()
        names[waiting] = name
        assert not found.take(waiting, "h", weight)
    gone: Holder | None = first
    order = []
    while gone is not None:
        account = found.forget(gone)
        assert account is not None
        assert account.host == "h"
        gone = found.next(account)
        if gone is not None:
            order.append(names[gone])
    assert order == ["kept-1", "kept-2", "sample-1", "sample-2"]
    assert (found.under_way, found.waiting) == (0, 0)


def test_the_same_call_again_takes_no_second_credit() -> None:
    found = Credits(1)
    a, b = Holder(), Holder()
    assert found.take(a, "h", Weight.KEPT)
    assert found.take(a, "h", Weight.KEPT)
    assert found.take(a, "next", Weight.KEPT), "its shard has moved"
    assert found.take(b, "h", Weight.KEPT)


def test_a_socket_that_goes_takes_nothing_along() -> None:
    found = Credits(1)
    a, b, c = Holder(), Holder(), Holder()
    assert found.take(a, "h", Weight.KEPT)
    assert not found.take(b, "h", Weight.KEPT)
    assert not found.take(c, "h", Weight.SAMPLE)
    assert found.forget(b) is None
    account = found.forget(a)
    assert account is not None
    assert found.next(account) is c
    assert found.next(account) is None
