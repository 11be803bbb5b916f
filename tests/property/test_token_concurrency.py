"""However two starts of one token interleave at two chargers, no more are accepted than the token
allows: each is committed as undecided before its token is looked up."""

from __future__ import annotations

from itertools import permutations

import msgspec
import pytest

from controlplane.actor import Effect, LookedUp, LookUp, Persist, Reply
from controlplane.charger.actor import ChargerActor
from controlplane.charger.messages import ChargerAssigned, StationCalled, StationConnected
from controlplane.config import ActorSettings
from controlplane.ids import ActorKind, ActorRef, SiteId
from controlplane.network import ChargerConfig
from controlplane.sim.virtual_host import VirtualStore
from controlplane.store.queries import QueryAnswer
from controlplane.store.records import TokenRecord
from controlplane.tokens import Authorisation, Token

NOW_MS = 1_704_067_200_000
ORDERS = sorted(set(permutations(["a"] * 3 + ["b"] * 3)))


class Starting:
    """A charger at which a transaction begins; its steps reach the shared store one at a time."""

    def __init__(self, id: str, store: VirtualStore) -> None:
        self.store = store
        self.actor = ChargerActor(ActorRef(ActorKind.CHARGER, id), ActorSettings(), None)
        config = ChargerConfig(id=id, circuit="main").model_dump_json().encode()
        self.actor.step(
            ChargerAssigned(SiteId("site"), 230, config, authorisation=Authorisation()), NOW_MS
        )
        self.actor.step(StationConnected(id, "ocpp1.6", ""), NOW_MS)
        start = {"connectorId": 1, "idTag": "ANNA", "meterStart": 0, "timestamp": "2024-01-01"}
        self.effects: list[Effect] = self.actor.step(
            StationCalled(id, "1", "StartTransaction", start), NOW_MS
        )
        self.answer: QueryAnswer | None = None
        self.status = ""
        self.steps = iter((self.commit, self.read, self.judge))

    def commit(self) -> None:
        for effect in self.effects:
            if isinstance(effect, Persist):
                self.store.commit(effect.record)

    def read(self) -> None:
        (self.question,) = [each for each in self.effects if isinstance(each, LookUp)]
        self.answer = self.store.look_up(self.question.query)

    def judge(self) -> None:
        told = LookedUp(self.question.look_up_id, self.answer)
        self.effects = self.actor.step(told, NOW_MS)
        (reply,) = [each for each in self.effects if isinstance(each, Reply)]
        self.status = reply.payload["idTagInfo"]["status"]
        self.commit()


@pytest.mark.parametrize("order", ORDERS, ids="".join)
def test_no_order_of_two_starts_accepts_both(order: tuple[str, ...]) -> None:
    store = VirtualStore()
    token = Token("ANNA", concurrent_max=1)
    store.commit(TokenRecord(token.key, 1, None, msgspec.json.encode(token)))
    chargers = {"a": Starting("A", store), "b": Starting("B", store)}
    for name in order:
        next(chargers[name].steps)()
    statuses = [charger.status for charger in chargers.values()]
    assert statuses.count("Accepted") <= 1
    assert set(statuses) <= {"Accepted", "ConcurrentTx"}
    one_after_the_other = order in (tuple("aaabbb"), tuple("bbbaaa"))
    assert "Accepted" in statuses or not one_after_the_other
