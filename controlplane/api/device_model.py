"""`DeviceModelService`: what chargers say of themselves, and the monitors that watch it."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable
from typing import Any, Literal

from controlplane.api.backend import Backend, invalid, page_size, timestamp
from controlplane.api.event_streams import stream_rate
from controlplane.api.executing import execute, outcome_of, require_charger
from controlplane.api.v1 import device_model_pb2, device_model_pb2_grpc
from controlplane.ids import ChargerId
from controlplane.ocpp import commands
from controlplane.store.records import MonitorRecord, VariableRecord

__all__ = ["DeviceModel"]

_FILTER_MAX = 200
_KEYS_MAX = 200
_MONITORS_MAX = 100
_CLEARED_MAX = 1_000
_SEVERITY_MAX = 9

MonitorKind = Literal[
    "UpperThreshold",
    "LowerThreshold",
    "Delta",
    "Periodic",
    "PeriodicClockAligned",
    "TargetDelta",
    "TargetDeltaRelative",
]
_KINDS: dict[device_model_pb2.MonitorKind.ValueType, MonitorKind] = {
    device_model_pb2.MONITOR_KIND_UPPER_THRESHOLD: "UpperThreshold",
    device_model_pb2.MONITOR_KIND_LOWER_THRESHOLD: "LowerThreshold",
    device_model_pb2.MONITOR_KIND_DELTA: "Delta",
    device_model_pb2.MONITOR_KIND_PERIODIC: "Periodic",
    device_model_pb2.MONITOR_KIND_PERIODIC_CLOCK_ALIGNED: "PeriodicClockAligned",
    device_model_pb2.MONITOR_KIND_TARGET_DELTA: "TargetDelta",
    device_model_pb2.MONITOR_KIND_TARGET_DELTA_RELATIVE: "TargetDeltaRelative",
}
_KIND_NUMBERS: dict[str, device_model_pb2.MonitorKind.ValueType] = {
    word: number for number, word in _KINDS.items()
}
_BASES: dict[int, Literal["all", "factory", "hard_wired"]] = {
    device_model_pb2.MONITORING_BASE_ALL: "all",
    device_model_pb2.MONITORING_BASE_FACTORY: "factory",
    device_model_pb2.MONITORING_BASE_HARD_WIRED: "hard_wired",
}
_COMPONENT_CRITERIA = ("Active", "Available", "Enabled", "Problem")
_MONITOR_CRITERIA = ("ThresholdMonitoring", "DeltaMonitoring", "PeriodicMonitoring")


class DeviceModel(device_model_pb2_grpc.DeviceModelServiceServicer):
    """Answers `controlplane.api.v1.DeviceModelService`."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend

    async def GetDeviceModel(
        self, request: device_model_pb2.GetDeviceModelRequest, context: Any
    ) -> device_model_pb2.GetDeviceModelResponse:
        if len(request.filter) > _FILTER_MAX:
            raise invalid("filter", f"at most {_FILTER_MAX} characters")
        await require_charger(self._backend, request.charger_id)
        records, token = await self._backend.reader.variables(
            ChargerId(request.charger_id),
            filter=request.filter,
            page_size=page_size(request.page_size),
            page_token=request.page_token,
        )
        return device_model_pb2.GetDeviceModelResponse(
            variables=[_variable_to_message(record) for record in records], next_page_token=token
        )

    async def RefreshDeviceModel(
        self, request: device_model_pb2.RefreshDeviceModelRequest, context: Any
    ) -> device_model_pb2.RefreshDeviceModelResponse:
        result = await execute(self._backend, commands.GetBaseReport(), request, context)
        return device_model_pb2.RefreshDeviceModelResponse(outcome=outcome_of(result))

    async def GetReport(
        self, request: device_model_pb2.GetReportRequest, context: Any
    ) -> device_model_pb2.GetReportResponse:
        criteria = _criteria(request.criteria, _COMPONENT_CRITERIA)
        keys = _keys(request.keys)
        if not criteria and not keys:
            raise invalid("keys", "criteria or keys must be given; RefreshDeviceModel asks for all")
        command = commands.GetReport(criteria=criteria, keys=keys)
        result = await execute(self._backend, command, request, context)
        return device_model_pb2.GetReportResponse(outcome=outcome_of(result))

    async def ListMonitors(
        self, request: device_model_pb2.ListMonitorsRequest, context: Any
    ) -> device_model_pb2.ListMonitorsResponse:
        await require_charger(self._backend, request.charger_id)
        records, token = await self._backend.reader.monitors(
            ChargerId(request.charger_id),
            page_size=page_size(request.page_size),
            page_token=request.page_token,
        )
        return device_model_pb2.ListMonitorsResponse(
            monitors=[_monitor_to_message(record) for record in records], next_page_token=token
        )

    async def RefreshMonitors(
        self, request: device_model_pb2.RefreshMonitorsRequest, context: Any
    ) -> device_model_pb2.RefreshMonitorsResponse:
        command = commands.GetMonitoringReport(
            criteria=_criteria(request.criteria, _MONITOR_CRITERIA), keys=_keys(request.keys)
        )
        result = await execute(self._backend, command, request, context)
        return device_model_pb2.RefreshMonitorsResponse(outcome=outcome_of(result))

    async def SetVariableMonitoring(
        self, request: device_model_pb2.SetVariableMonitoringRequest, context: Any
    ) -> device_model_pb2.SetVariableMonitoringResponse:
        if not 1 <= len(request.monitors) <= _MONITORS_MAX:
            raise invalid("monitors", f"1 to {_MONITORS_MAX}")
        wanted = tuple(
            _monitor_wanted(monitor, f"monitors[{place}]")
            for place, monitor in enumerate(request.monitors)
        )
        command = commands.SetVariableMonitoring(wanted)
        result = await execute(self._backend, command, request, context)
        return device_model_pb2.SetVariableMonitoringResponse(
            outcome=outcome_of(result),
            results=_results(result.payload.get("setMonitoringResult", ())),
        )

    async def ClearVariableMonitoring(
        self, request: device_model_pb2.ClearVariableMonitoringRequest, context: Any
    ) -> device_model_pb2.ClearVariableMonitoringResponse:
        if not 1 <= len(request.monitor_ids) <= _CLEARED_MAX:
            raise invalid("monitor_ids", f"1 to {_CLEARED_MAX}")
        command = commands.ClearVariableMonitoring(tuple(request.monitor_ids))
        result = await execute(self._backend, command, request, context)
        return device_model_pb2.ClearVariableMonitoringResponse(
            outcome=outcome_of(result),
            results=_results(result.payload.get("clearMonitoringResult", ())),
        )

    async def SetMonitoringBase(
        self, request: device_model_pb2.SetMonitoringBaseRequest, context: Any
    ) -> device_model_pb2.SetMonitoringBaseResponse:
        base = _BASES.get(request.base)
        if base is None:
            raise invalid("base", "must be MONITORING_BASE_ALL, _FACTORY or _HARD_WIRED")
        command = commands.SetMonitoringBase(base)
        result = await execute(self._backend, command, request, context)
        return device_model_pb2.SetMonitoringBaseResponse(outcome=outcome_of(result))

    async def SetMonitoringLevel(
        self, request: device_model_pb2.SetMonitoringLevelRequest, context: Any
    ) -> device_model_pb2.SetMonitoringLevelResponse:
        command = commands.SetMonitoringLevel(_severity(request.severity, "severity"))
        result = await execute(self._backend, command, request, context)
        return device_model_pb2.SetMonitoringLevelResponse(outcome=outcome_of(result))


