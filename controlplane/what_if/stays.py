"""Who stood at which connector, who found none, and who may have come besides.

Stores know only sessions that began. While every connector of a site was taken, nobody can be seen
to come: how many did is estimated from how many came at such an hour of such days while one was
free. Invariant: everything follows from the visits and the description; a visit stays at the
connector that it had, if that is there and free."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import msgspec

from controlplane.planning.history import DAY_H, Calendar, hour_of
from controlplane.site.tree import Leaf, SiteTree
from controlplane.units import MS_PER_HOUR
from controlplane.what_if.question import Visit

__all__ = ["Placed", "Stay", "place", "unseen"]

_CHANGE_MS = 60_000
"""By so much two sessions of one connector may overlap in a store: clocks of stations differ."""

_FREE_MIN_MS = 4 * MS_PER_HOUR
"""Of an hour of a kind of day of which less was seen with a free connector, nothing is known."""


class Stay(NamedTuple):
    """A visit at a connector."""

    visit: Visit
    position: int
    """Of the connector in its tree."""
    max_ma: int
    """The most it takes on each of the connector's lines."""
    wh_per_mah: float
    """What its meter counts for a milliampere-hour on each of them."""
    want_wh: int
    """What it took, or what its driver asked for where that is more and could have been had."""


class Placed(NamedTuple):
    """All visits of a case."""

    stays: tuple[Stay, ...]
    """By arrival."""
    turned_away: tuple[Visit, ...]


def place(tree: SiteTree, visits: Sequence[Visit]) -> Placed:
    """Give every visit a connector, one after the other as they came."""
    index = {
        (str(leaf.key.charger_id), leaf.key.connector_id): position
        for position, leaf in enumerate(tree.leaves)
    }
    until_ms = [0] * len(tree.leaves)
    stays: list[Stay] = []
    away: list[Visit] = []
    for visit in sorted(visits, key=lambda each: (each.arrival_ms, each.id)):
        arrives_ms = visit.arrival_ms + _CHANGE_MS
        had = index.get((visit.charger_id, visit.connector_id))
        if had is None or until_ms[had] > arrives_ms:
            had = _free(until_ms, arrives_ms)
        if had is None:
            away.append(visit)
            continue
        until_ms[had] = visit.departure_ms
        stays.append(_stay(tree, visit, had))
    return Placed(tuple(stays), tuple(away))


def _free(until_ms: Sequence[int], at_ms: int) -> int | None:
    """The last connector of the description that is free: whoever is placed anew stands in the way
    of those who have a place of old as little as can be."""
    return next(
        (at for at in range(len(until_ms) - 1, -1, -1) if until_ms[at] <= at_ms),
        None,
    )


