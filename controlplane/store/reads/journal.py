"""The journal, by cursor."""

from __future__ import annotations

import msgspec
from sqlalchemy import Connection, func, select

from controlplane.errors import Precondition
from controlplane.ids import ActorKind, ActorRef
from controlplane.store import schema
from controlplane.store.reads.pages import Reads, bounded
from controlplane.store.records import JournalEvent

__all__ = ["JournalReads"]


class JournalReads(Reads):
    """Part of `StoreReader`. Every method raises `Unavailable` where the database is away."""

    async def journal(self, after: int, limit: int = 1_000) -> list[JournalEvent]:
        """Up to `limit` events with a cursor above `after`, oldest first; above 0: from the oldest
        that is kept.

        Raises:
            Precondition: some of them were pruned.
        """
        query = (
            select(schema.journal)
            .where(schema.journal.c.cursor > after)
            .order_by(schema.journal.c.cursor)
            .limit(bounded(limit, 10_000))
        )

        pruned = select(func.max(schema.journal_head.c.pruned_cursor))

        def read(connection: Connection) -> list[JournalEvent]:
            events = [
                JournalEvent(
                    cursor=row.cursor,
                    at_ms=row.at_ms,
                    kind=row.kind,
                    actor=ActorRef(ActorKind(row.actor_kind), row.actor_id),
                    data=msgspec.json.decode(row.data),
                )
                for row in connection.execute(query)
            ]
            # Asked afterwards: what is pruned in between is missed by the question before.
            oldest = connection.execute(pruned).scalar_one()
            if 0 < after < oldest:
                raise Precondition(
                    f"the journal is kept from cursor {oldest + 1} on",
                    reason="JOURNAL_PRUNED",
                    metadata={"cursor": str(oldest)},
                )
            return events

        return await self.read(read)

    async def last_cursor(self) -> int:
        """The cursor of the newest event; 0 for an empty journal."""
        query = select(func.max(schema.journal_head.c.cursor))
        return await self.read(lambda connection: connection.execute(query).scalar_one() or 0)
