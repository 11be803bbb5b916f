"""What is quarantined, page by page, and what was decided about it, on a real database."""

from __future__ import annotations

import pytest

from controlplane.errors import InvalidInput
from controlplane.ids import ChargerId, SessionId
from controlplane.store.commit import CommitBatch, StoreWriter
from controlplane.store.reader import StoreReader
from controlplane.store.records import (
    QuarantineCleared,
    QuarantineRecord,
    QuarantineResolved,
    QuarantineState,
)

CP1, CP2 = ChargerId("CP1"), ChargerId("CP2")


def held(number: int, charger_id: ChargerId = CP1, **more: str) -> QuarantineRecord:
    return QuarantineRecord(
        charger_id,
        number,
        "transaction_unknown",
        "StopTransaction",
        {"payload": {"meterStop": number}, "facts": {}},
        **more,  # type: ignore[arg-type]
    )


async def test_entries_are_read_back_newest_first_and_by_page(
    writer: StoreWriter, reader: StoreReader
) -> None:
    records = [held(number, CP1 if number % 2 else CP2) for number in range(6)]
    writer.commit(CommitBatch(records=list(records)))
    first, token = await reader.quarantine(page_size=4)
    rest, end = await reader.quarantine(page_size=4, page_token=token)
    assert [entry.record for entry in first + rest] == records[::-1]
    assert end == ""
    mine, _ = await reader.quarantine(charger_id=CP1)
    assert [entry.record.at_ms for entry in mine] == [5, 3, 1]
    assert await reader.quarantined_entry(first[0].quarantine_id) == first[0]
    assert await reader.quarantined_entry(10**12) is None
    with pytest.raises(InvalidInput):
        await reader.quarantine(page_token="nonsense")


async def test_the_first_decision_stands(writer: StoreWriter, reader: StoreReader) -> None:
    writer.commit(CommitBatch(records=[held(1)]))
    ((entry,), _) = await reader.quarantine()
    for state, note in (
        (QuarantineState.RELEASED, "yes"),
        (QuarantineState.DISMISSED, "no"),
    ):
        resolved = QuarantineResolved(entry.quarantine_id, state, SessionId("CP1-1"), 9, note)
        writer.commit(CommitBatch(records=[resolved]))
    ((after,), _) = await reader.quarantine(session_id=SessionId("CP1-1"))
    assert (after.record.state, after.record.note, after.record.resolved_ms) == (
        QuarantineState.RELEASED,
        "yes",
        9,
    )
    assert (await reader.quarantine(state=QuarantineState.OPEN))[0] == []


async def test_what_finds_its_transaction_is_cleared_in_the_same_commit(
    writer: StoreWriter, reader: StoreReader
) -> None:
    cleared = QuarantineCleared(CP1, "tx", SessionId("CP1-7"), 5)
    writer.commit(
        CommitBatch(
            # Whatever order the batch has them in.
            records=[
                QuarantineCleared(CP2, "other", SessionId("CP2-1"), 5),
                held(1, transaction_id="tx"),
                held(2, CP2, transaction_id="tx"),
                held(3, transaction_id="another"),
                cleared,
            ]
        )
    )
    entries, _ = await reader.quarantine(state=QuarantineState.RELEASED)
    assert [(entry.record.at_ms, entry.record.session_id) for entry in entries] == [(1, "CP1-7")]
