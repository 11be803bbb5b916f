"""Commands as resources over a real channel, a real node and real sockets, with hosts that die."""

from __future__ import annotations

import asyncio
import json
import pkgutil
from collections.abc import AsyncIterator
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

import grpc
import msgspec
import pytest
from google.protobuf.any_pb2 import Any as AnyMessage
from google.rpc import error_details_pb2
from grpc_node import serving
from grpc_status import rpc_status
from websockets.asyncio.client import ClientConnection, connect
from websockets.typing import Subprotocol

from controlplane.api import v1
from controlplane.api.commands import command_types
from controlplane.api.server import ApiServer
from controlplane.api.v1 import (
    chargers_pb2,
    chargers_pb2_grpc,
    commands_pb2,
    commands_pb2_grpc,
)
from controlplane.config import ActorSettings, Settings
from controlplane.runtime.node import Node

NETWORK = """
sites:
  - id: depot
    circuits: [{id: supply, rating_a: 63}]
    chargers: [{id: CP-1, circuit: supply}]
"""
STAGES = commands_pb2.CommandStage


class QuickSettings(Settings):
    """Stations are left in peace for a moment only."""

    @property
    def actors(self) -> ActorSettings:
        return msgspec.structs.replace(super().actors, settle_ms=50)


class Loadstar(NamedTuple):
    node: Node
    api: ApiServer
    commands: commands_pb2_grpc.CommandsServiceAsyncStub
    chargers: chargers_pb2_grpc.ChargersServiceAsyncStub


@pytest.fixture
async def loadstar(tmp_path: Path) -> AsyncIterator[Loadstar]:
    settings = QuickSettings(data_dir=tmp_path, ocpp_port=0, grpc_port=0)
    async with serving(settings, NETWORK) as (node, api, channel):
        yield Loadstar(
            node,
            api,
            commands_pb2_grpc.CommandsServiceStub(channel),
            chargers_pb2_grpc.ChargersServiceStub(channel),
        )


class Station:
    """A 1.6 station that accepts what prepares it and leaves everything else to the test."""

    def __init__(self, socket: ClientConnection) -> None:
        self._socket = socket
        self.told: asyncio.Queue[list[Any]] = asyncio.Queue()
        self.reading = asyncio.create_task(self._read())

    async def boot(self) -> None:
        await self._call("BootNotification", chargePointModel="M", chargePointVendor="V")
        await self._call(
            "StatusNotification", connectorId=1, errorCode="NoError", status="Available"
        )

    async def asked(self, action: str) -> str:
        """The id of the next CALL that is no preparation, which must be of this action."""
        async with asyncio.timeout(10):
            _, message_id, found, _ = await self.told.get()
        assert found == action
        return str(message_id)

    async def answer(self, message_id: str, **payload: Any) -> None:
        await self._socket.send(json.dumps([3, message_id, payload]))

    async def _call(self, action: str, **payload: Any) -> None:
        await self._socket.send(json.dumps([2, f"s-{action}", action, payload]))

    async def _read(self) -> None:
        async for text in self._socket:
            frame = json.loads(text)
            if frame[0] != 2:
                continue
            if frame[2] in {"SetChargingProfile", "ChangeConfiguration", "ClearChargingProfile"}:
                await self.answer(frame[1], status="Accepted")
            elif frame[2] == "GetConfiguration" and len(frame[3].get("key", ())) != 1:
                await self.answer(frame[1], configurationKey=[])
            elif frame[2] != "TriggerMessage":
                self.told.put_nowait(frame)


@pytest.fixture
async def station(loadstar: Loadstar) -> AsyncIterator[Station]:
    address = f"ws://127.0.0.1:{loadstar.node.ocpp_port}/ocpp/CP-1"
    async with connect(address, subprotocols=[Subprotocol("ocpp1.6")]) as socket:
        found = Station(socket)
        await found.boot()
        # What prepares it goes before; a question comes through once it is over.
        asking = asyncio.ensure_future(loadstar.chargers.GetSettings(settings_request("Warm")))
        await found.answer(await found.asked("GetConfiguration"), unknownKey=["Warm"])
        await asking
        yield found
        found.reading.cancel()


def settings_request(key: str) -> chargers_pb2.GetSettingsRequest:
    return chargers_pb2.GetSettingsRequest(charger_id="CP-1", keys=[key])


