"""What a charger's actor remembers: plain structs, written whole as its snapshot.

Durable is what the station told once and will not repeat, and what we promised it: who it is, its
connectors' states, its sessions, the number of the next one. The last measurements ride along, but
a snapshot is never written for their sake; after a re-activation they come from the store's samples
(`ChargerActor.restore_readings`).

Structs that a charger has many of are arrays in the snapshot, a third of the size: new fields of
theirs go to the end and have a default."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from itertools import chain
from sys import intern
from typing import Final, Literal

import msgspec

from controlplane.charger.capability import Capability
from controlplane.charger.clock import StationClock
from controlplane.charger.described import Described, DescribedConnector
from controlplane.charger.energy import POWER_UNKNOWN_W, Register
from controlplane.charger.external_limits import ExternalLimit
from controlplane.charger.probing import Probing
from controlplane.charger.quirks import Quirks, quirks_of
from controlplane.charger.sequence import Sequence
from controlplane.charging_tariff import Tariff
from controlplane.ids import ChargerId, SessionId, SiteId
from controlplane.ocpp.commands import LogKind
from controlplane.ocpp.costs import CostDetails, TransactionLimit
from controlplane.ocpp.der import DerAlarm, DerControl, DerKind
from controlplane.ocpp.event_streams import Stream
from controlplane.ocpp.events import ConnectorStatus, TransactionEnded
from controlplane.ocpp.v2x import ScheduleValues
from controlplane.site.messages import VehicleLimits
from controlplane.store.records import ReservationState
from controlplane.tokens import PENDING, TokenStatus
from controlplane.units import ma_from_w, w_from_ma

__all__ = [
    "Alarm",
    "ChargerMemory",
    "Connector",
    "Credit",
    "DerReportAsked",
    "DynamicProfile",
    "FirmwareUpdate",
    "Healing",
    "Learned",
    "LocalList",
    "LogUpload",
    "OpenStream",
    "OwnDefault",
    "Report",
    "Reservation",
    "SecurityMemory",
    "Session",
    "SessionDetails",
]

CONNECTORS_MAX: Final = 64
"""Connectors that are kept for a charger; a station that invents more is not followed."""

_PLUGS_MAX: Final = 8
_PLUGS_FIRST: Final = (
    ConnectorStatus.OCCUPIED,
    ConnectorStatus.RESERVED,
    ConnectorStatus.AVAILABLE,
    ConnectorStatus.FAULTED,
    ConnectorStatus.UNAVAILABLE,
)


class Connector(msgspec.Struct, array_like=True):
    """A connector as the station tells it; connector 0 is the station itself."""

    id: int
    status: ConnectorStatus | None = None
    error_code: str = ""
    default_ma: int | None = None
    """The default profile it acknowledged, None while unknown."""
    limit_ma: int | None = None
    """The limit it acknowledged last, None while unknown."""
    measured_ms: int = 0
    power_w: int | None = None
    current_ma: tuple[int | None, int | None, int | None] = (None, None, None)
    soc_percent: float | None = None
    vehicle: VehicleLimits | None = None
    """What a vehicle said before its transaction began."""
    wanted_ma: int | None = None
    """The limit that the site wanted last for the running session, None while unknown."""
    default_sent_ma: tuple[int, ...] = ()
    """Default profiles that were sent and not answered: one of them may be in force instead."""
    plugs: dict[int, ConnectorStatus] = {}
    """What a 2.x station says of each connector of its EVSE: only one of them is used at a time."""

    def plugged(self, plug: int, status: ConnectorStatus) -> ConnectorStatus:
        """The status of the whole, now that one of its connectors has this one: in use if one is,
        and out of use only if all are."""
        if plug in self.plugs or len(self.plugs) < _PLUGS_MAX:
            self.plugs[plug] = status
        return min(self.plugs.values(), key=_PLUGS_FIRST.index)

    @property
    def default_most_ma(self) -> int | None:
        """The highest default profile that it may have, None while it may have any."""
        default_ma = self.default_ma
        return default_ma if default_ma is None else max(default_ma, *self.default_sent_ma, 0)

    @property
    def default_certain_ma(self) -> int | None:
        """The default profile that it has; None while that is in doubt."""
        return None if self.default_sent_ma else self.default_ma


class DerReportAsked(msgspec.Struct, array_like=True):
    """A report of those DER controls that match what is given."""

    request_id: int
    is_default: bool | None
    kind: DerKind | None
    control_id: str | None
    told: list[str] = []
    """Of which controls it has told so far."""


class OwnDefault(msgspec.Struct, frozen=True, array_like=True):
    """What a default profile of an operator's allows at most: mA per phase, or W of `phases`
    together, where None is all. `connector_id` 0 is each."""

    connector_id: int
    unit: Literal["A", "W"]
    limit: int
    phases: int | None


class SessionDetails(msgspec.Struct, array_like=True):
    """What only 2.1 says of a transaction, as of `at_ms`."""

    at_ms: int = 0
    cost: CostDetails | None = None
    tariff_id: str | None = None
    operation_mode: str | None = None
    preconditioning: str | None = None
    sleeping: bool = False
    limit: TransactionLimit | None = None


class Credit(msgspec.Struct, array_like=True):
    """What a driver is owed for what the vehicle fed in, so far; see `credits.py`."""

    energy_wh: int = 0
    """What of it is credited."""
    amount: Decimal = Decimal(0)
    currency: str = ""
    """ISO 4217; empty while nothing is owed."""
    price_per_kwh: Decimal = Decimal(0)
    """The latest."""


class Session(msgspec.Struct, array_like=True):
    """A session. `number` counts a charger's sessions from 1 and is the 1.6 transactionId; 2.x
    stations make their own `transaction_id`."""

    number: int
    session_id: SessionId
    transaction_id: str
    connector_id: int
    id_token: str | None
    started_ms: int
    start_key: str
    """What makes a StartTransaction the same one again: its content."""
    start_message: str = ""
    """The same: connection and message id."""
    charging_state: ConnectorStatus | None = None
    register: Register = msgspec.field(default_factory=Register)
    meter_stop_wh: int | None = None
    need_wh: int | None = None
    departure_ms: int | None = None
    ended_ms: int | None = None
    stop_reason: str | None = None
    events_seen: list[tuple[int, int | None]] = []
    """Sequence number and time of the latest TransactionEvents."""
    doubts: int = 0
    """How many of its messages were quarantined."""
    boost_until_ms: int | None = None
    """Until when it goes first."""
    vehicle: VehicleLimits | None = None
    """What the vehicle said of itself."""
    started_station_ms: int | None = None
    """When it began by the station's clock; None where the station did not say."""
    started_received_ms: int = 0
    ended_station_ms: int | None = None
    """When it ended by the station's clock."""
    ended_received_ms: int | None = None
    sequence: Sequence = msgspec.field(default_factory=Sequence)
    """Which of its TransactionEvents were heard (2.x)."""
    history: bool = False
    """It was over before another one of its connector began, and is only being told of."""
    free_since_ms: int | None = None
    """Since when its connector is said to be free, although nobody told of its end."""
    power_w_ms: int = 0
    """What its power readings add up to, in watt-milliseconds: a check on the register."""
    details: SessionDetails | None = None
    token_status: str | None = None
    """What became of its token: a `tokens.TokenStatus`, `PENDING`, or None where nobody looked."""
    group_id: str | None = None
    """Of its token."""
    exported: Register = msgspec.field(default_factory=Register)
    """The register of what the vehicle fed in."""
    reserve_percent: int | None = None
    """Down to this state of charge the driver lets the vehicle feed in; None: not at all."""
    credit: Credit = msgspec.field(default_factory=Credit)

    @property
    def authorised(self) -> bool:
        """Whether it is to be given power."""
        return self.token_status in (None, TokenStatus.ACCEPTED)


