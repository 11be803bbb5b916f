"""Profiles that a 2.x station holds, whoever installed them, and limits that others set on it: K09,
K11 to K13."""

from __future__ import annotations

from typing import Any, Final

from controlplane.ocpp import commands, events
from controlplane.ocpp.commands import CommandResult, ProfilePurpose
from controlplane.ocpp.dialect import Block, judged
from controlplane.ocpp.events import Event
from controlplane.ocpp.schedules import charging_schedule
from controlplane.ocpp.v201.common import evse_number, report

__all__ = ["CHARGING_PROFILES", "PURPOSE_OF_WORD", "WORD_OF_PURPOSE"]

WORD_OF_PURPOSE: Final = {
    ProfilePurpose.CHARGER_MAX: "ChargingStationMaxProfile",
    ProfilePurpose.DEFAULT: "TxDefaultProfile",
    ProfilePurpose.EXTERNAL: "ChargingStationExternalConstraints",
    ProfilePurpose.LOCAL_GENERATION: "LocalGeneration",
    ProfilePurpose.PRIORITY: "PriorityCharging",
    ProfilePurpose.TRANSACTION: "TxProfile",
}
PURPOSE_OF_WORD: Final = {word: purpose for purpose, word in WORD_OF_PURPOSE.items()}


def _profiles_reported(payload: dict[str, Any]) -> Event:
    return report("ReportChargingProfiles", payload)


def _limit_notified(payload: dict[str, Any]) -> Event:
    limit = payload["chargingLimit"]
    return events.ChargingLimitNotified(
        connector_id=evse_number(payload.get("evseId")),
        source=limit["chargingLimitSource"],
        grid_critical=limit.get("isGridCritical", False),
        schedules=tuple(map(charging_schedule, payload.get("chargingSchedule", ()))),
    )


def _limit_cleared(payload: dict[str, Any]) -> Event:
    return events.ChargingLimitCleared(
        connector_id=evse_number(payload.get("evseId")), source=payload["chargingLimitSource"]
    )


def _get_profiles(command: commands.GetChargingProfiles, _: int) -> dict[str, Any]:
    criterion: dict[str, Any] = {}
    if command.purpose is not None:
        criterion["chargingProfilePurpose"] = WORD_OF_PURPOSE[command.purpose]
    if command.stack_level is not None:
        criterion["stackLevel"] = command.stack_level
    if command.profile_ids:
        criterion["chargingProfileId"] = list(command.profile_ids)
    if command.sources:
        criterion["chargingLimitSource"] = list(command.sources)
    payload: dict[str, Any] = {"requestId": command.request_id, "chargingProfile": criterion}
    if command.connector_id is not None:
        payload["evseId"] = command.connector_id
    return payload


def _profiles_asked(_: commands.GetChargingProfiles, payload: dict[str, Any]) -> CommandResult:
    # K09.FR.03: NoProfiles says that none matches.
    return judged(payload, "NoProfiles")


CHARGING_PROFILES = Block(
    readers={
        "ClearedChargingLimit": _limit_cleared,
        "NotifyChargingLimit": _limit_notified,
        "ReportChargingProfiles": _profiles_reported,
    },
    writers={commands.GetChargingProfiles: ("GetChargingProfiles", _get_profiles)},
    results={commands.GetChargingProfiles: _profiles_asked},
)
