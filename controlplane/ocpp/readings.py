"""Sampled values of a station to `MeterReading`, and its times and numbers, read tolerantly.

Meters in the field send text where numbers belong, kilo-units, decimal commas, times without a
zone, phases without a total, and lists with nothing in them. The invariant: whatever a schema lets
through is read without an exception, and what cannot be understood counts as not said.

Energy is rounded down to the watt-hour, so that nothing is billed that was not delivered; a guard
of a millionth keeps binary fractions such as 0.29 kWh from losing one. Power and currents are
measurements, not limits, and are rounded to the nearest unit."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from controlplane.ocpp.events import MeterReading

__all__ = [
    "bounded_integer",
    "energy_wh",
    "instant_ms",
    "milliamperes",
    "readings",
    "small_integer",
]

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND: Final = timedelta(milliseconds=1)
_EXACT_MAX: Final = 2**53
"""Integers beyond this are no measurement, and databases and JSON readers do not keep them
exactly."""

_ENERGY, _POWER_IMPORT, _POWER_EXPORT, _CURRENT, _SOC = range(5)
_DEFAULT_MEASURAND: Final = "Energy.Active.Import.Register"
_KIND_OF_MEASURAND: Final = {
    _DEFAULT_MEASURAND: _ENERGY,
    "Power.Active.Import": _POWER_IMPORT,
    "Power.Active.Export": _POWER_EXPORT,
    "Current.Import": _CURRENT,
    "SoC": _SOC,
    # Seen in the field: the unit where the measurand belongs.
    "Wh": _ENERGY,
    "kWh": _ENERGY,
    "W": _POWER_IMPORT,
    "kW": _POWER_IMPORT,
    "A": _CURRENT,
}
_KIND_OF_UNIT: Final = {
    # Which measurand is meant where only the unit is given. Both specifications default to the
    # energy register, but a value in amperes is none.
    None: _ENERGY,
    "Wh": _ENERGY,
    "kWh": _ENERGY,
    "W": _POWER_IMPORT,
    "kW": _POWER_IMPORT,
    "A": _CURRENT,
    "Percent": _SOC,
}
_KILO: Final = frozenset({"kWh", "kW", "kwh", "kw", "KWh", "KW"})
_LINE: Final = {"L1": 0, "L2": 1, "L3": 2, "L1-N": 0, "L2-N": 1, "L3-N": 2}


def instant_ms(text: Any) -> int | None:
    """Milliseconds UTC of an RFC 3339 or ISO 8601 text; without a zone it is taken as UTC. None if
    unreadable."""
    try:
        instant = datetime.fromisoformat(text)
    except (TypeError, ValueError):
        try:
            instant = datetime.fromisoformat(text.strip().upper())
        except (AttributeError, ValueError):
            return None
    try:
        if instant.tzinfo is None:
            instant = instant.replace(tzinfo=UTC)
        return (instant - _EPOCH) // _MILLISECOND
    except OverflowError:
        return None


def energy_wh(value: Any) -> int | None:
    """A register in watt-hours, rounded down to the watt-hour; None where it is no number."""
    number = _number(value)
    return None if number is None else math.floor(number + 1e-6)


def milliamperes(value: Any) -> int | None:
    """A current given in amperes; None where it is no number above 0."""
    number = _number(value)
    return round(number * 1_000) if number is not None and number > 0 else None


def small_integer(value: Any, *, maximum: int) -> int:
    """A connector, EVSE or sequence number: 0 where it is outside 0 to `maximum`."""
    number = _number(value)
    return int(number) if number is not None and 0 <= number <= maximum else 0


def bounded_integer(value: float, *, least: int = 0, most: int = 2**31 - 1) -> int:
    """An integer brought within bounds. To a schema 3.0 is one too, and there is no largest."""
    return int(max(least, min(value, most)))


def _number(value: Any) -> float | int | None:
    if type(value) is str:
        try:
            value = float(value)
        except ValueError:
            try:
                value = float(value.replace(",", "."))
            except ValueError:
                return None
    elif type(value) is not int and type(value) is not float:
        return None
    return value if -_EXACT_MAX <= value <= _EXACT_MAX else None  # also False for NaN


def readings(meter_values: Any) -> tuple[MeterReading, ...]:
    """Every `meterValue` (MeterValue of 1.6, MeterValueType of 2.x) as one reading, in the order
    sent; those that say nothing are left out. There are stations that send each measurand of one
    moment in a `meterValue` of its own: these are one reading."""
    moments: dict[tuple[Any, Any], list[Any]] = {}
    for meter_value in meter_values or ():
        sampled = meter_value["sampledValue"]
        context = sampled[0].get("context") if sampled else None
        moments.setdefault((meter_value["timestamp"], context), []).extend(sampled)
    found = []
    for (timestamp, _), sampled in moments.items():
        at_ms = instant_ms(timestamp)
        reading = _reading(at_ms, sampled, outlet=True) or _reading(at_ms, sampled, outlet=False)
        if reading is not None:
            found.append(reading)
    return tuple(found)


def _reading(at_ms: int | None, sampled: list[Any], *, outlet: bool) -> MeterReading | None:
    """What one moment's samples say, or None. With `outlet`, only what was measured at the outlet
    (the default location) counts, and the vehicle's state of charge."""
    total: list[float | None] = [None, None, None, None, None]
    lines: list[list[float | None] | None] = [None, None, None, None, None]
    for sample in sampled:
        kind, value = _sample(sample)
        if kind is None or value is None:
            continue
        location = sample.get("location")
        if outlet and location is not None and location != "Outlet" and kind != _SOC:
            continue
        phase = sample.get("phase")
        if phase is None:
            total[kind] = value
        else:
            line = _LINE.get(phase)
            if line is not None:
                per_line = lines[kind]
                if per_line is None:
                    per_line = lines[kind] = [None, None, None]
                per_line[line] = value
    return _assemble(at_ms, total, lines, str(sampled[0].get("context", "")) if sampled else "")


