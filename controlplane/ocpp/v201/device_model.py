"""The device model of a 2.x station, its monitors, and what they tell: B07, B08, N02 to N05 and
N07."""

from __future__ import annotations

from typing import Any, Final

from controlplane.ocpp import commands, events
from controlplane.ocpp.commands import CommandResult, CommandState
from controlplane.ocpp.dialect import SEQ_NO_MAX, Block, judged
from controlplane.ocpp.events import Event
from controlplane.ocpp.framing import Fault
from controlplane.ocpp.readings import instant_ms, small_integer
from controlplane.ocpp.shapes import WHOLE
from controlplane.ocpp.v201.common import variable_name, variable_place
from controlplane.ocpp.variables import (
    Attribute,
    Characteristics,
    Mutability,
    ReportedAttribute,
    ReportedVariable,
    VariableName,
    parse_key,
)

__all__ = ["DEVICE_MODEL"]

_REPORT_BASE: Final = {
    "configuration": "ConfigurationInventory",
    "full": "FullInventory",
    "summary": "SummaryInventory",
}
_MONITORING_BASE: Final = {
    "all": "All",
    "factory": "FactoryDefault",
    "hard_wired": "HardWiredOnly",
}
_ID_MAX: Final = 2**53


# --- what the station says ------------------------------------------------------------------------


def _part(payload: dict[str, Any]) -> events.ReportPart:
    """The place of a message in its report."""
    return events.ReportPart(
        request_id=small_integer(payload.get("requestId", 0), maximum=_ID_MAX),
        seq_no=small_integer(payload["seqNo"], maximum=SEQ_NO_MAX),
        more=payload.get("tbc", False),
    )


def _attribute(payload: dict[str, Any]) -> ReportedAttribute:
    # VariableAttributeType: left out they mean Actual and ReadWrite.
    return ReportedAttribute(
        attribute=Attribute(payload.get("type", Attribute.ACTUAL)),
        value=payload.get("value"),
        mutability=Mutability(payload.get("mutability", Mutability.READ_WRITE)),
        persistent=payload.get("persistent", False),
        constant=payload.get("constant", False),
    )


def _characteristics(payload: dict[str, Any] | None) -> Characteristics | None:
    if payload is None:
        return None
    return Characteristics(
        data_type=payload["dataType"],
        unit=payload.get("unit", ""),
        limit_min=payload.get("minLimit"),
        limit_max=payload.get("maxLimit"),
        values=payload.get("valuesList", ""),
        supports_monitoring=payload["supportsMonitoring"],
    )


def _variables_reported(payload: dict[str, Any]) -> Event:
    return events.VariablesReported(
        part=_part(payload),
        variables=tuple(
            ReportedVariable(
                name=variable_name(reported),
                attributes=tuple(map(_attribute, reported["variableAttribute"])),
                characteristics=_characteristics(reported.get("variableCharacteristics")),
            )
            for reported in payload.get("reportData", ())
        ),
    )


def _monitors_reported(payload: dict[str, Any]) -> Event:
    return events.MonitorsReported(
        part=_part(payload),
        monitors=tuple(
            events.Monitor(
                monitor_id=small_integer(monitor["id"], maximum=_ID_MAX),
                name=variable_name(reported),
                kind=monitor["type"],
                value=monitor["value"],
                severity=small_integer(monitor["severity"], maximum=9),
                transaction=monitor["transaction"],
            )
            for reported in payload.get("monitor", ())
            for monitor in reported["variableMonitoring"]
        ),
    )


def _noticed(payload: dict[str, Any]) -> Event:
    return events.VariablesNoticed(
        seq_no=small_integer(payload["seqNo"], maximum=SEQ_NO_MAX),
        notices=tuple(
            events.VariableNotice(
                event_id=small_integer(notice["eventId"], maximum=_ID_MAX),
                name=variable_name(notice),
                value=notice["actualValue"],
                trigger=notice["trigger"],
                at_ms=instant_ms(notice["timestamp"]),
                cleared=notice.get("cleared", False),
                cause=notice.get("cause"),
                monitor_id=WHOLE.read(notice.get("variableMonitoringId")),
                # 2.1 says it; before, only the monitor knows.
                severity=WHOLE.read(notice.get("severity")),
                transaction_id=notice.get("transactionId", ""),
                tech_code=notice.get("techCode", ""),
                tech_info=notice.get("techInfo", ""),
            )
            for notice in payload["eventData"]
        ),
    )


# --- what we ask ----------------------------------------------------------------------------------


def _get_base_report(command: commands.GetBaseReport, _: int) -> dict[str, Any]:
    return {"requestId": command.request_id, "reportBase": _REPORT_BASE[command.base]}


