"""Where a gateway sends what stations say: who owns which shard, and the link to there.

Invariants: a host's word under a lower epoch than was heard is refused; a host is told that its
announcement was heard only when it is in force here and everything that was sent before went before
it; what stations said, besides CALLs, of a shard that nobody serves waits for its next host, in
order and bounded."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine, Mapping
from typing import Any, NamedTuple

from controlplane.charger.messages import (
    StationConnected,
    StationDisconnected,
    StationFailed,
    StationReplied,
)
from controlplane.ids import SHARDS
from controlplane.runtime.gateway_traces import GatewayTraces
from controlplane.runtime.links import Reach
from controlplane.runtime.owners import Owners
from controlplane.runtime.station import Station
from controlplane.runtime.telemetry import log
from controlplane.runtime.transport import Link, connect
from controlplane.runtime.wire import (
    Announcement,
    FromStation,
    Heard,
    StationNews,
    Traced,
    Withdrawal,
)

__all__ = ["Route", "Routes"]

_HELD_MAX = 20_000
_RELINK_S = 0.5


class Route(NamedTuple):
    """The way to a host."""

    host: str
    link: Link


class Routes:
    """The hosts that one gateway knows.

    Args:
        name: the gateway's.
        reach: from where and how it links to hosts.
        running: whether the gateway is, or wants to be, a member.
        served: called with shards that a host serves from now on, once it is linked to.
        background: runs what has to wait for something.
    """

    def __init__(
        self,
        name: str,
        reach: Reach,
        traces: GatewayTraces,
        *,
        running: Callable[[], bool],
        served: Callable[[set[int]], None],
        background: Callable[[Coroutine[Any, Any, None]], None],
    ) -> None:
        self.owners = Owners()
        self.links: dict[str, Link] = {}
        """To hosts, by name."""
        self.news_dropped = 0
        self._name = name
        self._reach = reach
        self._traces = traces
        self._running = running
        self._served = served
        self._background = background
        self._addresses: dict[str, str] = {}
        self._announcing: dict[str, asyncio.Lock] = {}
        self._held: deque[tuple[int, FromStation]] = deque(maxlen=_HELD_MAX)
        """What waits, each with its shard."""
        self._of_shard: list[Route | None] = [None] * SHARDS

    @property
    def held(self) -> int:
        """News that waits for a host."""
        return len(self._held)

    def of_shard(self, shard: int) -> Route | None:
        """To the shard's host; None where nobody serves it or its host is not linked to."""
        return self._of_shard[shard]

    def host(self, shard: int) -> str:
        """Who serves the shard; empty where nobody is known to."""
        return self.owners.host_of(shard)

    def tell(self, station: Station, message: StationNews) -> None:
        """Send news of a station to its host. Who is connected is told to the next host anew; the
        rest waits for it."""
        parcel = FromStation(station.charger_id, station.site_id, message)
        if isinstance(message, StationConnected | StationDisconnected):
            route = self._of_shard[station.shard]
            if route is not None:
                route.link.send(parcel)
        else:
            self.send(station.shard, parcel)

    def send(self, shard: int, parcel: FromStation) -> None:
        """Send to the shard's host, or keep it until there is one; the oldest gives way."""
        route = self._of_shard[shard]
        if route is not None:
            message = parcel.message
            sent: FromStation | Traced = parcel
            if self._traces.commands and isinstance(message, (StationReplied, StationFailed)):
                sent = self._traces.answered(parcel, message)
            # Somebody waits for the answer to a command.
            route.link.send(sent, urgent=isinstance(message, (StationReplied, StationFailed)))
            return
        if len(self._held) == _HELD_MAX:
            self.news_dropped += 1
        self._held.append((shard, parcel))

    def close(self) -> None:
        for link in self.links.values():
            link.close()

    # --- announcements ----------------------------------------------------------------------------

    async def announced(self, announcement: Announcement) -> None:
        """A host owns these shards from now on: it is linked to, and told that it was heard."""
        host, address = announcement.host, announcement.address
        self._fence(announcement)
        async with self._announcing.setdefault(host, asyncio.Lock()):
            link = self.links.get(host)
            if link is None or self._addresses.get(host) != address:
                try:
                    link = await self._connect(host, address)
                except ConnectionError as error:
                    # It will ask again.
                    log.warning("host_not_reached", host=host, error=str(error))
                    return
            self.introduced(announcement, link)
        link.send(Heard(self._name, announcement.serial), urgent=True)

    def introduced(self, announcement: Announcement, link: Link) -> None:
        """The host owns these shards from now on and is reached over `link`: its chargers are
        introduced to it, and what they have unanswered is delivered."""
        self._fence(announcement)
        self.links[announcement.host] = link
        self._serve(announcement.epochs, announcement.host)
        log.info(
            "host_introduced",
            host=announcement.host,
            incarnation=announcement.incarnation,
            shards=len(announcement.epochs),
        )

    def withdrawn(self, withdrawal: Withdrawal) -> None:
        """Nobody serves these shards until the next announcement."""
        self.owners.withdrawn(withdrawal.host, withdrawal.shards)
        self._draw()
        link = self.links.get(withdrawal.host)
        if link is not None:
            link.send(Heard(self._name, withdrawal.serial), urgent=True)

    def _fence(self, announcement: Announcement) -> None:
        """Lower epochs are refused at once."""
        self.owners.announced(announcement.host, announcement.epochs)
        self._draw()

    def _serve(self, epochs: Mapping[int, int], host: str) -> None:
        """Let the chargers of these shards be introduced to their host, and deliver what waits."""
        self._draw()
        self._served({s for s, epoch in epochs.items() if self.owners.epoch_of(s) == epoch})
        held, self._held = self._held, deque(maxlen=_HELD_MAX)
        for shard, parcel in held:
            self.send(shard, parcel)

    def _draw(self) -> None:
        """Look every shard's route up, so that messages need not: they change seldom."""
        routes = {host: Route(host, link) for host, link in self.links.items()}
        self._of_shard = [routes.get(self.owners.host_of(shard)) for shard in range(SHARDS)]

    # --- links ------------------------------------------------------------------------------------

    async def _connect(self, host: str, address: str) -> Link:
        link: Link
        link = await connect(
            address,
            lambda: self._lost(host, link),
            node=self._reach.node,
            tls=self._reach.tls,
        )
        earlier = self.links.pop(host, None)
        if earlier is not None:
            earlier.close()
        self.links[host] = link
        self._addresses[host] = address
        self._draw()
        return link

    def _lost(self, host: str, link: Link) -> None:
        """What stations say waits until the link is there again or another host is announced."""
        if self.links.get(host) is link:
            del self.links[host]
            self._draw()
            self._background(self._relink(host, self._addresses[host]))

    async def _relink(self, host: str, address: str) -> None:
        """A host that died does not listen; one that lives is told everything anew."""
        while self._running() and self._addresses.get(host) == address:
            await asyncio.sleep(_RELINK_S)
            epochs = self.owners.epochs_of(host)
            if host in self.links or not epochs:
                return
            try:
                await self._connect(host, address)
            except ConnectionError:
                continue
            self._serve(epochs, host)
