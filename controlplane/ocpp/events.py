"""What a station can tell us, in the words of the field and free of any version.

A dialect translates a validated CALL payload to one of these. Instants are the station's own,
as milliseconds UTC; energies are watt-hours of the station's register; the receive time comes with
the message, not with the event."""

from __future__ import annotations

from enum import StrEnum
from typing import Any, Literal

import msgspec

from controlplane.ocpp.certificates import CertificateHash
from controlplane.ocpp.costs import TransactionDetails
from controlplane.ocpp.variables import ReportedVariable, VariableName

__all__ = [
    "Authorize",
    "Booted",
    "CertificateChainStatusAsked",
    "CertificateRequested",
    "CertificateStatusAsked",
    "ChargingLimitCleared",
    "ChargingLimitNotified",
    "ChargingNeedsNotified",
    "ChargingSchedule",
    "ConnectorStatus",
    "DataTransferred",
    "DischargeAbility",
    "Event",
    "FirmwareProgress",
    "FirmwarePublished",
    "Heartbeat",
    "LogProgress",
    "MeterReading",
    "MeterReported",
    "Monitor",
    "MonitorsReported",
    "Noted",
    "ReportPart",
    "ReportReceived",
    "ReservationUpdated",
    "SchedulePeriod",
    "SecurityEventNotified",
    "StatusChanged",
    "TransactionEnded",
    "TransactionStarted",
    "TransactionUpdated",
    "VariableNotice",
    "VariablesNoticed",
    "VariablesReported",
    "VehicleCertificateAsked",
    "VehicleScheduleNotified",
    "VehicleUnplugged",
]


class ConnectorStatus(StrEnum):
    """A connector as a driver would see it; 1.6 statuses and the 2.x status with its transaction's
    chargingState map to it."""

    AVAILABLE = "available"
    PREPARING = "preparing"
    CHARGING = "charging"
    SUSPENDED_EV = "suspended_ev"
    SUSPENDED_EVSE = "suspended_evse"
    FINISHING = "finishing"
    OCCUPIED = "occupied"
    RESERVED = "reserved"
    UNAVAILABLE = "unavailable"
    FAULTED = "faulted"


class Event(msgspec.Struct, frozen=True):
    """Base of everything a station can tell."""


class Booted(Event, frozen=True, tag="booted"):
    vendor: str
    model: str
    firmware: str
    serial_number: str
    reason: str = ""


class Heartbeat(Event, frozen=True, tag="heartbeat"):
    pass


class StatusChanged(Event, frozen=True, tag="status"):
    """`connector_id` 0 is the charger as a whole. `plug` is the connector of a 2.x EVSE that the
    word is about, 0 for the EVSE as a whole. `vendor_error_code` and `info` are the maker's own
    words for a fault (1.6)."""

    connector_id: int
    status: ConnectorStatus
    error_code: str
    at_ms: int | None
    plug: int = 0
    vendor_error_code: str = ""
    info: str = ""


class Authorize(Event, frozen=True, tag="authorize"):
    """`unproven`: a vehicle's contract, whose certificate the station could not verify and has
    passed on instead (2.x part 2 C07)."""

    id_token: str
    id_token_type: str = "Central"
    unproven: bool = False


class MeterReading(msgspec.Struct, frozen=True):
    """One sampled moment. Import positive. None where the station did not say; currents per
    conductor of the connector."""

    at_ms: int | None
    energy_wh: int | None = None
    power_w: int | None = None
    current_ma: tuple[int | None, int | None, int | None] = (None, None, None)
    soc_percent: float | None = None
    context: str = ""
    exported_wh: int | None = None
    """The register of what was fed in, apart from `energy_wh`."""


class MeterReported(Event, frozen=True, tag="meter"):
    connector_id: int
    transaction_id: str | None
    readings: tuple[MeterReading, ...]


class TransactionStarted(Event, frozen=True, tag="tx_started"):
    """`transaction_id` is None in 1.6, where we hand it out. `offline` means: it happened before
    and is reported now."""

    connector_id: int
    transaction_id: str | None
    id_token: str | None
    at_ms: int | None
    meter_start_wh: int | None
    seq_no: int | None = None
    charging_state: ConnectorStatus | None = None
    offline: bool = False
    readings: tuple[MeterReading, ...] = ()
    remote_start_id: int | None = None
    details: TransactionDetails | None = None
    reservation_number: int | None = None


