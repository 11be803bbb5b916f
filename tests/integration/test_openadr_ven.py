"""A utility's events become grid events of a running Loadstar, over real HTTP and real gRPC."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

import grpc
import pytest
from grpc_node import serving
from openadr_vtn import CLIENT_ID, SECRET, Vtn, serving_vtn

from controlplane.api.v1 import (
    grid_pb2,
    grid_pb2_grpc,
    journal_pb2,
    journal_pb2_grpc,
    network_pb2,
    network_pb2_grpc,
    planning_pb2,
    planning_pb2_grpc,
)
from controlplane.config import Settings
from controlplane.errors import LoadstarError, NotFound, Precondition, Unavailable
from controlplane.integrations.openadr.grid import GridClient
from controlplane.integrations.openadr.settings import OpenAdrSettings, Target
from controlplane.integrations.openadr.ven import Ven
from controlplane.integrations.openadr.vtn import VtnClient
from controlplane.runtime.clock import SystemClock

NETWORK = """
feeders:
  - {id: north, power_max_w: 1000000}
sites:
  - id: depot
    feeder: north
    circuits: [{id: supply, rating_a: 100}]
  - id: garage
    feeder: north
    circuits: [{id: supply, rating_a: 100}]
    tariff: {currency: USD, import_price_per_kwh: 0.3, day_ahead: {adder_per_kwh: 0.1}}
