"""What crosses between the processes of Loadstar, and how it is written: msgpack, decoded to typed
structs.

A station's CALL crosses as the text that has passed its schema, the answer as finished text: one
piece of bytes costs both processes far less than the many objects that are in it, and a gateway
keeps it until it is answered. Everything a host sends to a gateway carries the shard and the epoch
under which it was decided."""

from __future__ import annotations

from enum import IntEnum
from typing import Any, NamedTuple

import msgspec

from controlplane.actor import Message
from controlplane.campaign.messages import CampaignRequest, UpdateDeferred, UpdateProgress
from controlplane.charger.messages import (
    ApplyLimit,
    ChargerAssigned,
    ChargerRequest,
    ChargerUnassigned,
    SecurityNoticed,
    StationCalled,
    StationConnected,
    StationDisconnected,
    StationFailed,
    StationGarbled,
    StationRefused,
    StationReplied,
    StationSent,
    UpdateWanted,
)
from controlplane.feeder.messages import (
    FeederLeft,
    FeederReport,
    FeederRequest,
    SiteLeft,
    SiteReport,
)
from controlplane.feeder.plan_messages import (
    Allotted,
    FeedersAhead,
    GetFeederPlan,
    PlannedBelow,
    SiteAhead,
)
from controlplane.ids import ActorKind, ActorRef, ChargerId, SiteId
from controlplane.registry.messages import RegistryRequest
from controlplane.site.messages import (
    CapChanged,
    ChargerPresence,
    ConnectorMetered,
    ConnectorState,
    LimitOutcome,
    SiteRequest,
    TokensChanged,
)
from controlplane.store.records import JournalEvent

__all__ = [
    "Admitted",
    "Announcement",
    "Answered",
    "CallOfStation",
    "CloseStation",
    "DirectoryChanged",
    "FrameKind",
    "FromActor",
    "FromStation",
    "Happened",
    "Heard",
    "Hello",
    "LookAgain",
    "Parcel",
    "Ports",
    "Question",
    "Reintroduce",
    "StationMessage",
    "StationNews",
    "ToStation",
    "Traced",
    "Withdrawal",
    "decode_request",
    "encode",
]

StationNews = (
    StationConnected
    | StationDisconnected
    | StationGarbled
    | StationReplied
    | StationFailed
    | StationSent
    | StationRefused
)
StationMessage = StationNews | StationCalled

ActorMessage = (
    ChargerAssigned
    | ChargerUnassigned
    | ApplyLimit
    | ChargerPresence
    | ConnectorState
    | ConnectorMetered
    | LimitOutcome
    | CapChanged
    | SiteReport
    | SiteLeft
    | FeederReport
    | FeederLeft
    | SiteAhead
    | FeedersAhead
    | PlannedBelow
    | Allotted
    | TokensChanged
    | UpdateWanted
    | UpdateProgress
    | UpdateDeferred
)


class Admitted(NamedTuple):
    """How a station proved itself."""

    profile: int = 0
    """OCPP security profile, 0 to 3."""
    pending_hash: str = ""
    """Of its password, where that was sent to it and is used for the first time."""
    certificate_serial: str = ""


class Ports(NamedTuple):
    """Where a gateway listens; 0 and None where it does not."""

    plain: int
    tls: int | None = None


class FromStation(msgspec.Struct, frozen=True, array_like=True, tag=1):
    """Gateway to host: news of a charger's socket. `site_id` is what the directory says."""

    charger_id: ChargerId
    site_id: SiteId | None
    message: StationNews | SecurityNoticed


class CallOfStation(msgspec.Struct, frozen=True, array_like=True, tag=8, gc=False):
    """Gateway to host: a CALL that has passed its schema. `text` is the whole frame, for
    `typed.read_payload` where `typed`, else for `framing.read_call`."""

    charger_id: ChargerId
    site_id: SiteId | None
    connection: str
    message_id: str
    action: str
    text: bytes
    mended: tuple[str, ...] = ()
    typed: bool = False


class FrameKind(IntEnum):
    CALL = 2
    CALL_RESULT = 3
    CALL_ERROR = 4


class ToStation(msgspec.Struct, frozen=True, array_like=True, tag=2, gc=False):
    """Host to gateway: a finished frame. `action` is set for a CALL; its answer is checked against
    that action's schema."""

    connection: str
    shard: int
    epoch: int
    kind: FrameKind
    message_id: str
    action: str
    frame: str


