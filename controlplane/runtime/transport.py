"""Parcels from one process to another, in order, in batches, within bounds.

A `Link` is one direction between two processes. Two transports have the same face: inside one
process a parcel is handed over in the next turn of the event loop; between Ray actors parcels are
packed into one msgpack array, flushed every few milliseconds or at 32 KB, at most two calls in
flight. Ray runs the calls of an async actor in any order, so each carries a sequence number and
`Receiver` restores the order; a call that may or may not have arrived is repeated under the same
number and dropped by the receiver where it had.

Invariant: the receiver sees a prefix of what was sent, in order, each parcel once. A link that
breaks is not repaired: what was unanswered is delivered again over the next one."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Protocol

import msgspec

from controlplane.runtime.wire import Parcel

__all__ = ["BatchLink", "Link", "LocalLink", "Receiver"]

Handler = Callable[[list[Parcel]], None]
Deliver = Callable[[str, int, bytes], Awaitable[None]]

FLUSH_INTERVAL_MIN_S = 0.005
FLUSH_INTERVAL_MAX_S = 0.020
FLUSH_INTERVAL_PER_PARCEL_S = 0.0005
"""A call costs about half a millisecond of processor time on both sides together, whatever is in
it. The more parcels the last one held, the longer the next one is filled, so that the call costs
each parcel little. A parcel after a pause, or an urgent one, leaves at once."""
BATCH_MAX_BYTES = 32_768
IN_FLIGHT_MAX = 2
BUFFER_MAX_BYTES = 4_194_304
RETRIES_MAX = 40
_ARRAY_HEADER = 5


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
    """

    def __init__(self, handler: Handler, *, behind: Callable[[], bool]) -> None:
        self._handler = handler
        self._behind = behind
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

    def _flush(self) -> None:
        parcels, self._waiting = self._waiting, []
        if parcels:
            self._handler(parcels)


class BatchLink:
    """To a peer in another process, by calls that carry `(link, sequence, batch)`.

    Args:
        name: of this link, unique for all time; a new link starts a new sequence.
        deliver: makes one call; raises `ConnectionError` where the peer is gone for good and
            `TimeoutError` where it may or may not have got the call.
        on_broken: called once when the peer is gone.
    """

    def __init__(self, name: str, deliver: Deliver, on_broken: Callable[[], None]) -> None:
        self._name = name
        self._deliver = deliver
        self._on_broken = on_broken
        self._loop = asyncio.get_running_loop()
        self._encoder = msgspec.msgpack.Encoder()
        self._buffer = bytearray(_ARRAY_HEADER)
        self._count = 0
        self._sequence = 0
        self._in_flight: set[asyncio.Task[None]] = set()
        self._timer: asyncio.Handle | None = None
        self._urgent = False
        self._flushed_s = 0.0
        self._interval_s = FLUSH_INTERVAL_MIN_S
        self._closed = False

    @property
    def full(self) -> bool:
        return len(self._buffer) >= BUFFER_MAX_BYTES

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
            self._timer = self._loop.call_later(max(0.0, wait_s), self._due)

    def close(self) -> None:
        self._closed = True
        self._buffer = bytearray(_ARRAY_HEADER)
        self._count = 0
        if self._timer is not None:
            self._timer.cancel()
        for call in self._in_flight:
            call.cancel()

    def _due(self) -> None:
        self._timer = None
        self._flush()

    def _flush(self) -> None:
        if self._count == 0 or len(self._in_flight) >= IN_FLIGHT_MAX:
            return
        batch = self._buffer
        batch[0:_ARRAY_HEADER] = b"\xdd" + self._count.to_bytes(4, "big")
        self._interval_s = min(
            max(FLUSH_INTERVAL_MIN_S, self._count * FLUSH_INTERVAL_PER_PARCEL_S),
            FLUSH_INTERVAL_MAX_S,
        )
        self._urgent = False
        self._buffer = bytearray(_ARRAY_HEADER)
        self._count = 0
        self._flushed_s = self._loop.time()
        call = self._loop.create_task(self._call(self._sequence, bytes(batch)))
        self._sequence += 1
        self._in_flight.add(call)
        call.add_done_callback(self._landed)

    def _landed(self, call: asyncio.Task[None]) -> None:
        self._in_flight.discard(call)
        if self._closed or call.cancelled():
            return
        if call.exception() is not None:
            self.close()
            self._on_broken()
        elif self._timer is None and self._count:
            # Its time came while both calls were on their way.
            self._flush()

    async def _call(self, sequence: int, batch: bytes) -> None:
        """Raises ConnectionError where the peer is gone or stays out of reach."""
        for attempt in range(RETRIES_MAX):
            try:
                return await self._deliver(self._name, sequence, batch)
            except TimeoutError:
                await asyncio.sleep(0.05 * min(attempt + 1, 10))
        raise ConnectionError(f"link {self._name}: no answer to {RETRIES_MAX} calls")


class Receiver:
    """The other end of the `BatchLink`s of one peer: order restored, repetitions dropped."""

    _DECODER = msgspec.msgpack.Decoder(list[Parcel])

    def __init__(self, handler: Handler) -> None:
        self._handler = handler
        self._link = ""
        self._next = 0
        self._early: dict[int, bytes] = {}

    def receive(self, link: str, sequence: int, batch: bytes) -> None:
        """Take one call.

        Raises:
            ConnectionError: a call in the middle of a link whose beginning this process never saw;
                the sender has to start anew.
        """
        if link != self._link:
            # Only a sender that was introduced begins a link; its two first calls may swap.
            if sequence >= IN_FLIGHT_MAX:
                raise ConnectionError(f"link {link} began elsewhere")
            self._link, self._next, self._early = link, 0, {}
        if sequence < self._next:
            return
        self._early[sequence] = batch
        while (ready := self._early.pop(self._next, None)) is not None:
            self._next += 1
            self._handler(self._DECODER.decode(ready))
