"""What the runtime does when the database fails and when the host loses its shards."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from runtime_actors import TinySite, create_tiny
from sqlalchemy import create_engine, text
from structlog.testing import capture_logs
from test_runtime_local import (
    METER_VALUES,
    SITE,
    call,
    receive,
    settings_for,
    station,
    until,
    view,
)

from controlplane.actor import Actor, Effect, Message, Reply, Send
from controlplane.charger.messages import ApplyLimit, Execute, StationCalled
from controlplane.config import ActorSettings, Settings
from controlplane.errors import LoadstarError, Precondition, TimedOut
from controlplane.ids import ActorKind, ActorRef, SessionId
from controlplane.ocpp.commands import CommandResult, RawCall
from controlplane.runtime.node import Node, start_node
from controlplane.runtime.processes import LocalGateway
from controlplane.runtime.station import CALLS_WAITING_MAX
from controlplane.runtime.wire import FrameKind, ToStation
from controlplane.site.messages import ConfigureSite, SiteConfigured


@pytest.fixture
async def settings(tmp_path: Path, database_url: str) -> Settings:
    return settings_for(tmp_path, database_url=database_url)


@pytest.fixture
async def node(settings: Settings) -> AsyncIterator[Node]:
    node = await start_node(settings, transport="local", create=create_tiny)
    await node.client.ask(SITE, ConfigureSite(b"CP1,CP2"), SiteConfigured)
    yield node
    await node.stop()


def run_sql(settings: Settings, *statements: str) -> None:
    engine = create_engine(settings.database)
    with engine.begin() as connection:
        for statement in statements:
            connection.execute(text(statement))
    engine.dispose()


async def test_while_the_database_fails_nothing_is_acknowledged_and_afterwards_everything(
    settings: Settings, node: Node
) -> None:
    async with station(node, "CP1") as socket:
        await call(socket, "m1", "MeterValues", METER_VALUES)
        run_sql(settings, "ALTER TABLE actor_snapshot RENAME TO away")
        with capture_logs() as logs:
            await socket.send(json.dumps([2, "m2", "MeterValues", METER_VALUES]))
            await socket.send(json.dumps([2, "m3", "MeterValues", METER_VALUES]))
            await until(lambda: any(line["event"] == "commit_failed" for line in logs))
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.3):
                    await socket.recv()
        run_sql(settings, "ALTER TABLE away RENAME TO actor_snapshot")
        assert await receive(socket) == [3, "m2", {}]
        assert await receive(socket) == [3, "m3", {}]
        # The count in the actor is that of the store: nothing was counted twice.
        assert (await view(node, "CP1")).vendor == "3"
    for message_id in ("m1", "m2", "m3"):
        assert len(await node.reader.meter_samples(SessionId(message_id))) == 1
    assert node.host_restarts == 0


async def test_sites_go_on_after_their_commits_failed(settings: Settings, node: Node) -> None:
    run_sql(settings, "ALTER TABLE journal RENAME TO away")
    with capture_logs() as logs:
        await until(lambda: sum(line["event"] == "commit_failed" for line in logs) >= 2)
    run_sql(settings, "ALTER TABLE away RENAME TO journal")
    cursor = await node.client.last_cursor()
    async with asyncio.timeout(20):
        while not (events := await node.client.events(cursor, timeout_s=1.0)):
            pass
    assert events[0].kind == "site.round"


async def test_a_host_whose_shard_was_claimed_ends_and_another_takes_over(
    settings: Settings, node: Node
) -> None:
    async with station(node, "CP1") as socket:
        await call(socket, "m1", "MeterValues", METER_VALUES)
        run_sql(settings, "UPDATE shard_owner SET epoch = epoch + 1")
        with capture_logs() as logs:
            # Stored and answered by the next incarnation, over the same socket.
            assert await call(socket, "m2", "MeterValues", METER_VALUES) == [3, "m2", {}]
        await until(lambda: node.host_restarts >= 1)
        assert any(line["event"] == "host_fenced" for line in logs)
        assert len(await node.reader.meter_samples(SessionId("m2"))) == 1


async def test_a_gateway_refuses_what_an_earlier_owner_sends(node: Node) -> None:
    process = node._supervisor.gateway
    assert isinstance(process, LocalGateway)
    gateway = process.gateway
    async with station(node, "CP1") as socket:
        await call(socket, "m1", "Heartbeat", {})
        (connected,) = gateway.connections
        connection, shard = connected.connection, connected.shard
        epoch = gateway.routes.owners.epoch_of(shard)
        frame = json.dumps([2, "late", "ClearCache", {}])
        with capture_logs() as logs:
            for old in (epoch - 1, epoch):
                gateway.receive(
                    [
                        ToStation(
                            connection, shard, old, FrameKind.CALL, f"c{old}", "ClearCache", frame
                        )
                    ]
                )
        assert [line["epoch"] for line in logs if line["event"] == "stale_epoch_refused"] == [
            epoch - 1
        ]
        assert (await receive(socket))[2] == "ClearCache"
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                await socket.recv()


async def test_concurrent_requests_with_one_id_are_carried_out_once(node: Node) -> None:
    cursor = await node.client.last_cursor()
    answers = await asyncio.gather(
        *(
            node.client.ask(SITE, ConfigureSite(b"CP1"), SiteConfigured, request_id="same")
            for _ in range(10)
        )
    )
    assert len(set(answers)) == 1
    journal = await node.reader.journal(cursor, 1_000)
    assert sum(event.kind == "site.configured" for event in journal) == 1


async def test_a_request_that_an_actor_does_not_know_is_refused(node: Node) -> None:
    with pytest.raises(LoadstarError) as refused:
        await node.client.ask(
            ActorRef(ActorKind.FEEDER, "F1"), ConfigureSite(b"CP1"), SiteConfigured
        )
    assert refused.value.kind == "invalid_input"


async def test_a_second_node_is_refused_by_the_directory_and_by_the_database(
    settings: Settings, node: Node, tmp_path: Path
) -> None:
    with pytest.raises(Precondition) as refused:
        await start_node(settings, transport="local", create=create_tiny)
    assert refused.value.reason == "DATA_DIRECTORY_IN_USE"
    elsewhere = settings_for(tmp_path / "elsewhere", database_url=settings.database, lease_s=0.5)
    with pytest.raises(Precondition) as refused:
        await start_node(elsewhere, transport="local", create=create_tiny)
    assert refused.value.reason == "DATABASE_IN_USE"
    async with station(node, "CP1") as socket:
        assert await call(socket, "m1", "MeterValues", METER_VALUES) == [3, "m1", {}]
    assert node.host_restarts == 0
    await node.stop()
    await (await start_node(settings, transport="local", create=create_tiny)).stop()


class Passing:
    """A charger and its site that pass a message to and fro for as long as they are asked to."""

    def __init__(self, tiny: Actor) -> None:
        self.ref = tiny.ref
        self._tiny = tiny
        self.passes = 0

    def activate(self, now_ms: int) -> list[Effect]:
        return self._tiny.activate(now_ms)

    def step(self, message: Message, now_ms: int) -> list[Effect]:
        match message:
            case StationCalled(payload={"vendorId": "pass"}):
                reply = Reply(message.connection, message.message_id, {"status": "Accepted"})
                return [reply, Send(SITE, ApplyLimit(1, 1, 0, None))]
            case ApplyLimit():
                self.passes += 1
                site = isinstance(self._tiny, TinySite)
                to = ActorRef(ActorKind.CHARGER, "CP1") if site else SITE
                return [Send(to, message)]
        return self._tiny.step(message, now_ms)


async def test_an_actor_that_raises_takes_nothing_from_the_others(settings: Settings) -> None:
    actors: dict[ActorRef, Passing] = {}

    def create(ref: ActorRef, settings: ActorSettings, snapshot: bytes | None) -> Actor:
        actors[ref] = Passing(create_tiny(ref, settings, snapshot))
        return actors[ref]

    node = await start_node(settings, transport="local", create=create)
    try:
        await node.client.ask(SITE, ConfigureSite(b"CP1,CP2"), SiteConfigured)
        async with station(node, "CP1") as good, station(node, "CP2") as bad:
            await call(good, "m1", "DataTransfer", {"vendorId": "pass"})
            for number in range(5):
                await call(bad, f"m{number}", "DataTransfer", {"vendorId": "explode"})
            passes = actors[SITE].passes
            await until(lambda: actors[SITE].passes > passes)
        assert node.host_restarts == 0
    finally:
        await node.stop()


async def test_a_flood_that_is_not_answered_is_left_in_the_socket(
    settings: Settings, node: Node
) -> None:
    process = node._supervisor.gateway
    assert isinstance(process, LocalGateway)
    run_sql(settings, "ALTER TABLE actor_snapshot RENAME TO away")
    async with station(node, "CP1") as socket:

        async def flood() -> None:
            for number in range(10_000):
                text = json.dumps([2, f"m{number}", "MeterValues", METER_VALUES])
                # In fragments, which go another way through the gateway than whole frames.
                await socket.send([text[:20], text[20:]])

        flooding = asyncio.create_task(flood())
        await until(lambda: next(iter(process.gateway.connections)).crowded)
        await asyncio.wait((flooding,), timeout=1.0)
        (state,) = process.gateway.connections
        assert state._calls is not None
        assert len(state._calls) <= 2 * CALLS_WAITING_MAX
        flooding.cancel()
        socket.transport.abort()
    run_sql(settings, "ALTER TABLE away RENAME TO actor_snapshot")


async def test_a_command_that_was_sent_is_not_sent_again_by_the_next_host(node: Node) -> None:
    charger = ActorRef(ActorKind.CHARGER, "CP1")
    command = Execute(RawCall("ClearCache", {}))

    async def ask() -> CommandResult:
        return await node.client.ask(charger, command, CommandResult, request_id="r1")

    async with station(node, "CP1") as socket:
        await call(socket, "m1", "Heartbeat", {})
        asking = asyncio.create_task(ask())
        assert (await receive(socket))[2] == "ClearCache"
        await node.kill_host()
        for attempt in (asking, ask()):
            with pytest.raises(TimedOut) as unknown:
                await attempt
            assert unknown.value.reason == "OUTCOME_UNKNOWN"
        await call(socket, "m2", "Heartbeat", {})
