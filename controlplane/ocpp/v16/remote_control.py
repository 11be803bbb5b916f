"""What a 1.6 station is told to do at once: section 5.11, 5.12, 5.17 and 5.18."""

from __future__ import annotations

from typing import Any, Final

from controlplane.ocpp import commands
from controlplane.ocpp.commands import Command
from controlplane.ocpp.dialect import Block
from controlplane.ocpp.framing import Fault

__all__ = ["REMOTE_CONTROL"]


def _remote_start(command: commands.RemoteStart, _: int) -> dict[str, Any]:
    payload: dict[str, Any] = {"idTag": command.id_token}
    if command.connector_id is not None:
        payload["connectorId"] = command.connector_id
    return payload


def _remote_stop(command: commands.RemoteStop, _: int) -> dict[str, Any] | Fault:
    if not command.transaction_id.isdecimal():
        return Fault("FormationViolation", "transaction ids of OCPP 1.6 are numbers")
    return {"transactionId": int(command.transaction_id)}


class _ExtendedTrigger(Command, frozen=True):
    """The security whitepaper's own way to ask for a message."""

    message: str
    connector_id: int | None


_EXTENDED: Final = {
    "LogStatusNotification": "LogStatusNotification",
    "SignChargePointCertificate": "SignChargePointCertificate",
    "SignChargingStationCertificate": "SignChargePointCertificate",
    "SignedFirmwareStatusNotification": "FirmwareStatusNotification",
}
"""Messages that only ExtendedTriggerMessage can ask for, and what it calls them (security
whitepaper, section 5.3); stations without the whitepaper's extensions know TriggerMessage only."""


def _way_to_trigger(command: commands.Trigger) -> tuple[Command, ...]:
    extended = _EXTENDED.get(command.message)
    if extended is None:
        return (command,)
    return (_ExtendedTrigger(extended, command.connector_id),)


def _trigger(command: commands.Trigger | _ExtendedTrigger, _: int) -> dict[str, Any]:
    payload: dict[str, Any] = {"requestedMessage": command.message}
    if command.connector_id is not None:
        payload["connectorId"] = command.connector_id
    return payload


def _unlock(command: commands.UnlockConnector, _: int) -> dict[str, Any]:
    return {"connectorId": command.connector_id}


REMOTE_CONTROL = Block(
    writers={
        commands.RemoteStart: ("RemoteStartTransaction", _remote_start),
        commands.RemoteStop: ("RemoteStopTransaction", _remote_stop),
        commands.Trigger: ("TriggerMessage", _trigger),
        commands.UnlockConnector: ("UnlockConnector", _unlock),
        _ExtendedTrigger: ("ExtendedTriggerMessage", _trigger),
    },
    parts={commands.Trigger: _way_to_trigger},
)
