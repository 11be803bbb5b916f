"""What the days to come of a month will want, by a site's own history: the prices of its demand
charges for today.

The rule is `month_peak`'s. A day to come is as days of its kind: so many sessions in each hour,
with stays and energies of those that came then, beside what building and sun usually have. Days
differ by how many came. What was found holds for a day of the site.
Invariant: nothing is used that is not over."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from datetime import date, timedelta
from decimal import Decimal

import msgspec
import numpy as np
from numpy.typing import NDArray

from controlplane.network_tariff import DemandChargeConfig
from controlplane.planning.arrivals import Arrivals, Visit
from controlplane.planning.history import DAY_H, Calendar, Kind, hour_of
from controlplane.planning.month_peak import Need, Step, peak_worth, price_steps, unknown_step
from controlplane.planning.problem import DemandCharge
from controlplane.planning.series import Series
from controlplane.planning.tariff import Tariff
from controlplane.units import MS_PER_HOUR, MS_PER_S, datetime_from_ms

__all__ = ["MonthAhead", "stepped"]

_LENGTH_H = 36
"""A day's sessions have left by then, or what is left does not matter for its peak."""

_SLOT_S = MS_PER_HOUR // MS_PER_S
_PARTS = 4
"""Sessions that begin in one hour are told apart by their energy, in so many parts."""

_SIZE_PARTS = 5
"""Days are told apart by how much came, in fifths of a usual day."""
_SIZE_MAX = 3.0

_GRID = np.array([*np.arange(0.1, 0.95, 0.05), 1.0, 1.2])
"""Peaks, as parts of what all would draw at once if nobody was controlled."""

_MISSING_QUARTERS = 4
"""What is not charged costs as much as a last quarter of an hour at the full charge."""

_PRICE_STEP = Decimal("0.000001")

Floats = NDArray[np.float64]


