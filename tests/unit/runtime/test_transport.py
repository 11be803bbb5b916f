"""Links between processes under calls that overtake each other, get lost and are repeated."""

from __future__ import annotations

import asyncio
import random

import pytest

from controlplane.ids import ChargerId
from controlplane.runtime.transport import BatchLink, Receiver
from controlplane.runtime.wire import DirectoryChanged, Parcel


def parcel(number: int, padding: int = 0) -> DirectoryChanged:
    return DirectoryChanged((ChargerId(f"{number}" + "x" * padding),))


async def until_sent(received: list[Parcel], count: int) -> None:
    async with asyncio.timeout(20):
        while len(received) < count:  # noqa: ASYNC110 - nothing tells
            await asyncio.sleep(0.001)


@pytest.mark.parametrize("seed", range(5))
async def test_order_is_kept_and_nothing_is_doubled_or_lost(seed: int) -> None:
    chance = random.Random(seed)
    received: list[Parcel] = []
    receiver = Receiver(received.extend)
    in_flight = 0
    most = 0

    async def deliver(link: str, sequence: int, batch: bytes) -> None:
        nonlocal in_flight, most
        in_flight += 1
        most = max(most, in_flight)
        try:
            await asyncio.sleep(chance.random() * 0.003)
            if chance.random() < 0.2:
                raise TimeoutError
            receiver.receive(link, sequence, batch)
            if chance.random() < 0.2:
                raise TimeoutError
        finally:
            in_flight -= 1

    link = BatchLink("l1", deliver, lambda: pytest.fail("the link broke"))
    sent = [parcel(number, chance.randrange(3_000)) for number in range(300)]
    for number, each in enumerate(sent):
        link.send(each, urgent=number % 50 == 0)
        if chance.random() < 0.1:
            await asyncio.sleep(0.002)
    await until_sent(received, len(sent))
    assert received == sent
    assert most <= 2


async def test_a_link_whose_peer_is_gone_breaks_once_and_takes_no_more() -> None:
    broken: list[bool] = []

    async def deliver(link: str, sequence: int, batch: bytes) -> None:
        raise ConnectionError

    link = BatchLink("l1", deliver, lambda: broken.append(True))
    link.send(parcel(1))
    async with asyncio.timeout(10):
        while not broken:  # noqa: ASYNC110 - nothing tells
            await asyncio.sleep(0.001)
    link.send(parcel(2))
    await asyncio.sleep(0.05)
    assert broken == [True]


async def test_a_link_that_is_not_read_becomes_full() -> None:
    async def deliver(link: str, sequence: int, batch: bytes) -> None:
        await asyncio.Event().wait()

    link = BatchLink("l1", deliver, lambda: None)
    assert not link.full
    for number in range(200):
        link.send(parcel(number, 30_000))
    assert link.full
    link.close()


def test_a_new_link_starts_anew_and_the_middle_of_an_unknown_one_is_refused() -> None:
    received: list[Parcel] = []
    receiver = Receiver(received.extend)
    empty = b"\x90"
    receiver.receive("l1", 0, empty)
    receiver.receive("l1", 1, empty)
    receiver.receive("l2", 0, empty)
    with pytest.raises(ConnectionError):
        receiver.receive("l3", 5, empty)
