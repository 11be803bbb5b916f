"""A charger's transactions: one model for those of 1.6 and 2.x.

Stations repeat what was not acknowledged, replay in any order what happened offline, and lose
messages. The invariants: a transaction is one session however often and in whatever order its
messages come; an ended session never revives; every reading is kept once; and what carries energy
but cannot be matched or believed is answered validly and quarantined, because an error answer
makes stations repeat it for ever."""

from __future__ import annotations

from typing import Final

from controlplane.actor import Persist
from controlplane.charger.clock import HISTORY_MS
from controlplane.charger.memory import ChargerMemory, Session
from controlplane.charger.metering import REPLACED, Metering
from controlplane.charger.needs import Needs
from controlplane.charger.sessions import Sessions
from controlplane.charger.token_check import TokenCheck
from controlplane.charger.turn import Turn
from controlplane.ocpp.dialect import Answer, TokenAnswer
from controlplane.ocpp.events import (
    MeterReported,
    TransactionEnded,
    TransactionStarted,
    TransactionUpdated,
)
from controlplane.store.records import QuarantineCleared
from controlplane.tokens import Purpose, TokenStatus, token_key

__all__ = ["Transactions"]

_UNMATCHED_MAX: Final = 8
_EVENTS_SEEN_MAX: Final = 64
_GAPS_TOLD_MAX: Final = 4
_NAMELESS: Final = frozenset({"", "0", "-1"})
"""What 1.6 stations say that do not keep the number they were given; ours begin at 1."""


