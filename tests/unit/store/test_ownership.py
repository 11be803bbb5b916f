"""Leases and epochs, on a clock that the test turns."""

from __future__ import annotations

import threading

import pytest
from sqlalchemy import Engine, text

from controlplane.errors import Fenced, Unavailable
from controlplane.ids import SHARDS
from controlplane.runtime.members import ClusterReading, forget_member
from controlplane.runtime.ownership import Ownership
from controlplane.store.commit import StoreWriter
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


def test_a_dead_host_is_forgotten_and_its_shards_are_free_at_once(engine: Engine) -> None:
    clock = Boottime()
    owner(engine, "a", "1", clock).claim({1, 2})
    owner(engine, "ab", "1", clock).claim({3})
    with engine.begin() as connection:
        forget_member(connection, "a", "1")
        assert {each.name for each in ClusterReading.read(connection).hosts()} == {"ab"}
    assert owner(engine, "b", "1", clock).claim({1, 2, 3}) == {1: 2, 2: 2}


def test_a_dead_host_that_is_forgotten_late_takes_nothing_from_its_successor(
    engine: Engine,
) -> None:
    clock = Boottime()
    owner(engine, "a", "1", clock).claim({1, 2})
    successor = owner(engine, "a", "2", clock)
    successor.claim({1})
    with engine.begin() as connection:
        forget_member(connection, "a", "1")
        assert {each.name for each in ClusterReading.read(connection).hosts()} == {"a"}
    assert owner(engine, "b", "1", clock).claim({1, 2}) == {2: 2}
    assert successor.renew() == {1: 2}


def test_a_server_lets_go_of_what_a_writer_locks_who_is_silent(engine: Engine) -> None:
    """Within some seconds, between two statements as well as in the middle of one."""
    if engine.dialect.name == "sqlite":
        pytest.skip("there is no server")
    with engine.connect() as connection:
        told = {
            name: connection.execute(text(f"SHOW {name}")).scalar_one()
            for name in (
                "idle_in_transaction_session_timeout",
                "tcp_keepalives_idle",
                "tcp_keepalives_interval",
                "tcp_keepalives_count",
                "tcp_user_timeout",
            )
        }
    # Over TCP; a Unix socket has none of the last four.
    assert list(told.values()) == ["5s", "2", "1", "3", "5000"]


def test_released_shards_are_free_at_once(engine: Engine) -> None:
    clock = Boottime()
    held = owner(engine, "a", "1", clock)
    held.claim({1})
    held.release()
    assert not held.valid
    assert owner(engine, "b", "1", clock).claim({1}) == {1: 2}


def test_what_is_given_back_is_free_at_once_and_stays_free(engine: Engine) -> None:
    clock = Boottime()
    held = owner(engine, "a", "1", clock)
    held.claim({1, 2})
    held.give_back({1})
    assert held.epochs == {2: 1}
    assert held.renew() == {2: 1}
    assert owner(engine, "b", "1", clock).claim({1, 2}) == {1: 2}
    assert held.renew() == {2: 1}
    assert held.valid


def test_what_another_gave_back_is_claimed_beside_what_is_held(engine: Engine) -> None:
    clock = Boottime()
    held, other = owner(engine, "a", "1", clock), owner(engine, "b", "1", clock)
    held.claim({1})
    other.claim({2})
    other.give_back({2})
    clock.now_s += 6.0
    assert held.claim({1, 2}) == {1: 1, 2: 2}
    clock.now_s += 6.0
    assert held.valid, "a claim extends everything"


def test_a_claim_whose_answer_was_lost_shows_in_the_next_renewal(engine: Engine) -> None:
    clock = Boottime()
    held = owner(engine, "a", "1", clock)
    held.claim({1})
    with engine.begin() as connection:
        connection.execute(
            text(
                "UPDATE shard_owner SET owner = 'a/1', epoch = epoch + 1,"
                " lease_until_ms = 9000000000000 WHERE shard = 2"
            )
        )
    assert held.renew() == {1: 1, 2: 1}


def test_a_transaction_that_the_old_owner_left_open_keeps_nobody_from_renewing(
    engine: Engine, database_url: str
) -> None:
    if engine.dialect.name == "sqlite":
        pytest.skip("SQLite has one writer at a time")
    clock = Boottime()
    held = owner(engine, "b", "1", clock)
    held.claim({3})
    with open_engine(database_url, writer=True).begin() as left_open:
        left_open.execute(text("SELECT epoch FROM shard_owner WHERE shard = 1 FOR SHARE"))
        assert held.claim({1, 2}) == {2: 1, 3: 1}
    assert held.claim({1, 2}) == {1: 1, 2: 1, 3: 1}


def test_a_commit_in_doubt_is_waited_for_before_anything_is_read(
    engine: Engine, database_url: str
) -> None:
    if engine.dialect.name == "sqlite":
        pytest.skip("SQLite has one writer at a time")
    clock = Boottime()
    owner(engine, "a", "1", clock).claim({1, 2})
    with open_engine(database_url, writer=True).begin() as in_doubt:
        in_doubt.execute(text("SELECT epoch FROM shard_owner WHERE shard = 1 FOR SHARE"))
        impatient = open_engine(f"{database_url}?options=-clock_timeout%3D50", writer=True)
        with pytest.raises(Unavailable):
            StoreWriter(impatient).settle({1, 2})
        StoreWriter(impatient).settle({2})
    StoreWriter(impatient).settle({1, 2})


def test_the_watchdog_speaks_up_once_the_time_is_over(engine: Engine) -> None:
    clock = Boottime()
    held = owner(engine, "a", "1", clock)
    held.claim({1})
    lapsed = threading.Event()
    held.watch(lapsed.set)
    assert not lapsed.is_set()
    clock.now_s += 8.0
    assert lapsed.wait(10.0)
