"""Group commits and reads on real databases: each test runs on SQLite and on PostgreSQL."""

from __future__ import annotations

from pathlib import Path

import pytest
from msgspec.structs import replace
from sqlalchemy import text

from controlplane.errors import Fenced, InvalidInput
from controlplane.ids import ActorKind, ActorRef, ChargerId, FeederId, SessionId, SiteId
from controlplane.store.commit import CommitBatch, JournalLine, RequestResult, StoreWriter
from controlplane.store.engine import migrate, open_engine
from controlplane.store.reader import StoreReader
from controlplane.store.records import (
    ActorSnapshot,
    CertificateRecord,
    ChargerRecord,
    ChargerRemoved,
    FeederRecord,
    FeederRemoved,
    HandOver,
    LimitDecision,
    MeterSample,
    QuarantineRecord,
    SessionRecord,
    SessionState,
    SiteRecord,
    SiteRemoved,
)
from controlplane.store.retention import Retained

SITE = ActorRef(ActorKind.SITE, "S1")


def session(number: int, **changes: object) -> SessionRecord:
    values: dict[str, object] = {
        "session_id": f"s{number:03d}",
        "charger_id": "CP1",
        "site_id": "S1",
        "connector_id": 1,
        "transaction_id": str(number),
        "id_token": None,
        "state": SessionState.ACTIVE,
        "started_ms": number // 2,
    }
    return SessionRecord(**(values | changes))  # type: ignore[arg-type]


def sample(number: int, session_id: str = "s1") -> MeterSample:
    return MeterSample(
        ChargerId("CP1"), 1, SessionId(session_id), at_ms=1_000 - number, received_ms=number,
        energy_wh=number, soc_percent=0.5,
    )  # fmt: skip


def line(number: int) -> JournalLine:
    return JournalLine(number, "test.happened", SITE, {"number": number})


async def test_every_record_is_read_back_as_it_was_written(
    writer: StoreWriter, reader: StoreReader
) -> None:
    site = SiteRecord(SiteId("S1"), FeederId("F1"), b"{}", 1)
    feeder = FeederRecord(FeederId("F1"), b"{}", 2)
    charger = ChargerRecord(ChargerId("CP1"), SiteId("S1"), "hash", 3)
    quarantine = QuarantineRecord(ChargerId("CP1"), 4, "WHY", "MeterValues", {"a": [1]})
    snapshot = ActorSnapshot(SITE, b"\x00state")
    decisions = [
        LimitDecision(ChargerId("CP1"), 1, SessionId("s1"), at_ms, 16_000, before_ma, "room")
        for at_ms, before_ma in ((5, None), (6, 6_000))
    ]
    ended = session(1, state=SessionState.ENDED, ended_ms=9, stop_reason="Local", need_wh=5)
    writer.commit(
        CommitBatch(
            records=[site, feeder, charger, quarantine, snapshot, ended, sample(1), *decisions]
        )
    )
    assert await reader.sites() == [site]
    assert await reader.site(SiteId("S1")) == site
    assert await reader.feeders() == [feeder]
    assert await reader.feeder(FeederId("F1")) == feeder
    assert await reader.charger(ChargerId("CP1")) == charger
    assert await reader.chargers_named([ChargerId("CP1"), ChargerId("X")]) == {"CP1": charger}
    assert await reader.sites_of([ChargerId("CP1"), ChargerId("X")]) == {"CP1": charger.site_id}
    assert await reader.quarantined(ChargerId("CP1")) == [quarantine]
    found = await reader.limit_decisions(ChargerId("CP1"), 1, until_ms=6)
    assert found == decisions[::-1]
    assert await reader.limit_decisions(ChargerId("CP1"), 1, until_ms=5) == decisions[:1]
    assert await reader.limit_decisions(ChargerId("CP1"), 2, until_ms=6) == []
    assert await reader.snapshots([SITE]) == {SITE: b"\x00state"}
    assert await reader.session(SessionId("s001")) == ended
    assert await reader.meter_samples(SessionId("s1")) == [sample(1)]


