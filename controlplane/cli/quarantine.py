"""`loadstar quarantine`: what could not be believed, and what becomes of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from controlplane.cli.connection import (
    CALL_TIMEOUT_S,
    DEFAULT_ADDRESS,
    Address,
    Json,
    connected,
    new_request_id,
)
from controlplane.cli.output import energy, moment, plain, print_json, table, word

if TYPE_CHECKING:
    import grpc

    from controlplane.api.v1 import quarantine_pb2
    from controlplane.api.v1.quarantine_pb2_grpc import QuarantineServiceStub

__all__ = ["app"]

app = typer.Typer(
    no_args_is_help=True, help="See what stations said that was not believed, and decide about it."
)

EntryId = Annotated[str, typer.Argument(help="The entry's id.")]
Note = Annotated[str, typer.Option(help="Why, for those who read it later.")]


@app.command("list")
def list_quarantine(
    charger: Annotated[str, typer.Option(help="Only of this charger.")] = "",
    session: Annotated[str, typer.Option(help="Only of this session.")] = "",
    every: Annotated[
        bool, typer.Option("--all", help="Also those that were decided about.")
    ] = False,
    count: Annotated[int, typer.Option(help="How many at most.", min=1, max=100_000)] = 50,
    address: Address = DEFAULT_ADDRESS,
    as_json: Json = False,
) -> None:
    """List what is held, newest first.

    \b
    loadstar quarantine list
    loadstar quarantine list --charger CP7 --all --json
    """
    from controlplane.api.v1 import quarantine_pb2

    found = quarantine_pb2.ListQuarantineResponse()
    state = (
        quarantine_pb2.QUARANTINE_STATE_UNSPECIFIED
        if every
        else quarantine_pb2.QUARANTINE_STATE_OPEN
    )
    with connected(address) as channel:
        token = ""
        while len(found.entries) < count:
            request = quarantine_pb2.ListQuarantineRequest(
                charger_id=charger,
                session_id=session,
                state=state,
                page_size=min(count - len(found.entries), 1_000),
                page_token=token,
            )
            page = _stub(channel).ListQuarantine(request, timeout=CALL_TIMEOUT_S)
            found.entries.extend(page.entries)
            token = page.next_page_token
            if not token:
                break
    if as_json:
        print_json(found)
        return
    table(
        ["#Entry", "Charger", "Received (UTC)", "Reason", "Action", "Session", "State", "Facts"],
        (
            [
                entry.quarantine_id,
                entry.charger_id,
                moment(entry, "receive_time"),
                entry.reason,
                entry.action,
                entry.session_id,
                word(quarantine_pb2.QuarantineState, entry.state),
                _facts(entry),
            ]
            for entry in found.entries
        ),
    )


@app.command("release")
def release(
    quarantine_id: EntryId,
    session: Annotated[
        str, typer.Option(help="In which session it counts; the entry's own if left away.")
    ] = "",
    energy_kwh: Annotated[
        float | None,
        typer.Option("--energy", help="What the session delivered in total, in kWh.", min=0),
    ] = None,
    note: Note = "",
    address: Address = DEFAULT_ADDRESS,
    as_json: Json = False,
) -> None:
    """Let an entry count: a stop ends its session, a register's step is added to its energy.

    \b
    loadstar quarantine release 12
    loadstar quarantine release 13 --session CP7-4 --note 'read on site'
    loadstar quarantine release 14 --energy 21.7
    """
    from controlplane.api.v1 import quarantine_pb2

    with connected(address) as channel:
        request = quarantine_pb2.ReleaseQuarantinedRequest(
            quarantine_id=quarantine_id,
            session_id=session,
            energy_wh=None if energy_kwh is None else round(energy_kwh * 1_000),
            note=note,
            request_id=new_request_id(),
        )
        released = _stub(channel).ReleaseQuarantined(request, timeout=CALL_TIMEOUT_S)
    if as_json:
        print_json(released)
    else:
        typer.echo(
            f"Entry {quarantine_id} counts in session {released.session.session_id}: "
            f"{energy(released.session.energy_wh)}."
        )


@app.command("dismiss")
def dismiss(
    quarantine_id: EntryId,
    note: Note = "",
    address: Address = DEFAULT_ADDRESS,
    as_json: Json = False,
) -> None:
    """Let an entry count for nothing.

    \b
    loadstar quarantine dismiss 12 --note 'test bench'
    """
    from controlplane.api.v1 import quarantine_pb2

    with connected(address) as channel:
        request = quarantine_pb2.DismissQuarantinedRequest(
            quarantine_id=quarantine_id, note=note, request_id=new_request_id()
        )
        dismissed = _stub(channel).DismissQuarantined(request, timeout=CALL_TIMEOUT_S)
    if as_json:
        print_json(dismissed)
    else:
        typer.echo(f"Entry {quarantine_id} is dismissed.")


def _facts(entry: quarantine_pb2.QuarantinedEntry) -> str:
    facts = plain(entry)["facts"]
    return " ".join(f"{name}={value}" for name, value in facts.items() if name != "session_id")


def _stub(channel: grpc.Channel) -> QuarantineServiceStub:
    from controlplane.api.v1 import quarantine_pb2_grpc

    return quarantine_pb2_grpc.QuarantineServiceStub(channel)
