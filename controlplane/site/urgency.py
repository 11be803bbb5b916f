"""Who goes first among those of one priority: by how long each can wait and still be ready.

Laxity (how long a vehicle could wait at full power and still have what it needs when it leaves)
never grows while time passes: it stands still for a vehicle at full power and falls for all others.
Steps that halve it are therefore crossed once each, downwards, and nothing flaps between two
vehicles that are nearly alike; within a step all share.

Nothing here knows of sites or chargers, so that `benches/acn` measures this very code. Invariant:
steps and keys only order; what anybody may draw is decided elsewhere."""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass

from controlplane.units import MS_PER_HOUR

__all__ = [
    "STEPS",
    "STEP_FORECAST_MIN",
    "STEP_UNKNOWN",
    "Pace",
    "Turn",
    "admission",
    "urgency_step",
]

_BOUNDS_MS = tuple(MS_PER_HOUR * half_hours // 2 for half_hours in (1, 2, 4, 8, 16))
"""Half an hour, one hour, two, four, eight."""

STEPS = len(_BOUNDS_MS) + 1

STEP_UNKNOWN = 4
"""A session of which need or departure is unknown: before those that have more than eight hours to
spare, beside those that have four to eight."""

STEP_FORECAST_MIN = 2
"""A session whose need or departure is only a forecast never goes before those who said that less
than an hour is left."""


@dataclass(frozen=True, slots=True)
class Pace:
    """Durations that follow from how long a vehicle takes to obey (`ActorSettings.ramp_ms`)."""

    ramp_ms: int

    @property
    def habit_ms(self) -> int:
        """How long a vehicle must draw less than it is offered before the rest is lent."""
        return 2 * self.ramp_ms

    @property
    def probe_ms(self) -> int:
        """How often a vehicle that was narrowed is offered everything again."""
        return 20 * self.ramp_ms

    @property
    def dwell_ms(self) -> int:
        """How long a vehicle charges at least before it may be paused for another's turn."""
        return 10 * self.ramp_ms

    @property
    def turn_ms(self) -> int:
        """How long a paused vehicle of unknown laxity waits until it goes before those that are
        charging."""
        return 30 * self.ramp_ms

    @property
    def known_turn_ms(self) -> int:
        """The same for one whose laxity is known: waiting makes it more urgent anyway, so this
        only shares out what is left where several are at their last step."""
        return 480 * self.ramp_ms


@dataclass(slots=True)
class Turn:
    """Since when a session has been charging or paused by us."""

    on: bool = False
    since_ms: int = 0

    def observe(self, *, on: bool, now_ms: int) -> None:
        if on != self.on:
            self.on, self.since_ms = on, now_ms


def urgency_step(
    laxity_ms: int | None, *, forecast: bool = False, before: int | None = None
) -> int:
    """The step, 0 (least time left) to `STEPS` - 1.

    Args:
        laxity_ms: None where need or departure is unknown.
        forecast: whether one of them is only a forecast.
        before: the step so far. What is learned of a vehicle may lengthen its laxity; a step
            back waits until that is a quarter beyond the bound.
    """
    if laxity_ms is None:
        return STEP_UNKNOWN
    step = bisect_right(_BOUNDS_MS, laxity_ms)
    if before is not None and step > before:
        step = max(before, bisect_right(_BOUNDS_MS, laxity_ms * 4 // 5))
    return max(step, STEP_FORECAST_MIN) if forecast else step


def admission(
    turn: Turn, laxity_ms: int | None, *, now_ms: int, pace: Pace, keep: bool = False
) -> tuple[int, int, int]:
    """Sort key of admission within a tier: lowest first.

    A vehicle that charges is kept for a dwell; then those go first that have waited a turn; then
    who charges; then the rest. Within each, whoever has the least laxity leads; who was switched
    on last stays, and who was switched off first comes back first.

    Args:
        keep: it does not bear being switched off: it is kept for as long as it charges.
    """
    lasted_ms = now_ms - turn.since_ms
    if turn.on:
        group = 0 if keep or lasted_ms < pace.dwell_ms else 2
    else:
        turn_ms = pace.turn_ms if laxity_ms is None else pace.known_turn_ms
        group = 1 if lasted_ms >= turn_ms else 3
    waited = -turn.since_ms if turn.on else turn.since_ms
    return (group, 2**62 if laxity_ms is None else laxity_ms, waited)