def unlock(request_id: str = "", connector_id: int = 1) -> chargers_pb2.UnlockConnectorRequest:
    return chargers_pb2.UnlockConnectorRequest(
        charger_id="CP-1", connector_id=connector_id, request_id=request_id
    )


async def create(loadstar: Loadstar, request: Any) -> commands_pb2.Command:
    wanted = commands_pb2.CreateCommandRequest()
    wanted.request.Pack(request)
    return (await loadstar.commands.CreateCommand(wanted)).command


async def ended(loadstar: Loadstar, command_id: str) -> list[commands_pb2.Command]:
    """Every stage of a command from now to its end."""
    request = commands_pb2.WatchCommandsRequest(command_id=command_id)
    async with asyncio.timeout(20):
        return [told.command async for told in loadstar.commands.WatchCommands(request)]


async def seen(loadstar: Loadstar, *, count: int) -> None:
    """Until so many commands are open."""
    open_ids: set[str] = set()
    async with asyncio.timeout(10):
        async for told in loadstar.commands.WatchCommands(commands_pb2.WatchCommandsRequest()):
            open_ids.add(told.command.command_id)
            if len(open_ids) == count:
                return


async def reason_of(call: Any) -> tuple[grpc.StatusCode, str]:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    status = rpc_status.from_call(caught.value)  # type: ignore[arg-type]
    assert status is not None
    info = error_details_pb2.ErrorInfo()
    assert any(detail.Unpack(info) for detail in status.details)
    return caught.value.code(), info.reason


async def test_a_command_is_taken_in_watched_and_read_with_its_typed_response(
    loadstar: Loadstar, station: Station
) -> None:
    taken = await create(loadstar, settings_request("HeartbeatInterval"))
    assert taken.stage in {STAGES.COMMAND_STAGE_SENT, STAGES.COMMAND_STAGE_QUEUED}
    watching = asyncio.create_task(ended(loadstar, taken.command_id))
    message_id = await station.asked("GetConfiguration")
    setting = {"key": "HeartbeatInterval", "readonly": False, "value": "300"}
    await station.answer(message_id, configurationKey=[setting])
    last = (await watching)[-1]
    assert last.stage == STAGES.COMMAND_STAGE_ANSWERED
    response = chargers_pb2.GetSettingsResponse()
    assert last.response.Unpack(response)
    assert response.settings[0].value == "300"
    request = chargers_pb2.GetSettingsRequest()
    assert last.request.Unpack(request)
    assert list(request.keys) == ["HeartbeatInterval"]
    get = commands_pb2.GetCommandRequest(command_id=taken.command_id)
    assert (await loadstar.commands.GetCommand(get)).command == last


async def test_one_request_id_is_one_command_whichever_way_it_comes(
    loadstar: Loadstar, station: Station
) -> None:
    waiting = asyncio.ensure_future(loadstar.chargers.UnlockConnector(unlock("key-1")))
    message_id = await station.asked("UnlockConnector")
    first = await create(loadstar, unlock("key-1"))
    assert (await create(loadstar, unlock("key-1"))).command_id == first.command_id
    told = await reason_of(create(loadstar, unlock("key-1", connector_id=2)))
    assert told == (grpc.StatusCode.INVALID_ARGUMENT, "REQUEST_ID_REUSED")
    await station.answer(message_id, status="Unlocked")
    answered = await waiting
    assert answered == await loadstar.chargers.UnlockConnector(unlock("key-1"))
    told = await reason_of(loadstar.chargers.UnlockConnector(unlock("key-1", connector_id=2)))
    assert told == (grpc.StatusCode.INVALID_ARGUMENT, "REQUEST_ID_REUSED")
    assert station.told.empty()
    listed = await loadstar.commands.ListCommands(
        commands_pb2.ListCommandsRequest(charger_id="CP-1", page_size=1)
    )
    assert [each.command_id for each in listed.commands] == [first.command_id]
    assert listed.next_page_token


async def test_one_that_waits_is_taken_back_and_one_that_was_sent_is_not(
    loadstar: Loadstar, station: Station
) -> None:
    sent = await create(loadstar, unlock())
    queued = await create(loadstar, unlock())
    message_id = await station.asked("UnlockConnector")
    cancel = commands_pb2.CancelCommandRequest(command_id=queued.command_id)
    for _ in range(2):
        cancelled = (await loadstar.commands.CancelCommand(cancel)).command
        assert cancelled.stage == STAGES.COMMAND_STAGE_CANCELLED
    request = commands_pb2.CancelCommandRequest(command_id=sent.command_id)
    told = await reason_of(loadstar.commands.CancelCommand(request))
    assert told == (grpc.StatusCode.FAILED_PRECONDITION, "COMMAND_SENT")
    await station.answer(message_id, status="Unlocked")
    assert (await ended(loadstar, sent.command_id))[-1].stage == STAGES.COMMAND_STAGE_ANSWERED
    told = await reason_of(loadstar.commands.CancelCommand(request))
    assert told == (grpc.StatusCode.FAILED_PRECONDITION, "COMMAND_ENDED")
    assert station.told.empty()


