"""What-if questions over gRPC and on the command line: a real day of a workplace in a real
store."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import date
from pathlib import Path
from typing import Any, NamedTuple

import grpc
import pytest
from google.rpc import error_details_pb2
from grpc_node import serving
from grpc_status import rpc_status
from typer.testing import CliRunner, Result

from controlplane.api.v1 import (
    electrical_pb2,
    sites_pb2,
    sites_pb2_grpc,
    what_if_pb2,
    what_if_pb2_grpc,
)
from controlplane.cli import app
from controlplane.config import Settings
from controlplane.ids import ChargerId, SessionId, SiteId
from controlplane.sim.day.sessions import Session, days
from controlplane.store.commit import CommitBatch, StoreWriter
from controlplane.store.engine import open_engine
from controlplane.store.records import MeterSample, SessionRecord, SessionState

DAY = date(2019, 6, 12)
STATIONS = 6
POWER_W = 6_600

TARIFF = """
currency: USD
import_price_per_kwh: 0.08
periods:
  - name: on-peak
    import_price_per_kwh: 0.27
    hours: [{days: [mon, tue, wed, thu, fri], from: 12:00, to: 18:00}]
demand_charges: [{name: facilities, price_per_kw: 15.51}]
"""


def description() -> str:
    chargers = "\n".join(
        f"      - {{id: CP-{n}, circuit: supply, offline_current_a: 0, "
        f"connectors: [{{id: 1, phases: [L{n % 3 + 1}]}}]}}"
        for n in range(STATIONS)
    )
    tariff = "\n".join(f"      {line}" for line in TARIFF.strip().splitlines())
    return f"""
version: 1
sites:
  - id: garage
    time_zone: America/Los_Angeles
    circuits: [{{id: supply, rating_a: 200}}]
    building_load: {{circuit: supply, assumed_a: 1}}
    tariff:
{tariff}
    chargers:
{chargers}
  - id: shed
    circuits: [{{id: supply, rating_a: 100}}]
