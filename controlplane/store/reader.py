"""Reads what actors wrote: for the API, for gateways that look a charger up, for hosts that bring
actors back.

Reads run on threads of their own with connections of their own and never wait for a writer (WAL on
SQLite, MVCC on PostgreSQL). A page token is the key of the last row of the page before, so pages
neither skip nor repeat a row while rows are added."""

from __future__ import annotations

import asyncio
import base64
import binascii
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple, TypeVar

import msgspec
from sqlalchemy import Connection, Row, Select, Table, desc, func, select, tuple_

from controlplane.errors import InvalidInput, Precondition
from controlplane.ids import ActorKind, ActorRef, ChargerId, FeederId, SessionId, SiteId
from controlplane.store import schema
from controlplane.store.commit import RequestResult
from controlplane.store.engine import connected, open_engine
from controlplane.store.look_up import look_up
from controlplane.store.queries import Query, QueryAnswer
from controlplane.store.records import (
    CampaignRecord,
    ChargerRecord,
    CommandRecord,
    CommandStage,
    FeederRecord,
    GridEventRecord,
    JournalEvent,
    LimitDecision,
    MeterSample,
    MonitorRecord,
    QuarantinedEntry,
    QuarantineRecord,
    QuarantineState,
    Record,
    ReservationRecord,
    ReservationState,
    SessionRecord,
    SessionState,
    SiteRecord,
    TokenRecord,
    VariableRecord,
)
from controlplane.store.samples import samples_of_sessions
from controlplane.store.security_reads import SecurityReads

__all__ = ["PAGE_SIZE_MAX", "StoreCounts", "StoreReader"]

PAGE_SIZE_MAX = 1_000
_KEYS_PER_SELECT = 500
_THREADS = 4
_TIMEOUT_S = 10.0

Result = TypeVar("Result")
Found = TypeVar("Found", bound=Record)


class StoreCounts(NamedTuple):
    """How much of everything there is."""

    feeders: int
    sites: int
    chargers: int
    active_sessions: int


