"""What a site tells its feeder: its sums, and how much it would draw at every level of fairness.

Invariant: nothing is left out. Who cannot be steered stands in the floor, whoever is not metered
counts with what it may draw."""

from __future__ import annotations

from collections.abc import Sequence
from operator import add

import msgspec

from controlplane.demand_curve import Curve, Part, demand_curve
from controlplane.feeder.messages import FeedIn, SiteReport, Spare
from controlplane.grid_events import Observation
from controlplane.ids import SiteId
from controlplane.site.budget import Budget
from controlplane.site.demand import Pace
from controlplane.site.live import LiveSite
from controlplane.site.round import Plan
from controlplane.units import w_from_ma

__all__ = [
    "CurveQuestion",
    "completed",
    "curve_question",
    "feed_in",
    "site_curve",
    "site_observation",
    "site_report",
]

CurveQuestion = tuple[object, ...]
"""What a site's curve follows from; equal for equal curves."""


def site_report(site: LiveSite, rows: Budget, *, now_ms: int) -> SiteReport:
    """The site's sums on its worst phase, building included: all that tells whether the feeder is
    to hear of it now. What else it is told, `completed` adds."""
    tree = site.tree
    building_ma = rows.building_ma[tree.supply_lines]
    wanted, least = rows.own_reserve_ma, rows.own_fallback_ma
    if site.plan is not None:
        wanted, least = site.plan.wanted_ma, site.plan.least_ma
    l1_ma = l2_ma = l3_ma = 0
    for connector in site.connectors:
        measured = connector.measured_ma
        if measured is not None:
            l1_ma, l2_ma, l3_ma = l1_ma + measured[0], l2_ma + measured[1], l3_ma + measured[2]
    floor_ma = _worst(building_ma, tree.supply_sums(least))
    wanted_ma = _worst(building_ma, tree.supply_sums(wanted))
    return SiteReport(
        site_id=SiteId(tree.config.id),
        cap_id=site.state.cap_id,
        floor_ma=floor_ma,
        wanted_ma=max(floor_ma, min(wanted_ma, tree.able_ma)),
        liability_ma=_worst(building_ma, rows.liability_ma[tree.supply_lines]),
        measured_ma=_worst(building_ma, (l1_ma, l2_ma, l3_ma)),
        at_ms=now_ms,
    )


def _worst(building_ma: Sequence[int], lines_ma: Sequence[int]) -> int:
    """The load of the line that carries most, building included."""
    highest: int = max(map(add, building_ma, lines_ma))
    return highest


def completed(
    report: SiteReport, now: Observation, curve: tuple[int, Curve] | None, feed_in: FeedIn | None
) -> SiteReport:
    """The report with the power that is drawn, with what could be fed in and, where the site has a
    plan, with its floor and curve."""
    floor_ma, stages = (report.floor_ma, report.curve) if curve is None else curve
    return msgspec.structs.replace(
        report, measured_w=now.measured_w, feed_in=feed_in, floor_ma=floor_ma, curve=stages
    )


def feed_in(site: LiveSite, rows: Budget, now: Observation) -> FeedIn | None:
    """What the feeder is told of feeding in; None where the owner has no terms for it."""
    terms = site.config.vehicle_to_grid
    if terms is None:
        return None
    needed_w, must_ma, spare_w = site.feed.standing(rows, site.plan, now.at_ms)
    least_ma = rows.own_fallback_ma if site.plan is None else site.plan.least_ma
    lines_ma = site.tree.supply_sums(list(map(max, least_ma, must_ma)))
    said = FeedIn(
        needed_w=needed_w,
        needed_ma=_worst(rows.building_ma[site.tree.supply_lines], lines_ma),
        allowed_w=now.allowed_w,
        fed_w=now.fed_w,
        spare=(Spare(spare_w, str(terms.credit_per_kwh)),) if spare_w > 0 else (),
    )
    return said.beyond(site.state.grid.limit_w())


def site_curve(
    site: LiveSite, plan: Plan, rows: Budget, uncapped: Budget, *, now_ms: int, pace: Pace
) -> tuple[int, Curve]:
    """The floor and the curve of a site: what its connectors would be given, were there no cap.
    `uncapped` are the `rows` without it.

    Vehicles count with what they have shown to take, because it is room for others that is decided
    here.
    """
    free = plan
    if plan.order:
        free = site.solve(uncapped, now_ms=now_ms, pace=pace, narrowed=True)
    # Who is not planned with takes what it takes, as the building does.
    fixed = [0 if share.planned else share.fixed_ma for share in free.shares]
    building_ma = rows.building_ma[site.tree.supply_lines]
    below_ma = list(map(add, building_ma, site.tree.supply_sums(fixed)))
    return demand_curve(below_ma, [_part(free, position) for position in free.order])


def curve_question(
    site: LiveSite, plan: Plan, rows: Budget, uncapped: Budget
) -> CurveQuestion | None:
    """What the curve follows from while nothing was heard since the round of `plan`: the shares of
    that round, as far as no row that the feeder's cap makes short has changed them; None where one
    may have."""
    if rows.surplus_ma is not None or any(rows.tight) or any(uncapped.tight):
        return None
    if any(each.first for each in plan.shares):
        return None
    shown = [None if each is None else each.behaviour.cap_ma for each in site.demands]
    return plan.shares, plan.order, plan.shortfalls, shown, uncapped.capacity_ma, rows.building_ma


def _part(free: Plan, position: int) -> Part:
    """What a connector that is planned with adds to the curve."""
    share = free.shares[position]
    return Part(
        lines=share.leaf.phases,
        base_ma=share.least_ma,
        fixed_ma=share.fixed_ma,
        tier=share.tier,
        weight=share.weight,
        min_ma=share.min_ma,
        top_ma=free.target_ma[position] or 0,
        first=share.first,
        last=share.last,
    )


def site_observation(
    site: LiveSite, rows: Budget, *, now_ms: int, stale_ms: int, reducing: bool = False
) -> Observation:
    """What the whole site draws, building included, and what it may draw; less what is fed in, as
    far as meters say so."""
    tree, voltage_v = site.tree, site.config.voltage_v
    building_w = 0
    for current_ma in rows.building_ma[tree.supply_lines]:
        building_w += w_from_ma(current_ma, voltage_v=voltage_v, phases=1)
    drawn_w = allowed_w = building_w
    fed_w = 0
    for connector, liability_ma, volts in zip(
        site.connectors, rows.own_liability_ma, tree.volts, strict=True
    ):
        # As `w_from_ma` rounds; most connectors stand idle, and this is asked all the time.
        may_w = liability_ma * volts // 1_000
        entry = connector.entry
        metered_w = connector.metered_w(now_ms=now_ms, stale_ms=stale_ms)
        if metered_w is None:
            drawn_w += may_w
        else:
            drawn_w += metered_w
            if metered_w < 0:
                fed_w -= metered_w
        if entry.fed_ma:
            proven_ma = entry.proven_feed_ma(now_ms=now_ms, fresh_ms=stale_ms)
            if proven_ma:
                may_w = -(proven_ma * volts // 1_000)
        allowed_w += may_w
    return Observation(now_ms, drawn_w, allowed_w, reducing, fed_w)
