"""A site that has a tariff plans, follows its plan, and says so."""

from __future__ import annotations

from random import Random
from typing import Any

import msgspec
import pytest
from site_bench import START_MS, Bench, charger, site

from controlplane.actor import Effect, PlanFound, Send
from controlplane.feeder.plan_messages import Allotted, SiteAhead
from controlplane.grid_events import CreateGridEvent, GetGridEvent, GridEvent, GridEventKind
from controlplane.ids import ChargerId, FeederId
from controlplane.planning import Desk
from controlplane.planning.joint import SitePart
from controlplane.planning.outlook import calendar_of
from controlplane.planning.peaks import Peak
from controlplane.planning.tariff import month_of
from controlplane.site.gathering import Wish, gathered
from controlplane.site.messages import (
    CapChanged,
    ConnectorExplanation,
    ExplainConnector,
    FlexibilityOffer,
    GetFlexibility,
    GetPlan,
    OfferedPart,
    PlanView,
)

HOUR_MS = 3_600_000
TARIFF = {
    "currency": "EUR",
    "import_price_per_kwh": "0.40",
    "periods": [
        {"hours": [{"from": "00:00", "to": "06:00"}], "import_price_per_kwh": "0.10"},
    ],
}
"""The bench begins at 22:13:20 UTC."""
STEP_MS = 30_000


class Planned(Bench):
    """Vehicles draw what they are allowed, on three phases, and are metered every half minute."""

    def __init__(self, chargers: list[dict[str, Any]], **values: Any) -> None:
        super().__init__(site(chargers, tariff=values.pop("tariff", TARIFF), **values))
        self.desk = Desk()
        self.energy_wh: dict[str, float] = {}
        self.needs_wh: dict[str, float] = {}
        self.allowed_a: dict[str, float] = {}
        self.most_a = 32.0
        self.told: dict[str, list[tuple[int, float]]] = {}

    def arrive(self, id: str, **values: Any) -> None:
        self.energy_wh[id] = 0.0
        self.needs_wh[id] = values.get("need_wh") or 1e9
        self.allowed_a[id] = 0.0
        self.plug(id, **values)

    def drive(self, duration_ms: int) -> None:
        until_ms = self.now_ms + duration_ms
        while self.now_ms < until_ms:
            for name, limit_a in self.answer():
                self.allowed_a[name] = limit_a
                self.told.setdefault(name, []).append((self.now_ms, limit_a))
            for name in self.energy_wh:
                full = self.energy_wh[name] >= self.needs_wh[name]
                drawn_a = 0.0 if full else min(self.allowed_a[name], self.most_a)
                self.energy_wh[name] += drawn_a * 690 * STEP_MS / HOUR_MS
                self.meter(name, drawn_a, drawn_a, drawn_a, energy_wh=round(self.energy_wh[name]))
            self.advance(STEP_MS)

    def why(self, id: str) -> str:
        found = self.ask(ExplainConnector(ChargerId(id), 1), ConnectorExplanation)
        return next(each.words for each in found.factors if each.kind == "plan")


def test_a_vehicle_waits_for_cheaper_power_and_is_ready_in_time() -> None:
    bench = Planned([charger("A", current_max_a=16)])
    bench.arrive("A", need_wh=20_000, departure_ms=START_MS + 9 * HOUR_MS)
    bench.drive(HOUR_MS)
    assert bench.connector("A").reason == "waits for cheaper power until 00:00"
    assert bench.energy_wh["A"] < 1_000  # what it drew before it was paused
    bench.drive(2 * HOUR_MS)
    assert bench.connector("A").limit_ma == 16_000
    assert bench.why("A") == "charges now while power is cheap"
    bench.drive(2 * HOUR_MS)
    assert bench.energy_wh["A"] >= 20_000
    assert len(bench.told["A"]) <= 8


def test_nobody_is_promised_the_default_profile_of_one_who_waits_for_cheaper_power() -> None:
    bench = Planned([charger("A", offline_a=8), charger("B")], supply_a=20)
    bench.arrive("A", need_wh=20_000, departure_ms=START_MS + 9 * HOUR_MS)
    bench.drive(600_000)
    assert bench.connector("A").reason == "waits for cheaper power until 00:00"
    bench.arrive("B", need_wh=20_000, departure_ms=START_MS + HOUR_MS)
    bench.drive(600_000)
    other = bench.connector("B")
    assert (other.target_ma, other.limit_ma) == (12_000, 12_000)
    assert "waiting" not in other.reason


