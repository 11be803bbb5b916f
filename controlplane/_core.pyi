"""The Rust core: exact power allocation over an electrical tree. Pure functions over arrays; the
GIL is released.

Row `node * 3 + phase` is one phase of one node of the tree. Currents are integer milliamperes,
import positive. Results are the same bits on every machine, and, where ranks differ, under every
numbering of nodes and connectors. Arrays are taken as they are where they lie in one piece (C
order) and copied where not; another type or number of dimensions is a TypeError."""

from typing import final

import numpy as np
from numpy.typing import NDArray

__all__ = ["Allocation", "Network", "NetworkError", "__version__", "allocate", "check"]

__version__: str

class NetworkError(ValueError):
    """The network or the inputs contradict themselves; the message names the element and its
    index."""

@final
class Network:
    """An immutable electrical tree with connectors as its leaves."""

    def __new__(
        cls,
        *,
        node_parent: NDArray[np.int32],
        leaf_node: NDArray[np.int32],
        leaf_phases: NDArray[np.uint8],
    ) -> Network:
        """
        Args:
            node_parent: shape (nodes,), index of each node's parent, -1 for a root; any order.
            leaf_node: shape (leaves,), the node each connector hangs on.
            leaf_phases: shape (leaves,), bit 0 L1, bit 1 L2, bit 2 L3; 1 to 7.

        Raises:
            NetworkError: a cycle, a parent or node out of range, a node more than 64 levels below
            its root, a connector on no phase, sizes that disagree.
        """

    @property
    def nodes(self) -> int: ...
    @property
    def leaves(self) -> int: ...

@final
class Allocation:
    """What a round gives. Arrays are in the order of the leaves, or (nodes, 3)."""

    @property
    def current_ma(self) -> NDArray[np.int64]:
        """Shape (leaves,): the current on each active phase."""

    @property
    def binding_row(self) -> NDArray[np.int32]:
        """Shape (leaves,): the row that was full when this connector's share stopped growing (or
        had no room for its minimum), or -1 where its own maximum (or 0 wanted) stops it. But for
        what rounding to whole steps moved, below one step for each connector on it, the row is
        full, and nobody of the same tier on it that is above the minimum has a higher level
        (current / weight): the bottleneck certificate of max-min fairness."""

    @property
    def admitted(self) -> NDArray[np.bool_]:
        """Shape (leaves,): False where not even the minimum could be given. A connector with
        minimum 0 is always admitted, be it at 0."""

    @property
    def row_load_ma(self) -> NDArray[np.int64]:
        """Shape (nodes, 3): the sum of what was given below each row."""

def allocate(
    network: Network,
    *,
    capacity_ma: NDArray[np.int64],
    min_ma: NDArray[np.int64],
    max_ma: NDArray[np.int64],
    step_ma: NDArray[np.int64],
    weight: NDArray[np.int64],
    tier: NDArray[np.uint8],
    rank: NDArray[np.int64],
) -> Allocation:
    """One real-time round: admission at the minimum, then weighted max-min inside strict tiers,
    then whole steps.

    Admission goes by tier, then rank, then index; nobody's growth costs another its minimum. Then
    tier by tier one level rises for everyone in the tier, and a connector draws weight * level,
    never below its minimum nor above its maximum. At the first level that a row cannot carry,
    everybody below it stays at the level before (rows nearer to the root first, L1 before L2).
    Levels are integers in units of 1/65,536 mA per unit of weight. What is reached is rounded down
    to whole steps; then each may go up one step where its rows have room, those that lost most
    first (ties by rank, then index); and as long as anyone in the tier can still go up a step,
    these are filled again from what they have. In the end nobody can be raised by a step.

    Args:
        capacity_ma: shape (nodes, 3), what chargers may draw through each row; below 0 counts as 0;
            at most 10**12 in magnitude.
        min_ma: shape (leaves,), the least current at which a connector runs; 0 <= min_ma <= max_ma.
        max_ma: shape (leaves,), up to 10**9; 0 for a connector that wants nothing.
        step_ma: shape (leaves,), 1 to 10**9: what is given is a multiple of it (or exactly min_ma
            or max_ma).
        weight: shape (leaves,), 1 to 1,000: shares inside a tier.
        tier: shape (leaves,), 0 is served first.
        rank: shape (leaves,): where not all minimums fit, lower ranks are admitted first (ties by
            index), inside a tier.

    Raises:
        NetworkError: a shape or a value outside its range; the message names the array and the
            index.
    """

def check(
    network: Network,
    *,
    capacity_ma: NDArray[np.int64],
    min_ma: NDArray[np.int64],
    max_ma: NDArray[np.int64],
    current_ma: NDArray[np.int64],
) -> NDArray[np.int32]:
    """Rows whose load exceeds their capacity, by a code path of its own; empty when all is well.

    Also refuses (NetworkError) a current outside {0} or [min_ma, max_ma].
    """
