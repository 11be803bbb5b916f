"""Gateways and hosts in processes that Ray starts, as the supervisor sees them.

Ray starts, places and watches processes; whether a host may act is decided by its lease
(`ownership.py`), never by what Ray believes, and whether a process has ended by the kernel. What
runs in these processes is in `ray_actors.py`, the node's part of Ray in `ray_node.py`."""

from __future__ import annotations

import asyncio
import threading
import uuid
from contextlib import suppress
from typing import Any

from controlplane.config import Settings
from controlplane.runtime.clock import Clock
from controlplane.runtime.links import Place
from controlplane.runtime.metrics import Reading
from controlplane.runtime.process_ends import HeldProcess
from controlplane.runtime.ray_library import (
    ActorUnavailableError,
    RayActorError,
    RayError,
    RayTaskError,
    ray,
)
from controlplane.runtime.residents import ActorFactory
from controlplane.runtime.telemetry import log
from controlplane.runtime.tenure import STOP_AT
from controlplane.runtime.wire import Ports

__all__ = ["RayGateway", "RayHost"]

_CALL_TIMEOUT_S = 30.0
_BEGIN_TIMEOUT_S = 90.0
"""A process of Ray takes a second to start, and many on a machine that has other work."""
_STANDSTILL_S = 60.0
"""A host that starts or brings its actors back, and has not come a step further for so long, is
given up."""
_PROGRESS_INTERVAL_S = 5.0
_DRAIN_TIMEOUT_S = 120.0
_ALIVE_INTERVAL_S = 1.0
_AWAKE_MAX_S = 3.0
"""Of two intervals; what they took beyond that this process did not run itself."""
_KILL_TIMEOUT_S = 2.0
_KILL_GRACE_S = 0.5


class _RayProcess:
    """What gateways and hosts have in common.

    Args:
        silence_max_s: whoever does nothing for so long must be frozen.
    """

    def __init__(self, name: str, handle: Any, silence_max_s: float) -> None:
        self.name = name
        self.incarnation = uuid.uuid4().hex[:12]
        self.pid = 0
        self.handle = handle
        self._silence_max_s = silence_max_s
        self._held: HeldProcess | None = None

    def _began(self, pid: int) -> None:
        """
        Raises:
            ConnectionError: the process is gone already.
        """
        try:
            self._held = HeldProcess(pid)
        except ProcessLookupError:
            raise ConnectionError(f"{self.name} is gone") from None
        self.pid = pid

    async def readings(self) -> list[Reading]:
        readings: list[Reading] = await _call(self.handle.readings.remote())
        return readings

    async def drain(self) -> None:
        await _call(self.handle.drain.remote(), _DRAIN_TIMEOUT_S)

    async def ended(self) -> str:
        """Returns when the process ends, says that it is done, or does nothing for so long that it
        must be frozen. Ray notices the end of a process after a second or two; the kernel tells at
        once."""
        if self._held is None:
            return "it has not begun"
        loop = asyncio.get_running_loop()
        gone = loop.create_task(self._held.end())
        saying = loop.create_task(self._said())
        silence = loop.create_task(_silence(self.handle, self._silence_max_s))
        waiting = (gone, saying, silence)
        try:
            await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            if gone.done():
                return "process ended"
            if saying.done():
                return saying.result()
            return f"silent for {self._silence_max_s:g} s"
        finally:
            for task in waiting:
                task.cancel()

    async def _said(self) -> str:
        try:
            return str(await self.handle.ended.remote())
        except RayError as error:
            return type(error).__name__

    async def kill(self) -> bool:
        """End it without notice; returns whether it is known to have ended. Ray is told first, so
        that it does not take this for a failure, but may not be able to do it."""
        if self._held is None:
            await _kill(self.handle)
            return False
        if not self._held.gone:
            try:
                await _kill(self.handle)
            except Exception as error:
                # Whatever keeps Ray from it does not keep the kernel.
                log.warning("process_not_killed_by_ray", error=str(error))
        return await self._held.kill(grace_s=_KILL_GRACE_S)

    async def _stop(self, stopping: Any) -> None:
        try:
            await _call(stopping)
        except Exception as error:
            # Whatever it was, it ends now.
            log.warning("process_not_stopped", error=str(error))
        await self.kill()


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


class RayGateway(_RayProcess):
    """A gateway in a Ray actor."""

    def __init__(self, actor_class: Any, settings: Settings, place: Place) -> None:
        name = f"g{uuid.uuid4().hex[:12]}"
        super().__init__(name, actor_class.remote(name, settings, place), settings.lease_s)
        # Its name is never given again.
        self.incarnation = name

    async def start(self, ports: Ports | None) -> Ports:
        listening, pid = await _call(self.handle.begin.remote(ports), _BEGIN_TIMEOUT_S)
        self._began(pid)
        return Ports(*listening)

    async def stop(self) -> None:
        await self._stop(self.handle.stop.remote())


class RayHost(_RayProcess):
    """A shard host in a Ray actor."""

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
        # Its loop asks for every renewal: silent for so long, it may not act even if it wakes.
        silence_max_s = settings.lease_s * STOP_AT
        super().__init__(name, actor_class.remote(settings, place, clock, create), silence_max_s)

    async def prepare(self) -> None:
        await _call(self.handle.prepare.remote(), _BEGIN_TIMEOUT_S)

    async def start(self) -> None:
        beginning = self.handle.begin.remote(self.name, self.incarnation)
        self._began(await self._while_it_moves(beginning))

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

    async def stop(self, *, successor: bool = False) -> None:
        await self._stop(self.handle.stop.remote(successor))


async def _silence(handle: Any, silence_max_s: float) -> None:
    """Returns once the actor's event loop has not turned for a while in which this one did: where
    the whole machine was frozen, nobody had the time to answer."""
    loop = asyncio.get_running_loop()
    silent_s = 0.0
    asking = loop.create_task(_answers(handle))
    try:
        while silent_s < silence_max_s:
            began_s = loop.time()
            await asyncio.wait((asking,), timeout=_ALIVE_INTERVAL_S)
            if asking.done():
                answered = asking.result()
                await asyncio.sleep(_ALIVE_INTERVAL_S)
                asking = loop.create_task(_answers(handle))
                if answered:
                    silent_s = 0.0
                    continue
            silent_s += min(loop.time() - began_s, _AWAKE_MAX_S)
    finally:
        asking.cancel()


async def _answers(handle: Any) -> bool:
    try:
        await handle.alive.remote()
    except RayError:
        return False
    return True


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
