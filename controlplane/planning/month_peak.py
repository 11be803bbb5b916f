"""What a kilowatt above the month's peak is to cost today, where the month has days to come.

A demand charge is the month's, and a plan sees a day. A kilowatt that is paid for today is free on
all days that follow; so of the charge, today has to bear only what that kilowatt will not be worth
later. What it will be worth is learned from days that are over: for each of them, what one more
kilowatt would have brought at each of several peaks (`peak_worth`). Going back from the month's
end, a kilowatt is worth on a day what it brings then and is worth on the next one, and never more
than the charge, for which it could still be had then; the mean of that over the days that were
seen, the latest counting most, is what it is worth the evening before. As the first kilowatts bring
more than later ones, this makes of one charge several, one above the other (`price_steps`): next to
nothing up to the peak that the month will have anyway, and all of it far above.

Pure numbers, used by sites, by what-if and by the profit study alike. Invariant: the steps together
never cost more than the charge, and never fall with the peak."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from itertools import pairwise
from typing import NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

__all__ = ["Need", "Step", "peak_worth", "price_steps", "unknown_step"]

Floats = NDArray[np.float64]
KindOfDay = TypeVar("KindOfDay", bound=Hashable)

FRESHNESS = 0.94
"""Of a day's weight, what the day of its kind before it has: months differ. See `benches/acn`: from
0.9 to 0.96 a month's peak is worth the same to two tenths of a percent."""

DOUBTS = 1
"""On how many days nothing was short before all that were seen. A plan expects the mean of those to
come as well, and keeps its peak low by that; with two it was paid for too late (March at Caltech in
`benches/acn`: 97.75 %, with one 98.18). Who expects nobody for certain doubts more."""

LIKE_TODAY = 1.0
"""Of the days to come, where none was seen: see `DOUBTS`, of which it is the beginning."""

STEP_MIN_PERCENT = 1
"""Of the charge; less is no step of its own."""

_CLASSES_MAX = 6
"""Of more prices on one day, those that are nearest count as one."""

_BEYOND = 1.1
"""How far the last kilowatts of a grid reach above its highest peak."""


class Need(NamedTuple):
    """Sessions of a day that are alike; seconds count from its midnight."""

    arrival_s: float
    departure_s: float
    energy_kwh: float
    power_kw: float


class Step(NamedTuple):
    """From a peak on, another kilowatt costs so much more."""

    from_kw: float
    price_per_kw: float


def price_steps(
    worth: Mapping[KindOfDay, Floats],
    rest: Sequence[KindOfDay],
    charge: float,
    grid_kw: Floats,
    doubts: float = DOUBTS,
) -> list[Step]:
    """What a kilowatt is to cost today.

    Args:
        worth: by kind of day, what `peak_worth` found for each day that was seen, the oldest
            leading; shape (days, peaks).
        rest: the kinds of the days of the month after today.
        charge: for a kilowatt of the month's peak.
        grid_kw: the peaks, ascending.
        doubts: on how many days nothing was short before all that were seen.

    Returns:
        Steps, ascending; together `charge`, or less where even the highest peak will be needed.
    """
    nothing = np.zeros(len(grid_kw))
    # Before all days that were seen come some on which nothing was short: few say little.
    seen = {
        kind: (np.vstack([nothing, each]), _weights(len(each), doubts))
        for kind, each in worth.items()
    }
    unseen = nothing[None], np.ones(1)
    ahead = nothing
    for kind in reversed(rest):
        brought, weight = seen.get(kind, unseen)
        ahead = weight @ np.minimum(charge, brought + ahead)
    price = np.maximum(0.0, charge - np.minimum.accumulate(ahead))
    steps: list[Step] = []
    paid = 0.0
    for from_kw, each in zip(grid_kw.tolist(), price.tolist(), strict=True):
        if (each - paid) * 100 > charge * STEP_MIN_PERCENT:
            steps.append(Step(from_kw, each - paid))
            paid = each
    return steps


def unknown_step(rest_days: int, charge: float, like_today: float = LIKE_TODAY) -> Step:
    """What a kilowatt is to cost where no day was seen yet: this part of the days to come is taken
    to need as much as today, which bears its part."""
    return Step(0.0, charge / (1 + rest_days * like_today))


def _weights(days: int, doubts: float) -> Floats:
    """Of so many days and of what comes before them, which leads; together 1."""
    weight = FRESHNESS ** np.arange(days, -1, -1, dtype=np.float64)
    weight[0] *= doubts
    return np.asarray(weight / weight.sum(), np.float64)


