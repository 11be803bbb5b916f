"""Loadstar's horizon plan as an ACN-Sim algorithm that minds prices and the month's peak.

At each arrival, and every quarter of an hour, `controlplane.planning.solve` plans the next twelve
hours in periods of five minutes; what the plan gives this period is handed to the core as maximums,
so that the network's vector rows hold exactly.

What is known when. Of vehicles that are plugged in: what ACN-Sim tells every algorithm. Of those to
come: nothing but sessions of days that are over, of this month and of the month at hand before it.
Those of the last days of the same kind (workdays, weekends) are expected again, each with its part
of the energy and power. On the first days of a site of which nothing is known, nobody is expected.
Nobody is expected before the next plan is due: what a plan gives to somebody who does not come is
lost, and who does come is planned for at once.

What a kilowatt above the month's peak costs today is the rule that sites follow,
`controlplane.planning.month_peak`, over the days that are over, at this month's prices."""

from __future__ import annotations

from decimal import Decimal

import billing
import numpy as np
from acnportal.acnsim.interface import SessionInfo
from acnportal.algorithms import BaseAlgorithm
from electrical import Electrical
from months import DAY, POWER_KW, Month, Stay, Transformer
from numpy.typing import NDArray
from scenario import PERIOD_MIN, VOLTAGE_V

from controlplane import _core
from controlplane.planning import DemandCharge, Horizon, Meter, Node, Plan, Vehicle, solve
from controlplane.planning.month_peak import (
    DOUBTS,
    Need,
    Step,
    peak_worth,
    price_steps,
    unknown_step,
)

__all__ = ["Experience", "Planned", "of_day"]

_SLOTS = DAY // 2
_SLOT_S = PERIOD_MIN * 60
_REPLAN = 3
"""Periods after which a plan is made anew though nobody arrived."""
_GAP = 3e-4
_STEPS = 400
_DAYS_EXPECTED = 10
_ARRIVAL_STEP = 3
_DEPARTURE_STEP = 6
"""Periods: sessions of other days that agree so far are expected as one."""
_DAYS_WORTH = 40
_GRID_PARTS = np.array([0.4, 0.55, 0.7, 0.8, 0.88, 0.94, 1.0, 1.06, 1.12, 1.2, 1.35, 1.6])
_SITE = "site"
_LATE_PRICE = Decimal("0.000002")


class Experience:
    """Days that are over, and what another kilowatt would have brought on them."""

    def __init__(
        self,
        month: Month,
        before: Month | None,
        *,
        grid_parts: NDArray[np.float64] = _GRID_PARTS,
        doubts: float = DOUBTS,
    ) -> None:
        self._month = month
        self._grid_parts, self._doubts = grid_parts, doubts
        self._prices = billing.prices(month)
        self._days: dict[bool, list[tuple[Stay, ...]]] = {False: [], True: []}
        self._worth: dict[bool, list[NDArray[np.float64]]] = {False: [], True: []}
        self._days_over = 0
        self.grid_kw = np.zeros(0)
        if before is not None:
            self._set_grid(billing.optimum(before)[1])
            for day, weekday in enumerate(before.weekdays):
                self._add(of_day(before, day), weekend=weekday >= 5)

    def _set_grid(self, about_kw: float) -> None:
        self.grid_kw = about_kw * self._grid_parts

    def learn(self, today: int) -> bool:
        """Take in the days of the month that are over by midnight; whether there was one more."""
        known, self._days_over = self._days_over, min(today, self._month.days)
        for day in range(known, self._days_over):
            self._add(of_day(self._month, day), weekend=self._month.weekdays[day] >= 5)
        return known < self._days_over

    def _add(self, stays: tuple[Stay, ...], *, weekend: bool) -> None:
        """A day is over; its stays count from its midnight."""
        if not len(self.grid_kw):
            if not stays:
                return
            energy_kwh = sum(stay.energy_kwh for stay in stays)
            self._set_grid(energy_kwh / (max(s.departure for s in stays) / DAY * 24) * 3)
        first = [weekday >= 5 for weekday in self._month.weekdays].index(weekend)
        price = self._prices[first * DAY : (first + 1) * DAY]
        self._days[weekend].append(stays)
        needs = [
            Need(stay.arrival * _SLOT_S, stay.departure * _SLOT_S, stay.energy_kwh, POWER_KW)
            for stay in stays
        ]
        self._worth[weekend].append(
            peak_worth(
                needs,
                np.concatenate([price, price]),
                slot_s=_SLOT_S,
                grid_kw=self.grid_kw,
                missing_per_kwh=billing.REVENUE_PER_KWH,
            )
        )

    def expected(self, *, weekend: bool) -> list[tuple[Stay, ...]]:
        """The last days of a kind."""
        return self._days[weekend][-_DAYS_EXPECTED:]

    def steps(self, rest: tuple[int, ...], charge: float) -> list[Step] | None:
        """What a kilowatt costs before days of these weekdays; None before any workday is known."""
        if not self._worth[False]:
            return None
        worth = {
            weekend: np.array(each[-_DAYS_WORTH:]).reshape(-1, len(self.grid_kw))
            for weekend, each in self._worth.items()
        }
        kinds = [weekday >= 5 for weekday in rest]
        return price_steps(worth, kinds, charge, self.grid_kw, self._doubts)


