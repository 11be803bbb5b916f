"""Turns a described problem into the arrays of `_core`, or refuses it.

Invariant: what is returned, `_core` takes; whatever is wrong is told here, under the name of the
element and with its place in the description, several faults at once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar

import msgspec
import numpy as np
from numpy.typing import NDArray

from controlplane import _core
from controlplane.allocation.problem import Connector, Node, PhaseCurrents, Rotation
from controlplane.allocation.rows import LINES, Row, rows_of
from controlplane.errors import InvalidInput

__all__ = ["Arrays", "arrays_of"]

Element = TypeVar("Element", Node, Connector)

CURRENT_MAX_MA = 10**9
NODE_CURRENT_MAX_MA = 7 * 10**9
"""What vector rows can hold: 10,000 units to the milliampere, below `rows.COMBINED_MAX`."""
POWER_MAX_W = 10**10
VOLTAGE_MAX_V = 100_000
TURNS_MAX = 10_000
WEIGHT_MAX = 1_000
TIER_MAX = 255
RANK_MAX = 2**62
DEPTH_MAX = 64
SETPOINTS_MAX = 100
SETPOINT_SETS_MAX = 1_000
_ID_MAX = 128
_FAULTS_TOLD = 10
_DEFAULT_MIN_MA = 6_000
_LINE_PAIRS = {0b011: 8, 0b110: 9, 0b101: 10}
"""Kinds of line-to-line connections, by their lines (see `_core.Network`)."""
_LINE_BEHIND: dict[int, tuple[int, ...]] = {
    rotation: tuple("RST".index(letter) for letter in rotation.name) for rotation in Rotation
}


class Arrays(msgspec.Struct, frozen=True, kw_only=True, eq=False):
    """A problem in the terms of `_core`, and the names behind its indices."""

    connectors: Sequence[Connector]
    rows: list[Row]
    """By the number of the row (`_core.Allocation.binding_row`)."""
    network: _core.Network
    capacity: _core.Capacity
    demand: _core.Demand
    min_ma: list[int]
    """Of each connector, as the core was told."""

    def allocate(self, *, threads: int = 1) -> _core.Allocation:
        """Share the rows out; the same bits on any number of threads."""
        return _core.allocate(self.network, self.capacity, self.demand, threads=threads)


def arrays_of(nodes: Sequence[Node], connectors: Sequence[Connector]) -> Arrays:
    """Check a problem and put it into arrays.

    Raises:
        InvalidInput: with a violation for each of the first ten faults: ids that are empty, taken
            or unknown; a node that is its own ancestor or more than 64 levels below its root; a
            number that is no integer or outside its range; a connector on no phase.
    """
    faults = _Faults()
    node_index = _index("nodes", nodes, faults)
    parents = _parents(nodes, node_index, faults)
    for position, node in enumerate(nodes):
        _check_node(f"nodes[{position}]", node, faults)
    _index("connectors", connectors, faults)
    hung_on = _hung_on(connectors, node_index, faults)
    lines, kinds = _wired(connectors, faults)
    demand = _demand(connectors, faults)
    faults.refuse()
    rows = rows_of(nodes)
    combined = rows[3 * len(nodes) :]
    try:
        network = _core.Network(
            node_parent=parents,
            leaf_node=hung_on,
            leaf_phases=lines,
            leaf_kind=kinds,
            combined_node=np.array([node_index[row.node.id] for row in combined], np.int32),
            combined_coefficient=_coefficients(combined),
        )
    except _core.NetworkError as error:
        raise InvalidInput(str(error), reason="ALLOCATION_INVALID") from error
    return Arrays(
        connectors=connectors,
        rows=rows,
        network=network,
        capacity=_capacity(rows[: 3 * len(nodes)], combined),
        demand=_core.Demand(**demand),
        min_ma=demand["min_ma"].tolist(),
    )


class _Faults:
    """What is wrong with a problem; the first few are told, all are counted."""

    def __init__(self) -> None:
        self._told: list[tuple[str, str]] = []
        self._count = 0

    def add(self, place: str, fault: str) -> None:
        self._count += 1
        if len(self._told) < _FAULTS_TOLD:
            self._told.append((place, fault))

    def number(self, place: str, name: str, value: Any, least: int, most: int) -> None:
        """`name` is the element's, such as `node 'P2'`."""
        if not _is_integer(value) or not least <= value <= most:
            self.add(place, f"{name}: {_shown(value)} is not an integer of {least} to {most}")

    def refuse(self) -> None:
        if not self._count:
            return
        message = "; ".join(f"{place}: {fault}" for place, fault in self._told[:3])
        if self._count > 3:
            message += f"; and {self._count - 3} more"
        raise InvalidInput(message, reason="ALLOCATION_INVALID", violations=tuple(self._told))


