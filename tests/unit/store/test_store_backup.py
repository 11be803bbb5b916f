"""Back-ups hold everything, are refused when they are not whole, and fit both kinds of database."""

from __future__ import annotations

from pathlib import Path

import pytest
from sqlalchemy import MetaData, inspect, select
from test_store_samples import CP1, NOON, sample, session

from controlplane.errors import InvalidInput, Precondition
from controlplane.ids import SHARDS, ActorKind, ActorRef, SessionId, SiteId
from controlplane.runtime.ownership import Ownership
from controlplane.store import schema
from controlplane.store.backup import back_up, restore, verify
from controlplane.store.commit import CommitBatch, JournalLine, RequestResult, StoreWriter
from controlplane.store.engine import connected, open_engine
from controlplane.store.reader import StoreReader
from controlplane.store.records import (
    ActorSnapshot,
    CampaignRecord,
    ChargerRecord,
    LimitDecision,
    MeterSample,
    QuarantineRecord,
)
from controlplane.store.samples import DAY_MS

SITE = ActorRef(ActorKind.SITE, "S1")
ROWS = CommitBatch(
    records=[
        *(sample("s1", NOON + number * DAY_MS // 2, number) for number in range(4)),
        session("s1", NOON, NOON + 9),
        ActorSnapshot(SITE, bytes(range(256))),
        ChargerRecord(CP1, SiteId("S1"), "hash", 3),
        CampaignRecord("c1", "1.0", "running", True, 4),
        LimitDecision(CP1, 1, SessionId("s1"), 5, 16_000, None, "room, ½ of it"),
        QuarantineRecord(CP1, 4, "WHY", "MeterValues", {"a": [1]}),
    ],
    events=[JournalLine(number, "test.happened", SITE, {"n": number}) for number in range(5)],
    results=[RequestResult("r1", SITE, b"print", b"answer", 1_000)],
)


def received(sample: MeterSample) -> int:
    return sample.received_ms


def rows(url: str) -> dict[str, list[tuple[object, ...]]]:
    """Everything that a database holds, but for what a restore changes on purpose and for who was
    there (`member`)."""
    engine = open_engine(url, writer=False)
    found = MetaData()
    with connected(engine) as connection:
        found.reflect(connection)
        held = {
            # Samples are numbered anew, in the same order.
            name: sorted(
                tuple(row)[name.startswith("meter_sample") :]
                for row in connection.execute(select(table))
            )
            for name, table in found.tables.items()
            if name not in ("meter_sample", "shard_owner", "journal_head", "member")
        }
    engine.dispose()
    return held


def filled(url: str) -> str:
    engine = open_engine(url, writer=True)
    writer = StoreWriter(engine)
    writer.commit(ROWS)
    Ownership(engine, host="a", incarnation="1", lease_s=10.0).claim()
    writer.close()
    return url


@pytest.fixture
def filled_url(sqlite_url: str) -> str:
    return filled(sqlite_url)


async def test_everything_comes_back_on_either_kind_of_database(
    database_url: str, empty_database_url: str, tmp_path: Path
) -> None:
    file = tmp_path / "loadstar.backup"
    filled_url = filled(database_url)
    written = back_up(filled_url, file)
    assert written.tables["journal"] == 5
    assert verify(file) == written
    assert file.stat().st_mode & 0o077 == 0
    restore(file, empty_database_url)
    assert rows(empty_database_url) == rows(filled_url)
    # What is numbered goes on behind what was restored.
    writer = StoreWriter(open_engine(empty_database_url, writer=True))
    writer.commit(CommitBatch(records=list(ROWS.records)))
    writer.close()
    reader = StoreReader(empty_database_url)
    samples = [record for record in ROWS.records if isinstance(record, MeterSample)]
    latest = await reader.latest_samples([SessionId("s1")], 8)
    assert sorted(latest[SessionId("s1")], key=received) == sorted(samples * 2, key=received)
    reader.close()


async def test_epochs_and_cursors_begin_above_all_that_were_given_out(
    filled_url: str, empty_database_url: str, tmp_path: Path
) -> None:
    file = tmp_path / "loadstar.backup"
    back_up(filled_url, file)
    # After the back-up the network goes on, and others take shards over again and again.
    engine = open_engine(filled_url, writer=True)
    for incarnation in range(2, 9):
        old = Ownership(engine, host="a", incarnation=str(incarnation), lease_s=10.0)
        old.claim()
    writer = StoreWriter(engine)
    seen = writer.commit(CommitBatch(events=ROWS.events))
    writer.close()
    restore(file, empty_database_url)
    engine = open_engine(empty_database_url, writer=True)
    new = Ownership(engine, host="b", incarnation="1", lease_s=10.0).claim()
    assert len(new) == SHARDS
    assert min(new.values()) > max(old.epochs.values())
    writer = StoreWriter(engine)
    assert writer.commit(CommitBatch(events=ROWS.events[:1])) > seen
    writer.close()
    reader = StoreReader(empty_database_url)
    assert len(await reader.journal(seen)) == 1
    assert len(await reader.journal(0)) == 6
    reader.close()


def test_a_file_that_is_not_as_it_was_written_is_refused(filled_url: str, tmp_path: Path) -> None:
    file = tmp_path / "loadstar.backup"
    back_up(filled_url, file)
    whole = file.read_bytes()
    target = tmp_path / "new.db"
    for number, spoilt in enumerate(
        (b"", whole[:-1], whole[:40], whole + b"x", b"x" + whole[1:], whole[:200] + whole[201:])
    ):
        file.write_bytes(spoilt)
        with pytest.raises(InvalidInput):
            restore(file, f"sqlite:///{target}")
        assert not target.exists(), number


def test_nothing_is_restored_over_what_is_there(filled_url: str, tmp_path: Path) -> None:
    file = tmp_path / "loadstar.backup"
    back_up(filled_url, file)
    before = rows(filled_url)
    with pytest.raises(Precondition):
        restore(file, filled_url)
    assert rows(filled_url) == before


def test_a_database_without_tables_is_not_backed_up(
    empty_database_url: str, tmp_path: Path
) -> None:
    file = tmp_path / "loadstar.backup"
    with pytest.raises(Precondition):
        back_up(empty_database_url, file)
    assert list(tmp_path.glob("*.backup*")) == []


def test_a_restore_that_fails_leaves_nothing(
    filled_url: str, empty_database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "loadstar.backup"
    back_up(filled_url, file)
    monkeypatch.setattr(schema.shard_owner, "name", "gone")
    with pytest.raises(Exception, match="gone"):
        restore(file, empty_database_url)
    monkeypatch.undo()
    engine = open_engine(empty_database_url, writer=False)
    with connected(engine) as connection:
        assert inspect(connection).get_table_names() == []
    engine.dispose()
    restore(file, empty_database_url)
