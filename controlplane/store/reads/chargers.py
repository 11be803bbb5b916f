"""The directory of chargers, and the settings and monitors that they reported."""

from __future__ import annotations

from collections.abc import Iterable

from sqlalchemy import Connection, func, select, tuple_

from controlplane.ids import ChargerId, SiteId
from controlplane.store import schema
from controlplane.store.reads.pages import Reads, parts, read_token, records
from controlplane.store.records import ChargerRecord, MonitorRecord, VariableRecord

__all__ = ["ChargerReads"]


class ChargerReads(Reads):
    """Part of `StoreReader`. Every method raises `Unavailable` where the database is away."""

    async def chargers(
        self, page_size: int = 100, page_token: str = "", *, site_id: SiteId | None = None
    ) -> tuple[list[ChargerRecord], str]:
        """The directory in order of charger ids, and the token of the next page.

        Raises:
            InvalidInput: a page token that this method did not give out.
        """
        columns = schema.charger.c
        query = select(schema.charger).order_by(columns.charger_id)
        if site_id is not None:
            query = query.where(columns.site_id == site_id)
        if page_token:
            (after,) = read_token(page_token, tuple[str])
            query = query.where(columns.charger_id > after)
        return await self._page(query, ChargerRecord, page_size, lambda last: (last.charger_id,))

    async def charger(self, id: ChargerId) -> ChargerRecord | None:
        """The directory's entry, or None."""
        return await self._one(schema.charger, id, ChargerRecord)

    async def chargers_named(self, ids: Iterable[ChargerId]) -> dict[ChargerId, ChargerRecord]:
        """The directory's entries of those of `ids` that it holds."""
        columns = schema.charger.c

        def read(connection: Connection) -> dict[ChargerId, ChargerRecord]:
            return {
                record.charger_id: record
                for part in parts(list(ids))
                for record in records(
                    connection,
                    select(schema.charger).where(columns.charger_id.in_(part)),
                    ChargerRecord,
                )
            }

        return await self.read(read)

    async def sites_of(self, ids: Iterable[ChargerId]) -> dict[ChargerId, SiteId | None]:
        """The site, or that it has none, of each of `ids` that the directory holds."""
        columns = schema.charger.c

        def read(connection: Connection) -> dict[ChargerId, SiteId | None]:
            found: dict[ChargerId, SiteId | None] = {}
            for part in parts(list(ids)):
                query = select(columns.charger_id, columns.site_id).where(
                    columns.charger_id.in_(part)
                )
                found.update((row[0], row[1]) for row in connection.execute(query))
            return found

        return await self.read(read)

    async def variables(
        self,
        charger_id: ChargerId,
        *,
        filter: str = "",
        page_size: int = 100,
        page_token: str = "",
    ) -> tuple[list[VariableRecord], str]:
        """Settings of a charger in order of their keys, and the token of the next page. `filter` is
        a part of the key, in any case of letters.

        Raises:
            InvalidInput: a page token that this method did not give out.
        """
        columns = schema.charger_variable.c
        query = (
            select(schema.charger_variable)
            .where(columns.charger_id == charger_id)
            .order_by(columns.key, columns.attribute)
        )
        if filter:
            query = query.where(
                func.lower(columns.key).contains(filter.casefold(), autoescape=True)
            )
        if page_token:
            key, attribute = read_token(page_token, tuple[str, str])
            query = query.where(tuple_(columns.key, columns.attribute) > tuple_(key, attribute))
        return await self._page(
            query, VariableRecord, page_size, lambda last: (last.key, last.attribute)
        )

    async def monitors(
        self, charger_id: ChargerId, *, page_size: int = 100, page_token: str = ""
    ) -> tuple[list[MonitorRecord], str]:
        """Monitors of a charger in order of their ids, and the token of the next page.

        Raises:
            InvalidInput: a page token that this method did not give out.
        """
        columns = schema.charger_monitor.c
        query = (
            select(schema.charger_monitor)
            .where(columns.charger_id == charger_id)
            .order_by(columns.monitor_id)
        )
        if page_token:
            (after,) = read_token(page_token, tuple[int])
            query = query.where(columns.monitor_id > after)
        return await self._page(query, MonitorRecord, page_size, lambda last: (last.monitor_id,))
