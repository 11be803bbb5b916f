"""Reservations of a 2.x station: H01 to H04."""

from __future__ import annotations

from typing import Any, Final

from controlplane.ocpp import commands, events
from controlplane.ocpp.dialect import Block
from controlplane.ocpp.events import Event
from controlplane.ocpp.readings import small_integer
from controlplane.ocpp.v201.authorization import ID_TOKEN_MAX, id_token_of
from controlplane.tokens import TokenType
from controlplane.units import iso_from_ms

__all__ = ["RESERVATION"]


def _reserve(command: commands.ReserveNow, _: int) -> dict[str, Any]:
    payload: dict[str, Any] = {
        "id": command.number,
        "expiryDateTime": iso_from_ms(command.until_ms),
        "idToken": id_token_of(command.id_token, command.id_token_type),
    }
    if command.connector_id:
        # H01.FR.07: without an EVSE any will do.
        payload["evseId"] = command.connector_id
    if command.connector_type:
        payload["connectorType"] = command.connector_type
    if command.group_id is not None and len(command.group_id) <= ID_TOKEN_MAX:
        payload["groupIdToken"] = id_token_of(command.group_id, TokenType.CENTRAL)
    return payload


def _cancel(command: commands.CancelReservation, _: int) -> dict[str, Any]:
    return {"reservationId": command.number}


def _updated(payload: dict[str, Any]) -> Event:
    return events.ReservationUpdated(
        number=small_integer(payload["reservationId"], maximum=2**53),
        status=payload["reservationUpdateStatus"],
    )


RESERVATION: Final = Block(
    readers={"ReservationStatusUpdate": _updated},
    writers={
        commands.CancelReservation: ("CancelReservation", _cancel),
        commands.ReserveNow: ("ReserveNow", _reserve),
    },
)
