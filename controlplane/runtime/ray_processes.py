"""Gateways and hosts as Ray actors: a process each, on a private Ray of this machine or on the part
of a Ray cluster that is this machine.

Ray starts, places and watches processes; whether a host may act is decided by its lease
(`ownership.py`), never by what Ray believes. What stations, hosts and clients say goes over links
of its own (`transport.py`), so that losing Ray's head stops nothing that runs. Ray's ports run code
for whoever can talk to them (CVE-2023-48022), so a token is required on all of them: new at each
start for a private Ray, the cluster's where one is joined. What a supervisor started ends with
it."""

from __future__ import annotations

import asyncio
import logging
import os
import secrets
import select
import shutil
import signal
import tempfile
import threading
import time
import uuid
from collections.abc import Awaitable, Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

# Read by Ray when it is imported, here and in every process below.
os.environ.setdefault("RAY_AUTH_MODE", "token")
os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
os.environ.setdefault("RAY_DEDUP_LOGS", "0")
# Nobody is told what these processes print; its files need not be looked for ten times a second.
os.environ.setdefault("RAY_LOG_MONITOR_MANY_FILES_THRESHOLD", "0")
os.environ.setdefault("LOG_NAME_UPDATE_INTERVAL_S", "60")
# What runs goes on for a week without Ray's head.
os.environ.setdefault("RAY_gcs_rpc_server_reconnect_timeout_s", str(7 * 86_400))

import ray
from ray.exceptions import ActorUnavailableError, RayActorError, RayError, RayTaskError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from controlplane.config import Settings
from controlplane.errors import Unavailable
from controlplane.runtime.clock import Clock
from controlplane.runtime.garbage import keep_what_is_loaded
from controlplane.runtime.gateway import Gateway
from controlplane.runtime.host import ShardHost
from controlplane.runtime.huge_pages import keep_on_huge_pages
from controlplane.runtime.links import Place, Reach, listen
from controlplane.runtime.metrics import Reading
from controlplane.runtime.processes import GatewayProcess, HostProcess
from controlplane.runtime.residents import ActorFactory, default_factory
from controlplane.runtime.telemetry import configure_logging, log
from controlplane.runtime.transport import Handler, Inlet
from controlplane.runtime.vital_signs import VitalSigns
from controlplane.runtime.wire import Ports

__all__ = ["RayNode", "join_ray", "ray", "start_ray"]

_OBJECT_STORE_BYTES = 80 * 1_024 * 1_024
"""Ray's minimum is 75 MB. Nothing is kept in it: every argument travels inline."""
_QUIET = {
    # Records of every call and Ray's own statistics are work that nobody here looks at.
    "task_events_report_interval_ms": 0,
    "enable_metrics_collection": False,
    "event_stats": False,
}
_CALLS_AT_ONCE = 10_000
_CALL_TIMEOUT_S = 30.0
_BEGIN_TIMEOUT_S = 90.0
"""A process of Ray takes a second to start, and many on a machine that has other work."""
_STANDSTILL_S = 60.0
"""A host that starts or brings its actors back, and has not come a step further for so long, is
given up."""
_PROGRESS_INTERVAL_S = 5.0
_DRAIN_TIMEOUT_S = 120.0
_ALIVE_INTERVAL_S = 1.0
_EXIT_LEASE_LAPSED = 70
_EXIT_ORPHANED = 71
_ORPHAN_STOP_S = 5.0
_END_TIMEOUT_S = 5.0
_KILL_TIMEOUT_S = 5.0
_RAY_TITLE = b"ray::"
"""With this the name of each process begins that Ray has given an actor."""
_NAMESPACE = "loadstar"


class _Peer:
    """What both Ray actors have: an inlet for the links of others."""

    def __init__(self, process: str, settings: Settings, place: Place) -> None:
        keep_what_is_loaded()
        configure_logging(settings, process, to_file=True)
        self.signs = VitalSigns()
        self._tls = place.tls()
        self.reach = Reach.of(place, self._tls)
        self._place = place
        self._inlet: Inlet
        self._watching: asyncio.Task[None] | None = None
        self._on_huge_pages = asyncio.get_running_loop().create_task(keep_on_huge_pages())

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
        return await listen(self._inlet, self._place, self._tls)

    def end_with_supervisor(self, stop: Callable[[], Awaitable[None]]) -> None:
        """Stop, and end this process, when the supervisor ends. Ray does the same to what a driver
        has started, but only while its head is there."""
        loop = asyncio.get_running_loop()

        async def end() -> None:
            log.error("supervisor_gone", supervisor=self._place.supervisor)
            try:
                async with asyncio.timeout(_ORPHAN_STOP_S):
                    await stop()
            finally:
                os._exit(_EXIT_ORPHANED)

        def gone() -> None:
            loop.remove_reader(descriptor)
            os.close(descriptor)
            self._watching = loop.create_task(end())

        descriptor = os.pidfd_open(self._place.supervisor)
        loop.add_reader(descriptor, gone)

    def close(self) -> None:
        self._on_huge_pages.cancel()
        self._inlet.close()
        self.signs.close()


