"""Stations whose vehicles follow limits as vehicles do, in one process of their own.

It is driven by orders, one JSON object a line on standard input, each answered by one line on
standard output. Every limit that comes in and every answer is recorded with its instant; the
recording is judged by `frame_ledger` when a phase is over, so that judging costs the phase
nothing. Instants are of the machine's monotonic clock, which the bench shares."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Callable
from typing import Any, Literal

import msgspec
import uvloop

from controlplane.bench.frame_ledger import (
    FrameEvent,
    FrameKind,
    FrameLedger,
    StationSpec,
    Vehicle,
)
from controlplane.bench.station import VOLTAGE_V, BenchStation, Timestamps

__all__ = ["GridOrder", "GridReport", "main"]

_CONNECTING_AT_ONCE = 50
_TICK_S = 0.05
_BUSY_S = 0.02
_EXPECTED_TIMEOUT_S = 2.0
_ROW_NAMES = ("L1", "L2", "L3")


class GridOrder(msgspec.Struct, frozen=True):
    """One step. `connect` opens, boots and reports `stations`, over rows that carry `rows_ma`;
    `start` begins a transaction on each of `places` (all where empty) and `stop` ends them;
    `expect` waits for the next limit of each of `places` from now on, and `expected` tells when
    they came; `arrive` and `leave` do both around the first of `places` starting or stopping;
    `watch` begins a new recording in which the first three rows carry `limit_ma`; `report` says
    what has happened since; `judge` judges all that was recorded; `quit` closes everything."""

    what: Literal[
        "connect",
        "start",
        "stop",
        "expect",
        "expected",
        "arrive",
        "leave",
        "watch",
        "report",
        "judge",
        "quit",
    ]
    port: int = 0
    stations: tuple[StationSpec, ...] = ()
    rows_ma: tuple[int, ...] = ()
    places: tuple[int, ...] = ()
    limit_ma: int = 0


class GridReport(msgspec.Struct, frozen=True):
    """What the stations saw since `watch`; instants in seconds of the monotonic clock, None for
    what has not happened."""

    settled: int = 0
    """Stations that have accepted a default profile."""
    reductions_s: list[float] = []
    """When each lowered limit was answered."""
    raises_s: list[float] = []
    held_ma: int = 0
    """The sum of all limits in force, on the worst of the first three rows."""
    drawn_ma: int = 0
    """The same of what vehicles draw."""
    held_within_s: float | None = None
    """Since when the limits in force are within `limit_ma`."""
    drawn_within_s: float | None = None
    ramp_end_s: float | None = None
    """When the last vehicle will have followed its limit."""
    event_s: float | None = None
    """When the frame left that told of the transaction's start or end."""
    limits_s: list[float] = []
    """When the expected limits came; those that did not are missing."""
    raises: int = 0
    violations: int = 0
    words: tuple[str, ...] = ()
    lost_connections: int = 0
    reason: str = ""


