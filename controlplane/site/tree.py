"""A site's description as arrays: rows, connectors and the tree that the Rust core solves over.

Invariant: row `node * 3 + phase` is one phase of one circuit, nodes in the order of the
description; connectors in the order of `SiteConfig.connectors()`. Both orders hold for as long as
the description does. A site with a contract or a solar plant has one row more, at the end: its
total power, as the sum of the currents of all conductors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from controlplane import _core
from controlplane.ids import ConnectorKey
from controlplane.network import ChargerConfig, ConnectorConfig, CurrentType, SiteConfig
from controlplane.units import MS_PER_S

__all__ = ["Leaf", "SiteTree"]


@dataclass(frozen=True, slots=True)
class Leaf:
    """One connector: where it hangs and what its hardware can do."""

    key: ConnectorKey
    name: str
    """As people name it: the charger alone where it has but one connector."""
    rows: tuple[int, ...]
    """Every line that carries its current, from its own circuit up to the supply."""
    loads: tuple[tuple[int, int], ...]
    """Every row on which it counts, and how often: once on its lines, once for each conductor on
    the row of the total power."""
    phases: tuple[int, ...]
    """The column, 0 to 2, of the site's line on which each of its conductors sits."""
    min_ma: int
    max_ma: int
    step_ma: int
    priority: int
    weight: int
    offline_ma: int
    """What its description lets it draw when nobody steers it."""
    direct_current: bool
    power_max_w: int


