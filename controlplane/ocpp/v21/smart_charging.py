"""Limits, setpoints and vehicles' needs at a 2.1 station: K01 to K29, Q01 to Q12."""

from __future__ import annotations

from itertools import pairwise
from typing import Any, Final

import msgspec

from controlplane.ocpp import commands, v2x
from controlplane.ocpp.dialect import (
    ABSOLUTE_START_AGO_MS,
    Block,
    ScheduleAnswer,
    limit_value,
    profile_of,
)
from controlplane.ocpp.events import ChargingNeedsNotified, DischargeAbility, Event
from controlplane.ocpp.framing import Fault
from controlplane.ocpp.readings import energy_wh, milliamperes
from controlplane.ocpp.shapes import NUMBER, WHOLE
from controlplane.ocpp.v2x import PhaseValues, ScheduleValues
from controlplane.ocpp.v201.smart_charging import SMART_CHARGING as SMART_CHARGING_201
from controlplane.ocpp.v201.smart_charging import write_limit
from controlplane.units import MS_PER_S, iso_from_ms, iso_s_from_ms

__all__ = ["SMART_CHARGING"]

_VALUES: Final = {
    "limit": "limit",
    "discharge_limit": "dischargeLimit",
    "setpoint": "setpoint",
    "setpoint_reactive": "setpointReactive",
}
_read_needs_201: Final = SMART_CHARGING_201.readers["NotifyEVChargingNeeds"]
_CURVE_POINTS_MAX: Final = 20
_PERIODS_MAX: Final = 1_024
_OFFLINE_MAX_S: Final = 1
"""For how long a setpoint below 0 counts at a station without a connection."""


# --- what the station says ------------------------------------------------------------------------


def _charging_needs(payload: dict[str, Any]) -> Event:
    """K15, K17, and with ISO 15118-20 K18 to K20 and Q01: power in both directions. What the
    vehicle says in the older words counts first."""
    event = _read_needs_201(payload)
    needs = payload["chargingNeeds"]
    given = needs.get("v2xChargingParameters")
    if given is None or not isinstance(event, ChargingNeedsNotified):
        return event
    return msgspec.structs.replace(
        event,
        power_max_w=event.power_max_w or _phases_w(given, "maxChargePower"),
        energy_wh=event.energy_wh or _least_0(given.get("evTargetEnergyRequest")),
        discharge=_discharge_ability(given, dynamic=needs.get("controlMode") == "DynamicControl"),
    )


def _discharge_ability(given: dict[str, Any], *, dynamic: bool) -> DischargeAbility | None:
    """None for a vehicle that names no discharge at all."""
    ability = DischargeAbility(
        power_min_w=_phases_w(given, "minDischargePower"),
        power_max_w=_phases_w(given, "maxDischargePower"),
        current_min_ma=milliamperes(given.get("minDischargeCurrent")),
        current_max_ma=milliamperes(given.get("maxDischargeCurrent")),
        energy_min_wh=energy_wh(given.get("evMinV2XEnergyRequest")),
        energy_max_wh=energy_wh(given.get("evMaxV2XEnergyRequest")),
        dynamic=dynamic,
    )
    if ability == DischargeAbility(dynamic=dynamic):
        return None
    return msgspec.structs.replace(
        ability, energy_full_wh=_least_0(given.get("evMaxEnergyRequest"))
    )


def _phases_w(given: dict[str, Any], name: str) -> int | None:
    """The sum of the phases; the first field is that sum where it stands alone."""
    parts = [energy_wh(given.get(name + phase)) for phase in ("", "_L2", "_L3")]
    power_w = sum(part for part in parts if part is not None and part > 0)
    return power_w or None


def _least_0(value: Any) -> int | None:
    wanted_wh = energy_wh(value)
    return None if wanted_wh is None else max(0, wanted_wh) or None


def _priority_notified(payload: dict[str, Any]) -> Event:
    return v2x.PriorityNotified(payload["transactionId"], payload["activated"])


def _schedule_asked(payload: dict[str, Any]) -> Event:
    # No profile of ours has a number beyond all bounds; 0 is none either.
    return v2x.ScheduleAsked(WHOLE.read(payload["chargingProfileId"]) or 0)


