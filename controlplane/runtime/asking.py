"""The `ActorClient` of a node: carries requests to the host that serves the shard, wherever it
runs, and keeps the newest journal events.

It finds the hosts among the members, says hello to each, and is told by them what they serve and
what was committed. A request goes to the host that announced the highest epoch; one that went to
the wrong host was not carried out and is sent again to the right one, within its time. Invariant:
a request that may have been carried out is repeated only where that does no harm."""

from __future__ import annotations

import asyncio
import uuid
from contextlib import suppress
from typing import Any

import msgspec

from controlplane.charger.messages import GetCharger
from controlplane.errors import Refusal, TimedOut, Unavailable, raise_refusal
from controlplane.feeder.messages import GetFeeder
from controlplane.ids import SHARDS, ActorKind, ActorRef, ChargerId, shard_of
from controlplane.runtime.client import Response
from controlplane.runtime.directory import Directory
from controlplane.runtime.feed import Ring
from controlplane.runtime.links import Links, Reach
from controlplane.runtime.members import ClusterReading
from controlplane.runtime.telemetry import log
from controlplane.runtime.tracing import current_traceparent
from controlplane.runtime.transport import Link
from controlplane.runtime.wire import (
    Announcement,
    Answered,
    DirectoryChanged,
    Happened,
    Hello,
    LookAgain,
    Parcel,
    Question,
    Traced,
    Withdrawal,
    encode,
)
from controlplane.site.messages import GetSite
from controlplane.store.reader import StoreReader
from controlplane.store.records import ChargerRecord, JournalEvent

__all__ = ["RoutedClient"]

_LOOK_INTERVAL_S = 1.0
_RETRY_S = 0.05
_EARLY_WAIT_S = 0.1
"""How long events that were committed before others may be on their way."""
_ANSWER_MARGIN_S = 2.0
"""What the way may take on top of the time that the host has."""
_READS = (GetCharger, GetSite, GetFeeder)
_NOT_THERE = frozenset({"NOT_OWNER", "HOST_NOT_SERVING"})
"""Nothing was done; another host will, or the same one soon."""


