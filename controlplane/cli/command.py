"""`loadstar command`: what chargers were told and are to be told, one by one."""

from __future__ import annotations

import json
import pkgutil
from importlib import import_module
from typing import TYPE_CHECKING, Annotated, Any

import typer

from controlplane.cli.connection import (
    CALL_TIMEOUT_S,
    DEFAULT_ADDRESS,
    Address,
    Json,
    connected,
    fail,
    new_request_id,
)
from controlplane.cli.output import echo_json, moment, print_json, table, word

if TYPE_CHECKING:
    import grpc

    from controlplane.api.v1 import commands_pb2
    from controlplane.api.v1.commands_pb2_grpc import CommandsServiceStub

__all__ = ["app"]

app = typer.Typer(
    no_args_is_help=True, help="What chargers are told, one by one: watch it, take it back."
)

CommandId = Annotated[str, typer.Argument(help="The command's id, as it was given.")]


@app.command("create")
def create(
    kind: Annotated[str, typer.Argument(help="A method that is a command: UnlockConnector.")],
    request: Annotated[str, typer.Argument(help="Its request as JSON, in the contract's names.")],
    request_id: Annotated[
        str, typer.Option(help="The same id again is the same command; new unless given.")
    ] = "",
    address: Address = DEFAULT_ADDRESS,
    as_json: Json = False,
) -> None:
    """Have a command taken in, and do not wait for the charger.

    \b
    loadstar command create UnlockConnector '{"charger_id": "CP-1", "connector_id": 1}'
    """
    from google.protobuf.json_format import ParseDict, ParseError

    from controlplane.api.v1 import commands_pb2

    wanted = _request_message(kind)
    try:
        fields = {"request_id": request_id or new_request_id()} | json.loads(request)
        if "request_id" not in wanted.DESCRIPTOR.fields_by_name:
            fields.pop("request_id")
        ParseDict(fields, wanted)
    except (ParseError, TypeError, ValueError) as error:
        raise typer.BadParameter(str(error), param_hint="REQUEST") from None
    with connected(address) as channel:
        create = commands_pb2.CreateCommandRequest()
        create.request.Pack(wanted)
        taken = _stub(channel).CreateCommand(create, timeout=CALL_TIMEOUT_S).command
    if as_json:
        print_json(taken)
    else:
        _show([taken])


@app.command("list")
def list_commands(
    charger: Annotated[str, typer.Option(help="Only of this charger.")] = "",
    open_only: Annotated[bool, typer.Option("--open", help="Only what has not ended.")] = False,
    limit: Annotated[int, typer.Option(help="How many at most.", min=1, max=1_000)] = 100,
    address: Address = DEFAULT_ADDRESS,
    as_json: Json = False,
) -> None:
    """List commands, newest first.

    \b
    loadstar command list --charger CP-1
    loadstar command list --open --json
    """
    from controlplane.api.v1 import commands_pb2

    with connected(address) as channel:
        request = commands_pb2.ListCommandsRequest(
            charger_id=charger, open_only=open_only, page_size=limit
        )
        found = _stub(channel).ListCommands(request, timeout=CALL_TIMEOUT_S)
    if as_json:
        print_json(found)
    else:
        _show(list(found.commands))


@app.command("show")
def show(command_id: CommandId, address: Address = DEFAULT_ADDRESS, as_json: Json = False) -> None:
    """Show one command with its request and what became of it.

    \b
    loadstar command show 5dbad624ba4b4f222899d0152b6309c8
    """
    from controlplane.api.v1 import commands_pb2

    with connected(address) as channel:
        request = commands_pb2.GetCommandRequest(command_id=command_id)
        found = _stub(channel).GetCommand(request, timeout=CALL_TIMEOUT_S).command
    if as_json:
        _load_messages()
        print_json(found)
    else:
        _show_one(found)


