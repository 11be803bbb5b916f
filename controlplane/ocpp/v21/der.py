"""DER control of a 2.1 station: R01 to R05."""

from __future__ import annotations

from itertools import pairwise
from typing import Any, Final

import msgspec

from controlplane.ocpp import commands, der
from controlplane.ocpp.der import DerKind
from controlplane.ocpp.dialect import Block
from controlplane.ocpp.events import Event
from controlplane.ocpp.framing import Fault
from controlplane.ocpp.readings import instant_ms
from controlplane.ocpp.shapes import INSTANT, NUMBER, PLAIN, WHOLE, Codec, Shape, kind, many, one

__all__ = ["DER"]

_PRIORITY: Final = ("priority", WHOLE)
_START: Final = ("startTime", INSTANT)
_DURATION: Final = ("duration", NUMBER)


def _write_point(point: tuple[float, float]) -> dict[str, float]:
    return {"x": point[0], "y": point[1]}


def _read_point(point: dict[str, Any]) -> tuple[float, float] | None:
    x, y = NUMBER.read(point["x"]), NUMBER.read(point["y"])
    return None if x is None or y is None else (x, y)


_CURVE: Final = Shape(
    der.DerCurve,
    points=("curveData", many(Codec(_write_point, _read_point))),
    y_unit=("yUnit", kind(der.DerUnit)),
    priority=_PRIORITY,
    response_time_s=("responseTime", NUMBER),
    hysteresis=(
        "hysteresis",
        one(
            Shape(
                der.Hysteresis,
                high=("hysteresisHigh", NUMBER),
                low=("hysteresisLow", NUMBER),
                delay_s=("hysteresisDelay", NUMBER),
                gradient_percent_per_s=("hysteresisGradient", NUMBER),
            )
        ),
    ),
    reactive_power=(
        "reactivePowerParams",
        one(
            Shape(
                der.ReactivePower,
                reference_percent=("vRef", NUMBER),
                autonomous=("autonomousVRefEnable", PLAIN),
                time_constant=("autonomousVRefTimeConstant", NUMBER),
            )
        ),
    ),
    voltage=(
        "voltageParams",
        one(
            Shape(
                der.VoltageLimits,
                mean_10min=("hv10MinMeanValue", NUMBER),
                trip_delay=("hv10MinMeanTripDelay", NUMBER),
                during_cessation=("powerDuringCessation", kind(der.PowerDuringCessation)),
            )
        ),
    ),
    start_ms=_START,
    duration_s=_DURATION,
)
_ENTER_SERVICE: Final = Shape(
    der.EnterService,
    high_voltage=("highVoltage", NUMBER),
    low_voltage=("lowVoltage", NUMBER),
    high_frequency_hz=("highFreq", NUMBER),
    low_frequency_hz=("lowFreq", NUMBER),
    priority=_PRIORITY,
    delay=("delay", NUMBER),
    random_delay=("randomDelay", NUMBER),
    ramp_rate_s=("rampRate", NUMBER),
)
_FIXED_PF: Final = Shape(
    der.FixedPowerFactor,
    displacement=("displacement", NUMBER),
    absorbing=("excitation", PLAIN),
    priority=_PRIORITY,
    start_ms=_START,
    duration_s=_DURATION,
)
_FIXED_VAR: Final = Shape(
    der.FixedVar,
    setpoint_percent=("setpoint", NUMBER),
    unit=("unit", kind(der.DerUnit)),
    priority=_PRIORITY,
    start_ms=_START,
    duration_s=_DURATION,
)
_DROOP: Final = Shape(
    der.FrequencyDroop,
    over_frequency_hz=("overFreq", NUMBER),
    under_frequency_hz=("underFreq", NUMBER),
    over_droop=("overDroop", NUMBER),
    under_droop=("underDroop", NUMBER),
    response_time_s=("responseTime", NUMBER),
    priority=_PRIORITY,
    start_ms=_START,
    duration_s=_DURATION,
)
_GRADIENT: Final = Shape(
    der.Gradient,
    gradient_s=("gradient", NUMBER),
    soft_gradient_s=("softGradient", NUMBER),
    priority=_PRIORITY,
)
_DISCHARGE_LIMIT: Final = Shape(
    der.DischargeLimit,
    max_percent=("pctMaxDischargePower", NUMBER),
    monitoring_curve=("powerMonitoringMustTrip", one(_CURVE)),
    priority=_PRIORITY,
    start_ms=_START,
    duration_s=_DURATION,
)

_FIELDS: Final[dict[DerKind, tuple[str, Shape]]] = {
    DerKind.ENTER_SERVICE: ("enterService", _ENTER_SERVICE),
    DerKind.FREQ_DROOP: ("freqDroop", _DROOP),
    DerKind.FIXED_PF_ABSORB: ("fixedPFAbsorb", _FIXED_PF),
    DerKind.FIXED_PF_INJECT: ("fixedPFInject", _FIXED_PF),
    DerKind.FIXED_VAR: ("fixedVar", _FIXED_VAR),
    DerKind.GRADIENTS: ("gradient", _GRADIENT),
    DerKind.LIMIT_MAX_DISCHARGE: ("limitMaxDischarge", _DISCHARGE_LIMIT),
}
"""The field of a SetDERControl that sets each kind; all others are curves."""

