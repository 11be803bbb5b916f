"""What a 2.x station notices of its own variables (N07, N08): alarms that stand until it clears
them, states of its connectors, values.

The invariants: an alarm is one entry however often it is told, and stays over restarts of ours; a
Problem that is true is a fault, which the healing looks after; what is told of a connector's
availability counts like a StatusNotification (G01)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

from controlplane.charger.memory import Alarm, ChargerMemory
from controlplane.charger.turn import Turn
from controlplane.ocpp.events import (
    ConnectorStatus,
    StatusChanged,
    VariableNotice,
    VariablesNoticed,
)
from controlplane.ocpp.variables import VariableName

__all__ = ["Alarms"]

_ALARMS_MAX: Final = 64
"""Alarms that stand at once; the least severe one makes room."""
_LEAST_SEVERE: Final = 9
_AVAILABILITY: Final = {
    "available": ConnectorStatus.AVAILABLE,
    "occupied": ConnectorStatus.OCCUPIED,
    "reserved": ConnectorStatus.RESERVED,
    "unavailable": ConnectorStatus.UNAVAILABLE,
    "faulted": ConnectorStatus.FAULTED,
}


class Alarms:
    """The alarms of one charger. `tell_value` is told every variable's new value."""

    __slots__ = ("_memory", "_tell_value")

    def __init__(
        self,
        memory: ChargerMemory,
        tell_value: Callable[[Turn, VariableName, str | None], None],
    ) -> None:
        self._memory = memory
        self._tell_value = tell_value

    def noticed(self, turn: Turn, event: VariablesNoticed) -> Iterator[StatusChanged]:
        """Take in a NotifyEvent; yields the connectors' states that it tells."""
        for notice in event.notices:
            self._tell_value(turn, notice.name, notice.value)
            status = _availability(notice)
            if status is not None:
                yield status
            elif notice.cleared or _problem(notice) is False:
                self._cleared(turn, notice)
            elif notice.trigger == "Alerting" or _problem(notice):
                self._raised(turn, notice)
            else:
                turn.emit("charger.variable", **_facts(notice))

    def available(self, turn: Turn, connector_id: int) -> None:
        """A connector that is free again works: a station that restarts need not clear what it told
        of it before."""
        alarms = self._memory.alarms
        over = [each for each in alarms if each.fault and each.evse_id == connector_id]
        for alarm in over:
            alarms.remove(alarm)
            turn.changed = True
            turn.emit("charger.alert_cleared", variable=alarm.key, connector_id=connector_id)

    def _severity(self, notice: VariableNotice) -> int | None:
        if notice.severity is not None:
            return notice.severity
        if notice.monitor_id is None:
            return None
        return self._memory.monitor_severity.get(notice.monitor_id)

    def _raised(self, turn: Turn, notice: VariableNotice) -> None:
        alarms = self._memory.alarms
        severity = self._severity(notice)
        alarm = Alarm(
            key=notice.name.key,
            evse_id=notice.name.evse_id,
            severity=severity,
            since_ms=self._memory.clock.correct(notice.at_ms, turn.now_ms),
            value=notice.value[:255],
            trigger=notice.trigger,
            monitor_id=notice.monitor_id,
            fault=_problem(notice) is True,
            transaction_id=notice.transaction_id,
            tech_code=notice.tech_code,
            tech_info=notice.tech_info,
        )
        held = next((each for each in alarms if _same(each, notice)), None)
        turn.emit("charger.alert", severity=severity, repeated=held is not None, **_facts(notice))
        if held is not None:
            alarm.since_ms = held.since_ms
            alarms.remove(held)
        elif len(alarms) >= _ALARMS_MAX:
            alarms.remove(max(alarms, key=lambda each: (not each.fault, _weight(each))))
        alarms.append(alarm)
        turn.changed = True

    def _cleared(self, turn: Turn, notice: VariableNotice) -> None:
        held = [each for each in self._memory.alarms if _same(each, notice)]
        for alarm in held:
            self._memory.alarms.remove(alarm)
            turn.changed = True
        if held or notice.cleared:
            turn.emit("charger.alert_cleared", severity=self._severity(notice), **_facts(notice))


def _weight(alarm: Alarm) -> int:
    return _LEAST_SEVERE if alarm.severity is None else alarm.severity


def _same(alarm: Alarm, notice: VariableNotice) -> bool:
    """Whether an alarm is what a notice speaks of: one monitor, or one variable where no monitor is
    named."""
    if alarm.key != notice.name.key:
        return False
    return notice.monitor_id is None or alarm.monitor_id in (None, notice.monitor_id)


def _problem(notice: VariableNotice) -> bool | None:
    """Whether the component does not work; None where the notice is about something else."""
    if notice.name.variable.casefold() != "problem":
        return None
    return notice.value.casefold() in {"true", "1"}


def _availability(notice: VariableNotice) -> StatusChanged | None:
    """The state of an EVSE, or of one of its connectors, that a notice tells."""
    if notice.name.variable.casefold() != "availabilitystate" or not notice.name.evse_id:
        return None
    status = _AVAILABILITY.get(notice.value.casefold())
    if status is None:
        return None
    return StatusChanged(
        notice.name.evse_id, status, "", notice.at_ms, plug=notice.name.connector_id
    )


def _facts(notice: VariableNotice) -> dict[str, object]:
    """What the journal is told of a notice."""
    return {
        "variable": notice.name.key,
        "connector_id": notice.name.evse_id,
        "value": notice.value[:255],
        "trigger": notice.trigger,
        "event_id": notice.event_id,
        "cause": notice.cause,
        "monitor_id": notice.monitor_id,
        "transaction_id": notice.transaction_id,
        "tech_code": notice.tech_code,
        "tech_info": notice.tech_info,
        "at_ms": notice.at_ms,
    }