"""
ACTIVE, MET = grid_pb2.GRID_EVENT_STATE_ACTIVE, grid_pb2.GRID_EVENT_STATE_MET
ENDED, CANCELLED = grid_pb2.GRID_EVENT_STATE_ENDED, grid_pb2.GRID_EVENT_STATE_CANCELLED
KILOWATTS = [{"payloadType": "IMPORT_CAPACITY_LIMIT", "units": "KW"}]


class Grid(NamedTuple):
    """A running Loadstar with one feeder."""

    channel: grpc.aio.Channel
    stub: grid_pb2_grpc.GridServiceAsyncStub

    async def events(self, *, open_only: bool = False) -> list[grid_pb2.GridEvent]:
        request = grid_pb2.ListGridEventsRequest(feeder_id="north", open_only=open_only)
        return list((await self.stub.ListGridEvents(request)).events)

    async def limits_w(self) -> list[int]:
        """What is open, lowest first."""
        return sorted(event.power_w for event in await self.events(open_only=True))


@pytest.fixture
async def grid(tmp_path: Path) -> AsyncIterator[Grid]:
    settings = Settings(data_dir=tmp_path, ocpp_port=0, grpc_port=0, round_interval_s=0.05)
    async with serving(settings, NETWORK) as (_, _, channel):
        yield Grid(channel, grid_pb2_grpc.GridServiceStub(channel))


@pytest.fixture
def vtn() -> Iterator[Vtn]:
    with serving_vtn(Vtn()) as served:
        yield served


Start = Callable[..., Ven]


@pytest.fixture
async def start(grid: Grid, vtn: Vtn) -> AsyncIterator[Start]:
    """Starts a VEN; each time a new one that remembers nothing."""
    clients: list[VtnClient] = []

    def started(**changed: Any) -> Ven:
        settings = OpenAdrSettings(
            **{
                "vtn": vtn.url,
                "program": "evening peak",
                "target": "feeder:north",
                "client_id": CLIENT_ID,
                "client_secret": SECRET,
                "levels": "1=-50kW,2=80kW,3=0kW",
                **changed,
            }
        )
        client = VtnClient(settings.vtn, client_id=settings.client_id, client_secret=SECRET)
        clients.append(client)
        return Ven(settings, client, GridClient(grid.channel, settings.target), SystemClock())

    yield started
    for client in clients:
        await client.close()


async def eventually(check: Callable[[], Awaitable[Any]]) -> Any:
    """The first truthy result of `check`."""
    async with asyncio.timeout(20):
        while not (found := await check()):  # noqa: ASYNC110 - a poll over gRPC has no event
            await asyncio.sleep(0.05)
    return found


def at(**after: float) -> str:
    return (datetime.now(UTC) + timedelta(**after)).isoformat().replace("+00:00", "Z")


async def forecast(grid: Grid) -> list[float]:
    """What the garage expects a kilowatt-hour to cost in this hour and the next ones."""
    planning: planning_pb2_grpc.PlanningServiceAsyncStub = planning_pb2_grpc.PlanningServiceStub(
        grid.channel
    )
    asked = planning_pb2.GetForecastsRequest(site_id="garage", slot_count=4)
    found = (await planning.GetForecasts(asked)).forecasts
    return [float(slot.import_price_per_kwh) for slot in found.slots]


async def pushes(grid: Grid) -> int:
    """How often prices were pushed."""
    journal: journal_pb2_grpc.JournalServiceAsyncStub = journal_pb2_grpc.JournalServiceStub(
        grid.channel
    )
    kinds = journal_pb2.EventFilter(kinds=["site.prices_pushed"])
    request = journal_pb2.ListEventsRequest(filter=kinds, page_size=100)
    return len((await journal.ListEvents(request)).events)


# --- events ---------------------------------------------------------------------------------------


async def test_an_event_limits_the_feeder(grid: Grid, vtn: Vtn, start: Start) -> None:
    event = vtn.event("IMPORT_CAPACITY_LIMIT", 250.0, payloadDescriptors=KILOWATTS)
    await start().cycle()
    (found,) = await grid.events()
    assert (found.power_w, found.kind) == (250_000, grid_pb2.GRID_EVENT_KIND_LIMIT)
    assert found.source == f"openadr:{vtn.program_id}/{event['id']}/0"
    state = await grid.stub.GetFeeder(grid_pb2.GetFeederRequest(feeder_id="north"))
    assert state.state.limit_ma == 250_000_000 // (3 * 230)


async def test_one_event_holds_for_every_target_that_follows_it(
    grid: Grid, vtn: Vtn, start: Start
) -> None:
    vtn.event("IMPORT_CAPACITY_LIMIT", 40.0)
    for target in ("feeder:north", "site:depot"):
        await start(target=target).cycle()
    assert await grid.limits_w() == [40_000]
    request = grid_pb2.ListGridEventsRequest(site_id="depot", open_only=True)
    assert [event.power_w for event in (await grid.stub.ListGridEvents(request)).events] == [40_000]


async def test_looking_again_changes_nothing(grid: Grid, vtn: Vtn, start: Start) -> None:
    vtn.event("IMPORT_CAPACITY_LIMIT", 250.0)
    vtn.event("DISPATCH_SETPOINT_RELATIVE", -40.0)
    ven = start()
    await ven.cycle()
    before = await grid.events()
    for again in (ven, ven, start(), start()):
        plan = await again.cycle()
        assert not plan.create
        assert not plan.cancel
    assert [event.event_id for event in await grid.events()] == [e.event_id for e in before]


async def test_an_event_that_runs_already_is_followed_until_its_end(
    grid: Grid, vtn: Vtn, start: Start
) -> None:
    vtn.event(
        "IMPORT_CAPACITY_LIMIT",
        100.0,
        intervalPeriod={"start": at(hours=-2.5), "duration": "PT1H"},
        intervals=[
            {"id": number, "payloads": [{"type": "IMPORT_CAPACITY_LIMIT", "values": [power]}]}
            for number, power in enumerate((100, 200, 300, 400))
        ],
    )
    await start().cycle()
    assert await grid.limits_w() == [300_000, 400_000], "the hours that are past ask for nothing"
    last, first = await grid.events()
    assert first.state in {ACTIVE, MET}
    assert last.start_time.ToMilliseconds() == first.end_time.ToMilliseconds()


async def test_what_the_utility_removes_is_called_off(grid: Grid, vtn: Vtn, start: Start) -> None:
    event = vtn.event("IMPORT_CAPACITY_LIMIT", 250.0)
    later = vtn.event("IMPORT_CAPACITY_LIMIT", 150.0, intervalPeriod={"start": at(hours=3)})
    ven = start()
    await ven.cycle()
    vtn.remove(event)
    vtn.remove(later)
    await ven.cycle()
    assert await grid.limits_w() == []
    assert {event.state for event in await grid.events()} == {ENDED, CANCELLED}


async def test_what_the_utility_changes_replaces_what_it_asked(
    grid: Grid, vtn: Vtn, start: Start
) -> None:
    event = vtn.event("IMPORT_CAPACITY_LIMIT", 250.0)
    await start().cycle()
    for power_kw in (100.0, 250.0, 100.0):
        intervals = [
            {"id": 0, "payloads": [{"type": "IMPORT_CAPACITY_LIMIT", "values": [power_kw]}]}
        ]
        vtn.change(event, intervals=intervals)
        await start().cycle()
        assert await grid.limits_w() == [int(power_kw * 1_000)]
    assert len(await grid.events()) == 4


async def test_a_change_that_asks_for_the_same_changes_nothing(
    grid: Grid, vtn: Vtn, start: Start
) -> None:
    event = vtn.event("IMPORT_CAPACITY_LIMIT", 250.0, intervalPeriod={"start": at(minutes=-1)})
    await start().cycle()
    vtn.change(event, eventName="a better name")
    plan = await start().cycle()
    assert not plan.create
    assert not plan.cancel


async def test_the_lowest_of_overlapping_events_counts(grid: Grid, vtn: Vtn, start: Start) -> None:
    vtn.event("IMPORT_CAPACITY_LIMIT", 250.0)
    vtn.event("IMPORT_CAPACITY_LIMIT", 120.0)
    vtn.event("SIMPLE", 2)
    await start().cycle()
    assert await grid.limits_w() == [80_000, 120_000, 250_000]
    state = await grid.stub.GetFeeder(grid_pb2.GetFeederRequest(feeder_id="north"))
    assert state.state.limit_ma == 80_000_000 // (3 * 230)


async def test_a_higher_priority_overrules_and_gives_way_again(
    grid: Grid, vtn: Vtn, start: Start
) -> None:
    vtn.event("IMPORT_CAPACITY_LIMIT", 100.0, priority=5)
    ven = start()
    await ven.cycle()
    urgent = vtn.event("IMPORT_CAPACITY_LIMIT", 300.0, priority=0)
    await ven.cycle()
    assert 100_000 not in await grid.limits_w() or len(await grid.limits_w()) == 2
    assert 300_000 in await grid.limits_w()
    vtn.remove(urgent)
    for again in (ven, start()):
        await again.cycle()
        assert await grid.limits_w() == [100_000]


async def test_what_a_person_called_off_stays_off_until_it_is_written_anew(
    grid: Grid, vtn: Vtn, start: Start
) -> None:
    event = vtn.event("IMPORT_CAPACITY_LIMIT", 250.0)
    ven = start()
    await ven.cycle()
    (found,) = await grid.events()
    await grid.stub.CancelGridEvent(grid_pb2.CancelGridEventRequest(event_id=found.event_id))
    for again in (ven, ven, start()):
        assert not (await again.cycle()).create
    assert await grid.limits_w() == []
    vtn.change(event, priority=1)
    await ven.cycle()
    assert await grid.limits_w() == [250_000]


async def test_a_reduction_that_is_changed_keeps_its_baseline(
    grid: Grid, vtn: Vtn, start: Start
) -> None:
    event = vtn.event("DISPATCH_SETPOINT_RELATIVE", -40.0)
    ven = start()
    await ven.cycle()
    first = (await grid.events())[0]
    baseline_w = await eventually(lambda: _baseline(grid, first.event_id))
    intervals = [
        {"id": 0, "payloads": [{"type": "DISPATCH_SETPOINT_RELATIVE", "values": [-0.0001]}]}
    ]
    vtn.change(event, intervals=intervals)
    await ven.cycle()
    (found,) = await grid.events(open_only=True)
    assert (found.kind, found.power_w) == (grid_pb2.GRID_EVENT_KIND_REDUCE_BY, 1)
    assert found.response.baseline_w == baseline_w[0]
    assert not (await start().cycle()).create


async def _baseline(grid: Grid, event_id: str) -> list[int]:
    found = await grid.stub.GetGridEvent(grid_pb2.GetGridEventRequest(event_id=event_id))
    response = found.event.response
    return [response.baseline_w] if response.HasField("baseline_w") else []


async def test_a_malformed_event_does_not_hide_the_others(
    grid: Grid, vtn: Vtn, start: Start
) -> None:
    good = vtn.event("IMPORT_CAPACITY_LIMIT", 250.0)
    turned = vtn.event("IMPORT_CAPACITY_LIMIT", 200.0)
    ven = start()
    await ven.cycle()
    vtn.event("IMPORT_CAPACITY_LIMIT", 90.0, intervals="tomorrow")
    vtn.event("IMPORT_CAPACITY_LIMIT", 90.0, intervalPeriod={"start": "soon"})
    vtn.event("IMPORT_CAPACITY_LIMIT", "ninety")
    vtn.event(
        "IMPORT_CAPACITY_LIMIT",
        90.0,
        payloadDescriptors=[{"payloadType": "IMPORT_CAPACITY_LIMIT", "units": "KVAR"}],
    )
    vtn.change(turned, intervals=[{"id": "first", "payloads": []}])
    vtn.change(
        good,
        intervals=[{"id": 0, "payloads": [{"type": "IMPORT_CAPACITY_LIMIT", "values": [150]}]}],
    )
    await ven.cycle()
    assert await grid.limits_w() == [150_000, 200_000], "what became unreadable stays as it was"
    look = await ven.look()
    assert len(look.malformed) == 3
    assert {each.reason for each in look.ignored} == {"VALUE_INVALID", "UNITS_UNKNOWN"}


async def test_events_for_others_are_left_to_them(grid: Grid, vtn: Vtn, start: Start) -> None:
    vtn.event("IMPORT_CAPACITY_LIMIT", 10.0, targets=["somebody-else"])
    vtn.event("IMPORT_CAPACITY_LIMIT", 20.0, programID="another")
    vtn.event("IMPORT_CAPACITY_LIMIT", 30.0, targets=["west", "somebody-else"])
    vtn.event("IMPORT_CAPACITY_LIMIT", 40.0, targets=["feeder-north"])
    ven = vtn.add("vens", venName="loadstar", targets=["granted"])
    vtn.event("IMPORT_CAPACITY_LIMIT", 50.0, targets=["granted"])
    await start(groups="west").cycle()
    assert await grid.limits_w() == [30_000, 40_000, 50_000]
    assert list(vtn.objects["vens"]) == [ven["id"]], "it was there before"


async def test_all_pages_are_read(grid: Grid, vtn: Vtn, start: Start) -> None:
    for _ in range(120):
        vtn.event("PRICE", 0.2)
    vtn.event("IMPORT_CAPACITY_LIMIT", 250.0)
    await start().cycle()
    assert await grid.limits_w() == [250_000]


async def test_clocks_that_differ_do_not_move_now(grid: Grid, vtn: Vtn, start: Start) -> None:
    vtn.clock_ahead = timedelta(hours=-3)
    vtn.event("IMPORT_CAPACITY_LIMIT", 250.0)
    ven = start()
    await ven.look()
    await ven.cycle()
    (found,) = await grid.events()
    lasts_s = found.end_time.seconds - found.start_time.seconds
    assert found.state in {ACTIVE, MET}
    assert 3_500 < lasts_s < 3_700, "by the utility's own clock it has just been written"


# --- the other side is away -----------------------------------------------------------------------


async def test_a_vtn_that_is_away_takes_nothing_away(grid: Grid) -> None:
    vtn = Vtn()
    settings: dict[str, Any] = {
        "program": "evening peak",
        "target": "feeder:north",
        "client_secret": SECRET,
    }
    with serving_vtn(vtn):
        vtn.event("IMPORT_CAPACITY_LIMIT", 250.0)
        client = VtnClient(vtn.url, client_id=CLIENT_ID, client_secret=SECRET)
        ven = Ven(
            OpenAdrSettings(vtn=vtn.url, client_id=CLIENT_ID, **settings),
            client,
            GridClient(grid.channel, Target("feeder", "north")),
            SystemClock(),
        )
        await ven.cycle()
    with pytest.raises(Unavailable) as caught:
        await ven.cycle()
    assert caught.value.reason == "VTN_UNREACHABLE"
    assert await grid.limits_w() == [250_000]
    vtn.event("IMPORT_CAPACITY_LIMIT", 200.0)
    with serving_vtn(vtn):
        await ven.cycle()
    assert await grid.limits_w() == [200_000, 250_000]
    await client.close()


@pytest.mark.parametrize(
    ("status", "reason"), [(500, "VTN_FAILED"), (503, "VTN_BUSY"), (429, "VTN_BUSY")]
)
async def test_a_vtn_that_fails_takes_nothing_away(
    grid: Grid, vtn: Vtn, start: Start, status: int, reason: str
) -> None:
    vtn.event("IMPORT_CAPACITY_LIMIT", 250.0)
    ven = start()
    await ven.cycle()
    vtn.failing, vtn.retry_after = status, "7"
    with pytest.raises(Unavailable, match="out of order") as caught:
        await ven.cycle()
    assert caught.value.reason == reason
    assert caught.value.metadata == ({"retry_after_s": "7"} if reason == "VTN_BUSY" else {})
    assert await grid.limits_w() == [250_000]


async def test_an_event_that_is_missing_from_a_list_is_not_gone(
    grid: Grid, vtn: Vtn, start: Start
) -> None:
    event = vtn.event("IMPORT_CAPACITY_LIMIT", 250.0)
    ven = start()
    await ven.cycle()
    vtn.unlisted.add(event["id"])
    await ven.cycle()
    assert await grid.limits_w() == [250_000]
    vtn.remove(event)
    await ven.cycle()
    assert await grid.limits_w() == []


async def test_a_token_that_was_withdrawn_is_renewed(grid: Grid, vtn: Vtn, start: Start) -> None:
    vtn.event("IMPORT_CAPACITY_LIMIT", 250.0)
    ven = start()
    await ven.cycle()
    vtn.tokens.clear()
    await ven.cycle()
    assert vtn.tokens_given == 2
    assert await grid.limits_w() == [250_000]


async def test_a_wrong_secret_is_told(vtn: Vtn) -> None:
    client = VtnClient(vtn.url, client_id=CLIENT_ID, client_secret="wrong")
    with pytest.raises(Precondition, match="invalid_client") as caught:
        await client.get("/programs")
    assert caught.value.reason == "VTN_UNAUTHORIZED"
    assert "wrong" not in caught.value.message
    await client.close()


async def test_a_program_that_the_vtn_does_not_show(start: Start) -> None:
    with pytest.raises(NotFound) as caught:
        await start(program="morning peak").cycle()
    assert caught.value.reason == "OPENADR_PROGRAM_UNKNOWN"


async def test_a_feeder_that_loadstar_does_not_know(vtn: Vtn, start: Start) -> None:
    vtn.event("IMPORT_CAPACITY_LIMIT", 250.0)
    with pytest.raises(LoadstarError) as caught:
        await start(target="feeder:south").cycle()
    assert caught.value.reason == "LOADSTAR_NOT_FOUND"


async def test_it_goes_on_by_itself_when_both_sides_are_back(
    grid: Grid, vtn: Vtn, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    ven = start(poll_s=1)
    monkeypatch.setattr(Ven, "_backoff_s", lambda *_: 0.02)
    vtn.failing = 500
    running = asyncio.create_task(ven.run())

    async def asked_often() -> bool:
        return len(vtn.requests) > 3

    await eventually(asked_often)
    vtn.event("IMPORT_CAPACITY_LIMIT", 250.0)
    vtn.failing = None
    await eventually(grid.limits_w)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


# --- registration ---------------------------------------------------------------------------------


@pytest.mark.parametrize("version", ["3.0", "3.1"])
async def test_it_registers_itself_and_its_resource_once(
    vtn: Vtn, start: Start, version: str
) -> None:
    vtn.version = version
    for _ in range(2):
        await start().cycle()
    (ven,) = vtn.objects["vens"].values()
    (resource,) = vtn.objects["resources"].values()
    assert ven["venName"] == "loadstar"
    assert resource["resourceName"] == "feeder-north"


async def test_it_works_where_the_utility_enters_vens_itself(
    grid: Grid, vtn: Vtn, start: Start
) -> None:
    vtn.forbidden |= {"POST /vens", "GET /vens"}
    vtn.event("IMPORT_CAPACITY_LIMIT", 250.0)
    await start().cycle()
    assert await grid.limits_w() == [250_000]


# --- reports --------------------------------------------------------------------------------------


def payloads(report: dict[str, Any], interval: int = 0) -> dict[str, Any]:
    found = report["resources"][0]["intervals"][interval]["payloads"]
    return {payload["type"]: payload["values"][0] for payload in found}


@pytest.mark.parametrize("version", ["3.0", "3.1"])
async def test_what_was_made_of_an_event_is_acknowledged_and_brought_up_to_date(
    grid: Grid, vtn: Vtn, start: Start, version: str
) -> None:
    vtn.version = version
    event = vtn.event("IMPORT_CAPACITY_LIMIT", 250.0, reportDescriptors=[{"payloadType": "USAGE"}])
    ven = start()
    await ven.cycle()

    async def met() -> bool:
        return (await grid.events())[0].state == MET

    await eventually(met)
    await ven.cycle()
    await ven.cycle()
    await start().cycle()
    (report,) = vtn.reports()
    assert report["eventID"] == event["id"]
    assert report["clientName"] == "loadstar"
    assert report["resources"][0]["resourceName"] == "feeder-north"
    told = payloads(report)
    assert told["LOADSTAR_STATE"] == "MET"
    assert told["LOADSTAR_ASKED"] == "LIMIT 250000 W"
    assert told["OPERATING_STATE"] == "IDLE_CURTAILED"
    assert told["SETPOINT"] == 250.0
    assert told["LOADSTAR_RECEIVED"] <= told["LOADSTAR_APPLIED"] <= told["LOADSTAR_MET"]


async def test_an_interval_that_is_over_is_reported_once(
    grid: Grid, vtn: Vtn, start: Start
) -> None:
    vtn.event(
        "IMPORT_CAPACITY_LIMIT",
        250.0,
        intervalPeriod={"start": at(), "duration": "PT2S"},
        reportDescriptors=[
            {"payloadType": "USAGE", "units": "KWH"},
            {"payloadType": "DEMAND", "readingType": "PEAK"},
            {"payloadType": "STORAGE_CHARGE_LEVEL"},
            {"payloadType": "DEMAND", "historical": False},
        ],
    )
    ven = start()
    await ven.cycle()

    async def reported() -> list[dict[str, Any]]:
        await ven.cycle()
        return vtn.reports("DEMAND")

    (demand,) = await eventually(reported)
    (usage,) = vtn.reports("USAGE")
    assert payloads(usage)["USAGE"] == 0.0
    assert payloads(demand)["DEMAND"] == 0.0
    assert demand["payloadDescriptors"][0]["units"] == "KW"
    posted = vtn.requests.count("POST /reports")
    await start().cycle()
    assert vtn.requests.count("POST /reports") == posted
    assert {report["reportName"].partition("-")[0] for report in vtn.reports()} == {
        "ACKNOWLEDGEMENT",
        "USAGE",
        "DEMAND",
    }


async def test_reports_that_the_vtn_refuses_do_not_hold_up_the_steering(
    grid: Grid, vtn: Vtn, start: Start
) -> None:
    vtn.forbidden.add("POST /reports")
    vtn.event("IMPORT_CAPACITY_LIMIT", 250.0, reportDescriptors=[{"payloadType": "USAGE"}])
    ven = start()
    await ven.cycle()
    vtn.event("IMPORT_CAPACITY_LIMIT", 200.0)
    await ven.cycle()
    assert await grid.limits_w() == [200_000, 250_000]


# --- prices ---------------------------------------------------------------------------------------


def hourly(*prices: float) -> list[dict[str, Any]]:
    return [
        {"id": number, "payloads": [{"type": "PRICE", "values": [price]}]}
        for number, price in enumerate(prices)
    ]


async def test_prices_reach_the_sites_that_follow_a_market(
    grid: Grid, vtn: Vtn, start: Start
) -> None:
    this_hour = datetime.now(UTC).replace(minute=0, second=0, microsecond=0)
    period = {"start": this_hour.isoformat(), "duration": "PT1H"}
    in_usd = [{"payloadType": "PRICE", "units": "KWH", "currency": "USD"}]
    day = vtn.event(
        "PRICE", 0, intervalPeriod=period, intervals=hourly(0.05, 0.25, -0.02),
        payloadDescriptors=in_usd,
    )  # fmt: skip
    ven = start()
    await ven.cycle()
    assert await forecast(grid) == [0.15, 0.35, 0.08, 0.3]
    await ven.cycle()
    assert await pushes(grid) == 1, "what was pushed is not pushed again"
    emergency = vtn.event(
        "PRICE", 0, intervalPeriod=period, intervals=hourly(0.9), payloadDescriptors=in_usd,
        priority=0,
    )  # fmt: skip
    await ven.cycle()
    assert await forecast(grid) == [1.0, 0.35, 0.08, 0.3]
    vtn.remove(emergency)
    await ven.cycle()
    assert await forecast(grid) == [0.15, 0.35, 0.08, 0.3], "as it was before"
    vtn.change(day, intervals=hourly(0.05, 0.4, -0.02))
    await start().cycle()
    assert await forecast(grid) == [0.15, 0.5, 0.08, 0.3]


async def test_prices_that_nobody_takes_keep_no_limit_waiting(
    grid: Grid, vtn: Vtn, start: Start
) -> None:
    vtn.event("PRICE", 0.2)
    vtn.event("IMPORT_CAPACITY_LIMIT", 40.0)
    alone = start(target="site:depot")
    await alone.cycle()
    await alone.cycle()
    request = grid_pb2.ListGridEventsRequest(site_id="depot", open_only=True)
    assert [event.power_w for event in (await grid.stub.ListGridEvents(request)).events] == [40_000]
    assert await pushes(grid) == 0
    euros = [{"payloadType": "PRICE", "currency": "EUR"}]
    vtn.event("PRICE", 0.1, payloadDescriptors=euros, priority=0)
    await start().cycle()
    assert await grid.limits_w() == [40_000]
    assert await forecast(grid) == [0.3] * 4, "the tariff is in another currency"


async def test_a_site_that_is_given_a_tariff_is_given_the_prices(
    grid: Grid, vtn: Vtn, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    vtn.event("PRICE", 0.2)
    ven = start(target="site:depot")
    await ven.cycle()
    described = NETWORK.replace(
        "  - id: depot\n", "  - id: depot\n    tariff: {currency: USD, day_ahead: {}}\n"
    )
    await network_pb2_grpc.NetworkServiceStub(grid.channel).ApplyNetwork(
        network_pb2.ApplyNetworkRequest(yaml=described)
    )
    await ven.cycle()
    assert await pushes(grid) == 0, "not at every look"
    now_ms = SystemClock.now_ms
    monkeypatch.setattr(SystemClock, "now_ms", lambda clock: now_ms(clock) + 600_000)
    await ven.cycle()
    assert await pushes(grid) == 1


async def test_prices_may_be_left_to_others(grid: Grid, vtn: Vtn, start: Start) -> None:
    vtn.event("PRICE", 0.2)
    await start(prices="ignore").cycle()
    assert await pushes(grid) == 0
