"""`PaymentsService`: ad-hoc payment at chargers (OCPP 2.1)."""

from __future__ import annotations

from typing import Any

from controlplane.api.backend import Backend, invalid
from controlplane.api.executing import connector_number, execute, outcome_of
from controlplane.api.v1 import payments_pb2, payments_pb2_grpc
from controlplane.ocpp import commands

__all__ = ["Payments"]

_PAYMENT_MAX_S = 3_600


class Payments(payments_pb2_grpc.PaymentsServiceServicer):
    """Answers `controlplane.api.v1.PaymentsService`."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend

    async def NotifyWebPayment(
        self, request: payments_pb2.NotifyWebPaymentRequest, context: Any
    ) -> payments_pb2.NotifyWebPaymentResponse:
        if not 1 <= request.payment_timeout_s <= _PAYMENT_MAX_S:
            raise invalid("payment_timeout_s", f"1 to {_PAYMENT_MAX_S} s")
        command = commands.NotifyWebPayment(
            connector_number(request.connector_id, least=1), request.payment_timeout_s
        )
        result = await execute(self._backend, command, request, context)
        return payments_pb2.NotifyWebPaymentResponse(outcome=outcome_of(result))
