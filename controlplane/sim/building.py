"""What a building draws besides its chargers, interpolated between measured hours.

Pure: the same instant gives the same load in every process."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from controlplane.errors import InvalidInput
from controlplane.units import MS_PER_HOUR

__all__ = ["BuildingLoad", "load_hours_w"]


@dataclass(frozen=True)
class BuildingLoad:
    """A three-phase load at unity power factor.

    Attributes:
        start_ms: the instant of the first value.
        hours_w: power at each full hour from there on; linear in between, constant outside.
        phase_shares: how the power falls on L1, L2, L3; the sum is 1.
        voltage_v: line to neutral.
    """

    start_ms: int
    hours_w: tuple[float, ...]
    phase_shares: tuple[float, float, float] = (1 / 3, 1 / 3, 1 / 3)
    voltage_v: int = 230

    def __post_init__(self) -> None:
        if not self.hours_w or min(self.hours_w) < 0:
            raise InvalidInput("a building load needs values, none below zero")
        if abs(sum(self.phase_shares) - 1) > 1e-6 or min(self.phase_shares) < 0:
            raise InvalidInput("phase shares are parts of one")

    def power_w(self, at_ms: int) -> float:
        """The power at an instant."""
        hours = (at_ms - self.start_ms) / MS_PER_HOUR
        hours = min(max(hours, 0.0), len(self.hours_w) - 1.0)
        before = min(int(hours), max(len(self.hours_w) - 2, 0))
        after = min(before + 1, len(self.hours_w) - 1)
        fraction = hours - before
        return self.hours_w[before] * (1 - fraction) + self.hours_w[after] * fraction

    def current_a(self, at_ms: int) -> tuple[float, float, float]:
        """Amperes on L1, L2, L3 at an instant."""
        power_w = self.power_w(at_ms)
        l1, l2, l3 = (power_w * share / self.voltage_v for share in self.phase_shares)
        return l1, l2, l3


def load_hours_w(path: Path, *, scale: float = 1.0) -> tuple[float, ...]:
    """The hourly values of a CSV file with the columns `hour_of_day`, `load_kw`, in watts, times
    `scale`.

    Raises:
        InvalidInput: unreadable, or its hours do not follow each other.
    """
    try:
        with path.open(encoding="utf-8", newline="") as file:
            rows = [
                (int(row["hour_of_day"]), float(row["load_kw"])) for row in csv.DictReader(file)
            ]
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise InvalidInput(f"{path}: {error!r}", reason="LOAD_UNREADABLE") from error
    return _in_order(rows, path.name, scale)


def _in_order(rows: Sequence[tuple[int, float]], name: str, scale: float) -> tuple[float, ...]:
    if not rows or any(after[0] != before[0] + 1 for before, after in pairwise(rows)):
        raise InvalidInput(f"{name}: hours must follow each other", reason="LOAD_UNREADABLE")
    return tuple(load_kw * 1_000 * scale for _, load_kw in rows)
