"""A node whose clock stands until it is told to move, and stations that speak to it over real
sockets: hours of a charger's life in milliseconds."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections import deque
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed
from websockets.typing import Subprotocol

from controlplane.config import Settings
from controlplane.ids import ActorKind, ActorRef
from controlplane.runtime import node as node_module
from controlplane.runtime.node import Node, start_node
from controlplane.site.messages import ConfigureSite, SiteConfigured
from controlplane.units import iso_from_ms

__all__ = ["START_MS", "SteppedClock", "Talker", "stepped_node"]

START_MS = 1_767_225_600_000
"""2026-01-01T00:00:00Z."""

_ACCEPTED: dict[str, dict[str, Any]] = {
    "GetConfiguration": {"configurationKey": []},
    "SetVariables": {
        "setVariableResult": [
            {"attributeStatus": "Accepted", "component": {"name": "C"}, "variable": {"name": "V"}}
        ]
    },
}


class SteppedClock:
    """Shows what it is told."""

    speed = 1.0
    may_jump = False

    def __init__(self, now_ms: int) -> None:
        self._now_ms = now_ms

    def now_ms(self) -> int:
        return self._now_ms

    def advance(self, duration_ms: int) -> None:
        self._now_ms += duration_ms


@asynccontextmanager
async def stepped_node(
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    chargers: Iterable[dict[str, Any]],
    *,
    now_ms: int = START_MS,
    **site: Any,
) -> AsyncIterator[tuple[Node, SteppedClock]]:
    """A node with one site of these chargers (`ChargerConfig` without their circuit); `site` is
    what else is said of it (`SiteConfig`)."""
    clock = SteppedClock(now_ms)
    monkeypatch.setattr(node_module, "_clock", lambda _: clock)
    settings = Settings(data_dir=folder, ocpp_port=0, grpc_port=0, commit_interval_ms=0)
    node = await start_node(settings, transport="local")
    try:
        described = {
            "id": "site",
            "circuits": [{"id": "supply", "rating_a": 3_000}],
            "chargers": [{"circuit": "supply", **charger} for charger in chargers],
            **site,
        }
        await node.client.ask(
            ActorRef(ActorKind.SITE, "site"),
            ConfigureSite(json.dumps(described).encode()),
            SiteConfigured,
        )
        yield node, clock
    finally:
        await node.stop()


class Talker:
    """One station: it says what the test says, and answers by itself what it is told."""

    def __init__(self, socket: ClientConnection, ignored: Iterable[str] = ()) -> None:
        self.socket = socket
        self.told: list[tuple[str, dict[str, Any]]] = []
        self.answers: dict[str, deque[tuple[int, Any]]] = {}
        """What to answer to an action, in order, before it is answered as everybody does: the type
        of the frame and what follows the message id."""
        self.ignored = set(ignored)
        self._number = 0
        self._heard: asyncio.Queue[list[Any]] = asyncio.Queue()
        self._listening = asyncio.create_task(self._listen())

    @classmethod
    @asynccontextmanager
    async def connected(
        cls, node: Node, charger_id: str, version: str = "ocpp1.6", **more: Any
    ) -> AsyncIterator[Talker]:
        """A station that has a socket; "-" names no subprotocol."""
        async with connect(
            f"ws://127.0.0.1:{node.ocpp_port}/ocpp/{charger_id}",
            subprotocols=None if version == "-" else [Subprotocol(version)],
            compression=None,
            **more,
        ) as socket:
            talker = cls(socket)
            try:
                yield talker
            finally:
                await talker.hang_up()

    async def hang_up(self) -> None:
        """Listen no more."""
        self._listening.cancel()
        with contextlib.suppress(asyncio.CancelledError, ConnectionClosed):
            await self._listening

    async def call(self, action: str, **payload: Any) -> dict[str, Any]:
        """Send a CALL; the payload of its answer."""
        self._number += 1
        frame = await self.say(json.dumps([2, f"t{self._number}", action, payload]))
        assert frame[0] == 3, frame
        answer: dict[str, Any] = frame[2]
        return answer

    async def say(self, text: str) -> list[Any]:
        """Send any text that is to be answered; the frame that answers it."""
        await self.socket.send(text)
        return await asyncio.wait_for(self._heard.get(), 10)

    async def _listen(self) -> None:
        async for text in self.socket:
            frame = json.loads(text)
            if frame[0] != 2:
                self._heard.put_nowait(frame)
                continue
            _, message_id, action, payload = frame
            self.told.append((action, payload))
            if self.answers.get(action):
                kind, rest = self.answers[action].popleft()
                await self.socket.send(json.dumps([kind, message_id, *rest]))
            elif action not in self.ignored:
                answer = _ACCEPTED.get(action, {"status": "Accepted"})
                await self.socket.send(json.dumps([3, message_id, answer]))

    # --- a 1.6 station ----------------------------------------------------------------------------

    async def start_16(self, at_ms: int, meter_wh: int, tag: str = "TAG") -> int:
        answer = await self.call(
            "StartTransaction",
            connectorId=1,
            idTag=tag,
            meterStart=meter_wh,
            timestamp=iso_from_ms(at_ms),
        )
        return int(answer["transactionId"])

    async def meter_16(self, at_ms: int, meter_wh: int, transaction_id: int) -> None:
        sample = {"timestamp": iso_from_ms(at_ms), "sampledValue": [{"value": str(meter_wh)}]}
        await self.call(
            "MeterValues", connectorId=1, transactionId=transaction_id, meterValue=[sample]
        )

    async def stop_16(self, at_ms: int, meter_wh: int, transaction_id: int, **more: Any) -> None:
        await self.call(
            "StopTransaction",
            transactionId=transaction_id,
            meterStop=meter_wh,
            timestamp=iso_from_ms(at_ms),
            **more,
        )
