"""How a charger's sessions come and go: opened, placed on a connector, replaced, closed, resumed.

The invariants: one session of a connector is live at a time; an ended session never revives, unless
it was we who ended it and the station speaks of it after all; whatever is opened or closed is
stored, journalled and told to the site in the same step."""

from __future__ import annotations

from typing import Final

import msgspec

from controlplane.actor import Persist, SetTimer
from controlplane.charger.clock import StationClock
from controlplane.charger.credits import accrue
from controlplane.charger.memory import ChargerMemory, Connector, Session
from controlplane.charger.metering import REPLACED, Metering, session_record
from controlplane.charger.turn import Turn
from controlplane.errors import Refusal
from controlplane.ids import SessionId
from controlplane.ocpp.events import ConnectorStatus, TransactionStarted
from controlplane.ocpp.v21 import DIALECT_21
from controlplane.site.messages import ConnectorState, SessionDemand, VehicleLimits
from controlplane.store.records import SessionRecord

__all__ = ["LOST_TIMER", "Sessions"]

LOST_TIMER: Final = "lost"

ABANDONED: Final = "Abandoned"
"""Why a session ended that an operator gave up."""
LOST: Final = "StopLost"
"""Why a session ended of which only the free connector told that it was over."""
_RESUMED: Final = frozenset({ABANDONED, LOST})
"""Ends that are taken back when the station speaks of the session after all."""
_LOST_AFTER_MS: Final = 300_000
"""How long a connector must be said to be free before its session counts as over: stations that
retry a StopTransaction take minutes for it."""
_ENDED_MAX: Final = 16
"""Ended sessions that are remembered to recognise repetitions; an offline queue seldom has more."""
_OPEN_MAX: Final = 64
_NEEDS_KEPT_MS: Final = 600_000
"""How long what a vehicle said waits for its transaction; after that it was another vehicle."""
_EVENTS_SEEN_ENDED_MAX: Final = 16
_LIVE_AGAIN_MS: Final = 60_000
"""A session that is spoken of this long after it was told of as history is no history."""
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
_PLUGGED_IN: Final = frozenset(
    {
        ConnectorStatus.CHARGING,
        ConnectorStatus.PREPARING,
        ConnectorStatus.SUSPENDED_EV,
        ConnectorStatus.SUSPENDED_EVSE,
    }
)
_TELLS_CHARGING: Final = _PLUGGED_IN | {ConnectorStatus.FINISHING}


