"""Hours, rules, guarantees, boosts and operators' limits, as drivers and operators see them."""

from __future__ import annotations

import pytest
from site_bench import START_MS, Bench, charger, site

from controlplane.ids import ChargerId
from controlplane.ocpp.commands import CommandState
from controlplane.ocpp.events import ConnectorStatus
from controlplane.site.messages import (
    ConnectorExplanation,
    ExplainConnector,
    SetCircuitLimit,
    SetConnectorLimit,
    SetSiteLimit,
    SiteView,
    VehicleLimits,
)
from controlplane.site.overrides import OVERRIDES_MAX

MINUTE_MS = 60_000
# The bench begins on Tuesday, 14 November 2023, at 22:13:20 UTC.
CLOSES_SOON = [{"from": "08:00", "to": "22:15"}]
CLOSED = [{"from": "22:15", "to": "22:30"}]
CLOSES_MS = START_MS + 100_000


def held(bench: Bench, id: str, current_a: float | None, **window: int) -> SiteView:
    limit_ma = None if current_a is None else int(current_a * 1_000)
    return bench.ask(SetConnectorLimit(ChargerId(id), 1, limit_ma, **window), SiteView)


# --- opening hours --------------------------------------------------------------------------------


def test_sessions_are_reduced_in_the_minute_in_which_hours_end() -> None:
    bench = Bench(site([charger("A", offline_a=6), charger("B")], opening_hours=CLOSES_SOON))
    bench.plug("A")
    bench.settle(5_000)
    bench.advance(CLOSES_MS - 1 - bench.now_ms)
    assert bench.pending() == {}
    bench.advance(1)
    assert bench.pending() == {"A": 0}
    assert bench.connector("A").reason == "reduction to 0 A not confirmed yet: counted at 32 A"
    assert bench.counted_a("A") == 32, "it may still draw until it has let go"
    bench.settle(40_000)
    assert bench.limits_a()[0] == 0
    assert bench.connector("A").reason == "outside opening hours, open from Wed 08:00"


def test_a_session_that_comes_while_closed_waits_for_the_opening() -> None:
    bench = Bench(site([charger("A")], opening_hours=CLOSED))
    bench.plug("A")
    bench.settle(5_000)
    assert bench.limits_a() == [0.0]
    bench.advance(CLOSES_MS - bench.now_ms)
    assert bench.pending() == {"A": 32}


def test_a_closed_site_opens_in_time_after_the_host_was_lost() -> None:
    bench = Bench(site([charger("A")], opening_hours=CLOSED))
    bench.plug("A")
    bench.settle(5_000)
    bench.crash()
    bench.online("A")
    bench.plug("A")
    bench.settle(5_000)
    bench.advance(CLOSES_MS - bench.now_ms)
    assert bench.pending() == {"A": 32}


def test_while_closed_only_those_are_served_whose_rule_says_so() -> None:
    rules = [{"id": "staff", "id_tokens": ["STAFF-*"], "outside_hours": True}]
    bench = Bench(site([charger("A"), charger("B")], opening_hours=CLOSED, rules=rules))
    bench.plug("A", id_token="STAFF-7")
    bench.plug("B", id_token="GUEST")
    bench.settle(5_000)
    assert bench.limits_a() == [32.0, 0.0]


def test_a_closed_session_keeps_the_room_of_its_default_profile() -> None:
    """It may end at any moment, and leave its connector at 6 A."""
    rules = [{"id": "staff", "id_tokens": ["STAFF"], "outside_hours": True}]
    chargers = [charger("A", offline_a=6), charger("B", offline_a=6)]
    bench = Bench(site(chargers, supply_a=32, opening_hours=CLOSED, rules=rules))
    bench.plug("A", id_token="STAFF")
    bench.plug("B")
    bench.settle(60_000)
    assert bench.limits_a() == [26.0, 0.0]
    assert bench.connector("A").reason == "limited by circuit supply phase L1"


def test_hours_that_are_described_later_hold_at_once() -> None:
    bench = Bench(site([charger("A")]))
    bench.plug("A")
    bench.settle(5_000)
    bench.configure(site([charger("A")], opening_hours=CLOSED))
    assert bench.pending() == {"A": 0}
    bench.settle(10_000)
    bench.advance(CLOSES_MS - bench.now_ms)
    assert bench.pending() == {"A": 32}


# --- rules ----------------------------------------------------------------------------------------


