"""The independent check of the ledger: is any row over its rating, and is that our doing?

Works from the description and the ledger alone, by its own arithmetic, so that a fault in the
tree, the round or the release cannot hide itself. Invariant: a row that is over its rating without
a cause outside Loadstar counts as a violation, in every round until it is within again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from operator import gt

import numpy as np

from controlplane.network import SiteConfig
from controlplane.site.ledger import Entry

__all__ = ["LedgerCheck", "Overload"]


@dataclass(frozen=True, slots=True)
class Overload:
    """A row whose building load and liability together are over its rating; `load_ma` is below 0
    where it is what may be fed in that is too much."""

    circuit_id: str
    phase: str
    load_ma: int
    rating_ma: int
    ours: bool
    cause: str


class LedgerCheck:
    """Checks one site, round after round."""

    def __init__(self, config: SiteConfig) -> None:
        connectors = list(config.connectors())
        above = {circuit.id: circuit.parent for circuit in config.circuits}
        self._rows = [
            (circuit.id, f"L{column + 1}", circuit.rating_ma)
            for circuit in config.circuits
            for column in range(3)
        ]
        position = {circuit.id: 3 * node for node, circuit in enumerate(config.circuits)}
        self._carries = np.zeros((len(self._rows), len(connectors)), dtype=np.int64)
        for leaf, (_, charger, connector) in enumerate(connectors):
            circuit: str | None = charger.circuit
            while circuit is not None:
                for phase in connector.phases:
                    self._carries[position[circuit] + int(phase.value[1]) - 1, leaf] = 1
                circuit = above[circuit]
        self._below = [np.flatnonzero(row).tolist() for row in self._carries]
        """The connectors that every row carries."""
        self._rating_ma = np.array([rating for _, _, rating in self._rows], dtype=np.int64)
        self._reserves: list[int] = []
        """Per connector, in the round before."""
        self._within: tuple[list[int], list[int]] | None = None
        """Liabilities and building load under which every row was within its rating lately, and so
        is under any that are nowhere above them."""
        self._ours: frozenset[int] = frozenset()
        self._export_ma = np.array(
            [circuit.export_ma for circuit in config.circuits for _ in range(3)], dtype=np.int64
        )

    def overloads(self, entries: Sequence[Entry], building_ma: Sequence[int]) -> list[Overload]:
        """Every line that is over; call it once per round, it compares with the round before.

        `building_ma` has an entry per row; the total power, which no conductor bounds, is left out.
        """
        return self._import_overloads(entries, building_ma) + self._export_overloads(entries)

    def _export_overloads(self, entries: Sequence[Entry]) -> list[Overload]:
        """Every line through which more may be fed in than it carries. Room is made before it is
        given: where no meter shows more than was told, that is our doing."""
        feeds = [entry.feed_ma for entry in entries]
        if not any(feeds):
            return []
        feed_ma = self._sums(feeds)
        found: list[Overload] = []
        for row in (feed_ma > self._export_ma).nonzero()[0].tolist():
            circuit_id, phase, _ = self._rows[row]
            excess = any(entries[leaf].feed_excess_ma for leaf in self._below[row])
            cause = "vehicles feed in more than they were told" if excess else ""
            found.append(
                Overload(
                    circuit_id=circuit_id,
                    phase=phase,
                    load_ma=-int(feed_ma[row]),
                    rating_ma=int(self._export_ma[row]),
                    ours=not excess,
                    cause=cause or "more was told to feed in than the row can carry",
                )
            )
        return found

    def _import_overloads(
        self, entries: Sequence[Entry], building_ma: Sequence[int]
    ) -> list[Overload]:
        building_ma = building_ma[: len(self._rows)]
        liabilities = [entry.liability_ma for entry in entries]
        fallbacks = [entry.fallback_ma for entry in entries]
        reserves = list(map(max, liabilities, fallbacks))
        before, self._reserves = self._reserves or reserves, reserves
        if self._within is not None and not (
            any(map(gt, liabilities, self._within[0])) or any(map(gt, building_ma, self._within[1]))
        ):
            return []
        loads = (liabilities, list(building_ma))
        liability_ma = self._sums(liabilities)
        over = (liability_ma + building_ma > self._rating_ma).nonzero()[0].tolist()
        self._within = None if over else loads
        if not over:
            self._ours = frozenset()
            return []
        reserved_ma, before_ma = self._sums(reserves), self._sums(before)
        found: list[Overload] = []
        ours: set[int] = set()
        for row in over:
            risen = bool(reserved_ma[row] > before_ma[row]) or row in self._ours
            cause = self._outside_cause(row, entries, building_ma[row])
            if cause is None and not risen:
                cause = "the building load rose or the rating fell; reductions are under way"
            if cause is None:
                ours.add(row)
            circuit_id, phase, rating_ma = self._rows[row]
            found.append(
                Overload(
                    circuit_id=circuit_id,
                    phase=phase,
                    load_ma=int(liability_ma[row]) + building_ma[row],
                    rating_ma=rating_ma,
                    ours=cause is None,
                    cause=cause or "more was released than the row can carry",
                )
            )
        self._ours = frozenset(ours)
        return found

    def _sums(self, leaf_ma: list[int]) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
        sums: np.ndarray[tuple[int], np.dtype[np.int64]] = self._carries @ np.array(
            leaf_ma, dtype=np.int64
        )
        return sums

    def _outside_cause(self, row: int, entries: Sequence[Entry], building_ma: int) -> str | None:
        below = [entries[leaf] for leaf in self._below[row]]
        if any(entry.default_ma is None for entry in below):
            return "chargers whose default profile is unknown count at their rating"
        if any(entry.excess_ma for entry in below):
            return "vehicles draw more than their limit"
        rating_ma = self._rows[row][2]
        if building_ma > rating_ma:
            return "the building load alone is over the rating"
        if building_ma + sum(entry.fallback_ma for entry in below) > rating_ma:
            return "the building load leaves less than the chargers' default profiles"
        return None
