"""Who charges now, and how high the peak may go, where nobody knows who will come.

Of a kilowatt-hour that a vehicle does not get now it is known what it would earn now, and not what
room there will be for it later. So the rest of the day is taken to come as on each of the last
days, one day at a time, and for each it is found what that kilowatt-hour would still earn
(`_core.waiting_worth`, exactly). The mean of that is what waiting is worth. Who earns more now than
by waiting charges now, whoever gains most by it first; others wait, even where one of those days
would have been full. A plan for a mean day cannot say that: on it nothing is short that is short on
every second day, and nobody waits who would lose little by it and gain much (`benches/acn`).

The same days say what another kilowatt of the site's power would earn today; the peak is the lowest
at which that is no more than `month_peak` says it costs.

Pure numbers. Invariant: nothing is used of a day to come but what days that are over were like."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from controlplane import _core
from controlplane.planning.month_peak import Step

__all__ = ["Ahead", "Want", "Worth"]

Floats = NDArray[np.float64]

_EXACT = 0.01
"""The peak is found to this part of it."""

_FIRST_STEP = 1.02
_WIDEST_STEP = 2.0
_LOWEST_KW = 0.1
_HIGHEST_KW = 1e6


class Want(NamedTuple):
    """A vehicle; hours count from now."""

    arrival_h: float
    """0 for who is there."""
    departure_h: float
    energy_kwh: float
    """What it still wants."""
    power_kw: float
    group: int = 0
    """Its place in `group_kw`."""


class Worth(NamedTuple):
    """Means over the days that may come."""

    waiting: Floats
    """By vehicle that is there: what a kilowatt-hour earns that it does not get now."""
    kilowatt: float
    """What another kilowatt of the site's power would earn."""


class Ahead:
    """The rest of a day as it may come.

    Args:
        here: vehicles that are there.
        days: for each day that may come, who comes from now on; none: nobody will come.
        edge_h: where slots begin, ascending, and where the last one ends.
        earns: what a kilowatt-hour earns in each slot; in one that earns nothing nobody charges.
        group_kw: what transformers or circuits carry that the site's vehicles are behind.
    """

    def __init__(
        self,
        here: Sequence[Want],
        days: Sequence[Sequence[Want]],
        *,
        edge_h: Floats,
        earns: Floats,
        group_kw: Floats,
    ) -> None:
        self._here = len(here)
        self._columns = [_columns([*here, *day]) for day in days or [()]]
        self._edge_h = edge_h
        self._earns = earns
        self._group_kw = group_kw
        self._found: dict[float, Worth] = {}

    def worth(self, site_kw: float) -> Worth:
        """What waiting and another kilowatt are worth where the site carries so much."""
        found = self._found.get(site_kw)
        if found is None:
            each = [
                _core.waiting_worth(
                    here=self._here,
                    arrival_h=columns[0],
                    departure_h=columns[1],
                    energy_kwh=columns[2],
                    power_kw=columns[3],
                    group=columns[4].astype(np.int32),
                    group_kw=self._group_kw,
                    edge_h=self._edge_h,
                    earns=self._earns,
                    site_kw=site_kw,
                )
                for columns in self._columns
            ]
            waiting = np.mean([one for one, _ in each], axis=0)
            found = Worth(waiting, float(np.mean([more for _, more in each])))
            self._found[site_kw] = found
        return found

    def peak_kw(self, steps: Sequence[Step], *, so_far_kw: float, about_kw: float) -> float:
        """The lowest peak, up to a hundredth, from which another kilowatt earns no more than it
        costs.

        Args:
            steps: what a kilowatt costs, by `month_peak`.
            so_far_kw: the month's peak so far, free to use.
            about_kw: where to look first, such as the last answer.
        """

        def short(peak_kw: float) -> bool:
            cost = sum(step.price_per_kw for step in steps if step.from_kw <= peak_kw)
            return self.worth(peak_kw).kilowatt > cost

        floor_kw = max(so_far_kw, _LOWEST_KW)
        return _lowest_enough(short, floor_kw, max(about_kw, floor_kw))


def _lowest_enough(short: Callable[[float], bool], floor: float, about: float) -> float:
    """The lowest value from `floor` on that is not short, up to a part of it."""
    low = high = about
    factor = _FIRST_STEP
    if short(about):
        while high < _HIGHEST_KW and short(high):
            low, high = high, high * factor
            factor = min(factor**2, _WIDEST_STEP)
    else:
        while low > floor and not short(low):
            low, high = max(floor, low / factor), low
            factor = min(factor**2, _WIDEST_STEP)
        if not short(low):
            return low
    while high - low > _EXACT * high:
        middle = (low + high) / 2
        low, high = (middle, high) if short(middle) else (low, middle)
    return high


def _columns(wants: Sequence[Want]) -> Floats:
    """By field, then by vehicle."""
    table = np.array(wants, np.float64).reshape(-1, len(Want._fields))
    return np.ascontiguousarray(table.T)