class SiteTree:
    """The electrical tree of one site."""

    def __init__(self, config: SiteConfig) -> None:
        self.config = config
        index = {circuit.id: node for node, circuit in enumerate(config.circuits)}
        parents = [
            -1 if circuit.parent is None else index[circuit.parent] for circuit in config.circuits
        ]
        paths = [_path(node, parents) for node in range(len(parents))]
        self.supply = parents.index(-1)
        self.supply_rows = range(self.supply * 3, self.supply * 3 + 3)
        self.supply_lines = slice(self.supply * 3, self.supply * 3 + 3)
        """The same, to take these rows out of a list that has an entry per row."""
        self.lines = 3 * len(config.circuits)
        """How many rows are lines; these come first."""
        powered = config.contract is not None or config.surplus_only
        self.power_row = self.lines if powered else None
        self.leaves = tuple(
            _leaf(
                key,
                charger,
                connector,
                path=paths[index[charger.circuit]],
                config=config,
                power_row=self.power_row,
            )
            for key, charger, connector in config.connectors()
        )
        self.index = {leaf.key: position for position, leaf in enumerate(self.leaves)}
        self.rating_ma = [circuit.rating_ma for circuit in config.circuits for _ in range(3)]
        self.step_ma = np.array([leaf.step_ma for leaf in self.leaves], dtype=np.int64)
        self._sums = _core.RowSums(
            self.rows,
            [[row for row, times in leaf.loads for _ in range(times)] for leaf in self.leaves],
        )
        self.margin_ma = [-int(-rating * config.margin_percent // 100) for rating in self.rating_ma]
        self.export_ma = [
            min(circuit.export_ma, circuit.rating_ma - self.margin_ma[3 * node])
            for node, circuit in enumerate(config.circuits)
            for _ in range(3)
        ]
        """What may be fed in through every line."""
        self.able_ma = max(self.rating_ma[row] - self.margin_ma[row] for row in self.supply_rows)
        """What the supply carries at most on a line, with its margin kept."""
        self.volts = tuple(config.voltage_v * len(leaf.phases) for leaf in self.leaves)
        """Per connector, what a current on each of its conductors is multiplied by for its power:
        the line-to-neutral voltage of all of them together."""
        building = config.building_load
        self.building_nodes = () if building is None else paths[index[building.circuit]]
        self.below_meter = tuple(
            building is not None and index[building.circuit] in paths[index[charger.circuit]]
            for _, charger, _ in config.connectors()
        )
        """Whether each connector hangs below the circuit on which the building is measured."""
        self.building_assumed_ma = 0 if building is None else building.assumed_ma
        self.meter_awaited = building is not None and building.awaited
        self.stale_after_ms = 0 if building is None else round(building.stale_after_s * MS_PER_S)
        self._parents = parents
        self._nodes = [index[charger.circuit] for _, charger, _ in config.connectors()]
        self.network = self._network(powered=powered)

    def _network(self, *, powered: bool) -> _core.Network:
        """The tree as the core has it, with a row of the total power or without."""
        return _core.Network(
            node_parent=np.array(self._parents, dtype=np.int32),
            leaf_node=np.array(self._nodes, dtype=np.int32),
            leaf_phases=np.array(
                [sum(1 << column for column in leaf.phases) for leaf in self.leaves],
                dtype=np.uint8,
            ),
            # At one volt the power of all is the sum of their currents.
            combined_node=np.array([self.supply], dtype=np.int32) if powered else None,
            combined_coefficient=_core.total_power_row(1)[np.newaxis] if powered else None,
        )

    @cached_property
    def feed_network(self) -> _core.Network:
        """The same with a row of the total power: what is fed in together has a sum to meet."""
        return self.network if self.power_row is not None else self._network(powered=True)

    @property
    def rows(self) -> int:
        return self.lines + (self.power_row is not None)

    def row_name(self, row: int) -> str:
        """The row in words, such as `circuit panel-1 phase L2`."""
        if row == self.power_row:
            return "the contract power of the site"
        return f"circuit {self.config.circuits[row // 3].id} phase L{row % 3 + 1}"

    def building_ma(self, current_ma: tuple[int, int, int]) -> list[int]:
        """The building's load on every row, from its load on the circuit where it is measured."""
        load_ma = [0] * self.rows
        for node in self.building_nodes:
            load_ma[node * 3 : node * 3 + 3] = current_ma
        if self.power_row is not None:
            load_ma[self.power_row] = sum(current_ma) if self.building_nodes else 0
        return load_ma

    def power_sum(self, leaf_ma: Sequence[int]) -> int:
        """One current per connector, summed over the conductors of all."""
        return sum(
            len(leaf.phases) * current_ma
            for leaf, current_ma in zip(self.leaves, leaf_ma, strict=True)
        )

    def row_sums(self, leaf_ma: Sequence[int]) -> list[int]:
        """The sum on every row of one current per connector."""
        return self._sums.of(leaf_ma)

    def supply_sums(self, leaf_ma: Sequence[int]) -> list[int]:
        """The same on the three lines of the supply alone."""
        return self.row_sums(leaf_ma)[self.supply_lines]


def _path(node: int, parents: list[int]) -> tuple[int, ...]:
    """The node and its ancestors, up to the supply."""
    path = [node]
    while parents[path[-1]] >= 0:
        path.append(parents[path[-1]])
    return tuple(path)


def _leaf(
    key: ConnectorKey,
    charger: ChargerConfig,
    connector: ConnectorConfig,
    *,
    path: tuple[int, ...],
    config: SiteConfig,
    power_row: int | None,
) -> Leaf:
    columns = tuple(phase.column for phase in connector.phases)
    rows = tuple(node * 3 + column for node in path for column in columns)
    power = () if power_row is None else ((power_row, len(columns)),)
    return Leaf(
        key=key,
        name=charger.id if len(charger.connectors) == 1 else str(key),
        rows=rows,
        loads=(*((row, 1) for row in rows), *power),
        phases=columns,
        min_ma=connector.current_min_ma,
        max_ma=connector.current_max_ma,
        step_ma=connector.current_step_ma,
        priority=connector.priority,
        weight=connector.weight,
        offline_ma=min(charger.offline_current_ma, connector.current_max_ma),
        direct_current=charger.current_type is CurrentType.DC,
        power_max_w=connector.current_max_ma * config.voltage_v * len(columns) // 1_000,
    )
