"""What a site expects of the next hours, as people see it: slot by slot, and how far each forecast
was off.

Nothing is decided here; a plan starts from `Outlook.inputs`, and this shows the same figures with
their spread and their errors."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import tzinfo
from decimal import Decimal

import msgspec

from controlplane.network_tariff import TariffConfig
from controlplane.planning.history import Calendar, hour_of, weighted_quantile
from controlplane.planning.outlook import (
    NEED_PERCENT,
    STAY_PERCENT,
    Outlook,
    Power,
    calendar_of,
)
from controlplane.planning.scores import (
    ForecastError,
    hours_error,
    session_error,
    told_error,
)
from controlplane.planning.tariff import month_of
from controlplane.units import MS_PER_HOUR, MS_PER_S

__all__ = ["ForecastSlot", "PeakSoFar", "SiteForecasts", "site_forecasts"]

MIDDLE_PERCENT, HIGH_PERCENT = 50, 90


class ForecastSlot(msgspec.Struct, frozen=True, kw_only=True):
    """What is expected of one slot. Powers are means over it; `_high_w` is exceeded in one case of
    ten. `arrival_count` is how many sessions begin in it on average; stays and energies are those
    of sessions that begin in it, None where none were seen."""

    start_ms: int
    import_price_per_kwh: Decimal
    export_price_per_kwh: Decimal | None
    building_w: int
    building_high_w: int
    solar_w: int
    arrival_count: float
    stay_s: int | None
    """In three cases of four it is longer."""
    energy_wh: int | None
    """In three cases of four it is less."""


class PeakSoFar(msgspec.Struct, frozen=True, kw_only=True):
    """The highest mean power of the running month that a demand charge counts."""

    name: str
    price_per_kw: Decimal
    power_w: int
    at_ms: int | None
    """When its window began; None where none was measured."""


class SiteForecasts(msgspec.Struct, frozen=True, kw_only=True, tag="site_forecasts"):
    """See the module's docstring."""

    at_ms: int
    currency: str
    slot_s: int
    slots: tuple[ForecastSlot, ...]
    errors: tuple[ForecastError, ...]
    peaks: tuple[PeakSoFar, ...]
    stale: tuple[str, ...]
    prices_until_ms: int | None
    """Up to here prices were pushed; None for never."""
    building_day_count: int
    """Days of which the building is remembered."""
    solar_day_count: int
    visit_count: int
    """Ended sessions that are remembered."""


def site_forecasts(
    outlook: Outlook,
    tariff: TariffConfig,
    *,
    now_ms: int,
    slot_s: int,
    slots: int,
    zone: tzinfo,
) -> SiteForecasts:
    """All that is expected from the running slot of the clock on, and how far it may be trusted."""
    first_ms = now_ms - now_ms % (slot_s * MS_PER_S)
    inputs = outlook.inputs(
        tariff, start_ms=first_ms, slot_s=slot_s, slots=slots, zone=zone, now_ms=now_ms
    )
    calendar = calendar_of(tariff, zone)

    def powers(power: Power, percent: int) -> list[int]:
        return power.expected_w(
            first_ms,
            now_ms=now_ms,
            slot_s=slot_s,
            slots=slots,
            calendar=calendar,
            percent=percent,
        )

    building = powers(outlook.building, MIDDLE_PERCENT)
    high = powers(outlook.building, HIGH_PERCENT)
    sun = powers(outlook.sun, MIDDLE_PERCENT)
    earned = inputs.export_price_per_kwh or (None,) * slots
    expected = []
    for slot in range(slots):
        start_ms = first_ms + slot * slot_s * MS_PER_S
        visits = outlook.arrivals.typical(start_ms, calendar)
        stays = [(visit.stay_ms // MS_PER_S, 1.0) for visit in visits]
        energies = [(visit.energy_wh, 1.0) for visit in visits]
        expected.append(
            ForecastSlot(
                start_ms=start_ms,
                import_price_per_kwh=inputs.import_price_per_kwh[slot],
                export_price_per_kwh=earned[slot],
                building_w=building[slot],
                building_high_w=max(building[slot], high[slot]),
                solar_w=sun[slot],
                arrival_count=_arrivals(outlook, start_ms, now_ms, slot_s, calendar),
                stay_s=weighted_quantile(stays, STAY_PERCENT) if stays else None,
                energy_wh=weighted_quantile(energies, NEED_PERCENT) if energies else None,
            )
        )
    return SiteForecasts(
        at_ms=now_ms,
        currency=tariff.currency,
        slot_s=slot_s,
        slots=tuple(expected),
        errors=tuple(_errors(outlook, calendar)),
        peaks=tuple(_peaks(outlook, tariff, now_ms, zone)),
        stale=inputs.stale,
        prices_until_ms=outlook.prices.until_ms,
        building_day_count=_days(outlook.building),
        solar_day_count=_days(outlook.sun),
        visit_count=sum(len(each) for each in outlook.arrivals.visits.values()),
    )


def _arrivals(
    outlook: Outlook, start_ms: int, now_ms: int, slot_s: int, calendar: Calendar
) -> float:
    counts = outlook.arrivals.counts
    mean = counts.mean(hour_of(start_ms), before=hour_of(now_ms), calendar=calendar)
    return round((mean or 0.0) * slot_s * MS_PER_S / MS_PER_HOUR, 3)


def _errors(outlook: Outlook, calendar: Calendar) -> Iterator[ForecastError]:
    found = (
        hours_error(outlook.building.hours, what="building", unit="W", calendar=calendar),
        told_error(
            outlook.building.hours, outlook.building.told, what="building as told", unit="W"
        ),
        hours_error(outlook.sun.hours, what="sun", unit="W", calendar=calendar),
        told_error(outlook.sun.hours, outlook.sun.told, what="sun as told", unit="W"),
        hours_error(
            outlook.arrivals.counts, what="arrivals", unit="sessions an hour", calendar=calendar
        ),
        session_error(outlook.stays, what="stay", unit="minutes", percent=STAY_PERCENT),
        session_error(outlook.needs, what="need", unit="Wh", percent=NEED_PERCENT),
    )
    return (error for error in found if error is not None)


def _peaks(
    outlook: Outlook, tariff: TariffConfig, now_ms: int, zone: tzinfo
) -> Iterator[PeakSoFar]:
    month = month_of(now_ms, zone)
    for charge in tariff.demand_charges:
        peak = outlook.peaks.by_charge.get(charge.name)
        current = peak is not None and peak.month == month
        yield PeakSoFar(
            name=charge.name,
            price_per_kw=charge.price_per_kw,
            power_w=outlook.peaks.highest_w(charge.name, month),
            at_ms=peak.at_ms if peak is not None and current else None,
        )


def _days(power: Power) -> int:
    return -(-len(power.hours.values) // 24)
