"""What a charger makes of being told again where it belongs."""

from __future__ import annotations

from decimal import Decimal

import msgspec
from charger_driver import Charger

from controlplane.actor import Effect, Persist, Send
from controlplane.charger.messages import ChargerAssigned, FeedInTerms
from controlplane.ids import SiteId
from controlplane.network import ChargerConfig, ConnectorConfig
from controlplane.site.messages import ChargerPresence, ConnectorState
from controlplane.store.records import ActorSnapshot


def assigned(*, offline_a: float = 6.0, again: bool = False) -> ChargerAssigned:
    config = ChargerConfig(
        id="CP1",
        circuit="main",
        connectors=(ConnectorConfig(id=1),),
        offline_current_a=offline_a,
    )
    return ChargerAssigned(SiteId("site"), 230, config.model_dump_json().encode(), again=again)


def news(effects: list[Effect]) -> list[object]:
    """What the site hears."""
    sent = [each.message for each in effects if isinstance(each, Send)]
    return [each for each in sent if isinstance(each, ChargerPresence | ConnectorState)]


def test_a_charger_that_was_brought_back_tells_its_site_where_it_stands_once() -> None:
    charger = Charger()
    charger.tell(assigned())
    back = Charger(snapshot=charger.snapshot)
    activated = list(back.all)
    assert len(news(activated)) == 2
    assert back.tell(assigned(again=True)) == []


def test_a_description_that_a_lost_host_did_not_pass_on_is_taken_from_its_successor() -> None:
    charger = Charger()
    charger.tell(assigned())
    back = Charger(snapshot=charger.snapshot)
    effects = back.tell(assigned(offline_a=0.0, again=True))
    assert len(news(effects)) == 2
    assert any(
        isinstance(each, Persist) and isinstance(each.record, ActorSnapshot) for each in effects
    )


def test_terms_for_feeding_in_that_a_lost_host_did_not_pass_on_are_taken_too() -> None:
    terms = FeedInTerms(Decimal("0.12"), "EUR")
    charger = Charger()
    charger.tell(msgspec.structs.replace(assigned(), feed_in=terms))
    back = Charger(snapshot=charger.snapshot)
    same = msgspec.structs.replace(assigned(again=True), feed_in=terms)
    assert back.tell(same) == []
    better = FeedInTerms(Decimal("0.15"), "EUR")
    assert back.tell(msgspec.structs.replace(same, feed_in=better))
    assert back.tell(msgspec.structs.replace(same, feed_in=better)) == []


def test_an_assignment_that_no_lost_host_made_is_answered_with_where_the_charger_stands() -> None:
    charger = Charger()
    charger.tell(assigned())
    assert len(news(charger.tell(assigned()))) == 2


def test_a_snapshot_of_before_the_digest_is_read_and_told_as_before() -> None:
    charger = Charger()
    charger.tell(assigned())
    assert charger.snapshot is not None
    old = msgspec.msgpack.decode(charger.snapshot)
    del old["described_digest"]
    back = Charger(snapshot=msgspec.msgpack.encode(old))
    assert len(news(back.tell(assigned(again=True)))) == 2
