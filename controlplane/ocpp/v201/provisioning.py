"""A 2.x station makes itself known and is set up: B01 to B12."""

from __future__ import annotations

from typing import Any

from controlplane.ocpp import commands, events
from controlplane.ocpp.commands import CommandResult, CommandState
from controlplane.ocpp.dialect import ACCEPTED, Block, BootAnswer
from controlplane.ocpp.events import Event
from controlplane.ocpp.framing import Fault
from controlplane.ocpp.v201.common import variable_place
from controlplane.ocpp.variables import Attribute, parse_key
from controlplane.units import iso_s_from_ms

__all__ = ["PROVISIONING"]


def _booted(payload: dict[str, Any]) -> Event:
    station = payload["chargingStation"]
    return events.Booted(
        vendor=station["vendorName"],
        model=station["model"],
        firmware=station.get("firmwareVersion", ""),
        serial_number=station.get("serialNumber", ""),
        reason=payload["reason"],
    )


def _boot_reply(answer: BootAnswer) -> dict[str, Any]:
    return {
        "currentTime": iso_s_from_ms(answer.now_ms),
        "interval": answer.interval_s,
        "status": "Accepted" if answer.accepted else "Pending",
    }


def _variable(key: str) -> dict[str, Any] | None:
    found = parse_key(key)
    if found is None:
        return None
    name, attribute = found
    place = variable_place(name)
    return place if attribute is Attribute.ACTUAL else {**place, "attributeType": attribute.value}


def _get_variables(command: commands.GetSettings, _: int) -> dict[str, Any] | Fault:
    variables = [_variable(key) for key in command.keys]
    if not variables or None in variables:
        return Fault("FormatViolation", "name variables as Component.Variable")
    return {"getVariableData": variables}


def _set_variables(command: commands.SetSettings, _: int) -> dict[str, Any] | Fault:
    data = []
    for key, value in command.settings.items():
        variable = _variable(key)
        if variable is None:
            return Fault("FormatViolation", f"{key[:64]!r} is not of the form Component.Variable")
        data.append({"attributeValue": value, **variable})
    if not data:
        return Fault("FormatViolation", "name at least one variable")
    return {"setVariableData": data}


def _variables_set(_: commands.SetSettings, payload: dict[str, Any]) -> CommandResult:
    """Accepted if every variable was."""
    refused = [
        str(result["attributeStatus"])
        for result in payload["setVariableResult"]
        if result["attributeStatus"] not in ACCEPTED
    ]
    if refused:
        return CommandResult(CommandState.REJECTED, refused[0], payload)
    return CommandResult(CommandState.ACCEPTED, "Accepted", payload)


def _reset(command: commands.Reset, _: int) -> dict[str, Any]:
    payload: dict[str, Any] = {"type": "Immediate" if command.hard else "OnIdle"}
    if command.resume:
        # Since 2.1; the schema of 2.0.1 refuses it.
        payload["type"] = "ImmediateAndResume"
    if command.connector_id is not None:
        payload["evseId"] = command.connector_id
    return payload


PROVISIONING = Block(
    readers={"BootNotification": _booted},
    replies={BootAnswer: _boot_reply},
    writers={
        commands.GetSettings: ("GetVariables", _get_variables),
        commands.Reset: ("Reset", _reset),
        commands.SetSettings: ("SetVariables", _set_variables),
    },
    results={commands.SetSettings: _variables_set},
)
