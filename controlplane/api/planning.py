"""`PlanningService`: what sites and feeders plan over the next day, and what they plan with."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from decimal import Decimal
from typing import Any

from controlplane.api.backend import Caller, invalid, seconds, timestamp
from controlplane.api.foresight import ForesightCalls
from controlplane.api.grid_events import require_feeder
from controlplane.api.sites import demand_source, require_site
from controlplane.api.v1 import electrical_pb2, planning_pb2, planning_pb2_grpc
from controlplane.feeder.plan_messages import FeederPlanView, GetFeederPlan
from controlplane.ids import ActorKind, ActorRef
from controlplane.site.messages import (
    GetPlan,
    PlannedSessionView,
    PlanRowView,
    PlanSlotView,
    PlanState,
    PlanView,
)
from controlplane.units import MS_PER_S

__all__ = ["PlanningCalls", "plan_to_message"]

_STATES = {
    PlanState.NONE: planning_pb2.PLAN_STATE_NONE,
    PlanState.AWAITED: planning_pb2.PLAN_STATE_AWAITED,
    PlanState.FOLLOWED: planning_pb2.PLAN_STATE_FOLLOWED,
    PlanState.LATE: planning_pb2.PLAN_STATE_LATE,
}
_WATCH_S = 5.0
_PLACES = Decimal("0.000001")


class PlanningCalls(ForesightCalls, planning_pb2_grpc.PlanningServiceServicer):
    """Answers `controlplane.api.v1.PlanningService`."""

    async def GetPlan(
        self, request: planning_pb2.GetPlanRequest, context: Any
    ) -> planning_pb2.GetPlanResponse:
        view = await self._view(request, context)
        return planning_pb2.GetPlanResponse(plan=_to_message(view))

    async def WatchPlan(
        self, request: planning_pb2.WatchPlanRequest, context: Any
    ) -> AsyncIterator[planning_pb2.WatchPlanResponse]:
        interval_s = seconds(
            "interval_s", request.interval_s, default_s=_WATCH_S, least_s=1.0, most_s=3_600.0
        )
        told: tuple[PlanState, int | None, str] | None = None
        while True:
            view = await self._view(request, context)
            if (view.state, view.plan_ms, view.words) != told:
                told = view.state, view.plan_ms, view.words
                yield planning_pb2.WatchPlanResponse(plan=_to_message(view))
            await asyncio.sleep(interval_s)

    async def _view(
        self, request: planning_pb2.GetPlanRequest | planning_pb2.WatchPlanRequest, caller: Caller
    ) -> PlanView | FeederPlanView:
        if not request.feeder_id:
            await require_site(self._backend, request.site_id)
            site = ActorRef(ActorKind.SITE, request.site_id)
            return await self._backend.ask(site, GetPlan(), PlanView, caller)
        if request.site_id:
            raise invalid("feeder_id", "give a site or a feeder, not both")
        await require_feeder(self._backend, request.feeder_id)
        feeder = ActorRef(ActorKind.FEEDER, request.feeder_id)
        return await self._backend.ask(feeder, GetFeederPlan(), FeederPlanView, caller)


def _to_message(view: PlanView | FeederPlanView) -> planning_pb2.Plan:
    return plan_to_message(view) if isinstance(view, PlanView) else _feeder_to_message(view)


def plan_to_message(view: PlanView) -> planning_pb2.Plan:
    """A site's view of its plan, as a message."""
    slot_ms = view.slot_s * MS_PER_S
    return planning_pb2.Plan(
        site_id=view.site_id,
        state=_STATES[view.state],
        words=view.words,
        plan_time=timestamp(view.plan_ms),
        feeder_id=view.feeder_id,
        start_time=timestamp(view.start_ms),
        slot_s=view.slot_s,
        currency=view.currency,
        cost=_decimal(view.cost) if view.plan_ms is not None else "",
        bound=_decimal(view.bound) if view.plan_ms is not None else "",
        gap_percent=_gap_percent(view),
        slots=[
            _slot_to_message(slot, (view.start_ms or 0) + at * slot_ms)
            for at, slot in enumerate(view.slots)
        ],
        sessions=[_session_to_message(session) for session in view.sessions],
        full_rows=[_row_to_message(row) for row in view.full_rows],
        stale=view.stale,
        time_zone=view.time_zone,
    )


