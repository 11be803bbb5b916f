"""Limits that others set on a charger: an energy manager beside it, the grid's operator (OCPP 2.x
part 2 K11 to K13).

The station holds to them whatever Loadstar says. They are remembered so that the site gives nobody
room that cannot be used, and so that people see what holds a charger back. The invariant: a limit
that has run out, or that the station is silent about, bounds nothing."""

from __future__ import annotations

from typing import Final, Literal

import msgspec

from controlplane.ocpp.events import (
    ChargingLimitCleared,
    ChargingLimitNotified,
    ChargingSchedule,
)

__all__ = ["EXTERNAL_LIMITS_MAX", "ExternalLimit"]

EXTERNAL_LIMITS_MAX: Final = 16
"""How many are kept of a charger; the latest count."""
_STEPS_MAX: Final = 96
"""Periods of one schedule that are kept."""


class LimitSteps(msgspec.Struct, array_like=True):
    """What holds from each instant on, in mA per phase or in W of all phases; None is no limit."""

    unit: Literal["A", "W"]
    steps: list[tuple[int, int | None]]

    def at(self, now_ms: int) -> int | None:
        """What holds at an instant."""
        value = None
        for from_ms, limit in self.steps:
            if from_ms > now_ms:
                break
            value = limit
        return value


class ExternalLimit(msgspec.Struct, array_like=True):
    """A limit on a connector, or with `connector_id` 0 on the whole charger, by the source that set
    it."""

    connector_id: int
    source: str
    grid_critical: bool
    notified_ms: int
    schedules: list[LimitSteps] = []

    @classmethod
    def of(cls, event: ChargingLimitNotified, now_ms: int) -> ExternalLimit:
        return cls(
            event.connector_id,
            event.source,
            event.grid_critical,
            now_ms,
            [_steps(schedule, now_ms) for schedule in event.schedules],
        )

    def of_same(self, event: ChargingLimitNotified | ChargingLimitCleared) -> bool:
        """Whether this is what the event speaks of."""
        return (self.connector_id, self.source) == (event.connector_id, event.source)

    def next_change_ms(self, now_ms: int) -> int | None:
        """When another period begins; None if none does."""
        instants = [
            from_ms for each in self.schedules for from_ms, _ in each.steps if from_ms > now_ms
        ]
        return min(instants, default=None)


def _steps(schedule: ChargingSchedule, now_ms: int) -> LimitSteps:
    """A schedule in absolute time: without a start of its own it begins now."""
    start_ms = now_ms if schedule.start_ms is None else schedule.start_ms
    factor = 1_000 if schedule.unit == "A" else 1
    steps: list[tuple[int, int | None]] = [
        (
            start_ms + period.start_s * 1_000,
            None if period.limit is None else max(0, int(period.limit * factor)),
        )
        for period in schedule.periods
    ]
    if schedule.duration_s is not None:
        end_ms = start_ms + schedule.duration_s * 1_000
        steps = [*(step for step in steps if step[0] < end_ms), (end_ms, None)]
    past = sum(1 for from_ms, _ in steps if from_ms <= now_ms)
    return LimitSteps(schedule.unit, steps[max(0, past - 1) :][:_STEPS_MAX])
