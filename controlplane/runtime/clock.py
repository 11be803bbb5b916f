"""The one place that knows what time it is. Actors are given `now_ms`; they never ask.

A machine's clock is set now and then, forward or back. Actors count time-outs, ramps and rounds by
the instants that they are given, so a host gives them a clock that never jumps (`SteadyClock`)."""

from __future__ import annotations

import mmap
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

__all__ = ["AcceleratedClock", "Clock", "SetClock", "SteadyClock", "SystemClock"]

_OFFSET_BYTES = 8
_SLEW = 0.05
"""The part of the time that passes by which a steady clock may be moved."""
_SET_MS = 2_000
"""What is further off than this is not drift: the machine's clock was set."""


class Clock(Protocol):
    """A source of instants and the pace at which they pass."""

    @property
    def speed(self) -> float:
        """How many seconds of this clock pass in a second of the world's."""

    @property
    def may_jump(self) -> bool:
        """Whether somebody may set it while it is used."""

    def now_ms(self) -> int:
        """Milliseconds since the Unix epoch, UTC."""


class SystemClock:
    """The machine's clock."""

    speed = 1.0
    may_jump = True

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
    may_jump = False

    def now_ms(self) -> int:
        return self.start_ms + round((time.time() - self.origin_s) * 1_000 * self.speed)


@dataclass(frozen=True)
class SetClock:
    """The machine's clock, set wrong: so many milliseconds are added to it as stand in `file`, 8
    bytes, signed, little-endian. Whoever writes there sets the clock of all processes that have
    it (`set`); none of them can tell it from a machine's clock that somebody has set.

    Raises:
        OSError: the file cannot be read.
        ValueError: it is empty.
    """

    file: Path
    speed = 1.0
    may_jump = True
    _mapped: mmap.mmap = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        with self.file.open("rb") as file:
            mapped = mmap.mmap(file.fileno(), _OFFSET_BYTES, access=mmap.ACCESS_READ)
        object.__setattr__(self, "_mapped", mapped)

    def __reduce__(self) -> tuple[type[SetClock], tuple[Path]]:
        return SetClock, (self.file,)

    def now_ms(self) -> int:
        offset_ms = int.from_bytes(self._mapped[:_OFFSET_BYTES], "little", signed=True)
        return time.time_ns() // 1_000_000 + offset_ms

    @staticmethod
    def set(file: Path, offset_ms: int) -> None:
        """Set the clocks of this file, which is made where there is none."""
        with file.open("r+b" if file.exists() else "w+b", buffering=0) as clock:
            clock.write(offset_ms.to_bytes(_OFFSET_BYTES, "little", signed=True))


class SteadyClock:
    """A clock that never jumps: it goes with `passed_s`, and is moved little by little towards what
    `clock` shows. How far that has been set since is for its user to look at, who can only begin
    anew: nobody can tell which of the instants that he remembers were right.

    Args:
        clock: shows the time, in seconds of the world.
        passed_s: seconds, from anywhere, that nobody can set.
    """

    speed = 1.0
    may_jump = False

    def __init__(self, clock: Clock, passed_s: Callable[[], float]) -> None:
        self._clock = clock
        self._passed_s = passed_s
        self._last_s = passed_s()
        self._shown_ms = float(clock.now_ms())

    def now_ms(self) -> int:
        now_s = self._passed_s()
        passed_ms = (now_s - self._last_s) * 1_000
        self._last_s = now_s
        self._shown_ms += passed_ms
        off_ms = self._clock.now_ms() - self._shown_ms
        if abs(off_ms) <= _SET_MS:
            most_ms = passed_ms * _SLEW
            self._shown_ms += min(most_ms, max(-most_ms, off_ms))
        return round(self._shown_ms)

    @property
    def set_ms(self) -> int:
        """By how much the clock was set, 0 where it only drifts."""
        off_ms = self._clock.now_ms() - self.now_ms()
        return off_ms if abs(off_ms) > _SET_MS else 0