def test_a_peak_has_a_price_and_chargers_are_told_little() -> None:
    """Three vehicles of one night under a demand charge: the peak stays near the mean, everybody is
    ready, and limits are few though averages would lie below any minimum."""
    # Seventeen days are left, of which nothing is known: tonight a kilowatt costs 12.
    charge = {"name": "peak", "price_per_kw": "204"}
    tariff = TARIFF | {"demand_charges": [charge]}
    bench = Planned([charger(name, current_max_a=16) for name in "ABC"], tariff=tariff)
    for late, name in enumerate("ABC"):
        bench.arrive(name, need_wh=16_000, departure_ms=START_MS + (8 + late) * HOUR_MS)
    bench.drive(600_000)
    energy_wh, highest_w = sum(bench.energy_wh.values()), 0.0
    for _ in range(39):
        bench.drive(900_000)
        drawn_wh = sum(bench.energy_wh.values()) - energy_wh
        energy_wh, highest_w = energy_wh + drawn_wh, max(highest_w, drawn_wh * 4)
    assert min(bench.energy_wh.values()) >= 15_990
    # All at once would be 33 kW, and the mean of the eight hours is 6 kW.
    assert highest_w < 12_000
    assert max(map(len, bench.told.values())) <= 40


def test_a_plan_that_does_not_come_is_an_alarm_and_urgency_decides() -> None:
    bench = Planned([charger("A", current_max_a=16)])
    bench.desk = None
    bench.arrive("A", need_wh=20_000, departure_ms=START_MS + 9 * HOUR_MS)
    bench.drive(180_000)
    assert bench.alarms() == ["plan_late"]
    assert bench.connector("A").limit_ma == 16_000
    bench.desk = Desk()
    bench.answer_plans()
    bench.drive(60_000)
    assert bench.alarms() == []
    bench.desk = None
    bench.drive(600_000)
    assert bench.alarms() == ["plan_late"]
    assert bench.connector("A").limit_ma == 0, "the last plan is followed for a while"
    bench.drive(900_000)
    assert bench.connector("A").limit_ma == 16_000


def test_a_site_that_has_no_tariff_any_more_follows_no_plan() -> None:
    bench = Planned([charger("A", current_max_a=16)])
    bench.arrive("A", need_wh=20_000, departure_ms=START_MS + 9 * HOUR_MS)
    bench.drive(18 * 60_000)
    assert bench.connector("A").limit_ma == 0
    bench.configure(site([charger("A", current_max_a=16)]))
    bench.drive(60_000)
    assert bench.connector("A").limit_ma == 16_000
    assert bench.ask(GetPlan(), PlanView).state == "none"


def test_the_dearest_tariff_that_can_be_described_is_planned_with() -> None:
    """On the last day of a month, when all of the charges count."""
    charges = [{"name": f"peak-{number}", "price_per_kw": "10000"} for number in range(8)]
    tariff = TARIFF | {"import_price_per_kwh": "10000", "demand_charges": charges}
    bench = Planned([charger("A", current_max_a=16)], tariff=tariff)
    bench.advance(16 * 24 * HOUR_MS)
    bench.online("A")
    bench.arrive("A", need_wh=20_000, departure_ms=bench.now_ms + 9 * HOUR_MS)
    bench.drive(18 * 60_000)
    assert bench.ask(GetPlan(), PlanView).state == "followed"
    assert "until 00:00" in bench.connector("A").reason


def test_a_planner_that_is_asked_all_the_time_is_late_all_the_same() -> None:
    """Somebody is there whom no plan knows, so a question leaves with every other round."""
    bench = Planned([charger("A", current_max_a=16), charger("B", current_max_a=16)])
    bench.desk = Desk()
    bench.arrive("A", need_wh=20_000, departure_ms=START_MS + 9 * HOUR_MS)
    bench.drive(120_000)
    bench.desk = None
    bench.arrive("B", need_wh=20_000, departure_ms=START_MS + 9 * HOUR_MS)
    bench.drive(90_000)
    states = set()
    for _ in range(60):
        bench.drive(STEP_MS)
        view = bench.ask(GetPlan(), PlanView)
        states.add(view.state)
        assert view.words.startswith("the plan that was asked for at 22:15 has not come; ")
    assert states == {"followed", "late"}
    told = [each.data["active"] for each in bench.events if each.kind == "site.alarm"]
    assert told == [True], "one alarm, which stays"
    bench.desk = Desk()
    bench.answer_plans()
    bench.drive(60_000)
    assert (bench.alarms(), bench.ask(GetPlan(), PlanView).words) == ([], "")


