"""What a site gives its vehicles, and when."""

from __future__ import annotations

from site_bench import START_MS, Bench, charger, site

from controlplane.charger.messages import SampleWanted
from controlplane.config import ActorSettings
from controlplane.ids import ChargerId, FeederId, SessionId
from controlplane.ocpp.commands import CommandState
from controlplane.ocpp.events import ConnectorStatus
from controlplane.site.messages import (
    CapChanged,
    ChargerPresence,
    ConnectorState,
    SessionDemand,
    SetSiteLimit,
    SiteView,
)
from controlplane.units import MS_PER_HOUR

FEEDER = FeederId("feeder-1")
BUILDING = {"circuit": "supply", "stale_after_s": 60, "assumed_a": 10}


def test_ten_vehicles_share_a_supply_for_five() -> None:
    bench = Bench(site([charger(f"CP{number}") for number in range(10)]))
    for number in range(10):
        bench.plug(f"CP{number}")
    bench.settle()
    assert bench.limits_a() == [16.0] * 10
    view = bench.view()
    assert view.violations == 0
    assert view.circuits[0].liability_ma == (160_000,) * 3
    assert view.connectors[3].reason == "limited by circuit supply phase L1"


def test_a_vehicle_alone_gets_its_own_maximum() -> None:
    bench = Bench(site([charger("A"), charger("B")]))
    bench.plug("A")
    bench.settle(5_000)
    assert bench.connector("A").limit_ma == 32_000
    assert bench.connector("A").reason == "own maximum of 32 A"


def test_debit_before_credit() -> None:
    bench = Bench(site([charger("A"), charger("B")], supply_a=40))
    bench.plug("A")
    bench.settle(5_000)
    bench.plug("B")
    assert bench.pending() == {"A": 20, "B": 8}, "B gets what is free at once"
    bench.answer()
    bench.advance(3_000)
    assert bench.limits == []
    assert bench.connector("B").reason == "waiting for A to confirm its reduction"
    assert bench.connector("A").reason == "reduction to 20 A not confirmed yet: counted at 32 A"
    bench.advance(3_000)
    bench.meter("A", 20, 20, 20)
    bench.advance(200)
    assert bench.pending() == {"B": 20}


def test_a_large_raise_does_not_wait_and_a_small_one_does() -> None:
    """B starts in what is free; what follows at once is worth a message only where it is much."""
    for supply_a, follows in ((40, {"B": 20}), (50, {})):
        bench = Bench(site([charger("A"), charger("B")], supply_a=supply_a))
        bench.plug("A")
        bench.settle(5_000)
        bench.plug("B")
        bench.answer()
        bench.advance(1_000)
        half_a = supply_a / 2
        bench.meter("A", half_a, half_a, half_a)
        bench.advance(200)
        assert bench.pending() == follows
        bench.advance(5_000)
        assert bench.connector("B").target_ma == supply_a * 500


def asked_to_measure(bench: Bench) -> list[str]:
    found = [each.to.id for each in bench.sent if isinstance(each.message, SampleWanted)]
    bench.sent.clear()
    return found


def test_who_follows_a_lower_limit_is_measured_where_another_waits_for_it() -> None:
    bench = Bench(site([charger("A"), charger("B")], supply_a=40))
    bench.plug("A")
    bench.settle(5_000)
    bench.meter("A", 32, 32, 32)
    bench.plug("B")
    bench.answer()
    bench.advance(4_000)
    assert asked_to_measure(bench) == []
    bench.advance(2_000)
    assert asked_to_measure(bench) == ["A"]
    bench.meter("A", 20, 20, 20)
    bench.advance(60_000)
    bench.answer()
    assert asked_to_measure(bench) == []


def test_who_drew_too_much_is_measured_again_until_it_does_not() -> None:
    bench = Bench(site([charger("A")]))
    bench.plug("A")
    bench.settle(5_000)
    bench.meter("A", 40, 40, 40)
    assert bench.connector("A").limit_ma == 32_000
    bench.advance(60_000)
    assert 5 <= len(asked_to_measure(bench)) <= 6, "every 10 s"
    bench.meter("A", 32, 32, 32)
    bench.advance(60_000)
    assert asked_to_measure(bench) == []