def _is_integer(value: Any) -> bool:
    return isinstance(value, int | np.integer) and not isinstance(value, bool)


def _shown(value: Any) -> str:
    """A value as it was given; one that is longer than any name may be is cut."""
    if isinstance(value, int) and value.bit_length() > 64:
        return f"an integer of {value.bit_length()} bits"
    text = repr(value)
    return text if len(text) <= _ID_MAX + 2 else f"{text[:_ID_MAX]}..."


def _index(what: str, elements: Sequence[Element], faults: _Faults) -> dict[str, int]:
    """The position of each id; names those that are taken or no names."""
    index: dict[str, int] = {}
    for position, element in enumerate(elements):
        place, name = f"{what}[{position}].id", element.id
        if not isinstance(name, str) or not 1 <= len(name) <= _ID_MAX or not name.isprintable():
            faults.add(place, f"{_shown(name)} is not 1 to {_ID_MAX} printable characters")
        elif index.setdefault(name, position) != position:
            faults.add(place, f"{name!r} is taken by {what}[{index[name]}]")
    return index


def _parents(nodes: Sequence[Node], index: dict[str, int], faults: _Faults) -> NDArray[np.int32]:
    parents = np.full(len(nodes), -1, np.int32)
    for position, node in enumerate(nodes):
        if node.parent is None:
            continue
        if node.parent not in index:
            faults.add(
                f"nodes[{position}].parent",
                f"node {_shown(node.id)}: there is no node {_shown(node.parent)}",
            )
        else:
            parents[position] = index[node.parent]
    # Each pass takes every node one level up, or to its root: who is below one after as many passes
    # as there may be levels hangs too deep or on itself.
    above = parents.copy()
    for _ in range(DEPTH_MAX):
        above = np.where(above < 0, above, parents[above])
    too_deep = np.flatnonzero(above >= 0).tolist()
    on_themselves = _own_ancestors(parents) if too_deep else set()
    for position in too_deep:
        fault = (
            "is its own ancestor"
            if position in on_themselves
            else f"is more than {DEPTH_MAX} levels below its root"
        )
        faults.add(f"nodes[{position}].parent", f"node {_shown(nodes[position].id)} {fault}")
    return parents


def _own_ancestors(parents: NDArray[np.int32]) -> set[int]:
    """Where one arrives after more steps upwards than there are nodes: on cycles, and everywhere on
    them."""
    above = parents
    for _ in range(len(parents).bit_length()):
        above = np.where(above < 0, above, above[above])
    return set(above[above >= 0].tolist())


def _check_node(place: str, node: Node, faults: _Faults) -> None:
    name = f"node {_shown(node.id)}"
    if not isinstance(node.kind, str) or len(node.kind) > _ID_MAX or not node.kind.isprintable():
        faults.add(f"{place}.kind", f"{name}: at most {_ID_MAX} printable characters")
    if node.import_ma is None and node.power_max_w is None and node.primary is None:
        faults.add(place, f"{name}: one of import_ma, power_max_w and primary must be given")
    if node.vector_sum and node.import_ma is None:
        faults.add(f"{place}.vector_sum", f"{name}: there is no import_ma to hold it against")
    _check_lines(f"{place}.import_ma", name, node.import_ma, faults)
    _check_lines(f"{place}.export_ma", name, node.export_ma, faults)
    for field, value, most in (
        ("power_max_w", node.power_max_w, POWER_MAX_W),
        ("export_power_max_w", node.export_power_max_w, POWER_MAX_W),
        ("imbalance_max_ma", node.imbalance_max_ma, CURRENT_MAX_MA),
    ):
        if value is not None:
            faults.number(f"{place}.{field}", name, value, 0, most)
    faults.number(f"{place}.voltage_v", name, node.voltage_v, 1, VOLTAGE_MAX_V)
    if node.primary is not None:
        place = f"{place}.primary"
        _check_lines(f"{place}.max_ma", name, node.primary.max_ma, faults)
        turns = (node.primary.turns_primary, node.primary.turns_secondary)
        faults.number(f"{place}.turns_primary", name, turns[0], 1, TURNS_MAX)
        faults.number(f"{place}.turns_secondary", name, turns[1], 1, TURNS_MAX)


