"""Opens the database and brings its tables to the present shape.

SQLite runs in WAL mode at full synchronisation: a commit that returned is on the disk. A writer's
transaction takes SQLite's write lock at its beginning, so the epoch check and the writes behind it
see one state; on PostgreSQL the check locks the owner's rows instead (`commit.py`)."""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, Engine, create_engine, event, make_url, text
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from controlplane.errors import InvalidInput, Unavailable
from controlplane.store.patience import Patience, patient

if TYPE_CHECKING:
    from alembic.config import Config

__all__ = [
    "connected",
    "database_errors",
    "database_faults",
    "known_revision",
    "migrate",
    "open_engine",
    "open_snapshot_engine",
    "upgrade",
]

_BUSY_TIMEOUT_MS = 5_000
_MIGRATION_LOCK = 4_096_001
"""Among the advisory locks of the database; nothing else of Loadstar takes one."""
_WRITER_CACHE_KIB = 32_768
_CHECKPOINT_PAGES = 32_000
"""Samples of a thousand sessions change a thousand pages of their index again and again: kept in
memory, and copied from the log seldom, each costs a sixth less. A host copies the log beside its
commits every few seconds (`checkpoints.py`); a commit has to only where that falls behind, at 128
MB."""


def open_engine(url: str, *, writer: bool, timeout_s: float | None = None) -> Engine:
    """An engine for `url`. The writer's connections take the write lock when they begin, and let go
    of it within 5 s where this process is frozen, or cut off from the server.

    Args:
        timeout_s: how long a transaction with a server may last (`patience.py`); None is for ever.

    Raises:
        InvalidInput: no URL, or of a database that Loadstar does not run on.
    """
    try:
        parsed = make_url(url)
    except SQLAlchemyError as error:
        raise InvalidInput(f"database URL: {error}", reason="DATABASE_URL_INVALID") from error
    backend = parsed.get_backend_name()
    if backend == "postgresql":
        engine = create_engine(
            parsed.set(drivername="postgresql+psycopg"),
            pool_pre_ping=True,
            hide_parameters=True,
            pool_size=1 if writer else 4,
            connect_args={"connect_timeout": 5},
        )
        if timeout_s is not None:
            Patience(engine, timeout_s)
        if writer:
            event.listen(engine, "connect", _let_go_when_silent)
        return engine
    if backend != "sqlite" or not parsed.database or parsed.database == ":memory:":
        raise InvalidInput(
            f"database URL {parsed.render_as_string()}: Loadstar runs on postgresql:// and on "
            "sqlite:/// with a file",
            reason="DATABASE_URL_INVALID",
        )
    Path(parsed.database).parent.mkdir(parents=True, exist_ok=True)
    engine = create_engine(
        parsed.set(drivername="sqlite"),
        hide_parameters=True,
        connect_args={"timeout": _BUSY_TIMEOUT_MS / 1_000},
    )
    _configure_sqlite(engine, writer=writer)
    return engine


def open_snapshot_engine(url: str) -> Engine:
    """An engine for `url` whose transactions read one state from their first row to their last.

    Raises:
        InvalidInput: see `open_engine`.
    """
    engine = open_engine(url, writer=False)
    if engine.dialect.name == "postgresql":
        return engine.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)
    return engine


_LET_GO = """
SET idle_in_transaction_session_timeout = 5000;
SET tcp_keepalives_idle = 2; SET tcp_keepalives_interval = 1; SET tcp_keepalives_count = 3;
SET tcp_user_timeout = 5000
"""


def _let_go_when_silent(connection: Any, _record: Any) -> None:
    """A writer that is frozen or cut off within a transaction must not keep its rows locked: nobody
    could claim its shards. The server ends a transaction whose client says nothing between two
    statements, and one of whose machine it hears nothing: a cut in the middle of what a statement
    sends is no silence to the first of these rules."""
    connection.execute(_LET_GO)
    connection.commit()


def _configure_sqlite(engine: Engine, *, writer: bool) -> None:
    @event.listens_for(engine, "connect")
    def on_connect(connection: sqlite3.Connection, _record: Any) -> None:
        # The driver's own BEGIN is deferred; ours below is not.
        connection.isolation_level = None
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute(f"PRAGMA busy_timeout = {_BUSY_TIMEOUT_MS}")
        if writer:
            connection.execute(f"PRAGMA cache_size = -{_WRITER_CACHE_KIB}")
            connection.execute(f"PRAGMA wal_autocheckpoint = {_CHECKPOINT_PAGES}")

    @event.listens_for(engine, "begin")
    def on_begin(connection: Connection) -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writer else "BEGIN")


_faults: Counter[str] = Counter()


def database_faults() -> Mapping[str, int]:
    """How often the database failed this process so far, by the class of the driver's error."""
    return dict(_faults)


@contextmanager
def database_errors() -> Iterator[None]:
    """Turns what a driver raises into `Unavailable`: the caller may try again.

    Raises:
        Unavailable: the database is away, full, locked for too long, or refused the statement.
    """
    try:
        yield
    except (SQLAlchemyError, OSError) as error:
        # The driver's own words: SQLAlchemy adds the statement and what was to be stored.
        said = error.orig if isinstance(error, DBAPIError) else error
        _faults[type(said).__name__] += 1
        raise Unavailable(f"database: {said}", reason="DATABASE_UNAVAILABLE") from error


@contextmanager
def connected(engine: Engine) -> Iterator[Connection]:
    """One transaction; committed at the end, rolled back on an exception.

    Raises:
        Unavailable: see `database_errors`.
    """
    with database_errors(), patient(engine), engine.begin() as connection:
        yield connection


def migrate(url: str) -> None:
    """Create or bring up to date all tables; does nothing where they are.

    Raises:
        InvalidInput: see `open_engine`.
        Unavailable: see `database_errors`.
    """
    engine = open_engine(url, writer=True)
    try:
        with connected(engine) as connection:
            if engine.dialect.name == "postgresql":
                # Nodes that start together bring the tables up to date one after the other.
                connection.execute(text(f"SELECT pg_advisory_xact_lock({_MIGRATION_LOCK})"))
            upgrade(connection)
    finally:
        engine.dispose()


def upgrade(connection: Connection, revision: str = "head") -> None:
    """Bring the tables up to a revision, within the transaction of `connection`."""
    # Only the process that starts a node needs it.
    from alembic import command  # noqa: PLC0415

    config = _migrations()
    config.attributes["connection"] = connection
    command.upgrade(config, revision)


def known_revision(revision: str) -> bool:
    """Whether this release has the migrations up to `revision`."""
    from alembic.script import ScriptDirectory  # noqa: PLC0415

    return revision in {
        each.revision for each in ScriptDirectory.from_config(_migrations()).walk_revisions()
    }


def _migrations() -> Config:
    from alembic.config import Config  # noqa: PLC0415

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    return config