def test_a_fleet_goes_before_guests() -> None:
    rules = [
        {"id": "fleet", "id_tokens": ["FLEET-*"], "priority": 0},
        {"id": "guests", "id_tokens": ["*"], "priority": 8},
    ]
    bench = Bench(site([charger("A"), charger("B")], supply_a=40, rules=rules))
    bench.plug("A", id_token="X")
    bench.settle(5_000)
    bench.plug("B", id_token="fleet-1")
    bench.settle()
    assert bench.limits_a() == [8.0, 32.0]


def test_weights_of_rules_share_inside_a_priority() -> None:
    rules = [{"id": "fleet", "id_tokens": ["FLEET-*"], "weight": 3}]
    bench = Bench(site([charger("A"), charger("B")], supply_a=40, rules=rules))
    bench.plug("A", id_token="FLEET-1")
    bench.plug("B")
    bench.settle()
    assert bench.limits_a() == [30.0, 10.0]


def test_who_identifies_late_gets_the_terms_of_the_rule_then() -> None:
    rules = [{"id": "fleet", "id_tokens": ["FLEET-*"], "priority": 0}]
    bench = Bench(site([charger("A"), charger("B")], supply_a=40, rules=rules))
    bench.plug("A")
    bench.plug("B")
    bench.settle()
    assert bench.limits_a() == [20.0, 20.0]
    bench.plug("A", id_token="FLEET-1")
    bench.settle()
    assert bench.limits_a() == [32.0, 8.0]


def test_a_rule_holds_in_its_hours_only() -> None:
    rules = [{"id": "late", "id_tokens": ["X"], "priority": 0, "hours": CLOSED}]
    bench = Bench(site([charger("A"), charger("B")], supply_a=40, rules=rules))
    bench.plug("A", id_token="X")
    bench.plug("B")
    bench.settle(60_000)
    assert bench.limits_a() == [20.0, 20.0]
    bench.settle(90_000)
    assert bench.limits_a() == [32.0, 8.0]


# --- guaranteed minimum ---------------------------------------------------------------------------

GUARANTEED = [{"id": "fleet", "id_tokens": ["FLEET-*"], "guaranteed_a": 16}]


def test_a_guarantee_is_kept_against_higher_priorities() -> None:
    chargers = [charger("A", priority=9), charger("B", priority=0), charger("C", priority=0)]
    bench = Bench(site(chargers, supply_a=40, rules=GUARANTEED))
    bench.plug("B")
    bench.plug("C")
    bench.settle()
    assert bench.limits_a()[1:] == [20.0, 20.0]
    bench.plug("A", id_token="FLEET-1")
    bench.settle()
    assert bench.limits_a() == [16.0, 12.0, 12.0]
    assert bench.alarms() == []


def test_a_guarantee_is_admitted_before_others() -> None:
    chargers = [charger("A", priority=9), charger("B", priority=0)]
    bench = Bench(site(chargers, supply_a=20, rules=GUARANTEED))
    bench.plug("B")
    bench.settle()
    bench.plug("A", id_token="FLEET-1")
    bench.settle()
    assert bench.limits_a() == [20.0, 0.0]
    assert "paused: no room for its minimum on circuit supply" in bench.connector("B").reason
    assert bench.alarms() == []


def test_a_guarantee_is_a_minimum_and_no_maximum() -> None:
    bench = Bench(site([charger("A"), charger("B")], supply_a=50, rules=GUARANTEED))
    bench.plug("A", id_token="FLEET-1")
    bench.plug("B")
    bench.settle()
    assert bench.limits_a() == [25.0, 25.0]


def test_guarantees_that_cannot_all_be_met_raise_an_alarm_until_they_can() -> None:
    chargers = [charger(name, offline_a=6) for name in "ABC"]
    bench = Bench(site(chargers, supply_a=36, rules=GUARANTEED))
    bench.plug("A", id_token="FLEET-1")
    bench.settle()
    assert bench.alarms() == []
    bench.plug("B", id_token="FLEET-2")
    bench.settle()
    assert bench.limits_a()[:2] == [16.0, 14.0], "the idle connector's default is not given away"
    assert bench.alarms() == ["guarantee_unmet"]
    (alarm,) = [each.data for each in bench.events if each.data.get("alarm") == "guarantee_unmet"]
    assert alarm["subject"] == "B", "who came first keeps what it has"
    assert alarm["message"] == (
        "B is guaranteed 16 A by its rule and can be given 14 A: circuit supply phase L1"
    )
    bench.unplug("A")
    bench.settle()
    assert bench.alarms() == []


