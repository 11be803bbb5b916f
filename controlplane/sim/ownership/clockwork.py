"""Virtual time, and processes whose code runs only while they are alive and awake.

Invariant: the same calls in the same order give the same run; nothing here reads a clock. A frozen
process does nothing, while its CLOCK_BOOTTIME goes on; when it wakes, all that came due meanwhile
runs in an order of its own, as threads do that wake together."""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Callable, Generator
from itertools import count
from random import Random
from typing import Any

__all__ = ["Clockwork", "Mutex", "Process", "Task", "Wait"]

_WAKE_UP_MS = 60
"""Within so long a process that was frozen has done what was due."""


class Clockwork:
    """What is due, in order of its instant and then of its planning. Instants are milliseconds."""

    def __init__(self) -> None:
        self.now_ms = 0
        self.events = 0
        self._due: list[tuple[int, int, Callable[..., Any], tuple[Any, ...]]] = []
        self._numbers = count()

    def after(self, delay_ms: int, action: Callable[..., Any], *arguments: Any) -> None:
        """Do something `delay_ms` from now, 0 or more."""
        heapq.heappush(self._due, (self.now_ms + delay_ms, next(self._numbers), action, arguments))

    def run_until(self, end_ms: int) -> None:
        """Do everything that is due before `end_ms`, and arrive there."""
        due = self._due
        while due and due[0][0] < end_ms:
            self.now_ms, _, action, arguments = heapq.heappop(due)
            self.events += 1
            action(*arguments)
        self.now_ms = end_ms


class Wait:
    """Something that a task waits for: set once, to a value or an exception."""

    __slots__ = ("_tasks", "done", "error", "value")

    def __init__(self) -> None:
        self.done = False
        self.value: Any = None
        self.error: Exception | None = None
        self._tasks: list[Callable[[], None]] = []

    def set(self, value: Any = None) -> None:
        """Late answers change nothing."""
        if not self.done:
            self.done, self.value = True, value
            self._wake()

    def fail(self, error: Exception) -> None:
        if not self.done:
            self.done, self.error = True, error
            self._wake()

    def resume(self, task: Callable[[], None]) -> None:
        """Call `task` once this is set."""
        self._tasks.append(task)
        if self.done:
            self._wake()

    def _wake(self) -> None:
        tasks, self._tasks = self._tasks, []
        for task in tasks:
            task()


Task = Generator["Wait | int", Any, Any]
"""Code of a process: it yields milliseconds to sleep, or what it waits for."""


class Process:
    """One incarnation of a process."""

    def __init__(self, clockwork: Clockwork, random: Random, name: str, incarnation: int) -> None:
        self.name = name
        self.incarnation = str(incarnation)
        self.alive = True
        self.frozen = False
        self._clockwork = clockwork
        self._random = random
        self._boot_ms = random.randrange(1_000_000)
        self._postponed: list[tuple[Callable[..., Any], tuple[Any, ...]]] = []
        self.trap: Callable[[], None] | None = None
        """What happens to this process at the next instant at which it is most exposed."""
        self.wall_ms = 0
        """How far this machine's wall clock is off."""

    def boottime_s(self) -> float:
        """CLOCK_BOOTTIME of the machine."""
        return (self._clockwork.now_ms + self._boot_ms) / 1_000

    def wall_s(self) -> float:
        """The machine's wall clock, which no rule may rely on."""
        return (self._clockwork.now_ms + self.wall_ms) / 1_000

    def run(self, action: Callable[..., Any], *arguments: Any) -> None:
        """Let this process do something, as soon as it is awake; never once it is dead."""
        if self.frozen:
            self._postponed.append((action, arguments))
        elif self.alive:
            action(*arguments)

    def exposed(self) -> None:
        """It has decided something and not done it yet, or done it and not heard of it."""
        if self.trap is not None:
            trap, self.trap = self.trap, None
            trap()

    def after(self, delay_ms: int, action: Callable[..., Any], *arguments: Any) -> None:
        self._clockwork.after(delay_ms, self.run, action, *arguments)

    def freeze(self) -> None:
        self.frozen = True

    def thaw(self) -> None:
        if not self.frozen:
            return
        self.frozen = False
        held, self._postponed = self._postponed, []
        for action, arguments in held:
            self.after(self._random.randrange(_WAKE_UP_MS), action, *arguments)

    def kill(self) -> None:
        self.alive = self.frozen = False
        self._postponed.clear()

    def spawn(self, task: Task) -> None:
        """Begin a task."""
        self._step(task, None, None)

    def _step(self, task: Task, value: Any, error: Exception | None) -> None:
        if not self.alive:
            return
        try:
            waiting = task.send(value) if error is None else task.throw(error)
        except StopIteration:
            return
        if isinstance(waiting, int):
            self.after(waiting, self._step, task, None, None)
        else:
            waiting.resume(lambda: self.run(self._step, task, waiting.value, waiting.error))


class Mutex:
    """One task at a time, in the order of asking."""

    def __init__(self) -> None:
        self._busy = False
        self._waiting: deque[Wait] = deque()

    def acquire(self) -> Wait:
        """To wait for."""
        wait = Wait()
        if self._busy:
            self._waiting.append(wait)
        else:
            self._busy = True
            wait.set()
        return wait

    def release(self) -> None:
        if self._waiting:
            self._waiting.popleft().set()
        else:
            self._busy = False