class Healing(msgspec.Struct, array_like=True):
    """How far repair from afar has come; `reason` is empty while nothing is wrong."""

    reason: str = ""
    attempts: int = 0


class OpenStream(msgspec.Struct):
    """A periodic event stream that was allowed; the last two say what it did of late."""

    stream: Stream
    written_ms: int = 0
    dropped: int = 0


class DynamicProfile(msgspec.Struct):
    """A dynamic profile that an operator installed, and its present values. `phases` is over how
    many a value of all phases spreads."""

    connector_id: int
    unit: Literal["A", "W"]
    values: ScheduleValues
    phases: int = 1


class LocalList(msgspec.Struct, array_like=True):
    """What is known of the station's local list."""

    number: int = 0
    """The version it confirmed, of our own count; 0 for none."""
    synced: int = 0
    """The registry's version that it reflects; 0 while that is not known."""
    target: int = 0
    """The same, of the list that is being sent."""
    full_ms: int = 0
    """When the whole list was sent last."""
    cut: bool = False
    """There are more tokens than it holds."""
    entries_max: int | None = None
    per_message: int | None = None


class Reservation(msgspec.Struct, array_like=True):
    """A connector (0: any) kept for a token; those that are over are not remembered."""

    number: int
    connector_id: int
    connector_type: str
    id_token: str
    group_id: str | None
    created_ms: int
    until_ms: int
    state: ReservationState = ReservationState.ASKED
    cancelling: bool = False


