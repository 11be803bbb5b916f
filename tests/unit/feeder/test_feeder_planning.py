"""Feeders plan for the sites below them, hand down what each may plan with, and say so."""

from __future__ import annotations

from decimal import Decimal

import msgspec

from controlplane.actor import (
    Answer,
    Ask,
    Effect,
    Message,
    PlanFound,
    PlanWanted,
    Send,
    SetTimer,
    TimerFired,
)
from controlplane.config import ActorSettings
from controlplane.feeder.actor import FeederActor
from controlplane.feeder.messages import (
    ConfigureFeeder,
    DeleteFeeder,
    SetFeederLimit,
    SiteLeft,
    SiteReport,
)
from controlplane.feeder.plan_messages import Allotted, FeederPlanView, GetFeederPlan, SiteAhead
from controlplane.grid_events import CreateGridEvent, GridEventKind
from controlplane.ids import ActorKind, ActorRef, SiteId
from controlplane.planning import Desk, Horizon, Meter, Node, PlanQuestion, Vehicle
from controlplane.planning.joint import SitePart
from controlplane.site.messages import PlanState

SLOT_MS = 900_000
START_MS = 1_700_000_100_000 // SLOT_MS * SLOT_MS
HOUR_MS = 3_600_000
SLOTS = 96
W_PER_A = 3 * 230


class Grid:
    """Real feeders; the test is their sites, and a desk beside them works plans out."""

    def __init__(self, **feeders: tuple[int, str | None]) -> None:
        self.now_ms = START_MS
        self.desk: Desk | None = Desk()
        self.actors: dict[ActorRef, FeederActor] = {}
        self.timers: dict[tuple[ActorRef, str], int] = {}
        self.allotted: dict[str, Allotted] = {}
        self.asked: list[PlanWanted] = []
        self.answers: list[msgspec.Struct] = []
        for name, (limit_a, parent) in feeders.items():
            ref = ActorRef(ActorKind.FEEDER, name)
            self.actors[ref] = FeederActor(ref, ActorSettings(), None)
            config = {"id": name, "power_max_w": limit_a * W_PER_A, "parent": parent}
            self.ask(name, ConfigureFeeder(msgspec.json.encode(config)))

    def ask(self, name: str, request: msgspec.Struct) -> msgspec.Struct:
        self.tell(ActorRef(ActorKind.FEEDER, name), Ask("ask", request))
        return self.answers.pop()

    def tell(self, ref: ActorRef, message: Message) -> None:
        self.take(ref, self.actors[ref].step(message, self.now_ms))

    def take(self, ref: ActorRef, effects: list[Effect]) -> None:
        for effect in effects:
            match effect:
                case SetTimer(key=key, at_ms=at_ms):
                    self.timers[ref, key] = at_ms
                case Answer(response=response):
                    self.answers.append(response)
                case Send(to=to, message=Allotted() as allotted):
                    self.allotted[to.id] = allotted
                case Send(to=to, message=message) if to in self.actors:
                    self.tell(to, message)
                case PlanWanted():
                    self.asked.append(effect)
                    if self.desk is not None:
                        found = self.desk.answer(ref, effect.question)
                        self.tell(ref, PlanFound(effect.plan_id, found))

    def advance(self, duration_ms: int) -> None:
        until_ms = self.now_ms + duration_ms
        while self.timers:
            (ref, key), at_ms = min(self.timers.items(), key=lambda each: each[1])
            if at_ms > until_ms:
                break
            self.now_ms = max(self.now_ms, at_ms)
            del self.timers[ref, key]
            self.tell(ref, TimerFired(key))
        self.now_ms = until_ms

    def says(
        self,
        site: str,
        feeder: str,
        *,
        vans: int = 2,
        leaves_h: int,
        currency: str = "EUR",
        counted: int | None = None,
    ) -> None:
        """Vans of 32 A that need 40 kWh each; power is cheap after two hours."""
        start_ms = self.now_ms - self.now_ms % SLOT_MS
        prices = (Decimal("0.40"),) * 8 + (Decimal("0.10"),) * (SLOTS - 8)
        horizon = Horizon(
            slots=SLOTS,
            slot_s=900,
            nodes=(Node(id="supply", kind="circuit", import_ma=(200_000,) * 3),),
            meters=(Meter(id="meter", node="supply", import_price_per_kwh=prices),),
            vehicles=tuple(
                Vehicle(
                    id=f"van-{at}",
                    node="supply",
                    departure_s=leaves_h * 3_600,
                    need_wh=40_000,
                    room_wh=40_000,
                    charge_permille=1_000,
                )
                for at in range(vans)
            ),
        )
        part = SitePart(
            site_id=site,
            feeder_id=feeder,
            question=PlanQuestion(horizon=horizon, start_ms=start_ms),
            load_ma=(0,) * SLOTS,
            able_ma=200_000,
        )
        message = SiteAhead(
            site_id=SiteId(site),
            at_ms=self.now_ms,
            currency=currency,
            vehicles=vans if counted is None else counted,
            part=msgspec.msgpack.encode(part),
        )
        self.tell(ActorRef(ActorKind.FEEDER, feeder), message)

    def allotted_a(self, site: str, hour: float) -> float:
        allotted = self.allotted[site]
        slot = round(((self.now_ms - allotted.start_ms) / HOUR_MS + hour) * 4)
        return allotted.current_ma[slot] / 1_000

    def view(self, feeder: str) -> FeederPlanView:
        view = self.ask(feeder, GetFeederPlan())
        assert isinstance(view, FeederPlanView), view
        return view


