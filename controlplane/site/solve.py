"""Sharing the rows of a site out, on the Rust core: who is admitted, who falls out, who comes back.

Invariant: what is given is checked by the core against every row, guarantees included; what is left
over is taken from what that leaves."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from operator import add, sub

import msgspec
import numpy as np

from controlplane import _core
from controlplane.site.budget import POWER_MAX_MA, Budget
from controlplane.site.guarantees import last_without_guarantee, made_way, stand_back
from controlplane.site.share import Share, is_guarantee, waits_for_rest
from controlplane.site.tree import SiteTree

__all__ = ["Answers", "Result", "all_fit", "solve"]

_ANSWERS_MAX = 2
"""A round asks twice at most: with everybody's most, and with what each has shown to take."""


@dataclass(slots=True)
class Result:
    current_ma: list[int]
    binding_row: list[int]
    contended: bool
    checked: bool

    def copy(self) -> Result:
        return Result(list(self.current_ma), list(self.binding_row), self.contended, self.checked)


class Answers:
    """What was worked out lately for one tree: most of a site stands still from one round to the
    next, and the same question has the same answer."""

    def __init__(self) -> None:
        self._known: deque[tuple[object, Result]] = deque(maxlen=_ANSWERS_MAX)

    def find(self, asked: object) -> Result | None:
        return next((result.copy() for known, result in self._known if known == asked), None)

    def keep(self, asked: object, result: Result) -> None:
        self._known.append((asked, result.copy()))


def solve(
    tree: SiteTree, shares: Sequence[Share], rows: Budget, order: Sequence[int], answers: Answers
) -> Result:
    """Share the rows out; where everybody's most fits on every row, there is nothing to share."""
    if all_fit(tree, shares, rows, order):
        most = [share.max_ma for share in shares]
        return Result(most, [-1] * len(shares), contended=False, checked=True)
    asked = (list(map(msgspec.structs.astuple, shares)), list(order), rows.capacity_ma)
    result = answers.find(asked)
    if result is None:
        fixed = [share.fixed_ma for share in shares]
        result = _shared_out(tree, shares, rows, fixed, order)
        _give_left_over(tree, shares, rows, order, result.current_ma)
        answers.keep(asked, result)
    return result


def _shared_out(
    tree: SiteTree, shares: Sequence[Share], rows: Budget, fixed: list[int], order: Sequence[int]
) -> Result:
    """Share the rows out beside what is `fixed` per connector.

    Guaranteed minimums come first, whatever their tier, and who has no room beside them stands
    back. A connector that is not admitted still takes its fallback, if its rows guarantee that. So
    the others share what is left without it: solved again until nobody else falls out, which each
    time takes at least one connector more out of play. Who fell out comes back where room is left
    after all, and those that want nothing at present come in only then.
    """
    count = len(shares)
    rank = [count] * count
    for place, position in enumerate(order):
        rank[position] = place
    min_ma = np.array([share.min_ma for share in shares], dtype=np.int64)
    max_ma = np.array([share.max_ma for share in shares], dtype=np.int64)
    weight = np.array([share.weight for share in shares], dtype=np.int64)
    tier = np.array([share.tier for share in shares], dtype=np.uint8)
    demand = _core.Demand(
        min_ma=min_ma,
        max_ma=max_ma,
        step_ma=tree.step_ma,
        weight=weight,
        tier=tier,
        rank=np.array(rank, dtype=np.int64),
    )
    left_out = stand_back(tree, shares, rows, order)
    left_out.update((position, -1) for position in order if waits_for_rest(shares[position]))
    for position in left_out:
        fixed[position] += shares[position].kept_ma
        min_ma[position] = max_ma[position] = 0
    while True:
        capacity = _capacity(tree, shares, rows, fixed)
        solved = _core.allocate(tree.network, capacity, demand)
        binding_row, admitted = solved.binding_row.tolist(), solved.admitted.tolist()
        if all(admitted):
            break
        fallen = [
            position
            for position in order
            if not admitted[position]
            and max_ma[position] > 0
            and (shares[position].kept_ma > 0 or is_guarantee(shares[position]))
        ]
        if not fallen:
            break
        squeezed = any(
            binding_row[position] == tree.power_row and is_guarantee(shares[position])
            for position in fallen
        )
        # On the power row a guarantee is not reserved: who has none makes way, the last one first.
        last = last_without_guarantee(shares, order, admitted, min_ma) if squeezed else None
        if last is not None:
            fallen = [last]
            binding_row[last] = tree.lines
        for position in fallen:
            left_out[position] = binding_row[position]
            fixed[position] += shares[position].kept_ma
            min_ma[position] = max_ma[position] = 0
    current_ma = solved.current_ma.tolist()
    if left_out:
        room = _left(tree, shares, rows, fixed, current_ma)
        candidates = [
            each
            for each in order
            if each in left_out and not (shares[each].last and shares[each].rests)
        ]
        for position in _readmitted(tree, shares, room, candidates):
            share = shares[position]
            fixed[position] -= share.kept_ma
            current_ma[position] = min_ma[position] = share.min_ma
            max_ma[position] = share.max_ma
        for position in made_way(tree, shares, room, current_ma, min_ma=min_ma, order=order):
            binding_row[position] = tree.lines
        capacity = _capacity(tree, shares, rows, fixed)
    over = _core.check(tree.network, capacity, demand, np.array(current_ma, dtype=np.int64))
    for position, row in left_out.items():
        binding_row[position] = (
            min(shares[position].leaf.rows, key=room.__getitem__) if row < 0 else row
        )
    contended = any(
        shares[position].max_ma > current_ma[position] and not shares[position].last
        for position in order
    )
    return Result(current_ma, binding_row, contended, checked=over.size == 0)


