"""Registers that lie, and what they are worth."""

from __future__ import annotations

import itertools

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from controlplane.charger.energy import Register

POWER_W = 22_000
MINUTE_MS = 60_000


def energy(*values_wh: int, interval_ms: int = 10 * MINUTE_MS) -> int:
    register = Register()
    for index, wh in enumerate(values_wh):
        at_ms = index * interval_ms
        register.take(wh, at_ms, at_ms, power_max_w=POWER_W)
    return register.energy_wh


@pytest.mark.parametrize(
    ("values_wh", "expected_wh"),
    [
        ((), 0),
        ((1_000,), 0),
        ((1_000, 1_500, 3_000), 2_000),
        ((0, 909_948, 910_031), 83),
        # One wild value in between is passed over.
        ((900_000, 900_500, 0, 901_000), 1_000),
        ((900_000, 900_500, 7_000_000, 901_000), 1_000),
        # A register that was set back goes on from there.
        ((900_000, 900_500, 0, 400, 900), 1_400),
        # Rounded otherwise at the start and later.
        ((1_001, 1_000, 1_200), 199),
        # A last value that cannot be is not billed.
        ((1_000, 1_500, 900_000), 500),
        ((1_000, 1_500, 20), 500),
    ],
)
def test_energy(values_wh: tuple[int, ...], expected_wh: int) -> None:
    assert energy(*values_wh) == expected_wh


def test_registers_of_whole_kilowatt_hours_may_step() -> None:
    assert energy(5_000, 5_000, 6_000, 6_000, interval_ms=1_000) == 1_000


def test_a_stopped_clock_of_the_station_does_not_make_energy_impossible() -> None:
    register = Register()
    for minute in range(0, 60, 10):
        register.take(minute * 300, 0, minute * MINUTE_MS, power_max_w=POWER_W)
    assert register.energy_wh == 50 * 300


@given(
    st.lists(
        st.tuples(st.integers(-(10**12), 10**12), st.integers(0, 10**10), st.integers(0, 10**10)),
        max_size=30,
    )
)
def test_energy_is_never_negative_nor_more_than_can_be_delivered(
    readings: list[tuple[int, int, int]],
) -> None:
    register = Register()
    for wh, at_ms, received_ms in readings:
        register.take(wh, at_ms, received_ms, power_max_w=POWER_W)
    assert register.energy_wh >= 0


@given(st.permutations(range(6)))
def test_the_order_of_plausible_readings_does_not_matter(order: list[int]) -> None:
    register = Register()
    for index in order:
        at_ms = index * 3_600_000
        register.take(index * 5_000, at_ms, at_ms, power_max_w=POWER_W, begins=index == 0)
    assert register.energy_wh == 25_000


@settings(max_examples=400)
@given(
    st.lists(
        st.tuples(
            st.sampled_from((0, -5, 900, 30_000, -52_000)),
            st.sampled_from((0, 200, -1)),
        ),
        min_size=2,
        max_size=10,
    ),
    st.data(),
)
def test_a_register_that_is_read_back_has_counted_what_it_had(
    steps: list[tuple[int, int]], data: st.DataObject
) -> None:
    """It was written at the latest when a reading was doubtful."""
    register, wh, at_ms = Register(), 52_052, 1_000 * MINUTE_MS
    readings = []
    written = Register()
    written_after = data.draw(st.integers(0, len(steps) - 1))
    for number, (step_wh, minutes) in enumerate(steps):
        wh, at_ms = max(0, wh + step_wh), at_ms + minutes * MINUTE_MS
        readings.append((wh, at_ms, (1_000 + number) * MINUTE_MS))
        doubt = register.take(*readings[-1], power_max_w=POWER_W)
        if doubt is not None or number <= written_after:
            written, written_after = msgspec.structs.replace(register), number
    if readings[written_after + 1 :]:
        written.restore(readings[written_after + 1 :], power_max_w=POWER_W, believed=True)
    assert msgspec.structs.astuple(written) == msgspec.structs.astuple(register)


def test_nothing_before_the_begin_counts_once_it_is_known() -> None:
    for order in itertools.permutations([(1_000, 10), (500, 5), (2_000, 20)]):
        register = Register()
        register.take(1_000, 10 * MINUTE_MS, 0, power_max_w=POWER_W, begins=True)
        for wh, minute in order:
            register.take(wh, minute * MINUTE_MS, 0, power_max_w=POWER_W)
        assert register.energy_wh == 1_000


def test_steps_that_a_wrong_clock_made_too_large_count_at_the_end() -> None:
    register = Register()
    hour_ms = 3_600_000
    assert register.take(1_000, 0, 0, power_max_w=11_000, begins=True) is None
    # Taken an hour earlier, told under a time that made it seconds before the next one.
    assert register.take(2_000, hour_ms, hour_ms, power_max_w=11_000) is None
    register.untimed = True
    next_ms = hour_ms + 3_000
    assert register.take(9_000, next_ms, next_ms, power_max_w=11_000) == "register_jumped"
    assert register.take(9_100, next_ms + 30_000, next_ms + 30_000, power_max_w=11_000) is None
    assert register.energy_wh == 1_100
    register.settle(9_100, power_max_w=11_000, elapsed_ms=hour_ms)
    assert register.energy_wh == 8_100


def test_a_register_that_was_turned_back_or_is_impossible_is_not_settled() -> None:
    turned_back = Register(untimed=True)
    assert turned_back.take(5_000, 0, 0, power_max_w=11_000, begins=True) is None
    assert turned_back.take(6_000, 600_000, 600_000, power_max_w=11_000) is None
    assert turned_back.take(0, 630_000, 630_000, power_max_w=11_000) == "register_decreased"
    assert turned_back.take(5_500, 4_000_000, 4_000_000, power_max_w=11_000) is None
    turned_back.settle(5_500, power_max_w=11_000, elapsed_ms=4_000_000)
    assert turned_back.energy_wh == 6_500
    impossible = Register(untimed=True)
    assert impossible.take(0, 0, 0, power_max_w=11_000, begins=True) is None
    assert impossible.take(909_948, 30_000, 30_000, power_max_w=11_000) == "register_jumped"
    assert impossible.take(910_031, 60_000, 60_000, power_max_w=11_000) is None
    impossible.settle(910_031, power_max_w=11_000, elapsed_ms=60_000)
    assert impossible.energy_wh == 83


def test_an_earlier_reading_under_a_later_time_counts_nothing_twice() -> None:
    register = Register()
    assert register.take(1_000, 0, 0, power_max_w=11_000, begins=True) is None
    assert register.take(3_000, 3_600_000, 3_600_000, power_max_w=11_000) is None
    for late_wh in (2_000, 2_050, 2_100):
        at_ms = 3_700_000 + late_wh
        assert register.take(late_wh, at_ms, at_ms, power_max_w=11_000) == "register_decreased"
    assert register.take(3_100, 3_800_000, 3_800_000, power_max_w=11_000) is None
    assert register.energy_wh == 2_100
