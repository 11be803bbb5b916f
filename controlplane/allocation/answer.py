"""What became of a problem: of every connector its current, why it has that much, and of every row
how full it is.

Invariant: a sentence says what the certificate proves. The row that it names is the binding row of
`_core`, and the reason is the core's."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import numpy as np
from numpy.typing import NDArray

from controlplane import _core
from controlplane.allocation.arrays import Arrays, arrays_of
from controlplane.allocation.problem import Connector, Node, Reason
from controlplane.allocation.rows import Row, RowKind
from controlplane.units import a_from_ma

__all__ = ["RowLoad", "Share", "loads_of", "shares_of", "solve"]

_REASONS = tuple(Reason)


class Share(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What one connector may draw, and why."""

    id: str
    current_ma: int
    """On each of its phases; below 0: it feeds back."""
    admitted: bool
    level: int
    """At which the binding row stopped it, in 1/65,536 mA per unit of weight; 0 if it was not
    admitted, -1 if no row stopped it."""
    reason: Reason
    binding: Row | None
    """The full row that stopped it, or had no room for its minimum."""
    words: str
    """A sentence for operators."""


class RowLoad(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """How full a row is, in milliamperes or, of a POWER row, watts; liabilities included. Import
    and export are sums of their own, neither netted against the other."""

    row: Row
    load: int
    """Rounded up."""
    export_load: int


def solve(
    nodes: Sequence[Node], connectors: Sequence[Connector], *, threads: int = 1
) -> list[Share]:
    """Share out what the nodes can carry; one share for each connector, in their order.

    Args:
        threads: for problems with several roots. The result does not depend on it.

    Raises:
        InvalidInput: the problem contradicts itself; see `arrays.arrays_of`.
    """
    arrays = arrays_of(nodes, connectors)
    return shares_of(arrays, arrays.allocate(threads=threads))


def shares_of(arrays: Arrays, allocation: _core.Allocation) -> list[Share]:
    """What the core's answer says of each connector, in their order."""
    sentences: dict[tuple[int, ...], str] = {}
    shares = []
    for connector, min_ma, current_ma, admitted, level, reason_value, row in zip(
        arrays.connectors,
        arrays.min_ma,
        allocation.current_ma.tolist(),
        allocation.admitted.tolist(),
        allocation.level.tolist(),
        allocation.reason.tolist(),
        allocation.binding_row.tolist(),
        strict=True,
    ):
        reason = _REASONS[reason_value]
        binding = arrays.rows[row] if row >= 0 else None
        if reason is Reason.MAXIMUM or binding is None:
            words = _at_maximum(connector, current_ma)
        else:
            # Ten thousand connectors under a few rows have a few sentences between them.
            least_ma = _least_ma(connector, min_ma)
            key = (reason_value, row, least_ma, connector.discharge)
            words = sentences.get(key) or sentences.setdefault(
                key, _held_by(reason, binding, least_ma=least_ma, discharge=connector.discharge)
            )
        shares.append(
            Share(
                id=connector.id,
                current_ma=current_ma,
                admitted=admitted,
                level=level,
                reason=reason,
                binding=binding,
                words=words,
            )
        )
    return shares


def loads_of(arrays: Arrays, allocation: _core.Allocation) -> list[RowLoad]:
    """How full each row is that has a limit, in the order of the rows."""
    loads = _joined(allocation.row_load_ma, allocation.combined_load)
    exports = _joined(allocation.export_load_ma, allocation.combined_export_load)
    return [
        RowLoad(
            row=row,
            load=row.measured(loads[index]),
            export_load=row.measured(exports[index]) if exports else 0,
        )
        for index, row in enumerate(arrays.rows)
        if row.limit is not None or row.export_limit is not None
    ]


def _joined(lines: NDArray[np.int64] | None, combined: NDArray[np.int64] | None) -> list[int]:
    """By the number of the row."""
    return [
        load for part in (lines, combined) if part is not None for load in part.ravel().tolist()
    ]


def _least_ma(connector: Connector, min_ma: int) -> int:
    """What it runs at at the least."""
    if not connector.setpoints_ma or min_ma == 0:
        return min_ma
    return min(value for value in connector.setpoints_ma if value >= min_ma)


def _at_maximum(connector: Connector, current_ma: int) -> str:
    if current_ma != 0:
        return "at its maximum"
    if connector.max_ma == 0:
        return "wants nothing"
    return "none of its setpoints lies between its minimum and its maximum"


def _held_by(reason: Reason, row: Row, *, least_ma: int, discharge: bool) -> str:
    where = f"{row.words} (export)" if discharge else row.words
    least = f"its minimum of {a_from_ma(least_ma):g} A"
    match reason:
        case Reason.ADMISSION:
            preposition = "at" if row.kind in {RowKind.PHASE, RowKind.VECTOR} else "within"
            return f"not admitted: no room for {least} {preposition} {where}"
        case Reason.MINIMUM if least_ma > 0:
            return f"held at {least}: its share is smaller, limited by {where}"
        case Reason.LEFTOVER:
            return f"limited by {where}; more than its share, from what was left over"
        case _:
            return f"limited by {where}"