def _give_left_over(
    tree: SiteTree,
    shares: Sequence[Share],
    rows: Budget,
    order: Sequence[int],
    current_ma: list[int],
) -> None:
    """Give what is left over to those that get nothing only because of what was learned of them: it
    may be another vehicle, and nobody else can use it."""
    trying = [each for each in order if shares[each].tries_ma and not current_ma[each]]
    if not trying:
        return
    # While somebody gets nothing, his rows keep his fallback.
    fixed = [
        share.fixed_ma + (0 if given_ma else share.kept_ma)
        for share, given_ma in zip(shares, current_ma, strict=True)
    ]
    room = _left(tree, shares, rows, fixed, current_ma)
    for position in trying:
        share = shares[position]
        left_ma = min(room[row] for row in share.leaf.rows)
        if share.last or share.first or left_ma < 0:
            continue
        tried_ma = min(share.max_ma, share.kept_ma + left_ma)
        if tree.power_row is not None:
            tried_ma = min(tried_ma, room[tree.power_row] // len(share.leaf.phases))
        tried_ma -= tried_ma % share.leaf.step_ma
        if tried_ma < (share.tries_ma or 0):
            continue
        current_ma[position] = tried_ma
        for row, times in share.leaf.loads:
            line = row != tree.power_row
            room[row] -= times * (tried_ma - share.kept_ma if line else tried_ma)


def all_fit(tree: SiteTree, shares: Sequence[Share], rows: Budget, order: Sequence[int]) -> bool:
    """Whether everybody's most fits on every row, and nobody comes before or after the others.
    Where nobody is planned with, nothing is given, which fits anywhere."""
    if not order:
        return True
    for position in order:
        share = shares[position]
        if share.first or waits_for_rest(share):
            return False
    fixed = [share.fixed_ma for share in shares]
    most = [share.max_ma for share in shares]
    return min(_left(tree, shares, rows, fixed, most)) >= 0


def _capacity(
    tree: SiteTree, shares: Sequence[Share], rows: Budget, fixed: list[int]
) -> _core.Capacity:
    """What is left on every row, once `fixed` per connector is taken off; never below 0, nor more
    than the core takes."""
    left = [
        each if 0 <= each <= POWER_MAX_MA else min(max(0, each), POWER_MAX_MA)
        for each in _left(tree, shares, rows, fixed)
    ]
    power = left[tree.lines :]
    return _core.Capacity(
        import_ma=np.array(left[: tree.lines], dtype=np.int64).reshape(-1, 3),
        combined=np.array(power, dtype=np.int64) if power else None,
    )


def _left(
    tree: SiteTree,
    shares: Sequence[Share],
    rows: Budget,
    fixed: Sequence[int],
    current_ma: Sequence[int] | None = None,
) -> list[int]:
    """What is left on every row beside `fixed` and `current_ma` (None: 0) per connector. A fallback
    whose room is kept free on the lines draws no power."""
    used = tree.row_sums(fixed if current_ma is None else list(map(add, fixed, current_ma)))
    if tree.power_row is not None:
        given = [0] * len(fixed) if current_ma is None else current_ma
        used[tree.power_row] = tree.power_sum(
            [
                0 if share.idle else share.fixed_ma - share.unused_ma + given_ma
                for share, given_ma in zip(shares, given, strict=True)
            ]
        )
    return list(map(sub, rows.capacity_ma, used))


def _readmitted(
    tree: SiteTree, shares: Sequence[Share], room: list[int], candidates: Sequence[int]
) -> list[int]:
    """Those of `candidates`, in their order, whose minimum fits into what is kept for them and the
    `room` that is left per row; takes it from there. A line that is short already, because somebody
    who cannot be steered counts above his fallback, takes back nobody, not even within what is kept
    for him. The row of the total power holds back nobody from what is guaranteed to him."""
    found = []
    for position in candidates:
        share = shares[position]
        more_ma = max(0, share.min_ma - share.kept_ma)
        fits = all(room[row] >= more_ma for row in share.leaf.rows)
        power_ma = 0
        if tree.power_row is not None:
            power_ma = share.min_ma * len(share.leaf.phases)
            fits &= is_guarantee(share) or room[tree.power_row] >= power_ma
        if not fits:
            continue
        found.append(position)
        for row in share.leaf.rows:
            room[row] -= more_ma
        if tree.power_row is not None:
            room[tree.power_row] -= power_ma
    return found
