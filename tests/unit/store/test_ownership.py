"""Leases and epochs, on a clock that the test turns."""

from __future__ import annotations

import threading

import pytest
from sqlalchemy import Engine, text

from controlplane.errors import Fenced
from controlplane.ids import SHARDS
from controlplane.runtime.ownership import Ownership
from controlplane.store.engine import open_engine


class Boottime:
    now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def engine(database_url: str) -> Engine:
    return open_engine(database_url, writer=True)


def owner(engine: Engine, host: str, incarnation: str, clock: Boottime) -> Ownership:
    return Ownership(engine, host=host, incarnation=incarnation, lease_s=10.0, boottime_s=clock)


def test_a_claim_takes_every_free_shard_under_a_new_epoch(engine: Engine) -> None:
    first = owner(engine, "a", "1", Boottime())
    assert not first.valid
    assert first.claim() == dict.fromkeys(range(SHARDS), 1)
    assert first.valid


def test_shards_with_a_living_owner_are_not_claimed(engine: Engine) -> None:
    clock = Boottime()
    owner(engine, "a", "1", clock).claim({1, 2, 3})
    other = owner(engine, "ab", "1", clock)
    assert set(other.claim({1, 2, 3, 4})) == {4}


def test_an_expired_lease_is_claimed_by_others_and_fences_the_old_owner(engine: Engine) -> None:
    clock = Boottime()
    old = owner(engine, "a", "1", clock)
    old.claim({1, 2})
    with engine.begin() as connection:
        connection.execute(text("UPDATE shard_owner SET lease_until_ms = 1 WHERE shard = 1"))
    assert owner(engine, "b", "1", clock).claim({1, 2}) == {1: 2}
    with pytest.raises(Fenced):
        old.renew()


def test_a_new_incarnation_takes_over_at_once(engine: Engine) -> None:
    clock = Boottime()
    old = owner(engine, "a", "1", clock)
    old.claim()
    assert owner(engine, "a", "2", clock).claim() == dict.fromkeys(range(SHARDS), 2)
    with pytest.raises(Fenced):
        old.renew()


def test_the_owner_stops_before_others_may_claim(engine: Engine) -> None:
    clock = Boottime()
    held = owner(engine, "a", "1", clock)
    held.claim({1})
    clock.now_s += 6.9
    assert held.valid
    held.renew()
    clock.now_s += 6.9
    assert held.valid
    clock.now_s += 0.2
    assert not held.valid
    with pytest.raises(Fenced):
        held.renew()


def test_released_shards_are_free_at_once(engine: Engine) -> None:
    clock = Boottime()
    held = owner(engine, "a", "1", clock)
    held.claim({1})
    held.release()
    assert not held.valid
    assert owner(engine, "b", "1", clock).claim({1}) == {1: 2}


def test_the_watchdog_speaks_up_once_the_time_is_over(engine: Engine) -> None:
    clock = Boottime()
    held = owner(engine, "a", "1", clock)
    held.claim({1})
    lapsed = threading.Event()
    held.watch(lapsed.set)
    assert not lapsed.is_set()
    clock.now_s += 8.0
    assert lapsed.wait(10.0)