def _stay(tree: SiteTree, visit: Visit, position: int) -> Stay:
    leaf = tree.leaves[position]
    wh_per_mah = _wh_per_mah(tree, leaf)
    stay_h = (visit.departure_ms - visit.arrival_ms) / MS_PER_HOUR
    max_ma = leaf.max_ma
    if visit.power_max_w is not None:
        max_ma = min(max_ma, -int(-visit.power_max_w // wh_per_mah))
    # What it took it can take, whatever samples say.
    max_ma = min(max(max_ma, -int(-visit.energy_wh // (wh_per_mah * stay_h))), leaf.max_ma)
    most_wh = int(max_ma * wh_per_mah * stay_h)
    asked_wh = max(visit.need_wh or 0, visit.energy_wh)
    return Stay(visit, position, max_ma, wh_per_mah, min(asked_wh, most_wh))


def _wh_per_mah(tree: SiteTree, leaf: Leaf) -> float:
    charger = next(each for each in tree.config.chargers if each.id == leaf.key.charger_id)
    lines_v = tree.config.voltage_v * len(leaf.phases)
    return lines_v * charger.efficiency_permille / 1_000_000


# --- who could not be seen ------------------------------------------------------------------------


class _Full(NamedTuple):
    from_ms: int
    until_ms: int


def unseen(
    visits: Sequence[Visit], *, connectors: int, start_ms: int, end_ms: int, calendar: Calendar
) -> tuple[list[Visit], int]:
    """Visits that probably were turned away, and in how many hours nobody can tell.

    For every hour of each kind of day, those who came per hour with a free connector come while
    there is none as well; fractions are carried on until they make one. Each is like one that came
    at such an hour, in their order.
    """
    full = list(_full(visits, connectors))
    if not full:
        return [], 0
    taken_ms: dict[int, int] = defaultdict(int)
    for span in full:
        for hour, length_ms in _hours(span):
            taken_ms[hour] += length_ms
    kinds: dict[int, list[Visit]] = defaultdict(list)
    for visit in visits:
        kinds[_slot(hour_of(visit.arrival_ms), calendar)].append(visit)
    free_ms: dict[int, int] = defaultdict(int)
    for hour in range(hour_of(start_ms), hour_of(end_ms - 1) + 1):
        free_ms[_slot(hour, calendar)] += MS_PER_HOUR - taken_ms.get(hour, 0)
    found: list[Visit] = []
    unknown, carried = 0, 0.0
    came: dict[int, int] = defaultdict(int)
    for hour, length_ms in sorted(taken_ms.items()):
        slot = _slot(hour, calendar)
        if free_ms[slot] < _FREE_MIN_MS:
            unknown += 1
            continue
        carried += len(kinds[slot]) * length_ms / free_ms[slot]
        while carried >= 0.5 and kinds[slot]:
            carried -= 1
            model = kinds[slot][came[slot] % len(kinds[slot])]
            came[slot] += 1
            found.append(_like(model, _middle_ms(full, hour), len(found)))
    return found, unknown


def _full(visits: Sequence[Visit], connectors: int) -> Iterator[_Full]:
    """When as many visits as there are connectors were there at once."""
    edges: list[tuple[int, int]] = []
    for visit in visits:
        edges += [(visit.arrival_ms, 1), (visit.departure_ms, -1)]
    there, since_ms = 0, 0
    for at_ms, step in sorted(edges):
        before, there = there, there + step
        if before < connectors <= there:
            since_ms = at_ms
        elif there < connectors <= before and at_ms > since_ms:
            yield _Full(since_ms, at_ms)


def _hours(span: _Full) -> Iterator[tuple[int, int]]:
    """The hours that a span touches, and for how long."""
    for hour in range(hour_of(span.from_ms), hour_of(span.until_ms - 1) + 1):
        begins_ms = max(span.from_ms, hour * MS_PER_HOUR)
        yield hour, min(span.until_ms, (hour + 1) * MS_PER_HOUR) - begins_ms


def _middle_ms(full: Sequence[_Full], hour: int) -> int:
    """An instant of an hour at which no connector was free: the middle of the longest span."""
    begins_ms, ends_ms = hour * MS_PER_HOUR, (hour + 1) * MS_PER_HOUR
    spans = [
        (max(each.from_ms, begins_ms), min(each.until_ms, ends_ms))
        for each in full
        if each.from_ms < ends_ms and each.until_ms > begins_ms
    ]
    from_ms, until_ms = max(spans, key=lambda each: each[1] - each[0])
    return (from_ms + until_ms) // 2


def _like(model: Visit, arrival_ms: int, number: int) -> Visit:
    moved_ms = arrival_ms - model.arrival_ms
    return msgspec.structs.replace(
        model,
        id=f"estimated-{number}",
        charger_id="",
        connector_id=0,
        arrival_ms=arrival_ms,
        departure_ms=model.departure_ms + moved_ms,
        said_ms=None if model.said_ms is None else model.said_ms + moved_ms,
        token=None,
        estimated=True,
    )


def _slot(hour: int, calendar: Calendar) -> int:
    day, hour_of_day = calendar.place(hour)
    return calendar.kind(day) * DAY_H + hour_of_day
