"""A meter over real TCP: what it shows, and what is said of it when it does not."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from modbus_server import ServedMeter, served_meter
from pymodbus.constants import ExcCodes

from controlplane.errors import LoadstarError, Precondition, TimedOut, Unavailable
from controlplane.integrations.modbus.meter import ModbusMeter


@pytest.fixture
async def served() -> AsyncIterator[ServedMeter]:
    async with served_meter() as meter:
        yield meter


async def refused(meter: ModbusMeter) -> LoadstarError:
    with pytest.raises(LoadstarError) as caught:
        await meter.read()
    return caught.value


@pytest.mark.parametrize("register_type", ["input", "holding"])
async def test_the_three_currents_are_read(served: ServedMeter, register_type: str) -> None:
    meter = ModbusMeter(served.described(register_type=register_type))
    assert await meter.read() == (10_000, 20_000, 30_000)
    served.currents_a = (0.0, -1.5, 7.25)
    assert await meter.read() == (0, -1_500, 7_250)
    meter.close()


async def test_one_question_is_enough_for_neighbours(served: ServedMeter) -> None:
    meter = ModbusMeter(served.config)
    await meter.read()
    assert served.asked == 1
    meter.close()


async def test_nobody_listens(served: ServedMeter) -> None:
    await served.stop()
    meter = ModbusMeter(served.config)
    error = await refused(meter)
    assert isinstance(error, Unavailable)
    assert error.reason == "METER_UNREACHABLE"
    assert f"127.0.0.1:{served.port} accepts no connection" in error.message


async def test_a_name_that_nobody_knows() -> None:
    meter = ModbusMeter(ServedMeter().described(host="meter.invalid", port=502))
    assert (await refused(meter)).reason == "METER_UNREACHABLE"


async def test_it_is_read_again_after_it_was_away(served: ServedMeter) -> None:
    meter = ModbusMeter(served.config, answer_timeout_s=0.5)
    await meter.read()
    await served.stop()
    assert (await refused(meter)).reason == "METER_UNREACHABLE"
    await served.start()
    assert await meter.read() == (10_000, 20_000, 30_000)
    meter.close()


async def test_a_late_answer_is_not_taken_for_the_next(served: ServedMeter) -> None:
    meter = ModbusMeter(served.config, answer_timeout_s=0.2)
    await meter.read()
    served.delay_s = 0.3
    error = await refused(meter)
    assert isinstance(error, TimedOut)
    assert error.reason == "METER_SILENT"
    served.delay_s = 0.0
    served.currents_a = (1.0, 2.0, 3.0)
    assert await meter.read() == (1_000, 2_000, 3_000)
    await asyncio.sleep(0.2)
    served.currents_a = (4.0, 5.0, 6.0)
    assert await meter.read() == (4_000, 5_000, 6_000)
    meter.close()


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (ExcCodes.ILLEGAL_ADDRESS, "exception 0x02 (illegal address)"),
        (ExcCodes.DEVICE_BUSY, "exception 0x06 (device busy)"),
        (ExcCodes.GATEWAY_NO_RESPONSE, "exception 0x0b (gateway no response)"),
    ],
)
async def test_an_exception_code_is_told_in_words(
    served: ServedMeter, code: ExcCodes, words: str
) -> None:
    served.exception = code
    meter = ModbusMeter(served.config)
    error = await refused(meter)
    assert isinstance(error, Precondition)
    assert error.reason == "METER_REFUSED"
    assert "registers 10 to 15 of unit 7" in error.message
    assert words in error.message
    served.exception = None
    assert await meter.read() == (10_000, 20_000, 30_000)
    meter.close()


async def test_registers_that_the_meter_does_not_have(served: ServedMeter) -> None:
    meter = ModbusMeter(served.described(registers={"l1": 500, "l2": 502, "l3": 504}))
    assert (await refused(meter)).reason == "METER_REFUSED"
    meter.close()


async def test_the_wrong_unit(served: ServedMeter) -> None:
    meter = ModbusMeter(served.described(unit=9), answer_timeout_s=0.3)
    assert (await refused(meter)).reason in {"METER_REFUSED", "METER_SILENT"}
    meter.close()


async def test_an_implausible_current_is_refused(served: ServedMeter) -> None:
    served.currents_a = (10.0, float("nan"), 30.0)
    meter = ModbusMeter(served.config)
    assert (await refused(meter)).reason == "METER_IMPLAUSIBLE"
    meter.close()


async def test_something_that_is_no_meter() -> None:
    async def babble(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(babble, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    meter = ModbusMeter(ServedMeter().described(port=port), answer_timeout_s=0.5)
    assert (await refused(meter)).reason in {"METER_SILENT", "METER_UNREACHABLE"}
    server.close()
