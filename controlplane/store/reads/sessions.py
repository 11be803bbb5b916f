"""Sessions, what was measured in them, and what limits their connectors were given."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from sqlalchemy import Connection, desc, select, tuple_

from controlplane.ids import ChargerId, SessionId, SiteId
from controlplane.store import schema
from controlplane.store.reads.pages import PAGE_SIZE_MAX, Reads, bounded, read_token, records
from controlplane.store.records import LimitDecision, MeterSample, SessionRecord, SessionState
from controlplane.store.samples import (
    DAY_MS,
    days_of_session,
    sample_days,
    samples_of_sessions,
    strongest_of_day,
)

__all__ = ["SessionReads"]


class SessionReads(Reads):
    """Part of `StoreReader`. Every method raises `Unavailable` where the database is away."""

    async def sessions(
        self,
        *,
        site_id: SiteId | None = None,
        charger_id: ChargerId | None = None,
        state: SessionState | None = None,
        page_size: int = 100,
        page_token: str = "",
    ) -> tuple[list[SessionRecord], str]:
        """Sessions, newest first, and the token of the next page ("" after the last).

        Raises:
            InvalidInput: a page token that this method did not give out.
        """
        columns = schema.session.c
        query = select(schema.session).order_by(desc(columns.started_ms), desc(columns.session_id))
        if site_id is not None:
            query = query.where(columns.site_id == site_id)
        if charger_id is not None:
            query = query.where(columns.charger_id == charger_id)
        if state is not None:
            query = query.where(columns.state == state)
        if page_token:
            started_ms, session_id = read_token(page_token, tuple[int, str])
            query = query.where(
                tuple_(columns.started_ms, columns.session_id) < tuple_(started_ms, session_id)
            )
        return await self._page(
            query, SessionRecord, page_size, lambda last: (last.started_ms, last.session_id)
        )

    async def sessions_begun(
        self,
        site_id: SiteId,
        *,
        from_ms: int,
        until_ms: int,
        page_size: int = PAGE_SIZE_MAX,
        page_token: str = "",
    ) -> tuple[list[SessionRecord], str]:
        """Sessions of a site that began at `from_ms` or later and before `until_ms`, the oldest
        first, and the token of the next page ("" after the last).

        Raises:
            InvalidInput: a page token that this method did not give out.
        """
        columns = schema.session.c
        query = (
            select(schema.session)
            .where(
                columns.site_id == site_id,
                columns.started_ms >= from_ms,
                columns.started_ms < until_ms,
            )
            .order_by(columns.started_ms, columns.session_id)
        )
        if page_token:
            started_ms, session_id = read_token(page_token, tuple[int, str])
            query = query.where(
                tuple_(columns.started_ms, columns.session_id) > tuple_(started_ms, session_id)
            )
        return await self._page(
            query, SessionRecord, page_size, lambda last: (last.started_ms, last.session_id)
        )

    async def strongest_w(self, sessions: Sequence[SessionRecord]) -> dict[SessionId, int]:
        """The highest power that samples show of each session; those without any are left out.
        One read for each day, so that others come in between."""
        if not sessions:
            return {}
        spans = {each.session_id: days_of_session(each) for each in sessions}
        first, last = min(span[0] for span in spans.values()), max(s[1] for s in spans.values())
        days = await self.read(
            lambda connection: sample_days(
                connection, from_ms=first * DAY_MS, until_ms=(last + 1) * DAY_MS
            )
        )
        found: dict[SessionId, int] = {}
        for day in days:
            wanted = [each for each, (begins, ends) in spans.items() if begins <= day <= ends]
            of_day = await self.read(partial(strongest_of_day, day=day, session_ids=wanted))
            for session_id, power_w in of_day.items():
                found[session_id] = max(found.get(session_id, 0), power_w)
        return found

    async def session(self, id: SessionId) -> SessionRecord | None:
        """The session, or None."""
        return await self._one(schema.session, id, SessionRecord)

    async def meter_samples(self, session_id: SessionId, limit: int = 1_000) -> list[MeterSample]:
        """The `limit` samples of a session that were received last, in the order of the station's
        clock."""
        latest = await self.latest_samples([session_id], bounded(limit, 100_000))
        return sorted(latest[session_id], key=lambda sample: sample.at_ms)

    async def latest_samples(
        self, session_ids: Sequence[SessionId], each: int
    ) -> dict[SessionId, list[MeterSample]]:
        """For every session, the `each` samples received last, in the order of receipt."""

        def read(connection: Connection) -> dict[SessionId, list[MeterSample]]:
            found = samples_of_sessions(connection, session_ids, each)
            return {session_id: newest[::-1] for session_id, newest in found.items()}

        return await self.read(read)

    async def limit_decisions(
        self, charger_id: ChargerId, connector_id: int, *, until_ms: int, limit: int = 10
    ) -> list[LimitDecision]:
        """The `limit` decisions about a connector that were taken last at or before `until_ms`,
        newest first."""
        columns = schema.limit_decision.c
        query = (
            select(*(columns[name] for name in LimitDecision.__struct_fields__))
            .where(
                columns.charger_id == charger_id,
                columns.connector_id == connector_id,
                columns.at_ms <= until_ms,
            )
            .order_by(desc(columns.at_ms), desc(columns.decision_id))
            .limit(bounded(limit, PAGE_SIZE_MAX))
        )
        return await self.read(lambda connection: records(connection, query, LimitDecision))
