"""Firmware and logs of a 2.x station: part 2 sections L and N01."""

from __future__ import annotations

from typing import Any

from controlplane.ocpp import commands, events
from controlplane.ocpp.commands import CommandResult
from controlplane.ocpp.dialect import Block, judged
from controlplane.ocpp.firmware import (
    log_payload,
    log_progress,
    retry_fields,
    signed_update_payload,
    update_progress,
)

__all__ = ["FIRMWARE"]


def _update(command: commands.UpdateFirmware, _: int) -> dict[str, Any]:
    return signed_update_payload(command)


def _publish(command: commands.PublishFirmware, _: int) -> dict[str, Any]:
    return {
        "location": command.location,
        "checksum": command.checksum,
        "requestId": command.request_id,
        **retry_fields(command),
    }


def _unpublish(command: commands.UnpublishFirmware, _: int) -> dict[str, Any]:
    return {"checksum": command.checksum}


def _log(command: commands.GetLog, _: int) -> dict[str, Any]:
    return log_payload(command)


def _canceled_is_accepted(_: commands.Command, payload: dict[str, Any]) -> CommandResult:
    """What was under way before was given up for this (L01.FR.24, N01.FR.12)."""
    return judged(payload, "AcceptedCanceled")


def _unpublished(_: commands.UnpublishFirmware, payload: dict[str, Any]) -> CommandResult:
    """Without such firmware there is nothing left to do (L04.FR.03)."""
    return judged(payload, "Unpublished", "NoFirmware")


def _published(payload: dict[str, Any]) -> events.FirmwarePublished:
    number = payload.get("requestId")
    return events.FirmwarePublished(
        status=payload["status"],
        request_id=None if number is None else int(number),
        locations=tuple(payload.get("location", ())),
    )


FIRMWARE = Block(
    readers={
        "FirmwareStatusNotification": update_progress,
        "LogStatusNotification": log_progress,
        "PublishFirmwareStatusNotification": _published,
    },
    writers={
        commands.GetLog: ("GetLog", _log),
        commands.PublishFirmware: ("PublishFirmware", _publish),
        commands.UnpublishFirmware: ("UnpublishFirmware", _unpublish),
        commands.UpdateFirmware: ("UpdateFirmware", _update),
    },
    results={
        commands.GetLog: _canceled_is_accepted,
        commands.UnpublishFirmware: _unpublished,
        commands.UpdateFirmware: _canceled_is_accepted,
    },
)
