"""Reads the store for actors, which cannot.

Questions that wait while others are read are read together, in one transaction on a thread of the
reader. Every question is answered once or, where this host ends first, never; askers bound their
wait. Beyond a bound of waiting questions the answer is 'could not be read', at once."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Final

from controlplane.actor import LookedUp, LookUp
from controlplane.errors import Unavailable
from controlplane.ids import ActorRef
from controlplane.runtime.telemetry import log
from controlplane.store.reader import StoreReader

__all__ = ["LookUps"]

_WAITING_MAX: Final = 20_000
_TOGETHER_MAX: Final = 500
_READERS: Final = 2
"""How many reads run side by side, so that a long list does not hold up a driver at the plug."""


class LookUps:
    """The questions of one host.

    Args:
        answered: called on the loop with who asked and the answer.
    """

    def __init__(self, reader: StoreReader, answered: Callable[[ActorRef, LookedUp], None]) -> None:
        self._reader = reader
        self._answered = answered
        self._waiting: deque[tuple[ActorRef, LookUp]] = deque()
        self._reading: set[asyncio.Task[None]] = set()

    def __len__(self) -> int:
        return len(self._waiting)

    def begin(self, ref: ActorRef, question: LookUp) -> None:
        """Read for `ref`."""
        if len(self._waiting) >= _WAITING_MAX:
            self._answered(ref, LookedUp(question.look_up_id, None))
            return
        self._waiting.append((ref, question))
        self._read_on()

    def close(self) -> None:
        """Answer nothing more."""
        self._waiting.clear()
        for task in self._reading:
            task.cancel()

    def _read_on(self) -> None:
        if self._waiting and len(self._reading) < _READERS:
            task = asyncio.get_running_loop().create_task(self._read())
            self._reading.add(task)
            task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._reading.discard(task)
        if not task.cancelled():
            self._read_on()

    async def _read(self) -> None:
        count = min(len(self._waiting), _TOGETHER_MAX)
        part = [self._waiting.popleft() for _ in range(count)]
        try:
            answers = await self._reader.look_up([question.query for _, question in part])
        except Exception as error:
            if isinstance(error, Unavailable):
                log.error("not_looked_up", questions=len(part), error=str(error))
            else:
                # A row that cannot be read as what it should be is no reason to hold up drivers.
                log.exception("not_looked_up", questions=len(part))
            for ref, question in part:
                self._answered(ref, LookedUp(question.look_up_id, None))
            return
        for (ref, question), answer in zip(part, answers, strict=True):
            self._answered(ref, LookedUp(question.look_up_id, answer))
