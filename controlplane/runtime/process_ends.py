"""The ends of processes of this machine, as the kernel tells them: at once, and for certain.

Invariant: a process is held by a descriptor of its own (`pidfd_open(2)`), opened while it was known
to live, so that its number cannot come to mean another one."""

from __future__ import annotations

import asyncio
import os
import select
import signal
import time
import weakref
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

__all__ = ["HeldProcess", "end_processes", "parent_of"]

_END_TIMEOUT_S = 5.0
_RAY_TITLE = b"ray::"
"""With this the name of each process begins that Ray has given an actor."""


class HeldProcess:
    """A process that is held for as long as this object is there.

    Raises:
        ProcessLookupError: it is gone already.
    """

    def __init__(self, pid: int) -> None:
        self._descriptor = os.pidfd_open(pid)
        weakref.finalize(self, os.close, self._descriptor)

    @property
    def gone(self) -> bool:
        """Whether it has ended; then nothing of it will be written or sent any more."""
        return self._poll(0)

    def wait(self) -> None:
        """Returns when it has ended. Blocks."""
        self._poll(None)

    def _poll(self, timeout_ms: int | None) -> bool:
        poll = select.poll()
        poll.register(self._descriptor, select.POLLIN)
        return bool(poll.poll(timeout_ms))

    async def end(self) -> None:
        """Returns when it has ended; for an event loop."""
        loop = asyncio.get_running_loop()
        gone: asyncio.Future[None] = loop.create_future()
        # Everybody who waits has a descriptor of his own: a loop takes one reader for each.
        descriptor = os.dup(self._descriptor)

        def tell() -> None:
            if not gone.done():
                gone.set_result(None)

        loop.add_reader(descriptor, tell)
        try:
            await gone
        finally:
            loop.remove_reader(descriptor)
            os.close(descriptor)

    async def kill(self, *, grace_s: float = 0.0) -> bool:
        """SIGKILL, which ends a stopped process as well, unless it ends by itself within `grace_s`.
        Returns whether it has ended: one that the kernel keeps in the middle of something may take
        longer than anybody waits."""
        if not await self._ends_within(grace_s):
            with suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._descriptor, signal.SIGKILL)
        return await self._ends_within(_END_TIMEOUT_S)

    async def _ends_within(self, seconds: float) -> bool:
        if not self.gone and seconds > 0:
            with suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await self.end()
        return self.gone


def end_processes(pids: Iterable[int]) -> None:
    """Kill those of these processes that are there and are Ray's; returns when they have ended.
    Blocks.

    Raises:
        TimeoutError: one of them did not end.
    """
    descriptors = []
    try:
        for pid in pids:
            try:
                descriptor = os.pidfd_open(pid)
            except OSError:
                continue
            descriptors.append(descriptor)
            # A number may have been given to another process meanwhile, until this very moment.
            if Path(f"/proc/{pid}/cmdline").read_bytes().startswith(_RAY_TITLE):
                signal.pidfd_send_signal(descriptor, signal.SIGKILL)
        _wait_for_ends(descriptors)
    finally:
        for descriptor in descriptors:
            os.close(descriptor)


def _wait_for_ends(descriptors: list[int]) -> None:
    ends = select.poll()
    for descriptor in descriptors:
        ends.register(descriptor, select.POLLIN)
    left = set(descriptors)
    until_s = time.monotonic() + _END_TIMEOUT_S
    while left:
        left_ms = max(0.0, until_s - time.monotonic()) * 1_000
        ended = ends.poll(left_ms)
        if not ended:
            raise TimeoutError("a process of Ray does not end")
        for descriptor, _ in ended:
            ends.unregister(descriptor)
            left.discard(descriptor)


def parent_of(pid: int) -> int:
    """Field 4 of proc_pid_stat(5), behind a name that may hold blanks.

    Raises:
        OSError: the process is gone.
    """
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
