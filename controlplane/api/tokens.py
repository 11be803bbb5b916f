"""`TokensService`: who may charge, and the lists by which chargers know them.

Tokens are written by the registry alone (`registry/actor.py`) and read from the store."""

from __future__ import annotations

from typing import Any

import msgspec

from controlplane.api.backend import (
    Backend,
    instant_ms,
    invalid,
    page_size,
    timestamp,
)
from controlplane.api.executing import execute, outcome_of, require_charger
from controlplane.api.structs import message_of, struct_of
from controlplane.api.v1 import tariffs_pb2, tokens_pb2, tokens_pb2_grpc
from controlplane.charging_tariff import Tariff
from controlplane.errors import InvalidInput, NotFound, Precondition
from controlplane.network import SiteConfig
from controlplane.ocpp import commands
from controlplane.ocpp.answers import list_version_answered
from controlplane.registry.messages import (
    REGISTRY,
    TOKENS_AT_ONCE_MAX,
    DeleteTokens,
    TokensWritten,
    UpsertTokens,
)
from controlplane.tokens import (
    Token,
    TokenState,
    TokenStatus,
    TokenType,
    token_faults,
    token_key,
)

__all__ = ["Tokens", "token_type"]

_WRITE_TIMEOUT_S = 30.0
_ENTRIES_MAX = 250
_LIST_VERSION_MAX = 2**31 - 1

_TYPE_NUMBERS = {each: tokens_pb2.TokenType.Value(f"TOKEN_TYPE_{each.name}") for each in TokenType}
_STATE_NUMBERS = {
    each: tokens_pb2.TokenState.Value(f"TOKEN_STATE_{each.name}") for each in TokenState
}
_TYPES: dict[int, TokenType] = {number: each for each, number in _TYPE_NUMBERS.items()}
_STATES: dict[int, TokenState] = {number: each for each, number in _STATE_NUMBERS.items()}
_LISTED = {
    TokenState.ACCEPTED: TokenStatus.ACCEPTED,
    TokenState.BLOCKED: TokenStatus.BLOCKED,
    TokenState.NO_CREDIT: TokenStatus.NO_CREDIT,
}

_decoder = msgspec.json.Decoder(Token)


