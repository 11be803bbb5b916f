"""What vehicles feed in: which of them can, how much each can spare, and who feeds in how much.

A vehicle is asked to where its driver has agreed and said what must be in it and when, its station
speaks OCPP 2.1, and the site's owner has said on what terms. What it can spare is the least of

* what is in the battery above the driver's reserve,
* what the vehicle itself says it may give,
* what can be charged again before it leaves: its need is kept, with the time that takes.

How much is wanted is what the grid asks of the site beyond what pausing others gives, or what a
plan wants of each vehicle. It is shared in proportion to what each can spare, so that nobody's
battery is worn for the others. Invariants: nobody feeds in below the reserve nor out of what its
driver needs; what is fed in keeps to the rows for export, never netted against what others draw."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from operator import gt
from typing import NamedTuple

import numpy as np

from controlplane import _core
from controlplane.site.budget import POWER_MAX_MA
from controlplane.site.demand import ROUND_TRIP_PERMILLE, Demand
from controlplane.site.ledger import Entry
from controlplane.site.plan_terms import ENERGY_MAX_WH
from controlplane.site.tree import Leaf, SiteTree
from controlplane.units import MS_PER_HOUR, ma_from_w

__all__ = [
    "ALL_MA",
    "GUARD_MS",
    "HOLD_MS",
    "LEAST_MA",
    "NOBODY",
    "SAMPLES_MISSED_MAX",
    "Ability",
    "Feeding",
    "PlanTerms",
    "ability",
    "plan_terms",
    "share_out",
]

HOLD_MS = 900_000
"""For how long a vehicle goes on feeding in if it is not told again: should Loadstar fall silent,
it ends by itself."""
_HOLD_MIN_MS = 60_000
SAMPLES_MISSED_MAX = 3
"""A connector that missed so many meter samples counts with what it may draw, and feeds in no
longer."""
GUARD_MS = 900_000
"""To be ready so much early: ramps, and a site that has more to charge than it thought."""
_SPENT_MS = 600_000
"""What a vehicle can spare must last so long; it feeds in less and less, and is not switched
off."""
LEAST_MA = 1_000
"""Less is not worth a contactor."""
_STORED_PERMILLE = 900
"""What a battery gives of what is in it, on the way to the meter."""
_STICKY_PERMILLE = 5
"""What is wanted may move so little without anybody being told something new."""
_WEIGHT_MAX = 1_000
ALL_MA = 10**11
"""More than any site can feed in."""


@dataclass(frozen=True, slots=True)
class Ability:
    """What one connector can feed in at this moment: up to `most_ma` on each conductor, and
    `spare_wh` in all, at the meter."""

    most_ma: int
    least_ma: int
    spare_wh: int


@dataclass(frozen=True, slots=True)
class Feeding:
    """What was shared out: what each connector feeds in, by position, and for how long without
    being told again. `wanted_ma` is the sum over conductors that was wished for, `short_ma` what
    of it nobody can give."""

    feed_ma: Mapping[int, int]
    hold_ms: Mapping[int, int]
    wanted_ma: int = 0
    short_ma: int = 0


class PlanTerms(NamedTuple):
    """The fields of `planning.Vehicle` that make it one that feeds in. Energies are counted as they
    are charged, at the meter: `spare_wh` below what is in the battery now, `need_wh` above it, or
    below 0 where it may leave with less; never below `-spare_wh` nor above `room_wh`, whatever a
    driver says. What is lost both ways is in `discharge_permille`."""

    discharge_ma: int
    spare_wh: int
    need_wh: int
    room_wh: int
    discharge_permille: int


NOBODY = Feeding({}, {})


def ability(
    leaf: Leaf,
    entry: Entry,
    demand: Demand,
    *,
    voltage_v: int,
    refill_w: int,
    busy_until_ms: int | None,
    sample_ms: int,
    now_ms: int,
) -> Ability | None:
    """What a connector can feed in; None where it cannot, or must not.

    Args:
        refill_w: the power at which it can surely be charged again.
        busy_until_ms: nobody can be charged again before; None: there is no telling when.
        sample_ms: when the battery was measured last.
    """
    given, promised = demand.vehicle.discharge, demand.promised(now_ms)
    if given is None or demand.soc_percent is None or promised is None:
        return None
    if not (entry.online and entry.settled) or entry.stuck or not demand.session.authorised:
        return None
    above_wh = _given_wh(entry, demand, leaf, voltage_v=voltage_v, since_ms=now_ms - sample_ms)
    again_ms = 0
    if busy_until_ms is not None:
        again_ms = max(0, promised.departure_ms - max(now_ms, busy_until_ms) - GUARD_MS)
    refill_wh = refill_w * again_ms // MS_PER_HOUR
    spare_wh = min(above_wh, demand.exported_wh_of(refill_wh - promised.missing_wh))
    most_w = leaf.power_max_w if given.power_max_w is None else given.power_max_w
    most_w = min(most_w, leaf.power_max_w, spare_wh * MS_PER_HOUR // _SPENT_MS)
    phases = len(leaf.phases)
    most_ma = min(leaf.max_ma, ma_from_w(most_w, voltage_v=voltage_v, phases=phases))
    if given.current_max_ma is not None and not leaf.direct_current:
        most_ma = min(most_ma, given.current_max_ma)
    for bound_ma in (demand.shown_feed_ma, demand.ceiling_ma):
        if bound_ma is not None:
            most_ma = min(most_ma, bound_ma)
    least_w = given.power_min_w or 0
    least_ma = max(LEAST_MA, -(-least_w * 1_000 // (voltage_v * phases)))
    most_ma -= most_ma % leaf.step_ma
    return Ability(most_ma, least_ma, spare_wh) if most_ma >= least_ma else None


def _given_wh(entry: Entry, demand: Demand, leaf: Leaf, *, voltage_v: int, since_ms: int) -> int:
    """What the battery could give, at the meter: what it holds above the driver's reserve, less
    what it may have given since it was measured, and no more than the vehicle itself would."""
    reserve_percent, capacity_wh = demand.session.reserve_percent, demand.capacity_wh
    if reserve_percent is None or capacity_wh is None or demand.soc_percent is None:
        return 0
    above_wh = int(capacity_wh * (demand.soc_percent - reserve_percent) / 100)
    may_w = entry.feed_ma * voltage_v * len(leaf.phases) // 1_000
    spare_wh = above_wh * _STORED_PERMILLE // 1_000 - may_w * max(0, since_ms) // MS_PER_HOUR
    given = demand.vehicle.discharge
    if given is None or given.energy_min_wh is None:
        return spare_wh
    return min(spare_wh, demand.net_wh - demand.vehicle.said_wh - given.energy_min_wh)


def plan_terms(
    leaf: Leaf, entry: Entry, demand: Demand, *, voltage_v: int, sample_ms: int, now_ms: int
) -> PlanTerms | None:
    """What a plan needs to know of a vehicle that may feed in; None for one that may not. When it
    does so, and how much is charged again, is the plan's affair; `ability` holds that to what is
    true when the time has come."""
    able = ability(
        leaf,
        entry,
        demand,
        voltage_v=voltage_v,
        refill_w=leaf.power_max_w,
        busy_until_ms=now_ms,
        sample_ms=sample_ms,
        now_ms=now_ms,
    )
    promised, capacity_wh = demand.promised(now_ms), demand.capacity_wh
    if able is None or promised is None or capacity_wh is None or demand.soc_percent is None:
        return None
    given_wh = _given_wh(entry, demand, leaf, voltage_v=voltage_v, since_ms=now_ms - sample_ms)
    spare_wh = min(max(0, demand.charged_wh_of(given_wh)), ENERGY_MAX_WH)
    room_wh = min(max(0, int(capacity_wh * (100 - demand.soc_percent) / 100)), ENERGY_MAX_WH)
    return PlanTerms(
        discharge_ma=able.most_ma,
        spare_wh=spare_wh,
        # Drivers ask for more than fits in, and have more than they asked for.
        need_wh=min(max(promised.missing_wh, -spare_wh), room_wh),
        room_wh=room_wh,
        discharge_permille=ROUND_TRIP_PERMILLE,
    )


def share_out(
    tree: SiteTree,
    entries: Sequence[Entry],
    able: Mapping[int, Ability],
    *,
    wanted_ma: int,
    planned_ma: Mapping[int, int],
    export_ma: Sequence[int] | None = None,
) -> Feeding:
    """Who feeds in how much.

    Args:
        able: who can, by position.
        export_ma: what every line may carry of it; None: as described.
        wanted_ma: what is wanted of all together, summed over conductors.
        planned_ma: what a plan wants of single ones; counts where that is more.
    """
    most = {
        position: min(each.most_ma, planned_ma[position]) if not wanted_ma else each.most_ma
        for position, each in able.items()
        if wanted_ma or planned_ma.get(position, 0) >= each.least_ma
    }
    if not most:
        return Feeding({}, {}, wanted_ma, wanted_ma)
    leaves = tree.leaves
    total_ma = max(wanted_ma, sum(planned_ma.get(p, 0) * len(leaves[p].phases) for p in most))
    export_ma = tree.export_ma if export_ma is None else export_ma
    feed_ma = _as_before(tree, entries, able, most, total_ma, export_ma=export_ma)
    if feed_ma is None:
        feed_ma = _shared(tree, entries, able, most, total_ma, export_ma=export_ma)
    given_ma = sum(ma * len(leaves[position].phases) for position, ma in feed_ma.items())
    hold_ms = {
        position: _hold_ms(able[position], leaves[position], ma, tree.config.voltage_v)
        for position, ma in feed_ma.items()
    }
    return Feeding(feed_ma, hold_ms, total_ma, max(0, total_ma - given_ma))


def _as_before(
    tree: SiteTree,
    entries: Sequence[Entry],
    able: Mapping[int, Ability],
    most: Mapping[int, int],
    total_ma: int,
    *,
    export_ma: Sequence[int],
) -> dict[int, int] | None:
    """What everybody was told last, if that is still right: stations are spared a new setpoint for
    every watt that the building moves."""
    told = {
        position: -(entry.asked_ma or 0)
        for position, entry in enumerate(entries)
        if (entry.asked_ma or 0) < 0
    }
    if any(
        ma > most.get(position, 0) or ma < able[position].least_ma for position, ma in told.items()
    ):
        return None
    sum_ma = sum(ma * len(tree.leaves[position].phases) for position, ma in told.items())
    if any(map(gt, tree.row_sums([told.get(each, 0) for each in range(len(entries))]), export_ma)):
        return None
    near = abs(sum_ma - total_ma) * 1_000 <= total_ma * _STICKY_PERMILLE
    return told if near and told else None


def _shared(
    tree: SiteTree,
    entries: Sequence[Entry],
    able: Mapping[int, Ability],
    most: Mapping[int, int],
    total_ma: int,
    *,
    export_ma: Sequence[int],
) -> dict[int, int]:
    """In proportion to what each can spare, within the rows for export."""
    count = len(tree.leaves)
    least_ma, most_ma = np.zeros(count, dtype=np.int64), np.zeros(count, dtype=np.int64)
    weight = np.ones(count, dtype=np.int64)
    largest_wh = max(able[position].spare_wh for position in most)
    for position, may_ma in most.items():
        least_ma[position], most_ma[position] = able[position].least_ma, may_ma
        weight[position] = max(1, able[position].spare_wh * _WEIGHT_MAX // largest_wh)
    # Who is no part of this may go on feeding in what it was told.
    others = [0 if position in most else entry.feed_ma for position, entry in enumerate(entries)]
    taken = tree.row_sums(others)
    room = [max(0, have - less) for have, less in zip(export_ma, taken, strict=False)]
    solved = _core.allocate(
        tree.feed_network,
        _core.Capacity(
            import_ma=np.zeros((tree.lines // 3, 3), dtype=np.int64),
            export_ma=np.array(room, dtype=np.int64).reshape(-1, 3),
            combined=np.zeros(1, dtype=np.int64),
            combined_export=np.array([min(total_ma, POWER_MAX_MA)], dtype=np.int64),
        ),
        _core.Demand(
            min_ma=least_ma,
            max_ma=most_ma,
            step_ma=tree.step_ma,
            weight=weight,
            tier=np.zeros(count, dtype=np.uint8),
            # Where not all minimums are wanted, those that can spare most go first.
            rank=-weight,
            discharge=np.ones(count, dtype=np.bool_),
        ),
    )
    given = solved.current_ma.tolist()
    return {position: -given[position] for position in most if given[position] < 0}


def _hold_ms(able: Ability, leaf: Leaf, feed_ma: int, voltage_v: int) -> int:
    """Until what it can spare is used up, and no longer than `HOLD_MS`."""
    power_w = max(1, feed_ma * voltage_v * len(leaf.phases) // 1_000)
    return max(_HOLD_MIN_MS, min(HOLD_MS, able.spare_wh * MS_PER_HOUR // power_w))
