"""The registry of tokens: writes whole requests, counts changes, tells every site."""

from __future__ import annotations

from typing import Any

import msgspec

from controlplane.actor import (
    Answer,
    Ask,
    Effect,
    LookedUp,
    LookUp,
    Persist,
    Send,
    SetTimer,
    TimerFired,
)
from controlplane.config import ActorSettings
from controlplane.errors import Refusal
from controlplane.ids import SiteId
from controlplane.registry.actor import RegistryActor
from controlplane.registry.messages import REGISTRY, DeleteTokens, TokensWritten, UpsertTokens
from controlplane.site.messages import TokensChanged
from controlplane.store.queries import SitesFound, SitesQuery
from controlplane.store.records import ActorSnapshot, TokenRecord, TokenRemoved
from controlplane.tokens import Token

NOW_MS = 1_700_000_000_000


class Registry:
    def __init__(self, snapshot: bytes | None = None) -> None:
        self.actor = RegistryActor(REGISTRY, ActorSettings(), snapshot)
        self.snapshot = snapshot
        self.effects = self.take(self.actor.activate(NOW_MS))

    def take(self, effects: list[Effect]) -> list[Effect]:
        self.effects = effects
        for record in self.records(ActorSnapshot):
            self.snapshot = record.state
        return effects

    def ask(self, request: Any) -> Any:
        self.take(self.actor.step(Ask("ask", request), NOW_MS))
        (answer,) = [each.response for each in self.effects if isinstance(each, Answer)]
        return answer

    def records(self, kind: type[Any]) -> list[Any]:
        found = [each.record for each in self.effects if isinstance(each, Persist)]
        return [record for record in found if isinstance(record, kind)]

    def tells(self) -> bool:
        return any(isinstance(each, SetTimer) for each in self.effects)

    def tell(self, *site_ids: str) -> list[tuple[str, TokensChanged]]:
        """The timer fires and the store answers; what each site is told."""
        effects = self.take(self.actor.step(TimerFired("news"), NOW_MS + 1_000))
        questions = [each for each in effects if isinstance(each, LookUp)]
        if not questions:
            return []
        assert questions[0].query == SitesQuery()
        sites = SitesFound(tuple(map(SiteId, site_ids)))
        answer = LookedUp(questions[0].look_up_id, sites)
        self.take(self.actor.step(answer, NOW_MS + 1_001))
        sends = [each for each in self.effects if isinstance(each, Send)]
        return [
            (each.to.id, each.message) for each in sends if isinstance(each.message, TokensChanged)
        ]


def test_a_request_is_written_whole_with_one_version() -> None:
    registry = Registry()
    answer = registry.ask(UpsertTokens((Token("Anna", group_id="Fleet"), Token("BEN"))))
    assert answer == TokensWritten(1)
    anna, ben = registry.records(TokenRecord)
    assert (anna.token_key, anna.group_key, anna.version) == ("anna", "fleet", 1)
    assert (ben.token_key, ben.group_key, ben.version) == ("ben", None, 1)
    assert msgspec.json.decode(anna.token, type=Token).updated_ms == NOW_MS
    assert registry.ask(DeleteTokens(("ANNA", "anna"))) == TokensWritten(2)
    assert registry.records(TokenRemoved) == [TokenRemoved("anna", 2)]


def test_one_token_at_fault_keeps_all_from_being_written() -> None:
    registry = Registry()
    refusal = registry.ask(UpsertTokens((Token("ANNA"), Token(""))))
    assert isinstance(refusal, Refusal) and refusal.reason == "TOKEN_INVALID"
    assert refusal.message == "tokens[1].id_token: 1 to 255 characters"
    assert registry.records(TokenRecord) == [] and not registry.tells()
    assert registry.ask(UpsertTokens(())).reason == "TOKENS_COUNT"
    assert registry.ask(DeleteTokens(())).reason == "TOKENS_COUNT"


def test_changes_that_follow_each_other_are_told_together_and_once() -> None:
    registry = Registry()
    registry.ask(UpsertTokens((Token("ANNA"),)))
    registry.ask(UpsertTokens((Token("BEN"), Token("ANNA"))))
    news = TokensChanged(2, ("anna", "ben"))
    assert registry.tell("depot", "mall") == [("depot", news), ("mall", news)]
    assert registry.tell("depot") == []


def test_many_changes_are_told_without_names() -> None:
    registry = Registry()
    registry.ask(UpsertTokens(tuple(Token(f"T{number}") for number in range(201))))
    assert registry.tell("depot") == [("depot", TokensChanged(1, None))]


def test_what_was_not_told_before_a_crash_is_told_after_it() -> None:
    registry = Registry()
    registry.ask(UpsertTokens((Token("ANNA"),)))
    after = Registry(registry.snapshot)
    assert after.tells()
    assert after.tell("depot") == [("depot", TokensChanged(1, ("anna",)))]
    assert not Registry(after.snapshot).tells()
    assert after.ask(UpsertTokens((Token("BEN"),))) == TokensWritten(2), "versions never repeat"


def test_a_store_that_cannot_be_read_is_asked_again() -> None:
    registry = Registry()
    registry.ask(UpsertTokens((Token("ANNA"),)))
    effects = registry.take(registry.actor.step(TimerFired("news"), NOW_MS))
    (question,) = [each for each in effects if isinstance(each, LookUp)]
    assert registry.tells()
    assert registry.actor.step(LookedUp(question.look_up_id, None), NOW_MS) == []
    assert registry.tell("depot") == [("depot", TokensChanged(1, ("anna",)))]
