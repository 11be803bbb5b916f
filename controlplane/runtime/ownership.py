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

from controlplane.runtime.tenure import Tenure
from controlplane.store.engine import connected

__all__ = ["Ownership"]

_NOW_MS = {
    "sqlite": "CAST((julianday('now') - 2440587.5) * 86400000 AS BIGINT)",
    "postgresql": "CAST(EXTRACT(EPOCH FROM clock_timestamp()) * 1000 AS BIGINT)",
}
_SKIPPING = {"sqlite": "", "postgresql": " FOR UPDATE SKIP LOCKED"}


class Ownership:
    """The shards of one incarnation of one host.

    Args:
        engine: a writer's engine.
        host: the host's lasting name; a new incarnation of it takes over from a dead one at once.
        incarnation: unique for all time.
        lease_s: how long others wait for a silent owner.
        boottime_s: CLOCK_BOOTTIME, seconds.
    """

    def __init__(
        self,
        engine: Engine,
        *,
        host: str,
        incarnation: str,
        lease_s: float,
        boottime_s: Callable[[], float] = lambda: time.clock_gettime(time.CLOCK_BOOTTIME),
    ) -> None:
        self.host = host
        self.incarnation = incarnation
        self.tenure = Tenure(lease_s)
        self._engine = engine
        self._owner = f"{host}/{incarnation}"
        self._now_ms = _NOW_MS[engine.dialect.name]
        self._skipping = _SKIPPING[engine.dialect.name]
        self._boottime_s = boottime_s
        self._watchdog_end = threading.Event()

    @property
    def valid(self) -> bool:
        """Whether this process may still commit and send."""
        return self.tenure.valid(self._boottime_s())

    @property
    def epochs(self) -> dict[int, int]:
        """The shards owned, each with its epoch."""
        return self.tenure.epochs

    def claim(self, shards: Collection[int] | None = None) -> dict[int, int]:
        """Take every shard (of `shards`, or of all) that is free, expired, or of an earlier
        incarnation of this host, and extend the lease of those owned before. Returns the epochs of
        the shards that were not owned before. Blocks.

        Raises:
            Fenced: the lease ran out, or a shard was claimed by another.
            Unavailable: the database is away; what it did shows in the next claim or renewal.
        """
        chosen = "" if shards is None else f" AND shard IN ({','.join(map(str, sorted(shards)))})"
        # A row that a transaction of the last owner still locks is left for the next claim: waiting
        # for it would keep this host from renewing what it has.
        return self._extend(
            f"UPDATE shard_owner SET owner = :owner, epoch = epoch + 1,"
            f" lease_until_ms = {self._now_ms} + :lease_ms"
            f" WHERE shard IN (SELECT shard FROM shard_owner WHERE (lease_until_ms < {self._now_ms}"
            f" OR substr(owner, 1, :prefix_length) = :prefix AND owner <> :owner){chosen}"
            f"{self._skipping})"
        )

    def renew(self) -> dict[int, int]:
        """Extend the lease of every shard. Returns the epochs of shards that turned out to be owned
        because the answer to a claim was lost. Blocks.

        Raises:
            Fenced: the lease ran out, or a shard was claimed by another.
            Unavailable: the database is away.
        """
        return self._extend("")

    def give_back(self, shards: Collection[int]) -> None:
        """Own these no more, and let others claim them at once. Call when nothing will be written
        or sent for them. Blocks.

        Raises:
            Unavailable: the database is away; the next claim or renewal gives them back.
        """
        self.tenure.give_back(shards)
        with connected(self._engine) as connection:
            returning = self._return(connection)
        self.tenure.returned(returning)

    def release(self) -> None:
        """Let others claim at once. Call when nothing will be written any more. Blocks.

        Raises:
            Unavailable: the database is away; the lease runs out by itself.
        """
        self.tenure.end()
        with connected(self._engine) as connection:
            connection.execute(
                text("UPDATE shard_owner SET lease_until_ms = 0 WHERE owner = :owner"),
                {"owner": self._owner},
            )

    def _extend(self, claim: str) -> dict[int, int]:
        started_s = self._boottime_s()
        self.tenure.check(started_s)
        prefix = f"{self.host}/"
        values = {
            "owner": self._owner,
            "lease_ms": int(self.tenure.lease_s * 1_000),
            "prefix": prefix,
            "prefix_length": len(prefix),
        }
        with connected(self._engine) as connection:
            returning = self._return(connection)
            # A shard that was given back is still under this owner's name, and stays free.
            connection.execute(
                text(
                    f"UPDATE shard_owner SET lease_until_ms = {self._now_ms} + :lease_ms"
                    " WHERE owner = :owner AND lease_until_ms > 0"
                ),
                values,
            )
            if claim:
                connection.execute(text(claim), values)
            rows = connection.execute(
                text(
                    "SELECT shard, epoch FROM shard_owner"
                    " WHERE owner = :owner AND lease_until_ms > 0"
                ),
                values,
            )
            owned = {row.shard: row.epoch for row in rows}
        self.tenure.returned(returning)
        return self.tenure.extended(owned, started_s=started_s)

    def _return(self, connection: Connection) -> list[int]:
        """The epoch is compared, so that a statement which takes effect late gives back nothing
        that was claimed anew."""
        returning = list(self.tenure.returning.items())
        if returning:
            connection.execute(
                text(
                    "UPDATE shard_owner SET lease_until_ms = 0"
                    " WHERE owner = :owner AND shard = :shard AND epoch = :epoch"
                ),
                [{"owner": self._owner, "shard": s, "epoch": epoch} for s, epoch in returning],
            )
        return [shard for shard, _ in returning]

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
