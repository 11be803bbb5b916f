"""One Loadstar node: its database, gateway, hosts and supervisor, and the doors to them."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable
from contextlib import AsyncExitStack
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from controlplane.config import Settings
from controlplane.errors import InvalidInput, Precondition
from controlplane.runtime.asking import RoutedClient
from controlplane.runtime.client import ActorClient
from controlplane.runtime.clock import AcceleratedClock, Clock, SetClock, SystemClock
from controlplane.runtime.cluster_token import read_token
from controlplane.runtime.data_directory import DataDirectory
from controlplane.runtime.garbage import keep_what_is_loaded
from controlplane.runtime.links import Reach, listen
from controlplane.runtime.members import ClusterReading, forget_member
from controlplane.runtime.monitor import Measured
from controlplane.runtime.processes import GatewayProcess, HostProcess, LocalGateway, LocalHost
from controlplane.runtime.residents import ActorFactory
from controlplane.runtime.signing import CertificateService
from controlplane.runtime.supervisor import Supervisor
from controlplane.runtime.telemetry import configure_logging, log
from controlplane.runtime.transport import Inlet
from controlplane.store.engine import connected, migrate, open_engine
from controlplane.store.reader import StoreReader
from controlplane.units import ms_from_datetime

if TYPE_CHECKING:
    from controlplane.runtime.ray_node import RayNode

__all__ = ["Node", "start_node"]

_RETRY_S = 0.5


class Node:
    """A running node. `client` asks actors, `reader` reads what they wrote."""

    def __init__(
        self,
        *,
        name: str,
        settings: Settings,
        clock: Clock,
        client: RoutedClient,
        reader: StoreReader,
        supervisor: Supervisor,
        closing: AsyncExitStack,
        ray_node: RayNode | None = None,
    ) -> None:
        self.name = name
        """Of the node, lasting."""
        self.settings = settings
        self.clock = clock
        self.client: ActorClient = client
        self.reader = reader
        self._supervisor = supervisor
        self._closing = closing
        self._ray_node = ray_node

    @property
    def ocpp_port(self) -> int:
        """Where stations connect: `ws://<host>:<port>/ocpp/<charger id>`; 0 where they may not
        without TLS."""
        return self._supervisor.ports.plain

    @property
    def ocpp_tls_port(self) -> int | None:
        """Where stations connect over TLS (`wss://`); None where nobody listens for that."""
        return self._supervisor.ports.tls

    @property
    def host_restarts(self) -> int:
        """How many times a host or gateway was replaced."""
        return self._supervisor.restarts

    def processes(self) -> dict[str, list[int]]:
        """Process ids by what they do; each process once. `ray` are Ray's own daemons."""
        supervisor = os.getpid()
        gateway = self._supervisor.gateway
        found = {
            "gateway": [gateway.pid] if gateway is not None else [],
            "host": list(dict.fromkeys(host.pid for host in self._supervisor.hosts)),
        }
        # With the local transport everything is this process; what is being started has none yet.
        found = {
            role: [pid for pid in pids if pid not in {0, supervisor}]
            for role, pids in found.items()
        }
        named = {pid for pids in found.values() for pid in pids}
        found["supervisor"] = [supervisor]
        found["ray"] = [pid for pid in _ray_processes(supervisor) if pid not in named]
        return found

    def measured(self) -> dict[str, Measured]:
        """The processes that `Monitor` asks, by lasting names."""
        found: dict[str, Measured] = {
            f"host-{index}": host for index, host in enumerate(self._supervisor.hosts)
        }
        if self._supervisor.gateway is not None:
            found = {"gateway": self._supervisor.gateway} | found
        return found

    async def kill_host(self, index: int = 0) -> None:
        """Kill a host without notice, as a failure would; the supervisor replaces it."""
        await self._supervisor.hosts[index].kill()

    async def roll(self) -> None:
        """Replace the hosts by new processes, one after the other; no socket is closed.

        Raises:
            Precondition: it is being done already.
        """
        await self._supervisor.roll()

    async def drain(self) -> None:
        """Where there are other nodes, hand everything over to them; sockets close little by
        little. Nothing where there is no other.

        Raises:
            Unavailable: the database is away.
        """
        reading = await self.reader.read(ClusterReading.read)
        if any(each.node != self.name and not each.draining for each in reading.hosts()):
            await self._supervisor.drain()

    async def lost_ray(self) -> None:
        """Returns when Ray is gone from this machine, and this node can only end; never where it
        has no processes of Ray."""
        if self._ray_node is None:
            await asyncio.Event().wait()
            return
        await self._ray_node.daemon_ended(self._gateway_pid)

    async def abandon(self) -> None:
        """Where Ray is gone: end what is left of the gateway and the hosts, and let other nodes
        have their shards at once. This process must end then.

        Raises:
            TimeoutError: a process did not end.
            Unavailable: the database is away; the leases run out by themselves.
        """
        if self._ray_node is None:
            return
        hosts = self._supervisor.hosts
        pids = [self._gateway_pid(), *(host.pid for host in hosts)]
        await asyncio.to_thread(self._ray_node.end_processes, [pid for pid in pids if pid])
        for host in hosts:
            await _strike(self.settings, host)
        if self._supervisor.gateway is not None:
            await _strike(self.settings, self._supervisor.gateway)

    def _gateway_pid(self) -> int:
        return 0 if self._supervisor.gateway is None else self._supervisor.gateway.pid

    async def stop(self) -> None:
        """Close the sockets, commit what is under way, give the shards back, end the processes."""
        await self._closing.aclose()


