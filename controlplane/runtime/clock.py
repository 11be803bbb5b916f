"""The one place that knows what time it is. Actors are given `now_ms`; they never ask."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Protocol

__all__ = ["AcceleratedClock", "Clock", "SystemClock"]


class Clock(Protocol):
    """A source of instants and the pace at which they pass."""

    @property
    def speed(self) -> float:
        """How many seconds of this clock pass in a second of the world's."""

    def now_ms(self) -> int:
        """Milliseconds since the Unix epoch, UTC."""


class SystemClock:
    """The machine's clock."""

    speed = 1.0

    def now_ms(self) -> int:
        return time.time_ns() // 1_000_000


@dataclass(frozen=True)
class AcceleratedClock:
    """A clock for simulations: at `origin_s` of the machine's clock it showed `start_ms`, and it
    runs `speed` times faster.

    Processes that are given the same three numbers agree on the instant.
    """

    start_ms: int
    speed: float
    origin_s: float = field(default_factory=time.time)

    def now_ms(self) -> int:
        return self.start_ms + round((time.time() - self.origin_s) * 1_000 * self.speed)
