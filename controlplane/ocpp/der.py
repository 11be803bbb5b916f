"""Distributed energy resources: how an inverter, in a station or in a vehicle, is to support the
grid (OCPP 2.1 part 2, functional block R; the functions are those of IEEE 1547 and EN 50549).

Values are in the units of those standards; where the specification names one, so does the field. A
control is a default, always in force unless another stands over it, or a scheduled one, which has a
begin and a duration."""

from __future__ import annotations

from enum import StrEnum
from typing import Final

import msgspec

from controlplane.ocpp.events import Event

__all__ = [
    "CONTROLS_MAX",
    "CURVE_POINTS_MAX",
    "DerAlarm",
    "DerAlarmed",
    "DerControl",
    "DerCurve",
    "DerKind",
    "DerReported",
    "DerSetting",
    "DerStarted",
    "DerUnit",
    "DischargeLimit",
    "EnterService",
    "FixedPowerFactor",
    "FixedVar",
    "FrequencyDroop",
    "Gradient",
    "Hysteresis",
    "PowerDuringCessation",
    "ReactivePower",
    "VoltageLimits",
    "setting_of",
]

CURVE_POINTS_MAX: Final = 10
CONTROLS_MAX: Final = 64
"""Controls that are kept for a charger."""


class DerKind(StrEnum):
    """What a control governs (DERControlEnumType)."""

    ENTER_SERVICE = "EnterService"
    FREQ_DROOP = "FreqDroop"
    FREQ_WATT = "FreqWatt"
    FIXED_PF_ABSORB = "FixedPFAbsorb"
    FIXED_PF_INJECT = "FixedPFInject"
    FIXED_VAR = "FixedVar"
    GRADIENTS = "Gradients"
    HF_MUST_TRIP = "HFMustTrip"
    HF_MAY_TRIP = "HFMayTrip"
    HV_MUST_TRIP = "HVMustTrip"
    HV_MOM_CESS = "HVMomCess"
    HV_MAY_TRIP = "HVMayTrip"
    LIMIT_MAX_DISCHARGE = "LimitMaxDischarge"
    LF_MUST_TRIP = "LFMustTrip"
    LV_MUST_TRIP = "LVMustTrip"
    LV_MOM_CESS = "LVMomCess"
    LV_MAY_TRIP = "LVMayTrip"
    POWER_MONITORING_MUST_TRIP = "PowerMonitoringMustTrip"
    VOLT_VAR = "VoltVar"
    VOLT_WATT = "VoltWatt"
    WATT_PF = "WattPF"
    WATT_VAR = "WattVar"


class DerUnit(StrEnum):
    """What a percentage is of (DERUnitEnumType)."""

    NOT_APPLICABLE = "Not_Applicable"
    PCT_MAX_W = "PctMaxW"
    PCT_MAX_VAR = "PctMaxVar"
    PCT_W_AVAIL = "PctWAvail"
    PCT_VAR_AVAIL = "PctVarAvail"
    PCT_EFFECTIVE_V = "PctEffectiveV"


class PowerDuringCessation(StrEnum):
    ACTIVE = "Active"
    REACTIVE = "Reactive"


class Hysteresis(msgspec.Struct, frozen=True):
    """How a vehicle returns to normal after an event: between `low` and `high`, in the unit of the
    curve, for so long, and how fast."""

    high: float | None = None
    low: float | None = None
    delay_s: float | None = None
    gradient_percent_per_s: float | None = None


class ReactivePower(msgspec.Struct, frozen=True):
    """For VoltVar: the reference voltage in percent, and whether and how it follows the grid."""

    reference_percent: float | None = None
    autonomous: bool | None = None
    time_constant: float | None = None


class VoltageLimits(msgspec.Struct, frozen=True):
    """For trip curves: the mean voltage over ten minutes beyond which to trip (EN 50549-1 section
    4.9.3.4), and what is given up while it lasts."""

    mean_10min: float | None = None
    trip_delay: float | None = None
    during_cessation: PowerDuringCessation | None = None


class DerCurve(msgspec.Struct, frozen=True, tag="curve"):
    """`points` are pairs of x and y, 1 to 10. `priority` 0 goes first. Without `start_ms` it counts
    at once, without `duration_s` for good."""

    points: tuple[tuple[float, float], ...] = ()
    y_unit: DerUnit = DerUnit.NOT_APPLICABLE
    priority: int = 0
    response_time_s: float | None = None
    hysteresis: Hysteresis | None = None
    reactive_power: ReactivePower | None = None
    voltage: VoltageLimits | None = None
    start_ms: int | None = None
    duration_s: float | None = None


