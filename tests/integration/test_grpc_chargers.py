"""Sessions and commands as a client of the API sees them, with real stations."""

from __future__ import annotations

import json
from collections.abc import Awaitable
from typing import Any

import grpc
import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from grpc_node import Loadstar, active_session, online, refused, until
from grpc_stations import Station16, Station201, connected

from controlplane.api.v1 import (
    chargers_pb2,
    sessions_pb2,
)


async def test_a_session_from_start_to_stop(example: Loadstar) -> None:
    async with connected(Station16, "DEPOT-1", example.node.ocpp_port) as station:
        await online(example, "DEPOT-1")
        start = chargers_pb2.RemoteStartRequest(
            charger_id="DEPOT-1", connector_id=1, id_token="TAG-1", request_id="start-1"
        )
        told = await example.chargers.RemoteStart(start)
        assert told.outcome.state == chargers_pb2.COMMAND_STATE_ACCEPTED
        assert await example.chargers.RemoteStart(start) == told
        session = await active_session(example)
        assert (session.charger_id, session.site_id) == ("DEPOT-1", "depot")
        assert session.id_token == "TAG-1"
        assert station.told.count("start") == 1, "one request id, one start"

        need = await example.sessions.SetSessionNeed(
            sessions_pb2.SetSessionNeedRequest(
                session_id=session.session_id,
                need_wh=20_000,
                departure_time=Timestamp(seconds=4_000_000_000),
            )
        )
        assert need.session.need_wh == 20_000
        both = sessions_pb2.SetSessionNeedRequest(
            session_id=session.session_id, need_wh=1, forget_need=True
        )
        assert (await refused(example.sessions.SetSessionNeed(both))).fields == ["forget_need"]
        taken_back = await example.sessions.SetSessionNeed(
            sessions_pb2.SetSessionNeedRequest(session_id=session.session_id, forget_departure=True)
        )
        assert taken_back.session.need_wh == 20_000
        assert not taken_back.session.HasField("departure_time")

        boost = sessions_pb2.SetSessionNeedRequest(
            session_id=session.session_id, boost_until_time=Timestamp(seconds=4_000_000_000)
        )
        assert (await refused(example.sessions.SetSessionNeed(boost))).reason == "BOOST_TOO_LONG"

        await station.meter(1_500)
        samples = await example.sessions.ListMeterSamples(
            sessions_pb2.ListMeterSamplesRequest(session_id=session.session_id)
        )
        assert [(s.energy_wh, s.power_w) for s in samples.samples][-1] == (1_500, 3_680)

        listed = await active_session(example)
        assert listed.energy_wh == 500

        with pytest.raises(grpc.aio.AioRpcError) as not_given_up:
            await example.sessions.AbandonSession(
                sessions_pb2.AbandonSessionRequest(session_id=session.session_id)
            )
        assert not_given_up.value.code() is grpc.StatusCode.FAILED_PRECONDITION
        assert "connected" in (not_given_up.value.details() or "")

        stop = chargers_pb2.RemoteStopRequest(
            charger_id="DEPOT-1", session_id=session.session_id, request_id="stop-1"
        )
        stopped = await example.chargers.RemoteStop(stop)
        assert stopped.outcome.state == chargers_pb2.COMMAND_STATE_ACCEPTED

        async def ended() -> Any:
            response = await example.sessions.GetSession(
                sessions_pb2.GetSessionRequest(session_id=session.session_id)
            )
            found = response.session
            return found if found.state == sessions_pb2.SESSION_STATE_ENDED else None

        found = await until(ended)
        assert (found.energy_wh, found.meter_stop_wh, found.need_wh) == (500, 1_500, 20_000)
        assert await example.chargers.RemoteStop(stop) == stopped, "the first answer again"
        stop.request_id = "stop-2"
        late = await example.chargers.RemoteStop(stop)
        assert late.outcome.state == chargers_pb2.COMMAND_STATE_REJECTED
        stop.charger_id = "DEPOT-2"
        assert (await refused(example.chargers.RemoteStop(stop))).fields == ["session_id"]


