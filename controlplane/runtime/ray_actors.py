"""A gateway and a host inside a process that Ray has started: what a supervisor calls there.

Invariants: such a process ends with its supervisor, and a host's ends with its lease. What
stations, hosts and clients say goes over links of its own (`transport.py`), so that losing Ray's
head stops nothing that runs."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from typing import Any

from controlplane.config import Settings
from controlplane.runtime.clock import Clock
from controlplane.runtime.garbage import keep_what_is_loaded
from controlplane.runtime.gateway import Gateway
from controlplane.runtime.host import ShardHost
from controlplane.runtime.huge_pages import keep_on_huge_pages
from controlplane.runtime.links import Place, Reach, listen
from controlplane.runtime.metrics import Reading
from controlplane.runtime.process_ends import HeldProcess
from controlplane.runtime.residents import ActorFactory, default_factory
from controlplane.runtime.telemetry import configure_logging, log
from controlplane.runtime.transport import Handler, Inlet
from controlplane.runtime.vital_signs import VitalSigns
from controlplane.runtime.wire import Ports

__all__ = ["GatewayActor", "HostActor"]

_EXIT_LEASE_LAPSED = 70
_EXIT_ORPHANED = 71
_ORPHAN_STOP_S = 5.0


class _Lifeline:
    """Ends this process when its supervisor ends, from the first moment on. Ray would do that to
    what a driver has started, but only while its head is there, and without a word: a host would
    keep its shards from everybody for the rest of its lease."""

    def __init__(self, supervisor: int) -> None:
        self._supervisor = supervisor
        self._stop: Callable[[], Future[None]] | None = None
        try:
            held = HeldProcess(supervisor)
        except ProcessLookupError:
            os._exit(_EXIT_ORPHANED)
        threading.Thread(target=self._watch, args=(held,), name="lifeline", daemon=True).start()

    def stop_first(self, stop: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Give this some seconds on the running loop before the process ends."""
        loop = asyncio.get_running_loop()
        self._stop = lambda: asyncio.run_coroutine_threadsafe(stop(), loop)

    def _watch(self, held: HeldProcess) -> None:
        held.wait()
        try:
            log.error("supervisor_gone", supervisor=self._supervisor)
            if self._stop is not None:
                self._stop().result(_ORPHAN_STOP_S)
        except Exception as error:
            # Whatever it was, this process ends now.
            log.error("process_not_stopped", error=repr(error))
        finally:
            os._exit(_EXIT_ORPHANED)


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

    def close(self) -> None:
        self._on_huge_pages.cancel()
        self._inlet.close()
        self.signs.close()


class GatewayActor:
    """Runs in a process of its own."""

    def __init__(self, name: str, settings: Settings, place: Place) -> None:
        self._lifeline = _Lifeline(place.supervisor)
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
        self._lifeline.stop_first(self._gateway.stop)
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


class HostActor:
    """Runs in a process of its own, and ends it when the lease is over."""

    def __init__(
        self,
        settings: Settings,
        place: Place,
        clock: Clock,
        create: ActorFactory | None,
    ) -> None:
        self._lifeline = _Lifeline(place.supervisor)
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

    async def begin(self, name: str, incarnation: str) -> int:
        """Become a member; returns the process id."""
        self._peer = _Peer(name, self._settings, self._place)
        self._host = ShardHost(
            name,
            self._settings,
            self._clock,
            self._create or default_factory(),
            incarnation=incarnation,
            reach=self._peer.reach,
            on_lapse=lambda: os._exit(_EXIT_LEASE_LAPSED),
        )
        self._progress = lambda: self._host.progress
        actors = self._host.actors
        address = await self._peer.listen(
            actors.receive, failed=self._lost_track, behind=lambda: actors.mailbox.full
        )
        self._lifeline.stop_first(self._host.stop)
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
