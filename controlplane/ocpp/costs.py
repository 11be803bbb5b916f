"""What a transaction costs as a station calculates it (OCPP 2.1 part 2, functional block I), and
the rest of what only 2.1 says of one.

Money is `Decimal` in the tariff's currency, energy watt-hours."""

from __future__ import annotations

from decimal import Decimal
from enum import StrEnum

import msgspec

from controlplane.charging_tariff import Price

__all__ = [
    "CostDetails",
    "CostKind",
    "TotalCost",
    "TransactionDetails",
    "TransactionLimit",
    "Usage",
]


class CostKind(StrEnum):
    """Whether the tariff's bound decided (TariffCostEnumType)."""

    NORMAL = "NormalCost"
    MIN = "MinCost"
    MAX = "MaxCost"


class Usage(msgspec.Struct, frozen=True):
    """What a cost is for. The duration includes the idle time."""

    energy_wh: int | None = None
    duration_s: int | None = None
    idle_s: int | None = None
    reservation_s: int | None = None


class TotalCost(msgspec.Struct, frozen=True):
    currency: str = ""
    kind: CostKind = CostKind.NORMAL
    total: Price = Price()
    energy: Price | None = None
    charging_time: Price | None = None
    idle_time: Price | None = None
    fixed: Price | None = None
    reservation_time: Price | None = None
    reservation_fixed: Price | None = None


class CostDetails(msgspec.Struct, frozen=True):
    """What a transaction has cost so far. `failure` says why the station could not calculate it,
    and is None where it could."""

    cost: TotalCost = TotalCost()
    usage: Usage = Usage()
    failure: str | None = None


class TransactionLimit(msgspec.Struct, frozen=True):
    """Where a transaction ends by itself, by the driver's word."""

    max_cost: Decimal | None = None
    max_energy_wh: int | None = None
    max_time_s: int | None = None
    max_soc_percent: int | None = None


class TransactionDetails(msgspec.Struct, frozen=True):
    """What only 2.1 says of a transaction; None where it did not say. `operation_mode` is the
    specification's word (ChargingOnly, CentralSetpoint, LocalLoadBalancing, ...); `sleeping` that
    the EVSE has switched off its power electronics."""

    cost: CostDetails | None = None
    tariff_id: str | None = None
    operation_mode: str | None = None
    preconditioning: str | None = None
    sleeping: bool = False
    limit: TransactionLimit | None = None
