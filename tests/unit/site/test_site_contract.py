"""A site with a contract for its mean power: what it gives, what it counts, what it tells."""

from __future__ import annotations

from typing import Any

from site_bench import Bench, charger, site

from controlplane.site.messages import SitePowerView

WINDOW_MS = 900_000


def contracted(power_w: int, chargers: int = 2, **values: Any) -> Bench:
    """A site whose supply carries far more than its contract allows."""
    offline_a = values.pop("offline_a", 0)
    described = [charger(f"CP{number}", offline_a=offline_a) for number in range(chargers)]
    return Bench(site(described, supply_a=400, contract={"power_w": power_w}, **values))


def power(bench: Bench) -> SitePowerView:
    found = bench.view().power
    assert found is not None
    return found


def follow(bench: Bench, duration_ms: int) -> None:
    """Everybody draws what he is given, and is measured every ten seconds."""
    until_ms = bench.now_ms + duration_ms
    while bench.now_ms < until_ms:
        bench.answer()
        bench.advance(10_000 - bench.now_ms % 10_000)
        for each in bench.view().connectors:
            if each.session_id is not None:
                given_a = (each.limit_ma or 0) / 1_000
                bench.meter(each.charger_id, given_a, given_a, given_a)


def next_window(bench: Bench) -> None:
    bench.advance(WINDOW_MS - bench.now_ms % WINDOW_MS)


def windows(bench: Bench) -> list[dict[str, Any]]:
    return [event.data for event in bench.events if event.kind == "site.contract_window"]


def test_vehicles_share_the_contract() -> None:
    bench = contracted(13_800)  # 20 A on three phases
    next_window(bench)
    bench.plug("CP0")
    bench.plug("CP1")
    follow(bench, 120_000)
    given_a = sum(each or 0 for each in bench.limits_a())
    assert 19 <= given_a <= 21
    assert bench.connector("CP0").reason == "limited by the contract power of the site"


def test_one_phase_counts_a_third() -> None:
    bench = Bench(
        site([charger("A", phases=["L1"]), charger("B")], supply_a=400, contract={"power_w": 9_200})
    )  # 40 A summed over conductors: A takes 32, which leaves 8 for B, 2.7 on each of its lines
    next_window(bench)
    bench.plug("A")
    follow(bench, 60_000)
    assert bench.connector("A").limit_ma == 32_000
    bench.plug("B")
    follow(bench, 120_000)
    limits = [each or 0 for each in bench.limits_a()]
    assert limits[1] >= 6, "both minimums fit"
    assert limits[0] + 3 * limits[1] <= 41


def test_a_reduction_comes_before_the_increase_that_needs_it() -> None:
    bench = contracted(13_800)
    next_window(bench)
    bench.plug("CP0")
    follow(bench, 30_000)
    bench.plug("CP1")
    assert bench.pending()["CP0"] < 20
    assert bench.pending().get("CP1", 0) == 0
    bench.answer()
    bench.advance(1_000)
    assert bench.pending().get("CP1", 0) == 0
    bench.meter("CP0", 10, 10, 10)
    bench.advance(1_000)
    assert bench.pending()["CP1"] > 6


def test_the_margin_is_kept_free() -> None:
    bench = contracted(13_800, margin_percent=10)
    next_window(bench)
    bench.plug("CP0")
    follow(bench, 60_000)
    assert 17.5 <= (bench.limits_a()[0] or 0) <= 18.5


def test_the_building_takes_its_part() -> None:
    bench = contracted(13_800, building_load={"circuit": "supply"})
    next_window(bench)
    bench.plug("CP0")
    for _ in range(30):
        bench.building(10, 10, 10)
        follow(bench, 10_000)
    assert 9 <= (bench.limits_a()[0] or 0) <= 11


def test_an_idle_connector_takes_nothing_from_the_contract() -> None:
    """Its default profile keeps its room on the lines; the mean of a window can wait for it."""
    bench = contracted(13_800, chargers=12, offline_a=6)
    next_window(bench)
    bench.plug("CP0")
    follow(bench, 60_000)
    assert (bench.connector("CP0").limit_ma or 0) >= 19_000


def test_default_profiles_are_not_cut() -> None:
    bench = contracted(4_140, chargers=3, offline_a=8)  # 6 A on three phases, for three vehicles
    next_window(bench)
    for number in range(3):
        bench.plug(f"CP{number}")
    follow(bench, 120_000)
    assert bench.limits_a() == [8.0] * 3
    assert bench.view().violations == 0
    assert bench.alarms() == ["contract_exceeded"], "what cannot be shed is told"
    next_window(bench)
    bench.advance(1_000)
    ended = windows(bench)[-1]
    assert not ended["held"]
    assert ended["mean_w"] > 4_140


