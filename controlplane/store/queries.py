"""What an actor may ask the store: plain structs, answered by whatever runs the actor.

An actor cannot read; it says `LookUp` and is told `LookedUp` with one of the answers here, read
after the commit of the step that asked. What it asks must be answered from an index."""

from __future__ import annotations

from typing import Final

import msgspec

from controlplane.ids import ChargerId, SessionId, SiteId
from controlplane.tokens import Token

__all__ = [
    "LIST_SCAN_MAX",
    "ListFound",
    "ListQuery",
    "Query",
    "QueryAnswer",
    "SitesFound",
    "SitesQuery",
    "TokenFound",
    "TokenQuery",
]

LIST_SCAN_MAX: Final = 50_000
"""Most tokens that are read to make a local list; a network with more has none that a station could
hold."""


class TokenQuery(msgspec.Struct, frozen=True):
    """The token of this key, and who charges with it. Answered with `TokenFound`."""

    token_key: str


class TokenFound(msgspec.Struct, frozen=True):
    """`token` is None where there is none. `sessions` are the running sessions of the network that
    were not refused, read only where the token bounds their number."""

    token: Token | None
    sessions: tuple[SessionId, ...] = ()


class ListQuery(msgspec.Struct, frozen=True):
    """The tokens that may charge at a charger, or what changed about them after a version (0: all
    there are). Answered with `ListFound`."""

    site_id: SiteId
    charger_id: ChargerId
    after_version: int
    entries_max: int


class ListFound(msgspec.Struct, frozen=True):
    """Tokens for a local list up to `version`, in the order of their keys, and the ids of those
    that no longer belong there. `complete` is False where there are more than were asked for."""

    version: int
    tokens: tuple[Token, ...]
    gone: tuple[str, ...]
    complete: bool


class SitesQuery(msgspec.Struct, frozen=True):
    """The sites there are. Answered with `SitesFound`."""


class SitesFound(msgspec.Struct, frozen=True):
    site_ids: tuple[SiteId, ...]


Query = TokenQuery | ListQuery | SitesQuery
QueryAnswer = TokenFound | ListFound | SitesFound
