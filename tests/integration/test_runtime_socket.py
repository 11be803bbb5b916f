"""Stations whose bytes arrive in any pieces: the short way and the library's give one stream."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from runtime_actors import create_tiny
from test_runtime_local import METER_VALUES, SITE, settings_for
from websockets.client import ClientProtocol
from websockets.frames import Frame, Opcode
from websockets.typing import Subprotocol
from websockets.uri import parse_uri

from controlplane.runtime.node import Node, start_node
from controlplane.site.messages import ConfigureSite, SiteConfigured


@pytest.fixture
async def node(tmp_path: Path) -> AsyncIterator[Node]:
    node = await start_node(settings_for(tmp_path), transport="local", create=create_tiny)
    await node.client.ask(SITE, ConfigureSite(b"CP1"), SiteConfigured)
    yield node
    await node.stop()


class RawStation:
    """A WebSocket client that decides what goes into each TCP segment."""

    def __init__(self, node: Node) -> None:
        uri = parse_uri(f"ws://127.0.0.1:{node.ocpp_port}/ocpp/CP1")
        self.protocol = ClientProtocol(uri, subprotocols=[Subprotocol("ocpp1.6")])
        self.port = node.ocpp_port

    async def open(self) -> None:
        self.reader, self.writer = await asyncio.open_connection("127.0.0.1", self.port)
        self.protocol.send_request(self.protocol.connect())
        self.writer.write(b"".join(self.protocol.data_to_send()))
        while not self.protocol.events_received():
            self.protocol.receive_data(await self.reader.read(65_536))

    def taken(self) -> bytes:
        return b"".join(self.protocol.data_to_send())

    async def answers(self, count: int) -> list[Frame]:
        """Text frames, until there are `count`."""
        found: list[Frame] = []
        async with asyncio.timeout(30):
            while len(found) < count:
                data = await self.reader.read(65_536)
                assert data, "the gateway closed the socket"
                self.protocol.receive_data(data)
                events = self.protocol.events_received()
                found += [e for e in events if isinstance(e, Frame) and e.opcode is Opcode.TEXT]
        return found


@pytest.mark.parametrize("fragments", [False, True])
@pytest.mark.parametrize("seed", range(4))
async def test_any_cut_of_the_stream_is_the_same_stream(
    node: Node, seed: int, fragments: bool
) -> None:
    chance = random.Random(seed)
    station = RawStation(node)
    await station.open()
    stream = b""
    for number in range(60):
        padding = " " * chance.choice([0, 0, 40, 70_000 if number == 30 else 3_000])
        text = json.dumps([2, f"m{number}", "MeterValues", METER_VALUES])
        payload = (text + padding[:60_000]).encode()
        if chance.random() < 0.2:
            station.protocol.send_ping(b"are you there")
        if fragments and chance.random() < 0.3:
            cut = chance.randrange(1, len(payload))
            station.protocol.send_text(payload[:cut], fin=False)
            station.protocol.send_ping(b"between")
            station.protocol.send_continuation(payload[cut:], fin=True)
        else:
            station.protocol.send_text(payload)
        stream += station.taken()
        if chance.random() < 0.5:
            # Whole frames in one segment: the short way.
            station.writer.write(stream)
            stream = b""
            await asyncio.sleep(0.002)
        elif seed % 2 and number > 20:
            while len(stream) > 1 and chance.random() < 0.8:
                cut = chance.randrange(1, min(len(stream), 2_000))
                station.writer.write(stream[:cut])
                stream = stream[cut:]
                await asyncio.sleep(0.001)
    station.writer.write(stream)
    frames = await station.answers(60)
    assert [json.loads(bytes(frame.data)) for frame in frames] == [
        [3, f"m{number}", {}] for number in range(60)
    ]
    station.writer.close()


async def test_an_unmasked_frame_closes_the_socket_as_the_rfc_wants(node: Node) -> None:
    station = RawStation(node)
    await station.open()
    station.writer.write(b"\x81\x02[]")
    data = await asyncio.wait_for(station.reader.read(100), 10)
    assert data[0] == 0x88
    assert int.from_bytes(data[2:4], "big") == 1002
    station.writer.close()
