"""Databases for the tests of every room: SQLite in a file, and a real PostgreSQL that is started
when the first test asks for it. Each test has a database of its own, copied from one in which the
tables stand already."""

from __future__ import annotations

import shutil
import uuid
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from controlplane.sim.postgresql import PostgresqlServer
from controlplane.store.commit import StoreWriter
from controlplane.store.engine import migrate, open_engine
from controlplane.store.reader import StoreReader

# How long an example takes says something of the machine and nothing of Loadstar.
settings.register_profile("loadstar", settings.default, deadline=None)
settings.load_profile("loadstar")

BACKENDS = ("sqlite", "postgresql")
_TEMPLATE = "loadstar_template"


@pytest.fixture(scope="session")
def postgresql_server() -> Iterator[PostgresqlServer]:
    """The server that the tests share. Leave it running; who kills one starts a
    `PostgresqlServer` of his own."""
    with PostgresqlServer() as server:
        migrate(server.create(_TEMPLATE))
        yield server


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("database") / "template.db"
    migrate(f"sqlite:///{file}")
    return file


@pytest.fixture
def postgresql_url(postgresql_server: PostgresqlServer) -> Iterator[str]:
    """The URL of a PostgreSQL database with Loadstar's tables."""
    name = f"test_{uuid.uuid4().hex[:12]}"
    yield postgresql_server.create(name, template=_TEMPLATE)
    postgresql_server.drop(name)


@pytest.fixture
def sqlite_url(sqlite_template: Path, tmp_path: Path) -> str:
    """The URL of an SQLite database with Loadstar's tables."""
    file = tmp_path / "loadstar.db"
    shutil.copy(sqlite_template, file)
    return f"sqlite:///{file}"


@pytest.fixture(params=BACKENDS)
def database_url(request: pytest.FixtureRequest) -> str:
    """The URL of a database with Loadstar's tables: the test runs once on each kind."""
    url: str = request.getfixturevalue(f"{request.param}_url")
    return url


@pytest.fixture(params=BACKENDS)
def empty_database_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The URL of a database without a table: the test runs once on each kind."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'empty.db'}"
        return
    server: PostgresqlServer = request.getfixturevalue("postgresql_server")
    name = f"test_{uuid.uuid4().hex[:12]}"
    yield server.create(name)
    server.drop(name)


@pytest.fixture
def writer(database_url: str) -> Iterator[StoreWriter]:
    writer = StoreWriter(open_engine(database_url, writer=True))
    yield writer
    writer.close()


@pytest.fixture
async def reader(database_url: str) -> AsyncIterator[StoreReader]:
    reader = StoreReader(database_url)
    yield reader
    reader.close()
