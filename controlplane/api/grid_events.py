"""The calls of `GridService` about grid events: taking them in, reading what was made of them.

The store has every event, as it was when it last changed; the actor of its target knows those that
are to come or in force as they are at this moment."""

from __future__ import annotations

import re
import uuid
from collections.abc import AsyncIterator
from typing import Any

import msgspec

from controlplane.api.backend import (
    Backend,
    Caller,
    instant_ms,
    invalid,
    page_size,
    required,
    timestamp,
)
from controlplane.api.pace import Pace
from controlplane.api.sites import require_site
from controlplane.api.v1 import grid_pb2
from controlplane.errors import AlreadyExists, NotFound
from controlplane.grid_events import (
    CancelGridEvent,
    CreateGridEvent,
    GetGridEvent,
    GridEvent,
    GridEventKind,
    GridEventState,
)
from controlplane.ids import ActorKind, ActorRef, FeederId
from controlplane.store.records import FeederRecord, GridEventRecord

__all__ = ["POWER_MAX_W", "GridEventCalls", "grid_event_to_message", "id_field", "require_feeder"]

POWER_MAX_W = 10**12
_EVENT_ID = re.compile(r"[!-~]{1,128}")
_SOURCE_MAX = 128
_WATCH_INTERVAL_S = 2.0
_EVENT_KINDS = {
    grid_pb2.GRID_EVENT_KIND_LIMIT: GridEventKind.LIMIT,
    grid_pb2.GRID_EVENT_KIND_REDUCE_BY: GridEventKind.REDUCE_BY,
    grid_pb2.GRID_EVENT_KIND_RESTORE: GridEventKind.RESTORE,
    grid_pb2.GRID_EVENT_KIND_INCREASE_BY: GridEventKind.INCREASE_BY,
}
_KIND_NUMBERS = {kind: number for number, kind in _EVENT_KINDS.items()}
_STATE_NUMBERS = {
    GridEventState.SCHEDULED: grid_pb2.GRID_EVENT_STATE_SCHEDULED,
    GridEventState.ACTIVE: grid_pb2.GRID_EVENT_STATE_ACTIVE,
    GridEventState.MET: grid_pb2.GRID_EVENT_STATE_MET,
    GridEventState.ENDED: grid_pb2.GRID_EVENT_STATE_ENDED,
    GridEventState.CANCELLED: grid_pb2.GRID_EVENT_STATE_CANCELLED,
}


