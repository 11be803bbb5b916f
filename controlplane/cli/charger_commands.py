"""`loadstar chargers start`, `stop`, `reset` and so on: what chargers are told to do.

Every command prints what became of it, and ends with status 1 unless the charger accepted."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated, Any

import typer

from controlplane.cli.chargers import ChargerId, app, charger_stub
from controlplane.cli.connection import (
    DEFAULT_ADDRESS,
    Address,
    Json,
    connected,
    fail,
    new_request_id,
)
from controlplane.cli.output import moment, print_json, table, word

if TYPE_CHECKING:
    from controlplane.api.v1 import chargers_pb2

__all__ = ["MARGIN_S", "Timeout", "app", "outcome_line", "report"]

Timeout = Annotated[
    float, typer.Option("--timeout", help="Seconds to wait for the charger.", min=1, max=300)
]
# gRPC waits a little longer than Loadstar, whose word on a silent charger is better than none.
MARGIN_S = 5.0


@app.command("start")
def remote_start(
    charger_id: ChargerId,
    token: Annotated[str, typer.Option(help="The driver's token (1.6: idTag).")],
    connector: Annotated[
        int | None, typer.Option(help="The connector; the charger chooses where none is named.")
    ] = None,
    token_type: Annotated[str, typer.Option(help="2.x type of the token.")] = "Central",
    timeout_s: Timeout = 30.0,
    address: Address = DEFAULT_ADDRESS,
    as_json: Json = False,
) -> None:
    """Start a session from afar.

    \b
    loadstar chargers start CP-1 --token 04A2B3 --connector 1
    """
    from controlplane.api.v1 import chargers_pb2

    with connected(address) as channel:
        request = chargers_pb2.RemoteStartRequest(
            charger_id=charger_id,
            connector_id=connector,
            id_token=token,
            id_token_type=token_type,
            timeout_s=timeout_s,
            request_id=new_request_id(),
        )
        response = charger_stub(channel).RemoteStart(request, timeout=timeout_s + MARGIN_S)
    report(response, as_json=as_json)


@app.command("stop")
def remote_stop(
    charger_id: ChargerId,
    session: Annotated[str, typer.Option(help="The Loadstar session to stop.")] = "",
    transaction: Annotated[str, typer.Option(help="The OCPP transaction to stop.")] = "",
    timeout_s: Timeout = 30.0,
    address: Address = DEFAULT_ADDRESS,
    as_json: Json = False,
) -> None:
    """Stop a session from afar.

    \b
    loadstar chargers stop CP-1 --session S-17
    loadstar chargers stop CP-1 --transaction 4711
    """
    from controlplane.api.v1 import chargers_pb2

    if bool(session) == bool(transaction):
        raise typer.BadParameter("give either --session or --transaction")
    with connected(address) as channel:
        request = chargers_pb2.RemoteStopRequest(
            charger_id=charger_id, timeout_s=timeout_s, request_id=new_request_id()
        )
        if session:
            request.session_id = session
        else:
            request.transaction_id = transaction
        response = charger_stub(channel).RemoteStop(request, timeout=timeout_s + MARGIN_S)
    report(response, as_json=as_json)


@app.command("reset")
def reset(
    charger_id: ChargerId,
    hard: Annotated[
        bool, typer.Option("--hard", help="Restart now, whatever is running (2.x: Immediate).")
    ] = False,
    resume: Annotated[
        bool, typer.Option("--resume", help="Restart now, and go on with what runs (2.1).")
    ] = False,
    connector: Annotated[
        int | None, typer.Option(help="Only this connector, 1 and up (2.x).")
    ] = None,
    timeout_s: Timeout = 30.0,
    address: Address = DEFAULT_ADDRESS,
    as_json: Json = False,
) -> None:
    """Restart a charger, gently unless told otherwise.

    \b
    loadstar chargers reset CP-1
    loadstar chargers reset CP-1 --hard
    loadstar chargers reset CP-2 --resume --connector 1
    """
    from controlplane.api.v1 import chargers_pb2

    with connected(address) as channel:
        request = chargers_pb2.ResetChargerRequest(
            charger_id=charger_id,
            kind=chargers_pb2.RESET_KIND_HARD_AND_RESUME
            if resume
            else chargers_pb2.RESET_KIND_HARD
            if hard
            else chargers_pb2.RESET_KIND_SOFT,
            connector_id=connector,
            timeout_s=timeout_s,
            request_id=new_request_id(),
        )
        response = charger_stub(channel).ResetCharger(request, timeout=timeout_s + MARGIN_S)
    report(response, as_json=as_json)


@app.command("unlock")
def unlock(
    charger_id: ChargerId,
    connector: Annotated[int, typer.Argument(help="The connector, 1 and up.")],
    timeout_s: Timeout = 30.0,
    address: Address = DEFAULT_ADDRESS,
    as_json: Json = False,
) -> None:
    """Open the lock of a connector whose cable is stuck.

    \b
    loadstar chargers unlock CP-1 1
    """
    from controlplane.api.v1 import chargers_pb2

    with connected(address) as channel:
        request = chargers_pb2.UnlockConnectorRequest(
            charger_id=charger_id,
            connector_id=connector,
            timeout_s=timeout_s,
            request_id=new_request_id(),
        )
        response = charger_stub(channel).UnlockConnector(request, timeout=timeout_s + MARGIN_S)
    report(response, as_json=as_json)


@app.command("availability")
def availability(
    charger_id: ChargerId,
    in_service: Annotated[bool, typer.Option("--in-service/--out-of-service")],
    connector: Annotated[int, typer.Option(help="The connector; 0 is the whole charger.")] = 0,
    timeout_s: Timeout = 30.0,
    address: Address = DEFAULT_ADDRESS,
    as_json: Json = False,
) -> None:
    """Take a connector or the whole charger out of service, or bring it back.

    \b
    loadstar chargers availability CP-1 --out-of-service
    loadstar chargers availability CP-1 --connector 2 --in-service
    """
    from controlplane.api.v1 import chargers_pb2

    with connected(address) as channel:
        request = chargers_pb2.ChangeAvailabilityRequest(
            charger_id=charger_id,
            connector_id=connector,
            availability=chargers_pb2.AVAILABILITY_OPERATIVE
            if in_service
            else chargers_pb2.AVAILABILITY_INOPERATIVE,
            timeout_s=timeout_s,
            request_id=new_request_id(),
        )
        response = charger_stub(channel).ChangeAvailability(request, timeout=timeout_s + MARGIN_S)
    report(response, as_json=as_json)


@app.command("trigger")
def trigger(
    charger_id: ChargerId,
    message: Annotated[str, typer.Argument(help="The OCPP name of the message.")],
    connector: Annotated[int | None, typer.Option(help="Of which connector.")] = None,
    custom: Annotated[str, typer.Option(help="What a CustomTrigger is for (2.1).")] = "",
    timeout_s: Timeout = 30.0,
    address: Address = DEFAULT_ADDRESS,
    as_json: Json = False,
) -> None:
    """Ask a charger to send a message now.

    \b
    loadstar chargers trigger CP-1 BootNotification
    loadstar chargers trigger CP-1 MeterValues --connector 1
    """
    from controlplane.api.v1 import chargers_pb2

    with connected(address) as channel:
        request = chargers_pb2.TriggerMessageRequest(
            charger_id=charger_id,
            message=message,
            connector_id=connector,
            custom=custom,
            timeout_s=timeout_s,
            request_id=new_request_id(),
        )
        response = charger_stub(channel).TriggerMessage(request, timeout=timeout_s + MARGIN_S)
    report(response, as_json=as_json)


@app.command("schedule")
def schedule(
    charger_id: ChargerId,
    connector: Annotated[int, typer.Option(help="The connector; 0 is the whole charger.")] = 0,
    duration_s: Annotated[int, typer.Option("--duration", help="Seconds ahead.")] = 3_600,
    timeout_s: Timeout = 30.0,
    address: Address = DEFAULT_ADDRESS,
    as_json: Json = False,
) -> None:
    """Show the limits that a charger holds itself, all its profiles combined.

    \b
    loadstar chargers schedule CP-1 --connector 1
    """
    from controlplane.api.v1 import chargers_pb2

    with connected(address) as channel:
        request = chargers_pb2.GetCompositeScheduleRequest(
            charger_id=charger_id,
            connector_id=connector,
            duration_s=duration_s,
            timeout_s=timeout_s,
        )
        response = charger_stub(channel).GetCompositeSchedule(request, timeout=timeout_s + MARGIN_S)
    if as_json or not response.periods:
        report(response, as_json=as_json)
        return
    table(
        ["#From", "#Limit", "#Phases"],
        (
            [
                f"{period.start_s} s",
                f"{period.limit_a:g} A" if period.HasField("limit_a") else f"{period.limit_w:g} W",
                str(period.phases) if period.HasField("phases") else "",
            ]
            for period in response.periods
        ),
        title=f"from {moment(response, 'start_time') or 'now'} for {response.duration_s} s",
    )


@app.command("call")
def call(
    charger_id: ChargerId,
    action: Annotated[str, typer.Argument(help="The action, as in the charger's OCPP version.")],
    payload_json: Annotated[str, typer.Argument(help="Its payload, a JSON object.")] = "{}",
    outside_allocation: Annotated[
        bool,
        typer.Option(
            "--outside-allocation",
            help="Send a charging profile behind the allocation's back, on your own account.",
        ),
    ] = False,
    timeout_s: Timeout = 30.0,
    address: Address = DEFAULT_ADDRESS,
) -> None:
    """Send any OCPP action and print the charger's answer.

    \b
    loadstar chargers call CP-1 GetDiagnostics '{"location": "ftp://files.example/cp-1"}'
    loadstar chargers call CP-2 GetTransactionStatus '{}'
    """
    from controlplane.api.v1 import chargers_pb2

    with connected(address) as channel:
        request = chargers_pb2.CallRequest(
            charger_id=charger_id,
            action=action,
            payload_json=payload_json,
            outside_allocation=outside_allocation,
            timeout_s=timeout_s,
            request_id=new_request_id(),
        )
        outcome = charger_stub(channel).Call(request, timeout=timeout_s + MARGIN_S).outcome
    if outcome.payload_json:
        typer.echo(json.dumps(json.loads(outcome.payload_json), indent=2, ensure_ascii=False))
    if outcome.state != chargers_pb2.COMMAND_STATE_ACCEPTED:
        fail(outcome_line(outcome))


def report(response: Any, *, as_json: bool) -> None:
    """Print what became of a command; anything but acceptance ends with status 1."""
    from controlplane.api.v1 import chargers_pb2

    outcome = response.outcome
    if as_json:
        print_json(response)
    elif outcome.state == chargers_pb2.COMMAND_STATE_ACCEPTED:
        typer.echo(outcome_line(outcome))
    if outcome.state != chargers_pb2.COMMAND_STATE_ACCEPTED:
        if as_json:
            raise typer.Exit(1)
        fail(outcome_line(outcome))


def outcome_line(outcome: chargers_pb2.CommandOutcome) -> str:
    from controlplane.api.v1 import chargers_pb2

    particulars = [outcome.status, outcome.error_code, outcome.error_description]
    state = word(chargers_pb2.CommandState, outcome.state)
    told = ", ".join(part for part in particulars if part and part.lower() != state)
    return f"{state} ({told})" if told else state