def _gap_percent(view: PlanView | FeederPlanView) -> float:
    return 100 * (view.cost - view.bound) / abs(view.cost) if view.cost else 0.0


def _feeder_to_message(view: FeederPlanView) -> planning_pb2.Plan:
    """A feeder's view of the plan of all below it, as a message."""
    slot_ms = view.slot_s * MS_PER_S
    together = view.cost != 0.0
    series = zip(view.planned_w, view.load_w, view.limit_w, strict=True)
    return planning_pb2.Plan(
        state=_STATES[view.state],
        words=view.words,
        plan_time=timestamp(view.plan_ms),
        feeder_id=view.feeder_id,
        planner_id=view.planner_id,
        start_time=timestamp(view.start_ms),
        slot_s=view.slot_s,
        currency=view.currency,
        cost=_decimal(view.cost) if together else "",
        bound=_decimal(view.bound) if together else "",
        gap_percent=_gap_percent(view),
        slots=[
            planning_pb2.PlanSlot(
                start_time=timestamp((view.start_ms or 0) + at * slot_ms),
                planned_w=planned_w - load_w,
                base_w=load_w,
                limit_w=max(0, limit_w - load_w),
            )
            for at, (planned_w, load_w, limit_w) in enumerate(series)
        ],
        full_rows=[_row_to_message(row) for row in view.full_rows],
        time_zone="UTC",
        sites=[
            planning_pb2.PlanSite(
                site_id=site.site_id,
                feeder_id=site.feeder_id,
                tell_time=timestamp(site.told_ms),
                vehicle_count=site.vehicles,
                short_count=site.short,
                missing_wh=site.missing_wh,
                planned_w=site.planned_w,
                allotted_w=site.allotted_w,
            )
            for site in view.sites
        ],
    )


def _slot_to_message(slot: PlanSlotView, start_ms: int) -> planning_pb2.PlanSlot:
    return planning_pb2.PlanSlot(
        start_time=timestamp(start_ms),
        planned_w=slot.planned_w,
        base_w=slot.base_w,
        limit_w=slot.limit_w,
        import_price_per_kwh=str(slot.import_price),
        export_price_per_kwh="" if slot.export_price is None else str(slot.export_price),
        demand_price_per_kw=_decimal(slot.demand_price),
    )


def _session_to_message(session: PlannedSessionView) -> planning_pb2.PlannedSession:
    return planning_pb2.PlannedSession(
        session_id=session.session_id,
        charger_id=session.charger_id or "",
        connector_id=session.connector_id,
        expected=session.charger_id is None,
        arrival_time=timestamp(session.arrival_ms),
        departure_time=timestamp(session.departure_ms),
        need_source=demand_source(session.need_source),
        departure_source=demand_source(session.departure_source),
        need_wh=session.need_wh,
        planned_wh=session.planned_wh,
        missing_wh=session.missing_wh,
        missing_reason=session.missing_reason,
        slot_w=session.slot_w,
        target_ma=session.target_ma,
        words=session.words,
    )


def _row_to_message(row: PlanRowView) -> planning_pb2.PlanRow:
    return planning_pb2.PlanRow(
        subject=row.subject,
        kind=row.kind,
        phase=electrical_pb2.Phase.ValueType(row.line),
        worths=[
            planning_pb2.RowWorth(start_time=timestamp(at_ms), price=_decimal(price))
            for at_ms, price in row.worths
        ],
        feeds_in=row.feeds,
    )


def _decimal(value: float) -> str:
    """A figure of a plan as decimal text, to the millionth."""
    return f"{Decimal(value).quantize(_PLACES).normalize():f}"
