"""The best that could have been made of a feeder's day, by a linear program that knew all of it.

One variable per vehicle and quarter hour: the energy that it takes. Its bounds are what its charger
takes in the part of the quarter hour for which it is plugged in, and over the day what was possible
for it alone. Each row carries on average over a quarter hour what is left of its rating beside the
building. First the delivered energy is made as large as can be, then, without giving any of it up,
the cost as small.

This is a relaxation: whatever any controller does within the ratings, its means over quarter hours
keep these rows, and minimum currents, margins, ramps, tapers and not knowing the future are left
out. So no controller delivers more than `bound_wh`, which does not rest on the solver's word but on
weak duality, with its dual values as y: for any y >= 0, energy <= b y + sum of u max(0, 1 - A' y).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from controlplane.errors import Unavailable
from controlplane.sim.day.outcome import Outcome, plugged_in, ready
from controlplane.sim.day.rows import Rows
from controlplane.sim.day.scenario import VOLTAGE_V, FeederDay, Visit
from controlplane.sim.day.tariff import SLOT_H, SLOT_MS, SLOTS, Tariff
from controlplane.sim.day.uncontrolled import MINUTE_MS

if TYPE_CHECKING:
    from highspy import Highs

__all__ = ["Optimum", "solve"]

_MINUTES_A_SLOT = SLOT_MS // MINUTE_MS
_GIVEN_UP = 1e-7
"""The share of the energy that the cheapest schedule may be short of, for the solver's rounding."""
_TIME_LIMIT_S = 300.0

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]


@dataclass(frozen=True)
class Optimum:
    """The schedule found, and the proven bound on what any schedule delivers."""

    outcome: Outcome
    bound_wh: float


@dataclass(frozen=True)
class _Program:
    """The constraints A x <= b in coordinates, 0 <= x <= u; a *piece* is one vehicle in one
    quarter hour, and its variable the watt-hours that it takes."""

    visit: Integers
    slot: Integers
    site: Integers
    most_wh: Floats
    row: Integers
    piece: Integers
    coefficient: Floats
    limit: Floats

    @property
    def pieces(self) -> int:
        return len(self.most_wh)


def solve(feeder: FeederDay, rows: Rows, tariff: Tariff, possible_wh: dict[str, float]) -> Optimum:
    """The offline optimum of this feeder.

    Raises:
        Unavailable: HiGHS is not installed, or gives no optimum.
    """
    visits = feeder.visits
    program = _program(feeder, rows, [possible_wh[visit.id] for visit in visits])
    solver = _most_energy(program)
    energy_wh, dual = _run(solver, program)
    bound_wh = _bound(program, dual)
    _cheapest(solver, program, tariff, len(feeder.sites), float(energy_wh.sum()))
    energy_wh, _ = _run(solver, program)
    return Optimum(_outcome(feeder, rows, program, energy_wh, possible_wh), bound_wh)


# --- the program ----------------------------------------------------------------------------------


def _program(feeder: FeederDay, rows: Rows, possible_wh: Sequence[float]) -> _Program:
    visits = feeder.visits
    pieces = [
        (number, slot, share_h * visit.power_max_w)
        for number, visit in enumerate(visits)
        for slot, share_h in _present(visit, feeder)
    ]
    visit, slot = (np.array([each[i] for each in pieces], dtype=np.int64) for i in (0, 1))
    most_wh = np.array([each[2] for each in pieces])
    # First a constraint per vehicle, then one per row and quarter hour.
    load_row, load_piece, load_value = _loads(rows, visits, visit, slot)
    limit_a = rows.rating_a[:, None] - _buildings_a(feeder, rows)
    used, row = np.unique(load_row, return_inverse=True)
    return _Program(
        visit=visit,
        slot=slot,
        site=np.array([each.site for each in visits], dtype=np.int64)[visit],
        most_wh=most_wh,
        row=np.concatenate([visit, len(visits) + row]),
        piece=np.concatenate([np.arange(len(pieces)), load_piece]),
        coefficient=np.concatenate([np.ones(len(pieces)), load_value]),
        limit=np.concatenate([np.array(possible_wh), limit_a.ravel()[used]]),
    )