def test_a_vehicle_that_holds_takes_no_guarantee_from_others() -> None:
    bench = Bench(site([charger("A"), charger("B")], supply_a=36, rules=GUARANTEED))
    bench.plug("A", id_token="FLEET-1", charging=False, status=ConnectorStatus.SUSPENDED_EV)
    bench.plug("B")
    bench.settle()
    assert bench.limits_a() == [6.0, 30.0]


@pytest.mark.parametrize("step_a", [0.1, 4])
def test_a_vehicle_that_takes_less_than_its_guarantee_falls_short_of_nothing(step_a: float) -> None:
    chargers = [charger("A", current_step_a=step_a), charger("B")]
    bench = Bench(site(chargers, supply_a=36, rules=GUARANTEED))
    vehicle = VehicleLimits(current_max_ma=10_000)
    bench.plug("A", id_token="FLEET-1", vehicle=vehicle)
    bench.plug("B")
    bench.settle()
    assert bench.connector("A").reason == "the vehicle's own maximum of 10 A"
    assert bench.alarms() == []


def test_a_guarantee_is_not_lent() -> None:
    """A vehicle that draws little finds what it was promised when it wants it."""
    bench = Bench(site([charger("A"), charger("B")], supply_a=40, rules=GUARANTEED))
    bench.plug("A", id_token="FLEET-1")
    bench.plug("B")
    bench.settle()
    for _ in range(10):
        bench.meter("A", 8, 8, 8)
        bench.meter("B", bench.counted_a("B"))
        bench.settle(30_000)
    assert bench.limits_a() == [16.0, 24.0]


# --- boosts ---------------------------------------------------------------------------------------


def test_a_boost_goes_before_every_priority_until_it_ends() -> None:
    bench = Bench(site([charger("A", priority=9), charger("B", priority=0)], supply_a=40))
    bench.plug("A")
    bench.plug("B")
    bench.settle()
    assert bench.limits_a() == [8.0, 32.0]
    until_ms = bench.now_ms + 10 * MINUTE_MS
    bench.plug("A", boost_until_ms=until_ms)
    bench.settle()
    assert bench.limits_a() == [32.0, 8.0]
    bench.advance(until_ms - 1 - bench.now_ms)
    assert bench.pending() == {}
    bench.advance(1)
    assert bench.pending() == {"A": 8}, "to the millisecond"


def test_a_boost_stays_within_the_rows() -> None:
    bench = Bench(site([charger("A"), charger("B", offline_a=6)], supply_a=20))
    bench.plug("A", boost_until_ms=START_MS + 10 * MINUTE_MS)
    bench.settle()
    assert bench.limits_a()[0] == 14


def test_a_boost_opens_no_closed_site() -> None:
    bench = Bench(site([charger("A")], opening_hours=CLOSED))
    bench.plug("A", boost_until_ms=START_MS + 10 * MINUTE_MS)
    bench.settle(5_000)
    assert bench.limits_a() == [0.0]


def test_a_boost_ends_with_its_session() -> None:
    bench = Bench(site([charger("A", priority=9), charger("B")], supply_a=40))
    bench.plug("A", boost_until_ms=START_MS + 60 * MINUTE_MS)
    bench.plug("B")
    bench.settle()
    bench.unplug("A")
    bench.plug("A", session="the-next")
    bench.settle()
    assert bench.limits_a() == [8.0, 32.0]


# --- operators' limits ----------------------------------------------------------------------------


def test_a_connector_is_held_to_a_limit_and_let_go() -> None:
    bench = Bench(site([charger("A"), charger("B")], supply_a=40))
    bench.plug("A")
    bench.plug("B")
    bench.settle()
    view = held(bench, "A", 10)
    assert view.connectors[0].override_ma == 10_000
    assert bench.pending() == {"A": 10}
    bench.settle()
    assert bench.limits_a() == [10.0, 30.0], "the rest is for others"
    assert bench.connector("A").reason == "the operator's limit of 10 A"
    assert held(bench, "A", None).connectors[0].override_ma is None
    bench.settle()
    assert bench.limits_a() == [20.0, 20.0]


def test_a_limit_of_a_connector_waits_for_the_session_that_comes() -> None:
    bench = Bench(site([charger("A")]))
    held(bench, "A", 10)
    bench.plug("A")
    assert bench.pending() == {"A": 10}


def test_a_limit_never_raises() -> None:
    bench = Bench(site([charger("A", current_max_a=16)], supply_a=12))
    held(bench, "A", 100)
    bench.plug("A")
    bench.settle()
    assert bench.limits_a() == [12.0]


