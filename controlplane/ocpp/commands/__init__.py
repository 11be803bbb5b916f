"""What we can ask of a station, free of any version; the dialects turn each command into a CALL and
its answer into an outcome. One module for each functional block; whoever uses a command takes it
from here."""

from __future__ import annotations

from controlplane.ocpp.commands.charging_profiles import GetChargingProfiles, ProfilePurpose
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
    ReportCommand,
    Reset,
    SetLimit,
    SetSettings,
    Trigger,
    UnlockConnector,
)
from controlplane.ocpp.commands.customer import (
    CustomerCertificate,
    GetCustomerInformation,
    GetTransactionStatus,
    UpdateCost,
)
from controlplane.ocpp.commands.data_transfer import TransferData
from controlplane.ocpp.commands.display import (
    ClearDisplayMessage,
    DisplayMessage,
    DisplayPriority,
    DisplayState,
    GetDisplayMessages,
    MessageContent,
    SetDisplayMessage,
    TextFormat,
)
from controlplane.ocpp.commands.firmware import (
    GetLog,
    LogKind,
    PublishFirmware,
    UnpublishFirmware,
    UpdateFirmware,
)
from controlplane.ocpp.commands.network_profile import (
    AccessPoint,
    SetNetworkProfile,
    VirtualNetwork,
)
from controlplane.ocpp.commands.security import (
    CertificateHash,
    CertificateSigned,
    DeleteCertificate,
    GetInstalledCertificates,
    InstallCertificate,
    SetPassword,
)

__all__ = [
    "AccessPoint",
    "AnyCommand",
    "CertificateHash",
    "CertificateSigned",
    "ChangeAvailability",
    "ClearDisplayMessage",
    "ClearLimits",
    "Command",
    "CommandResult",
    "CommandState",
    "CustomerCertificate",
    "DeleteCertificate",
    "DisplayMessage",
    "DisplayPriority",
    "DisplayState",
    "GetChargingProfiles",
    "GetCompositeSchedule",
    "GetCustomerInformation",
    "GetDisplayMessages",
    "GetInstalledCertificates",
    "GetLog",
    "GetSettings",
    "GetTransactionStatus",
    "InstallCertificate",
    "LimitPurpose",
    "LogKind",
    "MessageContent",
    "ProfilePurpose",
    "PublishFirmware",
    "RawCall",
    "RemoteStart",
    "RemoteStop",
    "ReportCommand",
    "Reset",
    "SetDisplayMessage",
    "SetLimit",
    "SetNetworkProfile",
    "SetPassword",
    "SetSettings",
    "TextFormat",
    "TransferData",
    "Trigger",
    "UnlockConnector",
    "UnpublishFirmware",
    "UpdateCost",
    "UpdateFirmware",
    "VirtualNetwork",
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
    | SetPassword
    | RawCall
    | SetDisplayMessage
    | GetDisplayMessages
    | ClearDisplayMessage
    | GetCustomerInformation
    | GetTransactionStatus
    | UpdateCost
    | TransferData
    | SetNetworkProfile
    | GetChargingProfiles
    | UpdateFirmware
    | PublishFirmware
    | UnpublishFirmware
    | GetLog
)
"""Every command; what a field is declared as, so that it can be read back from msgpack."""
