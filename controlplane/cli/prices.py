"""`loadstar prices`: push day-ahead prices and forecasts, see what sites expect."""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from decimal import Decimal
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any
from zoneinfo import ZoneInfo

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
from controlplane.cli.output import moment, print_json, table

if TYPE_CHECKING:
    import grpc

    from controlplane.api.v1 import planning_pb2
    from controlplane.api.v1.planning_pb2_grpc import PlanningServiceStub
    from controlplane.planning.prices import Told

__all__ = ["Zone", "app", "zone_of"]

app = typer.Typer(
    no_args_is_help=True, help="Push day-ahead prices and forecasts, see what sites expect."
)

_PUSHED_MAX = 2_000
_PAST_S = 48 * 3_600

Zone = Annotated[
    str,
    typer.Option(
        "--time-zone", help="The clock of times without an offset, such as Europe/Berlin."
    ),
]
Clock = Annotated[str, typer.Option("--time-zone", help="Show times on this clock instead of UTC.")]


class Of(StrEnum):
    """What a forecast is of."""

    BUILDING = "building"
    SOLAR = "solar"


@app.command("push")
def push(
    given: Annotated[
        list[str],
        typer.Argument(
            metavar="[SITE]... FILE",
            help="The sites, unless --feeder is given, and a file in CSV or JSON; `-` reads it.",
            show_default=False,
        ),
    ],
    feeder: Annotated[
        str, typer.Option(help="All sites below this feeder whose tariff follows a market.")
    ] = "",
    currency: Annotated[
        str, typer.Option(help="ISO 4217; that of each site's tariff by default.")
    ] = "",
    time_zone: Zone = "",
    address: Address = DEFAULT_ADDRESS,
    as_json: Json = False,
) -> None:
    """Push the prices of a market to sites whose tariff has `day_ahead`.

    A CSV file has a header with `start`, `price_per_kwh` or `price_per_mwh` and, if it likes,
    `end`; times are as in 2026-05-01T00:00+02:00. A JSON file is a list of objects with the same
    names. Where prices overlap what was pushed before, the latest count; prices may be below 0.

    \b
    loadstar prices push depot tomorrow.csv
    loadstar prices push depot yard tomorrow.json --currency EUR
    loadstar prices push --feeder north tomorrow.csv --time-zone Europe/Berlin
    """
    from controlplane.api.v1 import planning_pb2
    from controlplane.planning.prices import PRICE_COLUMNS

    *sites, file = given
    if bool(sites) == bool(feeder):
        raise typer.BadParameter("name the sites before the file, or a --feeder", param_hint="SITE")
    told = _read(file, PRICE_COLUMNS, time_zone)
    request = planning_pb2.PushPricesRequest(
        site_ids=sites, feeder_id=feeder, currency=currency, request_id=new_request_id()
    )
    with connected(address) as channel:
        for each in _useful(told, channel, file):
            interval = request.prices.add(price_per_kwh=f"{each.value:f}")
            _span(interval, each)
        response = _stub(channel).PushPrices(request, timeout=CALL_TIMEOUT_S)
    if as_json:
        print_json(response)
    else:
        table(
            ["Site", "#Taken", "Known until (UTC)", "Refused"],
            (
                [each.site_id, str(each.taken_count), moment(each, "until_time"), each.refusal]
                for each in response.outcomes
            ),
        )
    if any(each.refusal for each in response.outcomes):
        raise typer.Exit(1)


@app.command("forecast")
def forecast(
    site_id: Annotated[str, typer.Argument(help="The site's id.")],
    file: Annotated[str, typer.Argument(help="The powers in CSV or JSON; `-` reads them.")],
    of: Annotated[Of, typer.Option(help="What the forecast is of.")] = Of.SOLAR,
    time_zone: Zone = "",
    address: Address = DEFAULT_ADDRESS,
    as_json: Json = False,
) -> None:
    """Push a forecast of what a site's building draws or its solar plant gives.

    It counts before what the site learned by itself. A file is as for `push`, with `power_w` or
    `power_kw`.

    \b
    loadstar prices forecast depot sun.csv
    loadstar prices forecast depot load.json --of building
    """
    from controlplane.api.v1 import planning_pb2
    from controlplane.planning.prices import POWER_COLUMNS

    kinds = {
        Of.BUILDING: planning_pb2.POWER_FORECAST_KIND_BUILDING,
        Of.SOLAR: planning_pb2.POWER_FORECAST_KIND_SOLAR,
    }
    request = planning_pb2.PushForecastRequest(
        site_id=site_id, kind=kinds[of], request_id=new_request_id()
    )
    told = _read(file, POWER_COLUMNS, time_zone)
    with connected(address) as channel:
        for each in _useful(told, channel, file):
            interval = request.powers.add(power_w=int(each.value.to_integral_value()))
            _span(interval, each)
        response = _stub(channel).PushForecast(request, timeout=CALL_TIMEOUT_S)
    if as_json:
        print_json(response)
    else:
        outcome = response.outcome
        until = moment(outcome, "until_time")
        typer.echo(f"{site_id}: took {outcome.taken_count} values, known until {until} UTC")


