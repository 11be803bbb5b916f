"""What every process of Loadstar tells of itself: processor time, memory, descriptors, how late its
event loop takes things up, and what went wrong between it and the database."""

from __future__ import annotations

import asyncio
import os
import resource
import time
from pathlib import Path
from typing import Final

from controlplane.runtime import catalogue
from controlplane.runtime.metrics import Meter, Reading
from controlplane.store.engine import database_faults

__all__ = ["VitalSigns"]

_BEAT_S: Final = 0.5
_PAGE_BYTES: Final = os.sysconf("SC_PAGE_SIZE")
_PROC: Final = Path("/proc/self")


class VitalSigns:
    """Of this process; needs a running event loop, whose heartbeat it is."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._meter = meter = Meter()
        meter.watch(catalogue.PROCESS_CPU, time.process_time)
        meter.watch(catalogue.PROCESS_MEMORY, _resident_bytes)
        meter.watch(catalogue.PROCESS_DESCRIPTORS, lambda: sum(1 for _ in (_PROC / "fd").iterdir()))
        meter.watch(
            catalogue.PROCESS_DESCRIPTORS_MAX, lambda: resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        )
        meter.watch(catalogue.DATABASE_ERRORS, database_faults)
        self._lag = meter.histogram(catalogue.HEARTBEAT_LAG)
        self._beat = self._loop.call_later(_BEAT_S, self._beaten, self._loop.time() + _BEAT_S)

    def read(self) -> list[Reading]:
        return self._meter.read()

    def close(self) -> None:
        """No heartbeat any more."""
        self._beat.cancel()

    def _beaten(self, due_s: float) -> None:
        now_s = self._loop.time()
        self._lag.record(max(0.0, now_s - due_s))
        self._beat = self._loop.call_at(now_s + _BEAT_S, self._beaten, now_s + _BEAT_S)


def _resident_bytes() -> int:
    """Second field of proc_pid_statm(5), in pages."""
    return int((_PROC / "statm").read_text(encoding="ascii").split()[1]) * _PAGE_BYTES
