"""What each site of a feeder may draw, and who is given how much.

The ledger of `site/ledger.py` one level up: a cap counts from the moment it is sent, the cap before
it until the site has said that it is within the new one, and a site that draws more than its cap
counts with what it draws. Invariant: a cap is raised only into room that all sites together have
confirmed to be free."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec
import numpy as np

from controlplane import _core
from controlplane.feeder.messages import SiteReport
from controlplane.ids import SiteId

__all__ = ["SiteAccount", "caps_to_send", "divide"]

CHANGE_MIN_MA = 1_000
"""Smaller changes of a cap (or below 2 % of it) are not worth a message."""


class SiteAccount(msgspec.Struct, array_like=True):
    """The account of one site, per phase, building included."""

    cap_id: int = 0
    """The last cap sent; 0: none yet, and the site keeps to its floor."""
    cap_ma: int = 0
    held_ma: int = 0
    """The largest cap the site may still be using."""
    confirmed_id: int = 0
    sent_ms: int = 0
    floor_ma: int = 0
    wanted_ma: int = 0
    liability_ma: int = 0
    measured_ma: int = 0
    reported_ms: int = 0

    @property
    def counted_ma(self) -> int:
        """What counts against the feeder."""
        return max(self.cap_ma, self.held_ma, self.liability_ma, self.floor_ma)

    @property
    def confirmed(self) -> bool:
        return self.cap_id == self.confirmed_id and self.cap_id > 0

    def silent(self, *, now_ms: int, patience_ms: int) -> bool:
        """Whether the site was not heard for longer than `patience_ms`."""
        return now_ms - self.reported_ms > patience_ms

    def reported(self, report: SiteReport, *, now_ms: int) -> bool:
        """Take in a report; True if it confirmed a cap, or showed that a confirmed one is lost."""
        self.floor_ma, self.wanted_ma = report.floor_ma, report.wanted_ma
        self.liability_ma, self.measured_ma = report.liability_ma, report.measured_ma
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


def divide(floors: Sequence[int], wanted: Sequence[int], *, capacity_ma: int) -> list[int]:
    """Caps by max-min fairness: floors first, then what is wanted, then the rest to everybody
    alike, so that a site can use room at once when a vehicle arrives. Where not even the floors
    fit, nobody gets more than its floor."""
    count = len(floors)
    if count == 0:
        return []
    network = _core.Network(
        node_parent=np.array([-1], dtype=np.int32),
        leaf_node=np.zeros(count, dtype=np.int32),
        leaf_phases=np.full(count, 7, dtype=np.uint8),
    )

    def solve(least: Sequence[int], most: Sequence[int]) -> list[int]:
        result = _core.allocate(
            network,
            _core.Capacity(import_ma=np.full((1, 3), capacity_ma, dtype=np.int64)),
            _core.Demand(
                min_ma=np.array(least, dtype=np.int64),
                max_ma=np.array(most, dtype=np.int64),
                step_ma=np.ones(count, dtype=np.int64),
                weight=np.ones(count, dtype=np.int64),
                tier=np.zeros(count, dtype=np.uint8),
                rank=np.arange(count, dtype=np.int64),
            ),
        )
        caps: list[int] = result.current_ma.tolist()
        return caps

    if sum(floors) > capacity_ma:
        return solve([0] * count, floors)
    fair = solve(floors, [max(pair) for pair in zip(floors, wanted, strict=True)])
    return solve(fair, [max(capacity_ma, least) for least in fair])


def caps_to_send(
    accounts: Mapping[SiteId, SiteAccount],
    *,
    capacity_ma: int,
    now_ms: int,
    patience_ms: int,
) -> list[tuple[SiteId, int]]:
    """The caps that may leave now: every reduction, and increases while confirmed room lasts."""
    heard = {
        site_id: account
        for site_id, account in accounts.items()
        if not account.silent(now_ms=now_ms, patience_ms=patience_ms)
    }
    away_ma = sum(
        account.counted_ma for site_id, account in accounts.items() if site_id not in heard
    )
    share_ma = max(0, capacity_ma - away_ma)
    fair = divide(
        [account.floor_ma for account in heard.values()],
        [account.wanted_ma for account in heard.values()],
        capacity_ma=share_ma,
    )
    caps = [_calm(account, cap) for account, cap in zip(heard.values(), fair, strict=True)]
    if sum(caps) > share_ma:
        caps = [min(pair) for pair in zip(caps, fair, strict=True)]
    room_ma = capacity_ma - sum(account.counted_ma for account in accounts.values())
    sending: list[tuple[SiteId, int]] = []
    for cap_ma, site_id in sorted(zip(caps, heard, strict=True)):
        account = heard[site_id]
        if account.cap_id > 0 and cap_ma <= account.cap_ma:
            if cap_ma < account.cap_ma:
                sending.append((site_id, cap_ma))
            continue
        raised_ma = min(cap_ma, account.counted_ma + max(0, room_ma))
        first = account.cap_id == 0
        if first or raised_ma == cap_ma or raised_ma - account.cap_ma >= CHANGE_MIN_MA:
            room_ma -= max(0, raised_ma - account.counted_ma)
            sending.append((site_id, raised_ma))
    return sending


def _calm(account: SiteAccount, cap_ma: int) -> int:
    """The cap in force where the new one is hardly different."""
    change_min_ma = max(CHANGE_MIN_MA, account.cap_ma // 50)
    if account.cap_id > 0 and abs(cap_ma - account.cap_ma) < change_min_ma:
        return account.cap_ma
    return cap_ma
