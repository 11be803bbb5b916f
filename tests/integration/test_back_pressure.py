"""A store that stands still behind a real gateway with real sockets: what gives way, what waits,
and that everything heals."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs
from websockets.asyncio.client import ClientConnection, connect
from websockets.typing import Subprotocol

from controlplane.config import Settings
from controlplane.ids import ActorKind, ActorRef
from controlplane.network import ChargerConfig, CircuitConfig, SiteConfig
from controlplane.runtime.gateway import Gateway
from controlplane.runtime.node import Node, start_node
from controlplane.runtime.processes import LocalGateway, LocalHost
from controlplane.runtime.station import CALLS_WAITING_MAX
from controlplane.site.messages import ConfigureSite, SiteConfigured

CREDITS = 4
READ_MAX = 262_144 // 100
"""Messages of this test that one read of a socket can bring: asyncio reads 256 KiB at most."""
AT = "2026-01-01T00:00:00Z"
STATIONS = [f"CP-{number}" for number in range(13)]


@pytest.fixture
async def node(tmp_path: Path) -> AsyncIterator[Node]:
    settings = Settings(
        data_dir=tmp_path, ocpp_port=0, grpc_port=0, host_credits=CREDITS, shed_after_s=0.3
    )
    node = await start_node(settings, transport="local")
    described = SiteConfig(
        id="depot",
        circuits=(CircuitConfig(id="supply", rating_a=400.0),),
        chargers=tuple(ChargerConfig(id=each, circuit="supply") for each in STATIONS),
    )
    config = described.model_dump_json().encode()
    await node.client.ask(
        ActorRef(ActorKind.SITE, "depot"), ConfigureSite(config=config), SiteConfigured
    )
    yield node
    await node.stop()


@contextmanager
def stalled(node: Node) -> Iterator[None]:
    """The store takes nothing until the end of the block."""
    process = node._supervisor.hosts[0]
    assert isinstance(process, LocalHost)
    go_on = threading.Event()
    process.host._thread.submit(go_on.wait, 20)
    try:
        yield
    finally:
        go_on.set()


def gateway_of(node: Node) -> Gateway:
    process = node._supervisor.gateway
    assert isinstance(process, LocalGateway)
    return process.gateway


async def send(station: ClientConnection, message_id: str, action: str, **payload: Any) -> None:
    await station.send(json.dumps([2, message_id, action, payload]))


async def sample(station: ClientConnection, message_id: str, register_wh: int) -> None:
    value = [{"timestamp": AT, "sampledValue": [{"value": str(register_wh)}]}]
    await send(station, message_id, "MeterValues", connectorId=1, meterValue=value)


async def answer(station: ClientConnection) -> list[Any]:
    """The next answer; what the station is asked meanwhile it leaves for later."""
    async with asyncio.timeout(20):
        while True:
            frame = json.loads(await station.recv())
            if frame[0] != 2:
                return list(frame)


async def silent(sockets: list[ClientConnection]) -> bool:
    """Whether none of them is answered for a moment."""
    waiting = [asyncio.create_task(answer(each)) for each in sockets]
    done, pending = await asyncio.wait(waiting, timeout=0.2)
    for task in pending:
        task.cancel()
    await asyncio.gather(*pending, return_exceptions=True)
    return not done


async def test_heartbeats_and_samples_give_way_and_no_transaction_is_lost(node: Node) -> None:
    gateway = gateway_of(node)
    async with AsyncExitStack() as closing:
        sockets = [
            await closing.enter_async_context(
                connect(
                    f"ws://127.0.0.1:{node.ocpp_port}/ocpp/{name}",
                    subprotocols=[Subprotocol("ocpp1.6")],
                )
            )
            for name in STATIONS
        ]
        for each in sockets:
            await send(
                each, "boot", "BootNotification", chargePointModel="M", chargePointVendor="V"
            )
            assert (await answer(each))[0] == 3
        sampling, beating, starting, flooding = (
            sockets[:4],
            sockets[4:8],
            sockets[8:12],
            sockets[12],
        )
        with stalled(node):
            for each in sampling:
                await sample(each, "sample", 1_000)
            while gateway.calls.credits.under_way < CREDITS:  # noqa: ASYNC110 - nothing tells of it
                await asyncio.sleep(0.01)
            for each in beating:
                await send(each, "beat", "Heartbeat")
            for each in starting:
                await send(
                    each,
                    "start",
                    "StartTransaction",
                    connectorId=1,
                    idTag="TAG",
                    meterStart=1_000,
                    timestamp=AT,
                )
            flood = asyncio.create_task(_flood(flooding))
            # The gateway answers for the host who only wants to know the time.
            for each in beating:
                assert (await answer(each))[:2] == [3, "beat"]
            assert gateway.calls.credits.waiting >= len(starting)
            # A sample is refused in the end, so that the station comes to what else it has.
            for each in sampling:
                refused = await answer(each)
                assert refused[:3] == [4, "sample", "InternalError"]
            assert await silent(starting)
            (crowded,) = [s for s in gateway.connections if s.charger_id == STATIONS[12]]
            # What came with the read that filled it up; from there on the socket is not read.
            assert crowded._calls is not None
            assert CALLS_WAITING_MAX <= len(crowded._calls) <= CALLS_WAITING_MAX + READ_MAX
            assert crowded.socket is not None
            assert crowded.socket.held
            assert gateway.calls.credits.under_way <= CREDITS
        for each in starting:
            started = await answer(each)
            assert started[:2] == [3, "start"]
            assert started[2]["transactionId"]
        flood.cancel()
        for each in sampling:
            await sample(each, "again", 1_000)
            assert (await answer(each))[:2] == [3, "again"]
        sessions, _ = await node.reader.sessions()
        assert {session.charger_id for session in sessions} == set(STATIONS[8:12])
        assert node.host_restarts == 0
        flooding.transport.abort()


async def _flood(station: ClientConnection) -> None:
    for number in range(5_000):
        await sample(station, f"flood-{number}", 1_000 + number)


async def test_a_station_that_does_not_read_its_answers_loses_its_socket(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("controlplane.runtime.connections._UNREAD_MAX_BYTES", 4_096)
    gateway = gateway_of(node)
    raw = socket.socket()
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
    raw.setblocking(False)
    await asyncio.get_running_loop().sock_connect(raw, ("127.0.0.1", node.ocpp_port))
    reader, writer = await asyncio.open_connection(sock=raw, limit=1_024)
    writer.write(
        b"GET /ocpp/CP-0 HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n"
        b"Sec-WebSocket-Protocol: ocpp1.6\r\n\r\n"
    )
    assert b"101" in await reader.readline()
    async with asyncio.timeout(20):
        while not gateway.connections:  # noqa: ASYNC110 - nothing tells of it
            await asyncio.sleep(0.01)
    (served,) = gateway.connections
    assert served.socket is not None
    served_socket = served.socket.transport.get_extra_info("socket")
    served_socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4_096)
    frame = json.dumps([2, "x" * 30, "Heartbeat", {"not": "known"}]).encode()
    masked = bytes((0x81, 0x80 | len(frame), 0, 0, 0, 0)) + frame
    with capture_logs() as logs:
        writer.write(masked * 2_000)
        async with asyncio.timeout(20):
            while gateway.connections:  # noqa: ASYNC110 - nothing tells of it
                await asyncio.sleep(0.01)
    assert any(line["event"] == "answers_not_read" for line in logs)
    writer.close()
