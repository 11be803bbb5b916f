"""Why a connector may draw what it may, as an operator is told."""

from __future__ import annotations

import pytest
from site_bench import Bench, charger, site

from controlplane.errors import Refusal
from controlplane.grid_events import CreateGridEvent, GridEvent, GridEventKind
from controlplane.ids import ChargerId, FeederId
from controlplane.ocpp.commands import CommandState
from controlplane.ocpp.events import ConnectorStatus
from controlplane.site.messages import (
    CapChanged,
    ConnectorExplanation,
    ConnectorState,
    ExplainConnector,
    SetSiteLimit,
    SiteView,
)
from controlplane.store.records import LimitDecision


def explain(bench: Bench, id: str, connector_id: int = 0) -> ConnectorExplanation:
    return bench.ask(ExplainConnector(ChargerId(id), connector_id), ConnectorExplanation)


def decisions(bench: Bench) -> list[tuple[str, float, float | None, str]]:
    return [
        (
            record.charger_id,
            record.limit_ma / 1_000,
            None if record.before_ma is None else record.before_ma / 1_000,
            record.reason,
        )
        for record in bench.records
        if isinstance(record, LimitDecision)
    ]


def test_a_vehicle_alone_is_bounded_by_its_connector() -> None:
    bench = Bench(site([charger("A", current_max_a=32)]))
    bench.plug("A")
    bench.settle()
    found = explain(bench, "A")
    binding, *others = found.factors
    assert (binding.kind, binding.limit_ma, binding.binding) == ("hardware", 32_000, True)
    assert [(each.kind, each.subject, each.limit_ma) for each in others] == [
        ("circuit", "circuit supply phase L1", 160_000)
    ]
    assert found.shares == ()
    assert decisions(bench) == [("A", 32.0, None, "own maximum of 32 A")]


def test_a_full_panel_is_named_with_those_who_share_it() -> None:
    panels = [{"id": "panel", "parent": "supply", "rating_a": 40}]
    bench = Bench(site([charger(name, "panel") for name in "ABC"], panels=panels))
    for name in "AB":
        bench.plug(name)
        bench.settle()
    found = explain(bench, "A", 1)
    binding = found.factors[0]
    assert (binding.kind, binding.binding, binding.limit_ma) == ("circuit", True, 20_000)
    assert binding.words == (
        "circuit panel phase L1 has 40 A for chargers, 20 A of which count for others"
    )
    assert [(share.charger_id, share.target_ma) for share in found.shares] == [("B", 20_000)]
    assert found.allocation.reason == "limited by circuit panel phase L1"
    assert decisions(bench) == [
        ("A", 32.0, None, "own maximum of 32 A"),
        ("A", 20.0, 32.0, "limited by circuit panel phase L1"),
        (
            "B",
            8.0,
            None,
            "limited by circuit panel phase L1; a part of 20 A, the rest waits for room",
        ),
        ("B", 20.0, 8.0, "limited by circuit panel phase L1"),
    ]


def test_what_the_ledger_waits_for_binds() -> None:
    bench = Bench(site([charger("A"), charger("B")], supply_a=32))
    bench.plug("A")
    bench.settle()
    bench.plug("B")
    (ledger,) = [each for each in explain(bench, "A").factors if each.kind == "ledger"]
    assert (ledger.limit_ma, ledger.binding) == (32_000, True)
    assert ledger.words == "reduction to 16 A not confirmed yet: counted at 32 A"
    (ledger,) = [each for each in explain(bench, "B").factors if each.kind == "ledger"]
    assert ledger.words == "waiting for A to confirm its reduction"


def test_an_unknown_connector_is_refused_with_those_that_exist() -> None:
    bench = Bench(site([charger("A")]))
    refusal = bench.ask(ExplainConnector(ChargerId("A"), 3), Refusal)
    assert (refusal.kind, refusal.reason) == ("not_found", "CONNECTOR_UNKNOWN")
    assert "A/1" in refusal.message


