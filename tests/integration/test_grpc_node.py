"""The public API as a client sees it: a real channel, a real node, real stations."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any, NamedTuple

import grpc
import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from google.rpc import error_details_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from grpc_stations import Station16, Station201, connected
from grpc_status import rpc_status

from controlplane.api.server import ApiServer, serve
from controlplane.api.v1 import (
    chargers_pb2,
    chargers_pb2_grpc,
    electrical_pb2,
    grid_pb2,
    grid_pb2_grpc,
    journal_pb2,
    journal_pb2_grpc,
    network_pb2,
    network_pb2_grpc,
    sessions_pb2,
    sessions_pb2_grpc,
    sites_pb2,
    sites_pb2_grpc,
    system_pb2,
    system_pb2_grpc,
)
from controlplane.config import Settings
from controlplane.errors import Precondition
from controlplane.network_yaml import load_network, parse_network
from controlplane.runtime.node import Node, start_node

EXAMPLE = Path(__file__).parents[2] / "deploy/examples/network.yaml"


class Loadstar(NamedTuple):
    """A running Loadstar and a client's stubs."""

    node: Node
    api: ApiServer
    channel: grpc.aio.Channel
    chargers: chargers_pb2_grpc.ChargersServiceAsyncStub
    sites: sites_pb2_grpc.SitesServiceAsyncStub
    sessions: sessions_pb2_grpc.SessionsServiceAsyncStub
    grid: grid_pb2_grpc.GridServiceAsyncStub
    journal: journal_pb2_grpc.JournalServiceAsyncStub
    network: network_pb2_grpc.NetworkServiceAsyncStub


@pytest.fixture
async def loadstar(tmp_path: Path) -> AsyncIterator[Loadstar]:
    settings = Settings(data_dir=tmp_path, ocpp_port=0, grpc_port=0, round_interval_s=0.05)
    node = await start_node(settings, transport="local")
    api = await serve(settings, node.client, node.reader, clock=node.clock)
    async with grpc.aio.insecure_channel(f"127.0.0.1:{api.port}") as channel:
        yield Loadstar(
            node,
            api,
            channel,
            chargers_pb2_grpc.ChargersServiceStub(channel),
            sites_pb2_grpc.SitesServiceStub(channel),
            sessions_pb2_grpc.SessionsServiceStub(channel),
            grid_pb2_grpc.GridServiceStub(channel),
            journal_pb2_grpc.JournalServiceStub(channel),
            network_pb2_grpc.NetworkServiceStub(channel),
        )
    await api.stop()
    await node.stop()


@pytest.fixture
async def example(loadstar: Loadstar) -> Loadstar:
    """Loadstar with the example network."""
    await loadstar.network.ApplyNetwork(
        network_pb2.ApplyNetworkRequest(yaml=EXAMPLE.read_text(encoding="utf-8"))
    )
    return loadstar


def site(id: str, *charger_ids: str, feeder: str = "") -> network_pb2.SiteDescription:
    return network_pb2.SiteDescription(
        id=id,
        feeder=feeder,
        circuits=[network_pb2.CircuitDescription(id="supply", rating_a=100)],
        building_load=network_pb2.BuildingLoadDescription(circuit="supply"),
        chargers=[
            network_pb2.ChargerDescription(id=charger_id, circuit="supply")
            for charger_id in charger_ids
        ],
    )


class Refused(NamedTuple):
    code: grpc.StatusCode
    reason: str
    fields: list[str]
    message: str


