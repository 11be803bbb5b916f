"""What each site or feeder below a feeder may draw, and who is given how much.

The ledger of `site/ledger.py` one level up: a cap counts from the moment it is sent, the cap before
it until its receiver has said that it is within the new one, and who draws more than its cap counts
with what it draws. Invariant: a cap is raised only into room that all together have confirmed to be
free, whatever messages are lost, late or repeated."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeVar

import msgspec

from controlplane.demand_curve import Curve, levelled, plain_curve, rise, shares
from controlplane.feeder.messages import OVERTAKEN_MAX_MS, FeederReport, FeedIn, SiteReport
from controlplane.grid_events import GridWish
from controlplane.units import w_from_ma

__all__ = ["Account", "Division", "caps_to_send", "divide", "fair_shares"]

Member = TypeVar("Member")

CHANGE_MIN_MA = 1_000
"""Smaller changes of a cap (or below 2 % of it) are not worth a message."""


class Account(msgspec.Struct, array_like=True):
    """The account of one site or feeder, per phase, buildings included."""

    cap_id: int = 0
    """The last cap sent; 0: none yet, and it keeps to its floor."""
    cap_ma: int = 0
    held_ma: int = 0
    """The largest cap it may still be using."""
    confirmed_id: int = 0
    sent_ms: int = 0
    floor_ma: int = 0
    wanted_ma: int = 0
    liability_ma: int = 0
    measured_ma: int = 0
    reported_ms: int = 0
    measured_w: int | None = None
    at_ms: int = 0
    """The clock of the sender when it wrote the last report."""
    feed_in: FeedIn | None = None
    """What it said last of feeding in; None where it may not."""
    wish: GridWish | None = None
    """What was wished of it last."""

    @property
    def counted_ma(self) -> int:
        """What counts against the feeder."""
        # Asked for all members again and again: comparisons cost a third of what `max` does.
        counted_ma = self.cap_ma if self.cap_ma > self.held_ma else self.held_ma
        counted_ma = self.liability_ma if self.liability_ma > counted_ma else counted_ma
        return self.floor_ma if self.floor_ma > counted_ma else counted_ma

    @property
    def confirmed(self) -> bool:
        return self.cap_id == self.confirmed_id and self.cap_id > 0

    @property
    def needed_ma(self) -> int:
        """What it draws with everybody paused who can wait, and as much more as buildings move
        while nobody is told; of those who may not feed in, nobody can be told from the others, and
        all are paused."""
        said = self.feed_in
        least_ma = self.floor_ma if said is None else max(self.floor_ma, said.needed_ma)
        return least_ma + max(CHANGE_MIN_MA, least_ma // 50) * 3 // 2

    def silent(self, *, now_ms: int, patience_ms: int) -> bool:
        """Whether it was not heard for longer than `patience_ms`."""
        return now_ms - self.reported_ms > patience_ms

    def overtaken(self, at_ms: int) -> bool:
        """Whether news written at `at_ms` is older than what is known."""
        return 0 < at_ms < self.at_ms <= at_ms + OVERTAKEN_MAX_MS

    def reported(self, report: SiteReport | FeederReport, *, now_ms: int) -> bool:
        """Take in a report; True if it confirmed a cap, or showed that a confirmed one is lost."""
        if self.overtaken(report.at_ms):
            return False
        self.at_ms = report.at_ms
        self.floor_ma, self.wanted_ma = report.floor_ma, report.wanted_ma
        self.liability_ma, self.measured_ma = report.liability_ma, report.measured_ma
        self.measured_w, self.feed_in = report.measured_w, report.feed_in
        self.reported_ms = now_ms
        if self.confirmed and report.cap_id != self.cap_id:
            # It has lost the cap (described anew, say), and is to hear it again.
            self.confirmed_id = 0
            return True
        if (
            self.confirmed
            or report.cap_id != self.cap_id
            or self.cap_id == 0
            or report.liability_ma > self.cap_ma
        ):
            return False
        self.confirmed_id, self.held_ma = self.cap_id, self.cap_ma
        return True

    def sent(self, cap_id: int, cap_ma: int, *, now_ms: int) -> None:
        """A cap leaves: it counts from now, beside the one before it."""
        self.held_ma = max(self.held_ma, self.cap_ma, cap_ma)
        self.cap_id, self.cap_ma, self.sent_ms = cap_id, cap_ma, now_ms

    def allowed_w(self, *, voltage_v: int, now_ms: int, patience_ms: int) -> int:
        """What it may draw in all: what counts, or less as it says itself where it has heard a wish
        and keeps to it."""
        counted_w = w_from_ma(self.counted_ma, voltage_v=voltage_v, phases=3)
        said, wish = self.feed_in, self.wish
        if said is None or wish is None or not (wish.in_force(now_ms) and self.confirmed):
            return counted_w
        if self.silent(now_ms=now_ms, patience_ms=patience_ms):
            return counted_w
        return min(counted_w, said.allowed_w)

    def drawn_w(self, *, voltage_v: int, now_ms: int, patience_ms: int) -> int:
        """What it draws, as far as its meters say; what it may draw where they say nothing."""
        if self.measured_w is None or self.silent(now_ms=now_ms, patience_ms=patience_ms):
            return self.counted_ma * 3 * voltage_v // 1_000
        return self.measured_w


def fair_shares(floors: Sequence[int], curves: Sequence[Curve], *, capacity_ma: int) -> list[int]:
    """What max-min fairness over all connectors below gives each: its floor, and what it reaches on
    its curve at the level at which the capacity is full. Where not even the floors fit, nobody gets
    more than its floor."""
    room_ma = capacity_ma - sum(floors)
    if room_ma < 0:
        return shares([plain_curve(0, floor_ma) for floor_ma in floors], capacity_ma)
    risen = shares(curves, room_ma)
    return [floor_ma + more_ma for floor_ma, more_ma in zip(floors, risen, strict=True)]


def divide(floors: Sequence[int], curves: Sequence[Curve], *, capacity_ma: int) -> list[int]:
    """Caps: the fair shares, and what is left beyond everybody's wants to everybody alike, so that
    a site can use room at once when a vehicle arrives."""
    fair = fair_shares(floors, curves, capacity_ma=capacity_ma)
    wanted_ma = sum(floors) + sum(rise(curve) for curve in curves)
    if wanted_ma >= capacity_ma:
        return fair
    lent = levelled(fair, capacity_ma, capacity_ma - sum(fair))
    return [least_ma + more_ma for least_ma, more_ma in zip(fair, lent, strict=True)]


class Division:
    """`divide`, which remembers the last: most reports tell what was known."""

    def __init__(self) -> None:
        self._asked: tuple[list[int], list[Curve], int] | None = None
        self._caps_ma: list[int] = []

    def caps_ma(self, floors: list[int], curves: list[Curve], *, capacity_ma: int) -> list[int]:
        asked = (floors, curves, capacity_ma)
        if asked != self._asked:
            self._asked = asked
            self._caps_ma = divide(floors, curves, capacity_ma=capacity_ma)
        return self._caps_ma


def caps_to_send(
    accounts: Mapping[Member, Account],
    curves: Mapping[Member, Curve],
    *,
    capacity_ma: int,
    now_ms: int,
    patience_ms: int,
    division: Division,
    needed: bool = False,
) -> list[tuple[Member, int]]:
    """The caps that may leave now: every reduction, and increases while confirmed room lasts.

    Whoever has no entry in `curves` wants what its account says, all alike.

    Args:
        needed: nobody gets more than what it must draw, and nothing is lent.
    """
    heard = {
        member: account
        for member, account in accounts.items()
        if not account.silent(now_ms=now_ms, patience_ms=patience_ms)
    }
    away_ma = sum(account.counted_ma for member, account in accounts.items() if member not in heard)
    share_ma = max(0, capacity_ma - away_ma)
    floors = [account.floor_ma for account in heard.values()]
    if needed:
        least = [plain_curve(each.floor_ma, each.needed_ma) for each in heard.values()]
        fair = fair_shares(floors, least, capacity_ma=share_ma)
    else:
        wanted = [
            curves.get(member) or plain_curve(account.floor_ma, account.wanted_ma)
            for member, account in heard.items()
        ]
        fair = division.caps_ma(floors, wanted, capacity_ma=share_ma)
    caps = [_calm(account, cap) for account, cap in zip(heard.values(), fair, strict=True)]
    if sum(caps) > share_ma:
        caps = [min(pair) for pair in zip(caps, fair, strict=True)]
    room_ma = capacity_ma - sum(account.counted_ma for account in accounts.values())
    sending: list[tuple[Member, int]] = []
    for (member, account), cap_ma in sorted(
        zip(heard.items(), caps, strict=True), key=lambda each: each[1]
    ):
        if account.cap_id > 0 and cap_ma <= account.cap_ma:
            if cap_ma < account.cap_ma:
                sending.append((member, cap_ma))
            continue
        raised_ma = min(cap_ma, account.counted_ma + max(0, room_ma))
        first = account.cap_id == 0
        if first or raised_ma == cap_ma or raised_ma - account.cap_ma >= CHANGE_MIN_MA:
            room_ma -= max(0, raised_ma - account.counted_ma)
            sending.append((member, raised_ma))
    return sending


def _calm(account: Account, cap_ma: int) -> int:
    """The cap in force where the new one is hardly different; where the cap holds back who wants
    more, less is a difference."""
    held_back = account.cap_ma < min(cap_ma, account.wanted_ma)
    change_min_ma = CHANGE_MIN_MA if held_back else max(CHANGE_MIN_MA, account.cap_ma // 50)
    if account.cap_id > 0 and abs(cap_ma - account.cap_ma) < change_min_ma:
        return account.cap_ma
    return cap_ma
