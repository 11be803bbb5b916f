"""What actors asked for since the last commit, and the pipeline that commits it.

Invariant: nothing of a batch leaves the host before its records are durable, and batches leave in
the order in which they were stepped. While one batch is being written the next one fills, so the
size of a commit follows the load: one message when idle, hundreds under pressure."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import msgspec

from controlplane.actor import LookUp, Send
from controlplane.ids import ActorRef, ChargerId
from controlplane.runtime.residents import Resident
from controlplane.runtime.wire import CloseStation, ToStation
from controlplane.store.commit import CommitBatch

__all__ = ["Batch", "Pipeline"]

_INTERVAL_PER_ACTOR_S = 0.000_15
_INTERVAL_MAX_S = 0.015
"""A commit costs more than half a millisecond of processor time, whatever is in it. The more actors
the last one was for, the longer the next one is filled."""


@dataclass(slots=True)
class Batch:
    """Everything that shares one commit."""

    commit: CommitBatch = field(default_factory=CommitBatch)
    touched: set[Resident] = field(default_factory=set)
    """Actors whose state in memory is ahead of the store until this batch is committed."""
    to_stations: list[ToStation | CloseStation] = field(default_factory=list)
    answers: list[tuple[str, msgspec.Struct]] = field(default_factory=list)
    sends: list[tuple[ActorRef, Send]] = field(default_factory=list)
    """To other shards."""
    look_ups: list[tuple[ActorRef, LookUp]] = field(default_factory=list)
    """Questions to the store, each with who asks."""
    directory: list[ChargerId] = field(default_factory=list)
    """Chargers whose entry in the directory changes with this commit."""
    crashed: list[Resident] = field(default_factory=list)
    """Actors to bring back from the store once this batch is in it."""
    barriers: list[asyncio.Future[None]] = field(default_factory=list)
    """Done once this batch has left, or was given up."""

    @property
    def writes(self) -> bool:
        return bool(self.commit.records or self.commit.events or self.commit.results)

    @property
    def idle(self) -> bool:
        return not (
            self.touched
            or self.to_stations
            or self.answers
            or self.crashed
            or self.barriers
            or self.writes
        )

    def pass_barriers(self) -> None:
        """Tell whoever waits for this batch."""
        for barrier in self.barriers:
            if not barrier.done():
                barrier.set_result(None)


class Pipeline:
    """Commits one batch at a time on the writer's thread while the next one fills.

    Args:
        commit: writes a batch, on `writer`; returns the cursor of its first event.
        interval_s: the least time from the begin of a commit to that of the next.
        released: called on the loop with each durable batch, in order.
        failed: called on the loop with the batch that was not committed and the one that was
            stepped on top of it; a new, empty batch is open by then.
    """

    def __init__(
        self,
        *,
        writer: ThreadPoolExecutor,
        commit: Callable[[CommitBatch], int],
        interval_s: float,
        released: Callable[[Batch, int], None],
        failed: Callable[[Batch, Batch, BaseException], None],
    ) -> None:
        self.open = Batch()
        self.commits = 0
        self.rows = 0
        self._writer = writer
        self._commit = commit
        self._interval_s = interval_s
        self._released = released
        self._failed = failed
        self._loop = asyncio.get_running_loop()
        self._committing = False
        self._started_s = 0.0
        self._wait_s = interval_s
        self._later: asyncio.TimerHandle | None = None

    def pump(self) -> None:
        """Bring the open batch on its way, if there is something in it and the writer is free."""
        if self._committing or self.open.idle:
            return
        if not self.open.writes:
            batch = self._take()
            self._released(batch, 0)
            batch.pass_barriers()
            return
        wait_s = self._started_s + self._wait_s - self._loop.time()
        if wait_s > 0:
            if self._later is None:
                self._later = self._loop.call_later(wait_s, self._due)
            return
        self._submit()

    def barrier(self) -> asyncio.Future[None]:
        """Done once everything stepped so far has left, or was given up."""
        barrier = self._loop.create_future()
        self.open.barriers.append(barrier)
        self.pump()
        return barrier

    def close(self) -> None:
        """Let nothing more leave."""
        self._committing = True
        if self._later is not None:
            self._later.cancel()

    @property
    def settled(self) -> bool:
        """Whether everything stepped so far has left."""
        return not self._committing and self.open.idle

    def _due(self) -> None:
        self._later = None
        self.pump()

    def _take(self) -> Batch:
        batch, self.open = self.open, Batch()
        return batch

    def _submit(self) -> None:
        batch = self._take()
        self._committing = True
        self._started_s = self._loop.time()
        self._wait_s = max(
            self._interval_s, min(len(batch.touched) * _INTERVAL_PER_ACTOR_S, _INTERVAL_MAX_S)
        )
        done = self._loop.run_in_executor(self._writer, self._commit, batch.commit)
        done.add_done_callback(lambda result: self._committed(batch, result))

    def _committed(self, batch: Batch, result: asyncio.Future[int]) -> None:
        self._committing = False
        error = result.exception()
        if error is not None:
            on_top = self._take()
            self._failed(batch, on_top, error)
            batch.pass_barriers()
            on_top.pass_barriers()
            return
        self.commits += 1
        self.rows += len(batch.commit.records)
        self._released(batch, result.result())
        batch.pass_barriers()
        self.pump()
