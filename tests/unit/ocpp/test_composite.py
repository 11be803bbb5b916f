"""Stacked profiles: each case is a rule of the specifications, worked out by hand."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controlplane.ocpp.composite import (
    CompositePeriod,
    Kind,
    Profile,
    ProfilePeriod,
    Purpose,
    RunningTransaction,
    composite,
)

NOON_MS = 1_767_268_800_000  # 2026-01-01T12:00:00Z, a Thursday
HOUR_MS = 3_600_000


def profile(*periods: tuple[int, float] | tuple[int, float, int], **fields: Any) -> Profile:
    said: dict[str, Any] = {
        "profile_id": 1,
        "connector_id": 1,
        "stack_level": 0,
        "purpose": Purpose.DEFAULT,
        "kind": Kind.ABSOLUTE,
        "unit": "A",
        "start_ms": NOON_MS,
        "periods": tuple(
            ProfilePeriod(start_s, round(limit * 1_000), *rest) for start_s, limit, *rest in periods
        ),
    }
    return Profile(**said | fields)


def limits(
    *profiles: Profile, duration_s: int = 400, **asked: Any
) -> list[tuple[int, float | None]]:
    said: dict[str, Any] = {
        "connector_id": 1,
        "at_ms": NOON_MS,
        "duration_s": duration_s,
        "unit": "A",
        "voltage_v": 230,
        "phases": 3,
    }
    found = composite(profiles, **said | asked)
    return [
        (each.start_s, None if each.limit_milli is None else each.limit_milli / 1_000)
        for each in found
    ]


RUNNING = RunningTransaction("T1", NOON_MS - HOUR_MS)


def test_a_higher_stack_level_speaks_alone_while_it_lasts_and_the_lower_one_after_it() -> None:
    low = profile((0, 6), (100, 8), (200, 10), duration_s=400)
    high = profile((0, 7), (100, 9), stack_level=1, duration_s=150)
    assert limits(low, high) == [(0, 7), (100, 9), (150, 8), (200, 10)]


def test_purposes_are_held_against_each_other_and_the_lowest_counts() -> None:
    default = profile((0, 16))
    station = profile((0, 20), (100, 10), purpose=Purpose.STATION_MAX, connector_id=0)
    external = profile((0, 32), (300, 6), purpose=Purpose.EXTERNAL, connector_id=0)
    assert limits(default, station, external) == [(0, 16), (100, 10), (300, 6)]


def test_a_transactions_profile_goes_before_the_default_even_where_it_allows_more() -> None:
    default = profile((0, 10), stack_level=5)
    own = profile(
        (0, 25), purpose=Purpose.TRANSACTION, transaction_id="T1", kind=Kind.ABSOLUTE, duration_s=60
    )
    assert limits(default, own, transaction=RUNNING) == [(0, 25), (60, 10)]
    assert limits(default, own) == [(0, 10)]
    other = RunningTransaction("T2", NOON_MS)
    assert limits(default, own, transaction=other) == [(0, 10)]


def test_a_default_for_every_connector_gives_way_to_a_connectors_own_of_the_same_level() -> None:
    everyones = profile((0, 10), connector_id=0)
    own = profile((0, 20))
    assert limits(everyones, own) == [(0, 20)]
    assert limits(everyones, own, connector_id=2) == [(0, 10)]
    above = profile((0, 12), connector_id=0, stack_level=1)
    assert limits(above, own) == [(0, 12)]


def test_a_relative_schedule_counts_from_the_transactions_start() -> None:
    relative = profile((0, 32), (3_700, 8), kind=Kind.RELATIVE, start_ms=None)
    assert limits(relative, transaction=RUNNING) == [(0, 32), (100, 8)]
    assert limits(relative) == [(0, 32)]


def test_an_absolute_schedule_without_a_start_counts_from_the_transactions_start_too() -> None:
    unsaid = profile((0, 32), (3_700, 8), start_ms=None)
    assert limits(unsaid, transaction=RUNNING) == [(0, 32), (100, 8)]


def test_a_daily_schedule_repeats_on_both_sides_of_its_start() -> None:
    daily = profile((0, 6), (HOUR_MS // 1_000, 32), kind=Kind.DAILY)
    for days in (-400, -1, 0, 1, 400):
        at_ms = NOON_MS + days * 24 * HOUR_MS + HOUR_MS - 100_000
        assert limits(daily, at_ms=at_ms) == [(0, 6), (100, 32)]


def test_a_weekly_schedule_that_ends_is_silent_until_the_next_week() -> None:
    weekly = profile((0, 6), kind=Kind.WEEKLY, duration_s=100)
    week_s = 7 * 86_400
    assert limits(weekly, duration_s=week_s + 200) == [
        (0, 6),
        (100, None),
        (week_s, 6),
        (week_s + 100, None),
    ]


def test_validity_cuts_a_schedule_at_both_ends() -> None:
    bounded = profile((0, 6), valid_from_ms=NOON_MS + 50_000, valid_to_ms=NOON_MS + 90_000)
    assert limits(profile((0, 16)), profile((0, 9), purpose=Purpose.STATION_MAX)) == [(0, 9)]
    assert limits(bounded) == [(0, None), (50, 6), (90, None)]


def test_before_an_absolute_start_nothing_is_said() -> None:
    later = profile((0, 6), start_ms=NOON_MS + 30_000)
    assert limits(later) == [(0, None), (30, 6)]


def test_watts_are_of_all_phases_together_and_amperes_of_each() -> None:
    watts = profile((0, 6_900), unit="W")
    assert limits(watts) == [(0, 10)]
    assert limits(watts, phases=1) == [(0, 30)]
    one_phase = profile((0, 16, 1))
    assert composite(
        [one_phase], connector_id=1, at_ms=NOON_MS, duration_s=60, unit="W", voltage_v=230, phases=3
    ) == (CompositePeriod(0, 3_680_000, 1),)


def test_a_drivers_priority_replaces_the_transactions_profile_while_it_is_in_force() -> None:
    own = profile((0, 8), purpose=Purpose.TRANSACTION)
    first = profile((0, 32), purpose=Purpose.PRIORITY)
    assert limits(own, first, transaction=RUNNING) == [(0, 8)]
    urgent = RunningTransaction("T1", NOON_MS - HOUR_MS, priority=True)
    assert limits(own, first, transaction=urgent) == [(0, 32)]


def test_power_made_on_site_is_added_and_still_bounded_by_the_station() -> None:
    own = profile((0, 8), purpose=Purpose.TRANSACTION)
    sun = profile((0, 4), (100, 20), purpose=Purpose.LOCAL_GENERATION)
    station = profile((0, 16), purpose=Purpose.STATION_MAX, connector_id=0)
    assert limits(own, sun, station, transaction=RUNNING) == [(0, 12), (100, 16)]


def test_nothing_installed_limits_nothing() -> None:
    assert limits() == [(0, None)]


SCHEDULES = st.builds(
    lambda starts, **fields: profile(
        *((s, 6 + i) for i, s in enumerate(sorted({0, *starts}))), **fields
    ),
    st.lists(st.integers(1, 500), max_size=3),
    stack_level=st.integers(0, 2),
    connector_id=st.sampled_from((0, 1)),
    purpose=st.sampled_from(list(Purpose)),
    kind=st.sampled_from(list(Kind)),
    start_ms=st.none() | st.integers(-300, 300).map(lambda s: NOON_MS + s * 1_000),
    duration_s=st.none() | st.integers(1, 400),
    valid_from_ms=st.none() | st.integers(-300, 300).map(lambda s: NOON_MS + s * 1_000),
    valid_to_ms=st.none() | st.integers(-300, 300).map(lambda s: NOON_MS + s * 1_000),
)


@given(st.lists(SCHEDULES, max_size=6), st.integers(0, 299), st.booleans())
def test_what_is_said_ahead_is_what_is_said_when_the_time_has_come(
    profiles: list[Profile], later_s: int, priority: bool
) -> None:
    transaction = RunningTransaction("T1", NOON_MS - 100_000, priority)
    ahead = limits(*profiles, duration_s=300, transaction=transaction)
    then = limits(*profiles, at_ms=NOON_MS + later_s * 1_000, duration_s=1, transaction=transaction)
    assert then[0][1] == [limit for start_s, limit in ahead if start_s <= later_s][-1]


@pytest.mark.parametrize("phases", [1, 2, 3])
def test_a_conversion_never_allows_more_than_was_said(phases: int) -> None:
    watts = profile((0, 3_701), unit="W")
    ((_, limit_a),) = limits(watts, phases=phases)
    assert limit_a is not None
    assert limit_a * 230 * phases <= 3_701
