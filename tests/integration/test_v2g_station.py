"""A vehicle feeds in at a real node, over a real socket, until the line is cut."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from decimal import Decimal
from pathlib import Path

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration

from controlplane.api.server import serve
from controlplane.api.v1 import flexibility_pb2, flexibility_pb2_grpc
from controlplane.charger.messages import DischargeConsent, SetSessionNeed
from controlplane.config import Settings
from controlplane.grid_events import GetGridEvent, GridEvent
from controlplane.ids import ActorKind, ActorRef, SessionId
from controlplane.network_yaml import parse_network
from controlplane.runtime.node import Node, start_node
from controlplane.sim.console import Console, ShiftedClock, StationShape, make_station
from controlplane.sim.station_v21 import DialectV21
from controlplane.site.messages import ConfigureSite, ReportBuildingLoad, SiteConfigured, SiteView
from controlplane.store.records import SessionRecord
from controlplane.units import MS_PER_HOUR

NETWORK = """
sites:
  - id: S1
    circuits: [{id: supply, rating_a: 100}]
    building_load: {circuit: supply, assumed_a: 20, stale_after_s: 600}
    vehicle_to_grid: {credit_per_kwh: 0.31, currency: EUR}
    chargers:
      - {id: V2X, circuit: supply, offline_current_a: 0}
"""
SITE, CHARGER = ActorRef(ActorKind.SITE, "S1"), ActorRef(ActorKind.CHARGER, "V2X")
BUILDING_W = 20 * 3 * 230


@asynccontextmanager
async def running(folder: Path) -> AsyncIterator[Node]:
    settings = Settings(
        data_dir=folder, ocpp_port=0, grpc_port=0, round_interval_s=0.05, meter_interval_s=1.0
    )
    node = await start_node(settings, transport="local")
    try:
        (site,) = parse_network(NETWORK).sites
        request = ConfigureSite(site.model_dump_json().encode())
        await node.client.ask(SITE, request, SiteConfigured)
        yield node
    finally:
        await node.stop()


async def call_off(node: Node) -> None:
    """By gRPC: what is on offer, too much of it, and so much that 6.9 kW have to be fed in."""
    settings = Settings(data_dir=Path("unused"), grpc_port=0)
    api = await serve(settings, node.client, node.reader, clock=node.clock)
    try:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{api.port}") as channel:
            stub = flexibility_pb2_grpc.FlexibilityServiceStub(channel)
            hours = Duration(seconds=7_200)
            asked = flexibility_pb2.GetOfferRequest(site_id="S1", duration=hours)
            async with asyncio.timeout(20):
                # Until its battery has been measured nothing is offered of it.
                while (offer := (await stub.GetOffer(asked)).offer).parts[1].power_w < 10_000:  # noqa: ASYNC110
                    await asyncio.sleep(0.1)
            pause, feed_in = offer.parts
            assert (feed_in.price_per_kwh, feed_in.currency) == ("0.31", "EUR")
            wish = flexibility_pb2.ActivateRequest(
                site_id="S1",
                power_w=pause.power_w + 6_900,
                duration=hours,
                activation_id="E",
                price_max_per_kwh="0.30",
                request_id="once",
            )
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await stub.Activate(wish)
            assert refused.value.code() is grpc.StatusCode.FAILED_PRECONDITION
            # The baseline still holds minutes without a vehicle: aim at the building alone.
            wish.price_max_per_kwh, wish.beyond_offer = "", True
            wish.power_w = offer.baseline_w - BUILDING_W + 6_900
            first = (await stub.Activate(wish)).delivery
            again = (await stub.Activate(wish)).delivery
            assert first.activation_id == again.activation_id == "E"
            assert first.baseline_w == again.baseline_w
            delivered = flexibility_pb2.GetDeliveryRequest(activation_id="E")
            async with asyncio.timeout(20):
                while not (await stub.GetDelivery(delivered)).delivery.fed_in_wh:  # noqa: ASYNC110
                    await asyncio.sleep(0.2)
    finally:
        await api.stop()


async def until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not true():  # noqa: ASYNC110 - vehicles have no events
            await asyncio.sleep(0.05)


async def test_it_feeds_in_until_the_line_is_cut_and_is_credited_by_the_meter(
    tmp_path: Path,
) -> None:
    async with running(tmp_path) as node:
        clock = ShiftedClock()
        url = f"ws://127.0.0.1:{node.ocpp_port}/ocpp"
        station = make_station(StationShape("V2X", "2.1", feeds_in=True), url=url, clock=clock)
        assert isinstance(station.dialect, DialectV21)
        # It would begin with a minute.
        station.dialect.settings["SampledDataCtrlr.TxUpdatedInterval"] = "1"
        frames: list[str] = []
        station.manners.tell = lambda direction, frame: frames.append(direction + frame)
        console = Console(station, clock, lambda _: None, feeds_in=True)
        words: asyncio.Queue[str] = asyncio.Queue()

        async def lines() -> AsyncIterator[str]:
            while True:
                yield await words.get()

        life = asyncio.create_task(console.run(lines()))
        outlet = station.outlets[1]
        try:
            await asyncio.wait_for(station.settled.wait(), 10)
            now_ms = clock.now_ms()
            load = ReportBuildingLoad(now_ms, (20_000, 20_000, 20_000))
            await node.client.ask(SITE, load, SiteView)
            await words.put("plug 1 ANN 30")
            await until(lambda: outlet.draw.power_w > 1_000)
            agreed = SetSessionNeed(
                SessionId("V2X-1"),
                need_wh=1_000,
                departure_ms=now_ms + 12 * MS_PER_HOUR,
                discharge=DischargeConsent(30),
            )
            await node.client.ask(CHARGER, agreed, SessionRecord)
            await call_off(node)
            await until(lambda: outlet.draw.power_w < -6_500)
            assert any('"operationMode":"CentralSetpoint"' in frame for frame in frames)
            async with asyncio.timeout(20):
                while (await node.client.ask(SITE, GetGridEvent("E"), GridEvent)).met_ms is None:  # noqa: ASYNC110
                    await asyncio.sleep(0.1)
            await words.put("offline 3")
            await until(lambda: not station.settled.is_set())
            await until(lambda: outlet.offered_a >= 0)
            assert not station.settled.is_set(), "it stopped by itself, without a connection"
            await words.put("unplug")
            await asyncio.wait_for(station.settled.wait(), 20)
            assert await station.drained(10)
            record = await node.reader.session(SessionId("V2X-1"))
        finally:
            await words.put("quit")
            await asyncio.wait_for(life, 20)
    (_, transaction) = station.transactions[0]
    fed_wh = transaction.exported_stop_wh - transaction.exported_start_wh
    assert record is not None
    assert fed_wh > 1
    assert record.exported_wh == record.credited_wh == fed_wh
    assert Decimal(record.credit_amount) == Decimal("0.31") * fed_wh / 1_000
