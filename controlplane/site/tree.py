"""A site's description as arrays: rows, connectors and the tree that the Rust core solves over.

Invariant: row `node * 3 + phase` is one phase of one circuit, nodes in the order of the
description; connectors in the order of `SiteConfig.connectors()`. Both orders hold for as long as
the description does."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

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
    """Every row that carries its current, from its own circuit up to the supply."""
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
        self.leaves = tuple(
            _leaf(key, charger, connector, path=paths[index[charger.circuit]], config=config)
            for key, charger, connector in config.connectors()
        )
        self.index = {leaf.key: position for position, leaf in enumerate(self.leaves)}
        self.rating_ma = [circuit.rating_ma for circuit in config.circuits for _ in range(3)]
        self.step_ma = np.array([leaf.step_ma for leaf in self.leaves], dtype=np.int64)
        self._carried = _Carried(self.leaves, len(self.rating_ma))
        self.margin_ma = [-int(-rating * config.margin_percent // 100) for rating in self.rating_ma]
        building = config.building_load
        self.building_nodes = () if building is None else paths[index[building.circuit]]
        self.building_assumed_ma = 0 if building is None else building.assumed_ma
        self.stale_after_ms = 0 if building is None else round(building.stale_after_s * MS_PER_S)
        self.network = _core.Network(
            node_parent=np.array(parents, dtype=np.int32),
            leaf_node=np.array(
                [index[charger.circuit] for _, charger, _ in config.connectors()], dtype=np.int32
            ),
            leaf_phases=np.array(
                [sum(1 << column for column in leaf.phases) for leaf in self.leaves],
                dtype=np.uint8,
            ),
        )

    @property
    def rows(self) -> int:
        return len(self.rating_ma)

    @property
    def supply_rows(self) -> range:
        return range(self.supply * 3, self.supply * 3 + 3)

    def row_name(self, row: int) -> str:
        """The row in words, such as `circuit panel-1 phase L2`."""
        return f"circuit {self.config.circuits[row // 3].id} phase L{row % 3 + 1}"

    def building_ma(self, current_ma: tuple[int, int, int]) -> list[int]:
        """The building's load on every row, from its load on the circuit where it is measured."""
        load_ma = [0] * self.rows
        for node in self.building_nodes:
            load_ma[node * 3 : node * 3 + 3] = current_ma
        return load_ma

    def row_sums(self, leaf_ma: Sequence[int]) -> list[int]:
        """The sum on every row of one current per connector."""
        return self._carried.sums(leaf_ma)


class _Carried:
    """Which connectors each row carries, laid out so that all rows are summed in one pass."""

    def __init__(self, leaves: Sequence[Leaf], rows: int) -> None:
        below: list[list[int]] = [[] for _ in range(rows)]
        for position, leaf in enumerate(leaves):
            for row in leaf.rows:
                below[row].append(position)
        self._rows = rows
        self._leaves = len(leaves)
        # `reduceat` knows no empty segments.
        self._loaded = np.array([row for row in range(rows) if below[row]], dtype=np.intp)
        lengths = [len(below[row]) for row in self._loaded.tolist()]
        self._starts = np.cumsum([0, *lengths[:-1]], dtype=np.intp)[: len(lengths)]
        self._below = np.array([each for row in below for each in row], dtype=np.intp)

    def sums(self, leaf_ma: Sequence[int]) -> list[int]:
        sums = np.zeros(self._rows, dtype=np.int64)
        if len(leaf_ma) != self._leaves:
            raise ValueError(f"{len(leaf_ma)} currents for {self._leaves} connectors")
        if len(self._loaded):
            currents = np.array(leaf_ma, dtype=np.int64)
            sums[self._loaded] = np.add.reduceat(currents[self._below], self._starts)
        listed: list[int] = sums.tolist()
        return listed


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
) -> Leaf:
    columns = tuple(phase.column for phase in connector.phases)
    return Leaf(
        key=key,
        name=charger.id if len(charger.connectors) == 1 else str(key),
        rows=tuple(node * 3 + column for node in path for column in columns),
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