def test_a_site_on_a_late_host_waits_for_its_regular_rounds_until_timers_are_in_time() -> None:
    """B's arrival is worth a round at once, but not where every round comes late as it is."""
    for late_ms, at_once in ((0, True), (400, False)):
        bench = Bench(site([charger("A"), charger("B")], supply_a=80))
        bench.plug("A")
        bench.settle(5_000)
        (due_ms,) = [at_ms for key, at_ms in bench.timers.items() if key == "round"]
        bench.now_ms = due_ms + late_ms
        bench.advance(0)
        bench.now_ms += 150
        bench.plug("B")
        assert ("B" in bench.pending()) is at_once
        bench.advance(1_000)
        assert bench.pending() == {"B": 32}


def test_two_increases_of_one_round_share_the_room_once() -> None:
    bench = Bench(site([charger("A"), charger("B"), charger("C")], supply_a=32))
    bench.plug("C")
    bench.answer()
    bench.plug("A")
    bench.plug("B")
    assert set(bench.pending()) == {"C"}, "no room before C has given some back"
    bench.answer()
    bench.advance(1_000)
    bench.meter("C", 20, 20, 20)
    bench.advance(35_000)
    assert bench.counted_a("C") == 20, "it follows only half of the way"
    assert "A" in bench.pending()
    assert bench.counted_a("A") + bench.counted_a("B") <= 12
    assert bench.view().violations == 0


def test_nobody_is_told_more_while_a_row_bears_too_much() -> None:
    bench = Bench(
        site(
            [charger("A", offline_a=6), charger("B", offline_a=6)],
            supply_a=48,
            building_load=BUILDING,
        )
    )
    bench.building(0, 0, 0)
    bench.plug("A")
    assert bench.answer(CommandState.TIMED_OUT) == [("A", 32.0)]
    bench.building(30, 30, 30)
    bench.advance(10_000)
    assert bench.counted_a("A") == 32, "it may have taken it"
    assert bench.pending() == {"A": 6}, "though 12 A would be within what is counted"


def test_a_lower_limit_whose_answer_was_lost_is_not_taken_back_while_a_row_bears_too_much() -> None:
    bench = Bench(site([charger("A"), charger("B")], supply_a=80, building_load=BUILDING))
    bench.building(10, 10, 10)
    bench.plug("A")
    bench.plug("B")
    bench.settle(5_000)
    bench.building(40, 40, 40)
    assert bench.pending() == {"A": 20, "B": 20}
    bench.limits = [each for each in bench.limits if each[0] == "A"]
    bench.answer(CommandState.TIMED_OUT)
    bench.building(20, 20, 20)
    bench.advance(5_000)
    assert (bench.counted_a("A"), bench.counted_a("B")) == (32, 32), "84 A in all"
    assert bench.limits[-1][1].limit_ma == 20_000, "it may draw no more than that already"


def test_nobody_is_raised_for_each_old_session_that_a_station_tells() -> None:
    """B was away and tells six sessions that are over, one after the other, within a second."""
    bench = Bench(site([charger("A"), charger("B")], supply_a=40))
    bench.plug("A")
    bench.settle(60_000)
    told, begun_ms = [], bench.now_ms - 7_200_000
    for number in range(6):
        bench.plug("B", session=f"past-{number}", started_ms=begun_ms + number * 900_000)
        told += bench.answer()
        bench.unplug("B")
        told += bench.answer()
    limits_a = [limit_a for name, limit_a in told if name == "A"]
    assert limits_a == [20, 32, 20], "it makes room again, and then keeps that until B is done"
    bench.settle(10_000)
    assert bench.limits_a()[0] == 32


def test_a_limit_that_is_a_default_profile_takes_room_once() -> None:
    bench = Bench(site([charger("A") | {"connectors": [{"id": 1}, {"id": 2}]}]))
    bench.tell(ChargerPresence(ChargerId("A"), True, True, 16_000, {2: 0}))
    assert bench.view().circuits[0].liability_ma == (16_000,) * 3


