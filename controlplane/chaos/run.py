"""`loadstar chaos`: a real cluster of this machine under random faults, and the audit of it.

Nodes are what `loadstar up` starts, on Ray and PostgreSQL as in earnest; stations are simulated and
speak over real sockets. Faults come one after the other: each is lifted, everybody it reached is
seen to be served again, and the cluster to be whole, before the next one; some strike on top of
another. Then every vehicle leaves, everything is told, and the books are compared."""

from __future__ import annotations

import asyncio
import logging
import secrets
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import uvloop

from controlplane.chaos.audit import Findings, StoredCommand, judge, judge_commands
from controlplane.chaos.blows import Blows
from controlplane.chaos.cluster import Cluster
from controlplane.chaos.fabric import Fabric, leave_network
from controlplane.chaos.ledger import read_commands, read_store, sites_violations
from controlplane.chaos.measures import Measures
from controlplane.chaos.network import make_network
from controlplane.chaos.orders import REQUEST_TYPE, Orders
from controlplane.chaos.reach import Affected, Reach
from controlplane.chaos.schedule import CUTS, Fault, FaultKind, parse_kinds, schedule
from controlplane.chaos.stations import Stations
from controlplane.errors import InvalidInput
from controlplane.network_yaml import dump_network
from controlplane.sim.afterwards import Afterwards
from controlplane.sim.postgresql import PostgresqlServer

__all__ = ["run"]

_COMMISSION_TIMEOUT_S: Final = 180.0
_REST_TIMEOUT_S: Final = 240.0
_BALANCED_TIMEOUT_S: Final = 90.0
_COMMANDS_TIMEOUT_S: Final = 60.0
_LOOK_S: Final = 0.5
_TOLD_MAX: Final = 100
_SERVED_BY_NOBODY: Final = {
    FaultKind.DATABASE_KILLED,
    FaultKind.DATABASE_FROZEN,
    FaultKind.DATABASE_RESTARTED,
    # A station's gateway may be on one side and its host on the other.
    FaultKind.NODES_CUT,
}
"""While these last, nobody can serve."""

Say = Callable[[str], None]


def run(
    *,
    seed: int = 1,
    minutes: float = 10.0,
    faults_max: int = 1_000_000,
    stations: int = 200,
    nodes: int = 2,
    hosts: int = 1,
    kinds: str = "all",
    keep: bool = False,
    say: Say = lambda _: None,
) -> dict[str, Any]:
    """Break a cluster for a while. Call from the main thread of a process that does nothing else:
    where it may, it leaves the machine's network for one of its own.

    Args:
        seed: decides what goes wrong, in which order, and who charges when.
        minutes: how long faults go on.
        faults_max: how many at most.
        stations: how many, 1 to 2,000.
        nodes: how many, 1 to 8.
        hosts: how many each of them has, 1 to 8.
        kinds: see `parse_kinds`.
        keep: leave logs and data where they are, and say where.
        say: hears what happens, and when: seconds since the beginning.

    Returns:
        See docs/chaos.md.

    Raises:
        InvalidInput: an argument out of range, or an unknown fault.
        Unavailable: the cluster could not be started, or did not come back.
    """
    if not 1 <= stations <= 2_000 or not 1 <= nodes <= 8 or not 1 <= hosts <= 8:
        raise InvalidInput("stations must be 1 to 2,000, nodes and hosts 1 to 8")
    wanted = parse_kinds(kinds)
    begun_s = time.monotonic()

    def tell(line: str) -> None:
        say(f"{time.monotonic() - begun_s:7.1f} s  {line}")

    for quiet in ("ocpp", "controlplane.sim.station"):
        # What a station is refused, or loses, is expected here, and counted.
        logging.getLogger(quiet).setLevel(logging.CRITICAL)
    namespaces = leave_network()
    possible = wanted if namespaces else wanted - CUTS
    if nodes == 1:
        possible -= {FaultKind.NODES_CUT}
    if not possible:
        raise InvalidInput("none of these faults is possible here", reason="NO_FAULTS")
    name = secrets.token_hex(4)
    folder = Path(tempfile.mkdtemp(prefix="loadstar-chaos-"))
    buried = "" if keep else str(folder)
    undertaker = Afterwards(
        [sys.executable, "-m", "controlplane.chaos.undertaker", name, buried],
    )
    if keep:
        tell(f"logs and data are kept in {folder}")
    try:
        chaos = _Chaos(
            seed=seed,
            stations=stations,
            nodes=nodes,
            hosts=hosts,
            fabric=Fabric(namespaces=namespaces),
            name=name,
            folder=folder,
            say=tell,
        )
        return uvloop.run(chaos.carry_out(possible, minutes=minutes, faults_max=faults_max))
    finally:
        undertaker.now()
        if not keep:
            shutil.rmtree(folder, ignore_errors=True)


