"""`loadstar sim --day` and `--depots`: where the figures and the picture go."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import typer

from controlplane.cli.connection import fail

__all__ = ["live_day", "live_depots"]

DAY = "2019-06-12"
SITES = 10


def live_day(
    *,
    day: str | None,
    sites: int | None,
    seed: int,
    workers: int | None,
    planned: bool,
    json_path: str | None,
    picture: str | None,
) -> None:
    """Live through a day, write what came of it, and end with status 1 where anything was
    violated."""
    from controlplane.errors import LoadstarError
    from controlplane.sim.day.picture import draw
    from controlplane.sim.day.report import table
    from controlplane.sim.day.run import WORKERS_MAX, parse_day, run_day

    try:
        date = parse_day(day or DAY)
        result, lived = run_day(
            date,
            sites=SITES if sites is None else sites,
            seed=seed,
            workers=workers or min(WORKERS_MAX, os.cpu_count() or 1),
            planned=planned,
            progress=lambda words: typer.echo(words, err=True),
        )
    except LoadstarError as error:
        fail(error.message)
    except KeyboardInterrupt:
        raise typer.Exit(130) from None
    if picture is not None:
        sites_lived, sessions = result["sites"], result["sessions"]
        title = (
            f"{date.day} {date:%B %Y}: {sites_lived} site{'s' * (sites_lived != 1)}, "
            f"{sessions:,} sessions"
        )
        Path(picture).write_text(draw(lived, title=title), encoding="utf-8")
    _told(result, table(result), json_path)


def live_depots(depots: int, *, json_path: str | None) -> None:
    """Live through a night of depots, and tell of it as `live_day` does."""
    from controlplane.sim.day.depots import depots_table, run_depots

    result = run_depots(depots)
    _told(result, depots_table(result), json_path)


def _told(result: dict[str, Any], words: str, json_path: str | None) -> None:
    document = json.dumps(result, indent=2) + "\n"
    if json_path == "-":
        sys.stdout.write(document)
    else:
        if json_path is not None:
            Path(json_path).write_text(document, encoding="utf-8")
        typer.echo(words)
    if result["violations"]:
        raise typer.Exit(1)
