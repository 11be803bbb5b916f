"""`loadstar meters read`: an installer sees whether a description is right."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator

import pytest
import yaml
from modbus_server import ServedMeter, served_meter
from typer.testing import CliRunner, Result

from controlplane.cli import app
from controlplane.network_power import ModbusMeterConfig


@pytest.fixture
async def meter() -> AsyncIterator[ServedMeter]:
    async with served_meter() as served:
        yield served


async def read(port: int, *words: str, registers: str = "10,12,14") -> Result:
    command = ["meters", "read", "--host", "127.0.0.1", "--port", str(port), "--unit", "7"]
    return await asyncio.to_thread(
        CliRunner().invoke, app, [*command, "--registers", registers, *words]
    )


async def test_the_currents_and_the_description_are_shown(meter: ServedMeter) -> None:
    result = await read(meter.port)
    assert result.exit_code == 0, result.output
    assert "20.0 A" in result.output
    assert "12: 41a0 0000" in result.output
    described = yaml.safe_load(result.output[result.output.index("  building_load:") :])
    shown = described["building_load"]["meter"]
    assert shown["registers"] == {"l1": 10, "l2": 12, "l3": 14}
    ModbusMeterConfig.model_validate(shown)


async def test_programs_get_milliamperes(meter: ServedMeter) -> None:
    result = await read(meter.port, "--json", registers="10+12,12,14")
    assert json.loads(result.stdout)["current"] == {
        "l1_ma": 30_000,
        "l2_ma": 20_000,
        "l3_ma": 30_000,
    }


@pytest.mark.parametrize(
    ("words", "registers", "told"),
    [
        ((), "10,12", "three addresses"),
        ((), "a,b,c", "three addresses"),
        ((), "70000,12,14", "registers.l1"),
        (("--format", "float64"), "10,12,14", "format"),
        (("--scale", "0"), "10,12,14", "scale_a must not be 0"),
        ((), "900,902,904", "illegal address"),
    ],
)
async def test_faults_are_told_in_words(
    meter: ServedMeter, words: tuple[str, ...], registers: str, told: str
) -> None:
    result = await read(meter.port, *words, registers=registers)
    assert result.exit_code in {1, 2}
    assert told in result.output
    assert "Traceback" not in result.output
