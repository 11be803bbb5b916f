"""What a supervisor does to the lease table, as `runtime/supervisor.py` does: it strikes a process
that has ended from the members, and others may have its shards.

It runs on the machine of that process: what cuts one off cuts off the other. What it sends may take
effect when the successor has claimed already."""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING

from controlplane.errors import Unavailable
from controlplane.sim.ownership.clockwork import Process, Task

if TYPE_CHECKING:
    from controlplane.sim.ownership.world import World

__all__ = ["Supervisor"]

_TRIES = 20
_RETRY_MS = 500
_SPARE_READY = 0.5
"""How often a spare host is ready: it takes over under the name of the old one, and nobody is
struck."""


class Supervisor(Process):
    """Of the processes of one name."""

    def __init__(self, world: World, random: Random, name: str) -> None:
        super().__init__(world.clockwork, random, name, 0)
        self._world = world

    def ended(self, process: Process) -> None:
        """A process of this name has ended, for certain."""
        if self._random.random() >= _SPARE_READY:
            self.spawn(self._strike(process.incarnation))

    def silent(self, process: Process) -> None:
        """It does nothing, and may live."""
        if not self._world.rules.certain_end:
            self.spawn(self._strike(process.incarnation))

    def _strike(self, incarnation: str) -> Task:
        database = self._world.database

        def strike() -> None:
            table = database.table
            struck = incarnation
            if not self._world.rules.strike_incarnation:
                # A planted mistake: whoever has the name.
                member = table.members.get(self.name)
                struck = incarnation if member is None else member.incarnation
            database.wait_for_locks(table.owned(f"{self.name}/{struck}"))
            table.forget(self.name, struck)

        for _ in range(_TRIES):
            try:
                yield database.ask(self, strike)
            except Unavailable:
                yield _RETRY_MS
            else:
                return
