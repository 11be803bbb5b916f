"""The registry of tokens as a pure state machine: the one writer of the table of tokens.

It keeps no token. What it gives to each change is its version, and the news of it: the table is the
truth, read by whoever asks after a token, on any host, and so never behind. The invariants: the
tokens of one request are in one commit; versions grow with every change and never repeat; whatever
was changed is told to every site at least once, also by a host that comes after a crash."""

from __future__ import annotations

from typing import Final

import msgspec

from controlplane.actor import (
    Answer,
    Ask,
    Effect,
    Emit,
    LookedUp,
    LookUp,
    Message,
    Persist,
    Send,
    SetTimer,
    TimerFired,
)
from controlplane.config import ActorSettings
from controlplane.errors import Refusal
from controlplane.ids import ActorKind, ActorRef
from controlplane.registry.messages import (
    TOKENS_AT_ONCE_MAX,
    DeleteTokens,
    TokensWritten,
    UpsertTokens,
)
from controlplane.site.messages import TokensChanged
from controlplane.store.queries import SitesFound, SitesQuery
from controlplane.store.records import ActorSnapshot, TokenRecord, TokenRemoved
from controlplane.tokens import Token, token_faults, token_key

__all__ = ["RegistryActor"]

_NEWS_TIMER: Final = "news"
_KEYS_TOLD_MAX: Final = 200
"""Changed tokens that news names; beyond, every charger looks at what it serves."""
_IDS_JOURNALLED_MAX: Final = 20

_encoder = msgspec.msgpack.Encoder()
_json = msgspec.json.Encoder()


class _Memory(msgspec.Struct):
    """What outlives a host. `changed` are the keys of what is not told yet, None where they are too
    many to name."""

    version: int = 0
    told_version: int = 0
    changed: list[str] | None = []


_decoder = msgspec.msgpack.Decoder(_Memory)


class RegistryActor:
    """The actor of the registry; there is one in a network.

    Raises:
        msgspec.DecodeError: the snapshot is not one of the registry's.
    """

    __slots__ = ("_asked", "_memory", "_settings", "ref")

    def __init__(self, ref: ActorRef, settings: ActorSettings, snapshot: bytes | None) -> None:
        self.ref = ref
        self._settings = settings
        self._memory = _Memory() if snapshot is None else _decoder.decode(snapshot)
        self._asked = ""
        """The look-up of sites that is under way."""

    def activate(self, now_ms: int) -> list[Effect]:
        """Go on telling what the host before may not have told."""
        return self._tell_soon(now_ms)

    def step(self, message: Message, now_ms: int) -> list[Effect]:
        """Take one message; see `controlplane.actor.Actor`."""
        match message:
            case Ask(ask_id, UpsertTokens(tokens)):
                return self._upsert(ask_id, tokens, now_ms)
            case Ask(ask_id, DeleteTokens(id_tokens)):
                return self._delete(ask_id, id_tokens, now_ms)
            case Ask(ask_id, request):
                name = type(request).__name__
                words = f"the registry of tokens cannot {name}"
                return [Answer(ask_id, Refusal("invalid_input", "UNKNOWN_REQUEST", words))]
            case TimerFired():
                return self._due(now_ms)
            case LookedUp(look_up_id, answer) if look_up_id == self._asked:
                return self._tell(answer, now_ms)
        return []

    # --- writing ----------------------------------------------------------------------------------

    def _upsert(self, ask_id: str, tokens: tuple[Token, ...], now_ms: int) -> list[Effect]:
        fault = _first_fault(tokens)
        if fault is not None:
            return [Answer(ask_id, fault)]
        version = self._memory.version + 1
        records: dict[str, TokenRecord] = {}
        for token in tokens:
            stored = msgspec.structs.replace(token, updated_ms=now_ms)
            group_key = None if token.group_id is None else token_key(token.group_id)
            records[token.key] = TokenRecord(token.key, version, group_key, _json.encode(stored))
        effects: list[Effect] = [Persist(record) for record in records.values()]
        return effects + self._changed(ask_id, list(records), "stored", now_ms)

    def _delete(self, ask_id: str, id_tokens: tuple[str, ...], now_ms: int) -> list[Effect]:
        if not 1 <= len(id_tokens) <= TOKENS_AT_ONCE_MAX:
            return [Answer(ask_id, _count_refusal())]
        keys = list(dict.fromkeys(token_key(id_token) for id_token in id_tokens))
        version = self._memory.version + 1
        effects: list[Effect] = [Persist(TokenRemoved(key, version)) for key in keys]
        return effects + self._changed(ask_id, keys, "deleted", now_ms)

    def _changed(self, ask_id: str, keys: list[str], what: str, now_ms: int) -> list[Effect]:
        memory = self._memory
        memory.version += 1
        if memory.changed is not None:
            named = list(dict.fromkeys([*memory.changed, *keys]))
            memory.changed = named if len(named) <= _KEYS_TOLD_MAX else None
        event = {
            "version": memory.version,
            what: len(keys),
            "id_tokens": keys[:_IDS_JOURNALLED_MAX],
        }
        return [
            Emit("tokens.changed", event),
            self._snapshot(),
            *self._tell_soon(now_ms),
            Answer(ask_id, TokensWritten(memory.version)),
        ]

    # --- telling ----------------------------------------------------------------------------------

    def _tell_soon(self, now_ms: int) -> list[Effect]:
        """Changes that follow each other closely are told together."""
        if self._memory.told_version == self._memory.version:
            return []
        return [SetTimer(_NEWS_TIMER, now_ms + self._settings.round_interval_ms)]

    def _due(self, now_ms: int) -> list[Effect]:
        if self._memory.told_version == self._memory.version:
            return []
        self._asked = f"{now_ms:x}"
        retry_ms = now_ms + self._settings.call_timeout_ms
        return [LookUp(self._asked, SitesQuery()), SetTimer(_NEWS_TIMER, retry_ms)]

    def _tell(self, answer: object, now_ms: int) -> list[Effect]:
        self._asked = ""
        memory = self._memory
        if not isinstance(answer, SitesFound):
            # The timer that is set asks again.
            return []
        news = TokensChanged(
            memory.version, None if memory.changed is None else tuple(memory.changed)
        )
        memory.told_version, memory.changed = memory.version, []
        sends = [Send(ActorRef(ActorKind.SITE, site_id), news) for site_id in answer.site_ids]
        return [*sends, self._snapshot()]

    def _snapshot(self) -> Persist:
        return Persist(ActorSnapshot(self.ref, _encoder.encode(self._memory)))


def _first_fault(tokens: tuple[Token, ...]) -> Refusal | None:
    """Why none of `tokens` can be stored; the first fault names its token."""
    if not 1 <= len(tokens) <= TOKENS_AT_ONCE_MAX:
        return _count_refusal()
    for position, token in enumerate(tokens):
        for field, fault in token_faults(token):
            return Refusal(
                "invalid_input",
                "TOKEN_INVALID",
                f"tokens[{position}].{field}: {fault}",
                {"id_token": token.id_token[:64]},
            )
    return None


def _count_refusal() -> Refusal:
    return Refusal("invalid_input", "TOKENS_COUNT", f"1 to {TOKENS_AT_ONCE_MAX} tokens at once")
