"""What several functional blocks of 2.x read alike."""

from __future__ import annotations

from typing import Any

from controlplane.ocpp.dialect import CONNECTOR_MAX
from controlplane.ocpp.readings import small_integer

__all__ = ["evse_number"]


def evse_number(value: Any) -> int:
    """The EVSE that a payload names; the station itself, 0, where the number is beyond all
    bounds."""
    return small_integer(value, maximum=CONNECTOR_MAX)
