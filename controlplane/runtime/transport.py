"""Parcels from one process to another, in order, in batches, within bounds.

A `Link` is one direction between two processes. Three transports have the same face: inside one
process a parcel is handed over in the next turn of the event loop; between processes batches are
msgpack arrays, each behind its length, on a Unix socket within a node and on TCP with mutual TLS
from node to node. Ray starts and places the processes; a call of its costs about half a millisecond
of processor time, which is too much for what goes on all the time.

An address says all ways to one process: `NODE unix:PATH tcp:HOST:PORT`, or `NODE local:ID` where
everything is one process. The Unix socket is taken by those of the same node.

Invariant: the receiver sees a prefix of what was sent, in order, each parcel once. A link that
breaks is not repaired: what was unanswered is delivered again over the next one."""

from __future__ import annotations

import asyncio
import socket
import ssl
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Protocol, cast

import msgspec

from controlplane.runtime.cluster_token import LINK_NAME
from controlplane.runtime.wire import Parcel

__all__ = ["Handler", "Inlet", "Link", "LocalLink", "StreamLink", "connect"]

Handler = Callable[[list[Parcel]], None]

FLUSH_INTERVAL_MIN_S = 0.001
FLUSH_INTERVAL_MAX_S = 0.025
FLUSH_INTERVAL_PER_PARCEL_S = 0.000_25
"""Waking the other process costs as much as several parcels do. The more parcels the last batch
held, the longer the next one is filled, so that the waking costs each little. A parcel after a
pause, or an urgent one, leaves at once."""
BATCH_MAX_BYTES = 262_144
BUFFER_MAX_BYTES = 4_194_304
_SOCKET_BUFFER_BYTES = 1_048_576
_PREFIX_BYTES = 4
_HEAD_BYTES = 9
"""The length of the batch, and the head of its msgpack array."""
_FULL_PAUSE_S = 0.01
_CONNECT_TIMEOUT_S = 3.0
_SILENCE_MAX_MS = 4_000
"""A link between nodes on which nothing is acknowledged for so long is broken, and opened anew as
soon as that is possible. TCP by itself would try again ever more rarely: measured after a cut of
16 s, it took another 20 s until anything went through."""
_KEEPALIVE_S = 2
"""So one that is idle notices, too."""
_SAID_NOTHING: Callable[[], None] = lambda: None  # noqa: E731


class Link(Protocol):
    """One direction to a peer."""

    @property
    def full(self) -> bool:
        """Whether the peer is so far behind that the sender should stop taking in work."""

    def send(self, parcel: Parcel, *, urgent: bool = False) -> None:
        """Queue a parcel; an urgent one takes all before it along at once. On a broken or closed
        link it is dropped."""

    def close(self) -> None:
        """Drop what was not sent; send nothing more."""


class LocalLink:
    """To a peer on the same event loop. Nothing is copied or encoded.

    Args:
        behind: whether the peer has more to do than it should.
        on_broken: called once when the peer is gone; not after `close`.
    """

    def __init__(
        self,
        handler: Handler,
        *,
        behind: Callable[[], bool],
        on_broken: Callable[[], None] = _SAID_NOTHING,
    ) -> None:
        self._handler = handler
        self._behind = behind
        self._on_broken = on_broken
        self._loop = asyncio.get_running_loop()
        self._waiting: list[Parcel] = []
        self._closed = False

    @property
    def full(self) -> bool:
        return self._behind()

    def send(self, parcel: Parcel, *, urgent: bool = False) -> None:
        if self._closed:
            return
        if not self._waiting:
            self._loop.call_soon(self._flush)
        self._waiting.append(parcel)

    def close(self) -> None:
        self._closed = True
        self._waiting.clear()

    def break_off(self) -> None:
        """The peer is gone."""
        if not self._closed:
            self.close()
            self._loop.call_soon(self._on_broken)

    def _flush(self) -> None:
        parcels, self._waiting = self._waiting, []
        if parcels:
            self._handler(parcels)


