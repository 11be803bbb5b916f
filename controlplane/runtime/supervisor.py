"""Keeps the gateway and the hosts of one node running.

They find each other among the members (`members.py`); the supervisor only starts them, and starts
anew what dies: at once, and when it dies again and again ever more slowly, up to a few seconds. A
host comes back under its name and so takes its shards back at once; a spare process that has loaded
everything waits for that. Where none is ready, other hosts have the shards at once, until the host
is back. How long a host takes to bring its actors back nobody here decides: it is given up when it
stands still. Invariants: no two incarnations of one name are let run at the same time, but for a
replacement that has not become a member yet; nobody is struck from the members, and no lease cut
short, unless the process is certain to have ended."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Any

from controlplane.errors import Precondition, Unavailable
from controlplane.runtime.asking import RoutedClient
from controlplane.runtime.processes import GatewayProcess, HostProcess
from controlplane.runtime.telemetry import log
from controlplane.runtime.wire import Ports

__all__ = ["Supervisor"]

_BACKOFF_S = 0.5
_BACKOFF_MAX_S = 5.0
_STEADY_S = 5.0
"""What lived for so long did not die of starting."""
_START_TIMEOUT_S = 100.0
_SPARE_PAUSE_S = 5.0
"""Before a spare is loaded: whoever starts, or takes over, needs the processor more."""
_STRIKE_TRIES = 20
_START_TRIES = 3


class Supervisor:
    """One node's gateway and hosts.

    Args:
        spawn_gateway: makes a gateway that has not started.
        spawn_hosts: for each host what makes one of its name that has not started.
        spare: whether to keep a host ready that takes the place of one that dies.
        strike: takes a process that has ended from the members, so that nobody waits for it, and
            lets others have its shards.
    """

    def __init__(
        self,
        client: RoutedClient,
        *,
        spawn_gateway: Callable[[], GatewayProcess],
        spawn_hosts: Sequence[Callable[[], HostProcess]],
        spare: bool,
        strike: Callable[[GatewayProcess | HostProcess], Awaitable[None]],
    ) -> None:
        self.hosts: list[HostProcess] = []
        self.gateway: GatewayProcess | None = None
        self.ports = Ports(0)
        self.restarts = 0
        self._client = client
        self._spawn_gateway = spawn_gateway
        self._spawn_hosts = spawn_hosts
        self._keeps_spare = spare
        self._spare: HostProcess | None = None
        self._coming: HostProcess | None = None
        """The spare that is being loaded."""
        self._spare_taken = asyncio.Event()
        self._strike = strike
        self._striking: set[asyncio.Task[None]] = set()
        self._watchers: list[asyncio.Task[None]] = []
        """Of the hosts, in their order, of the gateway, and of the spare."""
        self._rolling = asyncio.Lock()

    async def start(self) -> Ports:
        """Start all; returns the OCPP ports. All hosts are members before the first one claims, so
        that none takes what another should have.

        Raises:
            InvalidInput: the TLS files cannot be used.
            OSError: a port is taken.
            TimeoutError: the gateway did not start in time, or a host stands still.
        """
        gateway = self.gateway = self._spawn_gateway()
        self.hosts = [spawn() for spawn in self._spawn_hosts]
        self.ports, _ = await asyncio.gather(
            asyncio.wait_for(gateway.start(None), _START_TIMEOUT_S),
            asyncio.gather(*map(self._enter, range(len(self.hosts)))),
        )
        await asyncio.gather(*map(self._serve, self.hosts))
        self._client.look()
        loop = asyncio.get_running_loop()
        self._watchers = [
            *(loop.create_task(self._watch_host(index)) for index in range(len(self.hosts))),
            loop.create_task(self._watch_gateway()),
        ]
        if self._keeps_spare:
            self._watchers.append(loop.create_task(self._keep_spare()))
        return self.ports

    async def _enter(self, index: int) -> None:
        """Make a host a member; one that dies of it, on a machine that is too busy to keep a lease,
        has some more tries."""
        for _ in range(_START_TRIES):
            try:
                await self.hosts[index].start()
            except ConnectionError as error:
                log.error("host_died", host=self.hosts[index].name, reason=str(error))
                self.hosts[index] = self._another(index)
            else:
                return
        await self.hosts[index].start()

    async def _serve(self, host: HostProcess) -> None:
        try:
            await host.serve()
        except ConnectionError as error:
            # It is replaced as soon as hosts are watched.
            log.error("host_died", host=host.name, reason=str(error))

    async def roll(self) -> None:
        """Replace every host, one after the other, by a new process: each waits until its successor
        is loaded, gives its shards back and is followed at once. No socket is closed.

        Raises:
            Precondition: it is being done already.
        """
        if self._rolling.locked():
            raise Precondition("the hosts are being replaced already", reason="ROLLING")
        async with self._rolling:
            for index in range(len(self.hosts)):
                await self._roll(index)

    async def _roll(self, index: int) -> None:
        successor = self._another(index)
        try:
            async with asyncio.timeout(_START_TIMEOUT_S):
                await successor.prepare()
        except (ConnectionError, TimeoutError):
            await successor.kill()
            raise
        watcher, host = self._watchers[index], self.hosts[index]
        watcher.cancel()
        await asyncio.gather(watcher, return_exceptions=True)
        try:
            await host.stop(successor=True)
            self.hosts[index] = successor
            await successor.start()
            self._client.look()
            await successor.serve()
        finally:
            # Whatever went wrong is seen by the next one as the end of a host.
            loop = asyncio.get_running_loop()
            self._watchers[index] = loop.create_task(self._watch_host(index))
        log.info("host_rolled", host=successor.name, pid=successor.pid)

    async def drain(self) -> None:
        """Give every shard to other nodes, then let go of the sockets, which these take. A host
        that is being started has nothing to give yet."""
        await asyncio.gather(*(host.drain() for host in self.hosts if host.pid))
        if self.gateway is not None:
            await self.gateway.drain()

    async def stop(self) -> None:
        """End all, the hosts after they have committed what they have."""
        tasks = [*self._watchers, *self._striking]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for spare in (self._spare, self._coming):
            if spare is not None:
                await spare.kill()
        if self.gateway is not None:
            await self.gateway.stop()
        await asyncio.gather(*(host.stop() for host in self.hosts))

    async def _watch_host(self, index: int) -> None:
        backoff = _Backoff()
        dead: list[HostProcess] = []
        """Whose shards nobody can have before their leases end."""
        while True:
            host = self.hosts[index]
            reason = await host.ended()
            log.error("host_died", host=host.name, reason=reason)
            # It may have ended by its own decision: let nothing of it remain.
            if await host.kill():
                dead.append(host)
            if self._spare is None:
                # Its successor takes some seconds to start: others have the shards until then.
                self._in_background(self._strike_patiently(dead))
                dead = []
            await backoff.wait()
            if await self._replace_host(index):
                dead = []

    async def _replace_host(self, index: int) -> bool:
        """Whether there is another now."""
        # At once in its place: it is stopped with the others, wherever it has got to.
        host = self.hosts[index] = self._another(index)
        try:
            await host.start()
            self._client.look()
            await host.serve()
        except Exception:
            # Whatever it was: the supervisor goes on trying.
            log.exception("host_not_started", host=host.name)
            await host.kill()
            return False
        self.restarts += 1
        log.info("host_replaced", host=host.name, pid=host.pid)
        return True

    def _another(self, index: int) -> HostProcess:
        """A host of this name that has not started: the spare, where there is one, or else the one
        that is being loaded, which is that much ahead of a new one."""
        if self._spare is not None:
            spare, self._spare = self._spare, None
            self._spare_taken.set()
        elif self._coming is not None:
            spare, self._coming = self._coming, None
        else:
            return self._spawn_hosts[index]()
        spare.name = self.hosts[index].name
        return spare

    async def _keep_spare(self) -> None:
        while True:
            await asyncio.sleep(_SPARE_PAUSE_S)
            coming = self._coming = self._spawn_hosts[0]()
            try:
                await coming.prepare()
            except Exception:
                # A host that dies does without, then. Whoever has taken this one as his own by now
                # sees at its start whether it lives.
                log.exception("spare_not_prepared", host=coming.name)
                if self._coming is coming:
                    self._coming = None
                    await coming.kill()
                continue
            if self._coming is not coming:
                # A host has died meanwhile, and this one is in its place.
                continue
            self._spare, self._coming = coming, None
            await self._spare_taken.wait()
            self._spare_taken.clear()

    async def _watch_gateway(self) -> None:
        backoff = _Backoff()
        while True:
            gateway = self.gateway
            assert gateway is not None
            log.error("gateway_died", gateway=gateway.name, reason=await gateway.ended())
            if await gateway.kill():
                self._in_background(self._strike_patiently([gateway]))
            await backoff.wait()
            await self._replace_gateway()

    async def _replace_gateway(self) -> None:
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
        self._client.have_hosts_look()

    async def _strike_patiently(self, dead: Sequence[GatewayProcess | HostProcess]) -> None:
        for process in dead:
            for _ in range(_STRIKE_TRIES):
                try:
                    await self._strike(process)
                except Unavailable as error:
                    log.warning("member_not_struck", member=process.name, error=str(error))
                    await asyncio.sleep(_BACKOFF_S)
                else:
                    self._client.have_hosts_look()
                    break

    def _in_background(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._striking.add(task)
        task.add_done_callback(self._striking.discard)


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
