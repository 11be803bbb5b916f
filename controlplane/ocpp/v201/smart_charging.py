"""Limits of a 2.x station, and what vehicles say of theirs: K01 to K17."""

from __future__ import annotations

from typing import Any, Final

from controlplane.ocpp import commands, events
from controlplane.ocpp.commands import CommandResult, LimitPurpose
from controlplane.ocpp.dialect import (
    ABSOLUTE_START_AGO_MS,
    Block,
    NeedsAnswer,
    StatusAnswer,
    cleared_before_set,
    judged,
    limit_value,
    profile_id,
)
from controlplane.ocpp.events import Event
from controlplane.ocpp.framing import Fault
from controlplane.ocpp.profiles import clear_fault, profile_fault, write_profile, write_schedule
from controlplane.ocpp.readings import bounded_integer, energy_wh, instant_ms, milliamperes
from controlplane.ocpp.schedules import charging_schedule
from controlplane.ocpp.v201.charging_profiles import WORD_OF_PURPOSE
from controlplane.ocpp.v201.common import evse_number
from controlplane.units import iso_s_from_ms

__all__ = ["SMART_CHARGING", "write_limit"]

_PURPOSE: Final = {
    LimitPurpose.TRANSACTION: "TxProfile",
    LimitPurpose.DEFAULT: "TxDefaultProfile",
    LimitPurpose.CHARGER_MAX: "ChargingStationMaxProfile",
}
_PHASES: Final = {"AC_single_phase": 1, "AC_two_phase": 2, "AC_three_phase": 3}


def _charging_needs(payload: dict[str, Any]) -> Event:
    """K15, K17. Zeros count as not said: vehicles fill in what they do not know with them."""
    needs = payload["chargingNeeds"]
    alternating = needs.get("acChargingParameters", {})
    direct = needs.get("dcChargingParameters", {})
    power_max_w = _positive(direct.get("evMaxPower"))
    if power_max_w is None:
        voltage_v, current_a = direct.get("evMaxVoltage", 0), direct.get("evMaxCurrent", 0)
        power_max_w = _positive(voltage_v * current_a)
    capacity_wh = _positive(direct.get("evEnergyCapacity"))
    soc_percent = _percent(direct.get("stateOfCharge"))
    wanted_wh = _positive(alternating.get("energyAmount")) or _positive(direct.get("energyAmount"))
    if wanted_wh is None and capacity_wh is not None and soc_percent is not None:
        wanted_wh = (
            capacity_wh * max(0, (_percent(direct.get("fullSoC")) or 100) - soc_percent) // 100
        )
    return events.ChargingNeedsNotified(
        connector_id=evse_number(payload["evseId"]),
        departure_ms=instant_ms(needs.get("departureTime")),
        energy_wh=wanted_wh,
        current_min_ma=milliamperes(alternating.get("evMinCurrent")),
        current_max_ma=milliamperes(alternating.get("evMaxCurrent")),
        phases=_PHASES.get(needs["requestedEnergyTransfer"]),
        power_max_w=power_max_w,
        soc_percent=soc_percent,
        capacity_wh=capacity_wh,
    )


def _percent(value: Any) -> int | None:
    return None if value is None else bounded_integer(value, most=100)


def _positive(value: Any) -> int | None:
    return energy_wh(value) or None


def _charging_schedule(payload: dict[str, Any]) -> Event:
    return events.VehicleScheduleNotified(
        connector_id=evse_number(payload["evseId"]),
        base_ms=instant_ms(payload["timeBase"]),
        schedule=charging_schedule(payload["chargingSchedule"]),
    )


def _status_reply(answer: NeedsAnswer | StatusAnswer) -> dict[str, Any]:
    return {"status": answer.status}


def _set_limit(command: commands.SetLimit, now_ms: int) -> dict[str, Any] | Fault:
    if command.limit_ma < 0:
        return Fault("NotImplemented", "only OCPP 2.1 has a word for feeding in")
    return write_limit(command, now_ms)


