"""What is wanted of a session: by its vehicle, over ISO 15118 (2.x), and by its driver.

The invariant: a wish changes nothing but the demand that the site is told; energy is counted from
the session's begin."""

from __future__ import annotations

from typing import Final

from controlplane.charger.memory import ChargerMemory, Session
from controlplane.charger.messages import SetSessionNeed
from controlplane.charger.metering import session_record
from controlplane.charger.sessions import Sessions
from controlplane.charger.turn import Turn
from controlplane.errors import Refusal
from controlplane.ocpp.dialect import NeedsAnswer
from controlplane.ocpp.events import ChargingNeedsNotified
from controlplane.site.messages import VehicleLimits
from controlplane.store.records import SessionRecord
from controlplane.units import MS_PER_HOUR

__all__ = ["BOOST_MAX_MS", "Needs"]

BOOST_MAX_MS: Final = 24 * MS_PER_HOUR
_STAY_MAX_MS: Final = 7 * 24 * MS_PER_HOUR
"""A vehicle that says it leaves later than this has not understood the question."""

_CLOCKS_MS: Final = 60_000
"""How far clocks may lie apart."""


class Needs:
    """What is wanted of the sessions of one charger."""

    __slots__ = ("_memory", "_sessions")

    def __init__(self, memory: ChargerMemory, sessions: Sessions) -> None:
        self._memory = memory
        self._sessions = sessions

    def notified(self, turn: Turn, event: ChargingNeedsNotified) -> NeedsAnswer:
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
            discharge_power_max_w=None if said.discharge is None else said.discharge.power_max_w,
        )
        if session is None:
            return NeedsAnswer("Processing")
        self._sessions.tell_state(turn, connector.id)
        return NeedsAnswer("Accepted")

    def set(self, turn: Turn, wish: SetSessionNeed) -> SessionRecord | Refusal:
        """Take the driver's wish for a running session."""
        session = self._memory.session(wish.session_id)
        facts: dict[str, str] = {"session_id": wish.session_id}
        if session is None:
            return Refusal("not_found", "SESSION_NOT_FOUND", "no such session here", facts)
        if session.ended_ms is not None:
            return Refusal("precondition", "SESSION_ENDED", "the session has ended", facts)
        if wish.need_wh is not None and wish.need_wh < 0:
            return Refusal("invalid_input", "NEED_NEGATIVE", "need_wh is 0 or more", facts)
        reserve_percent = None if wish.discharge is None else wish.discharge.reserve_percent
        if reserve_percent is not None and not 0 <= reserve_percent <= 100:
            return Refusal("invalid_input", "RESERVE_INVALID", "reserve_percent is 0 to 100", facts)
        if wish.departure_ms is not None and wish.departure_ms < turn.now_ms - _CLOCKS_MS:
            words = "the departure is past: nobody would know when the vehicle leaves"
            return Refusal("invalid_input", "DEPARTURE_PAST", words, facts)
        if (wish.boost_until_ms or 0) > turn.now_ms + BOOST_MAX_MS:
            return Refusal("invalid_input", "BOOST_TOO_LONG", "a boost lasts a day at most", facts)
        if wish.need_wh is not None or wish.forget_need:
            session.need_wh = wish.need_wh
        if wish.departure_ms is not None or wish.forget_departure:
            session.departure_ms = wish.departure_ms
        if wish.discharge is not None:
            session.reserve_percent = wish.discharge.reserve_percent
        if wish.boost_until_ms is not None:
            in_future = wish.boost_until_ms > turn.now_ms
            session.boost_until_ms = wish.boost_until_ms if in_future else None
        turn.changed = True
        record = session_record(self._memory, session)
        self._sessions.store(turn, session)
        turn.emit(
            "session.need",
            session_id=session.session_id,
            connector_id=session.connector_id,
            need_wh=session.need_wh,
            departure_ms=session.departure_ms,
            boost_until_ms=session.boost_until_ms,
            discharge_reserve_percent=session.reserve_percent,
        )
        self._sessions.tell_state(turn, session.connector_id)
        return record

    def prioritise(self, turn: Turn, transaction_id: str, *, active: bool) -> bool:
        """A transaction goes first at its site, for a day at most, or no more (2.1 K21, K22);
        whether it is one that runs."""
        session = self._sessions.find(transaction_id)
        if session is None or session.ended_ms is not None:
            if active:
                turn.emit("session.priority_refused", transaction_id=transaction_id)
            return False
        until_ms = turn.now_ms + BOOST_MAX_MS if active else turn.now_ms
        self.set(turn, SetSessionNeed(session.session_id, boost_until_ms=until_ms))
        return True


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
        discharge=event.discharge,
        said_wh=0
        if session is None or event.discharge is None
        else had_wh - session.exported.energy_wh,
    )
