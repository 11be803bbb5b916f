"""Battery swaps begun from afar (2.1, S02)."""

from __future__ import annotations

from controlplane.ocpp.commands.core import Command

__all__ = ["RequestBatterySwap"]


class RequestBatterySwap(Command, frozen=True, tag="request_battery_swap"):
    """Let the driver of a token swap; 0 lets the charger's actor number the request."""

    id_token: str
    id_token_type: str = "Central"
    request_id: int = 0
