"""`FlexibilityService`: how much less or more sites could draw, calling it off, what came of it."""

from __future__ import annotations

import uuid
from decimal import Decimal, InvalidOperation
from typing import Any

from google.protobuf.duration_pb2 import Duration

from controlplane.api.backend import Backend, Caller, invalid, timestamp
from controlplane.api.grid_events import GridEventCalls
from controlplane.api.sites import require_site
from controlplane.api.v1 import flexibility_pb2, flexibility_pb2_grpc, grid_pb2
from controlplane.errors import NotFound, Precondition
from controlplane.grid_events import CreateGridEvent
from controlplane.ids import ActorKind, ActorRef
from controlplane.site.flexibility import DURATION_MAX_MS, DURATION_MIN_MS
from controlplane.site.messages import FlexibilityOffer, GetFlexibility
from controlplane.units import MS_PER_HOUR, MS_PER_S

__all__ = ["Flexibility"]

_DURATION_MS = MS_PER_HOUR
_POWER_MAX_W = 10**12
_KINDS = {
    "pause": flexibility_pb2.FLEXIBILITY_KIND_PAUSE,
    "feed_in": flexibility_pb2.FLEXIBILITY_KIND_FEED_IN,
    "charge": flexibility_pb2.FLEXIBILITY_KIND_CHARGE,
}
_LESS = flexibility_pb2.FLEXIBILITY_DIRECTION_LESS
_MORE = flexibility_pb2.FLEXIBILITY_DIRECTION_MORE
_EVENT_KINDS = {
    _LESS: grid_pb2.GRID_EVENT_KIND_REDUCE_BY,
    _MORE: grid_pb2.GRID_EVENT_KIND_INCREASE_BY,
}


