"""What somebody is told who watches a plan."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest

from controlplane.api.planning import PlanningCalls
from controlplane.api.v1 import planning_pb2
from controlplane.ids import SiteId
from controlplane.site.messages import PlanState, PlanView

LATE = "the plan that was asked for at 22:15 has not come; "


def view(state: PlanState, words: str, plan_ms: int | None = 900_000) -> PlanView:
    return PlanView(SiteId("depot"), 1_000_000, state, words, "UTC", plan_ms=plan_ms)


class Told(PlanningCalls):
    def __init__(self, views: Iterator[PlanView]) -> None:
        self._views = views

    async def _view(self, request: Any, caller: Any) -> PlanView:
        return next(self._views)


async def test_who_watches_hears_at_once_that_the_planner_is_late(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def at_once(_: float) -> None:
        pass

    monkeypatch.setattr(asyncio, "sleep", at_once)
    followed = view(PlanState.FOLLOWED, "")
    late = view(PlanState.FOLLOWED, LATE + "the last one is followed until 22:28")
    alone = view(PlanState.LATE, LATE + "vehicles share by urgency")
    again = view(PlanState.FOLLOWED, "", plan_ms=1_900_000)
    seen = [followed, followed, late, late, alone, again]
    request = planning_pb2.WatchPlanRequest(site_id="depot")
    watched = Told(iter(seen)).WatchPlan(request, None)
    told = [(await anext(watched)).plan.words for _ in range(4)]
    assert told == ["", late.words, alone.words, ""]
