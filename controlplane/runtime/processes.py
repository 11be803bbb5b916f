"""Gateways and hosts as a supervisor sees them, wherever they run: the two protocols, and the
implementation inside this process (`ray_processes.py` has the other)."""

from __future__ import annotations

import asyncio
import os
from typing import Protocol

from controlplane.config import Settings
from controlplane.errors import Unavailable
from controlplane.ids import ActorRef
from controlplane.runtime.clock import Clock
from controlplane.runtime.gateway import Gateway
from controlplane.runtime.host import ShardHost
from controlplane.runtime.metrics import Reading
from controlplane.runtime.residents import ActorFactory, default_factory
from controlplane.runtime.transport import LocalLink
from controlplane.runtime.wire import Announcement, Ports
from controlplane.store.records import JournalEvent

__all__ = ["GatewayProcess", "HostProcess", "LocalGateway", "LocalHost"]


class GatewayProcess(Protocol):
    """A gateway, here or elsewhere."""

    name: str
    pid: int

    async def start(self, ports: Ports | None) -> Ports:
        """Listen, where the settings say or where an earlier one did; returns the ports."""

    async def host_started(self, announcement: Announcement, host: HostProcess) -> None:
        """Fence the host's predecessors and introduce the chargers to it."""

    async def host_lost(self, host: str) -> None:
        """The host is gone."""

    async def readings(self) -> list[Reading]:
        """What the gateway measures. Raises ConnectionError or TimeoutError."""

    async def ended(self) -> str:
        """Returns when the gateway is gone, with the reason."""

    async def stop(self) -> None: ...


class HostProcess(Protocol):
    """A shard host, here or elsewhere."""

    name: str
    pid: int

    async def start(self) -> Announcement:
        """Claim shards; serve nothing yet."""

    async def gateway_started(self, gateway: GatewayProcess) -> None:
        """Send to this gateway from now on."""

    async def gateway_lost(self, name: str) -> None:
        """The gateway and its sockets are gone."""

    async def serve(self) -> None:
        """Begin; every gateway has heard the announcement."""

    async def ask(
        self,
        ref: ActorRef,
        request: bytes,
        request_id: str,
        timeout_s: float,
        traceparent: str = "",
    ) -> bytes:
        """See `ShardHost.ask`. Raises ConnectionError where the host is lost on the way."""

    async def readings(self) -> list[Reading]:
        """What the host measures. Raises ConnectionError or TimeoutError."""

    async def follow(self, after: int, limit: int, timeout_s: float) -> list[JournalEvent]:
        """See `ShardHost.follow`. Raises ConnectionError where the host is lost on the way."""

    async def ended(self) -> str:
        """Returns when the host is gone, with the reason."""

    async def kill(self) -> None:
        """End it without notice."""

    async def stop(self) -> None:
        """Let it finish and give its shards back."""


class LocalGateway:
    """A gateway on this event loop."""

    def __init__(self, settings: Settings) -> None:
        self.gateway = Gateway(settings)
        self.name = self.gateway.name
        self.pid = os.getpid()
        self._stopped = asyncio.Event()

    async def start(self, ports: Ports | None) -> Ports:
        return await self.gateway.start(ports)

    async def host_started(self, announcement: Announcement, host: HostProcess) -> None:
        assert isinstance(host, LocalHost)
        actors = host.host.actors
        link = LocalLink(actors.receive, behind=lambda: actors.full)
        self.gateway.host_started(announcement, link)

    async def host_lost(self, host: str) -> None:
        self.gateway.host_lost(host)

    async def readings(self) -> list[Reading]:
        return self.gateway.readings()

    async def ended(self) -> str:
        await self._stopped.wait()
        return "stopped"

    async def stop(self) -> None:
        await self.gateway.stop()
        self._stopped.set()


class LocalHost:
    """A shard host on this event loop."""

    def __init__(
        self, name: str, settings: Settings, clock: Clock, create: ActorFactory | None
    ) -> None:
        loop = asyncio.get_running_loop()

        def on_lapse() -> None:
            loop.call_soon_threadsafe(self.host.end, "lease lapsed")

        self.name = name
        self.pid = os.getpid()
        self.host = ShardHost(
            name,
            settings,
            clock,
            create or default_factory(),
            on_lapse=on_lapse,
        )

    async def start(self) -> Announcement:
        return await self.host.start()

    async def gateway_started(self, gateway: GatewayProcess) -> None:
        assert isinstance(gateway, LocalGateway)
        link = LocalLink(gateway.gateway.receive, behind=lambda: False)
        self.host.actors.add_gateway(gateway.name, link)

    async def gateway_lost(self, name: str) -> None:
        self.host.actors.remove_gateway(name)

    async def serve(self) -> None:
        await self.host.serve()

    async def readings(self) -> list[Reading]:
        return await self.host.readings()

    async def ask(
        self,
        ref: ActorRef,
        request: bytes,
        request_id: str,
        timeout_s: float,
        traceparent: str = "",
    ) -> bytes:
        asking = self.host.ask(ref, request, request_id, timeout_s, traceparent)
        asked = asyncio.ensure_future(asking)
        await asyncio.wait((asked, self.host.ended), return_when=asyncio.FIRST_COMPLETED)
        if not asked.done():
            asked.cancel()
            raise ConnectionError(f"host {self.name} ended: {self.host.ended.result()}")
        return asked.result()

    async def follow(self, after: int, limit: int, timeout_s: float) -> list[JournalEvent]:
        if self.host.ended.done():
            raise ConnectionError(f"host {self.name} ended: {self.host.ended.result()}")
        try:
            return await self.host.follow(after, limit, timeout_s)
        except (Unavailable, RuntimeError):
            if self.host.ended.done():
                raise ConnectionError(f"host {self.name} ended") from None
            raise

    async def ended(self) -> str:
        return await asyncio.shield(self.host.ended)

    async def kill(self) -> None:
        self.host.kill()

    async def stop(self) -> None:
        if not self.host.ended.done():
            await self.host.stop()
