"""What actors write: plain structs, one per table. No SQL here, so that actors may import it."""

from __future__ import annotations

from enum import StrEnum
from typing import Any

import msgspec

from controlplane.ids import ActorKind, ActorRef, ChargerId, FeederId, SessionId, SiteId

__all__ = [
    "ActorSnapshot",
    "CampaignRecord",
    "CandidateRecord",
    "CandidateRemoved",
    "CertificateRecord",
    "ChargerRecord",
    "ChargerRemoved",
    "CommandRecord",
    "CommandStage",
    "CredentialRecord",
    "FeederRecord",
    "FeederRemoved",
    "GridEventRecord",
    "HandOver",
    "JournalEvent",
    "LimitDecision",
    "MeterSample",
    "MonitorRecord",
    "MonitorRemoved",
    "MonitorsReplaced",
    "QuarantineCleared",
    "QuarantineRecord",
    "QuarantineResolved",
    "QuarantineState",
    "QuarantinedEntry",
    "Record",
    "ReservationRecord",
    "ReservationState",
    "SecurityEventRecord",
    "SessionRecord",
    "SessionState",
    "SigningRecord",
    "SigningState",
    "SiteRecord",
    "SiteRemoved",
    "TokenRecord",
    "TokenRemoved",
    "VariableRecord",
    "VariableValue",
    "VariablesReplaced",
]


class Record(msgspec.Struct, frozen=True):
    """Base of everything an actor can persist."""


class ActorSnapshot(Record, frozen=True, tag="snapshot"):
    """The whole durable state of an actor, msgpack; replaces the one before it."""

    ref: ActorRef
    state: bytes


class SiteRecord(Record, frozen=True, tag="site"):
    """A site as its owner described it; `config` is `network.SiteConfig` as JSON. Upserted by
    `site_id`."""

    site_id: SiteId
    feeder_id: FeederId | None
    config: bytes
    updated_ms: int


class SiteRemoved(Record, frozen=True, tag="site_removed"):
    """Takes a site out of the list of sites; its sessions and samples stay."""

    site_id: SiteId


class FeederRecord(Record, frozen=True, tag="feeder"):
    """A feeder as its owner described it; `config` is `network.FeederConfig` as JSON. Upserted by
    `feeder_id`."""

    feeder_id: FeederId
    config: bytes
    updated_ms: int


class FeederRemoved(Record, frozen=True, tag="feeder_removed"):
    """Takes a feeder out of the list of feeders."""

    feeder_id: FeederId


class GridEventRecord(Record, frozen=True, tag="grid_event"):
    """What the grid wished of a feeder or a site, and what was made of it; `event` is
    `grid_events.GridEvent` as JSON. Upserted by `event_id`."""

    event_id: str
    target_kind: ActorKind
    target_id: str
    open: bool
    """It is to come or in force."""
    start_ms: int
    event: bytes


class CampaignRecord(Record, frozen=True, tag="campaign"):
    """A firmware campaign in the list of campaigns; what it does is in its actor's snapshot.
    Upserted by `campaign_id`."""

    campaign_id: str
    version: str
    stage: str
    open: bool
    """It may still do something."""
    updated_ms: int


class ChargerRecord(Record, frozen=True, tag="charger"):
    """An entry of the directory that gateways read: may this charger connect, how does it prove
    itself, which site holds it. Upserted by `charger_id`. `password_hash` is argon2, or None where
    no password is wanted (profile 0)."""

    charger_id: ChargerId
    site_id: SiteId
    password_hash: str | None
    updated_ms: int
    security_profile_min: int | None = None
    """The lowest profile at which it may connect; None leaves that to the node's settings."""


class ChargerRemoved(Record, frozen=True, tag="charger_removed"):
    """Takes a charger out of the directory; its sessions and samples stay."""

    charger_id: ChargerId


class SessionState(StrEnum):
    ACTIVE = "active"
    ENDED = "ended"


