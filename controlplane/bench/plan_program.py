"""The horizon plan as one linear program for HiGHS: the textbook way, which shares nothing with the
core's search, and so both the baseline of the bench and the oracle of the tests.

Variables are what every vehicle draws and feeds in in every slot (amperes), the energy in the
batteries of those that feed in, what is missing at departure, what flows in and out of each meter,
and the rise of each peak. Rows that could not bind if everybody drew the most are left out, which
HiGHS is grateful for."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from controlplane.errors import TimedOut, Unavailable

__all__ = ["Solved", "solve"]

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
_PERMILLE = 1_000
_MICRO = 1e6


@dataclass(frozen=True)
class Solved:
    """The optimum, in the currency, without what the building alone costs; what is drawn less what
    is fed in, shape (vehicles, slots), in amperes. What HiGHS took, without what it takes to write
    the program down for it."""

    cost: float
    current_a: Floats
    wall_s: float
    cpu_s: float


@dataclass
class _Program:
    """Columns and rows in the making."""

    cost: list[Floats] = field(default_factory=list)
    lower: list[Floats] = field(default_factory=list)
    upper: list[Floats] = field(default_factory=list)
    row_lower: list[Floats] = field(default_factory=list)
    row_upper: list[Floats] = field(default_factory=list)
    row: list[Integers] = field(default_factory=list)
    column: list[Integers] = field(default_factory=list)
    value: list[Floats] = field(default_factory=list)
    columns: int = 0
    rows: int = 0

    def add_columns(self, cost: Floats, lower: Any, upper: Any) -> Integers:
        first = self.columns
        self.columns += cost.size
        self.cost.append(cost)
        self.lower.append(np.broadcast_to(np.asarray(lower, float), cost.shape))
        self.upper.append(np.broadcast_to(np.asarray(upper, float), cost.shape))
        return np.arange(first, self.columns)

    def add_rows(self, count: int, lower: Any, upper: Any) -> Integers:
        first = self.rows
        self.rows += count
        self.row_lower.append(np.broadcast_to(np.asarray(lower, float), (count,)))
        self.row_upper.append(np.broadcast_to(np.asarray(upper, float), (count,)))
        return np.arange(first, self.rows)

    def put(self, row: Integers, column: Integers, value: Any) -> None:
        self.row.append(row)
        self.column.append(column)
        self.value.append(np.broadcast_to(np.asarray(value, float), row.shape))


class _Side(NamedTuple):
    """What is drawn, or fed in: a column for each vehicle and slot, and the most it may be."""

    column: Integers
    vehicle: Integers
    slot: Integers
    most_a: Floats


class _Tree(NamedTuple):
    node_parent: NDArray[np.int32]
    leaf_node: NDArray[np.int32]
    leaf_phases: NDArray[np.uint8]
    slots: int


def solve(
    *,
    node_parent: NDArray[np.int32],
    leaf_node: NDArray[np.int32],
    leaf_phases: NDArray[np.uint8],
    limits: dict[str, Any],
    meters: dict[str, Any],
    fleet: dict[str, Any],
    slots: int,
    slot_s: int,
    late_price: int = 0,
    timeout_s: float = 600.0,
    method: str = "choose",
) -> Solved:
    """The optimum; arguments as `_core.PlanLimits` and its siblings take them.

    Raises:
        Unavailable: HiGHS is not installed, or gives no optimum.
        TimedOut: not done after `timeout_s`.
    """
    vehicles, slot_h = leaf_node.size, slot_s / 3_600
    ones, zeros = np.ones(vehicles, np.int64), np.zeros(vehicles, np.int64)
    kw = fleet["volts"] / 1_000
    begin_s = np.arange(slots) * slot_s
    there_s = np.minimum(fleet["departure_s"][:, None], begin_s + slot_s) - np.maximum(
        fleet["arrival_s"][:, None], begin_s
    )
    there_s = np.clip(there_s, 0, slot_s)
    meter_of_node = _meter_of(node_parent, meters["node"])
    meter = meter_of_node[leaf_node]
    price = meters["import_price"].reshape(-1, slots)
    most_a = fleet["max_ma"][:, None] * there_s // slot_s / 1_000
    feeds = fleet.get("discharge_ma", zeros) if "export_ma" in limits else zeros
    fed_a = feeds[:, None] * there_s // slot_s / 1_000 * (price[meter] >= 0)
    program = _Program()
    own, slot = np.nonzero(there_s)
    late = late_price / _MICRO * slot * kw[own] * slot_h
    drawn = program.add_columns(late, 0, most_a[own, slot])
    two = feeds[own] > 0
    own2, slot2 = own[two], slot[two]
    wear = fleet.get("wear_price", zeros)[own2] / _MICRO * kw[own2] * slot_h
    fed = program.add_columns(wear, 0, fed_a[own2, slot2])
    gain = fleet.get("charge_permille", _PERMILLE * ones) / _PERMILLE * kw * slot_h
    loss = kw * slot_h / (fleet.get("discharge_permille", _PERMILLE * ones) / _PERMILLE)
    need = np.minimum(_due_kwh(fleet, slots * slot_s), gain * most_a.sum(axis=1))
    missing = program.add_columns(fleet["penalty"] / _MICRO, 0, np.inf)
    rows = program.add_rows(vehicles, need, np.inf)
    program.put(rows, missing, 1)
    program.put(rows[own], drawn, gain[own])
    program.put(rows[own2], fed, -loss[own2])
    draws = _Side(drawn, own, slot, most_a[own, slot])
    feeding = _Side(fed, own2, slot2, fed_a[own2, slot2])
    _add_batteries(program, fleet, draws, feeding, feeds=feeds, gain=gain, loss=loss)
    tree = _Tree(node_parent, leaf_node, leaf_phases, slots)
    _add_tree(program, tree, limits, draws, "import", kw=kw)
    _add_tree(program, tree, limits, feeding, "export", kw=kw)
    _add_meters(program, meters, (draws, feeding), meter=meter, slot_h=slot_h, kw=kw)
    found = _run(program, timeout_s, method)
    base_kw = meters["base_w"].reshape(-1, slots) / 1e3
    sells = meters["export_price"].reshape(-1, slots)
    alone = float((np.where(base_kw > 0, price, sells) * base_kw).sum() * slot_h / _MICRO)
    current_a = np.zeros((vehicles, slots))
    current_a[own, slot] = found.value[drawn]
    current_a[own2, slot2] -= found.value[fed]
    return Solved(found.cost - alone, current_a, found.wall_s, found.cpu_s)


def _add_batteries(
    program: _Program,
    fleet: dict[str, Any],
    draws: _Side,
    feeding: _Side,
    *,
    feeds: Integers,
    gain: Floats,
    loss: Floats,
) -> None:
    """What fits in at the end; and after each slot, with a column for the energy, for those that
    feed in or charge less as they fill."""
    own, drawn = draws.vehicle, draws.column
    room = fleet["room_wh"] / 1e3
    minded = (feeds > 0) | _tapers(fleet)
    rows = program.add_rows(room.size, -np.inf, np.where(minded, np.inf, room))
    kept = minded[own]
    program.put(rows[own[~kept]], drawn[~kept], gain[own[~kept]])
    whose = own[kept]
    if not whose.size:
        return
    spare = fleet.get("spare_wh", np.zeros(room.size)) / 1e3
    energy = program.add_columns(np.zeros(whose.size), -spare[whose], room[whose])
    rows = program.add_rows(whose.size, 0, 0)
    program.put(rows, energy, 1)
    program.put(rows, drawn[kept], -gain[whose])
    program.put(rows[feeds[whose] > 0], feeding.column, loss[feeding.vehicle])
    follows = np.append(False, whose[1:] == whose[:-1])
    program.put(rows[follows], energy[np.flatnonzero(follows) - 1], -1)
    tapers = _tapers(fleet)[whose]
    if not tapers.any():
        return
    car = whose[tapers]
    top_a = fleet["max_ma"][car] / 1e3
    width = (fleet["room_wh"][car] - fleet["taper_from_wh"][car]) / 1e3
    slope = (top_a - fleet["taper_ma"][car] / 1e3) / width
    limit = top_a + slope * fleet["taper_from_wh"][car] / 1e3
    rows = program.add_rows(car.size, -np.inf, limit)
    program.put(rows, drawn[kept][tapers], 1)
    program.put(rows, energy[tapers], slope)


def _add_tree(
    program: _Program, tree: _Tree, limits: dict[str, Any], side: _Side, name: str, *, kw: Floats
) -> None:
    """The rows of the tree for what is drawn (`import`) or fed in (`export`)."""
    node, piece = _above(tree.node_parent, tree.leaf_node[side.vehicle])
    column, vehicle, slot, most_a = side
    crossing = _Side(column[piece], vehicle[piece], slot[piece], most_a[piece])
    lines = tree.leaf_phases[:, None] >> np.arange(3) & 1
    line_ma, power_w = limits.get(f"{name}_ma"), limits.get(f"{name}_w")
    if line_ma is not None:
        for line in range(3):
            limit = line_ma.reshape(-1, 3, tree.slots)[:, line] / 1e3
            _add_caps(program, limit, node, crossing, lines[crossing.vehicle, line] * 1.0)
    if power_w is not None:
        limit = power_w.reshape(-1, tree.slots) / 1e3
        _add_caps(program, limit, node, crossing, kw[crossing.vehicle])


def _meter_of(node_parent: NDArray[np.int32], meters: NDArray[np.int32]) -> Integers:
    found = np.full(node_parent.size, -1, np.int64)
    found[meters] = np.arange(meters.size)
    for _ in range(node_parent.size):
        bare = (found < 0) & (node_parent >= 0)
        known = np.where(bare, found[node_parent], found)
        if (known == found).all():
            break
        found = known
    return found


def _tapers(fleet: dict[str, Any]) -> NDArray[np.bool_]:
    if "taper_from_wh" not in fleet:
        return np.zeros(fleet["volts"].size, np.bool_)
    narrower = fleet["taper_ma"] < fleet["max_ma"]
    return np.asarray((fleet["taper_from_wh"] < fleet["room_wh"]) & narrower)


def _above(node_parent: NDArray[np.int32], leaf: NDArray[np.int32]) -> tuple[Integers, Integers]:
    """Every node at or above those of `leaf`, and which of these it is above."""
    nodes, pieces = [], []
    node, piece = leaf.astype(np.int64), np.arange(leaf.size)
    while node.size:
        nodes.append(node)
        pieces.append(piece)
        node = node_parent[node].astype(np.int64)
        node, piece = node[node >= 0], piece[node >= 0]
    return np.concatenate([*nodes, node]), np.concatenate([*pieces, piece])


def _due_kwh(fleet: dict[str, Any], end_s: int) -> Floats:
    """What is due within the horizon."""
    later_s = np.maximum(0, fleet["departure_s"] - np.maximum(fleet["arrival_s"], end_s))
    charge = fleet.get("charge_permille", _PERMILLE)
    later_wh = fleet["max_ma"] * fleet["volts"] * later_s * charge // (3_600 * 1_000 * 1_000)
    due = np.minimum(fleet["need_wh"], np.maximum(0, fleet["need_wh"] - later_wh))
    return np.asarray(due / 1e3)


def _add_caps(program: _Program, limit: Floats, node: Integers, side: _Side, value: Floats) -> None:
    """Rows of one kind, where they can bind."""
    key = node * limit.shape[1] + side.slot
    potential = np.bincount(key, value * side.most_a, limit.size)
    binds = potential > limit.ravel()
    number = np.cumsum(binds) - 1
    rows = program.add_rows(int(binds.sum()), -np.inf, limit.ravel()[binds])
    on = binds[key] & (value > 0)
    program.put(rows[number[key[on]]], side.column[on], value[on])


def _add_meters(
    program: _Program,
    meters: dict[str, Any],
    sides: tuple[_Side, _Side],
    *,
    meter: Integers,
    slot_h: float,
    kw: Floats,
) -> None:
    base_kw = meters["base_w"] / 1e3
    slots = base_kw.size // meters["node"].size
    bought = program.add_columns(meters["import_price"] / _MICRO * slot_h, 0, np.inf)
    sold = program.add_columns(-meters["export_price"] / _MICRO * slot_h, 0, np.inf)
    rows = program.add_rows(base_kw.size, base_kw, base_kw)
    program.put(rows, bought, 1)
    program.put(rows, sold, -1)
    for side, sign in zip(sides, (-1, 1), strict=True):
        flow = meter[side.vehicle] * slots + side.slot
        program.put(rows[flow], side.column, sign * kw[side.vehicle])
    if "demand_meter" not in meters:
        return
    rises = program.add_columns(meters["demand_price"] / _MICRO, 0, np.inf)
    charge, when = np.nonzero(meters["demand_slot"].reshape(-1, slots))
    rows = program.add_rows(charge.size, -meters["demand_so_far_w"][charge] / 1e3, np.inf)
    flow = meters["demand_meter"][charge].astype(np.int64) * slots + when
    program.put(rows, rises[charge], 1)
    program.put(rows, bought[flow], -1)
    program.put(rows, sold[flow], 1)


class _Found(NamedTuple):
    cost: float
    value: Floats
    wall_s: float
    cpu_s: float


def _run(program: _Program, timeout_s: float, method: str) -> _Found:
    try:
        import highspy  # noqa: PLC0415 - measured where it is installed
    except ImportError as error:
        raise Unavailable("highspy is not installed: pip install highspy") from error
    solver = highspy.Highs()
    solver.silent()
    solver.setOptionValue("threads", 1)
    solver.setOptionValue("solver", method)
    solver.setOptionValue("time_limit", timeout_s)
    model = highspy.HighsLp()
    model.num_col_, model.num_row_ = program.columns, program.rows
    model.col_cost_ = np.concatenate(program.cost)
    model.col_lower_, model.col_upper_ = (
        np.concatenate(program.lower),
        np.concatenate(program.upper),
    )
    model.row_lower_ = np.concatenate(program.row_lower)
    model.row_upper_ = np.concatenate(program.row_upper)
    row, column = np.concatenate(program.row), np.concatenate(program.column)
    order = np.lexsort((row, column))
    model.a_matrix_.format_ = highspy.MatrixFormat.kColwise
    model.a_matrix_.start_ = np.searchsorted(column[order], np.arange(program.columns + 1)).astype(
        np.int32
    )
    model.a_matrix_.index_ = row[order].astype(np.int32)
    model.a_matrix_.value_ = np.concatenate(program.value)[order]
    before_s, cpu_s = time.perf_counter(), time.process_time()
    solver.passModel(model)
    solver.run()
    wall_s, cpu_s = time.perf_counter() - before_s, time.process_time() - cpu_s
    status = solver.getModelStatus()
    if status == highspy.HighsModelStatus.kTimeLimit:
        raise TimedOut(f"not done after {timeout_s:g} s")
    if status != highspy.HighsModelStatus.kOptimal:
        raise Unavailable(f"HiGHS ended with {solver.modelStatusToString(status)}")
    cost = float(solver.getInfo().objective_function_value)
    return _Found(cost, np.array(solver.getSolution().col_value), wall_s, cpu_s)
