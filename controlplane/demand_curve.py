"""How much a site, or all below a feeder, would draw at every level of fairness.

Max-min fairness over a whole network is one level per priority tier that rises until a row is full.
A site that says what it would draw at every level lets its feeder find that level without knowing
its connectors; a feeder that adds up the curves of its sites lets the feeder above do the same.

A curve is a path of stages, as `_core.allocate` goes: first each tier's vehicles are admitted at
their minimum, then tier by tier one level rises for all, and last those are admitted that want
nothing at present. Currents are per phase, on the most loaded phase, and count everything up to
there, the floor included.

Invariant: along a curve neither level nor current ever falls, every stage begins where the one
before it ended, and a stage has at most `POINTS_MAX` points: between two of them that stand in for
more, the curve is off by no more than `1 / RISES` of what the stage rises."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from itertools import pairwise
from operator import add

import msgspec
import numpy as np

__all__ = [
    "POINTS_MAX",
    "Curve",
    "Part",
    "Stage",
    "demand_curve",
    "plain_curve",
    "rise",
    "shares",
    "summed",
]

RISES = 15
POINTS_MAX = 2 * RISES + 2
TIER_FIRST = -1
"""The stage in which vehicles are admitted whose minimum is guaranteed."""
TIER_LAST = 256
"""The stage after all others, in which vehicles are admitted that want nothing at present."""
LEVEL_PER_MA = 1_000
"""A level is microamperes per unit of weight, so that heavy weights lose nothing by rounding."""


class Stage(msgspec.Struct, frozen=True, array_like=True):
    """One stage of a curve. `points` are pairs of a level and a current in mA.

    Where `admits`, the level is how many vehicles of the tier are admitted; else it is what each of
    the tier draws on a phase, in microamperes per unit of weight."""

    admits: bool
    tier: int
    points: tuple[tuple[int, int], ...]

    @property
    def key(self) -> tuple[bool, int]:
        """Sorts stages in the order in which they are gone through."""
        return (not self.admits or self.tier == TIER_LAST, self.tier)

    @property
    def rise_ma(self) -> int:
        """By how much the current rises in all."""
        return self.points[-1][1] - self.points[0][1]

    def risen_ma(self, level: int) -> int:
        """By how much the current has risen in this stage, rounded down."""
        points = self.points
        first_level, first_ma = points[0]
        last_level, last_ma = points[-1]
        if level < first_level:
            return 0
        if level >= last_level:
            return last_ma - first_ma
        # Most stages are one straight line.
        after = 1 if len(points) == 2 else bisect_right(points, (level, 2**62))
        low_level, low_ma = points[after - 1]
        high_level, high_ma = points[after]
        return (
            low_ma - first_ma + (high_ma - low_ma) * (level - low_level) // (high_level - low_level)
        )


Curve = tuple[Stage, ...]


class Part(msgspec.Struct, frozen=True, gc=False):
    """What one connector adds to its site's curve. Currents per conductor."""

    lines: tuple[int, ...]
    """The columns, 0 to 2, on which it draws."""
    base_ma: int
    """What it takes of its rows whatever it is given."""
    fixed_ma: int = 0
    """Of that, what comes on top of what it is given; the rest is a part of it."""
    tier: int = 0
    weight: int = 1
    min_ma: int = 0
    top_ma: int = 0
    """What it is given where only rows of its own site are in its way; 0: nothing."""
    first: bool = False
    """Its minimum is guaranteed: it is admitted before all tiers."""
    last: bool = False
    """It wants nothing at present: it is admitted when all others have what they want."""

    @property
    def admitted_ma(self) -> int:
        """What it takes once it is admitted."""
        return max(self.base_ma, self.fixed_ma + self.min_ma)


def demand_curve(building_ma: Sequence[int], parts: Sequence[Part]) -> tuple[int, Curve]:
    """The floor and the curve of a site, from its building's load and its connectors, which admit
    each other in the order in which they are given.

    Exact for connectors that draw on all phases alike; else on the phase that is most loaded at
    each level. Where the core rounds to whole steps, the curve does not.
    """
    lines = list(building_ma)
    for part in parts:
        _add(lines, part, part.base_ma)
    floor_ma = max(lines)
    dormant = [part for part in parts if part.top_ma > 0 and part.last]
    served = [part for part in parts if part.top_ma > 0 and not part.last]
    tiers = sorted({part.tier for part in served})
    stages = _admission(TIER_FIRST, [part for part in served if part.first], lines)
    for tier in tiers:
        others = [part for part in served if part.tier == tier and not part.first]
        stages += _admission(tier, others, lines)
    for tier in tiers:
        stages += _growth(tier, [part for part in served if part.tier == tier], lines)
    stages += _admission(TIER_LAST, dormant, lines)
    return floor_ma, tuple(stages)


def _add(lines: list[int], part: Part, current_ma: int) -> None:
    for line in part.lines:
        lines[line] += current_ma


