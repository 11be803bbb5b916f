"""Gateway and host in one process, with real WebSockets and a real database."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from runtime_actors import create_tiny
from structlog.testing import capture_logs
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.typing import Subprotocol

from controlplane.charger.messages import ChargerView, Execute, GetCharger
from controlplane.config import Onboarding, Settings
from controlplane.errors import InvalidInput, NotFound, Precondition, Unavailable
from controlplane.ids import ActorKind, ActorRef, ChargerId, SessionId, SiteId
from controlplane.ocpp.commands import CommandResult, CommandState, RawCall, Reset
from controlplane.runtime.client import JournalEvent
from controlplane.runtime.node import Node, start_node
from controlplane.site.messages import ConfigureSite, SiteConfigured

SITE = ActorRef(ActorKind.SITE, "S1")
CHARGERS = [f"CP{number}" for number in range(1, 21)]
METER_VALUES = {
    "connectorId": 1,
    "meterValue": [
        {"timestamp": "2026-01-01T00:00:00Z", "sampledValue": [{"value": "1"}]},
    ],
}


def settings_for(folder: Path, **changes: Any) -> Settings:
    return Settings(data_dir=folder, ocpp_port=0, grpc_port=0, round_interval_s=0.05, **changes)


@pytest.fixture
async def node(tmp_path: Path) -> AsyncIterator[Node]:
    async for node in _node(settings_for(tmp_path)):
        yield node


@pytest.fixture
async def node_on_either(tmp_path: Path, database_url: str) -> AsyncIterator[Node]:
    """A node on SQLite, and one on PostgreSQL."""
    async for node in _node(settings_for(tmp_path, database_url=database_url)):
        yield node


async def _node(settings: Settings) -> AsyncIterator[Node]:
    node = await start_node(settings, transport="local", create=create_tiny)
    await node.client.ask(SITE, ConfigureSite(",".join(CHARGERS).encode()), SiteConfigured)
    yield node
    await node.stop()


def station(
    node: Node, charger_id: str, subprotocols: tuple[str, ...] | None = ("ocpp1.6",), **more: Any
) -> connect:
    wishes = None if subprotocols is None else [Subprotocol(wish) for wish in subprotocols]
    return connect(
        f"ws://127.0.0.1:{node.ocpp_port}/ocpp/{charger_id}",
        subprotocols=wishes,
        compression=None,
        **more,
    )


async def call(socket: ClientConnection, message_id: str, action: str, payload: Any) -> Any:
    await socket.send(json.dumps([2, message_id, action, payload]))
    return await receive(socket)


async def receive(socket: ClientConnection) -> Any:
    return json.loads(await asyncio.wait_for(socket.recv(), 10))


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not condition():  # noqa: ASYNC110 - what is waited for has no event
            await asyncio.sleep(0.01)


async def view(node: Node, charger_id: str) -> ChargerView:
    return await node.client.ask(ActorRef(ActorKind.CHARGER, charger_id), GetCharger(), ChargerView)


async def test_a_call_is_stored_before_it_is_answered(node_on_either: Node) -> None:
    node = node_on_either
    async with station(node, "CP1") as socket:
        answer = await call(socket, "m1", "MeterValues", METER_VALUES)
        assert answer == [3, "m1", {}]
        samples = await node.reader.meter_samples(SessionId("m1"))
    assert [sample.charger_id for sample in samples] == ["CP1"]


async def test_calls_sent_ahead_are_answered_in_order(node: Node) -> None:
    async with station(node, "CP1") as socket:
        for number in range(150):
            await socket.send(json.dumps([2, f"m{number}", "MeterValues", METER_VALUES]))
        answers = [await receive(socket) for _ in range(150)]
    assert [answer[1] for answer in answers] == [f"m{number}" for number in range(150)]


async def test_a_command_is_answered_by_the_station(node: Node) -> None:
    async with station(node, "CP1") as socket:
        await call(socket, "m1", "Heartbeat", {})
        asking = asyncio.create_task(
            node.client.ask(
                ActorRef(ActorKind.CHARGER, "CP1"),
                Execute(RawCall("ClearCache", {})),
                CommandResult,
            )
        )
        kind, message_id, action, _ = await receive(socket)
        assert (kind, action) == (2, "ClearCache")
        await socket.send(json.dumps([3, message_id, {"status": "Accepted"}]))
        result = await asking
    assert result.payload == {"status": "Accepted"}
    assert result.state is CommandState.ACCEPTED


async def test_an_answer_against_its_schema_reaches_the_actor_as_a_failure(node: Node) -> None:
    async with station(node, "CP1") as socket:
        await call(socket, "m1", "Heartbeat", {})
        asking = asyncio.create_task(
            node.client.ask(
                ActorRef(ActorKind.CHARGER, "CP1"),
                Execute(RawCall("ClearCache", {})),
                CommandResult,
                timeout_s=1.0,
            )
        )
        _, message_id, _, _ = await receive(socket)
        with capture_logs() as logs:
            await socket.send(json.dumps([3, message_id, {"status": 7}]))
            # The socket lives on.
            assert (await call(socket, "m2", "Heartbeat", {}))[0] == 3
        assert any(line["event"] == "frame_refused" for line in logs)
        asking.cancel()


@pytest.mark.parametrize(
    ("text", "message_id", "code"),
    [
        ('[2,"m1","Heartbeat",{', "-1", "FormationViolation"),
        ('[2,"m1","Levitate",{}]', "m1", "NotImplemented"),
        ('[2,"m1","Reset",{"type":"Hard"}]', "m1", "NotSupported"),
        ('[2,"m1","MeterValues",{"connectorId":1}]', "m1", "OccurenceConstraintViolation"),
        ('[2,"m1","DataTransfer",{"vendorId":{}}]', "m1", "TypeConstraintViolation"),
        ('{"a":1}', "-1", "FormationViolation"),
    ],
)  # fmt: skip
async def test_bad_frames_are_answered_and_disturb_nobody(
    node: Node, text: str, message_id: str, code: str
) -> None:
    async with station(node, "CP1") as bad, station(node, "CP2") as good:
        with capture_logs() as logs:
            await bad.send(text)
            answer = await receive(bad)
        assert answer[0:3] == [4, message_id, code]
        (line,) = [line for line in logs if line["event"] == "frame_refused"]
        assert line["charger"] == "CP1"
        assert await call(good, "x", "MeterValues", METER_VALUES) == [3, "x", {}]
        assert await call(bad, "y", "MeterValues", METER_VALUES) == [3, "y", {}]


@pytest.mark.parametrize(
    ("message", "close_code"),
    [("[" + " " * 70_000, 1009), (b"binary", 1003)],
    ids=["oversized", "binary"],
)
async def test_what_is_no_ocpp_frame_closes_the_socket(
    node: Node, message: str | bytes, close_code: int
) -> None:
    async with station(node, "CP1") as bad, station(node, "CP2") as good:
        with capture_logs() as logs:
            await bad.send(message)
            with pytest.raises(ConnectionClosed) as closed:
                await asyncio.wait_for(bad.recv(), 10)
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == close_code
        assert any(line["event"] == "frame_refused" for line in logs)
        assert await call(good, "x", "MeterValues", METER_VALUES) == [3, "x", {}]


async def test_an_unknown_charger_is_refused_with_404(node: Node) -> None:
    with capture_logs() as logs, pytest.raises(InvalidStatus) as refused:
        async with station(node, "NOBODY"):
            pass
    assert refused.value.response.status_code == 404
    assert [line["charger"] for line in logs if line["event"] == "handshake_refused"] == ["NOBODY"]


async def test_a_charger_described_later_is_let_in_at_once(node: Node) -> None:
    with pytest.raises(InvalidStatus):
        async with station(node, "LATE"):
            pass
    await node.client.ask(SITE, ConfigureSite(b"LATE"), SiteConfigured)
    async with station(node, "LATE") as socket:
        assert (await call(socket, "m", "Heartbeat", {}))[0] == 3


async def test_wrong_subprotocol_is_closed_after_the_handshake(node: Node) -> None:
    async with station(node, "CP1", ("ocpp9.9",)) as socket:
        assert socket.subprotocol is None
        with pytest.raises(ConnectionClosed) as closed:
            await asyncio.wait_for(socket.recv(), 10)
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == 1002


async def test_subprotocol_is_the_newest_that_both_speak(node: Node) -> None:
    async with station(node, "CP1", ("ocpp1.6", "ocpp2.0.1", "ocpp2.1")) as socket:
        assert socket.subprotocol == "ocpp2.1"
    async with station(node, "CP2", ("ocpp1.6", "ocpp2.0.1")) as socket:
        assert socket.subprotocol == "ocpp2.0.1"
    async with station(node, "CP2", ("ocpp9.9", "ocpp1.6")) as socket:
        assert socket.subprotocol == "ocpp1.6"


async def test_no_subprotocol_header_counts_as_16(node: Node) -> None:
    with capture_logs() as logs:
        async with station(node, "CP1", None) as socket:
            assert (await call(socket, "m", "MeterValues", METER_VALUES)) == [3, "m", {}]
    assert any(line["event"] == "subprotocol_missing" for line in logs)


async def test_the_newest_socket_wins(node: Node) -> None:
    async with station(node, "CP1") as old:
        await call(old, "m1", "Heartbeat", {})
        async with station(node, "CP1") as new:
            with pytest.raises(ConnectionClosed):
                await asyncio.wait_for(old.recv(), 10)
            assert (await call(new, "m2", "Heartbeat", {}))[0] == 3
            asking = asyncio.create_task(
                node.client.ask(
                    ActorRef(ActorKind.CHARGER, "CP1"),
                    Execute(RawCall("ClearCache", {})),
                    CommandResult,
                )
            )
            _, message_id, _, _ = await receive(new)
            await new.send(json.dumps([3, message_id, {"status": "Accepted"}]))
            assert (await asking).state is CommandState.ACCEPTED


async def test_passwords(tmp_path: Path) -> None:
    from argon2 import PasswordHasher  # noqa: PLC0415

    from controlplane.store.commit import CommitBatch, StoreWriter  # noqa: PLC0415
    from controlplane.store.engine import migrate, open_engine  # noqa: PLC0415
    from controlplane.store.records import ChargerRecord  # noqa: PLC0415

    settings = settings_for(tmp_path)
    migrate(settings.database)
    writer = StoreWriter(open_engine(settings.database, writer=True))
    hashed = PasswordHasher(time_cost=1, memory_cost=64, parallelism=1).hash("open sesame")
    records = [
        ChargerRecord(ChargerId(name), SiteId("S1"), hashed, 0) for name in ("SAFE", "DE:SAFE:1")
    ]
    writer.commit(CommitBatch(records=list(records)))
    writer.close()
    node = await start_node(settings, transport="local", create=create_tiny)
    try:
        for user, password, status in (
            ("SAFE", "wrong", 401),
            ("OTHER", "open sesame", 401),
            (None, None, 401),
        ):
            with pytest.raises(InvalidStatus) as refused:
                async with station(node, "SAFE", additional_headers=_basic(user, password)):
                    pass
            assert refused.value.response.status_code == status
            assert "Basic" in refused.value.response.headers["WWW-Authenticate"]
        for name in ("SAFE", "SAFE", "DE:SAFE:1"):
            right = _basic(name, "open sesame")
            async with station(node, name, additional_headers=right) as socket:
                assert (await call(socket, "m", "Heartbeat", {}))[0] == 3
    finally:
        await node.stop()


def _basic(user: str | None, password: str | None) -> dict[str, str]:
    from websockets.headers import build_authorization_basic  # noqa: PLC0415

    if user is None or password is None:
        return {}
    # Parted and joined at a colon, wherever it stands.
    return {"Authorization": build_authorization_basic(*f"{user}:{password}".split(":", 1))}


async def test_onboarding_lets_unknown_chargers_in(tmp_path: Path) -> None:
    settings = settings_for(tmp_path, onboarding=Onboarding.PENDING)
    node = await start_node(settings, transport="local", create=create_tiny)
    try:
        async with station(node, "NEW") as socket:
            assert (await call(socket, "m", "Heartbeat", {}))[0] == 3
    finally:
        await node.stop()


async def test_an_actor_that_raises_is_answered_for_and_comes_back_as_stored(node: Node) -> None:
    async with station(node, "CP1") as bad, station(node, "CP2") as good:
        await call(bad, "m1", "Heartbeat", {})
        await call(good, "m1", "Heartbeat", {})
        with capture_logs() as logs:
            answer = await call(bad, "m2", "DataTransfer", {"vendorId": "explode"})
        assert answer[0:3] == [4, "m2", "InternalError"]
        assert any(line["event"] == "actor_raised" for line in logs)
        assert (await call(good, "m2", "Heartbeat", {}))[0] == 3
        assert (await call(bad, "m3", "Heartbeat", {}))[0] == 3
        assert (await view(node, "CP1")).vendor == "2"


async def test_a_killed_host_loses_nothing_and_no_socket(node_on_either: Node) -> None:
    node = node_on_either
    acknowledged: set[str] = set()
    stop = asyncio.Event()

    async def run(charger_id: str) -> None:
        number = 0
        async with station(node, charger_id) as socket:
            while not stop.is_set():
                message_id = f"{charger_id}-{number}"
                number += 1
                assert await call(socket, message_id, "MeterValues", METER_VALUES) == [
                    3,
                    message_id,
                    {},
                ]
                acknowledged.add(message_id)

    async def answered(more: int) -> None:
        enough = len(acknowledged) + more
        await until(lambda: len(acknowledged) >= enough)

    runners = [asyncio.create_task(run(charger_id)) for charger_id in CHARGERS]

    def restarted(times: int) -> bool:
        return node.host_restarts == times

    for kills in range(1, 4):
        await answered(20)
        await node.kill_host()
        await until(partial(restarted, kills))
    await answered(20)
    stop.set()
    await asyncio.gather(*runners)
    for message_id in acknowledged:
        assert await node.reader.meter_samples(SessionId(message_id)), message_id


async def test_request_ids_make_requests_idempotent_across_hosts(node_on_either: Node) -> None:
    node = node_on_either
    first = await node.client.ask(SITE, ConfigureSite(b"A,B"), SiteConfigured, request_id="r1")
    cursor = await node.client.last_cursor()
    await node.kill_host()
    again = await node.client.ask(SITE, ConfigureSite(b"A,B"), SiteConfigured, request_id="r1")
    assert again == first
    events = await node.client.events(cursor, timeout_s=0.2)
    assert not [event for event in events if event.kind == "site.configured"]
    with pytest.raises(InvalidInput):
        await node.client.ask(SITE, ConfigureSite(b"C"), SiteConfigured, request_id="r1")


async def test_refusals_become_the_errors_they_name(node: Node) -> None:
    charger = ActorRef(ActorKind.CHARGER, "CP1")
    with pytest.raises(Unavailable) as offline:
        await node.client.ask(charger, Execute(RawCall("ClearCache", {})), CommandResult)
    assert offline.value.reason == "CHARGER_OFFLINE"
    with pytest.raises(Precondition):
        await node.client.ask(charger, Execute(Reset()), CommandResult)
    with pytest.raises(NotFound):
        await view(node, "NOBODY")


async def test_events_wake_who_waits_and_none_is_skipped(node: Node) -> None:
    cursor = await node.client.last_cursor()
    seen: list[JournalEvent] = []
    while len(seen) < 5:
        events = await node.client.events(cursor, timeout_s=5.0)
        seen += events
        cursor = events[-1].cursor
    assert [event.cursor for event in seen] == list(
        range(seen[0].cursor, seen[0].cursor + len(seen))
    )
    assert await node.reader.journal(seen[0].cursor - 1, len(seen)) == seen
