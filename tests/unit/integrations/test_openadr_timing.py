"""Intervals lie where the user guide of OpenADR 3 puts them."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from openadr_events import NOON_MS, PROGRAM, at_ms, event, hours

from controlplane.integrations.openadr.timing import (
    FOREVER_MS,
    SHIFT_MAX_MS,
    Window,
    duration_ms,
    instant_ms,
    lay_out,
)
from controlplane.integrations.openadr.wire import Program

LIMIT = ("IMPORT_CAPACITY_LIMIT", 100)


def laid_out(given: Any = None, **described: Any) -> list[Window]:
    return lay_out(event(**described), given or PROGRAM, ven_name="loadstar", seen_ms=at_ms(11))


def spans(windows: list[Window]) -> list[tuple[int, int]]:
    return [(window.start_ms, window.end_ms) for window in windows]


@pytest.mark.parametrize(
    ("text", "expected_ms"),
    [
        (None, 0),
        ("PT0S", 0),
        ("PT15M", 900_000),
        ("PT1H30M", 5_400_000),
        ("PT0.5S", 500),
        ("P1D", 86_400_000),
        ("P1W", 7 * 86_400_000),
        ("P1Y", 365 * 86_400_000),
        ("P9999Y", FOREVER_MS),
    ],
)
def test_durations(text: str | None, expected_ms: int) -> None:
    assert duration_ms(text) == expected_ms


@pytest.mark.parametrize("text", ["1H", "P", "PT", "-PT1H", "PT1H1D", "an hour", "P1.5D"])
def test_what_is_no_duration(text: str) -> None:
    with pytest.raises(ValueError, match="ISO 8601"):
        duration_ms(text)


def test_instants() -> None:
    assert instant_ms("2026-05-01T12:00:00Z") == NOON_MS
    assert instant_ms("2026-05-01T14:00:00+02:00") == NOON_MS
    assert instant_ms("2026-05-01 12:00:00") == NOON_MS, "as the reference VTN writes them"
    for now in (None, "", "0000-00-00", "0001-01-01", "0001-01-01T00:00:00Z"):
        assert instant_ms(now) is None
    with pytest.raises(ValueError, match="noon"):
        instant_ms("noon")


def test_intervals_follow_each_other() -> None:
    windows = laid_out(intervals=hours(LIMIT, LIMIT, LIMIT))
    assert spans(windows) == [
        (at_ms(12), at_ms(13)),
        (at_ms(13), at_ms(14)),
        (at_ms(14), at_ms(15)),
    ]


def test_an_interval_may_say_its_own_duration_or_start() -> None:
    intervals = hours(LIMIT, LIMIT, LIMIT)
    intervals[1]["intervalPeriod"] = {"duration": "PT2H"}
    intervals[2]["intervalPeriod"] = {"start": "2026-05-01T20:00:00Z"}
    assert spans(laid_out(intervals=intervals)) == [
        (at_ms(12), at_ms(13)),
        (at_ms(13), at_ms(15)),
        (at_ms(20), at_ms(21)),
    ]


def test_the_program_says_what_the_event_does_not() -> None:
    program = Program.model_validate(
        {
            "id": "p",
            "programName": "peak",
            "intervalPeriod": {"start": "2026-05-01T18:00:00Z", "duration": "PT30M"},
        }
    )
    assert spans(laid_out(program, intervalPeriod=None)) == [(at_ms(18), at_ms(18.5))]


@pytest.mark.parametrize("start", ["0000-00-00", "0001-01-01T00:00:00", None])
def test_now_is_when_the_utility_wrote_the_event(start: str | None) -> None:
    (window,) = laid_out(intervalPeriod={"start": start, "duration": "PT4H"})
    assert (window.start_ms, window.end_ms) == (at_ms(10), at_ms(14))
    assert window.immediate


def test_now_is_when_it_was_first_seen_where_the_utility_does_not_say() -> None:
    (window,) = laid_out(
        intervalPeriod={"duration": "PT4H"}, createdDateTime="17:35:55", modificationDateTime=None
    )
    assert window.start_ms == at_ms(11)


def test_now_is_by_the_clock_of_the_utility() -> None:
    now = event(intervalPeriod={"duration": "PT4H"})
    (window,) = lay_out(now, PROGRAM, ven_name="v", seen_ms=at_ms(11), ahead_ms=3_600_000)
    assert window.start_ms == at_ms(9)


@pytest.mark.parametrize("duration", [None, "PT0S", "P9999Y"])
def test_what_has_no_duration_has_no_end(duration: str | None) -> None:
    (window,) = laid_out(intervalPeriod={"start": "2026-05-01T12:00:00Z", "duration": duration})
    assert window.end_ms == FOREVER_MS


def test_what_has_no_duration_ends_when_the_next_begins() -> None:
    intervals = hours(LIMIT, LIMIT)
    intervals[0]["intervalPeriod"] = {"start": "2026-05-01T12:00:00Z"}
    intervals[1]["intervalPeriod"] = {"start": "2026-05-01T15:00:00Z"}
    windows = laid_out(intervalPeriod=None, intervals=intervals)
    assert spans(windows) == [(at_ms(12), at_ms(15)), (at_ms(15), FOREVER_MS)]


@pytest.mark.parametrize(
    "described",
    [
        {"intervalPeriod": {"start": "soon"}},
        {"intervalPeriod": {"start": "2026-05-01T12:00:00Z", "duration": "an hour"}},
        {"intervalPeriod": {"start": "2026-05-01T12:00:00Z"}, "intervals": hours(LIMIT, LIMIT)},
    ],
)
def test_what_has_no_order_is_refused(described: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r".+"):
        laid_out(**described)


def test_an_event_without_intervals_asks_for_reports_only() -> None:
    assert laid_out(intervals=None) == []


def test_the_duration_of_an_event_cuts_it_short() -> None:
    windows = laid_out(intervals=hours(LIMIT, LIMIT, LIMIT), duration="PT90M")
    assert spans(windows) == [(at_ms(12), at_ms(13)), (at_ms(13), at_ms(13.5))]


def test_the_duration_of_an_event_repeats_it() -> None:
    windows = laid_out(intervals=hours(LIMIT, LIMIT), duration="PT5H")
    assert spans(windows)[-1] == (at_ms(16), at_ms(17))
    assert [(window.cycle, window.interval_id) for window in windows] == [
        (0, 0),
        (0, 1),
        (1, 0),
        (1, 1),
        (2, 0),
    ]


def test_an_event_that_repeats_for_ever_is_laid_out_around_now() -> None:
    old = event(
        intervalPeriod={"start": "2020-01-01T00:00:00Z", "duration": "PT1H"},
        intervals=hours(*[LIMIT] * 24),
        duration="P9999Y",
    )
    windows = lay_out(old, PROGRAM, ven_name="v", seen_ms=NOON_MS)
    assert any(window.start_ms <= NOON_MS < window.end_ms for window in windows)
    assert windows[0].start_ms >= NOON_MS - 3 * 86_400_000
    assert windows[-1].start_ms < NOON_MS + 86_400_000


def test_a_random_start_is_bounded_and_moves_what_follows_alike() -> None:
    period = {"start": "2026-05-01T12:00:00Z", "duration": "PT1H", "randomizeStart": "PT10M"}
    starts = set()
    for number in range(200):
        windows = laid_out(id=f"e{number}", intervalPeriod=period, intervals=hours(LIMIT, LIMIT))
        shift_ms = windows[0].start_ms - at_ms(12)
        assert -600_000 <= shift_ms <= 600_000
        assert windows[1].start_ms == windows[0].end_ms == at_ms(13) + shift_ms
        starts.add(shift_ms)
    assert len(starts) > 150
    assert min(starts) < -300_000 < 300_000 < max(starts)


def test_a_random_start_is_the_same_after_a_restart_and_another_for_another_ven() -> None:
    given = event(intervalPeriod={"start": "2026-05-01T12:00:00Z", "randomizeStart": "PT10M"})
    starts = [
        lay_out(given, PROGRAM, ven_name=name, seen_ms=seen_ms)[0].start_ms
        for name, seen_ms in (("a", 1), ("a", 2), ("b", 1))
    ]
    assert starts[0] == starts[1] != starts[2]


def test_no_start_is_shifted_by_more_than_an_hour() -> None:
    period = {"start": "2026-05-01T12:00:00Z", "randomizeStart": "P30D"}
    (window,) = laid_out(intervalPeriod=period)
    assert abs(window.start_ms - at_ms(12)) <= SHIFT_MAX_MS


@given(
    st.lists(st.sampled_from([None, "PT15M", "PT1H", "PT0S"]), min_size=1, max_size=6),
    st.sampled_from([None, "PT1H", "PT3H", "P1D"]),
)
def test_intervals_never_overlap_where_they_follow(
    durations: list[str | None], total: str | None
) -> None:
    intervals = hours(*[LIMIT] * len(durations))
    for interval, duration in zip(intervals, durations, strict=True):
        interval["intervalPeriod"] = {"duration": duration}
    try:
        windows = laid_out(intervals=intervals, duration=total)
    except ValueError:
        return
    for before, after in pairwise(windows):
        assert before.start_ms < before.end_ms <= after.start_ms
