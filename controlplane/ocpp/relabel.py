"""Registers that a station keeps in kilowatt-hours and labels watt-hours.

The payload is corrected before anything reads it, so that no fraction of a kilowatt-hour is lost to
rounding. Only for stations that are known to do this."""

from __future__ import annotations

from typing import Any, Final

__all__ = ["registers_in_kwh"]

_REGISTERS: Final[tuple[str, ...]] = ("meterStart", "meterStop")
_VALUES: Final[tuple[str, ...]] = ("meterValue", "transactionData")


def registers_in_kwh(payload: dict[str, Any]) -> dict[str, Any]:
    """The payload of a station's CALL with its energies labelled kWh; one that has none is returned
    as it is."""
    corrected: dict[str, Any] = {
        name: payload[name] * 1_000 for name in _REGISTERS if name in payload
    }
    for name in _VALUES:
        if payload.get(name):
            corrected[name] = [
                {**moment, "sampledValue": [_sample(sample) for sample in moment["sampledValue"]]}
                for moment in payload[name]
            ]
    return {**payload, **corrected} if corrected else payload


def _sample(sample: dict[str, Any]) -> dict[str, Any]:
    if not sample.get("measurand", "Energy.Active.Import.Register").startswith("Energy."):
        return sample
    if "unitOfMeasure" in sample:
        unit = sample["unitOfMeasure"]
        if unit.get("unit", "Wh") != "Wh":
            return sample
        return {**sample, "unitOfMeasure": {**unit, "unit": "kWh"}}
    return {**sample, "unit": "kWh"} if sample.get("unit", "Wh") == "Wh" else sample
