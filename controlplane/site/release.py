"""From targets to limits: debit before credit.

Reductions that safety needs go out at once. An increase goes out only where every row it shares has
room for it beside what everybody may still draw, and beside everybody's fallback; in part where
only part fits. Small changes wait until they have lasted, reductions less long where others wait
for what they give back. Where a row has taken raises back again and again, because a building comes
and goes beside it, its chargers are not raised before it has let them be for a while.

Invariant: sending what `release` returns raises no row's liability above its capacity, whatever
chargers do with it; nor what may be fed in above what a row for export carries."""

from __future__ import annotations

from collections.abc import Collection, Container, Sequence
from dataclasses import dataclass

import msgspec

from controlplane.site.budget import Budget
from controlplane.site.demand import TIER_BOOST
from controlplane.site.feeding import LEAST_MA
from controlplane.site.ledger import Entry
from controlplane.site.round import Plan
from controlplane.site.tree import Leaf, SiteTree

__all__ = ["DEADBAND_MA", "Calm", "Released", "lasting_ms", "release"]

DEADBAND_MA = 500
"""Changes below this are sent only once they were wanted for a while."""

AWAITED_MS = 5_000
"""For so long it is, at most, where it is a reduction and somebody waits for room on its rows."""

PARTIAL_MIN_MA = 1_000
"""A part of an increase is worth a message from here on."""

SHORT_LIVED_MS = 60_000
"""A raise that is taken back within this was worth little."""

TAKEN_BACK_MAX = 3
"""So many of them in a row hold up the next one for longest: `raise_interval_ms`, doubled with each
but the first."""


@dataclass(slots=True)
class Calm:
    """Since when a connector's target has differed a little from its limit, and when it was last
    raised: what keeps chargers from being told something new every second."""

    raised_ms: int | None = None
    taken_back: int = 0
    """How many raises in a row were soon taken back by a row that was over, so far as it counts."""
    taken_back_ms: int | None = None
    """When a row that was over lowered it last."""
    made_room_ms: int | None = None
    """When it was lowered last for others on its rows, right after it had been raised."""
    differs_up: bool = False
    differs_since_ms: int | None = None
    again: bool = False
    """Its limit is to be sent once more, though it may not have changed: its vehicle waits for an
    answer, or for news that wakes it."""

    def lowered(self, now_ms: int, *, over: bool, for_others: bool, raise_interval_ms: int) -> None:
        """Its limit falls, because a row of it is over or for the sake of others on its rows."""
        raised_ms, before_ms = self.raised_ms, self.taken_back_ms
        if for_others and raised_ms is not None and now_ms - raised_ms < raise_interval_ms:
            self.made_room_ms = now_ms
        if not over:
            return
        if raised_ms is None or now_ms - raised_ms > SHORT_LIVED_MS:
            self.taken_back = 0
        elif before_ms is None or before_ms < raised_ms:
            self.taken_back = min(self.taken_back + 1, TAKEN_BACK_MAX)
        self.taken_back_ms = now_ms

    def rests_until_ms(self, raise_interval_ms: int) -> int:
        """Until when it is not raised again; 0 where it may be at any moment. Who was raised and at
        once lowered for others keeps that for an interval: a station that was away may tell one old
        session after the other, and each raise in between would count until a vehicle has followed.
        Where rows took raises back, they must have let it be for longer."""
        rests_until_ms = 0
        if self.made_room_ms is not None:
            rests_until_ms = self.made_room_ms + raise_interval_ms
        if self.taken_back_ms is None or self.taken_back < 2:
            return rests_until_ms
        taken_back_until_ms = self.taken_back_ms + (raise_interval_ms << (self.taken_back - 1))
        return max(rests_until_ms, taken_back_until_ms)

    def differs(self, change_ma: int, *, now_ms: int) -> int:
        """How long the target has differed in this direction, in ms."""
        up = change_ma > 0
        if change_ma == 0:
            self.differs_since_ms = None
            return 0
        if self.differs_since_ms is None or up != self.differs_up:
            self.differs_since_ms, self.differs_up = now_ms, up
        return now_ms - self.differs_since_ms


