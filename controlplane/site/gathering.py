"""Few vehicles that charge well in place of many that would charge at next to nothing.

Invariant: what is handed out is no more than was planned, but for what somebody must have."""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence

import msgspec

__all__ = ["Wish", "enough", "gathered"]

PART_MIN = 2
"""Less than this part of the time is not worth switching on for."""

_NEARLY_PERMILLE = 950
"""Who is given this much of all that is still wanted has what is wanted."""


class Wish(msgspec.Struct, frozen=True, kw_only=True):
    """One vehicle in a slot, for `gathered`; currents on each line, on average over the slot."""

    planned_ma: int
    """Below 0: fed in, and left alone."""
    min_ma: int
    """The least at which it charges."""
    most_ma: int
    """What it can take, or still needs."""
    must_ma: int = 0
    """Without this it will not be ready even at full power from then on."""
    w_per_ma: float
    rank: tuple[bool, int]
    """Who charges first: lowest first. Whether the plan gives it nothing at such a price; by when
    it must charge at full power."""
    group: Hashable = None
    """Power moves between vehicles of one group only."""


def gathered(wishes: Sequence[Wish]) -> list[int]:
    """The same power for fewer vehicles, each of which can charge at what it is given.

    A plan spreads power thinly where that costs the same: many averages below any minimum. What is
    worth money is the sum, so it is handed out anew: first what somebody must have, then by rank as
    much as each can take. Where what is left is below a minimum, who came before gives a little
    back. One vehicle of a group may get less than its minimum: it charges for a part of the time.
    """
    result = [min(0, wish.planned_ma) for wish in wishes]
    for group in dict.fromkeys(wish.group for wish in wishes):
        members = [at for at, wish in enumerate(wishes) if wish.group == group]
        members.sort(key=lambda at: (wishes[at].rank, at))
        _hand_out([at for at in members if result[at] == 0], wishes, result)
    return result


def _hand_out(members: Sequence[int], wishes: Sequence[Wish], result: list[int]) -> None:
    left_w = sum(wishes[at].planned_ma * wishes[at].w_per_ma for at in members)
    for at in members:
        wish = wishes[at]
        if wish.must_ma > 0:
            result[at] = min(max(wish.must_ma, wish.min_ma), wish.most_ma)
            left_w -= result[at] * wish.w_per_ma
    chosen = [at for at in members if result[at]]
    for at in members:
        wish = wishes[at]
        given_ma = min(wish.most_ma, result[at] + int(left_w / wish.w_per_ma))
        if given_ma <= result[at]:
            continue
        if given_ma < wish.min_ma and not enough(wish, given_ma):
            lacking_w = (wish.min_ma - given_ma) * wish.w_per_ma
            donor = next(
                (d for d in reversed(chosen) if _spare_w(wishes[d], result[d]) >= lacking_w), None
            )
            if donor is not None:
                result[donor] -= math.ceil(lacking_w / wishes[donor].w_per_ma)
                given_ma = wish.min_ma
            elif given_ma * PART_MIN < wish.min_ma:
                continue
        left_w -= (given_ma - result[at]) * wish.w_per_ma
        result[at] = given_ma
        chosen.append(at)


def enough(wish: Wish, given_ma: int) -> bool:
    """Whether a vehicle wants hardly more than it is given."""
    return given_ma * 1_000 >= wish.most_ma * _NEARLY_PERMILLE


def _spare_w(wish: Wish, given_ma: int) -> float:
    """What a vehicle could give back and still charge."""
    return (given_ma - max(wish.min_ma, wish.must_ma)) * wish.w_per_ma
