"""`loadstar reservations`: keep connectors for drivers."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Annotated

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

    from controlplane.api.v1 import reservations_pb2
    from controlplane.api.v1.reservations_pb2_grpc import ReservationsServiceStub

__all__ = ["app"]

app = typer.Typer(no_args_is_help=True, help="Keep connectors for drivers.")

ReservationId = Annotated[str, typer.Argument(help="The reservation's id, as it was given.")]
Timeout = Annotated[
    float, typer.Option("--timeout", help="Seconds to wait for the charger.", min=1, max=300)
]
# gRPC waits a little longer than Loadstar, whose word on a silent charger is better than none.
_MARGIN_S = 5.0


@app.command("reserve")
def reserve(
    charger_id: Annotated[str, typer.Argument(help="The charger.")],
    token: Annotated[str, typer.Option(help="For whom: the driver's token.")],
    minutes: Annotated[
        float, typer.Option("--for", help="Minutes from now.", min=1, max=7 * 24 * 60)
    ] = 30.0,
    connector: Annotated[int, typer.Option(help="The connector; 0 for any.", min=0)] = 0,
    connector_type: Annotated[
        str, typer.Option("--type", help="2.x: any connector of this type, such as cCCS2.")
    ] = "",
    timeout_s: Timeout = 30.0,
    address: Address = DEFAULT_ADDRESS,
    as_json: Json = False,
) -> None:
    """Have a charger keep a connector for a driver.

    \b
    loadstar reservations reserve CP-1 --token 04A2B3 --connector 1 --for 45
    """
    from controlplane.api.v1 import reservations_pb2, system_pb2, system_pb2_grpc

    with connected(address) as channel:
        request = reservations_pb2.ReserveRequest(
            charger_id=charger_id,
            connector_id=connector,
            id_token=token,
            connector_type=connector_type,
            timeout_s=timeout_s,
            request_id=new_request_id(),
        )
        # By Loadstar's clock, which in a simulation is not the machine's.
        status = system_pb2_grpc.SystemServiceStub(channel).GetStatus(
            system_pb2.GetStatusRequest(), timeout=CALL_TIMEOUT_S
        )
        request.expiry_time.FromDatetime(status.time.ToDatetime() + timedelta(minutes=minutes))
        response = _stub(channel).Reserve(request, timeout=timeout_s + _MARGIN_S)
    _report(response, as_json=as_json)


@app.command("cancel")
def cancel(
    reservation_id: ReservationId,
    timeout_s: Timeout = 30.0,
    address: Address = DEFAULT_ADDRESS,
    as_json: Json = False,
) -> None:
    """Have the charger let go of a reservation.

    \b
    loadstar reservations cancel CP-1-R3
    """
    from controlplane.api.v1 import reservations_pb2

    with connected(address) as channel:
        request = reservations_pb2.CancelRequest(
            reservation_id=reservation_id, timeout_s=timeout_s, request_id=new_request_id()
        )
        response = _stub(channel).Cancel(request, timeout=timeout_s + _MARGIN_S)
    if as_json:
        print_json(response)
        return
    if response.reservation.end_reason != "cancelled":
        fail(f"not cancelled: the charger answered {response.outcome.status or 'nothing'}")
    _show([response.reservation])


@app.command("list")
def list_reservations(
    charger: Annotated[str, typer.Option(help="Only at this charger.")] = "",
    site: Annotated[str, typer.Option(help="Only in this site.")] = "",
    open_only: Annotated[bool, typer.Option("--open", help="Only those that stand.")] = False,
    address: Address = DEFAULT_ADDRESS,
    as_json: Json = False,
) -> None:
    """List reservations, newest first.

    \b
    loadstar reservations list --open
    """
    from controlplane.api.v1 import reservations_pb2

    found = reservations_pb2.ListReservationsResponse()
    with connected(address) as channel:
        token = ""
        while True:
            request = reservations_pb2.ListReservationsRequest(
                charger_id=charger,
                site_id=site,
                open_only=open_only,
                page_size=1_000,
                page_token=token,
            )
            page = _stub(channel).ListReservations(request, timeout=CALL_TIMEOUT_S)
            found.reservations.extend(page.reservations)
            token = page.next_page_token
            if not token:
                break
    if as_json:
        print_json(found)
    else:
        _show(list(found.reservations))


@app.command("get")
def get(
    reservation_id: ReservationId, address: Address = DEFAULT_ADDRESS, as_json: Json = False
) -> None:
    """Show one reservation.

    \b
    loadstar reservations get CP-1-R3
    """
    from controlplane.api.v1 import reservations_pb2

    with connected(address) as channel:
        request = reservations_pb2.GetReservationRequest(reservation_id=reservation_id)
        found = _stub(channel).GetReservation(request, timeout=CALL_TIMEOUT_S).reservation
    if as_json:
        print_json(found)
    else:
        _show([found])


def _stub(channel: grpc.Channel) -> ReservationsServiceStub:
    from controlplane.api.v1 import reservations_pb2_grpc

    return reservations_pb2_grpc.ReservationsServiceStub(channel)


def _report(response: reservations_pb2.ReserveResponse, *, as_json: bool) -> None:
    """Say what became of it; status 1 unless the connector is kept."""
    from controlplane.api.v1 import chargers_pb2, reservations_pb2

    if as_json:
        print_json(response)
    elif response.reservation.state == reservations_pb2.RESERVATION_STATE_ACTIVE:
        _show([response.reservation])
    else:
        state = word(chargers_pb2.CommandState, response.outcome.state)
        fail(f"not reserved: {state} {response.outcome.status}".rstrip())
    if response.reservation.state != reservations_pb2.RESERVATION_STATE_ACTIVE:
        raise typer.Exit(1)


def _show(reservations: list[reservations_pb2.Reservation]) -> None:
    from controlplane.api.v1 import reservations_pb2

    table(
        ["Reservation", "Charger", "#Connector", "Token", "State", "Until (UTC)", "End"],
        (
            [
                each.reservation_id,
                each.charger_id,
                str(each.connector_id) if each.connector_id else "any",
                each.id_token,
                word(reservations_pb2.ReservationState, each.state),
                moment(each, "expiry_time"),
                f"{each.end_reason} {each.session_id}".strip(),
            ]
            for each in reservations
        ),
    )
