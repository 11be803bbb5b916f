"""Meter samples: a table for every day of receipt, `meter_sample_20261123` and so on.

They are nearly all that is ever written. What one day's table and its index cost does not depend
on how many years there are, a session is found in the few days it lasted, and what is too old goes
with its table. On PostgreSQL the tables are the partitions of `meter_sample`; on SQLite they stand
alone.

Invariant: `sample_day` lists exactly the tables there are. Its row is written first and in the same
transaction, so that of two hosts that meet a new day at once one makes the table and the other
waits for it."""

from __future__ import annotations

import datetime
from collections.abc import Callable, Sequence
from functools import lru_cache
from itertools import groupby, islice
from operator import attrgetter
from typing import Any, Final

import msgspec
from sqlalchemy import (
    BigInteger,
    Column,
    Connection,
    Dialect,
    Float,
    Index,
    Integer,
    MetaData,
    Table,
    Text,
    delete,
    func,
    insert,
    select,
)
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.schema import CreateIndex, CreateTable

from controlplane.ids import SessionId
from controlplane.store import schema
from controlplane.store.records import MeterSample, SessionRecord

__all__ = [
    "DAY_MS",
    "SampleWriter",
    "days_of_session",
    "drop_day",
    "make_day",
    "sample_days",
    "sample_table",
    "samples_of_sessions",
    "strongest_of_day",
]

DAY_MS: Final = 86_400_000
_EPOCH: Final = datetime.date(1970, 1, 1).toordinal()
_LATE_DAYS: Final = 31
"""How long after the end of its session was received a sample may still come in and be found with
it: a station that was offline brings its queue at once, so this is long."""
_KEYS_PER_SELECT: Final = 500
_SESSIONS_PER_SELECT: Final = 100
"""SQLite takes up to 500 parts in one question."""

_COLUMNS: Final = MeterSample.__struct_fields__
_RECEIVED: Final = _COLUMNS.index("received_ms")
_of_session: Final = attrgetter("session_id")
_samples: Final = msgspec.json.Decoder(list[MeterSample])
_EXACT: Final = ", ".join(_COLUMNS[:-1])
"""All but the state of charge, which is no integer."""
_AS_JSON: Final = {
    # SQLite writes 15 digits of a number where it is not told to quote it; what is read back must
    # be what was written, or a repeated reading is not recognised.
    "sqlite": (
        f"json_array('meter', {_EXACT},"
        " CASE WHEN soc_percent IS NULL THEN NULL ELSE json(quote(soc_percent)) END)"
    ),
    "postgresql": f"json_build_array('meter', {_EXACT}, soc_percent)",
}
"""A sample as `MeterSample` is decoded from JSON."""
_TOGETHER: Final = {
    # In the order in which they are found; SQLite before 3.44 takes no other.
    "sqlite": "group_concat(sample, ',')",
    "postgresql": "string_agg(sample::text, ',' ORDER BY session_id, sample_id DESC)",
}
_INSERTED_ID: Final = BigInteger().with_variant(Integer, "sqlite")


@lru_cache(maxsize=4_096)
def sample_table(day: int) -> Table:
    """The table of a day, counted from 1970-01-01 UTC; whether there is one says `sample_days`."""
    date = datetime.date.fromordinal(_EPOCH + day)
    name = f"meter_sample_{date:%Y%m%d}"
    return Table(
        name,
        MetaData(),
        Column("sample_id", _INSERTED_ID, primary_key=True),
        Column("charger_id", Text, nullable=False),
        Column("connector_id", Integer, nullable=False),
        Column("session_id", Text),
        Column("at_ms", BigInteger, nullable=False),
        Column("received_ms", BigInteger, nullable=False),
        Column("energy_wh", BigInteger),
        Column("power_w", BigInteger),
        Column("current_l1_ma", BigInteger),
        Column("current_l2_ma", BigInteger),
        Column("current_l3_ma", BigInteger),
        Column("soc_percent", Float),
        Index(f"{name}_by_session", "session_id", "sample_id"),
    )


