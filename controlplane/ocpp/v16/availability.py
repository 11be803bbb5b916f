"""Connectors of a 1.6 station, and that it is there: section 4.6, 4.9 and 5.2."""

from __future__ import annotations

from typing import Any, Final

from controlplane.ocpp import commands, events
from controlplane.ocpp.dialect import Block, TimeAnswer
from controlplane.ocpp.events import ConnectorStatus, Event
from controlplane.ocpp.readings import instant_ms
from controlplane.ocpp.v16.common import connector_number
from controlplane.units import iso_s_from_ms

__all__ = ["AVAILABILITY"]

_STATUS: Final = {
    "Available": ConnectorStatus.AVAILABLE,
    "Preparing": ConnectorStatus.PREPARING,
    "Charging": ConnectorStatus.CHARGING,
    "SuspendedEV": ConnectorStatus.SUSPENDED_EV,
    "SuspendedEVSE": ConnectorStatus.SUSPENDED_EVSE,
    "Finishing": ConnectorStatus.FINISHING,
    "Reserved": ConnectorStatus.RESERVED,
    "Unavailable": ConnectorStatus.UNAVAILABLE,
    "Faulted": ConnectorStatus.FAULTED,
}


def _heartbeat(_: dict[str, Any]) -> Event:
    return events.Heartbeat()


def _time_reply(answer: TimeAnswer) -> dict[str, Any]:
    return {"currentTime": iso_s_from_ms(answer.now_ms)}


def _status_changed(payload: dict[str, Any]) -> Event:
    error = payload["errorCode"]
    return events.StatusChanged(
        connector_id=connector_number(payload),
        status=_STATUS[payload["status"]],
        error_code="" if error == "NoError" else error,
        at_ms=instant_ms(payload.get("timestamp")),
        vendor_error_code=payload.get("vendorErrorCode", ""),
        info=payload.get("info", ""),
    )


def _change_availability(command: commands.ChangeAvailability, _: int) -> dict[str, Any]:
    kind = "Operative" if command.operative else "Inoperative"
    return {"connectorId": command.connector_id, "type": kind}


AVAILABILITY = Block(
    readers={"Heartbeat": _heartbeat, "StatusNotification": _status_changed},
    replies={TimeAnswer: _time_reply},
    writers={commands.ChangeAvailability: ("ChangeAvailability", _change_availability)},
)
