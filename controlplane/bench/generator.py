"""The bench's end of the load generator: starts the process, gives it orders, reads its reports.

Every order has a time limit, and the process never outlives the `async with` that started it."""

from __future__ import annotations

import asyncio
import sys
from types import TracebackType
from typing import Self

import msgspec

from controlplane.bench.station_load import LoadReport, Order
from controlplane.errors import Unavailable

__all__ = ["ChildProcess", "LoadGenerator"]

_GOODBYE_S = 10.0
_LINE_MAX_BYTES = 4_194_304


class ChildProcess:
    """A Python module in a process of its own, spoken to over its standard input and output."""

    def __init__(self, module: str) -> None:
        self._module = module
        self._process: asyncio.subprocess.Process | None = None

    async def __aenter__(self) -> Self:
        self._process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            self._module,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            limit=_LINE_MAX_BYTES,
        )
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        process = self._running
        if process.stdin is not None:
            process.stdin.close()
        try:
            await asyncio.wait_for(process.wait(), _GOODBYE_S)
        except TimeoutError:
            process.kill()
            await process.wait()

    @property
    def pid(self) -> int:
        return self._running.pid

    @property
    def _running(self) -> asyncio.subprocess.Process:
        if self._process is None:
            raise RuntimeError(f"{self._module} was not entered")
        return self._process

    async def write_line(self, line: bytes) -> None:
        assert self._running.stdin is not None
        self._running.stdin.write(line + b"\n")
        await self._running.stdin.drain()

    async def read_line(self, timeout_s: float) -> bytes:
        """The next line of its standard output.

        Raises:
            Unavailable: it ended instead, or said nothing in time.
        """
        assert self._running.stdout is not None
        try:
            line = await asyncio.wait_for(self._running.stdout.readline(), timeout_s)
        except TimeoutError as error:
            raise Unavailable(f"{self._module} said nothing for {timeout_s:g} s") from error
        if not line:
            raise Unavailable(f"{self._module} ended before it answered; see its standard error")
        return line


class LoadGenerator(ChildProcess):
    """The stations of `station_load`, one phase at a time."""

    def __init__(self) -> None:
        super().__init__("controlplane.bench.station_load")

    async def connect(self, *, port: int, prefix: str, count: int, per_site: int = 0) -> None:
        """Connect and boot `count` more stations named `prefix` and a number, or by site and place
        where so many stand at a site."""
        order = Order("connect", port=port, prefix=prefix, count=count, per_site=per_site)
        await self._carry_out(order, 120.0)

    async def start_transactions(self) -> None:
        """Begin a transaction on every station."""
        await self._carry_out(Order("start"), 120.0)

    async def send_meter_values(self, *, seconds: float, rate: float = 0.0) -> LoadReport:
        """MeterValues for `seconds`: as fast as they are answered, or `rate` a second."""
        return await self._carry_out(Order("load", seconds=seconds, rate=rate), seconds + 60.0)

    async def send_once(self) -> LoadReport:
        """One MeterValues of every station at once, until the last is answered."""
        return await self._carry_out(Order("once"), 90.0)

    async def disconnect(self) -> None:
        """Close every connection and end."""
        await self._carry_out(Order("quit"), 30.0)

    async def _carry_out(self, order: Order, timeout_s: float) -> LoadReport:
        await self.write_line(msgspec.json.encode(order))
        report = msgspec.json.decode(await self.read_line(timeout_s), type=LoadReport)
        if report.reason:
            raise Unavailable(f"the load generator failed: {report.reason}")
        return report