async def refused(call: Awaitable[Any]) -> Refused:
    """What a call that must be refused was told."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    status = rpc_status.from_call(caught.value)  # type: ignore[arg-type]
    assert status is not None, caught.value
    info, fields = error_details_pb2.ErrorInfo(), error_details_pb2.BadRequest()
    for detail in status.details:
        detail.Unpack(info)
        detail.Unpack(fields)
    assert info.domain == "loadstar"
    return Refused(
        caught.value.code(),
        info.reason,
        [violation.field for violation in fields.field_violations],
        status.message,
    )


async def until(check: Callable[[], Awaitable[Any]]) -> Any:
    """The first truthy result of `check`."""
    async with asyncio.timeout(20):
        while not (found := await check()):  # noqa: ASYNC110 - a poll over gRPC has no event
            await asyncio.sleep(0.02)
    return found


async def read_until(stream: Any, wanted: Callable[[Any], bool] = lambda _: True) -> Any:
    """The first message of a stream that is `wanted`."""
    async with asyncio.timeout(20):
        while told := await stream.read():
            if wanted(told):
                return told
    pytest.fail("the stream ended")


async def online(loadstar: Loadstar, charger_id: str) -> None:
    async def check() -> bool:
        response = await loadstar.chargers.GetCharger(
            chargers_pb2.GetChargerRequest(charger_id=charger_id)
        )
        return response.charger.presence == chargers_pb2.CHARGER_PRESENCE_ONLINE

    await until(check)


async def active_session(loadstar: Loadstar) -> sessions_pb2.Session:
    async def check() -> Any:
        response = await loadstar.sessions.ListSessions(
            sessions_pb2.ListSessionsRequest(state=sessions_pb2.SESSION_STATE_ACTIVE)
        )
        return response.sessions

    return (await until(check))[0]  # type: ignore[no-any-return]


# --- the server itself ----------------------------------------------------------------------------


async def test_health_and_reflection(loadstar: Loadstar) -> None:
    health = health_pb2_grpc.HealthStub(loadstar.channel)
    for service in ("", "controlplane.api.v1.ChargersService"):
        told = await health.Check(health_pb2.HealthCheckRequest(service=service))
        assert told.status == health_pb2.HealthCheckResponse.SERVING
    stub = reflection_pb2_grpc.ServerReflectionStub(loadstar.channel)
    request = reflection_pb2.ServerReflectionRequest(list_services="")
    call = stub.ServerReflectionInfo(iter([request]))
    names = {service.name async for r in call for service in r.list_services_response.service}
    assert {
        f"controlplane.api.v1.{name}Service"
        for name in (
            *("Allocation", "Chargers", "Grid", "Journal"),
            *("Network", "Sessions", "Sites", "System"),
        )
    } <= names


async def test_a_taken_port_is_refused(loadstar: Loadstar, tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path, grpc_port=loadstar.api.port)
    with pytest.raises(Precondition, match="cannot listen for gRPC"):
        await serve(settings, loadstar.node.client, loadstar.node.reader)


async def test_status_counts(example: Loadstar) -> None:
    found = await system_pb2_grpc.SystemServiceStub(example.channel).GetStatus(
        system_pb2.GetStatusRequest()
    )
    assert (found.feeder_count, found.site_count, found.charger_count) == (1, 2, 6)
    assert found.active_session_count == 0
    assert found.journal_cursor > 0
    assert found.clock_speed == 1


# --- descriptions ---------------------------------------------------------------------------------


async def test_a_network_is_applied_once_and_exported_again(loadstar: Loadstar) -> None:
    network = load_network(EXAMPLE)
    request = network_pb2.ApplyNetworkRequest(yaml=EXAMPLE.read_text(encoding="utf-8"))
    first = await loadstar.network.ApplyNetwork(request)
    assert [c.action for c in first.changes] == [network_pb2.NETWORK_CHANGE_ACTION_CREATED] * 3
    second = await loadstar.network.ApplyNetwork(request)
    assert [c.action for c in second.changes] == [network_pb2.NETWORK_CHANGE_ACTION_UNCHANGED] * 3
    text = await loadstar.network.ExportNetwork(
        network_pb2.ExportNetworkRequest(format=network_pb2.NETWORK_FORMAT_YAML)
    )
    assert parse_network(text.yaml) == network
    messages = await loadstar.network.ExportNetwork(network_pb2.ExportNetworkRequest())
    third = await loadstar.network.ApplyNetwork(
        network_pb2.ApplyNetworkRequest(network=messages.network)
    )
    assert [c.action for c in third.changes] == [network_pb2.NETWORK_CHANGE_ACTION_UNCHANGED] * 3


async def test_validating_changes_nothing(loadstar: Loadstar) -> None:
    request = network_pb2.ApplyNetworkRequest(
        yaml=EXAMPLE.read_text(encoding="utf-8"), validate_only=True
    )
    told = await loadstar.network.ApplyNetwork(request)
    assert len(told.changes) == 3
    assert not (await loadstar.sites.ListSites(sites_pb2.ListSitesRequest())).sites


async def test_a_faulty_network_is_refused_with_every_fault(loadstar: Loadstar) -> None:
    told = await refused(
        loadstar.network.ApplyNetwork(
            network_pb2.ApplyNetworkRequest(
                yaml="sites: [{id: a b, circuits: [{id: s, rating_a: -1}]}]"
            )
        )
    )
    assert told.code is grpc.StatusCode.INVALID_ARGUMENT
    assert told.fields == ["sites[0] (a b).id", "sites[0] (a b).circuits[0] (s).rating_a"]


async def test_chargers_move_between_sites_of_one_document(loadstar: Loadstar) -> None:
    async def apply(first: list[str], second: list[str]) -> Any:
        return await loadstar.network.ApplyNetwork(
            network_pb2.ApplyNetworkRequest(
                network=network_pb2.NetworkDescription(
                    sites=[site("first", *first), site("second", *second)]
                )
            )
        )

    await apply(["CP-1"], ["CP-2"])
    # CP-2 must leave the second site before it enters the first.
    moved = await apply(["CP-1", "CP-2"], [])
    assert [change.site_id for change in moved.changes] == ["second", "first"]
    await apply(["CP-1"], ["CP-2"])
    exchange = await refused(apply(["CP-2"], ["CP-1"]))
    assert (exchange.code, exchange.reason) == (
        grpc.StatusCode.FAILED_PRECONDITION,
        "CHARGERS_EXCHANGED",
    )


async def test_a_site_is_created_read_replaced_and_deleted(loadstar: Loadstar) -> None:
    create = sites_pb2.CreateSiteRequest(site=site("depot", "CP-1"), request_id="create-1")
    created = await loadstar.sites.CreateSite(create)
    assert created.site.description.voltage_v == 230
    assert created.site.update_time.seconds > 0

    # The same request again is the first one's answer; the same site by another one is refused.
    again = await loadstar.sites.CreateSite(create)
    assert again == created
    create.request_id = "create-2"
    taken = await refused(loadstar.sites.CreateSite(create))
    assert taken.code is grpc.StatusCode.ALREADY_EXISTS

    await loadstar.sites.UpdateSite(sites_pb2.UpdateSiteRequest(site=site("depot", "CP-2")))
    found = await loadstar.sites.GetSite(sites_pb2.GetSiteRequest(site_id="depot"))
    assert [charger.id for charger in found.site.description.chargers] == ["CP-2"]
    directory = await loadstar.chargers.ListChargers(
        chargers_pb2.ListChargersRequest(view=chargers_pb2.CHARGER_VIEW_BASIC)
    )
    assert [charger.charger_id for charger in directory.chargers] == ["CP-2"]

    await loadstar.sites.DeleteSite(sites_pb2.DeleteSiteRequest(site_id="depot"))
    gone = await refused(loadstar.sites.GetSite(sites_pb2.GetSiteRequest(site_id="depot")))
    assert (gone.code, gone.reason) == (grpc.StatusCode.NOT_FOUND, "SITE_UNKNOWN")
    missing = await refused(
        loadstar.sites.UpdateSite(sites_pb2.UpdateSiteRequest(site=site("depot")))
    )
    assert missing.code is grpc.StatusCode.NOT_FOUND


async def test_a_request_id_stands_for_one_request(loadstar: Loadstar) -> None:
    request = sites_pb2.CreateSiteRequest(site=site("depot", "CP-1"), request_id="one")
    await loadstar.sites.CreateSite(request)
    request.site.name = "another"
    told = await refused(loadstar.sites.CreateSite(request))
    assert (told.code, told.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "REQUEST_ID_REUSED")
    request.request_id = "with a blank"
    told = await refused(loadstar.sites.CreateSite(request))
    assert told.fields == ["request_id"]


async def test_a_charger_belongs_to_one_site(loadstar: Loadstar) -> None:
    await loadstar.sites.CreateSite(sites_pb2.CreateSiteRequest(site=site("depot", "CP-1")))
    told = await refused(
        loadstar.sites.CreateSite(sites_pb2.CreateSiteRequest(site=site("annex", "CP-1")))
    )
    assert (told.code, told.reason) == (grpc.StatusCode.ALREADY_EXISTS, "CHARGER_IN_OTHER_SITE")
    both = [
        loadstar.sites.CreateSite(sites_pb2.CreateSiteRequest(site=site(id, "CP-9")))
        for id in ("east", "west")  # noqa: A001
    ]
    outcomes = await asyncio.gather(*both, return_exceptions=True)
    assert sum(isinstance(outcome, grpc.aio.AioRpcError) for outcome in outcomes) == 1


async def test_sites_come_in_pages(loadstar: Loadstar) -> None:
    for number in range(5):
        await loadstar.sites.CreateSite(sites_pb2.CreateSiteRequest(site=site(f"s{number}")))
    found, token = [], ""
    while True:
        page = await loadstar.sites.ListSites(
            sites_pb2.ListSitesRequest(page_size=2, page_token=token)
        )
        assert len(page.sites) <= 2
        found += [each.description.id for each in page.sites]
        token = page.next_page_token
        if not token:
            break
    assert found == [f"s{number}" for number in range(5)]
    told = await refused(loadstar.sites.ListSites(sites_pb2.ListSitesRequest(page_size=-1)))
    assert told.fields == ["page_size"]


async def test_a_feeder_is_limited_now_and_later(loadstar: Loadstar) -> None:
    feeder = network_pb2.FeederDescription(id="north", power_max_w=69_000)
    await loadstar.grid.CreateFeeder(grid_pb2.CreateFeederRequest(feeder=feeder))
    unknown = await refused(
        loadstar.sites.CreateSite(sites_pb2.CreateSiteRequest(site=site("depot", feeder="south")))
    )
    assert (unknown.reason, unknown.fields) == ("FEEDER_UNKNOWN", ["site.feeder"])
    await loadstar.sites.CreateSite(
        sites_pb2.CreateSiteRequest(site=site("depot", "CP-1", feeder="north"))
    )

    found = await loadstar.grid.GetFeeder(grid_pb2.GetFeederRequest(feeder_id="north"))
    assert found.state.limit_ma == 100_000
    limited = await loadstar.grid.SetFeederLimit(
        grid_pb2.SetFeederLimitRequest(feeder_id="north", power_w=34_500)
    )
    assert limited.state.limit_ma == 50_000
    lifted = await loadstar.grid.ClearFeederLimit(
        grid_pb2.ClearFeederLimitRequest(feeder_id="north")
    )
    assert lifted.state.limit_ma == 100_000
    later = Timestamp(seconds=4_000_000_000)
    scheduled = await loadstar.grid.SetFeederLimit(
        grid_pb2.SetFeederLimitRequest(feeder_id="north", power_w=0, start_time=later)
    )
    assert scheduled.state.limit_ma == 100_000

    backwards = await refused(
        loadstar.grid.SetFeederLimit(
            grid_pb2.SetFeederLimitRequest(
                feeder_id="north", power_w=0, start_time=later, end_time=Timestamp(seconds=1)
            )
        )
    )
    assert backwards.fields == ["end_time"]
    nothing = await refused(
        loadstar.grid.SetFeederLimit(grid_pb2.SetFeederLimitRequest(feeder_id="north"))
    )
    assert nothing.fields == ["power_w"]
    in_use = await refused(
        loadstar.grid.DeleteFeeder(grid_pb2.DeleteFeederRequest(feeder_id="north"))
    )
    assert (in_use.code, in_use.reason) == (
        grpc.StatusCode.FAILED_PRECONDITION,
        "FEEDER_IN_USE",
    )
    await loadstar.sites.DeleteSite(sites_pb2.DeleteSiteRequest(site_id="depot"))
    await loadstar.grid.DeleteFeeder(grid_pb2.DeleteFeederRequest(feeder_id="north"))
    assert not (await loadstar.grid.ListFeeders(grid_pb2.ListFeedersRequest())).feeders


# --- chargers -------------------------------------------------------------------------------------


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


# --- allocation and streams -----------------------------------------------------------------------


async def test_the_allocation_counts_building_load_and_limits(example: Loadstar) -> None:
    reported = await example.sites.ReportBuildingLoad(
        sites_pb2.ReportBuildingLoadRequest(
            site_id="depot",
            current=electrical_pb2.PhaseCurrents(l1_ma=30_000, l2_ma=31_000, l3_ma=32_000),
        )
    )
    assert not reported.allocation.building_load_stale
    assert reported.allocation.circuits[0].building.l2_ma == 31_000
    sunny = await example.sites.ReportBuildingLoad(
        sites_pb2.ReportBuildingLoadRequest(
            site_id="depot",
            current=electrical_pb2.PhaseCurrents(l1_ma=-5_000, l2_ma=31_000, l3_ma=32_000),
        )
    )
    given_back = sunny.allocation.circuits[0]
    assert given_back.building.l1_ma == 0, "what is fed back counts for nobody"
    assert given_back.capacity.l1_ma <= given_back.rating.l1_ma
    await example.sites.ReportBuildingLoad(
        sites_pb2.ReportBuildingLoadRequest(
            site_id="depot",
            current=electrical_pb2.PhaseCurrents(l1_ma=30_000, l2_ma=31_000, l3_ma=32_000),
        )
    )
    await example.grid.SetSiteLimit(
        grid_pb2.SetSiteLimitRequest(site_id="depot", limit_ma=40_000, request_id="limit")
    )

    async def allocated() -> Any:
        response = await example.sites.GetSiteAllocation(
            sites_pb2.GetSiteAllocationRequest(site_id="depot")
        )
        return response.allocation if response.allocation.circuits[0].building.l3_ma else None

    found = await until(allocated)
    assert found.limit_ma == 40_000
    assert found.circuits[0].circuit_id == "supply"
    assert found.circuits[0].building == electrical_pb2.PhaseCurrents(
        l1_ma=30_000, l2_ma=31_000, l3_ma=32_000
    )
    assert [c.charger_id for c in found.connectors][:2] == ["DEPOT-1", "DEPOT-1"]
    lifted = await example.grid.ClearSiteLimit(grid_pb2.ClearSiteLimitRequest(site_id="depot"))
    assert not lifted.allocation.HasField("limit_ma")

    held = await example.sites.SetCircuitLimit(
        sites_pb2.SetCircuitLimitRequest(site_id="depot", circuit_id="panel", limit_ma=25_000)
    )
    assert held.allocation.circuits[1].limit_ma == 25_000
    unknown = sites_pb2.SetConnectorLimitRequest(
        site_id="depot", charger_id="KIOSK-1", connector_id=1, limit_ma=0
    )
    assert (await refused(example.sites.SetConnectorLimit(unknown))).reason == "CONNECTOR_UNKNOWN"

    none = await refused(
        example.sites.ReportBuildingLoad(
            sites_pb2.ReportBuildingLoadRequest(
                site_id="kiosk", current=electrical_pb2.PhaseCurrents()
            )
        )
    )
    assert none.code is grpc.StatusCode.FAILED_PRECONDITION


async def test_contract_and_sun_are_reported_and_shown(example: Loadstar) -> None:
    described = await example.sites.GetSite(sites_pb2.GetSiteRequest(site_id="kiosk"))
    before = await example.sites.GetSiteAllocation(
        sites_pb2.GetSiteAllocationRequest(site_id="kiosk")
    )
    assert not before.allocation.HasField("power")
    description = described.site.description
    description.contract.power_w = 20_000
    description.solar.mode = network_pb2.SOLAR_MODE_SURPLUS
    await example.sites.UpdateSite(sites_pb2.UpdateSiteRequest(site=description))
    reported = await example.sites.ReportSitePower(
        sites_pb2.ReportSitePowerRequest(
            site_id="kiosk", solar_w=9_000, battery_w=-500, battery_soc_percent=55
        )
    )
    power = reported.allocation.power
    assert (power.contract_w, power.solar_w, power.battery_w) == (20_000, 9_000, -500)
    assert power.battery_soc_percent == 55
    assert power.window_end_time.seconds - power.window_start_time.seconds == 900
    assert not power.report_stale
    wrong = await refused(
        example.sites.ReportSitePower(
            sites_pb2.ReportSitePowerRequest(site_id="kiosk", battery_soc_percent=120)
        )
    )
    assert wrong.code is grpc.StatusCode.INVALID_ARGUMENT
    unknown = await refused(
        example.sites.ReportSitePower(sites_pb2.ReportSitePowerRequest(site_id="nowhere"))
    )
    assert unknown.code is grpc.StatusCode.NOT_FOUND


async def test_the_allocation_is_watched(example: Loadstar) -> None:
    watching = example.sites.WatchSiteAllocation(
        sites_pb2.WatchSiteAllocationRequest(site_id="depot", interval_s=0.2)
    )
    first = await read_until(watching)
    assert not first.allocation.HasField("limit_ma")
    await example.grid.SetSiteLimit(grid_pb2.SetSiteLimitRequest(site_id="depot", limit_ma=50_000))
    told = await read_until(watching, lambda told: told.allocation.HasField("limit_ma"))
    assert told.allocation.limit_ma == 50_000
    watching.cancel()
    unknown = await refused(
        example.sites.WatchSiteAllocation(
            sites_pb2.WatchSiteAllocationRequest(site_id="nowhere")
        ).read()
    )
    assert unknown.code is grpc.StatusCode.NOT_FOUND


async def test_chargers_sessions_and_events_are_watched(example: Loadstar) -> None:
    chargers = example.chargers.WatchChargers(
        chargers_pb2.WatchChargersRequest(charger_ids=["DEPOT-1"])
    )
    there = await read_until(chargers)
    assert there.charger.presence == chargers_pb2.CHARGER_PRESENCE_OFFLINE
    assert not there.event_kind
    sessions = example.sessions.WatchSessions(sessions_pb2.WatchSessionsRequest(site_id="depot"))
    events = example.journal.WatchEvents(
        journal_pb2.WatchEventsRequest(
            after_cursor=0, filter=journal_pb2.EventFilter(kinds=["session.*"])
        )
    )
    async with connected(Station16, "DEPOT-1", example.node.ocpp_port) as station:
        told = await read_until(
            chargers, lambda told: told.charger.presence == chargers_pb2.CHARGER_PRESENCE_ONLINE
        )
        assert told.charger.ocpp_version == "ocpp1.6"
        assert told.event_kind
        await online(example, "DEPOT-1")
        await station.begin("TAG-1")
        session = await read_until(sessions)
        assert session.session.charger_id == "DEPOT-1"
        event = await read_until(events)
        assert event.event.kind.startswith("session.")
        assert event.event.data["session_id"] == session.session.session_id
        assert event.event.actor_id == "DEPOT-1"
        await station.end()
        changed = await read_until(
            sessions, lambda told: told.session.state == sessions_pb2.SESSION_STATE_ENDED
        )
        assert changed.session.session_id == session.session.session_id
    for stream in (chargers, sessions, events):
        stream.cancel()


async def test_a_watch_of_an_unknown_charger_ends_at_once(example: Loadstar) -> None:
    request = chargers_pb2.WatchChargersRequest(charger_ids=["DEPOT-1", "NOPE"])
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        async for _ in example.chargers.WatchChargers(request, timeout=10):
            pass
    assert refused.value.code() is grpc.StatusCode.NOT_FOUND
    assert "NOPE" in (refused.value.details() or "")


async def test_measurements_are_watched_at_an_interval(example: Loadstar) -> None:
    async with connected(Station16, "DEPOT-1", example.node.ocpp_port) as station:
        await online(example, "DEPOT-1")
        await station.begin("TAG-1")
        chargers = example.chargers.WatchChargers(
            chargers_pb2.WatchChargersRequest(site_id="depot", interval_s=1)
        )
        sessions = example.sessions.WatchSessions(
            sessions_pb2.WatchSessionsRequest(charger_id="DEPOT-1", interval_s=1)
        )
        first = await read_until(sessions)
        assert first.session.energy_wh == 0
        await station.meter(1_250)
        metered = await read_until(sessions, lambda told: told.session.energy_wh > 0)
        assert (metered.session.energy_wh, metered.event_kind) == (250, "")
        drawing = await read_until(
            chargers, lambda told: any(c.power_w == 3_680 for c in told.charger.connectors)
        )
        assert drawing.charger.charger_id == "DEPOT-1"
    for stream in (chargers, sessions):
        stream.cancel()
    everything = example.chargers.WatchChargers(chargers_pb2.WatchChargersRequest(interval_s=1))
    assert (await refused(read_until(everything))).fields == ["interval_s"]


async def test_the_journal_is_read_in_pages_by_cursor(example: Loadstar) -> None:
    found, cursor, more = [], 0, True
    while more:
        page = await example.journal.ListEvents(
            journal_pb2.ListEventsRequest(after_cursor=cursor, page_size=3)
        )
        found += [event.cursor for event in page.events]
        cursor, more = page.next_cursor, page.more
    assert found == sorted(set(found))
    assert len(found) >= 9, "a feeder, two sites and six chargers were described"
    only = await example.journal.ListEvents(
        journal_pb2.ListEventsRequest(
            page_size=1_000,
            filter=journal_pb2.EventFilter(
                actor_kind=journal_pb2.ACTOR_KIND_SITE, actor_id="kiosk"
            ),
        )
    )
    assert {(e.actor_kind, e.actor_id) for e in only.events} == {
        (journal_pb2.ACTOR_KIND_SITE, "kiosk")
    }


async def test_the_callers_deadline_is_kept(example: Loadstar) -> None:
    request = journal_pb2.WatchEventsRequest(filter=journal_pb2.EventFilter(kinds=["never"]))
    watching = example.journal.WatchEvents(request, timeout=0.3)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        async for _ in watching:
            pytest.fail("nothing happens here")
    assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
