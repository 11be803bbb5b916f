"""What we can ask of a station, free of any version; the dialects turn each command into a CALL and
its answer into an outcome. One module for each functional block; whoever uses a command takes it
from here."""

from __future__ import annotations

from controlplane.ocpp.commands.battery_swap import (
    RequestBatterySwap,
)
from controlplane.ocpp.commands.charging_profiles import (
    ChargingProfile,
    ClearProfile,
    GetChargingProfiles,
    LimitPeriod,
    ProfilePurpose,
    ScheduleKind,
    SetProfile,
)
from controlplane.ocpp.commands.core import (
    ChangeAvailability,
    ClearLimit,
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
from controlplane.ocpp.commands.der import ClearDerControl, GetDerControls, SetDerControl
from controlplane.ocpp.commands.device_model import (
    ClearVariableMonitoring,
    GetBaseReport,
    GetMonitoringReport,
    GetReport,
    MonitorWanted,
    SetMonitoringBase,
    SetMonitoringLevel,
    SetVariableMonitoring,
)
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
from controlplane.ocpp.commands.event_stream import (
    AdjustStream,
    GetStreams,
)
from controlplane.ocpp.commands.firmware import (
    GetLog,
    LogKind,
    PublishFirmware,
    UnpublishFirmware,
    UpdateFirmware,
)
from controlplane.ocpp.commands.local_list import (
    ClearCache,
    ConfigureAccess,
    GetListBounds,
    GetListVersion,
    ListEntry,
    SendList,
)
from controlplane.ocpp.commands.network_profile import (
    AccessPoint,
    SetNetworkProfile,
    VirtualNetwork,
)
from controlplane.ocpp.commands.payment import (
    NotifyWebPayment,
)
from controlplane.ocpp.commands.repeating import repeatable
from controlplane.ocpp.commands.reservation import CancelReservation, ReserveNow
from controlplane.ocpp.commands.security import (
    CertificateSigned,
    DeleteCertificate,
    GetInstalledCertificates,
    InstallCertificate,
    Leaf,
    SetPassword,
)
from controlplane.ocpp.commands.tariff import (
    ChangeTransactionTariff,
    ClearTariffs,
    GetTariffs,
    SetDefaultTariff,
)
from controlplane.ocpp.commands.v2x import (
    AllowEnergyTransfer,
    SendFrequencySignal,
    SetPowerProfile,
    UpdateSchedule,
    UsePriority,
)

__all__ = [
    "AccessPoint",
    "AdjustStream",
    "AllowEnergyTransfer",
    "AnyCommand",
    "CancelReservation",
    "CertificateSigned",
    "ChangeAvailability",
    "ChangeTransactionTariff",
    "ChargingProfile",
    "ClearCache",
    "ClearDerControl",
    "ClearDisplayMessage",
    "ClearLimit",
    "ClearLimits",
    "ClearProfile",
    "ClearTariffs",
    "ClearVariableMonitoring",
    "Command",
    "CommandResult",
    "CommandState",
    "ConfigureAccess",
    "CustomerCertificate",
    "DeleteCertificate",
    "DisplayMessage",
    "DisplayPriority",
    "DisplayState",
    "GetBaseReport",
    "GetChargingProfiles",
    "GetCompositeSchedule",
    "GetCustomerInformation",
    "GetDerControls",
    "GetDisplayMessages",
    "GetInstalledCertificates",
    "GetListBounds",
    "GetListVersion",
    "GetLog",
    "GetMonitoringReport",
    "GetReport",
    "GetSettings",
    "GetStreams",
    "GetTariffs",
    "GetTransactionStatus",
    "InstallCertificate",
    "Leaf",
    "LimitPeriod",
    "LimitPurpose",
    "ListEntry",
    "LogKind",
    "MessageContent",
    "MonitorWanted",
    "NotifyWebPayment",
    "ProfilePurpose",
    "PublishFirmware",
    "RawCall",
    "RemoteStart",
    "RemoteStop",
    "ReportCommand",
    "RequestBatterySwap",
    "ReserveNow",
    "Reset",
    "ScheduleKind",
    "SendFrequencySignal",
    "SendList",
    "SetDefaultTariff",
    "SetDerControl",
    "SetDisplayMessage",
    "SetLimit",
    "SetMonitoringBase",
    "SetMonitoringLevel",
    "SetNetworkProfile",
    "SetPassword",
    "SetPowerProfile",
    "SetProfile",
    "SetSettings",
    "SetVariableMonitoring",
    "TextFormat",
    "TransferData",
    "Trigger",
    "UnlockConnector",
    "UnpublishFirmware",
    "UpdateCost",
    "UpdateFirmware",
    "UpdateSchedule",
    "UsePriority",
    "VirtualNetwork",
    "repeatable",
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
    | ClearLimit
    | ClearLimits
    | GetCompositeSchedule
    | GetListVersion
    | SendList
    | ClearCache
    | ReserveNow
    | CancelReservation
    | CertificateSigned
    | DeleteCertificate
    | GetInstalledCertificates
    | InstallCertificate
    | SetPassword
    | RawCall
    | GetBaseReport
    | GetReport
    | SetVariableMonitoring
    | ClearVariableMonitoring
    | SetMonitoringBase
    | SetMonitoringLevel
    | GetMonitoringReport
    | SetDisplayMessage
    | GetDisplayMessages
    | ClearDisplayMessage
    | GetCustomerInformation
    | GetTransactionStatus
    | UpdateCost
    | TransferData
    | SetNetworkProfile
    | ClearProfile
    | GetChargingProfiles
    | SetProfile
    | UpdateFirmware
    | PublishFirmware
    | UnpublishFirmware
    | GetLog
    | AllowEnergyTransfer
    | SendFrequencySignal
    | SetPowerProfile
    | UpdateSchedule
    | UsePriority
    | SetDerControl
    | GetDerControls
    | ClearDerControl
    | SetDefaultTariff
    | GetTariffs
    | ClearTariffs
    | ChangeTransactionTariff
    | GetStreams
    | AdjustStream
    | RequestBatterySwap
    | NotifyWebPayment
)
"""Every command; what a field is declared as, so that it can be read back from msgpack."""