class CloseStation(msgspec.Struct, frozen=True, array_like=True, tag=3):
    """Host to gateway: close the socket."""

    connection: str
    shard: int
    epoch: int
    code: int
    reason: str


class DirectoryChanged(msgspec.Struct, frozen=True, array_like=True, tag=4):
    """Host to gateway or host: what the store says of these chargers is new."""

    charger_ids: tuple[ChargerId, ...]


class Reintroduce(msgspec.Struct, frozen=True, array_like=True, tag=5):
    """Host to gateway: these charger actors were brought back from the store; tell them again what
    is connected and deliver again what is unanswered."""

    charger_ids: tuple[ChargerId, ...]


class FromActor(msgspec.Struct, frozen=True, array_like=True, tag=6):
    """Host to host: a message for an actor of a shard that the other one owns."""

    sender: ActorRef
    to: ActorRef
    message: ActorMessage


class Hello(msgspec.Struct, frozen=True, array_like=True, tag=9):
    """Client to host: link back to this address, and say what you serve."""

    client: str
    address: str


class Announcement(msgspec.Struct, frozen=True, array_like=True, tag=7):
    """Host to gateway, before it serves these shards, and to client, once it does: the epochs under
    which it owns them. A gateway says that it has `Heard`."""

    host: str
    incarnation: str
    epochs: dict[int, int]
    address: str = ""
    serial: int = 0


class Withdrawal(msgspec.Struct, frozen=True, array_like=True, tag=10):
    """Host to gateway or client: send nothing more for these shards; somebody else will announce
    them. A gateway says that it has `Heard`."""

    host: str
    shards: tuple[int, ...]
    serial: int = 0


class Heard(msgspec.Struct, frozen=True, array_like=True, tag=11):
    """Gateway to host: what bears this serial number is in force here, and everything that was sent
    before it came before this."""

    gateway: str
    serial: int


class Question(msgspec.Struct, frozen=True, array_like=True, tag=12):
    """Client to host: a request to an actor; see `ShardHost.ask`. `repeated`: a host may have been
    asked the same before."""

    client: str
    serial: int
    ref: ActorRef
    request: bytes
    request_id: str
    timeout_s: float
    repeated: bool = False


class Answered(msgspec.Struct, frozen=True, array_like=True, tag=13):
    """Host to client: the answer to the question of this serial number, msgpack of the response or
    of a `Refusal`."""

    serial: int
    response: bytes


class Happened(msgspec.Struct, frozen=True, array_like=True, tag=14):
    """Host to client: events that were committed, oldest first."""

    events: tuple[JournalEvent, ...]


class LookAgain(msgspec.Struct, frozen=True, array_like=True, tag=15):
    """Host to host: there is something to claim."""


class Traced(msgspec.Struct, frozen=True, array_like=True, tag=30):
    """A parcel that belongs to a trace, in an envelope with its context (W3C `traceparent`). Only
    what was chosen to be traced travels so: the others cost nothing."""

    traceparent: str
    parcel: CallOfStation | FromStation | ToStation | FromActor | Question


Parcel = (
    CallOfStation
    | FromStation
    | ToStation
    | CloseStation
    | DirectoryChanged
    | Reintroduce
    | FromActor
    | Hello
    | Announcement
    | Withdrawal
    | Heard
    | Question
    | Answered
    | Happened
    | LookAgain
    | Traced
)

_REQUESTS: dict[ActorKind, msgspec.msgpack.Decoder[Any]] = {
    ActorKind.CHARGER: msgspec.msgpack.Decoder(ChargerRequest),
    ActorKind.SITE: msgspec.msgpack.Decoder(SiteRequest),
    ActorKind.FEEDER: msgspec.msgpack.Decoder(FeederRequest | GetFeederPlan),
    ActorKind.TOKENS: msgspec.msgpack.Decoder(RegistryRequest),
    ActorKind.CAMPAIGN: msgspec.msgpack.Decoder(CampaignRequest),
}

encode = msgspec.msgpack.Encoder().encode


def decode_request(kind: ActorKind, request: bytes) -> Any:
    """The request that a client encoded for an actor of `kind`.

    Raises:
        msgspec.ValidationError: no request that such an actor knows.
    """
    return _REQUESTS[kind].decode(request)


def is_actor_message(message: Message) -> bool:
    """Whether `message` may cross between hosts."""
    return isinstance(message, ActorMessage)