def _schedule_reply(answer: ScheduleAnswer) -> dict[str, Any]:
    if answer.values is None:
        return {"status": "Rejected", "statusInfo": {"reasonCode": "NotFound"}}
    return {"status": "Accepted", "scheduleUpdate": _write_values(answer.values)}


# --- what we ask ----------------------------------------------------------------------------------


def _write_values(values: ScheduleValues) -> dict[str, Any]:
    written: dict[str, Any] = {}
    for attribute, name in _VALUES.items():
        phases: PhaseValues | None = getattr(values, attribute)
        if phases is not None:
            written[name] = phases.first
            if phases.l2 is not None:
                written[f"{name}_L2"] = phases.l2
            if phases.l3 is not None:
                written[f"{name}_L3"] = phases.l3
    return written


def _values_fault(values: ScheduleValues, *, wanted: bool = True) -> str | None:
    given = [getattr(values, attribute) for attribute in _VALUES]
    if wanted and not any(phases is not None for phases in given):
        return "give a limit, a discharge limit or a setpoint"
    for phases in given:
        if phases is not None and any(
            each is not None and NUMBER.read(each) is None
            for each in (phases.first, phases.l2, phases.l3)
        ):
            return "values are finite numbers"
    return None


def _allow_transfer(command: commands.AllowEnergyTransfer, _: int) -> dict[str, Any]:
    return {
        "transactionId": command.transaction_id,
        "allowedEnergyTransfer": [mode.value for mode in command.modes],
    }


def _signal(command: commands.SendFrequencySignal, _: int) -> dict[str, Any]:
    return {"timestamp": iso_from_ms(command.at_ms), "signal": command.signal}


def _update(command: commands.UpdateSchedule, _: int) -> dict[str, Any] | Fault:
    fault = _values_fault(command.values)
    if fault is not None:
        return Fault("PropertyConstraintViolation", fault)
    return {
        "chargingProfileId": command.profile_id,
        "scheduleUpdate": _write_values(command.values),
    }


def _use_priority(command: commands.UsePriority, _: int) -> dict[str, Any]:
    return {"transactionId": command.transaction_id, "activate": command.active}


def _set_profile(command: commands.SetPowerProfile, now_ms: int) -> dict[str, Any] | Fault:
    profile = command.profile
    fault = _profile_fault(profile)
    if fault is not None:
        return Fault("PropertyConstraintViolation", fault)
    schedule: dict[str, Any] = {
        "id": 1,
        "chargingRateUnit": profile.unit,
        "chargingSchedulePeriod": [_write_period(period) for period in profile.periods],
    }
    if profile.duration_s is not None:
        schedule["duration"] = profile.duration_s
    if profile.kind is v2x.ProfileKind.ABSOLUTE:
        start_ms = now_ms if profile.start_ms is None else profile.start_ms
        schedule["startSchedule"] = iso_from_ms(start_ms)
    written: dict[str, Any] = {
        "id": profile.profile_id,
        "stackLevel": profile.stack_level,
        "chargingProfilePurpose": profile.purpose.value,
        "chargingProfileKind": profile.kind.value,
        "chargingSchedule": [schedule],
    }
    if profile.transaction_id is not None:
        written["transactionId"] = profile.transaction_id
    if profile.update_interval_s is not None:
        written["dynUpdateInterval"] = profile.update_interval_s
    if profile.offline_max_s is not None:
        written["maxOfflineDuration"] = profile.offline_max_s
        written["invalidAfterOfflineDuration"] = profile.invalid_after_offline
    return {"evseId": command.connector_id, "chargingProfile": written}