def test_a_contract_is_named_with_what_it_leaves() -> None:
    described = site([charger("A"), charger("B")], supply_a=400, contract={"power_w": 13_800})
    bench = Bench(described)
    bench.advance(900_000 - bench.now_ms % 900_000)
    bench.plug("A")
    bench.answer()
    bench.advance(1_000)
    bench.meter("A", 20, 20, 20)
    bench.advance(1_000)
    binding = explain(bench, "A").factors[0]
    assert (binding.kind, binding.binding) == ("contract", True)
    assert 19_000 <= binding.limit_ma <= 20_500
    assert binding.words.startswith("the contract leaves chargers ")


def test_who_waits_for_the_sun_is_told_so() -> None:
    bench = Bench(site([charger("A")], solar={"mode": "surplus"}))
    bench.plug("A")
    bench.settle(5_000)
    binding = explain(bench, "A").factors[0]
    assert (binding.kind, binding.limit_ma, binding.binding) == ("surplus", 0, True)


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (ConnectorStatus.AVAILABLE, "no session"),
        (ConnectorStatus.PREPARING, "plugged in, no session yet"),
        (ConnectorStatus.RESERVED, "reserved, no session"),
        (ConnectorStatus.UNAVAILABLE, "out of service"),
        (ConnectorStatus.FAULTED, "its station reports a fault"),
    ],
)
def test_who_has_no_session_is_told_what_there_is_instead(
    status: ConnectorStatus, words: str
) -> None:
    bench = Bench(site([charger("A", offline_a=6)]))
    bench.tell(ConnectorState(ChargerId("A"), 1, status, None))
    assert bench.connector("A").reason == f"{words}: counted at 6 A, its default profile"
    bench.configure(site([charger("A", offline_a=6)], name="another"))
    assert bench.connector("A").reason.startswith(words), "a new description changes no status"


def test_a_fault_is_not_taken_for_a_full_vehicle() -> None:
    bench = Bench(site([charger("A")]))
    bench.plug("A")
    bench.settle(5_000)
    bench.plug("A", status=ConnectorStatus.FAULTED, charging=False)
    bench.settle()
    found = explain(bench, "A")
    assert found.allocation.reason.startswith("its station reports a fault: offered its minimum")
    assert found.factors[0].words == "its station reports a fault; others go first"


def test_who_is_served_is_told_so() -> None:
    bench = Bench(site([charger("A")]))
    bench.plug("A", need_wh=10_000, energy_wh=10_000)
    bench.settle()
    reason = explain(bench, "A").allocation.reason
    assert reason.startswith("it has what its driver asked for: offered its minimum")


def test_a_grid_event_is_not_taken_for_the_owners_limit() -> None:
    bench = Bench(site([charger("A"), charger("B")]))
    bench.plug("A")
    bench.plug("B")
    bench.ask(SetSiteLimit(30_000), SiteView)
    bench.settle()
    row = "limited by circuit supply phase L1"
    assert bench.connector("A").reason == f"{row} (the site's limit of 30 A)"
    bench.ask(CreateGridEvent("peak", GridEventKind.LIMIT, 13_800), GridEvent)
    bench.settle()
    assert bench.connector("A").reason == f"{row} (the grid event's limit of 20 A)"


def test_an_increase_that_was_refused_is_no_reduction() -> None:
    bench = Bench(site([charger("A"), charger("B")], supply_a=40))
    bench.plug("A")
    bench.plug("B")
    bench.settle()
    bench.unplug("B")
    assert bench.pending() == {"A": 32}
    bench.answer(CommandState.REJECTED)
    assert bench.connector("A").reason == (
        "its limit of 32 A was not answered or not taken: counted at 32 A, tried again"
    )


def test_a_site_whose_feeder_is_silent_says_so() -> None:
    bench = Bench(site([charger("A")], feeder="street"))
    bench.plug("A")
    bench.settle(5_000)
    assert bench.connector("A").reason == (
        "paused: no room for its minimum on circuit supply phase L1 "
        "(its feeder has not said yet what the site may draw)"
    )
    bench.tell(CapChanged(FeederId("street"), 1, 20_000))
    bench.settle()
    assert bench.connector("A").reason == (
        "limited by circuit supply phase L1 (the feeder's cap of 20 A)"
    )
