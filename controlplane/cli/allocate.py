"""`loadstar allocate`: the allocation core for a problem in a file, as `AllocationService` answers
it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from controlplane.cli.connection import Json, fail
from controlplane.cli.output import amperes, print_json, table, word

if TYPE_CHECKING:
    from controlplane.api.v1 import allocation_pb2

__all__ = ["allocate"]


def allocate(
    file: Annotated[
        Path, typer.Argument(help="An AllocateRequest in YAML or JSON.", dir_okay=False)
    ],
    as_json: Json = False,
) -> None:
    """Share out what a described tree can carry, and say why everybody gets what they get.

    Calculated here: no running Loadstar is needed, and no charger is steered. Programs ask
    AllocationService.Allocate for the same.

    \b
    loadstar allocate deploy/examples/allocation.yaml
    loadstar allocate problem.json --json
    """
    from controlplane.api.allocation import answer
    from controlplane.errors import InvalidInput

    request = _request(file)
    try:
        response = answer(request)
    except InvalidInput as error:
        fail("\n".join([f"{file}:", *(f"  {place}: {told}" for place, told in error.violations)]))
    if as_json:
        print_json(response)
        return
    table(
        ["Connector", "Node", "#Current", "Why"],
        (
            [share.id, connector.node, amperes(share.current_ma), share.words]
            for connector, share in zip(request.connectors, response.shares, strict=True)
        ),
    )
    table(
        ["Row", "#Drawn", "#Of", "#Fed in", "#Of"],
        ([_row(load.row), *_numbers(load)] for load in response.loads),
    )


def _row(row: allocation_pb2.AllocationRow) -> str:
    from controlplane.api.v1 import allocation_pb2, electrical_pb2

    words = [row.node, word(allocation_pb2.RowKind, row.kind)]
    if row.phase:
        words.append(word(electrical_pb2.Phase, row.phase).upper())
    if row.over_phase:
        words += ["over", word(electrical_pb2.Phase, row.over_phase).upper()]
    return " ".join(words)


def _numbers(load: allocation_pb2.AllocationLoad) -> list[str]:
    """Drawn and fed in, each with its capacity where it has one."""
    unit = "w" if load.HasField("load_w") else "ma"
    shown = []
    for field in ("load", "capacity", "export_load", "export_capacity"):
        name = f"{field}_{unit}"
        value = getattr(load, name)
        given = load.HasField(name)  # type: ignore[arg-type]
        shown.append((amperes(value) if unit == "ma" else f"{value:,} W") if given else "")
    return shown


def _request(file: Path) -> allocation_pb2.AllocateRequest:
    """The message in a file; a fault ends the command."""
    import yaml
    from google.protobuf.json_format import ParseDict, ParseError

    from controlplane.api.v1 import allocation_pb2

    place = ""
    try:
        text = file.read_text(encoding="utf-8")
        # JSON is a part of YAML, but a large file is read much sooner as what it is.
        document: Any = json.loads(text) if file.suffix == ".json" else yaml.safe_load(text)
        if not isinstance(document, dict):
            fail(f"{file}: must be a mapping with `nodes` and `connectors`")
        request = allocation_pb2.AllocateRequest()
        # Each element by itself, so that a fault is told with its place.
        for name in ("nodes", "connectors"):
            if not isinstance(document.get(name), list):
                continue
            for position, element in enumerate(document.pop(name)):
                place = f"{name}[{position}]: "
                if not isinstance(element, dict):
                    fail(f"{file}: {place}must be a mapping")
                ParseDict(element, getattr(request, name).add())
        place = ""
        return ParseDict(document, request)
    except OSError as error:
        fail(f"{file}: {error.strerror}")
    except RecursionError:
        fail(f"{file}: {place}nested too deep")
    except (ValueError, TypeError, AttributeError, ParseError, yaml.YAMLError) as error:
        fail(f"{file}: {place}{error}")
