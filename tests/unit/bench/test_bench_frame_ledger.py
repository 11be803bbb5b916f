"""The ledger that judges recorded frames: it must see every raise that a row could not bear, and
none where the room was free."""

from __future__ import annotations

import pytest

from controlplane.bench.frame_ledger import (
    FrameEvent,
    FrameKind,
    FrameLedger,
    StationSpec,
    Vehicle,
    Verdict,
)

ROWS_MA = [32_000]


def judged(*steps: tuple[float, FrameKind, int, int]) -> Verdict:
    """Two stations of 32 A with defaults of 6 A on a row of 32 A, one of them charging at 26 A;
    its vehicle takes 10 s to follow."""
    stations = [StationSpec("A", 32_000, 1, (0,), ramp_s=10.0), StationSpec("B", 32_000, 1, (0,))]
    before: list[tuple[float, FrameKind, int, int]] = [
        (0.0, FrameKind.DEFAULT, 0, 6_000),
        (0.0, FrameKind.DEFAULT, 1, 6_000),
        (1.0, FrameKind.STARTED, 0, 0),
        (1.0, FrameKind.STARTED, 1, 0),
        (2.0, FrameKind.SENT, 0, 26_000),
        (2.0, FrameKind.ACCEPTED, 0, 26_000),
    ]
    ledger = FrameLedger(stations, ROWS_MA)
    return ledger.judge([FrameEvent(*step) for step in (*before, *steps)])


def test_a_raise_into_free_room_is_well() -> None:
    verdict = judged()
    assert (verdict.raises, verdict.violations) == (1, 0)


def test_a_raise_beside_a_limit_that_is_held_is_seen() -> None:
    verdict = judged((20.0, FrameKind.SENT, 1, 7_000))
    assert verdict.violations == 1
    assert verdict.words == [
        "B was raised to 7000 mA where row 0 then bore 33000 of 32000 mA",
    ]


def test_a_reduction_on_its_way_frees_nothing() -> None:
    verdict = judged(
        (20.0, FrameKind.SENT, 0, 16_000),
        (20.1, FrameKind.SENT, 1, 16_000),
        (20.2, FrameKind.ACCEPTED, 0, 16_000),
    )
    assert verdict.violations == 1


@pytest.mark.parametrize(("at_s", "violations"), [(21.0, 1), (29.0, 1), (30.3, 0)])
def test_an_acknowledged_reduction_counts_until_the_vehicle_follows(
    at_s: float, violations: int
) -> None:
    verdict = judged(
        (20.0, FrameKind.SENT, 0, 16_000),
        (20.2, FrameKind.ACCEPTED, 0, 16_000),
        (at_s, FrameKind.SENT, 1, 16_000),
    )
    assert verdict.violations == violations


def test_a_lowered_row_may_be_over_and_fall_but_not_rise() -> None:
    falls = judged(
        (20.0, FrameKind.ROW, 0, 16_000),
        (20.1, FrameKind.SENT, 0, 8_000),
        (20.2, FrameKind.ACCEPTED, 0, 8_000),
    )
    assert falls.violations == 0
    rises = judged((20.0, FrameKind.ROW, 0, 16_000), (20.1, FrameKind.SENT, 1, 6_100))
    assert rises.violations == 1


def test_the_end_of_a_transaction_frees_all_but_the_default() -> None:
    verdict = judged(
        (20.0, FrameKind.STOPPED, 0, 0),
        (20.1, FrameKind.SENT, 1, 26_000),
        (20.2, FrameKind.ACCEPTED, 1, 26_000),
    )
    assert verdict.violations == 0
    assert judged((20.0, FrameKind.STOPPED, 0, 0), (20.1, FrameKind.SENT, 1, 27_000)).violations


def test_a_vehicle_follows_in_a_straight_line_and_stops_below_the_pilot() -> None:
    vehicle = Vehicle(max_ma=32_000, ramp_s=10.0)
    vehicle.follow(40_000, 0.0)
    assert [vehicle.draw_ma(at_s) for at_s in (0.0, 5.0, 10.0, 99.0)] == [0, 16_000, 32_000, 32_000]
    vehicle.follow(16_000, 100.0)
    assert vehicle.draw_ma(105.0) == 24_000
    vehicle.follow(5_900, 105.0)
    assert (vehicle.draw_ma(110.0), vehicle.draw_ma(115.0)) == (12_000, 0)
    assert vehicle.ramp_end_s == 115.0
