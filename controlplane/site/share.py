"""One connector as it goes into a round: what it may be given, at least and at most, and why.

Invariant: everything here only narrows what a connector is offered; the rows are the solver's."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec

from controlplane.site.behaviour import NOT_NUDGED, Nudge
from controlplane.site.budget import Budget
from controlplane.site.demand import TIER_HOLDING, Demand
from controlplane.site.ledger import Entry
from controlplane.site.tree import Leaf
from controlplane.site.why import Cause, Why

__all__ = ["Share", "give_way", "is_guarantee", "narrow_all", "share_of", "waits_for_rest"]


_NO_SESSION = Why(Cause.NO_SESSION)
_UNSTEERED = Why(Cause.UNSTEERED)
_OWN_MAXIMUM = Why(Cause.OWN_MAXIMUM)
_VEHICLE_MAXIMUM = Why(Cause.VEHICLE_MAXIMUM)
_HABIT = Why(Cause.HABIT)
_HOLDING = Why(Cause.HOLDING)
_NUDGED = Why(Cause.NUDGED)
_STALE = Why(Cause.STALE)
_PLAN = Why(Cause.PLAN)
_REST: Final = Nudge.REST


class Share(msgspec.Struct):
    """One connector as it goes into the solver."""

    leaf: Leaf
    fallback_ma: int
    fixed_ma: int
    """What it takes off its rows before anything is shared out."""
    min_ma: int = 0
    max_ma: int = 0
    full_ma: int = 0
    tier: int = TIER_HOLDING
    weight: int = 1
    ceiling_ma: int | None = None
    """What rules and operators allow it at most, in whole steps and not below its minimum; None
    where they do not say."""
    first: bool = False
    """Its minimum is guaranteed by a rule, and fits: it is admitted before everybody else."""
    last: bool = False
    """It wants nothing at present: it is given what is left of the others, if at all."""
    rests: bool = False
    """Nor that, for the moment."""
    why: Why = _NO_SESSION
    """The cause where not a row but `max_ma` stops it."""
    planned: bool = False
    idle: bool = False
    tries_ma: int | None = None
    """From here on it is given what is left over where its minimum is not to be had; None: it is
    not."""
    guaranteed: bool = False
    """None of its lines is tight: its fallback is reserved on all of them, so that giving it less
    frees nothing."""

    @property
    def least_ma(self) -> int:
        """What it takes off its rows if it is given nothing."""
        return self.fixed_ma + self.fallback_ma if self.planned else self.fixed_ma

    def kept_ma(self, given_ma: int) -> int:
        """What its lines, but for tight ones, keep for it besides what it is given."""
        return Budget.kept_ma(self.fallback_ma, given_ma) if self.planned else 0

    @property
    def secured_ma(self) -> int:
        """Up to here, what it is given costs nobody anything."""
        return self.fallback_ma if self.planned and self.guaranteed else 0


def narrow_all(shares: Sequence[Share], demands: Sequence[Demand | None]) -> bool:
    """Offer nobody more than it has shown to take; True if that is less for anybody."""
    narrowed = False
    for share, demand in zip(shares, demands, strict=True):
        narrowed |= demand is not None and _narrow(share, demand)
    return narrowed


def share_of(
    position: int, leaf: Leaf, entry: Entry, demand: Demand | None, rows: Budget, *, stale: bool
) -> Share:
    fallback_ma, reserve_ma = rows.own_fallback_ma[position], rows.own_reserve_ma[position]
    if entry.session_id is None and entry.online and entry.default_ma is not None:
        return Share(leaf, fallback_ma, reserve_ma, idle=True)
    share = Share(leaf, fallback_ma, reserve_ma, idle=entry.idle)
    ceiling_ma = None if demand is None else demand.ceiling_ma
    if ceiling_ma is not None:
        whole_ma = ceiling_ma - ceiling_ma % leaf.step_ma
        share.ceiling_ma = whole_ma if whole_ma >= leaf.min_ma else 0
    steerable = entry.online and entry.settled and not entry.stuck
    if demand is None or not steerable or entry.session_id != demand.session.session_id:
        share.why = _UNSTEERED
        return share
    # A vehicle that draws more than it was allowed takes that off its rows, and is still steered.
    share.fixed_ma = max(0, entry.excess_ma - entry.held_ma) if entry.excess_ma else 0
    share.planned = True
    share.tier, share.weight = demand.tier(leaf), demand.weight(leaf)
    share.min_ma = demand.current_min_ma(leaf)
    share.max_ma = share.full_ma = demand.current_max_ma(leaf)
    if share.min_ma > leaf.min_ma:
        share.tries_ma = demand.tries_ma(leaf)
    share.why = _OWN_MAXIMUM if share.max_ma == leaf.max_ma else _VEHICLE_MAXIMUM
    tight, tight_row = rows.tight, None
    for row in leaf.rows:
        if tight[row]:
            tight_row = row
            break
    share.guaranteed = tight_row is None
    if demand.holding:
        share.max_ma = share.full_ma = share.min_ma
        share.why = _HOLDING
        share.last, share.rests = demand.dormant, demand.dormancy.rests
    _hold(share, demand)
    _lean(share, tight_row)
    if demand.target_ma is not None and demand.behaviour.nudge is NOT_NUDGED:
        _limit(share, max(0, demand.target_ma), _PLAN)
        share.full_ma = min(share.full_ma, share.max_ma)
    if stale:
        floor_ma = share.fallback_ma if share.guaranteed else 0
        _limit(share, max(entry.asked_ma or 0, floor_ma), _STALE)
    if demand.behaviour.nudge is _REST:
        _limit(share, 0, _NUDGED)
    return share


def _limit(share: Share, max_ma: int, why: Why) -> None:
    """Offer no more than `max_ma`; less than the minimum is nothing."""
    if max_ma >= share.max_ma:
        return
    share.max_ma, share.why = max_ma, why
    if max_ma < share.min_ma:
        share.min_ma = share.max_ma = 0


def _hold(share: Share, demand: Demand) -> None:
    """Offer no more than rules, operators and others allow."""
    ceiling_ma = share.ceiling_ma
    if ceiling_ma is None:
        return
    share.full_ma = min(share.full_ma, ceiling_ma)
    _limit(share, ceiling_ma, Why(demand.held_by))


def _lean(share: Share, tight_row: int | None) -> None:
    """A tight line gives it no more than its fallback; any other no less, where it may have that
    and charges with it."""
    if tight_row is not None:
        _limit(share, share.fallback_ma, Why(Cause.TIGHT, tight_row))
        return
    least_ma = share.fallback_ma
    if share.ceiling_ma is not None:
        least_ma = min(least_ma, share.ceiling_ma)
    if least_ma >= share.leaf.min_ma:
        share.min_ma = max(share.min_ma, least_ma)
        share.max_ma = share.full_ma = max(share.max_ma, share.min_ma)


def _narrow(share: Share, demand: Demand) -> bool:
    """Offer a vehicle that draws less than its limit what it draws and some headroom."""
    behaviour = demand.behaviour
    if not share.planned or behaviour.cap_ma is None or behaviour.nudge is not NOT_NUDGED:
        return False
    cap_ma = max(behaviour.cap_ma, share.min_ma)
    if cap_ma >= share.max_ma:
        return False
    share.max_ma, share.why = cap_ma, _HABIT
    return True


def give_way(share: Share, why: Why) -> None:
    """Offer it nothing at present."""
    share.full_ma = 0
    _limit(share, 0, why)


def waits_for_rest(share: Share) -> bool:
    """Whether it gets only what the others leave. A fallback that its rows keep anyway costs
    nobody anything."""
    return share.last and share.min_ma > share.secured_ma


def is_guarantee(share: Share) -> bool:
    """Whether its minimum is its fallback, which its lines guarantee, or what a rule guarantees."""
    return share.first or 0 < share.min_ma <= share.secured_ma
