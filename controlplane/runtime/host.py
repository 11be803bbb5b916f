"""A shard host: owns shards, keeps their lease, hosts their actors (`actor_loop.py`).

Invariant: it steps, commits and sends only while it is sure of its lease; once it is not, it ends
and another incarnation takes over."""

from __future__ import annotations

import asyncio
import sys
import time
import uuid
from collections.abc import Awaitable, Callable, Collection
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TypeVar

import msgspec

from controlplane.actor import Ask
from controlplane.config import Settings
from controlplane.errors import Fenced, InvalidInput, NotFound, Precondition, Unavailable
from controlplane.ids import SHARDS, ActorKind, ActorRef, ChargerId, SiteId
from controlplane.registry.messages import REGISTRY
from controlplane.runtime.actor_loop import ActorLoop
from controlplane.runtime.clock import Clock
from controlplane.runtime.ownership import Ownership
from controlplane.runtime.requests import Requests
from controlplane.runtime.residents import ActorFactory, Resident
from controlplane.runtime.telemetry import Telemetry, log
from controlplane.runtime.wire import Announcement, decode_request
from controlplane.store.commit import CommitBatch, StoreWriter
from controlplane.store.engine import open_engine
from controlplane.store.reader import StoreReader
from controlplane.store.records import JournalEvent

__all__ = ["ShardHost"]

_RETRY_S = 0.5
_RESULTS_KEPT_MS = 86_400_000
_SECURITY_EVENTS_KEPT_MS = 400 * 86_400_000
_PRUNE_INTERVAL_S = 3_600.0
_THREAD_SWITCH_S = 0.000_5
"""How long the writer's thread asks for the interpreter before the loop must hand it over. At
Python's 5 ms a loop whose turns are shorter never hands over: measured with turns of 2 ms, a
commit of one row waited 8 s and cost the host its lease; at 0.5 ms it takes 9 ms at most."""

Result = TypeVar("Result")