class _GatewayActor:
    """Runs in a process of its own."""

    def __init__(self, name: str, settings: Settings, place: Place) -> None:
        self._name = name
        self._settings = settings
        self._place = place
        self._peer: _Peer
        self._gateway: Gateway

    async def begin(self, ports: Ports | None) -> tuple[Ports, int]:
        """Listen and become a member; returns the ports and the process id."""
        self._peer = _Peer(self._name, self._settings, self._place)
        self._gateway = Gateway(self._settings, self._peer.reach, self._name)
        address = await self._peer.listen(self._gateway.receive, failed=_batch_not_taken)
        listening = await self._gateway.start(ports)
        self._peer.end_with_supervisor(self._gateway.stop)
        await self._gateway.enter(address)
        return listening, os.getpid()

    async def drain(self) -> None:
        await self._gateway.drain()

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
        settings: Settings,
        place: Place,
        clock: Clock,
        create: ActorFactory | None,
    ) -> None:
        self._settings = settings
        self._place = place
        self._clock = clock
        self._create = create
        self._peer: _Peer
        self._host: ShardHost
        self._progress: Callable[[], int] = lambda: 0

    async def prepare(self) -> None:
        """Load what there is to load."""
        default_factory()
        # Now, and not when there is no time for it.
        keep_what_is_loaded()

    async def begin(self, name: str) -> int:
        """Become a member; returns the process id."""
        self._peer = _Peer(name, self._settings, self._place)
        self._host = ShardHost(
            name,
            self._settings,
            self._clock,
            self._create or default_factory(),
            reach=self._peer.reach,
            on_lapse=lambda: os._exit(_EXIT_LEASE_LAPSED),
        )
        self._progress = lambda: self._host.progress
        actors = self._host.actors
        address = await self._peer.listen(
            actors.receive, failed=self._lost_track, behind=lambda: actors.mailbox.full
        )
        self._peer.end_with_supervisor(self._host.stop)
        await self._host.enter(address)
        return os.getpid()

    def _lost_track(self, error: Exception) -> None:
        """What was lost of a batch nobody knows: let a successor be told everything anew."""
        _batch_not_taken(error)
        self._host.end(f"batch not taken: {error}")

    async def serve(self) -> None:
        await self._host.serve()

    async def progress(self) -> int:
        """Another number whenever the host came a step further."""
        return self._progress()

    async def look(self) -> None:
        self._host.balance.wake()

    async def readings(self) -> list[Reading]:
        return [*self._peer.signs.read(), *await self._host.readings()]

    async def drain(self) -> None:
        await self._host.drain()

    async def ended(self) -> str:
        """Why the host ended; the call fails when this process ends."""
        return await asyncio.shield(self._host.ended)

    async def alive(self) -> None:
        """Returns: the event loop turns."""

    async def stop(self, successor: bool) -> None:
        await self._host.stop(successor=successor)
        self._peer.close()


def _batch_not_taken(error: Exception) -> None:
    log.error("batch_not_taken", exc_info=error)


async def _call(reference: Any, timeout_s: float | None = _CALL_TIMEOUT_S) -> Any:
    """The result of a call to a Ray actor.

    Raises:
        ConnectionError: the actor's process is gone.
        TimeoutError: no answer in time; it may or may not have been carried out.
    """
    try:
        async with asyncio.timeout(timeout_s):
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

    def __init__(self, actor_class: Any, settings: Settings, place: Place) -> None:
        self.name = f"g{uuid.uuid4().hex[:12]}"
        self.pid = 0
        self.handle = actor_class.remote(self.name, settings, place)
        self._silence_max_s = settings.lease_s

    async def start(self, ports: Ports | None) -> Ports:
        listening, self.pid = await _call(self.handle.begin.remote(ports), _BEGIN_TIMEOUT_S)
        return Ports(*listening)

    async def drain(self) -> None:
        await _call(self.handle.drain.remote(), _DRAIN_TIMEOUT_S)

    async def readings(self) -> list[Reading]:
        readings: list[Reading] = await _call(self.handle.readings.remote())
        return readings

    async def ended(self) -> str:
        return await _ended(self.handle, self.pid, self._silence_max_s)

    async def stop(self) -> None:
        await _stop(self.handle, self.handle.stop.remote())


