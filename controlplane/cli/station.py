"""`loadstar sim station`: a charger to develop against, driven by words."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from typing import Annotated

import typer

from controlplane.cli.connection import fail
from controlplane.sim.words import WORDS

__all__ = ["station"]

_WIDTH = max(map(len, WORDS))

_HELP = """Connect a simulated charger to any CSMS and drive it by words.

What it is told comes from the terminal, from a pipe, or from --do, one thing after the other:

\b
{words}

It speaks through the `ocpp` package, keeps its transactions through lost lines, follows charging
profiles by its own arithmetic, and does wrong only where it is told to.

\b
loadstar sim station --id CP1
loadstar sim station --id CP1 --ocpp 2.0.1 --connectors 2 --frames
loadstar sim station --id CP1 --do "plug 1 ALICE 10; wait 30; offline 20; wait 40; unplug; quit"
loadstar sim station --url wss://CP1:secret@csms.example/ocpp --id CP1
""".format(words="\n".join(f"{words:{_WIDTH}}  {meaning}" for words, meaning in WORDS.items()))


def station(
    id: Annotated[str, typer.Option("--id", help="The charger's id; goes behind the URL.")],
    url: Annotated[
        str, typer.Option(help="Where the CSMS listens; user:password@ for Basic authentication.")
    ] = "ws://127.0.0.1:9000/ocpp",
    ocpp: Annotated[str, typer.Option(help="1.6, 2.0.1 or 2.1.")] = "1.6",
    connectors: Annotated[int, typer.Option(help="How many.", min=1, max=64)] = 1,
    phases: Annotated[int, typer.Option(help="Of each connector.", min=1, max=3)] = 3,
    current_a: Annotated[float, typer.Option("--current", help="Amperes per phase.", min=1)] = 32.0,
    watts: Annotated[bool, typer.Option("--watts", help="Take limits in watts only.")] = False,
    direct_current: Annotated[
        bool, typer.Option("--dc", help="Charge with direct current.")
    ] = False,
    feeds_in: Annotated[
        bool, typer.Option("--feeds-in", help="Its vehicles can feed in; with --ocpp 2.1.")
    ] = False,
    frames: Annotated[bool, typer.Option("--frames", help="Print every frame.")] = False,
    do: Annotated[str, typer.Option("--do", help="Words with semicolons between.")] = "",
) -> None:
    """Live as a charger until the words end; what they are is in `_HELP`."""
    from controlplane.errors import LoadstarError
    from controlplane.sim.console import Console, ShiftedClock, StationShape, make_station

    shape = StationShape(
        id=id,
        version=ocpp,
        connectors=connectors,
        phases=phases,
        current_max_a=current_a,
        unit="W" if watts else "A",
        direct_current=direct_current,
        feeds_in=feeds_in,
    )
    clock = ShiftedClock()
    try:
        made = make_station(shape, url=url, clock=clock)
    except LoadstarError as error:
        fail(error.message)
    if frames:
        made.manners.tell = lambda direction, frame: typer.echo(f"{direction} {frame}")
    lines = _words(do) if do else _typed()
    try:
        asyncio.run(Console(made, clock, typer.echo, feeds_in=feeds_in).run(lines))
    except KeyboardInterrupt:
        raise typer.Exit(130) from None


async def _words(script: str) -> AsyncIterator[str]:
    for line in script.split(";"):
        yield line


async def _typed() -> AsyncIterator[str]:
    """Lines of the standard input, read in a thread; the end of them ends the station."""
    while line := await asyncio.to_thread(sys.stdin.readline):
        yield line


station.__doc__ = _HELP
