"""Names of things: chargers, sites, feeders, sessions, the actors that stand for them and the
shards these live on.

A charger and its site hash by the site's id and so live on the same shard; a feeder hashes by its
own."""

from __future__ import annotations

import re
import zlib
from enum import StrEnum
from typing import NewType

import msgspec

__all__ = [
    "CHARGER_ID_PATTERN",
    "NAME_PATTERN",
    "SHARDS",
    "ActorKind",
    "ActorRef",
    "ChargerId",
    "ConnectorKey",
    "FeederId",
    "SessionId",
    "SiteId",
    "shard_of",
]

ChargerId = NewType("ChargerId", str)
SiteId = NewType("SiteId", str)
FeederId = NewType("FeederId", str)
SessionId = NewType("SessionId", str)

SHARDS = 4_096
"""Virtual shards; fixed for the life of a network, because actors are found by it."""

CHARGER_ID_PATTERN = re.compile(r"[A-Za-z0-9*\-_=:+|@.]{1,48}")
"""OCPP 2.0.1 identifierString, length as in part 2 (`identity`); OCPP 1.6 stations keep within it
in practice."""

NAME_PATTERN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")
"""Names of sites, feeders and circuits: they appear in URLs, metrics and file names."""


class ActorKind(StrEnum):
    """What an actor stands for."""

    CHARGER = "charger"
    SITE = "site"
    FEEDER = "feeder"
    CAMPAIGN = "campaign"


class ActorRef(msgspec.Struct, frozen=True, array_like=True):
    """The address of an actor; where it lives at the moment is the runtime's business."""

    kind: ActorKind
    id: str

    def __str__(self) -> str:
        return f"{self.kind.value}/{self.id}"


class ConnectorKey(msgspec.Struct, frozen=True, array_like=True, order=True):
    """One connector of one charger. OCPP 2.x names it by EVSE; Loadstar steers one connector per
    EVSE at a time, so `connector_id` is the 1.6 connector number or the 2.x EVSE number. Range 1
    and up; 0 is the whole charger."""

    charger_id: ChargerId
    connector_id: int

    def __str__(self) -> str:
        return f"{self.charger_id}/{self.connector_id}"


def shard_of(kind: ActorKind, id: str, *, site_id: SiteId | None = None) -> int:
    """The shard, 0 to SHARDS - 1, of an actor; a charger goes where its site is, or by its own id
    while it has none."""
    if kind is ActorKind.CHARGER and site_id is not None:
        return shard_of(ActorKind.SITE, site_id)
    return zlib.crc32(f"{kind.value}/{id}".encode()) % SHARDS
