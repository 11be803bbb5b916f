"""What was asked for: commands, and the answers to requests that carried an id."""

from __future__ import annotations

from collections.abc import Iterable

from sqlalchemy import Connection, desc, select, tuple_

from controlplane.ids import ActorKind, ActorRef, ChargerId
from controlplane.store import schema
from controlplane.store.commit import RequestResult
from controlplane.store.reads.pages import Reads, parts, read_token, records
from controlplane.store.records import CommandRecord

__all__ = ["CommandReads"]


class CommandReads(Reads):
    """Part of `StoreReader`. Every method raises `Unavailable` where the database is away."""

    async def command(self, id: str) -> CommandRecord | None:
        """The command, or None."""
        return await self._one(schema.command, id, CommandRecord)

    async def commands(
        self,
        *,
        charger_id: ChargerId | None = None,
        open_only: bool = False,
        page_size: int = 100,
        page_token: str = "",
    ) -> tuple[list[CommandRecord], str]:
        """Commands, newest first, and the next page's token.

        Raises:
            InvalidInput: a page token that this method did not give out.
        """
        columns = schema.command.c
        query = select(schema.command).order_by(desc(columns.created_ms), desc(columns.command_id))
        if charger_id is not None:
            query = query.where(columns.charger_id == charger_id)
        if open_only:
            query = query.where(columns.ended_ms.is_(None))
        if page_token:
            created_ms, command_id = read_token(page_token, tuple[int, str])
            query = query.where(
                tuple_(columns.created_ms, columns.command_id) < tuple_(created_ms, command_id)
            )
        return await self._page(
            query, CommandRecord, page_size, lambda last: (last.created_ms, last.command_id)
        )

    async def open_commands(
        self, charger_ids: Iterable[ChargerId]
    ) -> dict[ChargerId, list[CommandRecord]]:
        """The commands of these chargers that have not come to their end, the oldest first."""
        columns = schema.command.c

        def read(connection: Connection) -> dict[ChargerId, list[CommandRecord]]:
            found: dict[ChargerId, list[CommandRecord]] = {}
            for part in parts(list(charger_ids)):
                query = (
                    select(schema.command)
                    .where(columns.charger_id.in_(part), columns.ended_ms.is_(None))
                    .order_by(columns.created_ms, columns.command_id)
                )
                for record in records(connection, query, CommandRecord):
                    found.setdefault(record.charger_id, []).append(record)
            return found

        return await self.read(read)

    async def request_result(self, request_id: str) -> RequestResult | None:
        """The stored answer to the request `request_id`, or None."""
        query = select(schema.request_result).where(
            schema.request_result.c.request_id == request_id
        )
        row = await self.read(lambda connection: connection.execute(query).one_or_none())
        if row is None:
            return None
        return RequestResult(
            request_id=row.request_id,
            ref=ActorRef(ActorKind(row.actor_kind), row.actor_id),
            fingerprint=row.fingerprint,
            response=row.response,
            created_ms=row.created_ms,
        )
