"""Prices and forecasts over gRPC and on the command line."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Awaitable
from pathlib import Path
from typing import Any, NamedTuple

import grpc
import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from grpc_node import serving
from typer.testing import CliRunner, Result

from controlplane.api.v1 import (
    journal_pb2,
    journal_pb2_grpc,
    planning_pb2,
    planning_pb2_grpc,
)
from controlplane.cli import app
from controlplane.config import Settings

NETWORK = """
version: 1
feeders:
  - {id: town, power_max_w: 138000}
  - {id: street, parent: town, power_max_w: 69000}
sites:
  - id: garage
    feeder: street
    circuits: [{id: supply, rating_a: 100}]
    tariff: {currency: EUR, import_price_per_kwh: 0.3, day_ahead: {adder_per_kwh: 0.1}}
  - id: yard
    feeder: town
    circuits: [{id: supply, rating_a: 100}]
    tariff: {currency: EUR, day_ahead: {}}
  - id: kiosk
    feeder: street
    circuits: [{id: supply, rating_a: 100}]
    tariff: {currency: EUR, import_price_per_kwh: 0.2}
  - id: shed
    circuits: [{id: supply, rating_a: 100}]
"""


class Loadstar(NamedTuple):
    address: str
    planning: planning_pb2_grpc.PlanningServiceAsyncStub
    journal: journal_pb2_grpc.JournalServiceAsyncStub

    async def cli(self, *words: str, status: int = 0, told: str | None = None) -> Result:
        arguments = [*words, "--address", self.address]
        result = await asyncio.to_thread(CliRunner().invoke, app, arguments, input=told)
        assert result.exit_code == status, result.output
        return result


@pytest.fixture
async def loadstar(tmp_path: Path) -> AsyncIterator[Loadstar]:
    settings = Settings(data_dir=tmp_path, ocpp_port=0, grpc_port=0)
    async with serving(settings, NETWORK) as (_, api, channel):
        address = f"127.0.0.1:{api.port}"
        yield Loadstar(
            address,
            planning_pb2_grpc.PlanningServiceStub(channel),
            journal_pb2_grpc.JournalServiceStub(channel),
        )


HOUR_S = 3_600


def now_s() -> int:
    return int(time.time())


def interval(ahead_h: int, price: str, *, hours: int = 1) -> planning_pb2.PriceInterval:
    start_s = now_s() // HOUR_S * HOUR_S + ahead_h * HOUR_S
    return planning_pb2.PriceInterval(
        start_time=Timestamp(seconds=start_s),
        end_time=Timestamp(seconds=start_s + hours * HOUR_S),
        price_per_kwh=price,
    )


def hour_words(start_s: int, hour: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(start_s + hour * HOUR_S))


async def refused(call: Awaitable[Any]) -> tuple[grpc.StatusCode, str]:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return caught.value.code(), caught.value.details() or ""


async def expected(loadstar: Loadstar, site_id: str, count: int) -> planning_pb2.SiteForecasts:
    request = planning_pb2.GetForecastsRequest(site_id=site_id, slot_count=count)
    return (await loadstar.planning.GetForecasts(request)).forecasts


async def test_a_push_reaches_every_site_below_a_feeder_that_follows_a_market(
    loadstar: Loadstar,
) -> None:
    prices = [interval(-1, "0.05", hours=3), interval(2, "-0.02")]
    request = planning_pb2.PushPricesRequest(feeder_id="town", prices=prices, request_id="r1")
    for _ in range(2):
        told = await loadstar.planning.PushPrices(request)
        assert [(each.site_id, each.taken_count) for each in told.outcomes] == [
            ("garage", 2),
            ("yard", 2),
        ]
    garage, yard = await expected(loadstar, "garage", 4), await expected(loadstar, "yard", 3)
    assert [slot.import_price_per_kwh for slot in garage.slots] == [
        *("0.150000", "0.150000", "0.080000", "0.300000")
    ]
    assert yard.slots[2].import_price_per_kwh == "-0.020000"
    assert garage.currency == "EUR"
    assert "the tariff stands in" in garage.stale[0]
    events = await loadstar.journal.ListEvents(
        journal_pb2.ListEventsRequest(
            filter=journal_pb2.EventFilter(kinds=["site.prices_pushed"]), page_size=100
        )
    )
    assert len(events.events) == 2, "the same request twice is one push"


async def test_who_refuses_says_why_and_the_others_take_it(loadstar: Loadstar) -> None:
    request = planning_pb2.PushPricesRequest(
        site_ids=["kiosk", "garage", "shed"], prices=[interval(0, "0.05")]
    )
    told = (await loadstar.planning.PushPrices(request)).outcomes
    assert [each.taken_count for each in told] == [0, 1, 0]
    assert told[0].refusal == "the tariff of site kiosk has no day_ahead: it follows no market"
    assert "without a tariff" in told[2].refusal
    alone = planning_pb2.PushPricesRequest(site_ids=["kiosk"], prices=[interval(0, "0.05")])
    code, _ = await refused(loadstar.planning.PushPrices(alone))
    assert code is grpc.StatusCode.FAILED_PRECONDITION


WRONG: list[tuple[list[planning_pb2.PriceInterval], str]] = [
    ([], "prices: 1 to 2000 intervals"),
    ([interval(0, "dear")], "prices[0].price_per_kwh: a decimal number"),
    ([interval(0, "1e9")], "prices[0].price_per_kwh: a price of 1E+9 is not within 10000"),
    ([interval(1, "1", hours=-1)], "prices[0].end_time: a second to a week after"),
    ([interval(0, "1", hours=2), interval(1, "2")], "prices[1]: overlaps prices[0]"),
    ([planning_pb2.PriceInterval(price_per_kwh="1")], "start_time and end_time must be given"),
]


async def test_what_is_wrong_with_a_push_is_named(loadstar: Loadstar) -> None:
    for prices, words in WRONG:
        request = planning_pb2.PushPricesRequest(site_ids=["garage"], prices=prices)
        code, details = await refused(loadstar.planning.PushPrices(request))
        assert code is grpc.StatusCode.INVALID_ARGUMENT
        assert words in details
    prices = [interval(0, "1")]
    for fields, code in (
        ({}, grpc.StatusCode.INVALID_ARGUMENT),
        ({"site_ids": ["garage"], "feeder_id": "town"}, grpc.StatusCode.INVALID_ARGUMENT),
        ({"site_ids": ["nowhere"]}, grpc.StatusCode.NOT_FOUND),
        ({"feeder_id": "nowhere"}, grpc.StatusCode.NOT_FOUND),
    ):
        request = planning_pb2.PushPricesRequest(prices=prices, **fields)
        assert (await refused(loadstar.planning.PushPrices(request)))[0] is code


async def test_the_command_line_pushes_and_shows(loadstar: Loadstar, tmp_path: Path) -> None:
    start_s = now_s() // HOUR_S * HOUR_S
    file = tmp_path / "prices.csv"
    lines = [f"{hour_words(start_s, hour)},{hour - 1}" for hour in range(30)]
    file.write_text("\n".join(["start,price_per_mwh", *lines]))
    pushed = json.loads(
        (await loadstar.cli("prices", "push", "garage", "yard", str(file), "--json")).stdout
    )
    assert [each["taken_count"] for each in pushed["outcomes"]] == [30, 30]
    powers = tmp_path / "sun.json"
    sun = {"start": hour_words(start_s, 1), "end": hour_words(start_s, 4), "power_kw": 7.5}
    old = {"start": "2020-01-01T00:00Z", "end": "2020-01-02T00:00Z", "power_kw": 1}
    powers.write_text(json.dumps([old, sun]))
    await loadstar.cli("prices", "forecast", "garage", str(powers))
    shown = (await loadstar.cli("prices", "show", "garage", "--hours", "4")).output
    assert "0.099" in shown
    assert "7.5" in shown
    both = await loadstar.cli("prices", "push", "garage", "kiosk", str(file), status=1)
    assert "it follows no market" in both.output
    described = (await loadstar.cli("sites", "get", "garage")).output
    assert "day_ahead:" in described


async def test_the_command_line_says_what_is_wrong(loadstar: Loadstar, tmp_path: Path) -> None:
    file = tmp_path / "prices.csv"
    file.write_text("start,end,price_per_kwh\n2020-01-01T00:00Z,2020-01-01T01:00Z,1\n")
    past = await loadstar.cli("prices", "push", "garage", str(file), status=1)
    assert "all 1 values are past; the last ends 2020-01-01 01:00 UTC" in past.output
    wrong = await loadstar.cli("prices", "push", "garage", "-", status=1, told="start,price\n1,2\n")
    assert "line 2: has none of price_per_kwh, price_per_mwh" in wrong.output
    nobody = await loadstar.cli("prices", "push", str(file), status=2)
    assert "name the sites before the file" in nobody.output.replace("\n", " ")
    unknown = await loadstar.cli("prices", "show", "nowhere", status=1)
    assert "there is no site 'nowhere'" in unknown.output
