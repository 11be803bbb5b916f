"""From the tables of the first release, with rows in them, to those of today."""

from __future__ import annotations

from pathlib import Path

import pytest
from sqlalchemy import inspect, text
from test_store_samples import NOON, TODAY, days

from controlplane.ids import SHARDS, ActorKind, ActorRef, ChargerId, SessionId
from controlplane.store import schema
from controlplane.store.backup import back_up, restore
from controlplane.store.commit import CommitBatch, JournalLine, StoreWriter
from controlplane.store.engine import connected, migrate, open_engine, upgrade
from controlplane.store.reader import StoreReader
from controlplane.store.records import MeterSample, SessionState
from controlplane.store.retention import Retained
from controlplane.store.samples import DAY_MS

FIRST_RELEASE = (
    "INSERT INTO actor_snapshot (kind, id, state) VALUES ('site', 'S1', :bytes)",
    "INSERT INTO charger VALUES ('CP1', 'S1', 'hash', 1)",
    "INSERT INTO site VALUES ('S1', NULL, :bytes, 1)",
    "INSERT INTO session VALUES ('s1', 'CP1', 'S1', 1, '7', NULL, 'ended', 1, 2, 0, 9, 9, NULL,"
    " NULL, 'Local')",
    "INSERT INTO quarantine (charger_id, at_ms, reason, action, payload)"
    " VALUES ('CP1', 1, 'WHY', 'MeterValues', :json)",
    "INSERT INTO request_result VALUES ('r1', 'site', 'S1', :bytes, :bytes, 1)",
    "INSERT INTO journal VALUES (1, 1, 'test.happened', 'site', 'S1', :json)",
    "UPDATE journal_head SET cursor = 1",
    "UPDATE shard_owner SET epoch = 3",
)


def first_release(url: str) -> None:
    """The database as the first release left it."""
    engine = open_engine(url, writer=True)
    with connected(engine) as connection:
        upgrade(connection, "0001")
        for statement in FIRST_RELEASE:
            connection.execute(text(statement), {"bytes": b"\x00\xff", "json": b'{"a":1}'})
        for number in range(5):
            connection.execute(
                text(
                    "INSERT INTO meter_sample (charger_id, connector_id, session_id, at_ms,"
                    " received_ms, energy_wh) VALUES ('CP1', 1, 's1', :at_ms, :at_ms, :energy_wh)"
                ),
                {"at_ms": NOON + number * DAY_MS // 2, "energy_wh": number},
            )
    engine.dispose()


async def assert_kept(url: str) -> None:
    """What the first release stored is read by this one, and written on behind."""
    reader = StoreReader(url)
    samples = await reader.meter_samples(SessionId("s1"))
    assert [sample.energy_wh for sample in samples] == list(range(5))
    session = await reader.session(SessionId("s1"))
    assert session is not None
    assert (session.state, session.meter_stop_wh) == (SessionState.ENDED, 9)
    site = ActorRef(ActorKind.SITE, "S1")
    assert await reader.snapshots([site]) == {site: b"\x00\xff"}
    assert [entry.payload for entry in await reader.quarantined(ChargerId("CP1"))] == [{"a": 1}]
    assert [event.data for event in await reader.journal(0)] == [{"a": 1}]
    assert await reader.request_result("r1") is not None
    assert days(url) == [TODAY, TODAY + 1, TODAY + 2]
    writer = StoreWriter(open_engine(url, writer=True))
    more = MeterSample(ChargerId("CP1"), 1, SessionId("s1"), NOON, NOON, energy_wh=5)
    cursor = writer.commit(CommitBatch(records=[more], events=[JournalLine(2, "x", site, {})]))
    assert cursor > 1
    assert len(await reader.meter_samples(SessionId("s1"))) == 6
    assert writer.prune(Retained.SAMPLES, (TODAY + 1) * DAY_MS) == 1
    assert len(await reader.meter_samples(SessionId("s1"))) == 4
    writer.close()
    reader.close()


async def test_what_the_first_release_stored_is_kept(empty_database_url: str) -> None:
    first_release(empty_database_url)
    migrate(empty_database_url)
    await assert_kept(empty_database_url)


async def test_a_back_up_of_the_first_release_is_restored_by_this_one(
    empty_database_url: str, tmp_path: Path
) -> None:
    first_release(empty_database_url)
    file = tmp_path / "old.backup"
    back_up(empty_database_url, file)
    target = f"sqlite:///{tmp_path / 'restored.db'}"
    restore(file, target)
    await assert_kept(target)


def test_the_migrations_lead_to_the_tables_that_the_code_knows(database_url: str) -> None:
    engine = open_engine(database_url, writer=False)
    with connected(engine) as connection:
        found = inspect(connection)
        for table in schema.metadata.sorted_tables:
            columns = {column["name"]: column for column in found.get_columns(table.name)}
            assert set(columns) == set(table.columns.keys()), table.name
            for column in table.columns:
                nullable = columns[column.name]["nullable"]
                assert nullable == column.nullable, f"{table.name}.{column.name}"
            indexes = {index["name"] for index in found.get_indexes(table.name)}
            assert indexes == {index.name for index in table.indexes}, table.name
            keys = found.get_pk_constraint(table.name)["constrained_columns"]
            assert set(keys) == {column.name for column in table.primary_key}
        owners = connection.exec_driver_sql("SELECT count(*) FROM shard_owner").scalar_one()
    engine.dispose()
    assert owners == SHARDS


@pytest.mark.parametrize("revision", ["0009", "0001"])
async def test_migrations_lead_back_as_well(empty_database_url: str, revision: str) -> None:
    from alembic import command  # noqa: PLC0415

    from controlplane.store.engine import _migrations  # noqa: PLC0415

    first_release(empty_database_url)
    migrate(empty_database_url)
    engine = open_engine(empty_database_url, writer=True)
    with connected(engine) as connection:
        config = _migrations()
        config.attributes["connection"] = connection
        command.downgrade(config, revision)
        count = connection.exec_driver_sql("SELECT count(*) FROM meter_sample").scalar_one()
    engine.dispose()
    assert count == 5
    migrate(empty_database_url)
