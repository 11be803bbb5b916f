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
from controlplane.ocpp.commands.local_list import (
    ClearCache,
    ConfigureAccess,
    GetListBounds,
    GetListVersion,
    ListEntry,
    SendList,
)
from controlplane.ocpp.commands.reservation import CancelReservation, ReserveNow

__all__ = [
    "AnyCommand",
    "CancelReservation",
    "ChangeAvailability",
    "ClearCache",
    "ClearLimits",
    "Command",
    "CommandResult",
    "CommandState",
    "ConfigureAccess",
    "GetCompositeSchedule",
    "GetListBounds",
    "GetListVersion",
    "GetLog",
    "GetSettings",
    "LimitPurpose",
    "ListEntry",
    "LogKind",
    "PublishFirmware",
    "RawCall",
    "RemoteStart",
    "RemoteStop",
    "ReserveNow",
    "Reset",
    "SendList",
    "SetLimit",
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
    | GetListVersion
    | SendList
    | ClearCache
    | ReserveNow
    | CancelReservation
    | RawCall
    | UpdateFirmware
    | PublishFirmware
    | UnpublishFirmware
    | GetLog
)
"""Every command; what a field is declared as, so that it can be read back from msgpack."""
