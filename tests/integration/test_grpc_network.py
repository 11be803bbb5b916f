"""Networks, sites and feeders as a client of the API describes, reads and limits them."""

from __future__ import annotations

import asyncio
from typing import Any

import grpc
from google.protobuf.timestamp_pb2 import Timestamp
from grpc_node import EXAMPLE, Loadstar, refused, site

from controlplane.api.v1 import (
    chargers_pb2,
    grid_pb2,
    network_pb2,
    sites_pb2,
)
from controlplane.network_yaml import load_network, parse_network


async def test_a_network_is_applied_once_and_exported_again(loadstar: Loadstar) -> None:
    network = load_network(EXAMPLE)
    request = network_pb2.ApplyNetworkRequest(yaml=EXAMPLE.read_text(encoding="utf-8"))
    first = await loadstar.network.ApplyNetwork(request)
    assert [c.action for c in first.changes] == [network_pb2.NETWORK_CHANGE_ACTION_CREATED] * 3
    second = await loadstar.network.ApplyNetwork(request)
    assert [c.action for c in second.changes] == [network_pb2.NETWORK_CHANGE_ACTION_UNCHANGED] * 3
    text = await loadstar.network.ExportNetwork(
        network_pb2.ExportNetworkRequest(format=network_pb2.NETWORK_FORMAT_YAML)
    )
    assert parse_network(text.yaml) == network
    messages = await loadstar.network.ExportNetwork(network_pb2.ExportNetworkRequest())
    third = await loadstar.network.ApplyNetwork(
        network_pb2.ApplyNetworkRequest(network=messages.network)
    )
    assert [c.action for c in third.changes] == [network_pb2.NETWORK_CHANGE_ACTION_UNCHANGED] * 3


async def test_validating_changes_nothing(loadstar: Loadstar) -> None:
    request = network_pb2.ApplyNetworkRequest(
        yaml=EXAMPLE.read_text(encoding="utf-8"), validate_only=True
    )
    told = await loadstar.network.ApplyNetwork(request)
    assert len(told.changes) == 3
    assert not (await loadstar.sites.ListSites(sites_pb2.ListSitesRequest())).sites


async def test_a_faulty_network_is_refused_with_every_fault(loadstar: Loadstar) -> None:
    told = await refused(
        loadstar.network.ApplyNetwork(
            network_pb2.ApplyNetworkRequest(
                yaml="sites: [{id: a b, circuits: [{id: s, rating_a: -1}]}]"
            )
        )
    )
    assert told.code is grpc.StatusCode.INVALID_ARGUMENT
    assert told.fields == ["sites[0] (a b).id", "sites[0] (a b).circuits[0] (s).rating_a"]


async def test_chargers_move_between_sites_of_one_document(loadstar: Loadstar) -> None:
    async def apply(first: list[str], second: list[str]) -> Any:
        return await loadstar.network.ApplyNetwork(
            network_pb2.ApplyNetworkRequest(
                network=network_pb2.NetworkDescription(
                    sites=[site("first", *first), site("second", *second)]
                )
            )
        )

    await apply(["CP-1"], ["CP-2"])
    # CP-2 must leave the second site before it enters the first.
    moved = await apply(["CP-1", "CP-2"], [])
    assert [change.site_id for change in moved.changes] == ["second", "first"]
    await apply(["CP-1"], ["CP-2"])
    exchange = await refused(apply(["CP-2"], ["CP-1"]))
    assert (exchange.code, exchange.reason) == (
        grpc.StatusCode.FAILED_PRECONDITION,
        "CHARGERS_EXCHANGED",
    )


async def test_a_site_is_created_read_replaced_and_deleted(loadstar: Loadstar) -> None:
    create = sites_pb2.CreateSiteRequest(site=site("depot", "CP-1"), request_id="create-1")
    created = await loadstar.sites.CreateSite(create)
    assert created.site.description.voltage_v == 230
    assert created.site.update_time.seconds > 0

    # The same request again is the first one's answer; the same site by another one is refused.
    again = await loadstar.sites.CreateSite(create)
    assert again == created
    create.request_id = "create-2"
    taken = await refused(loadstar.sites.CreateSite(create))
    assert taken.code is grpc.StatusCode.ALREADY_EXISTS

    await loadstar.sites.UpdateSite(sites_pb2.UpdateSiteRequest(site=site("depot", "CP-2")))
    found = await loadstar.sites.GetSite(sites_pb2.GetSiteRequest(site_id="depot"))
    assert [charger.id for charger in found.site.description.chargers] == ["CP-2"]
    directory = await loadstar.chargers.ListChargers(
        chargers_pb2.ListChargersRequest(view=chargers_pb2.CHARGER_VIEW_BASIC)
    )
    assert [charger.charger_id for charger in directory.chargers] == ["CP-2"]

    await loadstar.sites.DeleteSite(sites_pb2.DeleteSiteRequest(site_id="depot"))
    gone = await refused(loadstar.sites.GetSite(sites_pb2.GetSiteRequest(site_id="depot")))
    assert (gone.code, gone.reason) == (grpc.StatusCode.NOT_FOUND, "SITE_UNKNOWN")
    missing = await refused(
        loadstar.sites.UpdateSite(sites_pb2.UpdateSiteRequest(site=site("depot")))
    )
    assert missing.code is grpc.StatusCode.NOT_FOUND


