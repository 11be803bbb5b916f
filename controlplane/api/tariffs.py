"""`TariffsService`: what charging costs at chargers that calculate it themselves (OCPP 2.1)."""

from __future__ import annotations

from typing import Any

from controlplane.api.backend import Backend, required
from controlplane.api.executing import (
    charger_ref,
    connector_number,
    execute,
    outcome_of,
    require_charger,
)
from controlplane.api.structs import message_of, struct_of
from controlplane.api.v1 import tariffs_pb2, tariffs_pb2_grpc
from controlplane.charger.messages import DriverTariffSet, SetDriverTariff
from controlplane.charging_tariff import Tariff
from controlplane.ocpp import answers, commands

__all__ = ["Tariffs"]


class Tariffs(tariffs_pb2_grpc.TariffsServiceServicer):
    """Answers `controlplane.api.v1.TariffsService`."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend

    async def SetDefaultTariff(
        self, request: tariffs_pb2.SetDefaultTariffRequest, context: Any
    ) -> tariffs_pb2.SetDefaultTariffResponse:
        required(request, "tariff")
        command = commands.SetDefaultTariff(
            connector_number(request.connector_id, least=0),
            struct_of(Tariff, request.tariff, "tariff"),
        )
        result = await execute(self._backend, command, request, context)
        return tariffs_pb2.SetDefaultTariffResponse(outcome=outcome_of(result))

    async def SetDriverTariff(
        self, request: tariffs_pb2.SetDriverTariffRequest, context: Any
    ) -> tariffs_pb2.SetDriverTariffResponse:
        required(request, "id_token")
        tariff = None
        if request.HasField("tariff"):
            tariff = struct_of(Tariff, request.tariff, "tariff")
        await require_charger(self._backend, request.charger_id)
        await self._backend.ask(
            charger_ref(request.charger_id),
            SetDriverTariff(request.id_token, tariff),
            DriverTariffSet,
            context,
            request_id=request.request_id,
        )
        return tariffs_pb2.SetDriverTariffResponse()

    async def GetTariffs(
        self, request: tariffs_pb2.GetTariffsRequest, context: Any
    ) -> tariffs_pb2.GetTariffsResponse:
        command = commands.GetTariffs(connector_number(request.connector_id, least=0))
        result = await execute(self._backend, command, request, context)
        return tariffs_pb2.GetTariffsResponse(
            outcome=outcome_of(result),
            tariffs=[
                message_of(assignment, tariffs_pb2.TariffAssignment)
                for assignment in answers.tariffs_answered(result.payload)
            ],
        )

    async def ClearTariffs(
        self, request: tariffs_pb2.ClearTariffsRequest, context: Any
    ) -> tariffs_pb2.ClearTariffsResponse:
        connector_id = None
        if request.HasField("connector_id"):
            connector_id = connector_number(request.connector_id, least=0)
        command = commands.ClearTariffs(tuple(request.tariff_ids), connector_id)
        result = await execute(self._backend, command, request, context)
        return tariffs_pb2.ClearTariffsResponse(
            outcome=outcome_of(result),
            tariffs=[
                message_of(cleared, tariffs_pb2.TariffCleared)
                for cleared in answers.tariffs_cleared(result.payload)
            ],
        )

    async def ChangeTransactionTariff(
        self, request: tariffs_pb2.ChangeTransactionTariffRequest, context: Any
    ) -> tariffs_pb2.ChangeTransactionTariffResponse:
        required(request, "transaction_id", "tariff")
        command = commands.ChangeTransactionTariff(
            request.transaction_id, struct_of(Tariff, request.tariff, "tariff")
        )
        result = await execute(self._backend, command, request, context)
        return tariffs_pb2.ChangeTransactionTariffResponse(outcome=outcome_of(result))
