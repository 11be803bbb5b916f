"""What the months of a question cost under one tariff: prices by the slot for the planner, and the
bill of what flowed.

Slots are those of plans, quarters of an hour. Energy is paid by the slot, in whole watt-hours that
add up to what flowed; demand charges by the tariff's own windows. Invariant: money is `Decimal` and
exact from the watt-hours on."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import tzinfo
from decimal import Decimal
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from controlplane.network_tariff import TariffConfig
from controlplane.planning.arrivals import Arrivals
from controlplane.planning.inputs import ExpectedSession, SiteInputs
from controlplane.planning.month_ahead import MonthAhead, stepped
from controlplane.planning.outlook import calendar_of
from controlplane.planning.problem import DemandCharge
from controlplane.planning.series import Interval, Series
from controlplane.planning.tariff import Tariff, month_of
from controlplane.rows_ahead import SLOT_S
from controlplane.units import MS_PER_HOUR, MS_PER_S
from controlplane.what_if.question import STEP_MS, DemandCost, MonthOutcome

__all__ = ["AHEAD", "Bill", "Money"]

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

_SLOT_MS = SLOT_S * MS_PER_S
_STEPS_A_SLOT = _SLOT_MS // STEP_MS
_SLOT_H = SLOT_S / 3_600
_WEEK = 7 * 24 * MS_PER_HOUR // _SLOT_MS
AHEAD = 96 * 2
"""Slots beyond the end of the question: a plan that is made in its last hour looks as far."""


class Bill(NamedTuple):
    """What flowed, in money."""

    energy_cost: Decimal
    demand_cost: Decimal
    months: tuple[MonthOutcome, ...]

    @property
    def cost(self) -> Decimal:
        return self.energy_cost + self.demand_cost


class Money:
    """One tariff over the time of a question.

    Args:
        base_w: what else flows through the meter in each slot, building less sun, `AHEAD` slots
            beyond the end included; counts only where the tariff meters it.
    """

    def __init__(
        self,
        tariff: TariffConfig,
        zone: tzinfo,
        *,
        start_ms: int,
        slots: int,
        base_w: Sequence[int],
        market: Sequence[Interval],
    ) -> None:
        self.tariff, self.zone = tariff, zone
        self.start_ms, self.slots = start_ms, slots
        self._clock = Tariff(tariff, zone)
        ahead = slots + AHEAD
        self._market, self._ahead = Series(list(market)), MonthAhead()
        found = self._clock.prices(
            start_ms=start_ms, slot_s=SLOT_S, slots=ahead, pushed=self._market
        )
        self.stale = found.stale
        self.import_price, self.export_price = (
            found.import_price_per_kwh,
            found.export_price_per_kwh,
        )
        metered = not tariff.chargers_only and any(base_w)
        self.base_w = np.array(base_w if metered else [0] * ahead, np.int64)
        starts = range(start_ms, start_ms + ahead * _SLOT_MS, _SLOT_MS)
        self.month = np.array([month_of(at, zone) for at in starts], np.int64)
        self._counted = {
            charge.name: np.array(
                [
                    self._clock.measured(charge.hours, start_ms=at, length_ms=_SLOT_MS)
                    for at in starts
                ]
            )
            for charge in tariff.demand_charges
        }

    # --- for the planner --------------------------------------------------------------------------

    def inputs(
        self,
        first: int,
        count: int,
        *,
        peaks_w: Mapping[tuple[str, int], int],
        expected: tuple[ExpectedSession, ...] = (),
        arrivals: Arrivals | None = None,
    ) -> SiteInputs:
        """What a plan of so many slots from `first` on starts from.

        Args:
            peaks_w: the highest window so far, by demand charge and month.
            arrivals: what is known of those who came before. With it demand charges cost what they
                cost a plan that minds the rest of the month.
        """
        demand: Iterable[DemandCharge] = self.demand(first, count, peaks_w=peaks_w)
        if arrivals is not None:
            demand = self._spread(first, count, peaks_w=peaks_w, arrivals=arrivals)
        span = slice(first, first + count)
        base_w = self.base_w[span].tolist()
        return SiteInputs(
            start_ms=self.start_ms + first * _SLOT_MS,
            slot_s=SLOT_S,
            slots=count,
            currency=self.tariff.currency,
            import_price_per_kwh=self.import_price[span],
            export_price_per_kwh=self.export_price[span],
            base_w=tuple(base_w) if any(base_w) else (),
            demand=tuple(demand),
            expected=expected,
        )

    def _spread(
        self, first: int, count: int, *, peaks_w: Mapping[tuple[str, int], int], arrivals: Arrivals
    ) -> Iterator[DemandCharge]:
        """Each demand charge as a site plans with it; see `planning.month_peak`."""
        calendar = calendar_of(self.tariff, self.zone)
        by_name = {charge.name: charge for charge in self.tariff.demand_charges}
        for month in np.unique(self.month[first : first + count]).tolist():
            for name, charge in self._of_month(first, count, peaks_w=peaks_w, month=month):
                steps = self._ahead.steps(
                    by_name[name],
                    month,
                    clock=self._clock,
                    calendar=calendar,
                    arrivals=arrivals,
                    base_w=self._base_of_hour,
                    pushed=self._market,
                    now_ms=self.start_ms + first * _SLOT_MS,
                )
                yield from stepped(charge, steps)

    def _base_of_hour(self, hour: int) -> float:
        """What building less sun has in an hour; beyond what is known, as in the weeks before."""
        slot = max(0, (hour * MS_PER_HOUR - self.start_ms) // _SLOT_MS)
        beyond = slot - len(self.base_w) + 1
        if beyond > 0:
            slot = max(0, slot - -(-beyond // _WEEK) * _WEEK)
        return float(self.base_w[min(slot, len(self.base_w) - 1)])

    def demand(
        self,
        first: int,
        count: int,
        *,
        peaks_w: Mapping[tuple[str, int], int],
        month: int | None = None,
    ) -> Iterator[DemandCharge]:
        """Each demand charge once for every month that these slots touch, or for one of them
        alone."""
        months = self.month[first : first + count]
        for each in np.unique(months).tolist() if month is None else [month]:
            for _, charge in self._of_month(first, count, peaks_w=peaks_w, month=each):
                yield charge

    def _of_month(
        self, first: int, count: int, *, peaks_w: Mapping[tuple[str, int], int], month: int
    ) -> Iterator[tuple[str, DemandCharge]]:
        span = slice(first, first + count)
        for charge in self.tariff.demand_charges:
            in_month = self._counted[charge.name][span] & (self.month[span] == month)
            if in_month.any():
                yield (
                    charge.name,
                    DemandCharge(
                        price_per_kw=charge.price_per_kw,
                        so_far_w=peaks_w.get((charge.name, month), 0),
                        slots=() if in_month.all() else tuple(in_month.tolist()),
                    ),
                )

    @property
    def window_ms(self) -> int:
        return self.tariff.window_s * MS_PER_S

    def window_over(
        self, peaks_w: dict[tuple[str, int], int], start_ms: int, charged_wh: float
    ) -> None:
        """Take in what chargers drew in a window of the clock that is over."""
        first = max(0, (start_ms - self.start_ms) // _SLOT_MS)
        until = max(first + 1, -((self.start_ms - start_ms - self.window_ms) // _SLOT_MS))
        flows_w = charged_wh * MS_PER_HOUR / self.window_ms + self.base_w[first:until].mean()
        for charge in self.tariff.demand_charges:
            if self._clock.measured(charge.hours, start_ms=start_ms, length_ms=self.window_ms):
                key = charge.name, int(self.month[first])
                peaks_w[key] = max(peaks_w.get(key, 0), round(float(flows_w)))

    # --- the bill ---------------------------------------------------------------------------------

    def bill(self, step_wh: Floats) -> Bill:
        """What it comes to that chargers drew so much from the grid in each step."""
        slot_wh = _whole(np.asarray(step_wh.reshape(self.slots, _STEPS_A_SLOT).sum(axis=1)))
        flows_wh = np.add(slot_wh, self._base_wh())
        months = self.month[: self.slots]
        found = []
        for month in np.unique(months).tolist():
            places = np.flatnonzero(months == month)
            first, until = int(places[0]), int(places[-1]) + 1
            demand = tuple(self._peaks(step_wh, first, until))
            energy = self._energy_cost(flows_wh[first:until], first)
            cost = energy + sum((each.cost for each in demand), Decimal(0))
            found.append(
                MonthOutcome(
                    month=f"{month // 12:04}-{month % 12 + 1:02}",
                    charged_wh=int(slot_wh[first:until].sum()),
                    peak_w=round(float(flows_wh[first:until].max()) / _SLOT_H),
                    energy_cost=energy,
                    demand=demand,
                    cost=cost,
                )
            )
        energy = sum((each.energy_cost for each in found), Decimal(0))
        demand_cost = sum((each.cost - each.energy_cost for each in found), Decimal(0))
        return Bill(energy, demand_cost, tuple(found))

    def base_cost(self) -> Decimal:
        """What the energy of building and sun costs without any charger."""
        return self._energy_cost(self._base_wh(), 0)

    def _base_wh(self) -> Integers:
        return _whole(np.asarray(self.base_w[: self.slots] * _SLOT_H, np.float64))

    def _energy_cost(self, flows_wh: Integers, first: int) -> Decimal:
        bought: dict[Decimal, int] = {}
        for at, flow_wh in enumerate(flows_wh.tolist(), first):
            if flow_wh >= 0:
                price = self.import_price[at]
            else:
                price = (
                    self.export_price[at]
                    if self.export_price
                    else min(Decimal(0), self.import_price[at])
                )
            bought[price] = bought.get(price, 0) + flow_wh
        return sum((price * wh for price, wh in bought.items()), Decimal(0)) / 1_000

    def _peaks(self, step_wh: Floats, first: int, until: int) -> list[DemandCost]:
        """Each demand charge of the slots of one month."""
        window_ms = self.tariff.window_s * MS_PER_S
        from_ms = self.start_ms + first * _SLOT_MS
        windows = (until - first) * _SLOT_MS // window_ms
        means_w = self._means_w(step_wh, first, until, windows, window_ms)
        found = []
        for charge in self.tariff.demand_charges:
            counted = [
                self._clock.measured(
                    charge.hours, start_ms=from_ms + at * window_ms, length_ms=window_ms
                )
                for at in range(windows)
            ]
            highest = np.where(counted, means_w, -1)
            at = int(highest.argmax()) if windows else 0
            peak_w = max(0, int(highest[at])) if windows else 0
            found.append(
                DemandCost(
                    name=charge.name,
                    peak_w=peak_w,
                    at_ms=from_ms + at * window_ms if peak_w else None,
                    cost=charge.price_per_kw * peak_w / 1_000,
                )
            )
        return found

    def _means_w(
        self, step_wh: Floats, first: int, until: int, windows: int, window_ms: int
    ) -> Integers:
        """The mean power of each window, from an energy that grows evenly within each step."""
        steps = slice(first * _STEPS_A_SLOT, until * _STEPS_A_SLOT)
        base_wh = np.repeat(self.base_w[first:until] * (STEP_MS / MS_PER_HOUR), _STEPS_A_SLOT)
        counted_wh = np.concatenate([[0.0], np.cumsum(step_wh[steps] + base_wh)])
        edges = np.arange(windows + 1) * (window_ms / STEP_MS)
        energy_wh = np.diff(np.interp(edges, np.arange(len(counted_wh)), counted_wh))
        return np.asarray(np.rint(energy_wh * (MS_PER_HOUR / window_ms)), np.int64)


def _whole(energy_wh: Floats) -> Integers:
    """Whole watt-hours whose sums are the rounded sums."""
    return np.diff(np.rint(np.cumsum(energy_wh)), prepend=0.0).astype(np.int64)
