"""All timers of a host in one heap: no task and no event-loop timer per actor.

An actor's timer is known by its key: setting it again replaces it, and it fires once. Entries that
were replaced or cancelled stay in the heap until they come up, and are swept when they are most of
it, so the heap stays within twice the live timers."""

from __future__ import annotations

import heapq

from controlplane.ids import ActorRef

__all__ = ["Timers"]

_SWEEP_MIN = 1_024


class Timers:
    """Due instants per actor and key, in milliseconds of the actors' clock."""

    def __init__(self) -> None:
        self._heap: list[tuple[int, int, ActorRef, str]] = []
        self._live: dict[ActorRef, dict[str, int]] = {}
        self._count = 0
        self._serial = 0

    def __len__(self) -> int:
        return self._count

    def set(self, ref: ActorRef, key: str, at_ms: int) -> None:
        """Let `key` of `ref` come due at `at_ms`, and no longer at an earlier-set instant."""
        keys = self._live.setdefault(ref, {})
        if key not in keys:
            self._count += 1
        self._serial += 1
        keys[key] = self._serial
        heapq.heappush(self._heap, (at_ms, self._serial, ref, key))
        if len(self._heap) > _SWEEP_MIN and len(self._heap) > 2 * self._count:
            self._sweep()

    def cancel(self, ref: ActorRef, key: str) -> None:
        """Forget `key` of `ref`; nothing where it is not set."""
        keys = self._live.get(ref)
        if keys is not None and keys.pop(key, None) is not None:
            self._count -= 1
            if not keys:
                del self._live[ref]

    def drop(self, ref: ActorRef) -> None:
        """Forget every timer of `ref`."""
        self._count -= len(self._live.pop(ref, ()))

    def next_ms(self) -> int | None:
        """When the next timer comes due; None without timers. May name a cancelled one."""
        return self._heap[0][0] if self._heap else None

    def due(self, now_ms: int, most: int) -> list[tuple[ActorRef, str]]:
        """Take out timers that are due, up to `most`, in the order of their instants and then of
        setting."""
        fired: list[tuple[ActorRef, str]] = []
        while self._heap and self._heap[0][0] <= now_ms and len(fired) < most:
            _, serial, ref, key = heapq.heappop(self._heap)
            if self._live.get(ref, {}).get(key) == serial:
                self.cancel(ref, key)
                fired.append((ref, key))
        return fired

    def _sweep(self) -> None:
        self._heap = [
            entry for entry in self._heap if self._live.get(entry[2], {}).get(entry[3]) == entry[1]
        ]
        heapq.heapify(self._heap)