async def test_the_last_word_on_a_key_counts(writer: StoreWriter, reader: StoreReader) -> None:
    first = ChargerRecord(ChargerId("CP1"), SiteId("S1"), None, 1)
    moved = ChargerRecord(ChargerId("CP1"), SiteId("S2"), None, 2)
    gone = ChargerRecord(ChargerId("CP2"), SiteId("S1"), None, 1)
    writer.commit(CommitBatch(records=[first, gone, moved, ChargerRemoved(ChargerId("CP2"))]))
    assert await reader.chargers() == ([moved], "")
    writer.commit(CommitBatch(records=[ChargerRemoved(ChargerId("CP1")), first]))
    assert await reader.chargers() == ([first], "")


async def test_a_certificate_that_was_revoked_stays_so(
    writer: StoreWriter, reader: StoreReader
) -> None:
    """A host that takes over may tell of its hand-over without having heard of the revocation."""
    handed = CertificateRecord(
        "ab", ChargerId("CP1"), "x", "pem", 0, 1, handed_over=HandOver.UNANSWERED
    )
    revoked = replace(handed, revoked_ms=5, revocation_reason="sold")
    for record in (
        handed,
        revoked,
        replace(handed, handed_over=HandOver.ACCEPTED),
        replace(revoked, revoked_ms=9, revocation_reason="again"),
    ):
        writer.commit(CommitBatch(records=[record]))
    assert await reader.certificate("ab") == revoked
    writer.commit(CommitBatch(records=[replace(handed, handed_over=HandOver.ACCEPTED)]))
    assert await reader.certificate("ab") == replace(revoked, handed_over=HandOver.ACCEPTED)


async def test_sites_and_feeders_are_removed(writer: StoreWriter, reader: StoreReader) -> None:
    writer.commit(
        CommitBatch(
            records=[
                SiteRecord(SiteId("S1"), None, b"", 1),
                FeederRecord(FeederId("F1"), b"", 1),
            ]
        )
    )
    writer.commit(CommitBatch(records=[SiteRemoved(SiteId("S1")), FeederRemoved(FeederId("F1"))]))
    assert await reader.sites() == []
    assert await reader.feeders() == []


async def test_a_lost_shard_refuses_the_whole_batch(
    database_url: str, writer: StoreWriter, reader: StoreReader
) -> None:
    engine = open_engine(database_url, writer=True)
    with engine.begin() as connection:
        connection.execute(text("UPDATE shard_owner SET epoch = 7 WHERE shard = 3"))
    engine.dispose()
    writer.commit(CommitBatch(epochs={2: 0, 3: 7}, records=[sample(1)], events=[line(1)]))
    with pytest.raises(Fenced):
        writer.commit(CommitBatch(epochs={2: 0, 3: 6}, records=[sample(2)], events=[line(2)]))
    assert await reader.meter_samples(SessionId("s1")) == [sample(1)]
    assert await reader.last_cursor() == 1


async def test_journal_cursors_are_gapless_and_in_commit_order(
    writer: StoreWriter, reader: StoreReader
) -> None:
    assert await reader.last_cursor() == 0
    assert writer.commit(CommitBatch(records=[sample(1)])) == 0
    assert writer.commit(CommitBatch(events=[line(1), line(2)])) == 1
    assert writer.commit(CommitBatch(events=[line(3)])) == 3
    events = await reader.journal(1)
    assert [(event.cursor, event.data["number"]) for event in events] == [(2, 2), (3, 3)]
    assert events[0].actor == SITE
    assert len(await reader.journal(0, 1)) == 1