class RayHost:
    """A shard host in a Ray actor, as the supervisor sees it."""

    def __init__(
        self,
        actor_class: Any,
        name: str,
        settings: Settings,
        *,
        place: Place,
        clock: Clock,
        create: ActorFactory | None,
    ) -> None:
        self.name = name
        self.pid = 0
        self.handle = actor_class.remote(settings, place, clock, create)
        # Whoever was silent for as long as a lease has lost it.
        self._silence_max_s = settings.lease_s

    async def prepare(self) -> None:
        await _call(self.handle.prepare.remote(), _BEGIN_TIMEOUT_S)

    async def start(self) -> None:
        self.pid = await self._while_it_moves(self.handle.begin.remote(self.name))

    async def serve(self) -> None:
        await self._while_it_moves(self.handle.serve.remote())

    async def _while_it_moves(self, reference: Any) -> Any:
        """The result of a call that takes as long as it takes.

        Raises:
            ConnectionError: the process is gone.
            TimeoutError: it does not answer, or stands still.
        """
        loop = asyncio.get_running_loop()
        working = loop.create_task(_call(reference, None))
        progress, moved_s = -1, loop.time()
        try:
            while not (await asyncio.wait((working,), timeout=_PROGRESS_INTERVAL_S))[0]:
                now = await _call(self.handle.progress.remote(), _STANDSTILL_S)
                if now != progress:
                    progress, moved_s = now, loop.time()
                elif loop.time() - moved_s > _STANDSTILL_S:
                    raise TimeoutError(f"{self.name} stands still")
            return working.result()
        finally:
            working.cancel()

    async def look(self) -> None:
        await _call(self.handle.look.remote())

    async def readings(self) -> list[Reading]:
        readings: list[Reading] = await _call(self.handle.readings.remote())
        return readings

    async def drain(self) -> None:
        await _call(self.handle.drain.remote(), _DRAIN_TIMEOUT_S)

    async def ended(self) -> str:
        return await _ended(self.handle, self.pid, self._silence_max_s)

    async def kill(self) -> None:
        """SIGKILL; see `_kill`."""
        await _kill(self.handle)

    async def stop(self, *, successor: bool = False) -> None:
        await _stop(self.handle, self.handle.stop.remote(successor))


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


async def _stop(handle: Any, stopping: Any) -> None:
    try:
        await _call(stopping)
    except Exception as error:
        # Whatever it was, it ends now.
        log.warning("process_not_stopped", error=str(error))
    await _kill(handle)


async def _kill(handle: Any) -> None:
    """SIGKILL to an actor's process. One that Ray's head has yet to hear of is killed when it has;
    while the head is away that may take for ever, and nobody waits for it: neither this task nor,
    as for the threads of an executor, the end of this process."""
    loop = asyncio.get_running_loop()
    killed: asyncio.Future[None] = loop.create_future()

    def settle(error: Exception | None) -> None:
        if killed.done():
            return
        if error is None:
            killed.set_result(None)
        else:
            killed.set_exception(error)

    def kill() -> None:
        try:
            ray.kill(handle)
        except Exception as error:
            failure: Exception | None = error
        else:
            failure = None
        with suppress(RuntimeError):  # The loop has ended meanwhile.
            loop.call_soon_threadsafe(settle, failure)

    threading.Thread(target=kill, daemon=True).start()
    try:
        async with asyncio.timeout(_KILL_TIMEOUT_S):
            await killed
    except TimeoutError:
        log.warning("process_not_killed_yet")


