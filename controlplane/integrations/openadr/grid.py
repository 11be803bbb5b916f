"""Loadstar's side, over gRPC: its grid events, and the prices that its sites are told.

Invariant: a status of gRPC becomes the error of Loadstar that it was made from, so that whoever
calls tells "not now" from "never" without knowing gRPC."""

from __future__ import annotations

from collections.abc import Awaitable, Sequence
from contextlib import suppress
from typing import TypeVar

import grpc
from google.protobuf.timestamp_pb2 import Timestamp

from controlplane.api.v1 import grid_pb2, grid_pb2_grpc, planning_pb2, planning_pb2_grpc
from controlplane.errors import (
    AlreadyExists,
    Exhausted,
    InvalidInput,
    LoadstarError,
    NotFound,
    Precondition,
    TimedOut,
    Unavailable,
)
from controlplane.integrations.openadr.mapping import Kind
from controlplane.integrations.openadr.prices import PriceStep
from controlplane.integrations.openadr.reconcile import Creation, Held, Withdrawal
from controlplane.integrations.openadr.settings import Target
from controlplane.integrations.openadr.timing import FOREVER_MS

__all__ = ["GridClient", "held"]

Answer = TypeVar("Answer")

_TIMEOUT_S = 10.0
_PAGE_SIZE = 1_000
_PAGES_MAX = 20
_ERRORS: dict[grpc.StatusCode, type[LoadstarError]] = {
    grpc.StatusCode.ALREADY_EXISTS: AlreadyExists,
    grpc.StatusCode.DEADLINE_EXCEEDED: TimedOut,
    grpc.StatusCode.FAILED_PRECONDITION: Precondition,
    grpc.StatusCode.INVALID_ARGUMENT: InvalidInput,
    grpc.StatusCode.NOT_FOUND: NotFound,
    grpc.StatusCode.RESOURCE_EXHAUSTED: Exhausted,
}
_KINDS = {
    Kind.LIMIT: grid_pb2.GRID_EVENT_KIND_LIMIT,
    Kind.REDUCE_BY: grid_pb2.GRID_EVENT_KIND_REDUCE_BY,
    Kind.RESTORE: grid_pb2.GRID_EVENT_KIND_RESTORE,
}
_NAMES = {number: kind for kind, number in _KINDS.items()}
_BEGUN = {grid_pb2.GRID_EVENT_STATE_ACTIVE, grid_pb2.GRID_EVENT_STATE_MET}


