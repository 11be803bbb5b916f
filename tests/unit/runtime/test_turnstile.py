"""The bounds at a gateway's doors and on what is told of them, without sockets."""

from __future__ import annotations

from functools import partial

from controlplane.charger.messages import SecurityNoticed
from controlplane.config import Settings
from controlplane.ids import ChargerId
from controlplane.runtime.door import Turnstile, address_of
from controlplane.runtime.notices import Notices


def test_an_address_frees_its_place_when_it_leaves() -> None:
    turnstile = Turnstile(Settings(connections_per_address_max=2))
    first, _ = turnstile.enter("a", 0.0), turnstile.enter("a", 0.0)
    assert turnstile.crowded("a")
    assert not turnstile.crowded("b")
    turnstile.leave(first)
    turnstile.leave(first)
    assert not turnstile.crowded("a")
    turnstile.enter("a", 0.0)
    assert turnstile.crowded("a")
    assert turnstile.refused == 2


def test_who_has_asked_is_not_dropped_for_another() -> None:
    turnstile = Turnstile(Settings(handshakes_max=2))
    dropped: list[str] = []
    for name in ("asked", "silent", "late"):
        visit = turnstile.enter(name, 0.0)
        visit.abort = partial(dropped.append, name)
        if name == "asked":
            turnstile.heard(visit)
    assert not turnstile.make_room(0.5)
    assert turnstile.make_room(2.0)
    assert dropped == ["silent"]


def test_addresses_of_one_household_are_one() -> None:
    assert address_of("192.0.2.1") == "192.0.2.1"
    assert address_of("::ffff:192.0.2.1") == "192.0.2.1"
    assert address_of("2001:db8::1") == address_of("2001:db8::ffff:1")
    assert address_of("2001:db8::1") != address_of("2001:db8:0:1::1")
    assert address_of("fe80::1%eth0") == address_of("fe80::2")


async def test_notices_are_bounded_and_say_how_many_they_stand_for() -> None:
    sent: list[SecurityNoticed] = []
    notices = Notices(lambda _, notice: sent.append(notice))
    for _ in range(5):
        notices.note(ChargerId("CP1"), SecurityNoticed("AuthenticationFailed", "", ""))
    assert [notice.count for notice in sent] == [1]
    key = ChargerId("CP1"), "AuthenticationFailed"
    at_s, since = notices._latest[key]
    notices._latest[key] = at_s - 61.0, since
    notices.note(ChargerId("CP1"), SecurityNoticed("AuthenticationFailed", "", ""))
    assert [notice.count for notice in sent] == [1, 5]
    for number in range(500):
        notices.note(ChargerId(f"CP{number + 10}"), SecurityNoticed("AuthenticationFailed", "", ""))
    assert len(sent) < 120
    assert notices.left_out > 380
