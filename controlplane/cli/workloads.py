"""`loadstar demo`, `loadstar bench` and `loadstar sim`: Loadstar at work, measured, and under
faults."""

from __future__ import annotations

from functools import partial
from typing import Annotated, Any

import typer

from controlplane.cli.results import JsonPath
from controlplane.cli.results import measured as _measured
from controlplane.cli.results import writable_file as _writable_file
from controlplane.cli.results import write as _write
from controlplane.cli.sim_day import live_day, live_depots
from controlplane.cli.sim_v2g import live_v2g
from controlplane.cli.station import station

__all__ = ["bench", "demo", "simulate"]


bench = typer.Typer(no_args_is_help=True, help="Measure Loadstar on this machine.")
simulate = typer.Typer()
simulate.command("station")(station)


def demo(
    duration_s: Annotated[
        float, typer.Option("--duration", help="Seconds that the simulated day takes.", min=10)
    ] = 180.0,
    headless: Annotated[bool, typer.Option("--headless", help="No live view.")] = False,
    json_path: JsonPath = None,
    kill_host_every_s: Annotated[
        float | None,
        typer.Option("--kill-host-every", help="Kill Loadstar's host this often, in seconds."),
    ] = None,
    seed: Annotated[int, typer.Option(help="Another seed gives another day.")] = 1,
    record_svg: Annotated[
        str | None, typer.Option("--record-svg", metavar="PATH", help="Keep a picture of the view.")
    ] = None,
) -> None:
    """Show a charging network at work on this machine.

    Real OCPP chargers with simulated vehicles share the power of two sites through Loadstar. Ends
    with a summary, and with status 1 where anything was violated.

    \b
    loadstar demo
    loadstar demo --headless --json -
    loadstar demo --headless --kill-host-every 20 --json result.json
    """
    from controlplane.demo.main import run_demo

    raise typer.Exit(
        run_demo(
            duration_s=duration_s,
            headless=headless,
            json_path=json_path,
            kill_host_every_s=kill_host_every_s,
            seed=seed,
            record_svg=record_svg,
        )
    )


@bench.command("ocpp")
def bench_ocpp(
    chargers: Annotated[
        int, typer.Option(help="How many stations are connected.", min=1, max=20_000)
    ] = 500,
    seconds: Annotated[
        float, typer.Option(help="How long each load lasts.", min=0.5, max=3_600)
    ] = 10.0,
    hosts: Annotated[int, typer.Option(help="How many hosts the node has.", min=1, max=8)] = 1,
    json_path: JsonPath = None,
) -> None:
    """Measure MeterValues per CPU-second, schema-checked and durably acknowledged.

    A plain server on the `ocpp` package is measured beside it, under the same load; with several
    hosts also a node with one, and what they would carry of what it does on cores of their own.

    \b
    loadstar bench ocpp --chargers 500 --seconds 10 --json -
    loadstar bench ocpp --chargers 2000 --hosts 2 --json -
    """
    from controlplane.bench.ocpp import run

    _write(_measured(lambda: run(chargers=chargers, seconds=seconds, hosts=hosts)), json_path)


@bench.command("storm")
def bench_storm(
    chargers: Annotated[int, typer.Option(help="How many stations.", min=2, max=20_000)] = 10_000,
    queued: Annotated[
        int, typer.Option(help="Samples that each has to deliver.", min=1, max=1_000)
    ] = 20,
    within_s: Annotated[
        float, typer.Option("--within", help="Seconds in which all dial again.", min=0, max=600)
    ] = 10.0,
    json_path: JsonPath = None,
) -> None:
    """Cut every connection at once and let all stations come back with full queues.

    Ends with status 1 where the store lacks a sample or has one twice.

    \b
    loadstar bench storm --json -
    loadstar bench storm --chargers 2000 --queued 50 --within 5
    """
    from controlplane.bench.storm import run

    result = _measured(lambda: run(chargers=chargers, queued=queued, within_s=within_s))
    _write(result, json_path)
    if result["lost"] or result["duplicated"]:
        raise typer.Exit(1)


