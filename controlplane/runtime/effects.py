"""What an actor asked for in a step, put where it belongs: into the batch that is open, the mailbox
of its neighbours, or the timers.

Invariant: nothing leaves from here. What is to leave waits in the batch for its commit; what goes
to an actor of the same shard shares that commit, because it is stepped before it."""

from __future__ import annotations

from controlplane.actor import (
    Answer,
    Call,
    CancelTimer,
    CloseSocket,
    Effect,
    Emit,
    LookUp,
    Persist,
    PlanWanted,
    Reply,
    ReplyError,
    Send,
    SetTimer,
)
from controlplane.ids import ActorKind, ActorRef, SiteId, shard_of
from controlplane.ocpp import framing
from controlplane.runtime.batch import Batch, Pipeline
from controlplane.runtime.host_meter import HostMeter
from controlplane.runtime.mailbox import Mailbox
from controlplane.runtime.requests import Requests
from controlplane.runtime.residents import Resident, Residents
from controlplane.runtime.telemetry import log
from controlplane.runtime.timers import Timers
from controlplane.runtime.wire import CloseStation, FrameKind, ToStation
from controlplane.store.commit import JournalLine
from controlplane.store.records import (
    CertificateRecord,
    ChargerRecord,
    ChargerRemoved,
    CommandRecord,
    CredentialRecord,
    Record,
)

__all__ = ["Effects"]

_IN_DIRECTORY = (ChargerRemoved, CredentialRecord, CertificateRecord)
"""What else changes what gateways go by."""


class Effects:
    """Carries out what the actors of one host ask for."""

    def __init__(
        self,
        mailbox: Mailbox,
        residents: Residents,
        pipeline: Pipeline,
        *,
        timers: Timers,
        requests: Requests,
        meter: HostMeter,
    ) -> None:
        self._mailbox = mailbox
        self._residents = residents
        self._pipeline = pipeline
        self._timers = timers
        self._requests = requests
        self._meter = meter

    def carry_out(self, resident: Resident, effects: list[Effect], now_ms: int) -> None:
        """Everything that a step of `resident` came to."""
        batch = self._pipeline.open
        shard = resident.shard
        epoch = self._mailbox.epochs.get(shard)
        if epoch is None:
            log.error("effects_of_foreign_actor", actor=str(resident.ref), shard=shard)
            self._residents.forget(resident)
            return
        batch.touched.add(resident)
        batch.commit.epochs[shard] = epoch
        for effect in effects:
            kind = type(effect)
            if kind is Persist:
                self._persist(effect.record, batch)  # type: ignore[attr-defined]
            elif kind is Send:
                self._send(resident, effect, batch)  # type: ignore[arg-type]
            elif kind is Reply:
                batch.to_stations.append(_to_station(effect, shard, epoch))
            elif kind is SetTimer:
                self._timers.set(resident.ref, effect.key, effect.at_ms)  # type: ignore[attr-defined]
            elif kind is CancelTimer:
                self._timers.cancel(resident.ref, effect.key)  # type: ignore[attr-defined]
            elif kind is Emit:
                batch.commit.events.append(
                    JournalLine(now_ms, effect.kind, resident.ref, effect.data)  # type: ignore[attr-defined]
                )
            elif kind is LookUp or kind is PlanWanted:
                questions = batch.look_ups if kind is LookUp else batch.plans
                questions.append((resident.ref, effect))  # type: ignore[arg-type]
            elif kind is Answer:
                self._answer(effect, batch)  # type: ignore[arg-type]
            else:
                if kind is ReplyError:
                    self._meter.replied_error(effect)  # type: ignore[arg-type]
                batch.to_stations.append(_to_station(effect, shard, epoch))

    def reply_error(self, resident: Resident, error: ReplyError) -> None:
        """Answer the resident's station in the place of an actor that cannot."""
        self._meter.replied_error(error)
        epoch = self._mailbox.epochs.get(resident.shard, 0)
        self._pipeline.open.to_stations.append(_to_station(error, resident.shard, epoch))

    def _persist(self, record: Record, batch: Batch) -> None:
        batch.commit.records.append(record)
        if type(record) is CommandRecord:
            batch.urgent = True
        elif type(record) is ChargerRecord:
            batch.directory.append(record.charger_id)
            charger = self._residents.get(ActorRef(ActorKind.CHARGER, record.charger_id))
            if charger is not None:
                charger.belongs_to(record.site_id)
        elif type(record) in _IN_DIRECTORY:
            batch.directory.append(record.charger_id)  # type: ignore[attr-defined]

    def _send(self, resident: Resident, send: Send, batch: Batch) -> None:
        """To an actor of the same shard at once; to another shard after the commit."""
        target = self._residents.get(send.to)
        if target is None:
            target = self._find_owned(resident, send.to)
        if target is not None and target.shard == resident.shard:
            self._mailbox.entries.append((target, send.message, resident))
        else:
            batch.sends.append((resident.ref, send))

    def _find_owned(self, resident: Resident, ref: ActorRef) -> Resident | None:
        """The actor of `ref`, brought in, if it lives here: a site knows that its chargers do."""
        if ref.kind is ActorKind.CHARGER:
            if resident.ref.kind is not ActorKind.SITE:
                return None
            return self._residents.find(ref, site_id=SiteId(resident.ref.id))
        shard = shard_of(ref.kind, ref.id)
        return self._residents.find(ref) if shard in self._mailbox.epochs else None

    def _answer(self, answer: Answer, batch: Batch) -> None:
        result = self._requests.result(answer.ask_id, answer.response)
        if result is not None:
            batch.commit.results.append(result)
        batch.answers.append((answer.ask_id, answer.response))


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
