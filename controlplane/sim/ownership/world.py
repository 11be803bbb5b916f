"""A cluster in virtual time: hosts, gateways, stations, one database, and what goes wrong between
them."""

from __future__ import annotations

import hashlib
from random import Random
from typing import Any

from controlplane.ids import SHARDS
from controlplane.runtime.placement import wanted
from controlplane.sim.ownership.checker import RULES, Checker
from controlplane.sim.ownership.clockwork import Clockwork, Process
from controlplane.sim.ownership.database import Database, LeaseTable
from controlplane.sim.ownership.faults import Faults, parse_faults
from controlplane.sim.ownership.gateway import Gateway, Station
from controlplane.sim.ownership.host import Host
from controlplane.sim.ownership.network import Network
from controlplane.sim.ownership.rules import Rules
from controlplane.sim.ownership.supervisor import Supervisor

__all__ = ["RECOVERY_MAX_MS", "World", "run", "run_many"]

LEASE_MS = 10_000
RECOVERY_MAX_MS = 60_000
"""How long after the last fault every shard is owned by whom it should be, and every station
served: what the database's clock may have been set back by, a lease, and the members' lease."""
_RESTART_MS = (200, 3_000)
_AWAY_MS = (4_000, 20_000)
_JOINING = 2
_DETAILS_MAX = 20


class World:
    """One schedule.

    Args:
        seed: decides everything.
        hosts, gateways, shards: how many there are; two hosts more may join.
    """

    def __init__(
        self,
        seed: int,
        *,
        hosts: int = 3,
        gateways: int = 2,
        shards: int = 8,
        seconds: float = 60.0,
        faults: frozenset[str] = frozenset(),
        rules: Rules | None = None,
    ) -> None:
        self.rules = rules or Rules()
        self.lease_ms = LEASE_MS
        self.lease_s = LEASE_MS / 1_000
        self.clockwork = Clockwork()
        self.leases_certain_ms = 0
        """Until then, leases say less than they should: the database's clock was set forward."""
        self._random = Random(seed)
        self.network = Network(self.clockwork, self._source())
        self.checker = Checker(self)
        self.shards = sorted(self._random.sample(range(SHARDS), shards))
        self.database = Database(
            self.clockwork,
            self.network,
            self._source(),
            self.rules,
            LeaseTable(self.shards, self.rules),
            claimed=self.checker.claimed,
            committed=self.checker.committed,
        )
        self.gateways: dict[str, Gateway] = {}
        self.hosts: dict[str, Host] = {}
        self.every_host: list[Host] = []
        """Also those that were replaced and do not know it."""
        self._incarnations = 0
        self._supervisors: dict[str, Supervisor] = {}
        for number in range(gateways):
            self._start_gateway(f"g{number}")
        self._hosts_max = hosts + _JOINING
        self._expected = [f"h{number}" for number in range(hosts)]
        for name in self._expected:
            self.clockwork.after(self._random.randrange(1_000), self._start_host, name)
        self.clockwork.run_until(1_000)
        self.stations = [Station(self, self._source(), shard) for shard in self.shards]
        self._end_ms = 1_000 + int(seconds * 1_000)
        self.faults = Faults(self, self._source(), faults, self._end_ms - 1_000)
        self.recovered_ms: int | None = None

    def _source(self) -> Random:
        return Random(self._random.getrandbits(64))

    @property
    def gateway_list(self) -> list[Gateway]:
        return list(self.gateways.values())

    def run(self) -> None:
        """Live through the faults, then until everything is as it should be."""
        self.clockwork.run_until(self._end_ms)
        marks = {station.shard: station.sent for station in self.stations}
        while self.clockwork.now_ms < self._end_ms + RECOVERY_MAX_MS:
            self.clockwork.run_until(self.clockwork.now_ms + 500)
            if not self.unserved(marks):
                self.recovered_ms = self.clockwork.now_ms - self._end_ms
                return
        for words in self.unserved(marks):
            self.checker.violated("liveness", words)

    def unserved(self, marks: dict[int, int]) -> list[str]:
        """What is not as it should be: owners, and stations none of whose events after `marks` was
        acknowledged."""
        found = []
        for name, shards in wanted(self._expected, self.shards).items():
            host = self.hosts.get(name)
            for shard in sorted(shards):
                row = self.database.table.owners[shard]
                if host is None or row.owner != host.owner:
                    found.append(f"shard {shard}: {row.owner or 'nobody'} owns it, not {name}")
                elif host.served.get(shard) != row.epoch:
                    found.append(f"shard {shard}: {host.owner} does not serve it")
        found += [
            f"shard {station.shard}: event {station.sent} is not acknowledged"
            for station in self.stations
            if station.acknowledged <= marks[station.shard]
        ]
        return found

    # --- what happens to processes ----------------------------------------------------------------

    def reachable(self, one: Process, other: Process) -> bool:
        """Whether a link can be opened."""
        return (
            other.alive
            and (one.name, other.name) not in self.network.blocked
            and (other.name, one.name) not in self.network.blocked
        )

    def set_database_clock(self, off_ms: int, *, unsettling: bool) -> None:
        """`unsettling` where that is by more than the part of a lease that owners leave unused."""
        self.database.off_ms = off_ms
        if unsettling:
            self.leases_certain_ms = self.clockwork.now_ms + 2 * self.lease_ms

    def host_joins(self) -> None:
        """One that was not there before, if there is one left."""
        name = f"h{len(self._expected)}"
        if len(self._expected) < self._hosts_max:
            self._expected.append(name)
            self._start_host(name)

    def killed(self, process: Process) -> None:
        """By SIGKILL."""
        if process.alive:
            if isinstance(process, Host):
                self.host_ended(process)
            elif isinstance(process, Gateway):
                self.gateway_ended(process)

    def silent(self, process: Process) -> None:
        """It does nothing for a while."""
        self._supervisor(process).silent(process)

    def host_ended(self, host: Host) -> None:
        """Another incarnation follows."""
        if not host.alive:
            return
        host.kill()
        self.database.disconnected(host)
        self._supervisor(host).ended(host)
        between = _AWAY_MS if host.draining or self._random.random() < 0.2 else _RESTART_MS
        self.clockwork.after(self._random.randrange(*between), self._start_host, host.name)

    def gateway_ended(self, gateway: Gateway) -> None:
        """Its sockets break; another incarnation follows."""
        if not gateway.alive:
            return
        gateway.kill()
        self._supervisor(gateway).ended(gateway)
        for station in self.stations:
            self.clockwork.after(self._random.randrange(200), station.gateway_lost, gateway)
        self.clockwork.after(
            self._random.randrange(*_RESTART_MS), self._start_gateway, gateway.name
        )

    def _supervisor(self, process: Process) -> Supervisor:
        found = self._supervisors.get(process.name)
        if found is None:
            found = self._supervisors[process.name] = Supervisor(self, self._source(), process.name)
        return found

    def _start_host(self, name: str) -> None:
        self._incarnations += 1
        host = Host(self, self._source(), name, self._incarnations)
        self.hosts[name] = host
        self.every_host = [each for each in self.every_host if each.alive]
        self.every_host.append(host)

    def _start_gateway(self, name: str) -> None:
        self._incarnations += 1
        self.gateways[name] = Gateway(self, self._source(), name, self._incarnations)