class _Chaos:
    """One run."""

    def __init__(
        self,
        *,
        seed: int,
        stations: int,
        nodes: int,
        hosts: int,
        fabric: Fabric,
        name: str,
        folder: Path,
        say: Say,
    ) -> None:
        self._seed = seed
        self._shape = {"stations": stations, "nodes": nodes, "hosts": hosts}
        self._fabric = fabric
        self._name = name
        self._folder = folder
        self._say = say
        self._measures = Measures()
        self._struck: list[asyncio.Task[None]] = []
        self._told: set[str] = set()
        self._network = make_network(stations)
        self._stations: Stations
        self._orders: Orders
        self._cluster: Cluster
        self._reach: Reach
        self._blows: Blows

    async def carry_out(
        self, kinds: frozenset[FaultKind], *, minutes: float, faults_max: int
    ) -> dict[str, Any]:
        """Start everything, break it, audit it, end it."""
        machine = self._fabric.add("database")

        def make_server() -> PostgresqlServer:
            with machine.inside():
                return PostgresqlServer(address=machine.address, clients=self._fabric.subnet)

        server = await asyncio.to_thread(make_server)
        try:
            with machine.inside():
                url = server.create("chaos")
            self._cluster = self._make_cluster(url)
            self._blows = Blows(self._fabric, self._cluster, server, machine)
            try:
                await self._bring_up(url)
                ordering = asyncio.create_task(self._orders.run())
                try:
                    await self._break(kinds, minutes * 60, faults_max)
                finally:
                    ordering.cancel()
                    await asyncio.gather(ordering, return_exceptions=True)
                return await self._audit(url)
            finally:
                await self._cluster.stop()
        finally:
            await asyncio.to_thread(server.stop)

    def _make_cluster(self, url: str) -> Cluster:
        file = self._folder / "network.yaml"
        file.write_text(dump_network(self._network), encoding="utf-8")
        return Cluster(
            self._fabric,
            run=self._name,
            folder=self._folder,
            database_url=url,
            network=file,
            nodes=self._shape["nodes"],
            hosts=self._shape["hosts"],
        )

    async def _bring_up(self, url: str) -> None:
        self._say("the cluster starts")
        await self._cluster.start()
        urls = [node.url for node in self._cluster.nodes]
        self._stations = Stations(self._network, urls, self._seed)
        self._reach = Reach(url, self._cluster.nodes, self._stations.all)
        addresses = [node.grpc_address for node in self._cluster.nodes]
        self._orders = Orders(addresses, list(self._stations.all), self._seed)
        self._stations.start()
        count = len(self._stations.all)
        self._say(f"{count} stations dial")
        await self._until(lambda: self._stations.settled == count, _COMMISSION_TIMEOUT_S)
        await self._whole()

    # --- faults -----------------------------------------------------------------------------------

    async def _break(self, kinds: frozenset[FaultKind], seconds: float, faults_max: int) -> None:
        loop = asyncio.get_running_loop()
        until_s = loop.time() + seconds
        shape = self._shape
        for fault in schedule(self._seed, kinds, nodes=shape["nodes"], hosts=shape["hosts"]):
            if fault.number > faults_max or loop.time() >= until_s:
                break
            if not fault.on_top:
                await self._recovered()
            await asyncio.sleep(fault.pause_s)
            await self._reach.look()
            clean = not fault.on_top
            if not clean:
                self._measures.spoil()
            self._say(f"fault {fault}")
            self._struck.append(loop.create_task(self._strike(fault, clean=clean)))
        await self._recovered()

    async def _recovered(self) -> None:
        """Every fault so far is lifted and recovered from, and the cluster is whole."""
        struck, self._struck = self._struck, []
        await asyncio.gather(*struck)
        await self._whole()

    async def _whole(self) -> None:
        """
        Raises:
            Unavailable: a node did not come back.
        """
        await self._cluster.ready(self._cluster.nodes)
        until_s = asyncio.get_running_loop().time() + _BALANCED_TIMEOUT_S
        while not await self._reach.look():
            if asyncio.get_running_loop().time() > until_s:
                self._measures.unbalanced += 1
                self._say("shards are not spread fairly")
                break
            await asyncio.sleep(_LOOK_S)
        await self._stations.go_home()
        self._tell_findings()

    def _tell_findings(self) -> None:
        """Say what was found since the last time, among what is judged as it happens."""
        found = [f"over a rating: {line}" for line in self._stations.rows.told]
        found += [
            f"stale command: {line}"
            for driven in self._stations.all.values()
            for line in driven.books.stale
        ]
        for line in found:
            if line not in self._told:
                self._told.add(line)
                self._say(line)

    async def _strike(self, fault: Fault, *, clean: bool) -> None:
        affected = self._reach.of(fault)
        sockets = self._sockets(affected)
        self._measures.struck(fault)
        async with self._stations.asking(affected.all):
            await self._blows.strike(fault)
            struck_s = self._stations.struck(affected.all)
            await asyncio.sleep(fault.lasts_s)
            await self._blows.lift(fault)
            if fault.kind in _SERVED_BY_NOBODY:
                struck_s = self._stations.struck(affected.all)
            unserved = await self._stations.served(affected.all, struck_s)
            # What was struck may go on for a while and fail then: it is over when all is whole.
            await self._cluster.ready(self._cluster.nodes)
            whole_s = asyncio.get_running_loop().time()
            unserved += await self._stations.served(affected.all - set(unserved), whole_s)
        if unserved:
            self._say(f"fault {fault.number}: not served again: {', '.join(unserved[:5])} ...")
            self._measures.unserved += [f"fault {fault}: {charger_id}" for charger_id in unserved]
        elif clean:
            waited_s = {
                charger_id: self._stations.all[charger_id].books.waited_max_s
                for charger_id in affected.all
            }
            lost = self._sockets(affected) - sockets
            self._say(self._measures.recovered(fault, affected, waited_s, lost))

    def _sockets(self, affected: Affected) -> int:
        """How many connections those have made who should not lose theirs."""
        return sum(
            self._stations.all[charger_id].station.traffic.connections
            for charger_id in affected.all - affected.redialling
        )

    async def _until(self, condition: Callable[[], bool], timeout_s: float) -> None:
        async with asyncio.timeout(timeout_s):
            while not condition():  # noqa: ASYNC110 - what is waited for has no event
                await asyncio.sleep(_LOOK_S)

    # --- the audit --------------------------------------------------------------------------------

    async def _audit(self, url: str) -> dict[str, Any]:
        self._say("everybody leaves, everything is told")
        undelivered = await self._stations.come_to_rest(_REST_TIMEOUT_S)
        own = await sites_violations(
            self._cluster.nodes[0].grpc_address, [site.id for site in self._network.sites]
        )
        commands = await self._ended_commands(url)
        await self._stations.stop()
        readings, sessions = await asyncio.to_thread(read_store, url)
        everybody = list(self._stations.all.values())
        metered = [each for driven in everybody for each in driven.metered()]
        findings = judge(
            acknowledged=(each for driven in everybody for each in driven.books.readings),
            stored=readings,
            metered=metered,
            sessions=sessions,
        )
        findings.commands += self._orders.faults + judge_commands(
            commands,
            {each.books.charger_id: each.books.told["UnlockConnector"] for each in everybody},
            self._orders.taken_in,
        )
        return self._result(findings, own, undelivered, charge_records=len(metered))

    async def _ended_commands(self, url: str) -> list[StoredCommand]:
        """Every command was given a time; wait until all of them should have ended."""
        until_s = asyncio.get_running_loop().time() + _COMMANDS_TIMEOUT_S
        while True:
            commands = await asyncio.to_thread(read_commands, url, REQUEST_TYPE)
            late = asyncio.get_running_loop().time() > until_s
            if late or not any(command.open for command in commands):
                return commands
            await asyncio.sleep(_LOOK_S)

    def _result(
        self,
        findings: Findings,
        own: dict[str, int],
        undelivered: list[str],
        *,
        charge_records: int,
    ) -> dict[str, Any]:
        books = [driven.books for driven in self._stations.all.values()]
        stale = [line for each in books for line in each.stale]
        rows = self._stations.rows
        details = [
            *(f"lost: {line}" for line in findings.lost),
            *(f"duplicated: {line}" for line in findings.duplicated),
            *(f"charge record: {line}" for line in findings.records),
            *(f"command: {line}" for line in findings.commands),
            *(f"over a rating: {line}" for line in rows.told),
            *(
                f"over a rating by its own ledger: {site_id}"
                for site_id, count in own.items()
                if count
            ),
            *(f"stale command: {line}" for line in stale),
            *(f"undelivered: {line}" for line in undelivered),
            *(f"unserved: {line}" for line in self._measures.unserved),
        ]
        return (
            {
                "seed": self._seed,
                **self._shape,
                "network": "namespaces" if self._fabric.namespaces else "loopback",
                **self._measures.counted(),
                "acknowledged": sum(each.acknowledged for each in books),
                "refused": sum(each.refused for each in books),
                "lost": len(findings.lost),
                "duplicated": len(findings.duplicated),
                "violations": rows.over + sum(own.values()),
                "rows_judged": rows.judged,
                "utilisation_max": round(rows.utilisation_max, 4),
                "starved_max_s": round(
                    max(each.starved_max_s for each in self._stations.all.values()), 1
                ),
                "commands": sum(each.told.total() for each in books),
                "stale_commands": len(stale),
                "charge_records": charge_records,
                "charge_records_wrong": len(findings.records),
                "orders": self._orders.taken_in.total(),
                "orders_wrong": len(findings.commands),
                "undelivered": len(undelivered),
            }
            | self._measures.times()
            | {
                "restarts": sum(self._cluster.restarts().values()),
                "late_max_s": round(self._stations.late_max_s, 3),
                "details": details[:_TOLD_MAX],
            }
        )
