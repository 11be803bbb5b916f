"""Minimums that rules guarantee: how far the rows can bear them, and who stands back for them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import msgspec
import numpy as np
from numpy.typing import NDArray

from controlplane.site.behaviour import Nudge
from controlplane.site.budget import Budget, Room
from controlplane.site.demand import Demand
from controlplane.site.share import Share, is_guarantee
from controlplane.site.tree import SiteTree

__all__ = [
    "Shortfall",
    "grant",
    "last_without_guarantee",
    "made_way",
    "stand_back",
    "with_guarantees",
]


@dataclass(frozen=True, slots=True)
class Shortfall:
    """A guaranteed minimum that cannot be given in full; `row` is the one that is short, -1 where
    what the session may be offered is less for another reason."""

    position: int
    guaranteed_ma: int
    granted_ma: int
    row: int


def grant(
    tree: SiteTree,
    shares: Sequence[Share],
    demands: Sequence[Demand | None],
    rows: Budget,
    order: Sequence[int],
) -> tuple[Shortfall, ...]:
    """Raise minimums to what rules guarantee, as far as the rows can bear it beside everybody's
    fallback; inside a priority, who came first keeps what it has."""
    entitled = [
        (demand.priority(tree.leaves[position]), demand.session.started_ms, position, demand)
        for position in order
        if (demand := demands[position]) is not None
        and demand.terms.guaranteed_ma
        and not demand.holding
        and demand.behaviour.nudge is not Nudge.REST
    ]
    if not entitled:
        return ()
    room = _room_beside_kept(tree, shares, rows)
    shortfalls = []
    for _, _, position, demand in sorted(entitled, key=lambda each: each[:3]):
        share = shares[position]
        leaf = share.leaf
        wish_ma = -(-demand.terms.guaranteed_ma // leaf.step_ma) * leaf.step_ma
        wish_ma = min(max(wish_ma, leaf.min_ma, share.min_ma), leaf.max_ma)
        if share.ceiling_ma is not None:
            wish_ma = min(wish_ma, share.ceiling_ma)
        # Nobody falls short of what its own vehicle does not take.
        takes_ma = demand.current_max_ma(leaf)
        wish_ma = min(wish_ma, max(takes_ma - takes_ma % leaf.step_ma, share.min_ma))
        kept_ma = share.kept_ma(0)
        most_ma, short_row = room.most_ma(leaf, kept_ma)
        room_ma = max(0, most_ma)
        granted_ma = min(wish_ma, share.max_ma, room_ma)
        if granted_ma < wish_ma:
            granted_ma -= granted_ma % leaf.step_ma
            row = short_row if room_ma <= share.max_ma else share.why.row
            if granted_ma < max(share.min_ma, 1):
                granted_ma = 0
            shortfalls.append(Shortfall(position, wish_ma, granted_ma, row))
        if granted_ma > 0:
            share.min_ma, share.first = granted_ma, True
            room.take(leaf, granted_ma, kept_ma)
    return tuple(shortfalls)


def _room_beside_kept(tree: SiteTree, shares: Sequence[Share], rows: Budget) -> Room:
    """What is left on every row when nobody has more than is kept for it."""
    fixed = [share.fixed_ma for share in shares]
    return rows.room(tree, fixed, [share.kept_ma(0) for share in shares])


def stand_back(
    tree: SiteTree, shares: Sequence[Share], rows: Budget, order: Sequence[int]
) -> dict[int, int]:
    """Who has no room for its minimum once guaranteed minimums are served, and the row that is
    short. The core admits by tier, so those are kept from it."""
    if not any(share.first for share in shares):
        return {}
    room = _room_beside_kept(tree, shares, rows)
    left_out: dict[int, int] = {}
    for position in order:
        share = shares[position]
        if share.min_ma <= share.secured_ma:
            continue
        short_row = room.short_row(share.leaf, share.min_ma, share.kept_ma(0))
        if short_row is not None:
            left_out[position] = short_row
            continue
        room.take(share.leaf, share.min_ma, share.kept_ma(0))
    return left_out


def last_without_guarantee(
    shares: Sequence[Share],
    order: Sequence[int],
    admitted: Sequence[bool],
    min_ma: NDArray[np.int64],
) -> int | None:
    for position in reversed(order):
        if admitted[position] and min_ma[position] and not is_guarantee(shares[position]):
            return position
    return None


def with_guarantees(tree: SiteTree, shares: Sequence[Share], rows: Budget) -> Budget:
    """The rows with at least so much power as nobody is forced below: the contract is an economic
    limit, and shedding a guarantee would cost a driver more than it saves."""
    if tree.power_row is None:
        return rows
    kept = [
        0 if share.idle else share.fixed_ma + (share.min_ma if is_guarantee(share) else 0)
        for share in shares
    ]
    floor_ma = tree.power_sum(kept)
    if floor_ma <= rows.capacity_ma[tree.power_row]:
        return rows
    return msgspec.structs.replace(
        rows, capacity_ma=[*rows.capacity_ma[: tree.power_row], floor_ma]
    )


def made_way(
    tree: SiteTree,
    shares: Sequence[Share],
    room: list[int],
    current_ma: list[int],
    *,
    min_ma: NDArray[np.int64],
    order: Sequence[int],
) -> list[int]:
    """Take back the power that guarantees took beyond the `room` for it: first what others are
    given above their minimum, the last one leading, then minimums that nobody guarantees. Gives
    those who lost by it."""
    lost: list[int] = []
    for pausing in (False, True):
        for position in reversed(order):
            if tree.power_row is None or room[tree.power_row] >= 0:
                return lost
            leaf, had_ma = shares[position].leaf, current_ma[position]
            if pausing and not is_guarantee(shares[position]):
                min_ma[position] = left_ma = 0
            else:
                left_ma = had_ma + room[tree.power_row] // len(leaf.phases)
                left_ma = max(left_ma - left_ma % leaf.step_ma, int(min_ma[position]))
            if left_ma < had_ma:
                lost.append(position)
                current_ma[position] = left_ma
                room[tree.power_row] += (had_ma - left_ma) * len(leaf.phases)
    return lost
