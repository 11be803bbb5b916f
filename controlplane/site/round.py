"""One allocation round: what every connector should draw, solved exactly by the Rust core.

Row capacity for charging = rating (and, on the supply, cap and limit) - building load - margin -
what cannot be steered. Two rules make it safe against what nobody announces:

* A session may end at any moment and leave its connector at the default profile. So no row is
  planned so full that all its fallbacks would not fit, and nobody is sent below its fallback where
  that would free no room. A row that cannot even hold the fallbacks (the building took their room,
  a charger's default profile is unknown) is *tight*: below it nobody gets more than its fallback.
* Fallbacks that fit into the rating may use the margin; nothing else may.

Invariant: targets are a wish. Only `release.py` turns one into a limit, against the ledger."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import Enum, auto

import numpy as np

from controlplane import _core
from controlplane.site.demand import TIER_HOLDING, Demand, Pace
from controlplane.site.ledger import Entry
from controlplane.site.tree import Leaf, SiteTree

__all__ = ["Budget", "Cause", "Plan", "Why", "budget", "plan"]

POWER_MAX_MA = 10**12
"""The capacity of the row of the total power where nothing limits it."""


class Cause(Enum):
    """What stops a connector from being given more."""

    NO_SESSION = auto()
    UNSTEERED = auto()
    """The charger is offline, not settled, unknown, or refuses limits."""
    OWN_MAXIMUM = auto()
    HABIT = auto()
    """It draws less; the rest is lent."""
    HOLDING = auto()
    ROW = auto()
    PAUSED = auto()
    TIGHT = auto()
    STALE = auto()
    SURPLUS = auto()
    """The sun does not give more, and the session is not urgent."""


@dataclass(frozen=True, slots=True)
class Why:
    cause: Cause
    row: int = -1


@dataclass(frozen=True, slots=True)
class Budget:
    """The rows at one moment; every list has an entry per row, in mA.

    On the row of the total power, which bounds a mean and no conductor, an idle connector counts
    nothing: who plugs in is heard of long before a window is over."""

    building_ma: list[int]
    capacity_ma: list[int]
    """What may be given to chargers."""
    liability_ma: list[int]
    reserve_ma: list[int]
    tight: list[bool]
    surplus_ma: int | None = None
    """What may be charged without urgency, summed over conductors; None: no such limit."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What a round wants. `target_ma` is None for a connector without a session that can be planned
    with; `order` lists the positions of the others, who goes first leading."""

    target_ma: list[int | None]
    why: list[Why]
    order: list[int]
    wanted_ma: list[int]
    """What each connector would be given if there were room for all."""
    checked: bool
    """Whether the core's own check found every row within its capacity."""


def budget(
    tree: SiteTree,
    entries: Sequence[Entry],
    *,
    building_ma: list[int],
    supply_limit_ma: int | None,
    capped: bool,
    contract_ma: int | None = None,
    surplus_ma: int | None = None,
) -> Budget:
    """Add up the rows.

    Args:
        building_ma: the building's load, per row.
        supply_limit_ma: the lower of cap and limit on the whole site, building included.
        capped: False while the site's feeder has not yet said what the site may draw: then its
            fallbacks are all it gets.
        contract_ma: what the whole site may draw by its contract, summed over conductors.
        surplus_ma: see `Budget`.
    """
    fallback = tree.row_sums([entry.fallback_ma for entry in entries])
    capacity, tight = [], []
    for row, rating_ma in enumerate(tree.rating_ma):
        room = rating_ma - building_ma[row]
        within_margin = room - tree.margin_ma[row]
        if row in tree.supply_rows and supply_limit_ma is not None:
            room = min(room, supply_limit_ma - building_ma[row])
        if row in tree.supply_rows and not capped:
            room = min(room, fallback[row])
        tight.append(fallback[row] > room)
        capacity.append(max(min(within_margin, room), min(fallback[row], room)))
    liability = tree.row_sums([entry.liability_ma for entry in entries])
    reserve = tree.row_sums([entry.reserve_ma for entry in entries])
    if tree.power_row is not None:
        # The building's load is where the description says; the contract counts it anyhow.
        room = POWER_MAX_MA if contract_ma is None else contract_ma - building_ma[tree.power_row]
        capacity.append(max(0, room))
        tight.append(False)
        draws = [0 if entry.idle else entry.liability_ma for entry in entries]
        liability[tree.power_row] = reserve[tree.power_row] = tree.power_sum(draws)
    return Budget(
        building_ma=building_ma,
        capacity_ma=capacity,
        liability_ma=liability,
        reserve_ma=reserve,
        tight=tight,
        surplus_ma=surplus_ma,
    )


