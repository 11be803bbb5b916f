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

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import Enum, auto

import msgspec
import numpy as np
from numpy.typing import NDArray

from controlplane import _core
from controlplane.site.demand import TIER_HOLDING, Demand, Pace
from controlplane.site.ledger import Entry
from controlplane.site.tree import Leaf, SiteTree

__all__ = ["Budget", "Cause", "Plan", "Shortfall", "Why", "budget", "plan"]

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
    CLOSED = auto()
    """Outside opening hours, and no rule serves it then."""
    OVERRIDE = auto()
    """An operator's limit on its connector."""
    SURPLUS = auto()
    """The sun does not give more, and the session is not urgent."""


class Why(msgspec.Struct, frozen=True):
    """The cause, and the row where one is to blame."""

    cause: Cause
    row: int = -1


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


@dataclass(frozen=True, slots=True)
class Shortfall:
    """A guaranteed minimum that cannot be given in full; `row` is the one that is short, -1 where
    what the session may be offered is less for another reason."""

    position: int
    guaranteed_ma: int
    granted_ma: int
    row: int


@dataclass(frozen=True, slots=True)
class Plan:
    """What a round wants. `target_ma` is None for a connector without a session that can be planned
    with; `order` lists the positions of the others, who goes first leading."""

    target_ma: list[int | None]
    why: list[Why]
    order: list[int]
    wanted_ma: list[int]
    """What each connector would be given if all lines had room for all."""
    checked: bool
    """Whether the core's own check found every row within its capacity."""
    shortfalls: tuple[Shortfall, ...] = ()
    shares: Sequence[_Share] = ()
    """What went into the solver, in the order of the tree."""


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


_NO_SESSION = Why(Cause.NO_SESSION)
_UNSTEERED = Why(Cause.UNSTEERED)
_OWN_MAXIMUM = Why(Cause.OWN_MAXIMUM)
_HABIT = Why(Cause.HABIT)
_HOLDING = Why(Cause.HOLDING)
_STALE = Why(Cause.STALE)


class _Share(msgspec.Struct):
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
    why: Why = _NO_SESSION
    """The cause where not a row but `max_ma` stops it."""
    planned: bool = False
    idle: bool = False
    unused_ma: int = 0
    """The part of `fixed_ma` that keeps room on its lines and is not drawn."""
    guaranteed: bool = False
    """Its fallback is reserved on all its rows, so that giving it less frees nothing."""

    @property
    def least_ma(self) -> int:
        """What it takes off its rows if it is given nothing."""
        return self.fixed_ma + self.fallback_ma if self.planned else self.fixed_ma

    @property
    def kept_ma(self) -> int:
        """What its rows keep for it while it is not admitted."""
        return self.fallback_ma if self.planned and self.guaranteed else 0


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
    narrowed: bool = False,
) -> Plan:
    """Solve one round.

    Args:
        exempt: who need not wait for the sun.
        narrowed: offer nobody more than it has shown to take, though there be room.
    """
    shares = [
        _share(position, leaf, entry, demand, rows, stale=stale)
        for position, (leaf, entry, demand) in enumerate(
            zip(tree.leaves, entries, demands, strict=True)
        )
    ]
    order = _order(tree, shares, demands, now_ms=now_ms, pace=pace)
    shortfalls = _grant(tree, shares, demands, rows, order)
    order.sort(key=lambda position: not shares[position].first)
    rows = _with_guarantees(tree, shares, rows)
    if narrowed:
        _narrow_all(shares, demands)
    result = _solve(tree, shares, rows, order)
    if result.contended and _narrow_all(shares, demands):
        result = _solve(tree, shares, rows, order)
    if rows.surplus_ma is not None:
        sunshine = [
            _Sunshine.of(share, entry, demand, current_ma, free=free, now_ms=now_ms, pace=pace)
            for share, entry, demand, current_ma, free in zip(
                shares, entries, demands, result.current_ma, exempt, strict=True
            )
        ]
        _sunlit(tree, shares, sunshine, result, order, surplus_ma=rows.surplus_ma)
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
        wanted_ma=_within_contract(
            tree,
            [
                max(share.full_ma, entry.fallback_ma) if share.planned else share.fixed_ma
                for share, entry in zip(shares, entries, strict=True)
            ],
            rows,
        ),
        checked=result.checked,
        shortfalls=shortfalls,
        shares=shares,
    )


def _narrow_all(shares: Sequence[_Share], demands: Sequence[Demand | None]) -> bool:
    """Offer nobody more than it has shown to take; True if that is less for anybody."""
    narrowed = False
    for share, demand in zip(shares, demands, strict=True):
        narrowed |= demand is not None and _narrow(share, demand)
    return narrowed


