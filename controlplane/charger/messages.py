"""What a `ChargerActor` can be told: by the gateway that holds its socket, by its site, by the
API."""

from __future__ import annotations

from decimal import Decimal
from typing import Any, NamedTuple

import msgspec

from controlplane.actor import Message
from controlplane.charging_tariff import Tariff
from controlplane.ids import ChargerId, SessionId, SiteId
from controlplane.ocpp.commands import AnyCommand, CommandResult, LogKind, UpdateFirmware
from controlplane.ocpp.der import DerAlarm, DerControl
from controlplane.ocpp.events import ConnectorStatus
from controlplane.ocpp.typed import MeterValues
from controlplane.store.records import (
    CertificateRecord,
    QuarantinedEntry,
    ReservationRecord,
    SessionRecord,
    SigningRecord,
)
from controlplane.tokens import Authorisation, TokenType

__all__ = [
    "AbandonSession",
    "AlarmView",
    "AnswerCertificateStatus",
    "ApplyLimit",
    "CancelCommand",
    "CancelReserved",
    "ChargerAssigned",
    "ChargerCondition",
    "ChargerRequest",
    "ChargerUnassigned",
    "ChargerView",
    "ConnectorView",
    "DerState",
    "DischargeConsent",
    "DismissCandidate",
    "DismissQuarantined",
    "DriverTariffSet",
    "Execute",
    "FeedInTerms",
    "GetCharger",
    "GetDerState",
    "LocalListView",
    "LowerProfile",
    "QuarantineDecision",
    "RecordSigning",
    "Recorded",
    "ReleaseQuarantined",
    "ReservationAnswer",
    "ReserveConnector",
    "RevokeCertificate",
    "RotatePassword",
    "SampleWanted",
    "SecurityNoticed",
    "SecurityRequest",
    "SetDriverTariff",
    "SetSessionNeed",
    "StationCalled",
    "StationConnected",
    "StationDisconnected",
    "StationFailed",
    "StationGarbled",
    "StationRefused",
    "StationReplied",
    "StationSent",
    "Submit",
    "UpdateView",
    "UpdateWanted",
    "UploadView",
    "Wish",
]


# --- from the gateway -----------------------------------------------------------------------------


class StationConnected(Message, frozen=True, tag="station_connected"):
    """A new authenticated socket; it replaces any older one at once. `connection` is unique for all
    time. `resumed` is set when the socket was there before and only this host is new: the station
    has not noticed anything."""

    connection: str
    ocpp_version: str
    """The subprotocol: `ocpp1.6`, `ocpp2.0.1`, `ocpp2.1`."""
    remote: str
    resumed: bool = False
    security_profile: int = 0
    """At which it proved itself, 0 to 3."""
    pending_hash: str = ""
    """Of the password it came with, where that was sent to it and is used for the first time."""
    certificate_serial: str = ""
    """Of the client certificate it showed."""
    epoch: int = 0
    """Under which the host owns the charger's shard: the ids of what it asks begin with it. 0 where
    nobody counts."""


class StationDisconnected(Message, frozen=True, tag="station_disconnected"):
    """The socket `connection` is gone. Late news of a connection that was replaced changes
    nothing."""

    connection: str
    reason: str


class StationCalled(Message, frozen=True, tag="station_called", omit_defaults=True):
    """A CALL whose payload has passed its JSON schema; `mended` names what had to be mended for
    that."""

    connection: str
    message_id: str
    action: str
    payload: dict[str, Any] | MeterValues
    mended: tuple[str, ...] = ()


class StationGarbled(Message, frozen=True, tag="station_garbled"):
    """A CALL that was refused because it cannot be read, and whose action carries a transaction:
    `text` is what came, cut."""

    connection: str
    action: str
    text: str
    fault: str


class StationReplied(Message, frozen=True, tag="station_replied"):
    """CALLRESULT for our CALL `message_id`."""

    connection: str
    message_id: str
    payload: dict[str, Any]


class StationFailed(Message, frozen=True, tag="station_failed"):
    """CALLERROR for our CALL, or an answer that its schema refused (code `FormationViolation`)."""

    connection: str
    message_id: str
    code: str
    description: str


class StationRefused(Message, frozen=True, tag="station_refused"):
    """CALLRESULTERROR (2.1): the station could not take our answer to its CALL `message_id`."""

    connection: str
    message_id: str
    code: str
    description: str