def _set_limit(command: commands.SetLimit, now_ms: int) -> dict[str, Any]:
    """A limit below 0 is a central setpoint (Q section 2.2) between itself and nothing drawn. It
    ends by itself: after `hold_s`, and for good where the station loses its connection. Then the
    default profile counts, which feeds nothing in."""
    written = write_limit(command, now_ms)
    if command.limit_ma >= 0:
        return written
    value = limit_value(command)
    profile = written["chargingProfile"]
    (schedule,) = profile["chargingSchedule"]
    (period,) = schedule["chargingSchedulePeriod"]
    period |= {
        "operationMode": v2x.OperationMode.CENTRAL_SETPOINT.value,
        "limit": 0,
        "dischargeLimit": value,
        "setpoint": value,
    }
    profile["maxOfflineDuration"] = _OFFLINE_MAX_S
    profile["invalidAfterOfflineDuration"] = True
    if command.hold_s is not None:
        # A duration of a relative schedule would count from the transaction's begin.
        profile["chargingProfileKind"] = v2x.ProfileKind.ABSOLUTE.value
        schedule["startSchedule"] = iso_s_from_ms(now_ms - ABSOLUTE_START_AGO_MS)
        schedule["duration"] = command.hold_s + ABSOLUTE_START_AGO_MS // MS_PER_S
    return written


def _profile_fault(profile: v2x.PowerProfile) -> str | None:
    """What a station would refuse, or take otherwise than it was meant."""
    if profile_of(profile.profile_id)[1] is not None:
        return "this number is one of Loadstar's own: ten times a connector, and 1 to 3"
    if not 1 <= len(profile.periods) <= _PERIODS_MAX:
        return f"a profile has 1 to {_PERIODS_MAX} periods"
    if profile.periods[0].start_s != 0:
        return "the first period begins at 0 (K01.FR.31)"
    starts = [period.start_s for period in profile.periods]
    if any(later <= earlier for earlier, later in pairwise(starts)):
        return "each period begins after the one before it (K01.FR.35)"
    dynamic = profile.kind is v2x.ProfileKind.DYNAMIC
    if dynamic and len(profile.periods) != 1:
        return "a dynamic profile has one period (K28.FR.01)"
    if not dynamic and profile.update_interval_s is not None:
        return "only a dynamic profile has an update interval (K28.FR.04)"
    transaction = profile.purpose is v2x.PowerPurpose.TRANSACTION
    if transaction != (profile.transaction_id is not None):
        return "a transaction's profile, and no other, names its transaction (K01.FR.03)"
    if any(
        len(curve) > _CURVE_POINTS_MAX
        for period in profile.periods
        for curve in (period.frequency_curve, period.signal_curve)
    ):
        return f"a curve has at most {_CURVE_POINTS_MAX} points"
    return next(
        filter(
            None, (_values_fault(period.values) for period in profile.periods if _tells(period))
        ),
        None,
    )


def _tells(period: v2x.SetpointPeriod) -> bool:
    """Whether a period must have values of its own: some modes get theirs elsewhere."""
    return period.operation_mode in (None, v2x.OperationMode.CHARGING_ONLY)


def _write_period(period: v2x.SetpointPeriod) -> dict[str, Any]:
    written: dict[str, Any] = {"startPeriod": period.start_s} | _write_values(period.values)
    if period.operation_mode is not None:
        written["operationMode"] = period.operation_mode.value
    if period.phases is not None:
        written["numberPhases"] = period.phases
    if period.baseline_w is not None:
        written["v2xBaseline"] = period.baseline_w
    if period.frequency_curve:
        written["v2xFreqWattCurve"] = [
            {"frequency": frequency_hz, "power": power_w}
            for frequency_hz, power_w in period.frequency_curve
        ]
    if period.signal_curve:
        written["v2xSignalWattCurve"] = [
            {"signal": signal, "power": power_w} for signal, power_w in period.signal_curve
        ]
    if period.precondition:
        written["preconditioningRequest"] = True
    if period.sleep:
        written["evseSleep"] = True
    return written


SMART_CHARGING = Block(
    readers={
        "NotifyEVChargingNeeds": _charging_needs,
        "NotifyPriorityCharging": _priority_notified,
        "PullDynamicScheduleUpdate": _schedule_asked,
    },
    replies={ScheduleAnswer: _schedule_reply},
    writers={
        commands.AllowEnergyTransfer: ("NotifyAllowedEnergyTransfer", _allow_transfer),
        commands.SendFrequencySignal: ("AFRRSignal", _signal),
        commands.SetLimit: ("SetChargingProfile", _set_limit),
        commands.SetPowerProfile: ("SetChargingProfile", _set_profile),
        commands.UpdateSchedule: ("UpdateDynamicSchedule", _update),
        commands.UsePriority: ("UsePriorityCharging", _use_priority),
    },
)
