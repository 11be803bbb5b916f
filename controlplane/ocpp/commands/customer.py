"""What a charger keeps of a customer, and what it tells one of the running transaction (2.x E14,
I02, N09 and N10)."""

from __future__ import annotations

from decimal import Decimal

import msgspec

from controlplane.ocpp.commands.core import Command, ReportCommand

__all__ = [
    "CustomerCertificate",
    "GetCustomerInformation",
    "GetTransactionStatus",
    "UpdateCost",
]


class CustomerCertificate(msgspec.Struct, frozen=True):
    """A customer's certificate, by its hashes in hexadecimal; `algorithm` is SHA256, SHA384 or
    SHA512."""

    algorithm: str
    issuer_name_hash: str
    issuer_key_hash: str
    serial_number: str


class GetCustomerInformation(
    ReportCommand, frozen=True, kw_only=True, tag="get_customer_information"
):
    """Report what is kept of a customer, clear it, or both. One of token, identifier and
    certificate says who."""

    report: bool
    clear: bool
    id_token: str = ""
    id_token_type: str = "Central"
    customer_identifier: str = ""
    certificate: CustomerCertificate | None = None

    @property
    def awaits_report(self) -> bool:
        return self.report


class GetTransactionStatus(Command, frozen=True, tag="get_transaction_status"):
    """Whether messages about a transaction, or about any, still wait in the charger's queue."""

    transaction_id: str = ""


class UpdateCost(Command, frozen=True, tag="update_cost"):
    """Show the driver what the transaction costs so far, taxes included, in the charger's currency.

    1.6 knows this only as an agreed extension, which wants to know more: the register at that
    moment, whether the vehicle only stands there (`idle`), and the prices where there are any.
    """

    transaction_id: str
    total_cost: Decimal
    meter_wh: int | None = None
    """The charger's actor puts in what it read last."""
    idle: bool = False
    price_per_kwh: Decimal | None = None
    price_per_hour: Decimal | None = None
    flat_fee: Decimal | None = None