def test_credit_waits_on_every_row_it_shares() -> None:
    """B's panel has room; the supply, which it shares with A, has not."""
    bench = Bench(
        site(
            [charger("A", "left"), charger("B", "right")],
            supply_a=40,
            panels=[
                {"id": "left", "parent": "supply", "rating_a": 40},
                {"id": "right", "parent": "supply", "rating_a": 40},
            ],
        )
    )
    bench.plug("A")
    bench.settle(5_000)
    bench.plug("B")
    bench.answer()
    bench.advance(20_000)
    assert bench.connector("B").liability_ma == 8_000
    bench.settle(60_000)
    assert bench.limits_a() == [20.0, 20.0]


def test_one_and_three_phase_vehicles_on_rotated_lines() -> None:
    bench = Bench(
        site(
            [
                charger("one", phases=["L1"]),
                charger("other", phases=["L2"]),
                charger("three", phases=["L3", "L1", "L2"]),
            ],
            supply_a=40,
        )
    )
    for name in ("one", "other", "three"):
        bench.plug(name)
    bench.settle()
    assert bench.limits_a() == [20.0, 20.0, 20.0]
    assert bench.view().circuits[0].liability_ma == (40_000, 40_000, 20_000)
    bench.unplug("one")
    bench.settle()
    assert bench.limits_a()[1:] == [20.0, 20.0], "L2 still holds both"


def test_conductors_are_measured_on_the_lines_they_sit_on() -> None:
    bench = Bench(site([charger("A", phases=["L2", "L3", "L1"])]))
    bench.plug("A")
    bench.answer()
    bench.meter("A", 16, 8, 0)
    assert bench.view().circuits[0].measured_ma == (0, 16_000, 8_000)


def test_a_building_load_rise_lowers_everybody_at_once() -> None:
    bench = Bench(site([charger("A"), charger("B")], supply_a=80, building_load=BUILDING))
    bench.building(10, 10, 10)
    bench.plug("A")
    bench.plug("B")
    bench.settle(5_000)
    assert bench.limits_a() == [32.0, 32.0]
    view = bench.building(30, 20, 10)
    assert bench.pending() == {"A": 25, "B": 25}
    assert view.circuits[0].building_ma == (30_000, 20_000, 10_000)
    assert set(bench.alarms()) == {"overload"}
    assert bench.view().violations == 0, "the building did that, not we"
    bench.settle(40_000)
    assert bench.alarms() == []


def test_before_the_first_report_the_assumed_load_counts() -> None:
    bench = Bench(site([charger("A")], supply_a=32, building_load=BUILDING))
    bench.plug("A")
    assert bench.pending() == {"A": 22}


def test_a_stale_building_meter_raises_nobody() -> None:
    bench = Bench(
        site(
            [charger("A", offline_a=6), charger("B", offline_a=6)],
            supply_a=60,
            building_load=BUILDING,
        )
    )
    bench.building(0, 0, 0)
    bench.plug("A")
    bench.settle(5_000)
    bench.advance(61_000)
    assert bench.view().building_load_stale
    assert bench.alarms() == ["building_meter_stale"]
    bench.plug("B")
    bench.settle()
    assert bench.limits_a() == [32.0, 6.0], "A keeps what it has, B gets its default only"
    assert bench.connector("B").reason == "building meter is stale: nobody is raised"
    bench.building(0, 0, 0)
    bench.settle(50_000)
    assert bench.limits_a() == [30.0, 30.0]


def test_a_stale_building_load_counts_at_least_as_assumed() -> None:
    bench = Bench(site([charger("A")], building_load=BUILDING))
    bench.building(4, 15, 0)
    assert bench.view().circuits[0].building_ma == (4_000, 15_000, 0)
    bench.advance(61_000)
    assert bench.view().circuits[0].building_ma == (10_000, 15_000, 10_000)


def test_a_late_report_does_not_replace_a_newer_one() -> None:
    bench = Bench(site([charger("A")], building_load=BUILDING))
    bench.building(20, 20, 20)
    view = bench.building(0, 0, 0, at_ms=bench.now_ms - 1_000)
    assert view.circuits[0].building_ma == (20_000,) * 3


