"""Repair from afar, and its bounds.

Two faults are recognised: a connector (or the station as a whole) that reports Faulted, and a
station that stops answering calls. Each gets a soft reset, at most three times with growing pauses,
and never while a session delivers energy or waits for its turn: a driver who charges is worth more
than a clean status.
What was tried is remembered across hosts, so that no restart of ours turns into a boot loop of
theirs."""

from __future__ import annotations

from typing import Final

from controlplane.actor import CancelTimer, SetTimer
from controlplane.charger.memory import ChargerMemory
from controlplane.charger.turn import Turn
from controlplane.ocpp.commands import CommandResult
from controlplane.ocpp.events import ConnectorStatus

__all__ = ["HEALING_TIMER", "Healer"]

HEALING_TIMER: Final = "healing"

_ATTEMPTS_MAX: Final = 3
_TIMEOUTS_MAX: Final = 3
"""Unanswered calls in a row that make a station unresponsive."""
_PAUSE_GROWTH: Final = 5

_FAULTED = "connector_faulted"
_UNRESPONSIVE = "unresponsive"


class Healer:
    """Watches one charger. `pause_ms` is how long a fault must last before the first reset; each
    further pause is five times as long."""

    __slots__ = ("_memory", "_pause_ms", "_timeouts")

    def __init__(self, memory: ChargerMemory, pause_ms: int) -> None:
        self._memory = memory
        self._pause_ms = pause_ms
        self._timeouts = 0

    def activated(self, turn: Turn) -> None:
        """Go on where another host stopped."""
        if self._memory.healing.reason:
            self._arm(turn)

    def statuses_changed(self, turn: Turn) -> None:
        """A connector's status changed."""
        faulted = self._faulted()
        healing = self._memory.healing
        if faulted and not healing.reason:
            self._found(turn, _FAULTED, connectors=faulted)
        elif not faulted and healing.reason == _FAULTED:
            self._recovered(turn)

    def timed_out(self, turn: Turn) -> None:
        """The station left a call unanswered."""
        self._timeouts += 1
        if self._timeouts >= _TIMEOUTS_MAX and not self._memory.healing.reason:
            self._found(turn, _UNRESPONSIVE, timeouts=self._timeouts)

    def answered(self, turn: Turn) -> None:
        """The station answered a call."""
        self._timeouts = 0
        if self._memory.healing.reason == _UNRESPONSIVE:
            self._recovered(turn)

    def due(self, turn: Turn, *, online: bool) -> bool:
        """The pause is over: whether a reset is to be sent now."""
        healing = self._memory.healing
        if not healing.reason or healing.attempts >= _ATTEMPTS_MAX:
            return False
        if not online or self._delivering():
            self._arm(turn)
            return False
        healing.attempts += 1
        turn.changed = True
        turn.emit("charger.healing", stage="reset", reason=healing.reason, attempt=healing.attempts)
        if healing.attempts < _ATTEMPTS_MAX:
            self._arm(turn)
        else:
            turn.emit("charger.healing", stage="last_attempt", reason=healing.reason)
        return True

    def concluded(self, turn: Turn, result: CommandResult) -> None:
        """What became of the reset."""
        turn.emit(
            "charger.healing",
            stage="reset_answered",
            state=result.state.value,
            status=result.status,
        )

    def _found(self, turn: Turn, reason: str, **facts: object) -> None:
        self._memory.healing.reason = reason
        self._memory.healing.attempts = 0
        turn.changed = True
        turn.emit("charger.healing", stage="found", reason=reason, **facts)
        self._arm(turn)

    def _recovered(self, turn: Turn) -> None:
        healing = self._memory.healing
        turn.emit(
            "charger.healing",
            stage="recovered",
            reason=healing.reason,
            attempts=healing.attempts,
        )
        healing.reason, healing.attempts = "", 0
        turn.changed = True
        turn.effects.append(CancelTimer(HEALING_TIMER))
        self.statuses_changed(turn)

    def _arm(self, turn: Turn) -> None:
        pause_ms = self._pause_ms * _PAUSE_GROWTH**self._memory.healing.attempts
        turn.effects.append(SetTimer(HEALING_TIMER, turn.now_ms + pause_ms))

    def _faulted(self) -> list[int]:
        memory = self._memory
        safe_mode = memory.quirks()[1].station_faulted == "safe_mode"
        faulted = {
            connector.id
            for connector in memory.connectors.values()
            if connector.status is ConnectorStatus.FAULTED and (connector.id or not safe_mode)
        }
        faulted.update(alarm.evse_id for alarm in memory.alarms if alarm.fault)
        return sorted(faulted)

    def _delivering(self) -> bool:
        """Whether a session draws power, or may do so for all we know, or waits for us: one that
        was given no current draws none."""
        for session in self._memory.open_sessions():
            connector = self._memory.connectors.get(session.connector_id)
            if connector is None or connector.power_w is None or connector.power_w != 0:
                return True
            if not connector.limit_ma:
                return True
        return False