class SessionRecord(Record, frozen=True, tag="session"):
    """A charging session. Upserted by `session_id`.

    `energy_wh` is what the registers showed between begin and end, never below zero.
    `meter_start_wh` and `meter_stop_wh` are the register itself. `need_wh` and `departure_ms` are
    what the driver asked for, or None; until `boost_until_ms` it was to go first. `token_key` is
    the id token as tokens are known by it; `token_status` what became of it (`tokens.TokenStatus`,
    or Pending while it is looked up), None where nobody looked."""

    session_id: SessionId
    charger_id: ChargerId
    site_id: SiteId | None
    connector_id: int
    transaction_id: str
    id_token: str | None
    state: SessionState
    started_ms: int
    ended_ms: int | None = None
    meter_start_wh: int | None = None
    meter_stop_wh: int | None = None
    energy_wh: int = 0
    need_wh: int | None = None
    departure_ms: int | None = None
    stop_reason: str | None = None
    boost_until_ms: int | None = None
    started_station_ms: int | None = None
    """When it began by the station's own clock; `started_ms` is that, corrected."""
    started_received_ms: int | None = None
    """When we heard that it had begun."""
    ended_station_ms: int | None = None
    ended_received_ms: int | None = None
    events_missing: int = 0
    """How many of its TransactionEvents never came (2.x)."""
    token_key: str | None = None
    token_status: str | None = None
    exported_wh: int = 0
    """What the vehicle fed in, by the register for that; no part of `energy_wh`."""
    discharge_reserve_percent: int | None = None
    """Down to this state of charge the driver lets it feed in; None: not at all."""
    credited_wh: int = 0
    """What of `exported_wh` the driver is credited with."""
    credit_amount: str = "0"
    """For all of it, a decimal number, exact."""
    credit_currency: str = ""
    """ISO 4217; empty where nothing is credited."""
    credit_price_per_kwh: str = "0"
    """The latest, a decimal number."""


class ReservationState(StrEnum):
    ASKED = "asked"
    """The station has not answered yet."""
    ACTIVE = "active"
    ENDED = "ended"


class ReservationRecord(Record, frozen=True, tag="reservation"):
    """A connector kept for a driver. Upserted by `reservation_id`.

    `number` is what the station knows it by, `connector_id` 0 any connector. `end_reason` is why it
    is over: used, expired, cancelled, removed (by the station), faulted, unavailable, refused or
    unconfirmed."""

    reservation_id: str
    charger_id: ChargerId
    site_id: SiteId | None
    number: int
    connector_id: int
    connector_type: str
    id_token: str
    group_id: str | None
    state: ReservationState
    created_ms: int
    until_ms: int
    ended_ms: int | None = None
    end_reason: str = ""
    session_id: SessionId | None = None


class TokenRecord(Record, frozen=True, tag="token"):
    """A token as its owner wrote it; `token` is `tokens.Token` as JSON. Upserted by `token_key`.
    `version` is that of the registry's change that wrote it."""

    token_key: str
    version: int
    group_key: str | None
    token: bytes
    removed: bool = False


class TokenRemoved(Record, frozen=True, tag="token_removed"):
    """Takes a token out; nothing where there is none."""

    token_key: str
    version: int


class MeterSample(Record, frozen=True, tag="meter", array_like=True):
    """One sampled set of values of a connector, appended. Import positive; None where the charger
    did not say.

    `at_ms` is the station's own time stamp, `received_ms` ours. Currents are per conductor of the
    connector."""

    charger_id: ChargerId
    connector_id: int
    session_id: SessionId | None
    at_ms: int
    received_ms: int
    energy_wh: int | None = None
    power_w: int | None = None
    current_l1_ma: int | None = None
    current_l2_ma: int | None = None
    current_l3_ma: int | None = None
    soc_percent: float | None = None


class LimitDecision(Record, frozen=True, tag="limit_decision", array_like=True):
    """A limit that a site gave a connector, and why, in words; appended. `before_ma` is the limit
    that stood before it, None for the first one of a session."""

    charger_id: ChargerId
    connector_id: int
    session_id: SessionId | None
    at_ms: int
    limit_ma: int
    before_ma: int | None
    reason: str


class QuarantineState(StrEnum):
    OPEN = "open"
    RELEASED = "released"
    """It counts, in a session."""
    DISMISSED = "dismissed"