class Tokens(tokens_pb2_grpc.TokensServiceServicer):
    """Answers `controlplane.api.v1.TokensService`."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend

    async def UpsertTokens(
        self, request: tokens_pb2.UpsertTokensRequest, context: Any
    ) -> tokens_pb2.UpsertTokensResponse:
        _check_count("tokens", len(request.tokens))
        tokens = tuple(
            _token_from_message(message, f"tokens[{position}]")
            for position, message in enumerate(request.tokens)
        )
        written = await self._backend.ask(
            REGISTRY,
            UpsertTokens(tokens),
            TokensWritten,
            context,
            timeout_s=_WRITE_TIMEOUT_S,
            request_id=request.request_id,
        )
        return tokens_pb2.UpsertTokensResponse(version=written.version)

    async def GetToken(
        self, request: tokens_pb2.GetTokenRequest, context: Any
    ) -> tokens_pb2.GetTokenResponse:
        record = await self._backend.reader.token(token_key(request.id_token))
        if record is None:
            raise NotFound(
                f"there is no token {request.id_token!r}",
                reason="TOKEN_UNKNOWN",
                metadata={"id_token": request.id_token[:64]},
            )
        return tokens_pb2.GetTokenResponse(token=_token_to_message(_decoder.decode(record.token)))

    async def ListTokens(
        self, request: tokens_pb2.ListTokensRequest, context: Any
    ) -> tokens_pb2.ListTokensResponse:
        records, token = await self._backend.reader.tokens(
            group_key=token_key(request.group_id) if request.group_id else None,
            page_size=page_size(request.page_size),
            page_token=request.page_token,
        )
        return tokens_pb2.ListTokensResponse(
            tokens=[_token_to_message(_decoder.decode(record.token)) for record in records],
            next_page_token=token,
        )

    async def DeleteTokens(
        self, request: tokens_pb2.DeleteTokensRequest, context: Any
    ) -> tokens_pb2.DeleteTokensResponse:
        _check_count("id_tokens", len(request.id_tokens))
        written = await self._backend.ask(
            REGISTRY,
            DeleteTokens(tuple(request.id_tokens)),
            TokensWritten,
            context,
            timeout_s=_WRITE_TIMEOUT_S,
            request_id=request.request_id,
        )
        return tokens_pb2.DeleteTokensResponse(version=written.version)

    # --- the lists of chargers --------------------------------------------------------------------

    async def GetLocalListVersion(
        self, request: tokens_pb2.GetLocalListVersionRequest, context: Any
    ) -> tokens_pb2.GetLocalListVersionResponse:
        result = await execute(self._backend, commands.GetListVersion(), request, context)
        return tokens_pb2.GetLocalListVersionResponse(
            outcome=outcome_of(result), version=list_version_answered(result.payload)
        )

    async def SendLocalList(
        self, request: tokens_pb2.SendLocalListRequest, context: Any
    ) -> tokens_pb2.SendLocalListResponse:
        if not 1 <= request.version <= _LIST_VERSION_MAX:
            raise invalid("version", f"1 to {_LIST_VERSION_MAX}")
        if len(request.entries) > _ENTRIES_MAX:
            raise invalid("entries", f"at most {_ENTRIES_MAX}")
        if request.full and any(entry.remove for entry in request.entries):
            raise invalid("entries", "a full list has nothing to take off")
        entries = tuple(
            _entry(message, f"entries[{position}].token")
            for position, message in enumerate(request.entries)
        )
        await self._require_no_own_list(request.charger_id)
        command = commands.SendList(request.version, request.full, entries)
        result = await execute(self._backend, command, request, context)
        return tokens_pb2.SendLocalListResponse(outcome=outcome_of(result))

    async def ClearCache(
        self, request: tokens_pb2.ClearCacheRequest, context: Any
    ) -> tokens_pb2.ClearCacheResponse:
        result = await execute(self._backend, commands.ClearCache(), request, context)
        return tokens_pb2.ClearCacheResponse(outcome=outcome_of(result))

    async def _require_no_own_list(self, charger_id: str) -> None:
        record = await require_charger(self._backend, charger_id)
        site = None if record is None else await self._backend.reader.site(record.site_id)
        if site is None:
            return
        if SiteConfig.model_validate_json(site.config).authorisation.local_list:
            raise Precondition(
                f"site {site.site_id} keeps the lists of its chargers by itself; write tokens, or "
                "set authorisation.local_list to false",
                reason="LIST_KEPT_BY_SITE",
                metadata={"charger_id": charger_id, "site_id": site.site_id},
            )


def token_type(number: int, default: TokenType) -> TokenType:
    """The type in a request; `default` where it is not given.

    Raises:
        InvalidInput: no type of tokens.
    """
    if number == tokens_pb2.TOKEN_TYPE_UNSPECIFIED:
        return default
    found = _TYPES.get(number)
    if found is None:
        raise invalid("type", "not a type of tokens")
    return found


def _check_count(field: str, count: int) -> None:
    if not 1 <= count <= TOKENS_AT_ONCE_MAX:
        raise invalid(field, f"1 to {TOKENS_AT_ONCE_MAX}")


def _token_from_message(message: tokens_pb2.Token, place: str) -> Token:
    """The token that a request describes.

    Raises:
        InvalidInput: with a violation for each fault.
    """
    state = TokenState.ACCEPTED
    if message.state != tokens_pb2.TOKEN_STATE_UNSPECIFIED:
        found = _STATES.get(message.state)
        if found is None:
            raise invalid(f"{place}.state", "not a state of tokens")
        state = found
    token = Token(
        id_token=message.id_token.strip(),
        type=token_type(message.type, TokenType.ISO14443),
        state=state,
        valid_from_ms=instant_ms(message, "valid_from_time"),
        valid_until_ms=instant_ms(message, "valid_until_time"),
        group_id=message.group_id.strip() or None,
        driver=message.driver,
        concurrent_max=message.concurrent_max if message.HasField("concurrent_max") else None,
        sites=tuple(message.site_ids),
        chargers=tuple(message.charger_ids),
        language=message.language,
        message=message.message,
        tariff=(
            struct_of(Tariff, message.tariff, f"{place}.tariff")
            if message.HasField("tariff")
            else None
        ),
    )
    faults = tuple((f"{place}.{field}", fault) for field, fault in token_faults(token))
    if faults:
        raise InvalidInput(
            "; ".join(f"{field}: {fault}" for field, fault in faults),
            reason="TOKEN_INVALID",
            violations=faults,
        )
    return token


def _token_to_message(token: Token) -> tokens_pb2.Token:
    return tokens_pb2.Token(
        id_token=token.id_token,
        type=_TYPE_NUMBERS[token.type],
        state=_STATE_NUMBERS[token.state],
        valid_from_time=timestamp(token.valid_from_ms),
        valid_until_time=timestamp(token.valid_until_ms),
        group_id=token.group_id or "",
        driver=token.driver,
        concurrent_max=token.concurrent_max,
        site_ids=token.sites,
        charger_ids=token.chargers,
        language=token.language,
        message=token.message,
        update_time=timestamp(token.updated_ms),
        tariff=None if token.tariff is None else message_of(token.tariff, tariffs_pb2.Tariff),
    )


def _entry(message: tokens_pb2.LocalListEntry, place: str) -> commands.ListEntry:
    token = _token_from_message(message.token, place)
    return commands.ListEntry(
        token.id_token,
        token.type,
        None if message.remove else _LISTED[token.state],
        token.valid_until_ms,
        token.group_id,
        token.language,
        token.message,
    )
