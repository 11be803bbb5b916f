"""A row that is short costs those on it, and nobody else."""

from __future__ import annotations

from typing import Any

from site_bench import Bench, charger, site

from controlplane.site.messages import SetCircuitLimit, SiteView

ONE_PHASE: dict[str, Any] = {"phases": ["L1"]}


def test_a_line_filled_by_somebody_unsteered_pauses_its_others_and_holds_back_nobody_else() -> None:
    """A may draw 30 A for as long as it is away; its panel is then held to 20 A. The default
    profiles of A and B would fit, what A may draw does not."""
    panel = {"id": "panel", "parent": "supply", "rating_a": 40}
    chargers = [charger("A", "panel", offline_a=6), charger("B", "panel", offline_a=6)]
    bench = Bench(site([*chargers, charger("C")], panels=[panel]))
    bench.plug("A")
    bench.settle(5_000)
    bench.plug("B")
    bench.settle(60_000)
    bench.offline("A", default_a=6)
    bench.ask(SetCircuitLimit("panel", 20_000), SiteView)
    bench.settle(60_000)
    bench.plug("C")
    bench.settle(5_000)
    assert bench.alarms() == []
    assert bench.connector("A").liability_ma == 20_000
    assert bench.connector("B").limit_ma == 0
    assert bench.connector("C").limit_ma == 32_000


def test_who_comes_back_for_his_default_profile_takes_power_from_those_without() -> None:
    """Z goes before X, whose default profile leaves it no room on their panel. So X is back, and W,
    who had all of the contract's power meanwhile, makes way for it."""
    panel = {"id": "panel", "parent": "supply", "rating_a": 20}
    bench = Bench(
        site(
            [
                charger("X", "panel", offline_a=6, **ONE_PHASE),
                charger("Z", "panel", current_min_a=16, priority=3, **ONE_PHASE),
                charger("W", **ONE_PHASE),
            ],
            panels=[panel],
            contract={"power_w": 20 * 230},
        )
    )
    for name in ("W", "X", "Z"):
        bench.plug(name)
    bench.settle()
    assert bench.alarms() == []
    assert (bench.connector("X").limit_ma or 0) >= 6_000
    assert bench.connector("Z").limit_ma == 0
    assert 10_000 <= (bench.connector("W").limit_ma or 0) <= 15_000


def test_who_comes_back_for_its_default_profile_gets_what_nobody_else_can_use() -> None:
    """Z goes before X, whose default profile leaves it no room on their panel: all of it is X's."""
    panel = {"id": "panel", "parent": "supply", "rating_a": 20}
    bench = Bench(
        site(
            [
                charger("X", "panel", offline_a=6, **ONE_PHASE),
                charger("Y", "panel", current_max_a=8, **ONE_PHASE),
                charger("Z", "panel", current_min_a=16, priority=3, **ONE_PHASE),
            ],
            panels=[panel],
        )
    )
    for name in ("X", "Z"):
        bench.plug(name)
    bench.settle()
    assert bench.limits_a() == [20, 0, 0]
    bench.plug("Y")
    bench.settle()
    assert bench.limits_a() == [12, 8, 0], "Y is shared with, as far as it takes"


def test_a_guarantee_is_begun_as_it_is_kept_where_the_building_takes_all_of_the_contract() -> None:
    rule = {"id": "fleet", "id_tokens": ["FLEET"], "guaranteed_a": 16}
    bench = Bench(
        site(
            [charger("A"), charger("B")],
            building_load={"circuit": "supply", "stale_after_s": 3_600},
            contract={"power_w": 3_000},
            rules=[rule],
        )
    )
    bench.building(30, 30, 30)
    bench.plug("A", id_token="FLEET")
    bench.plug("B")
    bench.settle(60_000)
    assert bench.limits_a() == [16, 0]
    assert bench.alarms() == ["contract_exceeded"]


def _beside_idle_default_profiles(limit_ma: int, *others: dict[str, Any], **values: Any) -> Bench:
    """Two idle chargers of 10 A each on L2, and P with a default profile of 8 A on L1 and L2, of
    which L2 cannot hold all default profiles within the operator's limit."""
    idle = [charger(name, offline_a=10, phases=["L2"]) for name in ("I", "J")]
    two_phases = charger("P", offline_a=8, phases=["L1", "L2"])
    bench = Bench(site([*idle, two_phases, *others], **values))
    bench.plug("P")
    bench.settle()
    bench.ask(SetCircuitLimit("supply", limit_ma), SiteView)
    bench.settle(60_000)
    return bench


def test_a_guarantee_beside_one_that_is_paused_on_another_line_is_given_what_fits() -> None:
    """P is paused for the sake of L2; on L1 its default profile is kept free all the same."""
    rule = {"id": "fleet", "id_tokens": ["FLEET"], "guaranteed_a": 8}
    guaranteed = charger("G", offline_a=4, **ONE_PHASE)
    bench = _beside_idle_default_profiles(14_000, guaranteed, rules=[rule])
    bench.plug("G", id_token="FLEET")
    bench.settle(60_000)
    assert bench.connector("P").limit_ma == 0
    assert bench.connector("G").limit_ma == 6_000
    assert "guarantee_unmet" in bench.alarms()


def test_what_one_line_does_not_give_of_a_default_profile_is_kept_free_on_the_others() -> None:
    """L2 leaves P 7 A of its 8 A; whoever shares L1 with it is promised nothing of the last."""
    bench = _beside_idle_default_profiles(27_000, charger("Q", **ONE_PHASE))
    bench.plug("Q")
    bench.settle(60_000)
    assert bench.connector("P").limit_ma == 7_000
    other = bench.connector("Q")
    assert (other.target_ma, other.limit_ma) == (19_000, 19_000)
    assert "circuit supply phase L1" in other.reason and "waiting" not in other.reason
