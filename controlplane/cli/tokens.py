"""`loadstar tokens`: who may charge, and where that stops."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

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
from controlplane.cli.output import moment, print_json, table, word

if TYPE_CHECKING:
    import grpc

    from controlplane.api.v1 import tokens_pb2
    from controlplane.api.v1.tokens_pb2_grpc import TokensServiceStub

__all__ = ["app"]

app = typer.Typer(no_args_is_help=True, help="Say who may charge.")

IdTokens = Annotated[list[str], typer.Argument(help="The ids of the tokens, in any case.")]

_AT_ONCE: Final = 10_000
_WRITE_TIMEOUT_S: Final = 60.0
_COLUMNS: Final = frozenset(
    {
        "id_token",
        "type",
        "state",
        "valid_from",
        "valid_until",
        "group_id",
        "driver",
        "concurrent_max",
        "sites",
        "chargers",
        "language",
        "message",
    }
)


@app.command("import")
def import_tokens(
    file: Annotated[Path, typer.Argument(help="CSV with a heading; `-` is standard input.")],
    address: Address = DEFAULT_ADDRESS,
) -> None:
    """Store the tokens of a CSV file, each in the place of what was stored under its id.

    The heading names the columns: `id_token`, and any of `type`, `state`, `valid_from`,
    `valid_until` (RFC 3339), `group_id`, `driver`, `concurrent_max`, `sites`, `chargers` (names
    with blanks between), `language`, `message`. Up to 10,000 rows are stored in one transaction.

    \b
    loadstar tokens import fleet.csv
    """
    from controlplane.api.v1 import tokens_pb2

    tokens = list(_read(file))
    if not tokens:
        fail(f"{file}: no tokens")
    with connected(address) as channel:
        for start in range(0, len(tokens), _AT_ONCE):
            request = tokens_pb2.UpsertTokensRequest(
                tokens=tokens[start : start + _AT_ONCE], request_id=new_request_id()
            )
            _stub(channel).UpsertTokens(request, timeout=_WRITE_TIMEOUT_S)
    typer.echo(f"{len(tokens)} tokens stored")


@app.command("list")
def list_tokens(
    group: Annotated[str, typer.Option(help="Only the tokens of this group.")] = "",
    address: Address = DEFAULT_ADDRESS,
    as_json: Json = False,
) -> None:
    """List tokens.

    \b
    loadstar tokens list
    loadstar tokens list --group FLEET --json | jq '.tokens[].id_token'
    """
    from controlplane.api.v1 import tokens_pb2

    found = tokens_pb2.ListTokensResponse()
    with connected(address) as channel:
        token = ""
        while True:
            page = _stub(channel).ListTokens(
                tokens_pb2.ListTokensRequest(group_id=group, page_size=1_000, page_token=token),
                timeout=CALL_TIMEOUT_S,
            )
            found.tokens.extend(page.tokens)
            token = page.next_page_token
            if not token:
                break
    if as_json:
        print_json(found)
        return
    table(
        ["Token", "Type", "State", "Valid until (UTC)", "Group", "Driver", "#At once", "Where"],
        (
            [
                each.id_token,
                word(tokens_pb2.TokenType, each.type),
                word(tokens_pb2.TokenState, each.state),
                moment(each, "valid_until_time"),
                each.group_id,
                each.driver,
                str(each.concurrent_max) if each.HasField("concurrent_max") else "",
                ", ".join([*each.site_ids, *each.charger_ids]) or "anywhere",
            ]
            for each in found.tokens
        ),
    )


@app.command("block")
def block(id_tokens: IdTokens, address: Address = DEFAULT_ADDRESS) -> None:
    """Accept tokens no more; their running sessions are given no power.

    \b
    loadstar tokens block 04A2B3
    """
    from controlplane.api.v1 import tokens_pb2

    _set_state(id_tokens, tokens_pb2.TOKEN_STATE_BLOCKED, address)


@app.command("unblock")
def unblock(id_tokens: IdTokens, address: Address = DEFAULT_ADDRESS) -> None:
    """Accept tokens again.

    \b
    loadstar tokens unblock 04A2B3
    """
    from controlplane.api.v1 import tokens_pb2

    _set_state(id_tokens, tokens_pb2.TOKEN_STATE_ACCEPTED, address)


@app.command("tariff")
def tariff(
    id_tokens: IdTokens,
    file: Annotated[
        Path | None, typer.Option(help="The tariff as JSON, in the contract's names.")
    ] = None,
    address: Address = DEFAULT_ADDRESS,
) -> None:
    """Have tokens pay by a tariff of their own at 2.1 chargers, or without a file by none.

    It goes out with every authorisation from then on; the form of a tariff is that of `loadstar
    command kinds SetDefaultTariff`.

    \b
    loadstar tokens tariff 04A2B3 04A2B4 --file staff.json
    loadstar tokens tariff 04A2B3
    """
    from google.protobuf.json_format import Parse, ParseError

    from controlplane.api.v1 import tariffs_pb2

    wanted = tariffs_pb2.Tariff()
    if file is not None:
        try:
            Parse(file.read_text(encoding="utf-8"), wanted)
        except (OSError, UnicodeDecodeError, ParseError) as error:
            fail(f"{file}: {error}")

    def change(token: tokens_pb2.Token) -> None:
        token.ClearField("tariff")
        if file is not None:
            token.tariff.CopyFrom(wanted)

    _change(id_tokens, change, address)


@app.command("delete")
def delete(id_tokens: IdTokens, address: Address = DEFAULT_ADDRESS) -> None:
    """Forget tokens.

    \b
    loadstar tokens delete 04A2B3 04A2B4
    """
    from controlplane.api.v1 import tokens_pb2

    with connected(address) as channel:
        request = tokens_pb2.DeleteTokensRequest(id_tokens=id_tokens, request_id=new_request_id())
        _stub(channel).DeleteTokens(request, timeout=_WRITE_TIMEOUT_S)


def _set_state(id_tokens: list[str], state: tokens_pb2.TokenState.ValueType, address: str) -> None:
    def change(token: tokens_pb2.Token) -> None:
        token.state = state

    _change(id_tokens, change, address)


def _change(id_tokens: list[str], change: Callable[[tokens_pb2.Token], None], address: str) -> None:
    """Store tokens that are there already, each with one thing changed."""
    from controlplane.api.v1 import tokens_pb2

    with connected(address) as channel:
        request = tokens_pb2.UpsertTokensRequest(request_id=new_request_id())
        for id_token in id_tokens:
            asked = tokens_pb2.GetTokenRequest(id_token=id_token)
            token = _stub(channel).GetToken(asked, timeout=CALL_TIMEOUT_S).token
            change(token)
            request.tokens.append(token)
        _stub(channel).UpsertTokens(request, timeout=_WRITE_TIMEOUT_S)


def _stub(channel: grpc.Channel) -> TokensServiceStub:
    from controlplane.api.v1 import tokens_pb2_grpc

    return tokens_pb2_grpc.TokensServiceStub(channel)


def _read(file: Path) -> Iterator[tokens_pb2.Token]:
    """The tokens of a file; a fault ends the command and names its line."""
    try:
        text = (
            typer.get_text_stream("stdin").read()
            if str(file) == "-"
            else file.read_text("utf-8-sig")
        )
    except (OSError, UnicodeDecodeError) as error:
        fail(f"{file}: {error}")
    rows = csv.DictReader(text.splitlines())
    columns = {name.strip() for name in rows.fieldnames or ()}
    if "id_token" not in columns:
        fail(f"{file}: the heading has no id_token")
    if unknown := ", ".join(sorted(columns - _COLUMNS)):
        fail(f"{file}: the heading has unknown columns: {unknown}")
    for row in rows:
        values = {
            (name or "").strip(): value.strip()
            for name, value in row.items()
            if isinstance(value, str)
        }
        try:
            yield _token(values)
        except ValueError as error:
            fail(f"{file}, line {rows.line_num}: {error}")


def _token(values: dict[str, str]) -> tokens_pb2.Token:
    """The token of one row.

    Raises:
        ValueError: a value is none of its column.
    """
    from controlplane.api.v1 import tokens_pb2

    token = tokens_pb2.Token(
        id_token=values["id_token"],
        group_id=values.get("group_id", ""),
        driver=values.get("driver", ""),
        site_ids=values.get("sites", "").split(),
        charger_ids=values.get("chargers", "").split(),
        language=values.get("language", ""),
        message=values.get("message", ""),
    )
    if values.get("type"):
        token.type = tokens_pb2.TokenType.Value(f"TOKEN_TYPE_{values['type'].upper()}")
    if values.get("state"):
        token.state = tokens_pb2.TokenState.Value(f"TOKEN_STATE_{values['state'].upper()}")
    if values.get("concurrent_max"):
        token.concurrent_max = int(values["concurrent_max"])
    for column, field in (
        ("valid_from", token.valid_from_time),
        ("valid_until", token.valid_until_time),
    ):
        if values.get(column):
            given = datetime.fromisoformat(values[column])
            field.FromDatetime(given.astimezone(UTC) if given.tzinfo else given)
    return token
