"""Gateways and hosts as Ray actors: a process each, on a private Ray of this machine.

Ray starts and finds processes and carries requests to them; whether a host may act is decided by
its lease (`ownership.py`), never by what Ray believes. What stations and hosts say goes over links
of its own (`transport.py`), on sockets in a folder that only this user can enter. Ray's ports run
code for whoever can talk to them (CVE-2023-48022), so a token, new at each start, is required on
all of them."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import secrets
import shutil
import signal
import tempfile
import uuid
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

# Read by Ray when it is imported, here and in every process below.
os.environ.setdefault("RAY_AUTH_MODE", "token")
os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
os.environ.setdefault("RAY_DEDUP_LOGS", "0")

import ray
from ray.exceptions import ActorUnavailableError, RayActorError, RayError, RayTaskError

from controlplane.config import Settings
from controlplane.ids import ActorRef
from controlplane.runtime.clock import Clock
from controlplane.runtime.gateway import Gateway
from controlplane.runtime.host import ShardHost
from controlplane.runtime.metrics import Reading
from controlplane.runtime.processes import GatewayProcess, HostProcess
from controlplane.runtime.residents import ActorFactory, default_factory
from controlplane.runtime.telemetry import configure_logging, log
from controlplane.runtime.transport import Handler, Inlet, StreamLink
from controlplane.runtime.vital_signs import VitalSigns
from controlplane.runtime.wire import Announcement, Ports
from controlplane.store.records import JournalEvent

__all__ = ["RayNode", "ray", "start_ray"]

_OBJECT_STORE_BYTES = 80 * 1_024 * 1_024
"""Ray's minimum is 75 MB. Nothing is kept in it: every argument travels inline."""
_QUIET = {
    # Records of every call and Ray's own statistics are work that nobody here looks at.
    "task_events_report_interval_ms": 0,
    "enable_metrics_collection": False,
    "event_stats": False,
}
_GC_THRESHOLDS = (50_000, 20, 20)
"""A batch of a thousand messages is ten thousands of objects, none of them in a cycle: at Python's
700 the collector walked over them all the time, a tenth of the processor time of a gateway."""
_CALLS_AT_ONCE = 10_000
_CALL_TIMEOUT_S = 30.0
_ALIVE_INTERVAL_S = 1.0
_BROKEN_LINK_S = 15.0
"""How long after a link broke its peer counts as alive unless the supervisor has said otherwise:
longer than it takes to notice the peer's silence."""
_EXIT_LEASE_LAPSED = 70


class _Peer:
    """What both Ray actors have: an inlet for the links of others."""

    def __init__(self, process: str, settings: Settings, folder: str) -> None:
        gc.set_threshold(*_GC_THRESHOLDS)
        configure_logging(settings, process, to_file=True)
        self.signs = VitalSigns()
        self._folder = Path(folder)
        self._inlet: Inlet

    async def listen(
        self,
        handler: Handler,
        *,
        failed: Callable[[Exception], None],
        behind: Callable[[], bool] = lambda: False,
    ) -> str:
        """The address at which links to this process begin. A predecessor of the same name that
        thaws has another."""
        self._inlet = Inlet(handler, failed=failed, behind=behind)
        return await self._inlet.listen(self._folder / f"{uuid.uuid4().hex[:12]}.sock")

    def close(self) -> None:
        self._inlet.close()
        self.signs.close()


class _GatewayActor:
    """Runs in a process of its own."""

    def __init__(self, name: str, settings: Settings, folder: str) -> None:
        self._name = name
        self._settings = settings
        self._folder = folder
        self._peer: _Peer
        self._gateway: Gateway

    async def begin(self, ports: Ports | None) -> tuple[Ports, int, str]:
        """Listen; returns the ports, the process id and the address for links."""
        self._peer = _Peer(self._name, self._settings, self._folder)
        self._gateway = Gateway(self._settings, self._name)
        address = await self._peer.listen(self._gateway.receive, failed=_batch_not_taken)
        return await self._gateway.start(ports), os.getpid(), address

    async def host_started(self, announcement: Announcement, address: str) -> None:
        name = announcement.host
        link = await StreamLink.connect(address, lambda: self._gateway.host_lost(name, link))
        self._gateway.host_started(announcement, link)

    async def host_lost(self, host: str) -> None:
        self._gateway.host_lost(host)

    async def readings(self) -> list[Reading]:
        return [*self._peer.signs.read(), *self._gateway.readings()]

    async def ended(self) -> str:
        """Never returns; the call fails when this process ends."""
        await asyncio.Event().wait()
        return ""

    async def alive(self) -> None:
        """Returns: the event loop turns."""

    async def stop(self) -> None:
        await self._gateway.stop()
        self._peer.close()


