"""What is forgotten: what is older than its time, in small steps, and nothing else."""

from __future__ import annotations

import pytest
from test_store_samples import CP1, NOON, TODAY, days, sample, session

from controlplane.config import Settings
from controlplane.errors import Precondition
from controlplane.ids import ActorKind, ActorRef, SessionId
from controlplane.store.commit import CommitBatch, JournalLine, StoreWriter
from controlplane.store.reader import StoreReader
from controlplane.store.records import LimitDecision, SecurityEventRecord
from controlplane.store.retention import Retained, Retention
from controlplane.store.samples import DAY_MS

SITE = ActorRef(ActorKind.SITE, "S1")


def pruned(writer: StoreWriter, kind: Retained, before_ms: int) -> list[int]:
    """What each step removed."""
    steps = []
    while removed := writer.prune(kind, before_ms):
        steps.append(removed)
    return steps


def test_by_default_everything_but_sessions_has_its_time() -> None:
    retention = Retention.of(Settings(retention_decisions_days=0))
    assert set(retention.days) == set(Retained) - {Retained.SESSIONS, Retained.DECISIONS}
    assert retention.before_ms(Retained.SESSIONS, NOON) is None
    assert retention.before_ms(Retained.SAMPLES, NOON) == NOON - 400 * DAY_MS
    assert retention.before_ms(Retained.RESULTS, NOON) == NOON - DAY_MS


async def test_samples_go_with_their_whole_day(
    database_url: str, writer: StoreWriter, reader: StoreReader
) -> None:
    batch = [sample("s1", NOON + day * DAY_MS) for day in range(4)]
    writer.commit(CommitBatch(records=list(batch)))
    assert pruned(writer, Retained.SAMPLES, NOON + 2 * DAY_MS) == [1, 1]
    assert days(database_url) == [TODAY + 2, TODAY + 3]
    assert await reader.meter_samples(SessionId("s1")) == batch[2:]
    writer.commit(CommitBatch(records=list(batch)))
    assert len(await reader.meter_samples(SessionId("s1"))) == 6


async def test_the_journal_is_pruned_in_steps_and_says_up_to_where(
    writer: StoreWriter, reader: StoreReader
) -> None:
    lines = [JournalLine(at_ms, "test.happened", SITE, {}) for at_ms in range(2_500)]
    writer.commit(CommitBatch(events=lines))
    assert pruned(writer, Retained.JOURNAL, 2_300) == [1_000, 1_000, 300]
    assert [event.at_ms for event in await reader.journal(0, 10_000)] == list(range(2_300, 2_500))
    assert [event.cursor for event in await reader.journal(2_300, 1)] == [2_301]
    with pytest.raises(Precondition) as told:
        await reader.journal(2_299)
    assert told.value.reason == "JOURNAL_PRUNED"
    assert told.value.metadata == {"cursor": "2300"}
    # Cursors go on where they were, also once nothing is left.
    assert pruned(writer, Retained.JOURNAL, 10_000) == [200]
    assert writer.commit(CommitBatch(events=lines[:1])) == 2_501


async def test_decisions_and_security_events_are_forgotten(
    writer: StoreWriter, reader: StoreReader
) -> None:
    decisions = [LimitDecision(CP1, 1, None, at_ms, 6_000, None, "room") for at_ms in range(9)]
    events = [
        SecurityEventRecord(
            charger_id=CP1, at_ms=0, received_ms=at_ms, kind="X", detail="", critical=False,
            source="station", count=1,
        )
        for at_ms in range(9)
    ]  # fmt: skip
    writer.commit(CommitBatch(records=[*decisions, *events]))
    assert pruned(writer, Retained.DECISIONS, 4) == [4]
    assert pruned(writer, Retained.SECURITY_EVENTS, 5) == [5]
    assert len(await reader.limit_decisions(CP1, 1, until_ms=9, limit=100)) == 5
    assert len(await reader.security_events()) == 4


async def test_sessions_that_run_are_never_forgotten(
    writer: StoreWriter, reader: StoreReader
) -> None:
    records = [
        session("running", 1),
        session("old", 1, 2),
        session("long", 1, NOON),
        session("new", NOON, NOON + 1),
    ]
    writer.commit(CommitBatch(records=list(records)))
    assert pruned(writer, Retained.SESSIONS, NOON) == [1]
    found, _ = await reader.sessions()
    assert {record.session_id for record in found} == {"running", "long", "new"}
