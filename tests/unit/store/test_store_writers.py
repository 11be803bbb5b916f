"""Several writers at once: the journal's order, and who may write what."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager

import pytest
from sqlalchemy import Engine
from test_store_samples import NOON, days, sample

from controlplane.errors import Fenced
from controlplane.ids import ActorKind, ActorRef, SessionId
from controlplane.runtime.ownership import Ownership
from controlplane.store.commit import CommitBatch, JournalLine, StoreWriter
from controlplane.store.engine import open_engine
from controlplane.store.reader import StoreReader
from controlplane.store.samples import DAY_MS

SITE = ActorRef(ActorKind.SITE, "S1")
WRITERS = 4
COMMITS = 30


def lines(writer: int, number: int) -> list[JournalLine]:
    """One to three lines that tell who wrote them, and when."""
    return [
        JournalLine(NOON, "test.happened", SITE, {"writer": writer, "n": number, "part": part})
        for part in range(number % 3 + 1)
    ]


async def test_a_reader_by_cursor_skips_nothing_while_many_write(
    database_url: str, reader: StoreReader
) -> None:
    first_cursors: list[int] = []

    def write(number: int) -> None:
        writer = StoreWriter(open_engine(database_url, writer=True))
        for commit in range(COMMITS):
            # They meet new days at once as well.
            day_ms = NOON + commit // 10 * DAY_MS
            batch = CommitBatch(
                epochs={number: 0},
                records=[sample(f"s{number}", day_ms)],
                events=lines(number, commit),
            )
            first_cursors.append(writer.commit(batch))
        writer.close()

    with ThreadPoolExecutor(WRITERS) as threads:
        loop = asyncio.get_running_loop()
        writing = [loop.run_in_executor(threads, write, number) for number in range(WRITERS)]
        seen = []
        cursor = 0
        while True:
            done = all(task.done() for task in writing)
            found = await reader.journal(cursor, 7)
            seen += found
            cursor = found[-1].cursor if found else cursor
            if done and not found:
                break
        await asyncio.gather(*writing)
    expected = sum(len(lines(0, commit)) for commit in range(COMMITS))
    assert [event.cursor for event in seen] == list(range(1, WRITERS * expected + 1))
    for number in range(WRITERS):
        own = [(e.data["n"], e.data["part"]) for e in seen if e.data["writer"] == number]
        # In the order in which its writer committed them, and each commit in one piece.
        assert own == [(n, line.data["part"]) for n in range(COMMITS) for line in lines(0, n)]
    assert {event.cursor for event in seen if event.data["part"] == 0} == set(first_cursors)
    assert len(days(database_url)) == COMMITS // 10
    for number in range(WRITERS):
        found_samples = await reader.meter_samples(SessionId(f"s{number}"))
        assert len(found_samples) == COMMITS


@contextmanager
def a_commit_that_hangs(writer: StoreWriter, batch: CommitBatch) -> Iterator[threading.Event]:
    """A commit between the check of its epochs and its end, until the event is set."""
    checked, go_on = threading.Event(), threading.Event()
    check = writer._check_epochs

    def checked_then_wait(connection: object, epochs: dict[int, int]) -> None:
        check(connection, epochs)  # type: ignore[arg-type]
        checked.set()
        assert go_on.wait(20)

    writer._check_epochs = checked_then_wait  # type: ignore[method-assign]
    with ThreadPoolExecutor(1) as thread:
        committing = thread.submit(writer.commit, batch)
        assert checked.wait(20)
        yield go_on
        go_on.set()
        committing.result(20)


def expire(engine: Engine, shard: int) -> None:
    with engine.begin() as connection:
        connection.exec_driver_sql(f"UPDATE shard_owner SET lease_until_ms = 1 WHERE shard={shard}")


async def test_a_claim_takes_no_shard_from_a_commit_that_was_let_in(
    database_url: str, reader: StoreReader
) -> None:
    engine = open_engine(database_url, writer=True)
    old = Ownership(engine, host="a", incarnation="1", lease_s=10.0)
    old.claim({1, 2})
    expire(engine, 1)
    writer = StoreWriter(open_engine(database_url, writer=True))
    other_engine = open_engine(database_url, writer=True)
    other = Ownership(other_engine, host="b", incarnation="1", lease_s=10.0)
    batch = CommitBatch(epochs={1: 1}, records=[sample("s1", NOON)])
    with a_commit_that_hangs(writer, batch) as go_on, ThreadPoolExecutor(1) as thread:
        claiming = thread.submit(other.claim, {1})
        # PostgreSQL leaves a shard that is being written to the next claim; SQLite waits.
        waits = not wait([claiming], 0.2).done
        assert waits or claiming.result() == {}
        go_on.set()
        assert claiming.result(20) == ({1: 2} if waits else {})
    assert other.claim({1}) == {1: 2}
    # What the old owner wrote before the claim is there; what it writes after it is refused.
    assert len(await reader.meter_samples(SessionId("s1"))) == 1
    writer._check_epochs = StoreWriter._check_epochs.__get__(writer)  # type: ignore[method-assign]
    with pytest.raises(Fenced):
        writer.commit(batch)
    for each in (engine, other_engine):
        each.dispose()
    writer.close()


def test_on_postgresql_owners_of_different_shards_do_not_wait_for_each_other(
    postgresql_url: str,
) -> None:
    first = StoreWriter(open_engine(postgresql_url, writer=True))
    second = StoreWriter(open_engine(postgresql_url, writer=True))
    records = [sample("s1", NOON)]
    second.commit(CommitBatch(records=list(records)))
    with a_commit_that_hangs(first, CommitBatch(epochs={1: 0}, records=list(records))):
        # Of the same shard as well: sharing its row is what a commit asks for, a claim is not.
        for shard in (2, 1):
            second.commit(CommitBatch(epochs={shard: 0}, records=list(records)))
    first.close()
    second.close()
