"""`DerService`: how chargers and vehicles support the grid (OCPP 2.1)."""

from __future__ import annotations

from typing import Any

from controlplane.api.backend import Backend, required
from controlplane.api.executing import charger_ref, execute, outcome_of, require_charger
from controlplane.api.structs import message_of, struct_of, word_of
from controlplane.api.v1 import der_pb2, der_pb2_grpc
from controlplane.charger.messages import DerState, GetDerState
from controlplane.ocpp import commands
from controlplane.ocpp.der import DerControl, DerKind

__all__ = ["Der"]

_KINDS = der_pb2.DESCRIPTOR.enum_types_by_name["DerKind"]


class Der(der_pb2_grpc.DerServiceServicer):
    """Answers `controlplane.api.v1.DerService`."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend

    async def SetDerControl(
        self, request: der_pb2.SetDerControlRequest, context: Any
    ) -> der_pb2.SetDerControlResponse:
        required(request, "control")
        required(request.control, "control_id")
        control = struct_of(DerControl, request.control, "control")
        command = commands.SetDerControl(
            control.control_id, control.kind, control.is_default, control.setting
        )
        result = await execute(self._backend, command, request, context)
        return der_pb2.SetDerControlResponse(
            outcome=outcome_of(result), superseded_ids=result.payload.get("supersededIds", ())
        )

    async def ReportDerControls(
        self, request: der_pb2.ReportDerControlsRequest, context: Any
    ) -> der_pb2.ReportDerControlsResponse:
        command = commands.GetDerControls(
            request_id=0,
            is_default=request.is_default if request.HasField("is_default") else None,
            kind=_kind(request),
            control_id=request.control_id or None,
        )
        result = await execute(self._backend, command, request, context)
        return der_pb2.ReportDerControlsResponse(outcome=outcome_of(result))

    async def ClearDerControl(
        self, request: der_pb2.ClearDerControlRequest, context: Any
    ) -> der_pb2.ClearDerControlResponse:
        command = commands.ClearDerControl(
            is_default=request.is_default,
            kind=_kind(request),
            control_id=request.control_id or None,
        )
        result = await execute(self._backend, command, request, context)
        return der_pb2.ClearDerControlResponse(outcome=outcome_of(result))

    async def GetDerState(
        self, request: der_pb2.GetDerStateRequest, context: Any
    ) -> der_pb2.GetDerStateResponse:
        await require_charger(self._backend, request.charger_id)
        state = await self._backend.ask(
            charger_ref(request.charger_id), GetDerState(), DerState, context
        )
        return der_pb2.GetDerStateResponse(
            controls=[message_of(control, der_pb2.DerControl) for control in state.controls],
            alarms=[message_of(alarm, der_pb2.DerAlarm) for alarm in state.alarms],
        )


def _kind(request: Any) -> DerKind | None:
    return word_of(DerKind, _KINDS, request.kind, "kind") if request.kind else None
