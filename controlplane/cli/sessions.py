"""`loadstar sessions`: what was delivered to whom, and what is still wanted by when."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from controlplane.cli.connection import (
    CALL_TIMEOUT_S,
    DEFAULT_ADDRESS,
    Address,
    Json,
    connected,
    instant,
    new_request_id,
)
from controlplane.cli.output import echo_json, energy, moment, print_json, table, word

if TYPE_CHECKING:
    import grpc
    from google.protobuf.timestamp_pb2 import Timestamp

    from controlplane.api.v1 import sessions_pb2
    from controlplane.api.v1.sessions_pb2_grpc import SessionsServiceStub

__all__ = ["app"]

app = typer.Typer(
    no_args_is_help=True, help="See what was delivered to whom, and say what is wanted by when."
)

SessionId = Annotated[str, typer.Argument(help="The session's id.")]
Site = Annotated[str, typer.Option(help="Only in this site.")]
Charger = Annotated[str, typer.Option(help="Only at this charger.")]


class _Forgotten(StrEnum):
    """What a driver may take back."""

    ENERGY = "energy"
    DEPARTURE = "departure"


@app.command("list")
def list_sessions(
    site: Site = "",
    charger: Charger = "",
    active: Annotated[bool, typer.Option("--active", help="Only those that run.")] = False,
    count: Annotated[int, typer.Option(help="How many at most.", min=1, max=100_000)] = 50,
    address: Address = DEFAULT_ADDRESS,
    as_json: Json = False,
) -> None:
    """List sessions, newest first.

    \b
    loadstar sessions list --active
    loadstar sessions list --site depot --count 1000 --json
    """
    from controlplane.api.v1 import sessions_pb2

    found = sessions_pb2.ListSessionsResponse()
    state = sessions_pb2.SESSION_STATE_ACTIVE if active else sessions_pb2.SESSION_STATE_UNSPECIFIED
    with connected(address) as channel:
        token = ""
        while len(found.sessions) < count:
            request = sessions_pb2.ListSessionsRequest(
                site_id=site,
                charger_id=charger,
                state=state,
                page_size=min(count - len(found.sessions), 1_000),
                page_token=token,
            )
            page = _stub(channel).ListSessions(request, timeout=CALL_TIMEOUT_S)
            found.sessions.extend(page.sessions)
            token = page.next_page_token
            if not token:
                break
    if as_json:
        print_json(found)
        return
    table(
        ["Session", "Charger", "State", "Began (UTC)", "Ended (UTC)", "#Energy", "#Need", "Leaves"],
        (
            [
                session.session_id,
                f"{session.charger_id}/{session.connector_id}",
                word(sessions_pb2.SessionState, session.state),
                moment(session, "start_time"),
                moment(session, "end_time"),
                energy(session.energy_wh),
                energy(session.need_wh) if session.HasField("need_wh") else "",
                moment(session, "departure_time"),
            ]
            for session in found.sessions
        ),
    )


@app.command("get")
def get_session(
    session_id: SessionId,
    samples: Annotated[
        int, typer.Option(help="Also the newest of what was measured.", min=0, max=10_000)
    ] = 0,
    address: Address = DEFAULT_ADDRESS,
    as_json: Json = False,
) -> None:
    """Show one session.

    \b
    loadstar sessions get S-17
    loadstar sessions get S-17 --samples 20
    """
    from controlplane.api.v1 import sessions_pb2

    measured = sessions_pb2.ListMeterSamplesResponse()
    with connected(address) as channel:
        request = sessions_pb2.GetSessionRequest(session_id=session_id)
        session = _stub(channel).GetSession(request, timeout=CALL_TIMEOUT_S).session
        if samples:
            measured = _stub(channel).ListMeterSamples(
                sessions_pb2.ListMeterSamplesRequest(session_id=session_id, limit=samples),
                timeout=CALL_TIMEOUT_S,
            )
    if as_json:
        echo_json(session)
        for sample in measured.samples:
            echo_json(sample)
        return
    _show(session)
    if samples:
        table(
            ["Measured (UTC)", "#Register", "#Power", "#Charge"],
            (
                [
                    moment(sample, "measure_time"),
                    energy(sample.energy_wh) if sample.HasField("energy_wh") else "",
                    f"{sample.power_w} W" if sample.HasField("power_w") else "",
                    f"{sample.soc_percent:g} %" if sample.HasField("soc_percent") else "",
                ]
                for sample in measured.samples
            ),
        )


@app.command("watch")
def watch(
    site: Site = "",
    charger: Charger = "",
    interval_s: Annotated[
        float, typer.Option("--interval", help="Also every so many seconds, as measured.", min=0)
    ] = 0.0,
    address: Address = DEFAULT_ADDRESS,
    as_json: Json = False,
) -> None:
    """Print a line for each running session, and another whenever one changes, until Ctrl-C.

    \b
    loadstar sessions watch --site depot --interval 5
    """
    from controlplane.api.v1 import sessions_pb2

    with connected(address) as channel:
        request = sessions_pb2.WatchSessionsRequest(
            site_id=site, charger_id=charger, interval_s=interval_s
        )
        for told in _stub(channel).WatchSessions(request):
            if as_json:
                echo_json(told)
                continue
            session = told.session
            typer.echo(
                f"{session.session_id:24} {session.charger_id}/{session.connector_id:<4} "
                f"{word(sessions_pb2.SessionState, session.state):7} "
                f"{energy(session.energy_wh):>12}  {told.event_kind}"
            )


@app.command("need")
def need(
    session_id: SessionId,
    energy_kwh: Annotated[
        float | None,
        typer.Option("--energy", help="kWh in this session, in total.", min=0, max=10_000),
    ] = None,
    departure: Annotated[
        str | None, typer.Option(help="When the vehicle leaves, RFC 3339.")
    ] = None,
    forget: Annotated[
        list[_Forgotten] | None,
        typer.Option(help="Take back what was said of it; may be repeated."),
    ] = None,
    boost_min: Annotated[
        int | None,
        typer.Option(
            "--boost",
            help="For so many minutes it goes before all others; 0 ends that.",
            metavar="MINUTES",
            min=0,
            max=24 * 60,
        ),
    ] = None,
    feed_in: Annotated[
        bool | None,
        typer.Option("--feed-in/--no-feed-in", help="Whether the vehicle may feed in."),
    ] = None,
    reserve: Annotated[
        int | None,
        typer.Option(
            help="With --feed-in: what stays in the battery; 50 unless given.",
            metavar="PERCENT",
            min=0,
            max=100,
        ),
    ] = None,
    address: Address = DEFAULT_ADDRESS,
    as_json: Json = False,
) -> None:
    """Say how much a driver needs and by when, let a session go first for a while, or its vehicle
    feed in.

    A vehicle feeds in only where its station speaks OCPP 2.1 and has told of it, the site has terms
    for it (`vehicle_to_grid`), and need and departure are known; both are kept.

    \b
    loadstar sessions need S-17 --energy 22.5 --departure 2026-05-01T17:30:00+02:00
    loadstar sessions need S-17 --forget departure
    loadstar sessions need S-17 --boost 30
    loadstar sessions need S-17 --feed-in --reserve 40
    """
    from controlplane.api.v1 import sessions_pb2

    forgotten = set(forget or ())
    given = (energy_kwh, departure, boost_min, feed_in)
    if not forgotten and all(each is None for each in given):
        raise typer.BadParameter("give --energy, --departure, --boost, --feed-in or --forget")
    if reserve is not None and not feed_in:
        raise typer.BadParameter("--reserve needs --feed-in")
    discharge = None
    if feed_in is not None:
        discharge = sessions_pb2.DischargeConsent(allowed=feed_in, reserve_percent=reserve)
    with connected(address) as channel:
        request = sessions_pb2.SetSessionNeedRequest(
            session_id=session_id,
            need_wh=None if energy_kwh is None else round(energy_kwh * 1_000),
            departure_time=instant("--departure", departure),
            boost_until_time=None if boost_min is None else _from_now(channel, minutes=boost_min),
            request_id=new_request_id(),
            discharge=discharge,
            forget_need=_Forgotten.ENERGY in forgotten,
            forget_departure=_Forgotten.DEPARTURE in forgotten,
        )
        session = _stub(channel).SetSessionNeed(request, timeout=CALL_TIMEOUT_S).session
    if as_json:
        print_json(session)
    else:
        _show(session)


@app.command("abandon")
def abandon(
    session_id: SessionId, address: Address = DEFAULT_ADDRESS, as_json: Json = False
) -> None:
    """Close the session of a charger that is dead for good.

    It ends with its last reading and no longer takes up room on its circuits; the charger can then
    be removed from its site. Only you know that it can draw nothing any more: a connected charger
    is refused.

    \b
    loadstar sessions abandon S-17
    """
    from controlplane.api.v1 import sessions_pb2

    with connected(address) as channel:
        request = sessions_pb2.AbandonSessionRequest(
            session_id=session_id, request_id=new_request_id()
        )
        session = _stub(channel).AbandonSession(request, timeout=CALL_TIMEOUT_S).session
    if as_json:
        print_json(session)
    else:
        _show(session)


@app.command("credits")
def list_credits(
    site: Site = "",
    charger: Charger = "",
    count: Annotated[int, typer.Option(help="Sessions to look at.", min=1, max=100_000)] = 1_000,
    address: Address = DEFAULT_ADDRESS,
    as_json: Json = False,
) -> None:
    """List what drivers are credited with for what their vehicles fed in, newest session first.

    Watt-hours are those of the charger's register. The journal has each credit when it accrued, as
    `credit.accrued`.

    \b
    loadstar sessions credits --site depot
    """
    from controlplane.api.v1 import sessions_pb2

    found = sessions_pb2.ListSessionsResponse()
    looked_at, token = 0, ""
    with connected(address) as channel:
        while looked_at < count:
            request = sessions_pb2.ListSessionsRequest(
                site_id=site,
                charger_id=charger,
                page_size=min(count - looked_at, 1_000),
                page_token=token,
            )
            page = _stub(channel).ListSessions(request, timeout=CALL_TIMEOUT_S)
            looked_at += len(page.sessions)
            found.sessions.extend(each for each in page.sessions if each.HasField("credit"))
            token = page.next_page_token
            if not token:
                break
    if as_json:
        print_json(found)
        return
    table(
        ["Session", "Charger", "Token", "Began (UTC)", "#Fed in", "#Credited", "#Credit"],
        (
            [
                session.session_id,
                f"{session.charger_id}/{session.connector_id}",
                session.id_token,
                moment(session, "start_time"),
                energy(session.exported_wh),
                energy(session.credit.energy_wh),
                _credit(session),
            ]
            for session in found.sessions
        ),
    )


def _reserve(session: sessions_pb2.Session) -> str:
    if not session.HasField("discharge_reserve_percent"):
        return "no"
    return f"down to {session.discharge_reserve_percent} %"


def _credit(session: sessions_pb2.Session) -> str:
    if not session.HasField("credit"):
        return ""
    credit = session.credit
    return f"{credit.amount} {credit.currency} for {credit.energy_wh} Wh"


def _from_now(channel: grpc.Channel, *, minutes: int) -> Timestamp:
    """So many minutes from now on, by Loadstar's clock, which may run faster than ours."""
    from google.protobuf.timestamp_pb2 import Timestamp

    from controlplane.api.v1 import system_pb2, system_pb2_grpc

    stub = system_pb2_grpc.SystemServiceStub(channel)
    now = stub.GetStatus(system_pb2.GetStatusRequest(), timeout=CALL_TIMEOUT_S).time
    return Timestamp(seconds=now.seconds + minutes * 60, nanos=now.nanos)


