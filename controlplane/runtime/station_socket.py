"""A charger's WebSocket: the `websockets` library, with a short way for nearly every message.

OCPP-J is small text messages, each one frame, nearly always whole in what one read of the socket
brings. Such frames are unmasked and handed over on the spot, and frames to the station are written
on the spot. Everything else (partial reads, control frames, fragments, oversized or faulty frames)
goes through the library. Invariant: the short way is taken only while the library's parser stands
at the beginning of a frame, so both see a proper stream and the order of messages is kept."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

from websockets.asyncio.server import ServerConnection
from websockets.frames import DATA_OPCODES, Frame, Opcode
from websockets.protocol import OPEN, Event

try:
    from websockets.speedups import apply_mask
except ImportError:  # a platform for which the library has no compiled part
    from websockets.utils import apply_mask

__all__ = ["StationSocket"]

_TEXT_FRAME = 0x81
"""FIN set, no extension bits, opcode text (RFC 6455 section 5.2)."""

_MIDDLING = b"\x81\xfe"
"""How a masked text frame of 126 to 65,535 bytes begins; its size and mask follow."""
_HEAD_BYTES = 8

_REQUEST_MAX_BYTES = 65_536
"""Longest HTTP request, with whatever a station sends behind it before it is answered."""


class StationSocket(ServerConnection):
    """Hands whole text messages to `on_text` as they come in, without waking a task for each."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.on_text: Callable[[bytes], None] | None = None
        self.admitted: Any = None
        """How the station proved itself (`admission.Admitted`)."""
        self.held = False
        """Whether reading is paused on account of the station."""
        self._text_max = self.protocol.max_message_size or sys.maxsize
        self._unopened = 0
        """Bytes that came before the handshake was over."""
        self._at_frame = False
        """Whether the library's parser stands at the beginning of a frame."""

    def data_received(self, data: bytes) -> None:
        if self.protocol.state is not OPEN:
            self._unopened += len(data)
            if self._unopened > _REQUEST_MAX_BYTES:
                self.transport.abort()
                return
            # The last piece of the HTTP request; what it may hold of frames is not counted on.
            self._at_frame = data.endswith(b"\r\n\r\n")
            super().data_received(data)
            return
        if (
            self._at_frame
            and self.on_text is not None
            and data[:2] == _MIDDLING
            and _HEAD_BYTES + (size := data[2] << 8 | data[3]) == len(data)
            and size <= self._text_max
        ):
            # Nearly all that ever comes: one message that is a whole frame.
            self.on_text(apply_mask(data[_HEAD_BYTES:], data[_HEAD_BYTES - 4 : _HEAD_BYTES]))
            return
        frames = _whole_frames(data) if self._at_frame else None
        if frames is None:
            # From here on the parser may stand anywhere.
            self._at_frame = False
        elif self.on_text is not None and self._short(data, frames):
            for start, end in frames:
                if (take := self.on_text) is not None:
                    take(apply_mask(data[start:end], data[start - 4 : start]))
            return
        super().data_received(data)

    def process_event(self, event: Event) -> None:
        take = self.on_text
        if take is not None and isinstance(event, Frame) and event.opcode in DATA_OPCODES:
            if event.opcode is Opcode.TEXT and event.fin:
                take(bytes(event.data))
                return
            # A message in fragments goes the library's own way, and so does all that follows.
            self.on_text = None
        super().process_event(event)

    def write_text(self, text: str) -> None:
        """Send one message without waiting; nothing where the socket is closing."""
        if self.protocol.state is not OPEN:
            return
        payload = text.encode()
        size = len(payload)
        if size < 126:
            head = bytes((_TEXT_FRAME, size))
        elif size < 65_536:
            head = b"\x81\x7e" + size.to_bytes(2, "big")
        else:
            head = b"\x81\x7f" + size.to_bytes(8, "big")
        self.transport.write(head + payload)

    def _short(self, data: bytes, frames: list[tuple[int, int]]) -> bool:
        """Whether all of `frames` are whole text messages of an allowed size."""
        begin = 0
        for start, end in frames:
            if data[begin] != _TEXT_FRAME or end - start > self._text_max:
                return False
            begin = end
        return True


def _whole_frames(data: bytes) -> list[tuple[int, int]] | None:
    """Where the payloads of the masked frames in `data` begin and end; None where `data` is not
    exactly a run of whole masked frames (RFC 6455 section 5.2)."""
    frames: list[tuple[int, int]] = []
    at, available = 0, len(data)
    while at < available:
        if at + 2 > available or not data[at + 1] & 0x80:
            return None
        size, at = data[at + 1] & 0x7F, at + 2
        if size >= 126:
            width = 2 if size == 126 else 8
            size, at = int.from_bytes(data[at : at + width], "big"), at + width
        start = at + 4
        at = start + size
        frames.append((start, at))
    return frames if at == available else None
