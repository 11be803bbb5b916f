"""`ChargersService`: what chargers are doing, and what they are to do.

Its commands are those that every charger takes; the others have services of their own. How a
command is carried out is `executing`'s business."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from typing import Any

import orjson

from controlplane.api.backend import (
    Backend,
    Caller,
    ask_chargers,
    invalid,
    page_size,
    required,
    timestamp,
)
from controlplane.api.executing import (
    charger_ref,
    charger_unknown,
    connector_number,
    execute,
    outcome_of,
    request_number,
    require_charger,
    schedule_period_to_message,
)
from controlplane.api.network_profiles import network_profile
from controlplane.api.pace import Pace
from controlplane.api.sessions import require_session
from controlplane.api.v1 import chargers_pb2, chargers_pb2_grpc, electrical_pb2, network_pb2
from controlplane.charger.messages import (
    AlarmView,
    ChargerView,
    ConnectorView,
    GetCharger,
    LocalListView,
)
from controlplane.errors import Precondition
from controlplane.ids import ActorKind, ChargerId, SiteId
from controlplane.ocpp import answers, commands
from controlplane.ocpp.events import ConnectorStatus
from controlplane.store.records import ChargerRecord, JournalEvent

__all__ = ["Chargers"]

_WATCHED_MAX = 1_000
_SETTINGS_MAX = 200
_PROFILE_ACTIONS = frozenset({"SetChargingProfile", "ClearChargingProfile"})

_STATUSES = {
    status: chargers_pb2.ConnectorStatus.Value(f"CONNECTOR_STATUS_{status.name}")
    for status in ConnectorStatus
}


class Chargers(chargers_pb2_grpc.ChargersServiceServicer):
    """Answers `controlplane.api.v1.ChargersService`."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend

    async def ListChargers(
        self, request: chargers_pb2.ListChargersRequest, context: Any
    ) -> chargers_pb2.ListChargersResponse:
        records, token = await self._backend.reader.chargers(
            page_size(request.page_size),
            request.page_token,
            site_id=SiteId(request.site_id) if request.site_id else None,
        )
        if request.view == chargers_pb2.CHARGER_VIEW_BASIC:
            found = [
                chargers_pb2.Charger(charger_id=record.charger_id, site_id=record.site_id)
                for record in records
            ]
        else:
            found = await self._many(records, context)
        return chargers_pb2.ListChargersResponse(chargers=found, next_page_token=token)

    async def GetCharger(
        self, request: chargers_pb2.GetChargerRequest, context: Any
    ) -> chargers_pb2.GetChargerResponse:
        record = await require_charger(self._backend, request.charger_id)
        view = await self._backend.ask(
            charger_ref(request.charger_id), GetCharger(), ChargerView, context
        )
        if record is None and view.last_seen_ms is None and not view.online:
            raise charger_unknown(request.charger_id)
        return chargers_pb2.GetChargerResponse(charger=_charger_to_message(view))

    async def WatchChargers(
        self, request: chargers_pb2.WatchChargersRequest, context: Any
    ) -> AsyncIterator[chargers_pb2.WatchChargersResponse]:
        if len(request.charger_ids) > _WATCHED_MAX:
            raise invalid("charger_ids", f"at most {_WATCHED_MAX}")
        pace = Pace(request.interval_s, narrowed=bool(request.charger_ids or request.site_id))
        # The cursor is taken first: what happens while the chargers are read is told twice rather
        # than not at all.
        cursor = await self._backend.client.last_cursor()
        wanted = set(request.charger_ids)
        known = await self._backend.reader.chargers_named(map(ChargerId, sorted(wanted)))
        if missing := sorted(wanted.difference(known)):
            raise charger_unknown(missing[0])
        told: dict[str, list[chargers_pb2.Connector]] = {}
        async for response in self._all_matching(request, told, context):
            yield response
        async for batch in self._backend.follow(cursor, interval_s=pace.wait_s):
            kinds = _last_kinds(batch, wanted)
            directory = await self._backend.reader.chargers_named(kinds)
            changed = [
                record for record in directory.values() if request.site_id in {"", record.site_id}
            ]
            for charger in await self._many(changed, context):
                told[charger.charger_id] = list(charger.connectors)
                yield chargers_pb2.WatchChargersResponse(
                    charger=charger, event_kind=kinds[ChargerId(charger.charger_id)]
                )
            if pace.due():
                async for response in self._all_matching(request, told, context):
                    yield response

    async def RemoteStart(
        self, request: chargers_pb2.RemoteStartRequest, context: Any
    ) -> chargers_pb2.RemoteStartResponse:
        required(request, "id_token")
        if len(request.id_token) > 36:
            raise invalid("id_token", "1 to 36 characters")
        connector_id = None
        if request.HasField("connector_id"):
            connector_id = connector_number(request.connector_id, least=1)
        command = commands.RemoteStart(
            connector_id=connector_id,
            id_token=request.id_token,
            id_token_type=request.id_token_type or "Central",
            remote_start_id=request_number(request.request_id),
        )
        result = await execute(self._backend, command, request, context)
        return chargers_pb2.RemoteStartResponse(outcome=outcome_of(result))

    async def RemoteStop(
        self, request: chargers_pb2.RemoteStopRequest, context: Any
    ) -> chargers_pb2.RemoteStopResponse:
        if not (request.transaction_id or request.session_id):
            raise invalid("transaction_id", "transaction_id or session_id must be given")
        transaction_id = request.transaction_id
        if request.session_id:
            session = await require_session(self._backend, request.session_id)
            if session.charger_id != request.charger_id:
                raise invalid("session_id", f"is a session of charger {session.charger_id}")
            # One that has ended is not refused here: a repeated request must get the first answer.
            transaction_id = session.transaction_id
        result = await execute(self._backend, commands.RemoteStop(transaction_id), request, context)
        return chargers_pb2.RemoteStopResponse(outcome=outcome_of(result))

    async def ResetCharger(
        self, request: chargers_pb2.ResetChargerRequest, context: Any
    ) -> chargers_pb2.ResetChargerResponse:
        if request.kind not in chargers_pb2.ResetKind.values():
            raise invalid("kind", "not a kind of reset")
        resume = request.kind == chargers_pb2.RESET_KIND_HARD_AND_RESUME
        connector_id = None
        if request.HasField("connector_id"):
            connector_id = connector_number(request.connector_id, least=1)
        command = commands.Reset(
            hard=resume or request.kind == chargers_pb2.RESET_KIND_HARD,
            connector_id=connector_id,
            resume=resume,
        )
        result = await execute(self._backend, command, request, context)
        return chargers_pb2.ResetChargerResponse(outcome=outcome_of(result))

    async def UnlockConnector(
        self, request: chargers_pb2.UnlockConnectorRequest, context: Any
    ) -> chargers_pb2.UnlockConnectorResponse:
        command = commands.UnlockConnector(connector_number(request.connector_id, least=1))
        result = await execute(self._backend, command, request, context)
        return chargers_pb2.UnlockConnectorResponse(outcome=outcome_of(result))

    async def ChangeAvailability(
        self, request: chargers_pb2.ChangeAvailabilityRequest, context: Any
    ) -> chargers_pb2.ChangeAvailabilityResponse:
        operative = {
            chargers_pb2.AVAILABILITY_OPERATIVE: True,
            chargers_pb2.AVAILABILITY_INOPERATIVE: False,
        }.get(request.availability)
        if operative is None:
            raise invalid("availability", "must be AVAILABILITY_OPERATIVE or _INOPERATIVE")
        command = commands.ChangeAvailability(
            connector_id=connector_number(request.connector_id, least=0), operative=operative
        )
        result = await execute(self._backend, command, request, context)
        return chargers_pb2.ChangeAvailabilityResponse(outcome=outcome_of(result))

    async def TriggerMessage(
        self, request: chargers_pb2.TriggerMessageRequest, context: Any
    ) -> chargers_pb2.TriggerMessageResponse:
        required(request, "message")
        connector_id = None
        if request.HasField("connector_id"):
            connector_id = connector_number(request.connector_id, least=1)
        if bool(request.custom) != (request.message == "CustomTrigger"):
            raise invalid("custom", "is given with a CustomTrigger, and with nothing else")
        command = commands.Trigger(
            message=request.message, connector_id=connector_id, custom=request.custom
        )
        result = await execute(self._backend, command, request, context)
        return chargers_pb2.TriggerMessageResponse(outcome=outcome_of(result))

    async def GetSettings(
        self, request: chargers_pb2.GetSettingsRequest, context: Any
    ) -> chargers_pb2.GetSettingsResponse:
        if len(request.keys) > _SETTINGS_MAX:
            raise invalid("keys", f"at most {_SETTINGS_MAX}")
        result = await execute(
            self._backend, commands.GetSettings(tuple(request.keys)), request, context
        )
        return chargers_pb2.GetSettingsResponse(
            outcome=outcome_of(result),
            settings=[
                chargers_pb2.Setting(
                    key=setting.key,
                    value=setting.value,
                    read_only=setting.read_only,
                    status=setting.status,
                )
                for setting in answers.settings_answered(result.payload)
            ],
        )

    async def SetSettings(
        self, request: chargers_pb2.SetSettingsRequest, context: Any
    ) -> chargers_pb2.SetSettingsResponse:
        if not 1 <= len(request.settings) <= _SETTINGS_MAX:
            raise invalid("settings", f"1 to {_SETTINGS_MAX}")
        # A map of protobuf has no order of its own.
        command = commands.SetSettings(dict(sorted(request.settings.items())))
        result = await execute(self._backend, command, request, context)
        return chargers_pb2.SetSettingsResponse(outcome=outcome_of(result))

    async def GetCompositeSchedule(
        self, request: chargers_pb2.GetCompositeScheduleRequest, context: Any
    ) -> chargers_pb2.GetCompositeScheduleResponse:
        if not 0 <= request.duration_s <= 604_800:
            raise invalid("duration_s", "1 to 604800 s, or 0 for 3600 s")
        if request.unit not in network_pb2.LimitUnit.values():
            raise invalid("unit", "not a unit of limits")
        command = commands.GetCompositeSchedule(
            connector_id=connector_number(request.connector_id, least=0),
            duration_s=request.duration_s or 3_600,
            unit="W" if request.unit == network_pb2.LIMIT_UNIT_W else "A",
        )
        result = await execute(self._backend, command, request, context)
        schedule = answers.schedule_answered(result.payload)
        if schedule is None:
            return chargers_pb2.GetCompositeScheduleResponse(outcome=outcome_of(result))
        return chargers_pb2.GetCompositeScheduleResponse(
            outcome=outcome_of(result),
            start_time=timestamp(schedule.start_ms),
            duration_s=schedule.duration_s,
            periods=[
                schedule_period_to_message(period, schedule.unit) for period in schedule.periods
            ],
        )

    async def TransferData(
        self, request: chargers_pb2.TransferDataRequest, context: Any
    ) -> chargers_pb2.TransferDataResponse:
        required(request, "vendor_id")
        data: Any = None
        if request.HasField("data"):
            data = request.data
        elif request.HasField("data_json"):
            data = self._json(request, "data_json")
        command = commands.TransferData(request.vendor_id, request.message_id, data)
        result = await execute(self._backend, command, request, context)
        return chargers_pb2.TransferDataResponse(
            outcome=outcome_of(result), data=answers.transferred_answered(result.payload)
        )

    async def SetNetworkProfile(
        self, request: chargers_pb2.SetNetworkProfileRequest, context: Any
    ) -> chargers_pb2.SetNetworkProfileResponse:
        result = await execute(self._backend, network_profile(request), request, context)
        return chargers_pb2.SetNetworkProfileResponse(outcome=outcome_of(result))

    async def Call(
        self, request: chargers_pb2.CallRequest, context: Any
    ) -> chargers_pb2.CallResponse:
        required(request, "action")
        payload = self._json(request, "payload_json") if request.payload_json else {}
        if not isinstance(payload, dict):
            raise invalid("payload_json", "must be a JSON object")
        # A remote start may bring the profile of its transaction along.
        profiled = request.action in _PROFILE_ACTIONS or "chargingProfile" in payload
        if profiled and not request.outside_allocation:
            raise Precondition(
                f"{request.action} changes what the charger may draw, of which the site keeps "
                "account; limit the site instead, or say outside_allocation",
                reason="ALLOCATION_OWNS_PROFILES",
                metadata={"charger_id": request.charger_id},
            )
        command = commands.RawCall(action=request.action, payload=payload)
        result = await execute(self._backend, command, request, context)
        return chargers_pb2.CallResponse(outcome=outcome_of(result))

    def _json(self, request: Any, field: str) -> Any:
        """The JSON value in a field."""
        text = getattr(request, field)
        if len(text) > self._backend.settings.frame_max_bytes:
            raise invalid(field, f"at most {self._backend.settings.frame_max_bytes} characters")
        try:
            return orjson.loads(text)
        except orjson.JSONDecodeError as error:
            raise invalid(field, f"not JSON: {error}") from error

    async def _all_matching(
        self,
        request: chargers_pb2.WatchChargersRequest,
        told: dict[str, list[chargers_pb2.Connector]],
        caller: Caller,
    ) -> AsyncIterator[chargers_pb2.WatchChargersResponse]:
        """The chargers that match and whose connectors are not as they were `told`."""
        async for records in self._matching(request):
            for charger in await self._many(records, caller):
                connectors = list(charger.connectors)
                if told.get(charger.charger_id) != connectors:
                    told[charger.charger_id] = connectors
                    yield chargers_pb2.WatchChargersResponse(charger=charger)

    async def _matching(
        self, request: chargers_pb2.WatchChargersRequest
    ) -> AsyncIterator[list[ChargerRecord]]:
        if request.charger_ids:
            named = await self._backend.reader.chargers_named(
                ChargerId(charger_id) for charger_id in request.charger_ids
            )
            yield [
                record
                for _, record in sorted(named.items())
                if request.site_id in {"", record.site_id}
            ]
            return
        token = ""
        while True:
            records, token = await self._backend.reader.chargers(
                page_size(0), token, site_id=SiteId(request.site_id) if request.site_id else None
            )
            yield records
            if not token:
                return

    async def _many(
        self, records: Iterable[ChargerRecord], caller: Caller
    ) -> list[chargers_pb2.Charger]:
        """The chargers as they are now; those whose host does not answer are told with what the
        directory knows."""
        sites = {record.charger_id: record.site_id for record in records}
        views = await ask_chargers(self._backend, sites, caller)
        return [
            chargers_pb2.Charger(
                charger_id=charger_id,
                site_id=sites[charger_id],
                presence=chargers_pb2.CHARGER_PRESENCE_UNKNOWN,
            )
            if view is None
            else _charger_to_message(view)
            for charger_id, view in views.items()
        ]


