"""`loadstar why`: why a connector draws what it draws, now or at a moment that is past."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from controlplane.cli.connection import (
    CALL_TIMEOUT_S,
    DEFAULT_ADDRESS,
    Address,
    Json,
    connected,
    instant,
)
from controlplane.cli.output import amperes, moment, print_json, table

if TYPE_CHECKING:
    from controlplane.api.v1 import sites_pb2

__all__ = ["why"]


def why(
    connector: Annotated[
        str,
        typer.Argument(
            metavar="CONNECTOR", help="`CHARGER` or, where it has several connectors, `CHARGER/1`."
        ),
    ],
    at: Annotated[
        str | None, typer.Option("--at", help="A moment that is past, RFC 3339; now by default.")
    ] = None,
    last: Annotated[
        int, typer.Option(help="How many of the latest limits to show.", min=1, max=1_000)
    ] = 10,
    address: Address = DEFAULT_ADDRESS,
    as_json: Json = False,
) -> None:
    """Say why a connector draws what it draws.

    First what it may draw and the reason; then everything that bounds it, tightest first, with a
    mark at what stopped the last round; whom it shares the binding circuit with; and the limits it
    was given, each with its reason at the time. With --at: the limits up to that moment.

    \b
    loadstar why DEPOT-1
    loadstar why DEPOT-1/2 --at 2026-05-01T17:30:00+02:00
    """
    from controlplane.api.v1 import sites_pb2, sites_pb2_grpc

    charger_id, connector_id = _named(connector)
    with connected(address) as channel:
        request = sites_pb2.ExplainConnectorRequest(
            charger_id=charger_id,
            connector_id=connector_id,
            time=instant("--at", at),
            decision_count=last,
        )
        found = sites_pb2_grpc.SitesServiceStub(channel).ExplainConnector(
            request, timeout=CALL_TIMEOUT_S
        )
    if as_json:
        print_json(found)
    else:
        _show(found, connector)


def _named(connector: str) -> tuple[str, int]:
    charger_id, _, number = connector.partition("/")
    if not charger_id or (number and not number.isdecimal()):
        raise typer.BadParameter(f"{connector!r} is not CHARGER or CHARGER/NUMBER")
    return charger_id, int(number or 0)


def _show(found: sites_pb2.ExplainConnectorResponse, connector: str) -> None:
    if found.HasField("allocation"):
        _show_now(found)
    elif not found.decisions:
        typer.echo(f"{connector} had been given no limit by {moment(found, 'time')} UTC.")
        return
    else:
        typer.echo(f"Site {found.site_id}, up to {moment(found, 'time')} UTC")
    table(
        ["Time (UTC)", "#Limit", "#Before", "Session", "Why"],
        (
            [
                moment(decision, "time"),
                amperes(decision.limit_ma),
                amperes(decision.before_ma) if decision.HasField("before_ma") else "",
                decision.session_id,
                decision.reason,
            ]
            for decision in found.decisions
        ),
        title="Limits given, newest first",
    )


def _show_now(found: sites_pb2.ExplainConnectorResponse) -> None:
    allocation = found.allocation
    limit = amperes(allocation.limit_ma) if allocation.HasField("limit_ma") else "unknown"
    draws = amperes(allocation.measured_ma) if allocation.HasField("measured_ma") else "unknown"
    typer.echo(
        f"{allocation.charger_id}/{allocation.connector_id} at site {found.site_id}, "
        f"{moment(found, 'time')} UTC\n"
        f"limit {limit}, draws {draws}, counted {amperes(allocation.liability_ma)}\n"
        f"{allocation.reason}"
    )
    table(
        ["", "#At most", "From", "Because"],
        (
            [">" if factor.binding else "", amperes(factor.limit_ma), factor.subject, factor.words]
            for factor in found.factors
        ),
        title="What bounds it",
    )
    if found.shares:
        table(
            ["Connector", "#Gets", "#Counted", "#Served in tier"],
            (
                [
                    f"{share.charger_id}/{share.connector_id}",
                    amperes(share.target_ma),
                    amperes(share.liability_ma),
                    str(share.tier),
                ]
                for share in found.shares
            ),
            title="Who shares what binds",
        )
