"""Whatever writes into the journal can be read out of it."""

from __future__ import annotations

from controlplane.api.v1 import journal_pb2
from controlplane.ids import ActorKind


def test_every_kind_of_actor_has_a_word_in_the_contract() -> None:
    words = {f"ACTOR_KIND_{kind.name}" for kind in ActorKind}
    assert set(journal_pb2.ActorKind.keys()) == words | {"ACTOR_KIND_UNSPECIFIED"}