def _last_kinds(batch: list[JournalEvent], wanted: set[str]) -> dict[ChargerId, str]:
    """The chargers to which something happened, and what was the last of it."""
    return {
        ChargerId(event.actor.id): event.kind
        for event in batch
        if event.actor.kind is ActorKind.CHARGER and (not wanted or event.actor.id in wanted)
    }


def _charger_to_message(view: ChargerView) -> chargers_pb2.Charger:
    return chargers_pb2.Charger(
        charger_id=view.charger_id,
        site_id=view.site_id or "",
        presence=chargers_pb2.CHARGER_PRESENCE_ONLINE
        if view.online
        else chargers_pb2.CHARGER_PRESENCE_OFFLINE,
        ocpp_version=view.ocpp_version,
        vendor=view.vendor,
        model=view.model,
        firmware=view.firmware,
        serial_number=view.serial_number,
        last_seen_time=timestamp(view.last_seen_ms),
        connectors=[_connector_to_message(connector) for connector in view.connectors],
        local_list=_list_to_message(view.local_list),
        quirks=view.quirks,
        learned=view.learned,
        alarms=[_alarm_to_message(alarm) for alarm in view.alarms],
        settings_complete_time=timestamp(view.settings_complete_ms),
    )


def _list_to_message(view: LocalListView | None) -> chargers_pb2.LocalList | None:
    if view is None:
        return None
    return chargers_pb2.LocalList(
        state=view.state, version=view.version, tokens_version=view.tokens_version
    )