def two_depots() -> Grid:
    """One must charge in the dear hours with the whole feeder, the other can wait."""
    grid = Grid(street=(64, None))
    grid.says("early", "street", leaves_h=2)
    grid.says("late", "street", leaves_h=6)
    grid.advance(5_000)
    return grid


def test_each_site_is_allotted_its_part_of_one_plan() -> None:
    grid = Grid(street=(80, None))
    grid.says("early", "street", leaves_h=2)
    # A little of this has to be charged in the dear hours.
    grid.says("late", "street", vans=3, leaves_h=4)
    grid.advance(5_000)
    assert len(grid.asked) == 1, "what comes together is planned together"
    assert grid.allotted_a("early", 1) > 55
    assert grid.allotted_a("late", 3) > 75
    for hour in range(24):
        assert sum(grid.allotted_a(site, hour) for site in ("early", "late")) <= 80
    assert grid.allotted["late"].full == "street"
    view = grid.view("street")
    assert (view.state, view.planner_id) == (PlanState.FOLLOWED, "street")
    assert view.cost * 0.9989 <= view.bound <= view.cost
    assert [site.short for site in view.sites] == [0, 0]
    (row,) = view.full_rows
    assert row.subject == "street"
    assert max(price for _, price in row.worths) > 0


def test_a_plan_is_made_once_a_minute_at_most_whoever_speaks() -> None:
    grid = two_depots()
    for _ in range(50):
        grid.says("late", "street", leaves_h=6)
        grid.advance(1_000)
    assert len(grid.asked) == 1
    grid.advance(30_000)
    assert len(grid.asked) == 2


def test_feeders_below_pass_on_what_is_said_and_what_is_allotted() -> None:
    grid = Grid(town=(90, None), lane=(40, "town"))
    grid.says("early", "lane", vans=1, leaves_h=2)
    grid.says("late", "lane", leaves_h=6)
    grid.says("shop", "town", leaves_h=2)
    grid.advance(5_000)
    assert set(grid.allotted) == {"early", "late", "shop"}
    assert grid.allotted["early"].feeder_id == "lane"
    for hour in range(24):
        lane_a = grid.allotted_a("early", hour) + grid.allotted_a("late", hour)
        assert lane_a <= 40
        assert lane_a + grid.allotted_a("shop", hour) <= 90
    below = grid.view("lane")
    assert (below.planner_id, below.limit_w[0]) == ("town", 40 * W_PER_A)
    assert [site.site_id for site in below.sites] == ["early", "late"]
    assert len(grid.view("town").sites) == 3


def test_limits_to_come_are_in_the_plan_beforehand() -> None:
    """The utility will take three quarters of the feeder from the third hour on, the owner some of
    it after that: who can wait no longer does not."""
    grid = two_depots()
    event = CreateGridEvent(
        event_id="evening",
        kind=GridEventKind.LIMIT,
        power_w=16 * W_PER_A,
        start_ms=START_MS + 2 * HOUR_MS,
        end_ms=START_MS + 4 * HOUR_MS,
    )
    grid.ask("street", event)
    limit = SetFeederLimit(32 * W_PER_A, START_MS + 4 * HOUR_MS, START_MS + 6 * HOUR_MS)
    grid.ask("street", limit)
    grid.advance(15_000)
    assert len(grid.asked) == 2
    for hour, limit_a in ((1, 64), (3, 16), (5, 32), (7, 64)):
        both_a = grid.allotted_a("early", hour) + grid.allotted_a("late", hour)
        assert limit_a - 0.1 <= both_a <= limit_a
    assert sum(site.short for site in grid.view("street").sites) > 0


def test_a_reduction_to_come_is_counted_from_the_plan() -> None:
    grid = two_depots()
    event = CreateGridEvent(
        event_id="dip",
        kind=GridEventKind.REDUCE_BY,
        power_w=20 * W_PER_A,
        start_ms=START_MS + HOUR_MS,
        end_ms=START_MS + 2 * HOUR_MS,
    )
    grid.ask("street", event)
    grid.advance(15_000)
    both_a = grid.allotted_a("early", 1.5) + grid.allotted_a("late", 1.5)
    assert 35 <= both_a <= 44, "55 to 64 A were planned before it"


