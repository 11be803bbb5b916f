"""Each line of the ledger's table, seen from outside: what is counted on the rows."""

from __future__ import annotations

from itertools import pairwise

import msgspec
import pytest
from site_bench import Bench, charger, site

from controlplane.ids import SessionId
from controlplane.ocpp.commands import CommandState
from controlplane.site.ledger import PENDING_MAX, Entry


def two_chargers(**values: float) -> Bench:
    """Room for one and a half."""
    return Bench(
        site([charger("A", offline_a=6), charger("B", offline_a=6)], supply_a=48, **values)
    )


def charging_alone() -> Bench:
    """A charges with 32 A, acknowledged; B is about to come."""
    bench = two_chargers()
    bench.plug("A")
    assert bench.answer() == [("A", 32.0)]
    return bench


def following_a_decrease() -> Entry:
    """From 32 A to 10 A, acknowledged at 10 s."""
    entry = Entry(hardware_ma=32_000, offline_ma=6_000, default_ma=6_000, online=True, settled=True)
    entry.session(SessionId("s"))
    entry.sent(1, 32_000, now_ms=0)
    accept(entry, 1, now_ms=10)
    entry.sent(2, 10_000, now_ms=9_000)
    accept(entry, 2, now_ms=10_000)
    assert entry.liability_ma == 32_000
    return entry


def lowered() -> Bench:
    """B has come, A was told to make room."""
    bench = charging_alone()
    bench.plug("B")
    bench.advance(200)
    assert bench.pending()["A"] == 24
    return bench


def test_idle_counts_its_acknowledged_default() -> None:
    bench = two_chargers()
    assert bench.counted_a("A") == 6
    assert bench.connector("A").reason == "no session: counted at 6 A, its default profile"


def test_unknown_counts_the_hardware_rating() -> None:
    bench = Bench(site([charger("A", offline_a=6)]), up=False)
    assert bench.counted_a("A") == 32
    bench.online("A", default_a=None, settled=False)
    assert bench.counted_a("A") == 32
    assert "its rating" in bench.connector("A").reason


def test_an_increase_counts_from_the_moment_of_sending() -> None:
    bench = two_chargers()
    bench.plug("A")
    assert bench.pending() == {"A": 32}
    assert bench.counted_a("A") == 32
    assert bench.connector("A").limit_ma is None


def test_acknowledged_counts_as_it_is() -> None:
    bench = charging_alone()
    assert bench.counted_a("A") == 32
    assert bench.connector("A").limit_ma == 32_000


def test_a_decrease_counts_the_old_limit_until_the_meter_shows_it() -> None:
    bench = lowered()
    assert bench.counted_a("A") == 32, "not acknowledged"
    bench.answer()
    assert bench.counted_a("A") == 32, "acknowledged, not seen"
    bench.advance(3_000)
    bench.meter("A", 31, 31, 31)
    assert bench.counted_a("A") == 32, "the meter shows that it has not followed"
    bench.advance(3_000)
    bench.meter("A", 24.3, 24.1, 24)
    assert bench.counted_a("A") == 24.3, "within the meter's tolerance, but it flows"
    bench.advance(3_000)
    bench.meter("A", 24, 24, 23.9)
    assert bench.counted_a("A") == 24, "seen"


def test_what_stands_a_little_above_the_limit_is_the_meters_tolerance_after_the_ramp() -> None:
    bench = lowered()
    bench.answer()
    bench.advance(3_000)
    bench.meter("A", 24.3, 24.1, 24)
    bench.advance(30_000)
    assert bench.counted_a("A") == 24


def test_a_sample_from_before_the_acknowledgement_confirms_nothing() -> None:
    bench = lowered()
    bench.advance(20_000)
    bench.limits = [each for each in bench.limits if each[0] == "A"]
    bench.meter("A", 10, 10, 10)
    bench.answer()
    assert bench.counted_a("A") == 32


def test_a_sample_that_was_taken_before_and_comes_after_confirms_nothing() -> None:
    entry = following_a_decrease()
    for at_ms, counted_ma in ((8_000, 32_000), (9_500, 10_000)):
        entry.metered(10_000, at_ms=at_ms, now_ms=12_000, ramp_ms=30_000, confirms=True)
        assert entry.liability_ma == counted_ma, "stamps may be cut to the second before"


