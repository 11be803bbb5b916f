"""Ad-hoc payment at a 2.1 station: C18 to C25."""

from __future__ import annotations

from typing import Any, Final

from controlplane.ocpp import commands
from controlplane.ocpp.dialect import Block, VatNumberAnswer
from controlplane.ocpp.events import Event
from controlplane.ocpp.payment import Company, Settled, SettlementStatus, VatNumberAsked
from controlplane.ocpp.readings import instant_ms
from controlplane.ocpp.shapes import PLAIN, Shape, money
from controlplane.ocpp.v201.common import evse_number

__all__ = ["PAYMENT"]

_COMPANY: Final = Shape(
    Company,
    name=("name", PLAIN),
    address1=("address1", PLAIN),
    address2=("address2", PLAIN),
    city=("city", PLAIN),
    postal_code=("postalCode", PLAIN),
    country=("country", PLAIN),
)


def _settled(payload: dict[str, Any]) -> Event:
    company = payload.get("vatCompany")
    return Settled(
        reference=payload["pspRef"],
        status=SettlementStatus(payload["status"]),
        amount=money(payload["settlementAmount"]),
        at_ms=instant_ms(payload["settlementTime"]),
        # It can be empty where the payment ended before the transaction began.
        transaction_id=payload.get("transactionId") or None,
        receipt_id=payload.get("receiptId", ""),
        receipt_url=payload.get("receiptUrl", ""),
        vat_number=payload.get("vatNumber", ""),
        company=None if company is None else _COMPANY.read(company),
    )


def _vat_number_asked(payload: dict[str, Any]) -> Event:
    evse_id = payload.get("evseId")
    return VatNumberAsked(
        vat_number=payload["vatNumber"],
        connector_id=None if evse_id is None else evse_number(evse_id),
    )


def _vat_number_reply(answer: VatNumberAnswer) -> dict[str, Any]:
    """The company is left out: nothing but the number's form is known here."""
    payload: dict[str, Any] = {
        "vatNumber": answer.vat_number,
        "status": "Accepted" if answer.valid else "Rejected",
    }
    if answer.connector_id is not None:
        payload["evseId"] = answer.connector_id
    return payload


def _web_payment(command: commands.NotifyWebPayment, _: int) -> dict[str, Any]:
    return {"evseId": command.connector_id, "timeout": command.timeout_s}


PAYMENT = Block(
    readers={"NotifySettlement": _settled, "VatNumberValidation": _vat_number_asked},
    replies={VatNumberAnswer: _vat_number_reply},
    writers={commands.NotifyWebPayment: ("NotifyWebPaymentStarted", _web_payment)},
)
