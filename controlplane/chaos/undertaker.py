"""Ends what a chaos run has started, after the run: `python -m controlplane.chaos.undertaker RUN
FOLDER`. The run's process has it started when it is gone (`sim/afterwards.py`)."""

from __future__ import annotations

import os
import shutil
import signal
import sys
import time
from contextlib import suppress
from typing import Final

from controlplane.chaos.marks import marked

__all__ = ["bury"]

_TRIES: Final = 20
_PAUSE_S: Final = 0.2


def bury(run: str, folder: str) -> None:
    """Kill every process of the run, also those that are being started meanwhile; remove its
    folder where one is named."""
    for _ in range(_TRIES):
        pids = marked(run)
        if not pids:
            break
        for pid in pids:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(_PAUSE_S)
    if folder:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    bury(*sys.argv[1:3])
