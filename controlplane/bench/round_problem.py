"""The allocation problem that is timed: a network on which rows of every level bind.

Feeders, their sites and their panels, about twenty connectors to a panel; half of the connectors
draw on three phases, the others on one. The same seed gives the same problem. What a result must
hold is verified here by sums of NumPy that share no code with the core."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NamedTuple, TypedDict

import numpy as np
from numpy.typing import NDArray

from controlplane import _core

__all__ = [
    "Crossings",
    "Problem",
    "Wanted",
    "another_max_ma",
    "build",
    "crossings",
    "violations",
]

_CONNECTORS_PER_NODE = 20
_PANELS_PER_SITE = 10
_ONE_PHASE = np.array([0b001, 0b010, 0b100], np.uint8)
_MAX_A = np.array([10, 13, 16, 20, 25, 32, 40, 48, 64, 80])
_PHASES = 3


class Wanted(TypedDict):
    """What connectors ask for; as in `controlplane._core.Demand`."""

    min_ma: NDArray[np.int64]
    max_ma: NDArray[np.int64]
    step_ma: NDArray[np.int64]
    weight: NDArray[np.int64]
    tier: NDArray[np.uint8]
    rank: NDArray[np.int64]


@dataclass(frozen=True)
class Problem:
    """One round's network and inputs. The feeders come first among the nodes, then all sites, then
    all panels, so every parent stands before its children."""

    node_parent: NDArray[np.int32]
    leaf_node: NDArray[np.int32]
    leaf_phases: NDArray[np.uint8]
    capacity_ma: NDArray[np.int64]
    wanted: Wanted

    @property
    def connectors(self) -> int:
        return self.leaf_node.size

    @property
    def feeders(self) -> int:
        return int((self.node_parent < 0).sum())

    def network(self) -> _core.Network:
        return _core.Network(
            node_parent=self.node_parent, leaf_node=self.leaf_node, leaf_phases=self.leaf_phases
        )

    def allocate(self, network: _core.Network, *, threads: int = 1) -> _core.Allocation:
        return _core.allocate(network, *self.inputs(), threads=threads)

    def with_room(self) -> Problem:
        """The same, but for feeders that carry all that their sites do."""
        capacity_ma = self.capacity_ma.copy()
        capacity_ma[self.node_parent < 0] = 10**12
        return replace(self, capacity_ma=capacity_ma)

    def inputs(self) -> tuple[_core.Capacity, _core.Demand]:
        return _core.Capacity(import_ma=self.capacity_ma), _core.Demand(**self.wanted)


class Crossings(NamedTuple):
    """Which connector draws through which row: a pair for each, ordered by connector."""

    row: NDArray[np.int64]
    leaf: NDArray[np.int64]


def build(connectors: int, *, feeders: int = 1, step_ma: int = 100, seed: int = 1) -> Problem:
    """A network of `feeders` trees, feeder -> site -> panel, with `connectors` in all.

    Every connector wants 10 to 80 A, at least 6 A, with a weight of 1 to 4. A row's capacity is
    drawn around what its level would carry, wide enough that at each level some rows bind and
    some do not; the feeders' phases bind for whoever nothing below stops.

    Args:
        connectors: 10 and up for each feeder.
        feeders: 1 and up.
        step_ma: of every connector, 1 to 10**9.
        seed: of the random numbers.
    """
    if feeders < 1 or connectors < 10 * feeders:
        raise ValueError(f"{connectors} connectors under {feeders} feeders: at least 10 each")
    random = np.random.default_rng(seed)
    nodes = max(3 * feeders, connectors // _CONNECTORS_PER_NODE)
    sites = max(feeders, (nodes - feeders) // (_PANELS_PER_SITE + 1))
    panels = nodes - feeders - sites
    node_parent = np.full(nodes, -1, np.int32)
    node_parent[feeders : feeders + sites] = np.arange(sites) * feeders // sites
    node_parent[feeders + sites :] = feeders + np.arange(panels) * sites // panels
    # In the order of their panels, as the description of a network lists them.
    leaf_node = np.empty(connectors, np.int32)
    leaf_node[:] = feeders + sites + np.arange(connectors) * panels // connectors
    three_phase = random.permutation(connectors) % 2 == 0
    one_phase = random.choice(_ONE_PHASE, connectors)
    leaf_phases = np.where(three_phase, np.uint8(0b111), one_phase)
    max_ma = (1_000 * random.choice(_MAX_A, connectors)).astype(np.int64)
    min_ma = np.full(connectors, 6_000, np.int64)
    wanted_ma = _row_loads(node_parent, leaf_node, leaf_phases, max_ma)
    least_ma = _row_loads(node_parent, leaf_node, leaf_phases, min_ma)
    share = np.empty((nodes, _PHASES))
    share[:feeders] = 0.38
    share[feeders : feeders + sites] = random.uniform(0.25, 0.75, (sites, _PHASES))
    share[feeders + sites :] = random.uniform(0.2, 1.1, (panels, _PHASES))
    capacity_ma = least_ma + (share * (wanted_ma - least_ma)).astype(np.int64)
    wanted = Wanted(
        min_ma=min_ma,
        max_ma=max_ma,
        step_ma=np.full(connectors, step_ma, np.int64),
        weight=random.integers(1, 5, connectors),
        tier=np.zeros(connectors, np.uint8),
        rank=random.permutation(connectors).astype(np.int64),
    )
    return Problem(node_parent, leaf_node, leaf_phases, capacity_ma, wanted)


def another_max_ma(random: np.random.Generator, max_ma: int) -> int:
    """What a connector may want next instead of `max_ma`: 0, where it unplugs, or 10 to 80 A."""
    wanted_ma = 1_000 * np.append(0, _MAX_A)
    return int(random.choice(wanted_ma[wanted_ma != max_ma]))


def crossings(problem: Problem) -> Crossings:
    """Every row that every connector draws through, on its own node and all above it."""
    rows, leaves = [], []
    leaf = np.arange(problem.connectors)
    node = problem.leaf_node.astype(np.int64)
    while leaf.size:
        for phase in range(_PHASES):
            on = problem.leaf_phases[leaf] >> phase & 1 == 1
            rows.append(_PHASES * node[on] + phase)
            leaves.append(leaf[on])
        node = problem.node_parent[node].astype(np.int64)
        leaf, node = leaf[node >= 0], node[node >= 0]
    row, leaf = np.concatenate(rows), np.concatenate(leaves)
    by_leaf = np.argsort(leaf, kind="stable")
    return Crossings(row[by_leaf], leaf[by_leaf])


def violations(problem: Problem, current_ma: NDArray[np.int64]) -> int:
    """Rows over their capacity plus connectors outside 0 or their range or off their step."""
    loads = _row_loads(problem.node_parent, problem.leaf_node, problem.leaf_phases, current_ma)
    given = problem.wanted
    over = loads > problem.capacity_ma
    inside = (given["min_ma"] <= current_ma) & (current_ma <= given["max_ma"])
    at_an_end = (current_ma == given["min_ma"]) | (current_ma == given["max_ma"])
    accepted = inside & (at_an_end | (current_ma % given["step_ma"] == 0))
    return int(over.sum() + (~(accepted | (current_ma == 0))).sum())


def _row_loads(
    node_parent: NDArray[np.int32],
    leaf_node: NDArray[np.int32],
    leaf_phases: NDArray[np.uint8],
    current_ma: NDArray[np.int64],
) -> NDArray[np.int64]:
    """Shape (nodes, 3): the sum of what is drawn through each row. Parents come before their
    children here."""
    loads = np.zeros((node_parent.size, _PHASES), np.int64)
    on_phase = leaf_phases[:, None] >> np.arange(_PHASES) & 1
    np.add.at(loads, leaf_node, on_phase * current_ma[:, None])
    for node in range(node_parent.size - 1, -1, -1):
        if node_parent[node] >= 0:
            loads[node_parent[node]] += loads[node]
    return loads
