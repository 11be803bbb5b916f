"""The mailboxes of a host's actors, in one: what was said to whom, in the order of its coming, and
the shards whose actors are stepped here.

Invariant: an actor is told what waits for it in the order in which it came; what is taken out goes
with the actor whose state is lost, and a request only with its actor's shard."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Final

from controlplane.actor import Ask, Message
from controlplane.runtime.residents import Resident

__all__ = ["MAILBOX_MAX", "Entry", "Mailbox"]

MAILBOX_MAX: Final = 200_000
"""Beyond so many messages senders should wait."""

Entry = tuple[Resident, Message, Resident | None]
"""A message with its receiver and, where it came from an actor of this host, its sender."""


class Mailbox:
    """Of one host.

    Args:
        wake: called when something was put in that must not wait for what comes next.
    """

    def __init__(self, wake: Callable[[], None]) -> None:
        self.entries: deque[Entry] = deque()
        self.epochs: dict[int, int] = {}
        """The shards that are served here, each with the epoch under which it is owned."""
        self.claimed: set[int] = set()
        """Shards that are owned and not served yet."""
        self._wake = wake

    def __len__(self) -> int:
        """Messages that wait."""
        return len(self.entries)

    @property
    def full(self) -> bool:
        """Whether senders should wait."""
        return len(self.entries) >= MAILBOX_MAX

    def serve(self, epochs: Mapping[int, int]) -> None:
        """These shards are served from now on."""
        self.epochs = {**self.epochs, **epochs}
        self.claimed.difference_update(epochs)

    def withdraw(self, shards: Collection[int]) -> None:
        """These shards are served no more."""
        self.epochs = {s: epoch for s, epoch in self.epochs.items() if s not in shards}

    def post(self, resident: Resident, message: Message) -> None:
        """Put in a message from outside, and see that it is taken out."""
        self.entries.append((resident, message, None))
        self._wake()

    def put_first(
        self, resident: Resident, waiting: Collection[tuple[Message, Resident | None]]
    ) -> None:
        """What the resident was told before it had its actor comes before all that is here."""
        self.entries.extendleft((resident, *entry) for entry in reversed([*waiting]))
        self._wake()

    def busy(self, shards: Collection[int]) -> bool:
        """Whether messages wait for actors of these shards."""
        return any(resident.shard in shards for resident, _, _ in self.entries)

    def evict(self, gone: set[Resident]) -> list[Ask]:
        """Take out what waits for actors that live elsewhere from now on; returned are the requests
        in it."""
        taken = [message for resident in gone for message, _ in resident.waiting or ()]
        taken += [message for resident, message, _ in self.entries if resident in gone]
        self._keep(entry for entry in self.entries if entry[0] not in gone)
        return [message for message in taken if type(message) is Ask]

    def lose(self, dropped: set[Resident], residents: Iterable[Resident]) -> None:
        """Actors lost their state: what came out of it goes with it, and what stations said to them
        is delivered again. Requests stay."""
        self._keep(
            entry
            for entry in self.entries
            if type(entry[1]) is Ask or not (entry[0] in dropped or entry[2] in dropped)
        )
        for resident in residents:
            if resident.waiting:
                resident.waiting = deque(e for e in resident.waiting if e[1] not in dropped)
        for resident in dropped:
            if resident.waiting:
                resident.waiting = deque(e for e in resident.waiting if type(e[0]) is Ask)

    def _keep(self, entries: Iterable[Entry]) -> None:
        kept = list(entries)
        self.entries.clear()
        self.entries.extend(kept)
