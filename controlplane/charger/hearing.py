"""What comes from the station of its own accord: understood, answered, and followed up.

`Station` takes in what was said; here it is first made out whether it counts and what it means, and
then what it makes the other parts do. The invariant: every CALL is answered exactly once, at once
or as soon as what the answer hangs on is known."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from controlplane.actor import ReplyError
from controlplane.charger.access import Access
from controlplane.charger.commands import Origin
from controlplane.charger.completing import completed
from controlplane.charger.concluding import Conclusions
from controlplane.charger.deviations import Deviations
from controlplane.charger.device import Device
from controlplane.charger.healing import Healer
from controlplane.charger.line import Line
from controlplane.charger.memory import ChargerMemory
from controlplane.charger.messages import (
    StationCalled,
    StationGarbled,
    StationRefused,
    StationSent,
)
from controlplane.charger.preparing import Preparation
from controlplane.charger.security import LATER, Security
from controlplane.charger.sessions import Sessions
from controlplane.charger.smart_charging import SmartCharging
from controlplane.charger.station import Station
from controlplane.charger.steering import profile_form
from controlplane.charger.turn import Turn
from controlplane.ocpp import events
from controlplane.ocpp.commands import UsePriority
from controlplane.ocpp.dialect import Dialect
from controlplane.ocpp.events import Event
from controlplane.ocpp.framing import ErrorCode, code_word
from controlplane.ocpp.v2x import PriorityNotified

__all__ = ["Hearing"]


class Hearing:
    """One charger's ear."""

    __slots__ = (
        "_access",
        "_conclusions",
        "_deviations",
        "_device",
        "_healer",
        "_line",
        "_memory",
        "_preparation",
        "_security",
        "_sessions",
        "_smart_charging",
        "_station",
    )

    def __init__(
        self,
        memory: ChargerMemory,
        line: Line,
        preparation: Preparation,
        conclusions: Conclusions,
        station: Station,
        *,
        device: Device,
        access: Access,
        security: Security,
        healer: Healer,
        sessions: Sessions,
        smart_charging: SmartCharging,
    ) -> None:
        self._memory = memory
        self._line = line
        self._preparation = preparation
        self._conclusions = conclusions
        self._station = station
        self._device = device
        self._access = access
        self._security = security
        self._healer = healer
        self._sessions = sessions
        self._smart_charging = smart_charging
        self._deviations = Deviations(memory)

    def called(self, turn: Turn, message: StationCalled) -> None:
        """A CALL: what it says is taken in and answered."""
        line = self._line
        dialect = line.dialect
        connection = line.queue.connection
        if dialect is None or (connection and message.connection != connection):
            # The station has another connection by now and repeats there what was not answered.
            turn.effects.append(
                ReplyError(
                    message.connection,
                    message.message_id,
                    ErrorCode.INTERNAL_ERROR.value,
                    "this connection has been replaced",
                )
            )
            return
        line.last_seen_ms = turn.now_ms
        event = dialect.event(message.action, self._device.corrected(message.payload))
        if event is None:
            turn.effects.append(
                ReplyError(
                    message.connection,
                    message.message_id,
                    code_word(dialect.version, ErrorCode.NOT_SUPPORTED),
                    f"{message.action} is not supported",
                )
            )
            return
        turn.call = message
        if message.mended:
            self._deviations.mended(turn, message.action, message.mended)
        answer = self._security.hear(turn, event) or self._station.hear(turn, event)
        if answer is LATER:
            return
        self._access.authoriser.answer(turn, dialect, message, answer)
        if turn.history:
            self._preparation.replayed(turn)
        follow = _FOLLOWED.get(type(event))
        if follow is not None:
            follow(self, turn, dialect, event)
        if self._smart_charging.question is not None:
            self._ask_more(turn, dialect)
        elif type(event) is events.MeterReported:
            # Nearly all that a station ever says; what there is to send to it waits for news.
            turn.routine = not (turn.changed or turn.history)

    def sent(self, turn: Turn, message: StationSent) -> None:
        """What the station tells without wanting an answer (2.1)."""
        dialect = self._line.dialect
        if dialect is None or message.connection != self._line.connection:
            return
        self._line.last_seen_ms = turn.now_ms
        event = dialect.event(message.action, message.payload)
        if event is not None:
            self._station.hear(turn, event)

    def refused(self, turn: Turn, message: StationRefused) -> None:
        """The station could not take an answer (2.1). It was right by its schema, so the fault is
        noted; the station's message counts, and if it sends it again it is recognised."""
        if message.connection == self._line.connection:
            turn.emit(
                "charger.answer_refused",
                message_id=message.message_id[:64],
                error_code=message.code[:64],
                error_description=message.description[:255],
            )

    def garbled(self, turn: Turn, message: StationGarbled) -> None:
        """A CALL that nobody could read is kept."""
        self._line.last_seen_ms = turn.now_ms
        self._deviations.garbled(turn, message)

    # --- what follows beyond the answer -----------------------------------------------------------

    def _status_changed(self, turn: Turn, _: Dialect, __: Event) -> None:
        self._healer.statuses_changed(turn)

    def _booted(self, turn: Turn, _: Dialect, event: events.Booted) -> None:
        self._security.waits(turn)
        if event.reason != "Triggered" and self._line.connection:
            self._conclusions.restarted(turn)
            self._preparation.rest(turn)
            self._preparation.tell_presence(turn)

    def _reported(self, turn: Turn, _: Dialect, __: Event) -> None:
        if self._station.report_ended:
            self._preparation.reported(turn)

    def _transaction_changed(self, turn: Turn, _: Dialect, __: Event) -> None:
        self._line.drop_stale_limits(turn)
        if profile_form(self._memory).by_default:
            # The default profile held the session's limit.
            self._preparation.default_due(turn)

    def _priority_notified(self, turn: Turn, dialect: Dialect, event: PriorityNotified) -> None:
        """Priority for a transaction that does not run here is taken back (2.1 K21): no ledger
        counts what it would draw."""
        line = self._line
        session = self._sessions.find(event.transaction_id)
        unknown = session is None or session.ended_ms is not None
        if event.active and unknown and not line.queue.full:
            line.order(turn, dialect, UsePriority(event.transaction_id, active=False), Origin.API)

    def _ask_more(self, turn: Turn, dialect: Dialect) -> None:
        """What was said raised a question."""
        line = self._line
        question, self._smart_charging.question = self._smart_charging.question, None
        if question is not None and line.connection and not line.queue.pending(Origin.LEARNING):
            command = completed(turn, self._memory, question)
            line.order(turn, dialect, command, Origin.LEARNING)


_FOLLOWED: Final[dict[type[Event], Callable[[Hearing, Turn, Dialect, Any], None]]] = {
    events.Booted: Hearing._booted,
    events.StatusChanged: Hearing._status_changed,
    events.TransactionEnded: Hearing._transaction_changed,
    events.TransactionStarted: Hearing._transaction_changed,
    events.VariablesNoticed: Hearing._status_changed,
    events.VariablesReported: Hearing._reported,
    PriorityNotified: Hearing._priority_notified,
}
