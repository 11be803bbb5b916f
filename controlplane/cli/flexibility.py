"""`loadstar flexibility`: how much less or more a site could draw, calling it off, what it gave."""

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
    new_request_id,
)
from controlplane.cli.output import energy, moment, print_json, table, word

if TYPE_CHECKING:
    import grpc

    from controlplane.api.v1 import flexibility_pb2
    from controlplane.api.v1.flexibility_pb2_grpc import FlexibilityServiceStub

__all__ = ["app"]

app = typer.Typer(
    no_args_is_help=True,
    help="See by how much a site could draw less or more, call it off, see what was delivered.",
)

Site = Annotated[str, typer.Argument(help="The site.")]
More = Annotated[bool, typer.Option("--more", help="To draw more; less by default.")]
Minutes = Annotated[int, typer.Option("--minutes", help="For how long.", min=5, max=24 * 60)]


@app.command("offer")
def offer(
    site: Site,
    minutes: Minutes = 60,
    more: More = False,
    address: Address = DEFAULT_ADDRESS,
    as_json: Json = False,
) -> None:
    """Show by how much a site could draw less, or more, from now on, and at what cost.

    To draw more, vehicles that the site's plan lets wait charge before their turn.

    \b
    loadstar flexibility offer depot --minutes 120
    loadstar flexibility offer depot --more --minutes 30
    """
    from google.protobuf.duration_pb2 import Duration

    from controlplane.api.v1 import flexibility_pb2

    with connected(address) as channel:
        request = flexibility_pb2.GetOfferRequest(
            site_id=site, duration=Duration(seconds=minutes * 60), direction=_direction(more)
        )
        found = _stub(channel).GetOffer(request, timeout=CALL_TIMEOUT_S).offer
    if as_json:
        print_json(found)
    else:
        _show_offer(found)


@app.command("activate")
def activate(
    site: Site,
    power_kw: Annotated[
        float, typer.Option("--power", help="By how many kW.", min=0.001, max=POWER_MAX_KW)
    ],
    minutes: Minutes = 60,
    more: More = False,
    source: Annotated[str, typer.Option("--source", help="Who asks.")] = "",
    price_max: Annotated[
        str, typer.Option("--price-max", help="No kilowatt-hour may cost more.", metavar="DECIMAL")
    ] = "",
    beyond: Annotated[
        bool, typer.Option("--beyond-offer", help="Ask for it though it is not on offer.")
    ] = False,
    activation_id: Annotated[str, typer.Option("--id", help="Made up by default.")] = "",
    address: Address = DEFAULT_ADDRESS,
    as_json: Json = False,
) -> None:
    """Ask a site to draw so much less, or more, than in the quarter of an hour before.

    What the offer of the moment does not cover is refused. It becomes a grid event of the site,
    which `loadstar grid-events` shows and cancels.

    \b
    loadstar flexibility activate depot --power 40 --minutes 120 --price-max 0.35
    loadstar flexibility activate depot --more --power 20 --minutes 30
    """
    from google.protobuf.duration_pb2 import Duration

    from controlplane.api.v1 import flexibility_pb2

    with connected(address) as channel:
        request = flexibility_pb2.ActivateRequest(
            site_id=site,
            power_w=round(power_kw * 1_000),
            duration=Duration(seconds=minutes * 60),
            source=source,
            activation_id=activation_id,
            price_max_per_kwh=price_max,
            beyond_offer=beyond,
            request_id=new_request_id(),
            direction=_direction(more),
        )
        answer = _stub(channel).Activate(request, timeout=CALL_TIMEOUT_S)
    if as_json:
        print_json(answer)
    else:
        _show_delivery(answer.delivery)


@app.command("delivery")
def delivery(
    activation_id: Annotated[str, typer.Argument(help="As it was answered.")],
    address: Address = DEFAULT_ADDRESS,
    as_json: Json = False,
) -> None:
    """Show what was delivered of an activation, against its stated baseline.

    \b
    loadstar flexibility delivery 3f6c2a1e
    """
    from controlplane.api.v1 import flexibility_pb2

    with connected(address) as channel:
        request = flexibility_pb2.GetDeliveryRequest(activation_id=activation_id)
        found = _stub(channel).GetDelivery(request, timeout=CALL_TIMEOUT_S).delivery
    if as_json:
        print_json(found)
    else:
        _show_delivery(found)


def _direction(more: bool) -> flexibility_pb2.FlexibilityDirection.ValueType:
    from controlplane.api.v1 import flexibility_pb2

    if more:
        return flexibility_pb2.FLEXIBILITY_DIRECTION_MORE
    return flexibility_pb2.FLEXIBILITY_DIRECTION_LESS


def _stub(channel: grpc.Channel) -> FlexibilityServiceStub:
    from controlplane.api.v1 import flexibility_pb2_grpc

    return flexibility_pb2_grpc.FlexibilityServiceStub(channel)


def _show_offer(found: flexibility_pb2.FlexibilityOffer) -> None:
    from controlplane.api.v1 import flexibility_pb2

    way = word(flexibility_pb2.FlexibilityDirection, found.direction).capitalize()
    table(
        [f"{found.site_id} by", f"#{way}", "#Energy", "#Sessions", "#Price per kWh"],
        [
            *(
                [
                    word(flexibility_pb2.FlexibilityKind, part.kind),
                    f"{part.power_w} W",
                    energy(part.energy_wh),
                    str(part.session_count),
                    f"{part.price_per_kwh} {part.currency}".strip(),
                ]
                for part in found.parts
            ),
            ["together", f"{found.power_w} W", "", "", ""],
        ],
    )
    typer.echo(f"It draws {found.drawn_w} W at this moment.")


def _show_delivery(found: flexibility_pb2.Delivery) -> None:
    from controlplane.api.v1 import flexibility_pb2

    way = word(flexibility_pb2.FlexibilityDirection, found.direction)
    table(
        ["Activation", found.activation_id],
        [
            ["Site", found.site_id],
            ["From (UTC)", moment(found, "start_time")],
            ["Until (UTC)", moment(found, "end_time")],
            ["Over", "yes" if found.ended else "no"],
            ["Baseline", f"{found.baseline_w} W" if found.HasField("baseline_w") else ""],
            ["Asked", f"{found.asked_w} W {way}, {energy(found.asked_wh)} so far"],
            ["Delivered", energy(found.delivered_wh)],
            ["Fed in", energy(found.fed_in_wh)],
            ["Met (UTC)", moment(found, "meet_time")],
        ],
    )