class StationSent(Message, frozen=True, tag="station_sent"):
    """SEND (2.1) whose payload has passed its JSON schema; it wants no answer."""

    connection: str
    action: str
    payload: dict[str, Any]


class SecurityNoticed(Message, frozen=True, tag="security_noticed"):
    """The gateway saw something that concerns the charger's security, `count` times: a handshake
    that was refused, a flood. It says nothing about a connection."""

    kind: str
    detail: str
    remote: str
    count: int = 1


# --- from its site --------------------------------------------------------------------------------


class FeedInTerms(msgspec.Struct, frozen=True, array_like=True):
    """What a driver is credited with for a kilowatt-hour that the vehicle feeds in; `currency` is
    ISO 4217."""

    price_per_kwh: Decimal
    currency: str


class ChargerAssigned(Message, frozen=True, tag="charger_assigned"):
    """The charger belongs to this site, described like this (`network.ChargerConfig` as JSON).
    Where its main meter measures the building, it is to be sent every `main_meter_interval_s`."""

    site_id: SiteId
    voltage_v: int
    config: bytes
    main_meter_interval_s: int | None = None
    authorisation: Authorisation | None = None
    """None: nobody looks tokens up, and whoever comes is accepted."""
    feed_in: FeedInTerms | None = None
    """What a driver gets for what is fed in; None where nobody feeds in."""
    again: bool = False
    """The site's actor was brought back and says so in case it was not heard before: it knows
    what the charger has told since it was brought back itself."""


class ChargerUnassigned(Message, frozen=True, tag="charger_unassigned"):
    site_id: SiteId


class ApplyLimit(Message, frozen=True, tag="apply_limit"):
    """Bring this limit into force on a connector and answer with `LimitOutcome` carrying the same
    `limit_id`.

    `session_id` None means the default profile; otherwise the running transaction's profile. A
    newer limit for the same connector and purpose that is still waiting in the queue replaces an
    older one, which is then reported `superseded`. A limit below 0 has the vehicle feed in as much,
    for `hold_s` unless it is told so again."""

    connector_id: int
    limit_id: int
    limit_ma: int
    session_id: SessionId | None
    hold_s: int | None = None


class SampleWanted(Message, frozen=True, tag="sample_wanted"):
    """Have the station measure a connector now. Nothing but the sample tells that it did: a station
    need not be able to."""

    connector_id: int


# --- from a campaign -----------------------------------------------------------------------------


class UpdateWanted(Message, frozen=True, tag="update_wanted"):
    """Install this firmware; told back to `command.campaign_id` is `UpdateProgress` until it has
    come to an end, or `UpdateDeferred` where the station was not told. A charger that knows the
    request already says how far it is."""

    command: UpdateFirmware
    only_idle: bool


# --- from the API ---------------------------------------------------------------------------------


class Execute(msgspec.Struct, frozen=True, tag="execute"):
    """Send a command to the station; answered with `CommandResult` once its answer is there or the
    wait is over."""

    command: AnyCommand
    timeout_ms: int = 30_000


class DischargeConsent(msgspec.Struct, frozen=True):
    """The driver's word on feeding in: down to `reserve_percent` (0 to 100) of the battery, or not
    at all (None)."""

    reserve_percent: int | None


class SetSessionNeed(msgspec.Struct, frozen=True, tag="set_session_need"):
    """The driver's wish for a running session; None leaves a value as it is. Until
    `boost_until_ms`, at most a day ahead, it goes first; an instant that is past ends that.
    `discharge` lets it feed in, or no more. What is forgotten counts as never said. Answered with
    `SessionRecord`."""

    session_id: SessionId
    need_wh: int | None = None
    departure_ms: int | None = None
    boost_until_ms: int | None = None
    discharge: DischargeConsent | None = None
    forget_need: bool = False
    forget_departure: bool = False


class AbandonSession(msgspec.Struct, frozen=True, tag="abandon_session"):
    """Close a session whose charger will not come back, on an operator's word: it ends with the
    last reading and no longer counts on the rows. Refused while the charger is connected. Answered
    with `SessionRecord`. Should the charger speak of the session after all, it runs again."""

    session_id: SessionId


