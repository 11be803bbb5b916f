"""`loadstar logs`: ask chargers for their logs and read what they brought."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from controlplane.cli.connection import (
    CALL_TIMEOUT_S,
    DEFAULT_ADDRESS,
    Address,
    Json,
    connected,
    fail,
    instant,
    new_request_id,
)
from controlplane.cli.output import moment, print_json, table, word

if TYPE_CHECKING:
    import grpc

    from controlplane.api.v1.logs_pb2_grpc import LogsServiceStub

__all__ = ["app"]

app = typer.Typer(no_args_is_help=True, help="Ask chargers for their logs, read what they brought.")

ChargerId = Annotated[str, typer.Argument(help="The charger.")]


@app.command("request")
def request_log(
    charger_id: ChargerId,
    security: Annotated[
        bool, typer.Option("--security", help="Security events instead of diagnostics.")
    ] = False,
    start: Annotated[str | None, typer.Option("--from", help="RFC 3339.")] = None,
    end: Annotated[str | None, typer.Option("--until", help="RFC 3339.")] = None,
    location: Annotated[
        str, typer.Option("--location", help="Bring it there instead of to Loadstar.")
    ] = "",
    address: Address = DEFAULT_ADDRESS,
    as_json: Json = False,
) -> None:
    """Ask a charger for a log; `logs status` says how far it is.

    \b
    loadstar logs request CP1
    loadstar logs request CP1 --security --from 2026-05-01
    """
    from controlplane.api.v1 import chargers_pb2, logs_pb2

    request = logs_pb2.RequestLogRequest(
        charger_id=charger_id,
        kind=logs_pb2.LOG_KIND_SECURITY if security else logs_pb2.LOG_KIND_DIAGNOSTICS,
        start_time=instant("--from", start),
        end_time=instant("--until", end),
        location=location,
        request_id=new_request_id(),
    )
    with connected(address) as channel:
        response = _stub(channel).RequestLog(request, timeout=CALL_TIMEOUT_S + 5)
    if as_json:
        print_json(response)
        return
    said = word(chargers_pb2.CommandState, response.outcome.state)
    typer.echo(f"{said}: {response.name or response.outcome.status}")


@app.command("status")
def status(
    charger_id: ChargerId, address: Address = DEFAULT_ADDRESS, as_json: Json = False
) -> None:
    """Show how far the latest upload of a charger has come.

    \b
    loadstar logs status CP1
    """
    from controlplane.api.v1 import logs_pb2

    with connected(address) as channel:
        response = _stub(channel).GetUpload(
            logs_pb2.GetUploadRequest(charger_id=charger_id), timeout=CALL_TIMEOUT_S
        )
    if as_json:
        print_json(response)
        return
    typer.echo(f"{response.status} since {moment(response, 'changed_time')}")


@app.command("list")
def list_logs(
    charger_id: ChargerId, address: Address = DEFAULT_ADDRESS, as_json: Json = False
) -> None:
    """List the logs that a charger brought, the newest first.

    \b
    loadstar logs list CP1
    """
    from controlplane.api.v1 import logs_pb2

    with connected(address) as channel:
        response = _stub(channel).ListLogs(
            logs_pb2.ListLogsRequest(charger_id=charger_id), timeout=CALL_TIMEOUT_S
        )
    if as_json:
        print_json(response)
        return
    table(
        ["log", "kind", "file", "#bytes", "received", "from"],
        (
            [
                log.log_id,
                word(logs_pb2.LogKind, log.kind),
                log.name,
                f"{log.size_bytes:,}",
                moment(log, "received_time"),
                log.remote,
            ]
            for log in response.logs
        ),
    )


@app.command("read")
def read(
    charger_id: ChargerId,
    log_id: Annotated[str, typer.Argument(help="The log; see `logs list`.")],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="A file; standard output by default.")
    ] = None,
    address: Address = DEFAULT_ADDRESS,
) -> None:
    """Read a log. Ends with status 1 where it is no longer what Loadstar signed when it came.

    \b
    loadstar logs read CP1 1767225600000-17-9f86d081884c -o CP1.log
    """
    from controlplane.api.v1 import logs_pb2

    authentic = True
    request = logs_pb2.ReadLogRequest(charger_id=charger_id, log_id=log_id)
    with connected(address) as channel:
        parts = _stub(channel).ReadLog(request, timeout=CALL_TIMEOUT_S)
        file = sys.stdout.buffer if output is None else output.open("wb")
        try:
            for part in parts:
                if part.HasField("log"):
                    authentic = part.authentic
                file.write(part.content)
        finally:
            file.flush()
            if output is not None:
                file.close()
    if not authentic:
        fail("This log was changed after it came in.")


def _stub(channel: grpc.Channel) -> LogsServiceStub:
    from controlplane.api.v1 import logs_pb2_grpc

    stub: Any = logs_pb2_grpc.LogsServiceStub(channel)
    return stub  # type: ignore[no-any-return]
