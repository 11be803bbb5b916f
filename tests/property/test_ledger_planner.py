"""A planner that lies cannot put a row over its rating."""

from __future__ import annotations

from random import Random
from typing import Any

import msgspec
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from ledger_world import World

from controlplane.actor import Answer, Ask, Effect, PlanFound, PlanWanted
from controlplane.network import SiteConfig
from controlplane.planning import Schedule
from controlplane.site.messages import GetPlan, PlanView

TARIFF = {"currency": "EUR", "import_price_per_kwh": "0.30"}


class LiedTo(World):
    """Asked for a plan, its planner makes something up: late, for others, of another time, or that
    there is none."""

    lies: list[PlanFound]

    def __init__(self, seed: int, **kinds: Any) -> None:
        self.liar = Random(f"liar {seed}")
        self.lies = []
        self.answered = 0
        super().__init__(seed, **kinds)

    def _draw_site(self) -> SiteConfig:
        site = super()._draw_site().model_dump(mode="json") | {"tariff": TARIFF}
        return SiteConfig.model_validate(site)

    def _carry_out(self, effects: list[Effect]) -> None:
        super()._carry_out(effects)
        self.lies += [self._lie(each) for each in effects if isinstance(each, PlanWanted)]

    def _lie(self, wanted: PlanWanted) -> PlanFound:
        liar, asked = self.liar, wanted.question
        if liar.random() < 0.1:
            return PlanFound(wanted.plan_id, None, "the planner is in no mood")
        names = [vehicle.id for vehicle in asked.horizon.vehicles] + ["nobody"]
        slots = asked.horizon.slots
        ma = [[liar.choice([0, 3_000, 7_000, 16_000, 90_000, -9_000])] * slots for _ in names]
        schedule = Schedule(
            start_ms=asked.start_ms - liar.choice([0, 0, 0, 900_000, 10**9]),
            slot_s=900,
            slots=slots,
            vehicles=tuple(names),
            current=np.array(ma, "<i4").tobytes(),
            cost=1.0,
            bound=2.0,
        )
        return PlanFound(wanted.plan_id, schedule)

    def happen(self) -> None:
        while self.lies and self.liar.random() < 0.8:
            self.answered += 1
            self.tell(self.lies.pop(self.liar.randrange(len(self.lies))))
            self.check()
        super().happen()


def live(world: LiedTo, events: int) -> LiedTo:
    for _ in range(events):
        world.happen()
        world.advance(world.random.choice([300, 2_000, 15_000, 90_000]))
    return world


@settings(max_examples=12, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), building=st.booleans(), policy=st.booleans())
def test_no_lie_of_a_planner_puts_a_row_over_its_rating(
    seed: int, building: bool, policy: bool
) -> None:
    world = live(LiedTo(seed, building=building, policy=policy, wishes=True), 80)
    assert world.view().violations == 0


def test_the_liar_is_believed() -> None:
    """Without this the property would say nothing."""
    world = live(LiedTo(5, wishes=True), 80)
    assert world.answered > 3
    answers = [e for e in world.tell(Ask("p", GetPlan())) if isinstance(e, Answer)]
    view = answers[0].response
    assert isinstance(view, PlanView) and view.plan_ms is not None
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(view), type=PlanView) == view
