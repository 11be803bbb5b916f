"""Settings and monitors of chargers: replaced by key, forgotten with a complete report, read in
pages."""

from __future__ import annotations

import msgspec
import pytest

from controlplane.errors import InvalidInput
from controlplane.ids import ChargerId
from controlplane.store.commit import CommitBatch, StoreWriter
from controlplane.store.reader import StoreReader
from controlplane.store.records import (
    MonitorRecord,
    MonitorRemoved,
    MonitorsReplaced,
    Record,
    VariableRecord,
    VariablesReplaced,
    VariableValue,
)

CP1, CP2 = ChargerId("CP1"), ChargerId("CP2")


def variable(
    key: str, value: str | None = "1", *, at_ms: int = 1, **said: object
) -> VariableRecord:
    record = VariableRecord(
        CP1, key, "Actual", "C", "", 0, 0, "V", "", value, "ReadOnly", True, False, "integer",
        "W", 0.5, 9.0, "", True, at_ms,
    )  # fmt: skip
    return msgspec.structs.replace(record, **said)


def new_value(key: str, value: str, *, at_ms: int) -> VariableValue:
    return VariableValue(CP1, key, "Actual", "C", "", 0, 0, "V", "", value, at_ms)


def commit(writer: StoreWriter, *records: Record) -> None:
    writer.commit(CommitBatch(records=list(records)))


async def test_a_new_value_leaves_what_else_is_known(
    writer: StoreWriter, reader: StoreReader
) -> None:
    commit(writer, variable("C.V"))
    commit(writer, new_value("C.V", "2", at_ms=5), new_value("C.New", "3", at_ms=5))
    found, _ = await reader.variables(CP1)
    assert found == [
        msgspec.structs.replace(
            variable("C.New", "3", at_ms=5),
            mutability="",
            persistent=False,
            data_type="",
            unit="",
            limit_min=None,
            limit_max=None,
            supports_monitoring=False,
        ),
        variable("C.V", "2", at_ms=5),
    ]


async def test_the_last_word_of_a_batch_counts(writer: StoreWriter, reader: StoreReader) -> None:
    commit(
        writer,
        new_value("A.V", "old", at_ms=1),
        variable("A.V", "new", at_ms=2),
        variable("B.V", "old", at_ms=1),
        new_value("B.V", "new", at_ms=2),
    )
    found, _ = await reader.variables(CP1)
    assert found == [variable("A.V", "new", at_ms=2), variable("B.V", "new", at_ms=2)]


async def test_a_complete_report_forgets_what_it_does_not_name(
    writer: StoreWriter, reader: StoreReader
) -> None:
    other = variable("C.Old", charger_id=CP2)
    commit(writer, variable("C.Old"), variable("C.V"), other)
    commit(writer, variable("C.V", at_ms=10), VariablesReplaced(CP1, 10))
    assert (await reader.variables(CP1))[0] == [variable("C.V", at_ms=10)]
    assert (await reader.variables(CP2))[0] == [other]


async def test_settings_come_in_pages_and_by_a_part_of_their_key(
    writer: StoreWriter, reader: StoreReader
) -> None:
    keys = [f"C.V{number}" for number in range(5)] + ["Percent_100%.V"]
    commit(writer, *(variable(key) for key in keys))
    found: list[str] = []
    token = ""
    while True:
        page, token = await reader.variables(CP1, page_size=2, page_token=token)
        found.extend(record.key for record in page)
        if not token:
            break
    assert found == keys
    for part, matching in (("v3", ["C.V3"]), ("t_1", keys[-1:]), ("0%", keys[-1:]), ("%x", [])):
        page, _ = await reader.variables(CP1, filter=part)
        assert [record.key for record in page] == matching
    with pytest.raises(InvalidInput):
        await reader.variables(CP1, page_token="nonsense")


async def test_monitors_are_replaced_removed_and_forgotten(
    writer: StoreWriter, reader: StoreReader
) -> None:
    first = MonitorRecord(CP1, 1, "C.V", "Delta", 1.5, 3, True, 1)
    second = msgspec.structs.replace(first, monitor_id=2)
    third = msgspec.structs.replace(first, monitor_id=3, reported_ms=9)
    commit(writer, first, second, third)
    commit(writer, msgspec.structs.replace(first, severity=0), MonitorRemoved(CP1, 2))
    page, token = await reader.monitors(CP1, page_size=1)
    assert page == [msgspec.structs.replace(first, severity=0)]
    assert (await reader.monitors(CP1, page_token=token))[0] == [third]
    commit(writer, MonitorsReplaced(CP1, 5))
    assert (await reader.monitors(CP1))[0] == [third]
