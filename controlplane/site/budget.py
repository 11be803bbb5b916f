"""What every row of a site may carry at one moment, and what counts on it already."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from operator import gt, sub

import msgspec

from controlplane.site.ledger import Entry
from controlplane.site.tree import Leaf, SiteTree

__all__ = ["POWER_MAX_MA", "Budget", "Room", "budget", "moved", "uncapped"]

POWER_MAX_MA = 10**12
"""The capacity of the row of the total power where nothing limits it."""


class Budget(msgspec.Struct, frozen=True):
    """The rows at one moment; every list has an entry per row, in mA, but for those of connectors.

    On the row of the total power, which bounds a mean and no conductor, an idle connector counts
    nothing: who plugs in is heard of long before a window is over."""

    building_ma: list[int]
    capacity_ma: list[int]
    """What may be given to chargers."""
    liability_ma: list[int]
    reserve_ma: list[int]
    fallback_ma: list[int]
    tight: list[bool]
    """Lines that cannot even hold the fallbacks: there nobody is given more than its own, and what
    one does not take of it, others may."""
    own_fallback_ma: list[int]
    """Per connector, as `Entry.fallback_ma`."""
    own_liability_ma: list[int]
    """Per connector, as `Entry.liability_ma`."""
    own_reserve_ma: list[int]
    """Per connector, as `Entry.reserve_ma`."""
    own_idle: list[bool]
    """Per connector, as `Entry.idle`."""
    surplus_ma: int | None = None
    """What may be charged without urgency, summed over conductors; None: no such limit."""
    feed_ma: list[int] | None = None
    """What may be fed in on every line; None where nobody may."""
    export_ma: list[int] | None = None
    """What every line may carry of that, where operators limit it; None: as described."""

    def over(self, lines: int) -> list[bool]:
        """For each of the first `lines` rows, whether more may be drawn than it can give."""
        pairs = zip(self.liability_ma[:lines], self.capacity_ma[:lines], strict=True)
        return [used > may for used, may in pairs]

    @staticmethod
    def kept_ma(fallback_ma: int, drawn_ma: int) -> int:
        """What lines that are not tight keep for a connector besides what it draws: its session may
        end at any moment."""
        return fallback_ma - drawn_ma if fallback_ma > drawn_ma else 0

    def room(self, tree: SiteTree, drawn_ma: Sequence[int], kept_ma: Sequence[int]) -> Room:
        """What is left where each connector draws `drawn_ma` and `kept_ma` is kept for it. Plan and
        release both ask here, so that what one gives the other can send."""
        used = tree.row_sums(drawn_ma)
        if any(kept_ma):
            used = [
                drawn if tight else drawn + kept
                for drawn, kept, tight in zip(used, tree.row_sums(kept_ma), self.tight, strict=True)
            ]
        if tree.power_row is not None:
            draws = [0 if idle else ma for idle, ma in zip(self.own_idle, drawn_ma, strict=True)]
            used[tree.power_row] = tree.power_sum(draws)
        return Room(list(map(sub, self.capacity_ma, used)), self.tight)


@dataclass(slots=True)
class Room:
    """What every row has left, while one connector after the other is given something out of it
    and out of what lines that are not tight keep for it."""

    left_ma: list[int]
    tight: list[bool]

    def more_ma(self, row: int, given_ma: int, kept_ma: int) -> int:
        """What a line has to add to what it keeps for one that is given `given_ma`."""
        return given_ma if self.tight[row] else max(0, given_ma - kept_ma)

    def short_row(self, leaf: Leaf, given_ma: int, kept_ma: int) -> int | None:
        """The first line that has too little left for it."""
        for row in leaf.rows:
            if self.left_ma[row] < self.more_ma(row, given_ma, kept_ma):
                return row
        return None

    def most_ma(self, leaf: Leaf, kept_ma: int) -> tuple[int, int]:
        """The most that all its lines can bear, and the line that bears no more."""
        return min(
            (self.left_ma[row] + (0 if self.tight[row] else kept_ma), row) for row in leaf.rows
        )

    def take(self, leaf: Leaf, given_ma: int, kept_ma: int) -> None:
        for row in leaf.rows:
            self.left_ma[row] -= self.more_ma(row, given_ma, kept_ma)


def budget(
    tree: SiteTree,
    entries: Sequence[Entry],
    *,
    building_ma: list[int],
    supply_limit_ma: int | None,
    capped: bool,
    circuit_limits_ma: Mapping[int, int] = {},
    grid_limit_ma: int | None = None,
    proven_feed_ma: Sequence[int] | None = None,
    contract_ma: int | None = None,
    surplus_ma: int | None = None,
) -> Budget:
    """Add up the rows.

    Args:
        building_ma: the building's load, per row.
        supply_limit_ma: the lower of cap and limit on the whole site, building included.
        capped: False while the site's feeder has not yet said what the site may draw: then its
            fallbacks are all it gets.
        circuit_limits_ma: operators' limits by node, building included.
        grid_limit_ma: what the grid asked the whole site to stay below, building included.
        proven_feed_ma: what is surely fed in, per row: it counts against the grid's wish, and
            against no rating.
        contract_ma: what chargers may draw by the site's contract, summed over conductors.
        surplus_ma: see `Budget`.
    """
    own_fallback = [entry.fallback_ma for entry in entries]
    own_liability = [entry.liability_ma for entry in entries]
    own_reserve = list(map(max, own_liability, own_fallback))
    fallback = tree.row_sums(own_fallback)
    liability = tree.row_sums(own_liability)
    reserve = liability if own_reserve == own_liability else tree.row_sums(own_reserve)
    capacity, tight = _capacity(
        tree,
        building_ma,
        fallback,
        supply_limit_ma=supply_limit_ma,
        capped=capped,
        circuit_limits_ma=circuit_limits_ma,
    )
    if grid_limit_ma is not None:
        for row in tree.supply_rows:
            fed_ma = 0 if proven_feed_ma is None else proven_feed_ma[row]
            room_ma = grid_limit_ma - building_ma[row] + fed_ma
            capacity[row] = min(capacity[row], room_ma)
            tight[row] = tight[row] or fallback[row] > room_ma
    own_idle = [entry.idle for entry in entries]
    if tree.power_row is not None:
        capacity.append(POWER_MAX_MA if contract_ma is None else contract_ma)
        tight.append(False)
        draws = [
            0 if idle else liability_ma
            for idle, liability_ma in zip(own_idle, own_liability, strict=True)
        ]
        liability[tree.power_row] = reserve[tree.power_row] = tree.power_sum(draws)
    feeds = [entry.feed_ma for entry in entries]
    return Budget(
        building_ma=building_ma,
        capacity_ma=capacity,
        liability_ma=liability,
        reserve_ma=reserve,
        fallback_ma=fallback,
        tight=tight,
        own_fallback_ma=own_fallback,
        own_liability_ma=own_liability,
        own_reserve_ma=own_reserve,
        own_idle=own_idle,
        surplus_ma=surplus_ma,
        feed_ma=tree.row_sums(feeds) if any(feeds) else None,
        export_ma=_limited_export(tree, circuit_limits_ma) if circuit_limits_ma else None,
    )


def _limited_export(tree: SiteTree, circuit_limits_ma: Mapping[int, int]) -> list[int]:
    """An operator's limit holds in both directions."""
    export = list(tree.export_ma)
    for node, limit_ma in circuit_limits_ma.items():
        for row in range(node * 3, node * 3 + 3):
            export[row] = min(export[row], limit_ma)
    return export


