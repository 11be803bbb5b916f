"""Gateways and stations of the model.

A gateway keeps what a station has unanswered and delivers it to whoever announces the shard. What
it believes of owners is `runtime/owners.py`, how long it may deliver is `runtime/tenure.py`."""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING, Any

from controlplane.errors import Unavailable
from controlplane.sim.ownership.clockwork import Process, Task
from controlplane.sim.ownership.database import Member
from controlplane.sim.ownership.network import Link
from controlplane.sim.ownership.parcels import (
    Announcement,
    Call,
    Connection,
    Heard,
    Introduced,
    Reintroduce,
    ToStation,
    Withdrawal,
)

if TYPE_CHECKING:
    from controlplane.sim.ownership.host import Host
    from controlplane.sim.ownership.world import World

__all__ = ["Gateway", "Station"]

_RETRY_MS = 500
_LINK_RETRY_MS = 1_000
_STATION_LATENCY_MS = 5
_PATIENCE_MS = 15_000


class Gateway(Process):
    """One incarnation of a gateway."""

    def __init__(self, world: World, random: Random, name: str, incarnation: int) -> None:
        super().__init__(world.clockwork, random, name, incarnation)
        self._world = world
        self._rules = world.rules
        self._tenure = world.rules.tenure(world.lease_s)
        self.owners = world.rules.owners()
        self.links: dict[str, Link] = {}
        self._hosts: dict[str, Host] = {}
        self.stations: dict[int, tuple[Connection, Station, int]] = {}
        """By shard: the socket, its station, and the number of the event that is unanswered, 0 for
        none."""
        self.spawn(self._stay())

    # --- membership -------------------------------------------------------------------------------

    def _stay(self) -> Task:
        database, entered = self._world.database, False
        while True:
            started_s = self._rules.now_s(self)
            try:
                there, epochs = yield database.ask(self, self._renew if entered else self._enter)
            except Unavailable:
                database.disconnected(self)
                yield _RETRY_MS
                continue
            if not there:
                self._world.gateway_ended(self)
                return
            if self._rules.gateway_reads or not entered:
                for shard, epoch in epochs.items():
                    self._world.checker.gateway_heard(self, shard, epoch)
                self.owners.in_force(epochs)
            entered = True
            if not self._rules.count_from_start:
                started_s = self._rules.now_s(self)
            self._tenure.extended({}, started_s=started_s)
            yield int(self._tenure.renew_after_s * 1_000)

    def _enter(self) -> tuple[bool, dict[int, int]]:
        """A statement."""
        until_ms = self._world.database.now_ms + self._world.lease_ms
        table = self._world.database.table
        table.enter(Member(self.name, "gateway", self.incarnation, until_ms))
        return True, table.epochs()

    def _renew(self) -> tuple[bool, dict[int, int]]:
        """A statement."""
        until_ms = self._world.database.now_ms + self._world.lease_ms
        table = self._world.database.table
        return table.renew_member(self.name, self.incarnation, until_ms), table.epochs()

    # --- hosts ------------------------------------------------------------------------------------

    def receive(self, parcel: Any) -> None:
        """What a host sent."""
        kind = type(parcel)
        if kind is ToStation:
            self._to_station(parcel)
        elif kind is Announcement:
            self._announced(parcel)
        elif kind is Withdrawal:
            self.owners.withdrawn(parcel.host.name, parcel.shards)
            self._tell(parcel.host, Heard(parcel.serial))
        elif kind is Reintroduce:
            for shard in parcel.shards:
                self._introduce(shard)

    def _announced(self, announcement: Announcement) -> None:
        host = announcement.host
        link = self.links.get(host.name)
        if link is None or link.receiver is not host:
            if link is not None:
                link.close()
                del self.links[host.name]
            self._hosts[host.name] = host
            self._open_link(host)
        for shard, epoch in announcement.epochs.items():
            self._world.checker.gateway_heard(self, shard, epoch)
        taken = self.owners.announced(host.name, announcement.epochs)
        for shard in sorted(taken):
            self._introduce(shard)
        if announcement.serial:
            self._tell(host, Heard(announcement.serial))

    def _open_link(self, host: Host) -> None:
        if self._world.reachable(self, host):
            self.links[host.name] = Link(
                self._world.network, self, host, host.receive, self._link_broke
            )
        else:
            self.after(_LINK_RETRY_MS, self._link_again, host)

    def _link_broke(self, link: Link) -> None:
        if self.links.get(link.receiver.name) is link:
            del self.links[link.receiver.name]
            self.after(_LINK_RETRY_MS, self._link_again, link.receiver)

    def _link_again(self, host: Host) -> None:
        if self._hosts.get(host.name) is not host or host.name in self.links or not host.alive:
            return
        self._open_link(host)
        for shard in sorted(self.stations):
            if self.owners.host_of(shard) == host.name:
                self._introduce(shard)

    def _tell(self, host: Host, parcel: Any) -> None:
        link = self.links.get(host.name)
        if link is not None and link.receiver is host:
            link.send(parcel)

    # --- stations ---------------------------------------------------------------------------------

    def adopt(self, station: Station, connection: Connection) -> None:
        """The newest socket wins."""
        self.stations[station.shard] = (connection, station, 0)
        self._introduce(station.shard)

    def called(self, station: Station, connection: Connection, number: int) -> None:
        held = self.stations.get(station.shard)
        if held is not None and held[0] == connection:
            self.stations[station.shard] = (connection, station, number)
            self._to_host(station.shard, Call(station.shard, connection, number))

    def _introduce(self, shard: int) -> None:
        held = self.stations.get(shard)
        if held is not None:
            connection, _, unanswered = held
            self._to_host(shard, Introduced(shard, connection))
            if unanswered:
                self._to_host(shard, Call(shard, connection, unanswered))

    def _to_host(self, shard: int, parcel: Any) -> None:
        link = self.links.get(self.owners.host_of(shard))
        if link is not None:
            link.send(parcel)

    def _to_station(self, parcel: ToStation) -> None:
        held = self.stations.get(parcel.shard)
        if held is None or held[0] != parcel.connection:
            return
        if not self._may_deliver(parcel):
            self._world.checker.refused += 1
            return
        connection, station, unanswered = held
        if parcel.command:
            self._world.checker.delivered(self, parcel, connection == station.connection)
        elif unanswered == parcel.number:
            self.stations[parcel.shard] = (connection, station, 0)
            self._world.clockwork.after(
                _STATION_LATENCY_MS, station.answered, connection, parcel.number
            )

    def _may_deliver(self, parcel: ToStation) -> bool:
        member = self._tenure.valid(self._rules.now_s(self)) or not self._rules.gateway_tenure
        return member and self.owners.accepts(parcel.shard, parcel.epoch)


