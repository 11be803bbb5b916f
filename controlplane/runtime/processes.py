"""Gateways and hosts as a supervisor sees them, wherever they run: the two protocols, and the
implementation inside this process (`ray_processes.py` has the other)."""

from __future__ import annotations

import asyncio
import os
import uuid
from typing import Protocol

from controlplane.config import Settings
from controlplane.runtime.clock import Clock
from controlplane.runtime.gateway import Gateway
from controlplane.runtime.host import ShardHost
from controlplane.runtime.links import Reach
from controlplane.runtime.metrics import Reading
from controlplane.runtime.residents import ActorFactory, default_factory
from controlplane.runtime.telemetry import log
from controlplane.runtime.transport import Inlet
from controlplane.runtime.wire import Ports

__all__ = ["GatewayProcess", "HostProcess", "LocalGateway", "LocalHost"]


class GatewayProcess(Protocol):
    """A gateway, here or elsewhere. `incarnation` is what its row among the members says."""

    name: str
    incarnation: str
    pid: int

    async def start(self, ports: Ports | None) -> Ports:
        """Listen, where the settings say or where an earlier one did, and become a member; returns
        the ports."""

    async def drain(self) -> None:
        """Take no more sockets and let go of those that there are, little by little."""

    async def readings(self) -> list[Reading]:
        """What the gateway measures. Raises ConnectionError or TimeoutError."""

    async def ended(self) -> str:
        """Returns when the gateway is gone, or does nothing any more, with the reason."""

    async def kill(self) -> bool:
        """End it without notice. Returns whether nothing of it is left, for certain."""

    async def stop(self) -> None: ...


class HostProcess(Protocol):
    """A shard host, here or elsewhere. Its name may be changed until it starts."""

    name: str
    incarnation: str
    """Of its name, unique for all time."""
    pid: int

    async def prepare(self) -> None:
        """Returns once the process is there and has loaded what it needs; it is no member yet."""

    async def start(self) -> None:
        """Become a member; serve nothing yet. Takes as long as the database is away. Raises
        ConnectionError or TimeoutError where the process is gone or stands still."""

    async def serve(self) -> None:
        """Claim shards and serve them, now and from now on. Takes as long as there is something to
        bring back; raises as `start` does."""

    async def readings(self) -> list[Reading]:
        """What the host measures. Raises ConnectionError or TimeoutError."""

    async def drain(self) -> None:
        """Hand every shard over to other hosts, if there are any."""

    async def ended(self) -> str:
        """Returns when the host is gone, or does nothing any more, with the reason."""

    async def kill(self) -> bool:
        """End it without notice. Returns whether nothing of it is left, for certain: others may
        have its shards then."""

    async def stop(self, *, successor: bool = False) -> None:
        """Let it finish and give its shards back. For a `successor` of its name its place among the
        members is kept, so that no other host takes them."""


class LocalGateway:
    """A gateway on this event loop."""

    def __init__(self, settings: Settings, reach: Reach) -> None:
        self.gateway = Gateway(settings, reach)
        self.name = self.incarnation = self.gateway.name
        self.pid = os.getpid()
        self._inlet = Inlet(self.gateway.receive, failed=_not_taken)
        self._address = f"{reach.node} {self._inlet.listen_locally()}"
        self._stopped = asyncio.Event()

    async def start(self, ports: Ports | None) -> Ports:
        listening = await self.gateway.start(ports)
        await self.gateway.enter(self._address)
        return listening

    async def drain(self) -> None:
        await self.gateway.drain()

    async def readings(self) -> list[Reading]:
        return self.gateway.readings()

    async def ended(self) -> str:
        await self._stopped.wait()
        return "stopped"

    async def kill(self) -> bool:
        """It ends in order only, and has when anybody asks for this."""
        return self._stopped.is_set()

    async def stop(self) -> None:
        await self.gateway.stop()
        self._inlet.close()
        self._stopped.set()


class LocalHost:
    """A shard host on this event loop."""

    def __init__(
        self,
        name: str,
        settings: Settings,
        clock: Clock,
        create: ActorFactory | None,
        reach: Reach,
    ) -> None:
        loop = asyncio.get_running_loop()

        def on_lapse() -> None:
            loop.call_soon_threadsafe(self.host.end, "lease lapsed")

        self.name = name
        self.incarnation = uuid.uuid4().hex[:12]
        self.pid = os.getpid()
        self.host = ShardHost(
            name,
            settings,
            clock,
            create or default_factory(),
            incarnation=self.incarnation,
            reach=reach,
            on_lapse=on_lapse,
        )
        actors = self.host.actors
        self._inlet = Inlet(actors.receive, failed=_not_taken, behind=lambda: actors.mailbox.full)
        self._address = f"{reach.node} {self._inlet.listen_locally()}"
        self.host.ended.add_done_callback(lambda _: self._inlet.close())

    async def prepare(self) -> None:
        """There is nothing to load."""

    async def start(self) -> None:
        await self.host.enter(self._address)

    async def serve(self) -> None:
        await self.host.serve()

    async def readings(self) -> list[Reading]:
        return await self.host.readings()

    async def drain(self) -> None:
        await self.host.drain()

    async def ended(self) -> str:
        return await asyncio.shield(self.host.ended)

    async def kill(self) -> bool:
        self.host.kill()
        return True

    async def stop(self, *, successor: bool = False) -> None:
        if not self.host.ended.done():
            await self.host.stop(successor=successor)


def _not_taken(error: Exception) -> None:
    log.error("batch_not_taken", exc_info=error)