@app.command("show")
def show(
    site_id: Annotated[str, typer.Argument(help="The site's id.")],
    hours: Annotated[int, typer.Option(help="How far ahead.", min=1, max=168)] = 24,
    slot_minutes: Annotated[
        int, typer.Option("--slot", help="Minutes of a line.", min=15, max=60)
    ] = 60,
    time_zone: Clock = "UTC",
    address: Address = DEFAULT_ADDRESS,
    as_json: Json = False,
) -> None:
    """Show what a site expects: prices, building, sun and arrivals, and how far it was off.

    Each error is of hours, or sessions, that were not known when they were forecast; beside it
    stands what anybody would have guessed.

    \b
    loadstar prices show depot
    loadstar prices show depot --hours 48 --slot 15 --json
    """
    from controlplane.api.v1 import planning_pb2

    zone = zone_of(time_zone)
    request = planning_pb2.GetForecastsRequest(
        site_id=site_id,
        slot_s=slot_minutes * 60,
        slot_count=-(-hours * 60 // slot_minutes),
    )
    with connected(address) as channel:
        found = _stub(channel).GetForecasts(request, timeout=CALL_TIMEOUT_S).forecasts
    if as_json:
        print_json(found)
        return
    _show(site_id, found, zone)


def _show(site_id: str, found: planning_pb2.SiteForecasts, zone: ZoneInfo) -> None:
    table(
        [
            "From",
            f"#{found.currency}/kWh",
            "#Fed in",
            "#Building kW",
            "#1 in 10 above",
            "#Sun kW",
            "#Arrivals",
            "#Stay h",
            "#Need kWh",
        ],
        (
            [
                f"{_local(slot.start_time, zone):%a %d %b %H:%M}",
                _price(slot.import_price_per_kwh),
                _price(slot.export_price_per_kwh),
                f"{slot.building_w / 1_000:.1f}",
                f"{slot.building_high_w / 1_000:.1f}",
                f"{slot.solar_w / 1_000:.1f}",
                f"{slot.arrival_count:.1f}",
                f"{slot.stay_s / 3_600:.1f}" if slot.HasField("stay_s") else "",
                f"{slot.energy_wh / 1_000:.1f}" if slot.HasField("energy_wh") else "",
            ]
            for slot in found.slots
        ),
        title=f"What site {site_id} expects ({zone.key})",
    )
    for peak in found.peaks:
        when = f" on {_local(peak.at_time, zone):%d %b %H:%M}" if peak.HasField("at_time") else ""
        typer.echo(
            f"Demand charge {peak.name}: {peak.power_w / 1_000:.1f} kW so far this month{when}, at "
            f"{_price(peak.price_per_kw)} {found.currency}/kW"
        )
    typer.echo(
        f"Learned from {found.building_day_count} days of the building, "
        f"{found.solar_day_count} of the sun and {found.visit_count} visits"
    )
    for error in found.errors:
        typer.echo(f"Error of {error.words}")
    for words in found.stale:
        typer.secho(words, fg="yellow")


def _read(file: str, columns: dict[str, Decimal], time_zone: str) -> list[Told]:
    """The values of a file."""
    from controlplane.errors import InvalidInput
    from controlplane.planning.prices import read_series

    zone = zone_of(time_zone) if time_zone else None
    try:
        text = sys.stdin.read() if file == "-" else Path(file).read_text(encoding="utf-8")
        return read_series(text, columns, source=file, zone=zone)
    except InvalidInput as error:
        fail(error.message)
    except (OSError, UnicodeDecodeError) as error:
        fail(f"{file}: {error.strerror if isinstance(error, OSError) else error}")


def _useful(told: list[Told], channel: grpc.Channel, file: str) -> list[Told]:
    """Those that a site could still use, by Loadstar's clock: a file may hold a whole year."""
    from controlplane.api.v1 import system_pb2, system_pb2_grpc

    status = system_pb2_grpc.SystemServiceStub(channel).GetStatus(
        system_pb2.GetStatusRequest(), timeout=CALL_TIMEOUT_S
    )
    since_s = status.time.ToSeconds() - _PAST_S
    useful = [each for each in told if each.end_s > since_s]
    if not useful:
        last = datetime.fromtimestamp(told[-1].end_s, tz=UTC)
        fail(f"{file}: all {len(told)} values are past; the last ends {last:%Y-%m-%d %H:%M} UTC")
    if len(useful) > _PUSHED_MAX:
        words = f"{file}: only the first {_PUSHED_MAX} of {len(useful)} values to come are pushed"
        typer.secho(words, err=True, fg="yellow")
    return useful[:_PUSHED_MAX]


def zone_of(name: str) -> ZoneInfo:
    """The clock of that name, or the usage error that says that there is none."""
    try:
        return ZoneInfo(name)
    except (OSError, ValueError, KeyError):
        raise typer.BadParameter(
            f"{name!r} is no IANA time zone, such as Europe/Berlin", param_hint="--time-zone"
        ) from None


def _span(interval: Any, told: Told) -> None:
    interval.start_time.FromSeconds(told.start_s)
    interval.end_time.FromSeconds(told.end_s)


def _local(time: Any, zone: ZoneInfo) -> datetime:
    found: datetime = time.ToDatetime(tzinfo=UTC).astimezone(zone)
    return found


def _price(text: str) -> str:
    """A price without the zeros at its end; empty where there is none."""
    return f"{Decimal(text).normalize():f}" if text else ""


def _stub(channel: grpc.Channel) -> PlanningServiceStub:
    from controlplane.api.v1 import planning_pb2_grpc

    return planning_pb2_grpc.PlanningServiceStub(channel)
