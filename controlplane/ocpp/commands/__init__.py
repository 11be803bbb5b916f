"""What we can ask of a station, free of any version; the dialects turn each command into a CALL and
its answer into an outcome. One module for each functional block; whoever uses a command takes it
from here."""

from __future__ import annotations

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
    Reset,
    SetLimit,
    SetSettings,
    Trigger,
    UnlockConnector,
)
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
from controlplane.ocpp.commands.firmware import (
    GetLog,
    LogKind,
    PublishFirmware,
    UnpublishFirmware,
    UpdateFirmware,
)

__all__ = [
    "AnyCommand",
    "ChangeAvailability",
    "ClearLimit",
    "ClearLimits",
    "ClearVariableMonitoring",
    "Command",
    "CommandResult",
    "CommandState",
    "GetBaseReport",
    "GetCompositeSchedule",
    "GetLog",
    "GetMonitoringReport",
    "GetReport",
    "GetSettings",
    "LimitPurpose",
    "LogKind",
    "MonitorWanted",
    "PublishFirmware",
    "RawCall",
    "RemoteStart",
    "RemoteStop",
    "Reset",
    "SetLimit",
    "SetMonitoringBase",
    "SetMonitoringLevel",
    "SetSettings",
    "SetVariableMonitoring",
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
    | ClearLimit
    | ClearLimits
    | GetCompositeSchedule
    | RawCall
    | GetBaseReport
    | GetReport
    | SetVariableMonitoring
    | ClearVariableMonitoring
    | SetMonitoringBase
    | SetMonitoringLevel
    | GetMonitoringReport
    | UpdateFirmware
    | PublishFirmware
    | UnpublishFirmware
    | GetLog
)
"""Every command; what a field is declared as, so that it can be read back from msgpack."""
