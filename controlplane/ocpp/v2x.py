"""Power in both directions: schedules that change while they run, operation modes, priority (OCPP
2.1 part 2, functional blocks K and Q).

Values of a schedule are in the unit of its profile, watts or amperes: positive charges the vehicle,
negative discharges it. Where only the first of three phases is given, it is the sum for power and
each phase's own for current."""

from __future__ import annotations

from enum import StrEnum
from typing import Literal

import msgspec

from controlplane.ocpp.events import Event

__all__ = [
    "EnergyTransfer",
    "OperationMode",
    "PhaseValues",
    "PowerProfile",
    "PowerPurpose",
    "PriorityNotified",
    "ProfileKind",
    "ScheduleAsked",
    "ScheduleValues",
    "SetpointPeriod",
]


class EnergyTransfer(StrEnum):
    """EnergyTransferModeEnumType; BPT is power in both directions."""

    AC_SINGLE_PHASE = "AC_single_phase"
    AC_TWO_PHASE = "AC_two_phase"
    AC_THREE_PHASE = "AC_three_phase"
    DC = "DC"
    AC_BPT = "AC_BPT"
    AC_BPT_DER = "AC_BPT_DER"
    AC_DER = "AC_DER"
    DC_BPT = "DC_BPT"
    DC_ACDP = "DC_ACDP"
    DC_ACDP_BPT = "DC_ACDP_BPT"
    WPT = "WPT"


class OperationMode(StrEnum):
    """Who decides on the power (OperationModeEnumType)."""

    IDLE = "Idle"
    CHARGING_ONLY = "ChargingOnly"
    CENTRAL_SETPOINT = "CentralSetpoint"
    EXTERNAL_SETPOINT = "ExternalSetpoint"
    EXTERNAL_LIMITS = "ExternalLimits"
    CENTRAL_FREQUENCY = "CentralFrequency"
    LOCAL_FREQUENCY = "LocalFrequency"
    LOCAL_LOAD_BALANCING = "LocalLoadBalancing"


class PowerPurpose(StrEnum):
    """Those of ChargingProfilePurposeEnumType that a CSMS may set."""

    STATION_MAX = "ChargingStationMaxProfile"
    DEFAULT = "TxDefaultProfile"
    TRANSACTION = "TxProfile"
    PRIORITY = "PriorityCharging"
    LOCAL_GENERATION = "LocalGeneration"


class ProfileKind(StrEnum):
    """`DYNAMIC` profiles have one period, whose values are replaced as time goes by."""

    ABSOLUTE = "Absolute"
    RELATIVE = "Relative"
    DYNAMIC = "Dynamic"


class PhaseValues(msgspec.Struct, frozen=True):
    """One value, or one a phase."""

    first: float
    l2: float | None = None
    l3: float | None = None


class ScheduleValues(msgspec.Struct, frozen=True):
    """What a vehicle may and should do; None where that is not decided. `discharge_limit` is 0 or
    less. The setpoint is followed within the limits."""

    limit: PhaseValues | None = None
    discharge_limit: PhaseValues | None = None
    setpoint: PhaseValues | None = None
    setpoint_reactive: PhaseValues | None = None


class SetpointPeriod(msgspec.Struct, frozen=True):
    """A part of a schedule, from `start_s` after its begin to the next one. The curves are points
    of frequency in Hz or signal and power in W, which count on top of `baseline_w`."""

    values: ScheduleValues = ScheduleValues()
    start_s: int = 0
    operation_mode: OperationMode | None = None
    phases: int | None = None
    baseline_w: float | None = None
    frequency_curve: tuple[tuple[float, float], ...] = ()
    signal_curve: tuple[tuple[int, float], ...] = ()
    precondition: bool = False
    sleep: bool = False


class PowerProfile(msgspec.Struct, frozen=True):
    """A charging profile in the words of 2.1. `start_ms` begins an absolute one, now where it is
    None; a dynamic one asks for new values every `update_interval_s`, and counts for
    `offline_max_s` while the station is offline."""

    profile_id: int
    purpose: PowerPurpose
    kind: ProfileKind
    unit: Literal["A", "W"]
    periods: tuple[SetpointPeriod, ...]
    stack_level: int = 0
    transaction_id: str | None = None
    start_ms: int | None = None
    duration_s: int | None = None
    update_interval_s: int | None = None
    offline_max_s: int | None = None
    invalid_after_offline: bool = False


# --- what the station says ------------------------------------------------------------------------


class PriorityNotified(Event, frozen=True, tag="priority_notified"):
    """K22: a driver asked at the station for priority, or it is over."""

    transaction_id: str
    active: bool


class ScheduleAsked(Event, frozen=True, tag="schedule_asked"):
    """K28: the station wants the present values of a dynamic profile."""

    profile_id: int
