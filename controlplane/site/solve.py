"""Sharing the rows of a site out, on the Rust core: who is admitted, who falls out, who comes back.

Invariant: what is given is checked by the core against every row, guarantees included; what is left
over is taken from what that leaves."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from operator import add

import msgspec
import numpy as np

from controlplane import _core
from controlplane.site.budget import POWER_MAX_MA, Budget, Room
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
    # What differs most often comes first, so that two questions are soon told apart.
    asked = (rows.capacity_ma, list(order), list(map(msgspec.structs.astuple, shares)), rows.tight)
    result = answers.find(asked)
    if result is None:
        result = _Sharing(tree, shares, rows, order).result()
        _give_left_over(tree, shares, rows, order, result.current_ma)
        answers.keep(asked, result)
    return result


class _Sharing:
    """Sharing the rows out beside what is fixed.

    Guaranteed minimums come first, whatever their tier, and who has no room beside them stands
    back. Lines that are not tight keep a connector's fallback, whatever it is given. So where it is
    not admitted, or a tight line gives it less, the others share what is left without it: solved
    again until that happens to nobody else, which each time settles one connector more at least.
    Who fell out comes back where room is left after all, and those that want nothing at present
    come in only then.
    """

    def __init__(
        self, tree: SiteTree, shares: Sequence[Share], rows: Budget, order: Sequence[int]
    ) -> None:
        self._tree, self._shares, self._rows, self._order = tree, shares, rows, order
        rank = [len(shares)] * len(shares)
        for place, position in enumerate(order):
            rank[position] = place
        self._min_ma = np.array([share.min_ma for share in shares], dtype=np.int64)
        self._max_ma = np.array([share.max_ma for share in shares], dtype=np.int64)
        self._kept = [share.kept_ma(share.max_ma) for share in shares]
        self._demand = _core.Demand(
            min_ma=self._min_ma,
            max_ma=self._max_ma,
            step_ma=tree.step_ma,
            weight=np.array([share.weight for share in shares], dtype=np.int64),
            tier=np.array([share.tier for share in shares], dtype=np.uint8),
            rank=np.array(rank, dtype=np.int64),
        )
        self._left_out = stand_back(tree, shares, rows, order)
        self._left_out.update((each, -1) for each in order if waits_for_rest(shares[each]))
        for position in self._left_out:
            self._settle(position, 0)
        self._lowered: dict[int, int] = {}
        self._share_out()
        while self._fall_out() or self._lower():
            self._share_out()

    def _settle(self, position: int, given_ma: int) -> None:
        """It is given just this, and its lines keep the rest of its fallback."""
        self._min_ma[position] = self._max_ma[position] = given_ma
        self._kept[position] = self._shares[position].kept_ma(given_ma)

    def _share_out(self) -> None:
        self._capacity = _capacity(self._tree, self._shares, self._rows, self._kept)
        solved = _core.allocate(self._tree.network, self._capacity, self._demand)
        self._current_ma: list[int] = solved.current_ma.tolist()
        self._binding_row: list[int] = solved.binding_row.tolist()
        self._admitted: list[bool] = solved.admitted.tolist()

    def _fall_out(self) -> bool:
        """Leave those out who were not admitted and take room all the same, or make it."""
        if all(self._admitted):
            return False
        shares, binding_row, power_row = self._shares, self._binding_row, self._tree.power_row
        fallen = [
            each
            for each in self._order
            if not self._admitted[each]
            and self._max_ma[each] > 0
            and (shares[each].kept_ma(0) > self._kept[each] or is_guarantee(shares[each]))
        ]
        # On the power row a guarantee is not reserved: who has none makes way, the last one first.
        if any(binding_row[each] == power_row and is_guarantee(shares[each]) for each in fallen):
            last = last_without_guarantee(shares, self._order, self._admitted, self._min_ma)
            if last is not None:
                fallen = [last]
                binding_row[last] = self._tree.lines
        for position in fallen:
            self._left_out[position] = binding_row[position]
            self._settle(position, 0)
        return bool(fallen)

    def _lower(self) -> bool:
        """Keep for those what a tight line does not give them of their fallback."""
        below = [
            each
            for each in self._order
            if self._current_ma[each] > 0
            and self._shares[each].kept_ma(self._current_ma[each]) > self._kept[each]
        ]
        for position in below:
            self._lowered[position] = self._binding_row[position]
            self._settle(position, self._current_ma[position])
        return bool(below)

    def result(self) -> Result:
        """What everybody is given, with those back that fit again."""
        if self._left_out:
            self._readmit()
            self._capacity = _capacity(self._tree, self._shares, self._rows, self._kept)
        shares, current_ma, binding_row = self._shares, self._current_ma, self._binding_row
        for position, row in self._lowered.items():
            binding_row[position] = row
        over = _core.check(
            self._tree.network, self._capacity, self._demand, np.array(current_ma, dtype=np.int64)
        )
        contended = any(
            shares[each].max_ma > current_ma[each] and not shares[each].last for each in self._order
        )
        return Result(current_ma, binding_row, contended, checked=over.size == 0)

    def _readmit(self) -> None:
        tree, shares, current_ma = self._tree, self._shares, self._current_ma
        room = _left(tree, shares, self._rows, self._kept, current_ma)
        candidates = [
            each
            for each in self._order
            if each in self._left_out and not (shares[each].last and shares[each].rests)
        ]
        readmitted = _readmitted(tree, shares, room, candidates)
        for position in readmitted:
            share = shares[position]
            self._settle(position, share.min_ma)
            current_ma[position] = share.min_ma
            self._max_ma[position] = share.max_ma
        lost = made_way(
            tree, shares, room.left_ma, current_ma, min_ma=self._min_ma, order=self._order
        )
        for position, row in self._left_out.items():
            shortest = min(shares[position].leaf.rows, key=room.left_ma.__getitem__)
            self._binding_row[position] = shortest if row < 0 else row
        for position in lost:
            if position not in self._left_out:
                self._binding_row[position] = tree.lines
        if any(current_ma[each] < shares[each].max_ma for each in readmitted):
            self._top_up()

    def _top_up(self) -> None:
        """Share out what is left, from what everybody has on. Who is back came with its minimum
        alone, for which its lines had kept room: there may be more, that nobody else can have."""
        had_ma, had_row = self._current_ma, self._binding_row
        min_ma, max_ma = self._min_ma.copy(), self._max_ma.copy()
        self._min_ma[:] = had_ma
        self._max_ma[self._min_ma == 0] = 0
        self._kept = [share.kept_ma(ma) for share, ma in zip(self._shares, had_ma, strict=True)]
        self._share_out()
        if all(self._admitted):
            self._binding_row = [
                row if had else before
                for had, row, before in zip(had_ma, self._binding_row, had_row, strict=True)
            ]
        else:
            self._current_ma, self._binding_row = had_ma, had_row
        self._min_ma[:], self._max_ma[:] = min_ma, max_ma


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
    kept = [share.kept_ma(ma) for share, ma in zip(shares, current_ma, strict=True)]
    room = _left(tree, shares, rows, kept, current_ma)
    for position in trying:
        share = shares[position]
        kept_ma = share.kept_ma(0)
        if share.last or share.first or room.short_row(share.leaf, 0, kept_ma) is not None:
            continue
        tried_ma = min(share.max_ma, room.most_ma(share.leaf, kept_ma)[0])
        if tree.power_row is not None:
            tried_ma = min(tried_ma, room.left_ma[tree.power_row] // len(share.leaf.phases))
        tried_ma -= tried_ma % share.leaf.step_ma
        if tried_ma < (share.tries_ma or 0):
            continue
        current_ma[position] = tried_ma
        room.take(share.leaf, tried_ma, kept_ma)
        if tree.power_row is not None:
            room.left_ma[tree.power_row] -= len(share.leaf.phases) * tried_ma


def all_fit(tree: SiteTree, shares: Sequence[Share], rows: Budget, order: Sequence[int]) -> bool:
    """Whether everybody's most fits on every row, and nobody comes before or after the others.
    Where nobody is planned with, nothing is given, which fits anywhere."""
    if not order:
        return True
    for position in order:
        share = shares[position]
        if share.first or waits_for_rest(share):
            return False
    most = [share.max_ma for share in shares]
    kept = [share.kept_ma(share.max_ma) for share in shares]
    return min(_left(tree, shares, rows, kept, most).left_ma) >= 0


def _capacity(
    tree: SiteTree, shares: Sequence[Share], rows: Budget, kept: Sequence[int]
) -> _core.Capacity:
    """What is left on every row beside what is fixed, and `kept` per connector; never below 0, nor
    more than the core takes."""
    left = [
        each if 0 <= each <= POWER_MAX_MA else min(max(0, each), POWER_MAX_MA)
        for each in _left(tree, shares, rows, kept).left_ma
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
    kept: Sequence[int],
    current_ma: Sequence[int] | None = None,
) -> Room:
    """What is left on every row beside what is fixed, and `kept` and `current_ma` (None: 0) per
    connector."""
    drawn = [share.fixed_ma for share in shares]
    return rows.room(tree, drawn if current_ma is None else list(map(add, drawn, current_ma)), kept)


def _readmitted(
    tree: SiteTree, shares: Sequence[Share], room: Room, candidates: Sequence[int]
) -> list[int]:
    """Those of `candidates`, in their order, whose minimum fits into what is kept for them and the
    `room` that is left per row; takes it from there. A line that is short already, because somebody
    who cannot be steered counts above his fallback, takes back nobody, not even within what is kept
    for him. The row of the total power holds back nobody from what is guaranteed to him."""
    found = []
    for position in candidates:
        share = shares[position]
        fits = room.short_row(share.leaf, share.min_ma, share.kept_ma(0)) is None
        power_ma = 0
        if tree.power_row is not None:
            power_ma = share.min_ma * len(share.leaf.phases)
            fits &= is_guarantee(share) or room.left_ma[tree.power_row] >= power_ma
        if not fits:
            continue
        found.append(position)
        room.take(share.leaf, share.min_ma, share.kept_ma(0))
        if tree.power_row is not None:
            room.left_ma[tree.power_row] -= power_ma
    return found