def test_a_sample_of_a_vehicle_on_its_way_up_confirms_nothing() -> None:
    """It was raised a second ago: under the new limit now, it may still pass it.

    A station's clock that is ahead makes the time since then no longer.
    """
    entry = following_a_decrease()
    entry.sent(2, 32_000, now_ms=20_000)
    accept(entry, 2, now_ms=20_000)
    entry.sent(3, 10_000, now_ms=21_000)
    accept(entry, 3, now_ms=21_000)
    for at_ms, now_ms, counted_ma in (
        (21_500, 21_500, 32_000),
        (29_000, 22_000, 32_000),
        (24_900, 24_900, 32_000),
        (25_100, 25_100, 10_000),
    ):
        entry.metered(9_000, at_ms=at_ms, now_ms=now_ms, ramp_ms=30_000, confirms=True)
        assert entry.liability_ma == counted_ma


def test_a_meter_that_shows_one_conductor_of_three_confirms_nothing() -> None:
    bench = lowered()
    bench.answer()
    bench.advance(6_000)
    bench.meter("A", 24)
    assert bench.counted_a("A") == 32
    bench.meter("A", 24, 24, 24)
    assert bench.counted_a("A") == 24


def test_nothing_of_a_session_is_counted_for_the_next() -> None:
    entry = following_a_decrease()
    entry.metered(31_000, at_ms=12_000, now_ms=12_000, ramp_ms=30_000, confirms=True)
    entry.session(None)
    assert (entry.liability_ma, entry.measured_ma) == (6_000, None)


def test_a_charger_that_comes_back_is_tried_at_once() -> None:
    bench = two_chargers()
    bench.plug("A")
    for _ in range(3):
        bench.answer(CommandState.REJECTED)
        bench.advance(30_000)
    bench.answer(CommandState.OFFLINE)
    bench.offline("A", default_a=6)
    bench.online("A")
    bench.advance(1_000)
    assert bench.pending() == {"A": 32}, "planned with, and not backing off"


def test_a_silent_meter_confirms_after_the_ramp() -> None:
    bench = lowered()
    bench.answer()
    bench.advance(29_000)
    assert bench.counted_a("A") == 32
    bench.advance(2_000)
    assert bench.counted_a("A") == 24


def test_power_alone_confirms_only_after_the_ramp() -> None:
    """11 kW on three conductors may be 16 A each or more on one."""
    bench = lowered()
    bench.answer()
    bench.advance(5_000)
    bench.meter("A", power_w=11_000)
    assert bench.counted_a("A") == 32
    bench.advance(30_000)
    assert bench.counted_a("A") == 24


def test_a_meter_over_the_limit_after_the_ramp_counts_and_alarms() -> None:
    bench = lowered()
    bench.answer()
    bench.advance(20_000)
    bench.meter("A", 30, 30, 30)
    bench.advance(15_000)
    assert bench.counted_a("A") == 30
    assert bench.alarms() == [], "it was still free to follow"
    bench.meter("A", 29, 29, 29)
    bench.advance(1_000)
    assert bench.counted_a("A") == 29
    assert bench.alarms() == ["limit_exceeded"]
    assert bench.connector("A").reason == "draws 29 A against a limit of 24 A"
    bench.meter("A", 24, 24, 24)
    bench.advance(1_000)
    assert bench.counted_a("A") == 24
    assert bench.alarms() == []


@pytest.mark.parametrize(
    "state",
    [CommandState.TIMED_OUT, CommandState.ERROR, CommandState.REJECTED, CommandState.OFFLINE],
)
def test_a_failed_increase_counts_the_larger_and_is_tried_again(state: CommandState) -> None:
    bench = two_chargers()
    bench.plug("A")
    bench.answer(state)
    assert bench.counted_a("A") == 32
    bench.advance(1_500)
    assert bench.limits == [], "its back-off has not passed"
    bench.advance(1_500)
    assert bench.answer() == [("A", 32.0)]
    assert bench.connector("A").limit_ma == 32_000


@pytest.mark.parametrize("state", [CommandState.TIMED_OUT, CommandState.REJECTED])
def test_a_failed_decrease_counts_the_larger_and_is_tried_again(state: CommandState) -> None:
    bench = lowered()
    bench.answer(state)
    assert bench.counted_a("A") == 32
    bench.advance(40_000)
    assert bench.counted_a("A") == 32, "time alone confirms no decrease that failed"
    assert bench.pending()["A"] < 32


