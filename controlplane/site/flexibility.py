"""By how much a site could draw less, for how long, and at what cost.

Two kinds, the cheaper first: who charges and could wait that long and still be ready draws nothing
meanwhile, which costs nothing but time; who can spare energy feeds it in, for what its driver is
credited with. Invariant: what is offered keeps needs, reserves and rows for export; it is a
statement of this moment and reserves nothing."""

from __future__ import annotations

from controlplane.ids import SiteId
from controlplane.site.budget import Budget
from controlplane.site.feeding import ALL_MA, share_out
from controlplane.site.live import LiveSite
from controlplane.site.messages import FlexibilityOffer, OfferedPart
from controlplane.site.report import site_observation
from controlplane.units import MS_PER_HOUR, w_from_ma

__all__ = ["DURATION_MAX_MS", "DURATION_MIN_MS", "offer"]

DURATION_MIN_MS = 300_000
DURATION_MAX_MS = 24 * MS_PER_HOUR


def offer(site: LiveSite, rows: Budget, *, now_ms: int, duration_ms: int) -> FlexibilityOffer:
    """What the site could leave undrawn from `now_ms` on, for so long."""
    stale_ms = site.feed.fresh_ms
    now = site_observation(site, rows, now_ms=now_ms, stale_ms=stale_ms)
    until_ms = now_ms + duration_ms
    waiting = site.feed.who_waits(rows.building_ma, now_ms, until_ms=until_ms)
    paused_w = paused = 0
    for position in waiting:
        connector = site.connectors[position]
        metered_w = connector.metered_w(now_ms=now_ms, stale_ms=stale_ms)
        told_ma, phases = connector.entry.asked_ma, len(connector.leaf.phases)
        if metered_w is not None and told_ma is not None:
            # Who was told to pause for another event is sold already, though it still ramps.
            told_w = w_from_ma(max(0, told_ma), voltage_v=site.config.voltage_v, phases=phases)
            metered_w = min(metered_w, told_w)
        if metered_w is not None and metered_w > 0:
            paused_w += metered_w
            paused += 1
    parts = [OfferedPart("pause", paused_w, paused)]
    terms = site.config.vehicle_to_grid
    if terms is not None:
        fed_w, feeding = _fed_in(site, rows, now_ms, duration_ms=duration_ms)
        price = str(terms.credit_per_kwh)
        parts.append(OfferedPart("feed_in", fed_w, feeding, price, terms.currency))
    return FlexibilityOffer(
        site_id=SiteId(site.config.id),
        at_ms=now_ms,
        duration_ms=duration_ms,
        drawn_w=now.measured_w,
        baseline_w=site.state.grid.baseline_w(now_ms),
        parts=tuple(parts),
    )


def _fed_in(site: LiveSite, rows: Budget, now_ms: int, *, duration_ms: int) -> tuple[int, int]:
    """What vehicles could feed in all the time beside what they feed in already, in W, and how
    many."""
    tree, voltage_v = site.tree, site.config.voltage_v
    able = site.feed.abilities(rows.building_ma, now_ms, until_ms=now_ms + duration_ms)
    shared = share_out(
        tree, site.entries, able, wanted_ma=ALL_MA, planned_ma={}, export_ma=rows.export_ma
    )
    power_w = feeding = 0
    for position, feed_ma in shared.feed_ma.items():
        phases, connector = len(tree.leaves[position].phases), site.connectors[position]
        most_w = w_from_ma(feed_ma, voltage_v=voltage_v, phases=phases)
        metered_w = connector.metered_w(now_ms=now_ms, stale_ms=site.feed.fresh_ms)
        told_w = w_from_ma(connector.entry.feed_ma, voltage_v=voltage_v, phases=phases)
        # What it was told for another event is sold already, be it that it still gives less.
        sold_w = max(told_w, 0 if metered_w is None else -metered_w)
        more_w = min(most_w, able[position].spare_wh * MS_PER_HOUR // duration_ms) - sold_w
        if more_w > 0:
            power_w, feeding = power_w + more_w, feeding + 1
    return power_w, feeding
