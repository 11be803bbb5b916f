"""`loadstar command`: what chargers were told and are to be told, one by one."""

from __future__ import annotations

import json
import pkgutil
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

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

_BLANKS: Final[dict[int, Any]] = {1: 0.0, 3: 0, 4: 0, 5: 0, 8: False, 12: "base64", 13: 0}
"""What stands for a number, by the kind of field (`FieldDescriptorProto.Type`)."""

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
    wanted = _wanted(kind, request, request_id=request_id)
    with connected(address) as channel:
        taken = _created(channel, wanted)
    if as_json:
        print_json(taken)
    else:
        _show([taken])


@app.command("send")
def send(
    charger: Annotated[str, typer.Argument(help="The charger's id.")],
    kind: Annotated[str, typer.Argument(help="Any of `loadstar command kinds`: SetDefaultTariff.")],
    request: Annotated[
        str,
        typer.Argument(
            help="The rest of its request as JSON; `@FILE` reads a file, `-` the input."
        ),
    ] = "{}",
    address: Address = DEFAULT_ADDRESS,
    as_json: Json = False,
) -> None:
    """Tell a charger anything that it can be told, and wait for what it says.

    Ends with status 1 where the charger did not accept it.

    \b
    loadstar command send CP-1 UnlockConnector '{"connector_id": 1}'
    loadstar command send CP-2 SetDefaultTariff @tariff.json --json
    loadstar command kinds SetDefaultTariff
    """
    from controlplane.api.v1 import commands_pb2

    wanted = _wanted(kind, _text(request), charger_id=charger)
    with connected(address) as channel:
        taken = _created(channel, wanted)
        watch = commands_pb2.WatchCommandsRequest(command_id=taken.command_id)
        ended = taken
        for told in _stub(channel).WatchCommands(watch):
            ended = told.command
    if as_json:
        print_json(ended)
    else:
        _show_one(ended)
    if ended.stage != commands_pb2.COMMAND_STAGE_ANSWERED:
        raise typer.Exit(1)


@app.command("kinds")
def kinds(
    kind: Annotated[str, typer.Argument(help="Show what this one's request holds.")] = "",
    as_json: Json = False,
) -> None:
    """List everything that chargers can be told, or show a request to fill in.

    \b
    loadstar command kinds
    loadstar command kinds SetDerControl
    """
    if kind:
        typer.echo(json.dumps(_form(_request_message(kind).DESCRIPTOR), indent=2))
        return
    rows = [
        [method.name, method.containing_service.name.removesuffix("Service")]
        for method in sorted(_methods(), key=lambda method: method.full_name)
    ]
    if as_json:
        typer.echo(json.dumps([name for name, _ in rows], indent=2))
    else:
        table(["Command", "Service"], rows)


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


def _methods() -> list[Any]:
    """The methods that are commands, as descriptors: those that give a charger time. A new password
    is made by Loadstar and known to nobody, so that it has a command of its own."""
    return [
        method
        for module in _load_messages()
        for service in module.DESCRIPTOR.services_by_name.values()
        for method in service.methods
        if {"charger_id", "timeout_s"} <= set(method.input_type.fields_by_name)
        and method.name != "RotatePassword"
    ]


def _request_message(kind: str) -> Any:
    from google.protobuf.message_factory import GetMessageClass

    named = (each for each in _methods() if each.name.lower() == kind.lower())
    method = next(named, None)
    if method is None:
        fail(f"{kind} tells no charger anything: `loadstar command kinds` lists what does")
    return GetMessageClass(method.input_type)()


def _wanted(kind: str, request: str, *, charger_id: str = "", request_id: str = "") -> Any:
    """The request of a method, filled in with what is written of it."""
    from google.protobuf.json_format import ParseDict, ParseError

    wanted = _request_message(kind)
    given: dict[str, str] = {"charger_id": charger_id} if charger_id else {}
    if "request_id" in wanted.DESCRIPTOR.fields_by_name:
        given["request_id"] = request_id or new_request_id()
    try:
        ParseDict(given | json.loads(request), wanted)
    except (ParseError, TypeError, ValueError) as error:
        raise typer.BadParameter(str(error), param_hint="REQUEST") from None
    if charger_id and wanted.charger_id != charger_id:
        words = f"it is for charger {wanted.charger_id}, not {charger_id}"
        raise typer.BadParameter(words, param_hint="REQUEST")
    return wanted


def _text(argument: str) -> str:
    """What an argument says, or the file that it names."""
    if argument != "-" and not argument.startswith("@"):
        return argument
    try:
        if argument == "-":
            return str(typer.get_text_stream("stdin").read())
        return Path(argument[1:]).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise typer.BadParameter(str(error), param_hint="REQUEST") from None


def _created(channel: grpc.Channel, wanted: Any) -> commands_pb2.Command:
    from controlplane.api.v1 import commands_pb2

    create = commands_pb2.CreateCommandRequest()
    create.request.Pack(wanted)
    return _stub(channel).CreateCommand(create, timeout=CALL_TIMEOUT_S).command


def _form(message: Any, within: tuple[str, ...] = ()) -> dict[str, Any]:
    """A message's fields, each with what may stand in it."""
    return {
        field.name: _blank(field, (*within, message.full_name))
        for field in message.fields
        if within or field.name not in {"charger_id", "request_id"}
    }


def _blank(field: Any, within: tuple[str, ...]) -> Any:
    blank: Any
    if field.message_type is None:
        blank = (
            " | ".join(value.name for value in field.enum_type.values if value.number)
            if field.enum_type is not None
            else _BLANKS.get(field.type, "text")
        )
    elif field.message_type.full_name == "google.protobuf.Timestamp":
        blank = "2026-05-01T18:00:00Z"
    elif field.message_type.full_name in within:
        blank = {}
    else:
        blank = _form(field.message_type, within)
    return [blank] if field.is_repeated else blank


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
