"""What crosses between processes: late, held up by partitions of one or both directions, or never.

Invariant: what one process sends another over one link arrives in order, as a prefix. A partition
holds messages up as TCP does: they arrive once it is over, however old they are by then and whether
or not their sender still lives, or the connection is lost with all that it held."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from random import Random
from typing import Any

from controlplane.sim.ownership.clockwork import Clockwork, Process

__all__ = ["DATABASE", "Link", "Network"]

DATABASE = "database"
_LATENCY_MS = 4
_SLOW_LATENCY_MS = 1_500
_LOST_AFTER_PARTITION = 0.4


class Network:
    """Who can reach whom. Ends are named by process."""

    def __init__(self, clockwork: Clockwork, random: Random) -> None:
        self.blocked: set[tuple[str, str]] = set()
        """Directions in which nothing gets through."""
        self.slow = False
        self._clockwork = clockwork
        self._random = random
        self._held_up: dict[tuple[str, str], list[tuple[Callable[[], None], Callable[[], None]]]]
        self._held_up = {}

    def carry(
        self,
        sender: str,
        receiver: str,
        arrive: Callable[[], None],
        lose: Callable[[], None] = lambda: None,
    ) -> None:
        """Call `arrive` when a message gets there, or `lose` when it never will."""
        way = (sender, receiver)
        if way in self.blocked:
            self._held_up.setdefault(way, []).append((arrive, lose))
        else:
            self._clockwork.after(self._latency_ms(), arrive)

    def block(self, sender: str, receiver: str) -> None:
        self.blocked.add((sender, receiver))

    def heal(self, sender: str, receiver: str) -> None:
        """Let through what was held up, or lose all of it."""
        way = (sender, receiver)
        if way not in self.blocked:
            return
        self.blocked.remove(way)
        lost = self._random.random() < _LOST_AFTER_PARTITION
        for arrive, lose in self._held_up.pop(way, ()):
            self._clockwork.after(self._latency_ms(), lose if lost else arrive)

    def _latency_ms(self) -> int:
        if self.slow and self._random.random() < 0.1:
            return self._random.randrange(_SLOW_LATENCY_MS)
        return 1 + self._random.randrange(_LATENCY_MS)


class Link:
    """One direction between two incarnations.

    Args:
        receive: takes each parcel, at the receiver.
        broken: called once at the sender when the link is over and was not closed by it.
    """

    def __init__(
        self,
        network: Network,
        sender: Process,
        receiver: Process,
        receive: Callable[[Any], None],
        broken: Callable[[Link], None],
    ) -> None:
        self.sender = sender
        self.receiver = receiver
        self.closed = False
        self._network = network
        self._receive = receive
        self._broken = broken
        self._parcels: deque[Any] = deque()

    def send(self, parcel: Any) -> None:
        if not self.closed:
            self._parcels.append(parcel)
            self._network.carry(self.sender.name, self.receiver.name, self._arrive, self.break_off)

    def close(self) -> None:
        """By the sender; what is on its way still arrives."""
        self.closed = True

    def break_off(self) -> None:
        """What is on its way is lost."""
        self._parcels.clear()
        if not self.closed:
            self.closed = True
            self.sender.run(self._broken, self)

    def _arrive(self) -> None:
        if self.receiver.alive:
            self.receiver.run(self._take)
        else:
            self.break_off()

    def _take(self) -> None:
        if self._parcels:
            self._receive(self._parcels.popleft())