def test_backoff_doubles_and_the_stuck_charger_is_planned_around() -> None:
    bench = two_chargers()
    bench.plug("A")
    sent_ms = []
    for _ in range(5):
        while not bench.limits:
            bench.advance(1_000)
        sent_ms.append(bench.now_ms)
        bench.answer(CommandState.REJECTED)
    gaps = [after - before for before, after in pairwise(sent_ms)]
    assert gaps == sorted(gaps)
    assert gaps[-1] > 3 * gaps[0]
    bench.advance(1_000)
    assert bench.alarms() == ["limit_refused"]
    bench.plug("B")
    bench.advance(1_000)
    assert bench.pending()["B"] == 16, "48 A less the 32 A that A may be drawing"


def test_a_silent_charger_is_not_left_alone_for_longer_and_longer() -> None:
    """Each time-out has lasted long enough."""
    bench = two_chargers()
    bench.plug("A")
    for _ in range(5):
        bench.answer(CommandState.TIMED_OUT)
        bench.advance(1_500)
        assert bench.limits == []
        bench.advance(1_500)
        assert len(bench.limits) == 1


def test_superseded_was_never_sent() -> None:
    bench = two_chargers()
    bench.plug("A")
    bench.answer(superseded=True)
    bench.advance(200)
    assert bench.pending() == {"A": 32}


def test_offline_with_a_profile_counts_the_larger_of_it_and_the_default() -> None:
    bench = charging_alone()
    bench.offline("A", default_a=6)
    assert bench.counted_a("A") == 32
    assert bench.connector("A").reason == "charger offline: counted at 32 A"


def test_offline_below_its_default_counts_the_default() -> None:
    entry = Entry(
        hardware_ma=32_000,
        offline_ma=10_000,
        default_ma=10_000,
        session_id=SessionId("s"),
        acknowledged_ma=6_000,
        online=True,
        settled=True,
    )
    assert entry.liability_ma == 6_000
    assert entry.reserve_ma == 10_000, "its session may end at any moment"
    entry.presence(online=False, settled=False, default_ma=10_000, now_ms=1)
    assert entry.liability_ma == 10_000


def test_a_charger_that_boots_may_have_lost_its_profile() -> None:
    entry = Entry(
        hardware_ma=32_000,
        offline_ma=10_000,
        default_ma=10_000,
        session_id=SessionId("s"),
        acknowledged_ma=0,
        online=True,
        settled=True,
    )
    entry.presence(online=True, settled=False, default_ma=10_000, now_ms=1)
    assert entry.liability_ma == 10_000
    entry.metered(10_000, at_ms=1, now_ms=1, ramp_ms=30_000, confirms=True)
    assert entry.excess_ma == 0, "it draws its default profile, which is no fault"


def expire(entry: Entry, *, now_ms: int) -> bool:
    return entry.expired(
        now_ms=now_ms, ramp_ms=30_000, answer_ms=120_000, backoff_ms=1, backoff_max_ms=1
    )


def at_its_default(default_ma: int | None, session_id: str | None = "s") -> Entry:
    """Without a profile of its own."""
    return Entry(
        hardware_ma=32_000,
        offline_ma=0,
        default_ma=default_ma,
        session_id=None if session_id is None else SessionId(session_id),
        online=True,
        settled=True,
    )


@pytest.mark.parametrize("known", [True, False])
def test_a_lowered_default_profile_counts_until_a_vehicle_has_followed(known: bool) -> None:
    """Where its transaction is told of late, too."""
    entry = at_its_default(25_000, "s" if known else None)
    assert entry.presence(online=True, settled=True, default_ma=0, now_ms=10_000)
    entry.session(SessionId("s"))
    assert entry.liability_ma == 25_000
    assert entry.settling
    entry.metered(0, at_ms=9_000, now_ms=12_000, ramp_ms=30_000, confirms=False)
    assert entry.liability_ma == 25_000
    assert not expire(entry, now_ms=39_999)
    assert expire(entry, now_ms=40_000)
    assert entry.liability_ma == 0


def test_what_the_meter_shows_at_the_end_of_the_ramp_counts_on() -> None:
    entry = at_its_default(25_000)
    entry.presence(online=True, settled=True, default_ma=0, now_ms=10_000)
    entry.metered(20_000, at_ms=30_000, now_ms=30_000, ramp_ms=30_000, confirms=False)
    expire(entry, now_ms=40_000)
    assert entry.liability_ma == 20_000
    entry.metered(0, at_ms=45_000, now_ms=45_000, ramp_ms=30_000, confirms=False)
    assert entry.liability_ma == 0


