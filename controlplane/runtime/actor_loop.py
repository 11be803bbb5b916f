"""Takes messages to actors one at a time, and copes when that fails. Its parts, put together:

    Mailbox      what waits for which actor, and the shards that are served (`mailbox.py`)
    Arrivals     what comes over links, on its way to the mailbox (`arrivals.py`)
    Effects      what a step asks for, put into the batch (`effects.py`)
    Pipeline     the batches and their commits (`batch.py`)
    Departures   what leaves once its batch is durable (`departures.py`)
    Homes        where chargers live that are not here (`homes.py`)

Invariants. An actor takes one message at a time, in the order of arrival. Nothing leaves before the
batch that caused it is durable. An actor whose commit failed is thrown away and comes back as it
was stored; what it had not acknowledged is delivered again by the gateway. An actor that raises is
answered for, thrown away and brought back, and disturbs no other. Only actors of shards that are
served are stepped."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

from controlplane.actor import (
    Answer,
    Ask,
    Effect,
    LookedUp,
    Message,
    PlanFound,
    ReplyError,
    TimerFired,
)
from controlplane.charger.messages import StationCalled, StationSent
from controlplane.config import Settings
from controlplane.errors import Fenced, Refusal
from controlplane.ids import ActorKind, ActorRef, ChargerId, SiteId
from controlplane.ocpp import framing
from controlplane.runtime.arrivals import Arrivals
from controlplane.runtime.batch import Batch, Pipeline
from controlplane.runtime.clock import Clock
from controlplane.runtime.departures import Departures
from controlplane.runtime.effects import Effects
from controlplane.runtime.homes import Homes
from controlplane.runtime.host_meter import HostMeter
from controlplane.runtime.host_traces import HostTraces
from controlplane.runtime.look_ups import LookUps
from controlplane.runtime.mailbox import Mailbox
from controlplane.runtime.ownership import Ownership
from controlplane.runtime.planner import Planner
from controlplane.runtime.requests import OpenRequest, Requests
from controlplane.runtime.residents import ActorFactory, Resident, Residents
from controlplane.runtime.telemetry import log
from controlplane.runtime.timers import Timers
from controlplane.runtime.tracing import Span, Tracing
from controlplane.runtime.transport import Link
from controlplane.runtime.wire import Parcel, Reintroduce
from controlplane.store.commit import CommitBatch
from controlplane.store.reader import StoreReader

__all__ = ["ActorLoop"]

_STEPS_AT_ONCE = 2_000
_TIMERS_AT_ONCE = 8
"""The rounds of many sites may come due in one moment; what somebody waits for comes between."""
_STEPS_BETWEEN_LOOKS = 50
"""After so many it is looked again whether the batch is full."""
_SENDS_WAITING_MAX = 64
"""What an actor that is not here yet may have waiting of the messages that want no answer."""
_TIMER_WAIT_MAX_S = 1.0
_SITE = ActorKind.SITE


class ActorLoop:
    """The mailboxes, timers and commits of one host, on one event loop.

    Args:
        writer: the thread on which `commit` writes a batch; `commit` returns the cursor of its
            first event.
        requests: where answers go.
        tracing: where spans of this process begin.
        control: takes the parcels that are for the host itself.
        ended: called when this host must not go on: it lost a shard or its lease.
    """

    def __init__(
        self,
        settings: Settings,
        clock: Clock,
        create: ActorFactory,
        *,
        reader: StoreReader,
        writer: ThreadPoolExecutor,
        commit: Callable[[CommitBatch], int],
        ownership: Ownership,
        requests: Requests,
        tracing: Tracing,
        control: Callable[[Parcel], None],
        ended: Callable[[str], None],
    ) -> None:
        self.steps = 0
        self.sends_shed = 0
        self.serving = False
        self.mailbox = Mailbox(self.schedule)
        self.meter = HostMeter(self)
        self._traces = HostTraces(tracing)
        self._clock = clock
        self._loop = asyncio.get_running_loop()
        self._ownership = ownership
        self._requests = requests
        self._ended = ended
        self.residents = Residents(
            reader,
            settings.actors,
            clock,
            create,
            activated=self._activated,
            unloadable=self._unloadable,
        )
        self.pipeline = Pipeline(
            writer=writer,
            commit=commit,
            interval_s=settings.commit_interval_ms / 1_000,
            released=self._released,
            failed=self._commit_failed,
            meter=self.meter.meter,
        )
        self.look_ups = LookUps(reader, self._looked_up)
        self.planner = Planner(self._plan_found, self.meter.planned)
        self.timers = Timers()
        self._homes = Homes(reader, self.residents, self.mailbox, self._evict)
        self.departures = Departures(
            self.mailbox,
            self.residents,
            self._homes,
            requests=requests,
            look_ups=self.look_ups,
            planner=self.planner,
            traces=self._traces,
        )
        self.arrivals = Arrivals(
            self.mailbox,
            self.residents,
            self._homes,
            self.departures,
            self._traces,
            control=control,
        )
        self._effects = Effects(
            self.mailbox,
            self.residents,
            self.pipeline,
            timers=self.timers,
            requests=requests,
            meter=self.meter,
        )
        self._scheduled = False
        self._timer: asyncio.TimerHandle | None = None
        self._timer_ms: int | None = None

    @property
    def epochs(self) -> dict[int, int]:
        """The shards that are served here, each with the epoch under which it is owned."""
        return self.mailbox.epochs

    def close(self) -> None:
        """Step nothing, commit nothing, send nothing more."""
        self.serving = False
        self.pipeline.close()
        self.residents.close()
        self.look_ups.close()
        self.planner.close()
        self.departures.close()
        self._homes.close()
        if self._timer is not None:
            self._timer.cancel()

    # --- what comes in ----------------------------------------------------------------------------

    def ask(self, resident: Resident, ask: Ask, traceparent: str = "") -> None:
        """A request from outside, of the trace of this W3C `traceparent` where there is one."""
        if traceparent:
            self._traces.asked(ask, traceparent)
        self.mailbox.post(resident, ask)

    def receive(self, parcels: Sequence[Parcel]) -> None:
        """What came over a link, in order."""
        self.arrivals.take(parcels)
        self.schedule()

    def drop_gateway(self, name: str, link: Link) -> None:
        """The link broke; the gateway may still be there."""
        if self.departures.gateways.get(name) is link:
            del self.departures.gateways[name]

    def remove_gateway(self, name: str) -> None:
        """The gateway is gone, and every socket it held."""
        self.departures.gateways.pop(name, None)
        self.arrivals.gateway_gone(name)
        self.schedule()

    def _looked_up(self, ref: ActorRef, answer: LookedUp) -> None:
        """For whoever asked; an actor that was brought back since has asked anew."""
        resident = self.residents.get(ref)
        if resident is not None:
            if self._traces.waits:
                self._traces.due(ref, answer.look_up_id, answer)
            self.mailbox.post(resident, answer)

    def _plan_found(self, ref: ActorRef, found: PlanFound) -> None:
        resident = self.residents.get(ref)
        if resident is not None:
            self.mailbox.post(resident, found)

    # --- shards -----------------------------------------------------------------------------------

    def expect(self, shards: Collection[int]) -> None:
        """These are claimed: what comes for them waits until they are served."""
        self.mailbox.claimed.update(shards)

    def serve(self, epochs: Mapping[int, int]) -> None:
        """Step the actors of these shards from now on; every gateway has heard of it."""
        self.mailbox.serve(epochs)
        self.arrivals.served()
        self.schedule()

    def asked(self, shards: Collection[int]) -> bool:
        """Whether actors of these shards owe an answer."""
        for opened in self._requests.stepped():
            resident = self.residents.get(opened.ref)
            if resident is not None and resident.shard in shards:
                return True
        return False

    def withdraw(self, shards: Collection[int]) -> asyncio.Future[None]:
        """Step the actors of these shards no more; done once all that they did has left."""
        self._evict({resident for resident in self.residents if resident.shard in shards})
        barrier = self.pipeline.barrier()
        self.mailbox.withdraw(shards)
        return barrier

    def _evict(self, gone: set[Resident]) -> None:
        """They live elsewhere from now on, as they were stored."""
        for ask in self.mailbox.evict(gone):
            moved = Refusal("unavailable", "NOT_OWNER", "the actor lives elsewhere")
            self._requests.answer(ask.ask_id, moved)
        self._requests.lost({resident.ref for resident in gone})
        for resident in gone:
            self.timers.drop(resident.ref)
            if resident.ref.kind is ActorKind.CHARGER:
                self.arrivals.forget(resident.ref.id)
            self.residents.forget(resident)

    # --- stepping ---------------------------------------------------------------------------------

    def schedule(self) -> None:
        """Step what waits, on the next turn of the event loop."""
        if not self._scheduled and self.serving:
            self._scheduled = True
            self._loop.call_soon(self._run)

    def _run(self) -> None:
        self._scheduled = False
        if not self.serving:
            return
        now_ms = self._clock.now_ms()
        waiting = self.mailbox.entries
        for ref, key in self.timers.due(now_ms, _TIMERS_AT_ONCE):
            fired = TimerFired(key)
            if self._traces.waits:
                self._traces.due(ref, key, fired)
            waiting.append((self.residents.find(ref), fired, None))
        # What the steps send each other is stepped in the same turn, so that a station's news, the
        # round that it sets off and the limits that follow share one commit.
        steps_left = _STEPS_AT_ONCE
        while waiting and steps_left > 0 and not self.pipeline.open.full:
            part = min(len(waiting), _STEPS_BETWEEN_LOOKS)
            steps_left -= part
            for _ in range(part):
                resident, message, sender = waiting.popleft()
                if resident.actor is None:
                    self._wait(resident, message, sender)
                else:
                    self._step(resident, message, now_ms)
        if waiting and not self.pipeline.open.full:
            self.schedule()
        self._arm_timer(now_ms)
        self.pipeline.pump()

    def _wait(self, resident: Resident, message: Message, sender: Resident | None) -> None:
        if resident.waiting is None or resident.gone:
            # The actor was thrown away while this was queued: start over with a new resident.
            resident = self.residents.find(resident.ref, site_id=resident.site_id)
            if resident.actor is not None or resident.waiting is None:
                self.mailbox.entries.append((resident, message, sender))
                return
        if type(message) is StationSent and len(resident.waiting) >= _SENDS_WAITING_MAX:
            # It wants no answer, and so nothing bounds how much of it comes.
            self.sends_shed += 1
            return
        resident.waiting.append((message, sender))

    def _step(self, resident: Resident, message: Message, now_ms: int) -> None:
        assert resident.actor is not None
        self.steps += 1
        opened: OpenRequest | None = None
        if type(message) is Ask:
            opened = self._requests.get(message.ask_id)
            if opened is None:
                return
            opened.stepped = True
        actor = resident.actor
        span = self._traces.step(resident.ref, message) if self._traces.riding else None
        if span is not None:
            effects = self._step_traced(resident, message, now_ms, span)
            if effects is None:
                return
        else:
            try:
                if resident.ref.kind is _SITE:
                    effects = self.meter.step(resident, actor, message, now_ms)
                else:
                    effects = actor.step(message, now_ms)
            except Exception as error:
                # A fault in one actor's code must not reach another charger.
                self._traces.crashed(resident.ref, error)
                self._crashed(resident, message)
                return
            if effects:
                self._effects.carry_out(resident, effects, now_ms)
        if opened is not None:
            self._asked(resident, opened, effects)

    def _step_traced(
        self, resident: Resident, message: Message, now_ms: int, span: Span
    ) -> list[Effect] | None:
        """None where the actor raised."""
        traces, batch, actor = self._traces, self.pipeline.open, resident.actor
        assert actor is not None
        rounds, parcels, started_ns = self.meter.rounds, len(batch.to_stations), time.time_ns()
        with traces.tracing.current(span):
            try:
                effects = self.meter.step(resident, actor, message, now_ms)
            except Exception as error:
                traces.crashed(resident.ref, error, span)
                self._crashed(resident, message)
                return None
            if self.meter.rounds != rounds:
                traces.rounded(span, resident.ref, started_ns, effects)
            if effects:
                self._effects.carry_out(resident, effects, now_ms)
        context = traces.stepped(
            span,
            resident.ref,
            message,
            effects,
            parcels=batch.to_stations[parcels:],
            now_ms=now_ms,
        )
        batch.traces.append(context)
        return effects

    def _asked(self, resident: Resident, opened: OpenRequest, effects: list[Effect]) -> None:
        """A request that is still to be answered leaves its mark in the store."""
        if any(type(effect) is Answer and effect.ask_id == opened.ask_id for effect in effects):
            return
        pending = self._requests.pending(opened)
        epoch = self.epochs.get(resident.shard)
        if pending is not None and epoch is not None:
            batch = self.pipeline.open
            batch.touched.add(resident)
            batch.commit.epochs[resident.shard] = epoch
            batch.commit.results.append(pending)

    def _activated(self, resident: Resident, effects: list[Effect]) -> None:
        if resident.shard not in self.epochs:
            self.residents.forget(resident)
            return
        waiting, resident.waiting = resident.waiting or deque(), None
        self.meter.activated(resident)
        if effects:
            self._effects.carry_out(resident, effects, self._clock.now_ms())
        self.mailbox.put_first(resident, waiting)

    def _arm_timer(self, now_ms: int) -> None:
        """One event-loop timer for all: at the next instant due, in the world's time."""
        next_ms = self.timers.next_ms()
        if next_ms == self._timer_ms and self._timer is not None:
            return
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._timer_ms = next_ms
        if next_ms is None:
            return
        wait_s = max(0.0, (next_ms - now_ms) / 1_000 / self._clock.speed)
        # Bounded, because the machine's clock may be set forward meanwhile.
        self._timer = self._loop.call_later(min(wait_s, _TIMER_WAIT_MAX_S), self._timer_due)

    def _timer_due(self) -> None:
        self._timer = None
        self.schedule()

    # --- after the commit, and where it failed ----------------------------------------------------

    def _released(self, batch: Batch, first_cursor: int) -> None:
        if not self._ownership.valid:
            self._ended("lease lapsed")
            return
        self.residents.backoff_s = 0.0
        self.meter.committed(batch)
        self.departures.leave(batch, first_cursor)
        if batch.crashed:
            self._bring_back(set(batch.crashed))
        if self.mailbox.entries:
            # A full batch may have stopped the steps.
            self.schedule()

    def _commit_failed(self, batch: Batch, stepped_on_top: Batch, error: BaseException) -> None:
        """Nothing of either batch leaves; every actor they touched comes back from the store."""
        self.meter.commit_failed(error)
        self._traces.tracing.error(
            "store.commit", error, {"store.records": len(batch.commit.records)}
        )
        if isinstance(error, Fenced) or not self._ownership.valid:
            log.error("host_fenced", error=str(error))
            self._ended(f"fenced: {error}")
            return
        log.error("commit_failed", error=str(error), records=len(batch.commit.records))
        self.residents.backoff_s = max(self.residents.backoff_s, 0.1)
        touched = batch.touched | stepped_on_top.touched
        touched.update(batch.crashed, stepped_on_top.crashed)
        self._bring_back(touched)

    def _crashed(self, resident: Resident, message: Message) -> None:
        """The actor's code raised. What it did before is committed as it is; then it comes back
        from the store."""
        self.meter.crashes += 1
        log.exception("actor_raised", actor=str(resident.ref), message=type(message).__name__)
        resident.actor = None
        resident.waiting = deque()
        self.pipeline.open.crashed.append(resident)
        self._answer_for(resident, message)

    def _unloadable(self, resident: Resident, error: Exception) -> None:
        """No actor can be made of what the store holds."""
        log.error("actor_not_loaded", actor=str(resident.ref), exc_info=error)
        self.residents.forget(resident)
        for message, _ in resident.waiting or ():
            self._answer_for(resident, message)
        self.schedule()

    def _answer_for(self, resident: Resident, message: Message) -> None:
        """In the place of an actor that failed."""
        if type(message) is Ask:
            refusal = Refusal("internal", "ACTOR_FAILED", f"{resident.ref} failed")
            self.pipeline.open.answers.append((message.ask_id, refusal))
        elif type(message) is StationCalled:
            error = ReplyError(
                message.connection,
                message.message_id,
                framing.ErrorCode.INTERNAL_ERROR,
                "the message could not be processed",
            )
            self._effects.reply_error(resident, error)

    def _bring_back(self, dropped: set[Resident]) -> None:
        """Throw actors away and bring them back from the store: sites with all their chargers,
        because a site that forgot must be told again who is there."""
        sites = {SiteId(r.ref.id) for r in dropped if r.ref.kind is ActorKind.SITE}
        if sites:
            dropped |= {r for r in self.residents if r.site_id in sites}
        self._requests.lost({resident.ref for resident in dropped})
        self.mailbox.lose(dropped, self.residents)
        chargers: list[ChargerId] = []
        for resident in dropped:
            self.timers.drop(resident.ref)
            if resident.ref.kind is ActorKind.CHARGER:
                self.arrivals.forget(resident.ref.id)
                chargers.append(ChargerId(resident.ref.id))
            self.residents.reload(resident)
        if chargers:
            self.departures.tell_gateways(Reintroduce(tuple(chargers)))