def of_day(month: Month, day: int) -> tuple[Stay, ...]:
    """Who came on a day, counted from its midnight."""
    begin = day * DAY
    return tuple(
        Stay(stay.station_id, stay.arrival - begin, stay.departure - begin, stay.energy_kwh)
        for stay in month.stays
        if begin <= stay.arrival < begin + DAY
    )


class Planned(BaseAlgorithm):
    """The policy `loadstar_plan`.

    Args:
        electrical: the network.
        transformers: the stations behind each transformer, and what it carries in watts when its
            lines are level.
        month: whose sessions are read only of days that are over.
        before: an earlier month of the same site, or None.
    """

    def __init__(
        self,
        electrical: Electrical,
        transformers: list[Transformer],
        month: Month,
        before: Month | None,
    ) -> None:
        super().__init__()
        self.max_recompute = 1
        self._nodes = (
            Node(id=_SITE),
            *(Node(id=each.name, parent=_SITE, power_max_w=each.power_w) for each in transformers),
        )
        self._behind = {name: each.name for each in transformers for name in each.station_ids}
        self._electrical = electrical
        self._position = {name: index for index, name in enumerate(electrical.station_ids)}
        self._month = month
        self._prices = billing.prices(month)
        self._charge = billing.demand_price(month)
        self._experience = Experience(month, before)
        self._peak_kw = 0.0
        self._plan: Plan | None = None
        self._planned_at = 0
        self.plans = 0

    def schedule(self, active_sessions: list[SessionInfo]) -> dict[str, list[float]]:
        """The currents of this period, in amperes."""
        now = self.interface.current_time
        self._experience.learn(now // DAY)
        if not active_sessions:
            return {}
        known = {} if self._plan is None else self._plan.current_ma
        due = now - self._planned_at >= _REPLAN
        if due or any(session.session_id not in known for session in active_sessions):
            self._make_plan(active_sessions, now)
        return self._follow(active_sessions, now)

    def _follow(self, sessions: list[SessionInfo], now: int) -> dict[str, list[float]]:
        """What the plan gives, as far as every row of the network carries it."""
        assert self._plan is not None
        stations = len(self._electrical.station_ids)
        max_ma = np.zeros(stations, np.int64)
        for session in sessions:
            need_ma = int(np.ceil(self.interface.remaining_amp_periods(session) * 1_000))
            planned_ma = int(self._plan.current_ma[session.session_id][now - self._planned_at])
            max_ma[self._position[session.station_id]] = min(planned_ma, need_ma)
        demand = _core.Demand(
            min_ma=np.zeros(stations, np.int64),
            max_ma=max_ma,
            step_ma=np.ones(stations, np.int64),
            weight=np.ones(stations, np.int64),
            tier=np.zeros(stations, np.uint8),
            rank=np.arange(stations, dtype=np.int64),
        )
        given = _core.allocate(self._electrical.network, self._electrical.capacity, demand)
        current_a = given.current_ma / 1_000
        self._peak_kw = max(self._peak_kw, float(current_a.sum()) * VOLTAGE_V / 1_000)
        return {
            session.station_id: [float(current_a[self._position[session.station_id]])]
            for session in sessions
        }

    def _make_plan(self, sessions: list[SessionInfo], now: int) -> None:
        vehicles = [
            _vehicle(
                session.session_id,
                self._behind[session.station_id],
                arrival=0,
                departure=session.estimated_departure - now,
                need_kwh=self.interface.remaining_amp_periods(session) * VOLTAGE_V / 12_000,
            )
            for session in sessions
        ]
        meter = Meter(
            id=_SITE,
            node=_SITE,
            import_price_per_kwh=tuple(
                Decimal(f"{price:.5f}") for price in self._prices[now : now + _SLOTS]
            ),
            demand=self._demand_charges(now // DAY),
        )
        horizon = Horizon(
            slots=_SLOTS,
            slot_s=_SLOT_S,
            nodes=self._nodes,
            meters=(meter,),
            vehicles=(*vehicles, *self._expected(now)),
            tier_penalties_per_kwh=(Decimal(str(billing.REVENUE_PER_KWH)),),
            late_price_per_kwh=_LATE_PRICE,
        )
        self._plan = solve(
            horizon,
            last=self._plan,
            slots_since=now - self._planned_at,
            gap=_GAP,
            steps=_STEPS,
        )
        self._planned_at = now
        self.plans += 1

    def _expected(self, now: int) -> list[Vehicle]:
        """Those of other days, gathered by node, arrival and departure."""
        gathered: dict[tuple[str, int, int], tuple[float, float]] = {}
        for day in (now // DAY, now // DAY + 1):
            if day >= self._month.days:
                break
            past = self._experience.expected(weekend=self._month.weekdays[day] >= 5)
            for stay in (stay for stays in past for stay in stays):
                arrival, departure = stay.arrival + day * DAY, stay.departure + day * DAY
                if not now < arrival < now + _SLOTS:
                    continue
                arrival = max(now + _REPLAN, arrival - arrival % _ARRIVAL_STEP)
                departure = max(arrival + 1, departure - departure % _DEPARTURE_STEP)
                place = (self._behind[stay.station_id], arrival, departure)
                need_kwh, share = gathered.get(place, (0.0, 0.0))
                part = 1 / len(past)
                gathered[place] = need_kwh + stay.energy_kwh * part, share + part
        return [
            _vehicle(
                f"expected at {node} from {arrival} to {departure}",
                node,
                arrival=arrival - now,
                departure=departure - now,
                need_kwh=need_kwh,
                share=share,
            )
            for (node, arrival, departure), (need_kwh, share) in gathered.items()
        ]

    def _demand_charges(self, day: int) -> tuple[DemandCharge, ...]:
        """What a kilowatt above the peak so far must bring today to be worth its charge."""
        so_far_w = round(self._peak_kw * 1_000)
        rest = self._month.weekdays[day + 1 :]
        steps = self._experience.steps(rest, self._charge)
        if steps is None:
            steps = [unknown_step(sum(weekday < 5 for weekday in rest), self._charge)]
        return tuple(
            DemandCharge(
                price_per_kw=_usd(step.price_per_kw),
                so_far_w=max(so_far_w, round(step.from_kw * 1_000)),
            )
            for step in steps
        )


def _usd(price: float) -> Decimal:
    return Decimal(f"{price:.4f}")


def _vehicle(
    name: str, node: str, *, arrival: int, departure: int, need_kwh: float, share: float = 1.0
) -> Vehicle:
    need_wh = round(need_kwh * 1_000)
    return Vehicle(
        id=name,
        node=node,
        lines=(1,),
        voltage_v=VOLTAGE_V,
        max_ma=max(1, int(POWER_KW * 1e6 / VOLTAGE_V * share)),
        arrival_s=arrival * _SLOT_S,
        # Nothing is left for the time after the horizon: prices there are unknown to the plan.
        departure_s=min(max(departure, arrival + 1), _SLOTS) * _SLOT_S,
        need_wh=need_wh,
        room_wh=need_wh,
        charge_permille=1_000,
    )
