"""`loadstar grid-events`: ask feeders and sites to draw less, and see what was done."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from controlplane.cli.connection import (
    CALL_TIMEOUT_S,
    DEFAULT_ADDRESS,
    POWER_MAX_KW,
    Address,
    Json,
    connected,
    instant,
    new_request_id,
)
from controlplane.cli.output import echo_json, energy, moment, print_json, table, word

if TYPE_CHECKING:
    import grpc

    from controlplane.api.v1 import grid_pb2
    from controlplane.api.v1.grid_pb2_grpc import GridServiceStub

__all__ = ["app"]

app = typer.Typer(
    no_args_is_help=True, help="Ask feeders and sites to draw less, and see what was done."
)

EventId = Annotated[str, typer.Argument(help="The event's id.")]
Feeder = Annotated[str | None, typer.Option("--feeder", help="A feeder, with all below it.")]
Site = Annotated[str | None, typer.Option("--site", help="A whole site, building included.")]


@app.command("create")
def create(
    feeder: Feeder = None,
    site: Site = None,
    limit_kw: Annotated[
        float | None,
        typer.Option("--limit", help="Draw no more than so many kW.", min=0, max=POWER_MAX_KW),
    ] = None,
    reduce_by_kw: Annotated[
        float | None,
        typer.Option(
            "--reduce-by",
            help="Draw so many kW less than in the 15 min before the start.",
            min=0,
            max=POWER_MAX_KW,
        ),
    ] = None,
    increase_by_kw: Annotated[
        float | None,
        typer.Option(
            "--increase-by",
            help="Draw so many kW more than in the 15 min before the start; of a site.",
            min=0,
            max=POWER_MAX_KW,
        ),
    ] = None,
    baseline_kw: Annotated[
        float | None,
        typer.Option(
            "--baseline",
            help="Count from so many kW, and not from the 15 min before the start.",
            min=-POWER_MAX_KW,
            max=POWER_MAX_KW,
        ),
    ] = None,
    restore: Annotated[
        bool, typer.Option("--restore", help="End what the same source asked before.")
    ] = False,
    start: Annotated[str | None, typer.Option("--from", help="RFC 3339; now by default.")] = None,
    end: Annotated[str | None, typer.Option("--until", help="RFC 3339; open by default.")] = None,
    source: Annotated[str, typer.Option("--source", help="Who asks.")] = "",
    event_id: Annotated[str, typer.Option("--id", help="Made up by default.")] = "",
    address: Address = DEFAULT_ADDRESS,
    as_json: Json = False,
) -> None:
    """Limit a feeder or a site to a power, reduce or increase it by one, or restore it.

    \b
    loadstar grid-events create --feeder north --limit 100
    loadstar grid-events create --site depot --reduce-by 30 --until 2026-05-01T20:00Z
    loadstar grid-events create --site depot --reduce-by 50 --baseline 120
    loadstar grid-events create --site depot --increase-by 20 --until 2026-05-01T14:00Z
    loadstar grid-events create --feeder north --restore
    """
    from controlplane.api.v1 import grid_pb2

    if (feeder is None) == (site is None):
        raise typer.BadParameter("give either --feeder or --site")
    asked = [
        (kind, power_kw)
        for kind, power_kw in (
            (grid_pb2.GRID_EVENT_KIND_LIMIT, limit_kw),
            (grid_pb2.GRID_EVENT_KIND_REDUCE_BY, reduce_by_kw),
            (grid_pb2.GRID_EVENT_KIND_INCREASE_BY, increase_by_kw),
        )
        if power_kw is not None
    ]
    if len(asked) + restore != 1:
        raise typer.BadParameter("give one of --limit, --reduce-by, --increase-by and --restore")
    if restore and baseline_kw is not None:
        raise typer.BadParameter("--restore is counted from nothing")
    kind, power_kw = asked[0] if asked else (grid_pb2.GRID_EVENT_KIND_RESTORE, None)
    event = grid_pb2.GridEvent(
        event_id=event_id,
        kind=kind,
        power_w=None if power_kw is None else int(power_kw * 1_000),
        start_time=instant("--from", start),
        end_time=instant("--until", end),
        source=source,
        **_target(feeder, site),
    )
    with connected(address) as channel:
        request = grid_pb2.CreateGridEventRequest(
            event=event,
            request_id=new_request_id(),
            baseline_w=None if baseline_kw is None else int(baseline_kw * 1_000),
        )
        response = _stub(channel).CreateGridEvent(request, timeout=CALL_TIMEOUT_S)
    if as_json:
        print_json(response.event)
    else:
        _show(response.event)


@app.command("get")
def get(event_id: EventId, address: Address = DEFAULT_ADDRESS, as_json: Json = False) -> None:
    """Show an event: what was asked, what was done, when, and what the meters say.

    \b
    loadstar grid-events get 3f6c2a1e
    """
    from controlplane.api.v1 import grid_pb2

    with connected(address) as channel:
        request = grid_pb2.GetGridEventRequest(event_id=event_id)
        response = _stub(channel).GetGridEvent(request, timeout=CALL_TIMEOUT_S)
    if as_json:
        print_json(response.event)
    else:
        _show(response.event)


@app.command("list")
def list_events(
    feeder: Feeder = None,
    site: Site = None,
    only_open: Annotated[
        bool, typer.Option("--open", help="Only what is to come or in force.")
    ] = False,
    address: Address = DEFAULT_ADDRESS,
    as_json: Json = False,
) -> None:
    """List events, the latest start first; ended ones too.

    \b
    loadstar grid-events list
    loadstar grid-events list --feeder north --open
    """
    from controlplane.api.v1 import grid_pb2

    found = grid_pb2.ListGridEventsResponse()
    with connected(address) as channel:
        token = ""
        while True:
            page = _stub(channel).ListGridEvents(
                grid_pb2.ListGridEventsRequest(
                    open_only=only_open,
                    page_size=1_000,
                    page_token=token,
                    **(_target(feeder, site) if feeder or site else {}),
                ),
                timeout=CALL_TIMEOUT_S,
            )
            found.events.extend(page.events)
            token = page.next_page_token
            if not token:
                break
    if as_json:
        print_json(found)
        return
    table(
        ["Event", "For", "Asked", "From (UTC)", "Until (UTC)", "State", "#Limit", "#Draws"],
        (
            [
                event.event_id,
                _target_words(event),
                _asked(event),
                moment(event, "start_time"),
                moment(event, "end_time"),
                word(grid_pb2.GridEventState, event.state),
                _power(event.response, "limit_w"),
                f"{event.response.measured_w / 1_000:g} kW",
            ]
            for event in found.events
        ),
    )


@app.command("cancel")
def cancel(event_id: EventId, address: Address = DEFAULT_ADDRESS, as_json: Json = False) -> None:
    """Call an event off, or end it early.

    \b
    loadstar grid-events cancel 3f6c2a1e
    """
    from controlplane.api.v1 import grid_pb2

    with connected(address) as channel:
        request = grid_pb2.CancelGridEventRequest(event_id=event_id, request_id=new_request_id())
        response = _stub(channel).CancelGridEvent(request, timeout=CALL_TIMEOUT_S)
    if as_json:
        print_json(response.event)
    else:
        _show(response.event)


@app.command("watch")
def watch(
    feeder: Feeder = None,
    site: Site = None,
    address: Address = DEFAULT_ADDRESS,
    as_json: Json = False,
) -> None:
    """Follow events as they change, until Ctrl-C.

    \b
    loadstar grid-events watch
    loadstar grid-events watch --feeder north --json
    """
    from controlplane.api.v1 import grid_pb2

    with connected(address) as channel:
        request = grid_pb2.WatchGridEventsRequest(
            **(_target(feeder, site) if feeder or site else {})
        )
        for told in _stub(channel).WatchGridEvents(request):
            if as_json:
                echo_json(told)
                continue
            event = told.event
            state = word(grid_pb2.GridEventState, event.state)
            typer.echo(
                f"{event.event_id}  {_target_words(event)}  {_asked(event)}  {state}  "
                f"draws {event.response.measured_w / 1_000:g} kW  {told.event_kind}".rstrip()
            )


def _stub(channel: grpc.Channel) -> GridServiceStub:
    from controlplane.api.v1 import grid_pb2_grpc

    return grid_pb2_grpc.GridServiceStub(channel)


def _target(feeder: str | None, site: str | None) -> dict[str, Any]:
    if feeder is not None and site is not None:
        raise typer.BadParameter("give either --feeder or --site")
    return {"feeder_id": feeder} if feeder is not None else {"site_id": site}


def _target_words(event: grid_pb2.GridEvent) -> str:
    kind = "feeder" if event.WhichOneof("target") == "feeder_id" else "site"
    return f"{kind} {event.feeder_id or event.site_id}"


def _asked(event: grid_pb2.GridEvent) -> str:
    from controlplane.api.v1 import grid_pb2

    asked = word(grid_pb2.GridEventKind, event.kind)
    return f"{asked} {event.power_w / 1_000:g} kW" if event.HasField("power_w") else asked


def _power(
    response: grid_pb2.GridEventResponse, field: Literal["baseline_w", "limit_w", "aim_w"]
) -> str:
    return f"{getattr(response, field) / 1_000:g} kW" if response.HasField(field) else ""


def _show(event: grid_pb2.GridEvent) -> None:
    from controlplane.api.v1 import grid_pb2

    response = event.response
    rows = [
        ["asked", _asked(event)],
        ["by", event.source],
        ["from (UTC)", moment(event, "start_time")],
        ["until (UTC)", moment(event, "end_time")],
        ["state", word(grid_pb2.GridEventState, event.state)],
        ["received", moment(response, "receive_time")],
        ["baseline", _power(response, "baseline_w")],
        ["limit", _power(response, "limit_w")],
        ["aim", _power(response, "aim_w")],
        ["first caps or limits sent", moment(response, "apply_time")],
        ["all within it", moment(response, "acknowledge_time")],
        ["measured within it", moment(response, "meet_time")],
        ["draws", f"{response.measured_w / 1_000:g} kW"],
        ["most since then", f"{response.measured_max_w / 1_000:g} kW"],
        ["less than the baseline", energy(response.reduced_wh)],
        *([["more than it", energy(response.increased_wh)]] if response.HasField("aim_w") else []),
        ["over since", moment(response, "finish_time")],
    ]
    table(
        ["", ""],
        [row for row in rows if row[1]],
        title=f"{event.event_id}: {_target_words(event)}",
    )
