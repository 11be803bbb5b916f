"""One Modbus TCP meter: connects when it is read and not connected, reads, says what is wrong.

Invariant: an answer belongs to the question just asked. After anything unexpected, a late answer
included, the connection is closed, so that nothing of it can be taken for the next answer."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from pymodbus import ModbusException
from pymodbus.client import AsyncModbusTcpClient
from pymodbus.constants import ExcCodes
from pymodbus.pdu import ExceptionResponse, ModbusPDU

from controlplane.errors import InvalidInput, LoadstarError, Precondition, TimedOut, Unavailable
from controlplane.integrations.modbus.registers import blocks, currents_ma
from controlplane.network_power import ModbusMeterConfig, RegisterType

__all__ = ["ModbusMeter"]

ANSWER_TIMEOUT_S = 3.0
"""How long a meter may take to accept a connection, and to answer a question."""


class ModbusMeter:
    """A meter as its owner described it. Read by one reader at a time."""

    def __init__(
        self, config: ModbusMeterConfig, *, answer_timeout_s: float = ANSWER_TIMEOUT_S
    ) -> None:
        self.config = config
        self._answer_timeout_s = answer_timeout_s
        self._client: AsyncModbusTcpClient | None = None

    async def read(self) -> tuple[int, int, int]:
        """Milliamperes on L1, L2 and L3, import positive.

        Raises:
            Unavailable: nobody accepts the connection, or it was lost (`METER_UNREACHABLE`).
            TimedOut: no answer in time (`METER_SILENT`).
            Precondition: the meter answered with an exception code (`METER_REFUSED`).
            InvalidInput: what it answered cannot be true (`METER_IMPLAUSIBLE`).
        """
        return currents_ma(self.config, await self.registers())

    async def registers(self) -> dict[int, int]:
        """The registers that hold the currents, by address; errors as `read`."""
        found: dict[int, int] = {}
        try:
            client = await self._connected()
            for address, count in blocks(self.config):
                words = await self._ask(client, address, count)
                found.update(zip(range(address, address + count), words, strict=True))
        except Precondition:
            # It is there and has answered: the connection is good.
            raise
        except BaseException:
            self.close()
            raise
        return found

    def close(self) -> None:
        """Close the connection, if there is one; the next reading opens another."""
        if self._client is not None:
            self._client.close()
            self._client = None

    async def _connected(self) -> AsyncModbusTcpClient:
        if self._client is not None and self._client.connected:
            return self._client
        self.close()
        client = AsyncModbusTcpClient(
            self.config.host,
            port=self.config.port,
            timeout=self._answer_timeout_s,
            # Whoever reads decides when to try again.
            retries=0,
            reconnect_delay=0,
        )
        self._client = client
        connected = False
        try:
            async with asyncio.timeout(self._answer_timeout_s):
                connected = await client.connect()
        except (TimeoutError, OSError):
            connected = False
        if not connected:
            raise self._error(Unavailable, "METER_UNREACHABLE", "accepts no connection")
        return client

    async def _ask(self, client: AsyncModbusTcpClient, address: int, count: int) -> list[int]:
        read: Callable[..., object] = (
            client.read_input_registers
            if self.config.register_type is RegisterType.INPUT
            else client.read_holding_registers
        )
        asked = f"registers {address} to {address + count - 1} of unit {self.config.unit}"
        try:
            async with asyncio.timeout(self._answer_timeout_s + 1):
                answer = await read(  # type: ignore[misc]
                    address, count=count, device_id=self.config.unit
                )
        except (TimeoutError, ModbusException, OSError) as error:
            if client.connected:
                raise self._error(TimedOut, "METER_SILENT", f"does not tell {asked}") from error
            raise self._error(
                Unavailable, "METER_UNREACHABLE", f"closed the connection when asked for {asked}"
            ) from error
        return self._words(answer, asked, count)

    def _words(self, answer: ModbusPDU, asked: str, count: int) -> list[int]:
        if isinstance(answer, ExceptionResponse):
            code = answer.exception_code
            named = ExcCodes(code).name if code in list(ExcCodes) else "UNKNOWN"
            raise self._error(
                Precondition,
                "METER_REFUSED",
                f"refuses {asked}: exception {code:#04x} ({named.lower().replace('_', ' ')})",
            )
        if answer.isError() or len(answer.registers) != count:
            raise self._error(
                InvalidInput,
                "METER_IMPLAUSIBLE",
                f"answered with {len(answer.registers)} registers to {asked}",
            )
        return list(answer.registers)

    def _error(self, kind: type[LoadstarError], reason: str, fault: str) -> LoadstarError:
        place = f"{self.config.host}:{self.config.port}"
        return kind(f"the meter at {place} {fault}", reason=reason, metadata={"meter": place})
