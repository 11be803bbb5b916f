"""What several functional blocks of 1.6 read alike."""

from __future__ import annotations

from typing import Any

from controlplane.ocpp.dialect import CONNECTOR_MAX
from controlplane.ocpp.readings import small_integer

__all__ = ["connector_number", "transaction_text"]


def connector_number(payload: dict[str, Any]) -> int:
    """The connector that a payload names; the station itself, 0, where the number is beyond all
    bounds."""
    return small_integer(payload["connectorId"], maximum=CONNECTOR_MAX)


def transaction_text(payload: dict[str, Any]) -> str | None:
    """The transaction that a payload names, as text of whatever length."""
    number = payload.get("transactionId")
    return None if number is None else str(int(number))