class StreamLink(asyncio.Protocol):
    """To a peer in another process that listens with an `Inlet`.

    Args:
        on_broken: called once when the peer is gone; not after `close`.
    """

    def __init__(self, on_broken: Callable[[], None]) -> None:
        self.full = False
        self._on_broken = on_broken
        self._loop = asyncio.get_running_loop()
        self._encoder = msgspec.msgpack.Encoder()
        self._buffer = bytearray(_HEAD_BYTES)
        self._count = 0
        self._timer: asyncio.Handle | None = None
        self._urgent = False
        self._flushed_s = 0.0
        self._interval_s = FLUSH_INTERVAL_MIN_S
        self._transport: asyncio.WriteTransport | None = None
        self._closed = False

    @classmethod
    async def connect(cls, path: str, on_broken: Callable[[], None]) -> StreamLink:
        """A link to the inlet that listens at `path`, on this machine.

        Raises:
            ConnectionError: nobody listens there.
        """
        loop = asyncio.get_running_loop()
        try:
            _, link = await loop.create_unix_connection(lambda: cls(on_broken), path)
        except FileNotFoundError as error:
            raise ConnectionError(f"nobody listens at {path}") from error
        return link

    @classmethod
    async def connect_tcp(
        cls, host: str, port: int, on_broken: Callable[[], None], tls: ssl.SSLContext
    ) -> StreamLink:
        """A link to the inlet that listens there, on another machine.

        Raises:
            ConnectionError: nobody listens there, or it is not of this cluster.
        """
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(_CONNECT_TIMEOUT_S):
                _, link = await loop.create_connection(
                    lambda: cls(on_broken), host, port, ssl=tls, server_hostname=LINK_NAME
                )
        except (OSError, TimeoutError) as error:
            raise ConnectionError(f"{host}:{port}: {error or 'no answer'}") from error
        return link

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are no subclass of asyncio's, though they keep the same promise.
        self._transport = cast(asyncio.WriteTransport, transport)
        # What is written goes to the kernel or waits; the transport says when it is too much.
        self._transport.set_write_buffer_limits(BUFFER_MAX_BYTES)
        _set_up(transport, socket.SO_SNDBUF)

    def pause_writing(self) -> None:
        self.full = True

    def resume_writing(self) -> None:
        self.full = False

    def connection_lost(self, exc: Exception | None) -> None:
        if not self._closed:
            self.close()
            self._on_broken()

    def send(self, parcel: Parcel, *, urgent: bool = False) -> None:
        if self._closed:
            return
        self._encoder.encode_into(parcel, self._buffer, -1)
        self._count += 1
        if len(self._buffer) >= BATCH_MAX_BYTES:
            self._flush()
        elif urgent and not self._urgent:
            self._urgent = True
            if self._timer is not None:
                self._timer.cancel()
            self._timer = self._loop.call_soon(self._due)
        elif self._timer is None:
            wait_s = self._flushed_s + self._interval_s - self._loop.time()
            self._timer = (
                self._loop.call_later(wait_s, self._due)
                if wait_s > 0
                else self._loop.call_soon(self._due)
            )

    def close(self) -> None:
        self._closed = True
        self._buffer = bytearray(_HEAD_BYTES)
        self._count = 0
        if self._timer is not None:
            self._timer.cancel()
        if self._transport is not None:
            self._transport.abort()

    def _due(self) -> None:
        self._timer = None
        self._urgent = False
        self._flush()

    def _flush(self) -> None:
        if self._count == 0 or self._transport is None:
            return
        batch = self._buffer
        batch[:_PREFIX_BYTES] = (len(batch) - _PREFIX_BYTES).to_bytes(_PREFIX_BYTES, "big")
        batch[_PREFIX_BYTES:_HEAD_BYTES] = b"\xdd" + self._count.to_bytes(4, "big")
        self._interval_s = min(
            max(FLUSH_INTERVAL_MIN_S, self._count * FLUSH_INTERVAL_PER_PARCEL_S),
            FLUSH_INTERVAL_MAX_S,
        )
        self._buffer = bytearray(_HEAD_BYTES)
        self._count = 0
        self._flushed_s = self._loop.time()
        self._transport.write(batch)


async def connect(
    address: str, on_broken: Callable[[], None], *, node: str, tls: ssl.SSLContext | None = None
) -> Link:
    """A link to the process at `address` from one of the node `node`.

    Args:
        tls: how this process proves itself to those of other nodes.

    Raises:
        ConnectionError: it is gone, or cannot be reached.
    """
    there, _, ways = address.partition(" ")
    for way in ways.split():
        scheme, _, rest = way.partition(":")
        if scheme == "local" and there == node:
            return _connect_local(rest, on_broken)
        if scheme == "unix" and there == node:
            return await StreamLink.connect(rest, on_broken)
        if scheme == "tcp" and there != node and tls is not None:
            host, _, port = rest.rpartition(":")
            return await StreamLink.connect_tcp(host, int(port), on_broken, tls)
    raise ConnectionError(f"no way from node {node} to {address}")


def _connect_local(id: str, on_broken: Callable[[], None]) -> LocalLink:
    inlet = _LOCAL_INLETS.get(id)
    if inlet is None:
        raise ConnectionError(f"nobody listens at local:{id}")
    return inlet.linked(on_broken)