class SampleWriter:
    """Appends samples, within the transaction of a commit.

    They go to the driver as they are: half the time of an insert whose parameters SQLAlchemy looks
    at one by one."""

    def __init__(self, dialect: Dialect) -> None:
        self._dialect = dialect
        self._row: Callable[[MeterSample], Any] = (
            msgspec.structs.astuple if dialect.positional else msgspec.structs.asdict
        )
        self._key: int | str = _RECEIVED if dialect.positional else "received_ms"
        self._inserts: dict[int, str] = {}

    def write(self, connection: Connection, samples: Sequence[MeterSample]) -> None:
        row, key = self._row, self._key
        rows = [row(sample) for sample in samples]
        days = {each[key] // DAY_MS for each in rows}
        if len(days) == 1:
            connection.exec_driver_sql(self._insert(connection, days.pop()), rows)
            return
        for day in sorted(days):
            of_day = [each for each in rows if each[key] // DAY_MS == day]
            connection.exec_driver_sql(self._insert(connection, day), of_day)

    def _insert(self, connection: Connection, day: int) -> str:
        """The statement for a day's table, which is there from now on."""
        known = self._inserts.get(day)
        if known is not None:
            return known
        made = make_day(connection, day)
        # Inline: nobody wants to hear the numbers of the rows.
        statement = (
            insert(sample_table(day))
            .inline()
            .compile(dialect=self._dialect, column_keys=list(_COLUMNS))
        )
        # The columns stand in the order of the record's fields; a column in another place would
        # write values under a wrong name.
        if self._dialect.positional and statement.positiontup != list(_COLUMNS):
            raise TypeError("the columns of a sample's table are not in the order of MeterSample")
        # A table of this very transaction is gone if the transaction is.
        if not made:
            self._inserts[day] = str(statement)
        return str(statement)

    def forget(self) -> None:
        """Look anew which days have a table. Call after a commit failed: a database that was
        replaced or pruned may lack one."""
        self._inserts.clear()


def make_day(connection: Connection, day: int) -> bool:
    """Make the day's table, if it is not there; says whether it was made."""
    dialect_insert = postgresql.insert if connection.dialect.name == "postgresql" else sqlite.insert
    row = dialect_insert(schema.sample_day).values(day=day).on_conflict_do_nothing()
    if connection.execute(row.returning(schema.sample_day.c.day)).one_or_none() is None:
        return False
    table = sample_table(day)
    if connection.dialect.name == "postgresql":
        connection.exec_driver_sql(
            f"CREATE TABLE {table.name} PARTITION OF meter_sample"
            f" FOR VALUES FROM ({day * DAY_MS}) TO ({(day + 1) * DAY_MS})"
        )
        return True
    connection.execute(CreateTable(table))
    for index in table.indexes:
        connection.execute(CreateIndex(index))
    return True


def sample_days(
    connection: Connection, *, from_ms: int | None = None, until_ms: int | None = None
) -> list[int]:
    """The days that have a table, in order, of those that may hold what was received at or after
    `from_ms` and before `until_ms`."""
    column = schema.sample_day.c.day
    query = select(column).order_by(column)
    if from_ms is not None:
        query = query.where(column >= from_ms // DAY_MS)
    if until_ms is not None:
        query = query.where(column <= (until_ms - 1) // DAY_MS)
    return [row.day for row in connection.execute(query)]


def drop_day(connection: Connection, day: int) -> None:
    """Remove a day's table with everything in it."""
    connection.exec_driver_sql(f"DROP TABLE {sample_table(day).name}")
    connection.execute(delete(schema.sample_day).where(schema.sample_day.c.day == day))


def days_of_session(session: SessionRecord) -> tuple[int, int]:
    """The first and the last day on which samples of a session that is over were received, but for
    those that a station brought late."""
    ended_ms = session.ended_received_ms or session.ended_ms or session.started_ms
    began_ms = session.started_received_ms or session.started_ms
    return min(began_ms, session.started_ms) // DAY_MS, ended_ms // DAY_MS


def strongest_of_day(
    connection: Connection, *, day: int, session_ids: Sequence[SessionId]
) -> dict[SessionId, int]:
    """The highest power above 0, in W, that a day's samples show of each session."""
    columns = sample_table(day).c
    found: dict[SessionId, int] = {}
    for start in range(0, len(session_ids), _KEYS_PER_SELECT):
        query = (
            select(columns.session_id, func.max(columns.power_w))
            .where(columns.session_id.in_(session_ids[start : start + _KEYS_PER_SELECT]))
            .where(columns.power_w > 0)
            .group_by(columns.session_id)
        )
        found |= {SessionId(row[0]): row[1] for row in connection.execute(query)}
    return found


def samples_of_sessions(
    connection: Connection, session_ids: Sequence[SessionId], each: int
) -> dict[SessionId, list[MeterSample]]:
    """Of every session the `each` samples received last, newest first."""
    found: dict[SessionId, list[MeterSample]] = {session_id: [] for session_id in session_ids}
    lasted = _days_of_sessions(connection, session_ids)
    for day in reversed(sample_days(connection)):
        wanted = [
            session_id
            for session_id, samples in found.items()
            if len(samples) < each and _may_hold(lasted.get(session_id), day)
        ]
        for start in range(0, len(wanted), _SESSIONS_PER_SELECT):
            part = wanted[start : start + _SESSIONS_PER_SELECT]
            for session_id, newest in groupby(_newest(connection, day, part, each), _of_session):
                samples = found[session_id]
                samples += islice(newest, each - len(samples))
    return found


def _may_hold(lasted: tuple[int | None, int | None] | None, day: int) -> bool:
    """Whether samples of a session may have been received on this day."""
    first, last = lasted or (None, None)
    return (first is None or day >= first) and (last is None or day <= last)


def _days_of_sessions(
    connection: Connection, session_ids: Sequence[SessionId]
) -> dict[str, tuple[int | None, int | None]]:
    """The days in which a session's samples may have been received; None is open."""
    columns = schema.session.c
    lasted: dict[str, tuple[int | None, int | None]] = {}
    for start in range(0, len(session_ids), _KEYS_PER_SELECT):
        part = session_ids[start : start + _KEYS_PER_SELECT]
        query = select(
            columns.session_id, columns.started_received_ms, columns.ended_received_ms
        ).where(columns.session_id.in_(part))
        for session_id, started_ms, ended_ms in connection.execute(query):
            lasted[session_id] = (
                None if started_ms is None else started_ms // DAY_MS - 1,
                None if ended_ms is None else ended_ms // DAY_MS + _LATE_DAYS,
            )
    return lasted


def _newest(
    connection: Connection, day: int, session_ids: Sequence[SessionId], each: int
) -> list[MeterSample]:
    """The newest samples that a day has of each session, session by session, newest first.

    One question for many sessions, and one text for an answer: a host that brings its chargers back
    reads hundreds of thousands of rows while it works on those before, and to take them one by one
    costs more than everything else. SQLite's driver waits for the interpreter once for each."""
    dialect = connection.dialect
    mark = "?" if dialect.positional else "%s"
    of_one = (
        f"SELECT * FROM (SELECT session_id, sample_id, {_AS_JSON[dialect.name]} AS sample"
        f" FROM {sample_table(day).name} WHERE session_id = {mark}"
        f" ORDER BY sample_id DESC LIMIT {int(each)}) AS newest"
    )
    asked = " UNION ALL ".join([of_one] * len(session_ids))
    statement = f"SELECT {_TOGETHER[dialect.name]} FROM ({asked}) AS samples"
    text = connection.exec_driver_sql(statement, tuple(session_ids)).scalar_one()
    return _samples.decode(f"[{text}]") if text else []