@dataclass(slots=True)
class _Share:
    """One connector as it goes into the solver."""

    leaf: Leaf
    fallback_ma: int
    fixed_ma: int
    """What it takes off its rows before anything is shared out."""
    min_ma: int = 0
    max_ma: int = 0
    full_ma: int = 0
    tier: int = TIER_HOLDING
    why: Why = Why(Cause.NO_SESSION)
    """The cause where not a row but `max_ma` stops it."""
    planned: bool = False
    idle: bool = False
    guaranteed: bool = False
    """Its fallback is reserved on all its rows, so that giving it less frees nothing."""


def plan(
    tree: SiteTree,
    entries: Sequence[Entry],
    demands: Sequence[Demand | None],
    rows: Budget,
    *,
    stale: bool,
    now_ms: int,
    pace: Pace,
    exempt: Sequence[bool] = (),
) -> Plan:
    """Solve one round; `exempt` tells who need not wait for the sun."""
    shares = [
        _share(leaf, entry, demand, rows, stale=stale)
        for leaf, entry, demand in zip(tree.leaves, entries, demands, strict=True)
    ]
    order = _order(tree, shares, demands, now_ms=now_ms, pace=pace)
    rows = _with_guarantees(tree, shares, rows)
    result = _solve(tree, shares, rows, order)
    if result.contended:
        narrowed = False
        for share, demand in zip(shares, demands, strict=True):
            narrowed |= demand is not None and _narrow(share, demand)
        if narrowed:
            result = _solve(tree, shares, rows, order)
    if rows.surplus_ma is not None:
        _sunlit(tree, shares, entries, demands, result, rows, order, exempt, now_ms, pace)
    targets: list[int | None] = []
    why: list[Why] = []
    for position, share in enumerate(shares):
        targets.append(
            result.current_ma[position] if share.planned else _least(share, entries[position])
        )
        why.append(_why(share, result, position))
    return Plan(
        target_ma=targets,
        why=why,
        order=order,
        wanted_ma=[share.full_ma if share.planned else share.fixed_ma for share in shares],
        checked=result.checked,
    )


def _share(leaf: Leaf, entry: Entry, demand: Demand | None, rows: Budget, *, stale: bool) -> _Share:
    share = _Share(
        leaf, fallback_ma=entry.fallback_ma, fixed_ma=entry.reserve_ma, idle=entry.idle
    )
    if entry.session_id is None and entry.online and entry.default_ma is not None:
        return share
    steerable = entry.online and entry.settled and not entry.stuck
    if demand is None or not steerable or entry.session_id != demand.session.session_id:
        share.why = Why(Cause.UNSTEERED)
        return share
    # A vehicle that draws more than it was allowed takes that off its rows, and is still steered.
    share.fixed_ma = max(0, entry.excess_ma - entry.held_ma)
    share.planned = True
    share.tier = demand.tier(leaf)
    share.min_ma, share.max_ma = leaf.min_ma, leaf.max_ma
    share.full_ma = leaf.max_ma
    share.why = Why(Cause.OWN_MAXIMUM)
    tight_row = next((row for row in leaf.rows if rows.tight[row]), None)
    share.guaranteed = tight_row is None
    if demand.holding:
        share.max_ma = share.full_ma = leaf.min_ma
        share.why = Why(Cause.HOLDING)
    if tight_row is not None:
        _limit(share, share.fallback_ma, Why(Cause.TIGHT, tight_row))
    elif share.fallback_ma >= leaf.min_ma:
        share.min_ma = share.fallback_ma
        share.max_ma = share.full_ma = max(share.max_ma, share.fallback_ma)
    if stale:
        floor_ma = share.fallback_ma if share.guaranteed else 0
        _limit(share, max(entry.asked_ma or 0, floor_ma), Why(Cause.STALE))
    return share


def _limit(share: _Share, max_ma: int, why: Why) -> None:
    """Offer no more than `max_ma`; less than the minimum is nothing."""
    if max_ma >= share.max_ma:
        return
    share.max_ma, share.why = max_ma, why
    if max_ma < share.min_ma:
        share.min_ma = share.max_ma = 0


def _narrow(share: _Share, demand: Demand) -> bool:
    """Offer a vehicle that draws less than its limit what it draws and some headroom."""
    if not share.planned or demand.habit.cap_ma is None:
        return False
    cap_ma = max(demand.habit.cap_ma, share.min_ma)
    if cap_ma >= share.max_ma:
        return False
    share.max_ma, share.why = cap_ma, Why(Cause.HABIT)
    return True


