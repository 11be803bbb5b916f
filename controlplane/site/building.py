"""The building's load from whatever measures it: lines that a meter left out, and what is left for
the building where the meter sees chargers as well.

Invariant: what is not known counts in full. A line without a current carries all the power that
the others leave over; a charger whose meter is silent is not subtracted; what feeds in behind a
meter is added again."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from controlplane.site.ledger import Entry
from controlplane.site.messages import PhaseCurrents

__all__ = ["Drawn", "building_from_supply", "drawn", "line_currents"]


class Drawn(NamedTuple):
    """What the conductors of one connector carry at an instant, at least and at most, in mA."""

    least_ma: int
    most_ma: int


def line_currents(
    current_ma: tuple[int | None, int | None, int | None],
    power_w: int | None,
    *,
    voltage_v: int,
    balanced: bool,
) -> PhaseCurrents | None:
    """Currents of the three lines, or None where the sample does not tell.

    Args:
        balanced: the load is alike on all lines; otherwise power that no current accounts for may
            flow on any one of the others.
    """
    known = [each for each in current_ma if each is not None]
    if len(known) < 3 and power_w is None:
        return None
    rest_ma = 0
    if power_w is not None:
        rest_ma = max(0, -(-power_w * 1_000 // voltage_v) - sum(max(0, each) for each in known))
        if balanced and not known:
            rest_ma = -(-rest_ma // 3)
    l1, l2, l3 = (rest_ma if each is None else each for each in current_ma)
    return (l1, l2, l3)


def drawn(entry: Entry, measured_ma: int | None, *, now_ms: int, fresh_ms: int) -> Drawn | None:
    """Between what a connector draws, by its meter and its limits; None where its meter is silent.

    Args:
        measured_ma: the last sample of the conductor in question.
        fresh_ms: for how long a sample counts.
    """
    if entry.idle:
        return Drawn(0, 0)
    if measured_ma is None or entry.measured_ma is None or now_ms - entry.measured_ms > fresh_ms:
        return None
    if entry.settling or entry.acknowledged_ms >= entry.measured_ms:
        # It follows a limit since, down or up.
        asked_ma = entry.liability_ma if entry.asked_ma is None else entry.asked_ma
        return Drawn(min(measured_ma, asked_ma), max(measured_ma, entry.liability_ma))
    return Drawn(measured_ma, measured_ma)


def building_from_supply(
    supply_ma: PhaseCurrents,
    hidden_ma: PhaseCurrents,
    chargers: Sequence[tuple[PhaseCurrents, PhaseCurrents]],
    before_ma: PhaseCurrents | None,
) -> PhaseCurrents:
    """What the building draws where a meter shows everything on its circuit.

    A vehicle that follows a new limit draws somewhere between two values until its meter speaks
    again, and so does the building: inside that range the estimate stays where it was. Without
    this every raise of a limit would look like a building that rises, and be taken back.

    Args:
        hidden_ma: what feeds in behind the meter.
        chargers: the least and the most that each connector below the meter draws, on the lines of
            the site.
        before_ma: the estimate before this one.
    """
    lines = [0, 0, 0]
    for line in range(3):
        all_ma = supply_ma[line] + hidden_ma[line]
        most = all_ma - sum(least[line] for least, _ in chargers)
        least = all_ma - sum(most[line] for _, most in chargers)
        kept = most if before_ma is None else min(max(before_ma[line], least), most)
        lines[line] = max(0, kept)
    return (lines[0], lines[1], lines[2])
