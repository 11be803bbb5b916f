"""From the registers of a Modbus meter to currents.

Invariant: a reading that cannot be true is refused, never corrected: no number, the number that
stands for "no value" in its format (SunSpec information model 1.1, "not implemented"), or more than
any building draws."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from pymodbus.client.mixin import ModbusClientMixin

from controlplane.errors import InvalidInput
from controlplane.network_power import ModbusMeterConfig, RegisterFormat

__all__ = ["CURRENT_MAX_A", "blocks", "currents_ma", "registers_per_value"]

CURRENT_MAX_A = 100_000.0
"""More than any low-voltage supply carries: such a reading is none."""

_BLOCK_MAX = 125
"""Registers in one answer (Modbus application protocol 1.1b3, section 6.3)."""

_DATATYPE = ModbusClientMixin.DATATYPE
_DATATYPES = {
    RegisterFormat.INT16: _DATATYPE.INT16,
    RegisterFormat.UINT16: _DATATYPE.UINT16,
    RegisterFormat.INT32: _DATATYPE.INT32,
    RegisterFormat.UINT32: _DATATYPE.UINT32,
    RegisterFormat.FLOAT32: _DATATYPE.FLOAT32,
}
_NO_VALUE = {
    RegisterFormat.INT16: -0x8000,
    RegisterFormat.UINT16: 0xFFFF,
    RegisterFormat.INT32: -0x8000_0000,
    RegisterFormat.UINT32: 0xFFFF_FFFF,
}


def registers_per_value(format: RegisterFormat) -> int:
    """One for 16 bits, two for 32."""
    return int(_DATATYPES[format].value[1])


def blocks(meter: ModbusMeterConfig) -> list[tuple[int, int]]:
    """What to ask the meter for, as pairs of first address and number of registers.

    Values that follow each other are read at once, so that they belong to one instant. What lies
    between others is not asked for: many meters refuse a block that holds an address they do not
    know.
    """
    width = registers_per_value(meter.format)
    found: list[tuple[int, int]] = []
    for address in sorted({address for line in _lines(meter) for address in line}):
        if found:
            first, count = found[-1]
            if address <= first + count and address + width - first <= _BLOCK_MAX:
                found[-1] = (first, max(count, address + width - first))
                continue
        found.append((address, width))
    return found


def currents_ma(meter: ModbusMeterConfig, registers: Mapping[int, int]) -> tuple[int, int, int]:
    """Milliamperes on L1, L2 and L3, import positive, rounded to the nearest.

    Args:
        registers: the value of every register of `blocks`, by address.

    Raises:
        InvalidInput: a value is no number, or beyond `CURRENT_MAX_A` (reason
            `METER_IMPLAUSIBLE`).
    """
    l1, l2, l3 = (
        _line_ma(meter, f"L{line}", addresses, registers)
        for line, addresses in enumerate(_lines(meter), start=1)
    )
    return l1, l2, l3


def _line_ma(
    meter: ModbusMeterConfig, line: str, addresses: Sequence[int], registers: Mapping[int, int]
) -> int:
    width = registers_per_value(meter.format)
    current_a = 0.0
    for address in addresses:
        words = [registers[address + offset] for offset in range(width)]
        value = ModbusClientMixin.convert_from_registers(
            words, _DATATYPES[meter.format], word_order=meter.word_order.value
        )
        assert isinstance(value, int | float)
        scaled_a = value * meter.scale_a
        if value == _NO_VALUE.get(meter.format) or not math.isfinite(scaled_a):
            raise _implausible(f"{line}: register {address} holds no value")
        if abs(scaled_a) > CURRENT_MAX_A:
            raise _implausible(f"{line}: register {address} reads {scaled_a:g} A")
        current_a += scaled_a
    return round(current_a * 1_000)


def _implausible(fault: str) -> InvalidInput:
    return InvalidInput(fault, reason="METER_IMPLAUSIBLE")


def _lines(meter: ModbusMeterConfig) -> list[tuple[int, ...]]:
    return [meter.registers.l1, meter.registers.l2, meter.registers.l3]
