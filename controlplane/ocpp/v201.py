"""OCPP 2.0.1 to and from domain events and commands.

2.x has string transaction ids that the station makes. Loadstar steers one connector per EVSE, so an
event's `connector_id` is the EVSE number. Use cases named here are those of OCPP 2.0.1 part 2."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from controlplane.ocpp import commands, events
from controlplane.ocpp.commands import Command, CommandResult, CommandState, LimitPurpose
from controlplane.ocpp.dialect import (
    CONNECTOR_MAX,
    SEQ_NO_MAX,
    Answer,
    BootAnswer,
    TimeAnswer,
    TokenAnswer,
    limit_value,
    profile_id,
)
from controlplane.ocpp.events import ConnectorStatus, Event, MeterReading
from controlplane.ocpp.framing import Fault
from controlplane.ocpp.readings import instant_ms, readings, small_integer
from controlplane.units import iso_from_ms

__all__ = ["Dialect201"]

_STATUS: Final = {
    "Available": ConnectorStatus.AVAILABLE,
    "Occupied": ConnectorStatus.OCCUPIED,
    "Reserved": ConnectorStatus.RESERVED,
    "Unavailable": ConnectorStatus.UNAVAILABLE,
    "Faulted": ConnectorStatus.FAULTED,
}
_CHARGING_STATE: Final = {
    "Charging": ConnectorStatus.CHARGING,
    "EVConnected": ConnectorStatus.PREPARING,
    "SuspendedEV": ConnectorStatus.SUSPENDED_EV,
    "SuspendedEVSE": ConnectorStatus.SUSPENDED_EVSE,
    "Idle": ConnectorStatus.OCCUPIED,
}
_PURPOSE: Final = {
    LimitPurpose.TRANSACTION: "TxProfile",
    LimitPurpose.DEFAULT: "TxDefaultProfile",
    LimitPurpose.CHARGER_MAX: "ChargingStationMaxProfile",
}
_NOTICES: Final = frozenset(
    {
        "ClearedChargingLimit",
        "FirmwareStatusNotification",
        "LogStatusNotification",
        "NotifyChargingLimit",
        "NotifyCustomerInformation",
        "NotifyDisplayMessages",
        "NotifyEvent",
        "NotifyMonitoringReport",
        "NotifyReport",
        "PublishFirmwareStatusNotification",
        "ReportChargingProfiles",
        "ReservationStatusUpdate",
        "SecurityEventNotification",
    }
)
_ACCEPTED: Final = frozenset({"Accepted", "Scheduled", "Unlocked", "RebootRequired"})


# --- what the station says ------------------------------------------------------------------------


def _evse(value: Any) -> int:
    return small_integer(value, maximum=CONNECTOR_MAX)


def _booted(payload: dict[str, Any]) -> Event:
    station = payload["chargingStation"]
    return events.Booted(
        vendor=station["vendorName"],
        model=station["model"],
        firmware=station.get("firmwareVersion", ""),
        serial_number=station.get("serialNumber", ""),
        reason=payload["reason"],
    )


def _heartbeat(_: dict[str, Any]) -> Event:
    return events.Heartbeat()


def _status_changed(payload: dict[str, Any]) -> Event:
    return events.StatusChanged(
        connector_id=_evse(payload["evseId"]),
        status=_STATUS[payload["connectorStatus"]],
        error_code="",
        at_ms=instant_ms(payload["timestamp"]),
    )


def _authorize(payload: dict[str, Any]) -> Event:
    token = payload["idToken"]
    return events.Authorize(id_token=token["idToken"], id_token_type=token["type"])


def _metered(payload: dict[str, Any]) -> Event:
    return events.MeterReported(
        connector_id=_evse(payload["evseId"]),
        transaction_id=None,
        readings=readings(payload["meterValue"]),
    )


def _register_wh(taken: tuple[MeterReading, ...], context: str, *, last: bool) -> int | None:
    """The register at the begin or end of a transaction: the reading that says so, else the first
    or last that has one."""
    registers = [reading for reading in taken if reading.energy_wh is not None]
    marked = [reading for reading in registers if reading.context == context] or registers
    if not marked:
        return None
    return marked[-1 if last else 0].energy_wh


def _transaction_event(payload: dict[str, Any]) -> Event:
    info = payload["transactionInfo"]
    evse = payload.get("evse")
    token = payload.get("idToken")
    taken = readings(payload.get("meterValue"))
    connector_id = None if evse is None else _evse(evse["id"])
    at_ms = instant_ms(payload["timestamp"])
    seq_no = small_integer(payload["seqNo"], maximum=SEQ_NO_MAX)
    id_token = None if token is None else token["idToken"]
    offline = payload.get("offline", False)
    charging_state = _CHARGING_STATE.get(info.get("chargingState", ""))
    match payload["eventType"]:
        case "Started":
            return events.TransactionStarted(
                connector_id=connector_id or 0,
                transaction_id=info["transactionId"],
                id_token=id_token,
                at_ms=at_ms,
                meter_start_wh=_register_wh(taken, "Transaction.Begin", last=False),
                seq_no=seq_no,
                charging_state=charging_state,
                offline=offline,
                readings=taken,
                remote_start_id=info.get("remoteStartId"),
            )
        case "Ended":
            return events.TransactionEnded(
                connector_id=connector_id,
                transaction_id=info["transactionId"],
                at_ms=at_ms,
                meter_stop_wh=_register_wh(taken, "Transaction.End", last=True),
                seq_no=seq_no,
                # TransactionType: a missing reason means Local.
                reason=info.get("stoppedReason", "Local"),
                id_token=id_token,
                offline=offline,
                readings=taken,
            )
        case _:
            return events.TransactionUpdated(
                connector_id=connector_id,
                transaction_id=info["transactionId"],
                at_ms=at_ms,
                seq_no=seq_no,
                trigger=payload["triggerReason"],
                charging_state=charging_state,
                id_token=id_token,
                offline=offline,
                readings=taken,
            )


def _data_transferred(payload: dict[str, Any]) -> Event:
    return events.DataTransferred(
        vendor_id=payload["vendorId"],
        message_id=payload.get("messageId", ""),
        data=payload.get("data"),
    )


_EVENTS: Final[dict[str, Callable[[dict[str, Any]], Event]]] = {
    "Authorize": _authorize,
    "BootNotification": _booted,
    "DataTransfer": _data_transferred,
    "Heartbeat": _heartbeat,
    "MeterValues": _metered,
    "StatusNotification": _status_changed,
    "TransactionEvent": _transaction_event,
}


# --- what we ask ----------------------------------------------------------------------------------


def _remote_start(command: commands.RemoteStart) -> dict[str, Any]:
    payload: dict[str, Any] = {
        "remoteStartId": command.remote_start_id,
        "idToken": {"idToken": command.id_token, "type": command.id_token_type},
    }
    if command.connector_id is not None:
        payload["evseId"] = command.connector_id
    return payload


def _availability(command: commands.ChangeAvailability) -> dict[str, Any]:
    payload: dict[str, Any] = {
        "operationalStatus": "Operative" if command.operative else "Inoperative"
    }
    if command.connector_id:
        # G04: without an EVSE the whole station is meant.
        payload["evse"] = {"id": command.connector_id}
    return payload


def _trigger(command: commands.Trigger) -> dict[str, Any]:
    payload: dict[str, Any] = {"requestedMessage": command.message}
    if command.connector_id is not None:
        payload["evse"] = {"id": command.connector_id}
        if command.message == "StatusNotification":
            # F06.FR.12: a status is that of a connector.
            payload["evse"]["connectorId"] = 1
    return payload


def _variable(key: str) -> dict[str, Any] | None:
    """`Component.Variable`, each with an instance in brackets where it has one:
    `SampledDataCtrlr.TxUpdatedInterval`, `SmartChargingCtrlr.LimitChangeSignificance[1]`."""
    component, dot, variable = key.partition(".")
    if not (component and dot and variable):
        return None
    return {"component": _named(component), "variable": _named(variable)}


def _named(text: str) -> dict[str, Any]:
    name, bracket, instance = text.partition("[")
    if bracket and instance.endswith("]"):
        return {"name": name, "instance": instance[:-1]}
    return {"name": text}


def _get_variables(command: commands.GetSettings) -> dict[str, Any] | Fault:
    variables = [_variable(key) for key in command.keys]
    if not variables or None in variables:
        return Fault("FormatViolation", "name variables as Component.Variable")
    return {"getVariableData": variables}


def _set_variables(command: commands.SetSettings) -> dict[str, Any] | Fault:
    data = []
    for key, value in command.settings.items():
        variable = _variable(key)
        if variable is None:
            return Fault("FormatViolation", f"{key[:64]!r} is not of the form Component.Variable")
        data.append({"attributeValue": value, **variable})
    if not data:
        return Fault("FormatViolation", "name at least one variable")
    return {"setVariableData": data}


def _set_limit(command: commands.SetLimit, now_ms: int) -> dict[str, Any]:
    period: dict[str, Any] = {"startPeriod": 0, "limit": limit_value(command)}
    if command.phases < 3:
        # ChargingSchedulePeriodType: left out it means 3.
        period["numberPhases"] = command.phases
    schedule: dict[str, Any] = {
        "id": 1,
        "chargingRateUnit": command.unit,
        "chargingSchedulePeriod": [period],
    }
    profile: dict[str, Any] = {
        "id": profile_id(command.connector_id, command.purpose),
        "stackLevel": 0,
        "chargingProfilePurpose": _PURPOSE[command.purpose],
        # K01.FR.40 and 41: Absolute has a startSchedule, Relative has none. Relative needs no
        # clock, so a station whose clock is wrong applies it at once; K01.FR.38 forbids it for the
        # whole station's limit.
        "chargingProfileKind": "Relative",
        "chargingSchedule": [schedule],
    }
    if command.purpose is LimitPurpose.CHARGER_MAX:
        profile["chargingProfileKind"] = "Absolute"
        schedule["startSchedule"] = iso_from_ms(now_ms)
    if command.purpose is LimitPurpose.TRANSACTION and command.transaction_id:
        profile["transactionId"] = command.transaction_id
    return {"evseId": command.connector_id, "chargingProfile": profile}


class Dialect201:
    """OCPP 2.0.1."""

    version = "ocpp2.0.1"
    handled = frozenset(_EVENTS) | _NOTICES
    notices = _NOTICES
    commanded: dict[type[Command], str] = {  # noqa: RUF012 - read only, as the interface has it
        commands.ChangeAvailability: "ChangeAvailability",
        commands.ClearLimits: "ClearChargingProfile",
        commands.GetCompositeSchedule: "GetCompositeSchedule",
        commands.GetSettings: "GetVariables",
        commands.RemoteStart: "RequestStartTransaction",
        commands.RemoteStop: "RequestStopTransaction",
        commands.Reset: "Reset",
        commands.SetLimit: "SetChargingProfile",
        commands.SetSettings: "SetVariables",
        commands.Trigger: "TriggerMessage",
        commands.UnlockConnector: "UnlockConnector",
    }
    measurands_setting = "SampledDataCtrlr.TxUpdatedMeasurands"
    measurands: tuple[str, ...] = (
        "Current.Import,Power.Active.Import,Energy.Active.Import.Register,SoC",
        "Current.Import,Power.Active.Import,Energy.Active.Import.Register",
        "Power.Active.Import,Energy.Active.Import.Register",
    )

    def event(self, action: str, payload: dict[str, Any]) -> Event | None:
        read = _EVENTS.get(action)
        if read is not None:
            return read(payload)
        return events.Noted(action, payload) if action in _NOTICES else None

    def reply(self, action: str, answer: Answer) -> dict[str, Any]:
        if isinstance(answer, BootAnswer):
            return {
                "currentTime": iso_from_ms(answer.now_ms),
                "interval": answer.interval_s,
                "status": "Accepted" if answer.accepted else "Pending",
            }
        if isinstance(answer, TimeAnswer):
            return {"currentTime": iso_from_ms(answer.now_ms)}
        if isinstance(answer, TokenAnswer):
            return {} if answer.status is None else {"idTokenInfo": {"status": answer.status}}
        if action == "DataTransfer":
            # P02: no vendor's extensions are built in.
            return {"status": "UnknownVendorId"}
        return {}

    def parts(self, command: Command) -> tuple[Command, ...]:
        return (command,)

    def call(self, command: Command, now_ms: int) -> tuple[str, dict[str, Any]] | Fault:
        if isinstance(command, commands.RawCall):
            return command.action, command.payload
        payload = self._payload(command, now_ms)
        return payload if isinstance(payload, Fault) else (self.commanded[type(command)], payload)

    def _payload(self, command: Command, now_ms: int) -> dict[str, Any] | Fault:
        match command:
            case commands.SetLimit():
                return _set_limit(command, now_ms)
            case commands.ClearLimits():
                return {
                    "chargingProfileCriteria": {"chargingProfilePurpose": _PURPOSE[command.purpose]}
                }
            case commands.RemoteStart():
                return _remote_start(command)
            case commands.RemoteStop():
                return {"transactionId": command.transaction_id}
            case commands.Reset():
                return {"type": "Immediate" if command.hard else "OnIdle"}
            case commands.UnlockConnector():
                return {"evseId": command.connector_id, "connectorId": 1}
            case commands.ChangeAvailability():
                return _availability(command)
            case commands.Trigger():
                return _trigger(command)
            case commands.GetSettings():
                return _get_variables(command)
            case commands.SetSettings():
                return _set_variables(command)
            case commands.GetCompositeSchedule():
                return {
                    "evseId": command.connector_id,
                    "duration": command.duration_s,
                    "chargingRateUnit": command.unit,
                }
            case _:
                return Fault("NotImplemented", f"OCPP 2.0.1 has no {type(command).__name__}")

    def result(self, command: Command, payload: dict[str, Any]) -> CommandResult:
        status = str(payload.get("status", ""))
        taken = status in _ACCEPTED or not status
        if isinstance(command, commands.ClearLimits):
            # Unknown: there is no such profile, which is what was wanted.
            taken = True
        elif isinstance(command, commands.SetSettings):
            refused = [
                str(result["attributeStatus"])
                for result in payload["setVariableResult"]
                if result["attributeStatus"] not in _ACCEPTED
            ]
            taken, status = not refused, refused[0] if refused else "Accepted"
        return CommandResult(
            CommandState.ACCEPTED if taken else CommandState.REJECTED, status, payload
        )

    def sampling(self, interval_s: int) -> Command:
        return commands.SetSettings({"SampledDataCtrlr.TxUpdatedInterval": str(interval_s)})

    def main_meter(self, interval_s: int) -> Command:
        return commands.SetSettings(
            {
                "AlignedDataCtrlr.Measurands": "Current.Import,Power.Active.Import",
                "AlignedDataCtrlr.Interval": str(interval_s),
            }
        )