class _HostActor:
    """Runs in a process of its own, and ends it when the lease is over."""

    def __init__(
        self,
        name: str,
        settings: Settings,
        folder: str,
        clock: Clock,
        create: ActorFactory | None,
    ) -> None:
        self._name = name
        self._settings = settings
        self._folder = folder
        self._clock = clock
        self._create = create
        self._peer: _Peer
        self._host: ShardHost

    async def begin(self) -> tuple[Announcement, int, str]:
        """Claim shards; returns them, the process id and the address for links."""
        self._peer = _Peer(self._name, self._settings, self._folder)
        self._host = ShardHost(
            self._name,
            self._settings,
            self._clock,
            self._create or default_factory(),
            on_lapse=lambda: os._exit(_EXIT_LEASE_LAPSED),
        )
        actors = self._host.actors
        address = await self._peer.listen(
            actors.receive, failed=self._lost_track, behind=lambda: actors.full
        )
        return await self._host.start(), os.getpid(), address

    def _lost_track(self, error: Exception) -> None:
        """What was lost of a batch nobody knows: let a successor be told everything anew."""
        _batch_not_taken(error)
        self._host.end(f"batch not taken: {error}")

    async def gateway_started(self, name: str, address: str) -> None:
        loop = asyncio.get_running_loop()

        def broken() -> None:
            loop.call_later(_BROKEN_LINK_S, cut_off)

        def cut_off() -> None:
            # A gateway that is gone has been replaced by now. One that lives hears nothing from
            # here any more; it will hear this host's successor.
            if self._host.actors.sends_over(name, link):
                self._host.end(f"link to {name} broken")

        link = await StreamLink.connect(address, broken)
        self._host.actors.add_gateway(name, link)

    async def gateway_lost(self, name: str) -> None:
        self._host.actors.remove_gateway(name)

    async def serve(self) -> None:
        await self._host.serve()

    async def readings(self) -> list[Reading]:
        return [*self._peer.signs.read(), *await self._host.readings()]

    async def ask(
        self,
        ref: ActorRef,
        request: bytes,
        request_id: str,
        timeout_s: float,
        traceparent: str = "",
    ) -> bytes:
        return await self._host.ask(ref, request, request_id, timeout_s, traceparent)

    async def follow(self, after: int, limit: int, timeout_s: float) -> list[JournalEvent]:
        return await self._host.follow(after, limit, timeout_s)

    async def ended(self) -> str:
        """Why the host ended; the call fails when this process ends."""
        return await asyncio.shield(self._host.ended)

    async def alive(self) -> None:
        """Returns: the event loop turns."""

    async def stop(self) -> None:
        await self._host.stop()
        self._peer.close()


def _batch_not_taken(error: Exception) -> None:
    log.error("batch_not_taken", exc_info=error)


async def _call(reference: Any) -> Any:
    """The result of a call to a Ray actor.

    Raises:
        ConnectionError: the actor's process is gone.
        TimeoutError: no answer in time; it may or may not have been carried out.
    """
    try:
        async with asyncio.timeout(_CALL_TIMEOUT_S):
            return await reference
    except ActorUnavailableError as error:
        raise TimeoutError(str(error)) from error
    except RayActorError as error:
        raise ConnectionError(str(error)) from error
    except RayTaskError as error:
        # What was raised there, without the account of where.
        raise error.cause from None


class RayGateway:
    """A gateway in a Ray actor, as the supervisor sees it."""

    def __init__(self, actor_class: Any, settings: Settings, folder: str) -> None:
        self.name = f"g{uuid.uuid4().hex[:12]}"
        self.pid = 0
        self.address = ""
        self.handle = actor_class.remote(self.name, settings, folder)
        self._silence_max_s = settings.lease_s

    async def start(self, ports: Ports | None) -> Ports:
        listening, self.pid, self.address = await _call(self.handle.begin.remote(ports))
        return Ports(*listening)

    async def host_started(self, announcement: Announcement, host: HostProcess) -> None:
        assert isinstance(host, RayHost)
        await _call(self.handle.host_started.remote(announcement, host.address))

    async def host_lost(self, host: str) -> None:
        await _call(self.handle.host_lost.remote(host))

    async def readings(self) -> list[Reading]:
        readings: list[Reading] = await _call(self.handle.readings.remote())
        return readings

    async def ended(self) -> str:
        return await _ended(self.handle, self.pid, self._silence_max_s)

    async def stop(self) -> None:
        await _stop(self.handle)


