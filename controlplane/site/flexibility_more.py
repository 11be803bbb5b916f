"""By how much a site could draw more, for how long, and at what cost.

Vehicles that the plan lets wait could charge now: as much as rows, limits and their minimum
currents leave, worked out by the very round that would follow, and no more than each could keep up
for the whole time before it has what it needs. It is energy that they will take anyway, so it costs
what it would have cost less where the plan has it, and what it raises the month's peak by.
Invariant: as for drawing less: a statement of this moment that reserves nothing."""

from __future__ import annotations

from decimal import Decimal
from typing import NamedTuple

from controlplane.ids import SiteId
from controlplane.planning.inputs import SiteInputs
from controlplane.planning.schedule import Schedule
from controlplane.site.budget import Budget
from controlplane.site.demand import Pace
from controlplane.site.live import LiveSite
from controlplane.site.messages import FlexibilityOffer, OfferedPart
from controlplane.site.raising import held_back
from controlplane.site.report import site_observation
from controlplane.site.targets import Sought
from controlplane.units import MS_PER_HOUR, w_from_ma

__all__ = ["offer_more"]

_CENT = Decimal("0.0001")


class _More(NamedTuple):
    """What one session could draw more, all the time."""

    name: str
    power_w: int


def offer_more(
    site: LiveSite, rows: Budget, *, now_ms: int, duration_ms: int, pace: Pace
) -> FlexibilityOffer:
    """What the site could draw besides from `now_ms` on, for so long."""
    now = site_observation(site, rows, now_ms=now_ms, stale_ms=site.feed.fresh_ms)
    found = _found(site, rows, now_ms, until_ms=now_ms + duration_ms, pace=pace)
    power_w = sum(each.power_w for each in found)
    price, currency = "0", ""
    schedule, sought = site.targets.schedule, site.targets.sought
    if power_w and schedule is not None and sought is not None:
        cost = _price_per_kwh(schedule, sought, found, now_ms=now_ms, duration_ms=duration_ms)
        price, currency = str(cost), sought.inputs.currency
    return FlexibilityOffer(
        site_id=SiteId(site.config.id),
        at_ms=now_ms,
        duration_ms=duration_ms,
        drawn_w=now.measured_w,
        baseline_w=site.state.grid.baseline_w(now_ms),
        parts=(OfferedPart("charge", power_w, len(found), price, currency),),
        more=True,
    )


def _found(site: LiveSite, rows: Budget, now_ms: int, *, until_ms: int, pace: Pace) -> list[_More]:
    """Who waits, stays and needs so much: only by the word of driver or vehicle, as for pausing."""
    held = {
        connector.leaf.key: session
        for connector, session in held_back(site)
        if connector.demand is not None
        and (promised := connector.demand.promised(now_ms)) is not None
        and promised.departure_ms > until_ms
        and promised.missing_wh > 0
    }
    if not held:
        return []
    free_ma = _without_plan(site, rows, now_ms, pace)
    found = []
    for position, connector in enumerate(site.connectors):
        session, demand = held.get(connector.leaf.key), connector.demand
        drawn_w = connector.metered_w(now_ms=now_ms, stale_ms=site.feed.fresh_ms)
        if session is None or demand is None or drawn_w is None:
            continue
        promised = demand.promised(now_ms)
        assert promised is not None  # it is among those held
        phases = len(connector.leaf.phases)
        could_w = min(
            w_from_ma(free_ma[position], voltage_v=site.config.voltage_v, phases=phases),
            round(session.max_ma * session.grid_w_per_ma),
        )
        lasts_w = promised.missing_wh * MS_PER_HOUR // (until_ms - now_ms)
        more_w = min(could_w, lasts_w) - max(0, drawn_w)
        if more_w > 0:
            found.append(_More(demand.session.session_id, more_w))
    return found


