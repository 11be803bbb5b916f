"""Links between processes: order, batches, urgency, bounds, and what happens when one end goes."""

from __future__ import annotations

import asyncio
import random
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from controlplane.ids import ChargerId
from controlplane.runtime.transport import Inlet, StreamLink
from controlplane.runtime.wire import DirectoryChanged, Parcel


@pytest.fixture
def path() -> Iterator[Path]:
    """Short: the path of a Unix socket has 107 bytes at most."""
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder) / "s"


def parcel(number: int, padding: int = 0) -> DirectoryChanged:
    return DirectoryChanged((ChargerId(f"{number}" + "x" * padding),))


def never(*_: object) -> None:
    pytest.fail("the link broke")


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not condition():  # noqa: ASYNC110 - nothing tells
            await asyncio.sleep(0.001)


@pytest.mark.parametrize("seed", range(3))
async def test_order_is_kept_and_nothing_is_doubled_or_lost(path: Path, seed: int) -> None:
    chance = random.Random(seed)
    batches: list[list[Parcel]] = []
    inlet = Inlet(batches.append, failed=never)
    link = await StreamLink.connect(await inlet.listen(path), never)
    # Some are larger than a batch or a read may be.
    sizes = [chance.choice((0, 10, 3_000, 300_000)) for _ in range(300)]
    sent = [parcel(number, size) for number, size in enumerate(sizes)]
    for number, each in enumerate(sent):
        link.send(each, urgent=number % 50 == 0)
        if chance.random() < 0.1:
            await asyncio.sleep(0.003)
    await until(lambda: sum(map(len, batches)) >= len(sent))
    assert [each for batch in batches for each in batch] == sent
    assert len(batches) < len(sent)
    link.close()
    inlet.close()


async def test_an_urgent_parcel_takes_those_before_it_along_at_once(path: Path) -> None:
    batches: list[list[Parcel]] = []
    inlet = Inlet(batches.append, failed=never)
    link = await StreamLink.connect(await inlet.listen(path), never)
    link.send(parcel(0))
    await until(lambda: len(batches) == 1)
    link.send(parcel(1))
    link.send(parcel(2), urgent=True)
    await until(lambda: len(batches) == 2)
    assert batches[1] == [parcel(1), parcel(2)]
    link.close()
    inlet.close()


async def test_a_link_whose_peer_is_gone_breaks_once_and_takes_no_more(path: Path) -> None:
    broken: list[bool] = []
    failed: list[Exception] = []

    def refuse(parcels: list[Parcel]) -> None:
        raise KeyError(len(parcels))

    inlet = Inlet(refuse, failed=failed.append)
    link = await StreamLink.connect(await inlet.listen(path), lambda: broken.append(True))
    link.send(parcel(1))
    await until(lambda: bool(broken))
    assert [repr(error) for error in failed] == ["KeyError(1)"]
    link.send(parcel(2))
    await asyncio.sleep(0.01)
    assert broken == [True]
    inlet.close()


async def test_a_closed_link_says_nothing_of_its_end(path: Path) -> None:
    inlet = Inlet(never, failed=never)
    link = await StreamLink.connect(await inlet.listen(path), never)
    link.send(parcel(1))
    link.close()
    link.send(parcel(2))
    await asyncio.sleep(0.01)
    inlet.close()


async def test_a_peer_that_is_behind_is_not_read_and_the_link_becomes_full(path: Path) -> None:
    received: list[Parcel] = []
    behind = True
    inlet = Inlet(received.extend, failed=never, behind=lambda: behind)
    link = await StreamLink.connect(await inlet.listen(path), never)
    assert not link.full
    for number in range(400):
        link.send(parcel(number, 30_000))
    await until(lambda: link.full)
    await asyncio.sleep(0.05)
    assert link.full
    assert len(received) < 400
    behind = False
    await until(lambda: len(received) == 400)
    assert not link.full
    link.close()
    inlet.close()


async def test_nobody_at_the_address_is_said_at_once(path: Path) -> None:
    with pytest.raises(ConnectionError, match="nobody listens"):
        await StreamLink.connect(str(path), never)
