"""What came of a feeder's day, in the same form for each way of living through it."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from controlplane.sim.day.scenario import FeederDay, Visit
from controlplane.sim.day.tariff import SLOT_MS, SLOTS

__all__ = ["READY", "Outcome", "plugged_in", "ready"]

READY = 0.99
"""The share of what was possible for a vehicle from which the picture calls it ready."""


@dataclass
class Outcome:
    """Energies are those drawn from the grid.

    Attributes:
        delivered_wh: per visit, by its id.
        slot_wh: shape (sites, 96), to vehicles in each quarter hour.
        slot_peak_a: shape (rows, 96), the highest current with buildings in each quarter hour.
        over_h: shape (rows,), hours in which a row carried more than its rating.
        ready: shape (96,), vehicles plugged in and ready at the end of each quarter hour.
    """

    delivered_wh: dict[str, float]
    slot_wh: NDArray[np.float64]
    slot_peak_a: NDArray[np.float64]
    over_h: NDArray[np.float64]
    ready: NDArray[np.int64] = field(default_factory=lambda: np.zeros(SLOTS, dtype=np.int64))

    @property
    def peak_a(self) -> NDArray[np.float64]:
        """Shape (rows,), the highest current of the day."""
        return np.asarray(self.slot_peak_a.max(axis=1))


def ready(
    delivered_wh: float, *, requested_wh: int, possible_wh: float, share: float = READY
) -> bool:
    """Whether a vehicle has that share of what its driver asked for or, where that is less, of what
    it could have drawn alone by its departure. A register in whole watt-hours may hide one."""
    return delivered_wh + 1 >= share * min(requested_wh, possible_wh)


def plugged_in(feeder: FeederDay, visits: list[Visit], slot: int) -> list[Visit]:
    """Who is plugged in at the end of a quarter hour."""
    at_ms = feeder.start_ms + (slot + 1) * SLOT_MS
    return [v for v in visits if v.session.arrival_ms < at_ms <= v.session.departure_ms]
