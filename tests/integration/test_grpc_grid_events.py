"""Grid events over gRPC: what the utility asks, what it is told was done."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any, NamedTuple

import grpc
import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from grpc_node import serving

from controlplane.api.v1 import (
    grid_pb2,
    grid_pb2_grpc,
    journal_pb2,
    journal_pb2_grpc,
    network_pb2,
    network_pb2_grpc,
)
from controlplane.config import Settings

NETWORK = """
version: 1
feeders:
  - {id: street, parent: town, power_max_w: 69000}
  - {id: town, power_max_w: 138000}
sites:
  - id: depot
    feeder: street
    circuits: [{id: supply, rating_a: 100}]
    chargers:
      - {id: CP-1, circuit: supply, offline_current_a: 10, connectors: [{id: 1}]}
"""


class Loadstar(NamedTuple):
    grid: grid_pb2_grpc.GridServiceAsyncStub
    journal: journal_pb2_grpc.JournalServiceAsyncStub
    network: network_pb2_grpc.NetworkServiceAsyncStub


@pytest.fixture
async def loadstar(tmp_path: Path) -> AsyncIterator[Loadstar]:
    settings = Settings(
        data_dir=tmp_path,
        ocpp_port=0,
        grpc_port=0,
        round_interval_s=0.05,
        site_report_interval_s=0.1,
    )
    async with serving(settings) as (_, _, channel):
        found = Loadstar(
            grid_pb2_grpc.GridServiceStub(channel),
            journal_pb2_grpc.JournalServiceStub(channel),
            network_pb2_grpc.NetworkServiceStub(channel),
        )
        await found.network.ApplyNetwork(network_pb2.ApplyNetworkRequest(yaml=NETWORK))
        yield found


async def until(check: Callable[[], Awaitable[Any]]) -> Any:
    """The first truthy result of `check`."""
    async with asyncio.timeout(20):
        while not (found := await check()):  # noqa: ASYNC110 - a poll over gRPC has no event
            await asyncio.sleep(0.02)
    return found


async def create(
    loadstar: Loadstar,
    power_w: int,
    *,
    request_id: str = "",
    baseline_w: int | None = None,
    **fields: Any,
) -> grid_pb2.GridEvent:
    if "site_id" not in fields:
        fields.setdefault("feeder_id", "town")
    event = grid_pb2.GridEvent(
        power_w=power_w, kind=fields.pop("kind", grid_pb2.GRID_EVENT_KIND_LIMIT), **fields
    )
    response = await loadstar.grid.CreateGridEvent(
        grid_pb2.CreateGridEventRequest(event=event, request_id=request_id, baseline_w=baseline_w)
    )
    return response.event


async def get(loadstar: Loadstar, event_id: str) -> grid_pb2.GridEvent:
    response = await loadstar.grid.GetGridEvent(grid_pb2.GetGridEventRequest(event_id=event_id))
    return response.event


async def refused(call: Awaitable[Any]) -> grpc.StatusCode:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return caught.value.code()


def in_s(seconds: float) -> Timestamp:
    return Timestamp(seconds=int(time.time() + seconds))


async def test_a_limit_on_a_feeder_reaches_the_sites_of_the_feeders_below_it(
    loadstar: Loadstar,
) -> None:
    async def supplied() -> bool:
        view = await loadstar.grid.GetFeeder(grid_pb2.GetFeederRequest(feeder_id="street"))
        return any(share.acknowledged for share in view.state.sites)

    await until(supplied)
    # The charger was never seen: it counts with its rating of 32 A, 22 kW.
    event = await create(loadstar, 30_000, source="utility")
    assert event.state == grid_pb2.GRID_EVENT_STATE_MET, "22 kW is less than that already"
    assert event.response.limit_w == 30_000

    async def acknowledged() -> Any:
        response = (await get(loadstar, event.event_id)).response
        return response if response.HasField("acknowledge_time") else None

    response = await until(acknowledged)
    assert response.receive_time.ToMilliseconds() <= response.apply_time.ToMilliseconds()
    assert response.apply_time.ToMilliseconds() <= response.acknowledge_time.ToMilliseconds()
    assert response.measured_w == 32 * 3 * 230, "nobody has measured it: what it may draw counts"
    assert response.samples
    state = (await loadstar.grid.GetFeeder(grid_pb2.GetFeederRequest(feeder_id="town"))).state
    assert [share.feeder_id for share in state.feeders] == ["street"]
    assert state.feeders[0].cap_ma <= state.limit_ma == 30_000 * 1_000 // 690
    assert [each.event_id for each in state.events] == [event.event_id]
    restore = await create(
        loadstar, 0, kind=grid_pb2.GRID_EVENT_KIND_RESTORE, source="utility", event_id="back"
    )
    assert restore.state == grid_pb2.GRID_EVENT_STATE_ENDED
    ended = await get(loadstar, event.event_id)
    assert ended.state == grid_pb2.GRID_EVENT_STATE_ENDED
    assert ended.response.samples, "what was made of it stays"
    lines = await loadstar.journal.ListEvents(
        journal_pb2.ListEventsRequest(
            page_size=1_000, filter=journal_pb2.EventFilter(kinds=["grid.*"])
        )
    )
    of_it = [line.kind for line in lines.events if line.data["event_id"] == event.event_id]
    assert of_it[:2] == ["grid.event_created", "grid.event_started"]
    assert set(of_it) >= {"grid.event_applied", "grid.event_acknowledged", "grid.event_met"}
    assert of_it[-1] == "grid.event_ended"


async def test_an_event_is_taken_in_once_and_called_off(loadstar: Loadstar) -> None:
    later, end = in_s(3_600), in_s(7_200)
    first = await create(loadstar, 10_000, start_time=later, end_time=end, request_id="r-1")
    again = await create(loadstar, 10_000, start_time=later, end_time=end, request_id="r-1")
    assert first == again
    assert first.state == grid_pb2.GRID_EVENT_STATE_SCHEDULED
    other = await create(loadstar, 5_000, event_id="mine", site_id="depot", start_time=end)
    taken = create(loadstar, 5_000, event_id="mine", start_time=end)
    assert await refused(taken) is grpc.StatusCode.ALREADY_EXISTS
    listed = await loadstar.grid.ListGridEvents(grid_pb2.ListGridEventsRequest(page_size=1))
    assert [each.event_id for each in listed.events] == ["mine"]
    rest = await loadstar.grid.ListGridEvents(
        grid_pb2.ListGridEventsRequest(page_token=listed.next_page_token)
    )
    assert [each.event_id for each in rest.events] == [first.event_id]
    stream: Any = loadstar.grid.WatchGridEvents(grid_pb2.WatchGridEventsRequest(site_id="depot"))
    assert (await stream.read()).event == other
    cancelled = await loadstar.grid.CancelGridEvent(
        grid_pb2.CancelGridEventRequest(event_id="mine")
    )
    assert cancelled.event.state == grid_pb2.GRID_EVENT_STATE_CANCELLED
    told = await stream.read()
    assert (told.event_kind, told.event.event_id) == ("grid.event_cancelled", "mine")
    stream.cancel()
    once_more = await loadstar.grid.CancelGridEvent(
        grid_pb2.CancelGridEventRequest(event_id="mine")
    )
    assert once_more.event == cancelled.event
    only_open = await loadstar.grid.ListGridEvents(grid_pb2.ListGridEventsRequest(open_only=True))
    assert [each.event_id for each in only_open.events] == [first.event_id]


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"feeder_id": "nowhere"}, grpc.StatusCode.NOT_FOUND),
        ({"site_id": "nowhere"}, grpc.StatusCode.NOT_FOUND),
        ({"kind": grid_pb2.GRID_EVENT_KIND_UNSPECIFIED}, grpc.StatusCode.INVALID_ARGUMENT),
        ({"end_time": Timestamp(seconds=5)}, grpc.StatusCode.INVALID_ARGUMENT),
        ({"start_time": Timestamp(seconds=5)}, grpc.StatusCode.INVALID_ARGUMENT),
        ({"event_id": "with blank"}, grpc.StatusCode.INVALID_ARGUMENT),
        ({"source": "x" * 129}, grpc.StatusCode.INVALID_ARGUMENT),
        ({"baseline_w": 10**13}, grpc.StatusCode.INVALID_ARGUMENT),
    ],
)
async def test_bad_events_are_refused(
    loadstar: Loadstar, fields: dict[str, Any], code: grpc.StatusCode
) -> None:
    assert await refused(create(loadstar, 1_000, **fields)) is code
    missing = loadstar.grid.GetGridEvent(grid_pb2.GetGridEventRequest(event_id="none"))
    assert await refused(missing) is grpc.StatusCode.NOT_FOUND


async def test_a_reduction_is_counted_from_the_baseline_that_is_told(loadstar: Loadstar) -> None:
    kind = grid_pb2.GRID_EVENT_KIND_REDUCE_BY
    event = await create(loadstar, 30_000, kind=kind, site_id="depot", baseline_w=50_000)
    assert (event.response.baseline_w, event.response.limit_w) == (50_000, 20_000)


async def test_feeders_are_nested_only_where_that_has_an_end(loadstar: Loadstar) -> None:
    async def update(id: str, parent: str) -> None:
        feeder = network_pb2.FeederDescription(id=id, parent=parent, power_max_w=69_000)
        await loadstar.grid.UpdateFeeder(grid_pb2.UpdateFeederRequest(feeder=feeder))

    assert await refused(update("town", "street")) is grpc.StatusCode.INVALID_ARGUMENT
    assert await refused(update("street", "nowhere")) is grpc.StatusCode.INVALID_ARGUMENT
    delete = loadstar.grid.DeleteFeeder(grid_pb2.DeleteFeederRequest(feeder_id="town"))
    assert await refused(delete) is grpc.StatusCode.FAILED_PRECONDITION
    await update("street", "")

    async def deleted() -> bool:
        try:
            await loadstar.grid.DeleteFeeder(grid_pb2.DeleteFeederRequest(feeder_id="town"))
        except grpc.aio.AioRpcError:
            return False
        return True

    await until(deleted)
