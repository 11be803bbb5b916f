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
    "CredentialRecord",
    "FeederRecord",
    "FeederRemoved",
    "GridEventRecord",
    "JournalEvent",
    "LimitDecision",
    "MeterSample",
    "QuarantineRecord",
    "Record",
    "SecurityEventRecord",
    "SessionRecord",
    "SessionState",
    "SigningRecord",
    "SigningState",
    "SiteRecord",
    "SiteRemoved",
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
    what the driver asked for, or None; until `boost_until_ms` it was to go first."""

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


class QuarantineRecord(Record, frozen=True, tag="quarantine"):
    """Something a station said that carries energy or money and could not be taken at its word;
    kept for an operator."""

    charger_id: ChargerId
    at_ms: int
    reason: str
    action: str
    payload: dict[str, Any]


class CredentialRecord(Record, frozen=True, tag="credential"):
    """What a charger has shown and been given since it was described. Upserted by `charger_id`.

    `password_hash` and `pending_hash` stand in the place of the described hash for as long as that
    is still `described_hash`; the pending ones, a line each, are of passwords that were sent and
    not used yet. `security_profile` is the highest at which the charger ever connected: it never
    goes below (2.0.1 part 2 A05)."""

    charger_id: ChargerId
    described_hash: str | None
    password_hash: str | None
    pending_hash: str | None
    security_profile: int
    updated_ms: int


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


class CertificateRecord(Record, frozen=True, tag="certificate"):
    """A certificate that the local authority signed for a charger. Upserted by `serial`, which is
    hexadecimal."""

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


class JournalEvent(msgspec.Struct, frozen=True, array_like=True):
    """One line of the journal. `cursor` grows along the journal; a reader that saves it misses
    nothing."""

    cursor: int
    at_ms: int
    kind: str
    actor: ActorRef
    data: dict[str, Any]
