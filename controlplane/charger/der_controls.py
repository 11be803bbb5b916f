"""The DER controls that a charger has, as far as it accepted, reported and began them.

The invariants: a control is known once the station accepted or reported it and until it says that
it is gone, also by leaving it out of a report that it belongs in; an alarm stands until the station
ends it; every alarm, begin and end is in the journal before it is acknowledged, and a repetition of
one is not there twice."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

import msgspec

from controlplane.charger.memory import ChargerMemory, DerReportAsked
from controlplane.charger.turn import Turn
from controlplane.ocpp.commands import ClearDerControl, GetDerControls, SetDerControl
from controlplane.ocpp.der import (
    CONTROLS_MAX,
    DerAlarm,
    DerAlarmed,
    DerControl,
    DerReported,
    DerStarted,
)
from controlplane.ocpp.dialect import Answer, Done

__all__ = [
    "alarmed",
    "control_cleared",
    "control_set",
    "none_found",
    "report_promised",
    "reported",
    "started",
]


_TOLD_MAX: Final = 1_000
"""Controls in one report; of a longer one nobody can say what is left out."""


def alarmed(turn: Turn, memory: ChargerMemory, event: DerAlarmed) -> Answer:
    """A protection acts, or does no more (R05)."""
    key = f"{event.kind.value}/{event.fault}"
    at_ms = turn.now_ms if event.at_ms is None else event.at_ms
    known = memory.der_alarms.get(key)
    if event.ended:
        if memory.der_alarms.pop(key, None) is not None:
            turn.changed = True
    else:
        if known is not None and known.at_ms == at_ms:
            return Done()
        memory.der_alarms[key] = DerAlarm(event.kind, event.fault, at_ms, event.info)
        turn.changed = True
    turn.emit(
        "der.alarm_ended" if event.ended else "der.alarm",
        control_kind=event.kind.value,
        fault=event.fault,
        at_ms=at_ms,
        info=event.info,
    )
    return Done()


def started(turn: Turn, memory: ChargerMemory, event: DerStarted) -> Answer:
    """A scheduled control began or ended (R04); what it stood over is in force again at its
    end."""
    control = memory.der_controls.get(event.control_id)
    if control is not None and control.started == event.started:
        return Done()
    if control is not None:
        _keep(turn, memory, msgspec.structs.replace(control, started=event.started))
    for control_id in event.superseded_ids:
        _supersede(turn, memory, control_id, superseded=event.started)
    turn.emit(
        "der.started" if event.started else "der.ended",
        control_id=event.control_id,
        at_ms=turn.now_ms if event.at_ms is None else event.at_ms,
        superseded_ids=list(event.superseded_ids),
    )
    return Done()


def report_promised(turn: Turn, memory: ChargerMemory, command: GetDerControls) -> None:
    """The station will report what matches."""
    memory.der_report = DerReportAsked(
        command.request_id, command.is_default, command.kind, command.control_id
    )
    turn.changed = True


def none_found(
    turn: Turn, memory: ChargerMemory, command: ClearDerControl | GetDerControls
) -> None:
    """The station has no control that matches."""
    _forget(turn, memory, command, told=())


def reported(turn: Turn, memory: ChargerMemory, event: DerReported) -> Answer:
    """What the station has counts, whoever set it, and so does what it has not."""
    asked = memory.der_report
    if asked is not None and asked.request_id == event.request_id:
        asked.told = [*asked.told, *(each.control_id for each in event.controls)]
        turn.changed = True
        if len(asked.told) > _TOLD_MAX:
            memory.der_report = None
        elif not event.more:
            memory.der_report = None
            _forget(turn, memory, asked, told=asked.told)
    for control in event.controls:
        known = memory.der_controls.get(control.control_id)
        begun = None if known is None else known.started
        _keep(turn, memory, msgspec.structs.replace(control, started=begun))
    turn.emit(
        "der.reported",
        request_id=event.request_id,
        more=event.more,
        controls=[_in_words(control) for control in event.controls],
    )
    return Done()


def control_set(
    turn: Turn, memory: ChargerMemory, command: SetDerControl, payload: dict[str, Any]
) -> None:
    """The station accepted a control, and says which others it now stands over."""
    control = DerControl(command.control_id, command.kind, command.is_default, command.setting)
    _keep(turn, memory, control)
    superseded = [str(control_id)[:36] for control_id in payload.get("supersededIds", ())]
    for control_id in superseded:
        _supersede(turn, memory, control_id, superseded=True)
    turn.emit("der.set", control=_in_words(control), superseded_ids=superseded)


def control_cleared(turn: Turn, memory: ChargerMemory, command: ClearDerControl) -> None:
    """The station accepted that controls are gone."""
    _forget(turn, memory, command, told=())


def _forget(
    turn: Turn,
    memory: ChargerMemory,
    which: ClearDerControl | GetDerControls | DerReportAsked,
    *,
    told: Iterable[str],
) -> None:
    """What matches and was not told of is not in the station."""
    gone = [
        control.control_id
        for control in memory.der_controls.values()
        if which.is_default in (None, control.is_default)
        and which.kind in (None, control.kind)
        and which.control_id in (None, control.control_id)
        and control.control_id not in told
    ]
    for control_id in gone:
        del memory.der_controls[control_id]
        turn.changed = True
    if gone:
        turn.emit("der.cleared", control_ids=gone)


def _keep(turn: Turn, memory: ChargerMemory, control: DerControl) -> None:
    """Remember a control; beyond the bound the one that is longest known goes."""
    controls = memory.der_controls
    if controls.get(control.control_id) == control:
        return
    if control.control_id not in controls and len(controls) >= CONTROLS_MAX:
        del controls[next(iter(controls))]
    controls[control.control_id] = control
    turn.changed = True


def _supersede(turn: Turn, memory: ChargerMemory, control_id: str, *, superseded: bool) -> None:
    control = memory.der_controls.get(control_id)
    if control is not None:
        _keep(turn, memory, msgspec.structs.replace(control, superseded=superseded))


def _in_words(control: DerControl) -> dict[str, Any]:
    words: dict[str, Any] = msgspec.to_builtins(control)
    return words
