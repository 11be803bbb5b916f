"""One Loadstar node: its database, gateway, host and supervisor, and the doors to them."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable
from contextlib import AsyncExitStack
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from controlplane.config import Settings
from controlplane.errors import InvalidInput
from controlplane.runtime.asking import RoutedClient
from controlplane.runtime.client import ActorClient
from controlplane.runtime.clock import AcceleratedClock, Clock, SystemClock
from controlplane.runtime.data_directory import DataDirectory
from controlplane.runtime.monitor import Measured
from controlplane.runtime.processes import GatewayProcess, HostProcess, LocalGateway, LocalHost
from controlplane.runtime.residents import ActorFactory
from controlplane.runtime.signing import CertificateService
from controlplane.runtime.supervisor import Supervisor
from controlplane.runtime.telemetry import configure_logging
from controlplane.store.engine import migrate
from controlplane.store.reader import StoreReader
from controlplane.units import ms_from_datetime

if TYPE_CHECKING:
    from controlplane.runtime.ray_processes import RayNode

__all__ = ["Node", "start_node"]


class Node:
    """A running node. `client` asks actors, `reader` reads what they wrote."""

    def __init__(
        self,
        *,
        settings: Settings,
        clock: Clock,
        client: RoutedClient,
        reader: StoreReader,
        supervisor: Supervisor,
        closing: AsyncExitStack,
    ) -> None:
        self.settings = settings
        self.clock = clock
        self.client: ActorClient = client
        self.reader = reader
        self._supervisor = supervisor
        self._closing = closing

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
        gateway, host = self._supervisor.gateway, self._supervisor.host
        found = {
            "gateway": [gateway.pid] if gateway is not None else [],
            "host": [host.pid] if host is not None else [],
        }
        # With the local transport everything is this process.
        found = {role: [pid for pid in pids if pid != supervisor] for role, pids in found.items()}
        named = {pid for pids in found.values() for pid in pids}
        found["supervisor"] = [supervisor]
        found["ray"] = [pid for pid in _ray_processes(supervisor) if pid not in named]
        return found

    def measured(self) -> dict[str, Measured]:
        """The processes that `Monitor` asks, by lasting names."""
        gateway, host = self._supervisor.gateway, self._supervisor.host
        found: dict[str, Measured] = {}
        if gateway is not None:
            found["gateway"] = gateway
        if host is not None:
            found["host-0"] = host
        return found

    async def kill_host(self) -> None:
        """Kill the host without notice, as a failure would; the supervisor replaces it."""
        if self._supervisor.host is not None:
            await self._supervisor.host.kill()

    async def stop(self) -> None:
        """Close the sockets, commit what is under way, give the shards back, end the processes."""
        await self._closing.aclose()


async def start_node(
    settings: Settings,
    *,
    transport: Literal["ray", "local"] = "ray",
    create: ActorFactory | None = None,
) -> Node:
    """Start a node: bring the database up to date, start gateway and host, listen.

    Args:
        transport: `ray` gives gateway and host a process each, on a private Ray of this machine,
            and every process writes its log to `data_dir/logs`; `local` runs both on this event
            loop and leaves logging to the caller.
        create: makes the actors; by default those of this package.

    Raises:
        InvalidInput: settings that contradict themselves.
        OSError: the OCPP port is taken, or the data directory cannot be written.
        Precondition: another node runs on this data directory, or on this database.
        Unavailable: the database cannot be opened.
    """
    clock = _clock(settings)
    async with AsyncExitStack() as closing:
        directory = DataDirectory(settings.data_dir)
        closing.callback(directory.release)
        host_name = f"host-{directory.node}"
        spawn_gateway: Callable[[], GatewayProcess]
        spawn_host: Callable[[], HostProcess]
        if transport == "ray":
            configure_logging(settings, "supervisor", to_file=True)
            ray_node = await _start_ray(settings, closing)
            spawn_gateway = ray_node.gateway_spawner(settings)
            spawn_host = ray_node.host_spawner(host_name, settings, clock, create)
        else:
            await asyncio.to_thread(migrate, settings.database)
            spawn_gateway = lambda: LocalGateway(settings)  # noqa: E731
            spawn_host = lambda: LocalHost(host_name, settings, clock, create)  # noqa: E731
        reader = StoreReader(settings.database)
        closing.callback(reader.close)
        client = RoutedClient(reader)
        supervisor = Supervisor(client, spawn_gateway=spawn_gateway, spawn_host=spawn_host)
        closing.push_async_callback(supervisor.stop)
        closing.push_async_callback(client.close)
        await supervisor.start()
        certificates = CertificateService(settings, client, reader)
        certificates.start()
        closing.push_async_callback(certificates.stop)
        return Node(
            settings=settings,
            clock=clock,
            client=client,
            reader=reader,
            supervisor=supervisor,
            closing=closing.pop_all(),
        )


async def _start_ray(settings: Settings, closing: AsyncExitStack) -> RayNode:
    """Start Ray while the database is brought up to date; both take a second or two."""
    from controlplane.runtime import ray_processes  # noqa: PLC0415 - Ray takes a second to import

    starting = asyncio.create_task(asyncio.to_thread(ray_processes.start_ray))
    try:
        await asyncio.to_thread(migrate, settings.database)
    finally:
        ray_node = await starting
        closing.push_async_callback(asyncio.to_thread, ray_node.stop)
    return ray_node


def _clock(settings: Settings) -> Clock:
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