class Station:
    """A station, which counts its events and forgets one when it was acknowledged.

    It is part of the world and has no faults of its own."""

    def __init__(self, world: World, random: Random, shard: int) -> None:
        self.shard = shard
        self.connection: Connection | None = None
        self.acknowledged = 0
        self.sent = 0
        self.sent_ms = 0
        self._world = world
        self._random = random
        self._serial = 0
        self._gateway: Gateway | None = None
        world.clockwork.after(random.randrange(500), self._dial)
        world.clockwork.after(1_000 + random.randrange(1_000), self._go_on)

    def gateway_lost(self, gateway: Gateway) -> None:
        """The socket broke."""
        if self._gateway is gateway:
            self._hang_up()

    def answered(self, connection: Connection, number: int) -> None:
        if connection == self.connection and number == self.sent:
            self._world.checker.acknowledged(self.shard, number)
            self.acknowledged = number

    def _hang_up(self) -> None:
        self.connection = self._gateway = None
        self._world.clockwork.after(300 + self._random.randrange(1_500), self._dial)

    def _dial(self) -> None:
        gateway = self._random.choice(self._world.gateway_list)
        if not gateway.alive:
            self._world.clockwork.after(500, self._dial)
            return
        self._serial += 1
        self.connection = Connection(gateway.name, gateway.incarnation, self._serial)
        self._gateway = gateway
        self._to_gateway(gateway.adopt, self, self.connection)
        if self.sent > self.acknowledged:
            self._send()

    def _go_on(self) -> None:
        """A new event once the last one is acknowledged; another gateway when that takes long."""
        now_ms = self._world.clockwork.now_ms
        if self.sent == self.acknowledged:
            if self.connection is not None:
                self.sent += 1
                self._send()
        elif now_ms - self.sent_ms > _PATIENCE_MS and self.connection is not None:
            self.sent_ms = now_ms
            self._hang_up()
        self._world.clockwork.after(400 + self._random.randrange(1_600), self._go_on)

    def _send(self) -> None:
        assert self._gateway is not None
        self.sent_ms = self._world.clockwork.now_ms
        self._to_gateway(self._gateway.called, self, self.connection, self.sent)

    def _to_gateway(self, action: Any, *arguments: Any) -> None:
        assert self._gateway is not None
        self._world.clockwork.after(_STATION_LATENCY_MS, self._gateway.run, action, *arguments)
