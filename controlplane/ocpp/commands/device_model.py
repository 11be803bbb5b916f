"""What a 2.x station is asked of its device model and its monitors (2.0.1 part 2 B07, B08, N02 to
N05). Variables are named by their keys, as in `ocpp.variables`."""

from __future__ import annotations

from typing import Literal

import msgspec

from controlplane.ocpp.commands.core import Command
from controlplane.ocpp.event_streams import StreamRate

__all__ = [
    "ClearVariableMonitoring",
    "GetBaseReport",
    "GetMonitoringReport",
    "GetReport",
    "MonitorWanted",
    "SetMonitoringBase",
    "SetMonitoringLevel",
    "SetVariableMonitoring",
]


class GetBaseReport(Command, frozen=True, tag="get_base_report"):
    """Report a whole inventory: everything that can be set, everything there is, or what is needed
    to judge whether the station is in order. `request_id` 0: the actor gives one."""

    base: Literal["configuration", "full", "summary"] = "full"
    request_id: int = 0


class GetReport(Command, frozen=True, tag="get_report"):
    """Report the components that meet any of `criteria` (Active, Available, Enabled, Problem) and
    the variables that `keys` name; a key without a dot is a whole component."""

    criteria: tuple[str, ...] = ()
    keys: tuple[str, ...] = ()
    request_id: int = 0


class MonitorWanted(msgspec.Struct, frozen=True):
    """A monitor on a variable. `value` is the threshold, the change or the period in seconds that
    `kind` calls for; `severity` is 0, danger, to 9, debug. An id replaces that monitor. The kinds
    that watch the distance to a target, and `stream`, came with 2.1."""

    key: str
    kind: Literal[
        "UpperThreshold",
        "LowerThreshold",
        "Delta",
        "Periodic",
        "PeriodicClockAligned",
        "TargetDelta",
        "TargetDeltaRelative",
    ]
    value: float
    severity: int
    transaction: bool = False
    """Only during transactions."""
    monitor_id: int | None = None
    stream: StreamRate | None = None
    """Values are to come in a stream that the station opens, and not in events (N11)."""


class SetVariableMonitoring(Command, frozen=True, tag="set_monitoring"):
    monitors: tuple[MonitorWanted, ...]


class ClearVariableMonitoring(Command, frozen=True, tag="clear_monitoring"):
    monitor_ids: tuple[int, ...]


class SetMonitoringBase(Command, frozen=True, tag="monitoring_base"):
    """`all` activates what the maker configured, `factory` restores it, `hard_wired` leaves only
    what cannot be removed."""

    base: Literal["all", "factory", "hard_wired"]


class SetMonitoringLevel(Command, frozen=True, tag="monitoring_level"):
    """Report events of this severity and worse only; 0 to 9."""

    severity: int


class GetMonitoringReport(Command, frozen=True, tag="get_monitoring_report"):
    """Report monitors of `criteria` (ThresholdMonitoring, DeltaMonitoring, PeriodicMonitoring) on
    what `keys` name; of both everything where empty."""

    criteria: tuple[str, ...] = ()
    keys: tuple[str, ...] = ()
    request_id: int = 0
