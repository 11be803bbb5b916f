"""Why a connector may draw what it may, as an operator is told."""

from __future__ import annotations

from site_bench import Bench, charger, site

from controlplane.errors import Refusal
from controlplane.ids import ChargerId
from controlplane.site.messages import ConnectorExplanation, ExplainConnector
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