class GetCharger(msgspec.Struct, frozen=True, tag="get_charger"):
    """Answered with `ChargerView`."""


class GetDerState(msgspec.Struct, frozen=True, tag="get_der_state"):
    """Answered with `DerState`."""


class DerState(msgspec.Struct, frozen=True, tag="der_state"):
    """The DER controls that a charger accepted or reported, and the alarms that stand."""

    controls: tuple[DerControl, ...]
    alarms: tuple[DerAlarm, ...]


class SetDriverTariff(msgspec.Struct, frozen=True, tag="set_driver_tariff"):
    """The tariff of one driver at this charger, given with each authorisation (2.1); None takes it
    away. Refused where it is wrong, or the charger has too many. Answered with
    `DriverTariffSet`."""

    id_token: str
    tariff: Tariff | None


class DriverTariffSet(msgspec.Struct, frozen=True, tag="driver_tariff_set"):
    id_token: str


class ReleaseQuarantined(msgspec.Struct, frozen=True, tag="release_quarantined"):
    """Let what is quarantined count in a session, which is given as it is stored: a stop ends it, a
    register's step is added to its energy, or it is set to `energy_wh`, 0 or more. Answered with
    `QuarantineDecision`."""

    entry: QuarantinedEntry
    session: SessionRecord
    energy_wh: int | None = None
    note: str = ""


class DismissQuarantined(msgspec.Struct, frozen=True, tag="dismiss_quarantined"):
    """Let what is quarantined count for nothing. Answered with `QuarantineDecision`."""

    entry: QuarantinedEntry
    note: str = ""


class QuarantineDecision(msgspec.Struct, frozen=True, tag="quarantine_decision"):
    """What became of a quarantined entry, and of the session in which it counts now."""

    entry: QuarantinedEntry
    session: SessionRecord | None


class ReserveConnector(msgspec.Struct, frozen=True, tag="reserve_connector"):
    """Have the station keep a connector (0: any) for a token until `until_ms`, at most a week
    ahead. Answered with `ReservationAnswer`; refused where the token may not charge there."""

    connector_id: int
    id_token: str
    until_ms: int
    id_token_type: TokenType = TokenType.CENTRAL
    group_id: str | None = None
    """None: the token's own."""
    connector_type: str = ""
    timeout_ms: int = 30_000


class CancelReserved(msgspec.Struct, frozen=True, tag="cancel_reserved"):
    """Have the station let go of the reservation of this number. Answered with
    `ReservationAnswer`."""

    number: int
    timeout_ms: int = 30_000


Wish = Execute | ReserveConnector | CancelReserved
"""What is kept as a command of its own."""


class Submit(msgspec.Struct, frozen=True, tag="submit"):
    """Carry out a wish and keep what becomes of it under `command_id`; the same id again is the
    same command. Whoever waits is answered as the wish is, anybody else with `CommandRecord`.
    The other fields are those of that record."""

    command_id: str
    request_type: str
    request_id: str
    fingerprint: bytes
    request: bytes
    wish: Wish
    wait: bool = True


class CancelCommand(msgspec.Struct, frozen=True, tag="cancel_command"):
    """Take back a command that was not sent. Answered with `CommandRecord`."""

    command_id: str


class ReservationAnswer(msgspec.Struct, frozen=True, tag="reservation_answer"):
    """What the station said, and the reservation as it stands after that."""

    result: CommandResult
    reservation: ReservationRecord | None


class LocalListView(msgspec.Struct, frozen=True):
    """Where a station's local list stands; `state` is a `local_list.ListState`. `version` is the
    station's, `tokens_version` the registry's that it reflects, 0 while unknown."""

    state: str
    version: int
    tokens_version: int


class RotatePassword(msgspec.Struct, frozen=True, tag="rotate_password"):
    """Give the station a new password; answered with `CommandResult`. The old one stays right until
    the station has used the new one. `described_hash` is what the description says at this moment,
    `password_hash` that of the new one."""

    password: str
    password_hash: str
    described_hash: str | None
    timeout_ms: int = 30_000

    def __repr__(self) -> str:
        return "RotatePassword(...)"


class RecordSigning(msgspec.Struct, frozen=True, tag="record_signing"):
    """What became of the charger's wish for a certificate; answered with `Recorded`."""

    record: SigningRecord
    certificate: CertificateRecord | None = None


