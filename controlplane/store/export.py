"""Columns for analysis: what happened in a span of time, as Parquet.

Rows are read and written in batches, so memory does not grow with what there is; all kinds come
from one snapshot. A file appears once it is whole. Instants are timestamps in UTC, under the name
of their column without `_ms`."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from contextlib import closing
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Connection,
    Float,
    Integer,
    Select,
    select,
)

from controlplane.errors import Precondition
from controlplane.store import schema
from controlplane.store.engine import connected, database_errors, open_snapshot_engine
from controlplane.store.samples import sample_days, sample_table

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["Exported", "export"]

_ROWS_PER_BATCH: Final = 20_000


class Exported(StrEnum):
    """The kinds that can be exported, and which instant of theirs counts."""

    SESSIONS = "sessions"
    """By their start."""
    SAMPLES = "samples"
    """By their receipt; a file for every day."""
    DECISIONS = "decisions"
    """By when the limit was given."""
    JOURNAL = "journal"
    """By when it happened."""


class _Part(NamedTuple):
    """What goes into one file."""

    kind: Exported
    file: Path
    columns: Sequence[Column[Any]]
    query: Select[Any]


def export(
    url: str, folder: Path, kinds: Sequence[Exported], *, from_ms: int, until_ms: int
) -> dict[Path, int]:
    """Write what happened from `from_ms` on and before `until_ms` to files in `folder`; returns the
    files and how many rows are in each.

    Raises:
        InvalidInput: no URL of a database.
        Precondition: a file is there already; those before it are whole.
        Unavailable: the database is away.
        OSError: a file cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    counted: dict[Path, int] = {}
    with closing(_batches(url, folder, kinds, from_ms, until_ms)) as parts:
        for part, batches in parts:
            counted[part.file] = _write(part, batches)
    return counted


def _batches(
    url: str, folder: Path, kinds: Sequence[Exported], from_ms: int, until_ms: int
) -> Generator[tuple[_Part, Iterator[Sequence[Any]]]]:
    engine = open_snapshot_engine(url)
    try:
        with connected(engine) as connection:
            for part in _parts(connection, folder, kinds, from_ms, until_ms):
                yield part, _rows(connection, part.query)
    finally:
        engine.dispose()


def _rows(connection: Connection, query: Select[Any]) -> Generator[Sequence[Any]]:
    with database_errors():
        streamed = connection.execution_options(stream_results=True).execute(query)
        yield from streamed.partitions(_ROWS_PER_BATCH)


def _parts(
    connection: Connection, folder: Path, kinds: Sequence[Exported], from_ms: int, until_ms: int
) -> Iterator[_Part]:
    for kind in kinds:
        match kind:
            case Exported.SESSIONS:
                columns, instant = list(schema.session.c), schema.session.c.started_ms
            case Exported.JOURNAL:
                columns, instant = list(schema.journal.c), schema.journal.c.at_ms
            case Exported.DECISIONS:
                columns, instant = list(schema.limit_decision.c), schema.limit_decision.c.at_ms
            case Exported.SAMPLES:
                for day in sample_days(connection, from_ms=from_ms, until_ms=until_ms):
                    table = sample_table(day)
                    name = table.name.replace("meter_sample_", f"{kind}-")
                    query = _within(list(table.c), table.c.received_ms, from_ms, until_ms)
                    yield _Part(kind, folder / f"{name}.parquet", list(table.c), query)
                continue
        query = _within(columns, instant, from_ms, until_ms)
        yield _Part(kind, folder / f"{kind}.parquet", columns, query)


def _within(
    columns: Sequence[Column[Any]], instant: Column[int], from_ms: int, until_ms: int
) -> Select[Any]:
    return select(*columns).where(instant >= from_ms, instant < until_ms)


def _write(part: _Part, batches: Iterator[Sequence[Any]]) -> int:
    import pyarrow as pa  # noqa: PLC0415 - takes long, and only this needs it
    from pyarrow import parquet  # noqa: PLC0415

    if part.file.exists():
        raise Precondition(f"{part.file} is there already", reason="FILE_EXISTS")
    types = [_type(column) for column in part.columns]
    names = [column.name.removesuffix("_ms") for column in part.columns]
    table = pa.schema(list(zip(names, types, strict=True)))
    partial = part.file.with_name(f"{part.file.name}.partial")
    counted = 0
    try:
        with parquet.ParquetWriter(partial, table, compression="zstd") as writer:
            for rows in batches:
                arrays = [
                    pa.array(values, of_type)
                    for values, of_type in zip(zip(*rows, strict=True), types, strict=True)
                ]
                writer.write_batch(pa.record_batch(arrays, schema=table))
                counted += len(rows)
        partial.replace(part.file)
    finally:
        partial.unlink(missing_ok=True)
    return counted


def _type(column: Column[Any]) -> pa.DataType:
    import pyarrow as pa  # noqa: PLC0415

    if column.name.endswith("_ms"):
        return pa.timestamp("ms", tz="UTC")
    match column.type:
        case Boolean():
            return pa.bool_()
        case BigInteger():
            return pa.int64()
        case Integer():
            return pa.int32()
        case Float():
            return pa.float64()
    # Text; the journal's data, which are bytes, are JSON.
    return pa.string()