@bench.command("command")
def bench_command(
    chargers: Annotated[
        int, typer.Option(help="How many stations are connected.", min=1, max=20_000)
    ] = 2_000,
    rate: Annotated[
        float, typer.Option(help="MeterValues a second beside the commands.", min=1)
    ] = 2_000.0,
    commands_per_s: Annotated[
        float, typer.Option("--commands", help="Commands a second.", min=0.1, max=10_000)
    ] = 50.0,
    seconds: Annotated[float, typer.Option(help="How long.", min=1, max=3_600)] = 20.0,
    json_path: JsonPath = None,
) -> None:
    """Measure a command from the gRPC caller to the station's answer, beside a load of messages.

    Ends with status 1 where a command failed, or was answered and is not in the store.

    \b
    loadstar bench command --json -
    loadstar bench command --chargers 500 --rate 500 --commands 20
    """
    from controlplane.bench.command import run

    result = _measured(
        lambda: run(chargers=chargers, rate=rate, commands_per_s=commands_per_s, seconds=seconds)
    )
    _write(result, json_path)
    if result["failed"] or result["lost"]:
        raise typer.Exit(1)


@bench.command("recover")
def bench_recover(
    chargers: Annotated[
        int, typer.Option(help="How many, a multiple of 50.", min=50, max=100_000)
    ] = 10_000,
    dialect: Annotated[str, typer.Option("--on", help="sqlite or postgresql.")] = "sqlite",
    database_url: Annotated[
        str, typer.Option("--database", help="An empty PostgreSQL database elsewhere.")
    ] = "",
    stations: Annotated[
        bool, typer.Option("--stations", help="Connect every charger over a WebSocket.")
    ] = False,
    one_process: Annotated[
        bool, typer.Option("--one-process", help="Leave the start of a process out of account.")
    ] = False,
    json_path: JsonPath = None,
) -> None:
    """Kill a host and measure how soon all its chargers are served again.

    Ends with status 1 where a session or its energy is not what it was. PostgreSQL is a server of
    its own, in a temporary folder.

    \b
    loadstar bench recover --json -
    loadstar bench recover --on postgresql
    loadstar bench recover --chargers 2000 --stations
    """
    from controlplane.bench.recover import run

    if chargers % 50:
        raise typer.BadParameter("not a multiple of 50", param_hint="--chargers")
    if dialect not in ("sqlite", "postgresql"):
        raise typer.BadParameter("is sqlite or postgresql", param_hint="--on")
    result = _measured(
        lambda: run(
            chargers=chargers,
            database="postgresql" if dialect == "postgresql" else "sqlite",
            database_url=database_url,
            transport="local" if one_process else "ray",
            stations=stations,
        )
    )
    _write(result, json_path)
    if result["wrong"]:
        raise typer.Exit(1)


@bench.command("database")
def bench_database(
    dialect: Annotated[str, typer.Option("--on", help="sqlite or postgresql.")] = "sqlite",
    days: Annotated[int, typer.Option(help="Days of samples behind.", min=1, max=4_000)] = 365,
    per_day: Annotated[
        int, typer.Option(help="Samples of each day.", min=480, max=10_000_000)
    ] = 10_000,
    json_path: JsonPath = None,
) -> None:
    """Measure what storing and finding meter samples costs with days of them behind.

    The same is measured in an empty database. PostgreSQL is a server of its own, in a temporary
    folder.

    \b
    loadstar bench database --json -
    loadstar bench database --on postgresql --days 3 --per-day 2000000
    """
    from controlplane.bench.database import run

    if dialect not in ("sqlite", "postgresql"):
        raise typer.BadParameter("is sqlite or postgresql", param_hint="--on")
    _write(_measured(lambda: run(dialect=dialect, days=days, per_day=per_day)), json_path)


