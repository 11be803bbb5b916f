"""The rows of a problem: every limit of every node, in the order in which `_core` numbers them, and
what people call them.

Invariant: `rows[3 * node + phase]` are the lines of the nodes, whether limited or not; the combined
rows follow, in the order of their nodes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from enum import IntEnum

import msgspec
import numpy as np
from numpy.typing import NDArray

from controlplane import _core
from controlplane.allocation.problem import Node

__all__ = ["CAPACITY_MAX_MA", "COMBINED_MAX", "LINES", "Row", "RowKind", "rows_of"]

CAPACITY_MAX_MA = 10**12
"""The capacity of a line that has no limit of its own."""
COMBINED_MAX = 1 << 46
"""The limit of a combined row that is not to bind."""
LINES = ("L1", "L2", "L3")
_VECTOR_SCALE = 10_000
"""Vector rows have coefficients of this length (see `_core.line_current_row`)."""
_MW_PER_W = 1_000


class RowKind(IntEnum):
    """What a row bounds; the values of `RowKind` in `allocation.proto`."""

    PHASE = 1
    """The sum of the currents on a line."""
    VECTOR = 2
    """The length of the sum of the currents on a line."""
    POWER = 3
    """The power on all lines together."""
    IMBALANCE = 4
    """How much more one line carries than another."""
    PRIMARY = 5
    """The current on a primary line of a delta-wye transformer."""


class Row(msgspec.Struct, frozen=True, kw_only=True, eq=False, gc=False):
    """One limit of one node."""

    node: Node
    kind: RowKind
    line: int = 0
    """0 to 2 for L1 to L3; of a POWER row 0."""
    over: int = 0
    """Of an IMBALANCE row, the line that `line` is compared with."""
    scale: int = 1
    divisor: int = 1
    """A milliampere or, of a POWER row, a watt is `scale / divisor` units of the core."""
    limit: int | None = None
    """For import, in milliamperes or watts; None: not bounded."""
    export_limit: int | None = None
    """Likewise for export."""

    def units(self, limit: int | None) -> int:
        """A limit of this row as the core takes it, rounded down."""
        if self.kind is RowKind.PHASE:
            return CAPACITY_MAX_MA if limit is None else limit
        return (
            COMBINED_MAX if limit is None else min(COMBINED_MAX, limit * self.scale // self.divisor)
        )

    def measured(self, units: int) -> int:
        """A load that the core tells of this row, rounded up."""
        return -(-units * self.divisor // self.scale)

    @property
    def words(self) -> str:
        """As people call it: `panel P2 phase L3`, `the total power of site S1`."""
        node = f"{self.node.kind} {self.node.id}".lstrip()
        line = LINES[self.line]
        match self.kind:
            case RowKind.PHASE:
                return f"{node} phase {line}"
            case RowKind.VECTOR:
                return f"{node} phase {line} (vector sum)"
            case RowKind.POWER:
                return f"the total power of {node}"
            case RowKind.IMBALANCE:
                return f"phase imbalance {line} over {LINES[self.over]} at {node}"
            case RowKind.PRIMARY:
                return f"the primary side of {node}, line {line}"

    def coefficient(self) -> NDArray[np.int32]:
        """Shape (16, 2): what a combined row multiplies currents by (see `_core.Network`)."""
        match self.kind:
            case RowKind.PHASE:
                raise ValueError("the sum of a line has no coefficients")
            case RowKind.VECTOR:
                return _core.line_current_row(self.line)
            case RowKind.POWER:
                return _core.total_power_row(self.node.voltage_v)
            case RowKind.IMBALANCE:
                return _core.imbalance_row(self.line, self.over)
            case RowKind.PRIMARY:
                # The ratio of turns is in the limit, where it costs no precision.
                return _core.delta_wye_primary_row(self.line, 1, 1)


def rows_of(nodes: Sequence[Node]) -> list[Row]:
    """Every row of the nodes; their limits have been checked."""
    rows = [row for node in nodes for row in _lines(node)]
    for node in nodes:
        rows += _combined(node)
    return rows


def _lines(node: Node) -> Iterator[Row]:
    bounded = not node.vector_sum
    export_ma = node.export_ma or (0, 0, 0)
    for line in range(3):
        yield Row(
            node=node,
            kind=RowKind.PHASE,
            line=line,
            limit=node.import_ma[line] if bounded and node.import_ma else None,
            export_limit=export_ma[line] if bounded else None,
        )


def _combined(node: Node) -> Iterator[Row]:
    if node.vector_sum and node.import_ma is not None:
        export_ma = node.export_ma or (0, 0, 0)
        for line in range(3):
            yield Row(
                node=node,
                kind=RowKind.VECTOR,
                line=line,
                scale=_VECTOR_SCALE,
                limit=node.import_ma[line],
                export_limit=export_ma[line],
            )
    if node.power_max_w is not None or node.export_power_max_w is not None:
        yield Row(
            node=node,
            kind=RowKind.POWER,
            scale=_MW_PER_W,
            limit=node.power_max_w,
            export_limit=node.export_power_max_w,
        )
    if node.imbalance_max_ma is not None:
        for line in range(3):
            for over in range(3):
                if line != over:
                    yield Row(
                        node=node,
                        kind=RowKind.IMBALANCE,
                        line=line,
                        over=over,
                        limit=node.imbalance_max_ma,
                        export_limit=node.imbalance_max_ma,
                    )
    if node.primary is not None:
        for line in range(3):
            yield Row(
                node=node,
                kind=RowKind.PRIMARY,
                line=line,
                scale=_VECTOR_SCALE * node.primary.turns_primary,
                divisor=node.primary.turns_secondary,
                limit=node.primary.max_ma[line],
                export_limit=node.primary.max_ma[line],
            )
