"""Loadstar's rule of who charges now and how high the peak may go, as an ACN-Sim algorithm.

Each period `controlplane.planning.waiting` finds what a kilowatt-hour that a vehicle does not get
now would earn later, were the rest of the day as on each of the last days of its kind, and the
lowest peak above which another kilowatt earns less than `controlplane.planning.month_peak` says it
costs. Who gains most by charging now goes first; the core holds the network's rows and that peak.

What is known when: as `planned.py` says. Of vehicles that are plugged in what ACN-Sim tells every
algorithm; of those to come nothing but days that are over."""

from __future__ import annotations

from collections import Counter

import billing
import numpy as np
from acnportal.acnsim.interface import SessionInfo
from acnportal.algorithms import BaseAlgorithm
from electrical import Electrical
from months import DAY, POWER_KW, Month, Stay, Transformer
from numpy.typing import NDArray
from planned import Experience
from scenario import PERIOD_MIN, VOLTAGE_V

from controlplane import _core
from controlplane.planning.month_peak import Step, unknown_step
from controlplane.planning.waiting import Ahead, Want

__all__ = ["Waiting"]

_PERIODS_H = 60 / PERIOD_MIN
_AHEAD = 18 * 60 // PERIOD_MIN
_SLOT = 30 // PERIOD_MIN
_GAIN_DIGITS = 4
_GRID_PARTS = np.arange(0.4, 1.62, 0.03)
"""Peaks, as parts of what the month before would have had: between two a kilowatt costs the same,
and a peak may rise to the next."""
_DOUBTS = 2
"""On how many days nothing was short before all that were seen. This rule knows no mean day, on
which nothing is short either: two heavy days at the beginning paid for a peak that a month did not
need."""
_LIKE_TODAY = 2 / 3
"""Of the days to come where none was seen. Nobody is expected then: were all days like the first,
a peak would be paid for too early."""
_NO_GAIN = -1e-6
"""USD per kilowatt-hour: who gains nothing either way charges, for days differ from those that
were seen."""


