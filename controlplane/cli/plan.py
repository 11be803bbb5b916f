"""`loadstar plan`: what a site or a feeder plans over the next day, drawn in the terminal."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from datetime import datetime
from itertools import groupby, pairwise
from math import ceil
from pathlib import Path
from shutil import get_terminal_size
from typing import TYPE_CHECKING, Annotated
from zoneinfo import ZoneInfo

import typer

from controlplane.cli.connection import (
    CALL_TIMEOUT_S,
    DEFAULT_ADDRESS,
    Address,
    Json,
    connected,
    fail,
)
from controlplane.cli.output import amperes, echo_json, energy, print_json, table, word

if TYPE_CHECKING:
    from google.protobuf.timestamp_pb2 import Timestamp

    from controlplane.api.v1 import planning_pb2, planning_pb2_grpc

__all__ = ["chart", "plan"]

_HEIGHT, _PRICE_HEIGHT = 10, 3
_AXIS = 9
_EIGHTHS = " ▁▂▃▄▅▆▇█"
_TICK_H = 3


def plan(
    name: Annotated[
        str, typer.Argument(metavar="SITE|FEEDER", help="The id of a site, or else of a feeder.")
    ],
    watch: Annotated[
        bool, typer.Option("--watch", help="Draw every plan that is followed, until Ctrl-C.")
    ] = False,
    svg: Annotated[
        Path | None, typer.Option("--svg", help="Draw it into this file as well.", metavar="FILE")
    ] = None,
    address: Address = DEFAULT_ADDRESS,
    as_json: Json = False,
) -> None:
    """Show what a site plans over the next day, or a feeder with all its sites.

    First the power of every quarter of an hour, building below and vehicles above it, beside what
    the supply carries, and the price below; then each session with what it needs, what it will get
    and why it waits; then the rows that are full, and what more of them would be worth. Times are
    those of the site's own clock.

    Of a feeder: the power of all below it beside what it carries, what one more kilowatt would be
    worth where it is full, and what each site is planned to draw and may plan with. Times are UTC.

    \b
    loadstar plan depot
    loadstar plan depot --svg plan.svg
    loadstar plan street
    loadstar plan depot --json | jq '.sessions[] | {charger_id, planned_wh, words}'
    """
    from controlplane.api.v1 import planning_pb2, planning_pb2_grpc

    with connected(address) as channel:
        stub = planning_pb2_grpc.PlanningServiceStub(channel)
        found = _found(stub, name)
        if watch:
            wanted = planning_pb2.WatchPlanRequest(
                site_id=found.site_id, feeder_id="" if found.site_id else name
            )
            for told in stub.WatchPlan(wanted):
                if as_json:
                    echo_json(told.plan)
                else:
                    _show(told.plan)
                if told.plan.slots:
                    _draw(told.plan, svg)
            return
    if as_json:
        print_json(found)
    else:
        _show(found)
    _draw(found, svg)


def _draw(found: planning_pb2.Plan, file: Path | None) -> None:
    """The picture of a plan, where one is wanted and there is a plan."""
    from controlplane.cli.plan_picture import draw

    if file is None:
        return
    if not found.slots:
        who = f"site {found.site_id}" if found.site_id else f"feeder {found.feeder_id}"
        fail(f"Nothing is drawn: {who} has no plan.")
    try:
        file.write_text(draw(found), encoding="utf-8")
    except OSError as error:
        fail(f"{file}: {error.strerror}")


def _found(stub: planning_pb2_grpc.PlanningServiceStub, name: str) -> planning_pb2.Plan:
    """The plan of the site of that name, or else of the feeder."""
    import grpc

    from controlplane.api.v1 import planning_pb2

    try:
        request = planning_pb2.GetPlanRequest(site_id=name)
        return stub.GetPlan(request, timeout=CALL_TIMEOUT_S).plan
    except grpc.RpcError as error:
        if error.code() is not grpc.StatusCode.NOT_FOUND:
            raise
    try:
        request = planning_pb2.GetPlanRequest(feeder_id=name)
        return stub.GetPlan(request, timeout=CALL_TIMEOUT_S).plan
    except grpc.RpcError as error:
        if error.code() is not grpc.StatusCode.NOT_FOUND:
            raise
        fail(f"there is no site and no feeder {name!r}")


def _show(found: planning_pb2.Plan) -> None:
    from controlplane.api.v1 import planning_pb2

    if not found.site_id:
        _show_feeder(found)
        return
    state = word(planning_pb2.PlanState, found.state)
    if found.state == planning_pb2.PLAN_STATE_NONE:
        typer.echo(
            f"Site {found.site_id} is not planned: its description has no tariff "
            "(docs/planning.md)."
        )
        return
    typer.echo(f"Site {found.site_id}: {state}" + (f", {found.words}" if found.words else ""))
    if not found.slots:
        return
    zone = ZoneInfo(found.time_zone)
    within = f" within what feeder {found.feeder_id} allotted" if found.feeder_id else ""
    typer.echo(
        f"planned {_clock(found.plan_time, zone)} ({found.time_zone}){within}, "
        f"cost {_money(found.cost, found.currency)}, no plan costs less than "
        f"{_money(found.bound, found.currency)} (gap {found.gap_percent:.3f} %)"
    )
    for guess in found.stale:
        typer.echo(f"guessed: {guess}")
    typer.echo("\n" + "\n".join(chart(found, zone, _terminal_width())) + "\n")
    _show_sessions(found, zone)
    _show_rows(found, zone)


def _show_feeder(found: planning_pb2.Plan) -> None:
    from controlplane.api.v1 import planning_pb2

    if found.state == planning_pb2.PLAN_STATE_NONE:
        typer.echo(
            f"Feeder {found.feeder_id} plans nothing: no site below it has a tariff "
            "(docs/planning.md)."
        )
        return
    state = word(planning_pb2.PlanState, found.state)
    typer.echo(f"Feeder {found.feeder_id}: {state}" + (f", {found.words}" if found.words else ""))
    if not found.slots:
        return
    zone = ZoneInfo(found.time_zone)
    by = f" by feeder {found.planner_id}" if found.planner_id != found.feeder_id else ""
    cost = ""
    if found.cost:
        cost = (
            f", cost {_money(found.cost, found.currency)}, no plan costs less than "
            f"{_money(found.bound, found.currency)} (gap {found.gap_percent:.3f} %)"
        )
    typer.echo(f"planned {_clock(found.plan_time, zone)} ({found.time_zone}){by}{cost}")
    typer.echo("\n" + "\n".join(chart(found, zone, _terminal_width())) + "\n")
    _show_sites(found, zone)
    _show_rows(found, zone)


def _show_sites(found: planning_pb2.Plan, zone: ZoneInfo) -> None:
    hours = found.slot_s / 3_600

    def highest(site: planning_pb2.PlanSite) -> tuple[int, str]:
        slot = max(range(len(found.slots)), key=lambda at: site.planned_w[at])
        return site.planned_w[slot], _clock(found.slots[slot].start_time, zone)

    table(
        ["Site", "Feeder", "Said", "#Vehicles", "#Short", "#Missing", "#Planned", "#Highest", "At"],
        (
            [
                site.site_id,
                site.feeder_id,
                _clock(site.tell_time, zone),
                str(site.vehicle_count),
                str(site.short_count) if site.short_count else "",
                energy(site.missing_wh) if site.missing_wh else "",
                energy(round(sum(site.planned_w) * hours)),
                f"{power_w / 1_000:.1f} kW",
                at,
            ]
            for site in found.sites
            for power_w, at in [highest(site)]
        ),
        title="Sites, buildings included",
    )


def chart(found: planning_pb2.Plan, zone: ZoneInfo, width: int | None = None) -> list[str]:
    """Lines of a chart: a column for each slot, or for as many slots together as bring it within
    `width` characters. Vehicles stand on the building; a column whose supply they fill has a mark
    on top. Of several slots the highest powers, the lowest limit and the mean price are shown."""
    columns = _columns(found, zone, width)

    def highest_kw(powers_w: Sequence[int]) -> list[float]:
        return [max(0, *(powers_w[at] for at in slots)) / 1_000 for slots in columns]

    base_kw = highest_kw([slot.base_w for slot in found.slots])
    fed_kw = highest_kw([-slot.planned_w for slot in found.slots])
    top_kw = highest_kw([max(0, slot.base_w) + max(0, slot.planned_w) for slot in found.slots])
    limit_kw = [
        min(max(0, found.slots[at].base_w) + found.slots[at].limit_w for at in slots) / 1_000
        for slots in columns
    ]
    highest = max(*top_kw, *fed_kw, 1.0) * 1.05
    lines = [f"{'kW':>{_AXIS - 2}}"]
    for level in range(_HEIGHT, 0, -1):
        low, high = (level - 1) * highest / _HEIGHT, level * highest / _HEIGHT
        cells = [
            _cell(base, top, limit, low=low, high=high)
            for base, top, limit in zip(base_kw, top_kw, limit_kw, strict=True)
        ]
        lines.append(f"{high:>{_AXIS - 2}.1f} ┤" + "".join(cells))
    lines.append(_hours(found, zone, columns)[:width])
    if any(fed_kw):
        lines.append(f"{'fed in':>{_AXIS - 2}}  " + _bars(fed_kw, 0.0, max(fed_kw)))
    lines.append("")
    if found.site_id:
        prices, of = [float(slot.import_price_per_kwh) for slot in found.slots], "kWh"
    else:
        prices, of = _worths(found), "kW"
    if any(prices):
        means = [sum(prices[at] for at in slots) / len(slots) for slots in columns]
        lines += _prices(means, f"{found.currency}/{of}")
    others, what = "building", "supply"
    if not found.site_id:
        others, what = "buildings and who does not plan", "feeder"
    lines += _legend(
        ("█ vehicles", f"░ {others}", f"─ what the {what} carries (by ratings and limits)"), width
    )
    return lines


def _legend(words: Sequence[str], width: int | None) -> Iterator[str]:
    """On one line, or where that is too long one below the other."""
    line = " " * _AXIS + "  ".join(words)
    if width is None or len(line) <= width:
        yield line
    else:
        yield from (" " * _AXIS + each for each in words)


def _columns(found: planning_pb2.Plan, zone: ZoneInfo, width: int | None) -> list[range]:
    """The slots of each column; columns of several begin at even times of day."""
    count = len(found.slots)
    # One more for the first, which may be cut.
    most = count if width is None else max(1, width - _AXIS - 1)
    each = next((n for n in (1, 2, 4, 8, 12) if n * most >= count), ceil(count / most))
    if each == 1:
        return [range(at, at + 1) for at in range(count)]
    local = _local(found.slots[0].start_time, zone)
    passed = (local.hour * 3_600 + local.minute * 60) // found.slot_s % each
    edges = [0, *range(each - passed, count, each), count]
    return [range(*pair) for pair in pairwise(edges)]


def _terminal_width() -> int | None:
    """How wide the terminal is; a pipe has no width."""
    return get_terminal_size().columns if sys.stdout.isatty() else None


def _worths(found: planning_pb2.Plan) -> list[float]:
    """What one more kilowatt of a feeder would be worth in each slot."""
    start_s = found.start_time.ToSeconds()
    worths = [0.0] * len(found.slots)
    for row in found.full_rows:
        if row.subject == found.feeder_id:
            for each in row.worths:
                at = (each.start_time.ToSeconds() - start_s) // found.slot_s
                worths[at] = float(each.price)
    return worths


def _cell(base: float, top: float, limit: float, *, low: float, high: float) -> str:
    """One character: vehicles, building, the limit, or nothing."""
    if base >= high:
        return "░"
    if top > low:
        if base > low:
            return "▒" if top >= high else "░"
        return _EIGHTHS[max(1, min(8, round((top - low) / (high - low) * 8)))]
    return "─" if low <= limit < high else " "


def _prices(prices: Sequence[float], unit: str) -> Iterator[str]:
    """Prices as bars, with their lowest and highest."""
    lowest, highest = min(*prices, 0.0), max(prices)
    yield f"{unit:>{_AXIS - 1}}"
    span = (highest - lowest) or 1.0
    for level in range(_PRICE_HEIGHT, 0, -1):
        low = lowest + (level - 1) * span / _PRICE_HEIGHT
        high = lowest + level * span / _PRICE_HEIGHT
        cells = "".join(
            _EIGHTHS[max(0, min(8, round((price - low) / (high - low) * 8)))] for price in prices
        )
        yield f"{high:>{_AXIS - 2}.3f} ┤" + cells


def _bars(values: Sequence[float], low: float, high: float) -> str:
    span = (high - low) or 1.0
    return "".join(_EIGHTHS[max(0, min(8, round((each - low) / span * 8)))] for each in values)


def _hours(found: planning_pb2.Plan, zone: ZoneInfo, columns: Sequence[range]) -> str:
    """Times of day below the columns in which they begin."""
    line = " " * _AXIS
    for at, slots in enumerate(columns):
        local = _local(found.slots[slots.start].start_time, zone)
        begins = local.hour % _TICK_H == 0 and local.minute * 60 < found.slot_s
        if begins and len(line) <= _AXIS + at:
            line = line.ljust(_AXIS + at) + f"╵{local:%H:%M}"
    return line


def _show_sessions(found: planning_pb2.Plan, zone: ZoneInfo) -> None:
    from controlplane.api.v1 import sites_pb2

    def source(of: int) -> str:
        return word(sites_pb2.DemandSource, of) or "assumed"

    table(
        ["Connector", "Leaves", "Says", "#Needs", "Says", "#Planned", "#Missing", "#Now", "Plan"],
        (
            [
                f"{each.charger_id}/{each.connector_id}" if each.charger_id else "expected",
                _clock(each.departure_time, zone),
                "forecast" if each.expected else source(each.departure_source),
                energy(each.need_wh),
                "forecast" if each.expected else source(each.need_source),
                energy(each.planned_wh),
                energy(each.missing_wh) if each.missing_wh else "",
                amperes(each.target_ma) if each.HasField("target_ma") else "",
                each.missing_reason or each.words or _arrives(each, zone),
            ]
            for each in found.sessions
        ),
        title="Sessions",
    )


def _arrives(each: planning_pb2.PlannedSession, zone: ZoneInfo) -> str:
    return f"expected at {_clock(each.arrival_time, zone)}" if each.expected else ""


def _show_rows(found: planning_pb2.Plan, zone: ZoneInfo) -> None:
    from controlplane.api.v1 import electrical_pb2

    if not found.full_rows:
        return
    table(
        ["Full", "When", "#Worth at most", "Per"],
        (
            [
                f"{row.kind} {row.subject}"
                + (f" {electrical_pb2.Phase.Name(row.phase)[-2:]}" if row.phase else "")
                + (", fed in" if row.feeds_in else ""),
                ", ".join(_spans(row, found.slot_s, zone)),
                f"{max(float(each.price) for each in row.worths):.3f} {found.currency}",
                "ampere and slot" if row.phase else "kilowatt and slot",
            ]
            for row in found.full_rows
        ),
        title="Rows that are full, and what more of them would be worth",
    )


def _spans(row: planning_pb2.PlanRow, slot_s: int, zone: ZoneInfo) -> Iterator[str]:
    """The times of day in which a row is full, slots in a row together."""
    starts = [each.start_time.ToSeconds() for each in row.worths]
    for _, run in groupby(enumerate(starts), key=lambda each: each[1] - each[0] * slot_s):
        seconds = [start for _, start in run]
        begins = datetime.fromtimestamp(seconds[0], zone)
        ends = datetime.fromtimestamp(seconds[-1] + slot_s, zone)
        yield f"{begins:%H:%M}-{ends:%H:%M}"


def _money(text: str, currency: str) -> str:
    return f"{float(text):.2f} {currency}"


def _local(stamp: Timestamp, zone: ZoneInfo) -> datetime:
    return datetime.fromtimestamp(stamp.ToSeconds(), zone)


def _clock(stamp: Timestamp, zone: ZoneInfo) -> str:
    return f"{_local(stamp, zone):%a %H:%M}"
