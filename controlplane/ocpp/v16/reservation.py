"""Reservations of a 1.6 station: section 5.2 and 5.13. It tells of them by its connectors' status
alone."""

from __future__ import annotations

from typing import Any, Final

from controlplane.ocpp import commands
from controlplane.ocpp.dialect import Block
from controlplane.ocpp.framing import Fault
from controlplane.ocpp.v16.authorization import ID_TAG_MAX
from controlplane.units import iso_from_ms

__all__ = ["RESERVATION"]


def _reserve(command: commands.ReserveNow, _: int) -> dict[str, Any] | Fault:
    if command.connector_type:
        return Fault("NotSupported", "OCPP 1.6 reserves no connector by its type")
    payload: dict[str, Any] = {
        "connectorId": command.connector_id,
        "expiryDate": iso_from_ms(command.until_ms),
        "idTag": command.id_token,
        "reservationId": command.number,
    }
    if command.group_id is not None and len(command.group_id) <= ID_TAG_MAX:
        payload["parentIdTag"] = command.group_id
    return payload


def _cancel(command: commands.CancelReservation, _: int) -> dict[str, Any]:
    return {"reservationId": command.number}


RESERVATION: Final = Block(
    writers={
        commands.CancelReservation: ("CancelReservation", _cancel),
        commands.ReserveNow: ("ReserveNow", _reserve),
    },
)
