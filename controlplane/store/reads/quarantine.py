"""What is quarantined."""

from __future__ import annotations

from typing import Any

import msgspec
from sqlalchemy import Connection, Select, desc, select

from controlplane.ids import ChargerId, SessionId
from controlplane.store import schema
from controlplane.store.reads.pages import PAGE_SIZE_MAX, Reads, bounded, read_token, token_of
from controlplane.store.records import QuarantinedEntry, QuarantineRecord, QuarantineState

__all__ = ["QuarantineReads"]


class QuarantineReads(Reads):
    """Part of `StoreReader`. Every method raises `Unavailable` where the database is away."""

    async def quarantined(self, charger_id: ChargerId, limit: int = 100) -> list[QuarantineRecord]:
        """The newest `limit` quarantined records of a charger, newest first."""
        entries, _ = await self.quarantine(charger_id=charger_id, page_size=limit)
        return [entry.record for entry in entries]

    async def quarantine(
        self,
        *,
        charger_id: ChargerId | None = None,
        session_id: SessionId | None = None,
        state: QuarantineState | None = None,
        page_size: int = 100,
        page_token: str = "",
    ) -> tuple[list[QuarantinedEntry], str]:
        """What is quarantined, newest first, and the token of the next page.

        Raises:
            InvalidInput: a page token that this method did not give out.
        """
        columns = schema.quarantine.c
        query = select(schema.quarantine).order_by(desc(columns.quarantine_id))
        if charger_id is not None:
            query = query.where(columns.charger_id == charger_id)
        if session_id is not None:
            query = query.where(columns.session_id == session_id)
        if state is not None:
            query = query.where(columns.state == state)
        if page_token:
            (before,) = read_token(page_token, tuple[int])
            query = query.where(columns.quarantine_id < before)
        size = bounded(page_size, PAGE_SIZE_MAX)
        found = await self._entries(query.limit(size + 1))
        if len(found) <= size:
            return found, ""
        return found[:size], token_of((found[size - 1].quarantine_id,))

    async def quarantined_entry(self, id: int) -> QuarantinedEntry | None:
        """The quarantined entry of this number, or None."""
        found = await self._entries(
            select(schema.quarantine).where(schema.quarantine.c.quarantine_id == id)
        )
        return found[0] if found else None

    async def _entries(self, query: Select[Any]) -> list[QuarantinedEntry]:
        def read(connection: Connection) -> list[QuarantinedEntry]:
            entries = []
            for row in connection.execute(query):
                values = row._asdict() | {
                    "payload": msgspec.json.decode(row.payload),
                    "state": QuarantineState(row.state),
                }
                number = values.pop("quarantine_id")
                entries.append(QuarantinedEntry(number, QuarantineRecord(**values)))
            return entries

        return await self.read(read)