class Waiting(BaseAlgorithm):
    """The policy `loadstar_waiting`; arguments as `Planned`."""

    def __init__(
        self,
        electrical: Electrical,
        transformers: list[Transformer],
        month: Month,
        before: Month | None,
    ) -> None:
        super().__init__()
        self.max_recompute = 1
        self._electrical = electrical
        self._position = {name: index for index, name in enumerate(electrical.station_ids)}
        self._group = {
            name: index for index, each in enumerate(transformers) for name in each.station_ids
        }
        self._group_kw = np.array([each.power_w / 1_000 for each in transformers])
        self._month = month
        self._prices = billing.prices(month)
        self._charge = billing.demand_price(month)
        self._experience = Experience(month, before, grid_parts=_GRID_PARTS, doubts=_DOUBTS)
        self._steps: list[Step] = []
        self._so_far_kw = 0.0
        self._peak_kw = 0.0
        self.plans = 0

    def schedule(self, active_sessions: list[SessionInfo]) -> dict[str, list[float]]:
        """The currents of this period, in amperes."""
        now = self.interface.current_time
        self._learn(now // DAY)
        if not active_sessions:
            return {}
        ahead = self._ahead(active_sessions, now)
        self._peak_kw = ahead.peak_kw(
            self._steps, so_far_kw=self._so_far_kw, about_kw=self._peak_kw
        )
        gain = billing.REVENUE_PER_KWH - self._prices[now] - ahead.worth(self._peak_kw).waiting
        self.plans += 1
        return self._give(active_sessions, self._order(active_sessions, gain, now))

    def _order(self, sessions: list[SessionInfo], gain: NDArray[np.float64], now: int) -> list[int]:
        """Who charges, whoever gains most leading. Of those who gain the same, one of each pair of
        lines behind each transformer comes before the second of any: level lines carry most."""
        steps = np.round(gain, _GAIN_DIGITS)
        willing = [index for index in range(len(sessions)) if gain[index] > _NO_GAIN]
        willing.sort(key=lambda index: (-steps[index], self._laxity(sessions[index], now)))
        queues: Counter[tuple[float, int, int]] = Counter()
        place: dict[int, int] = {}
        for index in willing:
            station = sessions[index].station_id
            pair = int(self._electrical.line_pair[self._position[station]])
            queue = float(steps[index]), self._group[station], pair
            place[index] = queues[queue]
            queues[queue] += 1
        return sorted(willing, key=lambda index: (-steps[index], place[index]))

    def _learn(self, today: int) -> None:
        """What days taught that are over by the midnight before this one."""
        if not self._experience.learn(today) and self._steps:
            return
        rest = self._month.weekdays[today + 1 :]
        self._steps = self._experience.steps(rest, self._charge) or [
            unknown_step(sum(weekday < 5 for weekday in rest), self._charge, _LIKE_TODAY)
        ]

    def _left_kwh(self, session: SessionInfo) -> float:
        return float(self.interface.remaining_amp_periods(session)) * VOLTAGE_V / 12_000

    def _laxity(self, session: SessionInfo, now: int) -> float:
        stay_h = (session.estimated_departure - now) / _PERIODS_H
        return stay_h - self._left_kwh(session) / POWER_KW

    def _ahead(self, sessions: list[SessionInfo], now: int) -> Ahead:
        here = [
            Want(
                0.0,
                (session.estimated_departure - now) / _PERIODS_H,
                self._left_kwh(session),
                POWER_KW,
                self._group[session.station_id],
            )
            for session in sessions
        ]
        edges = np.array([now, *range((now // _SLOT + 1) * _SLOT, now + _AHEAD + 1, _SLOT)])
        at = np.minimum(edges[:-1], len(self._prices) - 1)
        return Ahead(
            here,
            self._days(now),
            edge_h=(edges - now) / _PERIODS_H,
            earns=np.round(billing.REVENUE_PER_KWH - self._prices[at], 6),
            group_kw=self._group_kw,
        )

    def _days(self, now: int) -> list[list[Want]]:
        """Who came from this time on, on each of the last days of this kind, and on the day after
        it as on one of the last days of that day's kind."""
        today, weekdays = now // DAY, self._month.weekdays
        first = min(today, self._month.days - 1)
        days = self._experience.expected(weekend=weekdays[first] >= 5)
        last = today + 1 >= self._month.days
        after = [] if last else self._experience.expected(weekend=weekdays[today + 1] >= 5)
        return [
            self._wants(stays, today * DAY, now)
            + (self._wants(after[index % len(after)], (today + 1) * DAY, now) if after else [])
            for index, stays in enumerate(days)
        ]

    def _wants(self, stays: tuple[Stay, ...], begin: int, now: int) -> list[Want]:
        return [
            Want(
                (begin + stay.arrival - now) / _PERIODS_H,
                (begin + stay.departure - now) / _PERIODS_H,
                stay.energy_kwh,
                POWER_KW,
                self._group[stay.station_id],
            )
            for stay in stays
            if now < begin + stay.arrival < now + _AHEAD
        ]

    def _give(self, sessions: list[SessionInfo], first: list[int]) -> dict[str, list[float]]:
        """All they can take to those named, one after the other, below the peak and the rows."""
        stations = len(self._electrical.station_ids)
        max_ma, tier = np.zeros(stations, np.int64), np.zeros(stations, np.uint8)
        for place, index in enumerate(first):
            session = sessions[index]
            position = self._position[session.station_id]
            need_ma = int(np.ceil(self.interface.remaining_amp_periods(session) * 1_000))
            max_ma[position] = min(need_ma, self._electrical.max_ma[position])
            tier[position] = place
        current_a = self._allocated(max_ma, tier)
        self._so_far_kw = max(self._so_far_kw, float(current_a.sum()) * VOLTAGE_V / 1_000)
        return {
            session.station_id: [float(current_a[self._position[session.station_id]])]
            for session in sessions
        }

    def _allocated(self, max_ma: NDArray[np.int64], tier: NDArray[np.uint8]) -> NDArray[np.float64]:
        stations = len(max_ma)
        demand = _core.Demand(
            min_ma=np.zeros(stations, np.int64),
            max_ma=max_ma,
            step_ma=np.ones(stations, np.int64),
            weight=np.ones(stations, np.int64),
            tier=tier,
            rank=np.arange(stations, dtype=np.int64),
        )
        limit_ma = int(self._peak_kw * 1e6 / VOLTAGE_V)
        capacity = _core.Capacity(
            import_ma=np.full((1, 3), limit_ma, np.int64), combined=self._electrical.combined
        )
        given = _core.allocate(self._electrical.network, capacity, demand)
        return np.asarray(given.current_ma / 1_000, np.float64)
