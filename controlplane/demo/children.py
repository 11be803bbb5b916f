"""The processes that the demonstration starts, and their certain end.

Each is the leader of its own process group, so that the keyboard's Ctrl-C reaches only us and a
whole group can be ended; each writes a log of its own, whose tail explains a failure."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections import deque
from collections.abc import Mapping, Sequence
from pathlib import Path

from controlplane.errors import Unavailable

__all__ = ["Child", "start"]

LINE_MAX_BYTES = 4 * 1024 * 1024
STOP_TIMEOUT_S = 15.0
TAIL_LINES = 20


class Child:
    """A running process with its log."""

    def __init__(self, name: str, process: asyncio.subprocess.Process, log: Path) -> None:
        self.name = name
        self.process = process
        self.log = log

    @property
    def running(self) -> bool:
        return self.process.returncode is None

    def tail(self) -> str:
        """The last lines of its log."""
        with self.log.open(encoding="utf-8", errors="replace") as file:
            return "".join(deque(file, maxlen=TAIL_LINES)).rstrip()

    def failure(self, what: str) -> Unavailable:
        """An error that says what went wrong and what the process had to say about it."""
        return Unavailable(
            f"{self.name} {what}. The end of its log:\n{self.tail() or '(empty)'}",
            reason="DEMO_PROCESS_FAILED",
        )

    async def stop(self) -> None:
        """Ask it to end, then insist; nothing of its group is left behind."""
        if self.running:
            self._signal(signal.SIGTERM)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self.process.wait(), STOP_TIMEOUT_S)
        self._signal(signal.SIGKILL)
        await self.process.wait()

    def _signal(self, number: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.process.pid, number)


async def start(
    name: str,
    command: Sequence[str],
    *,
    log: Path,
    folder: Path | None = None,
    environment: Mapping[str, str] | None = None,
    without: str = "",
    reports: bool = False,
) -> Child:
    """Start a process in `folder` with our environment, less the variables that begin with
    `without`, plus `environment`. With `reports` its standard output is ours to read; otherwise
    that goes to the log too. Its standard input is a pipe that closes when we are gone."""
    inherited = {
        name: value
        for name, value in os.environ.items()
        if not (without and name.startswith(without))
    }
    with log.open("ab") as file:
        process = await asyncio.create_subprocess_exec(
            *command,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE if reports else file,
            stderr=file,
            env={**inherited, **(environment or {})},
            cwd=folder,
            start_new_session=True,
            limit=LINE_MAX_BYTES,
        )
    return Child(name, process, log)