class RevokeCertificate(msgspec.Struct, frozen=True, tag="revoke_certificate"):
    """The certificate, as revoked; answered with `Recorded`."""

    certificate: CertificateRecord


class AnswerCertificateStatus(msgspec.Struct, frozen=True, tag="answer_certificate_status"):
    """What the station is answered that asked about one certificate or a chain of them: an OCSP
    response, DER in base64; or each one's status and when to ask again (ms UTC), in the order of
    the question. Answered with `Recorded`, also where nobody waits any more."""

    question_id: str
    ocsp: str | None = None
    reason: str = ""
    statuses: tuple[tuple[str, int], ...] = ()


class DismissCandidate(msgspec.Struct, frozen=True, tag="dismiss_candidate"):
    """Nobody wants this charger: it is no candidate any more and its socket is closed. Answered
    with `Recorded`."""


class LowerProfile(msgspec.Struct, frozen=True, tag="lower_profile"):
    """Let the charger connect at this security profile again, on an operator's word. Answered with
    `Recorded`."""

    profile: int


class Recorded(msgspec.Struct, frozen=True, tag="recorded"):
    """Done, and durable."""


SecurityRequest = (
    RotatePassword
    | RecordSigning
    | RevokeCertificate
    | AnswerCertificateStatus
    | DismissCandidate
    | LowerProfile
)
ChargerRequest = (
    SecurityRequest
    | Execute
    | SetSessionNeed
    | AbandonSession
    | GetCharger
    | ReleaseQuarantined
    | DismissQuarantined
    | GetDerState
    | SetDriverTariff
    | ReserveConnector
    | CancelReserved
    | Submit
    | CancelCommand
)


class ConnectorView(msgspec.Struct, frozen=True):
    connector_id: int
    status: ConnectorStatus | None
    error_code: str
    session_id: SessionId | None
    energy_wh: int
    power_w: int | None
    current_ma: tuple[int | None, int | None, int | None]
    soc_percent: float | None
    limit_ma: int | None
    """The limit the station acknowledged last, or None while unknown."""
    external_limit_ma: int | None = None
    """What another system holds it to, or None: nobody does, or nobody says to what."""
    external_limit_source: str = ""
    """The other system: EMS, SO, Other or a word of the maker's; empty where there is none."""


class AlarmView(msgspec.Struct, frozen=True):
    """Something that the charger warned of and has not cleared. `severity` is 0, danger, to 9,
    debug; None where nobody said. `connector_id` 0 is the charger as a whole."""

    variable: str
    connector_id: int
    severity: int | None
    since_ms: int
    value: str
    trigger: str
    fault: bool
    monitor_id: int | None
    transaction_id: str
    tech_code: str
    tech_info: str


class UpdateView(msgspec.Struct, frozen=True):
    """The firmware update that the station took last; `status` is its own word."""

    request_id: int
    version: str
    campaign_id: str
    status: str
    changed_ms: int
    ended: bool


class UploadView(msgspec.Struct, frozen=True):
    """The log that the station agreed to upload last; `status` is its own word."""

    request_id: int
    kind: LogKind
    name: str
    status: str
    changed_ms: int
    ended: bool


class ChargerCondition(NamedTuple):
    """A charger for whoever counts many. `faulted` it says of itself or of a connector; `statuses`
    are those of its connectors, `unknown` among them; `power_w` is what its sessions draw by their
    latest samples, 0 while it is offline."""

    online: bool
    faulted: bool
    statuses: tuple[str, ...]
    sessions: int
    power_w: int


class ChargerView(msgspec.Struct, frozen=True, tag="charger_view"):
    charger_id: ChargerId
    site_id: SiteId | None
    online: bool
    ocpp_version: str
    vendor: str
    model: str
    firmware: str
    serial_number: str
    last_seen_ms: int | None
    connectors: tuple[ConnectorView, ...]
    quirks: tuple[str, ...] = ()
    """The profiles of quirks that hold for it."""
    learned: dict[str, str] = {}
    """What it taught by what it refused and accepted, by field of a profile of quirks."""
    alarms: tuple[AlarmView, ...] = ()
    """The most severe first."""
    settings_complete_ms: int | None = None
    """When it last reported all its settings."""
    update: UpdateView | None = None
    upload: UploadView | None = None
    local_list: LocalListView | None = None