class QuarantineRecord(Record, frozen=True, tag="quarantine"):
    """Something a station said that carries energy or money and could not be taken at its word;
    kept for an operator. `session_id` is the session it concerns, or was released to."""

    charger_id: ChargerId
    at_ms: int
    reason: str
    action: str
    payload: dict[str, Any]
    """`payload` holds what the station said, `facts` what made it doubtful; `held_wh` among them is
    what its session would have more if it were true."""
    state: QuarantineState = QuarantineState.OPEN
    session_id: SessionId | None = None
    transaction_id: str | None = None
    """The station's transaction, where it is one that nobody knows."""
    resolved_ms: int | None = None
    note: str = ""


class QuarantinedEntry(msgspec.Struct, frozen=True):
    """A quarantined record and the number under which the store keeps it."""

    quarantine_id: int
    record: QuarantineRecord


class QuarantineCleared(Record, frozen=True, tag="quarantine_cleared"):
    """What is quarantined of a transaction has found its session: released where still open."""

    charger_id: ChargerId
    transaction_id: str
    session_id: SessionId
    resolved_ms: int


class QuarantineResolved(Record, frozen=True, tag="quarantine_resolved"):
    """What an operator decided about an entry; changes it where it was still open."""

    quarantine_id: int
    state: QuarantineState
    session_id: SessionId | None
    resolved_ms: int
    note: str


class VariableRecord(Record, frozen=True, tag="variable", array_like=True):
    """One value of a setting of a charger, with all that it said of it; 2.x variable or 1.6
    configuration key. Upserted by `charger_id`, `key` and `attribute`.

    `key` is `ocpp.variables.VariableName.key`, the fields after `attribute` are its parts;
    `component` is empty for a 1.6 key. None and "" where the charger did not say."""

    charger_id: ChargerId
    key: str
    attribute: str
    component: str
    component_instance: str
    evse_id: int
    connector_id: int
    variable: str
    variable_instance: str
    value: str | None
    mutability: str
    persistent: bool
    constant: bool
    data_type: str
    unit: str
    limit_min: float | None
    limit_max: float | None
    values_list: str
    supports_monitoring: bool
    reported_ms: int


class VariableValue(Record, frozen=True, tag="variable_value", array_like=True):
    """A new value of a setting; what else is stored of it stays. Upserted like `VariableRecord`,
    whose first fields these are."""

    charger_id: ChargerId
    key: str
    attribute: str
    component: str
    component_instance: str
    evse_id: int
    connector_id: int
    variable: str
    variable_instance: str
    value: str | None
    reported_ms: int


class VariablesReplaced(Record, frozen=True, tag="variables_replaced"):
    """A charger reported all its settings: what was reported before this instant is gone."""

    charger_id: ChargerId
    before_ms: int


class MonitorRecord(Record, frozen=True, tag="monitor", array_like=True):
    """A monitor that watches a variable of a charger (2.x). Upserted by `charger_id` and
    `monitor_id`. `kind` is the station's word (`UpperThreshold`), `severity` 0 (worst) to 9."""

    charger_id: ChargerId
    monitor_id: int
    key: str
    kind: str
    value: float
    severity: int
    transaction: bool
    reported_ms: int


class MonitorRemoved(Record, frozen=True, tag="monitor_removed"):
    """A monitor was cleared."""

    charger_id: ChargerId
    monitor_id: int


class MonitorsReplaced(Record, frozen=True, tag="monitors_replaced"):
    """A charger reported all its monitors: what was reported before this instant is gone."""

    charger_id: ChargerId
    before_ms: int


class CredentialRecord(Record, frozen=True, tag="credential"):
    """What a charger has shown and been given since it was described. Upserted by `charger_id`.

    `password_hash` and `pending_hash` stand in the place of the described hash for as long as that
    is still `described_hash`; the pending ones, a line each, are of passwords that were sent and
    not used yet, the spare ones of those that the charger came back without: they are right as
    well. `security_profile` is the highest at which the charger ever connected: it never
    goes below (2.0.1 part 2 A05)."""

    charger_id: ChargerId
    described_hash: str | None
    password_hash: str | None
    pending_hash: str | None
    security_profile: int
    updated_ms: int
    spare_hash: str | None = None


class CandidateRecord(Record, frozen=True, tag="candidate"):
    """A charger that came without being described and waits for an owner. Upserted by
    `charger_id`."""

    charger_id: ChargerId
    vendor: str
    model: str
    serial_number: str
    firmware: str
    ocpp_version: str
    remote: str
    first_seen_ms: int
    last_seen_ms: int


