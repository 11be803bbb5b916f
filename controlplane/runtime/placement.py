"""Which host should own which shard, and what one host does next to come closer to that.

Rendezvous hashing: every host has a score for every shard, and the live, non-draining host with the
highest score should own it. Invariants: whoever knows the same hosts finds the same owners, in any
process on any machine; a host that joins takes shards, a host that leaves gives shards, and no
other shard moves; a shard under a live lease is never claimed by another host; where hosts agree on
who is there, their moves end with every shard owned by the host that should own it, and none moves
twice on the way.

Pure: it decides on rows of `shard_owner` and the database's clock that came with them. That a
decision was made on old rows is harmless, because claiming is one statement that looks again.

Source: Thaler and Ravishankar, Using name-based mappings to increase hit rates, 1998."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Collection, Mapping
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from controlplane.ids import SHARDS

__all__ = ["Lease", "Moves", "Rate", "claimable", "host_of", "next_moves", "wanted"]

_SCORE_BYTES = 8
_HOSTS_KEPT = 1_024
_VIEWS_KEPT = 64
"""Membership changes seldom: nearly every turn asks for the hosts of the turn before."""


class Lease(NamedTuple):
    """What `shard_owner` says of a shard."""

    owner: str
    """`host/incarnation`; empty before anybody owned it."""
    lease_until_ms: int
    """On the database's clock; 0 where it was given back."""


class Rate(NamedTuple):
    """How much one turn may change. Both at least 1, so that every turn brings the end nearer."""

    claims: int
    """Shards claimed in one turn: after a mass failure every claim brings actors to load."""
    give_backs: int
    """Shards that may be on their way to one host, from all others, at a time; nobody serves
    them meanwhile."""


class Moves(NamedTuple):
    """What a host should do now: shards, in ascending order."""

    claim: tuple[int, ...]
    give_back: tuple[int, ...]


def host_of(owner: str) -> str:
    """The lasting name in `host/incarnation`."""
    return owner.partition("/")[0]


def claimable(lease: Lease, me: str, now_ms: int) -> bool:
    """Whether `me`, a `host/incarnation`, may claim: the shard is free, its lease is over, or it
    belongs to an earlier incarnation of the same host, which has ended or is about to be ended."""
    if lease.lease_until_ms < now_ms:
        return True
    return lease.owner != me and host_of(lease.owner) == host_of(me)


def wanted(
    hosts: Collection[str], shards: Collection[int] | None = None
) -> dict[str, frozenset[int]]:
    """The shards that each of `hosts` should own, of `shards` (of all unless given). A host's part
    is binomial: of n shards over h hosts n/h, plus or minus a few times the root of n/h.

    Args:
        hosts: lasting names of the live, non-draining hosts.
        shards: 0 to SHARDS - 1.
    """
    names = tuple(sorted(set(hosts)))
    parts: dict[str, list[int]] = {name: [] for name in names}
    if names:
        owners = _owners(names)
        for shard in range(SHARDS) if shards is None else shards:
            parts[owners[shard]].append(shard)
    return {name: frozenset(part) for name, part in parts.items()}


def next_moves(
    me: str,
    hosts: Collection[str],
    table: Mapping[int, Lease],
    now_ms: int,
    rate: Rate,
    *,
    giving: Collection[int] = (),
) -> Moves:
    """What the host `me` should do now.

    A host claims what is claimable and wanted of it. It gives back what another live host should
    own, but to none that has as many shards to claim already as may be on their way to it: a host
    that does not pick up what is free gets nothing more, and after a failure what nobody serves
    goes first.

    Args:
        me: `host/incarnation`. Not among `hosts` while it drains: it gives everything back then.
        hosts: lasting names of the live, non-draining hosts, with those that have no shard yet.
        table: rows of `shard_owner`. A shard without a row does not move; rows that are neither
            claimable by anybody nor owned by `me` may be left out.
        now_ms: the database's clock when `table` was read.
        rate: bounds of this turn.
        giving: shards that `me` is handing over at the moment.
    """
    names = tuple(sorted(set(hosts)))
    if not names:
        return Moves((), ())
    owners = _owners(names)
    my_name = host_of(me)
    under_way = Counter(owners[shard] for shard in giving)
    claim: list[int] = []
    ready: list[tuple[int, str]] = []
    for shard in sorted(table):
        lease, target = table[shard], owners[shard]
        if lease.lease_until_ms < now_ms:
            under_way[target] += 1
        if target == my_name:
            if claimable(lease, me, now_ms):
                claim.append(shard)
        elif lease.owner == me and lease.lease_until_ms >= now_ms and shard not in giving:
            ready.append((shard, target))
    # What nobody has served for longest comes first.
    claim = sorted(claim, key=lambda shard: table[shard].lease_until_ms)[: rate.claims]
    give_back: list[int] = []
    for shard, target in ready:
        if under_way[target] < rate.give_backs:
            under_way[target] += 1
            give_back.append(shard)
    return Moves(tuple(sorted(claim)), tuple(give_back))


@lru_cache(maxsize=_VIEWS_KEPT)
def _owners(names: tuple[str, ...]) -> list[str]:
    """The owner of each shard. Equal scores (of 64 bits) go to the name that sorts first."""
    best = np.argmax(np.stack([_scores(name) for name in names]), axis=0)
    return [names[place] for place in best.tolist()]


@lru_cache(maxsize=_HOSTS_KEPT)
def _scores(name: str) -> NDArray[np.uint64]:
    """The scores of a host, shape (SHARDS,): the first bytes of an endless hash of its name."""
    stream = hashlib.shake_128(name.encode()).digest(SHARDS * _SCORE_BYTES)
    return np.frombuffer(stream, dtype="<u8").astype(np.uint64)
