"""Which processes belong to a run: those whose environment says so, whoever started them.

Ray's processes leave their parents and their sessions; their environment they keep."""

from __future__ import annotations

from pathlib import Path
from typing import Final

__all__ = ["MACHINE", "RUN", "is_marked", "marked"]

RUN: Final = "LOADSTAR_CHAOS_RUN"
MACHINE: Final = "LOADSTAR_CHAOS_MACHINE"
_PROC: Final = Path("/proc")


def marked(run: str, machine: str = "") -> list[int]:
    """The processes of a run, or of one of its machines."""
    pids = [int(entry.name) for entry in _PROC.iterdir() if entry.name.isdecimal()]
    return [pid for pid in pids if is_marked(pid, run, machine)]


def is_marked(pid: int, run: str, machine: str = "") -> bool:
    """Whether the process runs, and belongs there."""
    try:
        environment = (_PROC / str(pid) / "environ").read_bytes().split(b"\0")
    except OSError:
        return False
    return f"{RUN}={run}".encode() in environment and (
        not machine or f"{MACHINE}={machine}".encode() in environment
    )
