"""A host's clock never jumps, whatever is done to the machine's."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest

from controlplane.runtime.clock import SetClock, SteadyClock, SystemClock


class World:
    """A machine's clock, and the time that passes."""

    speed = 1.0
    may_jump = True

    def __init__(self) -> None:
        self.passed_s = 100.0
        self.offset_ms = 0

    def now_ms(self) -> int:
        return 1_000_000 + round(self.passed_s * 1_000) + self.offset_ms


def steady(world: World) -> SteadyClock:
    return SteadyClock(world, lambda: world.passed_s)


def test_it_shows_the_time() -> None:
    world = World()
    clock = steady(world)
    world.passed_s += 60
    assert clock.now_ms() == world.now_ms()
    assert clock.set_ms == 0


@pytest.mark.parametrize("step_ms", [-3_600_000, -5_000, 5_000, 3_600_000])
def test_a_clock_that_is_set_moves_it_not_at_all_and_is_told(step_ms: int) -> None:
    world = World()
    clock = steady(world)
    world.offset_ms = step_ms
    for second in range(1, 10):
        world.passed_s += 1
        assert clock.now_ms() == 1_100_000 + second * 1_000
    assert clock.set_ms == step_ms
    world.offset_ms = 0
    assert clock.set_ms == 0


@pytest.mark.parametrize("drift_ms", [-1_500, 1_500])
def test_drift_is_followed_little_by_little_and_never_backwards(drift_ms: int) -> None:
    world = World()
    clock = steady(world)
    world.offset_ms = drift_ms
    shown_ms = [clock.now_ms()]
    for _ in range(40):
        world.passed_s += 1
        shown_ms.append(clock.now_ms())
        assert 950 <= shown_ms[-1] - shown_ms[-2] <= 1_050
    assert shown_ms[-1] == world.now_ms()


def test_a_clock_is_set_by_a_file_in_every_process_that_has_it(tmp_path: Path) -> None:
    file = tmp_path / "clock"
    SetClock.set(file, 0)
    clock: SetClock = pickle.loads(pickle.dumps(SetClock(file)))
    assert abs(clock.now_ms() - SystemClock().now_ms()) < 60_000
    SetClock.set(file, -3_600_000)
    assert abs(clock.now_ms() - SystemClock().now_ms() + 3_600_000) < 60_000
