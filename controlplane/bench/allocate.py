"""How fast one round of the allocation core is, on a network where rows of every level bind.

The network is a feeder, its sites and their panels, about twenty connectors to a node; half of the
connectors draw on three phases, the others on one. What is timed is the call from Python, arrays
in, arrays out. Every result is verified here by sums of NumPy that share no code with the core."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from controlplane import _core

__all__ = ["Problem", "build", "run", "violations"]

_CONNECTORS_PER_NODE = 20
_PANELS_PER_SITE = 10
_ONE_PHASE = np.array([0b001, 0b010, 0b100], np.uint8)
_MAX_A = np.array([10, 13, 16, 20, 25, 32, 40, 48, 64, 80])


@dataclass(frozen=True)
class Problem:
    """One round's input; shapes and units as in `controlplane._core.allocate`.

    Node 0 is the feeder, then come the sites, then the panels."""

    node_parent: NDArray[np.int32]
    leaf_node: NDArray[np.int32]
    leaf_phases: NDArray[np.uint8]
    capacity_ma: NDArray[np.int64]
    min_ma: NDArray[np.int64]
    max_ma: NDArray[np.int64]
    step_ma: NDArray[np.int64]
    weight: NDArray[np.int64]
    tier: NDArray[np.uint8]
    rank: NDArray[np.int64]
    sites: int

    def network(self) -> _core.Network:
        return _core.Network(
            node_parent=self.node_parent, leaf_node=self.leaf_node, leaf_phases=self.leaf_phases
        )

    def capacity(self) -> _core.Capacity:
        return _core.Capacity(import_ma=self.capacity_ma)

    def demand(self) -> _core.Demand:
        return _core.Demand(
            min_ma=self.min_ma,
            max_ma=self.max_ma,
            step_ma=self.step_ma,
            weight=self.weight,
            tier=self.tier,
            rank=self.rank,
        )

    def allocate(self, network: _core.Network) -> _core.Allocation:
        return _core.allocate(network, self.capacity(), self.demand())

    def check(self, network: _core.Network, current_ma: NDArray[np.int64]) -> NDArray[np.int32]:
        return _core.check(network, self.capacity(), self.demand(), current_ma)


def build(connectors: int, *, seed: int = 1) -> Problem:
    """A feeder -> site -> panel network for `connectors` connectors, the same for the same seed.

    Every connector wants 10 to 80 A, at least 6 A, with a weight of 1 to 4. A row's capacity is
    drawn around what its level would carry, wide enough that at each level some rows bind and
    some do not; the feeder's phases bind for whoever nothing below stops.
    """
    random = np.random.default_rng(seed)
    nodes = max(3, connectors // _CONNECTORS_PER_NODE)
    sites = max(1, (nodes - 1) // (_PANELS_PER_SITE + 1))
    panels = nodes - 1 - sites
    node_parent = np.zeros(nodes, np.int32)
    node_parent[0] = -1
    node_parent[1 + sites :] = 1 + np.arange(panels) * sites // panels
    # In the order of their panels, as the description of a network lists them.
    leaf_node = np.empty(connectors, np.int32)
    leaf_node[:] = 1 + sites + np.arange(connectors) * panels // connectors
    three_phase = random.permutation(connectors) % 2 == 0
    one_phase = random.choice(_ONE_PHASE, connectors)
    leaf_phases = np.where(three_phase, np.uint8(0b111), one_phase)
    max_ma = 1_000 * random.choice(_MAX_A, connectors)
    wanted_ma = _row_loads(node_parent, leaf_node, leaf_phases, max_ma)
    least_ma = _row_loads(node_parent, leaf_node, leaf_phases, np.full(connectors, 6_000))
    share = np.empty((nodes, 3))
    share[0] = 0.38
    share[1 : 1 + sites] = random.uniform(0.25, 0.75, (sites, 3))
    share[1 + sites :] = random.uniform(0.2, 1.1, (panels, 3))
    capacity_ma = least_ma + (share * (wanted_ma - least_ma)).astype(np.int64)
    return Problem(
        node_parent=node_parent,
        leaf_node=leaf_node,
        leaf_phases=leaf_phases,
        capacity_ma=capacity_ma,
        min_ma=np.full(connectors, 6_000, np.int64),
        max_ma=max_ma.astype(np.int64),
        step_ma=np.full(connectors, 100, np.int64),
        weight=random.integers(1, 5, connectors),
        tier=np.zeros(connectors, np.uint8),
        rank=random.permutation(connectors).astype(np.int64),
        sites=sites,
    )


def violations(problem: Problem, result: _core.Allocation) -> int:
    """Rows over their capacity plus connectors outside 0 or their range or off their step."""
    current_ma = result.current_ma
    loads = _row_loads(problem.node_parent, problem.leaf_node, problem.leaf_phases, current_ma)
    over = loads > problem.capacity_ma
    inside = (problem.min_ma <= current_ma) & (current_ma <= problem.max_ma)
    at_an_end = (current_ma == problem.min_ma) | (current_ma == problem.max_ma)
    accepted = inside & (at_an_end | (current_ma % problem.step_ma == 0))
    return int(over.sum() + (~(accepted | (current_ma == 0))).sum())


def run(connectors: int, repeats: int = 20, seed: int = 1) -> dict[str, float]:
    """Time full rounds and passes that only check the result.

    Args:
        connectors: 10 and up.
        repeats: how many of each are timed; medians are given.
        seed: of the network.

    Returns:
        `connectors`, `rows`, `solve_ms`, `check_ms`, `ratio` of the two, `violations`.
    """
    if connectors < 10 or repeats < 1:
        raise ValueError(f"{connectors} connectors, {repeats} repeats: at least 10 and 1")
    problem = build(connectors, seed=seed)
    network = problem.network()
    result = problem.allocate(network)
    solve_ms = _median_ms(lambda: problem.allocate(network), repeats)
    check_ms = _median_ms(lambda: problem.check(network, result.current_ma), repeats)
    over = problem.check(network, result.current_ma)
    return {
        "connectors": connectors,
        "rows": problem.capacity_ma.size,
        "solve_ms": round(solve_ms, 4),
        "check_ms": round(check_ms, 4),
        "ratio": round(solve_ms / check_ms, 2),
        "violations": violations(problem, result) + over.size,
    }


def _median_ms(call: Callable[[], object], repeats: int) -> float:
    taken_s = []
    for _ in range(repeats):
        started_s = time.perf_counter()
        call()
        taken_s.append(time.perf_counter() - started_s)
    return 1_000 * statistics.median(taken_s)


def _row_loads(
    node_parent: NDArray[np.int32],
    leaf_node: NDArray[np.int32],
    leaf_phases: NDArray[np.uint8],
    current_ma: NDArray[np.int64],
) -> NDArray[np.int64]:
    """Shape (nodes, 3): the sum of what is drawn through each row. Parents come before their
    children here."""
    loads = np.zeros((node_parent.size, 3), np.int64)
    on_phase = leaf_phases[:, None] >> np.arange(3) & 1
    np.add.at(loads, leaf_node, on_phase * current_ma[:, None])
    for node in range(node_parent.size - 1, 0, -1):
        loads[node_parent[node]] += loads[node]
    return loads
