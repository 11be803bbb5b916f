"""What leaves a host once the batch that caused it is durable, and over which links.

Invariant: nothing is sent here that is not in the store, or did not have to be. What is for an
actor that lives here is put in its mailbox; what is for one of another host goes there, at most
once; the answers and frames of one batch go in the order in which they were decided."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Final

from controlplane.actor import Send
from controlplane.errors import Unavailable
from controlplane.ids import SHARDS, ActorKind, ActorRef, ChargerId, shard_of
from controlplane.runtime.batch import Batch
from controlplane.runtime.homes import Homes
from controlplane.runtime.host_traces import HostTraces
from controlplane.runtime.look_ups import LookUps
from controlplane.runtime.mailbox import Mailbox
from controlplane.runtime.requests import Requests
from controlplane.runtime.residents import Residents
from controlplane.runtime.telemetry import log
from controlplane.runtime.transport import Link
from controlplane.runtime.wire import (
    DirectoryChanged,
    FrameKind,
    FromActor,
    Happened,
    Parcel,
    ToStation,
    is_actor_message,
)
from controlplane.store.commit import JournalLine
from controlplane.store.records import JournalEvent

__all__ = ["Departures"]

_UNROUTED_MAX: Final = 20_000


class Departures:
    """The ways out of one host."""

    def __init__(
        self,
        mailbox: Mailbox,
        residents: Residents,
        homes: Homes,
        *,
        requests: Requests,
        look_ups: LookUps,
        traces: HostTraces,
    ) -> None:
        self.gateways: dict[str, Link] = {}
        self.peers: dict[str, Link] = {}
        """To other hosts, by name."""
        self.clients: dict[str, Link] = {}
        """To those who ask, and follow the journal."""
        self.owners: list[str] = [""] * SHARDS
        """Which host owns a shard that is not served here."""
        self._mailbox = mailbox
        self._residents = residents
        self._homes = homes
        self._requests = requests
        self._look_ups = look_ups
        self._traces = traces
        self._loop = asyncio.get_running_loop()
        self._unrouted: list[tuple[ActorRef, Send]] = []
        """For chargers of which nobody here knows the site."""
        self._routing: asyncio.Task[None] | None = None

    def close(self) -> None:
        if self._routing is not None:
            self._routing.cancel()

    def gateway_of(self, connection: str) -> Link | None:
        """To the gateway that holds this connection; its name begins with the gateway's."""
        return self.gateways.get(connection.partition(":")[0])

    def tell_gateways(self, parcel: Parcel) -> None:
        """Send to every gateway."""
        _tell(self.gateways, parcel)

    def leave(self, batch: Batch, first_cursor: int) -> None:
        """Let everything of a batch go that is durable now; `first_cursor` is that of its first
        event."""
        self._trace(batch)
        if batch.to_stations:
            self._to_stations(batch)
        for ask_id, response in batch.answers:
            self._requests.answer(ask_id, response)
        for sender, send in batch.sends:
            self._send(sender, send)
        for ref, question in batch.look_ups:
            self._look_ups.begin(ref, question)
        if batch.directory:
            changed = DirectoryChanged(tuple(batch.directory))
            self.tell_gateways(changed)
            _tell(self.peers, changed)
            self._homes.check(changed.charger_ids)
        if batch.commit.events and self.clients:
            self._tell_happened(batch.commit.events, first_cursor)

    def _trace(self, batch: Batch) -> None:
        if batch.traces and batch.writes:
            self._traces.committed(
                batch.traces,
                seconds=batch.commit_s,
                records=len(batch.commit.records),
                events=len(batch.commit.events),
            )

    def _to_stations(self, batch: Batch) -> None:
        gateways, traces = self.gateways, self._traces
        for parcel in batch.to_stations:
            link = gateways.get(parcel.connection.partition(":")[0])
            if link is not None:
                urgent = type(parcel) is ToStation and parcel.kind is FrameKind.CALL
                link.send(traces.to_station(parcel) if traces.riding else parcel, urgent=urgent)

    def _tell_happened(self, lines: list[JournalLine], first_cursor: int) -> None:
        """A client that is behind reads what it was not told in the store."""
        events = tuple(
            JournalEvent(first_cursor + i, line.at_ms, line.kind, line.actor, line.data)
            for i, line in enumerate(lines)
        )
        for link in self.clients.values():
            if not link.full:
                link.send(Happened(events))

    # --- from actor to actor ----------------------------------------------------------------------

    def _send(self, sender: ActorRef, send: Send) -> None:
        """To an actor of another shard."""
        target = self._residents.get(send.to)
        if target is not None:
            self._deliver(target.shard, sender, send)
        elif send.to.kind is not ActorKind.CHARGER or self._homes.all_here:
            self._deliver(shard_of(send.to.kind, send.to.id), sender, send)
        elif len(self._unrouted) < _UNROUTED_MAX:
            self._unrouted.append((sender, send))
            if self._routing is None:
                self._routing = self._loop.create_task(self._route())
        else:
            log.warning("send_without_host", to=str(send.to))

    def _deliver(self, shard: int, sender: ActorRef, send: Send) -> None:
        if shard in self._mailbox.epochs:
            self._mailbox.post(self._residents.find(send.to), send.message)
            return
        link = self.peers.get(self.owners[shard])
        if link is not None and is_actor_message(send.message):
            parcel = FromActor(sender, send.to, send.message)  # type: ignore[arg-type]
            link.send(self._traces.to_host(parcel, send.message))
        else:
            log.warning("send_without_host", to=str(send.to), shard=shard)

    async def _route(self) -> None:
        try:
            while self._unrouted:
                part, self._unrouted = self._unrouted, []
                shards = await self._homes.shards([ChargerId(send.to.id) for _, send in part])
                for sender, send in part:
                    self._deliver(shards[send.to.id], sender, send)
        except Unavailable as error:
            log.warning("sends_dropped", error=str(error))
        finally:
            self._routing = None


def _tell(links: Mapping[str, Link], parcel: Parcel) -> None:
    for link in links.values():
        link.send(parcel)