class RayNode:
    """The part of Ray that is this node."""

    def __init__(self, place: Place, *, strategy: Any = "DEFAULT") -> None:
        self.place = place
        options = {
            "num_cpus": 0,
            "max_concurrency": _CALLS_AT_ONCE,
            "max_restarts": 0,
            "scheduling_strategy": strategy,
        }
        self._gateway_class = ray.remote(**options)(_GatewayActor)
        self._host_class = ray.remote(**options)(_HostActor)

    @staticmethod
    def end_processes(pids: Iterable[int]) -> None:
        """Kill these processes of this node, as far as they are there; returns when they have
        ended. Blocks.

        Raises:
            TimeoutError: one of them did not end.
        """
        _end_processes(pids)

    def gateway_spawner(self, settings: Settings) -> Callable[[], GatewayProcess]:
        """What makes gateways."""
        return lambda: RayGateway(self._gateway_class, settings, self.place)

    def host_spawner(
        self, name: str, settings: Settings, clock: Clock, create: ActorFactory | None
    ) -> Callable[[], HostProcess]:
        """What makes hosts."""
        return lambda: RayHost(
            self._host_class, name, settings, place=self.place, clock=clock, create=create
        )

    async def daemon_ended(self, child: Callable[[], int]) -> None:
        """Returns when Ray's daemon on this machine is gone: nothing can be started here any more,
        and Ray ends whatever runs.

        Args:
            child: the process id of something that Ray runs here, at this moment.
        """
        loop = asyncio.get_running_loop()
        while True:
            try:
                daemon = _parent_of(child())
                break
            except OSError:
                # It has just died, and will have a successor.
                await asyncio.sleep(_ALIVE_INTERVAL_S)
        gone = loop.create_future()
        try:
            descriptor = os.pidfd_open(daemon)
        except OSError:
            return
        loop.add_reader(descriptor, gone.cancel)
        try:
            await asyncio.wait((gone,))
        finally:
            loop.remove_reader(descriptor)
            os.close(descriptor)

    def stop(self) -> None:
        """End what was started here."""
        ray.shutdown()
        shutil.rmtree(self.place.folder, ignore_errors=True)


def _end_processes(pids: Iterable[int]) -> None:
    descriptors = []
    try:
        for pid in pids:
            try:
                descriptor = os.pidfd_open(pid)
            except OSError:
                continue
            descriptors.append(descriptor)
            # A number may have been given to another process meanwhile, until this very moment.
            if Path(f"/proc/{pid}/cmdline").read_bytes().startswith(_RAY_TITLE):
                signal.pidfd_send_signal(descriptor, signal.SIGKILL)
        _wait_for_ends(descriptors)
    finally:
        for descriptor in descriptors:
            os.close(descriptor)


def _wait_for_ends(descriptors: list[int]) -> None:
    ends = select.poll()
    for descriptor in descriptors:
        ends.register(descriptor, select.POLLIN)
    left = set(descriptors)
    until_s = time.monotonic() + _END_TIMEOUT_S
    while left:
        left_ms = max(0.0, until_s - time.monotonic()) * 1_000
        ended = ends.poll(left_ms)
        if not ended:
            raise TimeoutError("a process of Ray does not end")
        for descriptor, _ in ended:
            ends.unregister(descriptor)
            left.discard(descriptor)


def _parent_of(pid: int) -> int:
    """Field 4 of proc_pid_stat(5), behind a name that may hold blanks.

    Raises:
        OSError: the process is gone.
    """
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def start_ray(node: str) -> RayNode:
    """Start a private Ray on the loopback interface, for the node of this name. Blocks for some
    seconds."""
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
    return RayNode(Place(node, folder, supervisor=os.getpid()))


def join_ray(node: str, settings: Settings) -> RayNode:
    """Join the Ray cluster at `settings.address`, for the node of this name. What is started runs
    on this machine. Blocks for some seconds.

    Raises:
        Unavailable: there is no such cluster, or it has another token.
    """
    logging.getLogger("ray").setLevel(logging.ERROR)
    try:
        ray.init(
            address=settings.address,
            namespace=_NAMESPACE,
            log_to_driver=False,
            configure_logging=False,
            **({"_node_ip_address": settings.link_host} if settings.link_host else {}),
        )
    except (OSError, RuntimeError, ValueError, RayError) as error:
        raise Unavailable(
            f"the Ray cluster at {settings.address} cannot be joined: {error}",
            reason="RAY_NOT_JOINED",
        ) from error
    here = ray.get_runtime_context().get_node_id()
    place = Place(
        node,
        tempfile.mkdtemp(prefix="loadstar-links-"),
        link_host=settings.link_host or ray.util.get_node_ip_address(),
        token_file=settings.cluster_token_file,
        supervisor=os.getpid(),
    )
    return RayNode(place, strategy=NodeAffinitySchedulingStrategy(here, soft=False))
