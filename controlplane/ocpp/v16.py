"""OCPP 1.6J, with the security whitepaper's notices, to and from domain events and commands.

1.6 has integer transaction ids that we hand out; in events they are their decimal text. Sections
named here are those of the OCPP 1.6 edition 2 specification."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from controlplane.ocpp import commands, events
from controlplane.ocpp.commands import Command, CommandResult, CommandState, LimitPurpose
from controlplane.ocpp.dialect import (
    CONNECTOR_MAX,
    Answer,
    BootAnswer,
    TimeAnswer,
    TokenAnswer,
    limit_value,
    profile_id,
)
from controlplane.ocpp.events import ConnectorStatus, Event
from controlplane.ocpp.framing import Fault
from controlplane.ocpp.readings import energy_wh, instant_ms, readings, small_integer
from controlplane.units import iso_from_ms

__all__ = ["Dialect16"]

_STATUS: Final = {
    "Available": ConnectorStatus.AVAILABLE,
    "Preparing": ConnectorStatus.PREPARING,
    "Charging": ConnectorStatus.CHARGING,
    "SuspendedEV": ConnectorStatus.SUSPENDED_EV,
    "SuspendedEVSE": ConnectorStatus.SUSPENDED_EVSE,
    "Finishing": ConnectorStatus.FINISHING,
    "Reserved": ConnectorStatus.RESERVED,
    "Unavailable": ConnectorStatus.UNAVAILABLE,
    "Faulted": ConnectorStatus.FAULTED,
}
_PURPOSE: Final = {
    LimitPurpose.TRANSACTION: "TxProfile",
    LimitPurpose.DEFAULT: "TxDefaultProfile",
    LimitPurpose.CHARGER_MAX: "ChargePointMaxProfile",
}
_NOTICES: Final = frozenset(
    {
        "DiagnosticsStatusNotification",
        "FirmwareStatusNotification",
        "LogStatusNotification",
        "SecurityEventNotification",
        "SignedFirmwareStatusNotification",
    }
)
_ACCEPTED: Final = frozenset({"Accepted", "Scheduled", "Unlocked", "RebootRequired"})


# --- what the station says ------------------------------------------------------------------------


def _connector(payload: dict[str, Any]) -> int:
    return small_integer(payload["connectorId"], maximum=CONNECTOR_MAX)


def _transaction(payload: dict[str, Any]) -> str | None:
    number = payload.get("transactionId")
    return None if number is None else str(int(number))


def _booted(payload: dict[str, Any]) -> Event:
    return events.Booted(
        vendor=payload["chargePointVendor"],
        model=payload["chargePointModel"],
        firmware=payload.get("firmwareVersion", ""),
        serial_number=payload.get("chargePointSerialNumber")
        or payload.get("chargeBoxSerialNumber", ""),
    )


def _heartbeat(_: dict[str, Any]) -> Event:
    return events.Heartbeat()


def _status_changed(payload: dict[str, Any]) -> Event:
    error = payload["errorCode"]
    return events.StatusChanged(
        connector_id=_connector(payload),
        status=_STATUS[payload["status"]],
        error_code="" if error == "NoError" else error,
        at_ms=instant_ms(payload.get("timestamp")),
    )


def _authorize(payload: dict[str, Any]) -> Event:
    return events.Authorize(id_token=payload["idTag"])


def _started(payload: dict[str, Any]) -> Event:
    return events.TransactionStarted(
        connector_id=_connector(payload),
        transaction_id=None,
        id_token=payload["idTag"],
        at_ms=instant_ms(payload["timestamp"]),
        meter_start_wh=energy_wh(payload["meterStart"]),
    )


def _ended(payload: dict[str, Any]) -> Event:
    return events.TransactionEnded(
        connector_id=None,
        transaction_id=_transaction(payload) or "",
        at_ms=instant_ms(payload["timestamp"]),
        meter_stop_wh=energy_wh(payload["meterStop"]),
        # Section 6.49: a missing reason means Local.
        reason=payload.get("reason", "Local"),
        id_token=payload.get("idTag"),
        readings=readings(payload.get("transactionData")),
    )


def _metered(payload: dict[str, Any]) -> Event:
    return events.MeterReported(
        connector_id=_connector(payload),
        transaction_id=_transaction(payload),
        readings=readings(payload["meterValue"]),
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
    "StartTransaction": _started,
    "StatusNotification": _status_changed,
    "StopTransaction": _ended,
}


# --- what we ask ----------------------------------------------------------------------------------


def _remote_start(command: commands.RemoteStart) -> dict[str, Any]:
    payload: dict[str, Any] = {"idTag": command.id_token}
    if command.connector_id is not None:
        payload["connectorId"] = command.connector_id
    return payload


def _remote_stop(command: commands.RemoteStop) -> dict[str, Any] | Fault:
    if not command.transaction_id.isdecimal():
        return Fault("FormationViolation", "transaction ids of OCPP 1.6 are numbers")
    return {"transactionId": int(command.transaction_id)}


def _set_setting(command: commands.SetSettings) -> dict[str, Any] | Fault:
    if len(command.settings) != 1:
        return Fault("FormationViolation", "name at least one setting")
    ((key, value),) = command.settings.items()
    return {"key": key, "value": value}


def _trigger(command: commands.Trigger) -> dict[str, Any]:
    payload: dict[str, Any] = {"requestedMessage": command.message}
    if command.connector_id is not None:
        payload["connectorId"] = command.connector_id
    return payload


def _set_limit(command: commands.SetLimit, now_ms: int) -> dict[str, Any]:
    period: dict[str, Any] = {"startPeriod": 0, "limit": limit_value(command)}
    if command.phases < 3:
        # Section 7.14: left out it means 3.
        period["numberPhases"] = command.phases
    schedule: dict[str, Any] = {
        "chargingRateUnit": command.unit,
        "chargingSchedulePeriod": [period],
    }
    profile: dict[str, Any] = {
        "chargingProfileId": profile_id(command.connector_id, command.purpose),
        "stackLevel": 0,
        "chargingProfilePurpose": _PURPOSE[command.purpose],
        # Relative needs no clock: stations that have not synchronised theirs, or whose clock is
        # ahead or behind, apply it at once. The whole charger's limit is relative to nothing, so
        # there it is Absolute.
        "chargingProfileKind": "Relative",
        "chargingSchedule": schedule,
    }
    if command.purpose is LimitPurpose.CHARGER_MAX:
        profile["chargingProfileKind"] = "Absolute"
        schedule["startSchedule"] = iso_from_ms(now_ms)
    transaction_id = command.transaction_id
    if (
        command.purpose is LimitPurpose.TRANSACTION
        and transaction_id
        and transaction_id.isdecimal()
    ):
        profile["transactionId"] = int(transaction_id)
    return {"connectorId": command.connector_id, "csChargingProfiles": profile}


class Dialect16:
    """OCPP 1.6J."""

    version = "ocpp1.6"
    handled = frozenset(_EVENTS) | _NOTICES
    notices = _NOTICES
    commanded: dict[type[Command], str] = {  # noqa: RUF012 - read only, as the interface has it
        commands.ChangeAvailability: "ChangeAvailability",
        commands.ClearLimits: "ClearChargingProfile",
        commands.GetCompositeSchedule: "GetCompositeSchedule",
        commands.GetSettings: "GetConfiguration",
        commands.RemoteStart: "RemoteStartTransaction",
        commands.RemoteStop: "RemoteStopTransaction",
        commands.Reset: "Reset",
        commands.SetLimit: "SetChargingProfile",
        commands.SetSettings: "ChangeConfiguration",
        commands.Trigger: "TriggerMessage",
        commands.UnlockConnector: "UnlockConnector",
    }
    measurands_setting = "MeterValuesSampledData"
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
                "status": "Accepted" if answer.accepted else "Pending",
                "currentTime": iso_from_ms(answer.now_ms),
                "interval": answer.interval_s,
            }
        if isinstance(answer, TimeAnswer):
            return {"currentTime": iso_from_ms(answer.now_ms)}
        if isinstance(answer, TokenAnswer):
            payload: dict[str, Any] = {}
            if answer.transaction_number is not None:
                payload["transactionId"] = answer.transaction_number
            if answer.status is not None:
                payload["idTagInfo"] = {"status": answer.status}
            return payload
        if action == "DataTransfer":
            # Section 4.3: no vendor's extensions are built in.
            return {"status": "UnknownVendorId"}
        return {}

    def parts(self, command: Command) -> tuple[Command, ...]:
        if isinstance(command, commands.SetSettings) and len(command.settings) > 1:
            return tuple(
                commands.SetSettings({key: value}) for key, value in command.settings.items()
            )
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
                return {"chargingProfilePurpose": _PURPOSE[command.purpose]}
            case commands.RemoteStart():
                return _remote_start(command)
            case commands.RemoteStop():
                return _remote_stop(command)
            case commands.Reset():
                return {"type": "Hard" if command.hard else "Soft"}
            case commands.UnlockConnector():
                return {"connectorId": command.connector_id}
            case commands.ChangeAvailability():
                kind = "Operative" if command.operative else "Inoperative"
                return {"connectorId": command.connector_id, "type": kind}
            case commands.Trigger():
                return _trigger(command)
            case commands.GetSettings():
                return {"key": list(command.keys)} if command.keys else {}
            case commands.SetSettings():
                return _set_setting(command)
            case commands.GetCompositeSchedule():
                return {
                    "connectorId": command.connector_id,
                    "duration": command.duration_s,
                    "chargingRateUnit": command.unit,
                }
            case _:
                return Fault("NotImplemented", f"OCPP 1.6 has no {type(command).__name__}")

    def result(self, command: Command, payload: dict[str, Any]) -> CommandResult:
        status = str(payload.get("status", ""))
        taken = status in _ACCEPTED or not status
        if isinstance(command, commands.ClearLimits):
            # Unknown: there is no such profile, which is what was wanted.
            taken = True
        return CommandResult(
            CommandState.ACCEPTED if taken else CommandState.REJECTED, status, payload
        )

    def sampling(self, interval_s: int) -> Command:
        return commands.SetSettings({"MeterValueSampleInterval": str(interval_s)})

    def main_meter(self, interval_s: int) -> Command:
        return commands.SetSettings(
            {
                "MeterValuesAlignedData": "Current.Import,Power.Active.Import",
                "ClockAlignedDataInterval": str(interval_s),
            }
        )
