"""The part of a site's description that is about power: its contract with the grid, its solar
plant and battery, and the meter that tells what the building draws.

Everything here is optional. Invariant: none of it can raise what a row carries; contract and solar
limit further, and a meter only tells what others take."""

from __future__ import annotations

from decimal import Decimal
from enum import StrEnum
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, field_validator, model_validator

from controlplane.ids import CHARGER_ID_PATTERN, NAME_PATTERN
from controlplane.units import MS_PER_S, ma_from_a

__all__ = [
    "CONTRACT_MAX_W",
    "Amperes",
    "BatteryConfig",
    "BuildingLoadConfig",
    "ContractConfig",
    "DescribedModel",
    "Measures",
    "MeterRegisters",
    "ModbusMeterConfig",
    "Name",
    "OcppMeterConfig",
    "Phase",
    "RegisterFormat",
    "RegisterType",
    "SolarConfig",
    "SolarMode",
    "VehicleToGridConfig",
    "WordOrder",
]

DAY_S = 86_400

Name = Annotated[str, Field(pattern=f"^{NAME_PATTERN.pattern}$")]
Amperes = Annotated[float, Field(ge=0, le=100_000, allow_inf_nan=False)]
Watts = Annotated[int, Field(ge=0, le=10**12)]
Price = Annotated[Decimal, Field(ge=0, le=1_000, max_digits=12, decimal_places=6)]
"""Of a kilowatt-hour, in whole units of a currency."""
CONTRACT_MAX_W = 10**10
"""Of a site; a day's energy at this power, in W x ms, fits into 63 bits."""


class DescribedModel(BaseModel):
    """Base of everything that an owner describes."""

    model_config = ConfigDict(extra="forbid", frozen=True, str_strip_whitespace=True)


class Phase(StrEnum):
    """A line of the site. The order L1, L2, L3 is the column order of every per-phase array."""

    L1 = "L1"
    L2 = "L2"
    L3 = "L3"

    @property
    def column(self) -> int:
        return int(self.value[1]) - 1


# --- the building ---------------------------------------------------------------------------------


class Measures(StrEnum):
    """What flows through the meter of `building_load`."""

    BUILDING = "building"
    """Everything on its circuit but the chargers."""
    SUPPLY = "supply"
    """Everything on its circuit: building, chargers and what solar plant and battery add or
    take."""


class OcppMeterConfig(DescribedModel):
    """A meter that an OCPP charger reads: its own main meter (`connector` 0: connectorId 0 of 1.6,
    evseId 0 of 2.x) or a number that feeds no vehicle. A dedicated meter that speaks OCPP is
    described as a charger with `meter_only`."""

    kind: Literal["ocpp"]
    charger: str
    connector: Annotated[int, Field(ge=0, le=1_000)] = 0
    balanced: bool = False
    """Whether the load is known to be alike on all lines. A meter that tells power and no currents
    is then divided by three; otherwise the whole of it counts on each line."""

    @field_validator("charger")
    @classmethod
    def _charger(cls, charger: str) -> str:
        if not CHARGER_ID_PATTERN.fullmatch(charger):
            raise ValueError(f"charger id {charger!r}: 1 to 48 of letters, digits and *-_=:+|@.")
        return charger


class RegisterType(StrEnum):
    """Which table of a Modbus device is read (function code 4 or 3)."""

    INPUT = "input"
    HOLDING = "holding"


class RegisterFormat(StrEnum):
    """How the registers of one value are read; 32 bits are two registers."""

    INT16 = "int16"
    UINT16 = "uint16"
    INT32 = "int32"
    UINT32 = "uint32"
    FLOAT32 = "float32"


class WordOrder(StrEnum):
    """Which of two registers holds the upper half."""

    BIG = "big"
    LITTLE = "little"


_Address = Annotated[int, Field(ge=0, le=65_535)]


def _one_or_several(value: Any) -> Any:
    return (value,) if isinstance(value, int) else value


_Addresses = Annotated[
    tuple[_Address, ...], Field(min_length=1, max_length=8), BeforeValidator(_one_or_several)
]


class MeterRegisters(DescribedModel):
    """Address (from 0) of the first register of each line's current; the values of several are
    summed."""

    l1: _Addresses
    l2: _Addresses
    l3: _Addresses


class ModbusMeterConfig(DescribedModel):
    """A meter that is read over Modbus TCP every `interval_s`; a register's value times `scale_a`
    is amperes, import positive: a negative scale turns a meter that was mounted the other way."""

    kind: Literal["modbus"]
    host: Annotated[str, Field(min_length=1, max_length=253)]
    port: Annotated[int, Field(ge=1, le=65_535)] = 502
    unit: Annotated[int, Field(ge=0, le=255)] = 1
    registers: MeterRegisters
    register_type: RegisterType = RegisterType.INPUT
    format: RegisterFormat = RegisterFormat.FLOAT32
    word_order: WordOrder = WordOrder.BIG
    scale_a: Annotated[float, Field(ge=-1_000, le=1_000, allow_inf_nan=False)] = 1.0
    interval_s: Annotated[float, Field(ge=0.2, le=3_600, allow_inf_nan=False)] = 5.0

    @model_validator(mode="after")
    def _value_fits(self) -> Self:
        if self.format not in (RegisterFormat.INT16, RegisterFormat.UINT16):
            for line, addresses in self.registers:
                if 65_535 in addresses:
                    raise ValueError(f"registers.{line}: {self.format} needs two registers")
        if self.scale_a == 0:
            raise ValueError("scale_a must not be 0")
        return self