class MonthAhead:
    """Of one site. Remembers what it found until the day is over or something else changes."""

    def __init__(self) -> None:
        self._key: object = None
        self._days: _Days | None = None

    def steps(
        self,
        charge: DemandChargeConfig,
        month: int,
        *,
        clock: Tariff,
        calendar: Calendar,
        arrivals: Arrivals,
        base_w: Callable[[int], float],
        pushed: Series,
        now_ms: int,
    ) -> list[Step]:
        """What a kilowatt costs that raises the peak of a month now.

        Args:
            month: the running one or a later one, as `tariff.month_of` counts.
            base_w: what building less sun will have in an hour, counted from the Unix epoch.
            pushed: day-ahead prices.
        """
        today = _day(now_ms, clock)
        first = date(month // 12, month % 12 + 1, 1)
        after = date((month + 1) // 12, (month + 1) % 12 + 1, 1)
        begins = max(today, first)
        price = float(charge.price_per_kw)
        key = today, clock.config, bool(arrivals.visits), pushed.until_ms
        if key != self._key:
            self._key = key
            self._days = _Days(clock, calendar, arrivals, base_w, pushed=pushed, now_ms=now_ms)
        assert self._days is not None
        rest = [
            calendar.kind(begins + timedelta(days=day)) for day in range(1, (after - begins).days)
        ]
        grid_kw = self._days.grid_kw
        if not len(grid_kw):
            return [unknown_step(len(rest), price)]
        worth = {kind: self._days.worth(charge, kind) for kind in dict.fromkeys(rest)}
        return price_steps(worth, rest, price, grid_kw)


def stepped(charge: DemandCharge, steps: Sequence[Step]) -> Iterator[DemandCharge]:
    """A demand charge as several, one above the other; those below its peak so far are one."""
    prices: dict[int, float] = {}
    for step in steps:
        from_w = max(charge.so_far_w, round(step.from_kw * 1_000))
        prices[from_w] = prices.get(from_w, 0.0) + step.price_per_kw
    for from_w, price in prices.items():
        exact = Decimal(price).quantize(_PRICE_STEP)
        yield msgspec.structs.replace(charge, price_per_kw=exact, so_far_w=from_w)


class _Days:
    """Days as they usually are, by kind, as they were seen until the midnight before."""

    def __init__(
        self,
        clock: Tariff,
        calendar: Calendar,
        arrivals: Arrivals,
        base_w: Callable[[int], float],
        *,
        pushed: Series,
        now_ms: int,
    ) -> None:
        today = _day(now_ms, clock)
        self._clock, self._calendar, self._pushed = clock, calendar, pushed
        self._arrivals, self._base_w, self._before = arrivals, base_w, hour_of(now_ms)
        self._references: dict[Kind, date] = {}
        for ahead in range(14):
            day = today + timedelta(days=ahead)
            self._references.setdefault(calendar.kind(day), day)
        self._needs = {kind: self._usual(day) for kind, day in self._references.items()}
        self._sizes = self._seen(today)
        self._worth: dict[tuple[str, Kind], Floats] = {}
        highest_kw = max((_at_once_kw(each) for each in self._needs.values()), default=0.0)
        base_kw = max(self._base_kw(day).max() for day in self._references.values())
        self.grid_kw = base_kw + highest_kw * _GRID if highest_kw else np.zeros(0)

    def worth(self, charge: DemandChargeConfig, kind: Kind) -> Floats:
        """What one more kilowatt would bring on days of a kind, by day that was seen and peak."""
        known = self._worth.get((charge.name, kind))
        if known is None:
            known = self._worth[charge.name, kind] = self._worth_of(charge, kind)
        return known

    def _worth_of(self, charge: DemandChargeConfig, kind: Kind) -> Floats:
        clock, needs = self._clock, self._needs.get(kind, [])
        day = self._references.get(kind)
        sizes = self._sizes.get(kind, [])
        if day is None or not needs or not sizes:
            return np.zeros((0, len(self.grid_kw)))
        start_ms = self._calendar.midnight(day) * MS_PER_HOUR
        found = clock.prices(
            start_ms=start_ms, slot_s=_SLOT_S, slots=_LENGTH_H, pushed=self._pushed
        )
        price_per_kwh = np.array([float(each) for each in found.import_price_per_kwh])
        charges = [float(each.price_per_kw) for each in clock.config.demand_charges]
        hours = range(start_ms, start_ms + _LENGTH_H * MS_PER_HOUR, MS_PER_HOUR)
        counted = np.array(
            [clock.measured(charge.hours, start_ms=at, length_ms=MS_PER_HOUR) for at in hours]
        )
        by_size = {
            size: peak_worth(
                [
                    need._replace(energy_kwh=need.energy_kwh * size, power_kw=need.power_kw * size)
                    for need in needs
                ],
                price_per_kwh,
                slot_s=_SLOT_S,
                grid_kw=self.grid_kw,
                missing_per_kwh=float(price_per_kwh.max()) + _MISSING_QUARTERS * sum(charges),
                base_kw=self._base_kw(day),
                counted=counted,
            )
            for size in sorted(set(sizes))
        }
        # Several charges share what a kilowatt brings.
        share = float(charge.price_per_kw) / sum(charges) if sum(charges) else 1.0
        return share * np.array([by_size[size] for size in sizes])

    def _usual(self, day: date) -> list[Need]:
        """Who comes on a day like this one."""
        needs = []
        midnight = self._calendar.midnight(day)
        for hour in range(DAY_H):
            count = self._arrivals.counts.mean(
                midnight + hour, before=self._before, calendar=self._calendar
            )
            visits = self._visits(day, hour)
            if not count or not visits:
                continue
            begins_s = (hour + 0.5) * _SLOT_S
            size = -(-len(visits) // _PARTS)
            for first in range(0, len(visits), size):
                part = visits[first : first + size]
                share = count / len(visits)
                stay_s = sum(visit.stay_ms for visit in part) / len(part) / MS_PER_S
                needs.append(
                    Need(
                        begins_s,
                        begins_s + stay_s,
                        share * sum(visit.energy_wh for visit in part) / 1_000,
                        share * sum(visit.power_w for visit in part) / 1_000,
                    )
                )
        return needs

    def _visits(self, day: date, hour: int) -> list[Visit]:
        at_ms = (self._calendar.midnight(day) + hour) * MS_PER_HOUR
        visits = self._arrivals.typical(at_ms, self._calendar)
        return sorted(visits, key=lambda each: each.energy_100wh)

    def _seen(self, today: date) -> dict[Kind, list[float]]:
        """How much came on each day that was seen whole, as parts of a usual one; the oldest
        leading."""
        counts, calendar = self._arrivals.counts, self._calendar
        usual = {
            kind: np.array([_mean_wh(self._visits(day, hour)) for hour in range(DAY_H)])
            for kind, day in self._references.items()
        }
        totals: dict[Kind, list[float]] = {}
        day = today - timedelta(days=1)
        while calendar.midnight(day) >= counts.first and counts.values:
            kind, midnight = calendar.kind(day), calendar.midnight(day)
            came = [counts.at(midnight + hour) for hour in range(DAY_H)]
            if None not in came and kind in usual:
                totals.setdefault(kind, []).append(float(np.array(came, np.float64) @ usual[kind]))
            day -= timedelta(days=1)
        found = {}
        for kind, each in totals.items():
            mean_wh = sum(need.energy_kwh for need in self._needs[kind]) * 1_000
            if mean_wh:
                parts = np.round(np.array(each[::-1]) / mean_wh * _SIZE_PARTS) / _SIZE_PARTS
                found[kind] = np.minimum(parts, _SIZE_MAX).tolist()
        return found

    def _base_kw(self, day: date) -> Floats:
        first = self._calendar.midnight(day)
        if self._clock.config.chargers_only:
            return np.zeros(_LENGTH_H)
        return np.array([self._base_w(first + hour) / 1_000 for hour in range(_LENGTH_H)])


def _day(at_ms: int, clock: Tariff) -> date:
    return datetime_from_ms(at_ms).astimezone(clock.zone).date()


def _mean_wh(visits: Sequence[Visit]) -> float:
    return sum(visit.energy_wh for visit in visits) / len(visits) if visits else 0.0


def _at_once_kw(needs: Sequence[Need]) -> float:
    """The highest hour if everybody drew the most from arrival on."""
    edges = np.arange(_LENGTH_H + 1) * float(_SLOT_S)
    load_kwh = np.zeros(_LENGTH_H)
    for need in needs:
        ends_s = need.arrival_s + need.energy_kwh / max(need.power_kw, 1e-9) * _SLOT_S
        there_s = np.minimum(ends_s, edges[1:]) - np.maximum(need.arrival_s, edges[:-1])
        load_kwh += np.clip(there_s, 0, None) * need.power_kw / _SLOT_S
    return float(load_kwh.max())
