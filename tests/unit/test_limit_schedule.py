"""Limits now and scheduled."""

from __future__ import annotations

from controlplane.limit_schedule import LimitWindow, limit_at, next_change_ms, scheduled


def test_what_was_set_last_holds_inside_its_window() -> None:
    windows = scheduled((), LimitWindow(50, 0), now_ms=0)
    windows = scheduled(windows, LimitWindow(20, 10, 20), now_ms=0)
    windows = scheduled(windows, LimitWindow(None, 15, 18), now_ms=0)
    assert [limit_at(windows, at) for at in (0, 9, 10, 14, 15, 17, 18, 19, 20, 99)] == [
        50, 50, 20, 20, None, None, 20, 20, 50, 50,
    ]  # fmt: skip


def test_the_next_change() -> None:
    windows = (LimitWindow(50, 5), LimitWindow(20, 10, 20))
    assert [next_change_ms(windows, now) for now in (0, 5, 10, 20)] == [5, 10, 20, None]


def test_what_can_never_hold_again_is_dropped() -> None:
    windows = scheduled((), LimitWindow(50, 0, 10), now_ms=0)
    windows = scheduled(windows, LimitWindow(40, 20, 30), now_ms=15)
    assert windows == (LimitWindow(40, 20, 30),)
    assert scheduled(windows, LimitWindow(30, 18), now_ms=18) == (LimitWindow(30, 18),)
    assert scheduled(windows, LimitWindow(30, 25, 40), now_ms=18) == (
        LimitWindow(40, 20, 30),
        LimitWindow(30, 25, 40),
    )


def test_lifting_leaves_nothing_behind() -> None:
    windows = scheduled((), LimitWindow(50, 0), now_ms=0)
    assert scheduled(windows, LimitWindow(None, 0), now_ms=0) == ()
