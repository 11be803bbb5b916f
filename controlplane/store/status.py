"""How much a database holds, and since when."""

from __future__ import annotations

from typing import Final

import msgspec
from sqlalchemy import Connection, Table, func, select

from controlplane.store import schema
from controlplane.store.engine import connected, open_snapshot_engine
from controlplane.store.samples import DAY_MS, sample_days, sample_table

__all__ = ["DatabaseStatus", "KindStatus", "database_status"]

_KINDS: Final = (
    ("sessions", schema.session, "started_ms"),
    ("decisions", schema.limit_decision, "at_ms"),
    ("journal", schema.journal, "at_ms"),
    ("security-events", schema.security_event, "received_ms"),
    ("results", schema.request_result, "created_ms"),
    ("commands", schema.command, "created_ms"),
    ("quarantine", schema.quarantine, "at_ms"),
)


class KindStatus(msgspec.Struct, frozen=True):
    """`oldest_ms` and `newest_ms` are None where there is nothing; for samples they are the begin
    of the first and the end of the last day."""

    rows: int
    oldest_ms: int | None
    newest_ms: int | None


class DatabaseStatus(msgspec.Struct, frozen=True):
    dialect: str
    revision: str
    size_bytes: int
    kinds: dict[str, KindStatus]


def database_status(url: str) -> DatabaseStatus:
    """What a database holds; counts every row, which takes a second for some millions.

    Raises:
        InvalidInput: no URL of a database.
        Unavailable: the database is away, or has no tables of Loadstar.
    """
    engine = open_snapshot_engine(url)
    try:
        with connected(engine) as connection:
            kinds = {"samples": _samples(connection)}
            kinds |= {name: _kind(connection, table, at) for name, table, at in _KINDS}
            return DatabaseStatus(
                dialect=connection.dialect.name,
                revision=connection.exec_driver_sql(
                    "SELECT version_num FROM alembic_version"
                ).scalar_one(),
                size_bytes=_size_bytes(connection),
                kinds=kinds,
            )
    finally:
        engine.dispose()


def _samples(connection: Connection) -> KindStatus:
    days = sample_days(connection)
    rows = sum(
        connection.execute(select(func.count()).select_from(sample_table(day))).scalar_one()
        for day in days
    )
    if not days:
        return KindStatus(0, None, None)
    return KindStatus(rows, days[0] * DAY_MS, (days[-1] + 1) * DAY_MS)


def _kind(connection: Connection, table: Table, instant: str) -> KindStatus:
    column = table.c[instant]
    query = select(func.count(), func.min(column), func.max(column)).select_from(table)
    rows, oldest_ms, newest_ms = connection.execute(query).one()
    return KindStatus(rows, oldest_ms, newest_ms)


def _size_bytes(connection: Connection) -> int:
    if connection.dialect.name == "postgresql":
        query = "SELECT pg_database_size(current_database())"
        return int(connection.exec_driver_sql(query).scalar_one())
    pages = connection.exec_driver_sql("PRAGMA page_count").scalar_one()
    return int(pages) * int(connection.exec_driver_sql("PRAGMA page_size").scalar_one())
