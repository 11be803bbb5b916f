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
from controlplane.store.engine import connected

__all__ = ["Ownership"]

_NOW_MS = {
    "sqlite": "CAST((julianday('now') - 2440587.5) * 86400000 AS BIGINT)",
    "postgresql": "CAST(EXTRACT(EPOCH FROM clock_timestamp()) * 1000 AS BIGINT)",
}
RENEW_AT = 0.3
"""The part of a lease after which it is renewed."""
STOP_AT = 0.7
"""The part of a lease, counted from the start of the last good renewal, after which its owner
stops."""


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
        self.lease_s = lease_s
        self.epochs: dict[int, int] = {}
        self.claimed = 0
        """Shards taken so far."""
        self._engine = engine
        self._owner = f"{host}/{incarnation}"
        self._now_ms = _NOW_MS[engine.dialect.name]
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
        incarnation of this host. Returns the epochs of the shards owned now. Blocks.

        Raises:
            Unavailable: the database is away.
        """
        started_s = self._boottime_s()
        chosen = "" if shards is None else f" AND shard IN ({','.join(map(str, sorted(shards)))})"
        claim = text(
            f"UPDATE shard_owner SET owner = :owner, epoch = epoch + 1,"
            f" lease_until_ms = {self._now_ms} + :lease_ms"
            f" WHERE (lease_until_ms < {self._now_ms}"
            f" OR substr(owner, 1, :prefix_length) = :prefix){chosen}"
        )
        prefix = f"{self.host}/"
        with connected(self._engine) as connection:
            self.claimed += connection.execute(
                claim,
                self._lease() | {"prefix": prefix, "prefix_length": len(prefix)},
            ).rowcount
            self.epochs = self._owned(connection)
        self._stop_at_s = started_s + self.lease_s * STOP_AT
        return self.epochs

    def renew(self) -> None:
        """Extend the lease of every shard. Blocks.

        Raises:
            Fenced: a shard was claimed by another.
            Unavailable: the database is away.
        """
        started_s = self._boottime_s()
        if not self.valid:
            raise Fenced("the lease ran out before it was renewed", reason="LEASE_LAPSED")
        with connected(self._engine) as connection:
            renewed = connection.execute(
                text(
                    f"UPDATE shard_owner SET lease_until_ms = {self._now_ms} + :lease_ms"
                    " WHERE owner = :owner"
                ),
                self._lease(),
            ).rowcount
        if renewed != len(self.epochs):
            raise Fenced(
                f"{len(self.epochs) - renewed} shards were claimed by others", reason="SHARD_LOST"
            )
        self._stop_at_s = started_s + self.lease_s * STOP_AT

    def release(self) -> None:
        """Let others claim at once. Call when nothing will be written any more. Blocks.

        Raises:
            Unavailable: the database is away; the lease runs out by itself.
        """
        self._stop_at_s = 0.0
        with connected(self._engine) as connection:
            connection.execute(
                text("UPDATE shard_owner SET lease_until_ms = 0 WHERE owner = :owner"),
                {"owner": self._owner},
            )

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
            {"owner": self._owner},
        )
        return {row.shard: row.epoch for row in rows}

    def _lease(self) -> dict[str, object]:
        return {"owner": self._owner, "lease_ms": int(self.lease_s * 1_000)}
