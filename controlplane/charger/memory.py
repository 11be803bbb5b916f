"""What a charger's actor remembers: plain structs, written whole as its snapshot.

Durable is what the station told once and will not repeat, and what we promised it: who it is, its
connectors' states, its sessions, the number of the next one. The last measurements ride along, but
a snapshot is never written for their sake; after a re-activation they come from the store's samples
(`ChargerActor.restore_readings`).

Structs that a charger has many of are arrays in the snapshot, a third of the size: new fields of
theirs go to the end and have a default."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import msgspec

from controlplane.charger.energy import POWER_UNKNOWN_W, Register
from controlplane.charger.external_limits import ExternalLimit
from controlplane.ids import ChargerId, SessionId, SiteId
from controlplane.network import ChargerConfig, LimitUnit
from controlplane.ocpp.commands import LogKind
from controlplane.ocpp.events import ConnectorStatus, TransactionEnded
from controlplane.site.messages import VehicleLimits
from controlplane.units import ma_from_w, w_from_ma

__all__ = [
    "ChargerMemory",
    "Connector",
    "Described",
    "DescribedConnector",
    "FirmwareUpdate",
    "Healing",
    "LogUpload",
    "SecurityMemory",
    "Session",
]

CONNECTORS_MAX: Final = 64
"""Connectors that are kept for a charger; a station that invents more is not followed."""


class DescribedConnector(msgspec.Struct, frozen=True, array_like=True):
    """A connector as its owner described it; `phases` is how many of its conductors are lines."""

    id: int
    phases: int
    current_max_ma: int


class Described(msgspec.Struct, frozen=True):
    """The part of `network.ChargerConfig` that the charger's actor lives by."""

    voltage_v: int
    unit: LimitUnit
    offline_ma: int
    connectors: tuple[DescribedConnector, ...]
    efficiency_permille: int = 1_000
    """What reaches the vehicle of what is taken from the grid."""
    main_meter_interval_s: int | None = None
    """How often its main meter is wanted; None where nobody reads it."""

    @classmethod
    def of(
        cls, config: ChargerConfig, *, voltage_v: int, main_meter_interval_s: int | None = None
    ) -> Described:
        return cls(
            voltage_v,
            config.limit_unit,
            config.offline_current_ma,
            tuple(
                DescribedConnector(connector.id, len(connector.phases), connector.current_max_ma)
                for connector in config.connectors
            ),
            config.efficiency_permille,
            main_meter_interval_s,
        )

    def connector(self, connector_id: int) -> DescribedConnector | None:
        for connector in self.connectors:
            if connector.id == connector_id:
                return connector
        return None


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


class Healing(msgspec.Struct, array_like=True):
    """How far repair from afar has come; `reason` is empty while nothing is wrong."""

    reason: str = ""
    attempts: int = 0


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


class ChargerMemory(msgspec.Struct):
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
    security: SecurityMemory = msgspec.field(default_factory=SecurityMemory)
    report_number: int = 0
    """Of the latest report that was asked for."""
    external_limits: list[ExternalLimit] = []
    """Limits that other systems set, by connector and source."""
    firmware_update: FirmwareUpdate | None = None
    log_upload: LogUpload | None = None

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

    def default_ma(self) -> int | None:
        """The default profile that every described connector acknowledged; None while one has
        not."""
        if self.described is None:
            return None
        acknowledged = [
            None if connector is None else connector.default_ma
            for connector in (
                self.connectors.get(described.id) for described in self.described.connectors
            )
        ]
        known = [default_ma for default_ma in acknowledged if default_ma is not None]
        return max(known) if known and len(known) == len(acknowledged) else None


_OVERRIDING: Final = frozenset(
    {ConnectorStatus.AVAILABLE, ConnectorStatus.FAULTED, ConnectorStatus.UNAVAILABLE}
)
