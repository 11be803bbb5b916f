"""A meter on pymodbus' own server, on a TCP port of this machine."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from pymodbus.constants import ExcCodes
from pymodbus.server import ModbusTcpServer
from pymodbus.simulator import DataType, SimData, SimDevice

from controlplane.network_power import ModbusMeterConfig

__all__ = ["ServedMeter", "served_meter"]

UNIT = 7


class ServedMeter:
    """Currents at the registers 10, 12 and 14, float32. What it does may be changed at any time."""

    def __init__(self) -> None:
        self.currents_a = (10.0, 20.0, 30.0)
        self.exception: ExcCodes | None = None
        self.delay_s = 0.0
        self.asked = 0
        self.port = 0
        self._server: ModbusTcpServer | None = None

    @property
    def config(self) -> ModbusMeterConfig:
        return self.described()

    def described(self, **changed: object) -> ModbusMeterConfig:
        return ModbusMeterConfig.model_validate(
            {
                "kind": "modbus",
                "host": "127.0.0.1",
                "port": self.port,
                "unit": UNIT,
                "registers": {"l1": 10, "l2": 12, "l3": 14},
                "interval_s": 0.2,
                **changed,
            }
        )

    async def start(self) -> None:
        device = SimDevice(
            id=UNIT,
            simdata=[SimData(10, values=[0] * 6, datatype=DataType.REGISTERS)],
            action=self._answer,
        )
        self._server = ModbusTcpServer(device, address=("127.0.0.1", self.port))
        assert await self._server.listen()
        listening = self._server.transport
        assert isinstance(listening, asyncio.Server)
        self.port = listening.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Refuse connections and drop the ones that are open."""
        if self._server is not None:
            await self._server.shutdown()  # type: ignore[no-untyped-call]
            self._server = None

    async def _answer(self, *asked: Any) -> ExcCodes | None:
        start, registers = asked[1], asked[4]
        self.asked += 1
        if self.delay_s:
            await asyncio.sleep(self.delay_s)
        if self.exception is not None:
            return self.exception
        for line, current_a in enumerate(self.currents_a):
            high, low = struct.unpack(">HH", struct.pack(">f", current_a))
            registers[2 * line + 10 - start] = high
            registers[2 * line + 11 - start] = low
        return None


@asynccontextmanager
async def served_meter() -> AsyncIterator[ServedMeter]:
    meter = ServedMeter()
    await meter.start()
    try:
        yield meter
    finally:
        await meter.stop()
