"""Keeping a connector for a driver (1.6 section 5.2 and 5.13, 2.x part 2 block H)."""

from __future__ import annotations

from controlplane.ocpp.commands.core import Command
from controlplane.tokens import TokenType

__all__ = ["CancelReservation", "ReserveNow"]


class ReserveNow(Command, frozen=True, tag="reserve_now"):
    """Keep a connector for a token until `until_ms`. `connector_id` 0 is any connector, where 2.x
    stations may be told of which type (`connector_type`, the specification's word)."""

    number: int
    connector_id: int
    id_token: str
    until_ms: int
    id_token_type: TokenType = TokenType.CENTRAL
    group_id: str | None = None
    connector_type: str = ""


class CancelReservation(Command, frozen=True, tag="cancel_reservation"):
    number: int
