"""EVSEs of a 2.x station, and that it is there: G01 to G05."""

from __future__ import annotations

from typing import Any, Final

from controlplane.ocpp import commands, events
from controlplane.ocpp.dialect import Block, TimeAnswer
from controlplane.ocpp.events import ConnectorStatus, Event
from controlplane.ocpp.readings import instant_ms
from controlplane.ocpp.v201.common import evse_number
from controlplane.units import iso_s_from_ms

__all__ = ["AVAILABILITY"]

_STATUS: Final = {
    "Available": ConnectorStatus.AVAILABLE,
    "Occupied": ConnectorStatus.OCCUPIED,
    "Reserved": ConnectorStatus.RESERVED,
    "Unavailable": ConnectorStatus.UNAVAILABLE,
    "Faulted": ConnectorStatus.FAULTED,
}


def _heartbeat(_: dict[str, Any]) -> Event:
    return events.Heartbeat()


def _time_reply(answer: TimeAnswer) -> dict[str, Any]:
    return {"currentTime": iso_s_from_ms(answer.now_ms)}


def _status_changed(payload: dict[str, Any]) -> Event:
    return events.StatusChanged(
        connector_id=evse_number(payload["evseId"]),
        status=_STATUS[payload["connectorStatus"]],
        error_code="",
        at_ms=instant_ms(payload["timestamp"]),
        plug=evse_number(payload["connectorId"]),
    )


def _change_availability(command: commands.ChangeAvailability, _: int) -> dict[str, Any]:
    payload: dict[str, Any] = {
        "operationalStatus": "Operative" if command.operative else "Inoperative"
    }
    if command.connector_id:
        # G04: without an EVSE the whole station is meant.
        payload["evse"] = {"id": command.connector_id}
    return payload


AVAILABILITY = Block(
    readers={"Heartbeat": _heartbeat, "StatusNotification": _status_changed},
    replies={TimeAnswer: _time_reply},
    writers={commands.ChangeAvailability: ("ChangeAvailability", _change_availability)},
)
