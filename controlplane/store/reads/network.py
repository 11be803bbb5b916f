"""Sites, feeders, and what is going on there: firmware campaigns and grid events."""

from __future__ import annotations

from typing import NamedTuple

from sqlalchemy import desc, func, select, tuple_

from controlplane.ids import ActorRef, FeederId, SiteId
from controlplane.store import schema
from controlplane.store.reads.pages import Reads, read_token, records
from controlplane.store.records import (
    CampaignRecord,
    FeederRecord,
    GridEventRecord,
    SessionState,
    SiteRecord,
)

__all__ = ["NetworkReads", "StoreCounts"]


class StoreCounts(NamedTuple):
    """How much of everything there is."""

    feeders: int
    sites: int
    chargers: int
    active_sessions: int


class NetworkReads(Reads):
    """Part of `StoreReader`. Every method raises `Unavailable` where the database is away."""

    async def sites(self) -> list[SiteRecord]:
        """Every site, in order of ids."""
        query = select(schema.site).order_by(schema.site.c.site_id)
        return await self.read(lambda connection: records(connection, query, SiteRecord))

    async def site(self, id: SiteId) -> SiteRecord | None:
        """The site as described, or None."""
        return await self._one(schema.site, id, SiteRecord)

    async def feeders(self) -> list[FeederRecord]:
        """Every feeder, in order of ids."""
        query = select(schema.feeder).order_by(schema.feeder.c.feeder_id)
        return await self.read(lambda connection: records(connection, query, FeederRecord))

    async def feeder(self, id: FeederId) -> FeederRecord | None:
        """The feeder as described, or None."""
        return await self._one(schema.feeder, id, FeederRecord)

    async def campaigns(self, *, only_open: bool = False) -> list[CampaignRecord]:
        """Firmware campaigns, the newest first.

        Raises:
            Unavailable: the database is away.
        """
        query = select(schema.campaign).order_by(desc(schema.campaign.c.updated_ms))
        if only_open:
            query = query.where(schema.campaign.c.open)
        return await self.read(lambda connection: records(connection, query, CampaignRecord))

    async def grid_events(
        self,
        *,
        target: ActorRef | None = None,
        open_only: bool = False,
        page_size: int = 100,
        page_token: str = "",
    ) -> tuple[list[GridEventRecord], str]:
        """Grid events of a target or of all, the latest start first, and the next page's token.

        Raises:
            InvalidInput: a page token that this method did not give out.
        """
        columns = schema.grid_event.c
        query = select(schema.grid_event).order_by(desc(columns.start_ms), desc(columns.event_id))
        if target is not None:
            query = query.where(columns.target_kind == target.kind, columns.target_id == target.id)
        if open_only:
            query = query.where(columns.open.is_(True))
        if page_token:
            start_ms, event_id = read_token(page_token, tuple[int, str])
            query = query.where(
                tuple_(columns.start_ms, columns.event_id) < tuple_(start_ms, event_id)
            )
        return await self._page(
            query, GridEventRecord, page_size, lambda last: (last.start_ms, last.event_id)
        )

    async def grid_event(self, id: str) -> GridEventRecord | None:
        """The grid event, or None."""
        return await self._one(schema.grid_event, id, GridEventRecord)

    async def counts(self) -> StoreCounts:
        """How many feeders, sites, chargers and running sessions there are."""
        running = schema.session.c.state == SessionState.ACTIVE
        queries = (
            select(func.count()).select_from(schema.feeder),
            select(func.count()).select_from(schema.site),
            select(func.count()).select_from(schema.charger),
            select(func.count()).select_from(schema.session).where(running),
        )
        return await self.read(
            lambda connection: StoreCounts(
                *(connection.execute(query).scalar_one() for query in queries)
            )
        )
