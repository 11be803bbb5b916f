"""What drivers have: tokens and reservations."""

from __future__ import annotations

from sqlalchemy import desc, select, tuple_

from controlplane.ids import ChargerId, SiteId
from controlplane.store import schema
from controlplane.store.reads.pages import Reads, read_token
from controlplane.store.records import ReservationRecord, ReservationState, TokenRecord

__all__ = ["DriverReads"]


class DriverReads(Reads):
    """Part of `StoreReader`. Every method raises `Unavailable` where the database is away."""

    async def token(self, token_key: str) -> TokenRecord | None:
        """The token of a key (`tokens.token_key`), or None."""
        found = await self._one(schema.token, token_key, TokenRecord)
        return None if found is None or found.removed else found

    async def tokens(
        self, *, group_key: str | None = None, page_size: int = 100, page_token: str = ""
    ) -> tuple[list[TokenRecord], str]:
        """Tokens of a group or of all, in the order of their keys, and the next page's token.

        Raises:
            InvalidInput: a page token that this method did not give out.
        """
        columns = schema.token.c
        query = select(schema.token).where(columns.removed.is_(False)).order_by(columns.token_key)
        if group_key is not None:
            query = query.where(columns.group_key == group_key)
        if page_token:
            (after,) = read_token(page_token, tuple[str])
            query = query.where(columns.token_key > after)
        return await self._page(query, TokenRecord, page_size, lambda last: (last.token_key,))

    async def reservation(self, id: str) -> ReservationRecord | None:
        """The reservation, or None."""
        return await self._one(schema.reservation, id, ReservationRecord)

    async def reservations(
        self,
        *,
        charger_id: ChargerId | None = None,
        site_id: SiteId | None = None,
        open_only: bool = False,
        page_size: int = 100,
        page_token: str = "",
    ) -> tuple[list[ReservationRecord], str]:
        """Reservations, newest first, and the next page's token.

        Raises:
            InvalidInput: a page token that this method did not give out.
        """
        columns = schema.reservation.c
        query = select(schema.reservation).order_by(
            desc(columns.created_ms), desc(columns.reservation_id)
        )
        if charger_id is not None:
            query = query.where(columns.charger_id == charger_id)
        if site_id is not None:
            query = query.where(columns.site_id == site_id)
        if open_only:
            query = query.where(columns.state != ReservationState.ENDED)
        if page_token:
            created_ms, reservation_id = read_token(page_token, tuple[int, str])
            query = query.where(
                tuple_(columns.created_ms, columns.reservation_id)
                < tuple_(created_ms, reservation_id)
            )
        return await self._page(
            query,
            ReservationRecord,
            page_size,
            lambda last: (last.created_ms, last.reservation_id),
        )