@bench.command("allocate")
def bench_allocate(
    connectors: Annotated[
        int, typer.Option(help="Size of the network.", min=10, max=10_000_000)
    ] = 100_000,
    feeders: Annotated[
        int | None,
        typer.Option(
            help="Trees of the network. Unless given: one up to 100,000 connectors, beyond that "
            "one for every 10,000.",
            min=1,
        ),
    ] = None,
    repeats: Annotated[
        int, typer.Option(help="How many runs; fewer where they take ten seconds.", min=1)
    ] = 200,
    seed: Annotated[int, typer.Option(help="Another seed gives another network.", min=0)] = 1,
    json_path: JsonPath = None,
) -> None:
    """Measure the allocation core: whole rounds, single changes, threads.

    A round shares the power of a network out among all its connectors. The network has feeders,
    sites and panels; half of the connectors draw on three phases; rows of every level bind. Times
    are medians of calls from Python, beside a pass that only checks the result.

    In the same run two other methods solve such a problem on continuous currents: repeated linear
    programs at up to 1,000 connectors (needs the package highspy), and progressive filling in
    NumPy at up to 100,000. Their ratios are their time over the core's, and their fair shares must
    agree with it. Ends with status 1 where they do not or anything else is violated.

    \b
    loadstar bench allocate --connectors 10000 --json -
    loadstar bench allocate --connectors 1000000 --feeders 100
    """
    from controlplane.bench.allocate import run

    if feeders is not None and connectors < 10 * feeders:
        raise typer.BadParameter(
            f"{feeders} feeders need at least {10 * feeders} connectors", param_hint="--feeders"
        )

    def measure() -> dict[str, Any]:
        say = partial(typer.echo, err=True)
        return run(connectors, feeders=feeders, repeats=repeats, seed=seed, progress=say)

    result = _measured(measure)
    _write(result, json_path)
    if result["violations"]:
        raise typer.Exit(1)


@bench.command("plan")
def bench_plan(
    vehicles: Annotated[
        int, typer.Option(help="Sessions of the day.", min=20, max=1_000_000)
    ] = 1_000,
    slots: Annotated[int, typer.Option(help="Parts of the day.", min=1, max=1_344)] = 96,
    highs: Annotated[
        bool, typer.Option("--highs", help="Solve the same program with HiGHS beside it.")
    ] = False,
    seed: Annotated[int, typer.Option(help="Another seed gives another day.", min=0)] = 1,
    json_path: JsonPath = None,
) -> None:
    """Measure the horizon plan: from nothing, and from the last plan a slot later.

    Real sessions charge under a feeder, sites and panels whose rows bind at every level, with times
    of use, demand charges, a grid event, and vehicles that can feed in. Every plan comes with a
    bound that proves how far it is from the best, and is checked row by row. With `--highs` the
    same program is solved by HiGHS (needs the package highspy; minutes at 10,000 vehicles). Ends
    with status 1 where anything is violated.

    \b
    loadstar bench plan --vehicles 1000 --highs --json -
    loadstar bench plan --vehicles 100000
    """
    from controlplane.bench.plan import run

    if 86_400 % slots:
        raise typer.BadParameter(f"{slots} slots do not divide a day", param_hint="--slots")
    say = partial(typer.echo, err=True)
    result = _measured(lambda: run(vehicles, slots=slots, highs=highs, seed=seed, progress=say))
    _write(result, json_path)
    if result["violations"]:
        raise typer.Exit(1)


@bench.command("grid-event")
def bench_grid_event(
    chargers: Annotated[
        int, typer.Option(help="How many stations charge.", min=10, max=20_000)
    ] = 2_000,
    ramp_s: Annotated[
        float,
        typer.Option(
            "--ramp", help="Seconds the slowest vehicle takes to follow a limit.", min=0, max=30
        ),
    ] = 28.0,
    sample_interval_s: Annotated[
        float,
        typer.Option(
            "--sample-interval", help="Seconds between MeterValues of a station.", min=1, max=300
        ),
    ] = 4.0,
    json_path: JsonPath = None,
) -> None:
    """Measure how fast a feeder's limit takes hold, and how safely.

    A node serves stations on many sites under one feeder, all charging at their limits. The
    feeder's limit falls to half of what they draw, and is lifted again. Every limit is recorded at
    the stations and judged there: ends with status 1 where a station was raised before the room for
    it was free.

    \b
    loadstar bench grid-event --json -
    loadstar bench grid-event --chargers 200 --ramp 5
    """
    from controlplane.bench.grid_event import run

    result = _measured(
        lambda: run(chargers=chargers, ramp_s=ramp_s, sample_interval_s=sample_interval_s)
    )
    _write(result, json_path)
    if result["violations"]:
        raise typer.Exit(1)


