"""What processes cost, read from /proc: processor time and memory.

Processor time is user and system of every thread, and of children that have ended; memory is the
proportional set size, in which a page shared by several processes counts once in all."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

__all__ = ["cpu_seconds", "descendants", "pss_bytes"]

_PROC = Path("/proc")
_TICKS_PER_S = os.sysconf("SC_CLK_TCK")


def cpu_seconds(pids: Iterable[int]) -> float:
    """Processor seconds that `pids` and their ended children have used; a process that is gone
    counts 0."""
    ticks = 0
    for pid in pids:
        fields = _stat_fields(pid)
        # After pid and (comm), fields 14 to 17 of proc(5): utime, stime, cutime, cstime.
        ticks += sum(int(field) for field in fields[11:15])
    return ticks / _TICKS_PER_S


def pss_bytes(pids: Iterable[int]) -> int:
    """Proportional set size of `pids` together, in bytes; a process that is gone counts 0."""
    total_kib = 0
    for pid in pids:
        try:
            text = (_PROC / str(pid) / "smaps_rollup").read_text(encoding="ascii")
        except (FileNotFoundError, ProcessLookupError):
            continue
        total_kib += next(
            int(line.split()[1]) for line in text.splitlines() if line.startswith("Pss:")
        )
    return total_kib * 1_024


def descendants(pid: int) -> set[int]:
    """Every living process below `pid`, itself not included."""
    children: dict[int, list[int]] = {}
    for entry in _PROC.iterdir():
        if entry.name.isdecimal() and (fields := _stat_fields(int(entry.name))):
            children.setdefault(int(fields[1]), []).append(int(entry.name))
    found: set[int] = set()
    waiting = [pid]
    while waiting:
        for child in children.get(waiting.pop(), ()):
            if child not in found:
                found.add(child)
                waiting.append(child)
    return found


def _stat_fields(pid: int) -> list[str]:
    """The fields of /proc/<pid>/stat after the command's name, which may hold blanks; empty for a
    process that is gone."""
    try:
        text = (_PROC / str(pid) / "stat").read_text(encoding="utf-8", errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return []
    return text.rpartition(")")[2].split()
