"""Steps of urgency and the order of admission: who goes first, and that nobody flaps."""

from __future__ import annotations

import itertools

from hypothesis import given
from hypothesis import strategies as st

from controlplane.site.urgency import (
    STEP_FORECAST_MIN,
    STEP_UNKNOWN,
    STEPS,
    Pace,
    Turn,
    admission,
    urgency_step,
)
from controlplane.units import MS_PER_HOUR

PACE = Pace(30_000)
MINUTE_MS = 60_000


def test_steps_halve_the_time_that_is_left() -> None:
    hours = [12, 8, 7.9, 4, 3.9, 2, 1.9, 1, 0.9, 0.5, 0.4, 0, -3]
    steps = [urgency_step(int(each * MS_PER_HOUR)) for each in hours]
    assert steps == [5, 5, 4, 4, 3, 3, 2, 2, 1, 1, 0, 0, 0]


def test_who_says_nothing_is_between_those_who_have_time() -> None:
    assert urgency_step(None) == STEP_UNKNOWN
    assert urgency_step(3 * MS_PER_HOUR) < STEP_UNKNOWN < urgency_step(9 * MS_PER_HOUR)


@given(laxity_ms=st.one_of(st.none(), st.integers(-(2**50), 2**50)), before=st.integers(0, 5))
def test_steps_stay_in_bounds_and_a_forecast_below_what_is_said(
    laxity_ms: int | None, before: int
) -> None:
    step = urgency_step(laxity_ms, before=before)
    assert 0 <= step < STEPS
    assert STEP_FORECAST_MIN <= urgency_step(laxity_ms, forecast=True, before=before) < STEPS


def test_a_laxity_that_trembles_at_a_bound_changes_nothing() -> None:
    step = urgency_step(MS_PER_HOUR - MINUTE_MS)
    for wobble_ms in [MINUTE_MS, -MINUTE_MS] * 50:
        step = urgency_step(MS_PER_HOUR + wobble_ms, before=step)
    assert step == 1
    assert urgency_step(80 * MINUTE_MS, before=step) == 2, "what is clearly more counts"


def test_each_step_is_crossed_once_while_time_passes() -> None:
    step = None
    seen = []
    for laxity_ms in range(20 * MS_PER_HOUR, -MS_PER_HOUR, -7 * MINUTE_MS):
        step = urgency_step(laxity_ms, before=step)
        seen.append(step)
    assert [each for each, _ in itertools.groupby(seen)] == [5, 4, 3, 2, 1, 0]


def test_who_charges_is_kept_for_a_dwell_and_then_gives_way_to_who_waited_a_turn() -> None:
    now_ms = 10 * MS_PER_HOUR

    def key(on: bool, minutes: float, laxity_ms: int | None = None) -> tuple[int, int, int]:
        turn = Turn(on, now_ms - int(minutes * MINUTE_MS))
        return admission(turn, laxity_ms, now_ms=now_ms, pace=PACE)

    assert key(True, 4) < key(False, 16) < key(True, 6) < key(False, 14)
    assert key(True, 6, MS_PER_HOUR) < key(False, 60, MS_PER_HOUR), "waiting makes it urgent anyway"
    assert key(False, 300, MS_PER_HOUR) < key(True, 6, MS_PER_HOUR)
    assert key(False, 1, MS_PER_HOUR) < key(False, 1, 2 * MS_PER_HOUR) < key(False, 1)


def test_who_does_not_bear_a_pause_is_kept() -> None:
    now_ms = 10 * MS_PER_HOUR
    delicate = admission(Turn(True, 0), None, now_ms=now_ms, pace=PACE, keep=True)
    waited = admission(Turn(False, 0), None, now_ms=now_ms, pace=PACE)
    assert delicate < waited