def _share(
    position: int, leaf: Leaf, entry: Entry, demand: Demand | None, rows: Budget, *, stale: bool
) -> _Share:
    share = _Share(
        leaf, rows.own_fallback_ma[position], rows.own_reserve_ma[position], idle=entry.idle
    )
    if entry.session_id is None and entry.online and entry.default_ma is not None:
        return share
    if demand is not None and demand.ceiling_ma is not None:
        whole_ma = demand.ceiling_ma - demand.ceiling_ma % leaf.step_ma
        share.ceiling_ma = whole_ma if whole_ma >= leaf.min_ma else 0
    steerable = entry.online and entry.settled and not entry.stuck
    if demand is None or not steerable or entry.session_id != demand.session.session_id:
        share.why = _UNSTEERED
        return share
    # A vehicle that draws more than it was allowed takes that off its rows, and is still steered.
    share.fixed_ma = max(0, entry.excess_ma - entry.held_ma) if entry.excess_ma else 0
    share.planned = True
    share.tier, share.weight = demand.tier(leaf), demand.weight(leaf)
    share.min_ma, share.max_ma = leaf.min_ma, leaf.max_ma
    share.full_ma = leaf.max_ma
    share.why = _OWN_MAXIMUM
    tight, tight_row = rows.tight, None
    for row in leaf.rows:
        if tight[row]:
            tight_row = row
            break
    share.guaranteed = tight_row is None
    if demand.holding:
        share.max_ma = share.full_ma = leaf.min_ma
        share.why = _HOLDING
    _hold(share, demand)
    if tight_row is not None:
        _limit(share, share.fallback_ma, Why(Cause.TIGHT, tight_row))
    elif share.fallback_ma >= leaf.min_ma:
        share.min_ma = share.fallback_ma
        share.max_ma = share.full_ma = max(share.max_ma, share.fallback_ma)
    if stale:
        floor_ma = share.fallback_ma if share.guaranteed else 0
        _limit(share, max(entry.asked_ma or 0, floor_ma), _STALE)
    return share


def _limit(share: _Share, max_ma: int, why: Why) -> None:
    """Offer no more than `max_ma`; less than the minimum is nothing."""
    if max_ma >= share.max_ma:
        return
    share.max_ma, share.why = max_ma, why
    if max_ma < share.min_ma:
        share.min_ma = share.max_ma = 0


def _hold(share: _Share, demand: Demand) -> None:
    """Offer no more than rules and operators allow. What its rows keep for its default profile
    beyond that stays kept, because the session may end at any moment."""
    ceiling_ma = share.ceiling_ma
    if ceiling_ma is None:
        return
    if ceiling_ma < share.fallback_ma:
        if share.guaranteed:
            share.unused_ma = share.fallback_ma - ceiling_ma
            share.fixed_ma += share.unused_ma
        share.fallback_ma = ceiling_ma
    share.full_ma = min(share.full_ma, ceiling_ma)
    cause = Cause.OVERRIDE if demand.terms.may_charge else Cause.CLOSED
    _limit(share, ceiling_ma, Why(cause))