def lasting_ms(leaf: Leaf, change_ma: int, awaited: Container[int], *, patience_ms: int) -> int:
    """How long a small change must have been wanted before it is sent.

    Args:
        awaited: rows on which somebody waits for room.
        patience_ms: how long where nobody waits for it.
    """
    helps = change_ma < 0 and any(row in awaited for row, _ in leaf.loads)
    return min(AWAITED_MS, patience_ms) if helps else patience_ms


@dataclass(frozen=True, slots=True)
class Released:
    """What may be sent, and who has to wait for room that others have not yet given back: the row
    that is short, by position."""

    limits: list[tuple[int, int]]
    waiting: dict[int, int]


def release(
    tree: SiteTree,
    entries: Sequence[Entry],
    plan: Plan,
    rows: Budget,
    calm: Sequence[Calm],
    *,
    awaited: Collection[int],
    now_ms: int,
    patience_ms: int,
    raise_interval_ms: int,
) -> Released:
    """Choose the limits to send now, reductions first.

    Args:
        awaited: the rows on which somebody waited for room in the last round.
        patience_ms: after how long a small change is sent all the same.
        raise_interval_ms: the least time between two increases of one connector that runs, where
            the second is less than a quarter of what its hardware can; longer where raises were
            taken back.
    """
    # Only lines overload. The row of the total power bounds a mean, and a small reduction for its
    # sake may wait.
    over = rows.over(tree.lines)
    limits: list[tuple[int, int]] = []
    raises: dict[int, int] = {}
    feeding: list[tuple[int, int]] = []
    for position, (leaf, entry) in enumerate(zip(tree.leaves, entries, strict=True)):
        target = plan.target_ma[position]
        if target is None:
            continue
        asked = entry.asked_ma
        if target < 0 or (asked is not None and asked < 0):
            feeding.append((position, target))
            continue
        again, doubtful = calm[position].again, _in_doubt(entry)
        if target == asked and not (doubtful or again):
            calm[position].differs_since_ms = None
            continue
        if doubtful and any(over[row] for row in leaf.rows):
            target = min(target, _doubtless_ma(leaf, entry))
        change = 0 if asked is None else target - asked
        after_ms = lasting_ms(leaf, change, awaited, patience_ms=patience_ms)
        patient = calm[position].differs(change, now_ms=now_ms) >= after_ms or again
        if change > 0 or (asked is None and target > entry.secure_ma):
            if asked is None or patient or change >= DEADBAND_MA:
                raises[position] = target
        elif _goes_down(leaf, entry, target, over, patient=patient, again=again) and entry.may_send(
            target, now_ms=now_ms
        ):
            limits.append((position, target))
            if change < 0:
                calm[position].lowered(
                    now_ms,
                    over=any(over[row] for row in leaf.rows),
                    for_others=plan.why[position].row >= 0,
                    raise_interval_ms=raise_interval_ms,
                )
    if feeding:
        feeds = _release_feeds(
            tree, entries, feeding, rows, calm, now_ms=now_ms, patience_ms=patience_ms
        )
        limits = feeds + limits
    if not plan.checked:
        return Released(limits, waiting={})
    if plan.power_ma is not None:
        capacity_ma = [*rows.capacity_ma[: tree.lines], plan.power_ma]
        rows = msgspec.structs.replace(rows, capacity_ma=capacity_ma)
    first = {position: place for place, position in enumerate(plan.order)}
    ordered = sorted(raises.items(), key=lambda each: first.get(each[0], len(first)))
    raised, waiting = _raise(
        tree,
        entries,
        ordered,
        rows,
        calm,
        plan=plan,
        now_ms=now_ms,
        raise_interval_ms=raise_interval_ms,
    )
    return Released(limits + raised, waiting)