def test_what_the_building_feeds_back_is_not_netted() -> None:
    bench = Bench(site([charger("A")], supply_a=20, building_load=BUILDING))
    bench.building(-15, -15, -15)
    bench.plug("A")
    assert bench.pending() == {"A": 20}


def test_the_margin_is_never_given_away() -> None:
    bench = Bench(site([charger("A")], supply_a=20, margin_percent=10))
    bench.plug("A")
    assert bench.pending() == {"A": 18}


def test_default_profiles_may_use_the_margin() -> None:
    bench = Bench(
        site(
            [charger("A", offline_a=10), charger("B", offline_a=10)], supply_a=20, margin_percent=10
        )
    )
    bench.plug("A")
    bench.plug("B")
    bench.settle()
    assert bench.limits_a() == [10.0, 10.0]


def test_an_idle_neighbour_keeps_room_for_its_default() -> None:
    bench = Bench(site([charger("A", offline_a=6), charger("B", offline_a=6)], supply_a=32))
    bench.plug("A")
    assert bench.pending() == {"A": 26}


def test_a_paused_neighbour_keeps_room_for_its_default() -> None:
    """B's default is below its minimum: B is paused, and its session may end at any moment."""
    bench = Bench(
        site(
            [charger("A", offline_a=0, priority=1), charger("B", offline_a=4)],
            supply_a=11,
        )
    )
    bench.plug("A")
    bench.plug("B")
    bench.settle()
    assert bench.limits_a() == [7.0, 0.0]
    assert (
        bench.connector("B").reason == "paused: no room for its minimum on circuit supply phase L1"
    )


def test_an_offline_charger_takes_its_profile_off_the_others() -> None:
    bench = Bench(site([charger("A"), charger("B"), charger("C")], supply_a=60))
    bench.plug("A")
    bench.settle(5_000)
    bench.offline("A")
    bench.plug("B")
    bench.plug("C")
    bench.settle()
    assert bench.limits_a() == [32.0, 14.0, 14.0]


def test_a_charger_that_comes_back_hears_its_limit_again() -> None:
    bench = Bench(site([charger("A")]))
    bench.plug("A")
    bench.settle(5_000)
    bench.offline("A")
    bench.advance(5_000)
    bench.online("A", settled=False)
    bench.advance(5_000)
    assert bench.limits == [], "not before it has settled"
    bench.online("A")
    bench.advance(200)
    assert bench.pending() == {"A": 32}


def test_an_unknown_charger_is_counted_at_its_rating() -> None:
    bench = Bench(site([charger("A"), charger("B")], supply_a=50), up=False)
    bench.online("A")
    bench.plug("A")
    bench.settle(5_000)
    assert bench.limits_a()[0] == 18
    bench.online("B")
    bench.settle(5_000)
    assert bench.limits_a()[0] == 32


def test_more_vehicles_than_minimums_take_turns() -> None:
    bench = Bench(site([charger("A"), charger("B"), charger("C")], supply_a=13))
    for name in "ABC":
        bench.plug(name)
    bench.settle(60_000)
    assert bench.limits_a() == [6.5, 6.5, 0.0]
    on_ms = dict.fromkeys("ABC", 0)
    for _ in range(90):
        bench.settle(60_000)
        for name in "ABC":
            if (bench.connector(name).limit_ma or 0) >= 6_000:
                on_ms[name] += 60_000
    assert sum(on_ms.values()) > 0.9 * 2 * 90 * 60_000, "the room is used"
    assert max(on_ms.values()) < 1.5 * min(on_ms.values()), "and shared in turns"


def test_the_least_laxity_is_admitted_first() -> None:
    bench = Bench(site([charger("A"), charger("B")], supply_a=10))
    bench.offline("A")
    bench.offline("B")
    bench.plug("A", need_wh=10_000, departure_ms=START_MS + 10 * MS_PER_HOUR)
    bench.plug("B", need_wh=40_000, departure_ms=START_MS + 3 * MS_PER_HOUR)
    bench.online("A", settled=False)
    bench.online("B", settled=False)
    bench.advance(1_000)
    bench.online("B")
    bench.online("A")
    bench.settle(5_000)
    assert bench.limits_a() == [0.0, 10.0]


