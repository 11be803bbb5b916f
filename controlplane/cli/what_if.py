"""`loadstar what-if`: what the last months would have been with another description of a site."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from controlplane.cli.connection import DEFAULT_ADDRESS, POWER_MAX_KW, Address, connected, fail
from controlplane.cli.output import energy, plain, table
from controlplane.cli.prices import Zone, zone_of
from controlplane.cli.results import JsonPath, write_json

if TYPE_CHECKING:
    from zoneinfo import ZoneInfo

    from controlplane.api.v1 import what_if_pb2

__all__ = ["what_if"]


def what_if(
    site_id: Annotated[str, typer.Argument(metavar="SITE", help="The site's id.")],
    start: Annotated[str, typer.Option("--from", help="The first day, as 2026-09-01.")],
    end: Annotated[str, typer.Option("--to", help="The last day, included.")],
    cap_kw: Annotated[
        float | None,
        typer.Option(
            help="What the whole site may draw, in place of its contract.",
            min=0.001,
            max=POWER_MAX_KW,
        ),
    ] = None,
    chargers: Annotated[
        int,
        typer.Option(
            help="So many more, such as +4, or fewer, such as -2.",
            metavar="+N|-N",
            min=-1_000_000,
            max=1_000_000,
        ),
    ] = 0,
    circuit: Annotated[
        str, typer.Option(help="Where they would hang; that of most chargers by default.")
    ] = "",
    tariff: Annotated[
        Path | None,
        typer.Option(help="Another tariff, in YAML as under `tariff` in a site.", metavar="FILE"),
    ] = None,
    prices: Annotated[
        Path | None,
        typer.Option(
            help="Prices of the market in those days, for a tariff with day_ahead; as for "
            "`loadstar prices push`.",
            metavar="FILE",
        ),
    ] = None,
    time_zone: Zone = "",
    timeout_s: Annotated[
        float, typer.Option("--timeout", help="Seconds to wait at most.", min=1, max=600)
    ] = 600,
    address: Address = DEFAULT_ADDRESS,
    json_path: JsonPath = None,
) -> None:
    """Live past months of a site through again with another cap, other chargers, another tariff.

    The sessions that are stored are replayed twice, with the planner and the allocation that sites
    run on: as the site is described, and as it would be. For both you see what was delivered, who
    left short, who found no free connector, the highest power, the energy's cost and the demand
    charges of each month; and how much better anybody could have done who had known it all. Nothing
    is changed. docs/what-if.md says what is taken for granted.

    \b
    loadstar what-if depot --cap-kw 80 --from 2026-09-01 --to 2026-10-31
    loadstar what-if depot --chargers +4 --circuit panel-2 --from 2026-09-01 --to 2026-09-30
    loadstar what-if depot --tariff tou.yaml --from 2026-09-01 --to 2026-10-31 --json -
    """
    from controlplane.api.v1 import what_if_pb2, what_if_pb2_grpc

    request = what_if_pb2.AskWhatIfRequest(
        site_id=site_id,
        start_date=start,
        end_date=end,
        added_charger_count=chargers,
        circuit_id=circuit,
        cap_w=None if cap_kw is None else round(cap_kw * 1_000),
    )
    _add_files(request, tariff, prices, zone_of(time_zone) if time_zone else None)
    with connected(address) as channel:
        stub = what_if_pb2_grpc.WhatIfServiceStub(channel)
        answer = None
        for told in stub.AskWhatIf(request, timeout=timeout_s):
            if told.WhichOneof("told") == "answer":
                answer = told.answer
            else:
                _show_progress(told.progress)
    if sys.stderr.isatty():
        typer.echo("\r\x1b[K", nl=False, err=True)
    if answer is None:
        fail("Loadstar ended the stream without an answer.")
    if not write_json(plain(answer), json_path):
        _show(answer)


def _add_files(
    request: what_if_pb2.AskWhatIfRequest,
    tariff: Path | None,
    prices: Path | None,
    zone: ZoneInfo | None,
) -> None:
    """The tariff and the prices of files, checked before anybody is asked; times without an offset
    are those of `zone`, and refused without one."""
    from controlplane.api.descriptions import tariff_to_message
    from controlplane.errors import InvalidInput
    from controlplane.network_yaml import parse_tariff
    from controlplane.planning.prices import PRICE_COLUMNS, read_series

    try:
        if tariff is not None:
            described = parse_tariff(tariff.read_text(encoding="utf-8"), source=str(tariff))
            request.tariff.CopyFrom(tariff_to_message(described))
        if prices is not None:
            text = prices.read_text(encoding="utf-8")
            for each in read_series(text, PRICE_COLUMNS, source=str(prices), zone=zone):
                interval = request.prices.add(price_per_kwh=f"{each.value:f}")
                interval.start_time.FromSeconds(each.start_s)
                interval.end_time.FromSeconds(each.end_s)
    except InvalidInput as error:
        fail(error.message)
    except (OSError, UnicodeDecodeError) as error:
        fail(f"cannot read: {error}")


def _show_progress(progress: what_if_pb2.WhatIfProgress) -> None:
    """On one line that is written over, for people only."""
    if sys.stderr.isatty():
        which = "as it would be" if progress.what_if else "as it is"
        words = f"\r\x1b[K{progress.done_percent:3.0f} %  {progress.day}, {which}"
        typer.echo(words, nl=False, err=True)


def _show(answer: what_if_pb2.WhatIfAnswer) -> None:
    left_out = f", {answer.left_out_count} left out" if answer.left_out_count else ""
    typer.echo(
        f"Site {answer.site_id}: {answer.session_count} sessions{left_out}, "
        f"{energy(answer.recorded_wh)} by their meters"
    )
    table(
        ["", "#As it is", "#As it would be", "#More"],
        _rows(answer.as_is, answer.what_if),
    )
    table(
        ["Month", "#Charged", "#Peak", "#Energy", "#Demand charges", "#Cost", "#It would cost"],
        _months(answer),
    )
    for outcome, name in ((answer.as_is, "as it is"), (answer.what_if, "as it would be")):
        typer.echo(
            f"Known in advance, the site {name} could have delivered as much for no less than "
            f"{_money(outcome.cost_least, outcome.currency)} "
            f"({outcome.gap_percent:.1f} % less), and had to miss "
            f"{energy(outcome.missing_least_wh)}."
        )
    stale = dict.fromkeys((*answer.as_is.stale, *answer.what_if.stale))
    for words in (*answer.assumptions, *stale):
        typer.echo(f"assumed: {words}")


def _rows(is_: what_if_pb2.WhatIfOutcome, would: what_if_pb2.WhatIfOutcome) -> Iterator[list[str]]:
    """One line for each figure of both, with the difference."""
    counts = (
        ("Connectors", "connector_count"),
        ("Sessions", "session_count"),
        ("  of them estimated", "estimated_count"),
        ("Turned away", "turned_away_count"),
        ("  of them estimated", "turned_away_estimated_count"),
        ("Short on departure", "short_count"),
    )
    for name, field in counts:
        before, after = getattr(is_, field), getattr(would, field)
        yield [name, str(before), str(after), f"{after - before:+d}" if after != before else ""]
    for name, field in (("Delivered", "delivered_wh"), ("Missing", "missing_wh")):
        before, after = getattr(is_, field), getattr(would, field)
        more = f"{(after - before) / 1_000:+.2f} kWh" if after != before else ""
        yield [name, energy(before), energy(after), more]
    for name, field in (("Peak", "peak_w"), ("  of chargers alone", "charging_peak_w")):
        before, after = getattr(is_, field), getattr(would, field)
        more = f"{(after - before) / 1_000:+.1f} kW" if after != before else ""
        yield [name, _power(before), _power(after), more]
    costs = (("Energy", "energy_cost"), ("Demand charges", "demand_cost"), ("Cost", "cost"))
    for name, field in costs:
        before, after = getattr(is_, field), getattr(would, field)
        more = ""
        if is_.currency == would.currency and before != after:
            more = f"{float(after) - float(before):+.2f} {is_.currency}"
        yield [name, _money(before, is_.currency), _money(after, would.currency), more]


def _months(answer: what_if_pb2.WhatIfAnswer) -> Iterator[list[str]]:
    """Each month as it is, and its cost as it would be."""
    currency = answer.as_is.currency
    for month, would in zip(answer.as_is.months, answer.what_if.months, strict=True):
        demand = sum(float(each.cost) for each in month.demand_costs)
        yield [
            month.month,
            energy(month.charged_wh),
            _power(month.peak_w),
            _money(month.energy_cost, currency),
            f"{demand:.2f} {currency}",
            _money(month.cost, currency),
            _money(would.cost, answer.what_if.currency),
        ]


def _power(power_w: int) -> str:
    return f"{power_w / 1_000:.1f} kW"


def _money(text: str, currency: str) -> str:
    return f"{float(text):.2f} {currency}"