def test_a_fault_of_the_question_is_told_in_words() -> None:
    bench = Planned([charger("A")])
    bench.desk = None
    bench.arrive("A", need_wh=20_000, departure_ms=START_MS + 9 * HOUR_MS)
    bench.drive(60_000)
    bench.tell(PlanFound(bench.plans[-1].plan_id, None, "vehicle 'A' is below no meter"))
    bench.drive(60_000)
    told = [each.data["message"] for each in bench.events if each.kind == "site.alarm"]
    assert told == [
        "no plan could be made: vehicle 'A' is below no meter; vehicles share by urgency"
    ]


def test_who_said_nothing_is_not_held_back_and_a_boost_ends_waiting() -> None:
    bench = Planned([charger("A", current_max_a=16), charger("B", current_max_a=16)])
    bench.arrive("A")
    bench.arrive("B", need_wh=20_000, departure_ms=START_MS + 9 * HOUR_MS)
    bench.drive(600_000)
    assert bench.connector("A").limit_ma == 16_000
    assert bench.why("A") == "nobody knows when it leaves: it shares by urgency"
    assert bench.connector("B").limit_ma == 0
    bench.plug(
        "B",
        need_wh=20_000,
        departure_ms=START_MS + 9 * HOUR_MS,
        started_ms=START_MS,
        energy_wh=round(bench.energy_wh["B"]),
        boost_until_ms=bench.now_ms + HOUR_MS,
    )
    bench.drive(60_000)
    assert bench.connector("B").limit_ma == 16_000


def test_whoever_is_there_has_the_power_of_those_who_are_only_expected() -> None:
    """An office where four vehicles come an hour, on a supply that one of them fills."""
    tariff = {"currency": "EUR", "import_price_per_kwh": "0.40"}
    bench = Planned([charger("A", current_max_a=32)], supply_a=16, tariff=tariff)
    live = bench.actor._site
    assert live is not None
    quarter_ms = HOUR_MS // 4
    calendar = calendar_of(live.config.tariff, live.zone)
    for number in range(10 * 24 * 4, 0, -1):
        came_ms = START_MS - number * quarter_ms
        live.outlook.arrived(came_ms)
        live.outlook.ended(
            started_ms=came_ms,
            ended_ms=came_ms + quarter_ms,
            energy_wh=2_000,
            power_max_w=11_000,
            calendar=calendar,
        )
    bench.arrive("A", need_wh=60_000, departure_ms=START_MS + 7 * HOUR_MS)
    bench.drive(300_000)
    schedule = live.targets.schedule
    assert schedule is not None
    expected = [place for name, place in schedule.index.items() if name.startswith("expected")]
    assert len(expected) > 20
    assert schedule.current_ma[expected].sum() > 0, "they are counted on later"
    running = schedule.slot(bench.now_ms)
    assert running is not None
    assert schedule.current_ma[expected, running].sum() == 0
    assert bench.connector("A").target_ma > 15_000


def test_who_leaves_first_takes_no_cheap_hours_from_who_needs_them_all() -> None:
    """A needs the cheap hours whole; B leaves before it and needs two of them."""
    chargers = [charger(name, current_max_a=16) for name in "AB"]
    bench = Planned(chargers, supply_a=24)
    bench.drive(100 * 60_000)
    bench.arrive("A", need_wh=64_000, departure_ms=START_MS + 15 * HOUR_MS)
    bench.arrive("B", need_wh=22_000, departure_ms=START_MS + 13 * HOUR_MS)
    bench.drive(370 * 60_000)  # until three minutes past six
    assert bench.energy_wh["A"] > 61_000
    assert bench.energy_wh["B"] > 20_000


@pytest.mark.parametrize(
    ("need_wh", "leaves_in_min", "charges"),
    [(12_000, 85, True), (30_000, 180, True), (5_000, 9 * 60, False)],
)
def test_who_wants_something_else_does_not_wait_for_the_next_slot(
    need_wh: int, leaves_in_min: int, charges: bool
) -> None:
    """It would wait for midnight, and at 22:31 its driver calls."""
    bench = Planned([charger("A", current_max_a=16)])
    bench.arrive("A", need_wh=20_000, departure_ms=START_MS + 9 * HOUR_MS)
    bench.drive(18 * 60_000)
    assert bench.connector("A").target_ma == 0
    bench.needs_wh["A"] = need_wh
    bench.plug(
        "A",
        started_ms=START_MS,
        need_wh=need_wh,
        departure_ms=bench.now_ms + leaves_in_min * 60_000,
        energy_wh=round(bench.energy_wh["A"]),
    )
    bench.drive(120_000)
    assert (bench.allowed_a["A"] == 16.0) == charges


