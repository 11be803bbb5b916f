"""Who may draw how much, for people: an allocation problem with names in, currents and words out.

    shares = solve(
        [Node(id="P2", kind="panel", import_ma=(63_000, 63_000, 63_000))],
        [Connector(id="CP-1", node="P2"), Connector(id="CP-2", node="P2", phases=(3,))],
    )

`_core` computes over arrays and knows no names. This room describes a problem with them, refuses
what contradicts itself in words that name the element, and says of every connector why it got what
it got. It adds nothing to the mathematics: the same arrays given to `_core` give the same currents.
Pure: no clock, no IO."""

from controlplane.allocation.answer import RowLoad, Share, loads_of, shares_of, solve
from controlplane.allocation.arrays import Arrays, arrays_of
from controlplane.allocation.problem import (
    Connector,
    DeltaPrimary,
    Node,
    PhaseCurrents,
    Reason,
    Rotation,
)
from controlplane.allocation.rows import Row, RowKind

__all__ = [
    "Arrays",
    "Connector",
    "DeltaPrimary",
    "Node",
    "PhaseCurrents",
    "Reason",
    "Rotation",
    "Row",
    "RowKind",
    "RowLoad",
    "Share",
    "arrays_of",
    "loads_of",
    "shares_of",
    "solve",
]
