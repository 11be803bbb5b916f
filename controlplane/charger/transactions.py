"""A charger's sessions: one model for the transactions of 1.6 and 2.x.

Stations repeat what was not acknowledged, replay in any order what happened offline, and lose
messages. The invariants: a transaction is one session however often and in whatever order its
messages come; an ended session never revives; every reading is kept once; and what carries energy
but cannot be matched or believed is answered validly and quarantined, because an error answer
makes stations repeat it for ever."""

from __future__ import annotations

from typing import Final

from controlplane.actor import Persist
from controlplane.charger.memory import ChargerMemory, Connector, Session
from controlplane.charger.messages import SetSessionNeed
from controlplane.charger.metering import Metering, session_record, trusted_ms
from controlplane.charger.turn import Turn
from controlplane.errors import Refusal
from controlplane.ids import SessionId
from controlplane.ocpp.dialect import NeedsAnswer, TokenAnswer
from controlplane.ocpp.events import (
    ChargingNeedsNotified,
    ConnectorStatus,
    MeterReported,
    TransactionEnded,
    TransactionStarted,
    TransactionUpdated,
)
from controlplane.site.messages import ConnectorState, SessionDemand, VehicleLimits
from controlplane.store.records import SessionRecord
from controlplane.units import MS_PER_HOUR

__all__ = ["BOOST_MAX_MS", "Transactions"]

ABANDONED: Final = "Abandoned"
"""Why a session ended that an operator gave up; the only end that can be taken back."""
BOOST_MAX_MS: Final = 24 * MS_PER_HOUR
_ENDED_MAX: Final = 16
"""Ended sessions that are remembered to recognise repetitions; an offline queue seldom has more."""
_OPEN_MAX: Final = 64
_NEEDS_KEPT_MS: Final = 600_000
"""How long what a vehicle said waits for its transaction; after that it was another vehicle."""
_STAY_MAX_MS: Final = 7 * 24 * 3_600_000
"""A vehicle that says it leaves later than this has not understood the question."""
_UNMATCHED_MAX: Final = 8
_EVENTS_SEEN_MAX: Final = 64
_EVENTS_SEEN_ENDED_MAX: Final = 16
_NOT_CHARGING: Final = frozenset(
    {
        ConnectorStatus.AVAILABLE,
        ConnectorStatus.FAULTED,
        ConnectorStatus.FINISHING,
        ConnectorStatus.RESERVED,
        ConnectorStatus.SUSPENDED_EV,
        ConnectorStatus.UNAVAILABLE,
    }
)
_AUTHORISED: Final = frozenset({ConnectorStatus.CHARGING, ConnectorStatus.SUSPENDED_EVSE})


