"""Firmware, diagnostics and logs of a 1.6 station: sections 4.4, 4.5, 5.9 and 5.19, and the signed
updates and security logs of the security whitepaper (L01, N01)."""

from __future__ import annotations

from typing import Any

from controlplane.ocpp import commands
from controlplane.ocpp.commands import CommandResult, CommandState, LogKind
from controlplane.ocpp.dialect import Block, judged
from controlplane.ocpp.firmware import (
    log_payload,
    log_progress,
    retry_fields,
    signed_update_payload,
    update_progress,
)
from controlplane.units import iso_from_ms

__all__ = ["FIRMWARE"]


class SignedUpdate(commands.UpdateFirmware, frozen=True, kw_only=True, tag="signed_update"):
    """An update whose signature the station checks; an action of its own in 1.6."""


class GetSecurityLog(commands.GetLog, frozen=True, kw_only=True, tag="get_security_log"):
    """The log that GetDiagnostics does not hold; an action of its own in 1.6."""


def _as_station_takes_it(command: commands.UpdateFirmware) -> tuple[commands.Command, ...]:
    if command.signature is None or isinstance(command, SignedUpdate):
        return (command,)
    return (SignedUpdate(**{name: getattr(command, name) for name in command.__struct_fields__}),)


def _log_as_station_takes_it(command: commands.GetLog) -> tuple[commands.Command, ...]:
    if command.kind is LogKind.DIAGNOSTICS:
        return (command,)
    return (GetSecurityLog(**{name: getattr(command, name) for name in command.__struct_fields__}),)


def _update(command: commands.UpdateFirmware, _: int) -> dict[str, Any]:
    return {
        "location": command.location,
        "retrieveDate": iso_from_ms(command.retrieve_ms),
        **retry_fields(command),
    }


def _signed_update(command: SignedUpdate, _: int) -> dict[str, Any]:
    return signed_update_payload(command)


def _diagnostics(command: commands.GetLog, _: int) -> dict[str, Any]:
    payload: dict[str, Any] = {"location": command.location, **retry_fields(command)}
    if command.oldest_ms is not None:
        payload["startTime"] = iso_from_ms(command.oldest_ms)
    if command.latest_ms is not None:
        payload["stopTime"] = iso_from_ms(command.latest_ms)
    return payload


def _log(command: GetSecurityLog, _: int) -> dict[str, Any]:
    return log_payload(command)


def _diagnostics_answered(_: commands.GetLog, payload: dict[str, Any]) -> CommandResult:
    """Without a file name there is nothing to upload (5.9)."""
    if payload.get("fileName"):
        return CommandResult(CommandState.ACCEPTED, "Accepted", payload)
    return CommandResult(CommandState.REJECTED, "NoFile", payload)


def _canceled_is_accepted(_: commands.Command, payload: dict[str, Any]) -> CommandResult:
    return judged(payload, "AcceptedCanceled")


FIRMWARE = Block(
    readers={
        "DiagnosticsStatusNotification": log_progress,
        "FirmwareStatusNotification": update_progress,
        "LogStatusNotification": log_progress,
        "SignedFirmwareStatusNotification": update_progress,
    },
    writers={
        commands.UpdateFirmware: ("UpdateFirmware", _update),
        SignedUpdate: ("SignedUpdateFirmware", _signed_update),
        commands.GetLog: ("GetDiagnostics", _diagnostics),
        GetSecurityLog: ("GetLog", _log),
    },
    parts={
        commands.UpdateFirmware: _as_station_takes_it,
        commands.GetLog: _log_as_station_takes_it,
    },
    results={
        SignedUpdate: _canceled_is_accepted,
        commands.GetLog: _diagnostics_answered,
        GetSecurityLog: _canceled_is_accepted,
    },
)
