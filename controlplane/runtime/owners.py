"""Who owns which shard, as far as one gateway has heard.

Invariant: an epoch that was heard is never gone back on, whether it came as an announcement, from
the database, or on a command; whatever comes under a lower one is refused. Pure."""

from __future__ import annotations

from collections.abc import Mapping

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

    def accepts(self, shard: int, epoch: int) -> bool:
        """Whether a command under this epoch may be delivered. One under a higher epoch than was
        heard is news of that epoch."""
        if epoch < self._epochs[shard]:
            return False
        self._epochs[shard] = epoch
        return True
