"""All buildings of a world at once: what each draws, in one pass over an array.

Invariant: the same values as `BuildingLoad.current_a` gives for each."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from controlplane.sim.building import BuildingLoad
from controlplane.units import MS_PER_HOUR

__all__ = ["Buildings"]


class Buildings:
    """`loads` all begin at the same instant; one that is told fewer hours than others stays as it
    was told last."""

    def __init__(self, loads: Sequence[BuildingLoad]) -> None:
        self._start_ms = loads[0].start_ms if loads else 0
        hours = max((len(load.hours_w) for load in loads), default=1)
        lines_a = [
            [
                [load.hours_w[min(hour, len(load.hours_w) - 1)] * share / load.voltage_v]
                for share in load.phase_shares
            ]
            for load in loads
            for hour in range(hours)
        ]
        shape = (len(loads), hours, 3)
        self._hours_a = np.array(lines_a, dtype=np.float64).reshape(shape).transpose(1, 0, 2).copy()
        self._moves = any(len(load.hours_w) > 1 for load in loads)

    def current_a(self, at_ms: int) -> NDArray[np.float64]:
        """Amperes per building and line."""
        last = len(self._hours_a) - 1
        hours = min(max((at_ms - self._start_ms) / MS_PER_HOUR, 0.0), float(last))
        before = min(int(hours), max(last - 1, 0))
        after = min(before + 1, last)
        fraction = hours - before
        now_a: NDArray[np.float64] = (
            self._hours_a[before] * (1.0 - fraction) + self._hours_a[after] * fraction
        )
        return now_a

    def highest_a(self, first_ms: int, last_ms: int) -> NDArray[np.float64]:
        """The most amperes per building and line at any instant from `first_ms` to `last_ms`, which
        are less than an hour apart: loads run straight from one full hour to the next."""
        first_a = self.current_a(first_ms)
        if not self._moves or first_ms == last_ms:
            return first_a
        highest_a = np.maximum(first_a, self.current_a(last_ms))
        passed_ms = last_ms - self._start_ms
        if passed_ms // MS_PER_HOUR != (first_ms - self._start_ms) // MS_PER_HOUR:
            turn_ms = self._start_ms + passed_ms // MS_PER_HOUR * MS_PER_HOUR
            highest_a = np.maximum(highest_a, self.current_a(turn_ms))
        return highest_a
