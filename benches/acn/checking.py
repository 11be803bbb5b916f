"""Whether currents keep a network's rows: ACN-Sim's own check without its matrices built anew each
time, and the sum over what was drawn that every run ends with."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from acnportal.acnsim.interface import InfrastructureInfo
from electrical import Electrical
from numpy.typing import NDArray

__all__ = ["feasibility", "largest_load"]


def feasibility(rows: Electrical) -> Callable[[NDArray[np.float64], InfrastructureInfo], bool]:
    """ACN-Sim's `infrastructure_constraints_feasible` for one network, with its tolerances."""
    coefficient = rows.coefficient[:, rows.kind]
    limit_a = rows.limit_a + np.maximum(1e-5, 1e-7 * rows.limit_a)

    def feasible(rates: NDArray[np.float64], _: InfrastructureInfo) -> bool:
        return bool((np.abs(coefficient @ rates) <= limit_a).all())

    return feasible


def largest_load(rows: Electrical, rates_a: NDArray[np.float64]) -> float:
    """The fullest row at any time, of its limit; `rates_a` has the shape (stations, periods)."""
    current = rows.coefficient[:, rows.kind] @ rates_a
    return float((np.abs(current) / rows.limit_a[:, None]).max())
