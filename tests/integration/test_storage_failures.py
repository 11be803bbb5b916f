"""A full disk, a database that is gone, frozen or killed, under stations that talk: nothing is
acknowledged that is not stored, sockets stay, and everything goes on by itself."""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import resource
import shutil
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import pytest
from runtime_actors import create_tiny
from structlog.testing import capture_logs
from test_runtime_local import CHARGERS, METER_VALUES, SITE, settings_for, station, until
from websockets.asyncio.client import ClientConnection

from controlplane.config import Settings
from controlplane.ids import SessionId
from controlplane.runtime.node import Node, start_node
from controlplane.sim.postgresql import PostgresqlServer
from controlplane.site.messages import ConfigureSite, SiteConfigured
from controlplane.store.backup import back_up, restore


class Talkers:
    """Stations that send one meter value after the other, each on one socket for all its life."""

    def __init__(self) -> None:
        self.acknowledged: set[str] = set()
        self._sockets: list[ClientConnection] = []
        self._stop = asyncio.Event()

    async def talk(self, node: Node, charger_id: str) -> None:
        async with station(node, charger_id) as socket:
            self._sockets.append(socket)
            for number in itertools.count():
                message_id = f"{charger_id}-{number}"
                await socket.send(json.dumps([2, message_id, "MeterValues", METER_VALUES]))
                answer = json.loads(await asyncio.wait_for(socket.recv(), 60))
                assert answer == [3, message_id, {}]
                self.acknowledged.add(message_id)
                if self._stop.is_set():
                    return

    async def heard(self, more: int) -> None:
        enough = len(self.acknowledged) + more
        await until(lambda: len(self.acknowledged) >= enough)

    async def silent(self) -> None:
        """Returns when nobody has been answered for a while."""
        async with asyncio.timeout(60):
            before = -1
            while before != len(self.acknowledged):
                before = len(self.acknowledged)
                await asyncio.sleep(0.3)

    def stop(self) -> None:
        self._stop.set()


@asynccontextmanager
async def talking(settings: Settings) -> AsyncIterator[tuple[Node, Talkers]]:
    """A node with stations that talk; at the end every acknowledged message is in the store."""
    node = await start_node(settings, transport="local", create=create_tiny)
    talkers = Talkers()
    tasks: list[asyncio.Task[None]] = []
    try:
        await node.client.ask(SITE, ConfigureSite(",".join(CHARGERS).encode()), SiteConfigured)
        tasks += [asyncio.create_task(talkers.talk(node, each)) for each in CHARGERS]
        await talkers.heard(20)
        yield node, talkers
        await talkers.heard(20)
        talkers.stop()
        # Each ends well only if its socket was never closed.
        await asyncio.gather(*tasks)
        for message_id in talkers.acknowledged:
            assert await node.reader.meter_samples(SessionId(message_id)), message_id
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await node.stop()


@contextmanager
def files_up_to(size_bytes: int) -> Iterator[None]:
    """No file of this process may grow beyond that: what a quota does, without being root."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


async def test_a_file_that_may_not_grow_stops_acknowledgements_until_it_may(
    tmp_path: Path,
) -> None:
    settings = settings_for(tmp_path)
    async with talking(settings) as (node, talkers):
        log = f"{settings.database.removeprefix('sqlite:///')}-wal"
        with capture_logs() as logs, files_up_to(os.stat(log).st_size + 100_000):  # noqa: PTH116
            await until(lambda: any(line["event"] == "commit_failed" for line in logs))
            await talkers.silent()
        assert node.host_restarts == 0


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=6m", "tmpfs", folder],
        capture_output=True,
        check=False,
    )
    if mounted.returncode:
        pytest.skip(f"no file system of a given size without root: {mounted.stderr.decode()}")
    yield folder
    subprocess.run(["umount", "--lazy", folder], check=True)


@pytest.mark.skipif(shutil.which("mount") is None, reason="there is no mount here")
async def test_a_full_disk_longer_than_the_lease_is_survived(small_disk: Path) -> None:
    async with talking(settings_for(small_disk, lease_s=1.0)) as (node, talkers):
        filling = small_disk / "somebody-else"
        with capture_logs() as logs:
            # The store writes meanwhile, so what is free is found by filling it, not by asking.
            with pytest.raises(OSError, match="No space left"), filling.open("wb") as file:
                while True:
                    os.posix_fallocate(file.fileno(), file.tell(), 4096)
                    file.seek(4096, os.SEEK_CUR)
            await until(lambda: any(line["event"] == "commit_failed" for line in logs))
            # A lease cannot be renewed on a full disk: the host ends, and others wait for room.
            await until(lambda: any(line["event"] == "host_ended" for line in logs))
            await talkers.silent()
        filling.unlink()
        await until(lambda: node.host_restarts >= 1)


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresqlServer]:
    """One that is killed and frozen."""
    with PostgresqlServer() as server:
        yield server


async def test_a_killed_postgresql_is_survived(server: PostgresqlServer, tmp_path: Path) -> None:
    settings = settings_for(tmp_path, database_url=server.create("killed"))
    async with talking(settings) as (_node, talkers):
        for _ in range(2):
            server.kill()
            await talkers.silent()
            server.start()
            await talkers.heard(20)


@pytest.mark.parametrize("lease_s", [30.0, 1.0], ids=["within-the-lease", "beyond-the-lease"])
async def test_a_frozen_postgresql_is_survived(
    server: PostgresqlServer, tmp_path: Path, lease_s: float
) -> None:
    url = server.create(f"frozen{lease_s:.0f}")
    async with talking(settings_for(tmp_path, database_url=url, lease_s=lease_s)) as (
        node,
        talkers,
    ):
        with capture_logs() as logs:
            server.freeze()
            try:
                await talkers.silent()
                if lease_s == 1.0:
                    # The loop goes on, and so do sockets, while the writer waits.
                    await until(lambda: any(line["event"] == "host_ended" for line in logs))
            finally:
                server.thaw()
        if lease_s == 1.0:
            await until(lambda: node.host_restarts >= 1)


async def test_a_node_goes_on_from_a_back_up(
    database_url: str, postgresql_server: PostgresqlServer, tmp_path: Path
) -> None:
    file = tmp_path / "loadstar.backup"
    async with talking(settings_for(tmp_path / "old", database_url=database_url)) as (_, talkers):
        before = set(talkers.acknowledged)
        # Taken while stations talk, and holding all that was acknowledged before it.
        await asyncio.to_thread(back_up, database_url, file)
    name = f"restored_{database_url.partition(':')[0]}"
    target = postgresql_server.create(name)
    await asyncio.to_thread(restore, file, target)
    async with talking(settings_for(tmp_path / "new", database_url=target)) as (node, _):
        for message_id in before:
            assert await node.reader.meter_samples(SessionId(message_id)), message_id
    postgresql_server.drop(name)
