"""What a site learns of a vehicle from its meter, and what it does for one that sleeps."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from functools import partial
from typing import Any

from site_bench import Bench, charger, site

from controlplane.ocpp.events import ConnectorStatus
from controlplane.site.demand import Demand
from controlplane.site.messages import SetSiteLimit, SiteView
from controlplane.units import MS_PER_HOUR

Vehicle = Callable[[float], float]
"""The amperes drawn at a limit in amperes."""


def live(bench: Bench, vehicles: dict[str, Vehicle], *, minutes: float, phases: int = 3) -> None:
    """Chargers obey, vehicles follow, meters tell every ten seconds."""
    until_ms = bench.now_ms + int(minutes * 60_000)
    while bench.now_ms < until_ms:
        bench.answer()
        for name, vehicle in vehicles.items():
            limit_a = (bench.connector(name).limit_ma or 0) / 1_000
            drawn_a = vehicle(limit_a) if limit_a else 0.0
            drawn = [drawn_a if place < phases else 0.0 for place in range(3)]
            bench.meter(name, *drawn, power_w=int(drawn_a * 230 * phases))
        bench.advance(10_000)


def starts_at(least_a: float) -> Vehicle:
    return lambda limit_a: limit_a if limit_a >= least_a else 0.0


def demand(bench: Bench, name: str) -> Demand:
    site = bench.actor._site
    assert site is not None
    found = next(each for each in site.connectors if each.leaf.name == name).demand
    assert found is not None
    return found


class Sleeper:
    """Charges until it is paused; then only a fresh offer after a rest wakes it."""

    def __init__(self, *, toggles: int = 1) -> None:
        self.asleep = False
        self.drawn_a = 0.0
        self.toggles = toggles
        self.zero = True
        self.pauses = 0

    def __call__(self, limit_a: float) -> float:
        """Follows within twenty seconds."""
        goal_a = 0.0 if self.asleep else limit_a
        self.drawn_a += max(-16.0, min(16.0, goal_a - self.drawn_a))
        return self.drawn_a

    def hears(self, limit_a: float) -> None:
        if limit_a == 0 and not self.zero:
            self.pauses += 1
            self.asleep = self.pauses <= self.toggles
        self.zero = limit_a == 0


def watch(bench: Bench, sleeper: Sleeper, *, minutes: float) -> int:
    """Live with a sleeper at A; gives how often it was offered nothing."""
    before = sleeper.pauses
    for _ in range(int(minutes * 6)):
        bench.answer()
        limit_a = (bench.connector("A").limit_ma or 0) / 1_000
        sleeper.hears(limit_a)
        bench.meter("A", *[sleeper(limit_a)] * 3)
        bench.advance(10_000)
    return sleeper.pauses - before


def after_a_visit(*others: dict[str, Any], supply_a: float = 20) -> Bench:
    """Ann's vehicle was found to begin at 8 A, and has left; now there are 7 A."""
    bench = Bench(site([charger("A"), *others], supply_a=supply_a))
    bench.ask(SetSiteLimit(6_000), SiteView)
    bench.plug("A", session="first", id_token="ann")
    live(bench, {"A": starts_at(8)}, minutes=10)
    bench.ask(SetSiteLimit(8_000), SiteView)
    live(bench, {"A": starts_at(8)}, minutes=40)
    assert demand(bench, "A").behaviour.start_ma == 8_000
    bench.meter("A", 8, 8, 8, energy_wh=1_200)
    bench.unplug("A")
    bench.ask(SetSiteLimit(7_000), SiteView)
    return bench


# --- minimum, phases, ramp ------------------------------------------------------------------------


