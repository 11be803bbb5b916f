"""The newest journal events in memory, so that watchers need not ask the database.

Cursors are given out without gaps, in the order of commits (`store/commit.py`). A ring that has
seen cursor n and is given n + 2 knows that another host wrote in between: it then holds only what
follows, and whoever needs the rest reads the store. So a reader by cursor misses nothing, whether
it is served from memory or not."""

from __future__ import annotations

import asyncio
from collections import deque
from contextlib import suppress
from itertools import islice

from controlplane.store.records import JournalEvent

__all__ = ["Ring"]

_EVENTS_MAX = 10_000


class Ring:
    """A gapless run of the newest events."""

    def __init__(self, events_max: int = _EVENTS_MAX) -> None:
        self._events: deque[JournalEvent] = deque(maxlen=events_max)
        self._arrived = asyncio.Event()

    @property
    def newest(self) -> int | None:
        """The cursor of the newest event; None while there is none."""
        return self._events[-1].cursor if self._events else None

    def append(self, events: list[JournalEvent]) -> None:
        """Add events that were committed, oldest first; wakes who waits."""
        for event in events:
            if self._events and event.cursor <= self._events[-1].cursor:
                continue
            if self._events and event.cursor != self._events[-1].cursor + 1:
                self._events.clear()
            self._events.append(event)
        self._arrived.set()
        self._arrived = asyncio.Event()

    def after(self, cursor: int, limit: int) -> list[JournalEvent] | None:
        """Up to `limit` events that follow `cursor`; None where the ring does not reach back so
        far."""
        if not self._events or cursor < self._events[0].cursor - 1:
            return None
        skipped = cursor - self._events[0].cursor + 1
        return list(islice(self._events, skipped, skipped + limit))

    async def wait(self, timeout_s: float) -> None:
        """Until something is added, or the time is over."""
        # Not asyncio.wait_for: until Python 3.12 it can swallow a cancellation.
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                await self._arrived.wait()
