"""Plans over gRPC and in the terminal, of a node that plans for a real station."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple
from xml.etree import ElementTree

import grpc
import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from grpc_node import serving
from grpc_stations import Station16, connected
from typer.testing import CliRunner

from controlplane.api.v1 import (
    planning_pb2,
    planning_pb2_grpc,
    sessions_pb2,
    sessions_pb2_grpc,
    sites_pb2,
    sites_pb2_grpc,
)
from controlplane.cli import app
from controlplane.config import Settings


def network() -> str:
    """Power is cheap from two hours after the next full hour on."""
    begins = datetime.now(UTC) + timedelta(hours=3)
    ends = begins + timedelta(hours=4)
    hours = f'{{from: "{begins:%H}:00", to: "{ends:%H}:00"}}'
    return f"""
version: 1
feeders: [{{id: street, power_max_w: 50000}}, {{id: lane, power_max_w: 50000}}]
sites:
  - id: depot
    feeder: street
    circuits: [{{id: supply, rating_a: 100}}]
    tariff:
      currency: EUR
      import_price_per_kwh: 0.4
      periods: [{{hours: [{hours}], import_price_per_kwh: 0.1}}]
    chargers: [{{id: CP-1, circuit: supply}}]
  - id: yard
    circuits: [{{id: supply, rating_a: 100}}]
