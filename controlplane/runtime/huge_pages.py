"""Keeps what a process holds in memory on large pages.

A message of one charger in a thousand finds next to nothing of that charger in the processor's
caches, and on pages of 4 KiB not even the way to it: every address is looked up anew, twice over in
a virtual machine. Most distributions give a process large pages only where it asks. Python's
allocator does not, so it is done here, now and then, for the mappings that are nearly full.

Invariants: a mapping grows by an eighth at most, so stacks and what is merely reserved stay as they
are; nothing is asked for where the machine's owner has switched large pages off; where the kernel
cannot (before Linux 6.1), everything stays as it was."""

from __future__ import annotations

import asyncio
import ctypes
import errno
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

__all__ = ["full_mappings", "keep_on_huge_pages", "use_huge_pages"]

_ENABLED: Final = Path("/sys/kernel/mm/transparent_hugepage/enabled")
_MAPPINGS: Final = Path("/proc/self/smaps")
_HUGE_BYTES: Final = 2 * 1_024 * 1_024
_MADV_COLLAPSE: Final = 25
"""madvise(2): bring the pages of a range together, at once. Those that are together stay."""
_FULL_OF_8: Final = 7
_INTERVAL_S: Final = 10.0
"""A process that serves ten thousand chargers is looked through in some 10 ms."""
_OWN: Final = ("", "[heap]")


def full_mappings(smaps: Iterable[str]) -> Iterator[tuple[int, int]]:
    """First and last address, both whole large pages, of a process' own writable mappings that are
    resident for seven eighths at least.

    Args:
        smaps: the lines of proc_pid_smaps(5).
    """
    start = end = 0
    for line in smaps:
        name, _, rest = line.partition(" ")
        if name == "Rss:":
            if start < end and int(rest.split()[0]) * 1_024 * 8 >= (end - start) * _FULL_OF_8:
                first = -(-start // _HUGE_BYTES) * _HUGE_BYTES
                last = end // _HUGE_BYTES * _HUGE_BYTES
                if first < last:
                    yield first, last
        elif not name.endswith(":"):
            access, _, _, _, *path = rest.split(maxsplit=4)
            own = access == "rw-p" and "".join(path).strip() in _OWN
            begin, _, until = name.partition("-")
            start, end = (int(begin, 16), int(until, 16)) if own else (0, 0)


def use_huge_pages() -> bool:
    """Bring what this process holds onto large pages, as far as it can be now; False where the
    kernel never will. Blocks for half a millisecond for each that is new."""
    try:
        if "[never]" in _ENABLED.read_text():
            return False
        mappings = list(full_mappings(_MAPPINGS.read_text().splitlines()))
    except OSError:
        # No Linux, or one without large pages.
        return False
    madvise = ctypes.CDLL(None, use_errno=True).madvise
    madvise.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
    for first, last in mappings:
        failed = madvise(first, last - first, _MADV_COLLAPSE) != 0
        if failed and ctypes.get_errno() == errno.EINVAL:
            return False
    return True


async def keep_on_huge_pages() -> None:
    """Do so now and then, for what has come to stay, but not at once: a process that takes over
    what another one left has no time. Returns where the kernel does not let us."""
    while True:
        await asyncio.sleep(_INTERVAL_S)
        if not await asyncio.to_thread(use_huge_pages):
            return
