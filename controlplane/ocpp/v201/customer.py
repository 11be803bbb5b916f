"""What a 2.x station keeps of a customer, and tells one: E14, I02, N09 and N10."""

from __future__ import annotations

from typing import Any

from controlplane.ocpp import commands
from controlplane.ocpp.commands import CommandResult, CommandState
from controlplane.ocpp.dialect import Block
from controlplane.ocpp.events import Event
from controlplane.ocpp.extensions import money
from controlplane.ocpp.framing import Fault
from controlplane.ocpp.v201.common import report

__all__ = ["CUSTOMER"]


def _customer_notified(payload: dict[str, Any]) -> Event:
    return report("NotifyCustomerInformation", payload, personal=True)


def _customer_information(
    command: commands.GetCustomerInformation, _: int
) -> dict[str, Any] | Fault:
    payload: dict[str, Any] = {
        "requestId": command.request_id,
        "report": command.report,
        "clear": command.clear,
    }
    if command.id_token:
        payload["idToken"] = {"idToken": command.id_token, "type": command.id_token_type}
    if command.customer_identifier:
        payload["customerIdentifier"] = command.customer_identifier
    certificate = command.certificate
    if certificate is not None:
        payload["customerCertificate"] = {
            "hashAlgorithm": certificate.algorithm,
            "issuerNameHash": certificate.issuer_name_hash,
            "issuerKeyHash": certificate.issuer_key_hash,
            "serialNumber": certificate.serial_number,
        }
    if len(payload) != 4:
        # N09.FR.09: one of them says who is meant.
        return Fault("PropertyConstraintViolation", "name the customer in exactly one way")
    return payload


def _transaction_status(command: commands.GetTransactionStatus, _: int) -> dict[str, Any]:
    return {"transactionId": command.transaction_id} if command.transaction_id else {}


def _status_told(_: commands.GetTransactionStatus, payload: dict[str, Any]) -> CommandResult:
    return CommandResult(CommandState.ACCEPTED, payload=payload)


def _cost(command: commands.UpdateCost, _: int) -> dict[str, Any]:
    return {"totalCost": money(command.total_cost), "transactionId": command.transaction_id}


CUSTOMER = Block(
    readers={"NotifyCustomerInformation": _customer_notified},
    writers={
        commands.GetCustomerInformation: ("CustomerInformation", _customer_information),
        commands.GetTransactionStatus: ("GetTransactionStatus", _transaction_status),
        commands.UpdateCost: ("CostUpdated", _cost),
    },
    results={commands.GetTransactionStatus: _status_told},
)
