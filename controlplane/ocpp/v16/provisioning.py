"""A 1.6 station makes itself known and is set up: section 4.2, 5.3, 5.8 and 5.14."""

from __future__ import annotations

from typing import Any

from controlplane.ocpp import commands, events
from controlplane.ocpp.dialect import Block, BootAnswer
from controlplane.ocpp.events import Event
from controlplane.ocpp.framing import Fault
from controlplane.units import iso_s_from_ms

__all__ = ["PROVISIONING"]


def _booted(payload: dict[str, Any]) -> Event:
    return events.Booted(
        vendor=payload["chargePointVendor"],
        model=payload["chargePointModel"],
        firmware=payload.get("firmwareVersion", ""),
        serial_number=payload.get("chargePointSerialNumber")
        or payload.get("chargeBoxSerialNumber", ""),
    )


def _boot_reply(answer: BootAnswer) -> dict[str, Any]:
    return {
        "status": "Accepted" if answer.accepted else "Pending",
        "currentTime": iso_s_from_ms(answer.now_ms),
        "interval": answer.interval_s,
    }


def _get_settings(command: commands.GetSettings, _: int) -> dict[str, Any]:
    return {"key": list(command.keys)} if command.keys else {}


def _get_all(_: commands.GetBaseReport, __: int) -> dict[str, Any]:
    """Without a key all of them are meant, whichever inventory is asked for (section 5.8)."""
    return {}


def _one_by_one(command: commands.SetSettings) -> tuple[commands.Command, ...]:
    """One setting in each CALL; to name none is for the writer to refuse."""
    if not command.settings:
        return (command,)
    return tuple(commands.SetSettings({key: value}) for key, value in command.settings.items())


def _set_setting(command: commands.SetSettings, _: int) -> dict[str, Any] | Fault:
    if len(command.settings) != 1:
        return Fault("FormationViolation", "name at least one setting")
    ((key, value),) = command.settings.items()
    return {"key": key, "value": value}


def _reset(command: commands.Reset, _: int) -> dict[str, Any] | Fault:
    if command.connector_id is not None or command.resume:
        return Fault("NotImplemented", "OCPP 1.6 restarts the whole charger, and resumes nothing")
    return {"type": "Hard" if command.hard else "Soft"}


PROVISIONING = Block(
    readers={"BootNotification": _booted},
    replies={BootAnswer: _boot_reply},
    writers={
        commands.GetBaseReport: ("GetConfiguration", _get_all),
        commands.GetSettings: ("GetConfiguration", _get_settings),
        commands.Reset: ("Reset", _reset),
        commands.SetSettings: ("ChangeConfiguration", _set_setting),
    },
    parts={commands.SetSettings: _one_by_one},
)
