"""What is measured and traced of gRPC calls: how long each took and how it ended, and a span that
what it asks of actors belongs to.

A caller that sends a `traceparent` (W3C Trace Context) decides whether its call is traced; of the
others a part is. Methods and status codes are few; nothing that a caller writes becomes a label."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import aclosing, contextmanager
from time import perf_counter
from typing import Any, Final

import grpc

from controlplane.runtime import catalogue
from controlplane.runtime.metrics import Meter
from controlplane.runtime.tracing import Span, SpanKind, Tracing, context_from

__all__ = ["CallInterceptor"]

_SERVICES: Final = "/controlplane.api."


class CallInterceptor(grpc.aio.ServerInterceptor):  # type: ignore[type-arg]
    """Stands before the one that answers errors, so that it sees how each call ended."""

    def __init__(self, tracing: Tracing) -> None:
        self._tracing = tracing
        self._streams = 0
        self.meter = Meter()
        self._durations = self.meter.histogram(catalogue.API_DURATION)
        self.meter.watch(catalogue.API_STREAMS, lambda: self._streams)

    def close(self) -> None:
        """Send the spans that are left. Blocks."""
        self._tracing.close()

    async def intercept_service(
        self,
        continuation: Callable[
            [grpc.HandlerCallDetails], Awaitable[grpc.RpcMethodHandler[Any, Any]]
        ],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Any:
        handler = await continuation(handler_call_details)
        method = handler_call_details.method
        if handler is None or not method.startswith(_SERVICES):
            return handler
        # "/controlplane.api.v1.SitesService/GetSite" is SitesService/GetSite.
        name = method.rpartition(".")[2]
        serializers = handler.request_deserializer, handler.response_serializer
        if handler.response_streaming:
            return grpc.unary_stream_rpc_method_handler(
                self._streaming(handler.unary_stream, name), *serializers
            )
        if handler.request_streaming:
            return grpc.stream_unary_rpc_method_handler(
                self._answering(handler.stream_unary, name), *serializers
            )
        return grpc.unary_unary_rpc_method_handler(
            self._answering(handler.unary_unary, name), *serializers
        )

    def _answering(self, answer: Any, name: str) -> Any:
        async def answered(request: Any, context: Any) -> Any:
            started_s = perf_counter()
            try:
                with self._traced(context, name):
                    return await answer(request, context)
            finally:
                self._durations.record(perf_counter() - started_s, name, _code(context))

        return answered

    def _streaming(self, stream: Any, name: str) -> Any:
        async def streamed(request: Any, context: Any) -> AsyncIterator[Any]:
            self._streams += 1
            try:
                async with aclosing(stream(request, context)) as responses:
                    async for response in responses:
                        yield response
            finally:
                self._streams -= 1

        return streamed

    @contextmanager
    def _traced(self, context: Any, name: str) -> Iterator[None]:
        span = self._begin(context, name)
        if span is None:
            yield
            return
        try:
            with self._tracing.current(span):
                yield
        except grpc.aio.AbortError:
            self._tracing.fail(span, f"{_code(context)}: {context.details()}")
            raise
        finally:
            span.set_attribute("rpc.response.status_code", _code(context))
            span.end()

    def _begin(self, context: Any, name: str) -> Span | None:
        if not self._tracing.on:
            return None
        header = next(
            (value for key, value in context.invocation_metadata() or () if key == "traceparent"),
            None,
        )
        parent = context_from(header) if isinstance(header, str) else None
        if parent is None and (header is not None or not self._tracing.chosen()):
            return None
        attributes = {"rpc.system.name": "grpc", "rpc.method": name}
        return self._tracing.begin(name, parent, attributes, kind=SpanKind.SERVER)


def _code(context: Any) -> str:
    """In the words of gRPC; a call that was cut off before it was answered is CANCELLED."""
    code = context.code()
    if isinstance(code, grpc.StatusCode):
        return code.name
    if code:
        return next((each.name for each in grpc.StatusCode if each.value[0] == code), "UNKNOWN")
    return "CANCELLED" if context.cancelled() else "OK"