async def test_commands_reach_a_station_of_1_6(example: Loadstar) -> None:
    chargers = example.chargers
    async with connected(Station16, "DEPOT-1", example.node.ocpp_port) as station:
        await online(example, "DEPOT-1")
        reset = await chargers.ResetCharger(
            chargers_pb2.ResetChargerRequest(
                charger_id="DEPOT-1", kind=chargers_pb2.RESET_KIND_HARD
            )
        )
        assert reset.outcome.status == "Accepted"
        unlocked = await chargers.UnlockConnector(
            chargers_pb2.UnlockConnectorRequest(charger_id="DEPOT-1", connector_id=1)
        )
        assert unlocked.outcome.state == chargers_pb2.COMMAND_STATE_ACCEPTED
        scheduled = await chargers.ChangeAvailability(
            chargers_pb2.ChangeAvailabilityRequest(
                charger_id="DEPOT-1", availability=chargers_pb2.AVAILABILITY_INOPERATIVE
            )
        )
        assert scheduled.outcome.status == "Scheduled"
        await chargers.TriggerMessage(
            chargers_pb2.TriggerMessageRequest(charger_id="DEPOT-1", message="Heartbeat")
        )
        assert {"reset Hard", "unlock 1", "Inoperative 0", "trigger Heartbeat"} <= set(station.told)

        settings = await chargers.GetSettings(
            chargers_pb2.GetSettingsRequest(
                charger_id="DEPOT-1", keys=["HeartbeatInterval", "Colour"]
            )
        )
        assert [(s.key, s.status) for s in settings.settings] == [
            ("HeartbeatInterval", "Accepted"),
            ("Colour", "UnknownKey"),
        ]
        assert not settings.settings[1].HasField("value")
        written = await chargers.SetSettings(
            chargers_pb2.SetSettingsRequest(
                charger_id="DEPOT-1", settings={"HeartbeatInterval": "77"}
            )
        )
        assert written.outcome.state == chargers_pb2.COMMAND_STATE_ACCEPTED
        assert station.settings["HeartbeatInterval"] == "77"

        schedule = await chargers.GetCompositeSchedule(
            chargers_pb2.GetCompositeScheduleRequest(charger_id="DEPOT-1", connector_id=1)
        )
        assert schedule.start_time.ToJsonString() == "2026-05-01T10:00:00Z"
        assert [(p.start_s, p.limit_a) for p in schedule.periods] == [(0, 16.0), (600, 8.5)]
        assert schedule.periods[0].phases == 3
        assert not schedule.periods[1].HasField("phases")


async def test_commands_reach_a_station_of_2_0_1(example: Loadstar) -> None:
    async with connected(Station201, "DEPOT-2", example.node.ocpp_port) as station:
        await online(example, "DEPOT-2")
        settings = await example.chargers.GetSettings(
            chargers_pb2.GetSettingsRequest(
                charger_id="DEPOT-2",
                keys=["OCPPCommCtrlr.Nothing", "OCPPCommCtrlr.HeartbeatInterval"],
            )
        )
        assert [(s.key, s.value) for s in settings.settings] == [
            ("OCPPCommCtrlr.HeartbeatInterval", "30"),
            ("OCPPCommCtrlr.Nothing", ""),
        ]
        reset = await example.chargers.ResetCharger(
            chargers_pb2.ResetChargerRequest(charger_id="DEPOT-2")
        )
        assert reset.outcome.status == "Scheduled"
        assert "reset OnIdle" in station.told
        start = await example.chargers.RemoteStart(
            chargers_pb2.RemoteStartRequest(charger_id="DEPOT-2", id_token="TAG")
        )
        assert start.outcome.state == chargers_pb2.COMMAND_STATE_REJECTED
        report = await example.chargers.Call(
            chargers_pb2.CallRequest(
                charger_id="DEPOT-2",
                action="GetBaseReport",
                payload_json='{"requestId": 1, "reportBase": "FullInventory"}',
            )
        )
        assert json.loads(report.outcome.payload_json) == {"status": "Accepted"}
        assert "report FullInventory" in station.told