"""


class Loadstar(NamedTuple):
    address: str
    channel: grpc.aio.Channel
    station: Station16

    async def plan(self, site_id: str = "depot") -> planning_pb2.Plan:
        planning = planning_pb2_grpc.PlanningServiceStub(self.channel)
        return (await planning.GetPlan(planning_pb2.GetPlanRequest(site_id=site_id))).plan

    async def cli(self, *words: str) -> str:
        arguments = [*words, "--address", self.address]
        result = await asyncio.to_thread(CliRunner().invoke, app, arguments)
        assert result.exit_code == 0, result.output
        return result.stdout


@pytest.fixture
async def loadstar(tmp_path: Path) -> AsyncIterator[Loadstar]:
    settings = Settings(data_dir=tmp_path, ocpp_port=0, grpc_port=0, clock_speed=20)
    async with serving(settings, network()) as (node, api, channel):
        address = f"127.0.0.1:{api.port}"
        async with connected(Station16, "CP-1", node.ocpp_port) as station:
            yield Loadstar(address, channel, station)


async def begin(loadstar: Loadstar) -> str:
    """A session that needs little and stays for ten hours; its id."""
    sessions = sessions_pb2_grpc.SessionsServiceStub(loadstar.channel)
    await loadstar.station.begin("CARD")
    found: Any = None
    async with asyncio.timeout(20):
        while not (found and found.sessions):
            found = await sessions.ListSessions(sessions_pb2.ListSessionsRequest())
    session_id = str(found.sessions[0].session_id)
    need = sessions_pb2.SetSessionNeedRequest(
        session_id=session_id,
        need_wh=5_000,
        departure_time=Timestamp(seconds=int(time.time()) + 36_000),
    )
    await sessions.SetSessionNeed(need)
    return session_id


async def test_a_station_is_planned_and_everybody_can_see_why(
    loadstar: Loadstar, tmp_path: Path
) -> None:
    before = await loadstar.plan()
    assert before.state == planning_pb2.PLAN_STATE_AWAITED
    session_id = await begin(loadstar)
    planning = planning_pb2_grpc.PlanningServiceStub(loadstar.channel)
    async with asyncio.timeout(30):
        watched = planning.WatchPlan(planning_pb2.WatchPlanRequest(site_id="depot", interval_s=1))
        async for told in watched:
            plan = told.plan
            held = [each for each in plan.sessions if each.need_source]
            if plan.state == planning_pb2.PLAN_STATE_FOLLOWED and held:
                break
    (session,) = plan.sessions
    assert session.session_id == session_id
    assert session.need_source == sites_pb2.DEMAND_SOURCE_DRIVER
    assert session.planned_wh == pytest.approx(session.need_wh, abs=60)
    assert "waits for cheaper power until " in session.words
    assert len(plan.slots) == len(session.slot_w) == 96
    charges = [at for at, power_w in enumerate(session.slot_w) if power_w]
    assert {float(plan.slots[at].import_price_per_kwh) for at in charges} == {0.1}
    assert float(plan.bound) <= float(plan.cost)
    sites = sites_pb2_grpc.SitesServiceStub(loadstar.channel)
    why = await sites.ExplainConnector(sites_pb2.ExplainConnectorRequest(charger_id="CP-1"))
    (words,) = [each.words for each in why.factors if each.kind == "plan"]
    assert "waits for cheaper power until " in words
    picture = tmp_path / "plan.svg"
    drawn = await loadstar.cli("plan", "depot", "--svg", str(picture))
    assert "Site depot: followed" in drawn
    assert "CP-1/1" in drawn and "waits for cheaper power until " in drawn
    assert json.loads(await loadstar.cli("plan", "depot", "--json"))["currency"] == "EUR"
    shown = ElementTree.fromstring(picture.read_text())
    assert "Site depot" in shown.attrib["aria-label"]
    texts = [element.text for element in shown.iter("{http://www.w3.org/2000/svg}text")]
    assert "CP-1/1" in texts and "EUR/kWh" in texts


async def test_a_site_without_a_tariff_says_that_it_is_not_planned(loadstar: Loadstar) -> None:
    assert (await loadstar.plan("yard")).state == planning_pb2.PLAN_STATE_NONE
    assert "has no tariff" in await loadstar.cli("plan", "yard")
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await loadstar.plan("nowhere")
    assert caught.value.code() is grpc.StatusCode.NOT_FOUND


async def test_a_vehicle_that_waits_is_on_offer_and_can_be_called_off(loadstar: Loadstar) -> None:
    await begin(loadstar)
    async with asyncio.timeout(30):
        while True:
            # Of a vehicle that was not measured nothing is offered, and what the feeder leaves the
            # site grows with what the site could use.
            await loadstar.station.meter(1_000)
            found = json.loads(
                await loadstar.cli("flexibility", "offer", "depot", "--more", "--json")
            )
            if found["power_w"] > 1_000:
                break
            await asyncio.sleep(0.2)
    (part,) = found["parts"]
    assert (part["kind"], part["session_count"]) == ("FLEXIBILITY_KIND_CHARGE", 1)
    # It needs 5 kWh, and draws 3.7 kW by its meter.
    assert part["power_w"] == pytest.approx(5_000 - 3_680, abs=20)
    assert float(part["price_per_kwh"]) == pytest.approx(0.3, abs=0.001)
    words = ["flexibility", "activate", "depot", "--more", "--power", "1", "--id", "E", "--json"]
    asked = json.loads(await loadstar.cli(*words))["delivery"]
    assert asked["direction"] == "FLEXIBILITY_DIRECTION_MORE"
    shown = await loadstar.cli("flexibility", "delivery", "E")
    assert "1000 W more" in shown
    event = json.loads(await loadstar.cli("grid-events", "get", "E", "--json"))
    assert event["kind"] == "GRID_EVENT_KIND_INCREASE_BY"
    assert event["response"]["aim_w"] == event["response"]["baseline_w"] + 1_000


async def test_a_feeder_shows_what_its_sites_may_plan_with(loadstar: Loadstar) -> None:
    await begin(loadstar)
    planning = planning_pb2_grpc.PlanningServiceStub(loadstar.channel)
    wanted = planning_pb2.WatchPlanRequest(feeder_id="street", interval_s=1)
    async with asyncio.timeout(30):
        async for told in planning.WatchPlan(wanted):
            plan = told.plan
            if plan.state == planning_pb2.PLAN_STATE_FOLLOWED:
                break
    (site,) = plan.sites
    assert (site.site_id, site.feeder_id, plan.planner_id) == ("depot", "street", "street")
    assert len(plan.slots) == len(site.allotted_w) == 96
    assert {slot.base_w + slot.limit_w for slot in plan.slots} == {49_999}
    assert 45_000 < min(site.allotted_w) <= max(site.allotted_w) <= 50_000
    drawn = await loadstar.cli("plan", "street")
    assert "Feeder street: followed, nothing could be full" in drawn
    assert "what the feeder carries" in drawn and "depot" in drawn
    assert "no site below it has a tariff" in await loadstar.cli("plan", "lane")


async def test_a_plan_of_neither_site_nor_feeder_is_refused(loadstar: Loadstar) -> None:
    planning = planning_pb2_grpc.PlanningServiceStub(loadstar.channel)
    for request, code in (
        ({"feeder_id": "nowhere"}, grpc.StatusCode.NOT_FOUND),
        ({"feeder_id": "street", "site_id": "depot"}, grpc.StatusCode.INVALID_ARGUMENT),
    ):
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await planning.GetPlan(planning_pb2.GetPlanRequest(**request))
        assert caught.value.code() is code
    words = ["plan", "nowhere", "--address", loadstar.address]
    result = await asyncio.to_thread(CliRunner().invoke, app, words)
    assert result.exit_code == 1
    assert "there is no site and no feeder 'nowhere'" in result.output
