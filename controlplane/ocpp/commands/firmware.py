"""Commands about a station's firmware and its logs."""

from __future__ import annotations

from enum import StrEnum

from controlplane.ocpp.commands.core import Command

__all__ = ["GetLog", "LogKind", "PublishFirmware", "UnpublishFirmware", "UpdateFirmware"]


class UpdateFirmware(Command, frozen=True, kw_only=True, tag="update_firmware"):
    """Fetch firmware from `location` from `retrieve_ms` on and install it, from `install_ms` on
    where that is given.

    With `signing_certificate` (PEM) and `signature` (base64) the station checks what it fetched
    before it installs it (2.x part 2 L01; 1.6 security whitepaper L01). `request_id` is 1 to
    2^31 - 1; a plain 1.6 update has none. `version` is what the station will call itself then,
    empty where nobody knows; it is not sent.
    """

    request_id: int
    location: str
    retrieve_ms: int
    install_ms: int | None = None
    retries: int | None = None
    retry_interval_s: int | None = None
    signing_certificate: str | None = None
    signature: str | None = None
    version: str = ""
    campaign_id: str = ""
    """The campaign that is to hear of its progress; it is not sent."""


class PublishFirmware(Command, frozen=True, kw_only=True, tag="publish_firmware"):
    """Fetch firmware and keep it for the stations behind this local controller (2.x L03).
    `checksum` is the MD5 of the file in hexadecimal, as the specification has it."""

    request_id: int
    location: str
    checksum: str
    retries: int | None = None
    retry_interval_s: int | None = None


class UnpublishFirmware(Command, frozen=True, tag="unpublish_firmware"):
    """Keep it no longer (2.x L04)."""

    checksum: str


class LogKind(StrEnum):
    DIAGNOSTICS = "diagnostics"
    SECURITY = "security"


class GetLog(Command, frozen=True, kw_only=True, tag="get_log"):
    """Upload a log to the folder `location`, of the time between `oldest_ms` and `latest_ms` where
    these are given. 1.6 sends diagnostics by GetDiagnostics, which every station has."""

    request_id: int
    kind: LogKind
    location: str
    oldest_ms: int | None = None
    latest_ms: int | None = None
    retries: int | None = None
    retry_interval_s: int | None = None
