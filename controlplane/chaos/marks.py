"""Which processes belong to a run: those whose environment says so, and what these have started.

Ray's processes leave their parents and their sessions and keep their environment; those that write
a title over theirs are children of one that does not."""

from __future__ import annotations

from pathlib import Path
from typing import Final

__all__ = ["MACHINE", "RUN", "is_marked", "is_program", "marked"]

RUN: Final = "LOADSTAR_CHAOS_RUN"
MACHINE: Final = "LOADSTAR_CHAOS_MACHINE"
_PROC: Final = Path("/proc")


def marked(run: str, machine: str = "") -> list[int]:
    """The processes of a run, or of one of its machines."""
    pids = [int(entry.name) for entry in _PROC.iterdir() if entry.name.isdecimal()]
    children: dict[int, list[int]] = {}
    for pid in pids:
        children.setdefault(_parent(pid), []).append(pid)
    found = [pid for pid in pids if is_marked(pid, run, machine)]
    known = set(found)
    for pid in found:
        below = [child for child in children.get(pid, ()) if child not in known]
        known.update(below)
        found.extend(below)
    return found


def is_program(pid: int, name: str) -> bool:
    """Whether the process runs a file of this name."""
    try:
        return (_PROC / str(pid) / "exe").readlink().name == name
    except OSError:
        return False


def _parent(pid: int) -> int:
    """0 where the process is gone. Field 4 of proc_pid_stat(5), behind a name that may hold
    blanks."""
    try:
        return int((_PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()[1])
    except OSError:
        return 0


def is_marked(pid: int, run: str, machine: str = "") -> bool:
    """Whether the process runs, and belongs there."""
    try:
        environment = (_PROC / str(pid) / "environ").read_bytes().split(b"\0")
    except OSError:
        return False
    return f"{RUN}={run}".encode() in environment and (
        not machine or f"{MACHINE}={machine}".encode() in environment
    )
