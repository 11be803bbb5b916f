"""Gateway and host as processes of a real Ray, killed for real."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket as socket_module
from pathlib import Path

import pytest
import runtime_actors
from test_runtime_local import CHARGERS, METER_VALUES, SITE, settings_for, station, until
from websockets.exceptions import ConnectionClosed

from controlplane.charger.messages import ChargerView, GetCharger
from controlplane.config import Settings
from controlplane.errors import InvalidInput
from controlplane.ids import ActorKind, ActorRef, SessionId
from controlplane.runtime.node import start_node
from controlplane.runtime.ray_library import ray
from controlplane.site.messages import ConfigureSite, SiteConfigured

# The processes that Ray starts cannot import this folder.
ray.cloudpickle.register_pickle_by_value(runtime_actors)


@pytest.mark.timeout(180)
async def test_a_killed_host_process_loses_nothing_and_no_socket(
    tmp_path: Path, postgresql_url: str
) -> None:
    settings = settings_for(tmp_path, database_url=postgresql_url)
    node = await start_node(settings, transport="ray", create=runtime_actors.create_tiny)
    acknowledged: set[str] = set()
    stop = asyncio.Event()

    async def run(charger_id: str) -> None:
        number = 0
        async with station(node, charger_id) as socket:
            while not stop.is_set():
                message_id = f"{charger_id}-{number}"
                number += 1
                answer = await asyncio.wait_for(call_patiently(socket, message_id), 60)
                assert answer == [3, message_id, {}]
                acknowledged.add(message_id)

    async def call_patiently(socket, message_id: str):  # type: ignore[no-untyped-def]
        await socket.send(json.dumps([2, message_id, "MeterValues", METER_VALUES]))
        return json.loads(await socket.recv())

    async def answered(more: int) -> None:
        enough = len(acknowledged) + more
        await until(lambda: len(acknowledged) >= enough)

    try:
        await node.client.ask(SITE, ConfigureSite(",".join(CHARGERS).encode()), SiteConfigured)
        runners = [asyncio.create_task(run(charger_id)) for charger_id in CHARGERS]
        await answered(50)
        (host,) = node.processes()["host"]
        assert set(node.processes()) == {"gateway", "host", "supervisor", "ray"}
        own = os.getpriority(os.PRIO_PROCESS, 0)
        assert os.getpriority(os.PRIO_PROCESS, host) == own, "it is what the machine is for"
        os.kill(host, signal.SIGKILL)
        await until(lambda: node.host_restarts == 1)
        await answered(50)
        await node.kill_host()
        await until(lambda: node.host_restarts == 2)
        await answered(50)
        assert node.processes()["host"] != [host]
        stop.set()
        await asyncio.gather(*runners)
        events = await node.client.events(0, limit=10)
        assert [event.cursor for event in events] == list(range(1, 11))
        view = await node.client.ask(ActorRef(ActorKind.CHARGER, "CP1"), GetCharger(), ChargerView)
        assert int(view.vendor) >= sum(m.startswith("CP1-") for m in acknowledged)
        for message_id in acknowledged:
            assert await node.reader.meter_samples(SessionId(message_id)), message_id
    finally:
        await node.stop()
    assert node.processes()["ray"] == []


@pytest.mark.timeout(180)
async def test_gateway_and_host_are_replaced_when_both_die_or_freeze(tmp_path: Path) -> None:
    node = await start_node(
        settings_for(tmp_path, lease_s=4.0), transport="ray", create=runtime_actors.create_tiny
    )

    async def answered(message_id: str) -> None:
        async with asyncio.timeout(60):
            while True:
                try:
                    async with station(node, "CP1") as socket:
                        await socket.send(json.dumps([2, message_id, "MeterValues", METER_VALUES]))
                        assert json.loads(await socket.recv()) == [3, message_id, {}]
                        return
                except (OSError, ConnectionClosed):
                    await asyncio.sleep(0.05)

    try:
        await node.client.ask(SITE, ConfigureSite(b"CP1"), SiteConfigured, request_id="r1")
        with pytest.raises(InvalidInput, match="used for another request"):
            await node.client.ask(SITE, ConfigureSite(b"CP2"), SiteConfigured, request_id="r1")
        before = node.processes()
        for role in ("gateway", "host"):
            os.kill(before[role][0], signal.SIGKILL)
        await until(lambda: node.host_restarts >= 2)
        await answered("after death")
        before = node.processes()
        os.kill(before["host"][0], signal.SIGSTOP)
        await until(lambda: node.processes()["host"] not in (before["host"], [0]))
        await answered("after a frozen host")
        os.kill(before["gateway"][0], signal.SIGSTOP)
        await until(lambda: node.processes()["gateway"] not in (before["gateway"], [0]))
        await answered("after a frozen gateway")
    finally:
        await node.stop()


async def test_a_taken_port_is_named_without_an_account_of_the_process(tmp_path: Path) -> None:
    with socket_module.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        settings = Settings(data_dir=tmp_path, ocpp_port=port, grpc_port=0)
        with pytest.raises(OSError, match=str(port)) as refused:
            await start_node(settings, transport="ray", create=runtime_actors.create_tiny)
    assert "\n" not in str(refused.value)
