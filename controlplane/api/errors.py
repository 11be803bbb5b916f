"""How an error of Loadstar becomes a gRPC status, in one table and one place.

Every status carries `google.rpc.ErrorInfo` with a stable reason; invalid input carries
`BadRequest` with its fields, and what is worth trying again `RetryInfo`. An error that nobody
foresaw is logged whole and told to the caller as INTERNAL without particulars."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from typing import Any, Final, NoReturn

import grpc
import structlog
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from google.rpc import code_pb2, error_details_pb2, status_pb2
from grpc_status import rpc_status

from controlplane.errors import (
    AlreadyExists,
    Exhausted,
    Fenced,
    InvalidInput,
    LoadstarError,
    NotFound,
    Precondition,
    TimedOut,
    Unavailable,
)

__all__ = ["DOMAIN", "ErrorInterceptor", "status_of"]

DOMAIN: Final = "loadstar"

_CODES: Final[dict[type[LoadstarError], int]] = {
    InvalidInput: code_pb2.INVALID_ARGUMENT,
    NotFound: code_pb2.NOT_FOUND,
    AlreadyExists: code_pb2.ALREADY_EXISTS,
    Precondition: code_pb2.FAILED_PRECONDITION,
    Unavailable: code_pb2.UNAVAILABLE,
    TimedOut: code_pb2.DEADLINE_EXCEEDED,
    Exhausted: code_pb2.RESOURCE_EXHAUSTED,
    # The shard has moved and nothing was written: its new owner will serve the same request.
    Fenced: code_pb2.UNAVAILABLE,
}
_RETRY_S: Final[dict[type[LoadstarError], int]] = {Unavailable: 1, Fenced: 1, Exhausted: 5}

_log = structlog.get_logger(__name__)


def status_of(error: LoadstarError) -> Any:
    """The `google.rpc.Status` that tells a caller of `error`."""
    details: list[Message] = [
        error_details_pb2.ErrorInfo(reason=error.reason, domain=DOMAIN, metadata=error.metadata)
    ]
    if isinstance(error, InvalidInput) and error.violations:
        details.append(
            error_details_pb2.BadRequest(
                field_violations=[
                    error_details_pb2.BadRequest.FieldViolation(field=field, description=fault)
                    for field, fault in error.violations
                ]
            )
        )
    retry_s = _RETRY_S.get(type(error))
    if retry_s is not None:
        details.append(error_details_pb2.RetryInfo(retry_delay=Duration(seconds=retry_s)))
    status = status_pb2.Status(
        code=_CODES.get(type(error), code_pb2.INTERNAL), message=error.message
    )
    for detail in details:
        packed = AnyMessage()
        packed.Pack(detail)
        status.details.append(packed)
    return status


class ErrorInterceptor(grpc.aio.ServerInterceptor):  # type: ignore[type-arg]
    """Answers every call whose service raised an error with the status of that error."""

    async def intercept_service(
        self,
        continuation: Callable[
            [grpc.HandlerCallDetails], Awaitable[grpc.RpcMethodHandler[Any, Any]]
        ],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Any:
        handler = await continuation(handler_call_details)
        method = handler_call_details.method
        if handler is None or not method.startswith("/controlplane.api."):
            return handler
        if handler.response_streaming:
            return grpc.unary_stream_rpc_method_handler(
                _streaming(handler.unary_stream, method),
                handler.request_deserializer,
                handler.response_serializer,
            )
        if handler.request_streaming:
            return grpc.stream_unary_rpc_method_handler(
                _answering(handler.stream_unary, method),
                handler.request_deserializer,
                handler.response_serializer,
            )
        return grpc.unary_unary_rpc_method_handler(
            _answering(handler.unary_unary, method),
            handler.request_deserializer,
            handler.response_serializer,
        )


def _answering(answer: Any, method: str) -> Any:
    async def answered(request: Any, context: Any) -> Any:
        try:
            return await answer(request, context)
        except Exception as error:
            await _abort(context, method, error)

    return answered


def _streaming(stream: Any, method: str) -> Any:
    async def streamed(request: Any, context: Any) -> AsyncIterator[Any]:
        try:
            async with aclosing(stream(request, context)) as responses:
                async for response in responses:
                    yield response
        except Exception as error:
            await _abort(context, method, error)

    return streamed


async def _abort(context: Any, method: str, error: Exception) -> NoReturn:
    if isinstance(error, grpc.aio.AbortError):
        raise error
    if not isinstance(error, LoadstarError):
        _log.error("unforeseen_error", method=method, exc_info=error)
        error = LoadstarError("Loadstar failed to answer; its log says why", reason="INTERNAL")
    await context.abort_with_status(rpc_status.to_status(status_of(error)))
    raise AssertionError("abort_with_status raises")
