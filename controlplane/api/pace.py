"""When a stream looks at measurements again. Events come when they come; measurements are no events
and are read at the pace that the caller asked for."""

from __future__ import annotations

import asyncio

from controlplane.api.backend import invalid, seconds

__all__ = ["Pace"]

_IDLE_S = 10.0


class Pace:
    """`interval_s` of a request: 0 for never, else 1 to 3,600 s."""

    def __init__(self, interval_s: float, *, narrowed: bool) -> None:
        """
        Args:
            narrowed: the request names what it is about; the whole network is not measured anew.

        Raises:
            InvalidInput: out of range, or for the whole network.
        """
        self._interval_s = seconds(
            "interval_s", interval_s, default_s=0.0, least_s=1.0, most_s=3_600.0
        )
        if self._interval_s and not narrowed:
            raise invalid("interval_s", "needs a narrower filter")
        self._next_s = asyncio.get_running_loop().time() + self._interval_s

    @property
    def wait_s(self) -> float:
        """How long to wait for events at most."""
        return min(self._interval_s, _IDLE_S) if self._interval_s else _IDLE_S

    def due(self) -> bool:
        """Whether it is time to look again; if so, the next time is an interval from now."""
        now_s = asyncio.get_running_loop().time()
        if not self._interval_s or now_s < self._next_s:
            return False
        self._next_s = now_s + self._interval_s
        return True
