"""Registers become currents, in every format that meters are sold with."""

from __future__ import annotations

import struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controlplane.errors import InvalidInput
from controlplane.integrations.modbus.registers import blocks, currents_ma
from controlplane.network_power import ModbusMeterConfig

PACKED = {"int16": ">h", "uint16": ">H", "int32": ">i", "uint32": ">I", "float32": ">f"}


def meter(**described: Any) -> ModbusMeterConfig:
    registers = {"l1": 0, "l2": 2, "l3": 4}
    return ModbusMeterConfig.model_validate(
        {"kind": "modbus", "host": "meter", "registers": registers, **described}
    )


def words(format: str, value: float, *, little: bool = False) -> list[int]:
    packed = struct.pack(PACKED[format], value if format == "float32" else int(value))
    found = [int.from_bytes(packed[at : at + 2], "big") for at in range(0, len(packed), 2)]
    return found[::-1] if little else found


def registers(format: str, *values: float, little: bool = False) -> dict[int, int]:
    return {
        2 * line + offset: word
        for line, value in enumerate(values)
        for offset, word in enumerate(words(format, value, little=little))
    }


@pytest.mark.parametrize("word_order", ["big", "little"])
@pytest.mark.parametrize("format", list(PACKED))
def test_every_format_in_both_word_orders(format: str, word_order: str) -> None:
    config = meter(format=format, word_order=word_order, scale_a=0.1)
    found = registers(format, 161, 0, 325, little=word_order == "little")
    assert currents_ma(config, found) == (16_100, 0, 32_500)


def test_signed_formats_tell_what_is_fed_back() -> None:
    assert currents_ma(meter(format="int16"), registers("int16", -5, 7, 0)) == (-5_000, 7_000, 0)


def test_a_negative_scale_turns_a_meter_that_was_mounted_the_other_way() -> None:
    config = meter(format="int32", scale_a=-0.001)
    assert currents_ma(config, registers("int32", -16_000, 200, 0)) == (16_000, -200, 0)


def test_several_values_of_a_line_are_summed() -> None:
    config = meter(format="uint16", registers={"l1": [0, 1], "l2": 2, "l3": [3, 4, 5]})
    found = {0: 10, 1: 5, 2: 7, 3: 1, 4: 2, 5: 3}
    assert currents_ma(config, found) == (15_000, 7_000, 6_000)


@pytest.mark.parametrize(
    ("format", "value", "told"),
    [
        ("float32", float("nan"), "L2: register 2 holds no value"),
        ("float32", float("inf"), "L2: register 2 holds no value"),
        ("float32", 100_001.0, "L2: register 2 reads 100001 A"),
        ("float32", -100_001.0, "L2: register 2 reads -100001 A"),
        ("int16", -0x8000, "L2: register 2 holds no value"),
        ("uint16", 0xFFFF, "L2: register 2 holds no value"),
        ("int32", -0x8000_0000, "L2: register 2 holds no value"),
        ("uint32", 0xFFFF_FFFF, "L2: register 2 holds no value"),
        ("uint32", 100_001, "L2: register 2 reads 100001 A"),
    ],
)
def test_what_cannot_be_true_is_refused(format: str, value: float, told: str) -> None:
    with pytest.raises(InvalidInput, match=told) as caught:
        currents_ma(meter(format=format), registers(format, 1, value, 1))
    assert caught.value.reason == "METER_IMPLAUSIBLE"


@given(st.floats(min_value=-90_000, max_value=90_000, width=32))
def test_a_float_is_read_to_the_nearest_milliampere(current_a: float) -> None:
    assert currents_ma(meter(), registers("float32", current_a, 0, 0))[0] == round(
        current_a * 1_000
    )


@pytest.mark.parametrize(
    ("addresses", "format", "asked"),
    [
        ({"l1": 6, "l2": 8, "l3": 10}, "float32", [(6, 6)]),
        ({"l1": 10, "l2": 8, "l3": 6}, "float32", [(6, 6)]),
        ({"l1": 0, "l2": 1, "l3": 2}, "int16", [(0, 3)]),
        ({"l1": 0, "l2": 10, "l3": 20}, "int16", [(0, 1), (10, 1), (20, 1)]),
        ({"l1": 5, "l2": 5, "l3": 5}, "uint32", [(5, 2)]),
        ({"l1": [0, 2], "l2": 100, "l3": 102}, "int32", [(0, 4), (100, 4)]),
    ],
)
def test_neighbours_are_read_at_once_and_gaps_are_left_alone(
    addresses: dict[str, Any], format: str, asked: list[tuple[int, int]]
) -> None:
    assert blocks(meter(registers=addresses, format=format)) == asked