def test_a_charger_of_which_nothing_was_known_is_not_waited_for() -> None:
    entry = at_its_default(None, None)
    assert entry.liability_ma == 32_000
    entry.presence(online=True, settled=True, default_ma=6_000, now_ms=10_000)
    assert entry.liability_ma == 6_000


def test_back_online_counts_both_until_the_limit_is_acknowledged_again() -> None:
    entry = Entry(
        hardware_ma=32_000,
        offline_ma=10_000,
        default_ma=10_000,
        session_id=SessionId("s"),
        acknowledged_ma=6_000,
    )
    entry.presence(online=True, settled=True, default_ma=10_000, now_ms=1)
    assert entry.liability_ma == 10_000
    entry.sent(1, 6_000, now_ms=0)
    accept(entry, 1, now_ms=10)
    assert entry.held_ma == 6_000


def test_offline_without_a_profile_counts_the_default() -> None:
    bench = two_chargers()
    bench.offline("A", default_a=6)
    assert bench.counted_a("A") == 6


def test_the_end_of_the_session_ends_its_profile() -> None:
    bench = charging_alone()
    bench.unplug("A")
    assert bench.counted_a("A") == 6


def test_a_limit_for_a_session_that_is_over_counts_until_its_outcome() -> None:
    bench = two_chargers()
    bench.plug("A")
    bench.unplug("A")
    assert bench.counted_a("A") == 32
    bench.answer(CommandState.REJECTED)
    assert bench.counted_a("A") == 6


def test_a_limit_taken_after_its_session_may_bind_the_next_one() -> None:
    """There are stations that do not compare transaction ids."""
    entry = Entry(hardware_ma=32_000, offline_ma=6_000, default_ma=6_000, online=True, settled=True)
    entry.session(SessionId("first"))
    entry.sent(1, 32_000, now_ms=0)
    entry.session(SessionId("second"))
    accept(entry, 1, now_ms=10)
    assert entry.liability_ma == 32_000
    entry.sent(2, 6_000, now_ms=20)
    accept(entry, 2, now_ms=30)
    assert entry.held_ma == 6_000
    assert entry.uncertain_ma == 0


def test_a_default_that_is_being_replaced_counts_as_the_larger() -> None:
    entry = Entry(hardware_ma=32_000, offline_ma=10_000, default_ma=6_000)
    assert entry.liability_ma == 10_000
    entry.offline_ma = 3_000
    assert entry.liability_ma == 6_000


def test_only_a_reduction_overtakes_a_limit_in_flight() -> None:
    entry = Entry(hardware_ma=32_000, offline_ma=0, default_ma=0, session_id=SessionId("s"))
    entry.sent(1, 20_000, now_ms=0)
    assert not entry.may_send(25_000, now_ms=1)
    assert not entry.may_send(20_000, now_ms=1)
    for limit_id in range(2, PENDING_MAX + 1):
        limit_ma = 20_000 - limit_id * 1_000
        assert entry.may_send(limit_ma, now_ms=1)
        entry.sent(limit_id, limit_ma, now_ms=1)
    assert not entry.may_send(0, now_ms=1), "the queue is bounded"
    assert entry.liability_ma == 20_000


def accept(entry: Entry, limit_id: int, *, now_ms: int) -> None:
    entry.outcome(
        limit_id,
        CommandState.ACCEPTED,
        superseded=False,
        now_ms=now_ms,
        backoff_ms=1,
        backoff_max_ms=1,
    )


def test_acknowledged_raise_then_decrease_in_flight() -> None:
    entry = Entry(
        hardware_ma=32_000,
        offline_ma=0,
        default_ma=0,
        session_id=SessionId("s"),
        online=True,
        settled=True,
    )
    entry.sent(1, 20_000, now_ms=0)
    entry.sent(2, 10_000, now_ms=1)
    accept(entry, 1, now_ms=5)
    assert entry.liability_ma == 20_000
    accept(entry, 2, now_ms=6)
    assert entry.liability_ma == 20_000, "it may have followed the first"
    entry.expired(now_ms=40_000, ramp_ms=30_000, answer_ms=1, backoff_ms=1, backoff_max_ms=1)
    assert entry.liability_ma == 10_000


def test_an_answer_that_never_comes_ends_as_a_time_out() -> None:
    bench = two_chargers()
    bench.plug("A")
    bench.limits.clear()
    bench.advance(119_000)
    assert bench.limits == []
    bench.advance(5_000)
    assert bench.pending() == {"A": 32}
    assert bench.counted_a("A") == 32


