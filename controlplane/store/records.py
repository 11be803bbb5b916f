"""What actors write: plain structs, one per table. No SQL here, so that actors may import it."""

from __future__ import annotations

from enum import StrEnum
from typing import Any

import msgspec

from controlplane.ids import ActorKind, ActorRef, ChargerId, FeederId, SessionId, SiteId

__all__ = [
    "ActorSnapshot",
    "CampaignRecord",
    "ChargerRecord",
    "ChargerRemoved",
    "FeederRecord",
    "FeederRemoved",
    "GridEventRecord",
    "JournalEvent",
    "LimitDecision",
    "MeterSample",
    "QuarantineCleared",
    "QuarantineRecord",
    "QuarantineResolved",
    "QuarantineState",
    "QuarantinedEntry",
    "Record",
    "SessionRecord",
    "SessionState",
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
    started_station_ms: int | None = None
    """When it began by the station's own clock; `started_ms` is that, corrected."""
    started_received_ms: int | None = None
    """When we heard that it had begun."""
    ended_station_ms: int | None = None
    ended_received_ms: int | None = None
    events_missing: int = 0
    """How many of its TransactionEvents never came (2.x)."""


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


class JournalEvent(msgspec.Struct, frozen=True, array_like=True):
    """One line of the journal. `cursor` grows along the journal; a reader that saves it misses
    nothing."""

    cursor: int
    at_ms: int
    kind: str
    actor: ActorRef
    data: dict[str, Any]
