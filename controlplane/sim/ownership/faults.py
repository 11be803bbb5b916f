"""What fails in a schedule, and when: drawn from one seeded source, and over before its end."""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import TYPE_CHECKING

from controlplane.errors import InvalidInput
from controlplane.sim.ownership.clockwork import Process
from controlplane.sim.ownership.network import DATABASE

if TYPE_CHECKING:
    from controlplane.sim.ownership.world import World

__all__ = ["FAULTS", "Faults", "parse_faults"]

FAULTS = {
    "partition": "two processes, or two halves of all, do not hear each other, in one direction or "
    "both; what they sent arrives when it is over, or never",
    "succession": "a host is cut off until its successor serves, a gateway from the others then",
    "freeze": "a process stops for up to 25 s, its CLOCK_BOOTTIME goes on",
    "kill": "a process dies; another incarnation starts soon, or late",
    "database": "statements take seconds, take effect after their sender has given up, or their "
    "answers are lost",
    "restart": "the database restarts: what is open is undone",
    "network": "single messages travel for more than a second",
    "wall_clock": "the wall clock of a machine is set by minutes, the database's by up to 2.5 s",
    "database_clock": "the wall clock of the database is set by up to 30 s",
    "drain": "a host gives everything to the others and leaves, to come back later",
    "join": "a host that was not there comes",
}
"""The faults known, and what each means."""

_MEAN_MS = (600, 1_500, 4_000)
_TRAPS = 0.5
"""The part of the faults of one process that wait for the instant at which it is most exposed."""
_LEASE_PARTS = (0.05, 0.3, 0.75, 1.0, 1.3, 2.5)
"""How long something lasts, in parts of a lease: about the instants at which something ends."""


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


class Faults:
    """Lets things fail until `end_ms`, and puts everything right then."""

    def __init__(self, world: World, random: Random, kinds: frozenset[str], end_ms: int) -> None:
        self.happened = 0
        self._world = world
        self._random = random
        # Some kinds at a time find what all of them together cover up.
        self._kinds = [k for k in sorted(kinds) if len(kinds) < 3 or random.random() < 0.5]
        self._mean_ms = random.choice(_MEAN_MS)
        self._end_ms = end_ms
        self._database_off_ms = 0
        if self._kinds:
            world.clockwork.after(random.randrange(4_000), self._next)
        world.clockwork.after(end_ms, self._calm)

    def _next(self) -> None:
        clockwork = self._world.clockwork
        if clockwork.now_ms >= self._end_ms:
            return
        self.happened += 1
        getattr(self, f"_{self._random.choice(self._kinds)}")()
        clockwork.after(int(self._random.expovariate(1 / self._mean_ms)) + 1, self._next)

    def _lasting_ms(self) -> int:
        part = self._random.choice(_LEASE_PARTS) * self._random.uniform(0.8, 1.2)
        return int(self._world.lease_ms * part)

    def _somebody(self) -> Process:
        return self._random.choice([*self._world.hosts.values(), *self._world.gateways.values()])

    # --- each kind --------------------------------------------------------------------------------

    def _befalls(self, process: Process, fault: Callable[[], None]) -> None:
        if self._random.random() < _TRAPS:
            process.trap = fault
        else:
            fault()

    def _partition(self) -> None:
        world, random = self._world, self._random
        hosts, gateways = list(world.hosts.values()), list(world.gateways.values())
        everybody = [*world.hosts, *world.gateways, DATABASE]
        process = random.choice([*hosts, *gateways])
        match random.randrange(4):
            case 0:
                pairs = [(process.name, DATABASE)]
            case 1:
                pairs = [(random.choice(hosts).name, random.choice(gateways).name)]
            case 2:
                pairs = [(process.name, other) for other in everybody if other != process.name]
            case _:
                # Two sides, one of which has the database.
                side = set(random.sample(everybody, random.randrange(1, len(everybody))))
                pairs = [(a, b) for a in everybody if a in side for b in everybody if b not in side]
        direction = random.choice(("both", "both", "there", "back"))
        ways = [] if direction == "back" else list(pairs)
        if direction != "there":
            ways += [(other, name) for name, other in pairs]
        self._befalls(process, lambda: self._cut(ways, self._lasting_ms()))

    def _cut(self, ways: list[tuple[str, str]], lasting_ms: int) -> None:
        for way in ways:
            self._world.network.block(*way)
            self._world.clockwork.after(lasting_ms, self._world.network.heal, *way)

    def _succession(self) -> None:
        """What the old owner sent arrives about when the new one begins."""
        world, random = self._world, self._random
        host = random.choice(list(world.hosts))
        gateway = random.choice(list(world.gateways))
        lease_ms = world.lease_ms
        self._cut(
            [way for end in (gateway, DATABASE) for way in ((host, end), (end, host))],
            int(lease_ms * random.uniform(0.9, 1.7)),
        )
        others = [name for name in world.hosts if name != host]
        others += [DATABASE] * random.randrange(2)
        world.clockwork.after(
            int(lease_ms * random.uniform(0.3, 1.1)),
            self._cut,
            [way for end in others for way in ((gateway, end), (end, gateway))],
            int(lease_ms * random.uniform(0.3, 1.2)),
        )

    def _freeze(self) -> None:
        process = self._somebody()

        def freeze() -> None:
            process.freeze()
            self._world.silent(process)
            self._world.clockwork.after(self._lasting_ms(), process.thaw)

        self._befalls(process, freeze)

    def _kill(self) -> None:
        process = self._somebody()
        self._befalls(process, lambda: self._world.killed(process))

    def _database(self) -> None:
        self._world.database.slow = True
        self._world.clockwork.after(self._lasting_ms(), self._quick_database)

    def _quick_database(self) -> None:
        self._world.database.slow = False

    def _restart(self) -> None:
        self._world.database.restart()

    def _network(self) -> None:
        self._world.network.slow = True
        self._world.clockwork.after(self._lasting_ms(), self._quick_network)

    def _quick_network(self) -> None:
        self._world.network.slow = False

    def _wall_clock(self) -> None:
        self._somebody().wall_ms += self._random.randrange(-300_000, 300_000)
        off_ms = self._database_off_ms + self._random.randrange(-1_250, 1_250)
        self._world.set_database_clock(off_ms, unsettling=False)

    def _database_clock(self) -> None:
        self._database_off_ms = self._random.randrange(-15_000, 15_000)
        self._world.set_database_clock(self._database_off_ms, unsettling=True)

    def _drain(self) -> None:
        host = self._world.hosts[self._random.choice(list(self._world.hosts))]
        host.drain()

    def _join(self) -> None:
        self._world.host_joins()

    def _calm(self) -> None:
        """Everything that lasts is over, and everybody comes back."""
        world = self._world
        for way in sorted(world.network.blocked):
            world.network.heal(*way)
        self._quick_database()
        self._quick_network()
        for process in (*world.every_host, *world.gateways.values()):
            process.trap = None
            process.thaw()
