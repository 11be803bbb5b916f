"""Messages of makers of their own that have a meaning here.

OCPP lets a maker put into DataTransfer what the specification has no message for (1.6 sections 4.3
and 5.6, 2.x P01 and P02). An `Extension` says what one such message means, as pure functions: what
its data says, and what the answer holds. Whoever adds one adds it to `EXTENSIONS`; everything else
is answered UnknownVendorId, or UnknownMessageId where the vendor is known.

Built in is what OCPP 1.6 lacks to show costs to drivers, by the Open Charge Alliance's application
note "OCPP & California Pricing Requirements": the running cost (`running_cost`, outbound), and that
the cable was taken out."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final

import msgspec

from controlplane.ocpp import events
from controlplane.ocpp.commands import TransferData, UpdateCost
from controlplane.ocpp.dialect import Answer, Block, TransferAnswer
from controlplane.ocpp.events import Event
from controlplane.ocpp.framing import Fault
from controlplane.ocpp.readings import instant_ms
from controlplane.units import iso_from_ms

__all__ = ["EXTENSIONS", "Extension", "data_transfer", "json_text", "running_cost"]

_COSTS: Final = "org.openchargealliance.costmsg"


def _nothing(_: Answer) -> Any:
    return None


@dataclass(frozen=True)
class Extension:
    """One message of a vendor's. `read` returns None for data that it cannot make sense of; `write`
    is what the answer holds, None for nothing."""

    read: Callable[[Any], Event | None]
    write: Callable[[Answer], Any] = _nothing


def _unplugged(data: Any) -> Event | None:
    said = _object(data)
    if said is None or "transactionId" not in said:
        return None
    return events.VehicleUnplugged(
        transaction_id=str(said["transactionId"])[:64], at_ms=instant_ms(said.get("timestamp"))
    )


EXTENSIONS: Final[Mapping[str, Mapping[str, Extension]]] = {
    _COSTS: {"ConnectorUnplugged": Extension(_unplugged)},
}
"""By vendor and message id."""


# --- both ways ------------------------------------------------------------------------------------


def data_transfer(
    extensions: Mapping[str, Mapping[str, Extension]], *, text_only: bool = False
) -> Block:
    """The functional block of DataTransfer; 1.6 takes `text_only`."""

    def read(payload: dict[str, Any]) -> Event:
        vendor_id, message_id = payload["vendorId"], payload.get("messageId", "")
        messages = extensions.get(vendor_id)
        extension = None if messages is None else messages.get(message_id)
        data = payload.get("data")
        return events.DataTransferred(
            vendor_id,
            message_id,
            data,
            vendor_known=messages is not None,
            message_known=extension is not None,
            meaning=None if extension is None else extension.read(data),
        )

    def reply(answer: TransferAnswer) -> dict[str, Any]:
        payload: dict[str, Any] = {"status": answer.status}
        extension = extensions.get(answer.vendor_id, {}).get(answer.message_id)
        if extension is not None and answer.meaning is not None:
            data = extension.write(answer.meaning)
            if data is not None:
                payload["data"] = json_text(data) if text_only else data
        return payload

    def write(command: TransferData, _: int) -> dict[str, Any]:
        payload: dict[str, Any] = {"vendorId": command.vendor_id}
        if command.message_id:
            payload["messageId"] = command.message_id
        if command.data is not None:
            payload["data"] = json_text(command.data) if text_only else command.data
        return payload

    return Block(
        readers={"DataTransfer": read},
        replies={TransferAnswer: reply},
        writers={TransferData: ("DataTransfer", write)},
    )


def running_cost(command: UpdateCost, now_ms: int) -> dict[str, Any] | Fault:
    """The DataTransfer by which a 1.6 station shows the running cost of a transaction."""
    if not command.transaction_id.isdecimal():
        return Fault("FormationViolation", "transaction ids of OCPP 1.6 are numbers")
    prices = {
        "kWhPrice": command.price_per_kwh,
        "hourPrice": command.price_per_hour,
        "flatFee": command.flat_fee,
    }
    given = {name: float(price) for name, price in prices.items() if price is not None}
    data: dict[str, Any] = {
        "transactionId": int(command.transaction_id),
        "timestamp": iso_from_ms(now_ms),
        "meterValue": command.meter_wh or 0,
        "cost": money(command.total_cost),
        "state": "Idle" if command.idle else "Charging",
    }
    if given:
        data["idlePrice" if command.idle else "chargingPrice"] = given
    return {"vendorId": _COSTS, "messageId": "RunningCost", "data": json_text(data)}


def money(amount: Decimal) -> float:
    """An amount as the JSON number with the same digits, up to 15 of them."""
    return float(amount)


def json_text(data: Any) -> str:
    """Text as it is; anything else as JSON text."""
    return data if isinstance(data, str) else msgspec.json.encode(data).decode()


def _object(data: Any) -> dict[str, Any] | None:
    """The JSON object that data is or, as text, holds."""
    if isinstance(data, str):
        try:
            data = msgspec.json.decode(data)
        except msgspec.DecodeError:
            return None
    return data if isinstance(data, dict) else None
