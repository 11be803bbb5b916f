"""What energy costs in every slot by a site's tariff, and in which slots a demand charge is
measured.

Pure arithmetic on the site's own clock. Where the clock jumps, an hour that comes twice has the
price of that hour both times, and one that does not come has none. A slot in which the price
changes has the mean over its minutes. Prices are `Decimal` in the tariff's currency, in millionths
at most."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import date, datetime, timedelta, tzinfo
from decimal import ROUND_HALF_EVEN, Decimal
from functools import cached_property

import msgspec

from controlplane.network_tariff import TariffConfig, TariffHours
from controlplane.planning.series import Series
from controlplane.rules import Weekday
from controlplane.units import MS_PER_HOUR, MS_PER_S, datetime_from_ms

__all__ = ["MICRO", "SlotPrices", "Tariff", "month_of"]

MICRO = 1_000_000
"""Prices are kept and pushed in millionths of the currency."""

_MS_PER_MINUTE = 60 * MS_PER_S
_DAY_MS = 24 * MS_PER_HOUR
_DAYS_BACK_MAX = 7
_WEEKDAYS = tuple(Weekday)
_STEP = Decimal(1) / MICRO


class SlotPrices(msgspec.Struct, frozen=True, kw_only=True):
    """Prices of a horizon, by slot."""

    import_price_per_kwh: tuple[Decimal, ...]
    export_price_per_kwh: tuple[Decimal, ...]
    """At most the import price; empty where feeding in never earns anything."""
    stale: tuple[str, ...] = ()
    """In words, what stands in for prices that were not pushed."""


class Tariff:
    """A tariff on a site's clock.

    Args:
        config: as it is described.
        zone: of the site.
    """

    def __init__(self, config: TariffConfig, zone: tzinfo) -> None:
        self.config = config
        self.zone = zone
        self._holidays = frozenset(config.holidays)
        self._seasons = {season.id: season for season in config.seasons}
        self._days: dict[tuple[TariffHours, date], bool] = {}

    # --- prices -----------------------------------------------------------------------------------

    def prices(
        self, *, start_ms: int, slot_s: int, slots: int, pushed: Series | None = None
    ) -> SlotPrices:
        """What drawing costs and feeding in earns in each slot.

        Args:
            pushed: day-ahead prices in millionths per kilowatt-hour, for a tariff that follows
                them.
        """
        slot_ms = slot_s * MS_PER_S
        starts = [start_ms + slot * slot_ms for slot in range(slots)]
        if self.config.day_ahead is None:
            bought = [self._mean(at, slot_ms, self._import_price) for at in starts]
            sold = [self._mean(at, slot_ms, self._export_price) for at in starts]
            return self._found(bought, sold, stale=())
        return self._following(starts, slot_ms, pushed or Series())

    def _following(self, starts: Sequence[int], slot_ms: int, pushed: Series) -> SlotPrices:
        """Prices of a tariff that follows a market."""
        market = self.config.day_ahead
        assert market is not None
        bought: list[Decimal] = []
        sold: list[Decimal] = []
        by_tariff: list[int] = []
        by_day: list[int] = []
        unknown: list[int] = []
        for at in starts:
            spot = _spot(pushed, at, slot_ms)
            if spot is None and self.config.import_price_per_kwh is not None:
                by_tariff.append(at)
                bought.append(self._mean(at, slot_ms, self._import_price))
                sold.append(self._mean(at, slot_ms, self._export_price))
                continue
            if spot is None:
                spot = _spot_of_a_day_before(pushed, at, slot_ms)
                (unknown if spot is None else by_day).append(at)
            if spot is None:
                spot = _spot_of_all(pushed)
            adder = self._mean(at, slot_ms, self._adder)
            bought.append(spot * market.multiplier + adder)
            sold.append(spot * market.export_multiplier + market.export_adder_per_kwh)
        stale = [
            words
            for missing, words in (
                (by_tariff, "the tariff stands in for them"),
                (by_day, "those of the same hour of a day before stand in for them"),
                (unknown, "no price is known, so all hours count alike"),
            )
            if missing
            for words in (f"day-ahead prices are missing {self._when(missing, slot_ms)}: {words}",)
        ]
        return self._found(bought, sold, stale=stale)

    def _found(
        self, bought: Sequence[Decimal], sold: Sequence[Decimal], *, stale: Iterable[str]
    ) -> SlotPrices:
        paid = tuple(_rounded(price) for price in bought)
        earned: tuple[Decimal, ...] = ()
        if self.config.pays_export:
            earned = tuple(
                min(_rounded(price), most) for price, most in zip(sold, paid, strict=True)
            )
        return SlotPrices(
            import_price_per_kwh=paid, export_price_per_kwh=earned, stale=tuple(stale)
        )

    def _import_price(self, local: datetime) -> Decimal:
        return self._first(local, "import_price_per_kwh", self.config.import_price_per_kwh)

    def _export_price(self, local: datetime) -> Decimal:
        return self._first(local, "export_price_per_kwh", self.config.export_price_per_kwh)

    def _adder(self, local: datetime) -> Decimal:
        market = self.config.day_ahead
        return self._first(local, "adder_per_kwh", market.adder_per_kwh if market else None)

    def _first(self, local: datetime, field: str, otherwise: Decimal | None) -> Decimal:
        """The price of the first period that holds and gives one."""
        for period in self.config.periods:
            price: Decimal | None = getattr(period, field)
            if price is not None and self._hold(period.hours, local):
                return price
        return Decimal(0) if otherwise is None else otherwise

    def _mean(self, at_ms: int, slot_ms: int, price: Callable[[datetime], Decimal]) -> Decimal:
        moments = self._moments(at_ms, slot_ms)
        if len(moments) == 1:
            return price(moments[0])
        return sum((price(local) for local in moments), Decimal(0)) / len(moments)

    # --- demand charges ---------------------------------------------------------------------------

    def measured(self, hours: Sequence[TariffHours], *, start_ms: int, length_ms: int) -> bool:
        """Whether a demand charge with these hours counts any of a time."""
        if not hours:
            return True
        return any(self._hold(hours, local) for local in self._moments(start_ms, length_ms))

    # --- the clock --------------------------------------------------------------------------------

    def local(self, at_ms: int) -> datetime:
        return datetime_from_ms(at_ms).astimezone(self.zone)

    @cached_property
    def _changes(self) -> list[int]:
        """Minutes of the day at which any price may change."""
        charges = (hours for charge in self.config.demand_charges for hours in charge.hours)
        periods = (hours for period in self.config.periods for hours in period.hours)
        minutes = {0}
        for hours in (*charges, *periods):
            minutes |= {hours.begins_minute, hours.ends_minute % 1_440}
        return sorted(minutes)

    def _moments(self, at_ms: int, length_ms: int) -> list[datetime]:
        """Moments that stand for equal parts of a time: one where nothing changes in it, else each
        of its minutes."""
        first, last = self.local(at_ms), self.local(at_ms + length_ms - 1)
        begins, ends = first.hour * 60 + first.minute, last.hour * 60 + last.minute
        steady = (
            first.utcoffset() == last.utcoffset()
            and first.date() == last.date()
            and not any(begins < change <= ends for change in self._changes)
        )
        if steady:
            return [first]
        return [self.local(at_ms + offset_ms) for offset_ms in range(0, length_ms, _MS_PER_MINUTE)]

    def _hold(self, several: Sequence[TariffHours], local: datetime) -> bool:
        minute = local.hour * 60 + local.minute
        for hours in several:
            begins, ends, day = hours.begins_minute, hours.ends_minute, local.date()
            over_midnight = ends <= begins
            if begins <= minute < (1_440 if over_midnight else ends) and self._on(hours, day):
                return True
            if over_midnight and minute < ends and self._on(hours, day - timedelta(days=1)):
                return True
        return False

    def _on(self, hours: TariffHours, day: date) -> bool:
        """Whether hours begin on a day."""
        found = self._days.get((hours, day))
        if found is None:
            weekday = Weekday.SUN if day in self._holidays else _WEEKDAYS[day.weekday()]
            in_season = not hours.seasons or any(
                self._seasons[season].holds(day) for season in hours.seasons
            )
            found = self._days[hours, day] = in_season and weekday in hours.days
        return found

    def _when(self, starts: Sequence[int], slot_ms: int) -> str:
        """When slots lie, in words: from the first to the end of the last."""
        first, last = self.local(starts[0]), self.local(starts[-1] + slot_ms)
        return f"between {first:%Y-%m-%d %H:%M} and {last:%Y-%m-%d %H:%M}"


def month_of(at_ms: int, zone: tzinfo) -> int:
    """The calendar month of an instant on a clock, as months since the year 0."""
    local = datetime_from_ms(at_ms).astimezone(zone)
    return local.year * 12 + local.month - 1


def _spot(pushed: Series, at_ms: int, slot_ms: int) -> Decimal | None:
    value = pushed.mean(at_ms, at_ms + slot_ms)
    return None if value is None else Decimal(value) / MICRO


def _spot_of_a_day_before(pushed: Series, at_ms: int, slot_ms: int) -> Decimal | None:
    days = (_spot(pushed, at_ms - back * _DAY_MS, slot_ms) for back in range(1, _DAYS_BACK_MAX + 1))
    return next((price for price in days if price is not None), None)


def _spot_of_all(pushed: Series) -> Decimal:
    """The mean of all that is known; 0 where nothing is."""
    length_s = sum(each.length_s for each in pushed.intervals)
    if not length_s:
        return Decimal(0)
    total = sum(each.value * each.length_s for each in pushed.intervals)
    return Decimal(total // length_s) / MICRO


def _rounded(price: Decimal) -> Decimal:
    return price.quantize(_STEP, ROUND_HALF_EVEN)