def _wanted(keys: tuple[str, ...]) -> list[dict[str, Any]] | Fault:
    """Variables and whole components, as both reports want them named."""
    wanted = []
    for key in keys:
        found = parse_key(key)
        if found is not None:
            wanted.append(variable_place(found[0]))
        elif key and "." not in key:
            wanted.append(variable_place(VariableName(component=key, variable="")))
        else:
            return Fault("FormatViolation", f"{key[:64]!r} is neither a component nor a variable")
    return wanted


def _get_report(command: commands.GetReport, _: int) -> dict[str, Any] | Fault:
    wanted = _wanted(command.keys)
    if isinstance(wanted, Fault):
        return wanted
    payload: dict[str, Any] = {"requestId": command.request_id}
    if command.criteria:
        payload["componentCriteria"] = list(command.criteria)
    if wanted:
        payload["componentVariable"] = wanted
    return payload


def _get_monitoring_report(command: commands.GetMonitoringReport, _: int) -> dict[str, Any] | Fault:
    wanted = _wanted(command.keys)
    if isinstance(wanted, Fault):
        return wanted
    payload: dict[str, Any] = {"requestId": command.request_id}
    if command.criteria:
        payload["monitoringCriteria"] = list(command.criteria)
    if wanted:
        payload["componentVariable"] = wanted
    return payload


def _set_monitoring(command: commands.SetVariableMonitoring, _: int) -> dict[str, Any] | Fault:
    data = []
    for monitor in command.monitors:
        found = parse_key(monitor.key)
        if found is None:
            return Fault(
                "FormatViolation", f"{monitor.key[:64]!r} is not of the form Component.Variable"
            )
        item: dict[str, Any] = {
            "value": monitor.value,
            "type": monitor.kind,
            "severity": monitor.severity,
            "transaction": monitor.transaction,
            **variable_place(found[0]),
        }
        if monitor.monitor_id is not None:
            item["id"] = monitor.monitor_id
        if monitor.stream is not None:
            # Since 2.1; the schema of 2.0.1 refuses it.
            rate = {"interval": monitor.stream.interval_s, "values": monitor.stream.values}
            item["periodicEventStream"] = {
                name: value for name, value in rate.items() if value is not None
            }
        data.append(item)
    return {"setMonitoringData": data}


def _monitoring_set(_: commands.SetVariableMonitoring, payload: dict[str, Any]) -> CommandResult:
    """Accepted if every monitor was."""
    return _all_accepted(payload, "setMonitoringResult")


def _clear_monitoring(command: commands.ClearVariableMonitoring, _: int) -> dict[str, Any]:
    return {"id": list(command.monitor_ids)}


def _monitoring_cleared(
    _: commands.ClearVariableMonitoring, payload: dict[str, Any]
) -> CommandResult:
    # NotFound: there is no such monitor, which is what was wanted.
    return _all_accepted(payload, "clearMonitoringResult", "NotFound")


def _all_accepted(payload: dict[str, Any], results: str, *also: str) -> CommandResult:
    statuses = [str(result["status"]) for result in payload[results]]
    refused = [status for status in statuses if status != "Accepted" and status not in also]
    if refused:
        return CommandResult(CommandState.REJECTED, refused[0], payload)
    return CommandResult(CommandState.ACCEPTED, "Accepted", payload)


def _reported(_: commands.Command, payload: dict[str, Any]) -> CommandResult:
    # EmptyResultSet: nothing is so, which is an answer.
    return judged(payload, "EmptyResultSet")


def _monitoring_base(command: commands.SetMonitoringBase, _: int) -> dict[str, Any]:
    return {"monitoringBase": _MONITORING_BASE[command.base]}


def _monitoring_level(command: commands.SetMonitoringLevel, _: int) -> dict[str, Any]:
    return {"severity": command.severity}


DEVICE_MODEL: Final = Block(
    readers={
        "NotifyEvent": _noticed,
        "NotifyMonitoringReport": _monitors_reported,
        "NotifyReport": _variables_reported,
    },
    writers={
        commands.ClearVariableMonitoring: ("ClearVariableMonitoring", _clear_monitoring),
        commands.GetBaseReport: ("GetBaseReport", _get_base_report),
        commands.GetMonitoringReport: ("GetMonitoringReport", _get_monitoring_report),
        commands.GetReport: ("GetReport", _get_report),
        commands.SetMonitoringBase: ("SetMonitoringBase", _monitoring_base),
        commands.SetMonitoringLevel: ("SetMonitoringLevel", _monitoring_level),
        commands.SetVariableMonitoring: ("SetVariableMonitoring", _set_monitoring),
    },
    results={
        commands.ClearVariableMonitoring: _monitoring_cleared,
        commands.GetBaseReport: _reported,
        commands.GetMonitoringReport: _reported,
        commands.GetReport: _reported,
        commands.SetVariableMonitoring: _monitoring_set,
    },
)
