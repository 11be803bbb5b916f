"""What a month brings and costs: the published profit study's bill, and the most that was possible.

Revenue is 0.30 USD for each kilowatt-hour delivered. Southern California Edison's TOU-EV-4 charges
energy by time of use and 15.51 USD for each kilowatt of the month's highest period of five minutes,
as ACN-Sim counts it. Energy is delivered only where it pays.

The optimum is a linear program over the whole month, known in advance. Each of the network's vector
rows is held by tangents, which allow a thousandth more than it does at most: nobody can earn more.
Between two arrivals, departures or changes of the price nothing changes, so one current per session
and interval is exact."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from acnportal.signals.tariffs import TimeOfUseTariff
from electrical import Electrical, tangents
from months import DAY, POWER_KW, Month, Stay
from numpy.typing import NDArray
from scenario import PERIOD_MIN, VOLTAGE_V
from scipy import sparse
from scipy.optimize import linprog

__all__ = [
    "REVENUE_PER_KWH",
    "Bill",
    "bill",
    "demand_price",
    "optimum",
    "prices",
    "tariff",
]

REVENUE_PER_KWH = 0.3
_TARIFF = "sce_tou_ev_4_march_2019"
_TIMEOUT_S = 600.0
_PEAK_MAX_KW = 10_000.0
_PERIOD_H = PERIOD_MIN / 60


@dataclass(frozen=True)
class Bill:
    """Of one month, in USD, kilowatt-hours and kilowatts."""

    profit: float
    energy_cost: float
    demand_charge: float
    delivered_kwh: float
    peak_kw: float


def tariff() -> TimeOfUseTariff:
    """As ACN-Sim ships it."""
    return TimeOfUseTariff(_TARIFF)


def prices(month: Month, days_beyond: int = 2) -> NDArray[np.float64]:
    """USD per kilowatt-hour in each period of the month and some days beyond it, by ACN-Sim."""
    length = (month.days + days_beyond) * DAY
    hours = tariff().get_tariffs(month.start.replace(tzinfo=None), length // 12, 12 * PERIOD_MIN)
    return np.repeat(np.array(hours), 12)


def demand_price(month: Month) -> float:
    """USD per kilowatt of the month's highest period."""
    return float(tariff().get_demand_charge(month.start))


def bill(month: Month, power_kw: NDArray[np.float64]) -> Bill:
    """What a month with this power in each period comes to."""
    energy_kwh = power_kw * _PERIOD_H
    energy_cost = float(energy_kwh @ prices(month)[: len(power_kw)])
    charge = demand_price(month) * float(power_kw.max())
    delivered_kwh = float(energy_kwh.sum())
    return Bill(
        profit=REVENUE_PER_KWH * delivered_kwh - energy_cost - charge,
        energy_cost=energy_cost,
        demand_charge=charge,
        delivered_kwh=delivered_kwh,
        peak_kw=float(power_kw.max()),
    )


class _Program:
    """Sessions cut into intervals, with one more variable, the peak; behind a network, or none."""

    def __init__(
        self,
        stays: Sequence[Stay],
        price: NDArray[np.float64],
        electrical: Electrical | None = None,
    ) -> None:
        end = max(stay.departure for stay in stays)
        changes = np.flatnonzero(np.diff(price[:end])) + 1
        instants = np.unique(
            [*changes, *(s.arrival for s in stays), *(s.departure for s in stays)]
        ).astype(int)
        first = np.searchsorted(instants, [stay.arrival for stay in stays])
        last = np.searchsorted(instants, [stay.departure for stay in stays])
        session = np.repeat(np.arange(len(stays)), last - first)
        interval = np.concatenate([np.arange(a, b) for a, b in zip(first, last, strict=True)])
        hours, pieces = np.diff(instants) * _PERIOD_H, len(session)
        column = np.arange(pieces)
        energy = sparse.csr_matrix(
            (hours[interval], (session, column)), shape=(len(stays), pieces + 1)
        )
        power = sparse.csr_matrix(
            (np.ones(pieces), (interval, column)), shape=(len(hours), pieces + 1)
        )
        peak = sparse.csr_matrix(
            (np.ones(len(hours)), (np.arange(len(hours)), np.full(len(hours), pieces))),
            shape=power.shape,
        )
        self._rows = sparse.vstack([energy, power - peak]).tocsc()
        self._limits = np.concatenate([[s.energy_kwh for s in stays], np.zeros(len(hours))])
        self._gain = (REVENUE_PER_KWH - price[instants[:-1]])[interval] * hours[interval]
        if electrical is not None:
            position = {name: index for index, name in enumerate(electrical.station_ids)}
            kind = electrical.kind[[position[stay.station_id] for stay in stays]]
            self._add_rows(electrical, kind[session], interval)

    def _add_rows(
        self, electrical: Electrical, kind: NDArray[np.int64], interval: NDArray[np.int64]
    ) -> None:
        """The network's rows, in each interval in which those who are there could break them."""
        kinds, intervals = electrical.coefficient.shape[1], int(interval.max()) + 1
        of_kind = sparse.csr_matrix(
            (
                np.full(len(kind), 1_000 / VOLTAGE_V),
                (interval * kinds + kind, np.arange(len(kind))),
            ),
            shape=(intervals * kinds, len(kind) + 1),
        )
        lines, limits_a = tangents(electrical)
        rows = (sparse.kron(sparse.identity(intervals), sparse.csr_matrix(lines)) @ of_kind).tocsr()
        limit_a = np.tile(limits_a, intervals)
        binding = np.asarray(rows.maximum(0).sum(axis=1)).ravel() * POWER_KW > limit_a
        self._rows = sparse.vstack([self._rows, rows[binding]]).tocsc()
        self._limits = np.concatenate([self._limits, limit_a[binding]])

    def solve(self, peak_price: float) -> tuple[float, float]:
        """The most that can be earned, and the peak of that."""
        pieces = len(self._gain)
        bounds = np.stack([np.zeros(pieces + 1), np.full(pieces + 1, POWER_KW)], axis=1)
        bounds[-1] = (0.0, _PEAK_MAX_KW)
        result = linprog(
            np.append(-self._gain, peak_price),
            A_ub=self._rows,
            b_ub=self._limits,
            bounds=bounds,
            method="highs-ds",
            options={"time_limit": _TIMEOUT_S},
        )
        if result.status != 0:
            raise RuntimeError(f"the linear program has no optimum: {result.message}")
        return -float(result.fun), float(result.x[-1])


def optimum(month: Month, electrical: Electrical | None = None) -> tuple[float, float]:
    """The profit that nobody exceeds behind this network, or any, and its peak in kilowatts."""
    program = _Program(month.stays, prices(month), electrical)
    return program.solve(demand_price(month))