class RayHost:
    """A shard host in a Ray actor, as the supervisor and clients see it."""

    def __init__(
        self,
        actor_class: Any,
        name: str,
        settings: Settings,
        *,
        folder: str,
        clock: Clock,
        create: ActorFactory | None,
    ) -> None:
        self.name = name
        self.pid = 0
        self.address = ""
        self.handle = actor_class.remote(name, settings, folder, clock, create)
        # Whoever was silent for as long as a lease has lost it.
        self._silence_max_s = settings.lease_s

    async def start(self) -> Announcement:
        announcement, self.pid, self.address = await _call(self.handle.begin.remote())
        return announcement  # type: ignore[no-any-return]

    async def gateway_started(self, gateway: GatewayProcess) -> None:
        assert isinstance(gateway, RayGateway)
        await _call(self.handle.gateway_started.remote(gateway.name, gateway.address))

    async def gateway_lost(self, name: str) -> None:
        await _call(self.handle.gateway_lost.remote(name))

    async def serve(self) -> None:
        await _call(self.handle.serve.remote())

    async def readings(self) -> list[Reading]:
        readings: list[Reading] = await _call(self.handle.readings.remote())
        return readings

    async def ask(
        self,
        ref: ActorRef,
        request: bytes,
        request_id: str,
        timeout_s: float,
        traceparent: str = "",
    ) -> bytes:
        answer: bytes = await self._asked(
            self.handle.ask.remote(ref, request, request_id, timeout_s, traceparent), timeout_s
        )
        return answer

    async def follow(self, after: int, limit: int, timeout_s: float) -> list[JournalEvent]:
        events: list[JournalEvent] = await self._asked(
            self.handle.follow.remote(after, limit, timeout_s), timeout_s
        )
        return events

    async def ended(self) -> str:
        return await _ended(self.handle, self.pid, self._silence_max_s)

    async def kill(self) -> None:
        """SIGKILL."""
        await asyncio.to_thread(ray.kill, self.handle)

    async def stop(self) -> None:
        await _stop(self.handle)

    async def _asked(self, reference: Any, timeout_s: float) -> Any:
        """Raises ConnectionError where the host is lost, or does not answer at all, on the way."""
        try:
            async with asyncio.timeout(timeout_s + _CALL_TIMEOUT_S):
                return await reference
        except (RayActorError, TimeoutError) as error:
            if isinstance(error, TimeoutError) and not isinstance(error, RayError):
                raise ConnectionError(f"host {self.name} is silent") from error
            raise ConnectionError(str(error)) from error
        except RayTaskError as error:
            raise error.cause from None


async def _ended(handle: Any, pid: int, silence_max_s: float) -> str:
    """Returns when the actor's process ends, says that it is done, or does nothing for so long that
    it must be frozen; then it is killed. Ray notices the end of a process after a second or two;
    the kernel tells at once."""
    loop = asyncio.get_running_loop()
    gone = loop.create_future()
    try:
        descriptor = os.pidfd_open(pid)
    except OSError as error:
        return f"process {pid}: {error}"
    loop.add_reader(descriptor, gone.cancel)

    async def said() -> str:
        try:
            return str(await handle.ended.remote())
        except RayError as error:
            return type(error).__name__

    saying = loop.create_task(said())
    silence = loop.create_task(_silence(handle, silence_max_s))
    try:
        await asyncio.wait((gone, saying, silence), return_when=asyncio.FIRST_COMPLETED)
        if saying.done():
            return saying.result()
        if not silence.done():
            return "process ended"
        with suppress(ProcessLookupError):
            signal.pidfd_send_signal(descriptor, signal.SIGKILL)
        return f"silent for {silence_max_s:g} s"
    finally:
        saying.cancel()
        silence.cancel()
        loop.remove_reader(descriptor)
        os.close(descriptor)


async def _silence(handle: Any, silence_max_s: float) -> None:
    """Returns once the actor's event loop has not turned for a while."""
    loop = asyncio.get_running_loop()
    heard_s = loop.time()
    while (left_s := heard_s + silence_max_s - loop.time()) > 0:
        try:
            async with asyncio.timeout(left_s):
                await handle.alive.remote()
            heard_s = loop.time()
        except (TimeoutError, RayError):
            pass
        await asyncio.sleep(_ALIVE_INTERVAL_S)


async def _stop(handle: Any) -> None:
    try:
        await _call(handle.stop.remote())
    except Exception as error:
        # Whatever it was, it ends now.
        log.warning("process_not_stopped", error=str(error))
    await asyncio.to_thread(ray.kill, handle)


class RayNode:
    """The private Ray of this node."""

    def __init__(self, folder: str) -> None:
        self._folder = folder
        options = {"num_cpus": 0, "max_concurrency": _CALLS_AT_ONCE, "max_restarts": 0}
        self._gateway_class = ray.remote(**options)(_GatewayActor)
        self._host_class = ray.remote(**options)(_HostActor)

    def gateway_spawner(self, settings: Settings) -> Callable[[], GatewayProcess]:
        """What makes gateways."""
        return lambda: RayGateway(self._gateway_class, settings, self._folder)

    def host_spawner(
        self, name: str, settings: Settings, clock: Clock, create: ActorFactory | None
    ) -> Callable[[], HostProcess]:
        """What makes hosts."""
        return lambda: RayHost(
            self._host_class, name, settings, folder=self._folder, clock=clock, create=create
        )

    def stop(self) -> None:
        """End Ray and everything it started."""
        ray.shutdown()
        shutil.rmtree(self._folder, ignore_errors=True)


def start_ray() -> RayNode:
    """Start a private Ray on the loopback interface. Blocks for some seconds."""
    # Short, because the paths of Ray's sockets may have 107 bytes at most.
    folder = tempfile.mkdtemp(prefix="loadstar-ray-")
    logging.getLogger("ray").setLevel(logging.ERROR)
    ray.init(
        address="local",
        include_dashboard=False,
        num_cpus=2,
        object_store_memory=_OBJECT_STORE_BYTES,
        log_to_driver=False,
        configure_logging=False,
        _temp_dir=folder,
        _node_ip_address="127.0.0.1",
        _system_config=_QUIET,
    )
    return RayNode(folder)
