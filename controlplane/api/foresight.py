"""The calls of `PlanningService` about what plans start from: pushing prices and forecasts, reading
what a site expects.

A push to many sites is one question to each, side by side and bounded; each answers for itself."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from decimal import Decimal, InvalidOperation
from typing import Any, Final

from controlplane.api.backend import (
    Backend,
    Caller,
    instant_ms,
    invalid,
    required,
    timestamp,
)
from controlplane.api.grid_events import require_feeder
from controlplane.api.sites import require_site
from controlplane.api.structs import message_of
from controlplane.api.v1 import planning_pb2
from controlplane.errors import InvalidInput, LoadstarError
from controlplane.ids import ActorKind, ActorRef
from controlplane.network import FeederConfig, SiteConfig
from controlplane.planning.forecasts import SiteForecasts
from controlplane.planning.prices import micro_of
from controlplane.planning.series import Interval, overlaps
from controlplane.site.foresight_messages import (
    ForecastKind,
    ForesightTaken,
    GetForecasts,
    PushForecast,
    PushPrices,
)
from controlplane.site.messages import POWER_MAX_W
from controlplane.units import MS_PER_S

__all__ = ["ForesightCalls", "price_intervals"]

SITES_MAX: Final = 1_000
PUSHED_MAX: Final = 2_000
SLOTS_MAX: Final = 672
"""A week of quarter hours."""

_ASKED_AT_ONCE: Final = 64
_LENGTH_MAX_S: Final = 7 * 86_400
_KINDS: Final = {
    planning_pb2.POWER_FORECAST_KIND_BUILDING: ForecastKind.BUILDING,
    planning_pb2.POWER_FORECAST_KIND_SOLAR: ForecastKind.SOLAR,
}


class ForesightCalls:
    """That part of `PlanningService`."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend

    async def PushPrices(
        self, request: planning_pb2.PushPricesRequest, context: Any
    ) -> planning_pb2.PushPricesResponse:
        prices = _intervals("prices", request.prices, _price_micro)
        currencies = await self._targets(request)
        places = asyncio.Semaphore(_ASKED_AT_ONCE)

        async def one(site_id: str, currency: str) -> ForesightTaken | LoadstarError:
            push = PushPrices(currency=request.currency or currency, prices=prices)
            async with places:
                return await _pushed(self._backend, site_id, push, context, request.request_id)

        found = await asyncio.gather(*(one(*target) for target in currencies.items()))
        refused = [each for each in found if isinstance(each, LoadstarError)]
        if refused and len(refused) == len(found):
            raise refused[0]
        return planning_pb2.PushPricesResponse(
            outcomes=[
                _outcome(site_id, each) for site_id, each in zip(currencies, found, strict=True)
            ]
        )

    async def PushForecast(
        self, request: planning_pb2.PushForecastRequest, context: Any
    ) -> planning_pb2.PushForecastResponse:
        required(request, "site_id")
        if request.kind not in _KINDS:
            raise invalid("kind", "must be given")
        powers = _intervals("powers", request.powers, _power_w)
        await require_site(self._backend, request.site_id)
        push = PushForecast(kind=_KINDS[request.kind], powers=powers)
        taken = await self._backend.ask(
            _ref(request.site_id), push, ForesightTaken, context, request_id=request.request_id
        )
        return planning_pb2.PushForecastResponse(outcome=_outcome(request.site_id, taken))

    async def GetForecasts(
        self, request: planning_pb2.GetForecastsRequest, context: Any
    ) -> planning_pb2.GetForecastsResponse:
        slot_s, slots = request.slot_s or 3_600, request.slot_count or 24
        if not 300 <= slot_s <= 3_600:
            raise invalid("slot_s", "300 to 3600 s, or 0 for 3600 s")
        if not 1 <= slots <= SLOTS_MAX:
            raise invalid("slot_count", f"1 to {SLOTS_MAX}, or 0 for 24")
        await require_site(self._backend, request.site_id)
        found = await self._backend.ask(
            _ref(request.site_id), GetForecasts(slot_s=slot_s, slots=slots), SiteForecasts, context
        )
        message = message_of(found, planning_pb2.SiteForecasts)
        return planning_pb2.GetForecastsResponse(forecasts=message)

    async def _targets(self, request: planning_pb2.PushPricesRequest) -> dict[str, str]:
        """The sites that are meant, with the currencies of their tariffs ("" without one)."""
        if bool(request.site_ids) == bool(request.feeder_id):
            raise invalid("site_ids", "either site_ids or feeder_id must be given")
        if len(request.site_ids) > SITES_MAX:
            raise invalid("site_ids", f"at most {SITES_MAX} in one call")
        if request.feeder_id:
            return await self._below(request.feeder_id)
        found = {}
        for site_id in request.site_ids:
            record = await require_site(self._backend, site_id)
            tariff = SiteConfig.model_validate_json(record.config).tariff
            found[site_id] = "" if tariff is None else tariff.currency
        return found

    async def _below(self, feeder_id: str) -> dict[str, str]:
        """The sites below a feeder whose tariff follows a market.

        Raises:
            InvalidInput: there is none.
        """
        await require_feeder(self._backend, feeder_id)
        parents = {
            record.feeder_id: FeederConfig.model_validate_json(record.config).parent
            for record in await self._backend.reader.feeders()
        }
        below = {feeder_id}
        while grown := {each for each, parent in parents.items() if parent in below} - below:
            below |= grown
        found = {}
        for record in await self._backend.reader.sites():
            if record.feeder_id in below:
                tariff = SiteConfig.model_validate_json(record.config).tariff
                if tariff is not None and tariff.day_ahead is not None:
                    found[str(record.site_id)] = tariff.currency
        if not found:
            raise invalid("feeder_id", "no site below it has a tariff with day_ahead")
        return found


