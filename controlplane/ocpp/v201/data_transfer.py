"""Messages of makers of their own: P01 and P02."""

from __future__ import annotations

from typing import Any

from controlplane.ocpp import events
from controlplane.ocpp.dialect import Block, TransferAnswer
from controlplane.ocpp.events import Event

__all__ = ["DATA_TRANSFER"]


def _data_transferred(payload: dict[str, Any]) -> Event:
    return events.DataTransferred(
        vendor_id=payload["vendorId"],
        message_id=payload.get("messageId", ""),
        data=payload.get("data"),
    )


def _transfer_reply(answer: TransferAnswer) -> dict[str, Any]:
    payload: dict[str, Any] = {"status": answer.status}
    if answer.data is not None:
        payload["data"] = answer.data
    return payload


DATA_TRANSFER = Block(
    readers={"DataTransfer": _data_transferred},
    replies={TransferAnswer: _transfer_reply},
)
