"""`ChargingProfilesService`: the profiles that chargers hold, and those of an operator."""

from __future__ import annotations

from typing import Any

from controlplane.api.backend import Backend, invalid, required, timestamp
from controlplane.api.executing import (
    connector_number,
    execute,
    outcome_of,
    outside_allocation,
    schedule_period_to_message,
)
from controlplane.api.structs import struct_of
from controlplane.api.v1 import charging_profiles_pb2, charging_profiles_pb2_grpc, network_pb2
from controlplane.ocpp import commands, reports
from controlplane.ocpp.commands import ChargingProfile, ProfilePurpose
from controlplane.ocpp.events import ChargingSchedule
from controlplane.ocpp.reports import ReportedProfile

__all__ = ["ChargingProfiles"]

_PROFILES_MAX = 100
_SOURCES_MAX = 4
_PURPOSES = {
    charging_profiles_pb2.ProfilePurpose.Value(f"PROFILE_PURPOSE_{each.name}"): each
    for each in ProfilePurpose
}


class ChargingProfiles(charging_profiles_pb2_grpc.ChargingProfilesServiceServicer):
    """Answers `controlplane.api.v1.ChargingProfilesService`."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend

    async def GetChargingProfiles(
        self, request: charging_profiles_pb2.GetChargingProfilesRequest, context: Any
    ) -> charging_profiles_pb2.GetChargingProfilesResponse:
        if request.purpose not in charging_profiles_pb2.ProfilePurpose.values():
            raise invalid("purpose", "not a purpose of profiles")
        if len(request.profile_ids) > _PROFILES_MAX:
            raise invalid("profile_ids", f"at most {_PROFILES_MAX}")
        if len(request.sources) > _SOURCES_MAX:
            raise invalid("sources", f"at most {_SOURCES_MAX}")
        connector_id = None
        if request.HasField("connector_id"):
            connector_id = connector_number(request.connector_id, least=0)
        command = commands.GetChargingProfiles(
            connector_id=connector_id,
            purpose=_PURPOSES.get(request.purpose),
            stack_level=request.stack_level if request.HasField("stack_level") else None,
            profile_ids=tuple(request.profile_ids),
            sources=tuple(request.sources),
        )
        result = await execute(self._backend, command, request, context)
        return charging_profiles_pb2.GetChargingProfilesResponse(
            outcome=outcome_of(result),
            profiles=map(_profile_to_message, reports.charging_profiles_reported(result.report)),
        )

    async def SetChargingProfile(
        self, request: charging_profiles_pb2.SetChargingProfileRequest, context: Any
    ) -> charging_profiles_pb2.SetChargingProfileResponse:
        outside_allocation(request)
        required(request, "profile")
        profile = struct_of(ChargingProfile, request.profile, "profile")
        if profile.profile_id < 1:
            raise invalid("profile.profile_id", "1 or more")
        command = commands.SetProfile(connector_number(request.connector_id, least=0), profile)
        result = await execute(self._backend, command, request, context)
        return charging_profiles_pb2.SetChargingProfileResponse(outcome=outcome_of(result))

    async def ClearChargingProfile(
        self, request: charging_profiles_pb2.ClearChargingProfileRequest, context: Any
    ) -> charging_profiles_pb2.ClearChargingProfileResponse:
        required(request, "profile_id")
        command = commands.ClearProfile(request.profile_id)
        result = await execute(self._backend, command, request, context)
        return charging_profiles_pb2.ClearChargingProfileResponse(outcome=outcome_of(result))


def _profile_to_message(profile: ReportedProfile) -> charging_profiles_pb2.ReportedProfile:
    return charging_profiles_pb2.ReportedProfile(
        profile_id=profile.profile_id,
        connector_id=profile.connector_id,
        source=profile.source,
        purpose=charging_profiles_pb2.ProfilePurpose.Value(
            f"PROFILE_PURPOSE_{profile.purpose.name}"
        ),
        stack_level=profile.stack_level,
        kind=profile.kind,
        recurrence=profile.recurrence,
        valid_from_time=timestamp(profile.valid_from_ms),
        valid_until_time=timestamp(profile.valid_until_ms),
        transaction_id=profile.transaction_id,
        schedules=map(_schedule_to_message, profile.schedules),
    )


def _schedule_to_message(schedule: ChargingSchedule) -> charging_profiles_pb2.ChargingSchedule:
    return charging_profiles_pb2.ChargingSchedule(
        start_time=timestamp(schedule.start_ms),
        duration_s=schedule.duration_s,
        unit=network_pb2.LIMIT_UNIT_A if schedule.unit == "A" else network_pb2.LIMIT_UNIT_W,
        periods=(schedule_period_to_message(period, schedule.unit) for period in schedule.periods),
    )