class StoreReader(SecurityReads):
    """Typed, paged reads. Every method raises `Unavailable` where the database is away."""

    def __init__(self, url: str) -> None:
        self._engine = open_engine(url, writer=False, timeout_s=_TIMEOUT_S)
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="store-reader")

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
            started_ms, session_id = _read_token(page_token, tuple[int, str])
            query = query.where(
                tuple_(columns.started_ms, columns.session_id) < tuple_(started_ms, session_id)
            )
        return await self._page(
            query, SessionRecord, page_size, lambda last: (last.started_ms, last.session_id)
        )

    async def session(self, id: SessionId) -> SessionRecord | None:
        """The session, or None."""
        return await self._one(schema.session, id, SessionRecord)

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
            (after,) = _read_token(page_token, tuple[str])
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
                for part in _parts(list(ids))
                for record in _records(
                    connection,
                    select(schema.charger).where(columns.charger_id.in_(part)),
                    ChargerRecord,
                )
            }

        return await self._run(read)

    async def sites(self) -> list[SiteRecord]:
        """Every site, in order of ids."""
        query = select(schema.site).order_by(schema.site.c.site_id)
        return await self._run(lambda connection: _records(connection, query, SiteRecord))

    async def site(self, id: SiteId) -> SiteRecord | None:
        """The site as described, or None."""
        return await self._one(schema.site, id, SiteRecord)

    async def feeders(self) -> list[FeederRecord]:
        """Every feeder, in order of ids."""
        query = select(schema.feeder).order_by(schema.feeder.c.feeder_id)
        return await self._run(lambda connection: _records(connection, query, FeederRecord))

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
        return await self._run(lambda connection: _records(connection, query, CampaignRecord))

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
            start_ms, event_id = _read_token(page_token, tuple[int, str])
            query = query.where(
                tuple_(columns.start_ms, columns.event_id) < tuple_(start_ms, event_id)
            )
        return await self._page(
            query, GridEventRecord, page_size, lambda last: (last.start_ms, last.event_id)
        )

    async def grid_event(self, id: str) -> GridEventRecord | None:
        """The grid event, or None."""
        return await self._one(schema.grid_event, id, GridEventRecord)

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
            (after,) = _read_token(page_token, tuple[str])
            query = query.where(columns.token_key > after)
        return await self._page(query, TokenRecord, page_size, lambda last: (last.token_key,))

    async def look_up(self, queries: Sequence[Query]) -> list[QueryAnswer]:
        """The answers to what actors ask, in the order of `queries`, read in one transaction."""
        return await self._run(lambda connection: look_up(connection, queries))

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
            created_ms, reservation_id = _read_token(page_token, tuple[int, str])
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
            created_ms, command_id = _read_token(page_token, tuple[int, str])
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
            for part in _parts(list(charger_ids)):
                query = (
                    select(schema.command)
                    .where(columns.charger_id.in_(part), columns.ended_ms.is_(None))
                    .order_by(columns.created_ms, columns.command_id)
                )
                for record in _records(connection, query, CommandRecord):
                    found.setdefault(record.charger_id, []).append(record)
            return found

        return await self._run(read)

    async def counts(self) -> StoreCounts:
        """How many feeders, sites, chargers and running sessions there are."""
        running = schema.session.c.state == SessionState.ACTIVE
        queries = (
            select(func.count()).select_from(schema.feeder),
            select(func.count()).select_from(schema.site),
            select(func.count()).select_from(schema.charger),
            select(func.count()).select_from(schema.session).where(running),
        )
        return await self._run(
            lambda connection: StoreCounts(
                *(connection.execute(query).scalar_one() for query in queries)
            )
        )

    async def meter_samples(self, session_id: SessionId, limit: int = 1_000) -> list[MeterSample]:
        """The `limit` samples of a session that were received last, in the order of the station's
        clock."""
        latest = await self.latest_samples([session_id], _bounded(limit, 100_000))
        return sorted(latest[session_id], key=lambda sample: sample.at_ms)

    async def latest_samples(
        self, session_ids: Sequence[SessionId], each: int
    ) -> dict[SessionId, list[MeterSample]]:
        """For every session, the `each` samples received last, in the order of receipt."""

        def read(connection: Connection) -> dict[SessionId, list[MeterSample]]:
            found = samples_of_sessions(connection, session_ids, each)
            return {session_id: newest[::-1] for session_id, newest in found.items()}

        return await self._run(read)

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
            .limit(_bounded(limit, PAGE_SIZE_MAX))
        )
        return await self._run(lambda connection: _records(connection, query, LimitDecision))

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
            (before,) = _read_token(page_token, tuple[int])
            query = query.where(columns.quarantine_id < before)
        size = _bounded(page_size, PAGE_SIZE_MAX)
        found = await self._entries(query.limit(size + 1))
        if len(found) <= size:
            return found, ""
        return found[:size], _token((found[size - 1].quarantine_id,))

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

        return await self._run(read)

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
            key, attribute = _read_token(page_token, tuple[str, str])
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
            (after,) = _read_token(page_token, tuple[int])
            query = query.where(columns.monitor_id > after)
        return await self._page(query, MonitorRecord, page_size, lambda last: (last.monitor_id,))

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
            .limit(_bounded(limit, 10_000))
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

        return await self._run(read)

    async def last_cursor(self) -> int:
        """The cursor of the newest event; 0 for an empty journal."""
        query = select(func.max(schema.journal_head.c.cursor))
        return await self._run(lambda connection: connection.execute(query).scalar_one() or 0)

    async def snapshots(self, refs: Sequence[ActorRef]) -> dict[ActorRef, bytes]:
        """The stored states of those of `refs` that have one."""
        columns = schema.actor_snapshot.c

        def read(connection: Connection) -> dict[ActorRef, bytes]:
            found: dict[ActorRef, bytes] = {}
            for kind in ActorKind:
                for part in _parts([ref.id for ref in refs if ref.kind is kind]):
                    query = select(columns.id, columns.state).where(
                        columns.kind == kind, columns.id.in_(part)
                    )
                    for row in connection.execute(query):
                        found[ActorRef(kind, row.id)] = row.state
            return found

        return await self._run(read)

    async def request_result(self, request_id: str) -> RequestResult | None:
        """The stored answer to the request `request_id`, or None."""
        query = select(schema.request_result).where(
            schema.request_result.c.request_id == request_id
        )
        row = await self._run(lambda connection: connection.execute(query).one_or_none())
        if row is None:
            return None
        return RequestResult(
            request_id=row.request_id,
            ref=ActorRef(ActorKind(row.actor_kind), row.actor_id),
            fingerprint=row.fingerprint,
            response=row.response,
            created_ms=row.created_ms,
        )

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

        return await self._run(read)

    async def read(self, read: Callable[[Connection], Result]) -> Result:
        """The result of `read`, which is called on a thread with a connection of this reader.

        Raises:
            Unavailable: the database is away.
        """
        return await self._run(read)

    def abandon(self) -> None:
        """`close`, without waiting for a read that is under way."""
        self._threads.shutdown(wait=False, cancel_futures=True)
        self._engine.dispose()

    def close(self) -> None:
        """End the threads and the connections."""
        self._threads.shutdown(wait=True, cancel_futures=True)
        self._engine.dispose()

    async def _one(self, table: Table, id: str, record: type[Found]) -> Found | None:
        (key,) = table.primary_key
        query = select(table).where(key == id)
        found = await self._run(lambda connection: _records(connection, query, record))
        return found[0] if found else None

    async def _page(
        self,
        query: Select[Any],
        record: type[Found],
        page_size: int,
        key: Callable[[Found], tuple[Any, ...]],
    ) -> tuple[list[Found], str]:
        size = _bounded(page_size, PAGE_SIZE_MAX)
        limited = query.limit(size + 1)
        found = await self._run(lambda connection: _records(connection, limited, record))
        if len(found) <= size:
            return found, ""
        return found[:size], _token(key(found[size - 1]))

    async def _run(self, read: Callable[[Connection], Result]) -> Result:
        def in_thread() -> Result:
            with connected(self._engine) as connection:
                return read(connection)

        return await asyncio.get_running_loop().run_in_executor(self._threads, in_thread)


