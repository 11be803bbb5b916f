"""Which commands may be sent a second time where nobody knows what became of the first.

A host may die between a CALL and its answer. What the station did is unknown then, and OCPP has no
number by which a station could tell a repetition from another wish. So a command is repeated only
where doing it twice comes to the same as doing it once, and where nothing happens at the charger
that somebody standing there would notice:

- a question changes nothing;
- what sets a value, wherever it is, to the value that is given sets it to the same again;
- a message that was triggered comes twice.

Never repeated is what starts, stops, unlocks, reserves, resets, installs, deletes, adds or uploads,
and what bounds or steers power: the second of two would reach another driver, another transaction
or another state than the first, or be refused where the first was accepted. Such a command ends as
one of unknown outcome, which may have been carried out."""

from __future__ import annotations

from typing import Final

from controlplane.ocpp.commands.charging_profiles import GetChargingProfiles
from controlplane.ocpp.commands.core import (
    ChangeAvailability,
    Command,
    GetCompositeSchedule,
    GetSettings,
    RawCall,
    SetSettings,
    Trigger,
)
from controlplane.ocpp.commands.customer import (
    GetCustomerInformation,
    GetTransactionStatus,
    UpdateCost,
)
from controlplane.ocpp.commands.der import GetDerControls
from controlplane.ocpp.commands.device_model import (
    GetBaseReport,
    GetMonitoringReport,
    GetReport,
    SetMonitoringBase,
    SetMonitoringLevel,
)
from controlplane.ocpp.commands.display import GetDisplayMessages, SetDisplayMessage
from controlplane.ocpp.commands.event_stream import AdjustStream, GetStreams
from controlplane.ocpp.commands.local_list import ClearCache, GetListVersion
from controlplane.ocpp.commands.security import GetInstalledCertificates
from controlplane.ocpp.commands.tariff import GetTariffs, SetDefaultTariff
from controlplane.ocpp.commands.v2x import AllowEnergyTransfer

__all__ = ["repeatable"]

_QUESTIONS: Final = (
    GetBaseReport,
    GetChargingProfiles,
    GetCompositeSchedule,
    GetDerControls,
    GetDisplayMessages,
    GetInstalledCertificates,
    GetListVersion,
    GetMonitoringReport,
    GetReport,
    GetSettings,
    GetStreams,
    GetTariffs,
    GetTransactionStatus,
)
_SETTERS: Final = (
    AdjustStream,
    AllowEnergyTransfer,
    ChangeAvailability,
    ClearCache,
    SetDefaultTariff,
    SetDisplayMessage,
    SetMonitoringBase,
    SetMonitoringLevel,
    SetSettings,
    UpdateCost,
)
_RAW_QUESTIONS: Final = frozenset(
    {
        "GetBaseReport",
        "GetChargingProfiles",
        "GetCompositeSchedule",
        "GetConfiguration",
        "GetDERControl",
        "GetDisplayMessages",
        "GetInstalledCertificateIds",
        "GetLocalListVersion",
        "GetMonitoringReport",
        "GetPeriodicEventStream",
        "GetReport",
        "GetTariffs",
        "GetTransactionStatus",
        "GetVariables",
    }
)
"""Not GetLog and GetDiagnostics: they begin an upload."""


def repeatable(command: Command) -> bool:
    """Whether the station may be told the command again, though it may have heard it before."""
    if isinstance(command, RawCall):
        return command.action in _RAW_QUESTIONS
    if isinstance(command, GetCustomerInformation):
        return not command.clear
    if isinstance(command, Trigger):
        # One for a certificate begins another signing.
        return not command.message.startswith("Sign")
    return isinstance(command, _QUESTIONS + _SETTERS)
