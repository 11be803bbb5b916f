"""Payments at the station, and batteries that change hands: what a driver owes or has in hand.

The invariant: each settlement and each step of a swap is in the journal once, before it is
acknowledged, however often the station repeats it; an amount that cannot be one is quarantined. A
step names no time, and stations begin to count their requests again: a battery that is handed in
once more after it was taken is another step, whatever its number."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from controlplane.charger.memory import ChargerMemory
from controlplane.charger.turn import Turn
from controlplane.charger.vat_numbers import compact_vat_number
from controlplane.ocpp.battery_swap import BatterySwapped, SwapStep
from controlplane.ocpp.dialect import Answer, Done, VatNumberAnswer
from controlplane.ocpp.payment import Settled, VatNumberAsked

__all__ = ["settled", "swapped", "vat_number_asked"]

_KEY_MAX: Final = 1_024
_REMEMBERED_MAX: Final = 64
"""Settlements and steps of swaps by which a repetition is recognised; an offline queue seldom has
more."""


def settled(turn: Turn, memory: ChargerMemory, event: Settled) -> Answer:
    """What became of a payment (C19 to C23)."""
    if _told_before(turn, memory, f"settlement/{event.reference}/{event.status.value}"):
        return Done()
    if event.amount is None or event.amount < 0:
        turn.quarantine("settlement_amount", reference=event.reference)
        return Done()
    session = next(
        (each for each in memory.sessions if each.transaction_id == event.transaction_id), None
    )
    company = event.company
    turn.emit(
        "payment.settlement",
        reference=event.reference,
        status=event.status.value,
        amount=str(event.amount),
        at_ms=event.at_ms,
        transaction_id=event.transaction_id,
        session_id=None if session is None else session.session_id,
        receipt_id=event.receipt_id,
        receipt_url=event.receipt_url,
        vat_number=event.vat_number,
        company=None
        if company is None
        else {
            "name": company.name,
            "address1": company.address1,
            "address2": company.address2,
            "postal_code": company.postal_code,
            "city": company.city,
            "country": company.country,
        },
    )
    return Done()


def vat_number_asked(turn: Turn, memory: ChargerMemory, event: VatNumberAsked) -> Answer:
    """A driver gave a number for a company's receipt: right in form, or not. Who it belongs to is
    not asked."""
    compact = compact_vat_number(event.vat_number)
    turn.emit(
        "payment.vat_number",
        vat_number=compact or event.vat_number,
        valid=compact is not None,
        connector_id=event.connector_id,
    )
    return VatNumberAnswer(compact is not None, compact or event.vat_number, event.connector_id)


def swapped(turn: Turn, memory: ChargerMemory, event: BatterySwapped) -> Answer:
    """Batteries were handed in, taken, or left in their slots (S01 to S04)."""
    serial_numbers = [battery.serial_number for battery in event.batteries]
    memory.told_once = [
        known for known in memory.told_once if not _overtaken(known, event.step, serial_numbers)
    ]
    parts = ("swap", event.step.value, str(event.request_id), event.id_token, *serial_numbers)
    if _told_before(turn, memory, "\n".join(parts)[:_KEY_MAX]):
        return Done()
    turn.emit(
        "battery.swap",
        request_id=event.request_id,
        step=event.step.value,
        id_token=event.id_token,
        id_token_type=event.id_token_type,
        batteries=[
            {
                "slot": battery.slot,
                "serial_number": battery.serial_number,
                "soc_percent": battery.soc_percent,
                "soh_percent": battery.soh_percent,
                "produced_ms": battery.produced_ms,
            }
            for battery in event.batteries
        ],
    )
    return Done()


def _overtaken(known: str, step: SwapStep, serial_numbers: Iterable[str]) -> bool:
    """Whether this was another step of one of the batteries: the next like it is a new one."""
    kind, *parts = known.split("\n")
    return (
        kind == "swap" and parts[0] != step.value and not set(parts[3:]).isdisjoint(serial_numbers)
    )


def _told_before(turn: Turn, memory: ChargerMemory, key: str) -> bool:
    if key in memory.told_once:
        return True
    memory.told_once.append(key)
    del memory.told_once[:-_REMEMBERED_MAX]
    turn.changed = True
    return False
