"""What a 2.x station is told to do at once: F01 to F06."""

from __future__ import annotations

from typing import Any

from controlplane.ocpp import commands
from controlplane.ocpp.dialect import Block

__all__ = ["REMOTE_CONTROL"]


def _remote_start(command: commands.RemoteStart, _: int) -> dict[str, Any]:
    payload: dict[str, Any] = {
        "remoteStartId": command.remote_start_id,
        "idToken": {"idToken": command.id_token, "type": command.id_token_type},
    }
    if command.connector_id is not None:
        payload["evseId"] = command.connector_id
    return payload


def _remote_stop(command: commands.RemoteStop, _: int) -> dict[str, Any]:
    return {"transactionId": command.transaction_id}


def _trigger(command: commands.Trigger, _: int) -> dict[str, Any]:
    payload: dict[str, Any] = {"requestedMessage": command.message}
    if command.connector_id is not None:
        payload["evse"] = {"id": command.connector_id}
        if command.message == "StatusNotification":
            # F06.FR.12: a status is that of a connector.
            payload["evse"]["connectorId"] = 1
    if command.custom:
        payload["customTrigger"] = command.custom
    return payload


def _unlock(command: commands.UnlockConnector, _: int) -> dict[str, Any]:
    return {"evseId": command.connector_id, "connectorId": 1}


REMOTE_CONTROL = Block(
    writers={
        commands.RemoteStart: ("RequestStartTransaction", _remote_start),
        commands.RemoteStop: ("RequestStopTransaction", _remote_stop),
        commands.Trigger: ("TriggerMessage", _trigger),
        commands.UnlockConnector: ("UnlockConnector", _unlock),
    },
)
