"""The part of a site's description that is about money: what energy costs at each hour, what
feeding in earns, and what a billing period's highest power costs.

Everything is checked here; prices of an instant are worked out in `planning/tariff.py`. Times of
day and dates are those of the site's own clock. Invariant: every instant has a price, or the tariff
follows day-ahead prices, and feeding in never earns more than drawing costs, because that would pay
for feeding in what is drawn."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from datetime import date
from decimal import Decimal
from typing import Annotated, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, field_validator, model_validator

from controlplane.ids import NAME_PATTERN
from controlplane.rules import TimeOfDay, Weekday, minutes_of_day

__all__ = [
    "PRICE_MAX",
    "DayAheadConfig",
    "DemandChargeConfig",
    "PeriodConfig",
    "SeasonConfig",
    "TariffConfig",
    "TariffHours",
]

PRICE_MAX = 10_000
"""No kilowatt-hour and no kilowatt costs or earns more, in the currency."""

_SEASONS_MAX = 12
_PERIODS_MAX = 50
_HOURS_MAX = 50
_DEMAND_MAX = 8
_HOLIDAYS_MAX = 400
_LEAP_YEAR = 2_000
_MONTH_DAY = re.compile(r"(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])")

Name = Annotated[str, Field(pattern=f"^{NAME_PATTERN.pattern}$")]
Price = Annotated[Decimal, Field(ge=-PRICE_MAX, le=PRICE_MAX, allow_inf_nan=False)]


def _month_day(text: str) -> str:
    if _MONTH_DAY.fullmatch(text):
        try:
            date(_LEAP_YEAR, int(text[:2]), int(text[3:]))
        except ValueError:
            pass
        else:
            return text
    raise ValueError(f"{text!r} is no day of the year, such as 06-01")


MonthDay = Annotated[str, AfterValidator(_month_day)]


class _Model(BaseModel):
    # `from` is a word of the language, so the document's names are aliases.
    model_config = ConfigDict(
        extra="forbid", frozen=True, str_strip_whitespace=True, serialize_by_alias=True
    )


class SeasonConfig(_Model):
    """A part of every year, both days included; one that ends before it begins runs over New
    Year."""

    id: Name
    begins: MonthDay = Field(alias="from")
    ends: MonthDay = Field(alias="to")

    def holds(self, day: date) -> bool:
        today = f"{day.month:02}-{day.day:02}"
        if self.begins <= self.ends:
            return self.begins <= today <= self.ends
        return today >= self.begins or today <= self.ends


class TariffHours(_Model):
    """From one time of day to another, on some days of the week of some seasons. Hours that end no
    later than they begin run into the next day; days and seasons are those on which they begin."""

    seasons: Annotated[tuple[Name, ...], Field(max_length=_SEASONS_MAX)] = ()
    """All where none is named."""
    days: tuple[Weekday, ...] = tuple(Weekday)
    """A holiday counts as a Sunday."""
    begins: TimeOfDay = Field(default="00:00", alias="from")
    ends: TimeOfDay = Field(default="24:00", alias="to")

    @field_validator("days")
    @classmethod
    def _days_once(cls, days: tuple[Weekday, ...]) -> tuple[Weekday, ...]:
        if not days or len(set(days)) != len(days):
            raise ValueError("one or more different days; leave `days` out for every day")
        return days

    @model_validator(mode="after")
    def _not_nothing(self) -> Self:
        if self.begins == "24:00":
            raise ValueError("hours do not begin at 24:00; write 00:00 and the next day")
        if self.begins_minute == self.ends_minute:
            raise ValueError("`from` and `to` are the same; the whole day is 00:00 to 24:00")
        return self

    @property
    def begins_minute(self) -> int:
        """Minutes after midnight of each of `days`, 0 to 1,439."""
        return minutes_of_day(self.begins)

    @property
    def ends_minute(self) -> int:
        """The same, 0 to 1,440; not above `begins_minute` where it lies on the next day."""
        return minutes_of_day(self.ends)


class PeriodConfig(_Model):
    """What holds at some hours. Of several that hold, the first that gives a price decides it."""

    name: str = ""
    hours: Annotated[tuple[TariffHours, ...], Field(min_length=1, max_length=_HOURS_MAX)]
    import_price_per_kwh: Price | None = None
    export_price_per_kwh: Price | None = None
    adder_per_kwh: Price | None = None
    """In place of the one of `day_ahead`: network charges that follow the hour."""


class DemandChargeConfig(_Model):
    """A charge for the highest mean power of a calendar month, of those windows of `window_s` that
    lie in `hours` at least in part; always where there are none."""

    name: Name
    price_per_kw: Annotated[Decimal, Field(ge=0, le=PRICE_MAX, allow_inf_nan=False)]
    hours: Annotated[tuple[TariffHours, ...], Field(max_length=_HOURS_MAX)] = ()


class DayAheadConfig(_Model):
    """Prices follow a market: the pushed price times the multiplier, plus the adder. Feeding in
    earns the pushed price times its own multiplier plus its own adder, and nothing unless
    described."""

    multiplier: Annotated[Decimal, Field(ge=0, le=100, allow_inf_nan=False)] = Decimal(1)
    adder_per_kwh: Price = Decimal(0)
    export_multiplier: Annotated[Decimal, Field(ge=0, le=100, allow_inf_nan=False)] = Decimal(0)
    export_adder_per_kwh: Price = Decimal(0)

    @property
    def pays_export(self) -> bool:
        return bool(self.export_multiplier or self.export_adder_per_kwh)


class TariffConfig(_Model):
    """What a site pays. `import_price_per_kwh` and `export_price_per_kwh` hold where no period says
    otherwise. With `day_ahead`, prices are those that were pushed, and all others stand in for what
    was not."""

    currency: Annotated[str, Field(pattern=r"^[A-Z]{3}$")]
    """ISO 4217."""
    name: str = ""
    import_price_per_kwh: Price | None = None
    export_price_per_kwh: Price | None = None
    seasons: Annotated[tuple[SeasonConfig, ...], Field(max_length=_SEASONS_MAX)] = ()
    holidays: Annotated[tuple[date, ...], Field(max_length=_HOLIDAYS_MAX)] = ()
    periods: Annotated[tuple[PeriodConfig, ...], Field(max_length=_PERIODS_MAX)] = ()
    demand_charges: Annotated[tuple[DemandChargeConfig, ...], Field(max_length=_DEMAND_MAX)] = ()
    window_s: Annotated[int, Field(ge=300, le=3_600)] = 900
    """The windows of the clock whose mean power demand charges are for."""
    day_ahead: DayAheadConfig | None = None
    chargers_only: bool = False
    """Charging is metered apart from the building, which has a contract of its own."""

    @field_validator("window_s")
    @classmethod
    def _divides_an_hour(cls, window_s: int) -> int:
        if 3_600 % window_s:
            raise ValueError("an hour must be a whole number of windows, such as 900 or 1800 s")
        return window_s

    @model_validator(mode="after")
    def _seasons_known(self) -> Self:
        seasons = [season.id for season in self.seasons]
        if len(set(seasons)) != len(seasons):
            raise ValueError("two seasons share an id")
        for place, hours in self._all_hours():
            for season in hours.seasons:
                if season not in seasons:
                    raise ValueError(f"{place} names an unknown season {season!r}")
        charges = [charge.name for charge in self.demand_charges]
        if len(set(charges)) != len(charges):
            raise ValueError("two demand charges share a name")
        return self

    @model_validator(mode="after")
    def _always_a_price(self) -> Self:
        if self.day_ahead is None:
            if self.import_price_per_kwh is None:
                raise ValueError(
                    "import_price_per_kwh must be given: it holds where no period does; only a "
                    "tariff with day_ahead may leave it out"
                )
            if any(period.adder_per_kwh is not None for period in self.periods):
                raise ValueError("adder_per_kwh of a period is for tariffs with day_ahead")
        for earned, paid, words in self._pairs():
            if earned is not None and paid is not None and earned > paid:
                raise ValueError(
                    f"{words}: feeding in would earn {earned}, more than the {paid} that drawing "
                    "costs: what is drawn would be fed in again for ever"
                )
        return self

    def _all_hours(self) -> Iterator[tuple[str, TariffHours]]:
        for at, period in enumerate(self.periods):
            yield from ((f"period {period.name or at}", hours) for hours in period.hours)
        for charge in self.demand_charges:
            yield from ((f"demand charge {charge.name}", hours) for hours in charge.hours)

    def _pairs(self) -> Iterator[tuple[Decimal | None, Decimal | None, str]]:
        yield self.export_price_per_kwh, self.import_price_per_kwh, "the tariff"
        for at, period in enumerate(self.periods):
            yield period.export_price_per_kwh, period.import_price_per_kwh, f"periods[{at}]"

    @property
    def pays_export(self) -> bool:
        """Whether feeding in ever has a price."""
        prices: Sequence[Decimal | None] = (
            self.export_price_per_kwh,
            *(period.export_price_per_kwh for period in self.periods),
        )
        market = self.day_ahead is not None and self.day_ahead.pays_export
        return market or any(price is not None for price in prices)
