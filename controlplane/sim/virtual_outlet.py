"""An outlet of the deterministic world that is left alone while nothing about it changes.

The physics are those of `outlet.py` and `vehicle.py`, to the watt-hour. What differs is when they
are worked out: a vehicle whose current stands still for an hour costs one step at its end and not
3,600. Invariant: between two steps the current is constant, so what was drawn until any instant is
known exactly when it is asked for."""

from __future__ import annotations

import math
from dataclasses import dataclass

from controlplane.sim.outlet import Outlet

__all__ = ["VirtualOutlet"]

_MOVING_MS = 1_000
"""How often a current that moves is looked at."""
_WAKE_MIN_MS = 100


@dataclass(eq=False)
class VirtualOutlet(Outlet):
    """A connector with its meter, a vehicle while one is plugged in, and what it may offer.

    Attributes:
        index: its place among all outlets of the world.
        promised_a: what the profiles that the station accepted allow at this instant.
        default_a: what its default profile by description lets it offer.
        liar_until_ms: until then what flows beyond `promised_a` is the station's lie: it offers
            more than it promised, or did so a vehicle's ramp ago.
        stayed_since_ms: since when the offer has been what it is.
        shows_excess: whether its meter, when it spoke last, showed more than was promised.
    """

    index: int = 0
    promised_a: float = 0.0
    default_a: float = 0.0
    liar_until_ms: int = 0
    stayed_since_ms: int = 0
    shows_excess: bool = False
    advanced_ms: int = 0
    began_ms: int = 0
    drawn_start_wh: float = 0.0
    fed_start_wh: float = 0.0
    wake_ms: int | None = None
    tells_ms: int | None = None

    def advance(self, now_ms: int) -> None:
        """Let it live until now under the offer it has."""
        if now_ms > self.advanced_ms:
            duration_s = (now_ms - self.advanced_ms) / 1_000
            self.advanced_ms = now_ms
            self.step(duration_s, self.offered_a)

    def offer(self, offered_a: float, now_ms: int) -> None:
        """Change what it offers from this instant on."""
        self.advance(now_ms)
        if offered_a != self.offered_a:
            self.stayed_since_ms = now_ms
            self.step(0.0, offered_a)

    def next_change_ms(self, now_ms: int) -> int | None:
        """When it must be looked at again if nobody changes anything; None for never."""
        if self.vehicle is None:
            return None
        steady_s = self.vehicle.steady_s()
        if steady_s == math.inf:
            return None
        if steady_s == 0:
            return now_ms + _MOVING_MS
        return now_ms + max(_WAKE_MIN_MS, math.ceil(steady_s * 1_000))
