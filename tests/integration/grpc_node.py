"""A running Loadstar and its clients, for tests of the public API."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple

import grpc
import pytest
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from controlplane.api.server import ApiServer, serve
from controlplane.api.v1 import (
    chargers_pb2,
    chargers_pb2_grpc,
    grid_pb2_grpc,
    journal_pb2_grpc,
    network_pb2,
    network_pb2_grpc,
    sessions_pb2,
    sessions_pb2_grpc,
    sites_pb2_grpc,
)
from controlplane.config import Settings
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


class Serving(NamedTuple):
    """A node with its public API, and a channel to that."""

    node: Node
    api: ApiServer
    channel: grpc.aio.Channel


@asynccontextmanager
async def serving(settings: Settings, network: str = "") -> AsyncIterator[Serving]:
    """Loadstar as one process; `network`: its description."""
    node = await start_node(settings, transport="local")
    try:
        api = await serve(settings, node.client, node.reader, clock=node.clock)
        try:
            async with grpc.aio.insecure_channel(f"127.0.0.1:{api.port}") as channel:
                if network:
                    await network_pb2_grpc.NetworkServiceStub(channel).ApplyNetwork(
                        network_pb2.ApplyNetworkRequest(yaml=network)
                    )
                yield Serving(node, api, channel)
        finally:
            await api.stop()
    finally:
        await node.stop()


@asynccontextmanager
async def running(data_dir: Path) -> AsyncIterator[Loadstar]:
    """Loadstar as one process, with a channel to it."""
    settings = Settings(data_dir=data_dir, ocpp_port=0, grpc_port=0, round_interval_s=0.05)
    async with serving(settings) as (node, api, channel):
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


async def apply_example(loadstar: Loadstar) -> None:
    """Describe the example network."""
    await loadstar.network.ApplyNetwork(
        network_pb2.ApplyNetworkRequest(yaml=EXAMPLE.read_text(encoding="utf-8"))
    )


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
