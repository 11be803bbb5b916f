"""The most energy that could have been delivered, knowing the whole month in advance.

Between two plug-in or departure events nothing changes, and the rows are convex, so an interval's
mean currents are as good as any: one variable per session and interval is exact. A vector row
|z| <= limit is the intersection of its tangents, Re(z * exp(-j * phi)) <= limit for all phi. The
linear program starts with twelve of them a row and gets, round by round, the tangents that its own
solution violates. It is a relaxation, so its optimum is an upper bound on what is possible; its
solution, scaled down in each interval until every row holds exactly, can be driven and is a lower
bound. Rounds go on until the two are within the gap asked for, or a limit of rounds."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

import numpy as np
from acnportal import acnsim
from acnportal.acnsim.interface import SessionInfo
from acnportal.algorithms import BaseAlgorithm
from electrical import Electrical
from numpy.typing import NDArray
from scenario import PERIOD_MIN, VOLTAGE_V
from scipy import sparse
from scipy.optimize import linprog

__all__ = ["Optimum", "Replay", "solve"]

_GAP_PERCENT = 0.005
_ROUNDS = 30
_TIMEOUT_S = 120.0
_FIRST_TANGENTS = np.deg2rad(np.arange(0, 360, 30))
_VIOLATED = 1 + 1e-6
_KWH_PER_A_PERIOD = VOLTAGE_V * PERIOD_MIN / 60 / 1000


@dataclass(frozen=True)
class Optimum:
    """The bounds on the optimum, per cent of the requested energy.

    Attributes:
        upper_percent: no schedule delivers more.
        lower_percent: what the schedule below delivers; every row holds exactly.
        lower_parts_percent: the same schedule, scaled until also every part of the vehicles keeps
            every row by itself, as Loadstar's core asks. `upper_percent` minus this bounds what
            that stricter reading can cost.
        programs: linear programs solved.
        start: shape (intervals,), first period of each interval.
        current_a: shape (stations, intervals), the schedule.
    """

    upper_percent: float
    lower_percent: float
    lower_parts_percent: float
    programs: int
    start: NDArray[np.int64]
    current_a: NDArray[np.float64]


@dataclass(frozen=True)
class _Month:
    """Sessions cut into intervals; a *piece* is one session in one interval."""

    start: NDArray[np.int64]
    session: NDArray[np.int64]
    interval: NDArray[np.int64]
    station: NDArray[np.int64]
    energy_kwh: NDArray[np.float64]
    max_a: NDArray[np.float64]
    requested_kwh: NDArray[np.float64]

    @property
    def intervals(self) -> int:
        return len(self.start)


def _month(events: acnsim.EventQueue, electrical: Electrical) -> _Month:
    vehicles = [event.ev for _, event in events.queue]
    instants = sorted({ev.arrival for ev in vehicles} | {ev.departure for ev in vehicles})
    at = {instant: index for index, instant in enumerate(instants)}
    station = {name: index for index, name in enumerate(electrical.station_ids)}
    pieces = [
        (number, interval)
        for number, ev in enumerate(vehicles)
        for interval in range(at[ev.arrival], at[ev.departure])
    ]
    session, interval = np.array(pieces).T
    periods = np.diff(instants)
    vehicle_max_a = np.array([ev.maximum_charging_power * 1000 / VOLTAGE_V for ev in vehicles])
    stations = np.array([station[ev.station_id] for ev in vehicles])
    return _Month(
        start=np.array(instants[:-1]),
        session=session,
        interval=interval,
        station=stations[session],
        energy_kwh=periods[interval] * _KWH_PER_A_PERIOD,
        max_a=np.minimum(vehicle_max_a, electrical.max_ma[stations] / 1000)[session],
        requested_kwh=np.array([ev.requested_energy for ev in vehicles]),
    )


class _Tangents:
    """The tangents found so far: row, interval and direction of each."""

    def __init__(self, rows: int, intervals: int) -> None:
        row, interval, angle = np.meshgrid(
            np.arange(rows), np.arange(intervals), _FIRST_TANGENTS, indexing="ij"
        )
        self.row, self.interval, self.angle = row.ravel(), interval.ravel(), angle.ravel()

    def add(
        self, row: NDArray[np.int64], interval: NDArray[np.int64], angle: NDArray[np.float64]
    ) -> None:
        self.row = np.concatenate([self.row, row])
        self.interval = np.concatenate([self.interval, interval])
        self.angle = np.concatenate([self.angle, angle])

    def matrix(self, coefficient: NDArray[np.complex128], intervals: int) -> sparse.csr_matrix:
        """One line per tangent over the sums of each kind in each interval."""
        kinds = coefficient.shape[1]
        value = (coefficient[self.row] * np.exp(-1j * self.angle)[:, None]).real
        line = np.repeat(np.arange(len(self.row)), kinds)
        column = (self.interval[:, None] * kinds + np.arange(kinds)).ravel()
        return sparse.csr_matrix(
            (value.ravel(), (line, column)), shape=(len(self.row), intervals * kinds)
        )


def solve(events: acnsim.EventQueue, electrical: Electrical) -> Optimum:
    """The offline optimum of this month on this network.

    Raises:
        RuntimeError: the solver gave no optimum.
    """
    month = _month(events, electrical)
    coefficient, limit_a = electrical.coefficient, electrical.limit_a
    rows, kinds = coefficient.shape
    pieces, sums = len(month.session), month.intervals * kinds
    column = np.arange(pieces)
    of_kind = sparse.csr_matrix(
        (np.ones(pieces), (month.interval * kinds + electrical.kind[month.station], column)),
        shape=(sums, pieces),
    )
    energy = sparse.csr_matrix((month.energy_kwh, (month.session, column)))
    energy = sparse.hstack([energy, sparse.csr_matrix((energy.shape[0], sums))])
    objective = np.concatenate([-month.energy_kwh, np.zeros(sums)])
    maximum = np.concatenate([month.max_a, np.full(sums, np.inf)])
    tangents = _Tangents(rows, month.intervals)
    requested_kwh = float(month.requested_kwh.sum())
    programs = 0
    for _ in range(_ROUNDS):
        programs += 1
        lines = tangents.matrix(coefficient, month.intervals)
        lines = sparse.hstack([sparse.csr_matrix((lines.shape[0], pieces)), lines])
        result = linprog(
            objective,
            A_ub=sparse.vstack([energy, lines]),
            b_ub=np.concatenate([month.requested_kwh, limit_a[tangents.row]]),
            A_eq=sparse.hstack([of_kind, -sparse.identity(sums)]),
            b_eq=np.zeros(sums),
            bounds=np.stack([np.zeros(pieces + sums), maximum], axis=1),
            method="highs-ds",
            options={"time_limit": _TIMEOUT_S},
        )
        if result.status != 0:
            raise RuntimeError(f"the linear program has no optimum: {result.message}")
        current_a = np.clip(result.x[:pieces], 0, month.max_a)
        kind_a = (of_kind @ current_a).reshape(month.intervals, kinds)
        current = kind_a @ coefficient.T
        load = np.abs(current) / limit_a
        lower_a = current_a / np.maximum(1, load.max(axis=1))[month.interval]
        upper, lower = -float(result.fun), _delivered(month, lower_a)
        if 100 * (upper - lower) <= _GAP_PERCENT * requested_kwh:
            break
        interval, row = np.nonzero(load > _VIOLATED)
        tangents.add(row, interval, np.angle(current[interval, row]))
    kind_a = (of_kind @ lower_a).reshape(month.intervals, kinds)
    by_parts = np.maximum(1, _largest_part(kind_a, coefficient, limit_a))
    schedule = np.zeros((len(electrical.station_ids), month.intervals))
    schedule[month.station, month.interval] = lower_a
    return Optimum(
        upper_percent=100 * upper / requested_kwh,
        lower_percent=100 * lower / requested_kwh,
        lower_parts_percent=100
        * _delivered(month, lower_a / by_parts[month.interval])
        / requested_kwh,
        programs=programs,
        start=month.start,
        current_a=schedule,
    )


def _delivered(month: _Month, current_a: NDArray[np.float64]) -> float:
    """Energy in kWh; nobody takes more than it asked for."""
    taken = np.bincount(month.session, month.energy_kwh * current_a)
    return float(np.minimum(taken, month.requested_kwh).sum())


def _largest_part(
    kind_a: NDArray[np.float64], coefficient: NDArray[np.complex128], limit_a: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Per interval: the largest load over limit of any row by any part of the kinds."""
    largest = np.zeros(len(kind_a))
    for part in product((0.0, 1.0), repeat=kind_a.shape[1]):
        load = np.abs((kind_a * part) @ coefficient.T) / limit_a
        largest = np.maximum(largest, load.max(axis=1))
    return largest


class Replay(BaseAlgorithm):
    """Drives a schedule made in advance, so that the simulator itself says what it delivers."""

    def __init__(self, electrical: Electrical, optimum: Optimum) -> None:
        super().__init__()
        self.max_recompute = 1
        self._station_ids = electrical.station_ids
        self._position = {name: index for index, name in enumerate(electrical.station_ids)}
        self._optimum = optimum

    def schedule(self, active_sessions: list[SessionInfo]) -> dict[str, list[float]]:
        """The planned currents of this period, in amperes."""
        now = self.interface.current_time
        interval = int(np.searchsorted(self._optimum.start, now, side="right")) - 1
        return {
            session.station_id: [
                float(self._optimum.current_a[self._position[session.station_id], interval])
            ]
            for session in active_sessions
        }