class Transactions:
    """The transactions of one charger, in its memory: what the station says of them. How their
    sessions come and go is `sessions`, what is wanted of them `needs`."""

    __slots__ = ("_memory", "_metering", "needs", "sessions")

    def __init__(self, memory: ChargerMemory, metering: Metering) -> None:
        self._memory = memory
        self._metering = metering
        self.sessions = Sessions(memory, metering)
        self.needs = Needs(memory, self.sessions)

    # --- what the station says --------------------------------------------------------------------

    def started(self, turn: Turn, event: TransactionStarted, *, message: str) -> Answer:
        """A transaction began, or is said once more to have begun. `message` is the connection and
        the message id."""
        self.hear_clock(turn, event.at_ms, offline=event.offline)
        start_key = f"{event.connector_id}/{event.id_token}/{event.at_ms}/{event.meter_start_wh}"
        # There are stations that never change the message id: it counts with the register only.
        message = f"{message}/{event.connector_id}/{event.meter_start_wh}"
        session = self._started_before(turn, event, start_key, message)
        if session is None:
            session = self.sessions.open(
                turn,
                connector_id=event.connector_id,
                transaction_id=event.transaction_id,
                id_token=event.id_token,
                at_ms=event.at_ms,
                charging_state=event.charging_state,
                start_key=start_key,
                start_message=message,
                history=self._before_the_running(turn, event),
            )
            self._note_event(turn, session, event.seq_no, event.at_ms, begins=True)
            self.sessions.begin(turn, session, event)
            self.sessions.announce_start(turn, session, event.remote_start_id)
            self._match_end(turn, session)
        elif event.seq_no is not None and self._note_event(
            turn, session, event.seq_no, event.at_ms, begins=True
        ):
            self._start_came_late(turn, session, event)
        return self._token_answer(turn, event.id_token, session, Purpose.START)

    def updated(self, turn: Turn, event: TransactionUpdated) -> Answer:
        """A running transaction changed or was measured (2.x)."""
        self.hear_clock(turn, event.at_ms, offline=event.offline)
        session = self._spoken_of(turn, event.transaction_id)
        opens = session is None
        if session is None:
            # Its start was lost or is still to come.
            session = self.sessions.open(
                turn,
                connector_id=event.connector_id or 0,
                transaction_id=event.transaction_id,
                id_token=event.id_token,
                at_ms=event.at_ms,
                charging_state=event.charging_state,
            )
        if self._note_event(turn, session, event.seq_no, event.at_ms):
            self.sessions.place(turn, session, event.connector_id)
            self._metering.take_all(turn, session.connector_id, session, event.readings)
            if opens:
                self.sessions.announce_start(turn, session, None)
            self._update(turn, session, event)
            self._match_end(turn, session)
        purpose = Purpose.STOP if event.trigger == "StopAuthorized" else Purpose.START
        return self._token_answer(turn, event.id_token, session, purpose)

    def ended(self, turn: Turn, event: TransactionEnded) -> Answer:
        """A transaction is over, or is said once more to be over."""
        self.hear_clock(turn, event.at_ms, offline=event.offline)
        session = self._spoken_of(turn, event.transaction_id, as_running=False)
        if session is None:
            self._end_unmatched(turn, event)
        elif session.ended_ms is None:
            self._end(turn, session, event)
        elif event.seq_no is None or self._note_event(turn, session, event.seq_no, event.at_ms):
            self._end_of_replaced(turn, session, event)
            self._metering.take_all(turn, session.connector_id, session, event.readings)
        return self._token_answer(turn, event.id_token, session, Purpose.STOP)

    def metered(self, turn: Turn, event: MeterReported) -> None:
        """A connector was measured outside a TransactionEvent."""
        if event.readings:
            self.hear_clock(turn, event.readings[-1].at_ms)
        connector_id = event.connector_id
        if event.transaction_id is None or event.transaction_id in _NAMELESS:
            session = self._memory.open_session_on(connector_id)
            if session is not None:
                clock, started_ms = self._memory.clock, session.started_ms
                before = tuple(
                    reading
                    for reading in event.readings
                    if clock.correct(reading.at_ms, turn.now_ms) < started_ms
                )
                if before:
                    self._metering.take_all(turn, connector_id, None, before)
        else:
            # A 1.6 station that mixes its transactions up must not move energy between sessions.
            session = self._spoken_of(turn, event.transaction_id)
            if session is not None and session.connector_id != connector_id:
                session = None
        self._metering.take_all(turn, connector_id, session, event.readings)

    def hear_clock(self, turn: Turn, at_ms: int | None, *, offline: bool = False) -> None:
        """Take in what a message says of the station's clock. `offline`: it says of itself that it
        is history (2.x)."""
        clock = self._memory.clock
        if at_ms is None or (not offline and clock.expects(at_ms, turn.now_ms)):
            return
        skewed, before_ms = clock.skewed, clock.offset_ms
        if not offline and clock.hear(at_ms, turn.now_ms):
            turn.changed = True
            if skewed or clock.skewed:
                turn.emit("charger.clock", offset_ms=clock.offset_ms)
            if clock.offset_ms < 0:
                self.sessions.correct_times(turn)
            elif clock.was_history(before_ms, turn.now_ms):
                self.sessions.take_back_times(turn, before_ms)
        if offline or turn.now_ms - clock.correct(at_ms, turn.now_ms) > HISTORY_MS:
            turn.history = True

    # --- which session ----------------------------------------------------------------------------

    def _spoken_of(
        self, turn: Turn, transaction_id: str, *, as_running: bool = True
    ) -> Session | None:
        """The session of a transaction that the station speaks of; one that we gave up for lost
        runs again."""
        session = self.sessions.find(transaction_id)
        if session is None:
            return None
        if session.ended_ms is not None:
            self.sessions.resume(turn, session)
        if as_running and (session.free_since_ms is not None or session.history):
            self.sessions.spoken_of(turn, session)
        return session

    def _started_before(
        self, turn: Turn, event: TransactionStarted, start_key: str, message: str
    ) -> Session | None:
        if event.transaction_id is not None:
            return self.sessions.find(event.transaction_id)
        # Without a clock, and with a register that stands still, every start looks like the last;
        # but not while another one runs, whose own end would have come before.
        timed = self._memory.clock.believes(event.at_ms, turn.now_ms)
        running = self._memory.open_session_on(event.connector_id)
        known = timed or (running is not None and running.start_key != start_key)
        for session in reversed(self._memory.sessions):
            same = session.start_key == start_key and (known or session.ended_ms is None)
            if same or session.start_message == message:
                return session
        return None

    def _before_the_running(self, turn: Turn, event: TransactionStarted) -> bool:
        """Whether a start without a believable time belongs before the session that runs on its
        connector: registers only grow."""
        running = self._memory.open_session_on(event.connector_id)
        if running is None or event.seq_no is not None or event.meter_start_wh is None:
            return False
        if self._memory.clock.believes(event.at_ms, turn.now_ms):
            return False
        first_wh = running.register.first_wh
        return first_wh is not None and event.meter_start_wh < first_wh

    # --- starts and updates -----------------------------------------------------------------------

    def _start_came_late(self, turn: Turn, session: Session, event: TransactionStarted) -> None:
        """The start of a session that an update has opened already."""
        energy_before_wh = session.register.energy_wh
        started_ms = self._memory.clock.correct(event.at_ms, turn.now_ms)
        if started_ms <= session.started_ms:
            session.started_ms = started_ms
            session.started_station_ms = event.at_ms
            session.started_received_ms = turn.now_ms
        if session.id_token is None:
            session.id_token = event.id_token
            session.token_status = self._memory.unjudged(event.id_token, session.connector_id)
        self.sessions.place(turn, session, event.connector_id)
        self.sessions.begin(turn, session, event)
        self._metering.correct(turn, session, energy_before_wh, always=True)
        turn.changed = True

    def _update(self, turn: Turn, session: Session, event: TransactionUpdated) -> None:
        if session.ended_ms is not None:
            return
        authorised = event.id_token is not None and session.id_token is None
        if authorised:
            session.id_token = event.id_token
            session.token_status = self._memory.unjudged(event.id_token, session.connector_id)
            self.sessions.store(turn, session)
        state = event.charging_state
        if authorised or (state is not None and state is not session.charging_state):
            session.charging_state = state or session.charging_state
            turn.changed = True
            self.sessions.tell_state(turn, session.connector_id)

    # --- ends -------------------------------------------------------------------------------------

    def _end(self, turn: Turn, session: Session, event: TransactionEnded) -> None:
        self._note_event(turn, session, event.seq_no, event.at_ms)
        at_ms = self._memory.clock.correct(event.at_ms, turn.now_ms)
        session.ended_station_ms = event.at_ms
        self._metering.take_all(turn, session.connector_id, session, event.readings)
        if event.meter_stop_wh is not None:
            # Nothing comes after it, even if the station's clock was set back in between.
            last_ms = max(at_ms, session.register.last_ms)
            self._metering.take_register(
                turn, session, event.meter_stop_wh, last_ms, said_ms=event.at_ms
            )
            session.meter_stop_wh = event.meter_stop_wh
        self.sessions.close(turn, session, at_ms, event.reason)

    def _end_of_replaced(self, turn: Turn, session: Session, event: TransactionEnded) -> None:
        """The end of a session on whose connector another one began meanwhile: its register counts
        up to where that one's began, so that nothing counts twice."""
        stop_wh, ended_ms = event.meter_stop_wh, session.ended_ms
        if session.stop_reason != REPLACED or stop_wh is None or ended_ms is None:
            return
        following = [
            other.register.first_wh
            for other in self._memory.sessions
            if other.connector_id == session.connector_id
            and other.number != session.number
            and other.started_ms >= ended_ms
            and other.register.first_wh is not None
        ]
        most_wh = min(following, default=stop_wh)
        if stop_wh > most_wh:
            self._metering.doubt(
                turn, session, "register_overlaps", register_wh=stop_wh, held_wh=stop_wh - most_wh
            )
        energy_before_wh = session.register.energy_wh
        session.ended_station_ms = event.at_ms
        self._metering.take_register(
            turn, session, min(stop_wh, most_wh), ended_ms, said_ms=event.at_ms
        )
        session.meter_stop_wh = session.register.last_wh
        self._metering.correct(turn, session, energy_before_wh)

    def _end_unmatched(self, turn: Turn, event: TransactionEnded) -> None:
        memory = self._memory
        if event in memory.unmatched_ends:
            return
        if event.transaction_id in _NAMELESS and event.seq_no is None:
            session = self._only_one_to_end(turn, event)
            if session is not None:
                turn.quarantine(
                    "transaction_unnamed",
                    released=True,
                    session_id=session.session_id,
                    transaction_id=event.transaction_id,
                )
                self._end(turn, session, event)
                return
        memory.unmatched_ends = [*memory.unmatched_ends[-_UNMATCHED_MAX + 1 :], event]
        turn.changed = True
        turn.quarantine(
            "transaction_unknown",
            unknown=event.transaction_id,
            transaction_id=event.transaction_id,
        )

    def _only_one_to_end(self, turn: Turn, event: TransactionEnded) -> Session | None:
        """The session that an end without a name means: the only one that runs, if its register
        goes on to the one that the end gives."""
        running = list(self._memory.open_sessions())
        if len(running) != 1 or event.meter_stop_wh is None:
            return None
        (session,) = running
        at_ms = self._memory.clock.correct(event.at_ms, turn.now_ms)
        power_max_w = self._memory.power_max_w(session.connector_id)
        fits = at_ms >= session.started_ms and session.register.goes_on(
            event.meter_stop_wh, at_ms, turn.now_ms, power_max_w=power_max_w
        )
        return session if fits else None

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
                turn.effects.append(
                    Persist(
                        QuarantineCleared(
                            turn.charger_id,
                            session.transaction_id,
                            session.session_id,
                            turn.now_ms,
                        )
                    )
                )
                return

    def _note_event(
        self,
        turn: Turn,
        session: Session,
        seq_no: int | None,
        at_ms: int | None,
        *,
        begins: bool = False,
    ) -> bool:
        """False if the event is one of the latest again. The time counts too: there are stations
        that never count `seqNo` up."""
        if seq_no is None:
            return True
        key = (seq_no, at_ms)
        if key in session.events_seen:
            return False
        session.events_seen = [*session.events_seen[-_EVENTS_SEEN_MAX + 1 :], key]
        change = session.sequence.take(seq_no, begins=begins, at_ms=at_ms)
        if change:
            self._missing_changed(turn, session, more=change > 0)
        return True

    def _missing_changed(self, turn: Turn, session: Session, *, more: bool) -> None:
        turn.changed = True
        missing = session.sequence.missing
        self.sessions.store(turn, session)
        if more or not missing:
            turn.emit(
                "session.events_missing" if missing else "session.events_complete",
                session_id=session.session_id,
                transaction_id=session.transaction_id,
                missing=missing,
                gaps=session.sequence.gaps[:_GAPS_TOLD_MAX],
            )

    def _token_answer(
        self, turn: Turn, id_token: str | None, session: Session | None, purpose: Purpose
    ) -> Answer:
        """A charger that belongs to nobody authorises nobody; nor does one on a connector that its
        owner did not describe, because no circuit counts what it draws. Else the token is looked
        up."""
        stops = purpose is Purpose.STOP
        number = None if session is None or stops else session.number
        if id_token is None:
            return TokenAnswer(None, number)
        connector_id = 0 if session is None or stops else session.connector_id
        if turn.site_id is None or self._memory.undescribed(connector_id):
            return TokenAnswer(TokenStatus.INVALID, number)
        own = session is not None and token_key(session.id_token or "") == token_key(id_token)
        return TokenCheck(
            id_token,
            purpose,
            connector_id,
            number,
            None if session is None else session.number,
            judges=own and not stops,
        )