def run(
    *,
    seed: int = 1,
    hosts: int = 3,
    minutes: float = 1.0,
    faults: str = "all",
    rules: Rules | None = None,
) -> dict[str, Any]:
    """One schedule; see docs/ownership.md for the keys.

    Raises:
        InvalidInput: an unknown fault.
    """
    world = World(seed, hosts=hosts, seconds=minutes * 60, faults=parse_faults(faults), rules=rules)
    world.run()
    checker = world.checker
    found = checker.found
    history = (checker.claims, checker.commits, checker.commands, world.clockwork.events, found)
    return {
        "seed": seed,
        "hosts": hosts,
        "minutes": minutes,
        "faults": world.faults.happened,
        "claims": checker.claims,
        "commits": checker.commits,
        "events": checker.events,
        "commands": checker.commands,
        "commands_refused": checker.refused,
        "recovered_s": None if world.recovered_ms is None else world.recovered_ms / 1_000,
        "violations": len(found),
        "rules": {rule: sum(each[1] == rule for each in found) for rule in RULES},
        "details": [f"{at_ms} ms {rule}: {words}" for at_ms, rule, words in found[:_DETAILS_MAX]],
        "digest": hashlib.sha256(repr(history).encode()).hexdigest()[:16],
        "replay": f"loadstar sim ownership --seed {seed} --hosts {hosts} --minutes {minutes:g}"
        f" --faults {faults}",
    }


def run_many(
    *, seed: int, schedules: int, hosts: int = 3, minutes: float = 1.0, faults: str = "all"
) -> dict[str, Any]:
    """Schedules of successive seeds, as sums.

    Raises:
        InvalidInput: an unknown fault.
    """
    results = [
        run(seed=seed + number, hosts=hosts, minutes=minutes, faults=faults)
        for number in range(schedules)
    ]
    failed = [result for result in results if result["violations"]]
    summed = ("faults", "claims", "commits", "events", "commands", "commands_refused", "violations")
    recovered = [each["recovered_s"] for each in results if each["recovered_s"] is not None]
    return {
        "seed": seed,
        "schedules": schedules,
        "hosts": hosts,
        "minutes": minutes,
        **{key: sum(result[key] for result in results) for key in summed},
        "recovered_max_s": max(recovered, default=None),
        "rules": {rule: sum(result["rules"][rule] for result in results) for rule in RULES},
        "details": [words for result in failed for words in result["details"]][:_DETAILS_MAX],
        "digest": hashlib.sha256(repr([r["digest"] for r in results]).encode()).hexdigest()[:16],
        "replay": [result["replay"] for result in failed[:_DETAILS_MAX]],
    }
