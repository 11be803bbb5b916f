"""Who takes the place of a host that dies."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from controlplane.runtime import supervisor as supervisor_module
from controlplane.runtime.supervisor import Supervisor
from controlplane.runtime.wire import Ports


class Process:
    """A gateway or a host that does what it is told; it is loaded when a test says so."""

    def __init__(self, name: str = "host") -> None:
        self.name = name
        self.pid = 0
        self.loaded = asyncio.Event()
        self.refused = False
        self.serves = False
        self.killed = False
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

    async def look(self) -> None: ...

    async def ended(self) -> str:
        return await self.over

    async def kill(self) -> None:
        self.killed = True

    async def stop(self, *, successor: bool = False) -> None: ...


class Client:
    def look(self) -> None: ...


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110 - what is waited for has no event
            await asyncio.sleep(0.001)


@asynccontextmanager
async def supervised(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[tuple[Supervisor, Any]]:
    """A supervisor of one host that keeps a spare, and every host that was ever made."""
    monkeypatch.setattr(supervisor_module, "_SPARE_PAUSE_S", 0.0)
    monkeypatch.setattr(supervisor_module, "_BACKOFF_S", 0.0)
    made: list[Process] = []

    def spawn() -> Any:
        made.append(Process())
        return made[-1]

    async def strike(_: str) -> None: ...

    client: Any = Client()
    gateway: Any = Process("gateway")
    supervisor = Supervisor(
        client, spawn_gateway=lambda: gateway, spawn_hosts=[spawn], spare=True, strike=strike
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
