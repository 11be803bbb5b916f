"""Which messages of which version are built: the table in `docs/ocpp.md`, made from the code.

`python -m controlplane.ocpp.coverage` writes the page; a contract test holds the committed page to
what this module says."""

from __future__ import annotations

import sys
import textwrap
from pathlib import Path
from typing import Final

from controlplane.ocpp.schemas import TOLERATED, VERSIONS, Direction, actions
from controlplane.ocpp.versions import DIALECTS

__all__ = ["page"]

_NAMES: Final = {"ocpp1.6": "1.6J", "ocpp2.0.1": "2.0.1", "ocpp2.1": "2.1"}

_INTRODUCTION: Final = """\
# OCPP coverage

This page is generated from the code: `python -m controlplane.ocpp.coverage`.

Loadstar speaks {spoken}; a station that offers several gets the first of these. Every frame is
checked against the JSON schema of its version before anything else looks at it, and every CALL is
answered exactly once. What a station can send is

- **handled**: it has an effect on the charger, its connectors or its sessions;
- **noted**: it is accepted and appended to the journal as `charger.notice`;
- **NotSupported**: a known message without a meaning here yet; the answer is that CALLERROR.

An action that the version does not know is answered NotImplemented. What a CSMS can send is

- **command**: a typed command of the gRPC API;
- **call**: sent with the generic `Call(charger, action, payload_json)`, checked against its schema,
  the station's answer returned.

A dash means that the version has no such message; *not spoken* that the version is not offered yet.
"""


def page() -> str:
    """The whole page as Markdown."""
    spoken = " and ".join(_NAMES[version] for version in DIALECTS)
    parts = [
        _INTRODUCTION.format(spoken=spoken),
        _table("What stations send", Direction.STATION),
        _table("What Loadstar sends", Direction.CSMS),
        "## What is tolerated against the letter of the schemas\n",
        "\n".join(map(_wrapped, TOLERATED)) + "\n",
    ]
    return "\n".join(parts)


def _table(title: str, direction: Direction) -> str:
    rows = sorted({action for version in VERSIONS for action in actions(version, direction)})
    lines = [
        f"## {title}\n",
        "| message | " + " | ".join(_NAMES[version] for version in VERSIONS) + " |",
        "| --- |" + " --- |" * len(VERSIONS),
    ]
    for action in rows:
        cells = (_cell(version, action, direction) for version in VERSIONS)
        lines.append(f"| {action} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def _cell(version: str, action: str, direction: Direction) -> str:
    if action not in actions(version, direction):
        return "-"
    dialect = DIALECTS.get(version)
    if dialect is None:
        return "*not spoken*"
    if direction is Direction.CSMS:
        return "command" if action in dialect.commanded.values() else "call"
    if action not in dialect.handled:
        return "NotSupported"
    return "noted" if action in dialect.notices else "handled"


def _wrapped(text: str) -> str:
    """Markdown lines of at most 100 characters, indented as a list entry."""
    return textwrap.fill(text, width=100, initial_indent="- ", subsequent_indent="  ")


if __name__ == "__main__":
    Path(sys.argv[1] if len(sys.argv) > 1 else "docs/ocpp.md").write_text(page(), encoding="utf-8")