class GridClient:
    """The grid events and prices of one feeder or site."""

    def __init__(self, channel: grpc.aio.Channel, target: Target) -> None:
        self._stub: grid_pb2_grpc.GridServiceAsyncStub = grid_pb2_grpc.GridServiceStub(channel)
        self._planning: planning_pb2_grpc.PlanningServiceAsyncStub = (
            planning_pb2_grpc.PlanningServiceStub(channel)
        )
        self._target = target

    async def open_events(self, prefix: str) -> list[grid_pb2.GridEvent]:
        """Those to come or in force whose source begins with `prefix`, the latest start first.

        Raises:
            LoadstarError: Loadstar is out of reach, or does not know the feeder or site.
        """
        return await self._events(prefix, open_only=True, since_ms=0)

    async def events(self, prefix: str, *, since_ms: int) -> list[grid_pb2.GridEvent]:
        """All that began at `since_ms` or later, ended ones included; errors as `open_events`."""
        return await self._events(prefix, open_only=False, since_ms=since_ms)

    async def event(self, event_id: str) -> grid_pb2.GridEvent:
        """One event with its samples; errors as `open_events`."""
        request = grid_pb2.GetGridEventRequest(event_id=event_id)
        return (await _answered(self._stub.GetGridEvent(request, timeout=_TIMEOUT_S))).event

    async def create(self, creation: Creation) -> None:
        """Create an event; done once, however often it is sent.

        Raises:
            AlreadyExists: there was one of this id.
            InvalidInput: it is past.
            Exhausted: the target holds too many.
            LoadstarError: as `open_events`.
        """
        event = grid_pb2.GridEvent(
            event_id=creation.event_id,
            kind=_KINDS[creation.kind],
            power_w=creation.power_w,
            start_time=_stamp(creation.start_ms),
            end_time=_stamp(creation.end_ms),
            source=creation.source,
        )
        if self._target.kind == "feeder":
            event.feeder_id = self._target.id
        else:
            event.site_id = self._target.id
        request = grid_pb2.CreateGridEventRequest(
            event=event, request_id=creation.event_id, baseline_w=creation.baseline_w
        )
        await _answered(self._stub.CreateGridEvent(request, timeout=_TIMEOUT_S))

    async def withdraw(self, withdrawal: Withdrawal) -> None:
        """Call an event off; one that is gone is no error. Otherwise as `open_events`."""
        event_id = withdrawal.event_id
        if not withdrawal.replaced:
            # What restores leaves a trace that it was us: whoever reads the past can tell it from
            # a person who called the event off. First, so that no failure comes in between.
            restored = Creation(f"restore-{event_id}", withdrawal.source, Kind.RESTORE)
            with suppress(AlreadyExists):
                await self.create(restored)
        request = grid_pb2.CancelGridEventRequest(
            event_id=event_id, request_id=f"cancel-{event_id}"
        )
        try:
            await _answered(self._stub.CancelGridEvent(request, timeout=_TIMEOUT_S))
        except NotFound:
            return

    async def push_prices(self, steps: Sequence[PriceStep], currency: str) -> dict[str, str]:
        """Push prices, as often as one likes; by site, why it did not take them.

        Args:
            currency: that of all of them; empty for that of each site's tariff.

        Raises:
            InvalidInput: the tariff of no site that is meant follows a market.
            LoadstarError: as `open_events`.
        """
        request = planning_pb2.PushPricesRequest(
            currency=currency,
            prices=[
                planning_pb2.PriceInterval(
                    start_time=_stamp(each.start_ms),
                    end_time=_stamp(each.end_ms),
                    price_per_kwh=f"{each.price_per_kwh:f}",
                )
                for each in steps
            ],
        )
        if self._target.kind == "feeder":
            request.feeder_id = self._target.id
        else:
            request.site_ids.append(self._target.id)
        answer = await _answered(self._planning.PushPrices(request, timeout=_TIMEOUT_S))
        return {each.site_id: each.refusal for each in answer.outcomes if each.refusal}

    async def _events(
        self, prefix: str, *, open_only: bool, since_ms: int
    ) -> list[grid_pb2.GridEvent]:
        found: list[grid_pb2.GridEvent] = []
        token = ""
        for _ in range(_PAGES_MAX):
            request = grid_pb2.ListGridEventsRequest(
                open_only=open_only, page_size=_PAGE_SIZE, page_token=token
            )
            if self._target.kind == "feeder":
                request.feeder_id = self._target.id
            else:
                request.site_id = self._target.id
            page = await _answered(self._stub.ListGridEvents(request, timeout=_TIMEOUT_S))
            found += [event for event in page.events if event.source.startswith(prefix)]
            token = page.next_page_token
            if not token or page.events[-1].start_time.ToMilliseconds() < since_ms:
                break
        return found


def held(event: grid_pb2.GridEvent) -> Held | None:
    """An open event as `reconcile` sees it; None for a kind that is not ours."""
    kind = _NAMES.get(event.kind)
    if kind is None:
        return None
    baseline = event.response.baseline_w if event.response.HasField("baseline_w") else None
    return Held(
        event_id=event.event_id,
        source=event.source,
        kind=kind,
        power_w=event.power_w,
        start_ms=event.start_time.ToMilliseconds(),
        end_ms=event.end_time.ToMilliseconds() if event.HasField("end_time") else FOREVER_MS,
        begun=event.state in _BEGUN,
        baseline_w=baseline,
    )


async def _answered(call: Awaitable[Answer]) -> Answer:
    try:
        return await call
    except grpc.aio.AioRpcError as error:
        kind = _ERRORS.get(error.code(), Unavailable)
        raise kind(
            f"Loadstar: {error.details() or error.code().name}",
            reason=f"LOADSTAR_{error.code().name}",
        ) from error


def _stamp(instant_ms: int | None) -> Timestamp | None:
    if instant_ms is None:
        return None
    stamp = Timestamp()
    stamp.FromMilliseconds(instant_ms)
    return stamp
