"""The list and the cache by which a station authorises on its own (1.6 section 3.4, 5.4, 5.10 and
5.15, 2.x part 2 block D and C11)."""

from __future__ import annotations

import msgspec

from controlplane.ocpp.commands.core import Command
from controlplane.tokens import TokenStatus, TokenType

__all__ = [
    "ClearCache",
    "ConfigureAccess",
    "GetListBounds",
    "GetListVersion",
    "ListEntry",
    "SendList",
]


class ListEntry(msgspec.Struct, frozen=True):
    """What a list says of a token; `status` None takes it off the list (differential only)."""

    id_token: str
    type: TokenType = TokenType.CENTRAL
    status: TokenStatus | None = TokenStatus.ACCEPTED
    expires_ms: int | None = None
    group_id: str | None = None
    language: str = ""
    message: str = ""


class ConfigureAccess(Command, frozen=True, tag="configure_access"):
    """How a station authorises by itself; None leaves a setting as it is."""

    offline: bool
    """By list and cache while it is offline."""
    unknown_offline: bool
    """Also whom it does not know."""
    local_list: bool
    cache: bool | None = None
    cache_s: int | None = None
    pre_authorise: bool | None = None
    stop_on_invalid: bool | None = None
    authorise_remote: bool | None = None
    master_pass_group: str | None = None


class GetListBounds(Command, frozen=True, tag="get_list_bounds"):
    """How many entries a message and the list may have, as settings."""


class GetListVersion(Command, frozen=True, tag="get_list_version"):
    pass


class SendList(Command, frozen=True, tag="send_list"):
    """Put `entries` in the place of the list (`full`), or change the list by them; it then has
    `version`, 1 and up. Entries whose ids are too long for the station's version are left out."""

    version: int
    full: bool
    entries: tuple[ListEntry, ...] = ()


class ClearCache(Command, frozen=True, tag="clear_cache"):
    """Forget which tokens were accepted before; the list stays."""
