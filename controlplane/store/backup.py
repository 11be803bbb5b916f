"""Back-ups: everything that a database holds, in one file, and back again.

The file is written from one snapshot while Loadstar runs, needs no tools of the database, and fits
both kinds: what was written from SQLite can be restored to PostgreSQL.

Invariants: a file that is not whole, or not what was written, is refused before anything is
touched; a restore happens wholly or not at all, and only into a database without tables; after it,
epochs and cursors are higher than any that were ever given out, so that nothing that still runs on
the old database is obeyed and no reader of the journal takes a new line for an old one.

The file: a magic word, frames (length as 4 bytes, big-endian; zlib; msgpack), SHA-256 of it all."""

from __future__ import annotations

import hashlib
import os
import time
import zlib
from collections.abc import Generator, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, Final

import msgspec
from sqlalchemy import (
    BigInteger,
    Connection,
    MetaData,
    Select,
    Table,
    TableClause,
    column,
    delete,
    func,
    insert,
    inspect,
    select,
    table,
    update,
)

import controlplane
from controlplane.errors import InvalidInput, Precondition
from controlplane.store import schema
from controlplane.store.engine import (
    connected,
    known_revision,
    open_engine,
    open_snapshot_engine,
    upgrade,
)
from controlplane.store.samples import make_day

__all__ = ["Backup", "back_up", "restore", "verify"]

_MAGIC: Final = b"loadstar backup 1\n"
_HASH_BYTES: Final = 32
_FRAME_MAX_BYTES: Final = 1 << 30
_READ_BYTES: Final = 1 << 20
_ROWS_PER_FRAME: Final = 2_000
_REVISION_TABLE: Final = "alembic_version"
_NOT_KEPT: Final = frozenset({_REVISION_TABLE, "member"})
"""Who is there (`member`) is not what was; the revision stands in the header."""
_PARTITIONED: Final = "meter_sample"
"""On PostgreSQL the table of which the days are partitions: it has no rows of its own."""


class Backup(msgspec.Struct, frozen=True):
    """What a file holds."""

    at_ms: int
    """When its snapshot was taken, on the machine's clock."""
    loadstar: str
    """The version that wrote it."""
    revision: str
    """Of the tables."""
    dialect: str
    tables: dict[str, int] = {}
    """How many rows of each."""
    sha256: str = ""

    @property
    def rows(self) -> int:
        return sum(self.tables.values())


class _Table(msgspec.Struct, frozen=True, tag="table", array_like=True):
    name: str
    columns: list[str]


class _Rows(msgspec.Struct, frozen=True, tag="rows", array_like=True):
    rows: list[list[Any]]


class _End(msgspec.Struct, frozen=True, tag="end", array_like=True):
    tables: dict[str, int]


class _Header(msgspec.Struct, frozen=True, tag="header", array_like=True):
    backup: Backup


_Frame = _Header | _Table | _Rows | _End
_encoder = msgspec.msgpack.Encoder()
_decoder: msgspec.msgpack.Decoder[_Frame] = msgspec.msgpack.Decoder(_Frame)


def back_up(url: str, file: Path) -> Backup:
    """Write everything that the database holds to `file`, which appears once it is whole and can
    be read by its owner alone: it holds the hashes of passwords.

    Raises:
        InvalidInput: no URL of a database.
        Precondition: the database has no tables of Loadstar.
        Unavailable: the database is away.
        OSError: the file cannot be written.
    """
    partial = file.with_name(f"{file.name}.partial")
    digest = hashlib.sha256()
    header, end = None, None
    # Errors of the file are raised here, outside the transaction, those of the database inside.
    with closing(_snapshot(url)) as frames:
        try:
            descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            with os.fdopen(descriptor, "wb") as written:
                written.write(_MAGIC)
                digest.update(_MAGIC)
                for frame in frames:
                    header = frame.backup if isinstance(frame, _Header) else header
                    end = frame if isinstance(frame, _End) else end
                    packed = zlib.compress(_encoder.encode(frame), 1)
                    framed = len(packed).to_bytes(4, "big") + packed
                    written.write(framed)
                    digest.update(framed)
                written.write(digest.digest())
                written.flush()
                os.fsync(written.fileno())
            partial.replace(file)
        finally:
            partial.unlink(missing_ok=True)
    assert header is not None
    assert end is not None
    return msgspec.structs.replace(header, tables=end.tables, sha256=digest.hexdigest())


