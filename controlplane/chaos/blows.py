"""Strikes a running cluster: for each kind of fault what is done, and what is done to lift it.

Invariant: whatever a blow began, `lift` ends: nothing stays frozen, cut or switched off but what
Loadstar or a service manager has to bring back by itself."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable
from contextlib import suppress
from typing import Final

from controlplane.chaos.cluster import Cluster, Node
from controlplane.chaos.fabric import Fabric, Machine
from controlplane.chaos.schedule import Fault, FaultKind
from controlplane.runtime.clock import SetClock
from controlplane.sim.postgresql import PostgresqlServer

__all__ = ["Blows"]

_STOP, _GO, _KILL = signal.SIGSTOP, signal.SIGCONT, signal.SIGKILL
_SIGNALS: Final = {
    FaultKind.HOST_KILLED: _KILL,
    FaultKind.HOST_FROZEN: _STOP,
    FaultKind.GATEWAY_KILLED: _KILL,
    FaultKind.GATEWAY_FROZEN: _STOP,
    FaultKind.SUPERVISOR_KILLED: _KILL,
    FaultKind.RAY_KILLED: _KILL,
    FaultKind.NODE_FROZEN: _STOP,
    FaultKind.NODE_ROLLED: signal.SIGHUP,
}
"""The kinds that are a signal to processes of a node."""


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
        number = _SIGNALS.get(fault.kind)
        if number is not None:
            pids = _struck(fault, node)
            if number is _STOP:
                self._frozen[fault.number] = pids
            _signal(pids, number)
            return
        match fault.kind:
            case FaultKind.NODE_KILLED:
                await node.off()
            case FaultKind.NODE_DRAINED:
                await node.drain()
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

    async def _on_database(self, work: Callable[[], None]) -> None:
        def there() -> None:
            with self._database_machine.inside():
                work()

        await asyncio.to_thread(there)


def _struck(fault: Fault, node: Node) -> list[int]:
    match fault.kind:
        case FaultKind.HOST_KILLED | FaultKind.HOST_FROZEN:
            return node.pids("host")[fault.host : fault.host + 1]
        case FaultKind.GATEWAY_KILLED | FaultKind.GATEWAY_FROZEN:
            return node.pids("gateway")
        case FaultKind.RAY_KILLED:
            return node.ray_daemons()
        case FaultKind.NODE_FROZEN:
            return node.all_pids()
        case _:
            return node.pids("supervisor")


def _signal(pids: list[int], number: signal.Signals) -> None:
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, number)
