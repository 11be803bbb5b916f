"""Two nodes of a real Ray cluster on one PostgreSQL, linked over TLS: hosts killed and frozen, a
supervisor killed, Ray's head lost, a node drained, while stations talk."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import psycopg
import pytest
import yaml
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed
from websockets.typing import Subprotocol

from controlplane.ids import SHARDS
from controlplane.runtime.process_ends import parent_of
from controlplane.runtime.ray_library import ray

TOKEN = os.environ["RAY_AUTH_TOKEN"]
"""Ray's, of this process: the cluster's nodes are started from here."""
SITES = 6
LEASE_S = 8.0
SPARE_PAUSE_S = 6.0
"""A node loads the next spare host 5 s after one was taken."""


def network(folder: Path) -> Path:
    """Sites of different shards, one charger each."""
    sites = [
        {
            "id": f"site-{number}",
            "circuits": [{"id": "supply", "rating_a": 32}],
            "chargers": [
                {
                    "id": f"CP{number}",
                    "circuit": "supply",
                    "offline_current_a": 6,
                    "connectors": [{"id": 1, "current_max_a": 16}],
                }
            ],
        }
        for number in range(SITES)
    ]
    file = folder / "network.yaml"
    file.write_text(yaml.safe_dump({"sites": sites}))
    return file


async def loadstar(node: NodeProcess, *command: str) -> str:
    """What the command says to the node, and prints."""
    address = f"127.0.0.1:{node.ready['grpc_port']}"
    done = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-m", "controlplane.cli", *command, "--address", address],
        cwd=node.log.parent,
        capture_output=True,
        text=True,
        check=False,
        timeout=90,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


class NodeProcess:
    """`loadstar up` on one node of the cluster."""

    def __init__(self, folder: Path, name: str, *options: str, lease_s: float = LEASE_S) -> None:
        self.ready_file = folder / f"{name}.ready"
        self.log = folder / f"{name}.out"
        with self.log.open("wb") as out:
            self.process = subprocess.Popen(
                [
                    *(sys.executable, "-m", "controlplane.cli", "up", "--ocpp-port", "0"),
                    *("--grpc-port", "0", "--data-dir", str(folder / name)),
                    *("--ready-file", str(self.ready_file), *options),
                ],
                cwd=folder,
                env=os.environ | {"LOADSTAR_LEASE_S": str(lease_s), "LOADSTAR_DRAIN_S": "1"},
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                start_new_session=True,
            )

    @property
    def ready(self) -> dict[str, Any]:
        with suppress(FileNotFoundError, json.JSONDecodeError):
            found: dict[str, Any] = json.loads(self.ready_file.read_text())
            return found
        return {}

    @property
    def hosts(self) -> list[int]:
        found: list[int] = self.ready.get("pids", {}).get("host", [])
        return found

    async def started(self) -> None:
        await until(lambda: bool(self.ready) or self.process.poll() is not None, 90)
        assert self.ready, self.log.read_text()

    def end(self) -> None:
        pids = [pid for of_role in self.ready.get("pids", {}).values() for pid in of_role]
        for pid in {*pids, self.process.pid}:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.process.wait(10)


class Station:
    """Asks for the time again and again; counts its answers and its sockets."""

    def __init__(self, node: NodeProcess, charger_id: str) -> None:
        self.answers = 0
        self.sockets = 0
        self._url = f"ws://127.0.0.1:{node.ready['ocpp_port']}/ocpp/{charger_id}"
        self.task = asyncio.create_task(self._run())

    async def _run(self) -> None:
        while True:
            with suppress(OSError, ConnectionClosed):
                async with connect(self._url, subprotocols=[Subprotocol("ocpp1.6")]) as socket:
                    self.sockets += 1
                    while True:
                        await self._ask(socket)
            await asyncio.sleep(0.1)

    async def _ask(self, socket: Any) -> None:
        message_id = f"m{self.answers}"
        await socket.send(json.dumps([2, message_id, "Heartbeat", {}]))
        while True:
            kind, answered, *rest = json.loads(await socket.recv())
            if kind == 2:
                await socket.send(json.dumps([4, answered, "NotSupported", "", {}]))
            elif answered == message_id:
                assert kind == 3, rest
                self.answers += 1
                await asyncio.sleep(0.02)
                return


async def until(condition: Callable[[], bool], seconds: float = 60.0) -> None:
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110 - what is waited for has no event
            await asyncio.sleep(0.05)


async def all_answered(stations: list[Station], more: int = 5) -> None:
    """Every station is answered again, some times."""
    enough = [station.answers + more for station in stations]
    await until(lambda: all(s.answers >= n for s, n in zip(stations, enough, strict=True)))


def actors_of(daemon: int) -> list[int]:
    """The processes in which this daemon of Ray's runs actors."""
    found = []
    for children in Path(f"/proc/{daemon}/task").glob("*/children"):
        for pid in map(int, children.read_text().split()):
            with suppress(OSError):
                if b"Actor" in Path(f"/proc/{pid}/cmdline").read_bytes():
                    found.append(pid)
    return found


def shares_in(database_url: str) -> list[int]:
    """How many shards each host owns that owns any."""
    with psycopg.connect(database_url) as connection:
        return [
            count
            for owner, count in connection.execute(
                "SELECT owner, COUNT(*) FROM shard_owner GROUP BY owner"
            )
            if owner
        ]


