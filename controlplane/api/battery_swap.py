"""`BatterySwapService`: battery swaps begun from afar (OCPP 2.1)."""

from __future__ import annotations

from typing import Any

from controlplane.api.backend import Backend, invalid, required
from controlplane.api.executing import execute, outcome_of
from controlplane.api.v1 import battery_swap_pb2, battery_swap_pb2_grpc
from controlplane.ocpp import commands

__all__ = ["BatterySwap"]

_TOKEN_MAX = 255


class BatterySwap(battery_swap_pb2_grpc.BatterySwapServiceServicer):
    """Answers `controlplane.api.v1.BatterySwapService`."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend

    async def RequestBatterySwap(
        self, request: battery_swap_pb2.RequestBatterySwapRequest, context: Any
    ) -> battery_swap_pb2.RequestBatterySwapResponse:
        required(request, "id_token")
        if len(request.id_token) > _TOKEN_MAX:
            raise invalid("id_token", f"1 to {_TOKEN_MAX} characters")
        command = commands.RequestBatterySwap(request.id_token, request.id_token_type or "Central")
        result = await execute(self._backend, command, request, context)
        return battery_swap_pb2.RequestBatterySwapResponse(outcome=outcome_of(result))
