"""Functional blocks beyond charging, over a real channel to real stations."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import NamedTuple

import grpc
import pytest
import pytest_asyncio
from google.rpc import error_details_pb2
from grpc_node import serving
from grpc_stations import Station16, Station201, connected
from grpc_status import rpc_status
from typer.testing import CliRunner

from controlplane.api.v1 import (
    chargers_pb2,
    chargers_pb2_grpc,
    charging_profiles_pb2,
    charging_profiles_pb2_grpc,
    customers_pb2,
    customers_pb2_grpc,
    display_pb2,
    display_pb2_grpc,
    network_pb2,
    network_pb2_grpc,
)
from controlplane.cli import app
from controlplane.config import Settings

EXAMPLE = Path(__file__).parents[2] / "deploy/examples/network.yaml"
ACCEPTED = chargers_pb2.COMMAND_STATE_ACCEPTED


pytestmark = pytest.mark.asyncio(loop_scope="module")


class Loadstar(NamedTuple):
    """A running Loadstar with two stations, which have settled when the first command arrives."""

    address: str
    channel: grpc.aio.Channel
    station: Station201


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def loadstar(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Loadstar]:
    settings = Settings(
        data_dir=tmp_path_factory.mktemp("blocks"),
        ocpp_port=0,
        grpc_port=0,
        round_interval_s=0.05,
        currency="CHF",
    )
    async with serving(settings) as (node, api, channel):
        address = f"127.0.0.1:{api.port}"
        network = network_pb2_grpc.NetworkServiceStub(channel)
        yaml = EXAMPLE.read_text(encoding="utf-8")
        await network.ApplyNetwork(network_pb2.ApplyNetworkRequest(yaml=yaml))
        async with (
            connected(Station201, "DEPOT-DC", node.ocpp_port) as station,
            connected(Station16, "DEPOT-1", node.ocpp_port),
        ):
            yield Loadstar(address, channel, station)


def violated(error: grpc.aio.AioRpcError) -> tuple[str, list[str]]:
    """Reason and fields of an INVALID_ARGUMENT."""
    status = rpc_status.from_call(error)  # type: ignore[arg-type] # has all it asks for
    info, request = error_details_pb2.ErrorInfo(), error_details_pb2.BadRequest()
    for detail in status.details:
        detail.Unpack(info)
        detail.Unpack(request)
    return info.reason, [fault.field for fault in request.field_violations]


async def test_messages_are_shown_listed_and_cleared(loadstar: Loadstar) -> None:
    display = display_pb2_grpc.DisplayServiceStub(loadstar.channel)
    none = await display.GetDisplayMessages(
        display_pb2.GetDisplayMessagesRequest(charger_id="DEPOT-DC")
    )
    assert (none.outcome.state, none.outcome.status) == (ACCEPTED, "Unknown")
    for number, text in ((1, "Closed from 22:00"), (2, "Welcome")):
        shown = await display.SetDisplayMessage(
            display_pb2.SetDisplayMessageRequest(
                charger_id="DEPOT-DC",
                message=display_pb2.DisplayMessage(
                    message_id=number,
                    priority=display_pb2.DISPLAY_PRIORITY_IN_FRONT,
                    state=display_pb2.DISPLAY_STATE_IDLE,
                    content=display_pb2.MessageContent(text=text, language="en"),
                ),
            )
        )
        assert shown.outcome.state == ACCEPTED
    listed = await display.GetDisplayMessages(
        display_pb2.GetDisplayMessagesRequest(charger_id="DEPOT-DC")
    )
    assert listed.outcome.status == "Accepted"
    assert [(each.message_id, each.content.text) for each in listed.messages] == [
        (1, "Closed from 22:00"),
        (2, "Welcome"),
    ]
    assert listed.messages[0].state == display_pb2.DISPLAY_STATE_IDLE
    gone = await display.ClearDisplayMessage(
        display_pb2.ClearDisplayMessageRequest(charger_id="DEPOT-DC", message_id=7)
    )
    assert gone.outcome.state == chargers_pb2.COMMAND_STATE_REJECTED
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await display.SetDisplayMessage(display_pb2.SetDisplayMessageRequest(charger_id="DEPOT-DC"))
    assert violated(refused.value)[1] == ["message.content.text"]


async def test_what_a_charger_keeps_of_a_customer_is_reported(loadstar: Loadstar) -> None:
    customers = customers_pb2_grpc.CustomersServiceStub(loadstar.channel)
    station = loadstar.station
    told = await customers.GetCustomerInformation(
        customers_pb2.GetCustomerInformationRequest(
            charger_id="DEPOT-DC", report=True, id_token="TAG"
        )
    )
    assert (told.outcome.state, told.information) == (ACCEPTED, "seen twice, last today")
    cleared = await customers.GetCustomerInformation(
        customers_pb2.GetCustomerInformationRequest(
            charger_id="DEPOT-DC", clear=True, customer_identifier="Ann"
        )
    )
    assert (cleared.outcome.state, cleared.information) == (ACCEPTED, "")
    assert station.told[-2:] == [
        "customer report=True clear=False",
        "customer report=False clear=True",
    ]
    status = await customers.GetTransactionStatus(
        customers_pb2.GetTransactionStatusRequest(charger_id="DEPOT-DC", transaction_id="f3a1")
    )
    assert (status.HasField("ongoing"), status.ongoing) == (True, False)
    assert status.messages_in_queue
    cost = customers_pb2.UpdateCostRequest(
        charger_id="DEPOT-DC", transaction_id="f3a1", total_cost="7.40", currency="CHF"
    )
    assert (await customers.UpdateCost(cost)).outcome.state == ACCEPTED
    assert station.told[-1] == "f3a1 costs 7.4"
    for field, value in (("currency", "EUR"), ("total_cost", "1e400"), ("total_cost", "x")):
        wrong = customers_pb2.UpdateCostRequest()
        wrong.CopyFrom(cost)
        setattr(wrong, field, value)
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await customers.UpdateCost(wrong)
        assert violated(refused.value)[1] == [field]


async def test_profiles_data_and_ways_to_a_csms(loadstar: Loadstar) -> None:
    chargers = chargers_pb2_grpc.ChargersServiceStub(loadstar.channel)
    profiles = charging_profiles_pb2_grpc.ChargingProfilesServiceStub(loadstar.channel)
    station = loadstar.station
    held = await profiles.GetChargingProfiles(
        charging_profiles_pb2.GetChargingProfilesRequest(charger_id="DEPOT-DC", connector_id=1)
    )
    (profile,) = held.profiles
    assert (profile.profile_id, profile.connector_id, profile.source) == (12, 1, "CSO")
    assert profile.purpose == charging_profiles_pb2.PROFILE_PURPOSE_DEFAULT
    assert profile.schedules[0].periods[0].limit_a == 6
    data = await chargers.TransferData(
        chargers_pb2.TransferDataRequest(
            charger_id="DEPOT-DC", vendor_id="com.example", data_json='{"on": true}'
        )
    )
    assert (data.outcome.state, data.data) == (ACCEPTED, '{"got":{"on":true}}')
    way = await chargers.SetNetworkProfile(
        chargers_pb2.SetNetworkProfileRequest(
            charger_id="DEPOT-DC", slot=1, url="wss://csms.example/ocpp", security_profile=2
        )
    )
    assert way.outcome.state == ACCEPTED
    assert station.told[-1] == "slot 1: wss://csms.example/ocpp"
    await station.limited_by_others(9.5)
    charger = (
        await chargers.GetCharger(chargers_pb2.GetChargerRequest(charger_id="DEPOT-DC"))
    ).charger
    assert charger.connectors[0].external_limit_ma == 9_500
    assert charger.connectors[0].external_limit_source == "EMS"


@pytest.mark.parametrize("charger_id", ["DEPOT-DC", "DEPOT-1"])
async def test_a_profile_of_ones_own_is_installed_and_removed(
    loadstar: Loadstar, charger_id: str
) -> None:
    profiles = charging_profiles_pb2_grpc.ChargingProfilesServiceStub(loadstar.channel)
    own = charging_profiles_pb2.SetChargingProfileRequest(
        charger_id=charger_id,
        connector_id=1,
        profile=charging_profiles_pb2.ChargingProfile(
            profile_id=500,
            purpose=charging_profiles_pb2.PROFILE_PURPOSE_DEFAULT,
            kind=charging_profiles_pb2.SCHEDULE_KIND_RELATIVE,
            unit="A",
            periods=[charging_profiles_pb2.LimitPeriod(limit=10)],
            stack_level=1,
        ),
    )
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await profiles.SetChargingProfile(own)
    assert refused.value.code() is grpc.StatusCode.FAILED_PRECONDITION
    own.outside_allocation = True
    assert (await profiles.SetChargingProfile(own)).outcome.state == ACCEPTED
    own.profile.profile_id = 12
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await profiles.SetChargingProfile(own)
    assert violated(refused.value)[0] == "COMMAND_INVALID"
    clear = charging_profiles_pb2.ClearChargingProfileRequest(charger_id=charger_id, profile_id=500)
    assert (await profiles.ClearChargingProfile(clear)).outcome.state == ACCEPTED


async def test_what_1_6_has_no_word_for_is_refused_and_the_rest_is_sent(
    loadstar: Loadstar,
) -> None:
    chargers = chargers_pb2_grpc.ChargersServiceStub(loadstar.channel)
    display = display_pb2_grpc.DisplayServiceStub(loadstar.channel)
    data = await chargers.TransferData(
        chargers_pb2.TransferDataRequest(charger_id="DEPOT-1", vendor_id="com.example")
    )
    assert (data.outcome.state, data.data) == (ACCEPTED, "hello com.example")
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await display.ClearDisplayMessage(
            display_pb2.ClearDisplayMessageRequest(charger_id="DEPOT-1", message_id=1)
        )
    assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert violated(refused.value)[0] == "COMMAND_INVALID"


async def test_all_of_it_from_the_command_line(loadstar: Loadstar) -> None:
    async def run(*words: str, status: int = 0) -> str:
        options = ["chargers", *words, "--address", loadstar.address]
        result = await asyncio.to_thread(CliRunner().invoke, app, options)
        assert result.exit_code == status, result.output
        return result.output

    words = ("message", "set", "DEPOT-DC", "9", "Out of order", "--state", "idle")
    assert await run(*words, "--until", "2100-01-01T00:00:00Z") == "accepted\n"
    listed = await run("message", "list", "DEPOT-DC")
    assert "Out of order" in listed
    assert "2100-01-01" in listed
    assert await run("message", "clear", "DEPOT-DC", "9") == "accepted\n"
    assert "Unknown" in await run("message", "clear", "DEPOT-DC", "9", status=1)
    assert "one of" in await run("message", "set", "DEPOT-DC", "9", "x", "--state", "x", status=2)
    assert "seen twice, last today" in await run("customer", "DEPOT-DC", "--token", "TAG")
    assert await run("cost", "DEPOT-DC", "f3a1", "1.25") == "accepted\n"
    assert loadstar.station.told[-1] == "f3a1 costs 1.25"
    assert "is over, messages wait" in await run("transaction", "DEPOT-DC", "f3a1")
    told = await run("transfer", "DEPOT-DC", "com.example", "Light", "--data-json", '{"on": true}')
    assert '{"got":{"on":true}}' in told
    assert await run("network-profile", "DEPOT-DC", "2", "wss://csms.example") == "accepted\n"
    assert "TxDefaultProfile" not in (profiles := await run("profiles", "DEPOT-DC"))
    assert "default" in profiles
    assert "6 A" in profiles
    assert "EMS to 9.5 A" in await run("get", "DEPOT-DC")
    assert "has no GetDisplayMessages" in await run("message", "list", "DEPOT-1", status=1)
