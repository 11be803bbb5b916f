"""`loadstar feeders`: see what feeders supply, and limit them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

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
from controlplane.cli.output import amperes, moment, print_json, table, word

if TYPE_CHECKING:
    import grpc

    from controlplane.api.v1 import grid_pb2
    from controlplane.api.v1.grid_pb2_grpc import GridServiceStub

__all__ = ["app"]

app = typer.Typer(no_args_is_help=True, help="See what feeders supply, and limit them.")

FeederId = Annotated[str, typer.Argument(help="The feeder's id.")]


@app.command("list")
def list_feeders(address: Address = DEFAULT_ADDRESS, as_json: Json = False) -> None:
    """List feeders.

    \b
    loadstar feeders list
    """
    from controlplane.api.v1 import grid_pb2

    found = grid_pb2.ListFeedersResponse()
    with connected(address) as channel:
        token = ""
        while True:
            page = _stub(channel).ListFeeders(
                grid_pb2.ListFeedersRequest(page_size=1_000, page_token=token),
                timeout=CALL_TIMEOUT_S,
            )
            found.feeders.extend(page.feeders)
            token = page.next_page_token
            if not token:
                break
    if as_json:
        print_json(found)
        return
    table(
        ["Feeder", "Name", "Supplied by", "#Power", "Described (UTC)"],
        (
            [
                feeder.description.id,
                feeder.description.name,
                feeder.description.parent,
                f"{feeder.description.power_max_w / 1_000:g} kW",
                moment(feeder, "update_time"),
            ]
            for feeder in found.feeders
        ),
    )


@app.command("get")
def get_feeder(
    feeder_id: FeederId, address: Address = DEFAULT_ADDRESS, as_json: Json = False
) -> None:
    """Show what a feeder may carry and what each of its sites and feeders was given.

    \b
    loadstar feeders get north
    """
    from controlplane.api.v1 import grid_pb2

    with connected(address) as channel:
        request = grid_pb2.GetFeederRequest(feeder_id=feeder_id)
        response = _stub(channel).GetFeeder(request, timeout=CALL_TIMEOUT_S)
    if as_json:
        print_json(response)
    else:
        _show(feeder_id, response.state)


@app.command("limit")
def limit(
    feeder_id: FeederId,
    power_kw: Annotated[
        float | None,
        typer.Option("--power", help="kW for all its sites together.", min=0, max=POWER_MAX_KW),
    ] = None,
    clear: Annotated[bool, typer.Option("--clear", help="Lift whatever limit was set.")] = False,
    start: Annotated[str | None, typer.Option("--from", help="RFC 3339; now by default.")] = None,
    end: Annotated[str | None, typer.Option("--until", help="RFC 3339; open by default.")] = None,
    address: Address = DEFAULT_ADDRESS,
    as_json: Json = False,
) -> None:
    """Limit the power of a feeder, now or for a time to come, or lift the limit.

    \b
    loadstar feeders limit north --power 250
    loadstar feeders limit north --power 100 --from 2026-05-01T17:00Z --until 2026-05-01T20:00Z
    loadstar feeders limit north --clear
    """
    from controlplane.api.v1 import grid_pb2

    if (power_kw is None) != clear:
        raise typer.BadParameter("give either --power or --clear")
    with connected(address) as channel:
        state: grid_pb2.FeederState
        if power_kw is None:
            lifted = grid_pb2.ClearFeederLimitRequest(
                feeder_id=feeder_id, request_id=new_request_id()
            )
            state = _stub(channel).ClearFeederLimit(lifted, timeout=CALL_TIMEOUT_S).state
        else:
            request = grid_pb2.SetFeederLimitRequest(
                feeder_id=feeder_id,
                power_w=int(power_kw * 1_000),
                start_time=instant("--from", start),
                end_time=instant("--until", end),
                request_id=new_request_id(),
            )
            state = _stub(channel).SetFeederLimit(request, timeout=CALL_TIMEOUT_S).state
    if as_json:
        print_json(state)
    else:
        _show(feeder_id, state)


def _stub(channel: grpc.Channel) -> GridServiceStub:
    from controlplane.api.v1 import grid_pb2_grpc

    return grid_pb2_grpc.GridServiceStub(channel)


def _show(feeder_id: str, state: grid_pb2.FeederState) -> None:
    from controlplane.api.v1 import grid_pb2

    table(
        [
            "Supplies",
            "#Cap",
            "Confirmed",
            "#Wants",
            "#May draw",
            "#Draws",
            "#To draw by feeding in",
        ],
        (
            [
                share.site_id or f"feeder {share.feeder_id}",
                amperes(share.cap_ma) if share.HasField("cap_ma") else "",
                "yes" if share.acknowledged else "no",
                amperes(share.wanted_ma),
                amperes(share.liability_ma),
                amperes(share.measured_ma),
                f"{share.wish_w / 1_000:g} kW" if share.HasField("wish_w") else "",
            ]
            for share in [*state.sites, *state.feeders]
        ),
        title=(
            f"{feeder_id} at {moment(state, 'time')} UTC: {amperes(state.limit_ma)} per phase, "
            f"draws {state.measured_w / 1_000:g} kW, may draw {state.liability_w / 1_000:g} kW"
        ),
    )
    if state.HasField("overload"):
        typer.echo(
            f"{amperes(state.overload.excess_ma)} over since "
            f"{moment(state.overload, 'start_time')}, because of"
        )
        for share in state.overload.shares:
            reason = word(grid_pb2.OverloadReason, share.reason)
            name = share.site_id or f"feeder {share.feeder_id}"
            typer.echo(f"  {name}: {reason}, {amperes(share.excess_ma)} too much")