@pytest.mark.parametrize(("current_a", "given_a"), [(0, 0.0), (5.9, 0.0), (10.7, 10.0)])
def test_a_limit_is_kept_in_what_the_station_can(current_a: float, given_a: float) -> None:
    bench = Bench(site([charger("A", current_step_a=1)]))
    bench.plug("A")
    bench.settle(5_000)
    held(bench, "A", current_a)
    bench.settle()
    assert bench.limits_a() == [given_a]
    below = ", below its minimum of 6 A" if current_a == 5.9 else ""
    assert bench.connector("A").reason == f"the operator's limit of {current_a:g} A{below}"


@pytest.mark.parametrize(("current_a", "given_a"), [(0, 0.0), (8, 8.0)])
def test_below_its_default_profile_the_rest_of_it_stays_kept(
    current_a: float, given_a: float
) -> None:
    chargers = [charger("A", offline_a=16), charger("B", offline_a=16)]
    bench = Bench(site(chargers, supply_a=40))
    bench.plug("A")
    bench.plug("B")
    bench.settle()
    assert bench.limits_a() == [20.0, 20.0]
    held(bench, "A", current_a)
    bench.settle()
    assert bench.limits_a() == [given_a, 24.0], "A's session may end and leave it at 16 A"
    assert bench.connector("B").reason == "limited by circuit supply phase L1"
    bench.unplug("A")
    assert bench.counted_a("A") == 16
    assert bench.view().violations == 0


def test_a_charger_that_refuses_is_asked_for_no_more_than_the_limit() -> None:
    bench = Bench(site([charger("A")]))
    bench.plug("A")
    bench.answer()
    held(bench, "A", 0)
    for _ in range(20):
        assert set(bench.pending().values()) <= {0.0}
        bench.answer(CommandState.REJECTED)
        bench.advance(30_000)
    assert bench.alarms() == ["limit_refused"]


def test_a_circuit_is_held_to_a_limit_for_a_time() -> None:
    panel = [{"id": "panel", "parent": "supply", "rating_a": 40}]
    chargers = [charger("A", "panel"), charger("B", "panel"), charger("C")]
    bench = Bench(site(chargers, panels=panel))
    for name in "ABC":
        bench.plug(name)
    bench.settle()
    assert bench.limits_a() == [20.0, 20.0, 32.0]
    soon = bench.now_ms + MINUTE_MS
    bench.ask(SetCircuitLimit("panel", 24_000, soon, soon + 5 * MINUTE_MS), SiteView)
    assert bench.pending() == {}
    bench.advance(MINUTE_MS)
    assert bench.pending() == {"A": 12, "B": 12}
    bench.settle(MINUTE_MS)
    assert bench.limits_a() == [12.0, 12.0, 32.0]
    assert bench.view().circuits[1].limit_ma == 24_000
    assert bench.connector("A").reason == (
        "limited by circuit panel phase L1 (the operator's limit of 24 A)"
    )
    bench.advance(soon + 5 * MINUTE_MS - bench.now_ms)
    assert bench.pending() == {"A": 20, "B": 20}


def test_the_building_counts_within_the_limit_of_its_circuit() -> None:
    building = {"circuit": "supply", "assumed_a": 10}
    bench = Bench(site([charger("A")], building_load=building))
    bench.plug("A")
    bench.settle()
    bench.ask(SetCircuitLimit("supply", 30_000), SiteView)
    assert bench.pending() == {"A": 20}
    bench.ask(SetSiteLimit(25_000), SiteView)
    bench.settle()
    assert bench.limits_a() == [15.0], "the lower of both"
    assert "(the site's limit of 25 A)" in bench.connector("A").reason


def test_a_stopped_circuit_leaves_idle_chargers_their_default() -> None:
    bench = Bench(site([charger("A", offline_a=6), charger("B", offline_a=6)]))
    bench.plug("A")
    bench.settle()
    bench.ask(SetCircuitLimit("supply", 0), SiteView)
    bench.settle()
    assert bench.limits_a() == [0.0, 6.0]
    assert bench.view().violations == 0


def test_limits_outlive_the_host_and_go_with_what_they_limit() -> None:
    bench = Bench(site([charger("A"), charger("B")]))
    held(bench, "A", 10)
    held(bench, "B", 12)
    bench.ask(SetCircuitLimit("supply", 20_000), SiteView)
    bench.crash()
    assert [each.override_ma for each in bench.view().connectors] == [10_000, 12_000]
    assert bench.view().circuits[0].limit_ma == 20_000
    bench.configure(site([charger("A")]))
    bench.configure(site([charger("A"), charger("B")]))
    assert [each.override_ma for each in bench.view().connectors] == [10_000, None]