def test_priorities_are_strict_above_the_minimum() -> None:
    bench = Bench(site([charger("A", priority=1), charger("B"), charger("C")], supply_a=50))
    for name in "ABC":
        bench.plug(name)
    bench.settle()
    assert bench.limits_a() == [32.0, 9.0, 9.0]


def test_weights_share_inside_a_priority() -> None:
    bench = Bench(site([charger("A", weight=2), charger("B")], supply_a=30))
    bench.plug("A")
    bench.plug("B")
    bench.settle()
    assert bench.limits_a() == [20.0, 10.0]


def test_a_vehicle_that_draws_less_lends_the_rest() -> None:
    bench = Bench(site([charger("A"), charger("B")], supply_a=40))
    bench.plug("A")
    bench.plug("B")
    bench.settle()
    for _ in range(10):
        bench.meter("A", 10, 10, 10)
        bench.meter("B", bench.counted_a("B"))
        bench.settle(30_000)
    assert bench.limits_a() == [12.0, 28.0]
    assert bench.connector("A").reason == "draws less than offered: held at 12 A, the rest is lent"
    for _ in range(4):
        bench.meter("A", 12, 12, 12)
        bench.meter("B", 28, 28, 28)
        bench.settle(30_000)
    bench.meter("B", 20, 20, 20)
    bench.settle(90_000)
    assert bench.limits_a() == [20.0, 20.0], "it used all it was left with, so it gets its share"


def test_nothing_is_lent_where_nobody_needs_it() -> None:
    bench = Bench(site([charger("A"), charger("B")], supply_a=80))
    bench.plug("A")
    for _ in range(10):
        bench.meter("A", 10, 10, 10)
        bench.settle(30_000)
    assert bench.limits_a()[0] == 32


def test_a_full_vehicle_is_offered_its_minimum_and_wakes_to_its_share() -> None:
    bench = Bench(site([charger("A"), charger("B")], supply_a=40))
    bench.plug("A", charging=False, status=ConnectorStatus.SUSPENDED_EV)
    bench.plug("B")
    bench.settle()
    assert bench.limits_a() == [6.0, 32.0]
    assert "in case it wakes" in bench.connector("A").reason
    bench.plug("A")
    bench.settle()
    assert bench.limits_a() == [20.0, 20.0]


def test_a_full_vehicle_takes_no_minimum_from_one_that_charges() -> None:
    bench = Bench(site([charger("A"), charger("B")], supply_a=10))
    bench.plug("A", charging=False, status=ConnectorStatus.SUSPENDED_EV)
    bench.settle()
    bench.plug("B")
    bench.settle()
    assert bench.limits_a() == [0.0, 10.0]


def test_small_increases_wait_until_they_last() -> None:
    bench = Bench(site([charger("A")], supply_a=30, building_load=BUILDING))
    bench.building(10, 10, 10)
    bench.plug("A")
    bench.settle(5_000)
    for _ in range(10):
        bench.building(9.8, 9.8, 9.8)
        bench.advance(1_000)
    assert bench.limits == []
    for _ in range(25):
        bench.building(9.8, 9.8, 9.8)
        bench.advance(1_000)
    assert bench.pending() == {"A": 20.2}


def test_small_reductions_that_safety_needs_go_at_once() -> None:
    bench = Bench(site([charger("A")], supply_a=30, building_load=BUILDING))
    bench.building(10, 10, 10)
    bench.plug("A")
    bench.settle(5_000)
    bench.building(10.2, 10, 10)
    assert bench.pending() == {"A": 19.8}


def test_a_small_reduction_does_not_wait_long_where_another_waits_for_it() -> None:
    """A has come down to its share, and B waits until C has; then the site may draw 0.6 A less, and
    a fifth of an ampere of A's is part of what B needs."""
    chargers = [charger("A"), charger("C"), charger("B", current_min_a=16)]
    bench = Bench(site(chargers, supply_a=60))
    bench.plug("A")
    bench.plug("C")
    bench.settle(60_000)
    assert bench.limits_a()[:2] == [30, 30]
    bench.plug("B")
    bench.answer()
    bench.advance(6_000)
    bench.meter("A", 20, 20, 20)
    bench.advance(1_000)
    bench.answer()
    bench.ask(SetSiteLimit(59_400), SiteView)
    bench.advance(2_000)
    assert bench.pending() == {}
    bench.advance(4_000)
    assert bench.pending() == {"A": 19.8, "C": 19.8}