def _stub(channel: grpc.Channel) -> SessionsServiceStub:
    from controlplane.api.v1 import sessions_pb2_grpc

    return sessions_pb2_grpc.SessionsServiceStub(channel)


def _show(session: sessions_pb2.Session) -> None:
    from controlplane.api.v1 import sessions_pb2

    table(
        ["Session", session.session_id],
        [
            ["Charger", f"{session.charger_id}/{session.connector_id}"],
            ["Site", session.site_id],
            ["State", word(sessions_pb2.SessionState, session.state)],
            ["Transaction", session.transaction_id],
            ["Token", f"{session.id_token} {session.token_status}".strip()],
            ["Began (UTC)", moment(session, "start_time")],
            ["Ended (UTC)", moment(session, "end_time")],
            ["Stopped because", session.stop_reason],
            ["Events missing", str(session.missing_event_count or "")],
            ["Energy", energy(session.energy_wh)],
            ["Need", energy(session.need_wh) if session.HasField("need_wh") else ""],
            ["Leaves (UTC)", moment(session, "departure_time")],
            ["Goes first until (UTC)", moment(session, "boost_until_time")],
            ["May feed in", _reserve(session)],
            ["Fed in", energy(session.exported_wh) if session.exported_wh else ""],
            ["Credit", _credit(session)],
        ],
    )
