"""Tokens: what a driver identifies with, who may charge with it, and where that stops.

Pure words and rules for everybody who deals with tokens: the registry that stores them, chargers
that answer stations, local lists, the API. Invariant: a verdict depends on the token, the place,
the purpose and the instant alone, so whoever judges comes to the same one.

An id is the same in upper and lower case (1.6 CiString20Type, 2.x part 2 IdTokenType), and a token
is known by its id alone: 1.6 stations do not say of which type it is, and 2.x stations name the
same card differently when it was started from afar."""

from __future__ import annotations

from collections.abc import Iterator
from enum import StrEnum
from typing import Final

import msgspec

from controlplane.charging_tariff import Tariff, tariff_fault
from controlplane.units import MS_PER_S

__all__ = [
    "CACHE_MAX_S",
    "ID_TOKEN_MAX",
    "PENDING",
    "Authorisation",
    "AuthorisationPolicy",
    "Purpose",
    "Token",
    "TokenState",
    "TokenStatus",
    "TokenType",
    "Verdict",
    "judge",
    "judge_unheard",
    "same_group",
    "token_faults",
    "token_key",
]

ID_TOKEN_MAX: Final = 255
"""Longest id: 20 in 1.6, 36 in 2.0.1, 255 in 2.1."""
PENDING: Final = "Pending"
"""What a session's token status is while its token is looked up."""
CACHE_MAX_S: Final = 366 * 24 * 3_600
_TEXT_MAX: Final = 1_024
"""Longest personal message (2.1; 512 in 2.0.1)."""
_PLACES_MAX: Final = 1_000
_CONCURRENT_MAX: Final = 1_000


class TokenType(StrEnum):
    """How a driver identifies (2.x IdTokenEnumType)."""

    CENTRAL = "central"
    DIRECT_PAYMENT = "direct_payment"
    EMAID = "emaid"
    EVCCID = "evccid"
    ISO14443 = "iso14443"
    ISO15693 = "iso15693"
    KEY_CODE = "key_code"
    LOCAL = "local"
    MAC_ADDRESS = "mac_address"
    NO_AUTHORIZATION = "no_authorization"
    """Charging without identification; the only type whose id may be empty."""
    VIN = "vin"


class TokenState(StrEnum):
    """What its owner says of a token."""

    ACCEPTED = "accepted"
    BLOCKED = "blocked"
    NO_CREDIT = "no_credit"


class TokenStatus(StrEnum):
    """What a station is told of a token, in the words of OCPP 2.x (part 2
    AuthorizationStatusEnumType); 1.6 has five of them."""

    ACCEPTED = "Accepted"
    BLOCKED = "Blocked"
    CONCURRENT_TX = "ConcurrentTx"
    EXPIRED = "Expired"
    INVALID = "Invalid"
    NO_CREDIT = "NoCredit"
    NOT_AT_THIS_LOCATION = "NotAtThisLocation"
    NOT_AT_THIS_TIME = "NotAtThisTime"
    UNKNOWN = "Unknown"


class Token(msgspec.Struct, frozen=True):
    """One token as its owner wrote it.

    It is valid from `valid_from_ms` up to, not including, `valid_until_ms`; None is open. It may
    charge at the named `sites` and `chargers`, or anywhere where neither is named. `concurrent_max`
    bounds its running transactions in the whole network. `updated_ms` is the registry's.
    """

    id_token: str
    type: TokenType = TokenType.ISO14443
    state: TokenState = TokenState.ACCEPTED
    valid_from_ms: int | None = None
    valid_until_ms: int | None = None
    group_id: str | None = None
    driver: str = ""
    """Whose it is, in the words of whoever stores it."""
    concurrent_max: int | None = None
    sites: tuple[str, ...] = ()
    chargers: tuple[str, ...] = ()
    language: str = ""
    message: str = ""
    """Shown to the driver by stations that can (2.x personalMessage)."""
    updated_ms: int = 0
    tariff: Tariff | None = None
    """What its owner pays at stations that calculate it (2.1); None: what everybody pays."""

    @property
    def key(self) -> str:
        return token_key(self.id_token)

    def allowed_at(self, site_id: str | None, charger_id: str) -> bool:
        """Whether it may charge there."""
        if not (self.sites or self.chargers):
            return True
        return charger_id in self.chargers or (site_id is not None and site_id in self.sites)


class AuthorisationPolicy(StrEnum):
    """Whom a site serves."""

    OPEN = "open"
    """Whoever comes, unless the token is known and refused."""
    KNOWN = "known"
    """Known tokens; and everybody while nobody can say which are known."""
    CLOSED = "closed"
    """Known tokens; and nobody while nobody can say which are known."""


class Authorisation(msgspec.Struct, frozen=True):
    """A site's way of authorising, as its chargers live by it; see
    `authorisation.AuthorisationConfig`."""

    policy: AuthorisationPolicy = AuthorisationPolicy.OPEN
    configures: bool = False
    """Whether stations are told how to authorise by themselves."""
    local_list: bool = False
    cache: bool | None = None
    cache_s: int | None = None
    pre_authorise: bool | None = None
    stop_on_invalid: bool | None = None
    authorise_remote: bool | None = None
    master_pass_group: str | None = None


class Purpose(StrEnum):
    """What a token is shown for."""

    AUTHORIZE = "authorize"
    """It is only asked about."""
    START = "start"
    """A transaction begins with it, at the station or from afar."""
    CONTINUE = "continue"
    """Its transaction runs and something was changed about the token."""
    STOP = "stop"
    """A transaction is ended with it."""


