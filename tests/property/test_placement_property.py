"""Placement for any hosts: the same everywhere, balanced, moving as little as it can, and always
coming to an end."""

from __future__ import annotations

import math
from collections import Counter

from hypothesis import given, settings
from hypothesis import strategies as st

from controlplane.ids import SHARDS
from controlplane.runtime.placement import Lease, Rate, claimable, next_moves, wanted

names = st.text("abcdefghijklmnopqrstuvwxyz0123456789-", min_size=1, max_size=12)
networks = st.sets(names, min_size=1, max_size=64)
DEVIATIONS_MAX = 6.5
"""Of a binomial; a host beyond it is a chance of one in ten thousand millions."""


@settings(max_examples=30, deadline=None)
@given(hosts=networks, data=st.data())
def test_every_shard_has_one_owner_whatever_the_order_of_the_hosts(
    hosts: set[str], data: st.DataObject
) -> None:
    parts = wanted(sorted(hosts))
    assert wanted(data.draw(st.permutations(sorted(hosts)))) == parts
    assert sorted(shard for part in parts.values() for shard in part) == list(range(SHARDS))


@settings(max_examples=30, deadline=None)
@given(hosts=networks)
def test_parts_are_about_equal(hosts: set[str]) -> None:
    mean = SHARDS / len(hosts)
    bound = DEVIATIONS_MAX * math.sqrt(mean * (1 - 1 / len(hosts)))
    assert all(abs(len(part) - mean) <= bound for part in wanted(hosts).values())


@settings(max_examples=30, deadline=None)
@given(hosts=networks, joining=names)
def test_only_shards_of_the_host_that_joins_or_leaves_move(hosts: set[str], joining: str) -> None:
    without, with_it = wanted(hosts - {joining}), wanted(hosts | {joining})
    for host, part in without.items():
        assert with_it[host] == part - with_it[joining]


rates = st.builds(Rate, claims=st.integers(1, 60), give_backs=st.integers(1, 20))
shard_sets = st.sets(st.integers(0, SHARDS - 1), min_size=1, max_size=60)


@settings(max_examples=60, deadline=None)
@given(
    hosts=st.sets(names, min_size=1, max_size=6),
    gone=st.sets(names, max_size=3),
    shards=shard_sets,
    rate=rates,
    data=st.data(),
)
def test_moves_of_all_hosts_end_with_every_shard_where_it_should_be(
    hosts: set[str], gone: set[str], shards: set[int], rate: Rate, data: st.DataObject
) -> None:
    """From any table: shards of live hosts, of hosts that are gone, under leases that run or ran
    out, of earlier incarnations, and free."""
    now_ms, lease_ms = 1_000_000, 10_000
    owners = [f"{host}/{n}" for host in sorted(hosts | gone) for n in (1, 2)]
    until_ms = st.sampled_from([0, now_ms - 1, now_ms, now_ms + lease_ms])
    table = {
        shard: Lease(data.draw(st.sampled_from(owners)), data.draw(until_ms)) for shard in shards
    }
    living = {f"{host}/2" for host in hosts}
    draining = sorted(gone - hosts)[:1]
    living |= {f"{host}/2" for host in draining}
    parts = wanted(hosts)
    claimed: Counter[int] = Counter()
    for _ in range(len(shards) + 20):
        now_ms += 1_000
        for me in sorted(living):
            table |= {
                shard: Lease(me, now_ms + lease_ms)
                for shard, lease in table.items()
                if lease.owner == me and lease.lease_until_ms >= now_ms
            }
            moves = next_moves(me, hosts, table, now_ms, rate)
            assert len(moves.claim) <= rate.claims
            for shard in moves.claim:
                assert claimable(table[shard], me, now_ms)
                table[shard] = Lease(me, now_ms + lease_ms)
                claimed[shard] += 1
            for shard in moves.give_back:
                assert table[shard].owner == me
                table[shard] = Lease(me, 0)
    for host, part in parts.items():
        for shard in part & shards:
            assert table[shard].owner == f"{host}/2"
            assert table[shard].lease_until_ms > now_ms
    assert max(claimed.values(), default=0) <= 1, "no shard moves twice"
