"""The stations of `bench storm`: thousands of them in one process, that lose their connection at
once and come back within seconds, each with a queue of what it measured meanwhile.

Driven like `station_load`, by orders on standard input. A station behaves as the specification
wants it: one CALL outstanding, a message leaves its queue only when its CALLRESULT is there, and
after a failed connection or an answer that did not come it dials again, a little later."""

from __future__ import annotations

import asyncio
import random
import sys
import time
from collections.abc import Callable, Iterable
from typing import Any

import msgspec
import uvloop

from controlplane.bench.station import ANSWER_TIMEOUT_S, BenchStation, Timestamps
from controlplane.bench.station_load import METER_VALUES
from controlplane.errors import LoadstarError
from controlplane.runtime.descriptors import SPARE_DESCRIPTORS, allow_descriptors

__all__ = ["SAMPLE_INTERVAL_MS", "StormOrder", "StormReport", "main"]

SAMPLE_INTERVAL_MS = 30_000
_CONNECTING_AT_ONCE = 50
_POWER_W = 7_360
_CURRENT_A = 32 / 3
_REDIAL_MIN_S, _REDIAL_MAX_S = 1.0, 3.0


class StormOrder(msgspec.Struct, frozen=True):
    """One phase. `what`: `connect` opens stations `first` to `first + count - 1` and begins a
    transaction on each; `drop` cuts all their connections; `storm` lets each dial at an instant of
    the `within_s` seconds after `begin_s` of the machine's clock and deliver `queued` samples, one
    every 30 s from `since_ms` on; `quit` closes everything."""

    what: str
    port: int = 0
    prefix: str = ""
    first: int = 0
    count: int = 0
    queued: int = 0
    since_ms: int = 0
    begin_s: float = 0.0
    within_s: float = 0.0
    timeout_s: float = 0.0


class StormReport(msgspec.Struct, frozen=True):
    """What a phase came to.

    `boots_ms` run from the instant at which a station dialled first to its BootNotification's
    answer, failed attempts included. `backlog` is what all stations still had to deliver at the
    beginning and after each second. `too_early` counts commands to stations whose boot was not
    answered yet.
    """

    stations: int = 0
    connected: int = 0
    acknowledged: int = 0
    refused: int = 0
    redials: int = 0
    too_early: int = 0
    boots_ms: list[float] = []
    backlog: list[int] = []
    drained_s: float = 0.0
    reason: str = ""


class _Station(BenchStation):
    """A station whose queue survives its connection."""

    def __init__(self, identity: str, timestamps: Timestamps) -> None:
        super().__init__(identity, timestamps)
        self.queue: list[int] = []
        """Instants that were measured and not yet acknowledged, the last one first."""
        self.acknowledged = 0
        self.refused = 0
        self.redials = 0
        self.too_early = 0
        self.boot_ms: float | None = None
        self._first_ms = 0
        self._booted = False
        self._delivered: asyncio.Future[None] | None = None

    def drop(self) -> None:
        """The line is cut: no goodbye."""
        if self._socket is not None:
            self._socket.on_lost = lambda _reason: None
            self._socket.abort("the line was cut")
        self.lost, self._waiter, self._delivered = "", None, None

    async def come_back(self, port: int, dials_s: float, queued: int, since_ms: int) -> None:
        """Dial at `dials_s` of the monotonic clock, boot, deliver the queue; again where that
        fails."""
        self._first_ms, self.too_early = since_ms, 0
        self.queue = [since_ms + n * SAMPLE_INTERVAL_MS for n in reversed(range(queued))]
        await asyncio.sleep(max(0.0, dials_s - time.monotonic()))
        while True:
            try:
                self._booted = False
                await self._open(port)
                await self._boot()
                self._booted = True
                if self.boot_ms is None:
                    self.boot_ms = (time.monotonic() - dials_s) * 1_000
                await self._status(1, "Charging")
                await self._deliver()
            except OSError:
                # TimeoutError is one, and ConnectionError.
                self.drop()
                self.redials += 1
                await asyncio.sleep(random.uniform(_REDIAL_MIN_S, _REDIAL_MAX_S))
            else:
                return

    async def _deliver(self) -> None:
        if not self.queue:
            return
        self._delivered = asyncio.get_running_loop().create_future()
        self._send_next()
        left = len(self.queue)
        while not self._delivered.done():
            await asyncio.wait((self._delivered,), timeout=ANSWER_TIMEOUT_S)
            if len(self.queue) == left:
                raise TimeoutError
            left = len(self.queue)
        self._delivered.result()

    def _send_next(self) -> None:
        at_ms = self.queue[-1]
        energy_wh = _POWER_W * (at_ms - self._first_ms) / 3_600_000
        currents = (_CURRENT_A, _CURRENT_A, _CURRENT_A)
        self._message_id += 1
        self._send(
            METER_VALUES
            % (
                self._message_id,
                self.transaction_id,
                self._timestamps.text(at_ms),
                energy_wh,
                _POWER_W,
                *currents,
            )
        )

    def _answered_unasked(self, text: bytes) -> None:
        if self._delivered is None or self._delivered.done():
            return
        if not text.startswith(b'[3,"%d"' % self._message_id):
            # It stays in the queue, and stands in the way of all that follows: as in the field.
            self.refused += 1
            self._delivered.set_exception(ConnectionError(text[:200].decode()))
            return
        self.queue.pop()
        self.acknowledged += 1
        if self.queue:
            self._send_next()
        else:
            self._delivered.set_result(None)

    def _called(self, message_id: str, action: str, payload: dict[str, Any]) -> None:
        self.too_early += not self._booted
        super()._called(message_id, action, payload)

    def _ended(self, reason: str) -> None:
        super()._ended(reason)
        if self._delivered is not None and not self._delivered.done():
            self._delivered.set_exception(ConnectionError(reason))