class TransactionUpdated(Event, frozen=True, tag="tx_updated"):
    connector_id: int | None
    transaction_id: str
    at_ms: int | None
    seq_no: int | None = None
    trigger: str = ""
    charging_state: ConnectorStatus | None = None
    id_token: str | None = None
    offline: bool = False
    readings: tuple[MeterReading, ...] = ()
    details: TransactionDetails | None = None
    reservation_number: int | None = None


class TransactionEnded(Event, frozen=True, tag="tx_ended"):
    connector_id: int | None
    transaction_id: str
    at_ms: int | None
    meter_stop_wh: int | None
    seq_no: int | None = None
    reason: str = ""
    id_token: str | None = None
    offline: bool = False
    readings: tuple[MeterReading, ...] = ()
    details: TransactionDetails | None = None


class DischargeAbility(msgspec.Struct, frozen=True):
    """What a vehicle can give back (2.1, over ISO 15118-20); None where it did not say.

    Powers and currents are 0 or more. The energies are what it takes to reach the bounds of its
    range for that: a positive least one has to be charged first, a negative most one can be
    discharged. `dynamic` is set where the vehicle leaves it to the station what it does when.
    """

    power_min_w: int | None = None
    power_max_w: int | None = None
    current_min_ma: int | None = None
    current_max_ma: int | None = None
    energy_min_wh: int | None = None
    energy_max_wh: int | None = None
    dynamic: bool = False
    energy_full_wh: int | None = None
    """What it takes until the battery is full."""


class ChargingNeedsNotified(Event, frozen=True, tag="charging_needs"):
    """What a vehicle says of itself (2.x, over ISO 15118); None where it did not say.

    `energy_wh` is what it still wants at this moment. Currents are those of one phase, of
    alternating current; a vehicle on direct current gives its power. `connector_id` 0 is no EVSE.
    """

    connector_id: int
    departure_ms: int | None = None
    energy_wh: int | None = None
    current_min_ma: int | None = None
    current_max_ma: int | None = None
    phases: int | None = None
    power_max_w: int | None = None
    soc_percent: int | None = None
    capacity_wh: int | None = None
    discharge: DischargeAbility | None = None


class ReservationUpdated(Event, frozen=True, tag="reservation_updated"):
    """A station let go of a reservation (2.x); `status` is its own word, such as Expired."""

    number: int
    status: str


class SchedulePeriod(msgspec.Struct, frozen=True):
    """`limit`, in the schedule's unit, from `start_s` after the schedule's start until the next
    period begins; None where the period speaks of something else (2.1). `phases` None: the station
    did not say."""

    start_s: int
    limit: float | None
    phases: int | None


class ChargingSchedule(msgspec.Struct, frozen=True):
    """Limits over time. `start_ms` None: relative to whatever carries the schedule; `duration_s`
    None: the last period has no end. Amperes are per phase, watts of all phases together."""

    start_ms: int | None
    duration_s: int | None
    unit: Literal["A", "W"]
    periods: tuple[SchedulePeriod, ...]


class VehicleScheduleNotified(Event, frozen=True, tag="vehicle_schedule"):
    """The schedule by which a vehicle means to charge (2.x, over ISO 15118). `base_ms` is what its
    periods count from, None where it cannot be read."""

    connector_id: int
    base_ms: int | None
    schedule: ChargingSchedule


class ChargingLimitNotified(Event, frozen=True, tag="charging_limit"):
    """A system other than Loadstar limits a connector, or with `connector_id` 0 the whole charger
    (2.x). `source` is the specification's word: EMS, SO, Other or one of the maker's. Of several
    schedules the lowest counts; without any the station keeps the limit to itself."""

    connector_id: int
    source: str
    grid_critical: bool
    schedules: tuple[ChargingSchedule, ...]


class ChargingLimitCleared(Event, frozen=True, tag="charging_limit_cleared"):
    """Such a limit is gone; `connector_id` 0 speaks for the whole charger."""

    connector_id: int
    source: str


class ReportReceived(Event, frozen=True, tag="report"):
    """A part of what was asked for with a `ReportCommand`; `more` are to follow. `personal`: what
    it holds is about a person, and nobody's business but the asker's."""

    action: str
    request_id: int
    more: bool
    data: dict[str, Any]
    personal: bool = False