class Flexibility(flexibility_pb2_grpc.FlexibilityServiceServicer):
    """Answers `controlplane.api.v1.FlexibilityService`."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self._events = GridEventCalls(backend)

    async def GetOffer(
        self, request: flexibility_pb2.GetOfferRequest, context: Any
    ) -> flexibility_pb2.GetOfferResponse:
        duration_ms = _DURATION_MS
        if request.HasField("duration"):
            duration_ms = _duration_ms(request.duration)
        direction = _direction(request.direction)
        offer = await self._offer(request.site_id, duration_ms, direction, context)
        return flexibility_pb2.GetOfferResponse(offer=_offer_to_message(offer))

    async def Activate(
        self, request: flexibility_pb2.ActivateRequest, context: Any
    ) -> flexibility_pb2.ActivateResponse:
        if not 0 < request.power_w <= _POWER_MAX_W:
            raise invalid("power_w", f"1 to {_POWER_MAX_W} W")
        duration_ms = _duration_ms(request.duration)
        price_max = _price(request.price_max_per_kwh)
        direction = _direction(request.direction)
        offer = await self._offer(request.site_id, duration_ms, direction, context)
        activation_id = request.activation_id or _new_id(request)
        site = ActorRef(ActorKind.SITE, request.site_id)
        if await self._backend.answered(site, CreateGridEvent, request.request_id):
            # What was on offer then is taken.
            known = await self._events.GetGridEvent(
                grid_pb2.GetGridEventRequest(event_id=activation_id), context
            )
            return _activated(known.event, offer)
        if not request.beyond_offer:
            _refuse_beyond(offer, request.power_w, price_max)
        event = grid_pb2.GridEvent(
            event_id=activation_id,
            kind=_EVENT_KINDS[direction],
            power_w=request.power_w,
            site_id=request.site_id,
            source=request.source,
            end_time=timestamp(offer.at_ms + duration_ms),
        )
        created = await self._events.CreateGridEvent(
            grid_pb2.CreateGridEventRequest(event=event, request_id=request.request_id), context
        )
        return _activated(created.event, offer)

    async def GetDelivery(
        self, request: flexibility_pb2.GetDeliveryRequest, context: Any
    ) -> flexibility_pb2.GetDeliveryResponse:
        found = await self._events.GetGridEvent(
            grid_pb2.GetGridEventRequest(event_id=request.activation_id), context
        )
        event = found.event
        if event.kind not in _EVENT_KINDS.values() or not event.site_id:
            raise NotFound(
                f"grid event {request.activation_id!r} asks no site to draw less or more",
                reason="ACTIVATION_UNKNOWN",
                metadata={"activation_id": request.activation_id},
            )
        now_ms = self._backend.clock.now_ms()
        return flexibility_pb2.GetDeliveryResponse(delivery=_delivery(event, now_ms))

    async def _offer(
        self, site_id: str, duration_ms: int, direction: int, caller: Caller
    ) -> FlexibilityOffer:
        await require_site(self._backend, site_id)
        return await self._backend.ask(
            ActorRef(ActorKind.SITE, site_id),
            GetFlexibility(duration_ms, more=direction == _MORE),
            FlexibilityOffer,
            caller,
        )


def _direction(given: int) -> flexibility_pb2.FlexibilityDirection.ValueType:
    """Which way; less where nothing is said."""
    if given in (_LESS, _MORE):
        return flexibility_pb2.FlexibilityDirection.ValueType(given)
    if given:
        raise invalid("direction", "LESS or MORE")
    return _LESS


def _new_id(request: flexibility_pb2.ActivateRequest) -> str:
    """An id for an activation without one; the same for the same request told again."""
    if not request.request_id:
        return str(uuid.uuid4())
    name = f"loadstar:flexibility:{request.site_id}:{request.request_id}"
    return str(uuid.uuid5(uuid.NAMESPACE_URL, name))


def _activated(
    event: grid_pb2.GridEvent, offer: FlexibilityOffer
) -> flexibility_pb2.ActivateResponse:
    return flexibility_pb2.ActivateResponse(
        delivery=_delivery(event, offer.at_ms), offer=_offer_to_message(offer)
    )


def _duration_ms(duration: Duration) -> int:
    duration_ms = duration.seconds * MS_PER_S + duration.nanos // 1_000_000
    if not DURATION_MIN_MS <= duration_ms <= DURATION_MAX_MS:
        raise invalid("duration", "five minutes to a day")
    return duration_ms


def _price(text: str) -> Decimal | None:
    """A price in a request; None for any."""
    if not text:
        return None
    try:
        price = Decimal(text)
    except InvalidOperation as error:
        raise invalid("price_max_per_kwh", "a decimal number") from error
    if not price.is_finite():
        raise invalid("price_max_per_kwh", "a decimal number")
    return price


def _refuse_beyond(offer: FlexibilityOffer, power_w: int, price_max: Decimal | None) -> None:
    """Refuse what is not on offer, or not at this price."""
    offered_w = sum(
        part.power_w
        for part in offer.parts
        if price_max is None or Decimal(part.price_per_kwh) <= price_max
    )
    if power_w > offered_w:
        at = "" if price_max is None else f" for {price_max} a kilowatt-hour at most"
        raise Precondition(
            f"{offered_w} W are on offer{at}, not {power_w} W",
            reason="OFFER_EXCEEDED",
            metadata={"site_id": offer.site_id, "offered_w": str(offered_w)},
        )


def _offer_to_message(offer: FlexibilityOffer) -> flexibility_pb2.FlexibilityOffer:
    return flexibility_pb2.FlexibilityOffer(
        site_id=offer.site_id,
        time=timestamp(offer.at_ms),
        duration=Duration(seconds=offer.duration_ms // MS_PER_S),
        drawn_w=offer.drawn_w,
        baseline_w=offer.baseline_w,
        parts=[
            flexibility_pb2.FlexibilityPart(
                kind=_KINDS[part.kind],
                power_w=part.power_w,
                energy_wh=part.power_w * offer.duration_ms // MS_PER_HOUR,
                session_count=part.sessions,
                price_per_kwh=part.price_per_kwh,
                currency=part.currency,
            )
            for part in offer.parts
        ],
        power_w=sum(part.power_w for part in offer.parts),
        direction=_MORE if offer.more else _LESS,
    )


def _delivery(event: grid_pb2.GridEvent, now_ms: int) -> flexibility_pb2.Delivery:
    """What a grid event that asks a site to draw less or more came to."""
    more = event.kind == grid_pb2.GRID_EVENT_KIND_INCREASE_BY
    told = event.response
    start_ms = event.start_time.ToMilliseconds()
    until_ms = told.finish_time.ToMilliseconds() if told.HasField("finish_time") else now_ms
    passed_ms = max(0, until_ms - start_ms)
    return flexibility_pb2.Delivery(
        activation_id=event.event_id,
        site_id=event.site_id,
        start_time=event.start_time,
        end_time=told.finish_time if told.HasField("finish_time") else event.end_time,
        ended=told.HasField("finish_time"),
        asked_w=event.power_w,
        baseline_w=told.baseline_w if told.HasField("baseline_w") else None,
        asked_wh=event.power_w * passed_ms // MS_PER_HOUR,
        delivered_wh=told.increased_wh if more else told.reduced_wh,
        fed_in_wh=told.fed_in_wh,
        meet_time=told.meet_time if told.HasField("meet_time") else None,
        direction=_MORE if more else _LESS,
    )
