"""Which OCPP versions are spoken: the one table from a subprotocol to its dialect."""

from __future__ import annotations

from typing import Final

from controlplane.ocpp.dialect import Dialect
from controlplane.ocpp.v16 import Dialect16
from controlplane.ocpp.v201 import Dialect201

__all__ = ["DIALECTS", "SUBPROTOCOLS"]

DIALECTS: Final[dict[str, Dialect]] = {
    dialect.version: dialect for dialect in (Dialect201(), Dialect16())
}
"""By subprotocol, the preferred one first."""

SUBPROTOCOLS: Final = tuple(DIALECTS)
"""What a gateway offers, in the order of preference."""