def uncapped(
    tree: SiteTree,
    rows: Budget,
    *,
    limit_ma: int | None,
    circuit_limits_ma: Mapping[int, int] = {},
) -> Budget:
    """The same rows as if the site's feeder had no say; the rest as in `budget`.

    Args:
        limit_ma: the limit on the whole site, building included.
    """
    capacity, tight = _capacity(
        tree,
        rows.building_ma,
        rows.fallback_ma,
        supply_limit_ma=limit_ma,
        capped=True,
        circuit_limits_ma=circuit_limits_ma,
    )
    # The row of the total power, where there is one.
    capacity += rows.capacity_ma[tree.lines :]
    tight += rows.tight[tree.lines :]
    return msgspec.structs.replace(rows, capacity_ma=capacity, tight=tight)


def moved(
    tree: SiteTree,
    rows: Budget,
    building_ma: list[int],
    *,
    supply_limit_ma: int | None,
    capped: bool,
    circuit_limits_ma: Mapping[int, int] = {},
) -> Budget:
    """The same rows under another load of the building or another limit; the rest as in `budget`.
    For a site without a row of its total power, where all that counts besides is what it was."""
    capacity, tight = _capacity(
        tree,
        building_ma,
        rows.fallback_ma,
        supply_limit_ma=supply_limit_ma,
        capped=capped,
        circuit_limits_ma=circuit_limits_ma,
    )
    return msgspec.structs.replace(rows, building_ma=building_ma, capacity_ma=capacity, tight=tight)


def _capacity(
    tree: SiteTree,
    building_ma: Sequence[int],
    fallback_ma: Sequence[int],
    *,
    supply_limit_ma: int | None,
    capped: bool,
    circuit_limits_ma: Mapping[int, int],
) -> tuple[list[int], list[bool]]:
    """What may be given to chargers on every line, and which lines cannot even hold the
    fallbacks."""
    lines = tree.lines
    building_ma, fallback_ma = building_ma[:lines], fallback_ma[:lines]
    room_ma = list(map(sub, tree.rating_ma, building_ma))
    may_ma = list(map(sub, room_ma, tree.margin_ma))
    if supply_limit_ma is not None:
        for row in tree.supply_rows:
            room_ma[row] = min(room_ma[row], supply_limit_ma - building_ma[row])
    for node, limit_ma in circuit_limits_ma.items():
        for row in range(node * 3, node * 3 + 3):
            room_ma[row] = min(room_ma[row], limit_ma - building_ma[row])
    if not capped:
        for row in tree.supply_rows:
            room_ma[row] = min(room_ma[row], fallback_ma[row])
    # Fallbacks may use the margin, nothing else may.
    capacity = list(map(min, room_ma, map(max, may_ma, fallback_ma)))
    tight = list(map(gt, fallback_ma, room_ma))
    return capacity, tight
