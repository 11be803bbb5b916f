"""Who owns which shard: leases and epochs in `shard_owner`, on the database's clock.

Invariant: a process that was not able to renew its lease stops by itself before anyone else may
claim its shards (`tenure.py`), and what it still tries to write is refused by its epoch. Claiming
adds one to the epoch of each shard. The lease is renewed by the thread that commits, on the word of
the loop that steps actors, so a host that no longer does its work loses its shards. Time left is
counted on CLOCK_BOOTTIME, which goes on while the machine sleeps."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection

from sqlalchemy import Connection, Engine, text

from controlplane.errors import Fenced
from controlplane.runtime.members import MemberKind, MemberRow, now_ms_sql
from controlplane.runtime.placement import Lease
from controlplane.runtime.tenure import Tenure
from controlplane.store.engine import connected

__all__ = ["Ownership", "boottime_s"]

_OWNED = {
    "sqlite": (
        "SELECT group_concat(shard || '=' || epoch, ' ') FROM"
        " (SELECT shard, epoch FROM shard_owner WHERE owner = :owner ORDER BY shard)"
    ),
    "postgresql": (
        "SELECT string_agg(shard || '=' || epoch, ' ' ORDER BY shard) FROM shard_owner"
        " WHERE owner = :owner"
    ),
}
"""The shards of an owner and their epochs, as `1=7 2=7`."""
_SKIPPING = {"sqlite": "", "postgresql": " FOR UPDATE SKIP LOCKED"}


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
        self.tenure = Tenure(lease_s)
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
        self._watchdog_end = threading.Event()
        self._read: tuple[str, dict[int, int]] = ("", {})
        """What the table said last of this owner, and what that means."""

    @property
    def valid(self) -> bool:
        """Whether this process may still commit and send."""
        return self.tenure.valid(self._boottime_s())

    @property
    def epochs(self) -> dict[int, int]:
        """The shards owned, each with its epoch."""
        return self.tenure.epochs

    @property
    def left_s(self) -> float:
        """How long this process may go on without a renewal; 0 where it may not."""
        return self.tenure.left_s(self._boottime_s())

    def claim(self, shards: Collection[int] | None = None) -> dict[int, int]:
        """Take every shard (of `shards`, or of all) that is free, expired, or of an earlier
        incarnation of this host; the first claim, which may be of no shard, makes this host a
        member. Returns the epochs of the shards owned now. Blocks.

        Raises:
            Fenced: the lease ran out, a shard was claimed by another, or another host has this
                one's name.
            Unavailable: the database is away; what was claimed shows in the next renewal.
        """
        return self._extend(lambda connection: self._claim(connection, shards))

    def _claim(self, connection: Connection, shards: Collection[int] | None) -> None:
        if shards is not None and not shards:
            return
        now = now_ms_sql(connection)
        chosen = "" if shards is None else f" AND shard IN ({_listed(shards)})"
        # A row that a transaction of the last owner still locks is left for the next claim: waiting
        # for it would keep this host from renewing what it has.
        skipping = _SKIPPING[connection.dialect.name]
        prefix = f"{self.host}/"
        self.claimed += connection.execute(
            text(
                f"UPDATE shard_owner SET owner = :owner, epoch = epoch + 1,"
                f" lease_until_ms = {now} + :lease_ms"
                f" WHERE shard IN (SELECT shard FROM shard_owner WHERE (lease_until_ms < {now}"
                " OR (owner <> :owner AND substr(owner, 1, :prefix_length) = :prefix))"
                f"{chosen}{skipping})"
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

    def renew(self) -> dict[int, int]:
        """Extend the lease of every shard, and of the membership. Returns the epochs of the shards
        owned now: among them may be some whose claim had no answer. Blocks.

        Raises:
            Fenced: the lease ran out, a shard was claimed by another, or another host has this
                one's name.
            Unavailable: the database is away.
        """
        return self._extend(lambda _: None)

    def give_back(self, shards: Collection[int]) -> None:
        """Own these no more, and let others claim them at once. Call when nothing will be written
        or sent for them any more. Blocks.

        Raises:
            Unavailable: the database is away; the next claim or renewal gives them back.
        """
        self.tenure.give_back(shards)
        with connected(self._engine) as connection:
            returning = self._return(connection)
        self.tenure.returned(returning)

    def _extend(self, claim: Callable[[Connection], None]) -> dict[int, int]:
        started_s = self._boottime_s()
        self.tenure.check(started_s)
        with connected(self._engine) as connection:
            returning = self._return(connection)
            self._extend_rows(connection)
            claim(connection)
            owned = self._owned(connection)
        self.member.entered = True
        self.tenure.returned(returning)
        self.tenure.extended(owned, started_s=started_s)
        return self.epochs

    def _extend_rows(self, connection: Connection) -> None:
        if not self.member.entered:
            self.member.enter(connection)
        elif not self.member.renew(connection):
            raise Fenced("another host has this name", reason="NAME_LOST")
        connection.execute(
            text(
                f"UPDATE shard_owner SET lease_until_ms = {now_ms_sql(connection)} + :lease_ms"
                " WHERE owner = :owner"
            ),
            self._lease(),
        )

    def _return(self, connection: Connection) -> list[int]:
        """The epoch is compared, so that a statement which takes effect late gives back nothing
        that was claimed anew."""
        returning = self.tenure.returning
        if returning:
            pairs = ",".join(f"({shard},{epoch})" for shard, epoch in sorted(returning.items()))
            connection.execute(
                text(
                    "UPDATE shard_owner SET lease_until_ms = 0, owner = ''"
                    f" WHERE owner = :owner AND (shard, epoch) IN (VALUES {pairs})"
                ),
                {"owner": self.owner},
            )
        return list(returning)

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
        self.tenure.end()
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
            while not self._watchdog_end.wait(self.tenure.lease_s * 0.05):
                if not self.valid:
                    on_lapse()
                    return

        threading.Thread(target=watch, name="lease-watchdog", daemon=True).start()

    def unwatch(self) -> None:
        """End the watchdog."""
        self._watchdog_end.set()

    def _owned(self, connection: Connection) -> dict[int, int]:
        """In one row: to read thousands of rows with every renewal keeps the commits waiting."""
        listed = _OWNED[connection.dialect.name]
        said = connection.execute(text(listed), {"owner": self.owner}).scalar_one() or ""
        if said != self._read[0]:
            pairs = (pair.split("=") for pair in said.split())
            self._read = said, {int(shard): int(epoch) for shard, epoch in pairs}
        return dict(self._read[1])

    def _lease(self) -> dict[str, object]:
        return {"owner": self.owner, "lease_ms": int(self.tenure.lease_s * 1_000)}


def _listed(shards: Collection[int]) -> str:
    # Written out rather than bound: the number differs, and integers need no quoting.
    return ",".join(map(str, sorted(shards)))
