"""Messages of makers of their own (1.6 section 5.6, 2.x P01)."""

from __future__ import annotations

from typing import Any

from controlplane.ocpp.commands.core import Command

__all__ = ["TransferData"]


class TransferData(Command, frozen=True, tag="transfer_data"):
    """`data` is any JSON value; 1.6 takes text only, so there anything else is written as JSON
    text."""

    vendor_id: str
    message_id: str = ""
    data: Any = None
