"""The Rust core: exact power allocation over an electrical tree. Pure functions over arrays; the
GIL is released.

Row `node * 3 + phase` is one phase of one node of the tree. Currents are integer milliamperes,
import positive."""

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
            NetworkError: a cycle, a parent or node out of range, a connector on no phase, sizes
            that disagree.
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
        """Shape (leaves,): the saturated row that stops this connector, or -1 where its own maximum
        (or 0 wanted) does."""

    @property
    def admitted(self) -> NDArray[np.bool_]:
        """Shape (leaves,): False where not even the minimum could be given."""

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

    Args:
        capacity_ma: shape (nodes, 3), what chargers may draw through each row; below 0 counts as 0.
        min_ma: shape (leaves,), the least current at which a connector runs; 0 <= min_ma <= max_ma.
        max_ma: shape (leaves,); 0 for a connector that wants nothing.
        step_ma: shape (leaves,), 1 and up: what is given is a multiple of it (or exactly min_ma or
        max_ma). weight: shape (leaves,), 1 to 1,000: shares inside a tier. tier: shape (leaves,), 0
        is served first. rank: shape (leaves,): where not all minimums fit, lower ranks are admitted
        first (ties by index), inside a tier.

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
