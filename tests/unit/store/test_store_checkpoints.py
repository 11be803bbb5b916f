"""SQLite's log is brought back beside the commits, and begins anew."""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import text

from controlplane.ids import ActorKind, ActorRef
from controlplane.store.checkpoints import Checkpoints, checkpoint
from controlplane.store.commit import CommitBatch, StoreWriter
from controlplane.store.engine import migrate, open_engine
from controlplane.store.records import ActorSnapshot


def filled(writer: StoreWriter, commits: int) -> None:
    for number in range(commits):
        ref = ActorRef(ActorKind.SITE, f"site-{number}")
        writer.commit(CommitBatch(records=[ActorSnapshot(ref, b"x" * 20_000)]))


def test_a_log_that_was_brought_back_is_written_from_its_beginning(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/loadstar.db"
    migrate(url)
    writer = StoreWriter(open_engine(url, writer=True))
    beside = open_engine(url, writer=False)
    try:
        for _ in range(4):
            filled(writer, 50)
            assert checkpoint(beside)
        assert (tmp_path / "loadstar.db-wal").stat().st_size < 2 * 50 * 25_000
        with beside.connect() as connection:
            assert connection.execute(text("SELECT count(*) FROM actor_snapshot")).scalar() == 50
    finally:
        writer.close()
        beside.dispose()


def test_what_brings_the_log_back_ends_when_it_is_told(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/loadstar.db"
    migrate(url)
    checkpoints = Checkpoints(url)
    checkpoints.close()
    assert not (tmp_path / "loadstar.db-wal").exists()
