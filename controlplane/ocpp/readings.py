"""Sampled values of a station to `MeterReading`, and its times and numbers, read tolerantly.

Meters in the field send text where numbers belong, kilo-units, decimal commas, times without a
zone, phases without a total, and lists with nothing in them. The invariant: whatever a schema lets
through is read without an exception, and what cannot be understood counts as not said.

Energy is rounded down to the watt-hour, so that nothing is billed that was not delivered; a guard
of a millionth keeps binary fractions such as 0.29 kWh from losing one. Power and currents are
measurements, not limits, and are rounded to the nearest unit."""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import msgspec
from msgspec import UNSET, UnsetType

from controlplane.ocpp.events import MeterReading

__all__ = [
    "bounded_integer",
    "energy_wh",
    "instant_ms",
    "measured",
    "milliamperes",
    "readings",
    "small_integer",
]

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND: Final = timedelta(milliseconds=1)
_EXACT_MAX: Final = 2.0**53
"""Integers beyond this are no measurement, and databases and JSON readers do not keep them
exactly."""
_FLOW_MAX: Final = 1e8
"""No charger carries more watts or amperes: what is added up of them still fits into 64 bits."""

_ENERGY, _POWER_IMPORT, _POWER_EXPORT, _CURRENT, _SOC, _EXPORTED, _CURRENT_EXPORT = range(7)
_MOST: Final = (_EXACT_MAX, _FLOW_MAX, _FLOW_MAX, _FLOW_MAX, 100.0, _EXACT_MAX, _FLOW_MAX)
"""Of each kind; what is beyond was not said."""
_DEFAULT_MEASURAND: Final = "Energy.Active.Import.Register"
_KINDS: Final = {
    _DEFAULT_MEASURAND: _ENERGY,
    "Power.Active.Import": _POWER_IMPORT,
    "Power.Active.Export": _POWER_EXPORT,
    "Current.Import": _CURRENT,
    "SoC": _SOC,
    "Energy.Active.Export.Register": _EXPORTED,
    "Current.Export": _CURRENT_EXPORT,
    # Seen in the field: the unit where the measurand belongs.
    "Wh": _ENERGY,
    "kWh": _ENERGY,
    "W": _POWER_IMPORT,
    "kW": _POWER_IMPORT,
    "A": _CURRENT,
}
_KINDS_BY_UNIT: Final = {
    # Which measurand is meant where only the unit is given. Both specifications default to the
    # energy register, but a value in amperes is none.
    UNSET: _ENERGY,
    "Wh": _ENERGY,
    "kWh": _ENERGY,
    "W": _POWER_IMPORT,
    "kW": _POWER_IMPORT,
    "A": _CURRENT,
    "Percent": _SOC,
}
_KILO: Final = frozenset({"kWh", "kW", "kwh", "kw", "KWh", "KW"})
_OUTLET: Final = frozenset({UNSET, "Outlet"})
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


class UnitOfMeasure(msgspec.Struct, gc=False):
    """UnitOfMeasureType of 2.x."""

    unit: Any = UNSET
    multiplier: Any = 0


class SampledValue(msgspec.Struct, gc=False, rename="camel"):
    """SampledValue of 1.6 and SampledValueType of 2.x, as far as it is understood. Which types the
    fields have is a matter of the schema."""

    value: Any
    context: Any = UNSET
    measurand: Any = UNSET
    phase: Any = UNSET
    location: Any = UNSET
    unit: Any = UNSET
    unit_of_measure: UnitOfMeasure | UnsetType = UNSET


class MeterValue(msgspec.Struct, gc=False, rename="camel"):
    """MeterValue of 1.6 and MeterValueType of 2.x."""

    timestamp: Any
    sampled_value: list[SampledValue]


def readings(meter_values: Any) -> tuple[MeterReading, ...]:
    """What `measured` says of the `meterValue` of a payload that has passed its schema."""
    return measured([msgspec.convert(each, MeterValue) for each in meter_values or ()])


def measured(meter_values: Sequence[Any]) -> tuple[MeterReading, ...]:
    """Every meter value (of the shape of `MeterValue`) as one reading, in the order sent; those
    that say nothing are left out. There are stations that send each measurand of one moment in a
    `meterValue` of its own: these are one reading."""
    if len(meter_values) == 1:
        (meter_value,) = meter_values
        reading = _moment(meter_value.timestamp, meter_value.sampled_value)
        return () if reading is None else (reading,)
    moments: dict[tuple[Any, Any], list[Any]] = {}
    for meter_value in meter_values:
        sampled = meter_value.sampled_value
        context = sampled[0].context if sampled else UNSET
        moments.setdefault((meter_value.timestamp, context), []).extend(sampled)
    found = (_moment(timestamp, sampled) for (timestamp, _), sampled in moments.items())
    return tuple(reading for reading in found if reading is not None)


def _moment(timestamp: Any, sampled: Sequence[Any]) -> MeterReading | None:
    at_ms = instant_ms(timestamp)
    return _reading(at_ms, sampled, outlet=True) or _reading(at_ms, sampled, outlet=False)


def _reading(at_ms: int | None, sampled: Sequence[Any], *, outlet: bool) -> MeterReading | None:
    """What one moment's samples say, or None. With `outlet`, only what was measured at the outlet
    (the default location) counts, and the vehicle's state of charge.

    Nearly all that stations ever send passes through this loop."""
    total: list[float | None] = [None] * 7
    lines: dict[int, list[float | None]] = {}
    for sample in sampled:
        unit, measurand, multiplier = sample.unit, sample.measurand, 0
        if unit is UNSET and sample.unit_of_measure is not UNSET:
            unit = sample.unit_of_measure.unit
            multiplier = sample.unit_of_measure.multiplier
        kind = _KINDS_BY_UNIT.get(unit) if measurand is UNSET else _KINDS.get(measurand)
        if kind is None or not -9 <= multiplier <= 9:
            continue
        if outlet and sample.location not in _OUTLET and kind != _SOC:
            continue
        value = _number(sample.value)
        if value is None:
            continue
        if unit in _KILO or measurand in _KILO:
            value *= 1_000
        if multiplier:
            value *= 10.0**multiplier
        if not -_MOST[kind] <= value <= _MOST[kind]:
            continue
        phase = sample.phase
        if phase is UNSET:
            total[kind] = value
        elif phase in _LINE:
            if kind not in lines:
                lines[kind] = [None, None, None]
            lines[kind][_LINE[phase]] = value
    context = sampled[0].context if sampled else UNSET
    return _assemble(at_ms, total, lines, "" if context is UNSET else str(context))


def _assemble(
    at_ms: int | None,
    total: list[float | None],
    lines: dict[int, list[float | None]],
    context: str,
) -> MeterReading | None:
    l1, l2, l3 = lines.pop(_CURRENT, None) or (total[_CURRENT], None, None)
    fed = lines.pop(_CURRENT_EXPORT, None) or (total[_CURRENT_EXPORT], None, None)
    if any(fed):
        l1, l2, l3 = (
            each if not less else (each or 0.0) - less
            for each, less in zip((l1, l2, l3), fed, strict=True)
        )
    for kind, per_line in lines.items():
        if total[kind] is None:
            total[kind] = sum(value for value in per_line if value is not None)
    energy, power, export, _, soc, exported, _ = total
    if export:
        power = (power or 0.0) - export
    nothing = energy is None and power is None and soc is None and exported is None
    if nothing and l1 is None and l2 is None and l3 is None:
        return None
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
        None if exported is None else math.floor(exported + 1e-6),
    )
