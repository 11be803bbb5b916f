"""`CustomersService`: what chargers keep of customers, and what they tell them."""

from __future__ import annotations

from decimal import Decimal, InvalidOperation
from typing import Any

from controlplane.api.backend import Backend, invalid, required
from controlplane.api.executing import execute, outcome_of
from controlplane.api.v1 import customers_pb2, customers_pb2_grpc
from controlplane.ocpp import answers, commands, reports

__all__ = ["Customers"]

_DIGITS_MAX = 15
"""As many as a JSON number carries through every reader."""


class Customers(customers_pb2_grpc.CustomersServiceServicer):
    """Answers `controlplane.api.v1.CustomersService`."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend

    async def GetCustomerInformation(
        self, request: customers_pb2.GetCustomerInformationRequest, context: Any
    ) -> customers_pb2.GetCustomerInformationResponse:
        if not (request.report or request.clear):
            raise invalid("report", "report or clear must be given")
        if request.WhichOneof("customer") is None:
            raise invalid("id_token", "id_token, customer_identifier or certificate must be given")
        certificate = None
        if request.HasField("certificate"):
            required(
                request.certificate,
                "hash_algorithm",
                "issuer_name_hash",
                "issuer_key_hash",
                "serial_number",
            )
            certificate = commands.CustomerCertificate(
                algorithm=request.certificate.hash_algorithm,
                issuer_name_hash=request.certificate.issuer_name_hash,
                issuer_key_hash=request.certificate.issuer_key_hash,
                serial_number=request.certificate.serial_number,
            )
        command = commands.GetCustomerInformation(
            report=request.report,
            clear=request.clear,
            id_token=request.id_token,
            id_token_type=request.id_token_type or "Central",
            customer_identifier=request.customer_identifier,
            certificate=certificate,
        )
        result = await execute(self._backend, command, request, context)
        return customers_pb2.GetCustomerInformationResponse(
            outcome=outcome_of(result),
            information=reports.customer_information_reported(result.report),
        )

    async def GetTransactionStatus(
        self, request: customers_pb2.GetTransactionStatusRequest, context: Any
    ) -> customers_pb2.GetTransactionStatusResponse:
        command = commands.GetTransactionStatus(request.transaction_id)
        result = await execute(self._backend, command, request, context)
        ongoing, in_queue = answers.transaction_status_answered(result.payload)
        return customers_pb2.GetTransactionStatusResponse(
            outcome=outcome_of(result), ongoing=ongoing, messages_in_queue=in_queue
        )

    async def UpdateCost(
        self, request: customers_pb2.UpdateCostRequest, context: Any
    ) -> customers_pb2.UpdateCostResponse:
        required(request, "transaction_id", "total_cost")
        currency = self._backend.settings.currency
        if request.currency not in {"", currency}:
            raise invalid("currency", f"costs are told in {currency} here")
        total_cost = _amount(request, "total_cost")
        if total_cost is None:
            raise invalid("total_cost", "must be given")
        command = commands.UpdateCost(
            transaction_id=request.transaction_id,
            total_cost=total_cost,
            idle=request.idle,
            price_per_kwh=_amount(request, "price_per_kwh"),
            price_per_hour=_amount(request, "price_per_hour"),
            flat_fee=_amount(request, "flat_fee"),
        )
        result = await execute(self._backend, command, request, context)
        return customers_pb2.UpdateCostResponse(outcome=outcome_of(result))


def _amount(request: Any, field: str) -> Decimal | None:
    """An amount of money, or None where the field is empty."""
    text = getattr(request, field)
    if not text:
        return None
    try:
        amount = Decimal(text)
    except InvalidOperation:
        amount = Decimal("NaN")
    if not amount.is_finite() or amount < 0 or len(amount.as_tuple().digits) > _DIGITS_MAX:
        raise invalid(field, f"a decimal number, 0 and up, of at most {_DIGITS_MAX} digits")
    if not -_DIGITS_MAX <= amount.adjusted() <= _DIGITS_MAX:
        raise invalid(field, "too large or too small for money")
    return amount
