"""How stations of the deterministic world fall short of OCPP, as those in the field do.

Invariant: a quirk that makes a station break a promise (to offer no more than the profiles it
accepted) shows as `Quirks.lies`, so that a checker can tell what a station did from what it
said."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

__all__ = ["HONEST", "QUIRKS", "Quirks", "draw_quirks"]

_DAY_MS = 86_400_000

QUIRKS = {
    "ignore": "a station accepts half of its charging profiles and goes on as before",
    "late": "a station applies a charging profile up to 20 s after it accepted it",
    "whole": "a station offers whole amperes only, rounded down",
    "early": "a station rejects a transaction's profile until some seconds after its start",
    "amnesia": "a station has lost all its profiles after a restart",
    "outlive": "a transaction's profile outlives it and rules the next",
    "mute": "a station leaves one call in five unanswered, done or not",
    "clock": "a station's clock is hours off, jumps, or shows 1970 until it was told the time",
    "cautious": "a vehicle pauses and resumes by itself every few minutes",
}
"""The quirks known, and what each means; each a fault by its name, of some of the stations."""

_OF_STATIONS = 0.25
"""The share of stations that have a quirk whose fault is on."""


@dataclass(frozen=True)
class Quirks:
    """The deviations of one station. `clock_off_ms` is None for a clock that starts in 1970."""

    ignores: float = 0.0
    late_ms: int = 0
    whole_amperes: bool = False
    early_ms: int = 0
    amnesia: bool = False
    outlives: bool = False
    mute: float = 0.0
    clock_off_ms: int | None = 0
    clock_jumps: bool = False

    @property
    def lies(self) -> bool:
        """Whether it may offer more than it promised."""
        return bool(self.ignores or self.late_ms or self.amnesia or self.outlives)


HONEST = Quirks()


def draw_quirks(names: frozenset[str], random: Random) -> Quirks:
    """The deviations of a station, from the faults that are on."""

    def has(name: str) -> bool:
        return random.random() < _OF_STATIONS and name in names

    clock = has("clock")
    return Quirks(
        ignores=0.5 if has("ignore") else 0.0,
        late_ms=random.randrange(1_000, 20_000) if has("late") else 0,
        whole_amperes=has("whole"),
        early_ms=random.randrange(2_000, 15_000) if has("early") else 0,
        amnesia=has("amnesia"),
        outlives=has("outlive"),
        mute=0.2 if has("mute") else 0.0,
        clock_off_ms=random.choice((None, -_DAY_MS, 7_200_000, 240_000, -90_000)) if clock else 0,
        clock_jumps=clock and random.random() < 0.5,
    )
