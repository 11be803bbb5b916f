"""Events and programs as a VTN would send them."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from controlplane.integrations.openadr.wire import Event, Program
from controlplane.units import ms_from_datetime

__all__ = ["NOON_MS", "PROGRAM", "at_ms", "event", "hours"]

NOON_MS = ms_from_datetime(datetime(2026, 5, 1, 12, tzinfo=UTC))
PROGRAM = Program.model_validate({"id": "p", "programName": "peak"})


def at_ms(hour: float) -> int:
    """An instant of 1 May 2026, UTC."""
    return NOON_MS + round((hour - 12) * 3_600_000)


def hours(*payloads: tuple[str, Any] | list[tuple[str, Any]]) -> list[dict[str, Any]]:
    """Intervals with the ids 0, 1, ..."""
    return [
        {
            "id": number,
            "payloads": [
                {"type": name, "values": value if isinstance(value, list) else [value]}
                for name, value in (given if isinstance(given, list) else [given])
            ],
        }
        for number, given in enumerate(payloads)
    ]


def event(**given: Any) -> Event:
    return Event.model_validate(
        {
            "id": "e",
            "programID": "p",
            "createdDateTime": "2026-05-01T09:00:00Z",
            "modificationDateTime": "2026-05-01T10:00:00Z",
            "intervalPeriod": {"start": "2026-05-01T12:00:00Z", "duration": "PT1H"},
            "intervals": hours(("IMPORT_CAPACITY_LIMIT", 100)),
            **given,
        }
    )
