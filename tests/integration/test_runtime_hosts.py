"""Many hosts on one node: who serves what, what crosses between them, and how shards move while
stations talk."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from runtime_actors import create_tiny
from test_runtime_local import METER_VALUES, call, receive, settings_for, station, until, view
from websockets.asyncio.client import ClientConnection

from controlplane.charger.messages import Execute
from controlplane.config import Settings
from controlplane.errors import Unavailable
from controlplane.ids import SHARDS, ActorKind, ActorRef, SessionId, shard_of
from controlplane.ocpp.commands import CommandResult, CommandState, RawCall
from controlplane.runtime.links import Reach
from controlplane.runtime.node import Node, start_node
from controlplane.runtime.processes import LocalGateway, LocalHost
from controlplane.site.messages import ConfigureSite, SiteConfigured

SITES = [ActorRef(ActorKind.SITE, f"S{number}") for number in range(1, 9)]
"""Of different shards, and so of different hosts."""


def chargers_of(site: ActorRef) -> list[str]:
    return [f"{site.id}-{number}" for number in (1, 2)]


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return settings_for(tmp_path, hosts=3)


@pytest.fixture
async def node(settings: Settings) -> AsyncIterator[Node]:
    node = await start_node(settings, transport="local", create=create_tiny)
    for site in SITES:
        chargers = ",".join(chargers_of(site)).encode()
        await node.client.ask(site, ConfigureSite(chargers), SiteConfigured)
    yield node
    await node.stop()


def hosts_of(node: Node) -> list[LocalHost]:
    hosts = [host for host in node._supervisor.hosts if isinstance(host, LocalHost)]
    assert len(hosts) == len(node._supervisor.hosts)
    return hosts


def owners(node: Node) -> Counter[str]:
    return Counter(
        {host.name: len(host.host.actors.epochs) for host in hosts_of(node)},
    )


def serving(node: Node, site: ActorRef) -> LocalHost:
    shard = shard_of(site.kind, site.id)
    (host,) = [host for host in hosts_of(node) if shard in host.host.actors.epochs]
    return host


class Talkers:
    """Stations that send one sample after the other; every one must be answered, over one
    socket."""

    def __init__(self, node: Node) -> None:
        self.node = node
        self.acknowledged: list[str] = []
        self._stop = asyncio.Event()
        self._tasks = [
            asyncio.create_task(self._talk(charger))
            for site in SITES
            for charger in chargers_of(site)
        ]

    async def _talk(self, charger_id: str) -> None:
        number = 0
        async with station(self.node, charger_id) as socket:
            while not self._stop.is_set():
                message_id = f"{charger_id}/{number}"
                number += 1
                answer = await call(socket, message_id, "MeterValues", METER_VALUES)
                assert answer == [3, message_id, {}]
                self.acknowledged.append(message_id)

    async def answered(self, more: int) -> None:
        enough = len(self.acknowledged) + more
        await until(
            lambda: len(self.acknowledged) >= enough or any(task.done() for task in self._tasks)
        )

    async def stop(self) -> None:
        self._stop.set()
        await asyncio.gather(*self._tasks)
        for message_id in self.acknowledged:
            assert await self.node.reader.meter_samples(SessionId(message_id)), message_id


async def test_hosts_share_the_shards_and_all_chargers_are_served(node: Node) -> None:
    shares = owners(node)
    assert sum(shares.values()) == SHARDS
    assert all(share > SHARDS / 6 for share in shares.values())
    assert len({serving(node, site).name for site in SITES}) > 1
    for site in SITES:
        async with station(node, chargers_of(site)[0]) as socket:
            assert await call(socket, "m", "MeterValues", METER_VALUES) == [3, "m", {}]
            assert (await view(node, chargers_of(site)[0])).vendor == "1"


async def test_events_of_all_hosts_are_followed_without_a_gap(node: Node) -> None:
    cursor = await node.client.last_cursor()
    seen = []
    actors: set[str] = set()
    async with asyncio.timeout(20):
        while len(actors) < len(SITES):
            events = await node.client.events(cursor, timeout_s=5.0)
            seen += events
            cursor = events[-1].cursor
            actors |= {event.actor.id for event in events}
    assert [event.cursor for event in seen] == list(
        range(seen[0].cursor, seen[0].cursor + len(seen))
    )


async def test_a_killed_host_is_replaced_and_costs_no_socket(node: Node) -> None:
    talkers = Talkers(node)
    for kills in range(1, 4):
        await talkers.answered(50)
        await node.kill_host(kills % 3)
        await until(lambda kills=kills: node.host_restarts == kills)  # type: ignore[misc]
    await talkers.answered(100)
    await talkers.stop()


async def joined(node: Node, settings: Settings, name: str) -> LocalHost:
    """One more host on the same database."""
    reach = Reach(hosts_of(node)[0].host.balance.address.partition(" ")[0])
    host = LocalHost(name, settings, node.clock, create_tiny, reach)
    await host.start()
    await host.serve()
    return host


async def test_shards_move_to_a_host_that_joins_and_back_when_it_leaves(
    settings: Settings, node: Node
) -> None:
    talkers = Talkers(node)
    await talkers.answered(20)
    before = owners(node)
    guest = await joined(node, settings, "guest")
    epochs = guest.host.actors
    await until(lambda: len(epochs.epochs) > SHARDS / 8 and not _leaving(node))
    await talkers.answered(100)
    await guest.drain()
    assert not epochs.epochs
    await guest.stop()
    await until(lambda: owners(node) == before)
    await talkers.answered(100)
    await talkers.stop()
    assert node.host_restarts == 0


def _leaving(node: Node) -> bool:
    return any(host.host.balance.leaving for host in hosts_of(node))


async def test_a_command_under_way_is_answered_before_its_shard_moves(
    settings: Settings, node: Node
) -> None:
    site = SITES[0]
    charger_id = chargers_of(site)[0]
    charger = ActorRef(ActorKind.CHARGER, charger_id)
    before = serving(node, site)

    async def ask() -> CommandResult:
        command = Execute(RawCall("ClearCache", {}))
        return await node.client.ask(charger, command, CommandResult, timeout_s=20.0)

    async def answer(socket: ClientConnection, message_id: str) -> None:
        await socket.send(f'[3,"{message_id}",{{"status":"Accepted"}}]')

    async with station(node, charger_id) as socket:
        await call(socket, "m1", "Heartbeat", {})
        asking = asyncio.create_task(ask())
        _, message_id, action, _ = await receive(socket)
        assert action == "ClearCache"
        draining = asyncio.create_task(before.drain())
        await until(lambda: bool(before.host.balance.leaving))
        await answer(socket, message_id)
        assert (await asking).state is CommandState.ACCEPTED
        await draining
        assert serving(node, site) is not before
        # The next command goes to the next owner, over the same socket.
        asking = asyncio.create_task(ask())
        _, message_id, _, _ = await receive(socket)
        await answer(socket, message_id)
        assert (await asking).state is CommandState.ACCEPTED


async def test_a_gateway_that_returns_is_told_who_serves(node: Node) -> None:
    process = node._supervisor.gateway
    assert isinstance(process, LocalGateway)
    await process.stop()
    await until(lambda: node.host_restarts == 1)
    talkers = Talkers(node)
    await talkers.answered(50)
    await talkers.stop()


async def test_a_gateway_that_is_no_member_passes_no_command(node: Node) -> None:
    process = node._supervisor.gateway
    assert isinstance(process, LocalGateway)
    charger = ActorRef(ActorKind.CHARGER, "S1-1")
    async with station(node, "S1-1") as socket:
        await call(socket, "m1", "Heartbeat", {})
        process.gateway.member._tenure.end()
        asking = asyncio.create_task(
            node.client.ask(charger, Execute(RawCall("ClearCache", {})), CommandResult, timeout_s=2)
        )
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.5):
                await socket.recv()
        asking.cancel()
        await until(lambda: process.gateway.member.valid)
        assert (await call(socket, "m2", "Heartbeat", {}))[0] == 3


async def test_a_request_without_any_host_says_so(node: Node) -> None:
    for host in hosts_of(node):
        await host.drain()
        host.host.actors.close()
    with pytest.raises(Unavailable):
        await node.client.ask(SITES[0], ConfigureSite(b"A"), SiteConfigured, timeout_s=0.5)


async def test_hosts_are_replaced_one_by_one_and_no_socket_is_lost(node: Node) -> None:
    talkers = Talkers(node)
    await talkers.answered(20)
    before, shares = hosts_of(node), owners(node)
    await node.roll()
    assert not set(before) & set(hosts_of(node))
    assert owners(node) == shares
    await talkers.answered(50)
    await talkers.stop()
    assert node.host_restarts == 0
