"""The station that others develop against, driven by words, at a real Loadstar."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from controlplane.charger.messages import ChargerView, GetCharger
from controlplane.config import Settings
from controlplane.errors import InvalidInput
from controlplane.ids import ActorKind, ActorRef, SiteId
from controlplane.network_yaml import parse_network
from controlplane.ocpp.events import ConnectorStatus
from controlplane.runtime.node import Node, start_node
from controlplane.sim.console import Console, ShiftedClock, StationShape, make_station
from controlplane.site.messages import ConfigureSite, SiteConfigured

NETWORK = """
sites:
  - id: S1
    circuits: [{id: supply, rating_a: 100}]
    chargers:
      - {id: OLD, circuit: supply}
      - {id: NEW, circuit: supply}
"""


@pytest.fixture
async def node(tmp_path: Path) -> AsyncIterator[Node]:
    settings = Settings(data_dir=tmp_path, ocpp_port=0, grpc_port=0, round_interval_s=0.05)
    node = await start_node(settings, transport="local")
    (site,) = parse_network(NETWORK).sites
    request = ConfigureSite(site.model_dump_json().encode())
    await node.client.ask(ActorRef(ActorKind.SITE, "S1"), request, SiteConfigured)
    yield node
    await node.stop()


class Driven:
    """A console that is told words one by one."""

    def __init__(self, node: Node, id: str, version: str) -> None:
        self.node = node
        self.id = id
        self.heard: list[str] = []
        self.frames: list[str] = []
        self.words: asyncio.Queue[str] = asyncio.Queue()
        clock = ShiftedClock()
        url = f"ws://127.0.0.1:{node.ocpp_port}/ocpp"
        self.station = make_station(StationShape(id, version), url=url, clock=clock)
        self.station.manners.tell = lambda direction, frame: self.frames.append(direction + frame)
        self.console = Console(self.station, clock, self.heard.append)

    async def lines(self) -> AsyncIterator[str]:
        while True:
            yield await self.words.get()

    async def status(self) -> ConnectorStatus | None:
        ref = ActorRef(ActorKind.CHARGER, self.id)
        view = await self.node.client.ask(ref, GetCharger(), ChargerView)
        return view.connectors[0].status

    async def until(self, status: ConnectorStatus) -> None:
        async with asyncio.timeout(30):
            while await self.status() is not status:  # noqa: ASYNC110 - has no event
                await asyncio.sleep(0.05)


@pytest.mark.parametrize(("id", "version"), [("OLD", "1.6"), ("NEW", "2.0.1")])
async def test_a_driven_station_charges_loses_its_line_fails_and_tells_everything(
    node: Node, id: str, version: str
) -> None:
    driven = Driven(node, id, version)
    running = asyncio.create_task(driven.console.run(driven.lines()))
    await driven.station.settled.wait()
    driven.words.put_nowait("plug 1 ALICE 20")
    await driven.until(ConnectorStatus.CHARGING)
    driven.words.put_nowait("offline 1")
    driven.words.put_nowait("wait 0.5")
    driven.words.put_nowait("unplug")
    await asyncio.sleep(0.7)
    await driven.station.settled.wait()
    await driven.until(ConnectorStatus.AVAILABLE)
    driven.words.put_nowait("fault 1 GroundFailure")
    driven.words.put_nowait("status")
    await driven.until(ConnectorStatus.FAULTED)
    driven.words.put_nowait("repair")
    await driven.until(ConnectorStatus.AVAILABLE)
    driven.words.put_nowait("quit")
    await running
    page, _ = await node.reader.sessions(site_id=SiteId("S1"))
    (session,) = page
    (_, transaction) = driven.station.transactions[0]
    assert session.id_token == "ALICE"
    assert session.meter_stop_wh == transaction.register_stop_wh
    assert any("GroundFailure" in line for line in driven.heard)


async def test_it_does_wrong_where_it_is_told_to(node: Node) -> None:
    driven = Driven(node, "OLD", "1.6")
    running = asyncio.create_task(driven.console.run(driven.lines()))
    driven.words.put_nowait("refuse SetChargingProfile GetConfiguration")
    await driven.station.settled.wait()
    driven.words.put_nowait('send [2,"x","Heartbeat",{')
    async with asyncio.timeout(30):
        while not any(frame.startswith(">[4,") for frame in driven.frames):  # noqa: ASYNC110
            await asyncio.sleep(0.05)
    with pytest.raises(InvalidInput, match="nobody knows"):
        await driven.console.do("dance")
    with pytest.raises(InvalidInput, match="no connector 7"):
        await driven.console.do("plug 7")
    driven.words.put_nowait("quit")
    await running
    assert driven.station.traffic.refused == 0
