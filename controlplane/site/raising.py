"""Drawing more for a while, because somebody asked for it: vehicles that the plan would let wait
charge before their turn.

What is asked for is a power of the whole site. What everybody is to draw by the plan is added up,
and what is missing is handed to those who are held back, who leaves first leading. Invariant:
nobody is offered more than without a plan; ratings, limits, caps and guarantees are worked out
afterwards, as ever."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING

from controlplane.ids import ConnectorKey
from controlplane.site.targets import SoughtSession, least_charging_ma
from controlplane.units import w_from_ma

if TYPE_CHECKING:
    from controlplane.site.live import LiveConnector, LiveSite

__all__ = ["held_back", "raise_targets"]


def raise_targets(site: LiveSite, now_ms: int) -> None:
    """Raise the targets of this moment as far as events in force ask for more."""
    aim_w = site.state.grid.aim_w()
    if aim_w is None:
        return
    held = sorted(held_back(site), key=lambda each: (each[1].aims_ms, each[0].leaf.key))
    flows_w = _others_w(site, {connector.leaf.key for connector, _ in held}, now_ms)
    flows_w += sum(_planned_w(connector, session) for connector, session in held)
    missing_w = aim_w - flows_w
    for connector, session in held:
        if missing_w <= 0:
            return
        missing_w -= _raised_w(connector, session, missing_w)


def held_back(site: LiveSite) -> Iterator[tuple[LiveConnector, SoughtSession]]:
    """Who would draw more, were it not for the plan."""
    sought = site.targets.sought
    if sought is None:
        return
    for connector in site.connectors:
        demand = connector.demand
        if demand is None or demand.target_ma is None or demand.holding or demand.target_ma < 0:
            continue
        session = sought.sessions.get(demand.session.session_id)
        if session is not None and demand.target_ma < session.max_ma:
            yield connector, session


def _others_w(site: LiveSite, held: set[ConnectorKey], now_ms: int) -> float:
    """What the building draws, and everybody whom the plan does not hold back."""
    building_ma = site.building_ma(now_ms)
    sum_ma = sum(building_ma[row] for row in site.tree.supply_rows)
    flows_w = float(w_from_ma(sum_ma, voltage_v=site.config.voltage_v, phases=1))
    for connector in site.connectors:
        if connector.leaf.key not in held:
            flows_w += connector.metered_w(now_ms=now_ms, stale_ms=site.feed.fresh_ms) or 0
    return flows_w


def _planned_w(connector: LiveConnector, session: SoughtSession) -> float:
    demand = connector.demand
    assert demand is not None and demand.target_ma is not None  # `held_back` says so
    return demand.target_ma * session.grid_w_per_ma


def _raised_w(connector: LiveConnector, session: SoughtSession, missing_w: float) -> float:
    """Raise one target by what is missing, as far as that goes; by how much it rises."""
    demand = connector.demand
    assert demand is not None and demand.target_ma is not None  # `held_back` says so
    before_ma, least_ma = demand.target_ma, least_charging_ma(connector, demand)
    wanted_ma = before_ma + math.ceil(missing_w / session.grid_w_per_ma)
    target_ma = min(session.max_ma, wanted_ma)
    if target_ma < least_ma:
        # A little too much is nearer to what was asked for than nothing at all, or it is not.
        if (least_ma - before_ma) * session.grid_w_per_ma > 2 * missing_w:
            return 0.0
        target_ma = least_ma
    demand.target_ma = target_ma
    return (target_ma - before_ma) * session.grid_w_per_ma