class CandidateRemoved(Record, frozen=True, tag="candidate_removed"):
    """The charger was described, or nobody wants it."""

    charger_id: ChargerId


class HandOver(StrEnum):
    """What became of a certificate that an operator handed over."""

    NONE = ""
    """Nobody did: it was signed because the charger asked for it."""
    UNANSWERED = "unanswered"
    """The charger may have it."""
    ACCEPTED = "accepted"
    REFUSED = "refused"
    NOT_SENT = "not_sent"


class CertificateRecord(Record, frozen=True, tag="certificate"):
    """A certificate that was signed for a charger, or that an operator handed over to it. Upserted
    by `serial`, which is hexadecimal; one that was revoked stays so, whatever is written later."""

    serial: str
    charger_id: ChargerId
    purpose: str
    """The OCPP word, such as `ChargingStationCertificate`."""
    pem: str
    """With the certificates above it."""
    not_before_ms: int
    not_after_ms: int
    revoked_ms: int | None = None
    revocation_reason: str = ""
    handed_over: HandOver = HandOver.NONE


class SigningState(StrEnum):
    PENDING = "pending"
    """Asked for; nobody has signed it."""
    SIGNED = "signed"
    """Signed, and not yet in the charger's hands."""
    DELIVERED = "delivered"
    REFUSED = "refused"
    """By the authority, or by the charger; `detail` says why."""


class SigningRecord(Record, frozen=True, tag="signing"):
    """A charger's wish for a certificate. Upserted by `request_id`. `station_request_id` is the
    charger's own number for it (2.1)."""

    request_id: str
    charger_id: ChargerId
    purpose: str
    csr: str
    asked_ms: int
    state: SigningState = SigningState.PENDING
    serial: str = ""
    detail: str = ""
    station_request_id: int | None = None


class SecurityEventRecord(Record, frozen=True, tag="security_event"):
    """Something that concerns security, told by a charger or seen by Loadstar (`source` `station`
    or `loadstar`); appended. `count` above 1 stands for as many in a row."""

    charger_id: ChargerId
    at_ms: int
    received_ms: int
    kind: str
    detail: str
    critical: bool
    source: str
    count: int = 1


class CommandStage(StrEnum):
    """How far a command is. The first three may change; each of the others is the end."""

    ACCEPTED = "accepted"
    """Taken in; its token is looked up, or the charger is awaited again after a host was lost."""
    QUEUED = "queued"
    """It waits for its turn; nothing was sent."""
    SENT = "sent"
    """The station has it, or may have it; its answer is awaited."""
    ANSWERED = "answered"
    """The station does it, or did it."""
    REFUSED = "refused"
    """The station said no, or could not understand it."""
    TIMED_OUT = "timed_out"
    """The station gave no answer in time; it may still do it."""
    NOT_SENT = "not_sent"
    """The station was never told."""
    CANCELLED = "cancelled"
    """Taken back before it was sent."""
    UNKNOWN = "unknown"
    """The connection or the host was lost before the answer; it may have been carried out."""


class CommandRecord(Record, frozen=True, kw_only=True, tag="command"):
    """A command of the API and how far it is. Upserted by `command_id`.

    `request` is the API's request as it came (protobuf of `request_type`) and `wish` what the actor
    makes of it (msgpack); both are empty where they hold a secret. `fingerprint` tells a repetition
    from another request under the same `request_id`. `response` is the answer (msgpack), empty
    until there is one. `attempts` counts how often it was sent."""

    command_id: str
    charger_id: ChargerId
    request_type: str
    request_id: str
    fingerprint: bytes
    request: bytes
    wish: bytes
    stage: CommandStage
    created_ms: int
    until_ms: int
    attempts: int = 0
    sent_ms: int | None = None
    ended_ms: int | None = None
    response: bytes = b""


class JournalEvent(msgspec.Struct, frozen=True, array_like=True):
    """One line of the journal. `cursor` grows along the journal; a reader that saves it misses
    nothing."""

    cursor: int
    at_ms: int
    kind: str
    actor: ActorRef
    data: dict[str, Any]
