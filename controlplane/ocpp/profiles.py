"""An operator's own charging profile on its way to a station, in the parts that 1.6 and 2.x share.

Invariant: what is written here never takes the place of a profile that the allocation keeps account
of, and no station refuses it for its form. Sources: OCPP 1.6 section 3.13, 5.16 and 7.8; 2.0.1 part
2, K01."""

from __future__ import annotations

from itertools import pairwise
from typing import Any, Final

from controlplane.ocpp.commands import (
    ChargingProfile,
    ClearProfile,
    ProfilePurpose,
    ScheduleKind,
    SetProfile,
)
from controlplane.ocpp.dialect import profile_of
from controlplane.ocpp.framing import Fault
from controlplane.units import iso_s_from_ms

__all__ = ["clear_fault", "profile_fault", "write_profile", "write_schedule"]

_PERIODS_MAX: Final = 1_024
_RECURRENCE: Final = {ScheduleKind.DAILY: "Daily", ScheduleKind.WEEKLY: "Weekly"}
_KIND: Final = {ScheduleKind.ABSOLUTE: "Absolute", ScheduleKind.RELATIVE: "Relative"}
_OWN: Final = "this number is one of Loadstar's own: ten times a connector, and 1 to 3"


def clear_fault(command: ClearProfile) -> Fault | None:
    """Why a profile is not removed: what the allocation has set, it counts on."""
    return _fault(_OWN) if profile_of(command.profile_id)[1] is not None else None


def profile_fault(command: SetProfile) -> Fault | None:
    """What a station would refuse, or take otherwise than it was meant."""
    words = _wrong(command.profile, command.connector_id)
    return None if words is None else _fault(words)


def _fault(words: str) -> Fault:
    return Fault("PropertyConstraintViolation", words)


def _wrong(profile: ChargingProfile, connector_id: int) -> str | None:
    if profile_of(profile.profile_id)[1] is not None:
        return _OWN
    if profile.purpose is ProfilePurpose.EXTERNAL:
        return "what other systems allow is theirs to set"
    if not 1 <= len(profile.periods) <= _PERIODS_MAX:
        return f"a profile has 1 to {_PERIODS_MAX} periods"
    if profile.periods[0].start_s != 0:
        return "the first period begins at 0 (K01.FR.31)"
    if any(later.start_s <= period.start_s for period, later in pairwise(profile.periods)):
        return "each period begins after the one before it (K01.FR.35)"
    if any(not 0 <= period.limit < 1e9 for period in profile.periods):
        return "limits are 0 or more"
    of_transaction = profile.purpose is ProfilePurpose.TRANSACTION
    if of_transaction != (profile.transaction_id is not None):
        return "a transaction's profile, and no other, names its transaction (K01.FR.03)"
    of_charger = profile.purpose is ProfilePurpose.CHARGER_MAX
    if (of_charger and connector_id != 0) or (of_transaction and connector_id == 0):
        return "the charger's limit is set on connector 0, a transaction's on its own"
    if of_charger and profile.kind is ScheduleKind.RELATIVE:
        return "the charger's limit is relative to nothing (K01.FR.38)"
    if profile.kind in _RECURRENCE and profile.start_ms is None:
        return "a schedule that recurs has a start"
    return None


def write_profile(profile: ChargingProfile) -> dict[str, Any]:
    """What stands in a profile of every version beside its number, purpose and schedule."""
    written: dict[str, Any] = {"stackLevel": profile.stack_level}
    recurrence = _RECURRENCE.get(profile.kind)
    if recurrence is None:
        written["chargingProfileKind"] = _KIND[profile.kind]
    else:
        written |= {"chargingProfileKind": "Recurring", "recurrencyKind": recurrence}
    if profile.valid_from_ms is not None:
        written["validFrom"] = iso_s_from_ms(profile.valid_from_ms)
    if profile.valid_until_ms is not None:
        written["validTo"] = iso_s_from_ms(profile.valid_until_ms)
    return written


def write_schedule(profile: ChargingProfile, now_ms: int) -> dict[str, Any]:
    """The schedule, without a number; limits have one decimal (1.6: multipleOf 0.1), rounded
    down."""
    written: dict[str, Any] = {
        "chargingRateUnit": profile.unit,
        "chargingSchedulePeriod": [
            {"startPeriod": period.start_s, "limit": int(period.limit * 10) / 10}
            | ({} if period.phases is None else {"numberPhases": period.phases})
            for period in profile.periods
        ],
    }
    if profile.duration_s is not None:
        written["duration"] = profile.duration_s
    if profile.kind is not ScheduleKind.RELATIVE:
        start_ms = now_ms if profile.start_ms is None else profile.start_ms
        written["startSchedule"] = iso_s_from_ms(start_ms)
    return written
