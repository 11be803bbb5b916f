"""What several functional blocks of 2.x read alike."""

from __future__ import annotations

from typing import Any

from controlplane.ocpp.dialect import CONNECTOR_MAX
from controlplane.ocpp.events import Event, ReportReceived
from controlplane.ocpp.readings import bounded_integer, small_integer

__all__ = ["evse_number", "report"]


def evse_number(value: Any) -> int:
    """The EVSE that a payload names; the station itself, 0, where the number is beyond all
    bounds."""
    return small_integer(value, maximum=CONNECTOR_MAX)


def report(action: str, payload: dict[str, Any], *, personal: bool = False) -> Event:
    """A part of a report; 2.x stations say with `tbc` that it is to be continued."""
    return ReportReceived(
        action,
        bounded_integer(payload["requestId"]),
        payload.get("tbc", False),
        payload,
        personal=personal,
    )
