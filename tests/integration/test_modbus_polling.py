"""Meters that sites describe, read by a running node over real TCP."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from modbus_server import ServedMeter, served_meter

from controlplane.config import Settings
from controlplane.ids import ActorKind, ActorRef
from controlplane.integrations.modbus import polling
from controlplane.integrations.modbus.polling import MeterPolling
from controlplane.network import SiteConfig
from controlplane.runtime.node import Node, start_node
from controlplane.site.messages import (
    ConfigureSite,
    DeleteSite,
    GetSite,
    SiteConfigured,
    SiteDeleted,
    SiteView,
)

DEPOT = ActorRef(ActorKind.SITE, "depot")


@pytest.fixture
async def meter() -> AsyncIterator[ServedMeter]:
    async with served_meter() as served:
        yield served


@pytest.fixture
async def node(tmp_path: Path) -> AsyncIterator[Node]:
    settings = Settings(data_dir=tmp_path, ocpp_port=0, grpc_port=0, round_interval_s=0.05)
    node = await start_node(settings, transport="local")
    yield node
    await node.stop()


@pytest.fixture
async def meters(node: Node, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[MeterPolling]:
    monkeypatch.setattr(polling, "BACKOFF_MAX_S", 0.3)
    meters = MeterPolling(node.client, node.reader, node.clock)
    meters.start()
    yield meters
    await meters.stop()


async def describe(node: Node, meter: dict[str, Any] | None, **load: Any) -> None:
    building = {"circuit": "supply", "assumed_a": 40, "meter": meter, **load}
    site = SiteConfig.model_validate(
        {
            "id": "depot",
            "circuits": [{"id": "supply", "rating_a": 100}],
            "building_load": building,
        }
    )
    request = ConfigureSite(config=site.model_dump_json().encode())
    await node.client.ask(DEPOT, request, SiteConfigured)


async def view(node: Node) -> SiteView:
    return await node.client.ask(DEPOT, GetSite(), SiteView)


async def eventually(check: Callable[[], Awaitable[Any]]) -> Any:
    """The first truthy result of `check`."""
    async with asyncio.timeout(20):
        while not (found := await check()):  # noqa: ASYNC110 - a meter has no event
            await asyncio.sleep(0.02)
    return found


async def until(node: Node, true: Callable[[SiteView], bool]) -> SiteView:
    async def check() -> SiteView | None:
        found = await view(node)
        return found if true(found) else None

    found: SiteView = await eventually(check)
    return found


async def counted(true: Callable[[], bool]) -> None:
    async def check() -> bool:
        return true()

    await eventually(check)


def building(*currents_ma: int) -> Callable[[SiteView], bool]:
    return lambda site: site.circuits[0].building_ma == currents_ma


async def alarms(node: Node, name: str) -> list[bool]:
    """Whether it began or ended, each time it did."""
    return [
        event.data["active"]
        for event in await node.reader.journal(0)
        if event.kind == "site.alarm" and event.data["alarm"] == name
    ]


def document(served: ServedMeter, **changed: Any) -> dict[str, Any]:
    return served.described(**changed).model_dump(mode="json")


async def test_the_site_counts_what_its_meter_shows(
    node: Node, meters: MeterPolling, meter: ServedMeter
) -> None:
    await describe(node, document(meter))
    await until(node, building(10_000, 20_000, 30_000))
    meter.currents_a = (15.5, 0.0, 31.0)
    await until(node, building(15_500, 0, 31_000))
    assert meters.states() == {"described": 1, "unreachable": 0}
    assert meters.counts()["failures"] == 0


async def test_a_meter_that_was_described_before_the_start_is_read(
    node: Node, meter: ServedMeter
) -> None:
    await describe(node, document(meter))
    meters = MeterPolling(node.client, node.reader, node.clock)
    meters.start()
    await until(node, building(10_000, 20_000, 30_000))
    await meters.stop()
    asked = meter.asked
    await asyncio.sleep(0.5)
    assert meter.asked == asked, "nobody reads after the stop"


async def test_a_silent_meter_is_told_once_and_staleness_does_its_work(
    node: Node, meters: MeterPolling, meter: ServedMeter
) -> None:
    await describe(node, document(meter), stale_after_s=0.6)
    await until(node, building(10_000, 20_000, 30_000))
    await meter.stop()
    stale = await until(node, lambda site: site.building_load_stale)
    assert stale.circuits[0].building_ma == (40_000, 40_000, 40_000), "at least what was assumed"
    await eventually(lambda: alarms(node, "meter_unreachable"))
    assert meters.states()["unreachable"] == 1
    failures = meters.counts()["failures"]
    await counted(lambda: meters.counts()["failures"] >= failures + 3)
    await meter.start()
    await until(node, building(10_000, 20_000, 30_000))
    assert await alarms(node, "meter_unreachable") == [True, False]
    assert meters.states()["unreachable"] == 0


async def test_a_new_description_is_followed(
    node: Node, meters: MeterPolling, meter: ServedMeter
) -> None:
    await describe(node, document(meter))
    await until(node, building(10_000, 20_000, 30_000))
    await describe(node, document(meter, scale_a=2.0))
    await until(node, building(20_000, 40_000, 60_000))
    await describe(node, None)
    await counted(lambda: not meters.states()["described"])
    asked = meter.asked
    await asyncio.sleep(0.5)
    assert meter.asked == asked


async def test_a_site_that_is_gone_is_not_read(
    node: Node, meters: MeterPolling, meter: ServedMeter
) -> None:
    await describe(node, document(meter))
    await until(node, building(10_000, 20_000, 30_000))
    await node.client.ask(DEPOT, DeleteSite(), SiteDeleted)
    await counted(lambda: not meters.states()["described"])


async def test_a_host_that_dies_is_told_again(
    node: Node, meters: MeterPolling, meter: ServedMeter
) -> None:
    await describe(node, document(meter))
    await until(node, building(10_000, 20_000, 30_000))
    await node.kill_host()
    meter.currents_a = (11.0, 12.0, 13.0)
    await counted(lambda: node.host_restarts > 0)
    await until(node, building(11_000, 12_000, 13_000))
