"""A site's plan as people see it: what is drawn when, at what price, for whom, and what is missing.

Invariant: what is said here is read from the plan that is followed; nothing is decided here."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from controlplane.ids import SiteId
from controlplane.planning.schedule import Schedule
from controlplane.site.live import LiveSite
from controlplane.site.messages import (
    PlannedSessionView,
    PlanRowView,
    PlanSlotView,
    PlanState,
    PlanView,
)
from controlplane.site.plan_words import plan_words
from controlplane.site.planning import Planning
from controlplane.site.targets import Sought, SoughtSession

__all__ = ["plan_view"]

_WORTH_MIN = 1e-6


def plan_view(site: LiveSite, planning: Planning, now_ms: int) -> PlanView:
    """The plan at an instant."""
    words = planning.late_words(site, now_ms)
    state = PlanState.NONE
    if site.config.tariff is not None:
        state = PlanState.LATE if words else PlanState.AWAITED
        if site.targets.followed(now_ms):
            state = PlanState.FOLLOWED
        elif not words:
            words = planning.waiting_words(site)
    schedule, sought = site.targets.schedule, site.targets.sought
    site_id = SiteId(site.config.id)
    if schedule is None or sought is None:
        return PlanView(site_id, now_ms, state, words, site.config.time_zone)
    return PlanView(
        site_id=site_id,
        at_ms=now_ms,
        state=state,
        words=words,
        time_zone=site.config.time_zone,
        plan_ms=sought.asked_ms,
        feeder_id=sought.feeder_id,
        start_ms=schedule.start_ms,
        slot_s=schedule.slot_s,
        currency=sought.inputs.currency,
        cost=schedule.cost,
        bound=schedule.bound,
        slots=tuple(_slots(schedule, sought)),
        sessions=tuple(_sessions(site, schedule, sought, now_ms)),
        full_rows=tuple(_rows(schedule)),
        stale=sought.inputs.stale,
    )


def _slots(schedule: Schedule, sought: Sought) -> Iterator[PlanSlotView]:
    inputs = sought.inputs
    w_per_ma = [
        session.grid_w_per_ma if (session := sought.sessions.get(name)) is not None else 0.0
        for name in schedule.vehicles
    ]
    planned_w = (np.array(w_per_ma) @ schedule.current_ma).round().astype(int).tolist()
    demand = [sum(prices) for prices in zip(*schedule.demand_price.values(), strict=True)]
    for slot in range(schedule.slots):
        yield PlanSlotView(
            planned_w=planned_w[slot],
            base_w=inputs.base_w[slot] if inputs.base_w else 0,
            limit_w=sought.limit_w[slot],
            import_price=inputs.import_price_per_kwh[slot],
            export_price=inputs.export_price_per_kwh[slot] if inputs.export_price_per_kwh else None,
            demand_price=demand[slot] if demand else 0.0,
        )


def _sessions(
    site: LiveSite, schedule: Schedule, sought: Sought, now_ms: int
) -> Iterator[PlannedSessionView]:
    missing = {each.vehicle: each for each in schedule.shortfalls}
    slot_h = schedule.slot_s / 3_600
    for name, session in sorted(sought.sessions.items(), key=lambda each: _order(*each)):
        place = schedule.index.get(name)
        if place is None:
            continue
        row = schedule.current_ma[place]
        short = missing.get(name)
        connector = None if session.key is None else site.by_key.get(session.key)
        demand = None if connector is None else connector.demand
        here = demand is not None and demand.session.session_id == name
        yield PlannedSessionView(
            session_id="" if session.key is None else name,
            charger_id=None if session.key is None else session.key.charger_id,
            connector_id=0 if session.key is None else session.key.connector_id,
            arrival_ms=session.arrival_ms,
            departure_ms=session.departure_ms,
            need_source=None if session.need_source is None else session.need_source.value,
            departure_source=(
                None if session.departure_source is None else session.departure_source.value
            ),
            need_wh=session.need_wh,
            planned_wh=round(float(row.sum()) * session.wh_per_mah * slot_h),
            missing_wh=0 if short is None else short.missing_wh,
            missing_reason="" if short is None else short.words,
            slot_w=tuple((row * session.grid_w_per_ma).round().astype(int).tolist()),
            target_ma=demand.target_ma if demand is not None and here else None,
            words=plan_words(site, connector, now_ms) if connector is not None and here else "",
        )


def _order(name: str, session: SoughtSession) -> tuple[bool, str, int, int]:
    key = session.key
    if key is None:
        return True, "", session.arrival_ms, 0
    return False, key.charger_id, key.connector_id, 0


def _rows(schedule: Schedule) -> Iterator[PlanRowView]:
    both = [(row, False) for row in schedule.rows] + [(row, True) for row in schedule.export_rows]
    for row, feeds in both:
        worths = tuple(
            (schedule.start_ms + slot * schedule.slot_ms, price)
            for slot, price in enumerate(row.price)
            if price > _WORTH_MIN
        )
        yield PlanRowView(
            subject=row.node, kind=row.kind, line=row.line, worths=worths, feeds=feeds
        )
