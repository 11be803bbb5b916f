"""Transactions of a 1.6 station: section 4.7, 4.8 and 4.10.

1.6 has integer transaction ids that we hand out; in events they are their decimal text."""

from __future__ import annotations

from typing import Any

from msgspec import UNSET

from controlplane.ocpp import events
from controlplane.ocpp.dialect import CONNECTOR_MAX, Block
from controlplane.ocpp.events import Event
from controlplane.ocpp.readings import energy_wh, instant_ms, measured, readings, small_integer
from controlplane.ocpp.typed import MeterValues
from controlplane.ocpp.v16.common import connector_number, transaction_text

__all__ = ["TRANSACTIONS"]


def _started(payload: dict[str, Any]) -> Event:
    return events.TransactionStarted(
        connector_id=connector_number(payload),
        transaction_id=None,
        id_token=payload["idTag"],
        at_ms=instant_ms(payload["timestamp"]),
        meter_start_wh=energy_wh(payload.get("meterStart")),
        reservation_number=_reservation(payload),
    )


def _reservation(payload: dict[str, Any]) -> int | None:
    number = payload.get("reservationId")
    return None if number is None else small_integer(number, maximum=2**53)


def _ended(payload: dict[str, Any]) -> Event:
    return events.TransactionEnded(
        connector_id=None,
        transaction_id=transaction_text(payload) or "",
        at_ms=instant_ms(payload["timestamp"]),
        meter_stop_wh=energy_wh(payload.get("meterStop")),
        # Section 6.49: a missing reason means Local.
        reason=payload.get("reason", "Local"),
        id_token=payload.get("idTag"),
        readings=readings(payload.get("transactionData")),
    )


def _metered(payload: dict[str, Any] | MeterValues) -> Event:
    if isinstance(payload, MeterValues):
        number = payload.transaction_id
        return events.MeterReported(
            small_integer(payload.connector_id, maximum=CONNECTOR_MAX),
            None if number is UNSET else str(number),
            measured(payload.meter_value),
        )
    return events.MeterReported(
        connector_id=connector_number(payload),
        transaction_id=transaction_text(payload),
        readings=readings(payload["meterValue"]),
    )


TRANSACTIONS = Block(
    readers={
        "MeterValues": _metered,
        "StartTransaction": _started,
        "StopTransaction": _ended,
    },
)