def peak_worth(
    needs: Sequence[Need],
    price_per_kwh: Floats,
    *,
    slot_s: int,
    grid_kw: Floats,
    missing_per_kwh: float,
    base_kw: Floats | None = None,
    counted: NDArray[np.bool_] | None = None,
) -> Floats:
    """What one more kilowatt would have brought on a day, from each peak of a grid to the next.

    With the cheapest prices first: as much as fits under the peak into the hours of the lowest
    price alone, then into those of the two lowest, and so on; what fits nowhere is missing. Each
    kilowatt-hour that one more kilowatt lets in earlier is worth the difference. What fits is found
    hour by hour, who can wait least first.

    Args:
        price_per_kwh: by slot from the day's midnight on, until its last departure.
        missing_per_kwh: what a kilowatt-hour that is not charged costs; above all prices, or
            what is dearer is not charged.
        base_kw: what else flows in each slot; nothing where it is not given.
        counted: in which slots the peak is measured; in all where it is not given.
    """
    if not needs:
        return np.zeros(len(grid_kw))
    table = np.array(needs)
    edges = np.arange(len(price_per_kwh) + 1) * float(slot_s)
    there_h = np.clip(
        np.minimum(table[:, 1:2], edges[1:]) - np.maximum(table[:, :1], edges[:-1]), 0, None
    )
    most_kwh = table[:, 3:4] * there_h / 3_600
    peaks = np.append(grid_kw, grid_kw[-1] * _BEYOND)
    room_kwh = np.repeat(peaks[:, None], len(price_per_kwh), axis=1) * slot_s / 3_600
    if base_kw is not None:
        room_kwh = np.maximum(0.0, room_kwh - base_kw * slot_s / 3_600)
    if counted is not None:
        room_kwh[:, ~counted] = np.inf
    prices = _classes(price_per_kwh)
    bounds = [*np.unique(prices[prices < missing_per_kwh]).tolist(), missing_per_kwh]
    saved = np.zeros(len(peaks))
    for low, high in pairwise(bounds):
        allowed = np.flatnonzero(prices <= low)
        fits = _fitting(table[:, 2], most_kwh[:, allowed], room_kwh[:, allowed])
        saved += (high - low) * fits
    return _falling(np.diff(saved), np.diff(peaks))


def _fitting(energy_kwh: Floats, most_kwh: Floats, room_kwh: Floats) -> Floats:
    """What can be charged in some slots below each of several peaks.

    Args:
        most_kwh: what each need can take in each slot; shape (needs, slots).
        room_kwh: what each peak leaves; shape (peaks, slots).
    """
    peaks, slots = room_kwh.shape
    left = np.repeat(energy_kwh[None], peaks, axis=0)
    later = np.cumsum(most_kwh[:, ::-1], axis=1)[:, ::-1]
    for slot in range(slots):
        here = np.flatnonzero(most_kwh[:, slot])
        if not len(here):
            continue
        after = later[here, slot + 1] if slot + 1 < slots else np.zeros(len(here))
        wants = np.minimum(left[:, here], most_kwh[here, slot])
        waits = (after - left[:, here]) / np.maximum(most_kwh[here, slot], 1e-12)
        order = np.argsort(waits, axis=1, kind="stable")
        sorted_wants = np.take_along_axis(wants, order, axis=1)
        before = np.cumsum(sorted_wants, axis=1) - sorted_wants
        given = np.clip(room_kwh[:, slot : slot + 1] - before, 0.0, sorted_wants)
        taken = np.empty_like(given)
        np.put_along_axis(taken, order, given, axis=1)
        left[:, here] -= taken
    return np.asarray(energy_kwh.sum() - left.sum(axis=1), np.float64)


def _falling(rises: Floats, widths: Floats) -> Floats:
    """The slopes of the lowest curve above one with these rises that bends down only: what is found
    hour by hour may be a little less than what fits."""
    pools: list[tuple[float, float, int]] = []
    for rise, width in zip(rises.tolist(), widths.tolist(), strict=True):
        pool = max(0.0, rise), width, 1
        while pools and pools[-1][0] * pool[1] < pool[0] * pools[-1][1]:
            last = pools.pop()
            pool = pool[0] + last[0], pool[1] + last[1], pool[2] + last[2]
        pools.append(pool)
    return np.repeat([rise / width for rise, width, _ in pools], [count for *_, count in pools])


def _classes(price_per_kwh: Floats) -> Floats:
    """The prices, of which few differ."""
    values = np.unique(price_per_kwh)
    if len(values) <= _CLASSES_MAX:
        return price_per_kwh
    parts = np.array_split(values, _CLASSES_MAX)
    means = np.array([part.mean() for part in parts])
    firsts = np.array([part[0] for part in parts])
    return np.asarray(means[np.searchsorted(firsts, price_per_kwh, side="right") - 1], np.float64)