def test_who_comes_within_a_slot_does_not_raise_the_peak() -> None:
    """Eleven kilowatts were drawn this month already; A draws them when B comes."""
    charge = {"name": "peak", "price_per_kw": "200"}
    tariff = {"currency": "EUR", "import_price_per_kwh": "0.40", "demand_charges": [charge]}
    bench = Planned([charger(name, current_max_a=16) for name in "AB"], tariff=tariff)
    live = bench.actor._site
    assert live is not None
    live.outlook.peaks.by_charge["peak"] = Peak(month_of(START_MS, live.zone), 11_000, START_MS)
    bench.arrive("A", need_wh=30_000, departure_ms=START_MS + 10 * HOUR_MS)
    bench.drive(1_900_000)  # until 22:45
    before_wh = bench.energy_wh["A"]
    bench.drive(240_000)
    assert bench.energy_wh["A"] - before_wh > 600
    bench.arrive("B", need_wh=30_000, departure_ms=START_MS + 10 * HOUR_MS)
    bench.drive(660_000)
    window_w = (bench.energy_wh["A"] + bench.energy_wh["B"] - before_wh) * 4
    assert 9_500 < window_w < 11_800


def test_a_grid_event_to_come_is_planned_around() -> None:
    """The cheap hours fall out; what must be had is had before or after them."""
    bench = Planned([charger("A", current_max_a=16)])
    midnight_ms = START_MS - START_MS % (24 * HOUR_MS) + 24 * HOUR_MS
    event = CreateGridEvent(
        event_id="e1",
        kind=GridEventKind.LIMIT,
        power_w=0,
        start_ms=midnight_ms,
        end_ms=midnight_ms + 6 * HOUR_MS,
    )
    bench.ask(event, GridEvent)
    bench.arrive("A", need_wh=10_000, departure_ms=START_MS + 9 * HOUR_MS)
    bench.drive(60_000)
    view = bench.ask(GetPlan(), PlanView)
    (session,) = view.sessions
    limits = [slot.limit_w for slot in view.slots]
    assert limits[8:32] == [0] * 24
    assert sum(session.slot_w[8:32]) == 0
    assert session.missing_wh == 0


def test_a_reduction_to_come_is_planned_from_the_baseline_that_was_given() -> None:
    bench = Planned([charger("A", current_max_a=16)])
    midnight_ms = START_MS - START_MS % (24 * HOUR_MS) + 24 * HOUR_MS
    event = CreateGridEvent(
        event_id="e1",
        kind=GridEventKind.REDUCE_BY,
        power_w=4_000,
        start_ms=midnight_ms,
        end_ms=midnight_ms + 6 * HOUR_MS,
        baseline_w=9_000,
    )
    bench.ask(event, GridEvent)
    bench.arrive("A", need_wh=10_000, departure_ms=START_MS + 9 * HOUR_MS)
    bench.drive(60_000)
    limits_w = [slot.limit_w for slot in bench.ask(GetPlan(), PlanView).slots]
    assert all(4_800 < limit_w <= 5_000 for limit_w in limits_w[8:32])


def test_a_site_that_closes_charges_before() -> None:
    hours = [{"from": "20:00", "to": "23:00"}]
    bench = Planned([charger("A", current_max_a=16)], opening_hours=hours)
    bench.arrive("A", need_wh=5_000, departure_ms=START_MS + 9 * HOUR_MS)
    bench.drive(45 * 60_000)
    assert bench.energy_wh["A"] >= 5_000


@pytest.mark.parametrize("seed", range(20))
def test_gathering_keeps_the_sum_and_leaves_nothing_below_a_minimum(seed: int) -> None:
    random = Random(seed)
    wishes = [
        Wish(
            planned_ma=random.choice([0, 500, 3_000, 7_000, 16_000]),
            min_ma=6_000,
            most_ma=random.choice([16_000, 32_000]),
            w_per_ma=random.choice([0.23, 0.69]),
            rank=(random.random() < 0.5, random.randrange(5)),
        )
        for _ in range(random.randint(1, 12))
    ]
    given = gathered(wishes)
    planned_w = sum(wish.planned_ma * wish.w_per_ma for wish in wishes)
    given_w = sum(ma * wish.w_per_ma for ma, wish in zip(given, wishes, strict=True))
    assert planned_w - 6_000 * 0.69 < given_w <= planned_w + 1
    assert all(0 <= ma <= wish.most_ma for ma, wish in zip(given, wishes, strict=True))
    assert sum(0 < ma < wish.min_ma for ma, wish in zip(given, wishes, strict=True)) <= 1


