"""The newest journal events in memory, so that watchers need not ask the database.

Cursors are given out without gaps, in the order of commits (`store/commit.py`). A ring that has
seen cursor n and is given n + 2 knows that another host wrote in between: it holds that back until
n + 1 has come too, or so much that it must have been lost; whoever waits too long reads the store.
So a reader by cursor misses nothing, whether it is served from memory or not."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from itertools import islice

from controlplane.store.records import JournalEvent

__all__ = ["Ring"]

_EVENTS_MAX = 10_000
_EARLY_MAX = 2_000


class Ring:
    """A gapless run of the newest events."""

    def __init__(self, events_max: int = _EVENTS_MAX) -> None:
        self._events: deque[JournalEvent] = deque(maxlen=events_max)
        self._early: dict[int, JournalEvent] = {}
        self._base = 0
        """Of an empty run: the cursor that it follows; 0 where that is not known."""
        self._head = 0
        self._arrived = asyncio.Event()

    @property
    def early(self) -> bool:
        """Whether there are newer events than the run holds."""
        return bool(self._early)

    @property
    def last(self) -> int:
        """The cursor at which the run ends; 0 where that is not known."""
        return self._events[-1].cursor if self._events else self._base

    def append(self, events: Sequence[JournalEvent]) -> None:
        """Add events that were committed by one host, oldest first; wakes who waits. Hosts commit
        side by side, so what comes too early waits for what belongs before it."""
        for event in events:
            last = self.last
            if last == 0 or event.cursor == last + 1:
                self._events.append(event)
                self._join_early()
            elif event.cursor > last:
                self._early[event.cursor] = event
        if len(self._early) > _EARLY_MAX:
            # What lies between is not coming; the store has it.
            self._begin_behind(min(self._early) - 1)
        self._wake()

    def reached(self, cursor: int) -> None:
        """The journal has got to `cursor`. What it had when this was said last and did not come
        here since is left to the store."""
        if self.last < self._head:
            self._begin_behind(cursor)
            self._wake()
        elif self.last == 0:
            self._base = cursor
        self._head = cursor

    def after(self, cursor: int, limit: int) -> list[JournalEvent] | None:
        """Up to `limit` events that follow `cursor`; None where the ring does not reach back so
        far."""
        if not self._events:
            return [] if 0 < self._base <= cursor else None
        if cursor < self._events[0].cursor - 1:
            return None
        skipped = cursor - self._events[0].cursor + 1
        return list(islice(self._events, skipped, skipped + limit))

    async def wait(self, timeout_s: float) -> None:
        """Until something is added, or the time is over."""
        # Not asyncio.wait_for: until Python 3.12 it can swallow a cancellation.
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                await self._arrived.wait()

    def _begin_behind(self, cursor: int) -> None:
        self._events.clear()
        self._base = cursor
        self._early = {c: event for c, event in self._early.items() if c > cursor}
        self._join_early()

    def _join_early(self) -> None:
        while (following := self._early.pop(self.last + 1, None)) is not None:
            self._events.append(following)

    def _wake(self) -> None:
        self._arrived.set()
        self._arrived = asyncio.Event()
