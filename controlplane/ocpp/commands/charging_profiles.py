"""Charging profiles word for word: which a charger holds (2.x K09), one installed, one removed.

The limits of the allocation are `core.SetLimit`; these are an operator's own beside them."""

from __future__ import annotations

from enum import StrEnum
from typing import Literal

import msgspec

from controlplane.ocpp.commands.core import Command, ReportCommand

__all__ = [
    "ChargingProfile",
    "ClearProfile",
    "GetChargingProfiles",
    "LimitPeriod",
    "ProfilePurpose",
    "ScheduleKind",
    "SetProfile",
]


class ProfilePurpose(StrEnum):
    """What a profile is for; the last two since 2.1."""

    CHARGER_MAX = "charger_max"
    DEFAULT = "default"
    EXTERNAL = "external"
    """A limit that another system has set on the charger."""
    TRANSACTION = "transaction"
    LOCAL_GENERATION = "local_generation"
    PRIORITY = "priority"


class GetChargingProfiles(ReportCommand, frozen=True, kw_only=True, tag="get_charging_profiles"):
    """The profiles that match all that is given; `connector_id` 0 asks for those of the whole
    charger, None for all. `sources` are words of the specification: CSO, EMS, SO, Other."""

    connector_id: int | None = None
    purpose: ProfilePurpose | None = None
    stack_level: int | None = None
    profile_ids: tuple[int, ...] = ()
    sources: tuple[str, ...] = ()


class ScheduleKind(StrEnum):
    """What a schedule's time counts from."""

    ABSOLUTE = "absolute"
    DAILY = "daily"
    WEEKLY = "weekly"
    RELATIVE = "relative"
    """The start of its transaction."""


class LimitPeriod(msgspec.Struct, frozen=True):
    """A limit in the profile's unit, from `start_s` after the schedule's begin to the next one;
    `phases` None: three."""

    limit: float
    start_s: int = 0
    phases: int | None = None


class ChargingProfile(msgspec.Struct, frozen=True):
    """A profile as every version has it. `start_ms` begins an absolute one, now where it is None,
    and is the instant from which one counts that recurs."""

    profile_id: int
    purpose: ProfilePurpose
    kind: ScheduleKind
    unit: Literal["A", "W"]
    periods: tuple[LimitPeriod, ...]
    stack_level: int = 0
    transaction_id: str | None = None
    start_ms: int | None = None
    duration_s: int | None = None
    valid_from_ms: int | None = None
    valid_until_ms: int | None = None


class SetProfile(Command, frozen=True, tag="set_profile"):
    """Install a profile. `connector_id` 0 is the whole charger, or each of its connectors where the
    purpose is a default."""

    connector_id: int
    profile: ChargingProfile


class ClearProfile(Command, frozen=True, tag="clear_profile"):
    """Remove the profile with this number, whoever installed it but for Loadstar itself."""

    profile_id: int
