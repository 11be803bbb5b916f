"""`loadstar chaos`: a real cluster of this machine, broken at random, and audited."""

from __future__ import annotations

from typing import Annotated

import typer

from controlplane.cli.results import JsonPath, measured, write

__all__ = ["chaos"]

_FAULTY = (
    "lost",
    "duplicated",
    "violations",
    "stale_commands",
    "charge_records_wrong",
    "orders_wrong",
    "undelivered",
    "unserved",
)


def chaos(
    seed: Annotated[int, typer.Option(help="Another seed, other faults.")] = 1,
    minutes: Annotated[
        float, typer.Option(help="How long faults go on.", min=0.0, max=10_080)
    ] = 10.0,
    faults_max: Annotated[
        int, typer.Option("--faults", help="How many faults at most.", min=1)
    ] = 1_000_000,
    stations: Annotated[int, typer.Option(help="How many stations.", min=1, max=2_000)] = 200,
    nodes: Annotated[int, typer.Option(help="How many nodes.", min=1, max=8)] = 2,
    hosts: Annotated[int, typer.Option(help="Hosts on each of them.", min=1, max=8)] = 1,
    kinds: Annotated[
        str, typer.Option(help="`all`, or names of faults with commas between; docs/chaos.md.")
    ] = "all",
    keep: Annotated[bool, typer.Option("--keep", help="Keep logs and data.")] = False,
    json_path: JsonPath = None,
) -> None:
    """Break a real cluster on this machine, and audit what it did.

    Nodes of `loadstar up` on Ray and PostgreSQL; stations on real sockets; kills, freezes, silent
    partitions, database restarts, clock steps and more, from a seed. Then what stations saw
    acknowledged is compared with what is stored. By root, with the command `ip`, every machine has
    a network of its own; else nothing is cut. Ends with status 1 where anything was found; faults,
    rules and keys: docs/chaos.md.

    \b
    loadstar chaos --seed 7 --minutes 30 --json -
    loadstar chaos --kinds host_killed,node_cut --faults 10 --stations 50
    """
    from controlplane.chaos.run import run

    result = measured(
        lambda: run(
            seed=seed,
            minutes=minutes,
            faults_max=faults_max,
            stations=stations,
            nodes=nodes,
            hosts=hosts,
            kinds=kinds,
            keep=keep,
            say=lambda line: typer.echo(line, err=True),
        )
    )
    write(result, json_path)
    if any(result[key] for key in _FAULTY):
        raise typer.Exit(1)
