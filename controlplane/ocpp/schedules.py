"""Charging schedules as stations write them; 1.6 and 2.x use the same words.

The invariant: a schedule that its schema let through is read without an exception, and numbers
beyond all reason are brought within bounds."""

from __future__ import annotations

from typing import Any, Final

from controlplane.ocpp.events import ChargingSchedule, SchedulePeriod
from controlplane.ocpp.readings import instant_ms

__all__ = ["charging_schedule"]

_SECONDS_MAX: Final = 10**9
_LIMIT_MAX: Final = 10**9


def charging_schedule(schedule: dict[str, Any]) -> ChargingSchedule:
    """The schedule, its periods in the order of time."""
    duration_s = schedule.get("duration")
    return ChargingSchedule(
        start_ms=instant_ms(schedule.get("startSchedule")),
        duration_s=None if duration_s is None else _seconds(duration_s),
        unit=schedule["chargingRateUnit"],
        periods=tuple(
            SchedulePeriod(
                start_s=_seconds(period["startPeriod"]),
                limit=_limit(period.get("limit")),
                phases=period.get("numberPhases"),
            )
            for period in sorted(
                schedule["chargingSchedulePeriod"], key=lambda period: period["startPeriod"]
            )
        ),
    )


def _seconds(value: int) -> int:
    return max(0, min(int(value), _SECONDS_MAX))


def _limit(value: float | None) -> float | None:
    return None if value is None else max(-_LIMIT_MAX, min(value, _LIMIT_MAX))