class GridEventCalls:
    """That part of `GridService`."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend

    async def CreateGridEvent(
        self, request: grid_pb2.CreateGridEventRequest, context: Any
    ) -> grid_pb2.CreateGridEventResponse:
        required(request, "event")
        target = _target(request.event)
        if target is None:
            raise invalid("event.target", "feeder_id or site_id must be given")
        wish = _wish(request)
        if target.kind is ActorKind.FEEDER:
            await require_feeder(self._backend, target.id)
        else:
            await require_site(self._backend, target.id)
        async with self._backend.creating_grid_events:
            known = await self._backend.reader.grid_event(wish.event_id)
            if known is not None and not await self._backend.answered(
                target, CreateGridEvent, request.request_id
            ):
                raise AlreadyExists(
                    f"grid event {wish.event_id} exists, for {_ref(known)}",
                    reason="EVENT_EXISTS",
                    metadata={"event_id": wish.event_id},
                )
            event = await self._backend.ask(
                target, wish, GridEvent, context, request_id=request.request_id
            )
        return grid_pb2.CreateGridEventResponse(event=grid_event_to_message(event, target))

    async def GetGridEvent(
        self, request: grid_pb2.GetGridEventRequest, context: Any
    ) -> grid_pb2.GetGridEventResponse:
        record = await self._require_event(request.event_id)
        event = await self._present(record, context)
        return grid_pb2.GetGridEventResponse(event=grid_event_to_message(event, _ref(record)))

    async def ListGridEvents(
        self, request: grid_pb2.ListGridEventsRequest, context: Any
    ) -> grid_pb2.ListGridEventsResponse:
        records, token = await self._backend.reader.grid_events(
            target=_target(request),
            open_only=request.open_only,
            page_size=page_size(request.page_size),
            page_token=request.page_token,
        )
        return grid_pb2.ListGridEventsResponse(
            events=[_listed(record) for record in records], next_page_token=token
        )

    async def CancelGridEvent(
        self, request: grid_pb2.CancelGridEventRequest, context: Any
    ) -> grid_pb2.CancelGridEventResponse:
        record = await self._require_event(request.event_id)
        event = _event(record)
        if record.open:
            try:
                event = await self._backend.ask(
                    _ref(record),
                    CancelGridEvent(request.event_id),
                    GridEvent,
                    context,
                    request_id=request.request_id,
                )
            except NotFound:
                # It has come to its end in between.
                event = _event(await self._require_event(request.event_id))
        return grid_pb2.CancelGridEventResponse(event=grid_event_to_message(event, _ref(record)))

    async def WatchGridEvents(
        self, request: grid_pb2.WatchGridEventsRequest, context: Any
    ) -> AsyncIterator[grid_pb2.WatchGridEventsResponse]:
        target = _target(request)
        # The cursor is taken first: what happens while the events are read is told twice rather
        # than not at all.
        cursor = await self._backend.client.last_cursor()
        told: dict[str, bytes] = {}
        async for record in self._open(target):
            told[record.event_id] = record.event
            yield grid_pb2.WatchGridEventsResponse(event=_listed(record))
        pace = Pace(_WATCH_INTERVAL_S, narrowed=True)
        async for batch in self._backend.follow(cursor, interval_s=pace.wait_s):
            for line in batch:
                if line.kind.startswith("grid.event_") and target in {None, line.actor}:
                    changed = await self._backend.reader.grid_event(line.data["event_id"])
                    if changed is not None:
                        told[changed.event_id] = changed.event
                        yield grid_pb2.WatchGridEventsResponse(
                            event=_listed(changed), event_kind=line.kind
                        )
            if not pace.due():
                continue
            # What was drawn meanwhile is no event.
            present = {record.event_id: record async for record in self._open(target)}
            for event_id, record in present.items():
                if told.get(event_id) != record.event:
                    yield grid_pb2.WatchGridEventsResponse(event=_listed(record))
            told = {event_id: record.event for event_id, record in present.items()}

    async def _open(self, target: ActorRef | None) -> AsyncIterator[GridEventRecord]:
        token = ""
        while True:
            records, token = await self._backend.reader.grid_events(
                target=target, open_only=True, page_token=token
            )
            for record in records:
                yield record
            if not token:
                return

    async def _present(self, record: GridEventRecord, caller: Caller) -> GridEvent:
        """An event as it is at this moment."""
        if not record.open:
            return _event(record)
        try:
            return await self._backend.ask(
                _ref(record), GetGridEvent(record.event_id), GridEvent, caller
            )
        except NotFound:
            return _event(await self._require_event(record.event_id))

    async def _require_event(self, event_id: str) -> GridEventRecord:
        record = await self._backend.reader.grid_event(event_id) if event_id else None
        if record is None:
            raise NotFound(
                f"there is no grid event {event_id!r}",
                reason="EVENT_UNKNOWN",
                metadata={"event_id": event_id},
            )
        return record


async def require_feeder(backend: Backend, feeder_id: str) -> FeederRecord:
    """The feeder as described.

    Raises:
        NotFound: there is none.
    """
    record = await backend.reader.feeder(FeederId(feeder_id)) if feeder_id else None
    if record is None:
        raise NotFound(
            f"there is no feeder {feeder_id!r}",
            reason="FEEDER_UNKNOWN",
            metadata={"feeder_id": feeder_id},
        )
    return record


def grid_event_to_message(event: GridEvent, target: ActorRef) -> grid_pb2.GridEvent:
    """A grid event and what was made of it, as a message."""
    return grid_pb2.GridEvent(
        event_id=event.event_id,
        kind=_KIND_NUMBERS[event.kind],
        power_w=event.power_w,
        start_time=timestamp(event.start_ms),
        end_time=timestamp(event.end_ms),
        source=event.source,
        state=_STATE_NUMBERS[event.state],
        response=_response_to_message(event),
        **id_field(target),
    )


def id_field(ref: ActorRef) -> dict[str, Any]:
    """The field of a message that names a feeder or a site."""
    return {f"{ref.kind.value}_id": ref.id}


def _response_to_message(event: GridEvent) -> grid_pb2.GridEventResponse:
    return grid_pb2.GridEventResponse(
        receive_time=timestamp(event.received_ms),
        baseline_w=event.baseline_w,
        limit_w=event.limit_w,
        apply_time=timestamp(event.applied_ms),
        acknowledge_time=timestamp(event.acknowledged_ms),
        meet_time=timestamp(event.met_ms),
        measured_w=event.measured_w,
        measured_max_w=event.measured_max_w,
        reduced_wh=event.reduced_wh,
        samples=[
            grid_pb2.GridEventSample(
                time=timestamp(sample.at_ms),
                measured_w=sample.measured_w,
                allowed_w=sample.allowed_w,
            )
            for sample in event.samples
        ],
        finish_time=timestamp(event.finished_ms),
        fed_in_wh=event.fed_wh,
        aim_w=event.aim_w,
        increased_wh=event.increased_wh,
    )


def _wish(request: grid_pb2.CreateGridEventRequest) -> CreateGridEvent:
    """What a request asks for.

    Raises:
        InvalidInput: a field is missing or out of range.
    """
    event = request.event
    kind = _EVENT_KINDS.get(event.kind)
    if kind is None:
        raise invalid("event.kind", "LIMIT, REDUCE_BY, INCREASE_BY or RESTORE")
    if kind is not GridEventKind.RESTORE:
        if not event.HasField("power_w"):
            raise invalid("event.power_w", "must be given")
        if not 0 <= event.power_w <= POWER_MAX_W:
            raise invalid("event.power_w", f"0 to {POWER_MAX_W} W")
    if request.HasField("baseline_w"):
        if kind is GridEventKind.RESTORE:
            raise invalid("baseline_w", "not for RESTORE")
        if abs(request.baseline_w) > POWER_MAX_W:
            raise invalid("baseline_w", f"-{POWER_MAX_W} to {POWER_MAX_W} W")
    if len(event.source) > _SOURCE_MAX:
        raise invalid("event.source", f"at most {_SOURCE_MAX} characters")
    if event.event_id and not _EVENT_ID.fullmatch(event.event_id):
        raise invalid("event.event_id", "1 to 128 printable ASCII characters without blanks")
    start_ms, end_ms = instant_ms(event, "start_time"), instant_ms(event, "end_time")
    if start_ms is not None and end_ms is not None and end_ms <= start_ms:
        raise invalid("event.end_time", "after start_time")
    return CreateGridEvent(
        event_id=event.event_id or _new_id(request),
        kind=kind,
        power_w=event.power_w if event.HasField("power_w") else None,
        start_ms=start_ms,
        end_ms=end_ms,
        source=event.source,
        baseline_w=request.baseline_w if request.HasField("baseline_w") else None,
    )


def _new_id(request: grid_pb2.CreateGridEventRequest) -> str:
    """An id for an event without one; the same for the same request told again."""
    if not request.request_id:
        return str(uuid.uuid4())
    target = _target(request.event)
    return str(uuid.uuid5(uuid.NAMESPACE_URL, f"loadstar:grid-event:{target}:{request.request_id}"))


def _target(
    message: grid_pb2.GridEvent | grid_pb2.ListGridEventsRequest | grid_pb2.WatchGridEventsRequest,
) -> ActorRef | None:
    match message.WhichOneof("target"):
        case "feeder_id":
            return ActorRef(ActorKind.FEEDER, message.feeder_id)
        case "site_id":
            return ActorRef(ActorKind.SITE, message.site_id)
        case _:
            return None


def _event(record: GridEventRecord) -> GridEvent:
    return msgspec.json.decode(record.event, type=GridEvent)


def _ref(record: GridEventRecord) -> ActorRef:
    return ActorRef(record.target_kind, record.target_id)


def _listed(record: GridEventRecord) -> grid_pb2.GridEvent:
    event = msgspec.structs.replace(_event(record), samples=[])
    return grid_event_to_message(event, _ref(record))
