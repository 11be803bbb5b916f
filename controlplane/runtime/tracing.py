"""Spans of one process, and how their context crosses to another (W3C Trace Context).

Whether a message is traced is decided where it comes in, once for its whole way: by chance
(`trace_ratio`), by the caller's `traceparent`, or for a charger that the settings name. What goes
wrong is traced from there on, a bounded number of times a second. Invariant: what is not traced
costs one comparison where it comes in, and the truth test of an empty dict where it passes."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from fnmatch import fnmatchcase
from random import random
from typing import TYPE_CHECKING, Final

from opentelemetry import context as current
from opentelemetry import trace
from opentelemetry.trace import Link, NonRecordingSpan, Span, SpanContext, SpanKind, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from controlplane.config import Settings
from controlplane.runtime.telemetry import resource_of

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider

__all__ = [
    "LINKS_MAX",
    "Attributes",
    "Span",
    "SpanContext",
    "SpanKind",
    "Tracing",
    "context_from",
    "current_traceparent",
    "traceparent",
]

Attributes = Mapping[str, str | int | float]

_ERRORS_PER_S: Final = 10.0
_EXPORT_TIMEOUT_S: Final = 2.0
_EXPORT_INTERVAL_MS: Final = 1_000.0
LINKS_MAX: Final = 64
_HEADER: Final = "traceparent"
_propagator = TraceContextTextMapPropagator()


def traceparent(context: SpanContext) -> str:
    """The context as it crosses to another process; section 3.2 of W3C Trace Context."""
    return f"00-{context.trace_id:032x}-{context.span_id:016x}-{context.trace_flags:02x}"


def current_traceparent() -> str:
    """That of the span in which this code runs; empty where nobody records one."""
    context = trace.get_current_span().get_span_context()
    return traceparent(context) if context.is_valid and context.trace_flags.sampled else ""


def context_from(header: str) -> SpanContext | None:
    """The context in a `traceparent`; None where it is malformed or says that nobody records the
    trace."""
    found = _propagator.extract({_HEADER: header}, current.Context())
    context = trace.get_current_span(found).get_span_context()
    return context if context.is_valid and context.trace_flags.sampled else None


class Tracing:
    """Where spans of this process begin.

    Args:
        process: value of the attribute `service.instance.id`.
    """

    def __init__(self, settings: Settings, process: str) -> None:
        self.ratio = settings.trace_ratio if settings.otlp_endpoint else 0.0
        """The part of messages that is traced; 0 where nobody takes spans."""
        self._named = settings.trace_chargers if settings.otlp_endpoint else ()
        self._provider: TracerProvider | None = None
        self._tracer: trace.Tracer = trace.NoOpTracer()
        self._errors_left = _ERRORS_PER_S
        self._errors_at_s = time.monotonic()
        if settings.otlp_endpoint:
            self._provider = _exporting(settings, process)
            self._tracer = self._provider.get_tracer("loadstar")

    @property
    def on(self) -> bool:
        """Whether anybody takes spans."""
        return self._provider is not None

    def chosen(self) -> bool:
        """Whether to trace what comes in now."""
        return random() < self.ratio

    def named(self, charger_id: str) -> bool:
        """Whether everything of this charger is to be traced."""
        return any(fnmatchcase(charger_id, pattern) for pattern in self._named)

    def begin(
        self,
        name: str,
        parent: SpanContext | None,
        attributes: Attributes,
        *,
        kind: SpanKind = SpanKind.INTERNAL,
        links: Sequence[SpanContext] = (),
        start_ns: int | None = None,
    ) -> Span:
        """Begin a span; without a `parent` it is the root of a new trace."""
        within = current.Context()
        if parent is not None:
            within = trace.set_span_in_context(NonRecordingSpan(parent), within)
        return self._tracer.start_span(
            name,
            within,
            kind=kind,
            attributes=attributes,
            links=[Link(context) for context in links[:LINKS_MAX]],
            start_time=start_ns,
        )

    def fail(self, span: Span, said: str | BaseException) -> None:
        """Mark a span as one that went wrong."""
        if isinstance(said, BaseException):
            span.record_exception(said)
        span.set_status(StatusCode.ERROR, str(said)[:255])

    def error(self, name: str, said: BaseException, attributes: Attributes) -> None:
        """A trace of what went wrong with something that was not traced, unless there were many of
        late."""
        if not self.on:
            return
        now_s = time.monotonic()
        gained = (now_s - self._errors_at_s) * _ERRORS_PER_S
        self._errors_left = min(_ERRORS_PER_S, self._errors_left + gained)
        self._errors_at_s = now_s
        if self._errors_left < 1:
            return
        self._errors_left -= 1
        span = self.begin(name, None, attributes)
        self.fail(span, said)
        span.end()

    @contextmanager
    def current(self, span: Span) -> Iterator[None]:
        """Log lines within belong to `span`."""
        token = current.attach(trace.set_span_in_context(span))
        try:
            yield
        finally:
            current.detach(token)

    def close(self) -> None:
        """Send what is left, for a few seconds at most. Blocks."""
        if self._provider is not None:
            self._provider.force_flush(int(_EXPORT_TIMEOUT_S * 1_000))
            self._provider.shutdown()


def _exporting(settings: Settings, process: str) -> TracerProvider:
    # The exporter takes a third of a second to import: only where it is wanted.
    from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import (  # noqa: PLC0415
        OTLPSpanExporter,
    )
    from opentelemetry.sdk.resources import Resource  # noqa: PLC0415
    from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415
    from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415
    from opentelemetry.sdk.trace.sampling import ALWAYS_ON  # noqa: PLC0415

    endpoint = settings.otlp_endpoint
    provider = TracerProvider(
        # What begins here was chosen before.
        sampler=ALWAYS_ON,
        resource=Resource({**resource_of(settings), "service.instance.id": process}),
        shutdown_on_exit=False,
    )
    exporter = OTLPSpanExporter(
        endpoint=endpoint, insecure=endpoint.startswith("http://"), timeout=_EXPORT_TIMEOUT_S
    )
    provider.add_span_processor(
        BatchSpanProcessor(exporter, schedule_delay_millis=_EXPORT_INTERVAL_MS)
    )
    return provider
