"""Ad-hoc payment at the station: settlements, company receipts (OCPP 2.1 part 2, C18 to C25)."""

from __future__ import annotations

from decimal import Decimal
from enum import StrEnum

import msgspec

from controlplane.ocpp.events import Event

__all__ = ["Company", "Settled", "SettlementStatus", "VatNumberAsked"]


class SettlementStatus(StrEnum):
    """PaymentStatusEnumType."""

    SETTLED = "Settled"
    CANCELED = "Canceled"
    REJECTED = "Rejected"
    FAILED = "Failed"


class Company(msgspec.Struct, frozen=True):
    """Whom a receipt is made out to."""

    name: str
    address1: str
    city: str
    country: str
    address2: str = ""
    postal_code: str = ""


class Settled(Event, frozen=True, tag="settled"):
    """What became of a payment. `reference` is the payment provider's and was the transaction's id
    token; `transaction_id` is None for a payment that ended before a transaction began. `amount` is
    what was, or was to be, settled, in the currency of the terminal."""

    reference: str
    status: SettlementStatus
    amount: Decimal | None
    at_ms: int | None
    transaction_id: str | None = None
    receipt_id: str = ""
    receipt_url: str = ""
    vat_number: str = ""
    company: Company | None = None


class VatNumberAsked(Event, frozen=True, tag="vat_number_asked"):
    """A driver gave a VAT number for a company's receipt."""

    vat_number: str
    connector_id: int | None = None
