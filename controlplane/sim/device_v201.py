"""The device model of a simulated 2.0.1 station: what it reports of itself, in parts, and the
monitors that are set on it (2.0.1 part 2 B07, N02 to N07).

Independent of the server's code: payloads are written from the specification."""

# The decorators of the ocpp package are not typed.
# mypy: disallow-untyped-decorators=False

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ocpp.routing import after, on
from ocpp.v201 import call, call_result
from ocpp.v201.enums import Action

if TYPE_CHECKING:
    from controlplane.sim.station import Station

__all__ = ["DeviceModel", "DeviceModelCalls"]

_PART_SIZE = 4
"""Variables in one message of a report; few, so that every report has several."""
_MEASURANDS = "SampledDataCtrlr.TxUpdatedMeasurands"
_UNITS = {"HeartbeatInterval": "s", "TxUpdatedInterval": "s", "Interval": "s"}


class DeviceModel:
    """What one station tells of itself.

    Args:
        station: the station.
        settings: what can be set, by `Component.Variable`; shared with its owner.
        readonly: what cannot.
    """

    def __init__(
        self, station: Station, settings: dict[str, str], readonly: dict[str, str]
    ) -> None:
        self._station = station
        self._settings = settings
        self._readonly = readonly
        self.monitors: dict[int, dict[str, Any]] = {}
        self._events = 0

    def report(self, request_id: int, wanted: Callable[[str], bool] = lambda _: True) -> None:
        """Send the variables whose names are `wanted`, in parts."""
        rows = [row for name, row in self._rows() if wanted(name)]
        parts = [rows[at : at + _PART_SIZE] for at in range(0, len(rows), _PART_SIZE)]
        for seq_no, part in enumerate(parts):
            message = call.NotifyReport(
                request_id=request_id,
                generated_at=self._station.now_iso(),
                seq_no=seq_no,
                report_data=part,
                tbc=seq_no < len(parts) - 1,
            )
            self._send(message)

    def _rows(self) -> list[tuple[str, dict[str, Any]]]:
        rows = []
        for values, mutability in ((self._settings, "ReadWrite"), (self._readonly, "ReadOnly")):
            for name, value in values.items():
                row = _row(name, value, mutability)
                if name == _MEASURANDS:
                    row["variable_characteristics"] = {
                        "data_type": "MemberList",
                        "supports_monitoring": False,
                        "values_list": (
                            "Energy.Active.Import.Register,Power.Active.Import,Current.Import,SoC"
                        ),
                    }
                rows.append((name, row))
        for outlet in self._station.outlets.values():
            spec = outlet.spec
            grid_w = spec.current_max_a * spec.voltage_v * len(spec.lines)
            power_max_w = math.ceil(grid_w * spec.efficiency)
            row = _row("EVSE.Power", str(round(outlet.draw.power_w)), "ReadOnly")
            row["component"]["evse"] = {"id": spec.connector_id}
            row["variable_characteristics"] |= {"unit": "W", "max_limit": float(power_max_w)}
            rows.append(("EVSE.Power", row))
        return rows

    def set_monitor(self, wanted: dict[str, Any]) -> dict[str, Any]:
        """Set one monitor; the result as SetVariableMonitoring tells it."""
        place = {"component": wanted["component"], "variable": wanted["variable"]}
        result = {"type": wanted["type"], "severity": wanted["severity"], **place}
        names = {name for name, _ in self._rows()}
        if f"{place['component']['name']}.{place['variable']['name']}" not in names:
            return result | {"status": "UnknownVariable"}
        monitor_id = wanted.get("id", max(self.monitors, default=0) + 1)
        self.monitors[monitor_id] = wanted
        return result | {"id": monitor_id, "status": "Accepted"}

    def report_monitors(self, request_id: int) -> None:
        """Send every monitor, one in a message."""
        for seq_no, (monitor_id, monitor) in enumerate(self.monitors.items()):
            message = call.NotifyMonitoringReport(
                request_id=request_id,
                seq_no=seq_no,
                generated_at=self._station.now_iso(),
                tbc=seq_no < len(self.monitors) - 1,
                monitor=[
                    {
                        "component": monitor["component"],
                        "variable": monitor["variable"],
                        "variable_monitoring": [
                            {
                                "id": monitor_id,
                                "transaction": monitor.get("transaction", False),
                                "value": monitor["value"],
                                "type": monitor["type"],
                                "severity": monitor["severity"],
                            }
                        ],
                    }
                ],
            )
            self._send(message)

    def alert(self, monitor_id: int, value: str, *, cleared: bool = False) -> None:
        """Tell that a monitor's threshold was crossed, or that this is over."""
        self._events += 1
        monitor = self.monitors[monitor_id]
        event = {
            "event_id": self._events,
            "timestamp": self._station.now_iso(),
            "trigger": "Alerting",
            "actual_value": value,
            "cleared": cleared,
            "variable_monitoring_id": monitor_id,
            "event_notification_type": "CustomMonitor",
            "component": monitor["component"],
            "variable": monitor["variable"],
        }
        message = call.NotifyEvent(
            generated_at=self._station.now_iso(), seq_no=0, event_data=[event]
        )
        self._send(message)

    def _send(self, message: Any) -> None:
        self._station.post(lambda: message, keep=False)


