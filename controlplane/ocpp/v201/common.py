"""What several functional blocks of 2.x read alike."""

from __future__ import annotations

from typing import Any

from controlplane.ocpp.dialect import CONNECTOR_MAX
from controlplane.ocpp.events import Event, ReportReceived
from controlplane.ocpp.readings import bounded_integer, small_integer
from controlplane.ocpp.variables import VariableName

__all__ = ["evse_number", "report", "variable_name", "variable_place"]


def evse_number(value: Any) -> int:
    """The EVSE that a payload names; the station itself, 0, where the number is beyond all
    bounds."""
    return small_integer(value, maximum=CONNECTOR_MAX)


def variable_name(payload: dict[str, Any]) -> VariableName:
    """The variable that a payload's `component` and `variable` name; of a component without a
    variable, all of it."""
    component = payload["component"]
    variable = payload.get("variable", {})
    evse = component.get("evse", {})
    return VariableName(
        component=component["name"],
        variable=variable.get("name", ""),
        component_instance=component.get("instance", ""),
        variable_instance=variable.get("instance", ""),
        evse_id=evse_number(evse.get("id", 0)),
        connector_id=evse_number(evse.get("connectorId", 0)),
    )


def variable_place(name: VariableName) -> dict[str, Any]:
    """`component` and `variable` of a payload."""
    component: dict[str, Any] = {"name": name.component}
    if name.component_instance:
        component["instance"] = name.component_instance
    if name.evse_id:
        component["evse"] = {"id": name.evse_id}
        if name.connector_id:
            component["evse"]["connectorId"] = name.connector_id
    if not name.variable:
        return {"component": component}
    variable = {"name": name.variable}
    if name.variable_instance:
        variable["instance"] = name.variable_instance
    return {"component": component, "variable": variable}


def report(action: str, payload: dict[str, Any], *, personal: bool = False) -> Event:
    """A part of a report; 2.x stations say with `tbc` that it is to be continued."""
    return ReportReceived(
        action,
        bounded_integer(payload["requestId"]),
        payload.get("tbc", False),
        payload,
        personal=personal,
    )