def _alarm_to_message(alarm: AlarmView) -> chargers_pb2.ChargerAlarm:
    return chargers_pb2.ChargerAlarm(
        variable=alarm.variable,
        connector_id=alarm.connector_id,
        severity=alarm.severity,
        since_time=timestamp(alarm.since_ms),
        value=alarm.value,
        trigger=alarm.trigger,
        fault=alarm.fault,
        monitor_id=alarm.monitor_id,
        transaction_id=alarm.transaction_id,
        tech_code=alarm.tech_code,
        tech_info=alarm.tech_info,
    )


def _connector_to_message(connector: ConnectorView) -> chargers_pb2.Connector:
    l1_ma, l2_ma, l3_ma = connector.current_ma
    return chargers_pb2.Connector(
        connector_id=connector.connector_id,
        status=_STATUSES[connector.status]
        if connector.status
        else chargers_pb2.CONNECTOR_STATUS_UNSPECIFIED,
        error_code=connector.error_code,
        session_id=connector.session_id or "",
        energy_wh=connector.energy_wh,
        power_w=connector.power_w,
        current=electrical_pb2.ConductorCurrents(l1_ma=l1_ma, l2_ma=l2_ma, l3_ma=l3_ma),
        soc_percent=connector.soc_percent,
        limit_ma=connector.limit_ma,
        external_limit_ma=connector.external_limit_ma,
        external_limit_source=connector.external_limit_source,
    )
