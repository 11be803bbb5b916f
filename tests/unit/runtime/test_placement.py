"""Which host should own which shard, and what a host does next."""

from __future__ import annotations

import hashlib

import pytest

from controlplane.ids import SHARDS
from controlplane.runtime.placement import Lease, Moves, Rate, claimable, next_moves, wanted

NOW_MS = 1_000_000
HELD_MS = NOW_MS + 5_000
RATE = Rate(claims=SHARDS, give_backs=SHARDS)
HOSTS = ["a", "b", "c"]
PARTS = wanted(HOSTS)


def _table(**owners: frozenset[int]) -> dict[int, Lease]:
    return {
        shard: Lease(f"{host}/1", HELD_MS) for host, shards in owners.items() for shard in shards
    }


def test_owners_are_those_of_every_earlier_release() -> None:
    # Two releases run side by side while hosts are replaced: they must agree.
    owner_of = {shard: host for host, shards in PARTS.items() for shard in shards}
    everything = "".join(owner_of[shard] for shard in range(SHARDS))
    assert everything.startswith("abcabcacabcbacbc")
    assert hashlib.sha256(everything.encode()).hexdigest()[:16] == "d1d22d3e008bcfbf"


def test_a_part_of_the_shards_is_shared_as_they_all_are() -> None:
    some = range(100, 900, 7)
    assert wanted(HOSTS, some) == {host: PARTS[host] & set(some) for host in HOSTS}


def test_without_hosts_nothing_moves() -> None:
    assert wanted([]) == {}
    assert next_moves("a/1", [], {0: Lease("", 0)}, NOW_MS, RATE) == Moves((), ())


def test_one_host_alone_claims_everything() -> None:
    table = {shard: Lease("", 0) for shard in range(SHARDS)}
    moves = next_moves("a/1", ["a"], table, NOW_MS, RATE)
    assert moves == Moves(tuple(range(SHARDS)), ())


@pytest.mark.parametrize(
    ("lease", "free"),
    [
        (Lease("", 0), True),
        (Lease("b/1", NOW_MS - 1), True),
        (Lease("b/1", NOW_MS), False),
        (Lease("b/1", HELD_MS), False),
        (Lease("a/1", HELD_MS), True),
        (Lease("a/2", HELD_MS), False),
        (Lease("ab/1", HELD_MS), False),
    ],
)
def test_what_is_free_expired_or_of_an_earlier_incarnation_may_be_claimed(
    lease: Lease, free: bool
) -> None:
    assert claimable(lease, "a/2", NOW_MS) is free
    shard = min(PARTS["a"])
    assert next_moves("a/2", HOSTS, {shard: lease}, NOW_MS, RATE).claim == (shard,) * free


def test_what_another_host_should_own_is_not_claimed_and_is_given_back() -> None:
    table = _table(a=PARTS["a"] | PARTS["b"], c=PARTS["c"])
    assert next_moves("a/1", HOSTS, table, NOW_MS, RATE) == Moves((), tuple(sorted(PARTS["b"])))
    assert next_moves("b/1", HOSTS, table, NOW_MS, RATE) == Moves((), ())


def test_claims_keep_to_the_rate_and_begin_with_what_waits_longest() -> None:
    shards = sorted(PARTS["a"])
    table = {shard: Lease("b/1", NOW_MS - 1 - place) for place, shard in enumerate(shards)}
    moves = next_moves("a/1", HOSTS, table, NOW_MS, Rate(claims=3, give_backs=1))
    assert moves.claim == tuple(shards[-3:])


def test_a_draining_host_gives_everything_back_a_few_at_a_time() -> None:
    table = _table(a=PARTS["a"])
    moves = next_moves("a/1", ["b", "c"], table, NOW_MS, Rate(claims=9, give_backs=4))
    assert not moves.claim
    assert len(moves.give_back) == 8
    parts = wanted(["b", "c"])
    assert len(parts["b"].intersection(moves.give_back)) == 4


def test_what_is_being_handed_over_counts_and_is_not_chosen_again() -> None:
    table = _table(a=PARTS["b"])
    rate = Rate(claims=9, give_backs=4)
    first = next_moves("a/1", HOSTS, table, NOW_MS, rate).give_back
    assert len(first) == 4
    assert not next_moves("a/1", HOSTS, table, NOW_MS, rate, giving=first).give_back
    assert next_moves("a/1", HOSTS, table, NOW_MS, rate, giving=first[1:]).give_back == first[:1]


def test_a_host_that_has_enough_to_claim_is_given_nothing_more() -> None:
    free, *held = sorted(PARTS["b"])
    table = _table(a=frozenset(held)) | {free: Lease("c/1", 0)}
    assert not next_moves("a/1", HOSTS, table, NOW_MS, Rate(1, 1)).give_back
    assert len(next_moves("a/1", HOSTS, table, NOW_MS, Rate(1, 2)).give_back) == 1


def test_a_shard_without_a_row_does_not_move() -> None:
    assert next_moves("a/1", HOSTS, {}, NOW_MS, RATE) == Moves((), ())
