"""What an operator decides about what a charger said and could not be taken at its word.

The invariants: an entry is decided about once; releasing one corrects its session in the commit
that marks it released; a session's energy never becomes negative, nor, on the station's word alone,
more than its register went through or its hardware could have delivered in the time."""

from __future__ import annotations

from typing import Final

import msgspec

from controlplane.actor import Persist
from controlplane.charger.energy import deliverable_wh
from controlplane.charger.memory import ChargerMemory, Session
from controlplane.charger.messages import (
    DismissQuarantined,
    QuarantineDecision,
    ReleaseQuarantined,
)
from controlplane.charger.metering import session_record
from controlplane.charger.sessions import Sessions
from controlplane.charger.turn import Turn
from controlplane.errors import Refusal
from controlplane.ids import SessionId
from controlplane.ocpp.events import TransactionEnded
from controlplane.ocpp.versions import DIALECTS
from controlplane.store.records import (
    QuarantinedEntry,
    QuarantineRecord,
    QuarantineResolved,
    QuarantineState,
    SessionRecord,
    SessionState,
)

__all__ = ["Quarantine"]

_RESOLVED_MAX: Final = 64
_ENERGY_MAX_WH: Final = 10_000_000


class Quarantine:
    """The decisions about one charger's quarantined messages."""

    __slots__ = ("_memory", "_sessions")

    def __init__(self, memory: ChargerMemory, sessions: Sessions) -> None:
        self._memory = memory
        self._sessions = sessions

    def release(self, turn: Turn, request: ReleaseQuarantined) -> QuarantineDecision | Refusal:
        """Let an entry count in a session: a stop ends it, a register's step is added to it."""
        record, stored = request.entry.record, request.session
        refusal = self._refusal(request.entry)
        if refusal is None and stored.charger_id != self._memory.charger_id:
            refusal = _refused("invalid_input", "SESSION_OF_ANOTHER", "another charger's session")
        if refusal is not None:
            return refusal
        session = self._memory.session(stored.session_id)
        before = stored if session is None else session_record(self._memory, session)
        after = _corrected(before, record, request.energy_wh, self._ended_ms(record))
        if after is None:
            return _refused(
                "precondition", "NOTHING_HELD", "it holds no energy: state the session's energy"
            )
        if request.energy_wh is None and after.energy_wh > self._possible_wh(turn, after):
            return _refused(
                "precondition",
                "ENERGY_IMPOSSIBLE",
                f"{after.energy_wh} Wh cannot have been delivered: state the session's energy",
            )
        if session is None:
            turn.effects.append(Persist(after))
        else:
            self._take_over(turn, session, after)
            after = session_record(self._memory, session)
        turn.emit(
            "session.corrected",
            session_id=after.session_id,
            started_ms=after.started_ms,
            ended_ms=after.ended_ms,
            energy_wh=after.energy_wh,
        )
        entry = self._decided(
            turn, request.entry, QuarantineState.RELEASED, request.note, after.session_id
        )
        turn.emit(
            "quarantine.released",
            quarantine_id=entry.quarantine_id,
            reason=record.reason,
            session_id=after.session_id,
            energy_before_wh=before.energy_wh,
            energy_wh=after.energy_wh,
            note=request.note,
        )
        return QuarantineDecision(entry, after)

    def dismiss(self, turn: Turn, request: DismissQuarantined) -> QuarantineDecision | Refusal:
        """Note that an entry counts for nothing."""
        refusal = self._refusal(request.entry)
        if refusal is not None:
            return refusal
        entry = self._decided(
            turn,
            request.entry,
            QuarantineState.DISMISSED,
            request.note,
            request.entry.record.session_id,
        )
        turn.emit(
            "quarantine.dismissed",
            quarantine_id=entry.quarantine_id,
            reason=entry.record.reason,
            note=request.note,
        )
        return QuarantineDecision(entry, None)

    def _refusal(self, entry: QuarantinedEntry) -> Refusal | None:
        record = entry.record
        if record.charger_id != self._memory.charger_id:
            return _refused("invalid_input", "ENTRY_OF_ANOTHER", "another charger said this")
        if record.state is not QuarantineState.OPEN or entry.quarantine_id in self._memory.resolved:
            return _refused("precondition", "QUARANTINE_RESOLVED", "it has been decided about")
        return None

    def _decided(
        self,
        turn: Turn,
        entry: QuarantinedEntry,
        state: QuarantineState,
        note: str,
        session_id: SessionId | None,
    ) -> QuarantinedEntry:
        resolved = QuarantineResolved(
            entry.quarantine_id,
            state,
            session_id,
            turn.now_ms,
            note,
        )
        turn.effects.append(Persist(resolved))
        memory = self._memory
        memory.resolved = [*memory.resolved[-_RESOLVED_MAX + 1 :], entry.quarantine_id]
        turn.changed = True
        record = msgspec.structs.replace(
            entry.record,
            state=state,
            session_id=session_id,
            resolved_ms=turn.now_ms,
            note=note,
        )
        return QuarantinedEntry(entry.quarantine_id, record)

    def _take_over(self, turn: Turn, session: Session, after: SessionRecord) -> None:
        """Bring what is remembered of a session in line with its corrected record."""
        register = session.register
        register.energy_wh = after.energy_wh
        session.meter_stop_wh = after.meter_stop_wh
        session.ended_station_ms = after.ended_station_ms
        if after.meter_stop_wh is not None:
            register.last_wh = max(register.last_wh, after.meter_stop_wh)
        turn.changed = True
        if session.ended_ms is None and after.ended_ms is not None:
            self._sessions.close(turn, session, after.ended_ms, after.stop_reason or "")
        else:
            self._sessions.store(turn, session)
            self._sessions.tell_state(turn, session.connector_id)

    def _ended_ms(self, record: QuarantineRecord) -> int:
        """When what was said happened, for an entry that ends a transaction."""
        event = _end_in(record)
        return (
            record.at_ms if event is None else self._memory.clock.correct(event.at_ms, record.at_ms)
        )

    def _possible_wh(self, turn: Turn, session: SessionRecord) -> int:
        until_ms = session.ended_ms or turn.now_ms
        return deliverable_wh(
            self._memory.power_max_w(session.connector_id), until_ms - session.started_ms
        )


