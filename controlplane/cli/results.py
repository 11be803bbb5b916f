"""How commands that measure something end: a result, as JSON or as lines for people."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from controlplane.cli.connection import fail

__all__ = ["JsonPath", "measured", "writable_file", "write", "write_json"]


def _writable(path: str | None) -> str | None:
    """Said before the work begins, and not when its result is lost."""
    if path is not None and path != "-" and (Path(path).is_dir() or not Path(path).parent.is_dir()):
        raise typer.BadParameter(f"{path!r} is no file that can be written")
    return path


def writable_file(path: str | None) -> str | None:
    """The path of a file that can be written, said before the work begins."""
    if path == "-":
        raise typer.BadParameter("'-' is no file")
    return _writable(path)


JsonPath = Annotated[
    str | None,
    typer.Option(
        "--json",
        metavar="PATH",
        callback=_writable,
        help="Write the result as JSON; `-` prints it.",
    ),
]


def measured(run: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """The result of `run`; ends with status 1 and a line where it cannot be had."""
    from controlplane.errors import LoadstarError

    try:
        return dict(run())
    except LoadstarError as error:
        fail(error.message)
    except KeyboardInterrupt:
        raise typer.Exit(130) from None


def write(result: dict[str, Any], json_path: str | None) -> None:
    """As JSON where that is wanted; as lines for people unless the JSON went to the same place."""
    if write_json(result, json_path):
        return
    width = max(len(name) for name in result)
    for name, value in result.items():
        shown = (
            f"{value:,.3f}" if isinstance(value, float) else str("-" if value is None else value)
        )
        typer.echo(f"{name.replace('_', ' '):{width}}  {shown}")


def write_json(result: dict[str, Any], json_path: str | None) -> bool:
    """As JSON where that is wanted; whether standard output is used up by it."""
    if json_path is None:
        return False
    document = json.dumps(result, indent=2) + "\n"
    if json_path == "-":
        sys.stdout.write(document)
        return True
    Path(json_path).write_text(document, encoding="utf-8")
    return False
