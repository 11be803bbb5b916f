"""Which OCPP versions are spoken: the one table from a subprotocol to its dialect."""

from __future__ import annotations

from typing import Final

from controlplane.ocpp.dialect import Dialect
from controlplane.ocpp.v16 import DIALECT_16
from controlplane.ocpp.v201 import DIALECT_201

__all__ = ["DIALECTS", "SUBPROTOCOLS"]

DIALECTS: Final[dict[str, Dialect]] = {
    dialect.version: dialect for dialect in (DIALECT_201, DIALECT_16)
}
"""By subprotocol, the preferred one first."""

SUBPROTOCOLS: Final = tuple(DIALECTS)
"""What a gateway offers, in the order of preference."""
