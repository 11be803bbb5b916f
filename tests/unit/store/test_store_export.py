"""Parquet files hold the rows of a span of time, with types that others understand."""

from __future__ import annotations

import datetime
from pathlib import Path

import pyarrow as pa
import pytest
from pyarrow import parquet
from test_store_backup import ROWS
from test_store_samples import NOON, sample

from controlplane.errors import Precondition
from controlplane.ids import ActorKind, ActorRef
from controlplane.store.commit import CommitBatch, JournalLine, StoreWriter
from controlplane.store.export import Exported, export
from controlplane.store.samples import DAY_MS

SITE = ActorRef(ActorKind.SITE, "S1")


def test_a_span_of_time_is_written_file_by_file(
    database_url: str, writer: StoreWriter, tmp_path: Path
) -> None:
    writer.commit(ROWS)
    folder = tmp_path / "out"
    # From the second to the third of four samples, which are half a day apart.
    written = export(
        database_url,
        folder,
        list(Exported),
        from_ms=NOON + DAY_MS // 2,
        until_ms=NOON + 3 * DAY_MS // 2,
    )
    assert {file.name: count for file, count in written.items()} == {
        "sessions.parquet": 0,
        "samples-20241005.parquet": 2,
        "decisions.parquet": 0,
        "journal.parquet": 0,
    }
    found = parquet.read_table(folder / "samples-20241005.parquet")
    assert found.schema.field("received").type == pa.timestamp("ms", tz="UTC")
    assert found.column("energy_wh").to_pylist() == [1, 2]
    assert found.column("received").to_pylist()[0] == datetime.datetime(
        2024, 10, 5, tzinfo=datetime.UTC
    )
    assert found.column("session_id").to_pylist() == ["s1", "s1"]


def test_every_row_of_many_batches_is_written(
    database_url: str, writer: StoreWriter, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("controlplane.store.export._ROWS_PER_BATCH", 7)
    lines = [JournalLine(at_ms, "test.happened", SITE, {"n": at_ms}) for at_ms in range(50)]
    samples = [sample("s1", NOON + number, number) for number in range(50)]
    writer.commit(CommitBatch(records=list(samples), events=lines))
    export(database_url, tmp_path, list(Exported), from_ms=0, until_ms=NOON + 40)
    samples_read = parquet.read_table(tmp_path / "samples-20241004.parquet")
    assert sorted(samples_read.column("energy_wh").to_pylist()) == list(range(40))
    journal = parquet.read_table(tmp_path / "journal.parquet")
    assert journal.column("cursor").to_pylist() == list(range(1, 51))
    assert journal.column("data").to_pylist()[3] == '{"n":3}'


def test_a_file_that_is_there_is_not_written_over(
    database_url: str, writer: StoreWriter, tmp_path: Path
) -> None:
    writer.commit(ROWS)
    kept = tmp_path / "journal.parquet"
    kept.write_text("mine")
    with pytest.raises(Precondition):
        export(database_url, tmp_path, [Exported.JOURNAL], from_ms=0, until_ms=NOON)
    assert kept.read_text() == "mine"
    assert list(tmp_path.glob("*.partial")) == []
