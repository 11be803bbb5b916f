"""A station's own account of the limits in force, beside what Loadstar's profiles together allow.

A station accepts a profile and may still not heed it: another profile stands above, a unit was
misread, an old one was never replaced. Where it offers composite schedules it is asked for one,
once for each session, some time after a limit was accepted; what differs is journalled as
`charger.schedule_differs`. What a charger may draw is decided by the ledger and the meter, never by
this. Sources: OCPP 1.6 section 5.7, 2.0.1 part 2 K08.

The invariant: at most one question for each session, none to a station that offers no composite
schedules or has refused to make one since it connected, and none while a newer limit is on its
way."""

from __future__ import annotations

from typing import Final

from controlplane.actor import SetTimer
from controlplane.charger.commands import Order, Origin
from controlplane.charger.limits import limit_command
from controlplane.charger.line import Line
from controlplane.charger.memory import ChargerMemory, Session
from controlplane.charger.steering import profile_form
from controlplane.charger.turn import Turn
from controlplane.ids import SessionId
from controlplane.ocpp.answers import schedule_answered
from controlplane.ocpp.commands import (
    CommandResult,
    CommandState,
    GetCompositeSchedule,
    LimitPurpose,
    SetLimit,
)
from controlplane.ocpp.composite import (
    Kind,
    Profile,
    ProfilePeriod,
    Purpose,
    RunningTransaction,
    Unit,
    composite,
)
from controlplane.ocpp.dialect import limit_value

__all__ = ["SCHEDULE_TIMER", "ScheduleCheck"]

SCHEDULE_TIMER: Final = "schedule_check"

_PAUSE_MS: Final = 10_000
"""How long after a limit was accepted: stations work a new schedule out in a second or two."""
_DURATION_S: Final = 60
_TOLERANCE_A: Final = 1.0
"""Stations round to whole amperes, up or down."""


class ScheduleCheck:
    """Asks one station for its composite schedules."""

    __slots__ = ("_asked", "_due", "_line", "_memory", "_unwilling")

    def __init__(self, memory: ChargerMemory, line: Line) -> None:
        self._memory = memory
        self._line = line
        self._asked: dict[int, SessionId] = {}
        """The session that was asked about last, by connector."""
        self._due: set[int] = set()
        """Connectors whose limit was accepted and is to be asked about."""
        self._unwilling = False

    def disconnected(self) -> None:
        """A station that comes back may have learned."""
        self._unwilling = False
        self._due.clear()

    def limit_accepted(self, turn: Turn, command: SetLimit) -> None:
        """A limit is in force, by the station's word."""
        session = self._memory.open_session_on(command.connector_id)
        if (
            self._unwilling
            or session is None
            or self._memory.capability.stack_level_max is None
            or self._asked.get(command.connector_id) == session.session_id
        ):
            return
        self._due.add(command.connector_id)
        turn.effects.append(SetTimer(SCHEDULE_TIMER, turn.now_ms + _PAUSE_MS))

    def due(self, turn: Turn) -> None:
        """The pause is over. Where a newer limit is on its way, its acceptance begins another."""
        dialect = self._line.dialect
        due, self._due = self._due, set()
        if not self._line.connection or dialect is None or self._line.queue.pending(Origin.LIMIT):
            return
        unit = profile_form(self._memory).unit
        for connector_id in sorted(due):
            session = self._memory.open_session_on(connector_id)
            if session is not None and self._profiles(session) is not None:
                self._asked[connector_id] = session.session_id
                question = GetCompositeSchedule(connector_id, _DURATION_S, unit)
                self._line.order(turn, dialect, question, Origin.LEARNING)

    def concluded(self, turn: Turn, order: Order, result: CommandResult) -> None:
        """What became of an order of ours; compare."""
        question = order.command
        if order.origin is not Origin.LEARNING or not isinstance(question, GetCompositeSchedule):
            return
        schedule = schedule_answered(result.payload)
        if result.state is not CommandState.ACCEPTED or schedule is None:
            self._unwilling |= result.state in (CommandState.ERROR, CommandState.REJECTED)
            return
        session = self._memory.open_session_on(question.connector_id)
        expected_milli = None if session is None else self._expected(session, question, turn.now_ms)
        if session is None or expected_milli is None or not schedule.periods:
            return
        said = schedule.periods[0].limit
        expected = expected_milli / 1_000
        if schedule.unit != question.unit or (
            said is not None and abs(said - expected) <= self._tolerance(question)
        ):
            return
        turn.emit(
            "charger.schedule_differs",
            connector_id=question.connector_id,
            session_id=session.session_id,
            unit=question.unit,
            expected=expected,
            said=said,
        )

    def _expected(self, session: Session, question: GetCompositeSchedule, at_ms: int) -> int | None:
        """What Loadstar's profiles, and what others are known to allow, come to, in thousandths of
        the question's unit; None where that is not known."""
        described = self._memory.described
        leaf = None if described is None else described.connector(question.connector_id)
        profiles = self._profiles(session)
        if described is None or leaf is None or profiles is None:
            return None
        external = self._memory.external_limit(question.connector_id, at_ms)
        if external is not None:
            periods = (ProfilePeriod(0, external[0]),)
            profiles.append(self._profile(question.connector_id, Purpose.EXTERNAL, "A", periods))
        first, *_ = composite(
            profiles,
            connector_id=question.connector_id,
            at_ms=at_ms,
            duration_s=1,
            unit=question.unit,
            voltage_v=described.voltage_v,
            phases=leaf.phases,
            transaction=RunningTransaction(session.transaction_id, session.started_ms),
        )
        return first.limit_milli

    def _profiles(self, session: Session) -> list[Profile] | None:
        """The profiles that the station has acknowledged for a session; None where what limits the
        session is in doubt, or it feeds in."""
        connector = self._memory.connector(session.connector_id)
        if connector is None or connector.limit_ma is None or connector.limit_ma < 0:
            return None
        by_default = profile_form(self._memory).by_default
        limits = [(connector.limit_ma, LimitPurpose.DEFAULT, Purpose.DEFAULT)]
        if not by_default:
            limits = [(connector.limit_ma, LimitPurpose.TRANSACTION, Purpose.TRANSACTION)]
            if connector.default_certain_ma is not None:
                limits.append((connector.default_certain_ma, LimitPurpose.DEFAULT, Purpose.DEFAULT))
        profiles = []
        for limit_ma, worded, purpose in limits:
            command = limit_command(self._memory, connector.id, limit_ma, purpose=worded)
            if command is None:
                return None
            phases = command.phases if command.phases_stated else None
            period = ProfilePeriod(0, round(limit_value(command) * 1_000), phases)
            profiles.append(self._profile(connector.id, purpose, command.unit, (period,)))
        return profiles

    @staticmethod
    def _profile(
        connector_id: int, purpose: Purpose, unit: Unit, periods: tuple[ProfilePeriod, ...]
    ) -> Profile:
        return Profile(
            profile_id=0,
            connector_id=connector_id,
            stack_level=0,
            purpose=purpose,
            kind=Kind.RELATIVE,
            unit=unit,
            periods=periods,
        )

    def _tolerance(self, question: GetCompositeSchedule) -> float:
        """One ampere, in the question's unit."""
        described = self._memory.described
        leaf = None if described is None else described.connector(question.connector_id)
        if question.unit == "A" or described is None or leaf is None:
            return _TOLERANCE_A
        return _TOLERANCE_A * described.voltage_v * leaf.phases
