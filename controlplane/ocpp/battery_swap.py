"""Battery swapping: drivers hand in empty batteries and take full ones (OCPP 2.1 part 2, functional
block S)."""

from __future__ import annotations

from enum import StrEnum

import msgspec

from controlplane.ocpp.events import Event

__all__ = ["Battery", "BatterySwapped", "SwapStep"]


class SwapStep(StrEnum):
    """BatterySwapEventEnumType."""

    BATTERY_IN = "BatteryIn"
    BATTERY_OUT = "BatteryOut"
    BATTERY_OUT_TIMEOUT = "BatteryOutTimeout"
    """Nobody took what was handed out; it is locked again."""


class Battery(msgspec.Struct, frozen=True):
    """One battery in its slot. Percent of charge and of health, 0 to 100."""

    slot: int
    serial_number: str
    soc_percent: float
    soh_percent: float
    produced_ms: int | None = None
    vendor_info: str = ""


class BatterySwapped(Event, frozen=True, tag="battery_swapped"):
    """`request_id` joins what belongs to one swap, and to the request that began it, if any."""

    request_id: int
    step: SwapStep
    id_token: str
    id_token_type: str
    batteries: tuple[Battery, ...]