def _criteria(given: Collection[str], known: tuple[str, ...]) -> tuple[str, ...]:
    for word in given:
        if word not in known:
            raise invalid("criteria", f"each one of {', '.join(known)}")
    return tuple(sorted(set(given)))


def _keys(given: Collection[str]) -> tuple[str, ...]:
    if len(given) > _KEYS_MAX:
        raise invalid("keys", f"at most {_KEYS_MAX}")
    return tuple(given)


def _severity(severity: int, field: str) -> int:
    if not 0 <= severity <= _SEVERITY_MAX:
        raise invalid(field, f"0 to {_SEVERITY_MAX}")
    return severity


def _monitor_wanted(monitor: device_model_pb2.Monitor, place: str) -> commands.MonitorWanted:
    kind = _KINDS.get(monitor.kind)
    if kind is None:
        raise invalid(f"{place}.kind", "must be given")
    if not math.isfinite(monitor.value):
        raise invalid(f"{place}.value", "must be a number")
    return commands.MonitorWanted(
        key=monitor.key,
        kind=kind,
        value=monitor.value,
        severity=_severity(monitor.severity, f"{place}.severity"),
        transaction=monitor.transaction,
        monitor_id=monitor.monitor_id if monitor.HasField("monitor_id") else None,
        stream=stream_rate(monitor.stream, f"{place}.stream")
        if monitor.HasField("stream")
        else None,
    )


def _results(told: Iterable[dict[str, Any]]) -> list[device_model_pb2.MonitorResult]:
    return [
        device_model_pb2.MonitorResult(monitor_id=result.get("id"), status=result["status"])
        for result in told
    ]


def _monitor_to_message(record: MonitorRecord) -> device_model_pb2.Monitor:
    return device_model_pb2.Monitor(
        monitor_id=record.monitor_id,
        key=record.key,
        kind=_KIND_NUMBERS.get(record.kind, device_model_pb2.MONITOR_KIND_UNSPECIFIED),
        value=record.value,
        severity=record.severity,
        transaction=record.transaction,
        reported_time=timestamp(record.reported_ms),
    )


def _variable_to_message(record: VariableRecord) -> device_model_pb2.Variable:
    return device_model_pb2.Variable(
        key=record.key,
        attribute=record.attribute,
        component=record.component,
        component_instance=record.component_instance,
        evse_id=record.evse_id,
        connector_id=record.connector_id,
        variable=record.variable,
        variable_instance=record.variable_instance,
        value=record.value,
        mutability=record.mutability,
        persistent=record.persistent,
        constant=record.constant,
        data_type=record.data_type,
        unit=record.unit,
        limit_min=record.limit_min,
        limit_max=record.limit_max,
        values_list=record.values_list,
        supports_monitoring=record.supports_monitoring,
        reported_time=timestamp(record.reported_ms),
    )
