"""What a station is told of power in both directions (2.1)."""

from __future__ import annotations

from controlplane.ocpp.commands.core import Command
from controlplane.ocpp.v2x import EnergyTransfer, PowerProfile, ScheduleValues

__all__ = [
    "AllowEnergyTransfer",
    "SendFrequencySignal",
    "SetPowerProfile",
    "UpdateSchedule",
    "UsePriority",
]


class AllowEnergyTransfer(Command, frozen=True, tag="allow_energy_transfer"):
    """Which modes the vehicle of a running transaction may choose from (Q01, Q02); at least one."""

    transaction_id: str
    modes: tuple[EnergyTransfer, ...]


class SendFrequencySignal(Command, frozen=True, tag="frequency_signal"):
    """A signal of the automatic frequency restoration reserve (Q07): each vehicle follows it by the
    signal curve of its profile, from `at_ms` on."""

    at_ms: int
    signal: int


class UpdateSchedule(Command, frozen=True, tag="update_schedule"):
    """New values for a dynamic profile that the station has (K28), in the profile's unit."""

    profile_id: int
    values: ScheduleValues


class UsePriority(Command, frozen=True, tag="use_priority"):
    """Put a transaction under the station's profile for priority, or end that (K21)."""

    transaction_id: str
    active: bool


class SetPowerProfile(Command, frozen=True, tag="set_power_profile"):
    """Install a profile in the words of 2.1. `connector_id` 0 is the whole station, or each of its
    EVSEs where the purpose is a default."""

    connector_id: int
    profile: PowerProfile
