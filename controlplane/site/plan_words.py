"""What a plan makes of one session, in words for operators and drivers.

Invariant: nothing is decided here; a reason follows from the prices by which the plan was made."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, tzinfo
from typing import TYPE_CHECKING

from controlplane.planning.schedule import Schedule
from controlplane.site.demand import Demand
from controlplane.site.targets import Sought, SoughtSession
from controlplane.units import MS_PER_S

if TYPE_CHECKING:
    from controlplane.site.live import LiveConnector, LiveSite

__all__ = ["plan_words"]

_FULL_PERMILLE = 900


def plan_words(site: LiveSite, connector: LiveConnector, now_ms: int) -> str:
    """What the plan makes a connector do at an instant; empty where none is followed or it has no
    session."""
    if connector.demand is None or not site.targets.followed(now_ms):
        return ""
    return _session_words(site, connector, connector.demand, now_ms)


def _session_words(site: LiveSite, connector: LiveConnector, demand: Demand, now_ms: int) -> str:
    schedule, sought = site.targets.schedule, site.targets.sought
    assert schedule is not None and sought is not None  # a plan is followed
    name = demand.session.session_id
    session, place = sought.sessions.get(name), schedule.index.get(name)
    slot = schedule.slot(now_ms)
    if session is None or place is None or slot is None:
        return "came after the plan was made and shares by urgency until the next"
    if not session.held:
        unknown = "when it leaves" if session.departure_source is None else "what it needs"
        return f"nobody knows {unknown}: it shares by urgency"
    leaves = _clock(session.departure_ms, site.zone)
    target_ma, row = demand.target_ma, schedule.current_ma[place].tolist()
    if demand.boosted:
        return "boosted: not held back by the plan"
    if target_ma is None:
        return f"charges now because it leaves at {leaves}"
    if target_ma < 0:
        until = _next(row, slot, lambda each: each >= 0)
        return f"feeds in until {_clock(schedule.start_ms + until * schedule.slot_ms, site.zone)}"
    if site.state.grid.aim_w() is not None and target_ma > (site.targets.wanted_ma(name) or 0):
        return "charges before its turn, because the site is asked to draw more"
    if target_ma == 0 or site.targets.wanted_ma(name) == 0:
        goes_on = _next(row, slot, lambda each: each > 0)
        waits = _waits(site, connector, slot, goes_on)
        # Nobody is switched off as soon as he is on.
        return waits if target_ma == 0 else f"goes on for a moment, then {waits}"
    if target_ma * 1_000 >= session.max_ma * _FULL_PERMILLE:
        if _later_is_dearer(sought, schedule, session, slot):
            return "charges now while power is cheap"
        return f"charges now because it leaves at {leaves}"
    until = _next(row, slot, lambda each: each != row[slot])
    until_ms = min(schedule.start_ms + until * schedule.slot_ms, session.departure_ms)
    clock = _clock(until_ms, site.zone)
    return f"charges at {target_ma / 1_000:.3g} A until {clock} by the plan, leaves at {leaves}"


def _waits(site: LiveSite, connector: LiveConnector, slot: int, goes_on: int) -> str:
    """Why it is given nothing from one slot until another, in which it goes on."""
    schedule, sought = site.targets.schedule, site.targets.sought
    assert schedule is not None and sought is not None
    if goes_on >= schedule.slots:
        return "is given nothing more by the plan"
    until = _clock(schedule.start_ms + goes_on * schedule.slot_ms, site.zone)
    prices = sought.inputs.import_price_per_kwh
    if prices[goes_on] < prices[slot]:
        return f"waits for cheaper power until {until}"
    for peak in schedule.demand_price.values():
        if peak[slot] > peak[goes_on]:
            return f"waits until {until} so that the site's peak stays low"
    lines = {row % 3 + 1 for row in connector.leaf.rows}
    circuits = {site.config.circuits[row // 3].id for row in connector.leaf.rows}
    for full in schedule.rows:
        above = full.node in circuits or full.kind == "feeder"
        if above and (full.line in lines or full.line == 0) and full.price[slot] > 0:
            return f"waits until {until} for room on {full.kind} {full.node}"
    return f"waits until {until} by the plan"


def _later_is_dearer(sought: Sought, schedule: Schedule, session: SoughtSession, slot: int) -> bool:
    """Whether no later slot of its stay is cheaper, and some is dearer."""
    prices = sought.inputs.import_price_per_kwh
    last = schedule.slot(session.departure_ms - 1)
    later = prices[slot : schedule.slots if last is None else last + 1]
    return bool(later) and min(later) >= prices[slot] and max(later) > prices[slot]


def _next(row: list[int], slot: int, wanted: Callable[[int], bool]) -> int:
    """The first slot after `slot` of which `wanted` holds; one beyond the last where none does."""
    return next((at for at in range(slot + 1, len(row)) if wanted(row[at])), len(row))


def _clock(at_ms: int, zone: tzinfo) -> str:
    return f"{datetime.fromtimestamp(at_ms // MS_PER_S, zone):%H:%M}"
