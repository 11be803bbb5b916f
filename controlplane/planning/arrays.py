"""Turns a described horizon into the arrays of `_core`, or refuses it.

Invariant: whatever `_core` refuses is told under the name of the element that it is about."""

from __future__ import annotations

import re
from collections.abc import Sequence
from decimal import Decimal
from typing import Any, NoReturn

import msgspec
import numpy as np
from numpy.typing import NDArray

from controlplane import _core
from controlplane.errors import InvalidInput
from controlplane.planning.problem import Horizon, Meter, Node, Vehicle

__all__ = ["KINDS", "Arrays", "arrays_of", "refuse"]

KINDS = 4
"""Rows of a node: three lines, and the power of all."""
_UNLIMITED = 10**12
_MICRO = 10**6
_PRICE_MAX = 10**6
_SLOTS_MAX, _SLOT_MAX_S = 3_072, 86_400
"""As the core has them: arrays are not laid out for more."""
_INT64_MAX = 2**63 - 1
_ELEMENT = re.compile(r"(\w+)\[(\d+)\]")


class Arrays(msgspec.Struct, frozen=True, kw_only=True, eq=False):
    """A horizon in the terms of `_core`."""

    horizon: Horizon
    problem: _core.PlanProblem


def arrays_of(horizon: Horizon) -> Arrays:
    """The horizon as `_core` takes it.

    Raises:
        InvalidInput: an unknown name or one that is taken, a number out of range or of slots that
            are not there; the message names the element.
    """
    _within("slots", horizon.slots, _SLOTS_MAX)
    _within("slot_s", horizon.slot_s, _SLOT_MAX_S)
    nodes = _index("node", [node.id for node in horizon.nodes])
    _index("vehicle", [vehicle.id for vehicle in horizon.vehicles])
    _index("meter", [meter.id for meter in horizon.meters])
    if not horizon.tier_penalties_per_kwh:
        _invalid("tier_penalties_per_kwh: at least one")
    parents = [
        -1 if node.parent is None else _find(nodes, node.parent, f"node {node.id!r}")
        for node in horizon.nodes
    ]
    vehicles = horizon.vehicles
    hung_on = [_find(nodes, each.node, f"vehicle {each.id!r}") for each in vehicles]
    try:
        network = _core.Network(
            node_parent=np.array(parents, np.int32),
            leaf_node=np.array(hung_on, np.int32),
            leaf_phases=np.array([_lines(vehicle) for vehicle in vehicles], np.uint8),
        )
        problem = _core.PlanProblem(
            network,
            _limits(horizon),
            _meters(horizon, nodes),
            _fleet(horizon),
            slots=horizon.slots,
            slot_s=horizon.slot_s,
            late_price=_micro(horizon.late_price_per_kwh, "late_price_per_kwh"),
        )
    except _core.NetworkError as error:
        refuse(horizon, error)
    return Arrays(horizon=horizon, problem=problem)


def refuse(horizon: Horizon, error: _core.NetworkError) -> NoReturn:
    """Say what `_core` refused by the names of this horizon."""
    message = str(error)
    found = _ELEMENT.match(message)
    if found is not None:
        column, index = found.group(1), int(found.group(2))
        element = _element(horizon, column, index)
        message = f"{element}: {column}{message[found.end() :]}"
    bare = re.fullmatch(r"vehicle (\d+) is below no meter", message)
    if bare is not None:
        message = f"vehicle {horizon.vehicles[int(bare.group(1))].id!r} is below no meter"
    raise InvalidInput(message, reason="PLAN_INVALID") from error


def _element(horizon: Horizon, column: str, index: int) -> str:
    """What an entry of a column is about."""
    slots = horizon.slots
    if column in {"import_ma", "export_ma"}:
        row, slot = divmod(index, slots)
        return f"node {horizon.nodes[row // 3].id!r} L{row % 3 + 1} slot {slot}"
    if column in {"import_w", "export_w"}:
        return f"node {horizon.nodes[index // slots].id!r} slot {index % slots}"
    if column == "node_parent":
        return f"node {horizon.nodes[index].id!r}"
    if column in {"base_w", "import_price", "export_price"}:
        return f"meter {horizon.meters[index // slots].id!r} slot {index % slots}"
    if column == "meter_node":
        return f"meter {horizon.meters[index].id!r}"
    if column.startswith("demand_"):
        of = [meter.id for meter in horizon.meters for _ in meter.demand]
        return f"a demand charge of meter {of[index]!r}"
    return f"vehicle {horizon.vehicles[index].id!r}"


