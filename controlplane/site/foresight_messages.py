"""What a `SiteActor` can be told and asked of the hours to come, by the API."""

from __future__ import annotations

from enum import StrEnum

import msgspec

from controlplane.ids import SiteId
from controlplane.planning.series import Interval

__all__ = ["ForecastKind", "ForesightTaken", "GetForecasts", "PushForecast", "PushPrices"]


class ForecastKind(StrEnum):
    """What a forecast is of."""

    BUILDING = "building"
    """What the building draws."""
    SOLAR = "solar"
    """What the solar plant gives."""


class PushPrices(msgspec.Struct, frozen=True, tag="push_prices"):
    """Take in day-ahead prices, in millionths of `currency` per kilowatt-hour, before the tariff's
    multiplier and adder. What overlaps earlier ones replaces them. Answered with `ForesightTaken`,
    or refused."""

    currency: str
    prices: tuple[Interval, ...]


class PushForecast(msgspec.Struct, frozen=True, tag="push_forecast"):
    """Take in a forecast of a power, in W, 0 and up; it counts before what the site learned.
    Answered with `ForesightTaken`, or refused."""

    kind: ForecastKind
    powers: tuple[Interval, ...]


class ForesightTaken(msgspec.Struct, frozen=True, tag="foresight_taken"):
    """What was pushed was taken in: so many of its intervals are in use, and until then something
    is known."""

    site_id: SiteId
    taken: int
    until_ms: int | None


class GetForecasts(msgspec.Struct, frozen=True, tag="get_forecasts"):
    """What is expected of so many slots from the running one on. Answered with
    `planning.forecasts.SiteForecasts`, or refused where the site has no tariff."""

    slot_s: int
    slots: int