def test_a_vehicle_that_needs_eight_amperes_gets_them() -> None:
    bench = Bench(site([charger("A"), charger("B")], supply_a=20))
    bench.ask(SetSiteLimit(13_000), SiteView)
    bench.plug("A", id_token="ann")
    bench.plug("B")
    vehicles = {"A": starts_at(8), "B": starts_at(6)}
    live(bench, vehicles, minutes=15)
    assert demand(bench, "A").behaviour.start_ma == 8_000
    bench.ask(SetSiteLimit(14_000), SiteView)
    live(bench, vehicles, minutes=40)
    assert sorted(map(float, filter(None, bench.limits_a()))) == [6.0, 8.0]
    assert bench.connector("A").measured_ma == 8_000


def test_what_was_learned_at_the_last_visit_costs_another_vehicle_nothing() -> None:
    """Its driver's vehicle begins at 8 A; there are 7 A left, which nobody else can use."""
    for least_a, given_a in ((6, [7.0]), (8, [0.0])):
        bench = after_a_visit()
        bench.plug("A", session="second", id_token="ann")
        assert demand(bench, "A").behaviour.start_ma == 8_000
        live(bench, {"A": starts_at(least_a)}, minutes=0.5)
        assert bench.limits_a() == [7.0]
        live(bench, {"A": starts_at(least_a)}, minutes=10)
        assert bench.limits_a() == given_a


def test_a_vehicle_that_declined_less_than_it_begins_at_is_not_asked_again_and_again() -> None:
    """Its station says SuspendedEV while it offers 7 A, and SuspendedEVSE while it offers nothing:
    it would be told 7 A and 0 A in turn, every few seconds."""
    bench = after_a_visit()
    status, told = ConnectorStatus.SUSPENDED_EVSE, 0
    for _ in range(150):
        bench.plug("A", session="second", id_token="ann", charging=False, status=status)
        told += len(bench.answer())
        bench.advance(2_000)
        offered = bool(bench.connector("A").limit_ma)
        status = ConnectorStatus.SUSPENDED_EV if offered else ConnectorStatus.SUSPENDED_EVSE
    assert 1 <= told <= 4, "it is tried, and then let be for minutes"


def test_a_vehicle_whose_station_says_for_a_moment_that_it_takes_nothing_may_still_begin() -> None:
    bench = after_a_visit()
    suspended = ConnectorStatus.SUSPENDED_EVSE, ConnectorStatus.SUSPENDED_EV
    for status, for_ms in zip(suspended, (1_000, 8_000), strict=True):
        bench.plug("A", session="second", id_token="ann", charging=False, status=status)
        bench.settle(for_ms)
        assert bench.limits_a() == [7.0]
    bench.plug("A", session="second", id_token="ann")
    bench.meter("A", 7, 7, 7)
    bench.settle(120_000)
    assert bench.limits_a() == [7.0]


def test_what_a_nudge_was_offered_is_lent_as_soon_as_it_ends() -> None:
    """A takes nothing. Nothing else changes when its nudge ends: a plan that only looked at what is
    known of the vehicles would stand."""
    bench = Bench(site([charger("A"), charger("B")], supply_a=32))
    for name in "AB":
        bench.plug(name)
    live(bench, {"A": lambda _: 0.0, "B": starts_at(6)}, minutes=6.5)
    assert bench.limits_a() == [8, 24]


def test_a_part_at_which_a_vehicle_does_not_begin_is_not_offered() -> None:
    """Room for 6 A is there at once, and for 11 A when its neighbour has followed: a vehicle that
    begins at 8 A would decline the first and lose its place."""
    bench = after_a_visit(charger("B", current_max_a=16), supply_a=22)
    bench.ask(SetSiteLimit(None), SiteView)
    bench.plug("B")
    live(bench, {"B": starts_at(6)}, minutes=2)
    assert bench.limits_a()[1] == 16
    bench.plug("A", session="second", id_token="ann")
    bench.answer()
    bench.advance(6_000)
    assert bench.limits_a() == [None, 11.0], "there are 6 A left, and it needs 8 A"
    bench.meter("B", 11, 11, 11)
    bench.advance(2_000)
    bench.answer()
    assert bench.limits_a() == [11.0, 11.0]


