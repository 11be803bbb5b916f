"""`EventStreamsService`: periodic event streams that chargers have open (OCPP 2.1)."""

from __future__ import annotations

from typing import Any

from controlplane.api.backend import Backend, invalid, required
from controlplane.api.executing import execute, outcome_of
from controlplane.api.structs import message_of, struct_of
from controlplane.api.v1 import event_streams_pb2, event_streams_pb2_grpc
from controlplane.ocpp import answers, commands
from controlplane.ocpp.event_streams import VALUES_MAX, StreamRate

__all__ = ["EventStreams", "stream_rate"]

_INTERVAL_MAX_S = 86_400


class EventStreams(event_streams_pb2_grpc.EventStreamsServiceServicer):
    """Answers `controlplane.api.v1.EventStreamsService`."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend

    async def GetEventStreams(
        self, request: event_streams_pb2.GetEventStreamsRequest, context: Any
    ) -> event_streams_pb2.GetEventStreamsResponse:
        result = await execute(self._backend, commands.GetStreams(), request, context)
        return event_streams_pb2.GetEventStreamsResponse(
            outcome=outcome_of(result),
            streams=[
                message_of(stream, event_streams_pb2.EventStream)
                for stream in answers.streams_answered(result.payload)
            ],
        )

    async def AdjustEventStream(
        self, request: event_streams_pb2.AdjustEventStreamRequest, context: Any
    ) -> event_streams_pb2.AdjustEventStreamResponse:
        required(request, "rate")
        rate = stream_rate(request.rate, "rate")
        command = commands.AdjustStream(request.stream_id, rate)
        result = await execute(self._backend, command, request, context)
        return event_streams_pb2.AdjustEventStreamResponse(outcome=outcome_of(result))


def stream_rate(message: event_streams_pb2.StreamRate, field: str) -> StreamRate:
    """The rate in a request.

    Raises:
        InvalidInput: nothing would bound the stream, or it is out of range.
    """
    rate = struct_of(StreamRate, message, field)
    if rate == StreamRate():
        raise invalid(field, "give interval_s, values or both")
    if rate.interval_s is not None and not 1 <= rate.interval_s <= _INTERVAL_MAX_S:
        raise invalid(f"{field}.interval_s", f"1 to {_INTERVAL_MAX_S} s")
    if rate.values is not None and not 1 <= rate.values <= VALUES_MAX:
        raise invalid(f"{field}.values", f"1 to {VALUES_MAX}")
    return rate
