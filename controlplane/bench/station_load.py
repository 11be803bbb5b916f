"""The load generator: hundreds of OCPP 1.6J stations in one process of their own.

It is driven by orders, one JSON object a line on standard input, each answered by one line on
standard output, so that the bench that started it knows exactly when a phase begins and ends. Each
station keeps OCPP's rule of one outstanding CALL, answers what the server asks of it, follows the
limit it was given, and counts what was acknowledged: an answer that is not a CALLRESULT is a
failure and is never counted."""

from __future__ import annotations

import asyncio
import sys
import time
from collections import deque
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

import msgspec
import uvloop

from controlplane.bench.station import ANSWER_TIMEOUT_S, VOLTAGE_V, BenchStation, Timestamps

__all__ = ["METER_VALUES", "LoadReport", "Order", "main"]

_CONNECTING_AT_ONCE = 50
_TICK_S = 0.002
_ANSWER_HEAD_BYTES = 24
"""Where the message id of a CALLRESULT is looked for: decoding each answer would cost more than
sending the question."""
_VEHICLE_MAX_A = 16.0
METER_VALUES = (
    '[2,"%d","MeterValues",{"connectorId":1,"transactionId":%d,"meterValue":[{"timestamp":"%s",'
    '"sampledValue":[{"value":"%d","context":"Sample.Periodic","measurand":'
    '"Energy.Active.Import.Register","location":"Outlet","unit":"Wh"},'
    '{"value":"%d","context":"Sample.Periodic","measurand":"Power.Active.Import","unit":"W"},'
    '{"value":"%.1f","context":"Sample.Periodic","measurand":"Current.Import","phase":"L1",'
    '"unit":"A"},{"value":"%.1f","context":"Sample.Periodic","measurand":"Current.Import",'
    '"phase":"L2","unit":"A"},{"value":"%.1f","context":"Sample.Periodic",'
    '"measurand":"Current.Import","phase":"L3","unit":"A"}]}]}]'
)


class Order(msgspec.Struct, frozen=True):
    """One phase. `what`: `connect` opens stations `first` to `first + count - 1`, boots them and
    reports them available; `start` begins a transaction on each; `load` sends MeterValues for
    `seconds`, at `rate` messages a second over all stations or, where `rate` is 0, each station as
    fast as it is answered; `once` sends one of each station and waits for all answers; `quit`
    closes everything. With `per_site` stations are named by site and place: `prefix00012-34`."""

    what: str
    port: int = 0
    prefix: str = ""
    count: int = 0
    seconds: float = 0.0
    rate: float = 0.0
    per_site: int = 0

    def name(self, number: int) -> str:
        """Of the station of this number."""
        if not self.per_site:
            return f"{self.prefix}{number}"
        site, place = divmod(number, self.per_site)
        return f"{self.prefix}{site:05d}-{place:02d}"


class LoadReport(msgspec.Struct, frozen=True):
    """What a phase came to. `acknowledged` counts CALLRESULTs to MeterValues; latencies run from
    the moment at which a message was due, so a stalled server cannot hide behind its own stall."""

    stations: int = 0
    acknowledged: int = 0
    refused: int = 0
    unanswered: int = 0
    lost_connections: int = 0
    elapsed_s: float = 0.0
    min_ms: float = 0.0
    p50_ms: float = 0.0
    p99_ms: float = 0.0
    max_ms: float = 0.0
    reason: str = ""


