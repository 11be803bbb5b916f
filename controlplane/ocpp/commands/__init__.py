"""What we can ask of a station, free of any version; the dialects turn each command into a CALL and
its answer into an outcome. One module for each functional block; whoever uses a command takes it
from here."""

from __future__ import annotations

from controlplane.ocpp.commands.battery_swap import RequestBatterySwap
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
from controlplane.ocpp.commands.der import (
    ClearDerControl,
    GetDerControls,
    SetDerControl,
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
from controlplane.ocpp.commands.payment import NotifyWebPayment
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
    "AdjustStream",
    "AllowEnergyTransfer",
    "AnyCommand",
    "ChangeAvailability",
    "ChangeTransactionTariff",
    "ClearDerControl",
    "ClearLimits",
    "ClearTariffs",
    "Command",
    "CommandResult",
    "CommandState",
    "GetCompositeSchedule",
    "GetDerControls",
    "GetLog",
    "GetSettings",
    "GetStreams",
    "GetTariffs",
    "LimitPurpose",
    "LogKind",
    "NotifyWebPayment",
    "PublishFirmware",
    "RawCall",
    "RemoteStart",
    "RemoteStop",
    "RequestBatterySwap",
    "Reset",
    "SendFrequencySignal",
    "SetDefaultTariff",
    "SetDerControl",
    "SetLimit",
    "SetPowerProfile",
    "SetSettings",
    "Trigger",
    "UnlockConnector",
    "UnpublishFirmware",
    "UpdateFirmware",
    "UpdateSchedule",
    "UsePriority",
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
    | RawCall
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
    | UpdateFirmware
    | PublishFirmware
    | UnpublishFirmware
    | GetLog
)
"""Every command; what a field is declared as, so that it can be read back from msgpack."""
