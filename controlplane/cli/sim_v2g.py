"""`loadstar sim --v2g`: what is printed of a grid event that vehicles meet."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import typer

from controlplane.cli.connection import fail
from controlplane.cli.output import table

__all__ = ["live_v2g"]

_TOLERANCE_PERCENT = 2.0


def live_v2g(
    *,
    seed: int,
    vehicles: int,
    hours: float,
    faults: str,
    on_feeder: bool,
    json_path: str | None,
) -> None:
    """Live through the event, write what came of it, and end with status 1 where anything was
    violated, somebody left with too little or less was delivered than asked."""
    from controlplane.errors import LoadstarError
    from controlplane.sim.v2g.world import run

    try:
        result = run(seed=seed, vehicles=vehicles, hours=hours, faults=faults, on_feeder=on_feeder)
    except LoadstarError as error:
        fail(error.message)
    document = json.dumps(result, indent=2) + "\n"
    if json_path == "-":
        sys.stdout.write(document)
    else:
        if json_path is not None:
            Path(json_path).write_text(document, encoding="utf-8")
        owed = result["credits"]
        table(
            ["Asked of", "#Wh asked", "#Wh delivered", "#Per cent"],
            (
                [
                    part.get("site") or part.get("feeder") or "together",
                    str(part["asked_wh"]),
                    str(part["delivered_wh"]),
                    f"{part['delivered_percent']:.2f}",
                ]
                for part in [*result["asked"], result]
            ),
        )
        typer.echo(
            f"{result['left']} vehicles left, {len(result['left_short'])} with less than needed; "
            f"{owed['metered_wh']} Wh fed in by the meters, {owed['credited_wh']} Wh credited "
            f"with {owed['amount']} {owed['currency']}; {result['violations']} violations"
        )
        for detail in result["details"]:
            typer.echo(detail)
    short = result["delivered_percent"] < 100 - _TOLERANCE_PERCENT
    if result["violations"] or result["left_short"] or short:
        raise typer.Exit(1)