async def test_what_cannot_be_stored_goes_to_quarantine_and_the_rest_is_stored(
    writer: StoreWriter, reader: StoreReader
) -> None:
    impossible = MeterSample(ChargerId("CP9"), 1, SessionId("s9"), 1, 1, energy_wh=2**70)
    writer.commit(CommitBatch(records=[sample(1), impossible, sample(2)], events=[line(1)]))
    assert len(await reader.meter_samples(SessionId("s1"))) == 2
    assert await reader.meter_samples(SessionId("s9")) == []
    (kept,) = await reader.quarantined(ChargerId("CP9"))
    assert kept.reason == "UNSTORABLE"
    assert str(2**70) in kept.payload["record"]
    assert await reader.last_cursor() == 1


async def test_pages_neither_skip_nor_repeat(writer: StoreWriter, reader: StoreReader) -> None:
    writer.commit(CommitBatch(records=[session(number) for number in range(25)]))
    seen: list[str] = []
    token = ""
    while True:
        page, token = await reader.sessions(page_size=4, page_token=token)
        seen += [record.session_id for record in page]
        # A newer session that appears meanwhile belongs before the pages already read.
        writer.commit(CommitBatch(records=[session(900 + len(seen))]))
        if not token:
            break
    assert seen == [f"s{number:03d}" for number in reversed(range(25))]
    chargers = [ChargerRecord(ChargerId(f"C{n}"), SiteId("S1"), None, 1) for n in range(5)]
    writer.commit(CommitBatch(records=list(chargers)))
    first, token = await reader.chargers(3)
    rest, end = await reader.chargers(3, token)
    assert (first + rest, end) == (chargers, "")


async def test_sessions_are_filtered(writer: StoreWriter, reader: StoreReader) -> None:
    writer.commit(
        CommitBatch(
            records=[
                session(1),
                session(2, charger_id="CP2"),
                session(3, site_id="S2"),
                session(4, state=SessionState.ENDED),
            ]
        )
    )

    async def ids(**filters: object) -> list[str]:
        found, _ = await reader.sessions(**filters)  # type: ignore[arg-type]
        return [record.session_id for record in found]

    assert await ids(site_id="S2") == ["s003"]
    assert await ids(charger_id="CP2") == ["s002"]
    assert await ids(state=SessionState.ENDED) == ["s004"]


async def test_a_foreign_page_token_is_refused(reader: StoreReader) -> None:
    for token in ("x", "bm9wZQ==", "é"):
        with pytest.raises(InvalidInput):
            await reader.sessions(page_token=token)


async def test_latest_samples_come_in_order_of_receipt(
    writer: StoreWriter, reader: StoreReader
) -> None:
    writer.commit(CommitBatch(records=[sample(number) for number in range(10)]))
    latest = await reader.latest_samples([SessionId("s1"), SessionId("none")], 3)
    assert [s.received_ms for s in latest[SessionId("s1")]] == [7, 8, 9]
    assert latest[SessionId("none")] == []
    assert [s.received_ms for s in await reader.meter_samples(SessionId("s1"), 2)] == [9, 8]


async def test_request_results_are_kept_and_pruned(
    writer: StoreWriter, reader: StoreReader
) -> None:
    writer.commit(CommitBatch(results=[RequestResult("r1", SITE, b"print", b"pending", 900)]))
    result = RequestResult("r1", SITE, b"print", b"answer", 1_000)
    writer.commit(CommitBatch(results=[result]))
    assert await reader.request_result("r1") == result
    assert writer.prune(Retained.RESULTS, 1_000) == 0
    assert writer.prune(Retained.RESULTS, 1_001) == 1
    assert await reader.request_result("r1") is None


def test_migrating_twice_changes_nothing(database_url: str) -> None:
    migrate(database_url)


def test_urls_that_loadstar_does_not_run_on_are_named(tmp_path: Path) -> None:
    for bad in ("mysql://x/y", "sqlite://", "nonsense"):
        with pytest.raises(InvalidInput):
            open_engine(bad, writer=False)