def _present(visit: Visit, feeder: FeederDay) -> list[tuple[int, float]]:
    """In which quarter hours a vehicle is plugged in, and for how many hours of each."""
    arrival_ms = visit.session.arrival_ms - feeder.start_ms
    departure_ms = min(visit.session.departure_ms, feeder.end_ms) - feeder.start_ms
    found = []
    for slot in range(arrival_ms // SLOT_MS, -(-departure_ms // SLOT_MS)):
        begin_ms, end_ms = slot * SLOT_MS, (slot + 1) * SLOT_MS
        present_ms = min(departure_ms, end_ms) - max(arrival_ms, begin_ms)
        found.append((slot, present_ms / SLOT_MS * SLOT_H))
    return found


def _loads(
    rows: Rows, visits: Sequence[Visit], visit: Integers, slot: Integers
) -> tuple[Integers, Integers, Floats]:
    """Row and quarter hour as one number, piece, and amperes per watt-hour."""
    row_of: list[list[int]] = [
        [row for line in each.lines for row in rows.of_line(each.charger_id, line)]
        for each in visits
    ]
    width = np.array([len(each) for each in row_of])[visit]
    piece = np.repeat(np.arange(len(visit)), width)
    row = np.concatenate([np.array(row_of[number]) for number in visit.tolist()])
    lines = np.array([len(each.lines) for each in visits])[visit]
    value = 1 / (lines * VOLTAGE_V * SLOT_H)
    return row * SLOTS + slot[piece], piece, value[piece]


def _buildings_a(feeder: FeederDay, rows: Rows) -> Floats:
    """Mean over each quarter hour, shape (rows, 96)."""
    minutes_ms = [feeder.start_ms + n * MINUTE_MS for n in range(SLOTS * _MINUTES_A_SLOT)]
    load_a = rows.buildings_a(feeder, [at_ms + MINUTE_MS // 2 for at_ms in minutes_ms])
    return np.asarray(load_a.reshape(len(rows), SLOTS, _MINUTES_A_SLOT).mean(axis=2))


# --- HiGHS ----------------------------------------------------------------------------------------


def _highs() -> Any:
    try:
        import highspy  # noqa: PLC0415 - needed where a bound is wanted
    except ImportError as error:
        raise Unavailable("highspy is not installed: pip install highspy") from error
    return highspy


def _most_energy(program: _Program) -> Highs:
    highspy = _highs()
    solver = highspy.Highs()
    solver.silent()
    solver.setOptionValue("threads", 1)
    solver.setOptionValue("time_limit", _TIME_LIMIT_S)
    model = highspy.HighsLp()
    model.num_col_, model.num_row_ = program.pieces, len(program.limit)
    model.sense_ = highspy.ObjSense.kMaximize
    model.col_cost_ = np.ones(program.pieces)
    model.col_lower_, model.col_upper_ = np.zeros(program.pieces), program.most_wh
    model.row_lower_ = np.full(len(program.limit), -np.inf)
    model.row_upper_ = program.limit
    order = np.lexsort((program.piece, program.row))
    model.a_matrix_.format_ = highspy.MatrixFormat.kRowwise
    model.a_matrix_.start_ = np.searchsorted(
        program.row[order], np.arange(len(program.limit) + 1)
    ).astype(np.int32)
    model.a_matrix_.index_ = program.piece[order].astype(np.int32)
    model.a_matrix_.value_ = program.coefficient[order]
    solver.passModel(model)
    return solver


def _run(solver: Highs, program: _Program) -> tuple[Floats, Floats]:
    """The energy of each piece and the dual value of each constraint."""
    highspy = _highs()
    solver.run()
    status = solver.getModelStatus()
    if status != highspy.HighsModelStatus.kOptimal:
        raise Unavailable(f"HiGHS ended with {solver.modelStatusToString(status)}")
    solution = solver.getSolution()
    energy_wh = np.array(solution.col_value)[: program.pieces]
    return np.clip(energy_wh, 0, program.most_wh), np.array(solution.row_dual)


def _bound(program: _Program, dual: Floats) -> float:
    """No schedule delivers more, whatever `dual` is: see the module's docstring."""
    price = np.maximum(dual, 0)
    paid = np.bincount(
        program.piece, program.coefficient * price[program.row], minlength=program.pieces
    )
    gained = program.most_wh @ np.maximum(0, 1 - paid)
    return float(program.limit @ price + gained)


def _cheapest(
    solver: Highs, program: _Program, tariff: Tariff, sites: int, energy_wh: float
) -> None:
    """Turn the solved program into the one of least cost for the same energy: another objective, a
    variable per site for its highest quarter hour, and the energy as a constraint."""
    highspy = _highs()
    pieces = program.pieces
    solver.changeObjectiveSense(highspy.ObjSense.kMinimize)
    energy_usd = tariff.energy_usd_per_kwh[program.slot] / 1_000
    solver.changeColsCost(pieces, np.arange(pieces, dtype=np.int32), energy_usd)
    for _ in range(sites):
        solver.addVar(0.0, np.inf)
    peaks = np.arange(pieces, pieces + sites, dtype=np.int32)
    demand_usd = np.full(sites, tariff.demand_usd_per_kw / 1_000)
    solver.changeColsCost(sites, peaks, demand_usd)
    everything = np.arange(pieces, dtype=np.int32)
    solver.addRow(energy_wh * (1 - _GIVEN_UP), np.inf, pieces, everything, np.ones(pieces))
    together = program.site * SLOTS + program.slot
    for key in np.unique(together).tolist():
        among = np.flatnonzero(together == key).astype(np.int32)
        index = np.append(among, pieces + key // SLOTS).astype(np.int32)
        value = np.append(np.full(len(among), 1 / SLOT_H), -1.0)
        solver.addRow(-np.inf, 0.0, len(index), index, value)


# --- what comes of it -----------------------------------------------------------------------------


def _outcome(
    feeder: FeederDay,
    rows: Rows,
    program: _Program,
    energy_wh: Floats,
    possible_wh: dict[str, float],
) -> Outcome:
    visits = feeder.visits
    taken_wh = np.zeros((len(visits), SLOTS))
    np.add.at(taken_wh, (program.visit, program.slot), energy_wh)
    slot_wh = np.zeros((len(feeder.sites), SLOTS))
    np.add.at(slot_wh, (program.site, program.slot), energy_wh)
    load_row, load_piece, load_value = _loads(rows, visits, program.visit, program.slot)
    load_a = _buildings_a(feeder, rows)
    np.add.at(load_a, np.divmod(load_row, SLOTS), load_value * energy_wh[load_piece])
    outcome = Outcome(
        delivered_wh={
            visit.id: float(taken_wh[number].sum()) for number, visit in enumerate(visits)
        },
        slot_wh=slot_wh,
        slot_peak_a=load_a,
        over_h=np.zeros(len(rows)),
    )
    numbers = {visit.id: number for number, visit in enumerate(visits)}
    for slot in range(SLOTS):
        for visit in plugged_in(feeder, visits, slot):
            outcome.ready[slot] += ready(
                float(taken_wh[numbers[visit.id], : slot + 1].sum()),
                requested_wh=visit.session.requested_wh,
                possible_wh=possible_wh[visit.id],
            )
    return outcome