def test_five_amperes_where_the_connector_can_say_so() -> None:
    bench = Bench(site([charger("A", current_min_a=5), charger("B", current_min_a=5)], supply_a=10))
    bench.plug("A")
    bench.plug("B")
    live(bench, {"A": starts_at(5), "B": starts_at(5)}, minutes=5)
    assert bench.limits_a() == [5.0, 5.0]


def test_a_vehicle_on_one_phase_is_known_to_be_slow_and_still_counts_on_three() -> None:
    bench = Bench(site([charger("A")]))
    bench.plug("A", need_wh=20_000, departure_ms=bench.now_ms + 5 * MS_PER_HOUR)
    before_ms = bench.connector("A").laxity_ms
    live(bench, {"A": starts_at(6)}, minutes=3, phases=1)
    after_ms = bench.connector("A").laxity_ms
    assert before_ms is not None
    assert after_ms is not None
    assert demand(bench, "A").behaviour.known.phases == 1
    assert after_ms < before_ms - MS_PER_HOUR, "a third of the power, thrice the time"
    assert bench.view().circuits[0].liability_ma == (32_000,) * 3


def test_a_connector_of_one_phase_tells_nothing_of_the_others() -> None:
    bench = Bench(site([charger("A", phases=["L2"])]))
    bench.plug("A")
    live(bench, {"A": starts_at(6)}, minutes=3, phases=1)
    assert demand(bench, "A").behaviour.known.phases is None


def test_the_ramp_is_learned() -> None:
    bench = Bench(site([charger("A")]))
    bench.plug("A")
    bench.answer()
    for drawn_a in (0, 6, 12, 20, 30, 32):
        bench.advance(10_000)
        bench.meter("A", drawn_a, drawn_a, drawn_a)
    ramp_ms = demand(bench, "A").behaviour.known.ramp_ms
    assert ramp_ms is not None
    assert 40_000 <= ramp_ms <= 60_000


# --- power and taper ------------------------------------------------------------------------------


def test_a_vehicle_that_tapers_needs_less_than_was_asked_for() -> None:
    bench = Bench(site([charger("A"), charger("B")], supply_a=40))
    bench.plug("A", need_wh=60_000, departure_ms=bench.now_ms + 9 * MS_PER_HOUR)
    bench.plug("B")
    live(bench, {"A": lambda a: min(a, 16), "B": starts_at(6)}, minutes=5)
    assert bench.connector("A").energy_needed_wh == 60_000
    for step in range(60):
        most_a = 16 * 0.97**step
        live(bench, {"A": partial(min, most_a), "B": starts_at(6)}, minutes=0.5)
    needed_wh = bench.connector("A").energy_needed_wh
    assert needed_wh is not None
    # 2.6 A left, falling by e every 16.4 minutes: about 480 Wh.
    assert 300 < needed_wh < 800
    live(bench, {"A": partial(min, 2.5), "B": starts_at(6)}, minutes=5)
    assert (bench.connector("A").limit_ma or 0) < 8_000, "its maximum falls with it"
    assert (bench.connector("B").limit_ma or 0) >= 32_000


# --- sleepers -------------------------------------------------------------------------------------


def test_a_sleeper_is_woken_and_remembered() -> None:
    bench = Bench(site([charger("A")], supply_a=32))
    sleeper = Sleeper()
    bench.plug("A", id_token="ann", started_ms=bench.now_ms)
    watch(bench, sleeper, minutes=3)
    bench.ask(SetSiteLimit(0), SiteView)
    watch(bench, sleeper, minutes=3)
    bench.ask(SetSiteLimit(None), SiteView)
    assert watch(bench, sleeper, minutes=10) == 1, "toggled once"
    assert bench.connector("A").measured_ma == 32_000
    assert demand(bench, "A").behaviour.known.sleeps
    bench.meter("A", 32, 32, 32, energy_wh=3_000)
    bench.unplug("A")
    bench.plug("A", session="next", id_token="ann")
    assert demand(bench, "A").behaviour.delicate