class Sessions:
    """The sessions of one charger, in its memory."""

    __slots__ = ("_memory", "_metering")

    def __init__(self, memory: ChargerMemory, metering: Metering) -> None:
        self._memory = memory
        self._metering = metering

    # --- begin ------------------------------------------------------------------------------------

    def open(
        self,
        turn: Turn,
        *,
        connector_id: int,
        transaction_id: str | None,
        id_token: str | None,
        at_ms: int | None,
        charging_state: ConnectorStatus | None,
        start_key: str = "",
        start_message: str = "",
        history: bool = False,
    ) -> Session:
        """Remember a session; `at_ms` is the station's word on when it began."""
        memory = self._memory
        if connector_id == 0 and memory.described is not None:
            described = memory.described.connectors
            connector_id = described[0].id if len(described) == 1 else 0
        started_ms = memory.clock.correct(at_ms, turn.now_ms)
        if not history:
            self._replace(turn, connector_id, started_ms)
        for other in list(memory.open_sessions())[: -_OPEN_MAX + 1]:
            self.close(turn, other, turn.now_ms, REPLACED)
        memory.session_number += 1
        number = memory.session_number
        session = Session(
            number=number,
            session_id=SessionId(f"{memory.charger_id}-{number}"),
            transaction_id=str(number) if transaction_id is None else transaction_id,
            connector_id=connector_id,
            id_token=id_token,
            token_status=memory.unjudged(id_token, connector_id),
            started_ms=started_ms,
            start_key=start_key,
            start_message=start_message,
            charging_state=charging_state,
            started_station_ms=at_ms,
            started_received_ms=turn.now_ms,
            history=history,
        )
        ended = [each for each in memory.sessions if each.ended_ms is not None]
        forgotten = {each.number for each in ended[:-_ENDED_MAX]}
        memory.sessions = [each for each in memory.sessions if each.number not in forgotten]
        memory.sessions.append(session)
        turn.changed = True
        if not history:
            self._occupy(turn, session)
        return session

    def _occupy(self, turn: Turn, session: Session) -> None:
        connector = self._memory.connector(session.connector_id)
        if connector is None:
            return
        if connector.status is ConnectorStatus.AVAILABLE:
            # Said before the vehicle came; the station's own word follows, if it sends one.
            connector.status = ConnectorStatus.OCCUPIED
        if connector.vehicle is not None:
            if turn.now_ms - connector.vehicle.said_ms <= _NEEDS_KEPT_MS:
                session.vehicle = connector.vehicle
            connector.vehicle = None

    def _replace(self, turn: Turn, connector_id: int, started_ms: int) -> None:
        """One vehicle at a time: the end of the one before was lost. Connector 0 stands for any of
        a station, as long as its message did not say which."""
        for other in list(self._memory.open_sessions()):
            if other.connector_id == connector_id != 0 and other.started_ms <= started_ms:
                self.close(turn, other, started_ms, REPLACED)

    def place(self, turn: Turn, session: Session, connector_id: int | None) -> None:
        """Learn on which connector a session runs, where its first message did not say."""
        if session.connector_id != 0 or not connector_id:
            return
        if session.ended_ms is None:
            self._replace(turn, connector_id, session.started_ms)
        session.connector_id = connector_id
        turn.changed = True
        self.store(turn, session)
        self.tell_state(turn, connector_id)

    def begin(self, turn: Turn, session: Session, event: TransactionStarted) -> None:
        """Take the readings that came with the start."""
        if event.meter_start_wh is not None:
            at_ms = self._memory.clock.correct(event.at_ms, turn.now_ms)
            self._metering.take_register(
                turn, session, event.meter_start_wh, at_ms, said_ms=event.at_ms, begins=True
            )
        self._metering.take_all(turn, session.connector_id, session, event.readings)

    def announce_start(self, turn: Turn, session: Session, remote_start_id: int | None) -> None:
        """Store and journal a session that is new."""
        self.store(turn, session)
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

    # --- end --------------------------------------------------------------------------------------

    def close(self, turn: Turn, session: Session, at_ms: int, reason: str) -> None:
        """End a session; `at_ms` is of our clock."""
        session.ended_ms = max(at_ms, session.started_ms)
        session.ended_received_ms = turn.now_ms
        session.stop_reason = reason
        session.free_since_ms = None
        if session.meter_stop_wh is None and session.register.first_wh is not None:
            session.meter_stop_wh = session.register.last_wh
        self._metering.settle(turn, session)
        connector = self._memory.connectors.get(session.connector_id)
        if connector is not None and not session.history:
            # A TxProfile ends with its transaction.
            connector.limit_ma = connector.default_certain_ma
            connector.power_w = None
        session.events_seen = session.events_seen[-_EVENTS_SEEN_ENDED_MAX:]
        self._metering.hold_against_power(turn, session)
        accrue(turn, self._memory, session)
        turn.changed = True
        self.store(turn, session)
        turn.emit(
            "session.ended",
            session_id=session.session_id,
            connector_id=session.connector_id,
            transaction_id=session.transaction_id,
            id_token=session.id_token,
            started_ms=session.started_ms,
            ended_ms=session.ended_ms,
            energy_wh=session.register.energy_wh,
            exported_wh=session.exported.energy_wh,
            stop_reason=reason,
            doubtful=session.doubts > 0,
        )
        self.tell_state(turn, session.connector_id)

    def resume(self, turn: Turn, session: Session) -> None:
        """Let a session run again that we gave up for lost, because what it draws counts."""
        if session.stop_reason not in _RESUMED:
            return
        session.ended_ms = session.ended_station_ms = session.ended_received_ms = None
        session.stop_reason = session.meter_stop_wh = None
        turn.changed = True
        self.store(turn, session)
        turn.emit(
            "session.resumed",
            session_id=session.session_id,
            connector_id=session.connector_id,
            transaction_id=session.transaction_id,
        )
        connector = self._memory.connectors.get(session.connector_id)
        if connector is not None:
            self._suspect(turn, session, connector.status)
        self.tell_state(turn, session.connector_id)

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
        self.close(turn, session, turn.now_ms, ABANDONED)
        return session_record(self._memory, session)

    def correct_times(self, turn: Turn) -> None:
        """The station's clock turned out to be behind: what was told as it happened, and taken for
        history, happened when we heard of it."""
        for session in self._memory.sessions:
            self._correct_times(turn, session, self._memory.clock)

    def take_back_times(self, turn: Turn, offset_ms: int) -> None:
        """The station's clock was not `offset_ms` ahead after all: what was taken for the present
        was history, and happened when the station said."""
        memory, told_by = self._memory, StationClock(offset_ms)
        corrected = told_by.skewed
        for session in memory.sessions:
            if not self._correct_times(turn, session, told_by) and corrected:
                session.register.take_back(offset_ms, memory.clock.found_ms)
                session.exported.take_back(offset_ms, memory.clock.found_ms)

    def _correct_times(self, turn: Turn, session: Session, told_by: StationClock) -> bool:
        """Correct, by what the station's clock is known to be now, the times of a session that such
        a clock told as they happened. Returns whether the beginning is one of them."""
        clock = self._memory.clock
        before = (session.started_ms, session.ended_ms)
        begun = told_by.explains(session.started_station_ms, session.started_received_ms)
        if begun:
            started_ms = clock.correct(session.started_station_ms, turn.now_ms)
            session.register.shift(started_ms - session.started_ms)
            session.exported.shift(started_ms - session.started_ms)
            session.started_ms = started_ms
        if told_by.explains(session.ended_station_ms, session.ended_received_ms or 0):
            ended_ms = clock.correct(session.ended_station_ms, turn.now_ms)
            session.ended_ms = max(session.started_ms, ended_ms)
        if before != (session.started_ms, session.ended_ms):
            self._metering.correct(turn, session, session.register.energy_wh, always=True)
        return begun

    # --- what the connector tells -----------------------------------------------------------------

    def status_changed(self, turn: Turn, connector: Connector, status: ConnectorStatus) -> None:
        """1.6 tells the state of charging by the connector's status; in every version a free
        connector has no transaction in which a vehicle was plugged in."""
        session = self._memory.open_session_on(connector.id)
        if session is None:
            return
        self._suspect(turn, session, status)
        if status in _TELLS_CHARGING:
            session.charging_state = status
            turn.changed = True

    def spoken_of(self, turn: Turn, session: Session) -> None:
        """The station speaks of a session as one that runs."""
        if session.ended_ms is not None:
            return
        if session.free_since_ms is not None:
            session.free_since_ms = None
            turn.changed = True
        if session.history and turn.now_ms - session.started_received_ms >= _LIVE_AGAIN_MS:
            session.history = False
            turn.changed = True
            for other in list(self._memory.open_sessions()):
                if other is not session and other.connector_id == session.connector_id:
                    self.close(turn, other, session.started_ms, REPLACED)
            self._occupy(turn, session)
            self.tell_state(turn, session.connector_id)

    def _suspect(self, turn: Turn, session: Session, status: ConnectorStatus | None) -> None:
        """Begin, or stop, to wait for the end of a session whose connector is free. A 2.x
        transaction may begin before a vehicle is plugged in (part 2 E01, TxStartPoint)."""
        plugged_in = session.charging_state in _PLUGGED_IN or session.register.energy_wh > 0
        free = status is ConnectorStatus.AVAILABLE and (plugged_in or not session.sequence.next)
        if free and session.free_since_ms is None:
            session.free_since_ms = turn.now_ms
            turn.effects.append(SetTimer(LOST_TIMER, turn.now_ms + _LOST_AFTER_MS))
            turn.changed = True
        elif not free and session.free_since_ms is not None:
            session.free_since_ms = None
            turn.changed = True

    def activated(self, turn: Turn) -> None:
        """Go on where another host stopped, which may have heard more than it wrote down."""
        for session in self._memory.open_sessions():
            session.sequence.resumed_ms = turn.now_ms
        self._arm(turn)

    def _arm(self, turn: Turn) -> None:
        since_ms = self._free_since_ms()
        if since_ms:
            turn.effects.append(SetTimer(LOST_TIMER, min(since_ms) + _LOST_AFTER_MS))

    def lost_due(self, turn: Turn) -> None:
        """Close the sessions whose connectors have been free for long."""
        for session in list(self._memory.open_sessions()):
            since_ms = session.free_since_ms
            if since_ms is not None and turn.now_ms - since_ms >= _LOST_AFTER_MS:
                self.close(turn, session, since_ms, LOST)
        self._arm(turn)

    def _free_since_ms(self) -> list[int]:
        return [
            session.free_since_ms
            for session in self._memory.open_sessions()
            if session.free_since_ms is not None
        ]

    # --- what others are told ---------------------------------------------------------------------

    def store(self, turn: Turn, session: Session) -> None:
        """Write a session as it stands."""
        turn.effects.append(Persist(session_record(self._memory, session)))

    def find(self, transaction_id: str) -> Session | None:
        """The session of a transaction, open or among the latest ended."""
        for session in reversed(self._memory.sessions):
            if session.transaction_id == transaction_id:
                return session
        return None

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
                _vehicle(memory, session),
                session.authorised,
                session.exported.energy_wh,
                session.reserve_percent,
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


def _vehicle(memory: ChargerMemory, session: Session) -> VehicleLimits | None:
    """What the vehicle and its station can do together; nothing is fed in at a station of another
    version than 2.1, or by one that says it cannot."""
    limits = memory.capability.limits(session.connector_id, session.vehicle)
    if limits is None or limits.discharge is None:
        return limits
    if memory.ocpp_version == DIALECT_21.version and memory.capability.takes_setpoints:
        return limits
    return msgspec.structs.replace(limits, discharge=None)