def _sample(sample: dict[str, Any]) -> tuple[int | None, float | None]:
    """Which of the five quantities a sample gives, and its value in Wh, W, A or percent."""
    unit = sample.get("unit")
    multiplier = 0
    if unit is None:
        unit_of_measure = sample.get("unitOfMeasure")
        if unit_of_measure is not None:
            unit = unit_of_measure.get("unit")
            multiplier = unit_of_measure.get("multiplier", 0)
    measurand = sample.get("measurand")
    kind = _KIND_OF_UNIT.get(unit) if measurand is None else _KIND_OF_MEASURAND.get(measurand)
    if kind is None or not -9 <= multiplier <= 9:
        return None, None
    value = _number(sample["value"])
    if value is None:
        return None, None
    if unit in _KILO or measurand in _KILO:
        value *= 1_000
    if multiplier:
        value *= 10.0**multiplier
    return kind, value


def _assemble(
    at_ms: int | None,
    total: list[float | None],
    lines: list[list[float | None] | None],
    context: str,
) -> MeterReading | None:
    energy = _total(total[_ENERGY], lines[_ENERGY])
    power = _total(total[_POWER_IMPORT], lines[_POWER_IMPORT])
    exported = _total(total[_POWER_EXPORT], lines[_POWER_EXPORT])
    if exported:
        power = (power or 0.0) - exported
    currents = lines[_CURRENT] or [total[_CURRENT], None, None]
    soc = total[_SOC]
    if energy is None and power is None and soc is None and currents == [None, None, None]:
        return None
    l1, l2, l3 = currents
    return MeterReading(
        at_ms,
        None if energy is None else math.floor(energy + 1e-6),
        None if power is None else round(power),
        (
            None if l1 is None else round(l1 * 1_000),
            None if l2 is None else round(l2 * 1_000),
            None if l3 is None else round(l3 * 1_000),
        ),
        soc if soc is not None and 0 <= soc <= 100 else None,
        context,
    )


def _total(total: float | None, lines: list[float | None] | None) -> float | None:
    """The total as given, else the sum of the phases."""
    if total is None and lines is not None:
        return sum(value for value in lines if value is not None)
    return total
