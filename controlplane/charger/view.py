"""How a charger looks from outside."""

from __future__ import annotations

from controlplane.charger.local_list import ListState
from controlplane.charger.memory import Alarm, ChargerMemory, Connector, FirmwareUpdate, LogUpload
from controlplane.charger.messages import (
    AlarmView,
    ChargerCondition,
    ChargerView,
    ConnectorView,
    LocalListView,
    UpdateView,
    UploadView,
)
from controlplane.ocpp.events import ConnectorStatus

__all__ = ["charger_condition", "charger_view"]


def charger_condition(memory: ChargerMemory, *, online: bool) -> ChargerCondition:
    """The charger for whoever counts many: what it told of its connectors last."""
    connectors = memory.connectors.values()
    sessions, power_w = 0, 0
    for session in memory.open_sessions():
        sessions += 1
        connector = memory.connectors.get(session.connector_id)
        power_w += (connector.power_w or 0) if online and connector is not None else 0
    return ChargerCondition(
        online=online,
        faulted=any(each.status is ConnectorStatus.FAULTED for each in connectors),
        statuses=tuple(
            "unknown" if each.status is None else each.status.value
            for each in connectors
            if each.id
        ),
        sessions=sessions,
        power_w=power_w,
    )


def charger_view(
    memory: ChargerMemory,
    *,
    online: bool,
    last_seen_ms: int | None,
    now_ms: int,
    list_state: ListState = ListState.OFF,
) -> ChargerView:
    """The charger and its connectors: those that were described and those that it told of."""
    described = () if memory.described is None else memory.described.connectors
    connector_ids = {*memory.connectors, *(connector.id for connector in described)} - {0}
    return ChargerView(
        charger_id=memory.charger_id,
        site_id=memory.site_id,
        online=online,
        ocpp_version=memory.ocpp_version,
        vendor=memory.vendor,
        model=memory.model,
        firmware=memory.firmware,
        serial_number=memory.serial_number,
        last_seen_ms=last_seen_ms,
        connectors=tuple(
            _connector_view(memory, connector_id, now_ms) for connector_id in sorted(connector_ids)
        ),
        local_list=LocalListView(
            list_state.value, memory.local_list.number, memory.local_list.synced
        ),
        quirks=memory.quirks()[0],
        learned=_learned(memory),
        alarms=tuple(
            AlarmView(
                variable=alarm.key,
                connector_id=alarm.evse_id,
                severity=alarm.severity,
                since_ms=alarm.since_ms,
                value=alarm.value,
                trigger=alarm.trigger,
                fault=alarm.fault,
                monitor_id=alarm.monitor_id,
                transaction_id=alarm.transaction_id,
                tech_code=alarm.tech_code,
                tech_info=alarm.tech_info,
            )
            for alarm in sorted(memory.alarms, key=_severity)
        ),
        settings_complete_ms=memory.report.complete_ms,
        update=_update_view(memory.firmware_update),
        upload=_upload_view(memory.log_upload),
    )


def _update_view(update: FirmwareUpdate | None) -> UpdateView | None:
    if update is None:
        return None
    return UpdateView(
        update.request_id,
        update.version,
        update.campaign_id,
        update.status,
        update.changed_ms,
        update.ended_ms is not None,
    )


def _upload_view(upload: LogUpload | None) -> UploadView | None:
    if upload is None:
        return None
    return UploadView(
        upload.request_id,
        upload.kind,
        upload.name,
        upload.status,
        upload.changed_ms,
        upload.ended_ms is not None,
    )


def _severity(alarm: Alarm) -> tuple[int, int]:
    return 10 if alarm.severity is None else alarm.severity, alarm.since_ms


def _learned(memory: ChargerMemory) -> dict[str, str]:
    learned = {name: str(value) for name, value in memory.learned.form.items()}
    if memory.learned.measurands:
        learned["measurands"] = memory.learned.measurands
    return learned


def _connector_view(memory: ChargerMemory, connector_id: int, now_ms: int) -> ConnectorView:
    connector = memory.connectors.get(connector_id) or Connector(connector_id)
    session = memory.open_session_on(connector_id)
    external_ma, source = memory.external_limit(connector_id, now_ms) or (None, "")
    if external_ma is None:
        # Some stations say that they are limited and keep to themselves to what.
        silent = [
            each.source for each in memory.external_limits if each.connector_id in (0, connector_id)
        ]
        source = silent[-1] if silent else ""
    return ConnectorView(
        connector_id=connector_id,
        status=memory.status(connector_id),
        error_code=connector.error_code,
        session_id=None if session is None else session.session_id,
        energy_wh=0 if session is None else session.register.energy_wh,
        power_w=connector.power_w,
        current_ma=connector.current_ma,
        soc_percent=connector.soc_percent,
        limit_ma=connector.limit_ma,
        external_limit_ma=external_ma,
        external_limit_source=source,
    )