def _invalid(message: str) -> NoReturn:
    raise InvalidInput(message, reason="PLAN_INVALID")


def _within(what: str, value: int, most: int) -> None:
    if not 1 <= value <= most:
        _invalid(f"{what} is {value}, must be 1 to {most}")


def _index(what: str, names: Sequence[str]) -> dict[str, int]:
    index: dict[str, int] = {}
    for position, name in enumerate(names):
        if index.setdefault(name, position) != position:
            _invalid(f"{what} {name!r} is there twice")
    return index


def _find(index: dict[str, int], name: str, who: str) -> int:
    if name not in index:
        _invalid(f"{who}: there is no node {name!r}")
    return index[name]


def _lines(vehicle: Vehicle) -> int:
    lines = set(vehicle.lines)
    if not lines or len(lines) != len(vehicle.lines) or not lines <= {1, 2, 3}:
        _invalid(f"vehicle {vehicle.id!r}: lines are one to three of 1, 2, 3")
    if vehicle.line_to_line and len(lines) != 2:
        _invalid(f"vehicle {vehicle.id!r}: lies between two lines, not {len(lines)}")
    return sum(1 << (line - 1) for line in lines)


def _micro(price: Decimal, who: str) -> int:
    """A price in millionths of the currency, rounded."""
    if not price.is_finite() or abs(price) > _PRICE_MAX:
        _invalid(f"{who}: a price of {price} is not within {_PRICE_MAX}")
    return int((price * _MICRO).to_integral_value())


def _column(values: Sequence[int]) -> NDArray[np.int64]:
    try:
        return np.array(values, np.int64)
    except OverflowError:
        # No column may have as much: the core names the element.
        return np.array([_bounded(each) for each in values], np.int64)


def _bounded(value: int) -> int:
    return max(-_INT64_MAX, min(value, _INT64_MAX))


def _limits(horizon: Horizon) -> _core.PlanLimits:
    slots, count = horizon.slots, len(horizon.nodes)
    lines = np.full((2, count, 3, slots), _UNLIMITED, np.int64)
    powers = np.full((2, count, slots), _UNLIMITED, np.int64)
    for index, node in enumerate(horizon.nodes):
        export_ma = (0, 0, 0) if node.export_ma is None else node.export_ma
        for side, current_ma in enumerate((node.import_ma, export_ma)):
            if current_ma is not None:
                lines[side, index] = _three(node, current_ma)[:, None]
        for side, power_w in enumerate((node.power_max_w, node.export_power_max_w)):
            if power_w is not None:
                powers[side, index] = _bounded(power_w)
        _apply_caps(horizon, node, lines[:, index], powers[:, index])
    return _core.PlanLimits(
        import_ma=lines[0].ravel(),
        import_w=powers[0].ravel(),
        export_ma=lines[1].ravel(),
        export_w=powers[1].ravel(),
    )


def _apply_caps(
    horizon: Horizon, node: Node, lines: NDArray[np.int64], powers: NDArray[np.int64]
) -> None:
    for cap in node.caps:
        if not 0 <= cap.from_slot < cap.until_slot <= horizon.slots:
            _invalid(f"node {node.id!r}: there are no slots {cap.from_slot} to {cap.until_slot}")
        during = slice(cap.from_slot, cap.until_slot)
        for side, current_ma in enumerate((cap.import_ma, cap.export_ma)):
            if current_ma is not None:
                part = lines[side, :, during]
                np.minimum(part, _three(node, current_ma)[:, None], out=part)
        for side, power_w in enumerate((cap.power_max_w, cap.export_power_max_w)):
            if power_w is not None:
                part = powers[side, during]
                np.minimum(part, _bounded(power_w), out=part)