def test_only_changed_limits_are_sent() -> None:
    bench = Bench(site([charger(f"CP{number}") for number in range(10)]))
    for number in range(10):
        bench.plug(f"CP{number}")
    bench.settle()
    snapshots = bench.snapshots
    bench.limits.clear()
    for _ in range(60):
        for number in range(10):
            bench.meter(f"CP{number}", 16, 16, 16)
        bench.advance(1_000)
    assert bench.limits == []
    assert bench.snapshots == snapshots, "meter samples that change nothing are not written"


def test_a_burst_of_answers_costs_few_rounds() -> None:
    bench = Bench(site([charger(f"CP{number}") for number in range(50)]))
    for number in range(50):
        bench.plug(f"CP{number}")
    before = bench.view().round
    bench.answer()
    assert bench.view().round - before <= 2


def test_a_cap_lowers_and_lifts() -> None:
    bench = Bench(site([charger("A"), charger("B")], supply_a=80, feeder="feeder-1"))
    bench.plug("A")
    bench.plug("B")
    assert bench.limits_a() == [None, None]
    assert bench.pending() == {"A": 0, "B": 0}, "no cap yet: nothing above the defaults"
    bench.answer()
    bench.tell(CapChanged(FEEDER, 1, 40_000))
    bench.settle(5_000)
    assert bench.limits_a() == [20.0, 20.0]
    assert bench.connector("A").reason == (
        "limited by circuit supply phase L1 (the feeder's cap of 40 A)"
    )
    bench.tell(CapChanged(FEEDER, 3, 20_000))
    assert bench.pending() == {"A": 10, "B": 10}
    bench.tell(CapChanged(FEEDER, 2, 64_000))
    assert bench.view().cap_ma == 20_000, "late news of an older cap"
    bench.settle()
    bench.tell(CapChanged(FEEDER, 4, None))
    bench.settle()
    assert bench.limits_a() == [32.0, 32.0]


def test_reports_to_the_feeder() -> None:
    bench = Bench(
        site([charger("A", offline_a=6), charger("B", offline_a=6)], supply_a=80, feeder="feeder-1")
    )
    report = bench.reports[-1]
    assert (report.cap_id, report.floor_ma, report.liability_ma) == (0, 12_000, 12_000)
    bench.tell(CapChanged(FEEDER, 1, 64_000))
    assert bench.reports[-1].cap_id == 1, "within it at once"
    bench.plug("A")
    bench.plug("B")
    bench.settle(5_000)
    assert bench.reports[-1].wanted_ma == 64_000
    assert bench.reports[-1].liability_ma == 64_000
    bench.reports.clear()
    bench.tell(CapChanged(FEEDER, 2, 40_000))
    bench.settle(4_000)
    assert bench.reports == [] or bench.reports[-1].liability_ma == 64_000
    bench.meter("A", 20, 20, 20)
    bench.meter("B", 20, 20, 20)
    bench.advance(200)
    assert (bench.reports[-1].cap_id, bench.reports[-1].liability_ma) == (2, 40_000)
    bench.reports.clear()
    bench.advance(20_000)
    assert len(bench.reports) == 4, "one each interval"


def test_the_feeder_hears_at_once_when_the_meters_show_a_cap_is_met() -> None:
    bench = Bench(site([charger("A"), charger("B")], supply_a=80, feeder="feeder-1"))
    bench.tell(CapChanged(FEEDER, 1, 64_000))
    bench.plug("A")
    bench.plug("B")
    bench.settle(5_000)
    bench.meter("A", 32, 32, 32)
    bench.meter("B", 32, 32, 32)
    bench.tell(CapChanged(FEEDER, 2, 40_000))
    bench.settle(40_000)
    assert bench.reports[-1].liability_ma == 40_000, "silent meters: the ramp's time is over"
    assert bench.reports[-1].measured_ma == 64_000
    bench.meter("A", 20, 20, 20)
    bench.reports.clear()
    bench.meter("B", 20, 20, 20)
    bench.advance(1_000)
    assert [report.measured_ma for report in bench.reports] == [40_000]


