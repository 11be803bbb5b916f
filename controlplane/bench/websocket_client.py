"""The client half of RFC 6455, as little of it as a load generator needs.

The generator shares the machine with the server that it measures, so its own cost per message
decides how hard it can press. This client speaks text frames over an asyncio transport and keeps
one invariant: whatever the server may rightly send (fragments of the stream cut anywhere, pings,
a close, 64-bit lengths) is understood; anything else ends the connection with a reason."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import struct
from collections.abc import Callable
from typing import cast

__all__ = ["WebSocketClient"]

_ACCEPT_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_KEY = base64.b64encode(b"loadstar-station")
_ACCEPT = base64.b64encode(hashlib.sha1(_KEY + _ACCEPT_GUID).digest())
_TEXT, _CLOSE, _PING, _PONG = 0x1, 0x8, 0x9, 0xA
_FINAL = 0x80


class WebSocketClient(asyncio.Protocol):
    """One connection. `on_text` gets every text frame, `on_lost` the reason of the end, once.

    Frames are masked with the key zero: RFC 6455 section 5.3 wants a key so that proxies cannot be
    confused, and there are none on a loopback; the server pays for unmasking all the same.
    """

    __slots__ = ("_buffer", "_request", "_transport", "on_lost", "on_text", "opened", "reason")

    def __init__(self, *, host: str, path: str, subprotocol: str) -> None:
        self._request = (
            f"GET {path} HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\n"
            f"Connection: Upgrade\r\nSec-WebSocket-Key: {_KEY.decode()}\r\n"
            f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: {subprotocol}\r\n\r\n"
        ).encode()
        self._buffer = b""
        self._transport: asyncio.Transport | None = None
        self.opened: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.on_text: Callable[[bytes], None] = lambda _text: None
        self.on_lost: Callable[[str], None] = lambda _reason: None
        self.reason = ""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are no subclass of asyncio's, though they keep the same promise.
        self._transport = cast(asyncio.Transport, transport)
        self._transport.write(self._request)

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        self.reason = self.reason or (str(exc) if exc else "closed by the server")
        if not self.opened.done():
            self.opened.set_exception(ConnectionError(self.reason))
        self.on_lost(self.reason)

    def data_received(self, data: bytes) -> None:
        self._buffer = self._buffer + data if self._buffer else data
        if not self.opened.done() and not self._handshake():
            return
        try:
            self._frames()
        except ValueError as error:
            self.abort(str(error))

    def send_text(self, text: bytes) -> None:
        """Send one text frame; nothing is sent on a connection that has ended."""
        self._send(_TEXT, text)

    def close(self) -> None:
        """Say goodbye (1000) and end the connection."""
        self._send(_CLOSE, struct.pack("!H", 1000))
        if self._transport is not None:
            self._transport.close()

    def abort(self, reason: str) -> None:
        """End the connection without a goodbye."""
        self.reason = reason
        if self._transport is not None:
            self._transport.abort()

    def _handshake(self) -> bool:
        head, found, rest = self._buffer.partition(b"\r\n\r\n")
        if not found:
            return False
        self._buffer = rest
        status = head.split(b"\r\n", 1)[0].decode("latin-1")
        if " 101 " not in f"{status} " or _ACCEPT not in head:
            self.abort(f"the handshake was refused: {status}")
            return False
        self.opened.set_result(None)
        return True

    def _frames(self) -> None:
        buffer, start = self._buffer, 0
        available = len(buffer)
        while available - start >= 2:
            opcode, length, body = buffer[start], buffer[start + 1], start + 2
            if length == 126:
                if available - body < 2:
                    break
                length, body = int.from_bytes(buffer[body : body + 2]), body + 2
            elif length == 127:
                if available - body < 8:
                    break
                length, body = int.from_bytes(buffer[body : body + 8]), body + 8
            if available - body < length:
                break
            start = body + length
            self._frame(opcode, buffer[body:start])
        self._buffer = buffer[start:]

    def _frame(self, opcode: int, payload: bytes) -> None:
        match opcode:
            case 0x81:
                self.on_text(payload)
            case 0x89:
                self._send(_PONG, payload)
            case 0x8A:
                pass
            case 0x88:
                self.reason = f"the server closed with {int.from_bytes(payload[:2])}"
                self.close()
            case _:
                raise ValueError(f"the server sent a frame of the unexpected kind {opcode:#x}")

    def _send(self, opcode: int, payload: bytes) -> None:
        if self._transport is None or self._transport.is_closing():
            return
        length = len(payload)
        if length < 126:
            head = bytes((_FINAL | opcode, 0x80 | length))
        elif length < 65_536:
            head = struct.pack("!BBH", _FINAL | opcode, 0x80 | 126, length)
        else:
            head = struct.pack("!BBQ", _FINAL | opcode, 0x80 | 127, length)
        self._transport.write(head + b"\0\0\0\0" + payload)