async def start_node(
    settings: Settings,
    *,
    transport: Literal["ray", "local"] = "ray",
    create: ActorFactory | None = None,
) -> Node:
    """Start a node: bring the database up to date, start gateway and hosts, listen.

    Args:
        transport: `ray` gives the gateway and every host a process, on a private Ray of this
            machine or on the cluster at `settings.address`, and every process writes its log to
            `data_dir/logs`; `local` runs all on this event loop and leaves logging to the caller.
        create: makes the actors; by default those of this package.

    Raises:
        InvalidInput: settings that contradict themselves, or do not do for a cluster.
        OSError: the OCPP port is taken, or the data directory cannot be written.
        Precondition: another node runs on this data directory, or on this database.
        Unavailable: the database cannot be opened.
    """
    clock = _clock(settings)
    ray_node: RayNode | None = None
    _check_cluster(settings)
    async with AsyncExitStack() as closing:
        directory = DataDirectory(settings.data_dir)
        closing.callback(directory.release)
        node = directory.node
        names = [f"host-{node}-{index}" for index in range(settings.host_count)]
        spawn_gateway: Callable[[], GatewayProcess]
        spawn_hosts: list[Callable[[], HostProcess]]
        if transport == "ray":
            configure_logging(settings, "supervisor", to_file=True)
            ray_node = await _start_ray(settings, node, closing)
            tls = ray_node.place.tls()
            reach = Reach.of(ray_node.place, tls)
            spawn_gateway = ray_node.gateway_spawner(settings)
            spawn_hosts = [ray_node.host_spawner(name, settings, clock, create) for name in names]
        else:
            await asyncio.to_thread(migrate, settings.database)
            reach = Reach(node)
            spawn_gateway = partial(LocalGateway, settings, reach)
            spawn_hosts = [
                partial(LocalHost, name, settings, clock, create, reach)
                for name in names[: settings.hosts or 1]
            ]
        reader = StoreReader(settings.database)
        closing.callback(reader.close)
        await _refuse_strangers(settings, node, reader)
        client = RoutedClient(reader, reach)
        inlet = Inlet(client.receive, failed=_not_taken)
        closing.callback(inlet.close)
        if ray_node is None:
            address = f"{node} {inlet.listen_locally()}"
        else:
            address = await listen(inlet, ray_node.place, tls)
        client.start(address)
        supervisor = Supervisor(
            client,
            spawn_gateway=spawn_gateway,
            spawn_hosts=spawn_hosts,
            spare=ray_node is not None and settings.spare_host,
            strike=partial(_strike, settings),
        )
        closing.push_async_callback(supervisor.stop)
        closing.push_async_callback(client.close)
        await supervisor.start()
        if ray_node is not None:
            # This process is the node's own, and answers its API.
            keep_what_is_loaded()
        certificates = CertificateService(settings, client, reader)
        certificates.start()
        closing.push_async_callback(certificates.stop)
        return Node(
            name=node,
            settings=settings,
            clock=clock,
            client=client,
            reader=reader,
            supervisor=supervisor,
            closing=closing.pop_all(),
            ray_node=ray_node,
        )


