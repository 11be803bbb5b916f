"""What actors asked for since the last commit, and the pipeline that commits it.

Invariant: nothing of a batch leaves the host before its records are durable, and batches leave in
the order in which they were stepped. While one batch is being written the next one fills, so the
size of a commit follows the load: one message when idle, hundreds under pressure."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from time import perf_counter

import msgspec

from controlplane.actor import LookUp, PlanWanted, Send
from controlplane.ids import ActorRef, ChargerId
from controlplane.runtime import catalogue
from controlplane.runtime.metrics import Meter
from controlplane.runtime.residents import Resident
from controlplane.runtime.tracing import SpanContext
from controlplane.runtime.wire import CloseStation, ToStation
from controlplane.store.commit import CommitBatch

__all__ = ["Batch", "Pipeline"]

_INTERVAL_PER_ACTOR_S = 0.000_15
_INTERVAL_MAX_S = 0.05
"""A commit costs more than half a millisecond of processor time, whatever is in it, and a page of
the samples' index for nearly each session: twice as many rows cost a quarter less each. The more
actors the last one was for, the longer the next one is filled; up to some 6,000 messages a second
that is a few milliseconds."""

_ROWS_MAX = 50_000
"""What a batch may hold before actors step no further: a store that stands still must not fill the
memory with what their timers bring about."""


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
    plans: list[tuple[ActorRef, PlanWanted]] = field(default_factory=list)
    """Plans to work out, each with who asks."""
    directory: list[ChargerId] = field(default_factory=list)
    """Chargers whose entry in the directory changes with this commit."""
    crashed: list[Resident] = field(default_factory=list)
    """Actors to bring back from the store once this batch is in it."""
    traces: list[SpanContext] = field(default_factory=list)
    """Of the steps in it that are traced."""
    commit_s: float = 0.0
    """How long its commit took."""
    barriers: list[asyncio.Future[None]] = field(default_factory=list)
    """Done once this batch has left, or was given up."""
    urgent: bool = False
    """Somebody waits for this commit: it is not put off for the sake of a larger one."""

    @property
    def writes(self) -> bool:
        return bool(self.commit.records or self.commit.events or self.commit.results)

    @property
    def rows(self) -> int:
        """What waits for the commit: records, events, answers to requests, frames."""
        commit = self.commit
        written = len(commit.records) + len(commit.events) + len(commit.results)
        return written + len(self.to_stations)

    @property
    def full(self) -> bool:
        """Whether so much waits for the commit that nothing should be stepped on top of it."""
        return self.rows >= _ROWS_MAX

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
        meter: where commits are counted.
    """

    def __init__(
        self,
        *,
        writer: ThreadPoolExecutor,
        commit: Callable[[CommitBatch], int],
        interval_s: float,
        released: Callable[[Batch, int], None],
        failed: Callable[[Batch, Batch, BaseException], None],
        meter: Meter,
    ) -> None:
        self.open = Batch()
        self._durations = meter.histogram(catalogue.COMMIT_DURATION).series()
        self._sizes = meter.histogram(catalogue.COMMIT_RECORDS).series()
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
        interval_s = self._interval_s if self.open.urgent else self._wait_s
        due_s = self._started_s + interval_s
        if due_s > self._loop.time():
            if self._later is not None and due_s < self._later.when():
                self._later.cancel()
                self._later = None
            if self._later is None:
                self._later = self._loop.call_at(due_s, self._due)
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
        started_s = perf_counter()
        self._wait_s = max(
            self._interval_s, min(len(batch.touched) * _INTERVAL_PER_ACTOR_S, _INTERVAL_MAX_S)
        )
        done = self._loop.run_in_executor(self._writer, self._commit, batch.commit)
        done.add_done_callback(lambda result: self._committed(batch, result, started_s))

    def _committed(self, batch: Batch, result: asyncio.Future[int], started_s: float) -> None:
        self._committing = False
        error = result.exception()
        if error is not None:
            on_top = self._take()
            self._failed(batch, on_top, error)
            batch.pass_barriers()
            on_top.pass_barriers()
            return
        batch.commit_s = perf_counter() - started_s
        self._durations.record(batch.commit_s)
        self._sizes.record(len(batch.commit.records))
        self._released(batch, result.result())
        batch.pass_barriers()
        self.pump()
