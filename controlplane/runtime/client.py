"""How everything outside the hosts (the API, tests) talks to actors and reads the journal."""

from __future__ import annotations

from typing import Protocol, TypeVar

import msgspec

from controlplane.ids import ActorRef, ChargerId
from controlplane.store.records import ChargerRecord, JournalEvent

__all__ = ["ActorClient", "JournalEvent"]

Response = TypeVar("Response", bound=msgspec.Struct)


class ActorClient(Protocol):
    """Requests to actors, wherever they live."""

    async def ask(
        self,
        ref: ActorRef,
        request: msgspec.Struct,
        response: type[Response],
        *,
        timeout_s: float = 10.0,
        request_id: str = "",
    ) -> Response:
        """Ask an actor and wait for its answer.

        A non-empty `request_id` makes the request idempotent: the same id gives the first answer
        again, also after a crash, for a day.

        Raises:
            LoadstarError: the actor refused (the error class that its `Refusal` names).
            Unavailable: no host serves the actor at the moment; nothing was done.
            TimedOut: no answer in time; what was asked may still happen.
        """

    async def charger(self, id: ChargerId) -> ChargerRecord | None:
        """The directory's entry of a charger, None where there is none: what the store says, or
        said before the last word of a host.

        Raises:
            Unavailable: not known here, and the database is away.
        """

    async def events(
        self, after: int, *, limit: int = 1_000, timeout_s: float = 10.0
    ) -> list[JournalEvent]:
        """Journal events with a cursor above `after`, oldest first; waits up to `timeout_s` for the
        first one."""

    async def last_cursor(self) -> int:
        """The cursor of the newest event; 0 for an empty journal."""

    def near(self, ref: ActorRef) -> bool:
        """Whether no other node is known to serve this actor, which is no charger's: what has to be
        done for it once in a cluster is done by the node that serves it."""