def verify(file: Path) -> Backup:
    """What a file holds, read to its end.

    Raises:
        InvalidInput: it is no back-up, not whole, or not as it was written.
        OSError: it cannot be read.
    """
    digest = hashlib.sha256()
    left = file.stat().st_size - _HASH_BYTES
    with file.open("rb") as read:
        if read.read(len(_MAGIC)) != _MAGIC:
            raise InvalidInput(f"{file} is no back-up of Loadstar", reason="BACKUP_INVALID")
        read.seek(0)
        while left > 0 and (part := read.read(min(_READ_BYTES, left))):
            digest.update(part)
            left -= len(part)
        if left or read.read() != digest.digest():
            raise InvalidInput(
                f"{file} is not whole, or was changed since it was written", reason="BACKUP_INVALID"
            )
    header, counted, end = None, 0, None
    for frame in _frames(file):
        match frame:
            case _Header():
                header = frame.backup
            case _Rows():
                counted += len(frame.rows)
            case _End():
                end = frame
    if header is None or end is None or counted != sum(end.tables.values()):
        raise InvalidInput(f"{file} contradicts itself", reason="BACKUP_INVALID")
    return msgspec.structs.replace(header, tables=end.tables, sha256=digest.hexdigest())


def restore(file: Path, url: str) -> Backup:
    """Fill a database without tables with what `file` holds, and bring the tables up to date.

    Raises:
        InvalidInput: see `verify`; a URL of no database; tables of a newer release.
        Precondition: the database has tables.
        Unavailable: the database is away; nothing was restored.
        OSError: the file cannot be read.
    """
    backup = verify(file)
    if not known_revision(backup.revision):
        raise InvalidInput(
            f"{file} was written by a newer Loadstar ({backup.loadstar})", reason="BACKUP_NEWER"
        )
    engine = open_engine(url, writer=True)
    try:
        with connected(engine) as connection:
            if inspect(connection).get_table_names():
                raise Precondition(
                    "the database has tables already: restore into an empty one",
                    reason="DATABASE_NOT_EMPTY",
                )
            upgrade(connection, backup.revision)
            _fill(connection, file)
            upgrade(connection)
            _rise(connection)
            _go_on_numbering(connection)
    finally:
        engine.dispose()
    return backup


# --- writing --------------------------------------------------------------------------------------


def _snapshot(url: str) -> Generator[_Frame]:
    """What a database holds, as one state from the first row to the last."""
    engine = open_snapshot_engine(url)
    try:
        with connected(engine) as connection:
            yield _Header(_header(connection))
            counted = {}
            for found in _tables(connection):
                name = str(found.name)
                yield _Table(name, [str(each.name) for each in found.columns])
                counted[name] = 0
                streamed = connection.execution_options(stream_results=True).execute(_select(found))
                for rows in streamed.partitions(_ROWS_PER_FRAME):
                    yield _Rows([list(row) for row in rows])
                    counted[name] += len(rows)
            yield _End(counted)
    finally:
        engine.dispose()


def _header(connection: Connection) -> Backup:
    if not inspect(connection).has_table(_REVISION_TABLE):
        raise Precondition("the database has no tables of Loadstar", reason="DATABASE_EMPTY")
    revision = connection.exec_driver_sql(f"SELECT version_num FROM {_REVISION_TABLE}")
    return Backup(
        at_ms=time.time_ns() // 1_000_000,
        loadstar=controlplane.__version__,
        revision=revision.scalar_one(),
        dialect=connection.dialect.name,
    )


