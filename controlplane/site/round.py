"""One allocation round: what every connector should draw, solved exactly by the Rust core.

Row capacity for charging = rating (and cap and limits, where there are any) - building load -
margin - what cannot be steered. Two rules make it safe against what nobody announces:

* A session may end at any moment and leave its connector at the default profile. So no row is
  planned so full that all its fallbacks would not fit, and nobody is sent below its fallback where
  that would free no room. A row that cannot even hold the fallbacks (the building took their room,
  a charger's default profile is unknown) is *tight*: below it nobody gets more than its fallback.
* Fallbacks that fit into the rating may use the margin; nothing else may.

Invariant: targets are a wish. Only `release.py` turns one into a limit, against the ledger."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import msgspec

from controlplane.site.budget import Budget
from controlplane.site.demand import Demand, Pace
from controlplane.site.guarantees import Shortfall, grant, with_guarantees
from controlplane.site.ledger import Entry
from controlplane.site.share import Share, give_way, narrow_all, share_of
from controlplane.site.solve import Answers, Result, all_fit, solve
from controlplane.site.sunlit import Sunshine, sunlit
from controlplane.site.tree import SiteTree
from controlplane.site.why import Cause, Why

__all__ = ["Plan", "plan", "stands_under"]

_NOTHING: Mapping[int, int] = {}
_FEEDS, _WAITS = Why(Cause.FEEDS), Why(Cause.GRID)


class Plan(msgspec.Struct, frozen=True):
    """What a round wants. `target_ma` is None for a connector without a session that can be planned
    with, and below 0 where a vehicle is to feed in; `order` lists the positions of those with one,
    who goes first leading."""

    target_ma: list[int | None]
    why: list[Why]
    order: list[int]
    wanted_ma: list[int]
    """What each connector would be given if all lines had room for all."""
    checked: bool
    """Whether the core's own check found every row within its capacity."""
    shortfalls: tuple[Shortfall, ...] = ()
    power_ma: int | None = None
    """What chargers may draw by the contract or, where that is more, by what is guaranteed to them,
    summed over conductors; None where the site has no such row."""
    shares: Sequence[Share] = ()
    """What went into the solver, in the order of the tree."""
    least_ma: list[int] = []
    """What each connector takes off its rows if it is given nothing."""
    contended: bool = False
    """Whether somebody could not have all that it would take."""
    asked: tuple[object, ...] = ()
    """What the plan follows from besides the rows, and may change by the passing of time; nothing
    of one that is narrowed, which nobody asks whether it stands."""


def plan(
    tree: SiteTree,
    entries: Sequence[Entry],
    demands: Sequence[Demand | None],
    rows: Budget,
    *,
    stale: bool,
    now_ms: int,
    pace: Pace,
    answers: Answers,
    exempt: Sequence[bool] = (),
    feed_ma: Mapping[int, int] = _NOTHING,
    waits: Collection[int] = (),
    narrowed: bool = False,
    last: Plan | None = None,
) -> Plan:
    """Solve one round.

    Args:
        answers: what was worked out lately for this tree.
        exempt: who need not wait for the sun.
        feed_ma: what some feed in, by position; they draw nothing.
        waits: who is to draw nothing for the moment, because the grid asks the site for less.
        narrowed: offer nobody more than it has shown to take, though there be room.
        last: the plan of the round before, where rows and accounts are what they were and only time
            has passed, or a station said something of its session; given back where it stands.
    """
    shares = [
        share_of(position, leaf, entry, demand, rows, stale=stale)
        if last is None or demand is not None
        else last.shares[position]
        for position, leaf, entry, demand in zip(
            range(len(entries)), tree.leaves, entries, demands, strict=True
        )
    ]
    for position in waits:
        if shares[position].planned and position not in feed_ma:
            give_way(shares[position], _WAITS)
    for position in feed_ma:
        give_way(shares[position], _FEEDS)
    order = _order(shares, demands, now_ms=now_ms, pace=pace)
    asked = () if narrowed else _asked(shares, demands, order)
    if last is not None and asked == last.asked and _repeats(last, rows):
        return last
    shortfalls = grant(tree, shares, demands, rows, order)
    order.sort(key=lambda position: not shares[position].first)
    rows = with_guarantees(tree, shares, rows)
    if narrowed:
        narrow_all(shares, demands)
    result = solve(tree, shares, rows, order, answers)
    contended = result.contended
    if contended and narrow_all(shares, demands):
        result = solve(tree, shares, rows, order, answers)
    if rows.surplus_ma is not None:
        sunshine = [
            Sunshine.of(share, entry, demand, current_ma, free=free, now_ms=now_ms, pace=pace)
            for share, entry, demand, current_ma, free in zip(
                shares, entries, demands, result.current_ma, exempt, strict=True
            )
        ]
        sunlit(tree, shares, sunshine, result, order, surplus_ma=rows.surplus_ma)
    targets: list[int | None] = []
    why: list[Why] = []
    wanted: list[int] = []
    for position, share in enumerate(shares):
        if share.planned:
            targets.append(-feed_ma.get(position, 0) or result.current_ma[position])
            why.append(_why(share, result, position))
            full_ma = 0 if share.last else share.full_ma
            wanted.append(max(full_ma, rows.own_fallback_ma[position]))
        else:
            targets.append(_least(share, entries[position]))
            why.append(share.why)
            wanted.append(share.fixed_ma)
    return Plan(
        target_ma=targets,
        why=why,
        order=order,
        wanted_ma=_within_contract(tree, wanted, rows),
        checked=result.checked,
        shortfalls=shortfalls,
        power_ma=None if tree.power_row is None else rows.capacity_ma[tree.power_row],
        shares=shares,
        least_ma=[share.least_ma for share in shares],
        contended=contended,
        asked=asked,
    )


