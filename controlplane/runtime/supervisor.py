"""Keeps one gateway and one host running and introduces them to each other.

Invariant: a host serves only after every gateway has heard its epochs, so no command of its
predecessor can follow one of its own. What dies is replaced at once; when it dies again and again,
ever more slowly, up to a few seconds. Neither needs the other alive to be replaced: a gateway is
introduced to the host if there is one, and a host that finds no gateway is started anew later."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from controlplane.runtime.asking import RoutedClient
from controlplane.runtime.processes import GatewayProcess, HostProcess
from controlplane.runtime.telemetry import log
from controlplane.runtime.wire import Announcement, Ports

__all__ = ["Supervisor"]

_BACKOFF_S = 0.5
_BACKOFF_MAX_S = 5.0
_STEADY_S = 5.0
"""What lived for so long did not die of starting."""
_START_TIMEOUT_S = 60.0


class Supervisor:
    """One node's gateway and host.

    Args:
        spawn_gateway: makes a gateway that has not started.
        spawn_host: makes a host that has not started.
    """

    def __init__(
        self,
        client: RoutedClient,
        *,
        spawn_gateway: Callable[[], GatewayProcess],
        spawn_host: Callable[[], HostProcess],
    ) -> None:
        self.host: HostProcess | None = None
        self.gateway: GatewayProcess | None = None
        self.ports = Ports(0)
        self.restarts = 0
        self._client = client
        self._spawn_gateway = spawn_gateway
        self._spawn_host = spawn_host
        self._announcement: Announcement | None = None
        self._changing = asyncio.Lock()
        self._watchers: list[asyncio.Task[None]] = []

    async def start(self) -> Ports:
        """Start both; returns the OCPP ports.

        Raises:
            InvalidInput: the TLS files cannot be used.
            OSError: a port is taken.
            TimeoutError: something did not start in time.
        """
        async with asyncio.timeout(_START_TIMEOUT_S):
            self.gateway = self._spawn_gateway()
            self.host = self._spawn_host()
            self.ports, announcement = await asyncio.gather(
                self.gateway.start(None), self.host.start()
            )
            await self._introduce(self.host, announcement)
        loop = asyncio.get_running_loop()
        self._watchers = [
            loop.create_task(self._watch_host()),
            loop.create_task(self._watch_gateway()),
        ]
        return self.ports

    async def stop(self) -> None:
        """End both, the host after it has committed what it has."""
        for watcher in self._watchers:
            watcher.cancel()
        await asyncio.gather(*self._watchers, return_exceptions=True)
        if self.gateway is not None:
            await self.gateway.stop()
        if self.host is not None:
            await self.host.stop()

    async def _introduce(self, host: HostProcess, announcement: Announcement) -> None:
        gateway = self.gateway
        assert gateway is not None
        await host.gateway_started(gateway)
        await gateway.host_started(announcement, host)
        await host.serve()
        self.host, self._announcement = host, announcement
        self._client.host_started(announcement, host)

    async def _watch_host(self) -> None:
        backoff = _Backoff()
        while True:
            assert self.host is not None
            reason = await self.host.ended()
            log.error("host_died", host=self.host.name, reason=reason)
            self._announcement = None
            self._client.host_lost(self.host.name)
            # It may have ended by its own decision: let nothing of it remain.
            await self.host.kill()
            await backoff.wait()
            async with self._changing:
                await self._replace_host()

    async def _replace_host(self) -> None:
        assert self.gateway is not None
        assert self.host is not None
        host = self._spawn_host()
        try:
            async with asyncio.timeout(_START_TIMEOUT_S):
                await self.gateway.host_lost(self.host.name)
                await self._introduce(host, await host.start())
        except Exception:
            # Whatever it was: the supervisor goes on trying.
            log.exception("host_not_started", host=host.name)
            await host.kill()
            self.host = host
            return
        self.restarts += 1
        log.info("host_replaced", host=host.name, pid=host.pid)

    async def _watch_gateway(self) -> None:
        backoff = _Backoff()
        while True:
            assert self.gateway is not None
            log.error("gateway_died", gateway=self.gateway.name, reason=await self.gateway.ended())
            await backoff.wait()
            async with self._changing:
                await self._replace_gateway(self.gateway)

    async def _replace_gateway(self, lost: GatewayProcess) -> None:
        gateway = self._spawn_gateway()
        try:
            async with asyncio.timeout(_START_TIMEOUT_S):
                await gateway.start(self.ports)
        except Exception:
            # Whatever it was: the supervisor goes on trying.
            log.exception("gateway_not_started", gateway=gateway.name)
            await gateway.stop()
            return
        self.gateway = gateway
        self.restarts += 1
        log.info("gateway_replaced", gateway=gateway.name, pid=gateway.pid)
        host, announcement = self.host, self._announcement
        if host is None or announcement is None:
            return
        try:
            async with asyncio.timeout(_START_TIMEOUT_S):
                await host.gateway_lost(lost.name)
                await host.gateway_started(gateway)
                await gateway.host_started(announcement, host)
        except (ConnectionError, TimeoutError) as error:
            # It will be replaced, and its successor introduced.
            log.error("gateway_not_introduced", gateway=gateway.name, error=str(error))
            await host.kill()


class _Backoff:
    """No wait the first time; longer ones while it goes on."""

    def __init__(self) -> None:
        self._wait_s = 0.0
        self._last_s = 0.0

    async def wait(self) -> None:
        now_s = asyncio.get_running_loop().time()
        if now_s - self._last_s > _STEADY_S:
            self._wait_s = 0.0
        self._last_s = now_s
        await asyncio.sleep(self._wait_s)
        self._wait_s = min(max(_BACKOFF_S, self._wait_s * 2), _BACKOFF_MAX_S)