class Verdict(msgspec.Struct, frozen=True):
    """What a station is told of a token, and how long it may believe it (None: it is not said)."""

    status: TokenStatus
    expires_ms: int | None = None
    group_id: str | None = None
    language: str = ""
    message: str = ""
    tariff: Tariff | None = None

    @property
    def accepted(self) -> bool:
        return self.status is TokenStatus.ACCEPTED


def token_key(id_token: str) -> str:
    """What two writings of one id have in common."""
    return id_token.strip().lower()


def token_faults(token: Token) -> Iterator[tuple[str, str]]:
    """Field and fault of everything that keeps a token from being stored."""
    bare = token.id_token.strip()
    if token.type is TokenType.NO_AUTHORIZATION:
        if len(bare) > ID_TOKEN_MAX:
            yield "id_token", f"at most {ID_TOKEN_MAX} characters"
    elif not 1 <= len(bare) <= ID_TOKEN_MAX:
        yield "id_token", f"1 to {ID_TOKEN_MAX} characters"
    if not all(character.isprintable() for character in token.id_token):
        yield "id_token", "printable characters only"
    if token.group_id is not None and not 1 <= len(token.group_id.strip()) <= ID_TOKEN_MAX:
        yield "group_id", f"1 to {ID_TOKEN_MAX} characters"
    if len(token.driver) > ID_TOKEN_MAX:
        yield "driver", f"at most {ID_TOKEN_MAX} characters"
    if len(token.language) > 8:
        yield "language", "a language tag of at most 8 characters, such as de"
    if len(token.message) > _TEXT_MAX:
        yield "message", f"at most {_TEXT_MAX} characters"
    if token.concurrent_max is not None and not 1 <= token.concurrent_max <= _CONCURRENT_MAX:
        yield "concurrent_max", f"1 to {_CONCURRENT_MAX}"
    if len(token.sites) > _PLACES_MAX or len(token.chargers) > _PLACES_MAX:
        yield "sites", f"at most {_PLACES_MAX} sites and as many chargers"
    begins_ms, ends_ms = token.valid_from_ms, token.valid_until_ms
    if begins_ms is not None and ends_ms is not None and ends_ms <= begins_ms:
        yield "valid_until", "after valid_from"
    fault = None if token.tariff is None else tariff_fault(token.tariff)
    if fault is not None:
        yield "tariff", fault


def judge(
    token: Token | None,
    authorisation: Authorisation,
    purpose: Purpose,
    *,
    site_id: str | None,
    charger_id: str,
    now_ms: int,
    others: int = 0,
) -> Verdict:
    """The verdict on a token that was looked up; `token` None is one that nobody stored.

    `others` is how many other transactions of the token run. A transaction that runs goes on when
    its token expires; it stops being served when the token is blocked, deleted or barred from the
    place.
    """
    if token is None:
        known = authorisation.policy is not AuthorisationPolicy.OPEN
        if known:
            return Verdict(TokenStatus.UNKNOWN)
        return Verdict(TokenStatus.ACCEPTED, _believed_until_ms(None, authorisation, now_ms))
    status = _status(
        token,
        authorisation,
        purpose,
        site_id=site_id,
        charger_id=charger_id,
        now_ms=now_ms,
        others=others,
    )
    expires_ms = token.valid_until_ms
    if status is TokenStatus.ACCEPTED:
        expires_ms = _believed_until_ms(expires_ms, authorisation, now_ms)
    return Verdict(status, expires_ms, token.group_id, token.language, token.message, token.tariff)


def _status(
    token: Token,
    authorisation: Authorisation,
    purpose: Purpose,
    *,
    site_id: str | None,
    charger_id: str,
    now_ms: int,
    others: int,
) -> TokenStatus:
    if token.state is TokenState.BLOCKED:
        return TokenStatus.BLOCKED
    if token.state is TokenState.NO_CREDIT:
        return TokenStatus.NO_CREDIT
    if purpose is not Purpose.CONTINUE:
        if token.valid_until_ms is not None and now_ms >= token.valid_until_ms:
            return TokenStatus.EXPIRED
        if token.valid_from_ms is not None and now_ms < token.valid_from_ms:
            return TokenStatus.NOT_AT_THIS_TIME
    if not token.allowed_at(site_id, charger_id):
        return TokenStatus.NOT_AT_THIS_LOCATION
    if purpose is Purpose.START:
        master = authorisation.master_pass_group
        if master is not None and same_group(token.group_id, master):
            # 2.x part 2 C16: whoever may stop everything starts nothing.
            return TokenStatus.INVALID
        if token.concurrent_max is not None and others >= token.concurrent_max:
            return TokenStatus.CONCURRENT_TX
    return TokenStatus.ACCEPTED


def judge_unheard(authorisation: Authorisation) -> Verdict:
    """The verdict on a token that could not be looked up in time."""
    closed = authorisation.policy is AuthorisationPolicy.CLOSED
    return Verdict(TokenStatus.INVALID if closed else TokenStatus.ACCEPTED)


def same_group(one: str | None, other: str | None) -> bool:
    """Whether two group ids name one group; no group is no one's."""
    return one is not None and other is not None and token_key(one) == token_key(other)


def _believed_until_ms(
    valid_until_ms: int | None, authorisation: Authorisation, now_ms: int
) -> int | None:
    """How long a station may keep an acceptance in its cache."""
    if authorisation.cache_s is None:
        return valid_until_ms
    cached_ms = now_ms + authorisation.cache_s * MS_PER_S
    return cached_ms if valid_until_ms is None else min(valid_until_ms, cached_ms)