async def test_what_is_no_command_and_what_cannot_be_sent_is_refused_and_not_kept(
    loadstar: Loadstar,
) -> None:
    told = await reason_of(create(loadstar, unlock()))
    assert told == (grpc.StatusCode.UNAVAILABLE, "CHARGER_OFFLINE")
    told = await reason_of(create(loadstar, chargers_pb2.GetChargerRequest(charger_id="CP-1")))
    assert told[0] is grpc.StatusCode.INVALID_ARGUMENT
    broken = AnyMessage(type_url="x/controlplane.api.v1.RemoteStartRequest", value=b"\xff")
    request = commands_pb2.CreateCommandRequest(request=broken)
    told = await reason_of(loadstar.commands.CreateCommand(request))
    assert told[0] is grpc.StatusCode.INVALID_ARGUMENT
    get = commands_pb2.GetCommandRequest(command_id="none")
    told = await reason_of(loadstar.commands.GetCommand(get))
    assert told == (grpc.StatusCode.NOT_FOUND, "COMMAND_UNKNOWN")
    listed = await loadstar.commands.ListCommands(commands_pb2.ListCommandsRequest())
    assert not listed.commands


async def test_a_host_that_dies_leaves_no_command_without_its_one_answer(
    loadstar: Loadstar, station: Station
) -> None:
    """One that was sent and must not be repeated ends as unknown; those that waited go on, and
    whoever waits for them is answered by the next host."""
    sent = await create(loadstar, unlock("sent"))
    waiting = asyncio.ensure_future(loadstar.chargers.UnlockConnector(unlock("queued")))
    message_id = await station.asked("UnlockConnector")
    await seen(loadstar, count=2)
    watching = asyncio.create_task(ended(loadstar, sent.command_id))
    await loadstar.node.kill_host()
    unknown = (await watching)[-1]
    assert unknown.stage == STAGES.COMMAND_STAGE_UNKNOWN
    assert unknown.error.reason == "OUTCOME_UNKNOWN"
    told = await reason_of(loadstar.chargers.UnlockConnector(unlock("sent")))
    assert told == (grpc.StatusCode.DEADLINE_EXCEEDED, "OUTCOME_UNKNOWN")
    await station.answer(message_id, status="Unlocked")
    await station.answer(await station.asked("UnlockConnector"), status="Unlocked")
    assert (await waiting).outcome.state == chargers_pb2.COMMAND_STATE_ACCEPTED
    assert station.told.empty()


async def test_a_question_that_was_sent_to_a_host_that_died_is_asked_again(
    loadstar: Loadstar, station: Station
) -> None:
    asking = asyncio.ensure_future(loadstar.chargers.GetSettings(settings_request("A")))
    message_id = await station.asked("GetConfiguration")
    await loadstar.node.kill_host()
    await station.answer(message_id, unknownKey=["A"])
    await station.answer(await station.asked("GetConfiguration"), unknownKey=["A"])
    assert (await asking).outcome.state == chargers_pb2.COMMAND_STATE_ACCEPTED
    (command, *_) = (await loadstar.commands.ListCommands(all_commands())).commands
    assert (command.stage, command.attempts_count) == (STAGES.COMMAND_STAGE_ANSWERED, 2)


def test_every_typed_request_to_a_charger_is_a_command() -> None:
    """All that give the charger time, but for the one that renews its password."""
    requests = {
        message.full_name
        for module in pkgutil.iter_modules(v1.__path__)
        if module.name.endswith("_pb2")
        for message in import_module(
            f"{v1.__name__}.{module.name}"
        ).DESCRIPTOR.message_types_by_name.values()
        if message.name.endswith("Request") and "timeout_s" in message.fields_by_name
    }
    assert requests - command_types().keys() == {"controlplane.api.v1.RotatePasswordRequest"}


def all_commands() -> commands_pb2.ListCommandsRequest:
    return commands_pb2.ListCommandsRequest()
