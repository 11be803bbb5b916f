from __future__ import annotations

import asyncio

from controlplane.ids import ActorKind, ActorRef
from controlplane.runtime.client import JournalEvent
from controlplane.runtime.feed import Ring


def event(cursor: int) -> JournalEvent:
    return JournalEvent(cursor, 0, "x", ActorRef(ActorKind.SITE, "S"), {})


async def test_a_ring_serves_what_it_holds_without_gaps() -> None:
    ring = Ring(events_max=3)
    assert ring.after(0, 10) is None
    ring.append([event(1), event(2), event(3), event(4)])
    assert ring.after(0, 10) is None
    assert ring.after(1, 10) == [event(2), event(3), event(4)]
    assert ring.after(3, 10) == [event(4)]
    assert ring.after(4, 10) == []
    assert ring.after(1, 1) == [event(2)]


async def test_events_of_hosts_that_commit_side_by_side_are_put_in_order() -> None:
    ring = Ring()
    ring.append([event(1), event(2)])
    ring.append([event(4), event(5)])
    assert ring.after(2, 10) == []
    assert ring.early
    ring.append([event(3)])
    assert ring.after(2, 10) == [event(3), event(4), event(5)]
    ring.append([event(4)])
    assert not ring.early
    assert ring.last == 5


async def test_a_gap_that_is_not_filled_sends_readers_to_the_store() -> None:
    ring = Ring()
    ring.append([event(1), event(2)])
    ring.append([event(cursor) for cursor in range(4, 2_006)])
    assert ring.after(2, 10) is None
    assert ring.after(3, 1) == [event(4)]
    assert ring.last == 2_005


async def test_what_nobody_told_is_noticed() -> None:
    ring = Ring()
    ring.reached(7)
    assert ring.after(6, 10) is None
    assert ring.after(7, 10) == []
    ring.append([event(8)])
    ring.reached(9)
    assert ring.after(8, 10) == []
    waiting = asyncio.create_task(ring.wait(30.0))
    await asyncio.sleep(0)
    ring.reached(9)
    await asyncio.wait_for(waiting, 5.0)
    assert ring.after(8, 10) is None
    assert ring.after(9, 10) == []


async def test_who_waits_is_woken() -> None:
    ring = Ring()
    waiting = asyncio.create_task(ring.wait(30.0))
    await asyncio.sleep(0)
    ring.append([event(1)])
    await asyncio.wait_for(waiting, 5.0)
    await ring.wait(0.001)
