"""One reader of the journal for all the streams of an API server.

Every stream follows the same tail, so a thousand watchers cost the journal one reader. Nothing is
queued per watcher: each holds a cursor into the recent events that are kept here, and one that has
fallen behind them reads the journal itself until it has caught up. Invariant: a follower is given
every event after its cursor, once, in order."""

from __future__ import annotations

import asyncio
from bisect import bisect_right
from collections.abc import AsyncIterator
from contextlib import suppress

import structlog

from controlplane.errors import LoadstarError
from controlplane.runtime.client import ActorClient, JournalEvent

__all__ = ["JournalFeed"]

_KEPT = 10_000
_BATCH = 1_000
_WAIT_S = 10.0
_RETRY_S = 1.0

_log = structlog.get_logger(__name__)


class JournalFeed:
    """The tail of the journal, read once and followed by many."""

    def __init__(self, client: ActorClient) -> None:
        self._client = client
        self._recent: list[JournalEvent] = []
        self._floor = 0
        """Every event after this cursor is in `_recent`, as far as the tail has come."""
        self._cursor = 0
        self._fault: LoadstarError | None = None
        self._changed = asyncio.Condition()
        self._tail: asyncio.Task[None] | None = None

    @property
    def cursor(self) -> int:
        """The cursor of the newest event that was read."""
        return self._cursor

    async def start(self) -> None:
        """Begin at the journal's present end.

        Raises:
            Unavailable: the journal is out of reach.
        """
        self._cursor = self._floor = await self._client.last_cursor()
        self._tail = asyncio.create_task(self._read(), name="journal-feed")

    async def stop(self) -> None:
        """End reading; followers are to be ended by their own tasks."""
        if self._tail is not None:
            self._tail.cancel()
            with suppress(asyncio.CancelledError):
                await self._tail

    async def follow(self, after: int) -> AsyncIterator[list[JournalEvent]]:
        """Events with a cursor above `after`, in batches, for ever.

        Raises:
            LoadstarError: the journal is out of reach.
        """
        while True:
            if after < self._floor:
                batch = await self._client.events(after, limit=_BATCH, timeout_s=_WAIT_S)
            else:
                batch = await self._after(after)
            if batch:
                yield batch
                after = batch[-1].cursor

    async def _after(self, cursor: int) -> list[JournalEvent]:
        async with self._changed:
            while cursor >= self._cursor:
                if self._fault is not None:
                    raise self._fault
                await self._changed.wait()
            if cursor < self._floor:
                return []
            first = bisect_right(self._recent, cursor, key=lambda event: event.cursor)
            return self._recent[first : first + _BATCH]

    async def _read(self) -> None:
        while True:
            fault: LoadstarError | None = None
            batch: list[JournalEvent] = []
            try:
                batch = await self._client.events(self._cursor, limit=_BATCH, timeout_s=_WAIT_S)
            except LoadstarError as error:
                fault = error
            if (fault is None) != (self._fault is None):
                _log.warning("journal_feed", fault=fault and fault.message)
            if batch or fault is not self._fault:
                await self._take(batch, fault)
            if fault is not None:
                await asyncio.sleep(_RETRY_S)

    async def _take(self, batch: list[JournalEvent], fault: LoadstarError | None) -> None:
        async with self._changed:
            self._fault = fault
            self._recent.extend(batch)
            if batch:
                self._cursor = batch[-1].cursor
            # Cut in large pieces: deleting at the front of a list moves all that follows.
            if len(self._recent) > 2 * _KEPT:
                self._floor = self._recent[-_KEPT - 1].cursor
                del self._recent[:-_KEPT]
            self._changed.notify_all()
