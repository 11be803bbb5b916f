"""What the circuits of a site leave for vehicles in the time of a question.

The same as in `site/horizon.py`, of the past: ratings less margin less the building, the contract,
and what is kept for connectors at which nobody stands. Invariant: what is kept for them in the
bound is never more than in the replay."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from controlplane.planning.problem import Node
from controlplane.rows_ahead import Slots, caps_of
from controlplane.site.tree import SiteTree
from controlplane.what_if.stays import Stay

__all__ = ["Rows"]

Integers = NDArray[np.int64]


class Rows:
    """The rows of one case.

    Args:
        building_w: by slot; lies on all lines alike, as nobody knows better.
        base_w: the same less the sun.
    """

    def __init__(self, tree: SiteTree, *, building_w: Sequence[int], base_w: Sequence[int]) -> None:
        self.tree, self.base_w = tree, base_w
        config, slots = tree.config, len(building_w)
        bears_ma = np.array(tree.rating_ma, np.int64) - np.array(tree.margin_ma, np.int64)
        self._room_ma = np.repeat(bears_ma[:, None], slots, axis=1)
        line_ma = -(-np.array(building_w, np.int64) * 1_000 // (3 * config.voltage_v))
        for node in tree.building_nodes:
            self._room_ma[3 * node : 3 * node + 3] -= line_ma
        self._contract_w: Integers | None = None
        if config.contract is not None:
            aim_w = int(config.contract.power_w * (100 - config.margin_percent) // 100)
            self._contract_w = np.maximum(aim_w - np.array(base_w, np.int64), 0)

    def at(self, slot: int, kept_ma: Sequence[int]) -> tuple[Integers, int | None]:
        """What every line has for vehicles, shape (circuits, 3), and all of them together, in W."""
        room_ma = np.maximum(self._room_ma[:, slot] - np.array(kept_ma[: self.tree.lines]), 0)
        contract_w = None if self._contract_w is None else int(self._contract_w[slot])
        return room_ma.reshape(-1, 3), contract_w

    def nodes(
        self, slots: Slots, first: int, kept_ma: Integers, *, left: float = 1.0
    ) -> tuple[Node, ...]:
        """The circuits for a plan.

        Args:
            first: the slot of the question in which the plan begins.
            kept_ma: by line, or by line and slot.
            left: what is left of the first slot.
        """
        span = slice(first, first + slots.count)
        kept_ma = kept_ma if kept_ma.ndim == 2 else kept_ma[:, None]
        room_ma = np.maximum(self._room_ma[:, span] - kept_ma, 0)
        room_ma[:, 0] = (room_ma[:, 0] * left).astype(np.int64)
        contract_w = None
        if self._contract_w is not None:
            contract_w = self._contract_w[span].copy()
            contract_w[0] = int(contract_w[0] * left)
        return tuple(
            Node(
                id=circuit.id,
                parent=circuit.parent,
                kind="circuit",
                caps=caps_of(
                    room_ma[3 * node : 3 * node + 3],
                    contract_w if node == self.tree.supply else None,
                    slots,
                ),
            )
            for node, circuit in enumerate(self.tree.config.circuits)
        )

    def kept_ma(self, stays: Sequence[Stay], slots: Slots) -> Integers:
        """The least that is kept in each slot, shape (lines, slots): where somebody stands at a
        connector for any part of a slot, nothing is."""
        leaves = self.tree.leaves
        idle = np.ones((len(leaves), slots.count), np.bool_)
        for stay in stays:
            idle[stay.position, slots.of(stay.visit.arrival_ms, stay.visit.departure_ms)] = False
        kept_ma = np.zeros((self.tree.lines, slots.count), np.int64)
        for position, leaf in enumerate(leaves):
            for row in leaf.rows:
                kept_ma[row] += idle[position] * leaf.offline_ma
        return kept_ma