def _three(node: Node, current_ma: Sequence[int]) -> NDArray[np.int64]:
    if len(current_ma) != 3:
        _invalid(f"node {node.id!r}: a current for each of L1, L2 and L3")
    return _column(current_ma)


def _meters(horizon: Horizon, nodes: dict[str, int]) -> _core.PlanMeters:
    slots, meters = horizon.slots, horizon.meters
    demands = [(index, charge) for index, meter in enumerate(meters) for charge in meter.demand]
    base_w: list[int] = []
    import_price: list[int] = []
    export_price: list[int] = []
    for meter in meters:
        bought = _prices(meter, "import_price_per_kwh", meter.import_price_per_kwh, slots)
        import_price += bought
        export_price += (
            _prices(meter, "export_price_per_kwh", meter.export_price_per_kwh, slots)
            if meter.export_price_per_kwh
            else [min(0, price) for price in bought]
        )
        base_w += _of_all_slots(meter, "base_w", meter.base_w or (0,) * slots, slots)
    measured = [
        _of_all_slots(meters[index], "demand", charge.slots or (True,) * slots, slots)
        for index, charge in demands
    ]
    return _core.PlanMeters(
        node=np.array([_find(nodes, m.node, f"meter {m.id!r}") for m in meters], np.int32),
        base_w=_column(base_w),
        import_price=_column(import_price),
        export_price=_column(export_price),
        demand_meter=np.array([index for index, _ in demands], np.int32),
        demand_price=_column(
            [_micro(charge.price_per_kw, f"meter {meters[i].id!r}") for i, charge in demands]
        ),
        demand_so_far_w=_column([charge.so_far_w for _, charge in demands]),
        demand_slot=np.array(measured, np.bool_).ravel(),
    )


def _prices(meter: Meter, field: str, prices: Sequence[Decimal], slots: int) -> list[int]:
    _of_all_slots(meter, field, prices, slots)
    return [_micro(price, f"meter {meter.id!r} {field}[{at}]") for at, price in enumerate(prices)]


def _of_all_slots(meter: Meter, field: str, values: Sequence[Any], slots: int) -> list[Any]:
    if len(values) != slots:
        _invalid(f"meter {meter.id!r}: {field} has {len(values)} slots of {slots}")
    return list(values)


def _volts(vehicle: Vehicle) -> int:
    """What a current on each line drives: the voltage times the lines, or once between two."""
    return vehicle.voltage_v * (1 if vehicle.line_to_line else len(vehicle.lines))


def _fleet(horizon: Horizon) -> _core.PlanFleet:
    vehicles = horizon.vehicles
    penalties = [
        _micro(penalty, f"tier_penalties_per_kwh[{tier}]")
        for tier, penalty in enumerate(horizon.tier_penalties_per_kwh)
    ]
    for vehicle in vehicles:
        if vehicle.tier < 0:
            _invalid(f"vehicle {vehicle.id!r}: tier {vehicle.tier} is below 0")
    return _core.PlanFleet(
        volts=_column([_volts(each) for each in vehicles]),
        max_ma=_column([each.max_ma for each in vehicles]),
        arrival_s=_column([each.arrival_s for each in vehicles]),
        departure_s=_column([each.departure_s for each in vehicles]),
        need_wh=_column([each.need_wh for each in vehicles]),
        room_wh=_column([each.room_wh for each in vehicles]),
        penalty=_column([penalties[min(each.tier, len(penalties) - 1)] for each in vehicles]),
        charge_permille=_column([each.charge_permille for each in vehicles]),
        discharge_ma=_column([each.discharge_ma if each.spare_wh >= 0 else 0 for each in vehicles]),
        discharge_permille=_column([each.discharge_permille for each in vehicles]),
        spare_wh=_column([max(0, each.spare_wh) for each in vehicles]),
        wear_price=_column(
            [_micro(each.wear_price_per_kwh, f"vehicle {each.id!r}") for each in vehicles]
        ),
        taper_from_wh=_column(
            [
                each.room_wh if each.taper_from_wh is None else each.taper_from_wh
                for each in vehicles
            ]
        ),
        taper_ma=_column([min(each.taper_ma, each.max_ma) for each in vehicles]),
    )