_REPORTED: Final[dict[str, tuple[DerKind | None, str, Shape]]] = {
    "curve": (None, "curve", _CURVE),
    "enterService": (DerKind.ENTER_SERVICE, "enterService", _ENTER_SERVICE),
    "fixedPFAbsorb": (DerKind.FIXED_PF_ABSORB, "fixedPF", _FIXED_PF),
    "fixedPFInject": (DerKind.FIXED_PF_INJECT, "fixedPF", _FIXED_PF),
    "fixedVar": (DerKind.FIXED_VAR, "fixedVar", _FIXED_VAR),
    "freqDroop": (DerKind.FREQ_DROOP, "freqDroop", _DROOP),
    "gradient": (DerKind.GRADIENTS, "gradient", _GRADIENT),
    "limitMaxDischarge": (DerKind.LIMIT_MAX_DISCHARGE, "limitMaxDischarge", _DISCHARGE_LIMIT),
}
"""The lists of a ReportDERControl: of which kind they are (a curve names its own), and the field of
each element that holds the setting."""


# --- what the station says ------------------------------------------------------------------------


def _alarmed(payload: dict[str, Any]) -> Event:
    return der.DerAlarmed(
        kind=DerKind(payload["controlType"]),
        fault=payload.get("gridEventFault", ""),
        at_ms=instant_ms(payload["timestamp"]),
        ended=payload.get("alarmEnded", False),
        info=payload.get("extraInfo", ""),
    )


def _started(payload: dict[str, Any]) -> Event:
    return der.DerStarted(
        control_id=payload["controlId"],
        started=payload["started"],
        at_ms=instant_ms(payload["timestamp"]),
        superseded_ids=tuple(payload.get("supersededIds", ())),
    )


def _reported(payload: dict[str, Any]) -> Event:
    controls = [
        der.DerControl(
            control_id=given["id"],
            kind=DerKind(given["curveType"]) if of_kind is None else of_kind,
            is_default=given.get("isDefault", True),
            setting=shape.read(given[setting]),
            superseded=given.get("isSuperseded", False),
        )
        for name, (of_kind, setting, shape) in _REPORTED.items()
        for given in payload.get(name, ())
    ]
    return der.DerReported(
        request_id=WHOLE.read(payload["requestId"]) or 0,
        controls=tuple(controls),
        more=payload.get("tbc", False),
    )


# --- what we ask ----------------------------------------------------------------------------------


def _set_control(command: commands.SetDerControl, _: int) -> dict[str, Any] | Fault:
    fault = _fault(command)
    if fault is not None:
        return Fault("PropertyConstraintViolation", fault)
    name, shape = _FIELDS.get(command.kind, ("curve", _CURVE))
    return {
        "isDefault": command.is_default,
        "controlId": command.control_id,
        "controlType": command.kind.value,
        name: shape.write(command.setting),
    }


def _fault(command: commands.SetDerControl) -> str | None:
    """What of a control its schema would let through and no station could follow (R04)."""
    setting: msgspec.Struct = command.setting
    wanted = der.setting_of(command.kind)
    if not isinstance(setting, wanted):
        return f"{command.kind.value} is set by {wanted.__name__}"
    timed = getattr(setting, "start_ms", None) is not None
    lasting = getattr(setting, "duration_s", None) is not None
    if command.is_default and (timed or lasting):
        return "a default control has no begin and no duration"
    if not command.is_default and hasattr(setting, "start_ms") and not (timed and lasting):
        return "a scheduled control has a begin and a duration"
    if isinstance(setting, der.DerCurve):
        if not 1 <= len(setting.points) <= der.CURVE_POINTS_MAX:
            return f"a curve has 1 to {der.CURVE_POINTS_MAX} points"
        if any(later[0] < earlier[0] for earlier, later in pairwise(setting.points)):
            return "the points of a curve go from left to right"
    return None


def _get_controls(command: commands.GetDerControls, _: int) -> dict[str, Any]:
    payload: dict[str, Any] = {"requestId": command.request_id}
    if command.is_default is not None:
        payload["isDefault"] = command.is_default
    return payload | _chosen(command)


def _clear_control(command: commands.ClearDerControl, _: int) -> dict[str, Any]:
    return {"isDefault": command.is_default} | _chosen(command)


def _chosen(command: commands.GetDerControls | commands.ClearDerControl) -> dict[str, Any]:
    chosen: dict[str, Any] = {}
    if command.kind is not None:
        chosen["controlType"] = command.kind.value
    if command.control_id is not None:
        chosen["controlId"] = command.control_id
    return chosen


DER = Block(
    readers={
        "NotifyDERAlarm": _alarmed,
        "NotifyDERStartStop": _started,
        "ReportDERControl": _reported,
    },
    writers={
        commands.ClearDerControl: ("ClearDERControl", _clear_control),
        commands.GetDerControls: ("GetDERControl", _get_controls),
        commands.SetDerControl: ("SetDERControl", _set_control),
    },
)
