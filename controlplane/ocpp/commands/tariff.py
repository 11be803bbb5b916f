"""What charging costs at a station that calculates it itself (2.1, I07 to I12)."""

from __future__ import annotations

from controlplane.charging_tariff import Tariff
from controlplane.ocpp.commands.core import Command

__all__ = ["ChangeTransactionTariff", "ClearTariffs", "GetTariffs", "SetDefaultTariff"]


class SetDefaultTariff(Command, frozen=True, tag="set_default_tariff"):
    """For drivers who have none of their own; `connector_id` 0 is every EVSE."""

    connector_id: int
    tariff: Tariff


class GetTariffs(Command, frozen=True, tag="get_tariffs"):
    """`connector_id` 0 is every EVSE."""

    connector_id: int = 0


class ClearTariffs(Command, frozen=True, tag="clear_tariffs"):
    """Without ids all of them; None is every EVSE."""

    tariff_ids: tuple[str, ...] = ()
    connector_id: int | None = None


class ChangeTransactionTariff(Command, frozen=True, tag="change_transaction_tariff"):
    """From now on; the currency of a transaction cannot change."""

    transaction_id: str
    tariff: Tariff