def _order(
    tree: SiteTree,
    shares: Sequence[_Share],
    demands: Sequence[Demand | None],
    *,
    now_ms: int,
    pace: Pace,
) -> list[int]:
    keys = []
    for position, (leaf, share, demand) in enumerate(
        zip(tree.leaves, shares, demands, strict=True)
    ):
        if share.planned and demand is not None:
            keys.append((share.tier, demand.order(leaf, now_ms, pace), position))
    return [position for _, _, position in sorted(keys)]


@dataclass(slots=True)
class _Result:
    current_ma: list[int]
    binding_row: list[int]
    contended: bool
    checked: bool


def _solve(tree: SiteTree, shares: Sequence[_Share], rows: Budget, order: Sequence[int]) -> _Result:
    """Share the rows out.

    A connector that is not admitted still takes its fallback, if its rows guarantee that. So
    the others share what is left without it: solved again until nobody else falls out, which each
    time takes at least one connector more out of play. Who fell out comes back where room is left
    after all.
    """
    count = len(shares)
    rank = np.full(count, count, dtype=np.int64)
    rank[list(order)] = np.arange(len(order))
    min_ma = np.array([share.min_ma for share in shares], dtype=np.int64)
    max_ma = np.array([share.max_ma for share in shares], dtype=np.int64)
    step_ma = np.array([share.leaf.step_ma for share in shares], dtype=np.int64)
    weight = np.array([share.leaf.weight for share in shares], dtype=np.int64)
    tier = np.array([share.tier for share in shares], dtype=np.uint8)
    demand = _core.Demand(
        min_ma=min_ma, max_ma=max_ma, step_ma=step_ma, weight=weight, tier=tier, rank=rank
    )
    fixed = [share.fixed_ma for share in shares]
    left_out: dict[int, int] = {}
    while True:
        solved = _core.allocate(tree.network, _capacity(tree, shares, rows, fixed), demand)
        binding_row, admitted = solved.binding_row.tolist(), solved.admitted.tolist()
        fallen = [
            position
            for position in order
            if not admitted[position]
            and max_ma[position] > 0
            and shares[position].guaranteed
            and shares[position].fallback_ma > 0
        ]
        if not fallen:
            break
        for position in fallen:
            left_out[position] = binding_row[position]
            fixed[position] += shares[position].fallback_ma
            min_ma[position] = max_ma[position] = 0
    current_ma = solved.current_ma.tolist()
    used = _sums(tree, shares, [sum(pair) for pair in zip(fixed, current_ma, strict=True)])
    room = [have - taken for have, taken in zip(rows.capacity_ma, used, strict=True)]
    for position in _readmitted(shares, room, [each for each in order if each in left_out]):
        share = shares[position]
        fixed[position] -= share.fallback_ma
        current_ma[position] = min_ma[position] = share.min_ma
        max_ma[position] = share.max_ma
    over = _core.check(
        tree.network,
        _capacity(tree, shares, rows, fixed),
        demand,
        np.array(current_ma, dtype=np.int64),
    )
    for position, row in left_out.items():
        binding_row[position] = row
    contended = any(shares[position].max_ma > current_ma[position] for position in order)
    return _Result(current_ma, binding_row, contended, checked=over.size == 0)


def _capacity(
    tree: SiteTree, shares: Sequence[_Share], rows: Budget, fixed: list[int]
) -> _core.Capacity:
    """What is left on every row, once `fixed` per connector is taken off."""
    used = _sums(tree, shares, fixed)
    left = [have - taken for have, taken in zip(rows.capacity_ma, used, strict=True)]
    power = [max(0, each) for each in left[tree.lines :]]
    return _core.Capacity(
        import_ma=np.array(left[: tree.lines], dtype=np.int64).reshape(-1, 3),
        combined=np.array(power, dtype=np.int64) if power else None,
    )


def _sums(tree: SiteTree, shares: Sequence[_Share], leaf_ma: list[int]) -> list[int]:
    """The sum on every row of one current per connector; see `Budget` on who is idle."""
    sums = tree.row_sums(leaf_ma)
    if tree.power_row is not None:
        draws = [0 if share.idle else ma for share, ma in zip(shares, leaf_ma, strict=True)]
        sums[tree.power_row] = tree.power_sum(draws)
    return sums


