"""What goes wrong, where, for how long: drawn from a seed, fault by fault.

Pure. Invariant: the same seed, kinds and number of machines give the same faults in the same order,
whatever the machine and however long recoveries take; what comes after what else has healed is part
of the draw, the instants are not."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from random import Random
from typing import Final

from controlplane.errors import InvalidInput

__all__ = ["CUTS", "Fault", "FaultKind", "parse_kinds", "schedule"]


class FaultKind(StrEnum):
    HOST_KILLED = "host_killed"
    HOST_FROZEN = "host_frozen"
    GATEWAY_KILLED = "gateway_killed"
    GATEWAY_FROZEN = "gateway_frozen"
    SUPERVISOR_KILLED = "supervisor_killed"
    RAY_KILLED = "ray_killed"
    NODE_KILLED = "node_killed"
    NODE_FROZEN = "node_frozen"
    NODE_DRAINED = "node_drained"
    NODE_ROLLED = "node_rolled"
    DATABASE_KILLED = "database_killed"
    DATABASE_FROZEN = "database_frozen"
    DATABASE_RESTARTED = "database_restarted"
    NODE_CUT = "node_cut"
    NODES_CUT = "nodes_cut"
    DATABASE_CUT = "database_cut"
    HEAD_LOST = "head_lost"
    CLOCK_STEPPED = "clock_stepped"


CUTS: Final = frozenset({FaultKind.NODE_CUT, FaultKind.NODES_CUT, FaultKind.DATABASE_CUT})
"""Those that need a network of one's own."""


@dataclass(frozen=True)
class _Draw:
    weight: int
    lasts_s: tuple[float, float] = (0.0, 0.0)


_DRAWS: Final = {
    FaultKind.HOST_KILLED: _Draw(8),
    FaultKind.HOST_FROZEN: _Draw(5, (1.0, 20.0)),
    FaultKind.GATEWAY_KILLED: _Draw(4),
    FaultKind.GATEWAY_FROZEN: _Draw(3, (1.0, 20.0)),
    FaultKind.SUPERVISOR_KILLED: _Draw(1),
    FaultKind.RAY_KILLED: _Draw(1),
    FaultKind.NODE_KILLED: _Draw(1),
    FaultKind.NODE_FROZEN: _Draw(2, (2.0, 20.0)),
    FaultKind.NODE_DRAINED: _Draw(1),
    FaultKind.NODE_ROLLED: _Draw(1),
    FaultKind.DATABASE_KILLED: _Draw(3, (0.0, 3.0)),
    FaultKind.DATABASE_FROZEN: _Draw(3, (1.0, 15.0)),
    FaultKind.DATABASE_RESTARTED: _Draw(2, (0.0, 3.0)),
    FaultKind.NODE_CUT: _Draw(4, (3.0, 25.0)),
    FaultKind.NODES_CUT: _Draw(3, (2.0, 20.0)),
    FaultKind.DATABASE_CUT: _Draw(3, (2.0, 20.0)),
    FaultKind.HEAD_LOST: _Draw(1, (5.0, 20.0)),
    FaultKind.CLOCK_STEPPED: _Draw(3, (5.0, 30.0)),
}
"""How often each comes, against the others, and for how long."""

_PAUSE_S: Final = (1.0, 4.0)
_ON_TOP: Final = 0.15
"""How often a fault strikes while the last one is still there."""
_STEPS_S: Final = (-3_600.0, -60.0, -5.0, 5.0, 60.0, 3_600.0)


@dataclass(frozen=True)
class Fault:
    """One fault.

    Attributes:
        node: which node it strikes, counted from 0.
        host: which of its hosts, counted from 0.
        lasts_s: until it is lifted; 0 where it is over with the blow.
        pause_s: how long to wait before it, after the last one has been recovered from.
        on_top: it does not wait for that, but only for the pause.
        step_s: what is added to the clock.
    """

    number: int
    kind: FaultKind
    node: int
    host: int
    lasts_s: float
    pause_s: float
    on_top: bool
    step_s: float = 0.0

    def __str__(self) -> str:
        words = [f"{self.number}: {self.kind.value.replace('_', ' ')}, node {self.node}"]
        if self.lasts_s:
            words.append(f"for {self.lasts_s:.1f} s")
        if self.step_s:
            words.append(f"by {self.step_s:+.0f} s")
        if self.on_top:
            words.append("on top of the last one")
        return ", ".join(words)


def parse_kinds(text: str) -> frozenset[FaultKind]:
    """`all`, or names of `FaultKind` with commas between.

    Raises:
        InvalidInput: a name is unknown.
    """
    if text == "all":
        return frozenset(FaultKind)
    names = text.split(",")
    if unknown := sorted(set(names) - set(FaultKind)):
        known = ", ".join(FaultKind)
        raise InvalidInput(f"no such fault: {', '.join(unknown)}; known: {known}")
    return frozenset(map(FaultKind, names))


def schedule(seed: int, kinds: frozenset[FaultKind], *, nodes: int, hosts: int) -> Iterator[Fault]:
    """The faults of a seed, without end.

    Args:
        kinds: those that may come; one or more.
        nodes: how many nodes there are.
        hosts: how many hosts each has.
    """
    known = [kind for kind in FaultKind if kind in kinds]
    weights = [_DRAWS[kind].weight for kind in known]
    random = Random(f"loadstar chaos {seed}")
    for number in itertools.count(1):
        kind = random.choices(known, weights)[0]
        yield Fault(
            number=number,
            kind=kind,
            node=random.randrange(nodes),
            host=random.randrange(hosts),
            lasts_s=random.uniform(*_DRAWS[kind].lasts_s),
            pause_s=random.uniform(*_PAUSE_S),
            on_top=number > 1 and random.random() < _ON_TOP,
            step_s=random.choice(_STEPS_S) if kind is FaultKind.CLOCK_STEPPED else 0.0,
        )