class Inlet:
    """Where the links of others end: on this event loop, on a Unix socket that only this user can
    reach, on a TCP port for those who have the cluster's token, or on several of them.

    Args:
        handler: takes each batch.
        failed: called with what `handler` raised; the link it came over is over.
        behind: whether this process has more to do than it should; its links are not read then.
    """

    def __init__(
        self,
        handler: Handler,
        *,
        failed: Callable[[Exception], None],
        behind: Callable[[], bool] = lambda: False,
    ) -> None:
        self._handler = handler
        self._failed = failed
        self._behind = behind
        self._servers: list[asyncio.AbstractServer] = []
        self._streams: set[_Stream] = set()
        self._local_id = ""
        self._local_links: list[LocalLink] = []

    def listen_locally(self) -> str:
        """Take links from this event loop; returns this way for an address."""
        self._local_id = uuid.uuid4().hex
        _LOCAL_INLETS[self._local_id] = self
        return f"local:{self._local_id}"

    def linked(self, on_broken: Callable[[], None]) -> LocalLink:
        """A link from this event loop."""
        link = LocalLink(self._handler, behind=self._behind, on_broken=on_broken)
        self._local_links.append(link)
        return link

    async def listen(self, path: Path) -> str:
        """Take links from now on; returns the path for `StreamLink.connect`.

        Raises:
            OSError: there is something at `path`, or it is too long.
        """
        loop = asyncio.get_running_loop()
        self._servers.append(await loop.create_unix_server(self._stream, str(path)))
        return str(path)

    async def listen_tcp(self, host: str, tls: ssl.SSLContext) -> str:
        """Take links from other nodes; returns this way for an address.

        Raises:
            OSError: `host` is no address of this machine.
        """
        loop = asyncio.get_running_loop()
        server = await loop.create_server(self._stream, host, 0, ssl=tls)
        self._servers.append(server)
        return f"tcp:{host}:{server.sockets[0].getsockname()[1]}"

    def close(self) -> None:
        """Take no more links, and end those that were taken."""
        for server in self._servers:
            server.close()
        for stream in list(self._streams):
            stream.close()
        if _LOCAL_INLETS.pop(self._local_id, None) is not None:
            for link in self._local_links:
                link.break_off()
            self._local_links.clear()

    def _stream(self) -> _Stream:
        return _Stream(self._handler, self._failed, self._behind, self._streams)


_LOCAL_INLETS: dict[str, Inlet] = {}


class _Stream(asyncio.Protocol):
    """One link that came in."""

    _DECODER = msgspec.msgpack.Decoder(list[Parcel])

    def __init__(
        self,
        handler: Handler,
        failed: Callable[[Exception], None],
        behind: Callable[[], bool],
        streams: set[_Stream],
    ) -> None:
        self._handler = handler
        self._streams = streams
        self._failed = failed
        self._behind = behind
        self._loop = asyncio.get_running_loop()
        self._received = bytearray()
        self._transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._streams.add(self)
        _set_up(transport, socket.SO_RCVBUF)

    def connection_lost(self, exc: Exception | None) -> None:
        self._streams.discard(self)

    def close(self) -> None:
        """Let the other end know that nobody reads any more."""
        self._transport.abort()

    def data_received(self, data: bytes) -> None:
        received = self._received
        received += data
        start, available = 0, len(received)
        try:
            while available - start >= _PREFIX_BYTES:
                begin = start + _PREFIX_BYTES
                end = begin + int.from_bytes(received[start:begin], "big")
                if end > available:
                    break
                start = end
                with memoryview(received) as whole, whole[begin:end] as batch:
                    parcels = self._DECODER.decode(batch)
                self._handler(parcels)
        except Exception as error:
            self._transport.abort()
            self._failed(error)
            return
        if start:
            del received[:start]
        if self._behind():
            self._transport.pause_reading()
            self._loop.call_later(_FULL_PAUSE_S, self._go_on)

    def _go_on(self) -> None:
        if self._transport.is_closing():
            return
        if self._behind():
            self._loop.call_later(_FULL_PAUSE_S, self._go_on)
        else:
            self._transport.resume_reading()


def _set_up(transport: asyncio.BaseTransport, direction: int) -> None:
    """Room for whole batches: what does not fit at once wakes both sides once more. And an end to
    patience with a network that is silent."""
    sock = transport.get_extra_info("socket")
    if sock is None:
        return
    sock.setsockopt(socket.SOL_SOCKET, direction, _SOCKET_BUFFER_BYTES)
    if sock.family in {socket.AF_INET, socket.AF_INET6}:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, _SILENCE_MAX_MS)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, _KEEPALIVE_S)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, _KEEPALIVE_S)
