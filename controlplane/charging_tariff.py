"""What drivers pay, in the form in which a station calculates it (OCPP 2.1 part 2, functional block
I).

Money is `Decimal` in the tariff's currency, without tax where nothing else is said; energy is
watt-hours, power watts, current milliamperes summed over the phases. `tariff_fault` refuses what
would be wrong on every bill before any station hears of it."""

from __future__ import annotations

import re
from decimal import Decimal
from enum import StrEnum
from itertools import chain
from typing import Final

import msgspec

__all__ = [
    "AMOUNT_MAX",
    "Conditions",
    "EnergyPrice",
    "EvseKind",
    "FixedPrice",
    "Price",
    "Tariff",
    "TaxRate",
    "Text",
    "TimePrice",
    "tariff_fault",
]

AMOUNT_MAX: Final = Decimal(1_000_000)
"""No price and no bill is higher."""
_DECIMALS_MAX: Final = 6
_PRICES_MAX: Final = 100
_TAX_RATES_MAX: Final = 5
_CURRENCY: Final = re.compile(r"[A-Z]{3}")
_TIME_OF_DAY: Final = re.compile(r"([01][0-9]|2[0-3]):[0-5][0-9]")
_DATE: Final = re.compile(r"[12][0-9]{3}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])")


class EvseKind(StrEnum):
    AC = "AC"
    DC = "DC"


class TaxRate(msgspec.Struct, frozen=True):
    """`percent` of the net price and of the taxes of lower `stack`."""

    name: str = ""
    percent: Decimal = Decimal(0)
    stack: int = 0


class Conditions(msgspec.Struct, frozen=True):
    """When a price counts; None where it does not matter. Times and dates are local: `HH:MM`,
    `YYYY-MM-DD`; the end of each range is exclusive, and an end of day before its begin is on the
    next day. `days` in English. The last two are for fixed prices only."""

    start_time: str | None = None
    end_time: str | None = None
    days: tuple[str, ...] = ()
    from_date: str | None = None
    to_date: str | None = None
    evse_kind: EvseKind | None = None
    min_energy_wh: float | None = None
    max_energy_wh: float | None = None
    min_current_a: float | None = None
    max_current_a: float | None = None
    min_power_w: float | None = None
    max_power_w: float | None = None
    min_time_s: int | None = None
    max_time_s: int | None = None
    min_charging_time_s: int | None = None
    max_charging_time_s: int | None = None
    min_idle_time_s: int | None = None
    max_idle_time_s: int | None = None
    payment_brand: str | None = None
    payment_recognition: str | None = None


class EnergyPrice(msgspec.Struct, frozen=True):
    per_kwh: Decimal
    conditions: Conditions | None = None


class TimePrice(msgspec.Struct, frozen=True):
    per_minute: Decimal
    conditions: Conditions | None = None


class FixedPrice(msgspec.Struct, frozen=True):
    price: Decimal
    conditions: Conditions | None = None


class Price(msgspec.Struct, frozen=True):
    """One of the two at least."""

    excluding_tax: Decimal | None = None
    including_tax: Decimal | None = None
    tax_rates: tuple[TaxRate, ...] = ()


class Text(msgspec.Struct, frozen=True):
    """What a driver reads; `format` is UTF8, ASCII, HTML, URI or QRCODE."""

    content: str
    format: str = "UTF8"
    language: str | None = None


class Tariff(msgspec.Struct, frozen=True):
    """What charging costs. Of each component's prices the first whose conditions hold counts."""

    tariff_id: str
    currency: str
    description: tuple[Text, ...] = ()
    valid_from_ms: int | None = None
    energy: tuple[EnergyPrice, ...] = ()
    charging_time: tuple[TimePrice, ...] = ()
    idle_time: tuple[TimePrice, ...] = ()
    fixed_fee: tuple[FixedPrice, ...] = ()
    reservation_time: tuple[TimePrice, ...] = ()
    reservation_fixed: tuple[FixedPrice, ...] = ()
    tax_rates: tuple[TaxRate, ...] = ()
    """They hold for every component."""
    min_cost: Price | None = None
    max_cost: Price | None = None


def tariff_fault(tariff: Tariff) -> str | None:
    """What is wrong with a tariff, in words; None for a right one."""
    if not 1 <= len(tariff.tariff_id) <= 60:
        return "tariff_id: 1 to 60 characters"
    if not _CURRENCY.fullmatch(tariff.currency):
        return "currency: three capital letters (ISO 4217)"
    priced = list(
        chain(
            ((price.per_kwh, price.conditions) for price in tariff.energy),
            (
                (price.per_minute, price.conditions)
                for price in (*tariff.charging_time, *tariff.idle_time, *tariff.reservation_time)
            ),
            (
                (price.price, price.conditions)
                for price in (*tariff.fixed_fee, *tariff.reservation_fixed)
            ),
        )
    )
    if not 1 <= len(priced) <= _PRICES_MAX:
        return f"prices: 1 to {_PRICES_MAX}"
    if len(tariff.tax_rates) > _TAX_RATES_MAX:
        return f"tax_rates: at most {_TAX_RATES_MAX}"
    if any(not 0 <= rate.percent <= 100 or rate.stack < 0 for rate in tariff.tax_rates):
        return "tax_rates: 0 to 100 percent, stack 0 or more"
    for price, conditions in priced:
        fault = _amount_fault(price) or (conditions and _conditions_fault(conditions))
        if fault:
            return fault
    return _bounds_fault(tariff)


def _bounds_fault(tariff: Tariff) -> str | None:
    for name, price in (("min_cost", tariff.min_cost), ("max_cost", tariff.max_cost)):
        if price is None:
            continue
        amounts = [each for each in (price.excluding_tax, price.including_tax) if each is not None]
        if not amounts:
            return f"{name}: an amount with or without tax"
        fault = next(filter(None, map(_amount_fault, amounts)), None)
        if fault or min(amounts) < 0:
            return f"{name}: {fault or '0 or more'}"
    return None


def _amount_fault(amount: Decimal) -> str | None:
    if not amount.is_finite() or abs(amount) > AMOUNT_MAX:
        return f"an amount is at most {AMOUNT_MAX}"
    exponent = amount.normalize().as_tuple().exponent
    if isinstance(exponent, int) and exponent < -_DECIMALS_MAX:
        return f"an amount has at most {_DECIMALS_MAX} decimals"
    return None


def _conditions_fault(conditions: Conditions) -> str | None:
    for text, pattern, form in (
        (conditions.start_time, _TIME_OF_DAY, "HH:MM"),
        (conditions.end_time, _TIME_OF_DAY, "HH:MM"),
        (conditions.from_date, _DATE, "YYYY-MM-DD"),
        (conditions.to_date, _DATE, "YYYY-MM-DD"),
    ):
        if text is not None and not pattern.fullmatch(text):
            return f"{text[:16]!r} is not of the form {form}"
    if conditions.from_date and conditions.to_date and conditions.to_date <= conditions.from_date:
        return "to_date: after from_date"
    for name in (
        "energy_wh",
        "current_a",
        "power_w",
        "time_s",
        "charging_time_s",
        "idle_time_s",
    ):
        least, most = getattr(conditions, f"min_{name}"), getattr(conditions, f"max_{name}")
        if least is not None and most is not None and most <= least:
            return f"max_{name}: above min_{name}"
    return None
