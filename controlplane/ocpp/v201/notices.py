"""What a 2.x station reports and nobody here acts on."""

from __future__ import annotations

from controlplane.ocpp.dialect import Block

__all__ = ["NOTICES"]

NOTICES = Block(
    notices=frozenset(
        {
            "NotifyEvent",
            "NotifyMonitoringReport",
            "NotifyReport",
            "ReservationStatusUpdate",
        }
    )
)
