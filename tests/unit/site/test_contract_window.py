"""What a contract leaves for the rest of its window."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controlplane.network_power import ContractConfig
from controlplane.site.power import OVERSHOOT_PERMILLE, ContractWindow, Target

CONTRACT = ContractConfig(power_w=50_000)
WINDOW_MS = 900_000
SHED_MS = 60_000
START_MS = 1_700_000_100_000 - 1_700_000_100_000 % WINDOW_MS
TARGET = Target.of(CONTRACT, margin_percent=0, ramp_ms=SHED_MS // 2)


def drawn(power_w: int, *, until_s: int) -> ContractWindow:
    """A window in which the site drew `power_w` since it began."""
    window = ContractWindow(START_MS, START_MS, power_w=power_w)
    for at_s in range(10, until_s + 1, 10):
        window.advance(START_MS + at_s * 1_000, power_w=power_w, measured=True, contract=CONTRACT)
    return window


def test_what_was_not_used_may_be_drawn_later() -> None:
    window = drawn(40_000, until_s=450)
    assert window.allowed_w(TARGET, START_MS + 450_000) == 60_000
    assert drawn(50_000, until_s=450).allowed_w(TARGET, START_MS + 450_000) == 50_000
    assert drawn(70_000, until_s=450).allowed_w(TARGET, START_MS + 450_000) == 30_000


def test_a_window_that_is_used_up_leaves_nothing() -> None:
    assert drawn(100_000, until_s=460).allowed_w(TARGET, START_MS + 460_000) == 0


def test_an_unused_window_is_not_made_up_for_in_its_last_minutes() -> None:
    window = drawn(0, until_s=800)
    assert window.allowed_w(TARGET, START_MS + 800_000) == TARGET.peak_w == 65_000
    window = drawn(0, until_s=850)
    assert window.allowed_w(TARGET, START_MS + 850_000) == 50_000, "vehicles come down in time"


def test_a_small_excess_at_the_end_pauses_nobody() -> None:
    window = drawn(50_100, until_s=890)
    assert 47_000 < window.allowed_w(TARGET, START_MS + 890_000) < 50_000


@given(power_w=st.integers(0, 120_000), at_s=st.integers(0, 899))
def test_the_rule_of_the_end_of_a_window(power_w: int, at_s: int) -> None:
    """Whatever happened before, to shed what is above the target costs the next window at most a
    fixed part of its energy, and in the last minute there is nothing to shed."""
    window = drawn(power_w, until_s=at_s - at_s % 10)
    allowed_w = window.allowed_w(TARGET, START_MS + at_s * 1_000)
    cost_mj = (allowed_w - TARGET.power_w) * SHED_MS
    assert cost_mj <= TARGET.power_w * WINDOW_MS * OVERSHOOT_PERMILLE // 1_000
    if at_s >= 840:
        assert allowed_w <= TARGET.power_w


@given(
    powers=st.lists(st.integers(0, 200_000), min_size=2, max_size=40),
    step_s=st.integers(1, 59),
    offset_s=st.integers(0, 899),
)
def test_energy_is_counted_once(powers: list[int], step_s: int, offset_s: int) -> None:
    """Over any boundaries, what closed windows and the running one hold is the area under the
    power."""
    start_ms = START_MS + offset_s * 1_000
    window = ContractWindow(START_MS, start_ms, power_w=powers[0])
    closed_mj = 0
    for number, power_w in enumerate(powers[1:], start=1):
        for ended in window.advance(
            start_ms + number * step_s * 1_000, power_w=power_w, measured=True, contract=CONTRACT
        ):
            closed_mj += ended.mean_w * WINDOW_MS
            assert ended.start_ms % WINDOW_MS == 0
            assert ended.end_ms - ended.start_ms == WINDOW_MS
    pairs = pairwise(powers)
    area_mj = sum((before + after) * step_s * 500 for before, after in pairs)
    assert abs(closed_mj + window.energy_mj - area_mj) <= 3 * WINDOW_MS, "but for whole watts"


def test_a_silence_is_counted_at_the_larger_power() -> None:
    window = drawn(20_000, until_s=100)
    window.advance(START_MS + 400_000, power_w=50_000, measured=True, contract=CONTRACT)
    assert window.energy_mj == 20_000 * 100_000 + 50_000 * 300_000
    assert window.estimated_ms == 300_000


def test_windows_that_nobody_saw_are_left_out() -> None:
    window = drawn(20_000, until_s=100)
    ended = window.advance(
        START_MS + 3 * WINDOW_MS + 50_000, power_w=30_000, measured=True, contract=CONTRACT
    )
    assert [each.start_ms for each in ended] == [START_MS]
    assert ended[0].estimated_ms == 800_000
    assert window.start_ms == START_MS + 3 * WINDOW_MS
    assert window.energy_mj == 30_000 * 50_000


def test_a_clock_that_is_set_back_begins_a_window_anew() -> None:
    window = drawn(20_000, until_s=100)
    window.advance(START_MS - 1_000, power_w=30_000, measured=True, contract=CONTRACT)
    assert window.start_ms == START_MS - WINDOW_MS
    assert window.energy_mj == 50_000 * 899_000, "what it cannot know takes and gives nothing"


def test_a_contract_of_another_window_begins_one() -> None:
    window = ContractWindow.begin(
        START_MS, power_w=0, contract=ContractConfig(power_w=50_000, window_s=1_800)
    )
    window.advance(START_MS + 1_500_000, power_w=0, measured=True, contract=CONTRACT)
    assert window.start_ms == START_MS + WINDOW_MS
    assert window.mean_w() == 50_000


def test_a_contract_is_lost_once_nothing_can_hold_it() -> None:
    window = drawn(90_000, until_s=400)
    assert not window.lost(CONTRACT, least_w=17_000)
    assert window.lost(CONTRACT, least_w=19_000)


@pytest.mark.parametrize(("window_s", "peak_w"), [(60, 51_000 + 2_000), (900, 65_000)])
def test_short_windows_leave_less_above_the_contract(window_s: int, peak_w: int) -> None:
    contract = ContractConfig(power_w=50_000, window_s=window_s)
    assert Target.of(contract, margin_percent=0, ramp_ms=30_000).peak_w == peak_w