def _with_guarantees(tree: SiteTree, shares: Sequence[_Share], rows: Budget) -> Budget:
    """The rows with at least so much power as nobody is forced below: the contract is an economic
    limit, and shedding a guarantee would cost a driver more than it saves."""
    if tree.power_row is None:
        return rows
    kept = [
        share.fixed_ma + (share.min_ma if share.guaranteed and _is_guarantee(share) else 0)
        for share in shares
    ]
    floor_ma = _sums(tree, shares, kept)[tree.power_row]
    if floor_ma <= rows.capacity_ma[tree.power_row]:
        return rows
    return replace(rows, capacity_ma=[*rows.capacity_ma[: tree.power_row], floor_ma])


def _is_guarantee(share: _Share) -> bool:
    return share.planned and 0 < share.min_ma <= share.fallback_ma


def _sunlit(
    tree: SiteTree,
    shares: Sequence[_Share],
    entries: Sequence[Entry],
    demands: Sequence[Demand | None],
    result: _Result,
    rows: Budget,
    order: Sequence[int],
    exempt: Sequence[bool],
    now_ms: int,
    pace: Pace,
) -> None:
    """Lower those who wait for the sun to what the others leave of it.

    Nobody gets more than `result` gives, so every row bears the outcome. Who has begun to charge
    keeps its minimum for a dwell, sun or not.
    """
    count = len(shares)
    most, least = [0] * count, [0] * count
    taken, held = [0] * count, [0] * count
    for position, (share, entry, demand) in enumerate(zip(shares, entries, demands, strict=True)):
        current_ma = result.current_ma[position]
        if demand is None or not share.planned or exempt[position]:
            may_ma = current_ma if share.planned else share.fixed_ma
            measured_ma = may_ma if entry.settling else entry.measured_ma
            draws_ma = may_ma if measured_ma is None else min(may_ma, measured_ma)
            taken[position] = 0 if share.idle else draws_ma
        elif current_ma >= share.leaf.min_ma:
            most[position], least[position] = current_ma, share.leaf.min_ma
            if demand.turn.on and now_ms - demand.turn.since_ms < pace.dwell_ms:
                held[position] = share.leaf.min_ma
    surplus_ma = (rows.surplus_ma or 0) - tree.power_sum(taken)
    unbound = np.full((tree.lines // 3, 3), POWER_MAX_MA, dtype=np.int64)
    power = np.array([max(0, surplus_ma, tree.power_sum(held))], dtype=np.int64)
    rank = np.full(count, count, dtype=np.int64)
    rank[list(order)] = np.arange(len(order))
    solved = _core.allocate(
        tree.network,
        _core.Capacity(import_ma=unbound, combined=power),
        _core.Demand(
            min_ma=np.array(least, dtype=np.int64),
            max_ma=np.array(most, dtype=np.int64),
            step_ma=np.array([share.leaf.step_ma for share in shares], dtype=np.int64),
            weight=np.array([share.leaf.weight for share in shares], dtype=np.int64),
            tier=np.array([share.tier for share in shares], dtype=np.uint8),
            rank=rank,
        ),
    )
    for position, current_ma in enumerate(solved.current_ma.tolist()):
        if current_ma < most[position]:
            share = shares[position]
            result.current_ma[position] = share.max_ma = share.full_ma = current_ma
            share.why = Why(Cause.SURPLUS)


def _readmitted(shares: Sequence[_Share], room: list[int], candidates: Sequence[int]) -> list[int]:
    """Those of `candidates`, in their order, whose minimum fits into their own fallback and the
    `room` that is left per row; takes it from there."""
    found = []
    for position in candidates:
        share = shares[position]
        more_ma = share.min_ma - share.fallback_ma
        if more_ma <= 0 or all(room[row] >= more_ma for row in share.leaf.rows):
            found.append(position)
            for row in share.leaf.rows:
                room[row] -= max(0, more_ma)
    return found


def _least(share: _Share, entry: Entry) -> int | None:
    """What a charger that refuses or does not answer is asked for, until it obeys: the least that
    keeps its vehicle charging."""
    if entry.session_id is None or not (entry.online and entry.settled and entry.stuck):
        return None
    least_ma = min(max(share.leaf.min_ma, share.fallback_ma), share.leaf.max_ma)
    return min(least_ma, entry.liability_ma)


def _why(share: _Share, result: _Result, position: int) -> Why:
    if not share.planned or result.current_ma[position] >= share.max_ma:
        return share.why
    row = result.binding_row[position]
    return Why(Cause.ROW if result.current_ma[position] > 0 else Cause.PAUSED, row)
