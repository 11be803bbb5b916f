"""When a feeder's sites may draw more than it carries: who keeps it there, and why.

A lower capacity takes the time in which chargers let go; only what lasts longer is an overload.
Invariant: the journal gets one event when it begins, one when it ends, and one when somebody else
is the cause."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum

import msgspec

from controlplane.actor import Emit
from controlplane.feeder.ledger import Account
from controlplane.feeder.messages import Overload, OverloadShare
from controlplane.ids import ActorRef

__all__ = ["Cause", "Overloads"]

SHARES_MAX = 20
"""So many names are told; the largest lead."""


class Cause(StrEnum):
    """Why somebody may draw more than it is to."""

    SILENT = "silent"
    FLOOR = "floor"
    AWAITED = "awaited"
    DRAWS_MORE = "draws_more"


class Overloads(msgspec.Struct):
    """Whether a feeder is overloaded at the moment, and since when; part of its durable state, so
    that what the journal was told to begin also ends there."""

    since_ms: int | None = None
    """Since when the capacity is exceeded, be it for no longer than letting go takes."""
    present: Overload | None = None
    """What the journal was told last, with the figures of now."""

    def changes(
        self,
        members: Mapping[ActorRef, Account],
        *,
        capacity_ma: int,
        now_ms: int,
        patience_ms: int,
        grace_ms: int,
    ) -> list[Emit]:
        """Events for what began, changed or ended. `patience_ms` is how long somebody may be
        silent, `grace_ms` how long letting go takes."""
        excess_ma = sum(account.counted_ma for account in members.values()) - capacity_ma
        if excess_ma <= 0:
            return self._over()
        if self.since_ms is None:
            self.since_ms = now_ms
        if now_ms - self.since_ms < grace_ms:
            return []
        shares = sorted(
            (
                OverloadShare(member, cause.value, account.counted_ma - account.cap_ma)
                for member, account in members.items()
                if (cause := _cause(account, now_ms=now_ms, patience_ms=patience_ms)) is not None
            ),
            key=lambda share: (-share.excess_ma, share.member.kind, share.member.id),
        )
        before, self.present = (
            self.present,
            Overload(self.since_ms, excess_ma, tuple(shares[:SHARES_MAX])),
        )
        if before is not None and _causes(before) == _causes(self.present):
            return []
        return [_event(self.present, capacity_ma)]

    def _over(self) -> list[Emit]:
        before, self.present, self.since_ms = self.present, None, None
        return [] if before is None else [Emit("feeder.overload_ended", {})]


def _causes(overload: Overload) -> set[tuple[ActorRef, str]]:
    return {(share.member, share.cause) for share in overload.shares}


def _cause(account: Account, *, now_ms: int, patience_ms: int) -> Cause | None:
    """Why somebody counts with more than its cap, or None."""
    if account.silent(now_ms=now_ms, patience_ms=patience_ms):
        return Cause.SILENT
    if account.floor_ma > account.cap_ma:
        return Cause.FLOOR
    if account.liability_ma > max(account.cap_ma, account.held_ma):
        return Cause.DRAWS_MORE
    if account.counted_ma > account.cap_ma:
        return Cause.AWAITED
    return None


def _event(overload: Overload, capacity_ma: int) -> Emit:
    return Emit(
        "feeder.overloaded",
        {
            "excess_ma": overload.excess_ma,
            "limit_ma": capacity_ma,
            "since_ms": overload.since_ms,
            "because_of": [
                {
                    "kind": share.member.kind.value,
                    "id": share.member.id,
                    "cause": share.cause,
                    "excess_ma": share.excess_ma,
                }
                for share in overload.shares
            ],
        },
    )
