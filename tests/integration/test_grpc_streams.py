"""Allocations, and what is watched and read of the journal, over a real channel."""

from __future__ import annotations

from typing import Any

import grpc
import pytest
from grpc_node import Loadstar, online, read_until, refused, until
from grpc_stations import Station16, connected

from controlplane.api.v1 import (
    chargers_pb2,
    electrical_pb2,
    grid_pb2,
    journal_pb2,
    network_pb2,
    sessions_pb2,
    sites_pb2,
)


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