async def test_any_action_is_checked_and_answered(example: Loadstar) -> None:
    def call(action: str, payload: str, **more: Any) -> Awaitable[Any]:
        return example.chargers.Call(
            chargers_pb2.CallRequest(
                charger_id="DEPOT-1", action=action, payload_json=payload, **more
            )
        )

    async with connected(Station16, "DEPOT-1", example.node.ocpp_port) as station:
        await online(example, "DEPOT-1")
        answer = await call("DataTransfer", '{"vendorId": "maker"}')
        assert json.loads(answer.outcome.payload_json) == {
            "status": "Accepted",
            "data": "hello maker",
        }
        for action, payload in (
            ("DataTransfer", '{"vendor": 1}'),
            ("Levitate", "{}"),
            ("BootNotification", "{}"),
            ("DataTransfer", "[]"),
            ("DataTransfer", "{"),
        ):
            told = await refused(call(action, payload))
            assert told.code is grpc.StatusCode.INVALID_ARGUMENT, (action, payload)
        # A station may not know an action of its own version.
        unknown = await call("GetDiagnostics", '{"location": "ftp://files.example/"}')
        assert unknown.outcome.state == chargers_pb2.COMMAND_STATE_ERROR
        assert unknown.outcome.error_code == "NotImplemented"

        profile = json.dumps(
            {
                "connectorId": 0,
                "csChargingProfiles": {
                    "chargingProfileId": 99,
                    "stackLevel": 0,
                    "chargingProfilePurpose": "ChargePointMaxProfile",
                    "chargingProfileKind": "Absolute",
                    "chargingSchedule": {
                        "chargingRateUnit": "A",
                        "chargingSchedulePeriod": [{"startPeriod": 0, "limit": 6}],
                    },
                },
            }
        )
        told = await refused(call("SetChargingProfile", profile))
        assert told.reason == "ALLOCATION_OWNS_PROFILES"
        started = json.dumps({"idTag": "TAG", "chargingProfile": {}})
        told = await refused(call("RemoteStartTransaction", started))
        assert told.reason == "ALLOCATION_OWNS_PROFILES"
        forced = await call("SetChargingProfile", profile, outside_allocation=True)
        assert forced.outcome.status == "Accepted"
        assert "profile" in station.told


async def test_a_command_that_cannot_be_sent_is_an_error(example: Loadstar) -> None:
    offline = await refused(
        example.chargers.ResetCharger(chargers_pb2.ResetChargerRequest(charger_id="KIOSK-1"))
    )
    assert (offline.code, offline.reason) == (grpc.StatusCode.UNAVAILABLE, "CHARGER_OFFLINE")
    for call in (
        example.chargers.ResetCharger(chargers_pb2.ResetChargerRequest(charger_id="NOBODY")),
        example.chargers.GetCharger(chargers_pb2.GetChargerRequest(charger_id="NOBODY")),
    ):
        told = await refused(call)
        assert (told.code, told.reason) == (grpc.StatusCode.NOT_FOUND, "CHARGER_UNKNOWN")


async def test_a_malformed_command_names_its_field(example: Loadstar) -> None:
    known: Any = {"charger_id": "KIOSK-1"}
    for method, request, field in (
        ("GetCharger", chargers_pb2.GetChargerRequest(charger_id="a b"), "charger_id"),
        ("RemoteStart", chargers_pb2.RemoteStartRequest(**known), "id_token"),
        (
            "RemoteStart",
            chargers_pb2.RemoteStartRequest(**known, id_token="T", connector_id=0),
            "connector_id",
        ),
        ("RemoteStop", chargers_pb2.RemoteStopRequest(**known), "transaction_id"),
        ("UnlockConnector", chargers_pb2.UnlockConnectorRequest(**known), "connector_id"),
        ("ChangeAvailability", chargers_pb2.ChangeAvailabilityRequest(**known), "availability"),
        ("SetSettings", chargers_pb2.SetSettingsRequest(**known), "settings"),
        ("ResetCharger", chargers_pb2.ResetChargerRequest(**known, timeout_s=999), "timeout_s"),
        (
            "ResetCharger",
            chargers_pb2.ResetChargerRequest(**known, timeout_s=float("nan")),
            "timeout_s",
        ),
    ):
        told = await refused(getattr(example.chargers, method)(request))
        assert (told.code, told.fields) == (grpc.StatusCode.INVALID_ARGUMENT, [field]), method