class Learned(msgspec.Struct, array_like=True):
    """What a charger taught by what it refused and accepted; forgotten with its firmware."""

    form: dict[str, str | int | bool] = {}
    """How it takes profiles, by field of `quirks.Quirks`, as far as that deviates."""
    tried: int = 0
    """How many other forms of a profile were tried."""
    proven: bool = False
    """It has accepted a profile in the form that is in use."""
    refused: int = 0
    """Profiles that it refused in a row; once one is proven, profiles of transactions."""
    steers_transactions: bool = False
    """It has accepted a profile of a transaction."""
    measurands: str = ""
    """The list of measurands that it accepted."""


class Report(msgspec.Struct, array_like=True):
    """How far the charger's own word on its settings is known."""

    known_of: tuple[str, str, str, str] = ("", "", "", "")
    """Vendor, model, firmware and serial number of which it was told, or given up; empty while
    neither."""
    attempts: int = 0
    """How often it was asked for, for the present firmware."""
    complete_ms: int | None = None
    """When the latest complete report ended."""


class Alarm(msgspec.Struct, array_like=True):
    """Something that a charger warned of and has not cleared."""

    key: str
    """The variable, as in `ocpp.variables`."""
    evse_id: int
    severity: int | None
    """0, danger, to 9, debug; None where nobody said."""
    since_ms: int
    value: str
    trigger: str
    monitor_id: int | None = None
    fault: bool = False
    """What it is about does not work (variable Problem)."""
    transaction_id: str = ""
    tech_code: str = ""
    tech_info: str = ""


class SecurityMemory(msgspec.Struct):
    """How the charger proves itself, as `charger/security.py` keeps it."""

    profile: int = 0
    """The highest security profile at which it connected."""
    described_hash: str | None = None
    """The described hash in whose place the following stand."""
    password_hash: str | None = None
    pending_hashes: list[str] = []
    """Of passwords that were sent and have not been used."""
    signings: dict[str, int] = {}
    """When a certificate was last asked for, by purpose."""
    candidate_since_ms: int = 0
    """Since when it waits for an owner; 0 where it does not."""
    remote: str = ""
    """The address it came from last."""
    spare_hashes: list[str] = []
    """Of passwords that were sent, and the station came back without."""


class FirmwareUpdate(msgspec.Struct, array_like=True):
    """The update that the station took last; `version` is empty where nobody knows what the
    station will call itself."""

    request_id: int
    version: str
    campaign_id: str
    asked_ms: int
    status: str = ""
    changed_ms: int = 0
    ended_ms: int | None = None


class LogUpload(msgspec.Struct, array_like=True):
    """The log that the station agreed to upload last, under the name it gave."""

    request_id: int
    kind: LogKind
    name: str
    asked_ms: int
    status: str = ""
    changed_ms: int = 0
    ended_ms: int | None = None