def _records(connection: Connection, query: Select[Any], record: type[Found]) -> list[Found]:
    return [_record(row, record) for row in connection.execute(query)]


def _record(row: Row[Any], record: type[Found]) -> Found:
    values = row._asdict()
    if record is SessionRecord:
        values["state"] = SessionState(values["state"])
    if record is ReservationRecord:
        values["state"] = ReservationState(values["state"])
    if record is CommandRecord:
        values["stage"] = CommandStage(values["stage"])
    if record is GridEventRecord:
        values["target_kind"] = ActorKind(values["target_kind"])
    return record(**values)


def _bounded(wanted: int, most: int) -> int:
    return max(1, min(wanted, most))


def _parts(ids: list[Any]) -> Iterable[list[Any]]:
    for start in range(0, len(ids), _KEYS_PER_SELECT):
        yield ids[start : start + _KEYS_PER_SELECT]


def _token(key: tuple[Any, ...]) -> str:
    return base64.urlsafe_b64encode(msgspec.json.encode(key)).decode()


def _read_token(token: str, shape: type[Result]) -> Result:
    try:
        return msgspec.json.decode(base64.urlsafe_b64decode(token.encode()), type=shape)
    except (binascii.Error, msgspec.DecodeError, UnicodeEncodeError) as error:
        raise InvalidInput(
            "page_token was not given out by this method", reason="PAGE_TOKEN_INVALID"
        ) from error
