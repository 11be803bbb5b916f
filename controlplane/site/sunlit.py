"""Charging from the sun: those who can wait get what solar surplus is left."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from controlplane import _core
from controlplane.site.budget import POWER_MAX_MA
from controlplane.site.demand import Demand, Pace
from controlplane.site.ledger import Entry
from controlplane.site.share import Share
from controlplane.site.solve import Result
from controlplane.site.tree import SiteTree
from controlplane.site.why import Cause, Why

__all__ = ["Sunshine", "sunlit"]


@dataclass(frozen=True, slots=True)
class Sunshine:
    """How one connector stands to the solar surplus."""

    most_ma: int = 0
    """What a session that waits for the sun may get; 0 for all others."""
    least_ma: int = 0
    """The least at which it charges."""
    held_ma: int = 0
    """What it keeps, sun or not: a guarantee, and for a dwell the minimum of who has begun."""
    taken_ma: int = 0
    """What a session that does not wait takes off the surplus."""

    @classmethod
    def of(
        cls,
        share: Share,
        entry: Entry,
        demand: Demand | None,
        current_ma: int,
        *,
        free: bool,
        now_ms: int,
        pace: Pace,
    ) -> Sunshine:
        if share.idle:
            return cls()
        if free or demand is None or not share.planned:
            may_ma = current_ma if share.planned else share.fixed_ma
            measured_ma = None if entry.settling else entry.measured_ma
            return cls(taken_ma=may_ma if measured_ma is None else min(may_ma, measured_ma))
        least_ma = share.min_ma if share.first else share.leaf.min_ma
        if current_ma < least_ma:
            return cls()
        begun = demand.turn.on and now_ms - demand.turn.since_ms < pace.dwell_ms
        stays = share.first or (begun and not share.last)
        return cls(most_ma=current_ma, least_ma=least_ma, held_ma=least_ma if stays else 0)


def sunlit(
    tree: SiteTree,
    shares: Sequence[Share],
    sunshine: Sequence[Sunshine],
    result: Result,
    order: Sequence[int],
    *,
    surplus_ma: int,
) -> None:
    """Lower those who wait for the sun to what the others leave of it.

    Nobody gets more than `result` gives, so every row bears the outcome.
    """
    count = len(shares)
    left_ma = surplus_ma - tree.power_sum([each.taken_ma for each in sunshine])
    held_ma = tree.power_sum([each.held_ma for each in sunshine])
    rank = np.full(count, count, dtype=np.int64)
    rank[list(order)] = np.arange(len(order))
    most = [each.most_ma for each in sunshine]
    may_ma = min(max(0, left_ma, held_ma), POWER_MAX_MA)
    now = [0 if share.last else each for share, each in zip(shares, most, strict=True)]
    least = [min(each.least_ma, may) for each, may in zip(sunshine, now, strict=True)]
    solved = _core.allocate(
        tree.network,
        _core.Capacity(
            import_ma=np.full((tree.lines // 3, 3), POWER_MAX_MA, dtype=np.int64),
            combined=np.array([may_ma], dtype=np.int64),
        ),
        _core.Demand(
            min_ma=np.array(least, dtype=np.int64),
            max_ma=np.array(now, dtype=np.int64),
            step_ma=tree.step_ma,
            weight=np.array([share.weight for share in shares], dtype=np.int64),
            tier=np.array([share.tier for share in shares], dtype=np.uint8),
            rank=rank,
        ),
    )
    given = solved.current_ma.tolist()
    for position in order:
        if shares[position].last and most[position]:
            given[position] = most[position]
            if tree.power_sum(given) > may_ma:
                given[position] = 0
    for position, current_ma in enumerate(given):
        if current_ma < most[position]:
            share = shares[position]
            result.current_ma[position] = share.max_ma = share.full_ma = current_ma
            share.why = Why(Cause.SURPLUS)
