"""Ad-hoc payment begun on a driver's telephone (2.1, C25)."""

from __future__ import annotations

from controlplane.ocpp.commands.core import Command

__all__ = ["NotifyWebPayment"]


class NotifyWebPayment(Command, frozen=True, tag="notify_web_payment"):
    """A driver has scanned the code of an EVSE and is paying: let nobody else begin there for
    `timeout_s`."""

    connector_id: int
    timeout_s: int
