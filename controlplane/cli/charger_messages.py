"""`loadstar chargers message`, `customer`, `cost` and so on: what chargers show and what they keep.

As in `charger_commands`, every command prints what became of it, and ends with status 1 unless the
charger accepted."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from controlplane.cli.charger_commands import MARGIN_S, Timeout, report
from controlplane.cli.chargers import ChargerId, app, charger_stub
from controlplane.cli.connection import (
    CALL_TIMEOUT_S,
    DEFAULT_ADDRESS,
    Address,
    Json,
    connected,
    instant,
    new_request_id,
)
from controlplane.cli.output import moment, print_json, table, word

__all__ = ["app"]

message_app = typer.Typer(no_args_is_help=True, help="What a charger shows on its display (2.x).")
app.add_typer(message_app, name="message")

_PRIORITIES = ("always-front", "in-front", "normal-cycle")
_STATES = ("charging", "faulted", "idle", "unavailable", "suspended", "discharging")
_FORMATS = ("utf8", "ascii", "html", "uri", "qr-code")


def _value(enum: Any, prefix: str, text: str, words: tuple[str, ...], option: str) -> Any:
    """The value of an enumeration that a word of an option stands for; empty: unspecified."""
    if text and text not in words:
        raise typer.BadParameter("one of " + ", ".join(words), param_hint=option)
    name = text.upper().replace("-", "_") if text else "UNSPECIFIED"
    return enum.Value(f"{prefix}_{name}")


@message_app.command("set")
def set_message(
    charger_id: ChargerId,
    message_id: Annotated[int, typer.Argument(help="Its number; the same one replaces it.", min=0)],
    text: Annotated[str, typer.Argument(help="What is shown.")],
    priority: Annotated[str, typer.Option(help=" | ".join(_PRIORITIES))] = "normal-cycle",
    text_format: Annotated[str, typer.Option("--format", help=" | ".join(_FORMATS))] = "utf8",
    language: Annotated[str, typer.Option(help="RFC 5646 tag, such as `en`.")] = "",
    state: Annotated[str, typer.Option(help="Only while " + " | ".join(_STATES))] = "",
    start: Annotated[str | None, typer.Option("--from", help="RFC 3339 instant.")] = None,
    end: Annotated[str | None, typer.Option("--until", help="RFC 3339 instant.")] = None,
    transaction: Annotated[str, typer.Option(help="Only during this transaction.")] = "",
    connector: Annotated[int | None, typer.Option(help="On this connector's display.")] = None,
    timeout_s: Timeout = 30.0,
    address: Address = DEFAULT_ADDRESS,
    as_json: Json = False,
) -> None:
    """Show a message.

    \b
    loadstar chargers message set CP-2 1 "Closed from 22:00" --priority in-front
    loadstar chargers message set CP-2 2 "Please unplug" --transaction f3a1 --state idle
    """
    from controlplane.api.v1 import display_pb2, display_pb2_grpc

    message = display_pb2.DisplayMessage(
        message_id=message_id,
        priority=_value(
            display_pb2.DisplayPriority, "DISPLAY_PRIORITY", priority, _PRIORITIES, "--priority"
        ),
        content=display_pb2.MessageContent(
            text=text,
            format=_value(display_pb2.TextFormat, "TEXT_FORMAT", text_format, _FORMATS, "--format"),
            language=language,
        ),
        state=_value(display_pb2.DisplayState, "DISPLAY_STATE", state, _STATES, "--state"),
        start_time=instant("--from", start),
        end_time=instant("--until", end),
        transaction_id=transaction,
        connector_id=connector,
    )
    with connected(address) as channel:
        request = display_pb2.SetDisplayMessageRequest(
            charger_id=charger_id,
            message=message,
            timeout_s=timeout_s,
            request_id=new_request_id(),
        )
        stub = display_pb2_grpc.DisplayServiceStub(channel)
        response = stub.SetDisplayMessage(request, timeout=timeout_s + MARGIN_S)
    report(response, as_json=as_json)


@message_app.command("list")
def list_messages(
    charger_id: ChargerId,
    timeout_s: Timeout = 30.0,
    address: Address = DEFAULT_ADDRESS,
    as_json: Json = False,
) -> None:
    """List the messages that a charger holds.

    \b
    loadstar chargers message list CP-2
    """
    from controlplane.api.v1 import display_pb2, display_pb2_grpc

    with connected(address) as channel:
        request = display_pb2.GetDisplayMessagesRequest(charger_id=charger_id, timeout_s=timeout_s)
        stub = display_pb2_grpc.DisplayServiceStub(channel)
        response = stub.GetDisplayMessages(request, timeout=timeout_s + MARGIN_S)
    if not as_json:
        table(
            ["#Message", "Priority", "State", "From (UTC)", "Until (UTC)", "Text"],
            (
                [
                    str(message.message_id),
                    word(display_pb2.DisplayPriority, message.priority),
                    word(display_pb2.DisplayState, message.state),
                    moment(message, "start_time"),
                    moment(message, "end_time"),
                    message.content.text,
                ]
                for message in response.messages
            ),
        )
    report(response, as_json=as_json)


@message_app.command("clear")
def clear_message(
    charger_id: ChargerId,
    message_id: Annotated[int, typer.Argument(help="The message.", min=0)],
    timeout_s: Timeout = 30.0,
    address: Address = DEFAULT_ADDRESS,
    as_json: Json = False,
) -> None:
    """Take a message off the display.

    \b
    loadstar chargers message clear CP-2 1
    """
    from controlplane.api.v1 import display_pb2, display_pb2_grpc

    with connected(address) as channel:
        request = display_pb2.ClearDisplayMessageRequest(
            charger_id=charger_id,
            message_id=message_id,
            timeout_s=timeout_s,
            request_id=new_request_id(),
        )
        stub = display_pb2_grpc.DisplayServiceStub(channel)
        response = stub.ClearDisplayMessage(request, timeout=timeout_s + MARGIN_S)
    report(response, as_json=as_json)


@app.command("customer")
def customer(
    charger_id: ChargerId,
    token: Annotated[str, typer.Option(help="Who: by token.")] = "",
    token_type: Annotated[str, typer.Option(help="Type of the token.")] = "Central",
    identifier: Annotated[str, typer.Option(help="Who: by the charger's own name for them.")] = "",
    clear: Annotated[bool, typer.Option("--clear", help="Clear it after the report.")] = False,
    timeout_s: Timeout = 30.0,
    address: Address = DEFAULT_ADDRESS,
    as_json: Json = False,
) -> None:
    """Print what a charger keeps of a customer (2.x), and clear it if wanted.

    \b
    loadstar chargers customer CP-2 --token 04A2B3
    loadstar chargers customer CP-2 --identifier ann@example --clear
    """
    from controlplane.api.v1 import customers_pb2, customers_pb2_grpc

    if bool(token) == bool(identifier):
        raise typer.BadParameter("give either --token or --identifier")
    with connected(address) as channel:
        request = customers_pb2.GetCustomerInformationRequest(
            charger_id=charger_id,
            report=True,
            clear=clear,
            id_token_type=token_type,
            timeout_s=timeout_s,
        )
        if token:
            request.id_token = token
        else:
            request.customer_identifier = identifier
        stub = customers_pb2_grpc.CustomersServiceStub(channel)
        response = stub.GetCustomerInformation(request, timeout=timeout_s + MARGIN_S)
    if response.information and not as_json:
        typer.echo(response.information)
    report(response, as_json=as_json)


@app.command("cost")
def update_cost(
    charger_id: ChargerId,
    transaction_id: Annotated[str, typer.Argument(help="The OCPP transaction.")],
    total_cost: Annotated[str, typer.Argument(help="What it costs so far, such as 7.42.")],
    timeout_s: Timeout = 30.0,
    address: Address = DEFAULT_ADDRESS,
    as_json: Json = False,
) -> None:
    """Show the driver what the running transaction costs so far.

    \b
    loadstar chargers cost CP-2 f3a1 7.42
    """
    from controlplane.api.v1 import customers_pb2, customers_pb2_grpc

    with connected(address) as channel:
        request = customers_pb2.UpdateCostRequest(
            charger_id=charger_id,
            transaction_id=transaction_id,
            total_cost=total_cost,
            timeout_s=timeout_s,
            request_id=new_request_id(),
        )
        stub = customers_pb2_grpc.CustomersServiceStub(channel)
        response = stub.UpdateCost(request, timeout=timeout_s + MARGIN_S)
    report(response, as_json=as_json)


@app.command("transaction")
def transaction_status(
    charger_id: ChargerId,
    transaction_id: Annotated[str, typer.Argument(help="The OCPP transaction; any if none.")] = "",
    timeout_s: Timeout = 30.0,
    address: Address = DEFAULT_ADDRESS,
    as_json: Json = False,
) -> None:
    """Ask whether messages about a transaction still wait in a charger (2.x).

    \b
    loadstar chargers transaction CP-2 f3a1
    """
    from controlplane.api.v1 import customers_pb2, customers_pb2_grpc

    with connected(address) as channel:
        request = customers_pb2.GetTransactionStatusRequest(
            charger_id=charger_id, transaction_id=transaction_id, timeout_s=timeout_s
        )
        stub = customers_pb2_grpc.CustomersServiceStub(channel)
        response = stub.GetTransactionStatus(request, timeout=timeout_s + MARGIN_S)
    if not as_json:
        ongoing = {True: "runs", False: "is over"}[response.ongoing]
        told = f"{ongoing}, " if response.HasField("ongoing") else ""
        waits = "messages wait" if response.messages_in_queue else "no messages wait"
        typer.echo(told + waits)
    report(response, as_json=as_json)


@app.command("transfer")
def transfer(
    charger_id: ChargerId,
    vendor: Annotated[str, typer.Argument(help="Whose message it is, such as com.example.")],
    message: Annotated[str, typer.Argument(help="Which message of theirs.")] = "",
    data: Annotated[str | None, typer.Option(help="What it says, as text.")] = None,
    data_json: Annotated[str | None, typer.Option("--data-json", help="The same, as JSON.")] = None,
    timeout_s: Timeout = 30.0,
    address: Address = DEFAULT_ADDRESS,
    as_json: Json = False,
) -> None:
    """Send a message that only a charger's maker knows, and print what it said.

    \b
    loadstar chargers transfer CP-1 com.example GetHumidity
    loadstar chargers transfer CP-2 com.example SetLight --data-json '{"on": true}'
    """
    from controlplane.api.v1 import chargers_pb2

    if data is not None and data_json is not None:
        raise typer.BadParameter("give either --data or --data-json")
    with connected(address) as channel:
        request = chargers_pb2.TransferDataRequest(
            charger_id=charger_id,
            vendor_id=vendor,
            message_id=message,
            timeout_s=timeout_s,
            request_id=new_request_id(),
        )
        if data is not None:
            request.data = data
        elif data_json is not None:
            request.data_json = data_json
        response = charger_stub(channel).TransferData(request, timeout=timeout_s + MARGIN_S)
    if response.data and not as_json:
        typer.echo(response.data)
    report(response, as_json=as_json)


@app.command("network-profile")
def network_profile(
    charger_id: ChargerId,
    slot: Annotated[int, typer.Argument(help="Which of its slots.", min=0)],
    url: Annotated[str, typer.Argument(help="WebSocket URL without the charger's identity.")],
    security_profile: Annotated[int, typer.Option(help="0 to 3.", min=0, max=3)] = 1,
    interface: Annotated[str, typer.Option(help="Wired0 to 3, Wireless0 to 3.")] = "Wired0",
    ocpp_version: Annotated[str, typer.Option(help="As spoken now where not given.")] = "",
    message_timeout_s: Annotated[int, typer.Option(help="Seconds to wait for answers.")] = 30,
    timeout_s: Timeout = 30.0,
    address: Address = DEFAULT_ADDRESS,
    as_json: Json = False,
) -> None:
    """Put a connection profile into a slot of a charger (2.x); access points and VPNs over gRPC.

    \b
    loadstar chargers network-profile CP-2 1 wss://csms.example/ocpp --security-profile 2
    loadstar chargers settings CP-2 --set OCPPCommCtrlr.NetworkConfigurationPriority=1,0
    """
    from controlplane.api.v1 import chargers_pb2

    with connected(address) as channel:
        request = chargers_pb2.SetNetworkProfileRequest(
            charger_id=charger_id,
            slot=slot,
            url=url,
            security_profile=security_profile,
            interface=interface,
            ocpp_version=ocpp_version,
            message_timeout_s=message_timeout_s,
            timeout_s=timeout_s,
            request_id=new_request_id(),
        )
        response = charger_stub(channel).SetNetworkProfile(request, timeout=timeout_s + MARGIN_S)
    report(response, as_json=as_json)


@app.command("der")
def der(charger_id: ChargerId, address: Address = DEFAULT_ADDRESS) -> None:
    """Print the DER controls that a 2.1 charger has, and the grid alarms that stand, as JSON.

    \b
    loadstar chargers der CP-2
    """
    from controlplane.api.v1 import der_pb2, der_pb2_grpc

    with connected(address) as channel:
        request = der_pb2.GetDerStateRequest(charger_id=charger_id)
        found = der_pb2_grpc.DerServiceStub(channel).GetDerState(request, timeout=CALL_TIMEOUT_S)
    print_json(found)


@app.command("profiles")
def profiles(
    charger_id: ChargerId,
    connector: Annotated[
        int | None, typer.Option(help="Of this connector; 0 of the whole charger.")
    ] = None,
    timeout_s: Timeout = 30.0,
    address: Address = DEFAULT_ADDRESS,
    as_json: Json = False,
) -> None:
    """List the charging profiles that a charger holds, whoever installed them (2.x).

    \b
    loadstar chargers profiles CP-2
    """
    from controlplane.api.v1 import charging_profiles_pb2, charging_profiles_pb2_grpc

    with connected(address) as channel:
        request = charging_profiles_pb2.GetChargingProfilesRequest(
            charger_id=charger_id, connector_id=connector, timeout_s=timeout_s
        )
        stub = charging_profiles_pb2_grpc.ChargingProfilesServiceStub(channel)
        response = stub.GetChargingProfiles(request, timeout=timeout_s + MARGIN_S)
    if not as_json:
        table(
            ["#Connector", "Source", "Purpose", "#Level", "Kind", "Limits", "Transaction"],
            (
                [
                    str(profile.connector_id),
                    profile.source,
                    word(charging_profiles_pb2.ProfilePurpose, profile.purpose),
                    str(profile.stack_level),
                    " ".join(filter(None, (profile.kind, profile.recurrence))),
                    "; ".join(map(_limits, profile.schedules)),
                    profile.transaction_id,
                ]
                for profile in response.profiles
            ),
        )
    report(response, as_json=as_json)


def _limits(schedule: Any) -> str:
    return ", ".join(
        f"{period.limit_a:g} A" if period.HasField("limit_a") else f"{period.limit_w:g} W"
        for period in schedule.periods
    )
