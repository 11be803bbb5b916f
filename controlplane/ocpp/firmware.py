"""What every version writes and reads alike about firmware and logs: signed updates and logs have
the same shape in the 1.6 security whitepaper and in 2.x."""

from __future__ import annotations

from typing import Any, Final

from controlplane.ocpp import commands, events
from controlplane.ocpp.commands import LogKind
from controlplane.units import iso_from_ms

__all__ = [
    "LOG_ENDED",
    "UPDATE_ENDED",
    "log_payload",
    "log_progress",
    "retry_fields",
    "signed_update_payload",
    "update_progress",
]

UPDATE_ENDED: Final = frozenset(
    {
        "Installed",
        "DownloadFailed",
        "InstallationFailed",
        "InstallVerificationFailed",
        "InvalidSignature",
    }
)
"""Statuses after which nothing more comes of an update; only the first is a success."""

LOG_ENDED: Final = frozenset(
    {
        "Uploaded",
        "AcceptedCanceled",
        "BadMessage",
        "NotSupportedOperation",
        "PermissionDenied",
        "UploadFailed",
        "UploadFailure",
    }
)
"""Statuses after which nothing more comes of an upload; only the first is a success."""

_LOG_TYPE: Final = {LogKind.DIAGNOSTICS: "DiagnosticsLog", LogKind.SECURITY: "SecurityLog"}


def retry_fields(
    command: commands.UpdateFirmware | commands.PublishFirmware | commands.GetLog,
) -> dict[str, Any]:
    """How often and after how many seconds the station may try again."""
    fields = {"retries": command.retries, "retryInterval": command.retry_interval_s}
    return {name: value for name, value in fields.items() if value is not None}


def signed_update_payload(command: commands.UpdateFirmware) -> dict[str, Any]:
    """UpdateFirmware of 2.x, SignedUpdateFirmware of 1.6."""
    firmware: dict[str, Any] = {
        "location": command.location,
        "retrieveDateTime": iso_from_ms(command.retrieve_ms),
    }
    if command.install_ms is not None:
        firmware["installDateTime"] = iso_from_ms(command.install_ms)
    if command.signature is not None:
        firmware["signingCertificate"] = command.signing_certificate or ""
        firmware["signature"] = command.signature
    return {"requestId": command.request_id, "firmware": firmware, **retry_fields(command)}


def log_payload(command: commands.GetLog) -> dict[str, Any]:
    """GetLog of 2.x and of the security whitepaper."""
    log: dict[str, Any] = {"remoteLocation": command.location}
    if command.oldest_ms is not None:
        log["oldestTimestamp"] = iso_from_ms(command.oldest_ms)
    if command.latest_ms is not None:
        log["latestTimestamp"] = iso_from_ms(command.latest_ms)
    return {
        "logType": _LOG_TYPE[command.kind],
        "requestId": command.request_id,
        "log": log,
        **retry_fields(command),
    }


def update_progress(payload: dict[str, Any]) -> events.FirmwareProgress:
    """FirmwareStatusNotification and SignedFirmwareStatusNotification."""
    return events.FirmwareProgress(payload["status"], _request_id(payload))


def log_progress(payload: dict[str, Any]) -> events.LogProgress:
    """LogStatusNotification and DiagnosticsStatusNotification."""
    return events.LogProgress(payload["status"], _request_id(payload))


def _request_id(payload: dict[str, Any]) -> int | None:
    number = payload.get("requestId")
    return None if number is None else int(number)
