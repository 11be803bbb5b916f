"""Charging schedules as stations write them; 1.6 and 2.x use the same words.

The invariant: a schedule that its schema let through is read without an exception, and numbers
beyond all reason are brought within bounds."""

from __future__ import annotations

from typing import Any, Final

from controlplane.ocpp.events import ChargingSchedule, SchedulePeriod
from controlplane.ocpp.readings import bounded_integer, instant_ms, small_integer

__all__ = ["charging_schedule"]

_SECONDS_MAX: Final = 10**9
_LIMIT_MAX: Final = 10**9


def charging_schedule(schedule: dict[str, Any]) -> ChargingSchedule:
    """The schedule, its periods in the order of time."""
    duration_s = schedule.get("duration")
    return ChargingSchedule(
        start_ms=instant_ms(schedule.get("startSchedule")),
        duration_s=None if duration_s is None else bounded_integer(duration_s, most=_SECONDS_MAX),
        unit=schedule["chargingRateUnit"],
        periods=tuple(
            SchedulePeriod(
                start_s=bounded_integer(period["startPeriod"], most=_SECONDS_MAX),
                limit=_limit(period.get("limit")),
                phases=small_integer(period.get("numberPhases"), maximum=3) or None,
            )
            for period in sorted(
                schedule["chargingSchedulePeriod"], key=lambda period: period["startPeriod"]
            )
        ),
    )


def _limit(value: float | None) -> float | None:
    return None if value is None else max(-_LIMIT_MAX, min(value, _LIMIT_MAX))