class ReportPart(msgspec.Struct, frozen=True):
    """Where a message stands in the report it is part of: the number by which it was asked for,
    its place from 0, and whether more follow."""

    request_id: int
    seq_no: int
    more: bool


class VariablesReported(Event, frozen=True, tag="variables_reported"):
    """A part of a station's report of its variables (2.x)."""

    part: ReportPart
    variables: tuple[ReportedVariable, ...]


class Monitor(msgspec.Struct, frozen=True):
    """A monitor that watches a variable; `severity` is 0, danger, to 9, debug."""

    monitor_id: int
    name: VariableName
    kind: str
    value: float
    severity: int
    transaction: bool


class MonitorsReported(Event, frozen=True, tag="monitors_reported"):
    """A part of a station's report of its monitors (2.x)."""

    part: ReportPart
    monitors: tuple[Monitor, ...]


class VariableNotice(msgspec.Struct, frozen=True):
    """What a station noticed of one of its variables. `trigger` is Alerting, Delta or Periodic;
    `cleared` means that what was told before is over. None where it did not say."""

    event_id: int
    name: VariableName
    value: str
    trigger: str
    at_ms: int | None
    cleared: bool = False
    cause: int | None = None
    """The event that led to this one."""
    monitor_id: int | None = None
    severity: int | None = None
    transaction_id: str = ""
    tech_code: str = ""
    tech_info: str = ""


class VariablesNoticed(Event, frozen=True, tag="variables_noticed"):
    """A NotifyEvent (2.x)."""

    seq_no: int
    notices: tuple[VariableNotice, ...]


class DataTransferred(Event, frozen=True, tag="data_transfer"):
    """A maker's own message. `meaning` is what it says where its extension is built in and could
    make sense of it; `vendor_known` and `message_known` tell what else is built in."""

    vendor_id: str
    message_id: str
    data: Any = None
    vendor_known: bool = False
    message_known: bool = False
    meaning: Event | None = None


class VehicleUnplugged(Event, frozen=True, tag="unplugged"):
    """The cable was taken out after the transaction had ended: nobody idles there any more."""

    transaction_id: str
    at_ms: int | None


class SecurityEventNotified(Event, frozen=True, tag="security_event"):
    """Something that the station holds to concern its security (A04). `kind` is from the list of
    OCPP or the maker's own word."""

    kind: str
    at_ms: int | None
    detail: str


class CertificateRequested(Event, frozen=True, tag="certificate_requested"):
    """The station made a key and wants a certificate for it (A02, A03). `csr` is PEM as it came;
    `request_id` the station's own number (2.1)."""

    csr: str
    purpose: str
    request_id: int | None = None


class CertificateStatusAsked(Event, frozen=True, tag="certificate_status_asked"):
    """Whether a certificate that a vehicle showed still counts (M06)."""

    certificate: CertificateHash


class CertificateChainStatusAsked(Event, frozen=True, tag="certificate_chain_status_asked"):
    """Whether the certificates of a chain still count, each with the source that is wanted, CRL or
    OCSP (2.1, M07)."""

    certificates: tuple[tuple[CertificateHash, str], ...]


class VehicleCertificateAsked(Event, frozen=True, tag="vehicle_certificate_asked"):
    """A vehicle wants its contract certificate installed or renewed (M01, M02); the request itself
    is ISO 15118's and for a PKI operator."""

    action: str


class FirmwareProgress(Event, frozen=True, tag="firmware_progress"):
    """How far an update has come, in the station's own word; `request_id` None where the version
    has none."""

    status: str
    request_id: int | None


class FirmwarePublished(Event, frozen=True, tag="firmware_published"):
    """How far a local controller has come with publishing firmware, and where it lies (2.x L03)."""

    status: str
    request_id: int | None
    locations: tuple[str, ...]


class LogProgress(Event, frozen=True, tag="log_progress"):
    """How far the upload of a log has come, in the station's own word."""

    status: str
    request_id: int | None


class Noted(Event, frozen=True, tag="noted"):
    """A notice that is accepted and journalled but changes no state (firmware and diagnostics
    status, security events, monitoring reports)."""

    kind: str
    data: dict[str, Any]
