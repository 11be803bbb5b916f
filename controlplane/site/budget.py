"""What every row of a site may carry at one moment, and what counts on it already."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from controlplane.site.ledger import Entry
from controlplane.site.tree import SiteTree

__all__ = ["POWER_MAX_MA", "Budget", "budget"]

POWER_MAX_MA = 10**12
"""The capacity of the row of the total power where nothing limits it."""


@dataclass(frozen=True, slots=True)
class Budget:
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
    own_fallback_ma: list[int]
    """Per connector, as `Entry.fallback_ma`."""
    own_reserve_ma: list[int]
    """Per connector, as `Entry.reserve_ma`."""
    surplus_ma: int | None = None
    """What may be charged without urgency, summed over conductors; None: no such limit."""


def budget(
    tree: SiteTree,
    entries: Sequence[Entry],
    *,
    building_ma: list[int],
    supply_limit_ma: int | None,
    capped: bool,
    circuit_limits_ma: Mapping[int, int] = {},
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
        contract_ma: what chargers may draw by the site's contract, summed over conductors.
        surplus_ma: see `Budget`.
    """
    own_fallback = [entry.fallback_ma for entry in entries]
    own_liability = [entry.liability_ma for entry in entries]
    own_reserve = [entry.reserve_ma for entry in entries]
    fallback = tree.row_sums(own_fallback)
    supply = tree.supply_rows
    capacity, tight = [], []
    for row, rating_ma in enumerate(tree.rating_ma):
        room = rating_ma - building_ma[row]
        within_margin = room - tree.margin_ma[row]
        if row in supply and supply_limit_ma is not None:
            room = min(room, supply_limit_ma - building_ma[row])
        if row // 3 in circuit_limits_ma:
            room = min(room, circuit_limits_ma[row // 3] - building_ma[row])
        if row in supply and not capped:
            room = min(room, fallback[row])
        tight.append(fallback[row] > room)
        capacity.append(max(min(within_margin, room), min(fallback[row], room)))
    liability = tree.row_sums(own_liability)
    reserve = tree.row_sums(own_reserve)
    if tree.power_row is not None:
        capacity.append(POWER_MAX_MA if contract_ma is None else contract_ma)
        tight.append(False)
        draws = [
            0 if entry.idle else liability_ma
            for entry, liability_ma in zip(entries, own_liability, strict=True)
        ]
        liability[tree.power_row] = reserve[tree.power_row] = tree.power_sum(draws)
    return Budget(
        building_ma=building_ma,
        capacity_ma=capacity,
        liability_ma=liability,
        reserve_ma=reserve,
        fallback_ma=fallback,
        tight=tight,
        own_fallback_ma=own_fallback,
        own_reserve_ma=own_reserve,
        surplus_ma=surplus_ma,
    )