def test_a_window_ends_with_an_event() -> None:
    bench = contracted(13_800)
    next_window(bench)
    bench.plug("CP0")
    follow(bench, WINDOW_MS)
    bench.advance(1_000)
    ended = windows(bench)[-1]
    assert ended["end_ms"] - ended["start_ms"] == WINDOW_MS
    assert ended["held"]
    assert 12_500 < ended["mean_w"] <= 13_800
    assert power(bench).last_held is True
    assert (power(bench).used_wh or 0) < 50


def test_an_idle_site_keeps_its_windows() -> None:
    bench = contracted(13_800)
    bench.advance(3 * WINDOW_MS)
    means_w = [each["mean_w"] for each in windows(bench)]
    assert means_w[1:] == [0, 0]
    assert means_w[0] <= 13_800, "what flowed before it was described takes nothing from the rest"


def test_a_silent_meter_counts_as_what_may_flow() -> None:
    bench = contracted(13_800)
    next_window(bench)
    bench.plug("CP0")
    follow(bench, 60_000)
    assert power(bench).measured
    before_wh = power(bench).used_wh or 0
    bench.settle(600_000)  # limits are answered, nothing is measured
    view = power(bench)
    assert not view.measured
    allowed_ma = bench.connector("CP0").liability_ma
    assert (view.used_wh or 0) - before_wh > 0.8 * allowed_ma * 690 / 1_000 / 6


def test_a_window_survives_the_loss_of_its_host() -> None:
    bench = contracted(13_800)
    next_window(bench)
    bench.plug("CP0")
    follow(bench, 600_000)
    used_wh = power(bench).used_wh or 0
    assert used_wh > 2_000
    bench.crash()
    bench.online("CP0")
    bench.online("CP1")
    bench.advance(1_000)
    after_wh = power(bench).used_wh or 0
    assert used_wh * 0.99 <= after_wh <= used_wh + 150


def test_a_window_is_written_once_a_minute() -> None:
    bench = contracted(13_800, building_load={"circuit": "supply"})
    next_window(bench)
    bench.building(5, 5, 5)
    bench.plug("CP0")
    follow(bench, 120_000)
    before = bench.snapshots
    for _ in range(120):
        bench.building(5, 5, 5)
        bench.advance(1_000)
    assert bench.snapshots - before < 16


def test_sun_that_was_measured_may_be_drawn_on_top() -> None:
    bench = contracted(13_800, solar={})
    next_window(bench)
    bench.plug("CP0")
    for _ in range(12):
        bench.sun(6_900)
        follow(bench, 10_000)
    assert (bench.limits_a()[0] or 0) >= 29
    follow(bench, 120_000)
    assert (bench.limits_a()[0] or 0) <= 21, "a stale report is no sun"


def test_without_a_contract_nothing_is_told() -> None:
    bench = Bench(site([charger("A")]))
    assert bench.view().power is None
    bench.advance(2 * WINDOW_MS)
    assert windows(bench) == []


def test_a_contract_can_be_described_and_lifted() -> None:
    described = site([charger("A")], supply_a=400)
    bench = Bench(described)
    bench.plug("A")
    follow(bench, 30_000)
    assert bench.limits_a() == [32.0]
    bench.configure(described | {"contract": {"power_w": 6_900}})
    follow(bench, 120_000)
    assert (bench.limits_a()[0] or 0) <= 13
    bench.configure(described)
    follow(bench, 60_000)
    assert bench.limits_a() == [32.0]


def test_what_a_rule_guarantees_is_not_cut() -> None:
    """Both guarantees are more than the contract; the third vehicle makes way for them."""
    rules = [{"id": "staff", "id_tokens": ["STAFF-*"], "guaranteed_a": 10}]
    bench = contracted(9_660, chargers=3, rules=rules)  # 14 A on three phases
    next_window(bench)
    bench.plug("CP2")
    follow(bench, 60_000)
    assert (bench.limits_a()[2] or 0) >= 13
    bench.plug("CP0", id_token="STAFF-1")
    bench.plug("CP1", id_token="STAFF-2")
    follow(bench, 180_000)
    assert bench.limits_a()[2] == 0
    assert [bench.connector(each).target_ma for each in ("CP0", "CP1")] == [10_000, 10_000]
    assert bench.view().violations == 0