@bench.command("site-round")
def bench_site_round(
    connectors: Annotated[
        int, typer.Option(help="Size of the site, a multiple of 4.", min=40, max=1_000)
    ] = 100,
    events: Annotated[
        int, typer.Option(help="How many vehicles arrive, and leave again.", min=1, max=10_000)
    ] = 300,
    json_path: JsonPath = None,
) -> None:
    """Measure the way from an event at a site to the limits on the wire.

    Vehicles arrive at a site of many connectors, and leave; the building's load rises. Timed is
    everything from the frame or the report that tells of it until the last limit that follows has
    come in at its station. Ends with status 1 where a station was raised before the room for it
    was free.

    \b
    loadstar bench site-round --json -
    """
    from controlplane.bench.site_round import run

    if connectors % 4:
        raise typer.BadParameter("not a multiple of 4", param_hint="--connectors")
    result = _measured(lambda: run(connectors=connectors, events=events))
    _write(result, json_path)
    if result["violations"]:
        raise typer.Exit(1)


@simulate.callback(invoke_without_command=True)
def sim(
    context: typer.Context,
    seed: Annotated[int, typer.Option(help="Decides everything; the same seed, the same run.")] = 1,
    hours: Annotated[float, typer.Option(help="Virtual hours.", min=0.01, max=8_784)] = 24.0,
    chargers: Annotated[int, typer.Option(help="How many.", min=1, max=10_000)] = 20,
    faults: Annotated[
        str, typer.Option(help="`all`, `none`, or names with commas between.")
    ] = "all",
    day: Annotated[
        str | None,
        typer.Option(
            metavar="DATE",
            help="Live through a real day instead, without faults: any from 2019-05-01 to "
            "2019-08-31.",
        ),
    ] = None,
    sites: Annotated[
        int | None,
        typer.Option(help="Sites on that day: 10 unless given. Implies --day 2019-06-12.", min=1),
    ] = None,
    workers: Annotated[
        int | None,
        typer.Option(help="Processes for the day; one for each core unless given.", min=1, max=64),
    ] = None,
    planned: Annotated[
        bool,
        typer.Option(
            "--planned",
            help="Sites have tariffs and plan; on a real day, beside the day without plans.",
        ),
    ] = False,
    picture: Annotated[
        str | None,
        typer.Option(metavar="PATH", callback=_writable_file, help="Draw the day as an SVG."),
    ] = None,
    v2g: Annotated[
        bool, typer.Option("--v2g", help="Let vehicles feed in, in a grid event of --hours.")
    ] = False,
    vehicles: Annotated[int, typer.Option(help="How many, with --v2g.", min=1, max=2_000)] = 200,
    on_feeder: Annotated[
        bool, typer.Option("--on-feeder", help="With --v2g: ask the feeder above all sites.")
    ] = False,
    depots: Annotated[
        int | None,
        typer.Option(help="Live through a night of depots below one feeder.", min=2, max=8),
    ] = None,
    json_path: JsonPath = None,
) -> None:
    """Run the actors of production in a simulated world full of faults, or through a real day.

    It loses, delays and repeats messages, kills hosts in the middle of their work, and lets
    stations break their word; it checks every row at every tick, energy to the watt-hour, and the
    allocation against the optimum whenever faults stop. Ends with status 1 where anything was
    violated; the printed command replays it. Faults: see docs/world.md.

    With `--day` nothing fails, and the question is what was made of the day: energy, deadlines,
    peaks and cost under Loadstar, without any control, and by a linear program that knew the whole
    day (needs the package highspy). The sessions are real ones of two workplaces (ACN-Data, May to
    August 2019). Two sites live the sessions of that very date; every other site lives those of
    another real date of the same kind, workday or not, moved to it. Sites, stations and vehicles
    are invented; a site's supply carries about half of its chargers. Without
    `--planned` its cost is what fair sharing happens to cost. All of it: docs/day.md.

    With `--v2g` sites whose buildings draw most of their power are asked for so much, for
    `--hours` (4 unless given), that vehicles have to feed in; 200 of them, unless `--vehicles` says
    otherwise, at stations of OCPP 2.1. Some leave meanwhile. It prints what was asked and delivered
    against the stated baselines, who left with less than was needed, and the credits beside the
    metered energy; without faults unless `--faults` names some. With `--on-feeder` not each site is
    asked but the feeder above all of them, which has half of them below a second one, and shares
    out what is to be fed in. More in docs/v2g.md.

    With `--depots` vans come to so many depots below one feeder that carries one depot at a time.
    They are lived with three times: sharing alike, each depot planning with an equal part of the
    feeder, and planned together (docs/planning.md).

    \b
    loadstar sim --seed 1 --hours 2 --chargers 1000 --faults none --json -
    loadstar sim --depots 3
    loadstar sim --v2g --json -
    loadstar sim --v2g --on-feeder --vehicles 40 --hours 1
    loadstar sim --v2g --vehicles 60 --hours 1 --faults lost,crash
    loadstar sim --seed 7 --faults crash,lost,ignore
    loadstar sim --seed 7 --hours 48 --faults all
    loadstar sim --sites 100 --day 2019-06-12 --json -
    loadstar sim --sites 20 --day 2019-06-15 --planned --picture day.svg
    loadstar sim --seed 7 --planned
    """
    if context.invoked_subcommand is not None:
        return
    if day is not None or sites is not None:
        _refuse(context, "hours", "chargers", "faults", why="has no meaning for a real day")
        live_day(
            day=day,
            sites=sites,
            seed=seed,
            workers=workers,
            planned=planned,
            json_path=json_path,
            picture=picture,
        )
        return
    _refuse(context, "workers", "picture", why="needs --day")
    if depots is not None:
        given = ("hours", "chargers", "faults", "seed", "v2g", "vehicles", "planned")
        _refuse(context, *given, why="has no meaning with --depots")
        live_depots(depots, json_path=json_path)
        return
    if v2g:
        _refuse(context, "chargers", why="has no meaning with --v2g: give --vehicles")
        hours = hours if _given(context, "hours") else 4.0
        faults = faults if _given(context, "faults") else "none"
        live_v2g(
            seed=seed,
            vehicles=vehicles,
            hours=hours,
            faults=faults,
            on_feeder=on_feeder,
            json_path=json_path,
        )
        return
    _refuse(context, "vehicles", "on_feeder", why="needs --v2g")
    from controlplane.sim.world import run

    result = _measured(
        lambda: run(seed=seed, hours=hours, chargers=chargers, faults=faults, planned=planned)
    )
    _write(result, json_path)
    if result["violations"]:
        raise typer.Exit(1)


