"""What we can ask of a station, free of any version; the dialects turn each command into a CALL and
its answer into an outcome. One module for each functional block; whoever uses a command takes it
from here."""

from __future__ import annotations

from controlplane.ocpp.commands.core import (
    ChangeAvailability,
    ClearLimits,
    Command,
    CommandResult,
    CommandState,
    GetCompositeSchedule,
    GetSettings,
    LimitPurpose,
    RawCall,
    RemoteStart,
    RemoteStop,
    Reset,
    SetLimit,
    SetSettings,
    Trigger,
    UnlockConnector,
)
from controlplane.ocpp.commands.firmware import (
    GetLog,
    LogKind,
    PublishFirmware,
    UnpublishFirmware,
    UpdateFirmware,
)
from controlplane.ocpp.commands.security import (
    CertificateHash,
    CertificateSigned,
    DeleteCertificate,
    GetInstalledCertificates,
    InstallCertificate,
    RenewCertificate,
    SetPassword,
)

__all__ = [
    "AnyCommand",
    "CertificateHash",
    "CertificateSigned",
    "ChangeAvailability",
    "ClearLimits",
    "Command",
    "CommandResult",
    "CommandState",
    "DeleteCertificate",
    "GetCompositeSchedule",
    "GetInstalledCertificates",
    "GetLog",
    "GetSettings",
    "InstallCertificate",
    "LimitPurpose",
    "LogKind",
    "PublishFirmware",
    "RawCall",
    "RemoteStart",
    "RemoteStop",
    "RenewCertificate",
    "Reset",
    "SetLimit",
    "SetPassword",
    "SetSettings",
    "Trigger",
    "UnlockConnector",
    "UnpublishFirmware",
    "UpdateFirmware",
]

AnyCommand = (
    RemoteStart
    | RemoteStop
    | Reset
    | UnlockConnector
    | ChangeAvailability
    | Trigger
    | GetSettings
    | SetSettings
    | SetLimit
    | ClearLimits
    | GetCompositeSchedule
    | CertificateSigned
    | DeleteCertificate
    | GetInstalledCertificates
    | InstallCertificate
    | RenewCertificate
    | SetPassword
    | RawCall
    | UpdateFirmware
    | PublishFirmware
    | UnpublishFirmware
    | GetLog
)
"""Every command; what a field is declared as, so that it can be read back from msgpack."""
