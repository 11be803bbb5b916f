"""Meter samples by the day: written, found with their session, and gone with their day."""

from __future__ import annotations

import pytest

from controlplane.errors import Unavailable
from controlplane.ids import ActorKind, ActorRef, ChargerId, SessionId, SiteId
from controlplane.store.commit import CommitBatch, JournalLine, StoreWriter
from controlplane.store.engine import connected, open_engine
from controlplane.store.reader import StoreReader
from controlplane.store.records import MeterSample, Record, SessionRecord, SessionState
from controlplane.store.samples import DAY_MS, sample_days, sample_table

CP1 = ChargerId("CP1")
TODAY = 20_000
NOON = TODAY * DAY_MS + DAY_MS // 2


def sample(session_id: str, received_ms: int, energy_wh: int = 0) -> MeterSample:
    return MeterSample(CP1, 1, SessionId(session_id), received_ms, received_ms, energy_wh=energy_wh)


def session(id: str, started_ms: int, ended_ms: int | None = None) -> SessionRecord:
    return SessionRecord(
        session_id=SessionId(id),
        charger_id=CP1,
        site_id=SiteId("S1"),
        connector_id=1,
        transaction_id=id,
        id_token=None,
        state=SessionState.ACTIVE if ended_ms is None else SessionState.ENDED,
        started_ms=started_ms,
        ended_ms=ended_ms,
        started_received_ms=started_ms,
        ended_received_ms=ended_ms,
    )


def days(url: str) -> list[int]:
    engine = open_engine(url, writer=False)
    try:
        with connected(engine) as connection:
            return sample_days(connection)
    finally:
        engine.dispose()


async def test_a_session_over_midnight_is_found_whole(
    database_url: str, writer: StoreWriter, reader: StoreReader
) -> None:
    midnight = (TODAY + 1) * DAY_MS
    batch = [sample("s1", midnight + number, number) for number in range(-3, 3)]
    writer.commit(CommitBatch(records=[*batch, session("s1", midnight - 10)]))
    assert days(database_url) == [TODAY, TODAY + 1]
    assert await reader.meter_samples(SessionId("s1")) == batch
    # The last ones, where not all are wanted.
    assert await reader.meter_samples(SessionId("s1"), 4) == batch[2:]
    latest = await reader.latest_samples([SessionId("s1")], 2)
    assert latest == {"s1": batch[-2:]}


async def test_what_comes_in_long_after_the_end_is_found_with_its_session(
    writer: StoreWriter, reader: StoreReader
) -> None:
    late = NOON + 20 * DAY_MS
    batch = [sample("s1", NOON), sample("s1", late), sample("s2", late + 30 * DAY_MS)]
    writer.commit(CommitBatch(records=[session("s1", NOON, NOON + 1), *batch]))
    assert await reader.meter_samples(SessionId("s1")) == batch[:2]
    # Of a session that the store does not know every day is searched.
    assert await reader.meter_samples(SessionId("s2")) == batch[2:]


async def test_the_days_table_is_there_only_once_something_is_in_it(
    database_url: str, writer: StoreWriter, reader: StoreReader
) -> None:
    impossible = MeterSample(CP1, 1, SessionId("s1"), NOON, NOON, energy_wh=2**70)
    writer.commit(CommitBatch(records=[impossible]))
    for number in range(3):
        writer.commit(CommitBatch(records=[sample("s1", NOON + number), impossible]))
    assert len(await reader.meter_samples(SessionId("s1"))) == 3
    assert len(await reader.quarantined(CP1)) == 4


async def test_a_sample_of_a_day_that_was_removed_makes_it_anew(
    database_url: str, writer: StoreWriter, reader: StoreReader
) -> None:
    for number in range(2):
        writer.commit(CommitBatch(records=[sample("s1", NOON + number)]))
    writer.commit(CommitBatch(records=[sample("s1", NOON + 5 * DAY_MS)]))
    engine = open_engine(database_url, writer=True)
    with connected(engine) as connection:
        connection.exec_driver_sql(f"DROP TABLE {sample_table(TODAY).name}")
        connection.exec_driver_sql(f"DELETE FROM sample_day WHERE day = {TODAY}")
    engine.dispose()
    with pytest.raises(Unavailable):
        writer.commit(CommitBatch(records=[sample("s1", NOON)]))
    writer.commit(CommitBatch(records=[sample("s1", NOON)]))
    assert len(await reader.meter_samples(SessionId("s1"))) == 2


async def test_postgresql_shows_all_days_as_one_table(postgresql_url: str) -> None:
    writer = StoreWriter(open_engine(postgresql_url, writer=True))
    line = JournalLine(1, "test.happened", ActorRef(ActorKind.SITE, "S1"), {})
    for day in range(3):
        records = [sample("s1", NOON + day * DAY_MS)]
        writer.commit(CommitBatch(records=list(records), events=[line]))
    writer.close()
    engine = open_engine(postgresql_url, writer=False)
    with connected(engine) as connection:
        counted = connection.exec_driver_sql("SELECT count(*) FROM meter_sample").scalar_one()
    engine.dispose()
    assert counted == 3


async def test_a_sample_comes_back_as_it_was_written(
    writer: StoreWriter, reader: StoreReader
) -> None:
    """What is not recognised as the same is stored a second time."""
    third = SessionId('s"1" ünd, [2]')
    batch: list[Record] = [
        MeterSample(CP1, 1, SessionId("s1"), NOON, NOON, 1, 2, 3, 4, 5, 100 / 3),
        MeterSample(CP1, 2, SessionId("s2"), NOON - 5, NOON + 1, 7, -2, None, 0, 10**15, 0.1 + 0.2),
        MeterSample(CP1, 1, SessionId("s1"), NOON, NOON + 2, soc_percent=80.0),
        MeterSample(CP1, 1, third, NOON, NOON + 3, soc_percent=5e-324),
    ]
    writer.commit(CommitBatch(records=[*batch]))
    latest = await reader.latest_samples([SessionId("s1"), SessionId("s2"), third], 5)
    assert latest == {"s1": [batch[0], batch[2]], "s2": [batch[1]], third: [batch[3]]}


async def test_the_strongest_sample_of_each_session_is_found_over_its_days(
    writer: StoreWriter, reader: StoreReader
) -> None:
    midnight = (TODAY + 1) * DAY_MS
    over = session("s1", midnight - 3, midnight + 3)
    still = session("s2", NOON)
    powers = {midnight - 2: 3_000, midnight - 1: 7_000, midnight + 1: 5_000, midnight + 2: -9_000}
    batch = [
        MeterSample(CP1, 1, SessionId(name), at_ms, at_ms, power_w=power_w)
        for at_ms, power_w in powers.items()
        for name in ("s1", "other")
    ]
    writer.commit(CommitBatch(records=[over, still, *batch, sample("s2", NOON)]))
    assert await reader.strongest_w([over, still]) == {"s1": 7_000}
    assert await reader.strongest_w([]) == {}


async def test_sessions_of_a_time_come_in_order_and_in_pages(
    writer: StoreWriter, reader: StoreReader
) -> None:
    begun = [session(f"s{number}", NOON + number // 2, NOON + 10) for number in range(7)]
    writer.commit(CommitBatch(records=[*begun[::-1]]))
    found: list[SessionRecord] = []
    token = ""
    while not found or token:
        page, token = await reader.sessions_begun(
            SiteId("S1"), from_ms=NOON, until_ms=NOON + 3, page_size=2, page_token=token
        )
        found += page
    assert found == begun[:6]
    assert await reader.sessions_begun(SiteId("S2"), from_ms=0, until_ms=NOON + 3) == ([], "")
