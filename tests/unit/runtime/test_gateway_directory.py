"""The gateway's cache of the directory: what was read before a change is not kept after it."""

from __future__ import annotations

import asyncio
from typing import Any, cast

from controlplane.ids import ChargerId, SiteId
from controlplane.runtime.directory import Directory
from controlplane.store.reader import StoreReader
from controlplane.store.records import ChargerRecord


class SlowReader:
    """Answers when it is let, with what stood there when it was asked."""

    def __init__(self) -> None:
        self.site_id = SiteId("before")
        self.go_on = asyncio.Event()

    async def admission(self, charger_id: ChargerId) -> Any:
        site_id = self.site_id
        await self.go_on.wait()
        return ChargerRecord(charger_id, site_id, None, 0), None


async def test_an_entry_that_changed_while_it_was_read_is_read_again() -> None:
    reader = SlowReader()
    directory = Directory(cast(StoreReader, reader))
    first = asyncio.create_task(directory.find(ChargerId("CP1")))
    await asyncio.sleep(0)
    reader.site_id = SiteId("after")
    directory.forget(ChargerId("CP1"))
    reader.go_on.set()
    await first
    found = await directory.find(ChargerId("CP1"))
    assert found is not None and found.site_id == "after"