def write_limit(command: commands.SetLimit, now_ms: int) -> dict[str, Any]:
    """The payload of SetChargingProfile for a limit of 0 or more."""
    period: dict[str, Any] = {"startPeriod": 0, "limit": limit_value(command)}
    if command.phases < 3 and command.phases_stated:
        # ChargingSchedulePeriodType: left out it means 3.
        period["numberPhases"] = command.phases
    schedule: dict[str, Any] = {
        "id": 1,
        "chargingRateUnit": command.unit,
        "chargingSchedulePeriod": [period],
    }
    profile: dict[str, Any] = {
        "id": profile_id(command.connector_id, command.purpose),
        "stackLevel": command.stack_level,
        "chargingProfilePurpose": _PURPOSE[command.purpose],
        # K01.FR.40 and 41: Absolute has a startSchedule, Relative has none. Relative needs no
        # clock, so a station whose clock is wrong applies it at once; K01.FR.38 forbids it for the
        # whole station's limit.
        "chargingProfileKind": "Relative" if command.relative else "Absolute",
        "chargingSchedule": [schedule],
    }
    if command.purpose is LimitPurpose.CHARGER_MAX:
        profile["chargingProfileKind"] = "Absolute"
    if profile["chargingProfileKind"] == "Absolute":
        schedule["startSchedule"] = iso_s_from_ms(now_ms - ABSOLUTE_START_AGO_MS)
    if command.purpose is LimitPurpose.TRANSACTION and command.transaction_id:
        profile["transactionId"] = command.transaction_id
    return {"evseId": command.connector_id, "chargingProfile": profile}


def _set_profile(command: commands.SetProfile, now_ms: int) -> dict[str, Any] | Fault:
    fault = profile_fault(command)
    if fault is not None:
        return fault
    profile = command.profile
    written = {
        "id": profile.profile_id,
        "chargingProfilePurpose": WORD_OF_PURPOSE[profile.purpose],
        **write_profile(profile),
        "chargingSchedule": [{"id": 1, **write_schedule(profile, now_ms)}],
    }
    if profile.transaction_id is not None:
        written["transactionId"] = profile.transaction_id
    return {"evseId": command.connector_id, "chargingProfile": written}


def _clear_profile(command: commands.ClearProfile, _: int) -> dict[str, Any] | Fault:
    return clear_fault(command) or {"chargingProfileId": command.profile_id}


def _clear_limit(command: commands.ClearLimit, _: int) -> dict[str, Any]:
    return {"chargingProfileId": profile_id(command.connector_id, command.purpose)}


def _clear_limits(command: commands.ClearLimits, _: int) -> dict[str, Any]:
    return {"chargingProfileCriteria": {"chargingProfilePurpose": _PURPOSE[command.purpose]}}


def _limits_cleared(_: commands.Command, payload: dict[str, Any]) -> CommandResult:
    # Unknown: there is no such profile, which is what was wanted.
    return judged(payload, "Unknown")


def _get_composite_schedule(command: commands.GetCompositeSchedule, _: int) -> dict[str, Any]:
    return {
        "evseId": command.connector_id,
        "duration": command.duration_s,
        "chargingRateUnit": command.unit,
    }


SMART_CHARGING = Block(
    readers={
        "NotifyEVChargingNeeds": _charging_needs,
        "NotifyEVChargingSchedule": _charging_schedule,
    },
    replies={NeedsAnswer: _status_reply, StatusAnswer: _status_reply},
    writers={
        commands.ClearLimit: ("ClearChargingProfile", _clear_limit),
        commands.ClearLimits: ("ClearChargingProfile", _clear_limits),
        commands.ClearProfile: ("ClearChargingProfile", _clear_profile),
        commands.GetCompositeSchedule: ("GetCompositeSchedule", _get_composite_schedule),
        commands.SetLimit: ("SetChargingProfile", _set_limit),
        commands.SetProfile: ("SetChargingProfile", _set_profile),
    },
    parts={commands.SetLimit: cleared_before_set},
    results={commands.ClearLimit: _limits_cleared, commands.ClearLimits: _limits_cleared},
)