def _row(name: str, value: str, mutability: str) -> dict[str, Any]:
    component, variable = name.split(".")
    data_type = "integer" if value.isdecimal() else "string"
    characteristics: dict[str, Any] = {
        "data_type": data_type,
        "supports_monitoring": mutability == "ReadOnly",
    }
    if variable in _UNITS:
        characteristics["unit"] = _UNITS[variable]
    return {
        "component": {"name": component},
        "variable": {"name": variable},
        "variable_attribute": [{"value": value, "mutability": mutability, "persistent": True}],
        "variable_characteristics": characteristics,
    }


class DeviceModelCalls:
    """The CSMS's calls for it; part of a connection's ChargePoint."""

    device: DeviceModel

    @on(Action.get_base_report)
    def on_get_base_report(self, request_id: int, report_base: str) -> Any:
        return call_result.GetBaseReport(status="Accepted")

    @after(Action.get_base_report)
    async def after_get_base_report(self, request_id: int, report_base: str) -> None:
        self.device.report(request_id)

    @on(Action.get_report)
    def on_get_report(self, request_id: int, **_: Any) -> Any:
        return call_result.GetReport(status="Accepted")

    @after(Action.get_report)
    async def after_get_report(
        self, request_id: int, component_variable: list[dict[str, Any]] | None = None, **_: Any
    ) -> None:
        names = {
            f"{wanted['component']['name']}.{wanted.get('variable', {}).get('name', '')}"
            for wanted in component_variable or ()
        }
        self.device.report(
            request_id,
            lambda name: not names or name in names or f"{name.split('.')[0]}." in names,
        )

    @on(Action.set_variable_monitoring)
    def on_set_variable_monitoring(self, set_monitoring_data: list[dict[str, Any]]) -> Any:
        return call_result.SetVariableMonitoring(
            set_monitoring_result=[self.device.set_monitor(each) for each in set_monitoring_data]
        )

    @on(Action.clear_variable_monitoring)
    def on_clear_variable_monitoring(self, id: list[int]) -> Any:
        return call_result.ClearVariableMonitoring(
            clear_monitoring_result=[
                {
                    "id": each,
                    "status": "NotFound"
                    if self.device.monitors.pop(each, None) is None
                    else "Accepted",
                }
                for each in id
            ]
        )

    @on(Action.get_monitoring_report)
    def on_get_monitoring_report(self, request_id: int, **_: Any) -> Any:
        status = "Accepted" if self.device.monitors else "EmptyResultSet"
        return call_result.GetMonitoringReport(status=status)

    @after(Action.get_monitoring_report)
    async def after_get_monitoring_report(self, request_id: int, **_: Any) -> None:
        self.device.report_monitors(request_id)

    @on(Action.set_monitoring_base)
    def on_set_monitoring_base(self, monitoring_base: str) -> Any:
        if monitoring_base != "All":
            self.device.monitors.clear()
        return call_result.SetMonitoringBase(status="Accepted")

    @on(Action.set_monitoring_level)
    def on_set_monitoring_level(self, severity: int) -> Any:
        return call_result.SetMonitoringLevel(status="Accepted")
