"""Which charging profiles a charger holds, whoever installed them (2.x K09)."""

from __future__ import annotations

from enum import StrEnum

from controlplane.ocpp.commands.core import ReportCommand

__all__ = ["GetChargingProfiles", "ProfilePurpose"]


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
