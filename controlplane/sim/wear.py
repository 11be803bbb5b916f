"""How often stations are told limits while nobody comes, goes or fails. Each is written to a memory
and may move a relay, and stations that are told too much time out."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping

from controlplane.sim.violations import Violations
from controlplane.sim.virtual_station import VirtualStation
from controlplane.units import MS_PER_S

__all__ = ["WearWatch"]

_SETTLED_MS = 60_000
"""So long after faults have stopped, what they left behind may take more."""

_WINDOW_MS = 60_000
_TOLD_MAX = 12
"""Limits that a connector may be told within `_WINDOW_MS`, one in five seconds: beside a building
that moves, vehicles that wake, ramp and fill up by themselves trade small parts of their rows."""

Told = dict[tuple[str, int], int]


class WearWatch:
    """Looks at how many limits every connector was told in the last minute."""

    def __init__(self, stations: Mapping[str, VirtualStation], violations: Violations) -> None:
        self.most = 0
        """The most that one connector was told within a window."""
        self._stations = stations
        self._violations = violations
        self._counts_from_ms = 0
        self._looks: deque[tuple[int, Told]] = deque()
        self._reported: set[tuple[str, int]] = set()

    def begin(self, now_ms: int) -> None:
        """Faults have stopped."""
        self._counts_from_ms = now_ms + _SETTLED_MS
        self._looks.clear()

    def look(self, now_ms: int) -> None:
        """Look at this instant."""
        if now_ms < self._counts_from_ms:
            return
        told = {
            (name, connector_id): count
            for name, station in self._stations.items()
            for connector_id, count in station.told.items()
        }
        self._looks.append((now_ms, told))
        while now_ms - self._looks[0][0] > _WINDOW_MS:
            self._looks.popleft()
        since_ms, before = self._looks[0]
        for (name, connector_id), count in told.items():
            times = count - before.get((name, connector_id), 0)
            if times > _TOLD_MAX and (name, connector_id) not in self._reported:
                self._reported.add((name, connector_id))
                seconds = (now_ms - since_ms) // MS_PER_S
                words = f"{name}/{connector_id} was told {times} limits within {seconds} s"
                self._violations.record(now_ms, "told too often", words)
            self.most = max(self.most, times)