def test_limits_are_journalled() -> None:
    bench = Bench(site([charger("A")]))
    held(bench, "A", 10)
    bench.ask(SetCircuitLimit("supply", None), SiteView)
    told = {each.kind: each.data for each in bench.events if "limit_changed" in each.kind}
    assert told["site.connector_limit_changed"] == {
        "charger_id": "A",
        "connector_id": 1,
        "limit_ma": 10_000,
        "from_ms": bench.now_ms,
        "until_ms": None,
    }
    assert told["site.circuit_limit_changed"]["circuit_id"] == "supply"


def test_impossible_limits_are_refused() -> None:
    bench = Bench(site([charger("A")]))
    for request, reason in (
        (SetCircuitLimit("cellar", 1), "CIRCUIT_UNKNOWN"),
        (SetConnectorLimit(ChargerId("B"), 1, 1), "CONNECTOR_UNKNOWN"),
        (SetConnectorLimit(ChargerId("A"), 2, 1), "CONNECTOR_UNKNOWN"),
        (SetConnectorLimit(ChargerId("A"), 1, -1), "LIMIT_NEGATIVE"),
        (SetCircuitLimit("supply", 1, 2, 1), "WINDOW_EMPTY"),
    ):
        assert bench.refused(request).reason == reason
    assert bench.view().circuits[0].limit_ma is None


def test_a_site_holds_so_many_limits_and_forgets_those_that_are_past() -> None:
    bench = Bench(site([charger("A")]))
    first_ms = bench.now_ms + MINUTE_MS
    for number in range(OVERRIDES_MAX):
        from_ms = first_ms + number * 1_000
        held(bench, "A", 10, from_ms=from_ms, until_ms=from_ms + 500)
    full = bench.refused(SetCircuitLimit("supply", 1))
    assert (full.kind, full.reason) == ("exhausted", "OVERRIDES_FULL")
    bench.advance(MINUTE_MS + 600)
    bench.ask(SetCircuitLimit("supply", 1_000), SiteView)


def test_hours_and_limits_are_among_what_explains_a_connector() -> None:
    bench = Bench(site([charger("A")], opening_hours=CLOSED))
    bench.plug("A")
    held(bench, "A", 10)
    bench.settle(5_000)

    def factors() -> dict[str, tuple[int, bool]]:
        told = bench.ask(ExplainConnector(ChargerId("A"), 1), ConnectorExplanation)
        return {each.kind: (each.limit_ma, each.binding) for each in told.factors}

    assert factors()["opening_hours"] == (0, True)
    assert factors()["operator"] == (10_000, False)
    bench.settle(100_000)
    assert "opening_hours" not in factors()
    assert factors()["operator"] == (10_000, True)


# --- limits of other systems ----------------------------------------------------------------------


def test_nobody_is_given_what_another_system_keeps_from_it() -> None:
    bench = Bench(site([charger("A"), charger("B")], supply_a=32))
    bench.plug("A")
    bench.plug("B")
    bench.settle()
    assert bench.limits_a() == [16.0, 16.0]
    bench.plug("A", external_ma=10_000)
    bench.settle()
    assert bench.limits_a() == [10.0, 22.0]
    words = "another system's limit of 10 A on the charger"
    assert bench.connector("A").reason == words
    explained = bench.ask(ExplainConnector(ChargerId("A"), 1), ConnectorExplanation)
    binding = [factor for factor in explained.factors if factor.binding]
    assert [(factor.kind, factor.subject, factor.limit_ma) for factor in binding] == [
        ("external", "A", 10_000)
    ]
    bench.plug("A")
    bench.settle()
    assert bench.limits_a() == [16.0, 16.0]


def test_a_limit_below_the_minimum_pauses_and_says_so() -> None:
    bench = Bench(site([charger("A")]))
    bench.plug("A", external_ma=4_000)
    bench.settle()
    assert bench.limits_a() == [0.0]
    words = "another system's limit of 4 A on the charger, below its minimum of 6 A"
    assert bench.connector("A").reason == words


def test_the_tighter_of_operator_and_other_system_holds() -> None:
    bench = Bench(site([charger("A")]))
    bench.plug("A", external_ma=12_000)
    held(bench, "A", 10)
    bench.settle()
    assert bench.limits_a() == [10.0]
    assert bench.connector("A").reason == "the operator's limit of 10 A"
    held(bench, "A", 14)
    bench.settle()
    assert bench.limits_a() == [12.0]
    assert bench.connector("A").reason == "another system's limit of 12 A on the charger"
