"""How long a process may go on by the database's last word, and what it holds meanwhile.

Invariants. A process stops before its lease ends: its time is counted from the start of the last
statement that extended everything it holds, on a clock that goes on while the machine sleeps, and
ends while the database, which counted from later, still keeps others off. What a statement did
whose answer was lost is found out before it is relied on: a shard that was claimed unawares is held
once a renewal shows it, and a shard that was given back is never held again under the same epoch.

Pure: hosts, gateways and the simulation of ownership (docs/ownership.md) drive the same code.
Instants are seconds of CLOCK_BOOTTIME."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from controlplane.errors import Fenced

__all__ = ["RENEW_AT", "STOP_AT", "Tenure"]

RENEW_AT = 0.3
"""The part of a lease after which it is renewed."""
STOP_AT = 0.7
"""The part of a lease, counted from the start of the last good renewal, after which its owner
stops."""


class Tenure:
    """Of one incarnation of a host, or of a gateway, which holds no shards.

    Args:
        lease_s: how long others wait for a silent owner.
    """

    def __init__(self, lease_s: float) -> None:
        self.lease_s = lease_s
        self.epochs: dict[int, int] = {}
        """The shards held, each with its epoch."""
        self.returning: dict[int, int] = {}
        """Given back by a statement whose answer is not there yet."""
        self._stop_at_s = 0.0

    @property
    def renew_after_s(self) -> float:
        """How long to wait after a renewal before the next one."""
        return self.lease_s * RENEW_AT

    def valid(self, now_s: float) -> bool:
        """Whether this process may still commit and send."""
        return now_s < self._stop_at_s

    def left_s(self, now_s: float) -> float:
        """How long it may go on without another extension; 0 where it may not."""
        return max(0.0, self._stop_at_s - now_s)

    def check(self, now_s: float) -> None:
        """Before a statement that extends what is held.

        Raises:
            Fenced: the lease ran out; others may have claimed.
        """
        if self.epochs and not self.valid(now_s):
            raise Fenced("the lease ran out before it was renewed", reason="LEASE_LAPSED")

    def extended(self, owned: Mapping[int, int], *, started_s: float) -> dict[int, int]:
        """A claim or renewal was carried out; returns the shards that are held from now on and were
        not before.

        Args:
            owned: every shard that the database says is this incarnation's, with its epoch; the
                statement extended the lease of each.
            started_s: when the statement was begun.

        Raises:
            Fenced: a shard was claimed by another.
        """
        lost = [shard for shard, epoch in self.epochs.items() if owned.get(shard) != epoch]
        if lost:
            raise Fenced(f"{len(lost)} shards were claimed by others", reason="SHARD_LOST")
        found = {
            shard: epoch
            for shard, epoch in owned.items()
            if shard not in self.epochs and self.returning.get(shard) != epoch
        }
        self.epochs = self.epochs | found
        self._stop_at_s = started_s + self.lease_s * STOP_AT
        return found

    def give_back(self, shards: Collection[int]) -> None:
        """Hold these no more. Call when nothing will be written or sent for them; then tell the
        database of everything in `returning`, and say so with `returned`."""
        self.returning |= {shard: self.epochs[shard] for shard in shards if shard in self.epochs}
        self.epochs = {s: epoch for s, epoch in self.epochs.items() if s not in self.returning}

    def returned(self, shards: Collection[int]) -> None:
        """The database has taken them back."""
        for shard in shards:
            self.returning.pop(shard, None)

    def end(self) -> None:
        """Commit and send no more."""
        self._stop_at_s = 0.0