def _raise(
    tree: SiteTree,
    entries: Sequence[Entry],
    raises: Sequence[tuple[int, int]],
    rows: Budget,
    calm: Sequence[Calm],
    *,
    plan: Plan,
    now_ms: int,
    raise_interval_ms: int,
) -> tuple[list[tuple[int, int]], dict[int, int]]:
    """Release increases, in the order given, while there is room; each takes its room at once."""
    liability = list(rows.liability_ma)
    kept = list(map(rows.kept_ma, rows.own_fallback_ma, rows.own_liability_ma))
    room = rows.room(tree, rows.own_liability_ma, kept)
    # On a tight line nobody is raised above what is reserved for it.
    free = [0 if tight else left for left, tight in zip(room.left_ma, room.tight, strict=True)]
    limits: list[tuple[int, int]] = []
    waiting: dict[int, int] = {}
    for position, target in raises:
        leaf, entry = tree.leaves[position], entries[position]
        room_ma, short_row = _room(leaf, entry, rows.capacity_ma, liability, free)
        limit_ma = target if target <= room_ma else room_ma - room_ma % leaf.step_ma
        least_ma = min(target, plan.shares[position].min_ma)
        if limit_ma < target and not _worth_a_part(leaf, entry, limit_ma, least_ma):
            waiting[position] = short_row
            limit_ma = entry.secure_ma
            doubtful = _in_doubt(entry) or calm[position].again
            if doubtful and not entry.pending and entry.may_send(limit_ma, now_ms=now_ms):
                # It cannot have more yet; that it has no more than it may is worth knowing.
                limits.append((position, limit_ma))
            continue
        raised_ms = calm[position].raised_ms
        # Chargers are spared a trickle of small raises; one worth having does not wait.
        paced = bool(entry.asked_ma) and limit_ma - (entry.asked_ma or 0) < leaf.max_ma // 4
        if paced and raised_ms is not None and now_ms - raised_ms < raise_interval_ms:
            continue
        share = plan.shares[position]
        at_once = share.first or share.tier == TIER_BOOST
        rests_until_ms = calm[position].rests_until_ms(raise_interval_ms)
        if entry.asked_ma and not at_once and now_ms < rests_until_ms:
            continue
        if not entry.may_send(limit_ma, now_ms=now_ms):
            continue
        limits.append((position, limit_ma))
        calm[position].raised_ms = now_ms
        for row, times in leaf.loads:
            liability[row] += times * max(0, limit_ma - entry.liability_ma)
            free[row] -= times * max(0, limit_ma - entry.reserve_ma)
    return limits, waiting


def _release_feeds(
    tree: SiteTree,
    entries: Sequence[Entry],
    targets: Sequence[tuple[int, int]],
    rows: Budget,
    calm: Sequence[Calm],
    *,
    now_ms: int,
    patience_ms: int,
) -> list[tuple[int, int]]:
    """The limits of those that feed in or are to, by the targets of their positions."""
    export = list(tree.export_ma if rows.export_ma is None else rows.export_ma)
    if rows.feed_ma is not None:
        export = [have - may for have, may in zip(export, rows.feed_ma, strict=False)]
    limits: list[tuple[int, int]] = []
    for position, target in targets:
        leaf, entry = tree.leaves[position], entries[position]
        asked = entry.asked_ma
        again, change = calm[position].again, 0 if asked is None else target - asked
        patient = calm[position].differs(change, now_ms=now_ms) >= patience_ms or again
        limit_ma = _feeds(leaf, entry, target, export, patient=patient, again=again)
        if limit_ma is not None and entry.may_send(limit_ma, now_ms=now_ms):
            limits.append((position, limit_ma))
            for row in leaf.rows:
                export[row] -= max(0, -limit_ma - entry.feed_ma)
    return limits


