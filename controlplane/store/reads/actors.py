"""What a host needs to bring actors back, and what they ask while they live."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Connection, select

from controlplane.ids import ActorKind, ActorRef
from controlplane.store import schema
from controlplane.store.look_up import look_up
from controlplane.store.queries import Query, QueryAnswer
from controlplane.store.reads.pages import Reads, parts

__all__ = ["ActorReads"]


class ActorReads(Reads):
    """Part of `StoreReader`. Every method raises `Unavailable` where the database is away."""

    async def snapshots(self, refs: Sequence[ActorRef]) -> dict[ActorRef, bytes]:
        """The stored states of those of `refs` that have one."""
        columns = schema.actor_snapshot.c

        def read(connection: Connection) -> dict[ActorRef, bytes]:
            found: dict[ActorRef, bytes] = {}
            for kind in ActorKind:
                for part in parts([ref.id for ref in refs if ref.kind is kind]):
                    query = select(columns.id, columns.state).where(
                        columns.kind == kind, columns.id.in_(part)
                    )
                    for row in connection.execute(query):
                        found[ActorRef(kind, row.id)] = row.state
            return found

        return await self.read(read)

    async def activated_refs(self) -> list[ActorRef]:
        """The actors that live without being called: every feeder and site, and the campaigns under
        way."""
        open_campaigns = schema.campaign.c.open.is_(True)

        def read(connection: Connection) -> list[ActorRef]:
            campaigns = select(schema.campaign.c.campaign_id).where(open_campaigns)
            return [
                ActorRef(kind, row[0])
                for kind, query in (
                    (ActorKind.FEEDER, select(schema.feeder.c.feeder_id)),
                    (ActorKind.SITE, select(schema.site.c.site_id)),
                    (ActorKind.CAMPAIGN, campaigns),
                )
                for row in connection.execute(query)
            ]

        return await self.read(read)

    async def look_up(self, queries: Sequence[Query]) -> list[QueryAnswer]:
        """The answers to what actors ask, in the order of `queries`, read in one transaction."""
        return await self.read(lambda connection: look_up(connection, queries))