class _Stations:
    """All stations of this process, and the phases they go through."""

    def __init__(self) -> None:
        self._stations: list[_Station] = []
        self._timestamps = Timestamps()

    async def carry_out(self, order: StormOrder) -> StormReport:
        """Carry out one order.

        Raises:
            ValueError: the order is unknown.
        """
        match order.what:
            case "connect":
                allow_descriptors(order.count + SPARE_DESCRIPTORS)
                numbers = range(order.first, order.first + order.count)
                self._stations = [
                    _Station(f"{order.prefix}{number}", self._timestamps) for number in numbers
                ]
                await _together(self._stations, lambda station: _begin(station, order.port))
            case "drop" | "quit":
                for station in self._stations:
                    station.drop()
            case "storm":
                return await self._storm(order)
            case _:
                raise ValueError(f"no such order: {order.what}")
        return StormReport(stations=len(self._stations))

    async def _storm(self, order: StormOrder) -> StormReport:
        begin_s = time.monotonic() + order.begin_s - time.time()
        chance = random.Random(order.first)
        coming = [
            asyncio.ensure_future(
                station.come_back(
                    order.port,
                    begin_s + chance.uniform(0.0, order.within_s),
                    order.queued,
                    order.since_ms,
                )
            )
            for station in self._stations
        ]
        together = asyncio.gather(*coming)
        watching = asyncio.ensure_future(self._watch(begin_s))
        try:
            async with asyncio.timeout(order.timeout_s):
                await together
            reason = ""
        except TimeoutError:
            reason = f"not all was delivered in {order.timeout_s:g} s"
        finally:
            drained_s = time.monotonic() - begin_s
            watching.cancel()
        stations = self._stations
        return StormReport(
            stations=len(stations),
            connected=sum(station.boot_ms is not None for station in stations),
            acknowledged=sum(station.acknowledged for station in stations),
            refused=sum(station.refused for station in stations),
            redials=sum(station.redials for station in stations),
            too_early=sum(station.too_early for station in stations),
            boots_ms=[station.boot_ms for station in stations if station.boot_ms is not None],
            backlog=[*self._backlog, 0] if not reason else self._backlog,
            drained_s=drained_s,
            reason=reason,
        )

    async def _watch(self, begin_s: float) -> None:
        self._backlog: list[int] = []
        while True:
            due_s = begin_s + len(self._backlog)
            await asyncio.sleep(max(0.0, due_s - time.monotonic()))
            self._backlog.append(sum(len(station.queue) for station in self._stations))


async def _begin(station: _Station, port: int) -> None:
    await station.connect(port)
    await station.start()


async def _together(stations: Iterable[_Station], phase: Callable[[_Station], Any]) -> None:
    """Send every station through a phase, a bounded number at once."""
    remaining = iter(stations)

    async def work() -> None:
        for station in remaining:
            await phase(station)

    async with asyncio.TaskGroup() as group:
        for _ in range(_CONNECTING_AT_ONCE):
            group.create_task(work())


async def main() -> None:
    """Carry out orders from standard input until `quit` or its end."""
    stations, loop = _Stations(), asyncio.get_running_loop()
    while line := await loop.run_in_executor(None, sys.stdin.buffer.readline):
        order = msgspec.json.decode(line, type=StormOrder)
        try:
            report = await stations.carry_out(order)
        except* (OSError, LoadstarError) as group:
            report = StormReport(reason=f"{order.what}: {group.exceptions[0]!r}")
        sys.stdout.buffer.write(msgspec.json.encode(report) + b"\n")
        sys.stdout.buffer.flush()
        if order.what == "quit":
            break


if __name__ == "__main__":
    uvloop.run(main())