def _check_cluster(settings: Settings) -> None:
    """
    Raises:
        InvalidInput: one of several nodes cannot be run with these settings.
    """
    if not settings.address:
        return
    if not settings.database.startswith("postgresql"):
        raise InvalidInput(
            "several nodes share one PostgreSQL: give its URL with --database-url; SQLite serves "
            "one node",
            reason="CLUSTER_NEEDS_POSTGRESQL",
        )
    if settings.cluster_token_file is None:
        raise InvalidInput(
            "the nodes of a cluster know each other by a secret: give its file with "
            "--cluster-token-file",
            reason="CLUSTER_TOKEN_MISSING",
        )
    # Read by Ray when it is imported.
    os.environ.setdefault("RAY_AUTH_TOKEN", read_token(settings.cluster_token_file))


async def _refuse_strangers(settings: Settings, node: str, reader: StoreReader) -> None:
    """
    Raises:
        Precondition: hosts of another node are on this database, which this one cannot link to, and
            go on renewing their lease.
    """
    loop = asyncio.get_running_loop()
    # A dead node's leases run out; the last try comes after that.
    until_s = loop.time() + settings.lease_s + _RETRY_S
    while True:
        reading = await reader.read(ClusterReading.read)
        others = [
            host
            for host in reading.hosts()
            if host.node != node and not (settings.address and " tcp:" in host.address)
        ]
        if not others:
            return
        if loop.time() >= until_s:
            raise Precondition(
                f"another Loadstar is running on this database: {others[0].name} of node "
                f"{others[0].node}",
                reason="DATABASE_IN_USE",
            )
        await asyncio.sleep(_RETRY_S)


async def _strike(settings: Settings, process: GatewayProcess | HostProcess) -> None:
    """Take a process that has ended from the members, and let others have its shards.

    Raises:
        Unavailable: the database is away.
    """

    def strike() -> None:
        engine = open_engine(settings.database, writer=True, timeout_s=settings.lease_s)
        try:
            with connected(engine) as connection:
                forget_member(connection, process.name, process.incarnation)
        finally:
            engine.dispose()

    await asyncio.to_thread(strike)


def _not_taken(error: Exception) -> None:
    log.error("batch_not_taken", exc_info=error)


async def _start_ray(settings: Settings, node: str, closing: AsyncExitStack) -> RayNode:
    """Start Ray while the database is brought up to date; both take a second or two."""
    from controlplane.runtime import ray_node as ray_nodes  # noqa: PLC0415 - Ray takes a second to import

    starting = asyncio.create_task(
        asyncio.to_thread(ray_nodes.join_ray, node, settings)
        if settings.address
        else asyncio.to_thread(ray_nodes.start_ray, node)
    )
    try:
        await asyncio.to_thread(migrate, settings.database)
    finally:
        ray_node = await starting
        closing.push_async_callback(asyncio.to_thread, ray_node.stop)
    return ray_node


def _clock(settings: Settings) -> Clock:
    if settings.clock_offset_file is not None:
        return SetClock(settings.clock_offset_file)
    if settings.clock_speed == 1.0 and not settings.clock_start:
        return SystemClock()
    start_ms = time.time_ns() // 1_000_000
    if settings.clock_start:
        try:
            start_ms = ms_from_datetime(datetime.fromisoformat(settings.clock_start))
        except ValueError as error:
            raise InvalidInput(f"clock_start: {error}", reason="CLOCK_START_INVALID") from error
    return AcceleratedClock(
        start_ms=start_ms,
        speed=settings.clock_speed,
        origin_s=settings.clock_origin_s or time.time(),
    )


def _ray_processes(root: int) -> list[int]:
    """Ray's daemons and workers below this process."""
    found = []
    waiting = [root]
    while waiting:
        pid = waiting.pop()
        for child in _children(pid):
            try:
                command = Path(f"/proc/{child}/cmdline").read_bytes()
            except OSError:
                continue
            if b"ray" in command.split(b" ", 1)[0] or b"/ray/" in command or b"ray::" in command:
                found.append(child)
                waiting.append(child)
    return found


def _children(pid: int) -> list[int]:
    try:
        tasks = list(Path(f"/proc/{pid}/task").iterdir())
        return [int(c) for task in tasks for c in (task / "children").read_text().split()]
    except OSError:
        return []
