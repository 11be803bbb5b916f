"""What a driver is owed for the energy that the vehicle fed in.

The invariants: a credit is worked out from the meter's own register and from nothing else; each
watt-hour is credited once, at the price that held when it was counted, however often its reading
comes; sums are exact `Decimal`, never rounded."""

from __future__ import annotations

from typing import Final

from controlplane.charger.memory import ChargerMemory, Session
from controlplane.charger.messages import FeedInTerms
from controlplane.charger.turn import Turn

__all__ = ["accrue", "worth_accruing"]

_WH_PER_KWH: Final = 1_000
_TOLD_WH: Final = 1_000
"""While a vehicle feeds in, the journal hears of each so many watt-hours."""


def worth_accruing(memory: ChargerMemory, session: Session) -> bool:
    """Whether what was fed in since the last time is to be credited now: the vehicle has stopped,
    the session is over, or it has become much."""
    exported_wh = session.exported.energy_wh
    # What feeds nothing in has no credit to be looked at.
    new_wh = exported_wh and exported_wh - session.credit.energy_wh
    if not new_wh:
        return False
    connector = memory.connectors.get(session.connector_id)
    feeds = connector is not None and (connector.power_w or 0) < 0
    return session.ended_ms is not None or not feeds or new_wh >= _TOLD_WH


def accrue(
    turn: Turn, memory: ChargerMemory, session: Session, terms: FeedInTerms | None = None
) -> bool:
    """Credit what was fed in and is not credited yet; whether anything was.

    Args:
        terms: those that held when it was counted; None: those of the description.
    """
    if terms is None and memory.described is not None:
        terms = memory.described.feed_in
    credit = session.credit
    new_wh = session.exported.energy_wh - credit.energy_wh
    if terms is None or not new_wh:
        return False
    if credit.currency not in ("", terms.currency):
        # Two currencies have no sum: what was earned in the first stays as it is.
        turn.deviation("credit_currency", session_id=session.session_id, currency=terms.currency)
        return False
    amount = terms.price_per_kwh * new_wh / _WH_PER_KWH
    credit.energy_wh += new_wh
    credit.amount += amount
    credit.currency, credit.price_per_kwh = terms.currency, terms.price_per_kwh
    turn.changed = True
    turn.emit(
        "credit.accrued",
        session_id=session.session_id,
        connector_id=session.connector_id,
        id_token=session.id_token,
        energy_wh=new_wh,
        price_per_kwh=str(terms.price_per_kwh),
        amount=str(amount),
        currency=terms.currency,
        session_energy_wh=credit.energy_wh,
        session_amount=str(credit.amount),
    )
    return True