def _tables(connection: Connection) -> list[Table]:
    """Every table there is, so that one that is added later is not forgotten here; those of the
    samples come after the list of their days."""
    found = MetaData()
    found.reflect(connection)
    partitioned = connection.dialect.name == "postgresql" and schema.sample_day.name in found.tables
    left_out = _NOT_KEPT | ({_PARTITIONED} if partitioned else frozenset())
    names = sorted(found.tables.keys() - left_out)
    return [found.tables[name] for name in sorted(names, key=_is_sample)]


def _is_sample(name: str) -> bool:
    return name.startswith(_PARTITIONED)


def _select(found: Table) -> Select[Any]:
    """Every row; samples in the order of receipt, by which they are numbered anew."""
    return select(found).order_by(found.c.sample_id) if _is_sample(found.name) else select(found)


# --- reading --------------------------------------------------------------------------------------


def _frames(file: Path) -> Iterator[_Frame]:
    end = file.stat().st_size - _HASH_BYTES
    with file.open("rb") as read:
        read.seek(len(_MAGIC))
        while read.tell() < end:
            size = int.from_bytes(read.read(4), "big")
            if size > min(end - read.tell(), _FRAME_MAX_BYTES):
                raise InvalidInput(f"{file} contradicts itself", reason="BACKUP_INVALID")
            try:
                yield _decoder.decode(zlib.decompress(read.read(size)))
            except (zlib.error, msgspec.MsgspecError) as error:
                raise InvalidInput(f"{file}: {error}", reason="BACKUP_INVALID") from error


def _fill(connection: Connection, file: Path) -> None:
    target: TableClause | None = None
    columns: list[str] = []
    days_known = False
    for frame in _frames(file):
        match frame:
            case _Table(name, columns):
                if _is_sample(name) and not days_known:
                    _make_days(connection)
                    days_known = True
                target = table(name, *map(column, columns))
                # What the migrations put there stands in the file as well.
                connection.execute(delete(target))
            case _Rows(rows) if target is not None and rows:
                values = [dict(zip(columns, row, strict=True)) for row in rows]
                if _is_sample(target.name):
                    for value in values:
                        # SQLite begins at 1 every day, PostgreSQL never.
                        del value["sample_id"]
                connection.execute(insert(target), values)
            case _:
                continue


def _make_days(connection: Connection) -> None:
    """The tables of the days that the list of days names."""
    if not inspect(connection).has_table(schema.sample_day.name):
        return  # from before samples had days
    listed = schema.sample_day
    days = [row.day for row in connection.execute(select(listed.c.day))]
    connection.execute(delete(listed))
    for day in days:
        make_day(connection, day)


def _rise(connection: Connection) -> None:
    """Epochs and cursors above all that the lost database may have given out since: the seconds
    and milliseconds since 1970, which neither reaches by counting one up for a claim or an
    event."""
    now_ms = time.time_ns() // 1_000_000
    owner, head = schema.shard_owner, schema.journal_head
    highest = connection.execute(select(func.max(owner.c.epoch))).scalar_one() or 0
    connection.execute(
        update(owner).values(owner="", epoch=max(highest, now_ms // 1_000), lease_until_ms=0)
    )
    cursor = connection.execute(select(func.max(head.c.cursor))).scalar_one()
    connection.execute(update(head).values(cursor=max(cursor, now_ms)))


def _go_on_numbering(connection: Connection) -> None:
    """PostgreSQL numbers rows from a sequence, which knows nothing of rows that were copied in."""
    if connection.dialect.name != "postgresql":
        return
    numbered = connection.exec_driver_sql(
        "SELECT class.relname, attribute.attname, pg_get_expr(adbin, adrelid) FROM pg_attrdef"
        " JOIN pg_class class ON class.oid = adrelid AND NOT class.relispartition"
        " JOIN pg_attribute attribute ON attrelid = adrelid AND attnum = adnum"
        " WHERE relnamespace = current_schema()::regnamespace"
        " AND pg_get_expr(adbin, adrelid) LIKE 'nextval(%%'"
    )
    for name, key, default in numbered.all():
        numbers = table(name, column(key, BigInteger))
        last = connection.execute(select(func.max(numbers.c[key]))).scalar_one() or 0
        connection.execute(select(func.setval(default.split("'")[1], last + 1, False)))
