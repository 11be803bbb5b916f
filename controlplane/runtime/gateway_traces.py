"""What a gateway adds to traces: a station's CALL from its frame to the answer on its socket, and a
command from its arrival here to the station's answer.

The gateway's code asks this only where something is traced: `calls` and `commands` are empty nearly
always, and their truth is all that an untraced message costs. Both are bounded by time: what nobody
answers is ended by `expire`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from controlplane.charger.messages import StationFailed, StationReplied
from controlplane.runtime.station import Station
from controlplane.runtime.tracing import Span, SpanKind, Tracing, context_from, traceparent
from controlplane.runtime.wire import CallOfStation, FrameKind, FromStation, ToStation, Traced

__all__ = ["GatewayTraces"]

_OPEN_MAX: Final = 10_000
"""Beyond this nothing more is traced until something is over."""

Key = tuple[str, str]
"""Connection and message id."""


@dataclass(slots=True)
class _Open:
    span: Span
    since_s: float
    answer: Span | None = None
    """Of a command that was written: how long the station takes."""


class GatewayTraces:
    """The open spans of a gateway."""

    def __init__(self, tracing: Tracing) -> None:
        self.tracing = tracing
        self.calls: dict[Key, _Open] = {}
        """CALLs of stations without an answer yet."""
        self.commands: dict[Key, _Open] = {}
        """CALLs to stations without an answer yet."""

    # --- a station's CALL -------------------------------------------------------------------------

    def received(self, station: Station, call: CallOfStation, now_s: float) -> None:
        """Trace this call."""
        if len(self.calls) >= _OPEN_MAX:
            return
        span = self.tracing.begin(
            "gateway.receive",
            None,
            {
                "ocpp.version": station.version,
                "ocpp.action": call.action,
                "ocpp.message_id": call.message_id[:64],
                "charger.id": station.charger_id,
                "network.peer.address": station.remote,
            },
            kind=SpanKind.SERVER,
        )
        self.calls[call.connection, call.message_id] = _Open(span, now_s)

    def around(self, call: CallOfStation) -> CallOfStation | Traced:
        """The call as it is to travel to its host."""
        opened = self.calls.get((call.connection, call.message_id))
        return call if opened is None else Traced(_header(opened.span), call)

    # --- what a host sends ------------------------------------------------------------------------

    def arrived(self, traced: Traced, now_s: float) -> None:
        """A traced parcel has come from a host."""
        parcel, context = traced.parcel, context_from(traced.traceparent)
        if type(parcel) is not ToStation or context is None or len(self.commands) >= _OPEN_MAX:
            return
        kind = FrameKind(parcel.kind)
        attributes = {"ocpp.frame": kind.name.lower(), "ocpp.message_id": parcel.message_id}
        if kind is FrameKind.CALL:
            attributes["ocpp.action"] = parcel.action
        span = self.tracing.begin("gateway.send", context, attributes, kind=SpanKind.PRODUCER)
        if kind is FrameKind.CALL:
            key = parcel.connection, parcel.message_id
            self.commands[key] = _Open(span, now_s)
        else:
            span.end()

    def replied(self, parcel: ToStation) -> None:
        """The answer to a station's CALL is on its socket."""
        opened = self.calls.pop((parcel.connection, parcel.message_id), None)
        if opened is not None:
            if parcel.kind == FrameKind.CALL_ERROR:
                self.tracing.fail(opened.span, "answered with CALLERROR")
            opened.span.end()

    # --- a command --------------------------------------------------------------------------------

    def written(self, command: ToStation) -> None:
        """The command is on the socket; now it is the station's turn."""
        opened = self.commands.get((command.connection, command.message_id))
        if opened is not None:
            opened.span.end()
            opened.answer = self.tracing.begin(
                "station.answer",
                opened.span.get_span_context(),
                {"ocpp.action": command.action, "ocpp.message_id": command.message_id},
                kind=SpanKind.CLIENT,
            )

    def answered(
        self, parcel: FromStation, answer: StationReplied | StationFailed
    ) -> FromStation | Traced:
        """The station's answer as it is to travel to its host."""
        opened = self.commands.pop((answer.connection, answer.message_id), None)
        if opened is None:
            return parcel
        span = opened.span if opened.answer is None else opened.answer
        if type(answer) is StationFailed:
            self.tracing.fail(span, f"{answer.code}: {answer.description}")
        if opened.answer is not None:
            opened.answer.end()
        else:
            opened.span.end()
        return Traced(_header(span), parcel)

    # --- ends -------------------------------------------------------------------------------------

    def expire(self, before_s: float) -> None:
        """End what has been open since before this instant of the loop's clock."""
        for open_spans in (self.calls, self.commands):
            for key in [key for key, each in open_spans.items() if each.since_s < before_s]:
                opened = open_spans.pop(key)
                for span in (opened.span, opened.answer):
                    if span is not None and span.is_recording():
                        self.tracing.fail(span, "no answer")
                        span.end()


def _header(span: Span) -> str:
    return traceparent(span.get_span_context())
