"""A shard host: owns shards (`balance.py`), keeps their lease, hosts their actors (`actor_loop.py`)
and answers what they are asked.

Invariant: it steps, commits and sends only while it is sure of its lease; once it is not, it ends
and another incarnation takes over."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, TypeVar

import msgspec

from controlplane.actor import Ask
from controlplane.charger.messages import Submit
from controlplane.config import Settings
from controlplane.errors import (
    Fenced,
    InvalidInput,
    LoadstarError,
    NotFound,
    Refusal,
    Unavailable,
)
from controlplane.ids import ActorKind, ActorRef, ChargerId, SiteId, shard_of
from controlplane.runtime import catalogue
from controlplane.runtime.actor_loop import ActorLoop
from controlplane.runtime.balance import Balance
from controlplane.runtime.census import take_census
from controlplane.runtime.clock import Clock, SteadyClock
from controlplane.runtime.command_answers import answered, asks_again
from controlplane.runtime.links import Links, Reach
from controlplane.runtime.metrics import Meter, Reading
from controlplane.runtime.ownership import Ownership, boottime_s
from controlplane.runtime.requests import Requests
from controlplane.runtime.residents import ActorFactory
from controlplane.runtime.telemetry import log
from controlplane.runtime.tracing import Tracing
from controlplane.runtime.transport import Link
from controlplane.runtime.wire import (
    Answered,
    Heard,
    Hello,
    LookAgain,
    Parcel,
    Question,
    Traced,
    decode_request,
    encode,
)
from controlplane.store.checkpoints import Checkpoints
from controlplane.store.commit import CommitBatch, StoreWriter
from controlplane.store.engine import open_engine
from controlplane.store.reader import StoreReader
from controlplane.store.retention import Retained, Retention

__all__ = ["ShardHost"]

_RETRY_S = 0.5
_CLOCK_INTERVAL_S = 1.0
_PRUNE_INTERVAL_S = 3_600.0
_PRUNE_PAUSE = 10
"""How many times as long as a step of pruning took the writer is then left to the commits."""
_PRUNE_PAUSE_MIN_S = 0.05
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
        incarnation: unique for all time.
        reach: from where and how it links to others.
        on_lapse: called by the watchdog's thread when the lease is over.
    """

    def __init__(
        self,
        name: str,
        settings: Settings,
        clock: Clock,
        create: ActorFactory,
        *,
        incarnation: str,
        reach: Reach,
        on_lapse: Callable[[], None],
    ) -> None:
        sys.setswitchinterval(_THREAD_SWITCH_S)
        self.name = name
        self.incarnation = incarnation
        self.ended: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        """Why this host serves no more."""
        self._settings = settings
        self._steady = SteadyClock(clock, boottime_s) if clock.may_jump else None
        clock = self._clock = self._steady or clock
        self._on_lapse = on_lapse
        self._loop = asyncio.get_running_loop()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="store-writer")
        engine = open_engine(settings.database, writer=True, timeout_s=settings.lease_s)
        self._store = StoreWriter(engine)
        self._checkpoints = Checkpoints(settings.database)
        self._ownership = Ownership(
            engine,
            host=name,
            incarnation=self.incarnation,
            lease_s=settings.lease_s,
            node=reach.node,
        )
        self._reader = StoreReader(settings.database)
        self._requests = Requests(self.incarnation, self._reader)
        self._tracing = Tracing(settings, name)
        self.actors = ActorLoop(
            settings,
            clock,
            create,
            reader=self._reader,
            writer=self._thread,
            commit=self._commit,
            ownership=self._ownership,
            requests=self._requests,
            tracing=self._tracing,
            control=self._control,
            ended=self.end,
        )
        self._meter = Meter()
        self._renewals = self._meter.counter(catalogue.LEASE_RENEWALS)
        self._instrument(self._meter)
        self.balance = Balance(
            self._ownership,
            self.actors,
            self._reader,
            reach,
            in_writer=self._in_writer,
            lease_s=settings.lease_s,
            fenced=self.end,
        )
        self._clients = Links(reach, self._client_gone)
        self._asked: set[asyncio.Task[None]] = set()
        self._chores: list[asyncio.Task[None]] = []
        self._let_go = False
        self._tries = 0
        """To become a member."""

    # --- life -------------------------------------------------------------------------------------

    async def enter(self, address: str) -> None:
        """Become a member, whose links begin at `address`; waits for the database where it is away.
        Serves nothing yet."""
        self.balance.address = self._ownership.member.address = address
        while True:
            self._tries += 1
            try:
                await self._in_writer(lambda: self._ownership.claim(()))
                break
            except Unavailable as error:
                log.error("membership_not_entered", error=str(error))
                await asyncio.sleep(_RETRY_S)
        self._ownership.watch(self._on_lapse)
        self._chores.append(self._loop.create_task(self._renew_forever()))
        if self._steady is not None:
            self._chores.append(self._loop.create_task(self._watch_clock(self._steady)))

    async def serve(self) -> None:
        """Claim what should be this host's and serve it, now and from now on."""
        self.actors.serving = True
        await self.balance.start()
        self._chores.append(self._loop.create_task(self._prune_forever()))
        log.info("host_serves", shards=len(self._ownership.epochs), incarnation=self.incarnation)

    @property
    def progress(self) -> int:
        """Another number whenever this host came a step further, or tried to where the database is
        away."""
        return self._tries + self.balance.steps + self.actors.residents.loads

    async def drain(self) -> None:
        """Hand every shard over to other hosts; returns once that is done, or where there is no
        other.

        Raises:
            Unavailable: the database is away.
        """
        await self.balance.drain()

    async def stop(self, *, successor: bool = False) -> None:
        """Commit what is under way, give the shards back; for a `successor` of this name the
        membership is kept."""
        self.balance.pause()
        self.actors.serving = False
        deadline_s = self._loop.time() + 5.0
        while not self.actors.pipeline.settled and self._loop.time() < deadline_s:
            self.actors.pipeline.pump()
            await asyncio.sleep(0.01)
        self.end("stopped")
        try:
            await self._in_writer(partial(self._ownership.release, successor=successor))
        except Unavailable as error:
            log.warning("shards_not_released", error=str(error))
        self._dispose()
        await asyncio.to_thread(self._tracing.close)

    def kill(self) -> None:
        """End at once, as a killed process does: nothing is committed, sent or given back."""
        self.end("killed")
        if self._let_go:
            # Killed by whoever saw it die, once more.
            return
        self._let_go = True
        self._checkpoints.close(wait=False)
        # The writer may be waiting for a database that does not answer; nobody waits for it.
        self._thread.submit(self._store.close)
        self._thread.shutdown(wait=False)
        self._reader.abandon()

    def end(self, why: str) -> None:
        """Serve no more, at once; `why` is what `ended` says."""
        self.balance.close()
        self._clients.close_all()
        self.actors.close()
        self._ownership.unwatch()
        for task in (*self._chores, *self._asked):
            task.cancel()
        if not self.ended.done():
            self.ended.set_result(why)
            log.info("host_ended", reason=why, incarnation=self.incarnation)

    def _dispose(self) -> None:
        self._thread.shutdown(wait=True)
        self._checkpoints.close()
        self._store.close()
        self._reader.close()

    def _commit(self, batch: CommitBatch) -> int:
        """On the writer's thread."""
        if not self._ownership.valid:
            raise Fenced("the lease ran out before the commit", reason="LEASE_LAPSED")
        try:
            return self._store.commit(batch)
        except Unavailable:
            self._settle(batch)
            raise

    def _settle(self, batch: CommitBatch) -> None:
        """On the writer's thread. The actors of a commit without an answer are read back when that
        is known to have happened or not: what stations repeat would be stored twice otherwise."""
        while self._ownership.valid:
            try:
                self._store.settle(batch.epochs)
            except Unavailable:
                time.sleep(_RETRY_S)
            else:
                return

    # --- links ------------------------------------------------------------------------------------

    def _control(self, parcel: Parcel) -> None:
        """What came over a link and is for no actor."""
        if type(parcel) is Question:
            self._in_background(self._answer(parcel))
        elif type(parcel) is Traced and type(parcel.parcel) is Question:
            self._in_background(self._answer(parcel.parcel, parcel.traceparent))
        elif type(parcel) is Heard:
            self.balance.heard(parcel.serial)
        elif type(parcel) is LookAgain:
            self.balance.wake()
        elif type(parcel) is Hello:
            self._in_background(self._meet(parcel))

    def _in_background(self, work: Coroutine[Any, Any, None]) -> None:
        task = self._loop.create_task(work)
        self._asked.add(task)
        task.add_done_callback(self._asked.discard)

    async def _meet(self, hello: Hello) -> None:
        try:
            link, _ = await self._clients.open(hello.client, hello.address)
        except ConnectionError as error:
            log.warning("client_not_reached", client=hello.client, error=str(error))
            return
        self.actors.departures.clients[hello.client] = link
        self.balance.announce_to(link)

    def _client_gone(self, name: str, link: Link) -> None:
        if self.actors.departures.clients.get(name) is link:
            del self.actors.departures.clients[name]

    async def _answer(self, question: Question, traceparent: str = "") -> None:
        try:
            response = await self.ask(
                question.ref,
                question.request,
                question.request_id,
                question.timeout_s,
                traceparent,
                repeated=question.repeated,
            )
        except LoadstarError as error:
            response = encode(Refusal(error.kind, error.reason, error.message, error.metadata))
        except Exception:
            # A fault of ours must not leave the asker without an answer.
            log.exception("request_failed", actor=str(question.ref))
            response = encode(Refusal("internal", "HOST_FAILED", f"{question.ref} was not asked"))
        link = self.actors.departures.clients.get(question.client)
        if link is not None:
            link.send(Answered(question.serial, response), urgent=True)

    # --- requests ---------------------------------------------------------------------------------

    async def ask(
        self,
        ref: ActorRef,
        request: bytes,
        request_id: str,
        timeout_s: float,
        traceparent: str = "",
        *,
        repeated: bool = False,
    ) -> bytes:
        """Ask an actor; the answer is msgpack of the response or of a `Refusal`. `repeated`: it may
        have been asked the same before.

        Raises:
            InvalidInput, NotFound, Exhausted, Unavailable, TimedOut
        """
        if not self.actors.serving:
            raise Unavailable("the host is starting or ending", reason="HOST_NOT_SERVING")
        try:
            asked = decode_request(ref.kind, request)
        except msgspec.ValidationError as error:
            raise InvalidInput(f"{ref} takes no such request: {error}") from error
        if isinstance(asked, Submit):
            return await self._submit(
                ref, asked, request, timeout_s, traceparent=traceparent, repeated=repeated
            )
        if request_id:
            known = await self._requests.known(ref, request, request_id)
            if known is not None:
                return known
        return await self._put(ref, asked, request, request_id, timeout_s, traceparent=traceparent)

    async def _submit(
        self,
        ref: ActorRef,
        submitted: Submit,
        request: bytes,
        timeout_s: float,
        *,
        traceparent: str,
        repeated: bool,
    ) -> bytes:
        """A command that is kept: what the store has of it goes before what the actor knows. One
        whose caller gave no id of its own has a new one: the first time nobody knows it."""
        until_s = self._loop.time() + timeout_s
        known_before = repeated or bool(submitted.request_id)
        while True:
            if known_before:
                known = answered(await self._reader.command(submitted.command_id), submitted)
                if known is not None:
                    return known
            known_before = True
            left_s = max(0.05, until_s - self._loop.time())
            answer = await self._put(ref, submitted, request, "", left_s, traceparent=traceparent)
            if self._loop.time() >= until_s or not asks_again(answer):
                return answer

    async def _put(
        self,
        ref: ActorRef,
        asked: msgspec.Struct,
        request: bytes,
        request_id: str,
        timeout_s: float,
        *,
        traceparent: str,
    ) -> bytes:
        """Ask the actor, once it is here."""
        resident = self.actors.residents.get(ref)
        if resident is None:
            shard, site_id = await self._home(ref)
            if shard not in self.actors.epochs:
                raise Unavailable(f"{ref} lives elsewhere", reason="NOT_OWNER")
            resident = self.actors.residents.find(ref, site_id=site_id)
        if resident.shard not in self.actors.epochs or resident.shard in self.balance.leaving:
            raise Unavailable(f"{ref} lives elsewhere", reason="NOT_OWNER")
        # Between the look-up and now another asker may have brought the same request.
        repeated = self._requests.under_way(request_id)
        if repeated is not None:
            return await self._requests.wait(repeated, timeout_s)
        opened = self._requests.begin(ref, request, request_id, timeout_s)
        self.actors.ask(resident, Ask(opened.ask_id, asked), traceparent)
        return await self._requests.wait(opened, timeout_s)

    async def _home(self, ref: ActorRef) -> tuple[int, SiteId | None]:
        """Where an actor that is not here lives. A charger that neither the directory nor a
        snapshot knows would be made up by asking for it."""
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
        return shard_of(ref.kind, ref.id, site_id=site_id), site_id

    # --- chores -----------------------------------------------------------------------------------

    async def _renew_forever(self) -> None:
        """Keep the lease. Asked for by this loop and done by the writer: where either is stuck the
        lease runs out."""
        interval_s = self._ownership.tenure.renew_after_s
        while True:
            await asyncio.sleep(interval_s)
            try:
                await self._in_writer(self._ownership.renew)
                self._renewals.add("renewed")
                interval_s = self._ownership.tenure.renew_after_s
            except Fenced as error:
                self._renewals.add("fenced")
                self.end(f"fenced: {error}")
                return
            except Unavailable as error:
                self._renewals.add("unavailable")
                log.error("lease_not_renewed", error=str(error))
                interval_s = min(_RETRY_S, interval_s)
            self._requests.expire()

    async def _watch_clock(self, clock: SteadyClock) -> None:
        """Where the machine's clock was set, a successor goes by it from the beginning."""
        while not clock.set_ms:  # noqa: ASYNC110 - nothing tells when a clock is set
            await asyncio.sleep(_CLOCK_INTERVAL_S)
        log.error("clock_set", by_ms=clock.set_ms)
        self.end(f"the clock was set by {clock.set_ms} ms")

    async def _prune_forever(self) -> None:
        """Forget what is too old; only the owner of the first shard does."""
        while True:
            if 0 in self._ownership.epochs:
                try:
                    await self._prune()
                except Unavailable as error:
                    log.warning("not_pruned", error=str(error))
            await asyncio.sleep(_PRUNE_INTERVAL_S)

    async def _prune(self) -> None:
        retention = Retention.of(self._settings)
        for kind in Retained:
            # When an answer was given is told on the machine's clock.
            of_machine = kind is Retained.RESULTS
            now_ms = time.time_ns() // 1_000_000 if of_machine else self._clock.now_ms()
            before_ms = retention.before_ms(kind, now_ms)
            removed = 0
            while before_ms is not None:
                began_s = self._loop.time()
                step = await self._in_writer(partial(self._store.prune, kind, before_ms))
                if not step:
                    break
                removed += step
                took_s = self._loop.time() - began_s
                await asyncio.sleep(max(took_s * _PRUNE_PAUSE, _PRUNE_PAUSE_MIN_S))
            if removed:
                log.info("pruned", kind=kind, removed=removed)

    async def _in_writer(self, work: Callable[[], Result]) -> Result:
        return await self._loop.run_in_executor(self._thread, work)

    async def readings(self) -> list[Reading]:
        """What this host measures."""
        self.actors.meter.census = await take_census(self.actors.residents)
        return [*self._meter.read(), *self.actors.meter.meter.read()]

    def _instrument(self, meter: Meter) -> None:
        ownership = self._ownership
        meter.watch(catalogue.LEASE_LEFT, lambda: ownership.left_s)
        meter.watch(catalogue.LEASE_SHARDS, lambda: len(self.actors.epochs))
        meter.watch(catalogue.LEASE_EPOCH, lambda: max(ownership.epochs.values(), default=0))
        meter.watch(catalogue.LEASE_CLAIMS, lambda: ownership.claimed)
        meter.watch(catalogue.REQUESTS_OPEN, lambda: len(self._requests))
        meter.watch(catalogue.STRAYS, lambda: self.actors.arrivals.strays)
        meter.watch(catalogue.SENDS_SHED, lambda: self.actors.sends_shed)
        meter.watch(catalogue.ROWS_OPEN, lambda: self.actors.pipeline.open.rows)
