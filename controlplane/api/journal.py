"""`JournalService`: everything that happened, in order, by cursor."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from google.protobuf.struct_pb2 import Struct

from controlplane.api.backend import Backend, invalid, page_size, timestamp
from controlplane.api.v1 import journal_pb2, journal_pb2_grpc
from controlplane.ids import ActorKind
from controlplane.runtime.client import JournalEvent

__all__ = ["Journal"]

_KINDS = {
    journal_pb2.ACTOR_KIND_UNSPECIFIED: None,
    journal_pb2.ACTOR_KIND_CHARGER: ActorKind.CHARGER,
    journal_pb2.ACTOR_KIND_SITE: ActorKind.SITE,
    journal_pb2.ACTOR_KIND_FEEDER: ActorKind.FEEDER,
    journal_pb2.ACTOR_KIND_TOKENS: ActorKind.TOKENS,
    journal_pb2.ACTOR_KIND_CAMPAIGN: ActorKind.CAMPAIGN,
}
_KIND_NUMBERS = {kind: number for number, kind in _KINDS.items()}


class Journal(journal_pb2_grpc.JournalServiceServicer):
    """Answers `controlplane.api.v1.JournalService`."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend

    async def ListEvents(
        self, request: journal_pb2.ListEventsRequest, context: Any
    ) -> journal_pb2.ListEventsResponse:
        _check(request.filter)
        size = page_size(request.page_size)
        lines = await self._backend.reader.journal(request.after_cursor, size)
        return journal_pb2.ListEventsResponse(
            events=[_event_to_message(line) for line in lines if _passes(request.filter, line)],
            next_cursor=lines[-1].cursor if lines else request.after_cursor,
            more=len(lines) == size,
        )

    async def WatchEvents(
        self, request: journal_pb2.WatchEventsRequest, context: Any
    ) -> AsyncIterator[journal_pb2.WatchEventsResponse]:
        _check(request.filter)
        if request.HasField("after_cursor"):
            after = request.after_cursor
        else:
            after = await self._backend.client.last_cursor()
        async for batch in self._backend.follow(after):
            for event in batch:
                if _passes(request.filter, event):
                    yield journal_pb2.WatchEventsResponse(event=_event_to_message(event))


def _check(given: journal_pb2.EventFilter) -> None:
    if given.actor_kind not in _KINDS:
        raise invalid("filter.actor_kind", "not a kind of thing")


def _passes(wanted: journal_pb2.EventFilter, event: JournalEvent) -> bool:
    if wanted.actor_kind and _KINDS[wanted.actor_kind] is not event.actor.kind:
        return False
    if wanted.actor_id and wanted.actor_id != event.actor.id:
        return False
    return not wanted.kinds or any(
        event.kind.startswith(kind[:-1]) if kind.endswith("*") else event.kind == kind
        for kind in wanted.kinds
    )


def _event_to_message(event: JournalEvent) -> journal_pb2.Event:
    data = Struct()
    data.update(event.data)
    return journal_pb2.Event(
        cursor=event.cursor,
        time=timestamp(event.at_ms),
        kind=event.kind,
        actor_kind=_KIND_NUMBERS[event.actor.kind],
        actor_id=event.actor.id,
        data=data,
    )
