"""The commands of `loadstar` that stand by themselves, and the groups of the others."""

from __future__ import annotations

import inspect
import json
from typing import Annotated

import typer

from controlplane.cli import (
    allocate,
    authority,
    chaos,
    charger_settings,
    cluster,
    command,
    database,
    feeders,
    firmware,
    flexibility,
    grid_events,
    logs,
    meters,
    network,
    openadr,
    plan,
    prices,
    quarantine,
    reservations,
    security,
    sessions,
    sites,
    tokens,
    up,
    what_if,
    why,
    workloads,
)
from controlplane.cli.connection import (
    CALL_TIMEOUT_S,
    DEFAULT_ADDRESS,
    Address,
    Json,
    connected,
)
from controlplane.cli.output import echo_json, moment, plain, table

__all__ = ["app"]

app = typer.Typer(
    name="loadstar",
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_show_locals=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Loadstar, the control plane for electric-vehicle charging networks.\n\n"
    "[bold]loadstar demo[/bold] shows it at work; [bold]loadstar up[/bold] runs it; the others "
    "talk to one that runs.",
)
app.command("up", rich_help_panel="Run")(up.up)
app.command("demo", rich_help_panel="Run")(workloads.demo)
app.command("members", rich_help_panel="Run")(cluster.members)
app.command("roll", rich_help_panel="Run")(cluster.roll)
app.command("drain", rich_help_panel="Run")(cluster.drain)
app.add_typer(charger_settings.app, name="chargers", rich_help_panel="Operate")
app.add_typer(command.app, name="command", rich_help_panel="Operate")
app.add_typer(sites.app, name="sites", rich_help_panel="Operate")
app.add_typer(sessions.app, name="sessions", rich_help_panel="Operate")
app.add_typer(quarantine.app, name="quarantine", rich_help_panel="Operate")
app.add_typer(tokens.app, name="tokens", rich_help_panel="Operate")
app.add_typer(reservations.app, name="reservations", rich_help_panel="Operate")
app.add_typer(feeders.app, name="feeders", rich_help_panel="Operate")
app.add_typer(grid_events.app, name="grid-events", rich_help_panel="Operate")
app.add_typer(prices.app, name="prices", rich_help_panel="Operate")
app.add_typer(flexibility.app, name="flexibility", rich_help_panel="Operate")
app.add_typer(firmware.app, name="firmware", rich_help_panel="Operate")
app.add_typer(logs.app, name="logs", rich_help_panel="Operate")
app.add_typer(network.app, name="network", rich_help_panel="Operate")
app.add_typer(security.app, name="security", rich_help_panel="Operate")
app.add_typer(database.app, name="database", rich_help_panel="Operate")
app.add_typer(authority.app, name="ca", rich_help_panel="Operate")
app.command("openadr", rich_help_panel="Connect")(openadr.openadr)
app.add_typer(meters.app, name="meters", rich_help_panel="Connect")
app.command("plan", rich_help_panel="Operate")(plan.plan)
app.command("what-if", rich_help_panel="Operate")(what_if.what_if)
app.command("why", rich_help_panel="Operate")(why.why)
app.command("allocate", rich_help_panel="Measure")(allocate.allocate)
app.add_typer(workloads.bench, name="bench", rich_help_panel="Measure")
app.add_typer(workloads.simulate, name="sim", rich_help_panel="Measure")
app.command("chaos", rich_help_panel="Measure")(chaos.chaos)


@app.command("version", rich_help_panel="Operate")
def version() -> None:
    """Print the version of this program."""
    import controlplane

    typer.echo(controlplane.__version__)


@app.command("status", rich_help_panel="Operate")
def status(address: Address = DEFAULT_ADDRESS, as_json: Json = False) -> None:
    """Say whether Loadstar serves, since when, and how much of everything there is.

    \b
    loadstar status
    loadstar status --address loadstar.example:9090 --json
    """
    from grpc_health.v1 import health_pb2, health_pb2_grpc

    from controlplane.api.v1 import system_pb2, system_pb2_grpc

    with connected(address) as channel:
        health = health_pb2_grpc.HealthStub(channel).Check(
            health_pb2.HealthCheckRequest(), timeout=CALL_TIMEOUT_S
        )
        found = system_pb2_grpc.SystemServiceStub(channel).GetStatus(
            system_pb2.GetStatusRequest(), timeout=CALL_TIMEOUT_S
        )
    serving = health.status == health_pb2.HealthCheckResponse.SERVING
    if as_json:
        typer.echo(json.dumps({"serving": serving, **plain(found)}, indent=2))
    else:
        table(
            ["Loadstar", found.version],
            [
                ["Serving", "yes" if serving else "no"],
                ["Since (UTC)", moment(found, "start_time")],
                ["Clock (UTC)", moment(found, "time")],
                *([["Clock speed", f"{found.clock_speed:g}"]] if found.clock_speed != 1 else []),
                ["Feeders", str(found.feeder_count)],
                ["Sites", str(found.site_count)],
                ["Chargers", str(found.charger_count)],
                ["Running sessions", str(found.active_session_count)],
                ["Journal", f"{found.journal_cursor} events"],
            ],
        )
    if not serving:
        raise typer.Exit(1)


@app.command("events", rich_help_panel="Operate")
def events(
    after: Annotated[
        int | None, typer.Option(help="Begin after this cursor; 0 is the very beginning.", min=0)
    ] = None,
    kind: Annotated[
        list[str] | None, typer.Option(help="Only this kind; `session.*` for all of a sort.")
    ] = None,
    subject: Annotated[str, typer.Option(help="Only the charger, site or feeder of this id.")] = "",
    address: Address = DEFAULT_ADDRESS,
    as_json: Json = False,
) -> None:
    """Print what happens, from now on or after a cursor, until Ctrl-C.

    \b
    loadstar events
    loadstar events --after 0 --kind 'session.*' --json
    """
    from controlplane.api.v1 import journal_pb2, journal_pb2_grpc

    with connected(address) as channel:
        request = journal_pb2.WatchEventsRequest(
            after_cursor=after,
            filter=journal_pb2.EventFilter(kinds=kind or [], actor_id=subject),
        )
        for told in journal_pb2_grpc.JournalServiceStub(channel).WatchEvents(request):
            if as_json:
                echo_json(told.event)
                continue
            event = told.event
            data = json.dumps(plain(event)["data"], ensure_ascii=False)
            typer.echo(
                f"{event.cursor:>8} {moment(event, 'time')} {event.kind:28} {event.actor_id} {data}"
            )


def _unwrapped(text: str) -> str:
    """A docstring with each paragraph on one line, so that a terminal folds it where it must;
    paragraphs of examples, which begin with a backspace, stay as they are."""
    return "\n\n".join(
        paragraph if paragraph.startswith("\b") else " ".join(paragraph.split())
        for paragraph in inspect.cleandoc(text).split("\n\n")
    )


for _group in (app, *(group.typer_instance for group in app.registered_groups)):
    for _command in _group.registered_commands if _group else ():
        if _command.callback and _command.callback.__doc__:
            _command.help = _unwrapped(_command.callback.__doc__)
