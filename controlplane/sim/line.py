"""What a simulated station keeps of its line to the CSMS: what waits to be said, and what was.

Invariant: a message that is sent again because its answer never came keeps its message id."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from websockets.asyncio.client import ClientConnection

__all__ = ["CountedConnection", "Manners", "Outgoing", "Traffic"]

_CALL = 2


@dataclass
class Manners:
    """How a station behaves on the line; a well-behaved one has the defaults."""

    silent: bool = False
    """It answers no CALL."""
    refuses: set[str] = field(default_factory=set)
    """Actions that it answers with NotSupported."""
    tell: Callable[[str, str], None] = lambda direction, frame: None
    """Hears every frame, with `>` for what the station says and `<` for what it is told."""


@dataclass
class Traffic:
    """What went over the line."""

    sent: int = 0
    received: int = 0
    connections: int = 0
    refused: int = 0
    """Transaction messages given up after repeated errors; must stay 0."""


@dataclass
class Outgoing:
    """A CALL that waits for its turn. `payload` is built when it is sent, since a transaction may
    have got its id only then; `keep` survives a lost connection."""

    payload: Callable[[], Any]
    keep: bool
    sample: bool = False
    on_result: Callable[[Any], None] = lambda _: None
    on_lost: Callable[[], None] = lambda: None
    message_id: str = field(default_factory=lambda: str(uuid.uuid4()))
    attempts: int = 0


class CountedConnection:
    """The two calls of a WebSocket that the `ocpp` package uses, counted."""

    def __init__(self, socket: ClientConnection, traffic: Traffic, manners: Manners) -> None:
        self.socket = socket
        self._traffic = traffic
        self._manners = manners

    async def recv(self) -> str | bytes:
        while True:
            frame = await self.socket.recv()
            self._traffic.received += 1
            self._manners.tell("<", str(frame))
            if not await self._unwilling(frame):
                return frame

    async def send(self, frame: str) -> None:
        # Told first: the answer may come before the send returns.
        self._manners.tell(">", frame)
        await self.socket.send(frame)
        self._traffic.sent += 1

    async def _unwilling(self, frame: str | bytes) -> bool:
        """Whether this is a CALL that the station does not take."""
        manners = self._manners
        if not (manners.silent or manners.refuses):
            return False
        told = json.loads(frame)
        if told[0] != _CALL:
            return False
        if told[2] in manners.refuses:
            await self.send(json.dumps([4, told[1], "NotSupported", "not by this station", {}]))
            return True
        return manners.silent
