"""Whom a fault reaches: the stations whose state or whose socket is where it strikes.

Who owns what is read from the database, as everybody in a cluster does."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import psycopg

from controlplane.chaos.cluster import Node
from controlplane.chaos.schedule import Fault, FaultKind
from controlplane.chaos.stations import Driven
from controlplane.ids import SHARDS, ActorKind, SiteId, shard_of

__all__ = ["Affected", "Reach"]

_CONNECT_TIMEOUT_S: Final = 3
_STATEMENT_TIMEOUT: Final = "-c statement_timeout=3000"
_OF_HOST: Final = {FaultKind.HOST_KILLED, FaultKind.HOST_FROZEN}
_OF_GATEWAY: Final = {FaultKind.GATEWAY_KILLED, FaultKind.GATEWAY_FROZEN}
_OF_NODE: Final = {
    FaultKind.SUPERVISOR_KILLED,
    FaultKind.RAY_KILLED,
    FaultKind.NODE_KILLED,
    FaultKind.NODE_FROZEN,
    FaultKind.NODE_DRAINED,
    FaultKind.NODE_CUT,
    # A gateway without the database is no member for long, and then passes nothing on.
    FaultKind.DATABASE_CUT,
}
_OF_ITS_HOSTS: Final = {FaultKind.NODE_ROLLED, FaultKind.CLOCK_STEPPED}


@dataclass(frozen=True)
class Affected:
    """Charger ids. Those in `redialling` have their socket where the fault strikes."""

    all: frozenset[str]
    redialling: frozenset[str]


class Reach:
    """Knows where everything is.

    Args:
        stations: by charger id.
    """

    def __init__(
        self, database_url: str, nodes: Sequence[Node], stations: Mapping[str, Driven]
    ) -> None:
        self._database_url = database_url
        self._nodes = nodes
        self._stations = stations
        self._shards = {
            charger_id: shard_of(ActorKind.SITE, SiteId(each.site_id))
            for charger_id, each in stations.items()
        }
        self._owners: dict[int, tuple[int, int]] = {}
        """Node and host by shard."""

    async def look(self) -> bool:
        """Read who owns what now; what was read last stays where the database is away. Whether
        every host owns a fair part."""
        try:
            self._owners = await asyncio.to_thread(self._read)
        except psycopg.Error:
            return False
        hosts = [(n, h) for n, node in enumerate(self._nodes) for h in range(node.hosts)]
        owned = list(self._owners.values())
        return len(owned) == SHARDS and all(
            owned.count(host) >= SHARDS // (len(hosts) * 2) for host in hosts
        )

    def of(self, fault: Fault) -> Affected:
        """Whom this fault reaches, as things stood at the last look."""
        node = self._nodes[fault.node]
        none: frozenset[str] = frozenset()
        if fault.kind in _OF_HOST:
            return Affected(self._owned(fault.node, fault.host), none)
        dialled = frozenset(
            charger_id
            for charger_id, each in self._stations.items()
            if each.station.url == node.url
        )
        if fault.kind in _OF_GATEWAY:
            return Affected(dialled, dialled)
        if fault.kind in _OF_NODE:
            return Affected(self._owned(fault.node) | dialled, dialled)
        if fault.kind in _OF_ITS_HOSTS:
            return Affected(self._owned(fault.node), none)
        if fault.kind is FaultKind.NODES_CUT:
            other = (fault.node + 1) % len(self._nodes)
            return Affected(self._owned(fault.node) | self._owned(other), none)
        return Affected(frozenset(self._stations), none)

    def _owned(self, node: int, host: int | None = None) -> frozenset[str]:
        return frozenset(
            charger_id
            for charger_id, shard in self._shards.items()
            if (owner := self._owners.get(shard)) is not None
            and owner[0] == node
            and host in {None, owner[1]}
        )

    def _read(self) -> dict[int, tuple[int, int]]:
        with psycopg.connect(
            self._database_url, connect_timeout=_CONNECT_TIMEOUT_S, options=_STATEMENT_TIMEOUT
        ) as connection:
            members = connection.execute("SELECT name, address FROM member WHERE kind = 'host'")
            hosts = {name: self._place(name, address) for name, address in members}
            rows = connection.execute("SELECT shard, owner FROM shard_owner").fetchall()
        return {
            shard: place
            for shard, owner in rows
            if (place := hosts.get(owner.partition("/")[0])) is not None
        }

    def _place(self, name: str, address: str) -> tuple[int, int] | None:
        host = int(name.rpartition("-")[2])
        for number, node in enumerate(self._nodes):
            if f" tcp:{node.machine.address}:" in address:
                return number, host
        return None