def test_direct_current_counts_by_power() -> None:
    """A fast charger's meter gives the current on its cable; the site feels the power."""
    bench = Bench(site([charger("D", current_type="dc", limit_unit="W", current_max_a=100)]))
    bench.plug("D")
    bench.answer()
    bench.meter("D", 150, power_w=55_200)
    assert bench.connector("D").measured_ma == 80_000
    assert bench.alarms() == []


def test_an_excess_shows_though_the_clock_of_the_station_is_slow() -> None:
    """Its stamps are all from before the acknowledgement, for hours."""
    entry = Entry(
        hardware_ma=32_000,
        offline_ma=6_000,
        default_ma=6_000,
        session_id=SessionId("s"),
        online=True,
        settled=True,
    )
    start_ms = 10_000_000
    entry.sent(1, 0, now_ms=start_ms)
    accept(entry, 1, now_ms=start_ms)

    def metered(after_ms: int) -> None:
        entry.metered(
            6_000,
            at_ms=start_ms + after_ms - 7_200_000,
            now_ms=start_ms + after_ms,
            ramp_ms=30_000,
            confirms=True,
        )

    metered(20_000)
    assert entry.excess_ma == 0, "the vehicle may still be following"
    entry.expired(
        now_ms=start_ms + 30_000, ramp_ms=30_000, answer_ms=1, backoff_ms=1, backoff_max_ms=1
    )
    metered(50_000)
    assert (entry.excess_ma, entry.liability_ma) == (6_000, 6_000)


def test_an_old_sample_settles_no_decrease_whatever_its_stamp_says() -> None:
    """It may have waited in its station, and stamps are of a clock that nobody has compared."""
    bench = lowered()
    bench.answer()
    bench.advance(6_000)
    bench.meter("A", 20, 20, 20, fresh=False)
    assert bench.counted_a("A") == 32
    bench.meter("A", 20, 20, 20)
    assert bench.counted_a("A") == 24


def test_who_may_have_anything_is_told_what_it_may_have_where_there_is_room_for_no_more() -> None:
    """What it could draw fills the row, so nobody can be raised, itself neither: told to draw
    nothing, it makes the room that it waits for."""
    bench = Bench(site([charger("A")], supply_a=16), up=False)
    bench.online("A", default_a=None)
    bench.plug("A")
    bench.advance(1_000)
    assert bench.answer() == [("A", 0.0)]
    bench.advance(31_000)
    assert bench.answer() == [("A", 16.0)]


def test_the_time_for_a_decrease_runs_on_whatever_is_told_after_it() -> None:
    """From 32 A to 10 A at 10 s, to 14 A at 20 s and to 8 A at 25 s: each may be followed for 30 s,
    and who had its time to come down to 10 A does not draw 32 A for a later change."""
    entry = following_a_decrease()
    for limit_id, (limit_ma, at_ms) in enumerate([(14_000, 20_000), (8_000, 25_000)], start=3):
        entry.sent(limit_id, limit_ma, now_ms=at_ms)
        accept(entry, limit_id, now_ms=at_ms)
    counted = {}
    for second in (39, 40, 54, 55):
        expire(entry, now_ms=second * 1_000)
        counted[second] = entry.liability_ma
    assert counted == {39: 32_000, 40: 14_000, 54: 14_000, 55: 8_000}


def test_many_decreases_are_counted_no_less_for_being_many() -> None:
    entry = following_a_decrease()
    for limit_id in range(3, 20):
        entry.sent(limit_id, 10_000 - limit_id * 100, now_ms=10_000 + limit_id)
        accept(entry, limit_id, now_ms=10_000 + limit_id)
    expire(entry, now_ms=39_999)
    assert entry.liability_ma == 32_000
    expire(entry, now_ms=40_018)
    assert entry.liability_ma == 8_200, "the last but one"
    expire(entry, now_ms=40_019)
    assert entry.liability_ma == 8_100


def test_a_vehicle_that_is_followed_is_read_from_an_older_snapshot() -> None:
    entry = following_a_decrease()
    fields = msgspec.to_builtins(entry)
    names = Entry.__struct_fields__
    older = msgspec.convert(fields[: names.index("followed")], Entry)
    assert older.liability_ma == 32_000
    assert older.follows_until_ms(30_000) == 40_000
    expire(older, now_ms=39_999)
    assert older.liability_ma == 32_000
    expire(older, now_ms=40_000)
    assert older.liability_ma == 10_000