class EnterService(msgspec.Struct, frozen=True, tag="enter_service"):
    """Between which voltages and frequencies it may connect, and how gently."""

    high_voltage: float = 0.0
    low_voltage: float = 0.0
    high_frequency_hz: float = 0.0
    low_frequency_hz: float = 0.0
    priority: int = 0
    delay: float | None = None
    random_delay: float | None = None
    ramp_rate_s: float | None = None


class FixedPowerFactor(msgspec.Struct, frozen=True, tag="fixed_pf"):
    """`displacement` is cos phi, 0 to 1; `absorbing` reactive power (under-excited) or injecting
    it."""

    displacement: float = 1.0
    absorbing: bool = False
    priority: int = 0
    start_ms: int | None = None
    duration_s: float | None = None


class FixedVar(msgspec.Struct, frozen=True, tag="fixed_var"):
    """-100 (charging) to 100 percent (discharging) of `unit`."""

    setpoint_percent: float = 0.0
    unit: DerUnit = DerUnit.PCT_MAX_VAR
    priority: int = 0
    start_ms: int | None = None
    duration_s: float | None = None


class FrequencyDroop(msgspec.Struct, frozen=True, tag="frequency_droop"):
    """Where power begins to follow the frequency, and by how much (the droop, per unit)."""

    over_frequency_hz: float = 0.0
    under_frequency_hz: float = 0.0
    over_droop: float = 0.0
    under_droop: float = 0.0
    response_time_s: float = 0.0
    priority: int = 0
    start_ms: int | None = None
    duration_s: float | None = None


class Gradient(msgspec.Struct, frozen=True, tag="gradient"):
    """Ramps, by default and after a start; 0 is without a ramp."""

    gradient_s: float = 0.0
    soft_gradient_s: float = 0.0
    priority: int = 0


class DischargeLimit(msgspec.Struct, frozen=True, tag="discharge_limit"):
    """The most that may be fed in, 0 to 100 percent of the rating, and the curve by which to trip
    beyond it."""

    max_percent: float | None = None
    monitoring_curve: DerCurve | None = None
    priority: int = 0
    start_ms: int | None = None
    duration_s: float | None = None


DerSetting = (
    DerCurve
    | EnterService
    | FixedPowerFactor
    | FixedVar
    | FrequencyDroop
    | Gradient
    | DischargeLimit
)

_SETTINGS: Final[dict[DerKind, type[msgspec.Struct]]] = {
    DerKind.ENTER_SERVICE: EnterService,
    DerKind.FREQ_DROOP: FrequencyDroop,
    DerKind.FIXED_PF_ABSORB: FixedPowerFactor,
    DerKind.FIXED_PF_INJECT: FixedPowerFactor,
    DerKind.FIXED_VAR: FixedVar,
    DerKind.GRADIENTS: Gradient,
    DerKind.LIMIT_MAX_DISCHARGE: DischargeLimit,
}


def setting_of(kind: DerKind) -> type[msgspec.Struct]:
    """What a control of this kind is set by; curves, where nothing else is named."""
    return _SETTINGS.get(kind, DerCurve)


class DerControl(msgspec.Struct, frozen=True):
    """A control as a charger has it. `started` is None while it has not said so; `superseded` that
    one of higher priority stands over it."""

    control_id: str
    kind: DerKind
    is_default: bool
    setting: DerSetting
    superseded: bool = False
    started: bool | None = None


class DerAlarm(msgspec.Struct, frozen=True):
    """What a protection saw: `fault` in the specification's word, empty where it was not said."""

    kind: DerKind
    fault: str
    at_ms: int
    info: str = ""


# --- what the station says ------------------------------------------------------------------------


class DerAlarmed(Event, frozen=True, tag="der_alarmed"):
    """R05: a control of this kind acts upon the grid, or (`ended`) does no more."""

    kind: DerKind
    fault: str
    at_ms: int | None
    ended: bool = False
    info: str = ""


class DerStarted(Event, frozen=True, tag="der_started"):
    """R04: a scheduled control began or ended, and which others it stands over meanwhile."""

    control_id: str
    started: bool
    at_ms: int | None
    superseded_ids: tuple[str, ...] = ()


class DerReported(Event, frozen=True, tag="der_reported"):
    """Part of the answer to a question for controls; `more` says that another part follows."""

    request_id: int
    controls: tuple[DerControl, ...]
    more: bool = False