def test_a_vehicle_that_never_wakes_is_nudged_twice_and_no_more() -> None:
    bench = Bench(site([charger("A")], supply_a=32))
    sleeper = Sleeper(toggles=99)
    bench.plug("A")
    watch(bench, sleeper, minutes=3)
    bench.ask(SetSiteLimit(0), SiteView)
    watch(bench, sleeper, minutes=3)
    bench.ask(SetSiteLimit(None), SiteView)
    assert watch(bench, sleeper, minutes=120) == 2
    assert bench.connector("A").limit_ma == 32_000


def test_a_vehicle_that_faults_when_paused_is_never_toggled() -> None:
    bench = Bench(site([charger("A")], supply_a=32))
    sleeper = Sleeper(toggles=99)
    bench.plug("A")
    watch(bench, sleeper, minutes=3)
    bench.ask(SetSiteLimit(0), SiteView)
    watch(bench, sleeper, minutes=1)
    bench.plug("A", status=ConnectorStatus.FAULTED, charging=False)
    bench.plug("A")
    assert demand(bench, "A").behaviour.known.faults
    bench.ask(SetSiteLimit(None), SiteView)
    assert watch(bench, sleeper, minutes=60) == 0


def test_a_vehicle_that_waits_for_its_own_hour_is_asked_twice_and_teaches_nothing() -> None:
    bench = Bench(site([charger("A")], supply_a=32))
    bench.plug("A", status=ConnectorStatus.SUSPENDED_EV, charging=False)
    offers = Counter[float | None]()
    for _ in range(120):
        live(bench, {"A": lambda _: 0.0}, minutes=0.5)
        offers[bench.limits_a()[0]] += 1
    assert offers[0.0] == 0, "never toggled: it may be of those that fault"
    assert 4 <= offers[32.0] <= 12, "twice two minutes or so"
    assert offers[6.0] > 100
    bench.plug("A")
    live(bench, {"A": starts_at(6)}, minutes=10)
    assert bench.connector("A").measured_ma == 32_000
    assert demand(bench, "A").behaviour.start_ma == 0


def test_who_it_is_may_be_said_after_it_was_plugged_in() -> None:
    bench = Bench(site([charger("A")]))
    bench.plug("A", session="first", id_token="ann")
    live(bench, {"A": starts_at(6)}, minutes=10, phases=1)
    bench.meter("A", 32, 0, 0, energy_wh=1_200)
    bench.unplug("A")
    bench.plug("A", session="second", charging=False)
    assert demand(bench, "A").behaviour.known.phases is None
    bench.plug("A", session="second", id_token="ann")
    assert demand(bench, "A").behaviour.known.phases == 1


def test_a_full_vehicle_is_left_in_peace() -> None:
    bench = Bench(site([charger("A")], supply_a=32))
    bench.plug("A")
    live(bench, {"A": starts_at(6)}, minutes=5)
    bench.plug("A", status=ConnectorStatus.SUSPENDED_EV, charging=False)
    live(bench, {"A": lambda _: 0.0}, minutes=60)
    assert demand(bench, "A").behaviour.nudges == 0
    assert bench.connector("A").limit_ma == 6_000


def test_what_pauses_badly_is_not_paused_for_anothers_turn() -> None:
    bench = Bench(site([charger("A"), charger("B")], supply_a=10))
    bench.plug("A", id_token="ann")
    live(bench, {"A": starts_at(6)}, minutes=3)
    demand(bench, "A").behaviour._learn(faults=True)
    bench.plug("B")
    for _ in range(120):
        live(bench, {"A": starts_at(6), "B": starts_at(6)}, minutes=1)
        assert bench.connector("A").limit_ma == 10_000
