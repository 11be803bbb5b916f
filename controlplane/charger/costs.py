"""What a station itself says a transaction costs, in which mode it runs, and the tariffs that
drivers have of their own (2.1).

The invariant: the journal has every change of a session's cost and mode once, and nothing that was
true before what is already known."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from controlplane.charger.memory import ChargerMemory, Session, SessionDetails
from controlplane.charger.messages import DriverTariffSet, SetDriverTariff
from controlplane.charger.turn import Turn
from controlplane.charging_tariff import Price, Tariff, tariff_fault
from controlplane.errors import Refusal
from controlplane.ocpp.costs import CostDetails, TransactionDetails
from controlplane.ocpp.events import TransactionEnded, TransactionStarted, TransactionUpdated

__all__ = ["detailed", "driver_tariff", "set_driver_tariff"]

_DRIVER_TARIFFS_MAX: Final = 64
_TOKEN_MAX: Final = 255
_NOTHING: Final = TransactionDetails()


def driver_tariff(memory: ChargerMemory, id_token: str) -> Tariff | None:
    """The driver's own tariff, given with the authorisation (I08)."""
    return memory.driver_tariffs.get(id_token)


def set_driver_tariff(
    turn: Turn, memory: ChargerMemory, wish: SetDriverTariff
) -> DriverTariffSet | Refusal:
    """Keep a driver's tariff, or forget it."""
    if not 1 <= len(wish.id_token) <= _TOKEN_MAX:
        return Refusal("invalid_input", "TOKEN_INVALID", f"id_token: 1 to {_TOKEN_MAX} characters")
    known = memory.driver_tariffs.get(wish.id_token)
    if known == wish.tariff:
        return DriverTariffSet(wish.id_token)
    if wish.tariff is None:
        del memory.driver_tariffs[wish.id_token]
    else:
        fault = tariff_fault(wish.tariff)
        if fault is not None:
            return Refusal("invalid_input", "TARIFF_INVALID", f"tariff: {fault}")
        if known is None and len(memory.driver_tariffs) >= _DRIVER_TARIFFS_MAX:
            return Refusal(
                "exhausted", "TARIFFS_FULL", f"a charger keeps {_DRIVER_TARIFFS_MAX} of drivers"
            )
        memory.driver_tariffs[wish.id_token] = wish.tariff
    turn.changed = True
    turn.emit(
        "tariff.driver_set",
        id_token=wish.id_token,
        tariff_id=None if wish.tariff is None else wish.tariff.tariff_id,
    )
    return DriverTariffSet(wish.id_token)


def detailed(
    turn: Turn,
    memory: ChargerMemory,
    event: TransactionStarted | TransactionUpdated | TransactionEnded,
) -> None:
    """Take in what only 2.1 says of a transaction."""
    details = event.details
    if details is None:
        return
    session = next(
        (each for each in reversed(memory.sessions) if each.transaction_id == event.transaction_id),
        None,
    )
    if session is None:
        return
    known = session.details
    at_ms = turn.now_ms if event.at_ms is None else event.at_ms
    if known is None:
        if details == _NOTHING:
            return
        known = session.details = SessionDetails()
    elif at_ms < known.at_ms:
        # Replayed in another order: what is known is newer.
        return
    known.at_ms = at_ms
    _mode(turn, session, known, details)
    if details.cost is not None:
        _cost(turn, session, known, details.cost)


def _mode(turn: Turn, session: Session, known: SessionDetails, details: TransactionDetails) -> None:
    before = msgspec.structs.astuple(known)
    known.operation_mode = details.operation_mode or known.operation_mode
    known.tariff_id = details.tariff_id or known.tariff_id
    known.preconditioning = details.preconditioning or known.preconditioning
    known.sleeping = details.sleeping
    known.limit = details.limit or known.limit
    if msgspec.structs.astuple(known) == before:
        return
    turn.changed = True
    turn.emit(
        "session.mode",
        session_id=session.session_id,
        connector_id=session.connector_id,
        operation_mode=known.operation_mode,
        tariff_id=known.tariff_id,
        preconditioning=known.preconditioning,
        sleeping=known.sleeping,
        limit=None if known.limit is None else msgspec.to_builtins(known.limit),
    )


def _cost(turn: Turn, session: Session, known: SessionDetails, details: CostDetails) -> None:
    if details == known.cost:
        return
    known.cost = details
    turn.changed = True
    if details.failure is not None:
        turn.emit(
            "session.cost_failed",
            session_id=session.session_id,
            connector_id=session.connector_id,
            reason=details.failure,
        )
        return
    cost, usage = details.cost, details.usage
    parts = {
        name: _amounts(price)
        for name in (
            "energy",
            "charging_time",
            "idle_time",
            "fixed",
            "reservation_time",
            "reservation_fixed",
        )
        if (price := getattr(cost, name)) is not None
    }
    turn.emit(
        "session.cost",
        session_id=session.session_id,
        connector_id=session.connector_id,
        currency=cost.currency,
        kind_of_cost=cost.kind.value,
        total=_amounts(cost.total),
        parts=parts,
        energy_wh=usage.energy_wh,
        duration_s=usage.duration_s,
        idle_s=usage.idle_s,
    )


def _amounts(price: Price) -> dict[str, Any]:
    """Money as text: no reader may make a binary fraction of it."""
    return {
        "excluding_tax": None if price.excluding_tax is None else str(price.excluding_tax),
        "including_tax": None if price.including_tax is None else str(price.including_tax),
    }