def _grant(
    tree: SiteTree,
    shares: Sequence[_Share],
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
        short_row = min(leaf.rows, key=room.__getitem__)
        room_ma = max(0, share.kept_ma + room[short_row])
        granted_ma = min(wish_ma, share.max_ma, room_ma)
        if granted_ma < wish_ma:
            granted_ma -= granted_ma % leaf.step_ma
            row = short_row if room_ma <= share.max_ma else share.why.row
            if granted_ma < max(share.min_ma, 1):
                granted_ma = 0
            shortfalls.append(Shortfall(position, wish_ma, granted_ma, row))
        if granted_ma > 0:
            share.min_ma, share.first = granted_ma, True
            for row in leaf.rows:
                room[row] -= max(0, granted_ma - share.kept_ma)
    return tuple(shortfalls)


def _room_beside_kept(tree: SiteTree, shares: Sequence[_Share], rows: Budget) -> list[int]:
    """What is left on every row when nobody has more than is kept for it."""
    kept = tree.row_sums([share.fixed_ma + share.kept_ma for share in shares])
    return [have - taken for have, taken in zip(rows.capacity_ma, kept, strict=True)]


def _narrow(share: _Share, demand: Demand) -> bool:
    """Offer a vehicle that draws less than its limit what it draws and some headroom."""
    if not share.planned or demand.habit.cap_ma is None:
        return False
    cap_ma = max(demand.habit.cap_ma, share.min_ma)
    if cap_ma >= share.max_ma:
        return False
    share.max_ma, share.why = cap_ma, _HABIT
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

    Guaranteed minimums come first, whatever their tier, and who has no room beside them stands
    back. A connector that is not admitted still takes its fallback, if its rows guarantee that. So
    the others share what is left without it: solved again until nobody else falls out, which each
    time takes at least one connector more out of play. Who fell out comes back where room is left
    after all.
    """
    count = len(shares)
    rank = np.full(count, count, dtype=np.int64)
    rank[list(order)] = np.arange(len(order))
    min_ma = np.array([share.min_ma for share in shares], dtype=np.int64)
    max_ma = np.array([share.max_ma for share in shares], dtype=np.int64)
    weight = np.array([share.weight for share in shares], dtype=np.int64)
    tier = np.array([share.tier for share in shares], dtype=np.uint8)
    demand = _core.Demand(
        min_ma=min_ma, max_ma=max_ma, step_ma=tree.step_ma, weight=weight, tier=tier, rank=rank
    )
    fixed = [share.fixed_ma for share in shares]
    left_out = _stand_back(tree, shares, rows, order)
    for position in left_out:
        fixed[position] += shares[position].kept_ma
        min_ma[position] = max_ma[position] = 0
    while True:
        solved = _core.allocate(tree.network, _capacity(tree, shares, rows, fixed), demand)
        binding_row, admitted = solved.binding_row.tolist(), solved.admitted
        if admitted.all():
            break
        fallen = [
            position
            for position in order
            if not admitted[position]
            and max_ma[position] > 0
            and (shares[position].kept_ma > 0 or _is_guarantee(shares[position]))
        ]
        if not fallen:
            break
        squeezed = any(
            binding_row[position] == tree.power_row and _is_guarantee(shares[position])
            for position in fallen
        )
        # On the power row a guarantee is not reserved: who has none makes way, the last one first.
        last = _last_without_guarantee(shares, order, admitted, min_ma) if squeezed else None
        if last is not None:
            fallen = [last]
            binding_row[last] = tree.lines
        for position in fallen:
            left_out[position] = binding_row[position]
            fixed[position] += shares[position].kept_ma
            min_ma[position] = max_ma[position] = 0
    current_ma = solved.current_ma.tolist()
    if left_out:
        room = _left(tree, shares, rows, fixed, current_ma)
        for position in _readmitted(
            tree, shares, room, [each for each in order if each in left_out]
        ):
            share = shares[position]
            fixed[position] -= share.kept_ma
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


def _stand_back(
    tree: SiteTree, shares: Sequence[_Share], rows: Budget, order: Sequence[int]
) -> dict[int, int]:
    """Who has no room for its minimum once guaranteed minimums are served, and the row that is
    short. The core admits by tier, so those are kept from it."""
    if not any(share.first for share in shares):
        return {}
    room = _room_beside_kept(tree, shares, rows)
    left_out: dict[int, int] = {}
    for position in order:
        share = shares[position]
        more_ma = share.min_ma - share.kept_ma
        if more_ma <= 0:
            continue
        short_row = next((row for row in share.leaf.rows if room[row] < more_ma), None)
        if short_row is not None:
            left_out[position] = short_row
            continue
        for row in share.leaf.rows:
            room[row] -= more_ma
    return left_out


def _capacity(
    tree: SiteTree, shares: Sequence[_Share], rows: Budget, fixed: list[int]
) -> _core.Capacity:
    """What is left on every row, once `fixed` per connector is taken off."""
    left = _left(tree, shares, rows, fixed, [0] * len(fixed))
    power = [max(0, each) for each in left[tree.lines :]]
    return _core.Capacity(
        import_ma=np.array(left[: tree.lines], dtype=np.int64).reshape(-1, 3),
        combined=np.array(power, dtype=np.int64) if power else None,
    )


def _left(
    tree: SiteTree,
    shares: Sequence[_Share],
    rows: Budget,
    fixed: list[int],
    current_ma: list[int],
) -> list[int]:
    """What is left on every row beside `fixed` and `current_ma` per connector. A fallback whose
    room is kept free on the lines draws no power."""
    used = tree.row_sums([sum(pair) for pair in zip(fixed, current_ma, strict=True)])
    if tree.power_row is not None:
        used[tree.power_row] = tree.power_sum(
            [
                0 if share.idle else share.fixed_ma - share.unused_ma + given_ma
                for share, given_ma in zip(shares, current_ma, strict=True)
            ]
        )
    return [have - taken for have, taken in zip(rows.capacity_ma, used, strict=True)]


def _last_without_guarantee(
    shares: Sequence[_Share],
    order: Sequence[int],
    admitted: NDArray[np.bool_],
    min_ma: NDArray[np.int64],
) -> int | None:
    for position in reversed(order):
        if admitted[position] and min_ma[position] and not _is_guarantee(shares[position]):
            return position
    return None


def _with_guarantees(tree: SiteTree, shares: Sequence[_Share], rows: Budget) -> Budget:
    """The rows with at least so much power as nobody is forced below: the contract is an economic
    limit, and shedding a guarantee would cost a driver more than it saves."""
    if tree.power_row is None:
        return rows
    kept = [
        0
        if share.idle
        else share.fixed_ma - share.unused_ma + (share.min_ma if _is_guarantee(share) else 0)
        for share in shares
    ]
    floor_ma = tree.power_sum(kept)
    if floor_ma <= rows.capacity_ma[tree.power_row]:
        return rows
    return replace(rows, capacity_ma=[*rows.capacity_ma[: tree.power_row], floor_ma])


def _within_contract(tree: SiteTree, wanted_ma: list[int], rows: Budget) -> list[int]:
    """What is wanted, made smaller alike where the contract would not allow it: a feeder that gave
    the site more would give it in vain."""
    if tree.power_row is None:
        return wanted_ma
    wanted, may_ma = tree.power_sum(wanted_ma), rows.capacity_ma[tree.power_row]
    if wanted <= may_ma:
        return wanted_ma
    return [each * may_ma // wanted for each in wanted_ma]


def _is_guarantee(share: _Share) -> bool:
    """Whether its minimum is its fallback, which its lines guarantee, or what a rule guarantees."""
    return share.first or 0 < share.min_ma <= share.kept_ma


@dataclass(frozen=True, slots=True)
class _Sunshine:
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
        share: _Share,
        entry: Entry,
        demand: Demand | None,
        current_ma: int,
        *,
        free: bool,
        now_ms: int,
        pace: Pace,
    ) -> _Sunshine:
        if share.idle:
            return cls()
        if free or demand is None or not share.planned:
            may_ma = current_ma if share.planned else share.fixed_ma - share.unused_ma
            measured_ma = None if entry.settling else entry.measured_ma
            return cls(taken_ma=may_ma if measured_ma is None else min(may_ma, measured_ma))
        least_ma = share.min_ma if share.first else share.leaf.min_ma
        if current_ma < least_ma:
            return cls()
        begun = demand.turn.on and now_ms - demand.turn.since_ms < pace.dwell_ms
        stays = begun or share.first
        return cls(most_ma=current_ma, least_ma=least_ma, held_ma=least_ma if stays else 0)


def _sunlit(
    tree: SiteTree,
    shares: Sequence[_Share],
    sunshine: Sequence[_Sunshine],
    result: _Result,
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
    least = [each.least_ma for each in sunshine]
    solved = _core.allocate(
        tree.network,
        _core.Capacity(
            import_ma=np.full((tree.lines // 3, 3), POWER_MAX_MA, dtype=np.int64),
            combined=np.array([max(0, left_ma, held_ma)], dtype=np.int64),
        ),
        _core.Demand(
            min_ma=np.array(least, dtype=np.int64),
            max_ma=np.array(most, dtype=np.int64),
            step_ma=tree.step_ma,
            weight=np.array([share.weight for share in shares], dtype=np.int64),
            tier=np.array([share.tier for share in shares], dtype=np.uint8),
            rank=rank,
        ),
    )
    for position, current_ma in enumerate(solved.current_ma.tolist()):
        if current_ma < most[position]:
            share = shares[position]
            result.current_ma[position] = share.max_ma = share.full_ma = current_ma
            share.why = Why(Cause.SURPLUS)


def _readmitted(
    tree: SiteTree, shares: Sequence[_Share], room: list[int], candidates: Sequence[int]
) -> list[int]:
    """Those of `candidates`, in their order, whose minimum fits into what is kept for them and the
    `room` that is left per row; takes it from there. The row of the total power holds back nobody
    from what is guaranteed to him."""
    found = []
    for position in candidates:
        share = shares[position]
        more_ma = max(0, share.min_ma - share.kept_ma)
        fits = more_ma == 0 or all(room[row] >= more_ma for row in share.leaf.rows)
        power_ma = 0
        if tree.power_row is not None:
            power_ma = share.min_ma * len(share.leaf.phases)
            fits &= _is_guarantee(share) or room[tree.power_row] >= power_ma
        if not fits:
            continue
        found.append(position)
        for row in share.leaf.rows:
            room[row] -= more_ma
        if tree.power_row is not None:
            room[tree.power_row] -= power_ma
    return found


def _least(share: _Share, entry: Entry) -> int | None:
    """What a charger that refuses or does not answer is asked for, until it obeys: the least that
    keeps its vehicle charging."""
    if entry.session_id is None or not (entry.online and entry.settled and entry.stuck):
        return None
    least_ma = min(max(share.leaf.min_ma, share.fallback_ma), share.leaf.max_ma)
    if share.ceiling_ma is not None:
        least_ma = min(least_ma, share.ceiling_ma)
    return min(least_ma, entry.liability_ma)


def _why(share: _Share, result: _Result, position: int) -> Why:
    if not share.planned or result.current_ma[position] >= share.max_ma:
        return share.why
    row = result.binding_row[position]
    return Why(Cause.ROW if result.current_ma[position] > 0 else Cause.PAUSED, row)