@pytest.fixture
def ray_cluster() -> Iterator[Any]:
    from ray.cluster_utils import Cluster  # noqa: PLC0415 - part of Ray's own tests

    cluster = Cluster(
        initialize_head=True,
        head_node_args={"num_cpus": 0, "node_ip_address": ray.util.get_node_ip_address()},
    )
    for address in ("127.0.0.2", "127.0.0.3"):
        cluster.add_node(num_cpus=1, node_ip_address=address)
    yield cluster
    cluster.shutdown()


def joining(tmp_path: Path, database_url: str, ray_cluster: Any) -> tuple[str, ...]:
    """The options of a node that joins the cluster."""
    token_file = tmp_path / "token"
    token_file.write_text(TOKEN)
    token_file.chmod(0o600)
    return (
        *("--address", ray_cluster.address, "--cluster-token-file", str(token_file)),
        *("--database-url", database_url, "--hosts", "1"),
    )


@pytest.mark.cluster
@pytest.mark.timeout(300)
async def test_two_nodes_serve_each_others_stations_through_every_loss(
    tmp_path: Path, postgresql_url: str, ray_cluster: Any
) -> None:
    common = joining(tmp_path, postgresql_url, ray_cluster)
    nodes = [
        NodeProcess(tmp_path, "a", *common, "--link-host", "127.0.0.2"),
        NodeProcess(tmp_path, "b", *common, "--link-host", "127.0.0.3"),
    ]
    first, second = nodes

    def shares() -> list[int]:
        return shares_in(postgresql_url)

    try:
        for node in nodes:
            await node.started()
        await until(lambda: len(shares()) == 2 and max(shares()) < SHARDS * 2 / 3)
        members = json.loads(await loadstar(second, "members", "--json"))["members"]
        assert sorted(each["kind"] for each in members) == sorted(
            ["MEMBER_KIND_GATEWAY", "MEMBER_KIND_HOST"] * 2
        )
        await loadstar(first, "network", "apply", str(network(tmp_path)))
        stations = [Station(nodes[number % 2], f"CP{number}") for number in range(SITES)]
        await all_answered(stations)

        (rolled,) = first.hosts
        await loadstar(first, "roll")
        await until(lambda: first.hosts not in ([], [rolled]))
        await all_answered(stations)

        (killed,) = first.hosts
        os.kill(killed, signal.SIGKILL)
        await until(lambda: first.hosts not in ([], [killed]))
        await all_answered(stations)

        (frozen,) = second.hosts
        os.kill(frozen, signal.SIGSTOP)
        await until(lambda: second.hosts not in ([], [frozen]))
        await all_answered(stations)

        ray_cluster.remove_node(ray_cluster.head_node, allow_graceful=False)
        await all_answered(stations, 50)
        assert [station.sockets for station in stations] == [1] * SITES

        # Since its host was replaced, the second node lacks a spare: it is asking for one where
        # nobody answers, and ends all the same.
        await asyncio.sleep(SPARE_PAUSE_S)
        second.process.send_signal(signal.SIGTERM)
        await until(lambda: second.process.poll() is not None)
        assert sum(shares()) == SHARDS
        assert len(shares()) == 1
        mine = stations[::2]
        await all_answered(mine)
        assert [station.sockets for station in mine] == [1] * len(mine)
        for station in stations:
            station.task.cancel()

        # Without Ray a node can start nothing any more: it says so, and leaves the rest to whoever
        # started it.
        for ray_node in list(ray_cluster.worker_nodes):
            ray_cluster.remove_node(ray_node, allow_graceful=False)
        await until(lambda: first.process.poll() is not None)
        assert first.process.returncode == 72
        assert "Ray is gone from this machine" in first.log.read_text()
    finally:
        for node in nodes:
            node.end()


@pytest.mark.cluster
@pytest.mark.timeout(300)
async def test_nobody_waits_for_the_lease_of_a_host_that_has_ended(
    tmp_path: Path, postgresql_url: str, ray_cluster: Any
) -> None:
    """Leases are longer than anything here is waited for."""
    common = joining(tmp_path, postgresql_url, ray_cluster)
    nodes = [
        NodeProcess(tmp_path, name, *common, "--link-host", address, lease_s=600.0)
        for name, address in (("a", "127.0.0.2"), ("b", "127.0.0.3"))
    ]
    first = nodes[0]
    try:
        for node in nodes:
            await node.started()
        await until(lambda: len(shares_in(postgresql_url)) == 2)
        await loadstar(first, "network", "apply", str(network(tmp_path)))
        stations = [Station(nodes[number % 2], f"CP{number}") for number in range(SITES)]
        await all_answered(stations)

        # One of these finds no spare: the other node's host has everything until it is back.
        def alone() -> bool:
            return len(shares_in(postgresql_url)) == 1

        async def kill_host() -> None:
            (killed,) = first.hosts
            os.kill(killed, signal.SIGKILL)
            await until(lambda: alone() or first.hosts not in ([], [killed]))

        while not alone():
            await kill_host()
        await all_answered(stations)
        await until(lambda: len(shares_in(postgresql_url)) == 2)
        await all_answered(stations)
        assert [station.sockets for station in stations] == [1] * SITES

        # Its gateway, its host, and the spare one that is kept ready.
        daemon = parent_of(first.hosts[0])
        await until(lambda: len(actors_of(daemon)) == 3)
        orphans = actors_of(daemon)
        first.process.kill()
        await until(lambda: len(shares_in(postgresql_url)) == 1)
        await until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in orphans))
        await all_answered(stations[1::2])
        for station in stations:
            station.task.cancel()
    finally:
        for node in nodes:
            node.end()