def _end_in(record: QuarantineRecord) -> TransactionEnded | None:
    """The end of a transaction that an entry holds."""
    if record.reason not in {"transaction_unknown", "transaction_unnamed"}:
        return None
    for dialect in DIALECTS.values():
        if record.action in dialect.handled:
            event = dialect.event(record.action, record.payload["payload"])
            return event if isinstance(event, TransactionEnded) else None
    return None


def _corrected(
    session: SessionRecord, record: QuarantineRecord, energy_wh: int | None, ended_ms: int
) -> SessionRecord | None:
    """The session with the entry in it; None where nothing says how much that is."""
    event = _end_in(record)
    changes: dict[str, object] = {}
    if event is not None:
        counted_wh = session.meter_start_wh
        if session.state is SessionState.ENDED:
            counted_wh = session.meter_stop_wh
        elif session.meter_start_wh is not None:
            counted_wh = session.meter_start_wh + session.energy_wh
        stop_wh = event.meter_stop_wh
        if stop_wh is not None:
            held_wh = 0 if counted_wh is None else max(0, stop_wh - counted_wh)
            changes["meter_stop_wh"] = stop_wh
        else:
            held_wh = 0
        changes["ended_station_ms"] = event.at_ms
        if session.state is SessionState.ACTIVE:
            changes["state"] = SessionState.ENDED
            changes["ended_ms"] = max(ended_ms, session.started_ms)
            changes["stop_reason"] = event.reason
    else:
        held = record.payload.get("facts", {}).get("held_wh")
        if not isinstance(held, int) and energy_wh is None:
            return None
        held_wh = min(held, _uncounted_wh(session, record)) if isinstance(held, int) else 0
    changes["energy_wh"] = session.energy_wh + held_wh if energy_wh is None else energy_wh
    return msgspec.structs.replace(session, **changes)


def _uncounted_wh(session: SessionRecord, record: QuarantineRecord) -> int:
    """What the register went through and the session does not count: a step that was held has been
    made good if later readings bore it out."""
    register_wh = record.payload["facts"].get("register_wh")
    if session.meter_start_wh is None or not isinstance(register_wh, int):
        return _ENERGY_MAX_WH
    last_wh = max(session.meter_stop_wh or register_wh, register_wh)
    return max(0, last_wh - session.meter_start_wh - session.energy_wh)


def _refused(kind: str, reason: str, message: str) -> Refusal:
    return Refusal(kind, reason, message)
