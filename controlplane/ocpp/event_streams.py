"""Periodic event streams: a station sends the values of a monitored variable by SEND, in packs,
without waiting for answers (OCPP 2.1 part 2, N11 to N15)."""

from __future__ import annotations

from typing import Final

import msgspec

from controlplane.ocpp.events import Event

__all__ = [
    "VALUES_MAX",
    "Stream",
    "StreamClosed",
    "StreamOpened",
    "StreamRate",
    "StreamValues",
]

VALUES_MAX: Final = 500
"""Values of one notification that are read; what goes beyond is counted."""


class StreamRate(msgspec.Struct, frozen=True):
    """How often a pack is sent, and how many values it has; None where either is left to the
    station."""

    interval_s: int | None = None
    values: int | None = None


class Stream(msgspec.Struct, frozen=True):
    stream_id: int
    monitor_id: int
    """The variable monitor whose values it carries."""
    rate: StreamRate = StreamRate()


class StreamOpened(Event, frozen=True, tag="stream_opened"):
    """A station wants to open a stream; it does not before it is allowed to."""

    stream: Stream


class StreamClosed(Event, frozen=True, tag="stream_closed"):
    stream_id: int


class StreamValues(Event, frozen=True, tag="stream_values"):
    """A pack of values: pairs of the instant in ms UTC and the value as text. `pending` are still
    to come; `left_out` were more than are read, or had no time that can be read."""

    stream_id: int
    values: tuple[tuple[int, str], ...]
    pending: int = 0
    left_out: int = 0
