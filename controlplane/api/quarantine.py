"""`QuarantineService`: what could not be believed, and what an operator decides about it."""

from __future__ import annotations

import re
from typing import Any

import msgspec
from google.protobuf.struct_pb2 import Struct

from controlplane.api.backend import Backend, invalid, page_size, timestamp
from controlplane.api.sessions import require_session, session_to_message
from controlplane.api.v1 import quarantine_pb2, quarantine_pb2_grpc
from controlplane.charger.messages import (
    DismissQuarantined,
    QuarantineDecision,
    ReleaseQuarantined,
)
from controlplane.errors import NotFound
from controlplane.ids import ActorKind, ActorRef, ChargerId, SessionId
from controlplane.store.records import QuarantinedEntry, QuarantineState

__all__ = ["Quarantine"]

_STATES = {
    quarantine_pb2.QUARANTINE_STATE_UNSPECIFIED: None,
    quarantine_pb2.QUARANTINE_STATE_OPEN: QuarantineState.OPEN,
    quarantine_pb2.QUARANTINE_STATE_RELEASED: QuarantineState.RELEASED,
    quarantine_pb2.QUARANTINE_STATE_DISMISSED: QuarantineState.DISMISSED,
}
_STATE_NUMBERS = {state: number for number, state in _STATES.items()}
_ENERGY_MAX_WH = 10_000_000
_NOTE_MAX = 255
_ID = re.compile(r"[1-9][0-9]{0,17}")


class Quarantine(quarantine_pb2_grpc.QuarantineServiceServicer):
    """Answers `controlplane.api.v1.QuarantineService`."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend

    async def ListQuarantine(
        self, request: quarantine_pb2.ListQuarantineRequest, context: Any
    ) -> quarantine_pb2.ListQuarantineResponse:
        if request.state not in _STATES:
            raise invalid("state", "not a state of an entry")
        entries, token = await self._backend.reader.quarantine(
            charger_id=ChargerId(request.charger_id) if request.charger_id else None,
            session_id=SessionId(request.session_id) if request.session_id else None,
            state=_STATES[request.state],
            page_size=page_size(request.page_size),
            page_token=request.page_token,
        )
        return quarantine_pb2.ListQuarantineResponse(
            entries=[_to_message(entry) for entry in entries], next_page_token=token
        )

    async def ReleaseQuarantined(
        self, request: quarantine_pb2.ReleaseQuarantinedRequest, context: Any
    ) -> quarantine_pb2.ReleaseQuarantinedResponse:
        energy_wh = request.energy_wh if request.HasField("energy_wh") else None
        if energy_wh is not None and not 0 <= energy_wh <= _ENERGY_MAX_WH:
            raise invalid("energy_wh", f"0 to {_ENERGY_MAX_WH} Wh")
        _check_note(request.note)
        entry = await self._require(request.quarantine_id)
        if await self._decided_before(entry, ReleaseQuarantined, request.request_id):
            session = await require_session(self._backend, entry.record.session_id or "")
            return quarantine_pb2.ReleaseQuarantinedResponse(
                entry=_to_message(entry), session=session_to_message(session)
            )
        session_id = request.session_id or entry.record.session_id
        if not session_id:
            raise invalid("session_id", "must be given: the entry names no session")
        decision = await self._backend.ask(
            _actor(entry),
            ReleaseQuarantined(
                entry=entry,
                session=await require_session(self._backend, session_id),
                energy_wh=energy_wh,
                note=request.note,
            ),
            QuarantineDecision,
            context,
            request_id=request.request_id,
        )
        return quarantine_pb2.ReleaseQuarantinedResponse(
            entry=_to_message(decision.entry),
            session=None if decision.session is None else session_to_message(decision.session),
        )

    async def DismissQuarantined(
        self, request: quarantine_pb2.DismissQuarantinedRequest, context: Any
    ) -> quarantine_pb2.DismissQuarantinedResponse:
        _check_note(request.note)
        entry = await self._require(request.quarantine_id)
        if await self._decided_before(entry, DismissQuarantined, request.request_id):
            return quarantine_pb2.DismissQuarantinedResponse(entry=_to_message(entry))
        decision = await self._backend.ask(
            _actor(entry),
            DismissQuarantined(entry=entry, note=request.note),
            QuarantineDecision,
            context,
            request_id=request.request_id,
        )
        return quarantine_pb2.DismissQuarantinedResponse(entry=_to_message(decision.entry))

    async def _decided_before(
        self, entry: QuarantinedEntry, request: type[msgspec.Struct], request_id: str
    ) -> bool:
        """Whether this request decided about the entry: it holds what is stored, which is another
        request once that has changed."""
        return entry.record.state is not QuarantineState.OPEN and await self._backend.answered(
            _actor(entry), request, request_id
        )

    async def _require(self, quarantine_id: str) -> QuarantinedEntry:
        entry = None
        if _ID.fullmatch(quarantine_id):
            entry = await self._backend.reader.quarantined_entry(int(quarantine_id))
        if entry is None:
            raise NotFound(
                f"there is no quarantined entry {quarantine_id!r}",
                reason="QUARANTINE_UNKNOWN",
                metadata={"quarantine_id": quarantine_id[:64]},
            )
        return entry


def _actor(entry: QuarantinedEntry) -> ActorRef:
    return ActorRef(ActorKind.CHARGER, entry.record.charger_id)


def _check_note(note: str) -> None:
    if len(note) > _NOTE_MAX:
        raise invalid("note", f"at most {_NOTE_MAX} characters")


def _to_message(entry: QuarantinedEntry) -> quarantine_pb2.QuarantinedEntry:
    record = entry.record
    said, facts = Struct(), Struct()
    payload = record.payload.get("payload")
    said.update(payload if isinstance(payload, dict) else record.payload)
    facts.update(record.payload.get("facts") or {})
    return quarantine_pb2.QuarantinedEntry(
        quarantine_id=str(entry.quarantine_id),
        charger_id=record.charger_id,
        receive_time=timestamp(record.at_ms),
        reason=record.reason,
        action=record.action,
        payload=said,
        facts=facts,
        state=_STATE_NUMBERS[record.state],
        session_id=record.session_id or "",
        resolve_time=timestamp(record.resolved_ms),
        note=record.note,
    )