@simulate.command("ownership")
def ownership(
    seed: Annotated[int, typer.Option(help="Decides everything; the same seed, the same run.")] = 1,
    schedules: Annotated[
        int, typer.Option(help="How many, from that seed on.", min=1, max=1_000_000)
    ] = 1,
    hosts: Annotated[int, typer.Option(help="How many; two more may join.", min=1, max=64)] = 3,
    minutes: Annotated[
        float, typer.Option(help="Virtual minutes under faults.", min=0.1, max=1_440)
    ] = 1.0,
    faults: Annotated[
        str, typer.Option(help="`all`, `none`, or names with commas between.")
    ] = "all",
    json_path: JsonPath = None,
) -> None:
    """Run hosts, gateways, the lease table and the network through schedules full of faults.

    The rules of production decide who owns which shard, when an owner stops, what a commit and a
    gateway refuse; messages, statements, processes and clocks fail around them, in virtual time.
    Checked at every effect: one writer per shard and epoch, no command of an earlier owner, no
    acknowledged event missing, none stored twice; and that all is owned and served again soon after
    the last fault. Ends with status 1 where anything was violated; the printed commands replay it.
    Faults and rules: docs/ownership.md.

    \b
    loadstar sim ownership --seed 7
    loadstar sim ownership --schedules 2000 --json -
    loadstar sim ownership --seed 7 --hosts 5 --minutes 10 --faults partition,freeze
    """
    from controlplane.sim.ownership.world import run_many

    result = _measured(
        lambda: run_many(
            seed=seed, schedules=schedules, hosts=hosts, minutes=minutes, faults=faults
        )
    )
    _write(result, json_path)
    if result["violations"]:
        raise typer.Exit(1)


def _given(context: typer.Context, name: str) -> bool:
    """Whether an option stands on the command line."""
    source = context.get_parameter_source(name)
    return source is not None and source.name == "COMMANDLINE"


def _refuse(context: typer.Context, *names: str, why: str) -> None:
    """Refuse options that were given and would be ignored."""
    for name in names:
        if _given(context, name):
            raise typer.BadParameter(why, param_hint=f"--{name}")