def _feeds(
    leaf: Leaf,
    entry: Entry,
    target: int,
    export_ma: Sequence[int],
    *,
    patient: bool,
    again: bool,
) -> int | None:
    """The limit to send where a vehicle feeds in or is to; None for none. To end it needs no room,
    and what it is to draw after that is a raise like any other. More is sent only into what its
    rows for export have left.

    Args:
        export_ma: what every row has left for it.
    """
    asked = entry.asked_ma
    if target >= 0:
        return 0
    if asked is not None and asked < 0 and target >= asked:
        if target == asked:
            doubtful = entry.reassert or entry.uncertain_feed_ma > 0 or entry.failures > 0 or again
            return target if doubtful and not entry.pending else None
        return target if patient or target - asked >= DEADBAND_MA else None
    room_ma = entry.feed_ma + min(export_ma[row] for row in leaf.rows)
    most_ma = min(-target, room_ma)
    most_ma -= most_ma % leaf.step_ma
    more_ma = most_ma - max(0, -(asked or 0))
    if most_ma < LEAST_MA or more_ma <= 0:
        return None
    worth = patient or more_ma >= DEADBAND_MA or asked is None or asked >= 0
    return -most_ma if worth else None


def _goes_down(
    leaf: Leaf, entry: Entry, target: int, over: Sequence[bool], *, patient: bool, again: bool
) -> bool:
    """Whether a target at or below what counts is to be sent."""
    if entry.asked_ma is None:
        return True
    if target == entry.asked_ma:
        return (_in_doubt(entry) or again) and not entry.pending
    return patient or entry.asked_ma - target >= DEADBAND_MA or any(over[row] for row in leaf.rows)


def _room(
    leaf: Leaf,
    entry: Entry,
    capacity: Sequence[int],
    liability: Sequence[int],
    free: Sequence[int],
) -> tuple[int, int]:
    """The highest limit that every row can bear, and the row that allows no more.

    Args:
        free: what every row has left beside what is drawn and kept.
    """
    room_ma, short_row = leaf.max_ma, -1
    for row, times in leaf.loads:
        # Up to what it may draw already, a limit costs its rows nothing; up to its reserve, it
        # costs liability only.
        # A row that bears too much bears no raise at all, not even within what is counted: that may
        # be more than the charger was ever told, and telling it would make it true.
        if liability[row] > capacity[row]:
            may_draw = min(entry.liability_ma, entry.secure_ma)
        else:
            may_draw = entry.liability_ma + (capacity[row] - liability[row]) // times
        may_reserve = entry.reserve_ma + max(0, free[row]) // times
        if min(may_draw, may_reserve) < room_ma:
            room_ma, short_row = min(may_draw, may_reserve), row
    return room_ma, short_row


def _in_doubt(entry: Entry) -> bool:
    """Whether it may have another limit than it was told last: an answer is missing, or was a
    refusal, or nobody knows what it does without one."""
    unknown = entry.asked_ma is None and entry.default_ma is None
    return entry.reassert or entry.uncertain_ma > 0 or entry.failures > 0 or unknown


def _doubtless_ma(leaf: Leaf, entry: Entry) -> int:
    """What one in doubt can be told on a row that bears too much, where to tell it again what it
    had may be a raise: it may have obeyed a lower limit whose answer was lost, or, if it was away,
    have lost its profile."""
    if not entry.reassert:
        return entry.secure_ma
    least_ma = entry.fallback_ma if entry.fallback_ma >= leaf.min_ma else 0
    return min(least_ma, entry.secure_ma)


def _worth_a_part(leaf: Leaf, entry: Entry, limit_ma: int, least_ma: int) -> bool:
    """Whether a part of an increase does anything: its vehicle begins at `least_ma`."""
    enough = limit_ma >= max(leaf.min_ma, least_ma)
    return enough and limit_ma - (entry.asked_ma or 0) >= PARTIAL_MIN_MA