class RoutedClient:
    """Implements `client.ActorClient`.

    Args:
        reach: from where and how it links to hosts.
    """

    def __init__(self, reader: StoreReader, reach: Reach) -> None:
        self.name = f"c{uuid.uuid4().hex[:12]}"
        self._reader = reader
        self._directory = Directory(reader)
        self._loop = asyncio.get_running_loop()
        self._links = Links(reach, self._host_gone)
        self._node = reach.node
        self._node_of: dict[str, str] = {}
        self._address = ""
        self._host_of: list[str] = [""] * SHARDS
        self._epochs: list[int] = [0] * SHARDS
        self._announced: set[str] = set()
        """Hosts that will answer: they have linked to us."""
        self._changed = asyncio.Event()
        self._ring = Ring()
        self._serial = 0
        self._asked: dict[int, tuple[str, asyncio.Future[bytes]]] = {}
        self._decoders: dict[type, msgspec.msgpack.Decoder[Any]] = {}
        self._wake = asyncio.Event()
        self._looking: asyncio.Task[None] | None = None

    def start(self, address: str) -> None:
        """Look for hosts from now on; their links to this client begin at `address`."""
        self._address = address
        self._looking = self._loop.create_task(self._look_forever())

    def look(self) -> None:
        """There may be new hosts."""
        self._wake.set()

    def have_hosts_look(self) -> None:
        """Somebody came or went: let every host that is known look for it at once, and not within
        a second."""
        for name in self._links.names():
            link = self._links.get(name)
            if link is not None:
                link.send(LookAgain(), urgent=True)

    async def close(self) -> None:
        if self._looking is not None:
            self._looking.cancel()
            await asyncio.gather(self._looking, return_exceptions=True)
        self._links.close_all()

    def receive(self, parcels: list[Parcel]) -> None:
        """What came from hosts, in order."""
        for parcel in parcels:
            if type(parcel) is Answered:
                _, answer = self._asked.get(parcel.serial, ("", None))
                if answer is not None and not answer.done():
                    answer.set_result(parcel.response)
            elif type(parcel) is Happened:
                self._ring.append(parcel.events)
            elif type(parcel) is DirectoryChanged:
                for charger_id in parcel.charger_ids:
                    self._directory.forget(charger_id)
            elif type(parcel) is Announcement:
                self._served(parcel)
            elif type(parcel) is Withdrawal:
                for shard in parcel.shards:
                    if self._host_of[shard] == parcel.host:
                        self._host_of[shard] = ""

    async def ask(
        self,
        ref: ActorRef,
        request: msgspec.Struct,
        response: type[Response],
        *,
        timeout_s: float = 10.0,
        request_id: str = "",
    ) -> Response:
        """See `client.ActorClient.ask`."""
        until_s = self._loop.time() + timeout_s
        encoded = encode(request)
        repeatable = bool(request_id) or isinstance(request, _READS)
        repeated = False
        while True:
            host, link = await self._host(ref, until_s)
            left_s = max(0.05, until_s - self._loop.time())
            try:
                self._serial += 1
                question = Question(
                    self.name, self._serial, ref, encoded, request_id, left_s, repeated
                )
                answer = await self._ask(host, link, question)
            except ConnectionError:
                if not repeatable or self._loop.time() >= until_s:
                    raise TimedOut(
                        "the host was lost on the way; what was asked may have happened",
                        reason="HOST_LOST",
                    ) from None
                repeated = True
            else:
                decoded = self._decoder(response).decode(answer)
                if not isinstance(decoded, Refusal):
                    return decoded  # type: ignore[no-any-return]
                if decoded.reason not in _NOT_THERE or self._loop.time() >= until_s:
                    raise_refusal(decoded)
            await asyncio.sleep(_RETRY_S)

    async def charger(self, id: ChargerId) -> ChargerRecord | None:
        """See `client.ActorClient.charger`."""
        entry = await self._directory.find(id)
        return None if entry is None else entry.record

    async def events(
        self, after: int, *, limit: int = 1_000, timeout_s: float = 10.0
    ) -> list[JournalEvent]:
        """See `client.ActorClient.events`."""
        until_s = self._loop.time() + timeout_s
        while True:
            events = self._ring.after(after, limit)
            if not events and self._ring.early:
                await self._ring.wait(_EARLY_WAIT_S)
                events = self._ring.after(after, limit) or None
            if events is None:
                events = await self._reader.journal(after, limit)
            left_s = until_s - self._loop.time()
            if events or left_s <= 0:
                return events
            await self._ring.wait(left_s)

    async def last_cursor(self) -> int:
        """See `client.ActorClient.last_cursor`."""
        return await self._reader.last_cursor()

    def near(self, ref: ActorRef) -> bool:
        """See `client.ActorClient.near`."""
        host = self._host_of[shard_of(ref.kind, ref.id)]
        return self._node_of.get(host, self._node) == self._node

    # --- hosts ------------------------------------------------------------------------------------

    async def _look_forever(self) -> None:
        """Hosts that came are greeted. What was committed and not told is noticed."""
        while True:
            try:
                reading = await self._reader.read(ClusterReading.read)
            except Unavailable as error:
                log.warning("cluster_not_read", error=str(error))
            else:
                await self._greet(reading)
                self._ring.reached(reading.cursor)
            with suppress(TimeoutError):
                async with asyncio.timeout(_LOOK_INTERVAL_S):
                    await self._wake.wait()
            self._wake.clear()

    async def _greet(self, reading: ClusterReading) -> None:
        hosts = {each.name: each for each in reading.hosts()}
        self._node_of = {name: each.node for name, each in hosts.items()}
        for name in [name for name in self._links.names() if name not in hosts]:
            link = self._links.get(name)
            self._links.close(name)
            if link is not None:
                self._host_gone(name, link)

        async def greet(name: str, address: str) -> None:
            with suppress(ConnectionError):
                link, new = await self._links.open(name, address)
                if new:
                    self._host_lost(name)
                    link.send(Hello(self.name, self._address), urgent=True)

        await asyncio.gather(*(greet(each.name, each.address) for each in hosts.values()))

    def _served(self, announcement: Announcement) -> None:
        host = announcement.host
        self._announced.add(host)
        for shard, epoch in announcement.epochs.items():
            if epoch >= self._epochs[shard]:
                self._epochs[shard] = epoch
                self._host_of[shard] = host
        self._changed.set()
        self._changed = asyncio.Event()

    def _host_gone(self, name: str, link: Link) -> None:
        self._host_lost(name)
        self.look()

    def _host_lost(self, name: str) -> None:
        """What it was asked may or may not have been carried out, and what it changed may or may
        not have been told."""
        self._directory.forget_all()
        self._announced.discard(name)
        for host, answer in list(self._asked.values()):
            if host == name and not answer.done():
                answer.set_exception(ConnectionError(f"host {name} is gone"))

    async def _host(self, ref: ActorRef, until_s: float) -> tuple[str, Link]:
        while True:
            changed = self._changed
            name = self._host_of[await self._shard(ref)]
            link = self._links.get(name)
            if link is not None and name in self._announced:
                return name, link
            left_s = until_s - self._loop.time()
            if left_s <= 0:
                raise Unavailable(f"no host serves {ref} at the moment", reason="NO_HOST")
            with suppress(TimeoutError):
                async with asyncio.timeout(min(left_s, _LOOK_INTERVAL_S)):
                    await changed.wait()

    async def _shard(self, ref: ActorRef) -> int:
        if ref.kind is not ActorKind.CHARGER or len(self._announced) < 2:
            return shard_of(ref.kind, ref.id)
        record = await self.charger(ChargerId(ref.id))
        return shard_of(ref.kind, ref.id, site_id=record.site_id if record else None)

    async def _ask(self, host: str, link: Link, question: Question) -> bytes:
        """
        Raises:
            ConnectionError: the host was lost on the way, or is silent.
        """
        answer: asyncio.Future[bytes] = self._loop.create_future()
        self._asked[question.serial] = (host, answer)
        try:
            header = current_traceparent()
            link.send(Traced(header, question) if header else question, urgent=True)
            async with asyncio.timeout(question.timeout_s + _ANSWER_MARGIN_S):
                return await answer
        except TimeoutError:
            raise ConnectionError(f"host {host} is silent") from None
        finally:
            del self._asked[question.serial]

    def _decoder(self, response: type[msgspec.Struct]) -> msgspec.msgpack.Decoder[Any]:
        decoder = self._decoders.get(response)
        if decoder is None:
            decoder = self._decoders[response] = msgspec.msgpack.Decoder(response | Refusal)
        return decoder
