"""Connectors kept for drivers: what the station promised, and how each promise ends.

The invariants: a reservation is stored before the station hears of it, and ends exactly once, with
its reason; it is over at its expiry by our clock, whether the station tells or not (1.6 section
5.13, 2.x part 2 H04); while it stands nobody else starts on what it keeps, unless of its group; the
station is asked to let go of one whose fate it left open."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from controlplane.actor import CancelTimer, Persist, SetTimer
from controlplane.charger.memory import ChargerMemory, Reservation, Session
from controlplane.charger.messages import ReserveConnector
from controlplane.charger.turn import Turn
from controlplane.errors import Refusal
from controlplane.ids import SessionId
from controlplane.ocpp.commands import CancelReservation, CommandState, ReserveNow
from controlplane.ocpp.events import ConnectorStatus
from controlplane.store.records import ReservationRecord, ReservationState
from controlplane.tokens import same_group, token_key

__all__ = ["RESERVATION_AHEAD_MAX_MS", "RESERVATION_TIMER", "Reservations"]

RESERVATION_TIMER: Final = "reservation"
RESERVATION_AHEAD_MAX_MS: Final = 7 * 24 * 3_600_000
"""A connector is kept for a week at most."""

_OPEN_MAX: Final = 32
_CLOCKS_DIFFER_MS: Final = 60_000
"""How much sooner than we a station may find that a reservation has expired."""
_ENDING: Final = {
    ConnectorStatus.FAULTED: "faulted",
    ConnectorStatus.UNAVAILABLE: "unavailable",
}
_TOLD: Final = {"Expired": "expired", "Removed": "removed", "NoTransaction": "no_transaction"}


class Reservations:
    """The reservations of one charger, in its memory."""

    __slots__ = ("_armed_ms", "_memory")

    def __init__(self, memory: ChargerMemory) -> None:
        self._memory = memory
        self._armed_ms: int | None = None

    # --- what operators want ----------------------------------------------------------------------

    def refused(self, turn: Turn, wish: ReserveConnector) -> Refusal | None:
        """Why the station is not even asked."""
        memory = self._memory
        facts: dict[str, str] = {"charger_id": memory.charger_id}
        if memory.site_id is None or memory.undescribed(wish.connector_id):
            words = "no such connector is described"
            return Refusal("not_found", "CONNECTOR_UNKNOWN", words, facts)
        if not turn.now_ms < wish.until_ms <= turn.now_ms + RESERVATION_AHEAD_MAX_MS:
            words = "expiry_time: in the next seven days"
            return Refusal("invalid_input", "EXPIRY_INVALID", words, facts)
        if sum(1 for _ in self._standing()) >= _OPEN_MAX:
            words = f"{_OPEN_MAX} reservations stand at this charger"
            return Refusal("exhausted", "TOO_MANY_RESERVATIONS", words, facts)
        return None

    def ask(self, turn: Turn, wish: ReserveConnector, group_id: str | None) -> ReserveNow:
        """Note a reservation; returned is what the station is told."""
        memory = self._memory
        memory.reservation_number += 1
        reservation = Reservation(
            number=memory.reservation_number,
            connector_id=wish.connector_id,
            connector_type=wish.connector_type,
            id_token=wish.id_token,
            group_id=wish.group_id or group_id,
            created_ms=turn.now_ms,
            until_ms=wish.until_ms,
        )
        memory.reservations = [*memory.reservations, reservation]
        self._store(turn, reservation)
        self._rearm(turn)
        return ReserveNow(
            number=reservation.number,
            connector_id=reservation.connector_id,
            id_token=reservation.id_token,
            until_ms=reservation.until_ms,
            id_token_type=wish.id_token_type,
            group_id=reservation.group_id,
            connector_type=reservation.connector_type,
        )

    def reserved(
        self, turn: Turn, number: int, state: CommandState, *, sent: bool
    ) -> ReservationRecord | None:
        """The station answered, or did not."""
        reservation = self._find(number)
        if reservation is None:
            return None
        if state is CommandState.ACCEPTED:
            reservation.state = ReservationState.ACTIVE
            self._store(turn, reservation)
            turn.emit(
                "reservation.active",
                reservation_id=self._id(reservation),
                connector_id=reservation.connector_id,
                id_token=reservation.id_token,
                until_ms=reservation.until_ms,
            )
        elif sent and state in (CommandState.TIMED_OUT, CommandState.OFFLINE):
            # It may hold: the station is asked to let go as soon as it listens.
            self._memory.reservations_to_cancel = [*self._memory.reservations_to_cancel, number]
            return self._end(turn, reservation, "unconfirmed")
        else:
            return self._end(turn, reservation, "refused")
        return self._record(reservation)

    def cancel(self, number: int) -> CancelReservation | Refusal:
        """What the station is told to let go of a reservation."""
        reservation = self._find(number)
        if reservation is None:
            facts = {"reservation_id": self._id_of(number)}
            return Refusal("precondition", "RESERVATION_ENDED", "the reservation is over", facts)
        reservation.cancelling = True
        return CancelReservation(number)

    def cancelled(self, turn: Turn, number: int, state: CommandState) -> ReservationRecord | None:
        """The station let go, or knows of none (Rejected), which comes to the same."""
        if state in (CommandState.ACCEPTED, CommandState.REJECTED):
            waiting = [each for each in self._memory.reservations_to_cancel if each != number]
            turn.changed |= waiting != self._memory.reservations_to_cancel
            self._memory.reservations_to_cancel = waiting
        reservation = self._find(number)
        if reservation is None:
            return None
        reservation.cancelling = False
        if state in (CommandState.ACCEPTED, CommandState.REJECTED):
            return self._end(turn, reservation, "cancelled")
        return self._record(reservation)

    def standing(self, number: int) -> ReservationRecord | None:
        """The reservation of this number as it stands; None where it is over."""
        reservation = self._find(number)
        return None if reservation is None else self._record(reservation)

    def to_cancel(self) -> list[CancelReservation]:
        """What the station is still to be asked to let go of."""
        return [CancelReservation(number) for number in self._memory.reservations_to_cancel]

    # --- what happens -----------------------------------------------------------------------------

    def kept_from(self, connector_id: int, id_token: str, group_id: str | None) -> bool:
        """Whether a start with this token would take what is kept for somebody else. Of those that
        keep any connector, one of each must stay free: usable, and kept for nobody in
        particular."""
        memory = self._memory
        others = 0
        for reservation in self._standing():
            if self._is_for(reservation, id_token, group_id):
                continue
            if reservation.connector_id and reservation.connector_id == connector_id:
                return True
            others += reservation.connector_id == 0
        described = memory.described
        if not others or described is None:
            return False
        kept = {each.connector_id for each in self._standing()}
        free = sum(
            1
            for connector in described.connectors
            if connector.id not in {connector_id, *kept}
            and memory.open_session_on(connector.id) is None
            and memory.status(connector.id) not in _ENDING
        )
        return free < others

    def used(self, turn: Turn, session: Session, group_id: str | None) -> None:
        """A session was accepted: it uses up what was kept for it."""
        for reservation in list(self._standing()):
            here = reservation.connector_id in (0, session.connector_id)
            if here and self._is_for(reservation, session.id_token or "", group_id):
                self._end(turn, reservation, "used", session.session_id)
                return

    def named(self, turn: Turn, number: int, connector_id: int) -> None:
        """A transaction names the reservation that it used (1.6 section 4.8, 2.x H03)."""
        reservation = self._find(number)
        if reservation is not None:
            session = self._memory.open_session_on(connector_id)
            self._end(turn, reservation, "used", None if session is None else session.session_id)

    def told(self, turn: Turn, number: int, status: str) -> None:
        """The station let go by itself (2.x ReservationStatusUpdate)."""
        reservation = self._find(number)
        if reservation is not None:
            reason = "cancelled" if reservation.cancelling else _TOLD.get(status, "removed")
            self._end(turn, reservation, reason)

    def status_changed(
        self, turn: Turn, connector_id: int, before: ConnectorStatus | None, now: ConnectorStatus
    ) -> None:
        """What cannot be used is not kept (1.6 section 5.13); a 1.6 station tells by its status
        alone that it let go."""
        for reservation in list(self._standing()):
            if now in _ENDING and connector_id in (0, reservation.connector_id):
                if connector_id or now is ConnectorStatus.UNAVAILABLE:
                    self._end(turn, reservation, _ENDING[now])
            elif (
                connector_id
                and connector_id == reservation.connector_id
                and before is ConnectorStatus.RESERVED
                and now is ConnectorStatus.AVAILABLE
            ):
                soon = turn.now_ms >= reservation.until_ms - _CLOCKS_DIFFER_MS
                reason = "expired" if soon else "removed"
                self._end(turn, reservation, "cancelled" if reservation.cancelling else reason)

    def activated(self, turn: Turn) -> None:
        """Go on where another host stopped: what it had not heard an answer to is unconfirmed."""
        for reservation in list(self._standing()):
            if reservation.state is ReservationState.ASKED:
                self.reserved(turn, reservation.number, CommandState.OFFLINE, sent=True)
        self._rearm(turn)

    def due(self, turn: Turn) -> None:
        """Let go of what has expired."""
        self._armed_ms = None
        for reservation in list(self._standing()):
            if turn.now_ms >= reservation.until_ms:
                self._end(turn, reservation, "expired")
        self._rearm(turn)

    # --- inside -----------------------------------------------------------------------------------

    def _standing(self) -> Iterator[Reservation]:
        return iter(self._memory.reservations)

    def _find(self, number: int) -> Reservation | None:
        return next((each for each in self._standing() if each.number == number), None)

    @staticmethod
    def _is_for(reservation: Reservation, id_token: str, group_id: str | None) -> bool:
        own = token_key(reservation.id_token) == token_key(id_token)
        return own or same_group(reservation.group_id, group_id)

    def _end(
        self,
        turn: Turn,
        reservation: Reservation,
        reason: str,
        session_id: SessionId | None = None,
    ) -> ReservationRecord:
        memory = self._memory
        memory.reservations = [each for each in memory.reservations if each is not reservation]
        reservation.state = ReservationState.ENDED
        record = self._store(turn, reservation, turn.now_ms, reason, session_id)
        turn.emit(
            "reservation.ended",
            reservation_id=record.reservation_id,
            connector_id=record.connector_id,
            id_token=record.id_token,
            reason=reason,
            session_id=session_id,
        )
        self._rearm(turn)
        return record

    def _store(
        self,
        turn: Turn,
        reservation: Reservation,
        ended_ms: int | None = None,
        reason: str = "",
        session_id: SessionId | None = None,
    ) -> ReservationRecord:
        record = self._record(reservation, ended_ms, reason, session_id)
        turn.changed = True
        turn.effects.append(Persist(record))
        return record

    def _record(
        self,
        reservation: Reservation,
        ended_ms: int | None = None,
        reason: str = "",
        session_id: SessionId | None = None,
    ) -> ReservationRecord:
        return ReservationRecord(
            reservation_id=self._id(reservation),
            charger_id=self._memory.charger_id,
            site_id=self._memory.site_id,
            number=reservation.number,
            connector_id=reservation.connector_id,
            connector_type=reservation.connector_type,
            id_token=reservation.id_token,
            group_id=reservation.group_id,
            state=reservation.state,
            created_ms=reservation.created_ms,
            until_ms=reservation.until_ms,
            ended_ms=ended_ms,
            end_reason=reason,
            session_id=session_id,
        )

    def _id(self, reservation: Reservation) -> str:
        return self._id_of(reservation.number)

    def _id_of(self, number: int) -> str:
        return f"{self._memory.charger_id}-R{number}"

    def _rearm(self, turn: Turn) -> None:
        due_ms = min((each.until_ms for each in self._standing()), default=None)
        if due_ms == self._armed_ms:
            return
        self._armed_ms = due_ms
        turn.effects.append(
            CancelTimer(RESERVATION_TIMER)
            if due_ms is None
            else SetTimer(RESERVATION_TIMER, due_ms)
        )
