"""What a host adds to traces: the step that an actor took, the commit that made it durable, the
round that it set off and the command that came of that.

Actors know nothing of it. A context rides beside its message, from the message that came in to the
effects of its step: what they send, what they set a timer for, if it is due within seconds, and
what they ask of the store. The loop asks this only where something is traced: `riding` and `waits`
are empty nearly always. Both are bounded, and the oldest go first: a message that was dropped on
its way stays there until then."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from itertools import islice
from typing import Final

from controlplane.actor import (
    Ask,
    Effect,
    LookedUp,
    LookUp,
    Message,
    Send,
    SetTimer,
    TimerFired,
)
from controlplane.charger.messages import StationCalled, StationFailed, StationReplied
from controlplane.ids import ActorKind, ActorRef
from controlplane.runtime.tracing import (
    LINKS_MAX,
    Span,
    SpanContext,
    SpanKind,
    Tracing,
    context_from,
    traceparent,
)
from controlplane.runtime.wire import CloseStation, FrameKind, FromActor, ToStation, Traced

__all__ = ["HostTraces"]

_RIDING_MAX: Final = 10_000
_WAIT_MAX_MS: Final = 10_000
"""A timer that is due later than this is not part of what set it."""
_COMMAND_MAX_S: Final = 120.0


class HostTraces:
    """The contexts under way on a host."""

    def __init__(self, tracing: Tracing) -> None:
        self.tracing = tracing
        self.riding: dict[int, tuple[object, SpanContext]] = {}
        """By the identity of a message or parcel, which is kept alive here for as long."""
        self.waits: dict[tuple[ActorRef, str], SpanContext] = {}
        """By the actor and the timer or question that it waits for."""
        self._commands: dict[tuple[str, str], tuple[Span, float]] = {}

    # --- riding -----------------------------------------------------------------------------------

    def ride(self, carrier: object, context: SpanContext) -> None:
        """From now on `carrier` belongs to the trace of `context`."""
        if len(self.riding) >= _RIDING_MAX:
            del self.riding[next(iter(self.riding))]
        self.riding[id(carrier)] = carrier, context

    def alight(self, carrier: object) -> SpanContext | None:
        """The context that rode on `carrier`, once."""
        found = self.riding.pop(id(carrier), None)
        return None if found is None else found[1]

    def arrived(self, traced: Traced, message: Message) -> None:
        """A traced parcel has come; `message` is what an actor is told of it."""
        context = context_from(traced.traceparent)
        if context is not None:
            self.ride(message, context)
        if isinstance(message, (StationReplied, StationFailed)):
            found = self._commands.pop((message.connection, message.message_id), None)
            if found is not None:
                span = found[0]
                if isinstance(message, StationFailed):
                    self.tracing.fail(span, f"{message.code}: {message.description}")
                span.end()

    def asked(self, ask: Ask, header: str) -> None:
        """A request has come with a `traceparent`."""
        context = context_from(header)
        if context is not None:
            self.ride(ask, context)

    def due(self, ref: ActorRef, key: str, message: TimerFired | LookedUp) -> None:
        """What the actor waited for has come."""
        context = self.waits.pop((ref, key), None)
        if context is not None:
            self.ride(message, context)

    # --- a step -----------------------------------------------------------------------------------

    def step(self, ref: ActorRef, message: Message) -> Span | None:
        """Begin the span of this step, where the message belongs to a trace."""
        context = self.alight(message)
        if context is None:
            return None
        attributes = {
            "actor.kind": ref.kind.value,
            "actor.id": ref.id,
            "message.kind": type(message).__name__,
        }
        if type(message) is StationCalled:
            attributes["ocpp.action"] = message.action
        elif type(message) is Ask:
            attributes["request.kind"] = type(message.request).__name__
        elif type(message) is TimerFired:
            attributes["timer.key"] = message.key
        return self.tracing.begin("host.step", context, attributes, kind=SpanKind.CONSUMER)

    def crashed(self, ref: ActorRef, error: Exception, span: Span | None = None) -> None:
        """The actor's code raised; that is traced in any case."""
        if span is None:
            place = {"actor.kind": ref.kind.value, "actor.id": ref.id}
            self.tracing.error("host.step", error, place)
        else:
            self.tracing.fail(span, error)
            span.end()

    def stepped(
        self,
        span: Span,
        ref: ActorRef,
        message: Message,
        effects: Iterable[Effect],
        *,
        parcels: Iterable[ToStation | CloseStation],
        now_ms: int,
    ) -> SpanContext:
        """End the span; what the step asked for inherits its context. `parcels` is what it sends to
        stations. A timer that sets a timer passes nothing on, or the rounds of a busy site would be
        one trace without an end."""
        context = span.get_span_context()
        by_timer = type(message) is TimerFired
        for effect in effects:
            if isinstance(effect, Send):
                self.ride(effect.message, context)
            elif isinstance(effect, SetTimer):
                if not by_timer and effect.at_ms - now_ms <= _WAIT_MAX_MS:
                    self._wait(ref, effect.key, context)
            elif isinstance(effect, LookUp):
                self._wait(ref, effect.look_up_id, context)
        for parcel in parcels:
            self.ride(parcel, context)
        span.end()
        return context

    def rounded(
        self, span: Span, ref: ActorRef, started_ns: int, effects: Iterable[Effect]
    ) -> None:
        """The step of a site that `span` stands for worked out an allocation round."""
        limits = sum(isinstance(e, Send) and e.to.kind is ActorKind.CHARGER for e in effects)
        child = self.tracing.begin(
            "site.round",
            span.get_span_context(),
            {"site.id": ref.id, "site.messages_to_chargers": limits},
            start_ns=started_ns,
        )
        child.end()

    def _wait(self, ref: ActorRef, key: str, context: SpanContext) -> None:
        if len(self.waits) >= _RIDING_MAX:
            del self.waits[next(iter(self.waits))]
        self.waits[ref, key] = context

    # --- after it ---------------------------------------------------------------------------------

    def committed(
        self, contexts: Sequence[SpanContext], *, seconds: float, records: int, events: int
    ) -> None:
        """A commit has just ended that took `seconds`. Each of the traces that it made durable gets
        a span of it, linked to the others."""
        ended_ns = time.time_ns()
        of_trace = {context.trace_id: context for context in contexts}
        leading = list(islice(of_trace.values(), LINKS_MAX + 1))
        for context in of_trace.values():
            others = [other for other in leading if other is not context]
            span = self.tracing.begin(
                "store.commit",
                context,
                {"store.records": records, "store.events": events, "store.traces": len(of_trace)},
                kind=SpanKind.CLIENT,
                links=others,
                start_ns=ended_ns - int(seconds * 1e9),
            )
            span.end(ended_ns)

    def to_station(self, parcel: ToStation | CloseStation) -> ToStation | CloseStation | Traced:
        """A parcel for a station as it is to travel; a command's span lasts until its answer."""
        context = self.alight(parcel)
        if context is None or type(parcel) is not ToStation:
            return parcel
        if parcel.kind is not FrameKind.CALL:
            return Traced(traceparent(context), parcel)
        now_s = time.monotonic()
        self._expire(now_s - _COMMAND_MAX_S)
        span = self.tracing.begin(
            "command.send",
            context,
            {"ocpp.action": parcel.action, "ocpp.message_id": parcel.message_id},
            kind=SpanKind.CLIENT,
        )
        self._commands[parcel.connection, parcel.message_id] = span, now_s
        return Traced(traceparent(span.get_span_context()), parcel)

    def to_host(self, parcel: FromActor, message: Message) -> FromActor | Traced:
        """A message for an actor of another host as it is to travel."""
        context = self.alight(message)
        return parcel if context is None else Traced(traceparent(context), parcel)

    def _expire(self, before_s: float) -> None:
        """The oldest come first."""
        while self._commands:
            key, (span, since_s) = next(iter(self._commands.items()))
            if since_s >= before_s and len(self._commands) < _RIDING_MAX:
                return
            del self._commands[key]
            self.tracing.fail(span, "no answer")
            span.end()