async def _pushed(
    backend: Backend, site_id: str, push: PushPrices, context: Caller, request_id: str
) -> ForesightTaken | LoadstarError:
    try:
        return await backend.ask(
            _ref(site_id), push, ForesightTaken, context, request_id=request_id
        )
    except LoadstarError as error:
        return error


def price_intervals(field: str, given: Sequence[Any], *, most: int) -> tuple[Interval, ...]:
    """Prices of a market, in millionths and in order of time; there may be none.

    Raises:
        InvalidInput: naming the one that is wrong.
    """
    if not given:
        return ()
    found = _intervals(field, given, _price_micro, most=most)
    return tuple(sorted(found, key=lambda each: each.start_s))


def _intervals(
    field: str, given: Sequence[Any], value: Any, *, most: int = PUSHED_MAX
) -> tuple[Interval, ...]:
    """The intervals of a push.

    Raises:
        InvalidInput: naming the one that is wrong.
    """
    if not 1 <= len(given) <= most:
        raise invalid(field, f"1 to {most} intervals in one push")
    found = []
    for at, each in enumerate(given):
        place = f"{field}[{at}]"
        start_ms, end_ms = instant_ms(each, "start_time"), instant_ms(each, "end_time")
        if start_ms is None or end_ms is None:
            raise invalid(place, "start_time and end_time must be given")
        start_s = start_ms // MS_PER_S
        length_s = end_ms // MS_PER_S - start_s
        if not 1 <= length_s <= _LENGTH_MAX_S:
            raise invalid(f"{place}.end_time", "a second to a week after start_time")
        found.append(Interval(start_s, length_s, value(each, place)))
    pair = overlaps(found)
    if pair is not None:
        raise invalid(f"{field}[{pair[1]}]", f"overlaps {field}[{pair[0]}]")
    return tuple(found)


def _price_micro(given: planning_pb2.PriceInterval, place: str) -> int:
    try:
        return micro_of(Decimal(given.price_per_kwh))
    except InvalidOperation as error:
        raise invalid(f"{place}.price_per_kwh", "a decimal number, such as 0.0812") from error
    except InvalidInput as error:
        raise invalid(f"{place}.price_per_kwh", error.message) from error


def _power_w(given: planning_pb2.PowerInterval, place: str) -> int:
    if not 0 <= given.power_w <= POWER_MAX_W:
        raise invalid(f"{place}.power_w", f"0 to {POWER_MAX_W} W")
    return given.power_w


def _outcome(site_id: str, found: ForesightTaken | LoadstarError) -> planning_pb2.PushOutcome:
    if isinstance(found, LoadstarError):
        return planning_pb2.PushOutcome(site_id=site_id, refusal=found.message)
    return planning_pb2.PushOutcome(
        site_id=site_id, taken_count=found.taken, until_time=timestamp(found.until_ms)
    )


def _ref(site_id: str) -> ActorRef:
    return ActorRef(ActorKind.SITE, site_id)
