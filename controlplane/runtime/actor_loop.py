"""Takes messages to actors one at a time, carries out what they ask for, and copes when that fails.

Invariants. An actor takes one message at a time, in the order of arrival. Nothing leaves before the
batch that caused it is durable (`batch.py`). An actor whose commit failed is thrown away and comes
back as it was stored; what it had not acknowledged is delivered again by the gateway. An actor that
raises is answered for, thrown away and brought back, and disturbs no other. Only actors of shards
that are served (`epochs`) are stepped: what comes for a shard that was claimed and is not announced
yet waits, what comes for any other is dropped, because its sender will hear who serves it."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

import msgspec

from controlplane.actor import (
    Answer,
    Ask,
    Call,
    CancelTimer,
    CloseSocket,
    Effect,
    Emit,
    LookedUp,
    LookUp,
    Message,
    Persist,
    Reply,
    ReplyError,
    Send,
    SetTimer,
    TimerFired,
)
from controlplane.charger.messages import (
    SecurityNoticed,
    StationCalled,
    StationConnected,
    StationDisconnected,
    StationSent,
)
from controlplane.config import Settings
from controlplane.errors import Fenced, Refusal, Unavailable
from controlplane.ids import SHARDS, ActorKind, ActorRef, ChargerId, SiteId, shard_of
from controlplane.ocpp import framing, typed
from controlplane.runtime.batch import Batch, Pipeline
from controlplane.runtime.clock import Clock
from controlplane.runtime.host_meter import HostMeter
from controlplane.runtime.host_traces import HostTraces
from controlplane.runtime.look_ups import LookUps
from controlplane.runtime.ownership import Ownership
from controlplane.runtime.requests import OpenRequest, Requests
from controlplane.runtime.residents import ActorFactory, Resident, Residents
from controlplane.runtime.telemetry import log
from controlplane.runtime.timers import Timers
from controlplane.runtime.tracing import Span, Tracing
from controlplane.runtime.transport import Link
from controlplane.runtime.wire import (
    CallOfStation,
    CloseStation,
    DirectoryChanged,
    FrameKind,
    FromActor,
    FromStation,
    Happened,
    Parcel,
    Question,
    Reintroduce,
    ToStation,
    Traced,
    is_actor_message,
)
from controlplane.store.commit import CommitBatch, JournalLine
from controlplane.store.reader import StoreReader
from controlplane.store.records import (
    CertificateRecord,
    ChargerRecord,
    ChargerRemoved,
    CommandRecord,
    CredentialRecord,
    JournalEvent,
    Record,
)

__all__ = ["ActorLoop"]

_STEPS_AT_ONCE = 2_000
_MAILBOX_MAX = 200_000
_UNROUTED_MAX = 20_000
_SENDS_WAITING_MAX = 64
"""What an actor that is not here yet may have waiting of the messages that want no answer."""
_TIMER_WAIT_MAX_S = 1.0
_SITE = ActorKind.SITE
_IN_DIRECTORY = (ChargerRemoved, CredentialRecord, CertificateRecord)
"""What else changes what gateways go by."""


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
        self.epochs: dict[int, int] = {}
        """The shards that are served here, each with the epoch under which it is owned."""
        self.strays = 0
        """Messages for shards that are not served here."""
        self.steps = 0
        self.sends_shed = 0
        self.serving = False
        self.meter = HostMeter(self)
        self._traces = HostTraces(tracing)
        self._clock = clock
        self._loop = asyncio.get_running_loop()
        self._ownership = ownership
        self._requests = requests
        self._reader = reader
        self._control = control
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
        self.timers = Timers()
        self._queue: deque[tuple[Resident, Message, Resident | None]] = deque()
        """Mailboxes in one: each message with its receiver and, where it came from an actor of this
        host, its sender."""
        self.peers: dict[str, Link] = {}
        """To other hosts, by name."""
        self.clients: dict[str, Link] = {}
        """To those who ask, and follow the journal."""
        self.owners: list[str] = [""] * SHARDS
        """Which host owns a shard that is not served here."""
        self._gateways: dict[str, Link] = {}
        self._claimed: set[int] = set()
        """Shards that are owned and not served yet."""
        self._held: list[Parcel] = []
        self._unrouted: list[tuple[ActorRef, Send]] = []
        """For chargers of which nobody here knows the site."""
        self._routing: asyncio.Task[None] | None = None
        self._evicting: set[asyncio.Task[None]] = set()
        self._connected: dict[str, str] = {}
        """The connection of each charger that was introduced last."""
        self._scheduled = False
        self._timer: asyncio.TimerHandle | None = None
        self._timer_ms: int | None = None

    def __len__(self) -> int:
        """Messages that wait."""
        return len(self._queue)

    @property
    def mailbox_max(self) -> int:
        """Beyond so many messages senders should wait."""
        return _MAILBOX_MAX

    @property
    def full(self) -> bool:
        """Whether senders should wait."""
        return len(self._queue) >= _MAILBOX_MAX

    def close(self) -> None:
        """Step nothing, commit nothing, send nothing more."""
        self.serving = False
        self.pipeline.close()
        self.residents.close()
        self.look_ups.close()
        if self._routing is not None:
            self._routing.cancel()
        for task in self._evicting:
            task.cancel()
        if self._timer is not None:
            self._timer.cancel()

    def ask(self, resident: Resident, ask: Ask, traceparent: str = "") -> None:
        """A request from outside, of the trace of this W3C `traceparent` where there is one."""
        if traceparent:
            self._traces.asked(ask, traceparent)
        self.post(resident, ask)

    def post(self, resident: Resident, message: Message) -> None:
        """A message from outside."""
        self._queue.append((resident, message, None))
        self.schedule()

    # --- shards -----------------------------------------------------------------------------------

    def expect(self, shards: Collection[int]) -> None:
        """These are claimed: what comes for them waits until they are served."""
        self._claimed.update(shards)

    def serve(self, epochs: Mapping[int, int]) -> None:
        """Step the actors of these shards from now on; every gateway has heard of it."""
        self.epochs = {**self.epochs, **epochs}
        self._claimed.difference_update(epochs)
        held, self._held = self._held, []
        self.receive(held)

    def busy(self, shards: Collection[int]) -> bool:
        """Whether messages wait for actors of these shards."""
        return any(resident.shard in shards for resident, _, _ in self._queue)

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
        self.epochs = {s: epoch for s, epoch in self.epochs.items() if s not in shards}
        return barrier

    def _evict(self, gone: set[Resident]) -> None:
        """They live elsewhere from now on, as they were stored."""
        waiting = [message for resident in gone for message, _ in resident.waiting or ()]
        waiting += [message for resident, message, _ in self._queue if resident in gone]
        for message in waiting:
            if type(message) is Ask:
                moved = Refusal("unavailable", "NOT_OWNER", "the actor lives elsewhere")
                self._requests.answer(message.ask_id, moved)
        self._requests.lost({resident.ref for resident in gone})
        self._queue = deque(entry for entry in self._queue if entry[0] not in gone)
        for resident in gone:
            self.timers.drop(resident.ref)
            if resident.ref.kind is ActorKind.CHARGER:
                self._connected.pop(resident.ref.id, None)
            self.residents.forget(resident)

    # --- links ------------------------------------------------------------------------------------

    def add_gateway(self, name: str, link: Link) -> None:
        """Send to the gateway of this name over `link` from now on."""
        self._gateways[name] = link

    def drop_link(self, name: str, link: Link) -> None:
        """The link broke; the gateway may still be there."""
        if self._gateways.get(name) is link:
            del self._gateways[name]

    def remove_gateway(self, name: str) -> None:
        """The gateway is gone, and every socket it held."""
        self._gateways.pop(name, None)
        for charger_id, connection in list(self._connected.items()):
            if connection.partition(":")[0] == name:
                self._from_station(
                    FromStation(
                        ChargerId(charger_id),
                        None,
                        StationDisconnected(connection, "gateway lost"),
                    )
                )
        self.schedule()

    def receive(self, parcels: Sequence[Parcel]) -> None:
        """What came over a link, in order."""
        for parcel in parcels:
            if self._claimed and self._hold(parcel):
                continue
            if type(parcel) is CallOfStation:
                self._called(parcel)
            elif type(parcel) is FromStation:
                self._from_station(parcel)
            elif type(parcel) is FromActor:
                # Its sender looked up where a charger lives; loading it finds out whether it does.
                self._queue.append((self.residents.find(parcel.to), parcel.message, None))
            elif type(parcel) is DirectoryChanged:
                self._check_homes(parcel.charger_ids)
            elif type(parcel) is Traced and type(parcel.parcel) is not Question:
                self._receive_traced(parcel)
            else:
                self._control(parcel)
        self.schedule()

    def _receive_traced(self, traced: Traced) -> None:
        before = len(self._queue)
        self.receive([traced.parcel])
        if len(self._queue) > before:
            self._traces.arrived(traced, self._queue[-1][1])

    def _hold(self, parcel: Parcel) -> bool:
        """Whether the parcel waits until its shard is served."""
        inner = parcel.parcel if type(parcel) is Traced else parcel
        if isinstance(inner, CallOfStation | FromStation):
            shard = shard_of(ActorKind.CHARGER, inner.charger_id, site_id=inner.site_id)
        elif isinstance(inner, FromActor):
            shard = shard_of(inner.to.kind, inner.to.id)
        else:
            return False
        if shard not in self._claimed or len(self._held) >= _MAILBOX_MAX:
            return False
        self._held.append(parcel)
        return True

    def _served(self, ref: ActorRef, site_id: SiteId | None) -> Resident | None:
        """The resident of `ref`, None where its shard is not served here."""
        resident = self.residents.get(ref)
        if resident is not None:
            return resident
        if not self._owns(shard_of(ref.kind, ref.id, site_id=site_id)):
            self.strays += 1
            return None
        return self.residents.find(ref, site_id=site_id)

    def _called(self, parcel: CallOfStation) -> None:
        charger_id, connection = parcel.charger_id, parcel.connection
        if self._connected.get(charger_id) != connection:
            return
        ref = ActorRef(ActorKind.CHARGER, charger_id)
        resident = self.residents.find(ref, site_id=parcel.site_id)
        read = typed.read_payload if parcel.typed else framing.read_call
        payload = read(parcel.text)
        call = StationCalled(connection, parcel.message_id, parcel.action, payload, parcel.mended)
        self._queue.append((resident, call, None))

    def _from_station(self, parcel: FromStation) -> None:
        """What a charger says reaches its actor only over the connection that was introduced last;
        a gateway introduces it again after the actor was thrown away."""
        message = parcel.message
        charger_id = parcel.charger_id
        ref = ActorRef(ActorKind.CHARGER, charger_id)
        known = self._connected.get(charger_id)
        if isinstance(message, SecurityNoticed):
            # It is about the charger and of no connection.
            pass
        elif type(message) is not StationConnected and known != message.connection:
            return
        resident = self._served(ref, parcel.site_id)
        if resident is None:
            return
        if type(message) is StationConnected:
            if known is not None and known != message.connection:
                self._close_replaced(charger_id, known)
            self._connected[charger_id] = message.connection
            epoch = self.epochs.get(resident.shard, 0)
            message = msgspec.structs.replace(message, epoch=epoch)
        elif type(message) is StationDisconnected:
            del self._connected[charger_id]
        self._queue.append((resident, message, None))

    def _close_replaced(self, charger_id: str, connection: str) -> None:
        """A newer socket of the charger came in, perhaps at another gateway."""
        link = self._gateways.get(connection.partition(":")[0])
        resident = self.residents.get(ActorRef(ActorKind.CHARGER, charger_id))
        if link is not None and resident is not None:
            epoch = self.epochs.get(resident.shard, 0)
            link.send(CloseStation(connection, resident.shard, epoch, 1008, "replaced"))

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
        for ref, key in self.timers.due(now_ms):
            fired = TimerFired(key)
            if self._traces.waits:
                self._traces.due(ref, key, fired)
            self._queue.append((self.residents.find(ref), fired, None))
        # What the steps send each other is stepped in the same turn, so that a station's news, the
        # round that it sets off and the limits that follow share one commit.
        queue, steps_left = self._queue, _STEPS_AT_ONCE
        while queue and steps_left and not self.pipeline.open.full:
            steps_left -= 1
            resident, message, sender = queue.popleft()
            if resident.actor is None:
                self._wait(resident, message, sender)
            else:
                self._step(resident, message, now_ms)
        if queue and not self.pipeline.open.full:
            self.schedule()
        self._arm_timer(now_ms)
        self.pipeline.pump()

    def _wait(self, resident: Resident, message: Message, sender: Resident | None) -> None:
        if resident.waiting is None:
            # The actor was thrown away while this was queued: start over with a new resident.
            resident = self.residents.find(resident.ref, site_id=resident.site_id)
            if resident.actor is not None or resident.waiting is None:
                self._queue.append((resident, message, sender))
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
                self._carry_out(resident, effects, now_ms)
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
                self._carry_out(resident, effects, now_ms)
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

    def _carry_out(self, resident: Resident, effects: list[Effect], now_ms: int) -> None:
        batch = self.pipeline.open
        shard = resident.shard
        epoch = self.epochs.get(shard)
        if epoch is None:
            log.error("effects_of_foreign_actor", actor=str(resident.ref), shard=shard)
            self.residents.forget(resident)
            return
        batch.touched.add(resident)
        for effect in effects:
            kind = type(effect)
            if kind is Persist:
                self._persist(resident, effect.record, batch)  # type: ignore[attr-defined]
            elif kind is Send:
                self._send(resident, effect, batch)  # type: ignore[arg-type]
            elif kind is Reply:
                batch.to_stations.append(_to_station(effect, shard, epoch))
            elif kind is SetTimer:
                self.timers.set(resident.ref, effect.key, effect.at_ms)  # type: ignore[attr-defined]
            elif kind is CancelTimer:
                self.timers.cancel(resident.ref, effect.key)  # type: ignore[attr-defined]
            elif kind is Emit:
                batch.commit.events.append(
                    JournalLine(now_ms, effect.kind, resident.ref, effect.data)  # type: ignore[attr-defined]
                )
            elif kind is LookUp:
                batch.look_ups.append((resident.ref, effect))  # type: ignore[arg-type]
            elif kind is Answer:
                self._answer(effect, batch)  # type: ignore[arg-type]
            else:
                if kind is ReplyError:
                    self.meter.replied_error(effect)  # type: ignore[arg-type]
                batch.to_stations.append(_to_station(effect, shard, epoch))
        batch.commit.epochs[shard] = epoch

    def _persist(self, resident: Resident, record: Record, batch: Batch) -> None:
        batch.commit.records.append(record)
        if type(record) is CommandRecord:
            batch.urgent = True
        elif type(record) is ChargerRecord:
            batch.directory.append(record.charger_id)
            charger = self.residents.get(ActorRef(ActorKind.CHARGER, record.charger_id))
            if charger is not None:
                charger.belongs_to(record.site_id)
        elif type(record) in _IN_DIRECTORY:
            batch.directory.append(record.charger_id)  # type: ignore[attr-defined]

    def _send(self, resident: Resident, send: Send, batch: Batch) -> None:
        """To an actor of the same shard at once; to another shard after the commit."""
        hint: SiteId | None = None
        if resident.ref.kind is ActorKind.SITE and send.to.kind is ActorKind.CHARGER:
            hint = SiteId(resident.ref.id)
        target = self.residents.get(send.to)
        if target is None and (hint is not None or send.to.kind is not ActorKind.CHARGER):
            target = self._find_owned(send.to, hint)
        if target is not None and target.shard == resident.shard:
            self._queue.append((target, send.message, resident))
        else:
            batch.sends.append((resident.ref, send))

    def _find_owned(self, ref: ActorRef, site_id: SiteId | None) -> Resident | None:
        shard = Resident(ref, site_id).shard
        return self.residents.find(ref, site_id=site_id) if self._owns(shard) else None

    def _owns(self, shard: int) -> bool:
        return shard in self.epochs

    def _answer(self, answer: Answer, batch: Batch) -> None:
        result = self._requests.result(answer.ask_id, answer.response)
        if result is not None:
            batch.commit.results.append(result)
        batch.answers.append((answer.ask_id, answer.response))

    def _activated(self, resident: Resident, effects: list[Effect]) -> None:
        if resident.shard not in self.epochs:
            self.residents.forget(resident)
            return
        waiting, resident.waiting = resident.waiting or deque(), None
        self.meter.activated(resident)
        if effects:
            self._carry_out(resident, effects, self._clock.now_ms())
        # What waited came before anything that is queued now.
        self._queue.extendleft((resident, *entry) for entry in reversed(waiting))
        self.schedule()

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

    # --- after the commit -------------------------------------------------------------------------

    def _released(self, batch: Batch, first_cursor: int) -> None:
        if not self._ownership.valid:
            self._ended("lease lapsed")
            return
        self.residents.backoff_s = 0.0
        self.meter.committed(batch)
        traces = self._traces
        if batch.traces and batch.writes:
            traces.committed(
                batch.traces,
                seconds=batch.commit_s,
                records=len(batch.commit.records),
                events=len(batch.commit.events),
            )
        for parcel in batch.to_stations:
            link = self._gateways.get(parcel.connection.partition(":")[0])
            if link is not None:
                urgent = type(parcel) is ToStation and parcel.kind is FrameKind.CALL
                link.send(traces.to_station(parcel) if traces.riding else parcel, urgent=urgent)
        for ask_id, response in batch.answers:
            self._requests.answer(ask_id, response)
        for sender, send in batch.sends:
            self._send_across(sender, send)
        for ref, question in batch.look_ups:
            self.look_ups.begin(ref, question)
        if batch.directory:
            changed = DirectoryChanged(tuple(batch.directory))
            self._tell(self._gateways, changed)
            self._tell(self.peers, changed)
            self._check_homes(changed.charger_ids)
        if batch.commit.events and self.clients:
            self._tell_happened(batch.commit.events, first_cursor)
        if batch.crashed:
            self._bring_back(set(batch.crashed))
        if self._queue:
            # A full batch may have stopped the steps.
            self.schedule()

    def _send_across(self, sender: ActorRef, send: Send) -> None:
        target = self.residents.get(send.to)
        if target is not None:
            self._deliver(target.shard, sender, send)
        elif send.to.kind is not ActorKind.CHARGER or len(self.epochs) == SHARDS:
            self._deliver(shard_of(send.to.kind, send.to.id), sender, send)
        elif len(self._unrouted) < _UNROUTED_MAX:
            self._unrouted.append((sender, send))
            if self._routing is None:
                self._routing = self._loop.create_task(self._route())
        else:
            log.warning("send_without_host", to=str(send.to))

    def _deliver(self, shard: int, sender: ActorRef, send: Send) -> None:
        if self._owns(shard):
            resident = self.residents.find(send.to)
            self._queue.append((resident, send.message, None))
            self.schedule()
            return
        link = self.peers.get(self.owners[shard])
        if link is not None and is_actor_message(send.message):
            parcel = FromActor(sender, send.to, send.message)  # type: ignore[arg-type]
            link.send(self._traces.to_host(parcel, send.message))
        else:
            log.warning("send_without_host", to=str(send.to), shard=shard)

    async def _route(self) -> None:
        """A charger lives where its site does, and the store knows where that is."""
        try:
            while self._unrouted:
                part, self._unrouted = self._unrouted, []
                shards = await self._home_shards([ChargerId(send.to.id) for _, send in part])
                for sender, send in part:
                    self._deliver(shards[send.to.id], sender, send)
        except Unavailable as error:
            log.warning("sends_dropped", error=str(error))
        finally:
            self._routing = None

    async def _home_shards(self, charger_ids: Collection[ChargerId]) -> dict[str, int]:
        records = await self._reader.chargers_named(charger_ids)
        return {
            charger_id: shard_of(
                ActorKind.CHARGER,
                charger_id,
                site_id=records[charger_id].site_id if charger_id in records else None,
            )
            for charger_id in charger_ids
        }

    def _check_homes(self, charger_ids: Collection[ChargerId]) -> None:
        """The directory's word on these chargers is new: those that live elsewhere now must not be
        stepped here."""
        here = [
            charger_id
            for charger_id in charger_ids
            if self.residents.get(ActorRef(ActorKind.CHARGER, charger_id)) is not None
        ]
        if here and len(self.epochs) < SHARDS:
            task = self._loop.create_task(self._evict_moved(here))
            self._evicting.add(task)
            task.add_done_callback(self._evicting.discard)

    async def _evict_moved(self, charger_ids: Collection[ChargerId]) -> None:
        try:
            shards = await self._home_shards(charger_ids)
        except Unavailable as error:
            log.warning("homes_not_checked", chargers=len(charger_ids), error=str(error))
            return
        residents = {
            self.residents.get(ActorRef(ActorKind.CHARGER, charger_id))
            for charger_id, shard in shards.items()
            if not self._owns(shard)
        }
        self._evict({resident for resident in residents if resident is not None})

    def _looked_up(self, ref: ActorRef, answer: LookedUp) -> None:
        """For whoever asked; an actor that was brought back since has asked anew."""
        resident = self.residents.get(ref)
        if resident is not None:
            if self._traces.waits:
                self._traces.due(ref, answer.look_up_id, answer)
            self.post(resident, answer)

    def _tell(self, links: Mapping[str, Link], parcel: Parcel) -> None:
        for link in links.values():
            link.send(parcel)

    def _tell_happened(self, lines: list[JournalLine], first_cursor: int) -> None:
        """A client that is behind reads what it was not told in the store."""
        events = tuple(
            JournalEvent(first_cursor + i, line.at_ms, line.kind, line.actor, line.data)
            for i, line in enumerate(lines)
        )
        for link in self.clients.values():
            if not link.full:
                link.send(Happened(events))

    # --- failure ----------------------------------------------------------------------------------

    def _crashed(self, resident: Resident, message: Message) -> None:
        """The actor's code raised. What it did before is committed as it is; then it comes back
        from the store."""
        self.meter.crashes += 1
        log.exception("actor_raised", actor=str(resident.ref), message=type(message).__name__)
        resident.actor = None
        resident.waiting = deque()
        batch = self.pipeline.open
        batch.crashed.append(resident)
        self._answer_internal(resident, message, batch)

    def _unloadable(self, resident: Resident, error: Exception) -> None:
        """No actor can be made of what the store holds."""
        log.error("actor_not_loaded", actor=str(resident.ref), exc_info=error)
        self.residents.forget(resident)
        for message, _ in resident.waiting or ():
            self._answer_internal(resident, message, self.pipeline.open)
        self.schedule()

    def _answer_internal(self, resident: Resident, message: Message, batch: Batch) -> None:
        if type(message) is Ask:
            batch.answers.append(
                (message.ask_id, Refusal("internal", "ACTOR_FAILED", f"{resident.ref} failed"))
            )
        elif type(message) is StationCalled:
            error = ReplyError(
                message.connection,
                message.message_id,
                framing.ErrorCode.INTERNAL_ERROR,
                "the message could not be processed",
            )
            epoch = self.epochs.get(resident.shard, 0)
            batch.to_stations.append(_to_station(error, resident.shard, epoch))

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

    def _bring_back(self, dropped: set[Resident]) -> None:
        """Throw actors away and bring them back from the store: sites with all their chargers,
        because a site that forgot must be told again who is there."""
        sites = {SiteId(r.ref.id) for r in dropped if r.ref.kind is ActorKind.SITE}
        if sites:
            dropped |= {r for r in self.residents if r.site_id in sites}
        refs = {resident.ref for resident in dropped}
        self._requests.lost(refs)
        # What came out of lost states goes with them, and what stations said is delivered again;
        # requests stay.
        self._queue = deque(
            entry
            for entry in self._queue
            if type(entry[1]) is Ask or not (entry[0] in dropped or entry[2] in dropped)
        )
        for resident in self.residents:
            if resident.waiting:
                resident.waiting = deque(e for e in resident.waiting if e[1] not in dropped)
        chargers: list[ChargerId] = []
        for resident in dropped:
            self.timers.drop(resident.ref)
            if resident.waiting:
                resident.waiting = deque(e for e in resident.waiting if type(e[0]) is Ask)
            if resident.ref.kind is ActorKind.CHARGER:
                self._connected.pop(resident.ref.id, None)
                chargers.append(ChargerId(resident.ref.id))
            self.residents.reload(resident)
        if chargers:
            self._tell(self._gateways, Reintroduce(tuple(chargers)))


def _to_station(effect: Effect, shard: int, epoch: int) -> ToStation | CloseStation:
    match effect:
        case Reply():
            frame = framing.encode_result(effect.message_id, effect.payload)
            kind, action = FrameKind.CALL_RESULT, ""
        case ReplyError():
            frame = framing.encode_error(effect.message_id, effect.code, effect.description)
            kind, action = FrameKind.CALL_ERROR, ""
        case Call():
            frame = framing.encode_call(effect.message_id, effect.action, effect.payload)
            kind, action = FrameKind.CALL, effect.action
        case CloseSocket():
            return CloseStation(effect.connection, shard, epoch, effect.code, effect.reason)
        case _:
            raise TypeError(f"no effect of an actor: {type(effect).__name__}")
    return ToStation(effect.connection, shard, epoch, kind, effect.message_id, action, frame)
