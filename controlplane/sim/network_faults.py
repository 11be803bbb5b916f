"""What goes wrong in the world around Loadstar, drawn from one seeded source.

Invariant: with the same seed and the same order of questions the same faults happen; nothing here
reads a clock. Outside the span in which faults are on, every question is answered 'nothing'."""

from __future__ import annotations

from dataclasses import dataclass, field
from random import Random

from controlplane.errors import InvalidInput
from controlplane.sim.virtual_quirks import QUIRKS

__all__ = ["FAULTS", "NetworkFaults", "parse_faults"]

FAULTS = QUIRKS | {
    "drop": "a connection breaks, sometimes half-open: the old end is noticed 30 s later",
    "delay": "a message travels for seconds",
    "duplicate": "a station's message arrives twice",
    "lost": "a message or its answer never arrives; stations repeat, Loadstar times out",
    "reject": "a station answers Rejected to a charging profile",
    "offline": "a station is unreachable for up to two hours and goes on charging",
    "reboot": "a station restarts: its transaction ends, its default profile stays",
    "crash": "the host dies within a cascade, whose first steps may be committed and told or not",
    "host_clock": "the clock of a host that takes over differs by up to a minute",
    "shard": "what a site and its feeder tell each other is lost, or travels for seconds",
    "meter": "a building meter falls silent for up to half an hour",
    "grid": "limits of feeders and sites come and go",
    "describe": "descriptions change: ratings, offline currents, chargers that are added",
}
"""The faults known, and what each means. Those of single stations stand in `virtual_quirks`."""

_USUAL_DELAY_MS = 20
_BETWEEN_SHARDS_MS = 5
_MEAN_S = {
    "drop": 1_800,
    "offline": 7_200,
    "reboot": 7_200,
    "crash": 900,
    "meter": 3_600,
    "grid": 1_800,
    "describe": 3_600,
}
"""Mean time between two faults of a kind: of one station, one site, or the host."""
_PROBABILITY = {"delay": 0.1, "duplicate": 0.01, "lost": 0.03, "reject": 0.1, "shard": 0.1}
"""Of one message."""


def parse_faults(text: str) -> frozenset[str]:
    """`all`, `none`, or names of `FAULTS` with commas between.

    Raises:
        InvalidInput: a name is unknown.
    """
    if text == "all":
        return frozenset(FAULTS)
    names = frozenset() if text == "none" else frozenset(text.split(","))
    if unknown := sorted(names - FAULTS.keys()):
        raise InvalidInput(f"no such fault: {', '.join(unknown)}; known: {', '.join(FAULTS)}")
    return names


@dataclass
class NetworkFaults:
    """The dice. `on` is False while the network is commissioned and while it comes to rest."""

    names: frozenset[str]
    random: Random
    on: bool = field(default=False)

    def happens(self, name: str) -> bool:
        """Whether this message suffers the fault."""
        return self.on and name in self.names and self.random.random() < _PROBABILITY[name]

    def chance(self, probability: float) -> bool:
        """Whether something happens that does so with this probability while faults are on."""
        return bool(probability) and self.on and self.random.random() < probability

    def between_shards_ms(self) -> int | None:
        """How long news travels between hosts; None if it never arrives."""
        if not self.happens("shard"):
            return None if self.happens("lost") else _BETWEEN_SHARDS_MS
        return None if self.random.random() < 0.3 else self.random.randrange(10_000)

    def delay_ms(self) -> int:
        """How long a message travels."""
        if self.happens("delay"):
            return self.random.randrange(_USUAL_DELAY_MS, 8_000)
        return _USUAL_DELAY_MS

    def next_after_ms(self, name: str) -> int | None:
        """How long until the next fault of a kind, or None where it never happens."""
        if name not in self.names:
            return None
        return round(self.random.expovariate(1 / _MEAN_S[name]) * 1_000)

    def absence_ms(self, name: str) -> int:
        """How long a station or the host is away after the fault `name`, or how long that lasts."""
        least_s, most_s = {
            "drop": (1, 60),
            "offline": (300, 7_200),
            "reboot": (20, 90),
            "crash": (1, 5),
            "meter": (60, 1_800),
            "grid": (60, 3_600),
        }[name]
        return self.random.randrange(least_s * 1_000, most_s * 1_000)

    def notice_ms(self) -> int:
        """How late the server learns that a connection has broken: at once, or half-open."""
        return self.random.choice((0, 0, 30_000))
