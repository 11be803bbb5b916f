"""Transactions of a 2.x station: E01 to E15, J01 and J02. It makes their ids itself."""

from __future__ import annotations

from typing import Any, Final

from controlplane.ocpp import events
from controlplane.ocpp.dialect import SEQ_NO_MAX, Block
from controlplane.ocpp.events import ConnectorStatus, Event, MeterReading
from controlplane.ocpp.readings import instant_ms, readings, small_integer
from controlplane.ocpp.v201.common import evse_number

__all__ = ["TRANSACTIONS"]

_CHARGING_STATE: Final = {
    "Charging": ConnectorStatus.CHARGING,
    "EVConnected": ConnectorStatus.PREPARING,
    "SuspendedEV": ConnectorStatus.SUSPENDED_EV,
    "SuspendedEVSE": ConnectorStatus.SUSPENDED_EVSE,
    "Idle": ConnectorStatus.OCCUPIED,
}


def _metered(payload: dict[str, Any]) -> Event:
    return events.MeterReported(
        connector_id=evse_number(payload["evseId"]),
        transaction_id=None,
        readings=readings(payload["meterValue"]),
    )


def _register_wh(taken: tuple[MeterReading, ...], context: str, *, last: bool) -> int | None:
    """The register at the begin or end of a transaction: the reading that says so, else the first
    or last that has one."""
    registers = [reading for reading in taken if reading.energy_wh is not None]
    marked = [reading for reading in registers if reading.context == context] or registers
    if not marked:
        return None
    return marked[-1 if last else 0].energy_wh


def _transaction_event(payload: dict[str, Any]) -> Event:
    info = payload["transactionInfo"]
    evse = payload.get("evse")
    token = payload.get("idToken")
    taken = readings(payload.get("meterValue"))
    connector_id = None if evse is None else evse_number(evse["id"])
    at_ms = instant_ms(payload["timestamp"])
    seq_no = small_integer(payload["seqNo"], maximum=SEQ_NO_MAX)
    id_token = None if token is None else token["idToken"]
    offline = payload.get("offline", False)
    charging_state = _CHARGING_STATE.get(info.get("chargingState", ""))
    match payload["eventType"]:
        case "Started":
            return events.TransactionStarted(
                connector_id=connector_id or 0,
                transaction_id=info["transactionId"],
                id_token=id_token,
                at_ms=at_ms,
                meter_start_wh=_register_wh(taken, "Transaction.Begin", last=False),
                seq_no=seq_no,
                charging_state=charging_state,
                offline=offline,
                readings=taken,
                remote_start_id=info.get("remoteStartId"),
            )
        case "Ended":
            return events.TransactionEnded(
                connector_id=connector_id,
                transaction_id=info["transactionId"],
                at_ms=at_ms,
                meter_stop_wh=_register_wh(taken, "Transaction.End", last=True),
                seq_no=seq_no,
                # TransactionType: a missing reason means Local.
                reason=info.get("stoppedReason", "Local"),
                id_token=id_token,
                offline=offline,
                readings=taken,
            )
        case _:
            return events.TransactionUpdated(
                connector_id=connector_id,
                transaction_id=info["transactionId"],
                at_ms=at_ms,
                seq_no=seq_no,
                trigger=payload["triggerReason"],
                charging_state=charging_state,
                id_token=id_token,
                offline=offline,
                readings=taken,
            )


TRANSACTIONS = Block(
    readers={"MeterValues": _metered, "TransactionEvent": _transaction_event},
)
