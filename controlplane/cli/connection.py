"""How commands reach a running Loadstar, and what they say when they cannot.

Every command that needs one is an ordinary gRPC client: what it does, any other program can do."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any, NoReturn
from uuid import uuid4

import typer

if TYPE_CHECKING:
    import grpc
    from google.protobuf.timestamp_pb2 import Timestamp

__all__ = [
    "DEFAULT_ADDRESS",
    "POWER_MAX_KW",
    "Address",
    "Json",
    "connected",
    "fail",
    "instant",
    "new_request_id",
]

DEFAULT_ADDRESS = "127.0.0.1:9090"
CALL_TIMEOUT_S = 30.0
POWER_MAX_KW = 1e9
"""More than any service takes."""
_MESSAGE_MAX_BYTES = 64 * 1024 * 1024

Address = Annotated[
    str,
    typer.Option(
        "--address",
        envvar="LOADSTAR_ADDRESS",
        help="Where Loadstar listens for gRPC.",
        metavar="HOST:PORT",
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]


def fail(message: str) -> NoReturn:
    """Say why on standard error and end with status 1."""
    typer.secho(message, err=True, fg="red")
    raise typer.Exit(1)


def new_request_id() -> str:
    """One per invocation: gRPC may send a request again, Loadstar does it once."""
    return str(uuid4())


def instant(option: str, text: str | None) -> Timestamp | None:
    """The instant of an RFC 3339 option, such as `2026-05-01T18:00:00+02:00`; without a zone it is
    UTC."""
    from google.protobuf.timestamp_pb2 import Timestamp

    if text is None:
        return None
    try:
        given = datetime.fromisoformat(text)
    except ValueError:
        raise typer.BadParameter(
            f"{text!r} is not an instant such as 2026-05-01T18:00:00Z", param_hint=option
        ) from None
    stamp = Timestamp()
    stamp.FromDatetime(given.astimezone(UTC) if given.tzinfo else given)
    return stamp


@contextmanager
def connected(address: str) -> Iterator[grpc.Channel]:
    """A channel to Loadstar; an error of a call ends the command with a message a person can act
    on, and Ctrl-C ends it quietly."""
    import grpc

    options = [
        ("grpc.max_receive_message_length", _MESSAGE_MAX_BYTES),
        ("grpc.max_send_message_length", _MESSAGE_MAX_BYTES),
    ]
    with grpc.insecure_channel(address, options=options) as channel:
        try:
            yield channel
        except grpc.RpcError as error:
            fail(_explained(error, address))
        except KeyboardInterrupt:
            raise typer.Exit(130) from None


def _explained(error: Any, address: str) -> str:
    import grpc
    from google.rpc import error_details_pb2
    from grpc_status import rpc_status

    status = rpc_status.from_call(error)
    if status is None:
        if error.code() is grpc.StatusCode.UNAVAILABLE:
            return (
                f"Nobody answers for gRPC at {address}.\n"
                "Start Loadstar with `loadstar up`, or say where it listens with --address or "
                "LOADSTAR_ADDRESS."
            )
        if error.code() is grpc.StatusCode.DEADLINE_EXCEEDED:
            return f"Loadstar at {address} gave no answer in time; what was asked may still happen."
        return f"{error.code().name}: {error.details()}"
    for detail in status.details:
        refused = error_details_pb2.BadRequest()
        if detail.Unpack(refused) and refused.field_violations:
            return "\n".join(
                ["Loadstar refused the request:"]
                + [f"  {fault.field}: {fault.description}" for fault in refused.field_violations]
            )
    return str(status.message)
