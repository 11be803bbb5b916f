"""What is to be done once a process is gone, however it went.

A context manager or `atexit` does nothing for a process that was killed. Here a shell waits at the
end of a pipe that only this process holds: the kernel closes it when the process ends, by SIGKILL
too. Invariant: the command runs once, after this process has ended or has called `now`."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Final

__all__ = ["Afterwards"]

_WAIT_THEN_RUN: Final = 'cat > /dev/null; exec "$@"'
_TIMEOUT_S: Final = 60.0


class Afterwards:
    """Runs `command` after this process."""

    def __init__(self, command: Sequence[str | Path]) -> None:
        # A session of its own: what ends a whole group, or a terminal, does not end this.
        self._waiting = subprocess.Popen(
            ["/bin/sh", "-c", _WAIT_THEN_RUN, "afterwards", *command],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            cwd="/",
        )

    def now(self) -> None:
        """Run it, and wait for its end."""
        assert self._waiting.stdin is not None
        self._waiting.stdin.close()
        self._waiting.wait(_TIMEOUT_S)
