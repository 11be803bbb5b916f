"""Who takes the place of a host that dies."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from controlplane.errors import Unavailable
from controlplane.runtime import supervisor as supervisor_module
from controlplane.runtime.supervisor import Supervisor
from controlplane.runtime.wire import Ports


class Process:
    """A gateway or a host that does what it is told; it is loaded when a test says so."""

    def __init__(self, name: str = "host") -> None:
        self.name = self.incarnation = name
        self.pid = 0
        self.loaded = asyncio.Event()
        self.refused = False
        self.serves = False
        self.killed = False
        self.immortal = False
        self.over: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    async def prepare(self) -> None:
        await self.loaded.wait()
        if self.refused:
            raise ConnectionError("gone")

    async def start(self, ports: Ports | None = None) -> Ports:
        self.pid = 1
        return Ports(1)

    async def serve(self) -> None:
        self.serves = True

    async def ended(self) -> str:
        return await self.over

    async def kill(self) -> bool:
        self.killed = True
        return not self.immortal

    async def stop(self, *, successor: bool = False) -> None: ...


class Client:
    """Of the node; counts how often it had every host look who is there."""

    urged = 0

    def look(self) -> None: ...

    def have_hosts_look(self) -> None:
        self.urged += 1


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110 - what is waited for has no event
            await asyncio.sleep(0.001)


@asynccontextmanager
async def supervised(
    monkeypatch: pytest.MonkeyPatch, strike: Callable[[Any], Awaitable[None]] | None = None
) -> AsyncIterator[tuple[Supervisor, Any]]:
    """A supervisor of one host that keeps a spare, and every host that was ever made."""
    monkeypatch.setattr(supervisor_module, "_SPARE_PAUSE_S", 0.0)
    monkeypatch.setattr(supervisor_module, "_BACKOFF_S", 0.0)
    made: list[Process] = []

    def spawn() -> Any:
        made.append(Process())
        return made[-1]

    async def strike_nobody(_: Any) -> None: ...

    client: Any = Client()
    gateway: Any = Process("gateway")
    supervisor = Supervisor(
        client,
        spawn_gateway=lambda: gateway,
        spawn_hosts=[spawn],
        spare=True,
        strike=strike or strike_nobody,
    )
    await supervisor.start()
    await until(lambda: len(made) == 2)
    yield supervisor, made
    await supervisor.stop()


async def test_a_host_that_dies_is_followed_by_the_spare_and_another_is_loaded(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with supervised(monkeypatch) as (supervisor, made):
        host, spare = made
        spare.loaded.set()
        await asyncio.sleep(0.01)
        assert not spare.serves
        host.over.set_result("killed")
        await until(lambda: spare.serves and len(made) == 3)
        assert supervisor.hosts == [spare]
        assert not made[2].serves


async def test_a_host_that_dies_early_is_followed_by_the_one_that_is_being_loaded(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A new one would begin from the start, beside it."""
    async with supervised(monkeypatch) as (supervisor, made):
        host, coming = made
        host.over.set_result("killed")
        await until(lambda: coming.serves)
        assert supervisor.hosts == [coming]
        assert len(made) == 2
        coming.loaded.set()
        await until(lambda: len(made) == 3)
        made[2].loaded.set()
        await asyncio.sleep(0.01)
        coming.over.set_result("killed")
        await until(lambda: made[2].serves)
        assert supervisor.hosts == [made[2]]


async def test_what_could_not_be_loaded_follows_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    async with supervised(monkeypatch) as (supervisor, made):
        host, coming = made
        coming.refused = True
        coming.loaded.set()
        await until(lambda: len(made) == 3)
        assert coming.killed
        host.over.set_result("killed")
        await until(lambda: made[2].serves)
        assert supervisor.hosts == [made[2]]


async def test_a_host_that_dies_with_no_spare_ready_is_struck_so_that_others_have_its_shards(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    struck: list[Any] = []

    async def strike(process: Any) -> None:
        if not struck:
            struck.append(None)
            raise Unavailable("the database is away")
        struck.append(process)

    async with supervised(monkeypatch, strike) as (_, made):
        host, coming = made
        host.over.set_result("killed")
        await until(lambda: host in struck)
        await until(lambda: coming.serves)
        assert struck == [None, host], "tried again, and never more than needed"


async def test_a_host_that_a_spare_follows_keeps_its_shards_for_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    struck: list[Any] = []

    async def strike(process: Any) -> None:
        struck.append(process)

    async with supervised(monkeypatch, strike) as (_, made):
        host, spare = made
        spare.loaded.set()
        await asyncio.sleep(0.01)
        host.over.set_result("killed")
        await until(lambda: spare.serves and len(made) == 3)
        assert struck == []
        # The next one is not loaded yet.
        spare.over.set_result("killed")
        await until(lambda: spare in struck)
        assert struck == [spare]


async def test_nobody_is_struck_who_may_still_live(monkeypatch: pytest.MonkeyPatch) -> None:
    struck: list[Any] = []

    async def strike(process: Any) -> None:
        struck.append(process)

    async with supervised(monkeypatch, strike) as (_, made):
        host, coming = made
        host.immortal = True
        host.over.set_result("silent")
        await until(lambda: coming.serves)
        assert host.killed
        assert struck == []