def _check_lines(place: str, name: str, current_ma: PhaseCurrents | None, faults: _Faults) -> None:
    if current_ma is None:
        return
    if not isinstance(current_ma, tuple) or len(current_ma) != 3:
        faults.add(place, f"{name}: a current for each of L1, L2 and L3")
        return
    for line, value in zip(LINES, current_ma, strict=True):
        faults.number(f"{place}.{line.lower()}_ma", name, value, 0, NODE_CURRENT_MAX_MA)


def _hung_on(
    connectors: Sequence[Connector], index: dict[str, int], faults: _Faults
) -> NDArray[np.int32]:
    positions = [index.get(connector.node, -1) for connector in connectors]
    for position, found in enumerate(positions):
        if found < 0:
            connector = connectors[position]
            faults.add(
                f"connectors[{position}].node",
                f"connector {_shown(connector.id)}: there is no node {_shown(connector.node)}",
            )
    return np.array(positions, np.int32)


def _wired(
    connectors: Sequence[Connector], faults: _Faults
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """The set of lines, and the kind of connection, of each connector."""
    known: dict[tuple[Any, ...], tuple[int, int]] = {}
    wired = []
    for position, connector in enumerate(connectors):
        way = (connector.phases, connector.rotation, connector.line_to_line)
        found = known.get(way) if isinstance(connector.phases, tuple) else None
        if found is None:
            fault = _wiring_fault(connector)
            if fault is not None:
                place, told = fault
                faults.add(
                    f"connectors[{position}].{place}", f"connector {_shown(connector.id)}: {told}"
                )
                wired.append((1, 1))
                continue
            behind = _LINE_BEHIND[connector.rotation]
            lines = sum(1 << behind[phase - 1] for phase in connector.phases)
            found = known[way] = (lines, _LINE_PAIRS[lines] if connector.line_to_line else lines)
        wired.append(found)
    pairs = np.array(wired, np.uint8).reshape(-1, 2)
    return pairs[:, 0], pairs[:, 1]


def _wiring_fault(connector: Connector) -> tuple[str, str] | None:
    phases = connector.phases
    if not isinstance(phases, tuple):
        return "phases", f"{_shown(phases)} is no tuple"
    if not all(_is_integer(phase) and 1 <= phase <= 3 for phase in phases):
        return "phases", f"{_shown(phases)} are not among 1, 2, 3"
    if len(set(phases)) != len(phases) or not phases:
        return "phases", "one to three different phases"
    if connector.rotation not in _LINE_BEHIND:
        return "rotation", f"{_shown(connector.rotation)} is no rotation"
    if connector.line_to_line and len(phases) != 2:
        return "line_to_line", f"lies between two phases, not {len(phases)}"
    return None


def _demand(connectors: Sequence[Connector], faults: _Faults) -> dict[str, Any]:
    """What connectors want, as `_core.Demand` takes it."""

    def column(field: str, least: int, most: int, values: list[Any]) -> NDArray[np.int64]:
        return _column(field, values, least, most, connectors=connectors, faults=faults)

    max_ma = column("max_ma", 0, CURRENT_MAX_MA, [each.max_ma for each in connectors])
    given = [each.min_ma for each in connectors]
    min_ma = column("min_ma", 0, CURRENT_MAX_MA, [0 if each is None else each for each in given])
    left = np.fromiter((each is None for each in given), np.bool_, len(given))
    min_ma = np.where(left, np.minimum(_DEFAULT_MIN_MA, max_ma), min_ma)
    for position in np.flatnonzero(min_ma > max_ma).tolist():
        faults.add(
            f"connectors[{position}].min_ma",
            f"connector {_shown(connectors[position].id)}: {min_ma[position]} is above max_ma, "
            f"{max_ma[position]}",
        )
    return {
        "min_ma": min_ma,
        "max_ma": max_ma,
        "step_ma": column("step_ma", 1, CURRENT_MAX_MA, [each.step_ma for each in connectors]),
        "weight": column("weight", 1, WEIGHT_MAX, [each.weight for each in connectors]),
        "tier": column("tier", 0, TIER_MAX, [each.tier for each in connectors]).astype(np.uint8),
        "rank": column("rank", -RANK_MAX, RANK_MAX, [each.rank for each in connectors]),
        "keep_on": np.array([each.keep_on for each in connectors], np.bool_),
        "discharge": np.array([each.discharge for each in connectors], np.bool_),
        "liability_ma": column(
            "liability_ma", -CURRENT_MAX_MA, CURRENT_MAX_MA, [e.liability_ma for e in connectors]
        ),
        **_setpoints(connectors, faults),
    }


def _column(
    field: str,
    values: list[Any],
    least: int,
    most: int,
    *,
    connectors: Sequence[Connector],
    faults: _Faults,
) -> NDArray[np.int64]:
    """One number of each connector, where a fault is told within the range."""
    # One type, and one comparison for all: nearly every column is sound.
    if set(map(type, values)) <= {int} and (
        not values or (least <= min(values) and max(values) <= most)
    ):
        return np.array(values, np.int64)
    sound = [_is_integer(value) and least <= value <= most for value in values]
    for position in np.flatnonzero(~np.array(sound)).tolist():
        faults.number(
            f"connectors[{position}].{field}",
            f"connector {_shown(connectors[position].id)}",
            values[position],
            least,
            most,
        )
    within = [min(max(value, least), most) if _is_integer(value) else least for value in values]
    return np.array(within, np.int64)


def _setpoints(connectors: Sequence[Connector], faults: _Faults) -> dict[str, Any]:
    """The sets of setpoints, each once, however many connectors share it; nothing where there is
    none."""
    known: dict[tuple[int, ...], int] = {(): -1}
    members: list[int] = []
    starts = [0]
    chosen = []
    for position, connector in enumerate(connectors):
        given = connector.setpoints_ma
        if not isinstance(given, tuple) or given not in known:
            fault = _setpoints_fault(given)
            if fault is not None:
                place, told = fault
                faults.add(
                    f"connectors[{position}].{place}", f"connector {_shown(connector.id)}: {told}"
                )
                continue
            if len(starts) > SETPOINT_SETS_MAX:
                faults.add(
                    f"connectors[{position}].setpoints_ma",
                    f"connector {_shown(connector.id)}: "
                    f"more than {SETPOINT_SETS_MAX:,} different sets of setpoints",
                )
                continue
            known[given] = len(starts) - 1
            members += sorted({value for value in given if value > 0})
            starts.append(len(members))
        chosen.append(known[given])
    if not members:
        return {}
    return {
        "setpoint_set": np.array(chosen, np.int32),
        "setpoint_start": np.array(starts, np.int32),
        "setpoint_ma": np.array(members, np.int64),
    }


def _setpoints_fault(given: tuple[int, ...]) -> tuple[str, str] | None:
    if not isinstance(given, tuple):
        return "setpoints_ma", f"{_shown(given)} is no tuple"
    if len(given) > SETPOINTS_MAX:
        return "setpoints_ma", f"more than {SETPOINTS_MAX} setpoints"
    for index, value in enumerate(given):
        if not _is_integer(value) or not 0 <= value <= CURRENT_MAX_MA:
            return (
                f"setpoints_ma[{index}]",
                f"{_shown(value)} is not an integer of 0 to {CURRENT_MAX_MA}",
            )
    if not any(given):
        return "setpoints_ma", "none is above 0"
    return None


def _capacity(lines: Sequence[Row], combined: Sequence[Row]) -> _core.Capacity:
    def drawn(rows: Sequence[Row]) -> NDArray[np.int64]:
        return np.array([row.units(row.limit) for row in rows], np.int64)

    def fed_in(rows: Sequence[Row]) -> NDArray[np.int64]:
        return np.array([row.units(row.export_limit) for row in rows], np.int64)

    return _core.Capacity(
        import_ma=drawn(lines).reshape(-1, 3),
        export_ma=fed_in(lines).reshape(-1, 3),
        combined=drawn(combined),
        combined_export=fed_in(combined),
    )


def _coefficients(combined: Sequence[Row]) -> NDArray[np.int32]:
    if not combined:
        return np.zeros((0, 16, 2), np.int32)
    return np.stack([row.coefficient() for row in combined])
