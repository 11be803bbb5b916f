"""`loadstar chargers`: see what chargers do. What they are told stands in `charger_commands.py`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from controlplane.cli.connection import (
    CALL_TIMEOUT_S,
    DEFAULT_ADDRESS,
    Address,
    Json,
    connected,
    fail,
)
from controlplane.cli.output import amperes, echo_json, energy, moment, print_json, table, word

if TYPE_CHECKING:
    import grpc

    from controlplane.api.v1 import chargers_pb2
    from controlplane.api.v1.chargers_pb2_grpc import ChargersServiceStub

__all__ = ["ChargerId", "app", "charger_stub"]

app = typer.Typer(no_args_is_help=True, help="See what chargers do, and tell them what to do.")

ChargerId = Annotated[str, typer.Argument(help="The charger's identity, as in its WebSocket URL.")]


@app.command("list")
def list_chargers(
    site: Annotated[str, typer.Option(help="Only the chargers of this site.")] = "",
    address: Address = DEFAULT_ADDRESS,
    as_json: Json = False,
) -> None:
    """List chargers with their connectors.

    \b
    loadstar chargers list
    loadstar chargers list --site depot --json | jq '.chargers[].charger_id'
    """
    from controlplane.api.v1 import chargers_pb2

    found = chargers_pb2.ListChargersResponse()
    with connected(address) as channel:
        token = ""
        while True:
            page = charger_stub(channel).ListChargers(
                chargers_pb2.ListChargersRequest(site_id=site, page_size=500, page_token=token),
                timeout=CALL_TIMEOUT_S,
            )
            found.chargers.extend(page.chargers)
            token = page.next_page_token
            if not token:
                break
    if as_json:
        print_json(found)
        return
    table(
        ["Charger", "Site", "Presence", "OCPP", "Model", "Connectors"],
        (
            [
                charger.charger_id,
                charger.site_id,
                word(chargers_pb2.ChargerPresence, charger.presence),
                charger.ocpp_version.removeprefix("ocpp"),
                f"{charger.vendor} {charger.model}".strip(),
                ", ".join(_connector_line(connector) for connector in charger.connectors),
            ]
            for charger in found.chargers
        ),
    )


@app.command("get")
def get_charger(
    charger_id: ChargerId, address: Address = DEFAULT_ADDRESS, as_json: Json = False
) -> None:
    """Show one charger.

    \b
    loadstar chargers get CP-1
    """
    from controlplane.api.v1 import chargers_pb2

    with connected(address) as channel:
        charger = (
            charger_stub(channel)
            .GetCharger(
                chargers_pb2.GetChargerRequest(charger_id=charger_id), timeout=CALL_TIMEOUT_S
            )
            .charger
        )
    if as_json:
        print_json(charger)
        return
    table(
        ["Charger", charger.charger_id],
        [
            ["Site", charger.site_id],
            ["Presence", word(chargers_pb2.ChargerPresence, charger.presence)],
            ["OCPP", charger.ocpp_version],
            ["Model", f"{charger.vendor} {charger.model}".strip()],
            ["Firmware", charger.firmware],
            ["Serial number", charger.serial_number],
            ["Last seen (UTC)", moment(charger, "last_seen_time")],
        ],
    )
    table(
        ["#Connector", "Status", "#Limit", "Limited by others", "#Power", "#Energy", "Session"],
        (
            [
                str(connector.connector_id),
                word(chargers_pb2.ConnectorStatus, connector.status),
                amperes(connector.limit_ma) if connector.HasField("limit_ma") else "unknown",
                _external_limit(connector),
                f"{connector.power_w} W" if connector.HasField("power_w") else "",
                energy(connector.energy_wh) if connector.session_id else "",
                connector.session_id,
            ]
            for connector in charger.connectors
        ),
    )


@app.command("watch")
def watch_chargers(
    charger_ids: Annotated[
        list[str] | None, typer.Argument(help="Only these chargers; all where none is named.")
    ] = None,
    site: Annotated[str, typer.Option(help="Only the chargers of this site.")] = "",
    interval_s: Annotated[
        float, typer.Option("--interval", help="Also every so many seconds, as measured.", min=0)
    ] = 0.0,
    address: Address = DEFAULT_ADDRESS,
    as_json: Json = False,
) -> None:
    """Print a line for each charger, and another whenever something happens to it, until Ctrl-C.

    \b
    loadstar chargers watch
    loadstar chargers watch --site depot --interval 5
    loadstar chargers watch CP-1 CP-2 --json
    """
    from controlplane.api.v1 import chargers_pb2

    with connected(address) as channel:
        request = chargers_pb2.WatchChargersRequest(
            charger_ids=charger_ids or [], site_id=site, interval_s=interval_s
        )
        for told in charger_stub(channel).WatchChargers(request):
            if as_json:
                echo_json(told)
                continue
            charger = told.charger
            typer.echo(
                f"{charger.charger_id:20} "
                f"{word(chargers_pb2.ChargerPresence, charger.presence):8} "
                f"{told.event_kind:24} "
                + ", ".join(_connector_line(connector) for connector in charger.connectors)
            )


@app.command("password")
def password(
    generate: Annotated[
        bool, typer.Option("--generate", help="Make one up (40 hexadecimal digits) and print it.")
    ] = False,
) -> None:
    """Hash a charger's password for `password_hash` in the network description.

    It is asked for twice and not shown; with --generate it is made up. OCPP security profile 1
    wants 16 to 40 characters.

    \b
    loadstar chargers password
    loadstar chargers password --generate
    """
    import secrets

    from argon2 import PasswordHasher

    if generate:
        given = secrets.token_hex(20)
        typer.echo(f"password: {given}")
    else:
        given = typer.prompt("Password", hide_input=True, confirmation_prompt=True)
        if not 16 <= len(given) <= 40:
            fail("A charger's password has 16 to 40 characters.")
    typer.echo(f"password_hash: {PasswordHasher().hash(given)}")


def charger_stub(channel: grpc.Channel) -> ChargersServiceStub:
    from controlplane.api.v1 import chargers_pb2_grpc

    return chargers_pb2_grpc.ChargersServiceStub(channel)


def _external_limit(connector: chargers_pb2.Connector) -> str:
    source = connector.external_limit_source
    if connector.HasField("external_limit_ma"):
        return f"{source} to {amperes(connector.external_limit_ma)}"
    return source


def _connector_line(connector: chargers_pb2.Connector) -> str:
    from controlplane.api.v1 import chargers_pb2

    status = word(chargers_pb2.ConnectorStatus, connector.status) or "unknown"
    line = f"{connector.connector_id} {status}"
    if connector.session_id and connector.HasField("power_w"):
        line += f" {connector.power_w / 1_000:.1f} kW"
    if connector.session_id and connector.HasField("limit_ma"):
        line += f" of {amperes(connector.limit_ma)}"
    return line
