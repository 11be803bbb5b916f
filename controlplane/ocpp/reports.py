"""What the messages say that follow a `ReportCommand`, free of any version.

They are those of 2.x; 1.6 answers every question at once. Each function takes
`CommandResult.report`, whose payloads have passed their schema."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import msgspec

from controlplane.ocpp.commands import DisplayMessage, ProfilePurpose
from controlplane.ocpp.events import ChargingLimitNotified, ChargingSchedule
from controlplane.ocpp.readings import bounded_integer, instant_ms
from controlplane.ocpp.schedules import charging_schedule
from controlplane.ocpp.v201.charging_profiles import PURPOSE_OF_WORD
from controlplane.ocpp.v201.common import evse_number
from controlplane.ocpp.v201.display import display_message

__all__ = [
    "ReportedProfile",
    "charging_profiles_reported",
    "customer_information_reported",
    "display_messages_reported",
    "external_limits_reported",
]

Report = Iterable[dict[str, Any]]


class ReportedProfile(msgspec.Struct, frozen=True):
    """A charging profile that a station holds. `connector_id` 0 is the whole charger; `source` says
    who set it: CSO, EMS, SO, Other or a word of the maker's. `kind` is Absolute, Recurring,
    Relative or Dynamic, `recurrence` Daily or Weekly, or empty."""

    profile_id: int
    connector_id: int
    source: str
    purpose: ProfilePurpose
    stack_level: int
    kind: str
    recurrence: str
    valid_from_ms: int | None
    valid_until_ms: int | None
    transaction_id: str
    schedules: tuple[ChargingSchedule, ...]


def display_messages_reported(report: Report) -> tuple[DisplayMessage, ...]:
    """The messages that a station holds (NotifyDisplayMessages)."""
    return tuple(display_message(info) for part in report for info in part.get("messageInfo", ()))


def customer_information_reported(report: Report) -> str:
    """What a station keeps of a customer, as it writes it (NotifyCustomerInformation)."""
    return "".join(part["data"] for part in sorted(report, key=lambda part: part["seqNo"]))


def charging_profiles_reported(report: Report) -> tuple[ReportedProfile, ...]:
    """The profiles that a station holds (ReportChargingProfiles)."""
    return tuple(profile for part in report for profile in _profiles(part))


def external_limits_reported(part: dict[str, Any]) -> tuple[ChargingLimitNotified, ...]:
    """The limits of other systems in one ReportChargingProfiles, as if each had been notified; of
    several by one source the one of the highest stack level counts (2.x part 2 section K, 3.5).
    Recurring ones are left out: no station limits itself by the week."""
    highest: dict[tuple[int, str], ReportedProfile] = {}
    for profile in _profiles(part):
        if profile.purpose is ProfilePurpose.EXTERNAL and profile.kind != "Recurring":
            key = (profile.connector_id, profile.source)
            if key not in highest or profile.stack_level > highest[key].stack_level:
                highest[key] = profile
    return tuple(
        ChargingLimitNotified(
            connector_id,
            source,
            grid_critical=False,
            schedules=tuple(_while_valid(schedule, profile) for schedule in profile.schedules),
        )
        for (connector_id, source), profile in highest.items()
    )


def _while_valid(schedule: ChargingSchedule, profile: ReportedProfile) -> ChargingSchedule:
    """The schedule, within the time in which its profile is valid."""
    start_ms = profile.valid_from_ms if schedule.start_ms is None else schedule.start_ms
    duration_s = schedule.duration_s
    if profile.valid_until_ms is not None and start_ms is not None:
        left_s = max(0, (profile.valid_until_ms - start_ms) // 1_000)
        duration_s = left_s if duration_s is None else min(duration_s, left_s)
    return msgspec.structs.replace(schedule, start_ms=start_ms, duration_s=duration_s)


def _profiles(part: dict[str, Any]) -> Iterator[ReportedProfile]:
    for profile in part["chargingProfile"]:
        yield ReportedProfile(
            profile_id=bounded_integer(profile["id"], least=-(2**31)),
            connector_id=evse_number(part["evseId"]),
            source=part["chargingLimitSource"],
            purpose=PURPOSE_OF_WORD[profile["chargingProfilePurpose"]],
            stack_level=bounded_integer(profile["stackLevel"]),
            kind=profile["chargingProfileKind"],
            recurrence=profile.get("recurrencyKind", ""),
            valid_from_ms=instant_ms(profile.get("validFrom")),
            valid_until_ms=instant_ms(profile.get("validTo")),
            transaction_id=profile.get("transactionId", ""),
            schedules=tuple(map(charging_schedule, profile["chargingSchedule"])),
        )
