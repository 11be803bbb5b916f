"""What a demonstration came to, in figures."""

from __future__ import annotations

import msgspec

__all__ = ["Summary"]


class Summary(msgspec.Struct, frozen=True):
    """The outcome of one demonstration; its JSON is what `--json` writes.

    Attributes:
        delivered_wh: by the stations' registers.
        requested_wh: what the drivers of these sessions asked for.
        deadlines_met, deadlines_total: visits that ended within the day, and those that left with
            what was asked for, or with 98 % of what the vehicle could have drawn alone if that is
            less.
        max_row_utilisation: the highest current on any conductor by its rating (feeders: power).
        violations: ticks over a rating by more than 0.1 %, plus differences between Loadstar's
            books and the stations', plus messages that Loadstar refused for good.
        messages: OCPP frames in both directions.
        unaccounted_wh: energy by the registers that Loadstar does not hold, or holds too much.
        first_power_s: from the start of Loadstar to the first vehicle that drew power; -1 if none.
    """

    delivered_wh: int
    requested_wh: int
    deadlines_met: int
    deadlines_total: int
    sessions: int
    max_row_utilisation: float
    violations: int
    messages: int
    worst_row: str
    overload_ticks: int
    audit_ticks: int
    unaccounted_wh: int
    first_power_s: float
    host_kills: int
    connections: int
    duration_s: float
    clock_speed: float
    seed: int
    missed: tuple[str, ...] = ()
    faults: tuple[str, ...] = ()
