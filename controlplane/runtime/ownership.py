"""Who owns which shard: leases and epochs in `shard_owner`, on the database's clock.

Invariant: a process that was not able to renew its lease stops by itself before anyone else may
claim its shards, and what it still tries to write is refused by its epoch. Claiming adds one to the
epoch of each shard. The lease is renewed by the thread that commits, on the word of the loop that
steps actors, so a host that no longer does its work loses its shards. Time left is counted on
CLOCK_BOOTTIME, which goes on while the machine sleeps."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection

from sqlalchemy import Connection, Engine, text

from controlplane.errors import Fenced
from controlplane.runtime.members import MemberKind, MemberRow, forget_member, now_ms_sql
from controlplane.runtime.placement import Lease
from controlplane.store.engine import connected

__all__ = ["Ownership", "boottime_s"]

RENEW_AT = 0.3
"""The part of a lease after which it is renewed."""
STOP_AT = 0.7
"""The part of a lease, counted from the start of the last good renewal, after which its owner
stops."""


def boottime_s() -> float:
    """CLOCK_BOOTTIME, seconds."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class Ownership:
    """The shards of one incarnation of one host, and its row among the members.

    Args:
        engine: a writer's engine.
        host: the host's lasting name; a new incarnation of it takes over from a dead one at once.
        incarnation: unique for all time.
        lease_s: how long others wait for a silent owner.
        node: where the host runs.
        boottime_s: CLOCK_BOOTTIME, seconds.
    """

    def __init__(
        self,
        engine: Engine,
        *,
        host: str,
        incarnation: str,
        lease_s: float,
        node: str = "",
        boottime_s: Callable[[], float] = boottime_s,
    ) -> None:
        self.host = host
        self.incarnation = incarnation
        self.lease_s = lease_s
        self.epochs: dict[int, int] = {}
        self.claimed = 0
        """Shards taken so far."""
        self.owner = f"{host}/{incarnation}"
        self.member = MemberRow(
            name=host,
            kind=MemberKind.HOST,
            node=node,
            incarnation=incarnation,
            lease_s=lease_s,
        )
        self._engine = engine
        self._boottime_s = boottime_s
        self._stop_at_s = 0.0
        self._watchdog_end = threading.Event()

    @property
    def valid(self) -> bool:
        """Whether this process may still commit and send."""
        return self._boottime_s() < self._stop_at_s

    @property
    def left_s(self) -> float:
        """How long this process may go on without a renewal; 0 where it may not."""
        return max(0.0, self._stop_at_s - self._boottime_s())

    def claim(self, shards: Collection[int] | None = None) -> dict[int, int]:
        """Take every shard (of `shards`, or of all) that is free, expired, or of an earlier
        incarnation of this host; the first claim, which may be of no shard, makes this host a
        member. Returns the epochs of the shards owned now. Blocks.

        Raises:
            Fenced: the lease ran out meanwhile.
            Unavailable: the database is away.
        """
        started_s = self._boottime_s()
        first = not self.member.entered
        if not first and not self.valid:
            raise Fenced("the lease ran out before the claim", reason="LEASE_LAPSED")
        with connected(self._engine) as connection:
            if first:
                self.member.enter(connection)
            if shards is None or shards:
                self._claim(connection, shards)
            epochs = self._owned(connection)
        if first:
            # Later claims prolong nothing: what was owned before is no younger for them.
            self.member.entered = True
            self._stop_at_s = started_s + self.lease_s * STOP_AT
        self.epochs = epochs
        return self.epochs

    def _claim(self, connection: Connection, shards: Collection[int] | None) -> None:
        now = now_ms_sql(connection)
        chosen = "" if shards is None else f" AND shard IN ({_listed(shards)})"
        prefix = f"{self.host}/"
        self.claimed += connection.execute(
            text(
                f"UPDATE shard_owner SET owner = :owner, epoch = epoch + 1,"
                f" lease_until_ms = {now} + :lease_ms"
                f" WHERE (lease_until_ms < {now} OR (owner <> :owner"
                f" AND substr(owner, 1, :prefix_length) = :prefix)){chosen}"
            ),
            self._lease() | {"prefix": prefix, "prefix_length": len(prefix)},
        ).rowcount

    def claimable(self, connection: Connection) -> tuple[int, dict[int, Lease]]:
        """The database's clock, and the shards that this host, or any, may claim."""
        prefix = f"{self.host}/"
        now_ms = connection.execute(text(f"SELECT {now_ms_sql(connection)}")).scalar_one()
        rows = connection.execute(
            text(
                "SELECT shard, owner, lease_until_ms FROM shard_owner"
                " WHERE lease_until_ms < :now_ms OR (owner <> :owner"
                " AND substr(owner, 1, :prefix_length) = :prefix)"
            ),
            {
                "now_ms": now_ms,
                "owner": self.owner,
                "prefix": prefix,
                "prefix_length": len(prefix),
            },
        )
        return now_ms, {row[0]: Lease(row[1], row[2]) for row in rows}

    def strike(self, gateway: str) -> int:
        """Strike a gateway from the members; returns for how many milliseconds it may still believe
        to be one. Blocks.

        Raises:
            Unavailable: the database is away.
        """
        with connected(self._engine) as connection:
            return forget_member(connection, gateway)

    def renew(self) -> None:
        """Extend the lease of every shard, and of the membership. Blocks.

        Raises:
            Fenced: a shard was claimed by another, or another host has this one's name.
            Unavailable: the database is away.
        """
        started_s = self._boottime_s()
        if not self.valid:
            raise Fenced("the lease ran out before it was renewed", reason="LEASE_LAPSED")
        with connected(self._engine) as connection:
            renewed = connection.execute(
                text(
                    f"UPDATE shard_owner SET lease_until_ms = {now_ms_sql(connection)} + :lease_ms"
                    " WHERE owner = :owner"
                ),
                self._lease(),
            ).rowcount
            if renewed != len(self.epochs):
                raise Fenced(
                    f"{len(self.epochs) - renewed} shards were claimed by others",
                    reason="SHARD_LOST",
                )
            if not self.member.renew(connection):
                raise Fenced("another host has this name", reason="NAME_LOST")
        self._stop_at_s = started_s + self.lease_s * STOP_AT

    def give_back(self, shards: Collection[int]) -> None:
        """Let others claim `shards` at once. Call when nothing will be written for them any more.
        Blocks.

        Raises:
            Unavailable: the database is away; they are still this host's, or their lease runs out
                by itself.
        """
        with connected(self._engine) as connection:
            connection.execute(
                text(
                    "UPDATE shard_owner SET lease_until_ms = 0, owner = ''"
                    f" WHERE owner = :owner AND shard IN ({_listed(shards)})"
                ),
                {"owner": self.owner},
            )
        self.epochs = {shard: epoch for shard, epoch in self.epochs.items() if shard not in shards}

    def drain(self) -> None:
        """Tell everybody that this host will have no shards. Blocks.

        Raises:
            Unavailable: the database is away.
        """
        with connected(self._engine) as connection:
            self.member.drain(connection)

    def release(self, *, successor: bool = False) -> None:
        """Let others claim at once, and be a member no more, unless a `successor` of this name will
        be. Call when nothing will be written any more. Blocks.

        Raises:
            Unavailable: the database is away; the lease runs out by itself.
        """
        self._stop_at_s = 0.0
        with connected(self._engine) as connection:
            connection.execute(
                text("UPDATE shard_owner SET lease_until_ms = 0 WHERE owner = :owner"),
                {"owner": self.owner},
            )
            if not successor:
                self.member.leave(connection)

    def watch(self, on_lapse: Callable[[], None]) -> None:
        """Start the watchdog: a thread that calls `on_lapse`, once, when the time is up."""

        def watch() -> None:
            while not self._watchdog_end.wait(self.lease_s * 0.05):
                if not self.valid:
                    on_lapse()
                    return

        threading.Thread(target=watch, name="lease-watchdog", daemon=True).start()

    def unwatch(self) -> None:
        """End the watchdog."""
        self._watchdog_end.set()

    def _owned(self, connection: Connection) -> dict[int, int]:
        rows = connection.execute(
            text("SELECT shard, epoch FROM shard_owner WHERE owner = :owner"),
            {"owner": self.owner},
        )
        return {row.shard: row.epoch for row in rows}

    def _lease(self) -> dict[str, object]:
        return {"owner": self.owner, "lease_ms": int(self.lease_s * 1_000)}


def _listed(shards: Collection[int]) -> str:
    # Written out rather than bound: the number differs, and integers need no quoting.
    return ",".join(map(str, sorted(shards)))