def test_who_does_not_plan_keeps_what_it_wants_and_who_is_silent_what_it_may_draw() -> None:
    grid = Grid(street=(64, None))
    street = ActorRef(ActorKind.FEEDER, "street")
    grid.advance(6_000)
    grid.tell(street, SiteReport(SiteId("plain"), 0, 2_000, 20_000, 2_000, 0))
    grid.says("early", "street", leaves_h=2)
    grid.says("late", "street", leaves_h=6)
    grid.advance(5_000)
    assert grid.allotted_a("early", 1) + grid.allotted_a("late", 1) <= 44
    grid.advance(120_000)
    grid.says("late", "street", leaves_h=6)
    grid.advance(5_000)
    state = grid.actors[street]._state
    assert state is not None
    counted_a = state.sites[SiteId("plain")].counted_ma / 1_000
    assert counted_a > 20
    both_a = grid.allotted_a("early", 1) + grid.allotted_a("late", 1)
    assert both_a <= 64 - counted_a + 0.1


def test_a_silent_site_is_planned_with_what_it_said_last_for_an_hour() -> None:
    grid = two_depots()
    for minutes, known in ((30, True), (40, False)):
        grid.advance(minutes * 60_000)
        grid.says("late", "street", leaves_h=5)
        grid.advance(70_000)
        assert ("early" in {site.site_id for site in grid.view("street").sites}) is known


def test_a_site_that_left_is_planned_with_no_more() -> None:
    grid = two_depots()
    street = ActorRef(ActorKind.FEEDER, "street")
    grid.tell(street, SiteReport(SiteId("early"), 0, 0, 0, 0, 0))
    grid.tell(street, SiteLeft(SiteId("early"), grid.now_ms))
    grid.says("late", "street", leaves_h=6)
    grid.advance(70_000)
    assert [site.site_id for site in grid.view("street").sites] == ["late"]
    assert grid.allotted_a("late", 1) == 64


def test_where_no_plan_comes_the_feeder_says_so_and_asks_again() -> None:
    grid = Grid(street=(64, None))
    grid.desk = None
    grid.says("early", "street", leaves_h=2)
    grid.says("late", "street", leaves_h=6)
    grid.advance(5_000)
    assert grid.view("street").state is PlanState.AWAITED
    assert not grid.allotted
    grid.says("late", "street", leaves_h=6)
    grid.advance(300_000)
    assert len(grid.asked) > 1
    late = grid.view("street")
    assert late.state is PlanState.LATE
    assert late.words == "the plan that was asked for at 22:15 has not come; sites plan alone"
    street = ActorRef(ActorKind.FEEDER, "street")
    grid.tell(street, PlanFound(grid.asked[-1].plan_id, None, "the horizon contradicts itself"))
    view = grid.view("street")
    assert view.state is PlanState.LATE
    assert view.words == "sites plan alone: the horizon contradicts itself"


def test_an_old_plan_is_late() -> None:
    grid = two_depots()
    grid.desk = None
    grid.says("late", "street", leaves_h=5)
    grid.advance(3 * 60_000)
    view = grid.view("street")
    assert view.state is PlanState.FOLLOWED
    assert view.words.endswith(" has not come; the last one holds for a while")
    grid.advance(16 * 60_000)
    assert grid.view("street").state is PlanState.LATE


def test_what_cannot_be_planned_together_is_said() -> None:
    grid = Grid(street=(64, None))
    grid.says("home", "street", leaves_h=2)
    grid.says("abroad", "street", leaves_h=6, currency="CHF")
    grid.advance(5_000)
    assert grid.view("street").words == "sites plan alone: its sites pay in CHF and EUR"
    grid.says("abroad", "street", leaves_h=6, counted=20_000)
    grid.advance(70_000)
    assert "20002 vehicles are more than the 20000" in grid.view("street").words
    assert not grid.asked and not grid.allotted


def test_without_tariffs_nothing_is_planned() -> None:
    grid = Grid(street=(64, None))
    grid.advance(60_000)
    assert grid.view("street").state is PlanState.NONE
    grid.ask("street", DeleteFeeder())
    assert isinstance(grid.ask("street", GetFeederPlan()), msgspec.Struct)
    assert not grid.asked


def test_what_a_host_of_another_version_says_is_left_out() -> None:
    grid = two_depots()
    street = ActorRef(ActorKind.FEEDER, "street")
    odd = SiteAhead(SiteId("odd"), grid.now_ms, "EUR", 1, msgspec.msgpack.encode({"site_id": 7}))
    grid.tell(street, odd)
    grid.advance(70_000)
    assert [site.site_id for site in grid.view("street").sites] == ["early", "late"]
    assert len(grid.asked) == 2
