"""The load generator must be believed before any figure is: it counts only true answers, keeps one
call outstanding, and understands whatever a server may send."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys

import pytest
from websockets.asyncio.server import ServerConnection, serve
from websockets.typing import Subprotocol

from controlplane.bench.generator import ChildProcess, LoadGenerator
from controlplane.bench.processes import cpu_seconds, descendants, pss_bytes
from controlplane.bench.websocket_client import WebSocketClient
from controlplane.errors import Unavailable

BOOT = {"currentTime": "2026-01-01T00:00:00Z", "interval": 300, "status": "Accepted"}


async def test_every_meter_values_of_the_baseline_is_counted_once() -> None:
    async with ChildProcess("controlplane.bench.baseline") as server, LoadGenerator() as stations:
        port = int(await server.read_line(30.0))
        await stations.connect(port=port, prefix="cp-", count=5)
        await stations.start_transactions()
        pressed = await stations.send_meter_values(seconds=0.3)
        paced = await stations.send_meter_values(seconds=0.5, rate=40.0)
        await stations.disconnect()
    assert pressed.acknowledged >= 5
    assert (pressed.refused, pressed.unanswered, pressed.lost_connections) == (0, 0, 0)
    assert paced.acknowledged == 20
    assert 0 < paced.p50_ms <= paced.p99_ms <= paced.max_ms


async def test_an_error_answer_is_refused_and_calls_never_overlap() -> None:
    outstanding: dict[int, int] = {}
    seen_meter_values = 0

    async def station(connection: ServerConnection) -> None:
        nonlocal seen_meter_values
        async for text in connection:
            _, message_id, action, _payload = json.loads(text)
            outstanding[id(connection)] = outstanding.get(id(connection), 0) + 1
            assert outstanding[id(connection)] == 1
            await asyncio.sleep(0.001)
            answer: list[object] = [3, message_id, {}]
            if action == "BootNotification":
                answer[2] = BOOT
                # A call of ours crosses the station's own.
                await connection.send(json.dumps([2, "ours", "Reset", {"type": "Soft"}]))
                assert json.loads(await connection.recv())[:3] == [4, "ours", "NotImplemented"]
            elif action == "StartTransaction":
                answer[2] = {"transactionId": 7, "idTagInfo": {"status": "Accepted"}}
            elif action == "MeterValues":
                seen_meter_values += 1
                if seen_meter_values % 2:
                    answer = [4, message_id, "InternalError", "", {}]
            outstanding[id(connection)] -= 1
            await connection.send(json.dumps(answer))

    subprotocols = [Subprotocol("ocpp1.6")]
    async with (
        serve(station, "127.0.0.1", 0, subprotocols=subprotocols) as server,
        LoadGenerator() as stations,
    ):
        port = next(iter(server.sockets)).getsockname()[1]
        await stations.connect(port=port, prefix="cp-", count=3)
        await stations.start_transactions()
        report = await stations.send_meter_values(seconds=0.3)
        await stations.disconnect()
    assert report.refused > 0
    assert report.acknowledged + report.refused == seen_meter_values


async def test_a_server_that_refuses_is_an_error_and_not_a_figure() -> None:
    async def station(connection: ServerConnection) -> None:
        await connection.close(1008, "no")

    async with (
        serve(station, "127.0.0.1", 0, subprotocols=[Subprotocol("ocpp1.6")]) as server,
        LoadGenerator() as stations,
    ):
        port = next(iter(server.sockets)).getsockname()[1]
        with pytest.raises(Unavailable, match="connect"):
            await stations.connect(port=port, prefix="cp-", count=1)


@pytest.mark.parametrize("length", [0, 1, 125, 126, 65_535, 65_536])
async def test_frames_of_every_length_survive_being_cut_anywhere(length: int) -> None:
    text = "x" * length

    async def echo(connection: ServerConnection) -> None:
        async for frame in connection:
            await connection.send(frame)

    async with serve(echo, "127.0.0.1", 0, compression=None) as server:
        port = next(iter(server.sockets)).getsockname()[1]
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        client = WebSocketClient(host=f"127.0.0.1:{port}", path="/a", subprotocol="ocpp1.6")
        echoed: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        client.on_text = echoed.set_result
        client.connection_made(writer.transport)
        sent = False
        while not echoed.done():
            chunk = await asyncio.wait_for(reader.read(65_536), 10)
            # The head is cut byte by byte, where the borders of fields are.
            for index in range(min(len(chunk), 400)):
                client.data_received(chunk[index : index + 1])
            client.data_received(chunk[400:])
            if client.opened.done() and not sent:
                sent = True
                client.send_text(text.encode())
        assert echoed.result() == text.encode()
        client.close()


def test_processor_time_and_memory_of_a_child_are_seen() -> None:
    program = "x = bytearray(50_000_000); sum(range(10_000_000)); print(1, flush=True); input()"
    with subprocess.Popen(
        [sys.executable, "-c", program],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as child:
        assert child.stdout is not None
        child.stdout.readline()
        assert child.pid in descendants(os.getpid())
        assert cpu_seconds([child.pid]) > 0
        assert pss_bytes([child.pid]) > 50_000_000
        child.communicate(b"\n", timeout=10)
    assert cpu_seconds([child.pid]) == 0
    assert pss_bytes([child.pid]) == 0