class _Station(BenchStation):
    """A station with a vehicle that takes what it may, up to 16 A."""

    def __init__(self, identity: str, timestamps: Timestamps) -> None:
        super().__init__(identity, timestamps)
        self.latencies_s: list[float] = []
        self.refused = 0
        self.outstanding = False
        self.next_due: Callable[[], float | None] = lambda: None
        self._due = 0.0
        self._sample_ms = 0
        self._limit_a = _VEHICLE_MAX_A
        self._register_wh = 0.0

    async def start(self, meter_wh: int = 0) -> None:
        self._sample_ms = time.time_ns() // 1_000_000
        await super().start(meter_wh)

    def send_sample(self, due: float) -> None:
        """Send MeterValues that were due at `due` of the monotonic clock."""
        now_ms = max(time.time_ns() // 1_000_000, self._sample_ms + 1)
        current_a = min(self._limit_a, _VEHICLE_MAX_A)
        power_w = current_a * 3 * VOLTAGE_V
        self._register_wh += power_w * (now_ms - self._sample_ms) / 3_600_000
        self._sample_ms, self._due, self.outstanding = now_ms, due, True
        self._message_id += 1
        frame = METER_VALUES % (
            self._message_id,
            self.transaction_id,
            self._timestamps.text(now_ms),
            self._register_wh,
            power_w,
            current_a,
            current_a,
            current_a,
        )
        self._send(frame)

    def _take_limit(self, purpose: str, limit: float, unit: str) -> None:
        self._limit_a = limit / (3 * VOLTAGE_V) if unit == "W" else limit

    def _answered_unasked(self, text: bytes) -> None:
        if not self.outstanding:
            return
        ours = b'"%d"' % self._message_id in text[:_ANSWER_HEAD_BYTES]
        self.outstanding = False
        if ours and text[1:2] == b"3":
            self.latencies_s.append(time.perf_counter() - self._due)
        else:
            self.refused += 1
        due = self.next_due()
        if due is not None:
            self.send_sample(due)


class _Load:
    """All stations of one run, and the phases they go through."""

    def __init__(self) -> None:
        self._stations: list[_Station] = []
        self._timestamps = Timestamps()

    async def carry_out(self, order: Order) -> LoadReport:
        """Carry out one order.

        Raises:
            ValueError: the order is unknown.
        """
        match order.what:
            case "connect":
                stations = [
                    _Station(order.name(number), self._timestamps) for number in range(order.count)
                ]
                await self._together(stations, lambda station: station.connect(order.port))
                self._stations += stations
            case "start":
                await self._together(self._stations, lambda station: station.start())
            case "load":
                return await self._load(partial(self._sent, order.seconds, order.rate))
            case "once":
                return await self._load(self._each_once)
            case "quit":
                for station in self._stations:
                    station.close()
                self._stations = []
            case _:
                raise ValueError(f"no such order: {order.what}")
        return LoadReport(stations=len(self._stations))

    async def _together(self, stations: list[_Station], phase: Callable[[_Station], Any]) -> None:
        """Send every station through a phase, a bounded number at once."""
        remaining = iter(stations)

        async def work() -> None:
            for station in remaining:
                await phase(station)

        async with asyncio.TaskGroup() as group:
            for _ in range(_CONNECTING_AT_ONCE):
                group.create_task(work())

    async def _load(self, send: Callable[[float], Awaitable[None]]) -> LoadReport:
        for station in self._stations:
            station.latencies_s.clear()
            station.refused = 0
        begun = time.perf_counter()
        await send(begun)
        unanswered = await self._drained()
        latencies_s = sorted(x for station in self._stations for x in station.latencies_s)
        lost = [station.lost for station in self._stations if station.lost]
        return LoadReport(
            stations=len(self._stations),
            acknowledged=len(latencies_s),
            refused=sum(station.refused for station in self._stations),
            unanswered=unanswered,
            lost_connections=len(lost),
            elapsed_s=time.perf_counter() - begun,
            min_ms=_quantile_ms(latencies_s, 0.0),
            p50_ms=_quantile_ms(latencies_s, 0.5),
            p99_ms=_quantile_ms(latencies_s, 0.99),
            max_ms=_quantile_ms(latencies_s, 1.0),
            reason=lost[0] if lost else "",
        )

    async def _sent(self, seconds: float, rate: float, begun: float) -> None:
        if rate > 0:
            await self._paced(begun, seconds, rate)
        else:
            await self._pressed(begun + seconds)

    async def _each_once(self, begun: float) -> None:
        for station in self._stations:
            station.next_due = lambda: None
            station.send_sample(begun)

    async def _pressed(self, end: float) -> None:
        """Each station sends its next sample as soon as the last one is answered."""

        def next_due() -> float | None:
            now = time.perf_counter()
            return now if now < end else None

        for station in self._stations:
            station.next_due = next_due
            station.send_sample(time.perf_counter())
        await asyncio.sleep(max(0.0, end - time.perf_counter()))

    async def _paced(self, begun: float, seconds: float, rate: float) -> None:
        """Samples fall due evenly over time and stations; one whose station still waits is sent as
        soon as it may."""
        overdue: dict[_Station, deque[float]] = {station: deque() for station in self._stations}
        for station, waiting in overdue.items():
            station.next_due = partial(_first_of, waiting)
        sent, total = 0, round(rate * seconds)
        while sent < total:
            due_by_now = min(total, int((time.perf_counter() - begun) * rate))
            for number in range(sent, due_by_now):
                station = self._stations[number % len(self._stations)]
                due = begun + number / rate
                if station.outstanding:
                    overdue[station].append(due)
                else:
                    station.send_sample(due)
            sent = max(sent, due_by_now)
            await asyncio.sleep(_TICK_S)

    async def _drained(self) -> int:
        """Wait for what is outstanding; how many stations were left without an answer."""
        give_up = time.perf_counter() + ANSWER_TIMEOUT_S
        while time.perf_counter() < give_up:
            if not any(station.outstanding and not station.lost for station in self._stations):
                break
            await asyncio.sleep(_TICK_S)
        return sum(station.outstanding for station in self._stations)


def _first_of(waiting: deque[float]) -> float | None:
    return waiting.popleft() if waiting else None


def _quantile_ms(latencies_s: list[float], quantile: float) -> float:
    if not latencies_s:
        return 0.0
    index = min(len(latencies_s) - 1, int(len(latencies_s) * quantile))
    return round(latencies_s[index] * 1_000, 3)


async def main() -> None:
    """Carry out orders from standard input until `quit` or its end."""
    load, loop = _Load(), asyncio.get_running_loop()
    while line := await loop.run_in_executor(None, sys.stdin.buffer.readline):
        order = msgspec.json.decode(line, type=Order)
        try:
            report = await load.carry_out(order)
        except* (OSError, TimeoutError) as group:
            report = LoadReport(reason=f"{order.what}: {_first(group)!r}")
        sys.stdout.buffer.write(msgspec.json.encode(report) + b"\n")
        sys.stdout.buffer.flush()
        if order.what == "quit":
            break


def _first(group: BaseExceptionGroup[BaseException]) -> BaseException:
    error: BaseException = group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


if __name__ == "__main__":
    uvloop.run(main())