class Transactions:
    """The sessions of one charger, in its memory."""

    __slots__ = ("_memory", "_metering")

    def __init__(self, memory: ChargerMemory, metering: Metering) -> None:
        self._memory = memory
        self._metering = metering

    # --- what the station says --------------------------------------------------------------------

    def started(self, turn: Turn, event: TransactionStarted, *, message: str) -> TokenAnswer:
        """A transaction began, or is said once more to have begun. `message` is the connection and
        the message id."""
        start_key = f"{event.connector_id}/{event.id_token}/{event.at_ms}/{event.meter_start_wh}"
        # There are stations that never change the message id: it counts with the register only.
        message = f"{message}/{event.connector_id}/{event.meter_start_wh}"
        session = self._started_before(turn, event, start_key, message)
        if session is None:
            session = self._open(
                turn,
                connector_id=event.connector_id,
                transaction_id=event.transaction_id,
                id_token=event.id_token,
                started_ms=trusted_ms(event.at_ms, turn.now_ms),
                charging_state=event.charging_state,
                start_key=start_key,
                start_message=message,
            )
            self._note_event(session, event.seq_no, event.at_ms)
            self._begin(turn, session, event)
            self._announce_start(turn, session, event.remote_start_id)
            self._match_end(turn, session)
        elif event.seq_no is not None and self._note_event(session, event.seq_no, event.at_ms):
            self._start_came_late(turn, session, event)
        return self._token_answer(
            turn, event.id_token, session.number, connector_id=session.connector_id
        )

    def updated(self, turn: Turn, event: TransactionUpdated) -> TokenAnswer:
        """A running transaction changed or was measured (2.x)."""
        session = self._spoken_of(turn, event.transaction_id)
        opens = session is None
        if session is None:
            # Its start was lost or is still to come.
            session = self._open(
                turn,
                connector_id=event.connector_id or 0,
                transaction_id=event.transaction_id,
                id_token=event.id_token,
                started_ms=trusted_ms(event.at_ms, turn.now_ms),
                charging_state=event.charging_state,
            )
        if self._note_event(session, event.seq_no, event.at_ms):
            self._place(turn, session, event.connector_id)
            self._metering.take_all(turn, session.connector_id, session, event.readings)
            if opens:
                self._announce_start(turn, session, None)
            self._update(turn, session, event)
            self._match_end(turn, session)
        return self._token_answer(
            turn, event.id_token, session.number, connector_id=session.connector_id
        )

    def ended(self, turn: Turn, event: TransactionEnded) -> TokenAnswer:
        """A transaction is over, or is said once more to be over."""
        session = self._spoken_of(turn, event.transaction_id)
        if session is None:
            self._end_unmatched(turn, event)
        elif session.ended_ms is None:
            self._end(turn, session, event)
        elif event.seq_no is None or self._note_event(session, event.seq_no, event.at_ms):
            self._metering.take_all(turn, session.connector_id, session, event.readings)
        return self._token_answer(turn, event.id_token, None)

    def metered(self, turn: Turn, event: MeterReported) -> None:
        """A connector was measured outside a TransactionEvent."""
        connector_id = event.connector_id
        if event.transaction_id is None:
            session = self._memory.open_session_on(connector_id)
            if session is not None:
                started_ms = session.started_ms
                before = tuple(
                    reading
                    for reading in event.readings
                    if trusted_ms(reading.at_ms, turn.now_ms) < started_ms
                )
                if before:
                    self._metering.take_all(turn, connector_id, None, before)
        else:
            # A 1.6 station that mixes its transactions up must not move energy between sessions.
            session = self._spoken_of(turn, event.transaction_id)
            if session is not None and session.connector_id != connector_id:
                session = None
        self._metering.take_all(turn, connector_id, session, event.readings)

    def needs_notified(self, turn: Turn, event: ChargingNeedsNotified) -> NeedsAnswer:
        """A vehicle says what it needs (2.x part 2 K15, and K17 where it does so again).

        With a transaction the site sends a profile at once, which is Accepted (K15.FR.03); before
        one it can only follow later, which is Processing (K15.FR.05); a station that belongs to
        nobody, or an EVSE that nobody described, gets none, which is Rejected (K15.FR.04).
        """
        described = self._memory.described
        if described is None or described.connector(event.connector_id) is None:
            return NeedsAnswer("Rejected")
        connector = self._memory.connector(event.connector_id)
        if connector is None or turn.site_id is None:
            return NeedsAnswer("Rejected")
        session = self._memory.open_session_on(connector.id)
        said = _vehicle_limits(event, session, turn.now_ms)
        if session is None:
            connector.vehicle = said
        else:
            session.vehicle = said
        turn.changed = True
        turn.emit(
            "session.vehicle_needs",
            session_id=None if session is None else session.session_id,
            connector_id=connector.id,
            need_wh=said.need_wh,
            departure_ms=said.departure_ms,
            current_min_ma=said.current_min_ma,
            current_max_ma=said.current_max_ma,
            power_max_w=said.power_max_w,
            soc_percent=said.soc_percent,
        )
        if session is None:
            return NeedsAnswer("Processing")
        self.tell_state(turn, connector.id)
        return NeedsAnswer("Accepted")

    def status_changed(self, turn: Turn, connector: Connector, status: ConnectorStatus) -> None:
        """1.6 tells the state of charging by the connector's status."""
        session = self._memory.open_session_on(connector.id)
        if session is not None and status in _TELLS_CHARGING:
            session.charging_state = status
            turn.changed = True

    # --- what others ask --------------------------------------------------------------------------

    def find(self, transaction_id: str) -> Session | None:
        """The session of a transaction, open or among the latest ended."""
        for session in reversed(self._memory.sessions):
            if session.transaction_id == transaction_id:
                return session
        return None

    def set_need(self, turn: Turn, wish: SetSessionNeed) -> SessionRecord | Refusal:
        """Take the driver's wish for a running session."""
        session = self._memory.session(wish.session_id)
        facts: dict[str, str] = {"session_id": wish.session_id}
        if session is None:
            return Refusal("not_found", "SESSION_NOT_FOUND", "no such session here", facts)
        if session.ended_ms is not None:
            return Refusal("precondition", "SESSION_ENDED", "the session has ended", facts)
        if wish.need_wh is not None and wish.need_wh < 0:
            return Refusal("invalid_input", "NEED_NEGATIVE", "need_wh is 0 or more", facts)
        if (wish.boost_until_ms or 0) > turn.now_ms + BOOST_MAX_MS:
            return Refusal("invalid_input", "BOOST_TOO_LONG", "a boost lasts a day at most", facts)
        if wish.need_wh is not None:
            session.need_wh = wish.need_wh
        if wish.departure_ms is not None:
            session.departure_ms = wish.departure_ms
        if wish.boost_until_ms is not None:
            in_future = wish.boost_until_ms > turn.now_ms
            session.boost_until_ms = wish.boost_until_ms if in_future else None
        turn.changed = True
        record = session_record(self._memory, session)
        turn.effects.append(Persist(record))
        turn.emit(
            "session.need",
            session_id=session.session_id,
            connector_id=session.connector_id,
            need_wh=session.need_wh,
            departure_ms=session.departure_ms,
            boost_until_ms=session.boost_until_ms,
        )
        self.tell_state(turn, session.connector_id)
        return record

    def abandon(
        self, turn: Turn, session_id: SessionId, *, online: bool
    ) -> SessionRecord | Refusal:
        """Close a session whose charger will not come back."""
        session = self._memory.session(session_id)
        facts: dict[str, str] = {"session_id": session_id}
        if session is None:
            return Refusal("not_found", "SESSION_NOT_FOUND", "no such session here", facts)
        if session.ended_ms is not None:
            return Refusal("precondition", "SESSION_ENDED", "the session has ended", facts)
        if online:
            return Refusal(
                "precondition", "CHARGER_ONLINE", "the charger is connected: stop it instead", facts
            )
        self._close(turn, session, turn.now_ms, ABANDONED)
        return session_record(self._memory, session)

    def _spoken_of(self, turn: Turn, transaction_id: str) -> Session | None:
        """The session of a transaction that the station speaks of; one that was given up for lost
        runs again, because what it draws counts."""
        session = self.find(transaction_id)
        if session is not None and session.stop_reason == ABANDONED:
            session.ended_ms = session.stop_reason = session.meter_stop_wh = None
            turn.changed = True
            turn.effects.append(Persist(session_record(self._memory, session)))
            turn.emit(
                "session.resumed",
                session_id=session.session_id,
                connector_id=session.connector_id,
                transaction_id=session.transaction_id,
            )
            self.tell_state(turn, session.connector_id)
        return session

    def tell_state(self, turn: Turn, connector_id: int) -> None:
        """Tell the site the state of a connector; connector 0 has none that it could steer."""
        if connector_id == 0:
            return
        memory = self._memory
        status = memory.status(connector_id)
        session = memory.open_session_on(connector_id)
        demand = None
        if session is not None:
            demand = SessionDemand(
                session.session_id,
                session.started_ms,
                session.register.energy_wh,
                session.need_wh,
                session.departure_ms,
                status not in _NOT_CHARGING
                and (session.id_token is not None or session.charging_state in _AUTHORISED),
                session.id_token,
                session.boost_until_ms,
                session.vehicle,
            )
        external = memory.external_limit(connector_id, turn.now_ms)
        turn.tell_site(
            ConnectorState(
                memory.charger_id,
                connector_id,
                status,
                demand,
                None if external is None else external[0],
            )
        )

    # --- starts -----------------------------------------------------------------------------------

    def _started_before(
        self, turn: Turn, event: TransactionStarted, start_key: str, message: str
    ) -> Session | None:
        if event.transaction_id is not None:
            return self.find(event.transaction_id)
        # Without a clock, and with a register that stands still, every start looks like the last.
        timed = event.at_ms is not None and trusted_ms(event.at_ms, turn.now_ms) == event.at_ms
        for session in reversed(self._memory.sessions):
            same = session.start_key == start_key and (timed or session.ended_ms is None)
            if same or session.start_message == message:
                return session
        return None

    def _open(
        self,
        turn: Turn,
        *,
        connector_id: int,
        transaction_id: str | None,
        id_token: str | None,
        started_ms: int,
        charging_state: ConnectorStatus | None,
        start_key: str = "",
        start_message: str = "",
    ) -> Session:
        memory = self._memory
        if connector_id == 0 and memory.described is not None:
            described = memory.described.connectors
            connector_id = described[0].id if len(described) == 1 else 0
        self._replace(turn, connector_id, started_ms)
        for other in list(memory.open_sessions())[: -_OPEN_MAX + 1]:
            self._close(turn, other, turn.now_ms, "Replaced")
        memory.session_number += 1
        number = memory.session_number
        session = Session(
            number=number,
            session_id=SessionId(f"{memory.charger_id}-{number}"),
            transaction_id=str(number) if transaction_id is None else transaction_id,
            connector_id=connector_id,
            id_token=id_token,
            started_ms=started_ms,
            start_key=start_key,
            start_message=start_message,
            charging_state=charging_state,
        )
        ended = [each for each in memory.sessions if each.ended_ms is not None]
        forgotten = {each.number for each in ended[:-_ENDED_MAX]}
        memory.sessions = [each for each in memory.sessions if each.number not in forgotten]
        memory.sessions.append(session)
        connector = memory.connector(connector_id)
        if connector is not None and connector.status is ConnectorStatus.AVAILABLE:
            # Said before the vehicle came; the station's own word follows, if it sends one.
            connector.status = ConnectorStatus.OCCUPIED
        if connector is not None and connector.vehicle is not None:
            if turn.now_ms - connector.vehicle.said_ms <= _NEEDS_KEPT_MS:
                session.vehicle = connector.vehicle
            connector.vehicle = None
        turn.changed = True
        return session

    def _replace(self, turn: Turn, connector_id: int, started_ms: int) -> None:
        """One vehicle at a time: the end of the one before was lost. Connector 0 stands for any of
        a station, as long as its message did not say which."""
        for other in list(self._memory.open_sessions()):
            if other.connector_id == connector_id != 0 and other.started_ms <= started_ms:
                self._close(turn, other, started_ms, "Replaced")

    def _place(self, turn: Turn, session: Session, connector_id: int | None) -> None:
        """Learn on which connector a session runs, where its first message did not say."""
        if session.connector_id != 0 or not connector_id:
            return
        if session.ended_ms is None:
            self._replace(turn, connector_id, session.started_ms)
        session.connector_id = connector_id
        turn.changed = True
        turn.effects.append(Persist(session_record(self._memory, session)))
        self.tell_state(turn, connector_id)

    def _begin(self, turn: Turn, session: Session, event: TransactionStarted) -> None:
        if event.meter_start_wh is not None:
            at_ms = trusted_ms(event.at_ms, turn.now_ms)
            self._metering.take_register(turn, session, event.meter_start_wh, at_ms, begins=True)
        self._metering.take_all(turn, session.connector_id, session, event.readings)

    def _announce_start(self, turn: Turn, session: Session, remote_start_id: int | None) -> None:
        turn.effects.append(Persist(session_record(self._memory, session)))
        turn.emit(
            "session.started",
            session_id=session.session_id,
            connector_id=session.connector_id,
            transaction_id=session.transaction_id,
            id_token=session.id_token,
            started_ms=session.started_ms,
            meter_start_wh=session.register.first_wh,
            remote_start_id=remote_start_id,
        )
        self.tell_state(turn, session.connector_id)

    def _start_came_late(self, turn: Turn, session: Session, event: TransactionStarted) -> None:
        """The start of a session that an update has opened already."""
        energy_before_wh = session.register.energy_wh
        session.started_ms = min(session.started_ms, trusted_ms(event.at_ms, turn.now_ms))
        if session.id_token is None:
            session.id_token = event.id_token
        self._place(turn, session, event.connector_id)
        self._begin(turn, session, event)
        self._metering.correct(turn, session, energy_before_wh, always=True)
        turn.changed = True

    # --- updates and ends -------------------------------------------------------------------------

    def _update(self, turn: Turn, session: Session, event: TransactionUpdated) -> None:
        if session.ended_ms is not None:
            return
        authorised = event.id_token is not None and session.id_token is None
        if authorised:
            session.id_token = event.id_token
            turn.effects.append(Persist(session_record(self._memory, session)))
        state = event.charging_state
        if authorised or (state is not None and state is not session.charging_state):
            session.charging_state = state or session.charging_state
            turn.changed = True
            self.tell_state(turn, session.connector_id)

    def _end_unmatched(self, turn: Turn, event: TransactionEnded) -> None:
        memory = self._memory
        if event not in memory.unmatched_ends:
            memory.unmatched_ends = [*memory.unmatched_ends[-_UNMATCHED_MAX + 1 :], event]
            turn.changed = True
            turn.quarantine("transaction_unknown", transaction_id=event.transaction_id)

    def _match_end(self, turn: Turn, session: Session) -> None:
        """The end may have come before everything else. Only 2.x stations name their transactions;
        a number of 1.6 that we have not handed out yet is somebody else's."""
        for event in self._memory.unmatched_ends:
            if (
                event.seq_no is not None
                and event.transaction_id == session.transaction_id
                and session.ended_ms is None
            ):
                self._memory.unmatched_ends = [
                    each for each in self._memory.unmatched_ends if each is not event
                ]
                self._end(turn, session, event)
                return

    def _end(self, turn: Turn, session: Session, event: TransactionEnded) -> None:
        self._note_event(session, event.seq_no, event.at_ms)
        at_ms = trusted_ms(event.at_ms, turn.now_ms)
        self._metering.take_all(turn, session.connector_id, session, event.readings)
        if event.meter_stop_wh is not None:
            # Nothing comes after it, even if the station's clock was set back in between.
            last_ms = max(at_ms, session.register.last_ms)
            self._metering.take_register(turn, session, event.meter_stop_wh, last_ms)
            session.meter_stop_wh = event.meter_stop_wh
        self._close(turn, session, at_ms, event.reason)

    def _close(self, turn: Turn, session: Session, at_ms: int, reason: str) -> None:
        session.ended_ms = max(at_ms, session.started_ms)
        session.stop_reason = reason
        if session.meter_stop_wh is None and session.register.first_wh is not None:
            session.meter_stop_wh = session.register.last_wh
        connector = self._memory.connectors.get(session.connector_id)
        if connector is not None:
            # A TxProfile ends with its transaction.
            connector.limit_ma = connector.default_ma
            connector.power_w = None
        session.events_seen = session.events_seen[-_EVENTS_SEEN_ENDED_MAX:]
        turn.changed = True
        turn.effects.append(Persist(session_record(self._memory, session)))
        turn.emit(
            "session.ended",
            session_id=session.session_id,
            connector_id=session.connector_id,
            transaction_id=session.transaction_id,
            id_token=session.id_token,
            started_ms=session.started_ms,
            ended_ms=session.ended_ms,
            energy_wh=session.register.energy_wh,
            stop_reason=reason,
            doubtful=session.doubts > 0,
        )
        self.tell_state(turn, session.connector_id)

    @staticmethod
    def _note_event(session: Session, seq_no: int | None, at_ms: int | None) -> bool:
        """False if the event is one of the latest again. The time counts too: there are stations
        that never count `seqNo` up."""
        if seq_no is None:
            return True
        key = (seq_no, at_ms)
        if key in session.events_seen:
            return False
        session.events_seen = [*session.events_seen[-_EVENTS_SEEN_MAX + 1 :], key]
        return True

    def _token_answer(
        self,
        turn: Turn,
        id_token: str | None,
        transaction_number: int | None,
        *,
        connector_id: int = 0,
    ) -> TokenAnswer:
        """A charger that belongs to nobody authorises nobody; nor does one on a connector that its
        owner did not describe, because no circuit counts what it draws."""
        status = None
        if id_token is not None:
            refused = turn.site_id is None or self._memory.undescribed(connector_id)
            status = "Invalid" if refused else "Accepted"
        return TokenAnswer(status, transaction_number)


def _vehicle_limits(
    event: ChargingNeedsNotified, session: Session | None, now_ms: int
) -> VehicleLimits:
    """What the vehicle said, with its energy counted from the session's begin."""
    had_wh = 0 if session is None else session.register.energy_wh
    leaves_ms = event.departure_ms
    if leaves_ms is not None and not now_ms < leaves_ms <= now_ms + _STAY_MAX_MS:
        leaves_ms = None
    return VehicleLimits(
        current_min_ma=event.current_min_ma,
        current_max_ma=event.current_max_ma,
        phases=event.phases,
        power_max_w=event.power_max_w,
        soc_percent=event.soc_percent,
        capacity_wh=event.capacity_wh,
        need_wh=None if event.energy_wh is None else had_wh + event.energy_wh,
        departure_ms=leaves_ms,
        said_ms=now_ms,
    )


_TELLS_CHARGING: Final = frozenset(
    {
        ConnectorStatus.CHARGING,
        ConnectorStatus.FINISHING,
        ConnectorStatus.PREPARING,
        ConnectorStatus.SUSPENDED_EV,
        ConnectorStatus.SUSPENDED_EVSE,
    }
)
