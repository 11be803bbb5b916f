"""What the registry of tokens can be asked by the API."""

from __future__ import annotations

import msgspec

from controlplane.ids import ActorKind, ActorRef
from controlplane.tokens import Token

__all__ = [
    "REGISTRY",
    "TOKENS_AT_ONCE_MAX",
    "DeleteTokens",
    "RegistryRequest",
    "TokensWritten",
    "UpsertTokens",
]

REGISTRY = ActorRef(ActorKind.TOKENS, "network")
"""The one registry there is."""

TOKENS_AT_ONCE_MAX = 10_000


class UpsertTokens(msgspec.Struct, frozen=True, tag="upsert_tokens"):
    """Store these tokens, each whole, in the place of what was stored under its id; all of them or,
    where one is at fault, none. Answered with `TokensWritten`."""

    tokens: tuple[Token, ...]


class DeleteTokens(msgspec.Struct, frozen=True, tag="delete_tokens"):
    """Forget tokens; ids that nobody stored are no fault. Answered with `TokensWritten`."""

    id_tokens: tuple[str, ...]


class TokensWritten(msgspec.Struct, frozen=True, tag="tokens_written"):
    """`version` is that of this change; every change has a higher one than those before it."""

    version: int


RegistryRequest = UpsertTokens | DeleteTokens
