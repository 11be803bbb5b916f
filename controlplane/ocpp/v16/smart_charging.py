"""Limits of a 1.6 station: section 5.5, 5.7, 5.16 and 7.13."""

from __future__ import annotations

from typing import Any, Final

from controlplane.ocpp import commands
from controlplane.ocpp.commands import CommandResult, LimitPurpose, ProfilePurpose
from controlplane.ocpp.dialect import (
    ABSOLUTE_START_AGO_MS,
    Block,
    cleared_before_set,
    judged,
    limit_value,
    profile_id,
)
from controlplane.ocpp.framing import Fault
from controlplane.ocpp.profiles import clear_fault, profile_fault, write_profile, write_schedule
from controlplane.units import iso_s_from_ms

__all__ = ["SMART_CHARGING"]

_PURPOSE: Final = {
    LimitPurpose.TRANSACTION: "TxProfile",
    LimitPurpose.DEFAULT: "TxDefaultProfile",
    LimitPurpose.CHARGER_MAX: "ChargePointMaxProfile",
}
_OF_OPERATORS: Final = {ProfilePurpose[purpose.name]: word for purpose, word in _PURPOSE.items()}


def _set_limit(command: commands.SetLimit, now_ms: int) -> dict[str, Any] | Fault:
    if command.limit_ma < 0:
        return Fault("NotImplemented", "only OCPP 2.1 has a word for feeding in")
    period: dict[str, Any] = {"startPeriod": 0, "limit": limit_value(command)}
    if command.phases < 3 and command.phases_stated:
        # Section 7.14: left out it means 3.
        period["numberPhases"] = command.phases
    schedule: dict[str, Any] = {
        "chargingRateUnit": command.unit,
        "chargingSchedulePeriod": [period],
    }
    profile: dict[str, Any] = {
        "chargingProfileId": profile_id(command.connector_id, command.purpose),
        "stackLevel": command.stack_level,
        "chargingProfilePurpose": _PURPOSE[command.purpose],
        # Relative needs no clock: stations that have not synchronised theirs, or whose clock is
        # ahead or behind, apply it at once. The whole charger's limit is relative to nothing, so
        # there it is Absolute.
        "chargingProfileKind": "Relative" if command.relative else "Absolute",
        "chargingSchedule": schedule,
    }
    if command.purpose is LimitPurpose.CHARGER_MAX:
        profile["chargingProfileKind"] = "Absolute"
    if profile["chargingProfileKind"] == "Absolute":
        schedule["startSchedule"] = iso_s_from_ms(now_ms - ABSOLUTE_START_AGO_MS)
    transaction_id = command.transaction_id
    if (
        command.purpose is LimitPurpose.TRANSACTION
        and transaction_id
        and transaction_id.isdecimal()
    ):
        profile["transactionId"] = int(transaction_id)
    return {"connectorId": command.connector_id, "csChargingProfiles": profile}


def _set_profile(command: commands.SetProfile, now_ms: int) -> dict[str, Any] | Fault:
    profile = command.profile
    purpose = _OF_OPERATORS.get(profile.purpose)
    if purpose is None:
        return Fault("NotImplemented", f"OCPP 1.6 has no profiles for {profile.purpose.value}")
    transaction_id = profile.transaction_id
    if transaction_id is not None and not transaction_id.isdecimal():
        return Fault("PropertyConstraintViolation", "transactions of OCPP 1.6 are numbers")
    fault = profile_fault(command)
    if fault is not None:
        return fault
    written = {
        "chargingProfileId": profile.profile_id,
        "chargingProfilePurpose": purpose,
        **write_profile(profile),
        "chargingSchedule": write_schedule(profile, now_ms),
    }
    if transaction_id is not None:
        written["transactionId"] = int(transaction_id)
    return {"connectorId": command.connector_id, "csChargingProfiles": written}


def _clear_profile(command: commands.ClearProfile, _: int) -> dict[str, Any] | Fault:
    return clear_fault(command) or {"id": command.profile_id}


def _clear_limit(command: commands.ClearLimit, _: int) -> dict[str, Any]:
    return {"id": profile_id(command.connector_id, command.purpose)}


def _clear_limits(command: commands.ClearLimits, _: int) -> dict[str, Any]:
    return {"chargingProfilePurpose": _PURPOSE[command.purpose]}


def _limits_cleared(_: commands.Command, payload: dict[str, Any]) -> CommandResult:
    # Unknown: there is no such profile, which is what was wanted.
    return judged(payload, "Unknown")


def _get_composite_schedule(command: commands.GetCompositeSchedule, _: int) -> dict[str, Any]:
    return {
        "connectorId": command.connector_id,
        "duration": command.duration_s,
        "chargingRateUnit": command.unit,
    }


SMART_CHARGING = Block(
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