class ShardHost:
    """Hosts the actors of the shards it owns. Everything runs on the loop that created it, but for
    the writer's thread.

    Args:
        name: lasting; a new incarnation of the same name takes over at once.
        shards: the shards to claim; None for all.
        on_lapse: called by the watchdog's thread when the lease is over.
    """

    def __init__(
        self,
        name: str,
        settings: Settings,
        clock: Clock,
        create: ActorFactory,
        *,
        shards: Collection[int] | None = None,
        on_lapse: Callable[[], None],
    ) -> None:
        sys.setswitchinterval(_THREAD_SWITCH_S)
        self.name = name
        self.incarnation = uuid.uuid4().hex[:12]
        self.ended: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        """Why this host serves no more."""
        self._settings = settings
        self._clock = clock
        self._shards = shards
        self._on_lapse = on_lapse
        self._loop = asyncio.get_running_loop()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="store-writer")
        engine = open_engine(settings.database, writer=True)
        self._store = StoreWriter(engine)
        self._ownership = Ownership(
            engine, host=name, incarnation=self.incarnation, lease_s=settings.lease_s
        )
        self._reader = StoreReader(settings.database)
        self._requests = Requests(self.incarnation, self._reader)
        self.actors = ActorLoop(
            settings,
            clock,
            create,
            reader=self._reader,
            writer=self._thread,
            commit=self._commit,
            ownership=self._ownership,
            requests=self._requests,
            ended=self.end,
        )
        self._chores: list[asyncio.Task[None]] = []

    # --- life -------------------------------------------------------------------------------------

    async def start(self) -> Announcement:
        """Claim the shards; waits for the database where it is away. Serves nothing yet.

        Raises:
            Precondition: another host owns some of them, and goes on renewing its lease.
        """
        epochs = await self._claim()
        # A dead owner's lease runs out; the last try comes after that.
        until_s = self._loop.time() + self._settings.lease_s + _RETRY_S
        wanted = SHARDS if self._shards is None else len(self._shards)
        while len(epochs) < wanted:
            if self._loop.time() >= until_s:
                raise Precondition(
                    f"another Loadstar is running on this database: {wanted - len(epochs)} of its "
                    f"{wanted} shards belong to it",
                    reason="DATABASE_IN_USE",
                )
            await asyncio.sleep(_RETRY_S)
            epochs = await self._claim()
        self._ownership.watch(self._on_lapse)
        self._chores.append(self._loop.create_task(self._renew_forever()))
        log.info("shards_claimed", shards=len(epochs), incarnation=self.incarnation)
        return Announcement(self.name, self.incarnation, epochs)

    async def _claim(self) -> dict[int, int]:
        while True:
            try:
                return await self._in_writer(lambda: self._ownership.claim(self._shards))
            except Unavailable as error:
                log.error("shards_not_claimed", error=str(error))
                await asyncio.sleep(_RETRY_S)

    async def serve(self) -> None:
        """Bring sites, feeders, campaigns and the registry of tokens in and begin. Call after every
        gateway has heard the announcement."""
        self.actors.serving = True
        feeders = await self._patiently(self._reader.feeders)
        sites = await self._patiently(self._reader.sites)
        campaigns = await self._patiently(lambda: self._reader.campaigns(only_open=True))
        refs = [ActorRef(ActorKind.FEEDER, feeder.feeder_id) for feeder in feeders]
        refs += [ActorRef(ActorKind.SITE, site.site_id) for site in sites]
        refs.append(REGISTRY)
        refs += [ActorRef(ActorKind.CAMPAIGN, each.campaign_id) for each in campaigns]
        for ref in refs:
            resident = self.actors.residents.find(ref)
            if resident.shard not in self._ownership.epochs:
                self.actors.residents.forget(resident)
        await self.actors.residents.loaded()
        self._chores.append(self._loop.create_task(self._prune_forever()))
        self.actors.schedule()

    async def stop(self) -> None:
        """Commit what is under way, give the shards back."""
        self.actors.serving = False
        deadline_s = self._loop.time() + 5.0
        while not self.actors.pipeline.settled and self._loop.time() < deadline_s:
            self.actors.pipeline.pump()
            await asyncio.sleep(0.01)
        self.end("stopped")
        try:
            await self._in_writer(self._ownership.release)
        except Unavailable as error:
            log.warning("shards_not_released", error=str(error))
        self._dispose()

    def kill(self) -> None:
        """End at once, as a killed process does: nothing is committed, sent or given back."""
        self.end("killed")
        self._dispose()

    def end(self, why: str) -> None:
        """Serve no more, at once; `why` is what `ended` says."""
        self.actors.close()
        self._ownership.unwatch()
        for chore in self._chores:
            chore.cancel()
        if not self.ended.done():
            self.ended.set_result(why)
            log.info("host_ended", reason=why, incarnation=self.incarnation)

    def _dispose(self) -> None:
        self._thread.shutdown(wait=True)
        self._store.close()
        self._reader.close()

    async def follow(self, after: int, limit: int, timeout_s: float) -> list[JournalEvent]:
        """Journal events after a cursor, of this host from memory and of all from the store; waits
        for the first one.

        Raises:
            Unavailable: the database is away.
        """
        for patient in (True, False):
            events = self.actors.ring.after(after, limit)
            if events is None:
                events = await self._reader.journal(after, limit)
            if events or not patient:
                return events
            await self.actors.ring.wait(timeout_s)
        return []

    def _commit(self, batch: CommitBatch) -> int:
        """On the writer's thread."""
        if not self._ownership.valid:
            raise Fenced("the lease ran out before the commit", reason="LEASE_LAPSED")
        return self._store.commit(batch)

    # --- requests ---------------------------------------------------------------------------------

    async def ask(self, ref: ActorRef, request: bytes, request_id: str, timeout_s: float) -> bytes:
        """Ask an actor; the answer is msgpack of the response or of a `Refusal`.

        Raises:
            InvalidInput, NotFound, Exhausted, Unavailable, TimedOut
        """
        if not self.actors.serving:
            raise Unavailable("the host is starting or ending", reason="HOST_NOT_SERVING")
        if request_id:
            known = await self._requests.known(ref, request, request_id)
            if known is not None:
                return known
        try:
            asked = decode_request(ref.kind, request)
        except msgspec.ValidationError as error:
            raise InvalidInput(f"{ref} takes no such request: {error}") from error
        resident = self.actors.residents.get(ref)
        if resident is None:
            resident = await self._admit(ref)
        if resident.shard not in self._ownership.epochs:
            raise Unavailable(f"{ref} lives elsewhere", reason="NOT_OWNER")
        # Between the look-up and now another asker may have brought the same request.
        repeated = self._requests.under_way(request_id)
        if repeated is not None:
            return await self._requests.wait(repeated, timeout_s)
        opened = self._requests.begin(ref, request, request_id, timeout_s)
        self.actors.post(resident, Ask(opened.ask_id, asked))
        return await self._requests.wait(opened, timeout_s)

    async def _admit(self, ref: ActorRef) -> Resident:
        """Activation on request. A charger that neither the directory nor a snapshot knows would be
        made up by asking for it."""
        site_id: SiteId | None = None
        if ref.kind is ActorKind.CHARGER:
            record = await self._reader.charger(ChargerId(ref.id))
            if record is not None:
                site_id = record.site_id
            elif not await self._reader.snapshots([ref]):
                raise NotFound(
                    f"charger {ref.id} is not known",
                    reason="CHARGER_UNKNOWN",
                    metadata={"charger_id": ref.id},
                )
        return self.actors.residents.find(ref, site_id=site_id)

    # --- chores -----------------------------------------------------------------------------------

    async def _renew_forever(self) -> None:
        """Keep the lease. Asked for by this loop and done by the writer: where either is stuck the
        lease runs out."""
        interval_s = self._ownership.tenure.renew_after_s
        while True:
            await asyncio.sleep(interval_s)
            try:
                await self._in_writer(self._ownership.renew)
                interval_s = self._ownership.tenure.renew_after_s
            except Fenced as error:
                self.end(f"fenced: {error}")
                return
            except Unavailable as error:
                log.error("lease_not_renewed", error=str(error))
                interval_s = min(_RETRY_S, interval_s)
            self._requests.expire()

    async def _prune_forever(self) -> None:
        while True:
            before_ms = time.time_ns() // 1_000_000 - _RESULTS_KEPT_MS
            try:
                await self._in_writer(partial(self._store.prune_results, before_ms))
                before_ms = self._clock.now_ms() - _SECURITY_EVENTS_KEPT_MS
                await self._in_writer(partial(self._store.prune_security_events, before_ms))
            except Unavailable as error:
                log.warning("results_not_pruned", error=str(error))
            await asyncio.sleep(_PRUNE_INTERVAL_S)

    async def _in_writer(self, work: Callable[[], Result]) -> Result:
        return await self._loop.run_in_executor(self._thread, work)

    async def _patiently(self, read: Callable[[], Awaitable[Result]]) -> Result:
        while True:
            try:
                return await read()
            except Unavailable as error:
                log.error("store_not_read", error=str(error))
                await asyncio.sleep(_RETRY_S)

    def instrument(self, telemetry: Telemetry) -> None:
        """Export what this host counts."""
        telemetry.counters(
            "host",
            lambda: {
                "steps": self.actors.steps,
                "crashes": self.actors.crashes,
                "commits": self.actors.pipeline.commits,
                "committed_records": self.actors.pipeline.rows,
            },
        )
        telemetry.gauges(
            "host",
            lambda: {
                "actors": len(self.actors.residents),
                "queued_messages": len(self.actors),
                "open_requests": len(self._requests),
                "timers": len(self.actors.timers),
            },
        )
