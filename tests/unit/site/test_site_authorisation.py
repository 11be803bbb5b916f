"""A session whose token is not accepted is given nothing, and says why."""

from __future__ import annotations

import msgspec
from site_bench import Bench, charger, site

from controlplane.charger.messages import ChargerAssigned
from controlplane.ids import ChargerId, SessionId
from controlplane.ocpp.events import ConnectorStatus
from controlplane.site.messages import (
    ConnectorExplanation,
    ConnectorState,
    ExplainConnector,
    SessionDemand,
    TokensChanged,
)
from controlplane.tokens import AuthorisationPolicy


def limits_ma(bench: Bench, id: str) -> list[int]:
    return [limit.limit_ma for charger_id, limit in bench.limits if charger_id == id]


def test_an_unauthorised_session_is_given_nothing_until_it_is_accepted() -> None:
    bench = Bench(site([charger("a"), charger("b")], supply_a=20))
    bench.plug("a", authorised=False)
    bench.plug("b")
    bench.advance(5_000)
    assert set(limits_ma(bench, "a")) <= {0}
    assert limits_ma(bench, "b")[-1] == 20_000, "what it leaves is for others"
    told = bench.ask(ExplainConnector(ChargerId("a"), 1), ConnectorExplanation)
    assert told.allocation.reason == "its token is not accepted"
    assert [each.kind for each in told.factors if each.binding] == ["authorisation"]
    bench.plug("a")
    bench.advance(5_000)
    assert bench.view().connectors[0].target_ma > 0


def test_nobody_is_told_anything_twice_while_a_token_is_looked_up() -> None:
    bench = Bench(site([charger("a"), charger("b")], supply_a=40))
    bench.plug("b")
    bench.settle(5_000)
    session = SessionDemand(SessionId("s"), bench.now_ms, 0, None, None, charging=True)
    unjudged = msgspec.structs.replace(session, authorised=False)
    state = ConnectorState(ChargerId("a"), 1, ConnectorStatus.CHARGING, unjudged)
    bench.tell(state)
    bench.advance(20)
    assert bench.pending() == {}
    bench.tell(msgspec.structs.replace(state, session=session))
    assert bench.pending() == {"a": 8, "b": 20}, "at once: what there is, and room for the rest"
    bench.settle(40_000)
    assert bench.limits_a() == [20.0, 20.0]


def test_a_session_that_is_refused_while_it_charges_is_stopped() -> None:
    bench = Bench(site([charger("a")]))
    bench.plug("a")
    bench.advance(2_000)
    assert limits_ma(bench, "a")[-1] > 0
    bench.plug("a", authorised=False)
    bench.advance(2_000)
    assert limits_ma(bench, "a")[-1] == 0


def test_chargers_are_told_how_their_site_authorises_and_when_it_changes() -> None:
    config = site([charger("a"), charger("b")])
    bench = Bench(config)
    assert all(
        each.message.authorisation is not None
        and each.message.authorisation.policy is AuthorisationPolicy.OPEN
        and not each.message.authorisation.configures
        for each in bench.sent
        if isinstance(each.message, ChargerAssigned)
    )
    bench.sent.clear()
    bench.configure(config | {"authorisation": {"policy": "closed"}})
    told = [each.message for each in bench.sent if isinstance(each.message, ChargerAssigned)]
    assert len(told) == 2
    assert {each.authorisation.policy for each in told if each.authorisation} == {
        AuthorisationPolicy.CLOSED
    }


def test_news_of_tokens_is_passed_on_to_every_charger() -> None:
    bench = Bench(site([charger("a"), charger("b")]))
    bench.sent.clear()
    bench.tell(TokensChanged(7, ("anna",)))
    assert [(each.to.id, each.message) for each in bench.sent] == [
        ("a", TokensChanged(7, ("anna",))),
        ("b", TokensChanged(7, ("anna",))),
    ]
