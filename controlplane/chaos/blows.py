"""Strikes a running cluster: for each kind of fault what is done, and what is done to lift it.

Invariant: whatever a blow began, `lift` ends: nothing stays frozen, cut or switched off but what
Loadstar or a service manager has to bring back by itself."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable
from contextlib import suppress

from controlplane.chaos.cluster import Cluster, Node
from controlplane.chaos.fabric import Fabric, Machine
from controlplane.chaos.schedule import Fault, FaultKind
from controlplane.runtime.clock import SetClock
from controlplane.sim.postgresql import PostgresqlServer

__all__ = ["Blows"]

_STOP, _GO, _KILL = signal.SIGSTOP, signal.SIGCONT, signal.SIGKILL


class Blows:
    """Carries faults out."""

    def __init__(
        self,
        fabric: Fabric,
        cluster: Cluster,
        database: PostgresqlServer,
        database_machine: Machine,
    ) -> None:
        self._fabric = fabric
        self._cluster = cluster
        self._database = database
        self._database_machine = database_machine
        self._frozen: dict[int, list[int]] = {}
        """Processes, by the number of the fault that froze them."""

    async def strike(self, fault: Fault) -> None:
        """Returns when the blow has fallen."""
        node = self._cluster.nodes[fault.node]
        match fault.kind:
            case FaultKind.HOST_KILLED:
                _signal(node.pids("host")[fault.host : fault.host + 1], _KILL)
            case FaultKind.HOST_FROZEN:
                self._freeze(fault, node.pids("host")[fault.host : fault.host + 1])
            case FaultKind.GATEWAY_KILLED:
                _signal(node.pids("gateway"), _KILL)
            case FaultKind.GATEWAY_FROZEN:
                self._freeze(fault, node.pids("gateway"))
            case FaultKind.SUPERVISOR_KILLED:
                _signal(node.pids("supervisor"), _KILL)
            case FaultKind.NODE_KILLED:
                await node.off()
            case FaultKind.NODE_FROZEN:
                self._freeze(fault, node.all_pids())
            case FaultKind.NODE_DRAINED:
                await node.drain()
            case FaultKind.NODE_ROLLED:
                _signal(node.pids("supervisor"), signal.SIGHUP)
            case FaultKind.CLOCK_STEPPED:
                SetClock.set(node.clock_file, round(fault.step_s * 1_000))
            case FaultKind.HEAD_LOST:
                self._cluster.kill_head()
            case _:
                await self._strike_outside(fault, node)

    async def _strike_outside(self, fault: Fault, node: Node) -> None:
        """The database, and the network."""
        match fault.kind:
            case FaultKind.DATABASE_KILLED:
                await self._on_database(self._database.kill)
            case FaultKind.DATABASE_RESTARTED:
                await self._on_database(self._database.shut_down)
            case FaultKind.DATABASE_FROZEN:
                await self._on_database(self._database.freeze)
            case FaultKind.NODE_CUT:
                self._fabric.cut(node.machine.name)
            case FaultKind.NODES_CUT:
                nodes = self._cluster.nodes
                other = nodes[(fault.node + 1) % len(nodes)]
                self._fabric.cut_between(node.machine.name, other.machine.name)
            case FaultKind.DATABASE_CUT:
                self._fabric.cut_between(node.machine.name, self._database_machine.name)

    async def lift(self, fault: Fault) -> None:
        """What was done to the world is undone; what died is not brought back."""
        match fault.kind:
            case FaultKind.HOST_FROZEN | FaultKind.GATEWAY_FROZEN | FaultKind.NODE_FROZEN:
                _signal(self._frozen.pop(fault.number, []), _GO)
            case FaultKind.NODE_KILLED:
                self._cluster.nodes[fault.node].start()
            case FaultKind.CLOCK_STEPPED:
                SetClock.set(self._cluster.nodes[fault.node].clock_file, 0)
            case FaultKind.DATABASE_KILLED | FaultKind.DATABASE_RESTARTED:
                await self._on_database(self._database.start)
            case FaultKind.DATABASE_FROZEN:
                await self._on_database(self._database.thaw)
            case FaultKind.NODE_CUT | FaultKind.NODES_CUT | FaultKind.DATABASE_CUT:
                self._fabric.heal()
            case FaultKind.HEAD_LOST:
                await self._cluster.start_head()

    def _freeze(self, fault: Fault, pids: list[int]) -> None:
        self._frozen[fault.number] = pids
        _signal(pids, _STOP)

    async def _on_database(self, work: Callable[[], None]) -> None:
        def there() -> None:
            with self._database_machine.inside():
                work()

        await asyncio.to_thread(there)


def _signal(pids: list[int], number: signal.Signals) -> None:
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, number)