def _without_plan(site: LiveSite, rows: Budget, now_ms: int, pace: Pace) -> list[int]:
    """What a round would give everybody if nobody were held back."""
    targets = {
        position: demand.target_ma
        for position, demand in enumerate(site.demands)
        if demand is not None and demand.target_ma is not None and demand.target_ma >= 0
    }
    demands = site.demands
    for position in targets:
        demand = demands[position]
        assert demand is not None  # it has a target
        demand.target_ma = None
    try:
        free = site.solve(rows, now_ms=now_ms, pace=pace, narrowed=True)
    finally:
        for position, target_ma in targets.items():
            demand = demands[position]
            assert demand is not None  # it has a target
            demand.target_ma = target_ma
    return [max(0, target_ma or 0) for target_ma in free.target_ma]


# --- what it costs --------------------------------------------------------------------------------


def _price_per_kwh(
    schedule: Schedule, sought: Sought, found: list[_More], *, now_ms: int, duration_ms: int
) -> Decimal:
    """What a kilowatt-hour costs more now than where the plan has it, and what all of them add to
    demand charges; 0 where they cost no more."""
    inputs = sought.inputs
    slot_ms = schedule.slot_ms
    first = max(0, (now_ms - inputs.start_ms) // slot_ms)
    until = min(inputs.slots, -((inputs.start_ms - now_ms - duration_ms) // slot_ms))
    power_w = sum(each.power_w for each in found)
    if until <= first or not power_w:
        return Decimal(0)
    prices = inputs.import_price_per_kwh
    here = sum(prices[first:until], Decimal(0)) / (until - first)
    later = sum(
        (_planned_price(schedule, inputs, each.name, until, here) * each.power_w for each in found),
        Decimal(0),
    )
    moved = here - later / power_w
    energy_kwh = Decimal(power_w * duration_ms) / MS_PER_HOUR / 1_000
    peaks = _peak_cost(schedule, sought, first, until, power_w) / energy_kwh
    return max(Decimal(0), moved + peaks).quantize(_CENT)


def _planned_price(
    schedule: Schedule, inputs: SiteInputs, name: str, until: int, otherwise: Decimal
) -> Decimal:
    """The mean price at which the plan charges a session after the time in question."""
    place = schedule.index.get(name)
    if place is None:
        return otherwise
    planned = [max(0, ma) for ma in schedule.current_ma[place, until:].tolist()]
    if not sum(planned):
        return otherwise
    paid = zip(planned, inputs.import_price_per_kwh[until:], strict=False)
    return sum((ma * price for ma, price in paid), Decimal(0)) / Decimal(sum(planned))


def _peak_cost(schedule: Schedule, sought: Sought, first: int, until: int, power_w: int) -> Decimal:
    """What it adds to demand charges that so much more is drawn in these slots: beyond the highest
    of the month so far, and beyond what the plan draws anyway."""
    inputs = sought.inputs
    load_w = _load_w(schedule, sought)
    cost = Decimal(0)
    for charge in inputs.demand:
        counted = charge.slots or (True,) * inputs.slots
        planned = (load for load, counts in zip(load_w, counted, strict=True) if counts)
        highest_w = max(charge.so_far_w, *planned, 0)
        raised = (load_w[slot] + power_w for slot in range(first, until) if counted[slot])
        excess_w = max(0.0, max(raised, default=0.0) - highest_w)
        cost += charge.price_per_kw * Decimal(round(excess_w)) / 1_000
    return cost


def _load_w(schedule: Schedule, sought: Sought) -> list[float]:
    """What flows in each slot by the plan."""
    base_w = sought.inputs.base_w or (0,) * sought.inputs.slots
    load_w = [float(each) for each in base_w]
    for name, session in sought.sessions.items():
        place = schedule.index.get(name)
        if place is not None:
            for slot, current_ma in enumerate(schedule.current_ma[place].tolist()):
                load_w[slot] += current_ma * session.grid_w_per_ma
    return load_w
