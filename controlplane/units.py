"""Units and their conversions.

Currents inside Loadstar are integer milliamperes, energy is integer watt-hours, power is integer
watts and an instant is integer milliseconds since the Unix epoch, UTC. Integers make every result
reproducible on every machine; the conversions below say in which direction they round, because a
limit must never round up."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import lru_cache

__all__ = [
    "MS_PER_HOUR",
    "MS_PER_S",
    "a_from_ma",
    "datetime_from_ms",
    "iso_from_ms",
    "iso_s_from_ms",
    "ma_from_a",
    "ma_from_w",
    "ms_from_datetime",
    "w_from_ma",
    "wh_from_w",
]

MS_PER_S = 1_000
MS_PER_HOUR = 3_600_000


def ma_from_a(current_a: float) -> int:
    """Milliamperes of a current in amperes, rounded down to the milliampere.

    A guard of a thousandth of a milliampere keeps binary fractions such as 16.1 A from losing one
    milliampere.
    """
    return int((current_a * 1_000 + 0.001) // 1)


def a_from_ma(current_ma: int) -> float:
    """Amperes of a current in milliamperes."""
    return current_ma / 1_000


def w_from_ma(current_ma: int, *, voltage_v: int, phases: int) -> int:
    """Active power in watts, at unity power factor, of `current_ma` on each of `phases`
    line-to-neutral conductors.

    Rounded down; `voltage_v` is line to neutral.
    """
    return current_ma * voltage_v * phases // 1_000


def ma_from_w(power_w: int, *, voltage_v: int, phases: int) -> int:
    """Milliamperes on each of `phases` conductors that draw `power_w` together, rounded down (see
    `w_from_ma`)."""
    return power_w * 1_000 // (voltage_v * phases)


def wh_from_w(power_w: float, *, duration_ms: int) -> float:
    """Watt-hours of a constant power over a duration, not rounded."""
    return power_w * duration_ms / MS_PER_HOUR


def datetime_from_ms(instant_ms: int) -> datetime:
    """An aware UTC datetime of an instant."""
    return datetime.fromtimestamp(instant_ms / MS_PER_S, tz=UTC)


def ms_from_datetime(instant: datetime) -> int:
    """The instant of an aware datetime.

    Raises:
        ValueError: `instant` has no time zone; what it means must be decided where it was read.
    """
    if instant.tzinfo is None:
        raise ValueError("a datetime without a time zone is not an instant")
    return round(instant.timestamp() * MS_PER_S)


def iso_s_from_ms(instant_ms: int) -> str:
    """RFC 3339 in whole seconds, rounded down, with `Z`: the form that every OCPP station reads.
    Some take no fraction."""
    return f"{_whole_s(instant_ms // MS_PER_S)}Z"


def iso_from_ms(instant_ms: int) -> str:
    """RFC 3339 with milliseconds and `Z`, the form that OCPP stations accept most widely."""
    return f"{_whole_s(instant_ms // MS_PER_S)}.{instant_ms % MS_PER_S:03d}Z"


@lru_cache(maxsize=64)
def _whole_s(instant_s: int) -> str:
    """A second as RFC 3339 has it, without a zone: of many messages it is the same."""
    return datetime.fromtimestamp(instant_s, tz=UTC).isoformat()[:19]
