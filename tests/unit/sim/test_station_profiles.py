"""Which limit follows from a station's charging profiles: the worked rules of OCPP 1.6 3.13."""

from typing import Any, Literal

import pytest

from controlplane.sim.profiles import (
    Kind,
    Period,
    Profile,
    ProfileBook,
    Purpose,
    Situation,
    profile_from_wire,
)

NOW_MS = 1_560_348_000_000
HARDWARE_A = 32.0
IDLE = Situation(connector_id=1, voltage_v=230, phases=3, current_max_a=HARDWARE_A)
CHARGING = Situation(
    connector_id=1,
    voltage_v=230,
    phases=3,
    current_max_a=HARDWARE_A,
    transaction_id="7",
    transaction_start_ms=NOW_MS - 600_000,
)


def profile(
    limit: float,
    purpose: Purpose,
    *,
    id: int = 1,
    level: int = 0,
    connector_id: int = 1,
    unit: Literal["A", "W"] = "A",
    **more: Any,
) -> Profile:
    periods = more.pop("periods", (Period(0, limit),))
    return Profile(id, level, purpose, connector_id, unit, periods, **more)


def book(*profiles: Profile) -> ProfileBook:
    held = ProfileBook()
    for each in profiles:
        held.install(each)
    return held


def test_without_profiles_the_hardware_is_the_limit() -> None:
    assert book().limit_a(CHARGING, NOW_MS) == HARDWARE_A


def test_a_transaction_profile_overrides_the_default_also_upwards() -> None:
    held = book(profile(6, Purpose.DEFAULT, id=1, level=5), profile(20, Purpose.TRANSACTION, id=2))
    assert held.limit_a(CHARGING, NOW_MS) == 20
    assert held.limit_a(IDLE, NOW_MS) == 6


def test_the_highest_stack_level_that_speaks_leads() -> None:
    held = book(
        profile(10, Purpose.TRANSACTION, id=1, level=0),
        profile(16, Purpose.TRANSACTION, id=2, level=1, start_ms=NOW_MS, duration_s=60),
    )
    assert held.limit_a(CHARGING, NOW_MS + 59_000) == 16
    assert held.limit_a(CHARGING, NOW_MS + 60_000) == 10


def test_the_stations_maximum_caps_everything() -> None:
    held = book(
        profile(20, Purpose.TRANSACTION, id=1),
        profile(11_040, Purpose.STATION_MAX, id=2, connector_id=0, unit="W"),
    )
    assert held.limit_a(CHARGING, NOW_MS) == pytest.approx(16)


def test_a_connectors_own_default_beats_the_common_one() -> None:
    held = book(
        profile(8, Purpose.DEFAULT, id=1, connector_id=0, level=3),
        profile(12, Purpose.DEFAULT, id=2, connector_id=1, level=0),
    )
    assert held.limit_a(IDLE, NOW_MS) == 12


def test_a_profile_for_another_transaction_is_silent() -> None:
    held = book(profile(20, Purpose.TRANSACTION, transaction_id="8"))
    assert held.limit_a(CHARGING, NOW_MS) == HARDWARE_A


def test_the_same_place_is_taken_over_and_the_same_id_too() -> None:
    held = book(profile(10, Purpose.DEFAULT, id=1), profile(11, Purpose.DEFAULT, id=2))
    assert [each.id for each in held.profiles] == [2]
    held.install(profile(12, Purpose.STATION_MAX, id=2, connector_id=0))
    assert [each.purpose for each in held.profiles] == [Purpose.STATION_MAX]


def test_transaction_profiles_die_with_the_transaction() -> None:
    held = book(profile(6, Purpose.DEFAULT, id=1), profile(20, Purpose.TRANSACTION, id=2))
    held.end_transaction("7", 1)
    assert held.limit_a(CHARGING, NOW_MS) == 6


@pytest.mark.parametrize(
    ("criteria", "left"),
    [
        ({"id": 1}, {2, 3}),
        ({"purpose": Purpose.TRANSACTION}, {1}),
        ({"connector_id": 1, "stack_level": 4}, {1, 2}),
        ({}, set()),
    ],
)
def test_clearing_matches_every_criterion(criteria: dict[str, Any], left: set[int]) -> None:
    held = book(
        profile(6, Purpose.DEFAULT, id=1),
        profile(20, Purpose.TRANSACTION, id=2),
        profile(24, Purpose.TRANSACTION, id=3, level=4),
    )
    assert held.clear(**criteria) == 3 - len(left)
    assert {each.id for each in held.profiles} == left


def test_relative_and_daily_schedules_count_from_their_own_beginning() -> None:
    steps = (Period(0, 6), Period(900, 16))
    relative = book(profile(0, Purpose.TRANSACTION, periods=steps, kind=Kind.RELATIVE))
    assert relative.limit_a(CHARGING, NOW_MS) == 6
    assert relative.limit_a(CHARGING, NOW_MS + 300_000) == 16
    daily = book(
        profile(
            0, Purpose.DEFAULT, periods=steps, kind=Kind.DAILY, start_ms=NOW_MS - 3 * 86_400_000
        )
    )
    assert daily.limit_a(CHARGING, NOW_MS + 899_000) == 6
    assert daily.limit_a(CHARGING, NOW_MS + 900_000) == 16


def test_the_composite_schedule_says_what_the_limits_will_be() -> None:
    held = book(
        profile(10, Purpose.DEFAULT, id=1),
        profile(16, Purpose.TRANSACTION, id=2, start_ms=NOW_MS, duration_s=600),
        profile(13, Purpose.STATION_MAX, id=3, connector_id=0, valid_from_ms=NOW_MS + 300_000),
    )
    pairs = held.composite(CHARGING, at_ms=NOW_MS, duration_s=3_600, unit="A")
    assert pairs == [(0, 16.0), (300, 13.0), (600, 10.0)]
    for second in range(0, 3_600, 7):
        told = [limit for start_s, limit in pairs if start_s <= second][-1]
        assert told == held.limit_a(CHARGING, NOW_MS + second * 1_000)


def test_profiles_are_read_from_the_wire() -> None:
    read = profile_from_wire(
        {
            "charging_profile_id": 5,
            "stack_level": 2,
            "charging_profile_purpose": "TxProfile",
            "charging_profile_kind": "Absolute",
            "transaction_id": 7,
        },
        {
            "charging_rate_unit": "W",
            "start_schedule": "2019-06-12T14:00:00Z",
            "charging_schedule_period": [{"start_period": 0, "limit": 4_140.0, "number_phases": 3}],
        },
        1,
    )
    assert book(read).limit_a(CHARGING, NOW_MS) == pytest.approx(6)
    with pytest.raises(KeyError):
        profile_from_wire({"charging_profile_kind": "Absolute"}, {}, 1)