class ChargerMemory(msgspec.Struct, omit_defaults=True):
    """Everything a charger's actor has to remember."""

    charger_id: ChargerId
    site_id: SiteId | None = None
    described: Described | None = None
    ocpp_version: str = ""
    vendor: str = ""
    model: str = ""
    firmware: str = ""
    serial_number: str = ""
    session_number: int = 0
    """Of the latest session."""
    remote_start_id: int = 0
    """Of the latest remote start."""
    settled_connection: str = ""
    """The connection on which the station was last prepared."""
    connectors: dict[int, Connector] = {}
    sessions: list[Session] = []
    """Open ones and the latest ended ones, by number."""
    unmatched_ends: list[TransactionEnded] = []
    """Ends that came before anything else of their transaction."""
    healing: Healing = msgspec.field(default_factory=Healing)
    cleared: bool = False
    """Whether the station has answered that what others left behind is gone."""
    der_controls: dict[str, DerControl] = {}
    der_alarms: dict[str, DerAlarm] = {}
    """Those that stand, by kind and fault."""
    streams: dict[int, OpenStream] = {}
    stream_unknown_ms: int = 0
    """When values of a stream that nobody allowed were noted last."""
    dynamic_profiles: dict[int, DynamicProfile] = {}
    driver_tariffs: dict[str, Tariff] = {}
    """By the driver's token."""
    told_once: list[str] = []
    """By what settlements and swaps are recognised that are told again; the latest last."""
    security: SecurityMemory = msgspec.field(default_factory=SecurityMemory)
    report_number: int = 0
    """Of the latest report or battery swap that was asked for."""
    capability: Capability = msgspec.field(default_factory=Capability)
    learned: Learned = msgspec.field(default_factory=Learned)
    report: Report = msgspec.field(default_factory=Report)
    alarms: list[Alarm] = []
    monitor_severity: dict[int, int] = {}
    """Of the monitors that the charger told of, by id."""
    external_limits: list[ExternalLimit] = []
    """Limits that other systems set, by connector and source."""
    local_list: LocalList = msgspec.field(default_factory=LocalList)
    reservation_number: int = 0
    """Of the latest reservation."""
    reservations: list[Reservation] = []
    reservations_to_cancel: list[int] = []
    """Those that the station may hold against our knowledge."""
    firmware_update: FirmwareUpdate | None = None
    log_upload: LogUpload | None = None
    clock: StationClock = msgspec.field(default_factory=StationClock)
    probing: Probing = msgspec.field(default_factory=Probing)
    garbled: list[int] = []
    """Check sums of the latest messages that nobody could read."""
    resolved: list[int] = []
    """The latest quarantined entries that an operator has decided about."""
    described_digest: bytes = b""
    """Of the words of `described`, as the site told them."""
    update_ordered: FirmwareUpdate | None = None
    """What a campaign had the station told, while no answer to it is known."""
    der_report: DerReportAsked | None = None
    """The latest report of DER controls that the station has promised, until its end."""
    own_defaults: dict[int, tuple[OwnDefault, ...]] = {}
    """An operator's default profiles that the station may have, by their number; several of one
    while it is not known which."""

    def forget_hardware(self) -> None:
        """Another station stands in its place: what was set in the old one is gone with it."""
        self.der_controls.clear()
        self.der_alarms.clear()
        self.streams.clear()
        self.dynamic_profiles.clear()
        self.own_defaults.clear()
        self.der_report = None

    def share_words(self) -> None:
        """Keep one copy of the words that many chargers have alike: they are looked at with each
        message, and what all share is at hand."""
        self.ocpp_version = intern(self.ocpp_version)
        self.vendor, self.model = intern(self.vendor), intern(self.model)
        self.firmware = intern(self.firmware)
        if self.site_id is not None:
            self.site_id = SiteId(intern(self.site_id))

    def quirks(self) -> tuple[tuple[str, ...], Quirks]:
        """The profiles of quirks that hold for this charger, and what they say."""
        named = () if self.described is None else self.described.quirks
        return quirks_of(self.vendor, self.model, self.firmware, named=named)

    def connector(self, connector_id: int) -> Connector | None:
        """The connector, remembered from now on; None where there are too many."""
        connector = self.connectors.get(connector_id)
        if connector is None and len(self.connectors) < CONNECTORS_MAX:
            connector = self.connectors[connector_id] = Connector(connector_id)
        return connector

    def open_sessions(self) -> Iterator[Session]:
        return (session for session in self.sessions if session.ended_ms is None)

    def session(self, session_id: SessionId) -> Session | None:
        """A session, open or among the latest ended."""
        return next((each for each in self.sessions if each.session_id == session_id), None)

    def open_session_on(self, connector_id: int) -> Session | None:
        """The open session of a connector; the latest, where an old one is still being told of."""
        latest = None
        for session in self.sessions:
            if (
                session.ended_ms is None
                and not session.history
                and session.connector_id == connector_id
                and (latest is None or session.started_ms >= latest.started_ms)
            ):
                latest = session
        return latest

    def status(self, connector_id: int) -> ConnectorStatus | None:
        """A connector as a driver would see it: its session's charging state says more than
        `occupied` (2.x), but not more than a fault."""
        connector = self.connectors.get(connector_id)
        status = None if connector is None else connector.status
        session = self.open_session_on(connector_id)
        if session is None or session.charging_state is None or status in _OVERRIDING:
            return status
        return session.charging_state

    def unjudged(self, id_token: str | None, connector_id: int) -> str | None:
        """The token status of a session until its token is judged; None where nobody looks."""
        described = self.described
        if id_token is None or self.site_id is None or self.undescribed(connector_id):
            return None
        return None if described is None or described.authorisation is None else PENDING

    def undescribed(self, connector_id: int) -> bool:
        """Whether the charger is described and this connector of it is not; 0 stands for none in
        particular."""
        described = self.described
        return (
            bool(connector_id)
            and described is not None
            and (described.connector(connector_id) is None)
        )

    def power_max_w(self, connector_id: int) -> int:
        """The most that the hardware of a connector can deliver."""
        described = None if self.described is None else self.described.connector(connector_id)
        if self.described is None or described is None:
            return POWER_UNKNOWN_W
        return w_from_ma(
            described.current_max_ma,
            voltage_v=self.described.voltage_v,
            phases=described.phases,
        )

    def external_limit(self, connector_id: int, now_ms: int) -> tuple[int, str] | None:
        """The lowest limit that another system holds a connector to, in mA per phase, and its
        source. One of the whole charger bounds each of its connectors; how they share it is the
        station's business."""
        described = None if self.described is None else self.described.connector(connector_id)
        if self.described is None or described is None:
            return None
        found = []
        for limit in self.external_limits:
            if limit.connector_id in (0, connector_id):
                for schedule in limit.schedules:
                    value = schedule.at(now_ms)
                    if value is not None and schedule.unit == "W":
                        value = ma_from_w(
                            value * 1_000 // self.described.efficiency_permille,
                            voltage_v=self.described.voltage_v,
                            phases=described.phases,
                        )
                    if value is not None:
                        found.append((value, limit.source))
        return min(found, default=None)

    def defaults_ma(self) -> dict[int, int]:
        """The highest default profile that each described connector may have, by connector, whoever
        set it; empty while that of one is unknown."""
        known: dict[int, int] = {}
        for described in () if self.described is None else self.described.connectors:
            connector = self.connectors.get(described.id)
            most_ma = None if connector is None else connector.default_most_ma
            if most_ma is None:
                return {}
            known[described.id] = max(most_ma, *self._own_defaults_ma(described), 0)
        return known

    def _own_defaults_ma(self, connector: DescribedConnector) -> Iterator[int]:
        """What an operator's default profiles allow a described connector, in mA per phase."""
        assert self.described is not None
        for own in chain.from_iterable(self.own_defaults.values()):
            if own.connector_id not in (0, connector.id):
                continue
            limit_ma = own.limit
            if own.unit == "W":
                limit_ma = 1 + ma_from_w(
                    own.limit * 1_000 // self.described.efficiency_permille,
                    voltage_v=self.described.voltage_v,
                    phases=min(own.phases or connector.phases, connector.phases),
                )
            yield min(limit_ma, connector.current_max_ma)


_OVERRIDING: Final = frozenset(
    {ConnectorStatus.AVAILABLE, ConnectorStatus.FAULTED, ConnectorStatus.UNAVAILABLE}
)