# --- drawing more because somebody asked for it ---------------------------------------------------


def offered_more(bench: Planned, *, minutes: int) -> OfferedPart:
    found = bench.ask(GetFlexibility(minutes * 60_000, more=True), FlexibilityOffer)
    (part,) = found.parts
    assert found.more and part.kind == "charge"
    return part


def two_who_wait() -> Planned:
    bench = Planned([charger(name, current_max_a=16) for name in "ABC"])
    bench.arrive("A", need_wh=20_000, departure_ms=START_MS + 9 * HOUR_MS)
    bench.arrive("B", need_wh=4_000, departure_ms=START_MS + 8 * HOUR_MS)
    bench.arrive("C", need_wh=20_000, departure_ms=START_MS + HOUR_MS // 2)
    bench.drive(HOUR_MS // 2)
    bench.unplug("C")
    del bench.energy_wh["C"]
    bench.drive(HOUR_MS // 4)
    return bench


def test_who_waits_by_the_plan_is_on_offer_at_what_the_plan_would_have_saved() -> None:
    bench = two_who_wait()
    assert {bench.allowed_a[name] for name in "AB"} == {0.0}
    part = offered_more(bench, minutes=30)
    left_wh = 4_000 - bench.energy_wh["B"]
    assert part.sessions == 2
    assert part.power_w == pytest.approx(16 * 690 + 2 * left_wh, rel=0.01)
    # Both would charge at 0.10 after midnight, and at 0.40 now.
    assert (part.price_per_kwh, part.currency) == ("0.3000", "EUR")
    # Over a longer time each can take less: it has all it needs before the end.
    assert offered_more(bench, minutes=60).power_w < part.power_w
    alone = Planned([charger("A")], tariff=None)
    alone.arrive("A", need_wh=20_000, departure_ms=START_MS + 9 * HOUR_MS)
    alone.drive(60_000)
    assert offered_more(alone, minutes=30).power_w == 0


def test_more_is_drawn_for_as_long_as_it_is_asked_for_and_nobody_pays_with_its_need() -> None:
    bench = two_who_wait()
    power_w = offered_more(bench, minutes=30).power_w * 3 // 4
    before = bench.ask(GetFlexibility(30 * 60_000, more=True), FlexibilityOffer)
    wish = CreateGridEvent(
        "more", GridEventKind.INCREASE_BY, power_w, end_ms=bench.now_ms + HOUR_MS // 2
    )
    event = bench.ask(wish, GridEvent)
    assert event.aim_w == (before.baseline_w or 0) + power_w
    energy_wh = sum(bench.energy_wh.values())
    bench.drive(HOUR_MS // 2 - STEP_MS)
    assert "asked to draw more" in bench.why("A")
    gained_wh = sum(bench.energy_wh.values()) - energy_wh
    assert gained_wh == pytest.approx(event.aim_w / 2, rel=0.05)
    met = bench.ask(GetGridEvent("more"), GridEvent)
    assert met.met_ms is not None
    assert met.increased_wh == pytest.approx(power_w / 2, rel=0.1)
    bench.drive(HOUR_MS // 4)
    assert bench.allowed_a["A"] == 0.0, "it waits again"
    bench.drive(4 * HOUR_MS)
    assert bench.energy_wh["A"] >= 19_990 and bench.energy_wh["B"] >= 3_990


def test_a_limit_counts_before_a_wish_for_more() -> None:
    bench = two_who_wait()
    bench.ask(CreateGridEvent("low", GridEventKind.LIMIT, 5_000), GridEvent)
    bench.ask(CreateGridEvent("more", GridEventKind.INCREASE_BY, 11_000), GridEvent)
    bench.drive(HOUR_MS // 4)
    assert sum(bench.allowed_a[name] * 690 for name in "AB") <= 5_000


class BelowFeeder(Planned):
    """A site below the feeder `street`, which has given it 40 A; the test is the feeder."""

    def __init__(self, chargers: list[dict[str, Any]]) -> None:
        self.told_feeder: list[SiteAhead] = []
        super().__init__(chargers, feeder="street")
        self.cap(40)

    def take(self, effects: list[Effect]) -> None:
        for effect in effects:
            if isinstance(effect, Send) and isinstance(effect.message, SiteAhead):
                self.told_feeder.append(effect.message)
        super().take(effects)

    def cap(self, cap_a: int) -> None:
        self.tell(CapChanged(FeederId("street"), 1, cap_a * 1_000))

    def allot(self, *hours_a: float, full: str = "street", feeder: str = "street") -> None:
        """What the site may plan with in each of the next hours, and 40 A after them."""
        start_ms = self.now_ms - self.now_ms % 900_000
        current_ma = [round(each * 1_000) for each in hours_a for _ in range(4)]
        current_ma += [40_000] * (96 - len(current_ma))
        self.tell(Allotted(FeederId(feeder), self.now_ms, start_ms, tuple(current_ma), full))


def test_a_site_plans_with_what_its_feeder_allots() -> None:
    """Cheap power begins at midnight, and the feeder has none of it for this site until 02:00."""
    bench = BelowFeeder([charger("A", current_max_a=32)])
    bench.arrive("A", need_wh=20_000, departure_ms=START_MS + 9 * HOUR_MS)
    bench.drive(60_000)
    told = bench.told_feeder[-1]
    assert (told.site_id, told.currency, told.vehicles) == ("site-1", "EUR", 1)
    part = msgspec.msgpack.decode(told.part, type=SitePart)
    assert part.question.horizon.vehicles[0].need_wh == pytest.approx(20_000, abs=1_000)
    assert {node.kind for node in part.question.horizon.nodes} == {"circuit"}
    for hours in range(4, 0, -1):
        for _ in range(3 if hours > 1 else 1):
            bench.allot(*[0] * hours)
            bench.drive(600_000)
    view = bench.ask(GetPlan(), PlanView)
    assert view.feeder_id == "street"
    assert view.slots[0].limit_w == 0
    assert bench.connector("A").limit_ma == 0
    assert "cheaper power" in bench.why("A") or "room on feeder street" in bench.why("A")
    for _ in range(18):
        bench.allot(40)
        bench.drive(600_000)
    assert bench.energy_wh["A"] >= 20_000


def test_a_feeder_is_told_on_news_and_every_interval_and_not_on_its_own_answer() -> None:
    bench = BelowFeeder([charger("A"), charger("B")])
    bench.arrive("A", need_wh=20_000, departure_ms=START_MS + 9 * HOUR_MS)
    bench.drive(60_000)
    assert [each.vehicles for each in bench.told_feeder] == [0, 1]
    bench.allot(30)
    bench.drive(60_000)
    assert len(bench.told_feeder) == 2
    bench.arrive("B", need_wh=20_000, departure_ms=START_MS + 9 * HOUR_MS)
    bench.drive(60_000)
    assert [each.vehicles for each in bench.told_feeder] == [0, 1, 2]
    bench.drive(600_000)
    assert len(bench.told_feeder) == 5


def test_without_word_from_the_feeder_the_site_plans_alone_and_says_so() -> None:
    bench = BelowFeeder([charger("A", current_max_a=16)])
    bench.arrive("A", need_wh=20_000, departure_ms=START_MS + 9 * HOUR_MS)
    bench.drive(120_000)
    bench.allot(30)
    bench.drive(600_000)
    assert bench.alarms() == []
    bench.drive(900_000)
    assert bench.alarms() == ["plan_late"]
    view = bench.ask(GetPlan(), PlanView)
    assert view.state == "followed"
    assert view.feeder_id == ""
    assert view.words.startswith("feeder street has allotted nothing since ")
    bench.allot(30)
    bench.drive(60_000)
    assert bench.alarms() == []


def test_only_the_sites_own_feeder_allots_and_no_old_news_count() -> None:
    bench = BelowFeeder([charger("A", current_max_a=16)])
    bench.arrive("A", need_wh=20_000, departure_ms=START_MS + 9 * HOUR_MS)
    bench.drive(60_000)
    bench.allot(3, feeder="elsewhere")
    bench.drive(60_000)
    assert bench.ask(GetPlan(), PlanView).feeder_id == ""
    late = Allotted(FeederId("street"), bench.now_ms - 30_000, bench.now_ms, (1,) * 96)
    bench.allot(25)
    bench.tell(late)
    bench.drive(60_000)
    assert bench.ask(GetPlan(), PlanView).slots[0].limit_w == 25 * 690
