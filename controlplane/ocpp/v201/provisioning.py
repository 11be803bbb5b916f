"""A 2.x station makes itself known and is set up: B01 to B12."""

from __future__ import annotations

from typing import Any

from controlplane.ocpp import commands, events
from controlplane.ocpp.commands import CommandResult, CommandState
from controlplane.ocpp.dialect import ACCEPTED, Block, BootAnswer
from controlplane.ocpp.events import Event
from controlplane.ocpp.framing import Fault
from controlplane.units import iso_from_ms

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
        "currentTime": iso_from_ms(answer.now_ms),
        "interval": answer.interval_s,
        "status": "Accepted" if answer.accepted else "Pending",
    }


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
    return {"type": "Immediate" if command.hard else "OnIdle"}


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