def stands_under(plan: Plan, tree: SiteTree, before: Budget, rows: Budget) -> bool:
    """Whether the plan within the rows `before` is the plan within `rows` as well, where only their
    capacities differ: everybody has all that it would take, and that fits."""
    if plan.contended or any(before.tight) or any(rows.tight):
        return False
    most = all(plan.target_ma[each] == plan.shares[each].max_ma for each in plan.order)
    return most and plan.checked and all_fit(tree, plan.shares, rows, plan.order)


def _repeats(last: Plan, rows: Budget) -> bool:
    """Whether the same question has the same answer: neither the sun nor a guarantee has a say."""
    return rows.surplus_ma is None and not (
        last.shortfalls or any(each.first for each in last.shares)
    )


def _asked(
    shares: Sequence[Share], demands: Sequence[Demand | None], order: Sequence[int]
) -> tuple[object, ...]:
    """What a plan follows from besides the rows. Who has no session changes only by what is
    heard."""
    return (
        list(order),
        [
            (
                msgspec.structs.astuple(share),
                demand.behaviour.cap_ma,
                demand.behaviour.nudge,
                demand.terms.guaranteed_ma,
            )
            for share, demand in zip(shares, demands, strict=True)
            if demand is not None
        ],
    )


def _order(
    shares: Sequence[Share],
    demands: Sequence[Demand | None],
    *,
    now_ms: int,
    pace: Pace,
) -> list[int]:
    keys = [
        (share.tier, demand.order(share.leaf, now_ms, pace), position)
        for position, (share, demand) in enumerate(zip(shares, demands, strict=True))
        if share.planned and demand is not None
    ]
    return [position for _, _, position in sorted(keys)]


def _within_contract(tree: SiteTree, wanted_ma: list[int], rows: Budget) -> list[int]:
    """What is wanted, made smaller alike where the contract would not allow it: a feeder that gave
    the site more would give it in vain."""
    if tree.power_row is None:
        return wanted_ma
    wanted, may_ma = tree.power_sum(wanted_ma), rows.capacity_ma[tree.power_row]
    if wanted <= may_ma:
        return wanted_ma
    return [each * may_ma // wanted for each in wanted_ma]


def _least(share: Share, entry: Entry) -> int | None:
    """What a charger that refuses or does not answer is asked for, until it obeys: the least that
    keeps its vehicle charging."""
    if entry.session_id is None or not (entry.online and entry.settled and entry.stuck):
        return None
    least_ma = min(max(share.leaf.min_ma, share.fallback_ma), share.leaf.max_ma)
    if share.ceiling_ma is not None:
        least_ma = min(least_ma, share.ceiling_ma)
    return min(least_ma, entry.liability_ma)


def _why(share: Share, result: Result, position: int) -> Why:
    if share.last or result.current_ma[position] >= share.max_ma:
        return share.why
    row = result.binding_row[position]
    return Why(Cause.ROW if result.current_ma[position] > 0 else Cause.PAUSED, row)