class _Station(BenchStation):
    """A station with a vehicle on it."""

    def __init__(
        self,
        place: int,
        spec: StationSpec,
        timestamps: Timestamps,
        record: Callable[[FrameKind, int, int], None],
    ) -> None:
        super().__init__(spec.id, timestamps)
        self.spec = spec
        self.vehicle = Vehicle(spec.max_ma, spec.ramp_s)
        self.default_ma: int | None = None
        self.limit_ma: int | None = None
        self._place = place
        self._record = record
        self._running = False
        self._sample_interval_s = 30.0
        self._sampling: asyncio.TimerHandle | None = None
        self._outstanding = False
        self._asked = 0
        """How many samples were asked for and not sent yet."""
        self._register_wh = 0.0
        self._integrated_s = time.monotonic()
        self.event_s = 0.0
        """When the transaction that was started or ended last was told of."""

    @property
    def held_ma(self) -> int:
        if self.limit_ma is not None:
            return self.limit_ma
        return self.spec.max_ma if self.default_ma is None else self.default_ma

    async def start(self, meter_wh: int = 0) -> None:
        self._integrate()
        await self._status(1, "Preparing")
        self.event_s = time.monotonic()
        await self._start_transaction(time.time_ns() // 1_000_000, int(self._register_wh))
        self._running = True
        self._record(FrameKind.STARTED, self._place, 0)
        self._follow()
        await self._status(1, "Charging")
        # Spread over the interval, as stations are that were started at different times.
        spread = (self._place * 0.618034) % 1.0
        self._sample_in(self._sample_interval_s * spread)

    async def stop(self) -> None:
        """The driver leaves."""
        if self._sampling is not None:
            self._sampling.cancel()
        while self._outstanding:  # noqa: ASYNC110 - once in a phase, for milliseconds
            await asyncio.sleep(_BUSY_S)
        self._running = False
        self.limit_ma = None
        self.vehicle.unplug(self._integrate())
        self._record(FrameKind.STOPPED, self._place, 0)
        self.event_s = time.monotonic()
        await self._request(
            "StopTransaction",
            {
                "transactionId": self.transaction_id,
                "meterStop": int(self._register_wh),
                "timestamp": self._timestamps.text(time.time_ns() // 1_000_000),
            },
        )
        await self._status(1, "Available")

    # --- limits -----------------------------------------------------------------------------------

    def _called(self, message_id: str, action: str, payload: dict[str, Any]) -> None:
        if action != "SetChargingProfile":
            super()._called(message_id, action, payload)
            if action == "TriggerMessage" and payload["requestedMessage"] == "MeterValues":
                self._asked += 1
                self._sample_in(0.0)
            return
        profile = payload["csChargingProfiles"]
        if profile["chargingProfilePurpose"] == "TxProfile":
            period = profile["chargingSchedule"]["chargingSchedulePeriod"][0]
            self._record(FrameKind.SENT, self._place, round(period["limit"] * 1_000))
        asyncio.get_running_loop().call_later(
            self.spec.answer_s, super()._called, message_id, action, payload
        )

    def _take_limit(self, purpose: str, limit: float, unit: str) -> None:
        assert unit == "A", "the bench describes its stations in amperes"
        limit_ma = round(limit * 1_000)
        if purpose == "TxProfile":
            if self._running:
                self.limit_ma = limit_ma
            self._record(FrameKind.ACCEPTED, self._place, limit_ma)
        else:
            self.default_ma = limit_ma
            self._record(FrameKind.DEFAULT, self._place, limit_ma)
        self._follow()

    def _take_setting(self, key: str, value: str) -> None:
        if key == "MeterValueSampleInterval":
            self._sample_interval_s = float(value)

    def _follow(self) -> None:
        if self._running:
            self.vehicle.follow(self.held_ma, self._integrate())
            if self.spec.samples_changes:
                self._sample_in(self.spec.ramp_s + _BUSY_S)

    # --- samples ----------------------------------------------------------------------------------

    def _integrate(self) -> float:
        """Let the register count up to now; returns that instant."""
        now_s = time.monotonic()
        before_ma = self.vehicle.draw_ma(self._integrated_s)
        mean_a = (before_ma + self.vehicle.draw_ma(now_s)) / 2_000
        hours = (now_s - self._integrated_s) / 3_600
        self._register_wh += mean_a * self.spec.phases * VOLTAGE_V * hours
        self._integrated_s = now_s
        return now_s

    def _sample_in(self, wait_s: float) -> None:
        if self._sampling is not None:
            self._sampling.cancel()
        self._sampling = asyncio.get_running_loop().call_later(wait_s, self._sample)

    def _sample(self) -> None:
        if self._outstanding or self._waiter is not None:
            self._sample_in(_BUSY_S)
            return
        draw_a = self.vehicle.draw_ma(self._integrate()) / 1_000
        context = "Sample.Periodic"
        if self._asked:
            self._asked -= 1
            context = "Trigger"
        values: list[dict[str, str]] = [
            {
                "value": f"{int(self._register_wh)}",
                "context": context,
                "measurand": "Energy.Active.Import.Register",
            },
            {
                "value": f"{draw_a * self.spec.phases * VOLTAGE_V:.0f}",
                "measurand": "Power.Active.Import",
                "unit": "W",
            },
        ]
        values += [
            {"value": f"{draw_a:.3f}", "measurand": "Current.Import", "phase": name, "unit": "A"}
            for name in _ROW_NAMES[: self.spec.phases]
        ]
        timestamp = self._timestamps.text(time.time_ns() // 1_000_000)
        self._message_id += 1
        payload = {
            "connectorId": 1,
            "transactionId": self.transaction_id,
            "meterValue": [{"timestamp": timestamp, "sampledValue": values}],
        }
        frame = [2, str(self._message_id), "MeterValues", payload]
        self._outstanding = True
        self._send(msgspec.json.encode(frame).decode())
        self._sample_in(_BUSY_S if self._asked else self._sample_interval_s)

    def _answered_unasked(self, text: bytes) -> None:
        self._outstanding = False


class _Stations:
    """All stations of one run."""

    def __init__(self) -> None:
        self._stations: list[_Station] = []
        self._events: list[FrameEvent] = []
        self._rows_ma: tuple[int, ...] = ()
        self._watched_from = 0
        self._limit_ma = 0
        self._drawn_within_s: float | None = None
        self._watcher: asyncio.Task[None] | None = None
        self._expected: set[int] = set()
        self._came_s: list[float] = []
        self._all_came = asyncio.Event()

    async def carry_out(self, order: GridOrder) -> GridReport:
        """Carry out one order."""
        chosen = [self._stations[place] for place in order.places] or self._stations
        match order.what:
            case "connect":
                await self._connect(order)
            case "start":
                await _together(chosen, lambda station: station.start())
            case "stop":
                await _together(chosen, lambda station: station.stop())
            case "expect":
                self._expect(order.places)
            case "expected":
                return await self._limits()
            case "arrive" | "leave":
                return await self._exchange(order)
            case "watch":
                self._watch(order.limit_ma)
            case "report":
                return self._report()
            case "judge":
                return self._judge()
            case "quit":
                if self._watcher is not None:
                    self._watcher.cancel()
                for station in self._stations:
                    station.close()
        return GridReport()

    async def _connect(self, order: GridOrder) -> None:
        timestamps = Timestamps()
        self._rows_ma = order.rows_ma
        self._stations = [
            _Station(place, spec, timestamps, self._record)
            for place, spec in enumerate(order.stations)
        ]
        await _together(self._stations, lambda station: station.connect(order.port))

    def _record(self, kind: FrameKind, place: int, current_ma: int) -> None:
        now_s = time.monotonic()
        self._events.append(FrameEvent(now_s, kind, place, current_ma))
        if kind is FrameKind.SENT and place in self._expected:
            self._expected.discard(place)
            self._came_s.append(round(now_s, 6))
            if not self._expected:
                self._all_came.set()

    def _expect(self, places: tuple[int, ...]) -> None:
        self._expected, self._came_s = set(places), []
        self._all_came.clear()

    async def _limits(self, event_s: float | None = None) -> GridReport:
        try:
            await asyncio.wait_for(self._all_came.wait(), _EXPECTED_TIMEOUT_S)
        except TimeoutError:
            # Which did not come is seen by their number.
            self._expected = set()
        return GridReport(event_s=event_s, limits_s=self._came_s)

    async def _exchange(self, order: GridOrder) -> GridReport:
        """A vehicle comes or goes, and its neighbours are told new limits."""
        first, *neighbours = order.places
        station = self._stations[first]
        self._expect(tuple(neighbours))
        await (station.start() if order.what == "arrive" else station.stop())
        return await self._limits(station.event_s)

    def _watch(self, limit_ma: int) -> None:
        self._watched_from = len(self._events)
        self._limit_ma = limit_ma
        for row in range(3):
            self._record(FrameKind.ROW, row, limit_ma)
        self._drawn_within_s = None
        if self._watcher is None:
            self._watcher = asyncio.create_task(self._watch_draw())

    async def _watch_draw(self) -> None:
        while True:
            now_s = time.monotonic()
            if self._drawn_ma(now_s) > self._limit_ma:
                self._drawn_within_s = None
            elif self._drawn_within_s is None:
                self._drawn_within_s = now_s
            await asyncio.sleep(_TICK_S)

    def _drawn_ma(self, now_s: float) -> int:
        return self._worst(lambda station: station.vehicle.draw_ma(now_s))

    def _worst(self, current_ma: Callable[[_Station], int]) -> int:
        """The largest sum on the first three rows."""
        sums = [0, 0, 0]
        for station in self._stations:
            of_it_ma = current_ma(station)
            for row in station.spec.rows:
                if row < 3:
                    sums[row] += of_it_ma
        return max(sums)

    def _report(self) -> GridReport:
        held: list[int | None] = [None] * len(self._stations)
        sums, worst_within_s = [0, 0, 0], None
        reductions_s: list[float] = []
        raises_s: list[float] = []
        for position, event in enumerate(self._events):
            if event.kind is FrameKind.DEFAULT and held[event.place] is None:
                continue
            if event.kind in (FrameKind.ROW, FrameKind.SENT, FrameKind.DEFAULT):
                continue
            now_ma = event.current_ma if event.kind is FrameKind.ACCEPTED else 0
            before_ma = held[event.place]
            held[event.place] = now_ma
            for row in self._stations[event.place].spec.rows:
                if row < 3:
                    sums[row] += now_ma - (before_ma or 0)
            if position < self._watched_from:
                continue
            if max(sums) > self._limit_ma:
                worst_within_s = None
            elif worst_within_s is None:
                worst_within_s = event.at_s
            if event.kind is FrameKind.ACCEPTED and before_ma is not None:
                if now_ma < before_ma:
                    reductions_s.append(round(event.at_s, 4))
                elif now_ma > before_ma:
                    raises_s.append(round(event.at_s, 4))
        ramps = [station.vehicle.ramp_end_s for station in self._stations]
        return GridReport(
            settled=sum(station.default_ma is not None for station in self._stations),
            reductions_s=reductions_s,
            raises_s=raises_s,
            held_ma=self._worst(lambda station: station.held_ma),
            drawn_ma=self._drawn_ma(time.monotonic()),
            held_within_s=worst_within_s,
            drawn_within_s=self._drawn_within_s,
            ramp_end_s=max(ramps, default=None),
            lost_connections=sum(bool(station.lost) for station in self._stations),
        )

    def _judge(self) -> GridReport:
        ledger = FrameLedger([station.spec for station in self._stations], self._rows_ma)
        verdict = ledger.judge(self._events)
        return GridReport(
            raises=verdict.raises,
            violations=verdict.violations,
            words=tuple(verdict.words[:10]),
            lost_connections=sum(bool(station.lost) for station in self._stations),
        )


async def _together(stations: list[_Station], phase: Callable[[_Station], Any]) -> None:
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
        order = msgspec.json.decode(line, type=GridOrder)
        try:
            report = await stations.carry_out(order)
        except* (OSError, TimeoutError) as group:
            report = GridReport(reason=f"{order.what}: {group.exceptions[0]!r}")
        sys.stdout.buffer.write(msgspec.json.encode(report) + b"\n")
        sys.stdout.buffer.flush()
        if order.what == "quit":
            break


if __name__ == "__main__":
    uvloop.run(main())
