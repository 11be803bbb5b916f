"""The prices that a program tells, and which of them holds when.

Invariant: at every instant one price holds: that of the event with the lowest priority number, of
equal ones the one that was written last. Nothing else of an event follows from its prices, and no
price ever changes what may be drawn: they are pushed to the sites whose tariff follows a market.
Source: OpenADR 3.1 definitions, PRICE: import price per unit, with `units` and `currency` in its
payload descriptor."""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from itertools import pairwise

from controlplane.integrations.openadr.mapping import (
    LOWEST_PRIORITY,
    Ignored,
    described,
    number_of,
)
from controlplane.integrations.openadr.timing import Window, written_ms
from controlplane.integrations.openadr.wire import Event, Program, ValuesMap
from controlplane.network_tariff import PRICE_MAX
from controlplane.units import MS_PER_HOUR, MS_PER_S

__all__ = ["AHEAD_DAYS", "STEPS_MAX", "PriceStep", "price_steps", "timeline"]

AHEAD_DAYS = 7
"""Prices are told so far ahead, counted in whole days: what is told of one without an end changes
once a day."""

STEPS_MAX = 1_000
"""A site keeps no more."""

_DAY_MS = 24 * MS_PER_HOUR
_PRICE = "PRICE"
_UNITS_PER_KWH = {"KWH": Decimal(1), "WH": Decimal(1_000), "MWH": Decimal("0.001")}
_MILLIONTH = Decimal("0.000001")


@dataclass(frozen=True)
class PriceStep:
    """The price of one interval of an event.

    Attributes:
        written_ms: when the utility last wrote the event.
        priority: 0 goes before all others.
        currency: ISO 4217; empty where the utility does not say.
    """

    event_id: str
    interval_id: int
    written_ms: int
    priority: int
    price_per_kwh: Decimal
    currency: str
    start_ms: int
    end_ms: int


def price_steps(
    event: Event, program: Program, windows: Sequence[Window]
) -> tuple[list[PriceStep], list[Ignored]]:
    """The prices of an event, interval by interval, and what of them cannot be read."""
    descriptor = described(event, program).get(_PRICE)
    units = "KWH" if descriptor is None else (descriptor.units or "KWH").upper()
    found: list[PriceStep] = []
    ignored: list[Ignored] = []
    for window in windows:
        payloads = [payload for payload in window.payloads if payload.type == _PRICE]
        for payload in payloads[:1]:
            price = _price_per_kwh(payload, units)
            if isinstance(price, str):
                reason = "VALUE_INVALID" if units in _UNITS_PER_KWH else "UNITS_UNKNOWN"
                ignored.append(Ignored(event.id, window.interval_id, _PRICE, reason, price))
                continue
            found.append(
                PriceStep(
                    event_id=event.id,
                    interval_id=window.interval_id,
                    written_ms=written_ms(event) or 0,
                    priority=LOWEST_PRIORITY if event.priority is None else event.priority,
                    price_per_kwh=price,
                    currency="" if descriptor is None else (descriptor.currency or "").upper(),
                    start_ms=window.start_ms,
                    end_ms=window.end_ms,
                )
            )
    return found, ignored


def _price_per_kwh(payload: ValuesMap, units: str) -> Decimal | str:
    """The price, or in words why there is none."""
    if units not in _UNITS_PER_KWH:
        return f"{units} is no unit of energy that we read"
    value = number_of(payload.values)
    if value is None:
        return "one finite number is expected"
    price = Decimal(str(value)) * _UNITS_PER_KWH[units]
    if abs(price) > PRICE_MAX:
        return f"a price is within {PRICE_MAX} per kWh"
    return price.quantize(_MILLIONTH)


def timeline(steps: Sequence[PriceStep], *, now_ms: int) -> list[PriceStep]:
    """What holds from today on, in order of time and without overlaps, in whole seconds: each step
    cut to where no other goes before it, the first `STEPS_MAX`."""
    today_ms = now_ms // _DAY_MS * _DAY_MS
    until_ms = today_ms + AHEAD_DAYS * _DAY_MS
    near = [
        replace(
            each,
            start_ms=max(each.start_ms, today_ms) // MS_PER_S * MS_PER_S,
            end_ms=min(each.end_ms, until_ms) // MS_PER_S * MS_PER_S,
        )
        for each in steps
        if each.end_ms > now_ms and each.start_ms < until_ms
    ]
    near.sort(key=lambda each: (each.priority, -each.written_ms, each.event_id))
    coming = sorted(range(len(near)), key=lambda rank: near[rank].start_ms, reverse=True)
    edges_ms = sorted({edge_ms for each in near for edge_ms in (each.start_ms, each.end_ms)})
    standing: list[int] = []
    found: list[PriceStep] = []
    held: tuple[int, int] | None = None
    """Which of `near` held last, and until when."""
    for start_ms, end_ms in pairwise(edges_ms):
        while coming and near[coming[-1]].start_ms <= start_ms:
            heapq.heappush(standing, coming.pop())
        while standing and near[standing[0]].end_ms <= start_ms:
            heapq.heappop(standing)
        if not standing or end_ms <= now_ms:
            continue
        goes_on = held == (standing[0], start_ms)
        since_ms = found.pop().start_ms if goes_on else start_ms
        found.append(replace(near[standing[0]], start_ms=since_ms, end_ms=end_ms))
        held = standing[0], end_ms
    return found[:STEPS_MAX]
