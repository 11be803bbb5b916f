"""`BidirectionalService`: setpoints, power in both directions, priority (OCPP 2.1)."""

from __future__ import annotations

from typing import Any

from controlplane.api.backend import Backend, instant_ms, invalid, required
from controlplane.api.executing import (
    connector_number,
    execute,
    outcome_of,
    outside_allocation,
)
from controlplane.api.structs import struct_of, word_of
from controlplane.api.v1 import bidirectional_pb2, bidirectional_pb2_grpc
from controlplane.ocpp import commands
from controlplane.ocpp.v2x import EnergyTransfer, PowerProfile, ScheduleValues

__all__ = ["Bidirectional"]

_MODES = bidirectional_pb2.DESCRIPTOR.enum_types_by_name["EnergyTransfer"]


class Bidirectional(bidirectional_pb2_grpc.BidirectionalServiceServicer):
    """Answers `controlplane.api.v1.BidirectionalService`."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend

    async def AllowEnergyTransfer(
        self, request: bidirectional_pb2.AllowEnergyTransferRequest, context: Any
    ) -> bidirectional_pb2.AllowEnergyTransferResponse:
        required(request, "transaction_id", "modes")
        command = commands.AllowEnergyTransfer(
            request.transaction_id,
            tuple(
                word_of(EnergyTransfer, _MODES, mode, f"modes[{index}]")
                for index, mode in enumerate(request.modes)
            ),
        )
        result = await execute(self._backend, command, request, context)
        return bidirectional_pb2.AllowEnergyTransferResponse(outcome=outcome_of(result))

    async def SendFrequencySignal(
        self, request: bidirectional_pb2.SendFrequencySignalRequest, context: Any
    ) -> bidirectional_pb2.SendFrequencySignalResponse:
        at_ms = instant_ms(request, "at_time")
        if at_ms is None:
            raise invalid("at_time", "must be given")
        command = commands.SendFrequencySignal(at_ms, request.signal)
        result = await execute(self._backend, command, request, context)
        return bidirectional_pb2.SendFrequencySignalResponse(outcome=outcome_of(result))

    async def SetPowerProfile(
        self, request: bidirectional_pb2.SetPowerProfileRequest, context: Any
    ) -> bidirectional_pb2.SetPowerProfileResponse:
        outside_allocation(request)
        required(request, "profile")
        profile = struct_of(PowerProfile, request.profile, "profile")
        if profile.profile_id < 1:
            raise invalid("profile.profile_id", "1 or more")
        command = commands.SetPowerProfile(connector_number(request.connector_id, least=0), profile)
        result = await execute(self._backend, command, request, context)
        return bidirectional_pb2.SetPowerProfileResponse(outcome=outcome_of(result))

    async def UpdateSchedule(
        self, request: bidirectional_pb2.UpdateScheduleRequest, context: Any
    ) -> bidirectional_pb2.UpdateScheduleResponse:
        outside_allocation(request)
        required(request, "values")
        values = struct_of(ScheduleValues, request.values, "values")
        command = commands.UpdateSchedule(request.profile_id, values)
        result = await execute(self._backend, command, request, context)
        return bidirectional_pb2.UpdateScheduleResponse(outcome=outcome_of(result))

    async def UsePriority(
        self, request: bidirectional_pb2.UsePriorityRequest, context: Any
    ) -> bidirectional_pb2.UsePriorityResponse:
        required(request, "transaction_id")
        command = commands.UsePriority(request.transaction_id, request.active)
        result = await execute(self._backend, command, request, context)
        return bidirectional_pb2.UsePriorityResponse(outcome=outcome_of(result))
