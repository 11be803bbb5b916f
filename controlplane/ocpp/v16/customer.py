"""What a 1.6 station tells a customer: no message of its own, but an agreed extension."""

from __future__ import annotations

from controlplane.ocpp import commands
from controlplane.ocpp.dialect import Block
from controlplane.ocpp.extensions import running_cost

__all__ = ["CUSTOMER"]

CUSTOMER = Block(writers={commands.UpdateCost: ("DataTransfer", running_cost)})