MeterConfig = Annotated[OcppMeterConfig | ModbusMeterConfig, Field(discriminator="kind")]


class BuildingLoadConfig(DescribedModel):
    """What else draws from `circuit`. Measured values count until they are `stale_after_s` old;
    before the first one `assumed_a` counts on each phase, and once stale nobody is raised above
    what was guaranteed. Without a `meter`, measurements are pushed over gRPC."""

    circuit: Name
    assumed_a: Amperes = 0.0
    stale_after_s: Annotated[float, Field(gt=0, le=DAY_S)] = 60.0
    meter: MeterConfig | None = None
    measures: Measures = Measures.BUILDING

    @model_validator(mode="after")
    def _read_in_time(self) -> Self:
        meter = self.meter
        if isinstance(meter, ModbusMeterConfig) and meter.interval_s >= self.stale_after_s:
            raise ValueError(
                f"meter is read every {meter.interval_s:g} s and stale after "
                f"{self.stale_after_s:g} s: it would never count; lower interval_s"
            )
        return self

    @property
    def assumed_ma(self) -> int:
        return ma_from_a(self.assumed_a)

    @property
    def awaited(self) -> bool:
        """Whether measurements must come: who assumes a load and describes no meter may mean that
        to be all."""
        return self.meter is not None or self.assumed_ma == 0


# --- contract, sun and battery --------------------------------------------------------------------


class ContractConfig(DescribedModel):
    """The mean power of the whole site, chargers included, that must not be exceeded in any window
    of the clock (UTC) of `window_s`. `margin_percent` of the site is kept free of it, too."""

    power_w: Annotated[int, Field(gt=0, le=CONTRACT_MAX_W)]
    window_s: Annotated[int, Field(ge=60, le=DAY_S)] = 900

    @field_validator("window_s")
    @classmethod
    def _divides_a_day(cls, window_s: int) -> int:
        if DAY_S % window_s:
            raise ValueError("a day must be a whole number of windows, such as 900 or 1800 s")
        return window_s

    @property
    def window_ms(self) -> int:
        return self.window_s * MS_PER_S


class SolarMode(StrEnum):
    """What the solar plant means for charging."""

    OFF = "off"
    """Nothing."""
    SURPLUS = "surplus"
    """Charging that is not urgent waits for what the building leaves over."""


class SolarConfig(DescribedModel):
    """The solar plant of a site. `grid_power_w` may be charged from the grid on top of the surplus;
    `phases` are the lines it feeds, alike; reports of its power count until they are
    `stale_after_s` old."""

    mode: SolarMode = SolarMode.OFF
    grid_power_w: Watts = 0
    phases: tuple[Phase, ...] = (Phase.L1, Phase.L2, Phase.L3)
    power_max_w: Watts = 0
    """What it can feed in at most. A supply meter sees the building less the sun: where nothing is
    heard of the plant, so much may be hidden from it."""
    stale_after_s: Annotated[float, Field(gt=0, le=DAY_S)] = 60.0

    @field_validator("phases")
    @classmethod
    def _phases_once(cls, phases: tuple[Phase, ...]) -> tuple[Phase, ...]:
        if not phases or len(set(phases)) != len(phases):
            raise ValueError("a solar plant feeds one to three different phases")
        return phases


class BatteryConfig(DescribedModel):
    """The battery of a site. Above `reserve_percent` of charge it may feed vehicles with up to
    `discharge_max_w`, and vehicles go before its own charging; below, it goes first."""

    capacity_wh: Annotated[int, Field(gt=0, le=10**12)]
    discharge_max_w: Watts
    reserve_percent: Annotated[float, Field(ge=0, le=100, allow_inf_nan=False)] = 20.0


class VehicleToGridConfig(DescribedModel):
    """On what terms vehicles whose drivers agree feed in. A driver is credited with
    `credit_per_kwh`, out of which the battery's wear is paid too, so less than `wear_per_kwh` is
    refused. A site without this feeds nothing in."""

    credit_per_kwh: Price
    wear_per_kwh: Price = Decimal("0.05")
    currency: Annotated[str, Field(pattern="^[A-Z]{3}$")]
    """ISO 4217."""

    @model_validator(mode="after")
    def _wear_is_paid(self) -> Self:
        if self.credit_per_kwh < self.wear_per_kwh:
            raise ValueError(
                f"credit_per_kwh {self.credit_per_kwh} is less than wear_per_kwh "
                f"{self.wear_per_kwh}: drivers would pay for feeding in"
            )
        return self