async def test_a_request_id_stands_for_one_request(loadstar: Loadstar) -> None:
    request = sites_pb2.CreateSiteRequest(site=site("depot", "CP-1"), request_id="one")
    await loadstar.sites.CreateSite(request)
    request.site.name = "another"
    told = await refused(loadstar.sites.CreateSite(request))
    assert (told.code, told.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "REQUEST_ID_REUSED")
    request.request_id = "with a blank"
    told = await refused(loadstar.sites.CreateSite(request))
    assert told.fields == ["request_id"]


async def test_a_charger_belongs_to_one_site(loadstar: Loadstar) -> None:
    await loadstar.sites.CreateSite(sites_pb2.CreateSiteRequest(site=site("depot", "CP-1")))
    told = await refused(
        loadstar.sites.CreateSite(sites_pb2.CreateSiteRequest(site=site("annex", "CP-1")))
    )
    assert (told.code, told.reason) == (grpc.StatusCode.ALREADY_EXISTS, "CHARGER_IN_OTHER_SITE")
    both = [
        loadstar.sites.CreateSite(sites_pb2.CreateSiteRequest(site=site(id, "CP-9")))
        for id in ("east", "west")  # noqa: A001
    ]
    outcomes = await asyncio.gather(*both, return_exceptions=True)
    assert sum(isinstance(outcome, grpc.aio.AioRpcError) for outcome in outcomes) == 1


async def test_sites_come_in_pages(loadstar: Loadstar) -> None:
    for number in range(5):
        await loadstar.sites.CreateSite(sites_pb2.CreateSiteRequest(site=site(f"s{number}")))
    found, token = [], ""
    while True:
        page = await loadstar.sites.ListSites(
            sites_pb2.ListSitesRequest(page_size=2, page_token=token)
        )
        assert len(page.sites) <= 2
        found += [each.description.id for each in page.sites]
        token = page.next_page_token
        if not token:
            break
    assert found == [f"s{number}" for number in range(5)]
    told = await refused(loadstar.sites.ListSites(sites_pb2.ListSitesRequest(page_size=-1)))
    assert told.fields == ["page_size"]


async def test_a_feeder_is_limited_now_and_later(loadstar: Loadstar) -> None:
    feeder = network_pb2.FeederDescription(id="north", power_max_w=69_000)
    await loadstar.grid.CreateFeeder(grid_pb2.CreateFeederRequest(feeder=feeder))
    unknown = await refused(
        loadstar.sites.CreateSite(sites_pb2.CreateSiteRequest(site=site("depot", feeder="south")))
    )
    assert (unknown.reason, unknown.fields) == ("FEEDER_UNKNOWN", ["site.feeder"])
    await loadstar.sites.CreateSite(
        sites_pb2.CreateSiteRequest(site=site("depot", "CP-1", feeder="north"))
    )

    found = await loadstar.grid.GetFeeder(grid_pb2.GetFeederRequest(feeder_id="north"))
    assert found.state.limit_ma == 100_000
    limited = await loadstar.grid.SetFeederLimit(
        grid_pb2.SetFeederLimitRequest(feeder_id="north", power_w=34_500)
    )
    assert limited.state.limit_ma == 50_000
    lifted = await loadstar.grid.ClearFeederLimit(
        grid_pb2.ClearFeederLimitRequest(feeder_id="north")
    )
    assert lifted.state.limit_ma == 100_000
    later = Timestamp(seconds=4_000_000_000)
    scheduled = await loadstar.grid.SetFeederLimit(
        grid_pb2.SetFeederLimitRequest(feeder_id="north", power_w=0, start_time=later)
    )
    assert scheduled.state.limit_ma == 100_000

    backwards = await refused(
        loadstar.grid.SetFeederLimit(
            grid_pb2.SetFeederLimitRequest(
                feeder_id="north", power_w=0, start_time=later, end_time=Timestamp(seconds=1)
            )
        )
    )
    assert backwards.fields == ["end_time"]
    nothing = await refused(
        loadstar.grid.SetFeederLimit(grid_pb2.SetFeederLimitRequest(feeder_id="north"))
    )
    assert nothing.fields == ["power_w"]
    in_use = await refused(
        loadstar.grid.DeleteFeeder(grid_pb2.DeleteFeederRequest(feeder_id="north"))
    )
    assert (in_use.code, in_use.reason) == (
        grpc.StatusCode.FAILED_PRECONDITION,
        "FEEDER_IN_USE",
    )
    await loadstar.sites.DeleteSite(sites_pb2.DeleteSiteRequest(site_id="depot"))
    await loadstar.grid.DeleteFeeder(grid_pb2.DeleteFeederRequest(feeder_id="north"))
    assert not (await loadstar.grid.ListFeeders(grid_pb2.ListFeedersRequest())).feeders
