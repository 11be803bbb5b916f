"""The `ActorClient` of a node: routes requests to the host that owns the shard, and keeps the
newest journal events."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Any

import msgspec

from controlplane.charger.messages import GetCharger
from controlplane.errors import Refusal, TimedOut, Unavailable, raise_refusal
from controlplane.feeder.messages import GetFeeder
from controlplane.ids import SHARDS, ActorKind, ActorRef, ChargerId, shard_of
from controlplane.runtime.client import Response
from controlplane.runtime.feed import Ring
from controlplane.runtime.processes import HostProcess
from controlplane.runtime.telemetry import log
from controlplane.runtime.wire import Announcement, encode
from controlplane.site.messages import GetSite
from controlplane.store.reader import StoreReader
from controlplane.store.records import JournalEvent

__all__ = ["RoutedClient"]

_FOLLOW_TIMEOUT_S = 5.0
_FOLLOW_EVENTS_MAX = 2_000
_RETRY_S = 0.2
_READS = (GetCharger, GetSite, GetFeeder)


class RoutedClient:
    """Implements `client.ActorClient`."""

    def __init__(self, reader: StoreReader) -> None:
        self._reader = reader
        self._hosts: dict[str, HostProcess] = {}
        self._host_of: list[str] = [""] * SHARDS
        self._changed = asyncio.Event()
        self._ring = Ring()
        self._followers: dict[str, asyncio.Task[None]] = {}
        self._decoders: dict[type, msgspec.msgpack.Decoder[Any]] = {}

    def host_started(self, announcement: Announcement, host: HostProcess) -> None:
        """The host serves these shards from now on."""
        self._hosts[host.name] = host
        for shard in announcement.epochs:
            self._host_of[shard] = host.name
        self._changed.set()
        self._changed = asyncio.Event()
        follower = self._followers.pop(host.name, None)
        if follower is not None:
            follower.cancel()
        self._followers[host.name] = asyncio.get_running_loop().create_task(self._follow(host))

    def host_lost(self, name: str) -> None:
        """The host is gone; requests wait for the next one."""
        self._hosts.pop(name, None)

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
        loop = asyncio.get_running_loop()
        until_s = loop.time() + timeout_s
        encoded = encode(request)
        repeatable = bool(request_id) or isinstance(request, _READS)
        while True:
            host = await self._host(ref, until_s)
            try:
                answer = await host.ask(ref, encoded, request_id, max(0.05, until_s - loop.time()))
            except ConnectionError:
                if not repeatable or loop.time() >= until_s:
                    raise TimedOut(
                        "the host was lost on the way; what was asked may have happened",
                        reason="HOST_LOST",
                    ) from None
            except Unavailable as error:
                if error.reason != "HOST_NOT_SERVING" or loop.time() >= until_s:
                    raise
            else:
                return self._decode(answer, response)
            await asyncio.sleep(_RETRY_S)

    async def events(
        self, after: int, *, limit: int = 1_000, timeout_s: float = 10.0
    ) -> list[JournalEvent]:
        """See `client.ActorClient.events`."""
        for patient in (True, False):
            events = self._ring.after(after, limit)
            if events is None:
                events = await self._reader.journal(after, limit)
            if events or not patient:
                return events
            await self._ring.wait(timeout_s)
        return []

    async def last_cursor(self) -> int:
        """See `client.ActorClient.last_cursor`."""
        return await self._reader.last_cursor()

    async def close(self) -> None:
        followers = list(self._followers.values())
        for follower in followers:
            follower.cancel()
        await asyncio.gather(*followers, return_exceptions=True)

    async def _host(self, ref: ActorRef, until_s: float) -> HostProcess:
        loop = asyncio.get_running_loop()
        while True:
            changed = self._changed
            name = self._host_of[await self._shard(ref)]
            host = self._hosts.get(name)
            if host is not None:
                return host
            left_s = until_s - loop.time()
            if left_s <= 0:
                raise Unavailable(f"no host serves {ref} at the moment", reason="NO_HOST")
            with suppress(TimeoutError):
                async with asyncio.timeout(left_s):
                    await changed.wait()

    async def _shard(self, ref: ActorRef) -> int:
        if ref.kind is not ActorKind.CHARGER or len(self._hosts) < 2:
            return shard_of(ref.kind, ref.id)
        record = await self._reader.charger(ChargerId(ref.id))
        return shard_of(ref.kind, ref.id, site_id=record.site_id if record else None)

    def _decode(self, answer: bytes, response: type[Response]) -> Response:
        decoder = self._decoders.get(response)
        if decoder is None:
            decoder = self._decoders[response] = msgspec.msgpack.Decoder(response | Refusal)
        decoded = decoder.decode(answer)
        if isinstance(decoded, Refusal):
            raise_refusal(decoded)
        return decoded  # type: ignore[no-any-return]

    async def _follow(self, host: HostProcess) -> None:
        """Fill the ring from one host for as long as it lives."""
        cursor = -1
        while True:
            try:
                if cursor < 0:
                    # From where the ring ends: what was committed while no host was followed
                    # would otherwise be told only with the next event.
                    newest = self._ring.newest
                    cursor = await self._reader.last_cursor() if newest is None else newest
                events = await host.follow(cursor, _FOLLOW_EVENTS_MAX, _FOLLOW_TIMEOUT_S)
            except ConnectionError:
                return
            except Unavailable as error:
                log.warning("journal_not_followed", host=host.name, error=str(error))
                await asyncio.sleep(_RETRY_S)
                continue
            if events:
                cursor = events[-1].cursor
                self._ring.append(events)
