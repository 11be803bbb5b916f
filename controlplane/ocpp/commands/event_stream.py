"""Periodic event streams that a station has open (2.1, N12 and N14)."""

from __future__ import annotations

from controlplane.ocpp.commands.core import Command
from controlplane.ocpp.event_streams import StreamRate

__all__ = ["AdjustStream", "GetStreams"]


class GetStreams(Command, frozen=True, tag="get_streams"):
    """Ask the station which streams it has open."""


class AdjustStream(Command, frozen=True, tag="adjust_stream"):
    """Have a stream sent more or less often."""

    stream_id: int
    rate: StreamRate
