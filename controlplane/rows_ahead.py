"""What limits a site or a feeder, slot by slot, as far as it is known today: those of operators
and owners with their windows, grid events in force and to come.

Invariant: a limit that holds in a part of a slot counts for the whole slot."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise

import msgspec
import numpy as np
from numpy.typing import NDArray

from controlplane.grid_events import GridEvent, GridEventKind
from controlplane.limit_schedule import LimitWindow
from controlplane.planning.problem import Cap
from controlplane.units import MS_PER_S

__all__ = [
    "SLOTS",
    "SLOT_S",
    "UNLIMITED",
    "Limits",
    "Slots",
    "caps_of",
    "events_w",
    "slots_at",
    "windows_limit",
]

SLOT_S = 900
SLOTS = 96
"""A day in quarters of an hour, which are also those of demand charges."""

UNLIMITED = 10**12
"""In mA or W: no limit."""

_LIMITING = frozenset({GridEventKind.LIMIT, GridEventKind.REDUCE_BY})

Limits = NDArray[np.int64]


class Slots(msgspec.Struct, frozen=True):
    """The slots of a horizon."""

    start_ms: int
    slot_ms: int
    count: int

    def of(self, from_ms: int, until_ms: int | None) -> slice:
        """Those that a span touches; one without end touches all that follow."""
        first = (from_ms - self.start_ms) // self.slot_ms
        last = self.count
        if until_ms is not None:
            last = -((self.start_ms - until_ms) // self.slot_ms)
        return slice(min(max(0, first), self.count), min(max(0, last), self.count))

    def within(self, from_ms: int, until_ms: int | None) -> slice:
        """Those that lie in a span as a whole."""
        first = -((self.start_ms - from_ms) // self.slot_ms)
        last = self.count
        if until_ms is not None:
            last = (until_ms - self.start_ms) // self.slot_ms
        first = min(max(0, first), self.count)
        return slice(first, max(first, min(max(0, last), self.count)))

    def at(self, slot: int) -> int:
        """When a slot begins."""
        return self.start_ms + slot * self.slot_ms


def slots_at(now_ms: int) -> Slots:
    """The slots of a plan that is made now: whole quarters of an hour of the clock."""
    slot_ms = SLOT_S * MS_PER_S
    return Slots(now_ms - now_ms % slot_ms, slot_ms, SLOTS)


def windows_limit(windows: Sequence[LimitWindow], slots: Slots) -> Limits:
    """The limit in force in each slot: of those that hold at one instant the one set last, of
    several in one slot the lowest."""
    limits = np.full(slots.count, UNLIMITED, np.int64)
    for window in windows:
        limit = UNLIMITED if window.limit is None else window.limit
        touched = slots.of(window.from_ms, window.until_ms)
        whole = slots.within(window.from_ms, window.until_ms)
        before = limits[touched].copy()
        limits[touched] = np.minimum(before, limit)
        limits[whole] = limit
    return limits


def events_w(
    events: Sequence[GridEvent], slots: Slots, planned_w: Callable[[int], int | None]
) -> Limits:
    """What grid events leave the whole site or feeder in each slot.

    Args:
        planned_w: what it draws at an instant by its last plan, buildings included: that is
            the baseline of a reduction which has not begun and was given none. None where no plan
            says so; such an event is heard of when it begins.
    """
    limits = np.full(slots.count, UNLIMITED, np.int64)
    for event in events:
        limit_w = event.limit_w if event.in_force else event.power_w
        if event.kind is GridEventKind.REDUCE_BY and not event.in_force:
            baseline_w = event.baseline_w
            if baseline_w is None:
                baseline_w = planned_w(event.start_ms - slots.slot_ms)
            if baseline_w is None or event.power_w is None:
                continue
            limit_w = baseline_w - event.power_w
        if event.kind not in _LIMITING or limit_w is None:
            continue
        touched = slots.of(event.start_ms, _ends_ms(event, events))
        limits[touched] = np.minimum(limits[touched], max(0, limit_w))
    return limits


def _ends_ms(event: GridEvent, events: Sequence[GridEvent]) -> int | None:
    """When an event ends, be it by one that restores."""
    ends = [] if event.end_ms is None else [event.end_ms]
    ends += [
        each.start_ms
        for each in events
        if each.kind is GridEventKind.RESTORE
        and each.start_ms >= event.start_ms
        and each.source in ("", event.source)
    ]
    return min(ends, default=None)


def caps_of(current_ma: Limits | None, power_w: Limits | None, slots: Slots) -> tuple[Cap, ...]:
    """Limits by slot as caps, one for each stretch in which they stay the same.

    Args:
        current_ma: shape (3, slots).
        power_w: shape (slots,).
    """
    parts = [] if current_ma is None else [current_ma]
    parts += [] if power_w is None else [power_w[None]]
    if not parts:
        return ()
    stacked = np.vstack(parts)
    changes = np.flatnonzero((stacked[:, 1:] != stacked[:, :-1]).any(axis=0)) + 1
    edges = [0, *changes.tolist(), slots.count]
    found = []
    for first, until in pairwise(edges):
        lines = None if current_ma is None else current_ma[:, first].tolist()
        watts = None if power_w is None else int(power_w[first])
        if (lines is None or min(lines) >= UNLIMITED) and (watts is None or watts >= UNLIMITED):
            continue
        found.append(
            Cap(
                from_slot=first,
                until_slot=until,
                import_ma=None if lines is None else (lines[0], lines[1], lines[2]),
                power_max_w=None if watts is None or watts >= UNLIMITED else watts,
            )
        )
    return tuple(found)