def _admission(tier: int, parts: Sequence[Part], lines: list[int]) -> list[Stage]:
    points = [(0, max(lines))]
    for part in parts:
        if part.admitted_ma > part.base_ma:
            _add(lines, part, part.admitted_ma - part.base_ma)
            points.append((points[-1][0] + 1, max(lines)))
    return _stage(points, tier, admits=True)


def _growth(tier: int, parts: Sequence[Part], lines: list[int]) -> list[Stage]:
    """Sweep over the levels at which a connector begins or ceases to grow."""
    turns: dict[int, list[int]] = {}
    ends = list(lines)
    for part in parts:
        given_ma = part.admitted_ma - part.fixed_ma
        if part.top_ma <= given_ma:
            continue
        _add(ends, part, part.top_ma - given_ma)
        for level, weight in (
            (given_ma * LEVEL_PER_MA // part.weight, part.weight),
            (part.top_ma * LEVEL_PER_MA // part.weight, -part.weight),
        ):
            turn = turns.setdefault(level, [0, 0, 0])
            for line in part.lines:
                turn[line] += weight
    if not turns:
        return []
    now = [current_ma * LEVEL_PER_MA for current_ma in lines]
    slopes = [0, 0, 0]
    levels = sorted(turns)
    points = [(levels[0], max(lines))]
    for before, level in pairwise(levels):
        slopes = list(map(add, slopes, turns[before]))
        length = level - before
        crossing = _crossing(now, slopes, length)
        if 0 < crossing < length:
            highest = max(each + slope * crossing for each, slope in zip(now, slopes, strict=True))
            points.append((before + crossing, highest // LEVEL_PER_MA))
        now = [each + slope * length for each, slope in zip(now, slopes, strict=True)]
        points.append((level, max(now) // LEVEL_PER_MA))
    lines[:] = ends
    points[-1] = (points[-1][0], max(*ends, points[-2][1]))
    return _stage(points, tier, admits=False)


def _crossing(now: Sequence[int], slopes: Sequence[int], length: int) -> int:
    """After how much of a stretch of levels another phase becomes the most loaded; 0: never."""
    ends = [each + slope * length for each, slope in zip(now, slopes, strict=True)]
    # The steepest of those that are most loaded now, and the first of those that are in the end.
    highest = max(now)
    first = max([line for line in range(3) if now[line] == highest], key=slopes.__getitem__)
    last = ends.index(max(ends))
    if slopes[last] <= slopes[first]:
        return 0
    return min(length, (now[first] - now[last]) // (slopes[last] - slopes[first]))


def _stage(points: Sequence[tuple[int, int]], tier: int, *, admits: bool) -> list[Stage]:
    if points[-1][1] <= points[0][1]:
        return []
    return [Stage(admits, tier, _thinned(points))]


def _thinned(points: Sequence[tuple[int, int]]) -> tuple[tuple[int, int], ...]:
    """At most `POINTS_MAX` of the points. Curve and chord rise between the same ends, so that no
    chord is off by more than it rises, which is a `RISES`-th of the whole at most, but where it
    was straight before."""
    if len(points) <= POINTS_MAX:
        return tuple(points)
    allowed_ma = (points[-1][1] - points[0][1]) // RISES
    kept = [points[0]]
    for point, following in pairwise(points[1:]):
        if following[1] - kept[-1][1] > allowed_ma:
            kept.append(point)
    return (*kept, points[-1])


def plain_curve(low_ma: int, high_ma: int) -> Curve:
    """The curve of something that takes all up to `high_ma`, at a level equal to what it has, and
    has `low_ma` already."""
    if high_ma <= low_ma:
        return ()
    ends = (low_ma, high_ma)
    return (Stage(False, 0, tuple((each * LEVEL_PER_MA, each) for each in ends)),)


def levelled(least_ma: Sequence[int], most_ma: int, room_ma: int) -> list[int]:
    """`shares` of the plain curves from each of `least_ma` up to `most_ma`, without drawing any:
    whoever has least rises to the next, all that have as much rise alike, and of what is left in
    the end the first have a milliampere more."""
    full = [max(0, most_ma - each_ma) for each_ma in least_ma]
    left_ma = max(0, room_ma)
    if sum(full) <= left_ma:
        return full
    turns_ma = sorted(each_ma for each_ma in least_ma if each_ma < most_ma)
    level_ma = rest = 0
    for rising, (low_ma, high_ma) in enumerate(pairwise([*turns_ma, most_ma]), start=1):
        if rising * (high_ma - low_ma) > left_ma:
            more_ma, rest = divmod(left_ma, rising)
            level_ma = low_ma + more_ma
            break
        left_ma -= rising * (high_ma - low_ma)
    risen = []
    for each_ma in least_ma:
        rises = each_ma <= level_ma and each_ma < most_ma
        first = rises and rest > 0
        rest -= first
        risen.append(level_ma - each_ma + first if rises else 0)
    return risen


def rise(curve: Curve) -> int:
    """By how much a curve rises in all, in mA."""
    return sum(stage.rise_ma for stage in curve)


def shares(curves: Sequence[Curve], room_ma: int) -> list[int]:
    """How far everybody rises along its curve where together they may rise by `room_ma`: stage
    after stage as long as all of it fits, and the first that does not to the level at which it
    fills the room."""
    risen = [0] * len(curves)
    room_ma = max(0, room_ma)
    for stages in _in_order(curves):
        full = {index: stage.rise_ma for index, stage in stages.items()}
        if sum(full.values()) > room_ma:
            for index, current_ma in _level(stages, room_ma).items():
                risen[index] += current_ma
            break
        room_ma -= sum(full.values())
        for index, current_ma in full.items():
            risen[index] += current_ma
    return risen


def _in_order(curves: Sequence[Curve]) -> list[dict[int, Stage]]:
    """The stages of all curves, those of one kind and tier together, by the index of the curve."""
    found: dict[tuple[bool, int], dict[int, Stage]] = {}
    for index, curve in enumerate(curves):
        for stage in curve:
            found.setdefault(stage.key, {})[index] = stage
    return [found[key] for key in sorted(found)]


def _level(stages: dict[int, Stage], room_ma: int) -> dict[int, int]:
    """How far each rises at the highest level at which all fit into the room. What is left then
    goes towards the next level: to those that reach it, in order, because a vehicle is admitted as
    a whole, and last to whoever has furthest to go, behind which most vehicles stand."""
    total_ma = _Total(stages.values())
    levels = sorted({level for stage in stages.values() for level, _ in stage.points})
    after = bisect_right(levels, room_ma, key=total_ma)
    low, high = levels[after - 1], levels[after]
    low_ma, high_ma = total_ma(low), total_ma(high)
    # Between two levels at which none of the curves turns, their sum is straight; each is rounded
    # down, so that the sum at the level found is no more than the room.
    level = low + (high - low) * (room_ma - low_ma) // (high_ma - low_ma)
    risen = {index: stage.risen_ma(level) for index, stage in stages.items()}
    room_ma -= sum(risen.values())
    missing = {
        index: stage.risen_ma(level + 1) - risen[index]
        if stage.admits
        else min(1, stage.risen_ma(high) - risen[index])
        for index, stage in stages.items()
    }
    for index, more_ma in missing.items():
        if more_ma <= room_ma:
            risen[index] += more_ma
            room_ma -= more_ma
            missing[index] = 0
    furthest = max(missing, key=lambda index: missing[index])
    risen[furthest] += min(missing[furthest], room_ma)
    return risen


class _Total:
    """By how much the current of several stages has risen together at a level: the sum of their
    `risen_ma`, over all pieces of all curves in one pass."""

    def __init__(self, stages: Iterable[Stage]) -> None:
        pieces = np.array(
            [(*low, *high) for stage in stages for low, high in pairwise(stage.points)],
            dtype=np.int64,
        )
        low, low_ma, high, high_ma = pieces.T
        # A piece that rises at one level has risen from there on.
        self._low = low - (high == low)
        self._span = high - self._low
        self._rise_ma = high_ma - low_ma

    def __call__(self, level: int) -> int:
        passed = np.clip(level - self._low, 0, self._span)
        return int((self._rise_ma * passed // self._span).sum())


def summed(curves: Iterable[Curve], *, floor_ma: int, most_ma: int) -> Curve:
    """The curve of all together above their common floor, cut off where a row that carries
    `most_ma` is full."""
    reached_ma = floor_ma
    result: list[Stage] = []
    for stages in _in_order(list(curves)):
        if reached_ma >= most_ma:
            break
        levels = sorted({level for stage in stages.values() for level, _ in stage.points})
        points = [
            (level, reached_ma + sum(stage.risen_ma(level) for stage in stages.values()))
            for level in levels
        ]
        (example,) = list(stages.values())[:1]
        result += _stage(_cut(points, most_ma), example.tier, admits=example.admits)
        reached_ma = min(most_ma, points[-1][1])
    return tuple(result)


def _cut(points: list[tuple[int, int]], most_ma: int) -> list[tuple[int, int]]:
    """The points up to the level at which the current reaches `most_ma`."""
    kept = [point for point in points if point[1] <= most_ma]
    if len(kept) == len(points) or kept[-1][1] == most_ma:
        return kept
    low_level, low_ma = kept[-1]
    high_level, high_ma = points[len(kept)]
    reached = (high_level - low_level) * (most_ma - low_ma) // (high_ma - low_ma)
    if reached == 0:
        return [*kept[:-1], (low_level, most_ma)] if len(kept) > 1 else kept
    return [*kept, (low_level + reached, most_ma)]