def test_a_newcomer_need_not_wait_though_a_round_has_just_been() -> None:
    bench = Bench(site([charger("A"), charger("B", offline_a=6)], supply_a=40))
    bench.plug("A")
    bench.settle(5_000)
    bench.meter("A", 32, 32, 32)
    bench.settle(5_000)
    for name, session_id in (("A", "session-A-1"), ("B", "new")):
        bench.now_ms += 10
        demand = SessionDemand(SessionId(session_id), START_MS, 0, 5_000, None, charging=True)
        bench.tell(ConnectorState(ChargerId(name), 1, ConnectorStatus.CHARGING, demand))
    assert bench.pending()["A"] == 20, "the reduction that makes room leaves at once"


def test_a_limit_now_and_one_scheduled() -> None:
    bench = Bench(site([charger("A")], supply_a=40))
    bench.plug("A")
    bench.settle(5_000)
    soon = bench.now_ms + 60_000
    view = bench.ask(SetSiteLimit(16_000, soon, soon + 60_000), SiteView)
    assert view.limit_ma is None
    bench.settle(59_000)
    assert bench.limits_a() == [32.0]
    bench.settle(5_000)
    assert bench.limits_a() == [16.0]
    assert bench.view().limit_ma == 16_000
    bench.settle(90_000)
    assert bench.limits_a() == [32.0]
    assert bench.ask(SetSiteLimit(10_000), SiteView).limit_ma == 10_000
    assert bench.pending() == {"A": 10}
    assert bench.ask(SetSiteLimit(None), SiteView).limit_ma is None


def test_an_accelerated_site_behaves_alike() -> None:
    bench = Bench(site([charger("A"), charger("B")], supply_a=40), ActorSettings().accelerated(100))
    bench.advance(100_000)
    bench.plug("A")
    bench.plug("B")
    bench.advance(20_000)
    for _ in range(100):
        bench.answer()
        bench.advance(100_000)
    assert bench.limits_a() == [20.0, 20.0]


def test_a_building_that_leaves_everybody_all_they_want_sets_off_no_round() -> None:
    config = site([charger("A"), charger("B")], supply_a=100, building_load=BUILDING)
    bench = Bench(config)
    bench.building(10, 10, 10)
    bench.plug("A")
    bench.settle(40_000)
    bench.building(11, 11, 11)
    bench.settle(5_000)
    due_ms = bench.timers["round"]
    for load_a in (12, 11, 13):
        bench.building(load_a, load_a, load_a)
        bench.now_ms += 1_000
    assert bench.timers["round"] == due_ms
    assert bench.limits_a()[0] == 32.0
    bench.building(80, 80, 80)
    bench.settle(5_000)
    assert bench.limits_a()[0] == 20.0, "what it takes away is taken away"
    bench.building(70, 70, 70)
    bench.settle(40_000)
    assert bench.limits_a()[0] == 30.0, "and what it leaves is given back"


def test_a_building_that_comes_and_goes_does_not_wear_a_charger_out() -> None:
    bench = Bench(site([charger("A")], supply_a=40, building_load={"circuit": "supply"}))
    bench.building(0, 0, 0)
    bench.plug("A")
    bench.settle(10_000)
    told = 0
    for second in range(600):
        drawn_a = 20 if second // 5 % 2 else 0
        bench.building(drawn_a, drawn_a, drawn_a)
        told += len(bench.answer())
        limit_a = bench.limits_a()[0] or 0
        bench.meter("A", limit_a, limit_a, limit_a)
        bench.advance(1_000)
    # Every five seconds would be 120.
    assert told <= 70
    for _ in range(25):
        bench.building(0, 0, 0)
        bench.settle(1_000)
    assert bench.limits_a() == [32.0]