"""


def real_sessions() -> list[Session]:
    """The sessions of the stations that were used most, as they were."""
    found = list(days(DAY, sites=1)[0].sessions)
    used: dict[str, int] = {}
    for session in found:
        used[session.station_id] = used.get(session.station_id, 0) + 1
    chosen = sorted(used, key=lambda station: (-used[station], station))[:STATIONS]
    return [session for session in found if session.station_id in chosen]


def records(sessions: list[Session]) -> list[SessionRecord | MeterSample]:
    stations = sorted({session.station_id for session in sessions})
    written: list[SessionRecord | MeterSample] = []
    for number, session in enumerate(sessions):
        stay_h = (session.departure_ms - session.arrival_ms) / 3_600_000
        charger = ChargerId(f"CP-{stations.index(session.station_id)}")
        written.append(
            SessionRecord(
                session_id=SessionId(f"s{number}"),
                charger_id=charger,
                site_id=SiteId("garage"),
                connector_id=1,
                transaction_id=str(number),
                id_token=None,
                state=SessionState.ENDED,
                started_ms=session.arrival_ms,
                ended_ms=session.departure_ms,
                energy_wh=int(min(session.requested_wh, POWER_W * stay_h)),
                need_wh=session.requested_wh if session.told else None,
                departure_ms=session.estimated_departure_ms if session.told else None,
            )
        )
        written += [
            MeterSample(charger, 1, SessionId(f"s{number}"), at_ms, at_ms, power_w=power_w)
            for at_ms, power_w in (
                (session.arrival_ms + 60_000, POWER_W),
                (session.arrival_ms + 120_000, 3_300),
            )
        ]
    return written


class Loadstar(NamedTuple):
    address: str
    stub: what_if_pb2_grpc.WhatIfServiceAsyncStub
    sessions: list[Session]

    async def ask(self, **changes: Any) -> list[what_if_pb2.AskWhatIfResponse]:
        asked = {
            "site_id": "garage",
            "start_date": DAY.isoformat(),
            "end_date": DAY.isoformat(),
        }
        request = what_if_pb2.AskWhatIfRequest(**(asked | changes))
        return [told async for told in self.stub.AskWhatIf(request)]

    async def refused(self, **changes: Any) -> tuple[grpc.StatusCode, str]:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await self.ask(**changes)
        return caught.value.code(), reason(caught.value)

    async def late(self, request: what_if_pb2.AskWhatIfRequest) -> tuple[grpc.StatusCode, str]:
        """What a caller hears that waits for a moment only."""
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            async for _ in self.stub.AskWhatIf(request, timeout=0.5):
                pass
        return caught.value.code(), reason(caught.value)

    async def cli(self, *words: str, status: int = 0) -> Result:
        span = ["--from", DAY.isoformat(), "--to", DAY.isoformat()]
        arguments = ["what-if", *words, *span, "--address", self.address]
        result = await asyncio.to_thread(CliRunner().invoke, app, arguments)
        assert result.exit_code == status, result.output
        return result


def reason(error: grpc.aio.AioRpcError) -> str:
    status = rpc_status.from_call(error)  # type: ignore[arg-type]
    for detail in () if status is None else status.details:
        info = error_details_pb2.ErrorInfo()
        if detail.Unpack(info):
            return str(info.reason)
    return ""


@pytest.fixture
async def loadstar(tmp_path: Path) -> AsyncIterator[Loadstar]:
    settings = Settings(data_dir=tmp_path, ocpp_port=0, grpc_port=0)
    sessions = real_sessions()
    async with serving(settings, description()) as (_, api, channel):
        address = f"127.0.0.1:{api.port}"
        building = sites_pb2.ReportBuildingLoadRequest(
            site_id="garage",
            current=electrical_pb2.PhaseCurrents(l1_ma=1_000, l2_ma=1_000, l3_ma=1_000),
        )
        await sites_pb2_grpc.SitesServiceStub(channel).ReportBuildingLoad(building)
        writer = StoreWriter(open_engine(settings.database, writer=True))
        await asyncio.to_thread(writer.commit, CommitBatch(records=[*records(sessions)]))
        writer.close()
        yield Loadstar(address, what_if_pb2_grpc.WhatIfServiceStub(channel), sessions)


async def test_a_smaller_cap_costs_less_and_leaves_some_short(loadstar: Loadstar) -> None:
    *progress, last = await loadstar.ask(cap_w=8_000)
    answer = last.answer
    done = [told.progress.done_percent for told in progress]
    assert done == sorted(done)
    assert {told.progress.what_if for told in progress} == {False, True}
    assert answer.session_count + answer.left_out_count == len(loadstar.sessions)
    is_, would = answer.as_is, answer.what_if
    assert is_.delivered_wh + is_.missing_wh == pytest.approx(is_.wanted_wh, abs=60)
    assert would.peak_w <= 7_601  # the margin of 5 % is kept
    assert would.delivered_wh < is_.delivered_wh
    assert would.short_count > is_.short_count
    assert float(would.demand_cost) < float(is_.demand_cost)
    for outcome in (is_, would):
        assert float(outcome.cost_least) <= float(outcome.cost)
        assert outcome.missing_least_wh <= outcome.missing_wh
        (month,) = outcome.months
        (charge,) = month.demand_costs
        assert month.month == "2019-06"
        assert float(charge.cost) == pytest.approx(15.51 * charge.peak_w / 1_000)
        assert float(month.cost) == pytest.approx(float(month.energy_cost) + float(charge.cost))
    assert is_.peak_w > is_.charging_peak_w, "the building counts"
    assert not any("no samples" in words for words in answer.assumptions)
    assert any("a usual week" in words for words in answer.assumptions)


async def test_the_terminal_shows_both(loadstar: Loadstar, tmp_path: Path) -> None:
    file = tmp_path / "flat.yaml"
    file.write_text("tariff: {currency: USD, import_price_per_kwh: 0.11}\n")
    shown = (await loadstar.cli("garage", "--chargers", "+2", "--tariff", str(file))).stdout
    assert "As it would be" in shown
    assert "2019-06" in shown
    assert "assumed: added chargers are like CP-" in shown
    printed = await loadstar.cli("garage", "--chargers", "-2", "--json", "-")
    found = json.loads(printed.stdout)
    assert found["what_if"]["connector_count"] == found["as_is"]["connector_count"] - 2
    wrong = await loadstar.cli("garage", "--cap-kw", "20", "--circuit", "attic", status=1)
    assert "no circuit 'attic'" in wrong.output


async def test_what_cannot_be_answered_is_refused_with_its_reason(loadstar: Loadstar) -> None:
    invalid = grpc.StatusCode.INVALID_ARGUMENT
    impossible = grpc.StatusCode.FAILED_PRECONDITION
    assert (await loadstar.refused())[0] is invalid
    assert (await loadstar.refused(cap_w=1, end_date="2021-06-12"))[0] is invalid
    assert (await loadstar.refused(cap_w=1, start_date="June"))[0] is invalid
    assert (await loadstar.refused(added_charger_count=-STATIONS))[0] is invalid
    assert await loadstar.refused(cap_w=1, site_id="nowhere") == (
        grpc.StatusCode.NOT_FOUND,
        "SITE_UNKNOWN",
    )
    assert await loadstar.refused(cap_w=1, site_id="shed") == (impossible, "TARIFF_UNDESCRIBED")
    empty = {"start_date": "2019-01-01", "end_date": "2019-01-02"}
    assert await loadstar.refused(cap_w=1, **empty) == (impossible, "NO_SESSIONS")


async def test_one_question_at_a_time_and_who_goes_away_ends_it(loadstar: Loadstar) -> None:
    long = what_if_pb2.AskWhatIfRequest(
        site_id="garage", start_date="2019-06-01", end_date="2020-05-30", cap_w=8_000
    )
    call = loadstar.stub.AskWhatIf(long)
    told = await call.read()
    assert isinstance(told, what_if_pb2.AskWhatIfResponse) and told.progress.day
    assert await loadstar.refused(cap_w=8_000) == (
        grpc.StatusCode.RESOURCE_EXHAUSTED,
        "WHAT_IF_BUSY",
    )
    call.cancel()
    # The place is free again as soon as the server has heard of it.
    async with asyncio.timeout(20):
        while True:
            code, why = await loadstar.late(long)
            if code is grpc.StatusCode.DEADLINE_EXCEEDED:
                return
            assert why == "WHAT_IF_BUSY"
