"""Virtual time: what is planned for one instant happens in the order in which it was planned."""

from __future__ import annotations

from functools import partial

from controlplane.sim.virtual_host import Scheduler


def test_an_instant_keeps_the_order_of_planning() -> None:
    scheduler, done = Scheduler(1_000), list[tuple[int, str]]()

    def do(what: str) -> None:
        done.append((scheduler.now_ms, what))
        if what == "first":
            scheduler.after(0, lambda: do("planned meanwhile"))
            scheduler.after(5, lambda: do("soon after"))

    scheduler.after(20, lambda: do("late"))
    for what in ("first", "second"):
        scheduler.after(10, partial(do, what))
    scheduler.run_until(1_020)
    assert done == [
        (1_010, "first"),
        (1_010, "second"),
        (1_010, "planned meanwhile"),
        (1_015, "soon after"),
    ]
    scheduler.run_until(1_021)
    assert (scheduler.now_ms, done[-1]) == (1_021, (1_020, "late"))
