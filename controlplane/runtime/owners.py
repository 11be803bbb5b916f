"""Who owns which shard, as far as one gateway has heard.

Invariant: an epoch that was heard is never gone back on, whether it came as an announcement, from
the database, or on a command; whatever comes under a lower one is refused. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from controlplane.ids import SHARDS

__all__ = ["Owners"]


class Owners:
    """Hosts and epochs by shard."""

    def __init__(self) -> None:
        self._hosts = [""] * SHARDS
        self._epochs = [0] * SHARDS

    def host_of(self, shard: int) -> str:
        """Where messages for the shard go; empty where nobody is known to own it."""
        return self._hosts[shard]

    def epoch_of(self, shard: int) -> int:
        """The highest that was heard; 0 before the first."""
        return self._epochs[shard]

    def announced(self, host: str, epochs: Mapping[int, int]) -> set[int]:
        """`host` owns these shards under these epochs; returns those of them that it does own, by
        everything that was heard. An epoch has one owner, so an equal one is the same word again.
        """
        heard = {shard for shard, epoch in epochs.items() if epoch >= self._epochs[shard]}
        for shard in heard:
            self._epochs[shard] = epochs[shard]
            self._hosts[shard] = host
        return heard

    def withdrawn(self, host: str, shards: Iterable[int]) -> None:
        """`host` serves these no more: nobody does until the next announcement."""
        for shard in shards:
            if self._hosts[shard] == host:
                self._hosts[shard] = ""

    def epochs_of(self, host: str) -> dict[int, int]:
        """The shards that `host` is believed to own, each with its epoch."""
        return {s: self._epochs[s] for s, each in enumerate(self._hosts) if each == host}

    def in_force(self, epochs: Mapping[int, int]) -> None:
        """What the database says; who serves is said by the host."""
        for shard, epoch in epochs.items():
            self._epochs[shard] = max(self._epochs[shard], epoch)

    def accepts(self, shard: int, epoch: int) -> bool:
        """Whether a command under this epoch may be delivered. One under a higher epoch than was
        heard is news of that epoch."""
        if epoch < self._epochs[shard]:
            return False
        self._epochs[shard] = epoch
        return True