@app.command("watch")
def watch(
    command_id: Annotated[
        str, typer.Argument(help="The command's id; all that are under way unless given.")
    ] = "",
    charger: Annotated[str, typer.Option(help="Only of this charger.")] = "",
    address: Address = DEFAULT_ADDRESS,
    as_json: Json = False,
) -> None:
    """Follow a command to its end, or all of them until Ctrl-C.

    \b
    loadstar command watch 5dbad624ba4b4f222899d0152b6309c8
    loadstar command watch --charger CP-1 --json
    """
    from controlplane.api.v1 import commands_pb2

    _load_messages()
    with connected(address) as channel:
        request = commands_pb2.WatchCommandsRequest(command_id=command_id, charger_id=charger)
        for told in _stub(channel).WatchCommands(request):
            if as_json:
                echo_json(told.command)
            else:
                typer.echo("  ".join(_cells(told.command)).rstrip())


@app.command("cancel")
def cancel(
    command_id: CommandId, address: Address = DEFAULT_ADDRESS, as_json: Json = False
) -> None:
    """Take back a command that the charger was not told of.

    \b
    loadstar command cancel 5dbad624ba4b4f222899d0152b6309c8
    """
    from controlplane.api.v1 import commands_pb2

    with connected(address) as channel:
        request = commands_pb2.CancelCommandRequest(command_id=command_id)
        found = _stub(channel).CancelCommand(request, timeout=CALL_TIMEOUT_S).command
    if as_json:
        print_json(found)
    else:
        _show([found])


def _stub(channel: grpc.Channel) -> CommandsServiceStub:
    from controlplane.api.v1 import commands_pb2_grpc

    return commands_pb2_grpc.CommandsServiceStub(channel)


def _load_messages() -> list[Any]:
    """Every module of the contract, so that requests and responses can be read."""
    from controlplane.api import v1

    return [
        import_module(f"{v1.__name__}.{found.name}")
        for found in pkgutil.iter_modules(v1.__path__)
        if found.name.endswith("_pb2")
    ]


def _request_message(kind: str) -> Any:
    named = (getattr(module, f"{kind}Request", None) for module in _load_messages())
    found = next((each for each in named if each is not None), None)
    if found is None or "timeout_s" not in found.DESCRIPTOR.fields_by_name:
        fail(f"{kind} tells no charger anything: name a method such as RemoteStart")
    return found()


def _kind(command: commands_pb2.Command) -> str:
    return command.request_type.rpartition(".")[2].removesuffix("Request")


def _what(command: commands_pb2.Command) -> str:
    """What became of it, in a word."""
    from controlplane.api.v1 import chargers_pb2

    if command.HasField("error"):
        return command.error.reason
    if not command.HasField("outcome"):
        return ""
    outcome = command.outcome
    return outcome.status or outcome.error_code or word(chargers_pb2.CommandState, outcome.state)


def _cells(command: commands_pb2.Command) -> list[str]:
    from controlplane.api.v1 import commands_pb2

    return [
        command.command_id,
        command.charger_id,
        _kind(command),
        word(commands_pb2.CommandStage, command.stage),
        moment(command, "create_time"),
        moment(command, "end_time"),
        _what(command),
    ]


def _show(commands: list[commands_pb2.Command]) -> None:
    table(
        ["Command", "Charger", "What", "Stage", "Since (UTC)", "Ended (UTC)", "Outcome"],
        map(_cells, commands),
    )


def _show_one(command: commands_pb2.Command) -> None:
    from controlplane.api.v1 import commands_pb2

    rows = [
        ["charger", command.charger_id],
        ["request id", command.request_id],
        ["stage", word(commands_pb2.CommandStage, command.stage)],
        ["told", f"{command.attempts_count} times" if command.attempts_count > 1 else ""],
        ["taken in (UTC)", moment(command, "create_time")],
        ["sent", moment(command, "send_time")],
        ["ended", moment(command, "end_time")],
        ["at the latest", moment(command, "expire_time")],
        ["outcome", _what(command)],
        ["because", command.error.message],
        ["the charger's words", command.outcome.payload_json],
    ]
    title = f"{_kind(command)} {command.command_id}"
    table(["", ""], [row for row in rows if row[1]], title=title)
