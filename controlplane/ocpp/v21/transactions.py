"""Transactions of a 2.1 station: those of 2.0.1, and what they cost and in which mode they run."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from controlplane.ocpp.costs import CostDetails, TransactionDetails, TransactionLimit
from controlplane.ocpp.dialect import Block
from controlplane.ocpp.events import Event
from controlplane.ocpp.shapes import MONEY, WHOLE, Shape, one
from controlplane.ocpp.v21.tariff import COST_DETAILS
from controlplane.ocpp.v201.transactions import TRANSACTIONS as TRANSACTIONS_201

__all__ = ["TRANSACTIONS"]

_LIMIT: Final = one(
    Shape(
        TransactionLimit,
        max_cost=("maxCost", MONEY),
        max_energy_wh=("maxEnergy", WHOLE),
        max_time_s=("maxTime", WHOLE),
        max_soc_percent=("maxSoC", WHOLE),
    )
)
_UNEXPLAINED: Final = "the station gave no reason"
_read_201: Final = TRANSACTIONS_201.readers["TransactionEvent"]


def _transaction_event(payload: dict[str, Any]) -> Event:
    return msgspec.structs.replace(_read_201(payload), details=_details(payload))


def _details(payload: dict[str, Any]) -> TransactionDetails:
    info = payload["transactionInfo"]
    limit = info.get("transactionLimit")
    return TransactionDetails(
        cost=_cost(payload.get("costDetails")),
        tariff_id=info.get("tariffId"),
        operation_mode=info.get("operationMode"),
        preconditioning=payload.get("preconditioningStatus"),
        sleeping=payload.get("evseSleep", False),
        limit=None if limit is None else _LIMIT.read(limit),
    )


def _cost(given: dict[str, Any] | None) -> CostDetails | None:
    """I12. A cost that the station says it could not calculate is none."""
    if given is None:
        return None
    cost: CostDetails = COST_DETAILS.read(given)
    failed = given.get("failureToCalculate", False)
    if failed == (cost.failure is not None):
        return cost
    return msgspec.structs.replace(cost, failure=_UNEXPLAINED if failed else None)


TRANSACTIONS = Block(readers={"TransactionEvent": _transaction_event})
