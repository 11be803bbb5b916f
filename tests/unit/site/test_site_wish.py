"""What a feeder wishes of a site beside its cap: fed in, and ended at once when that ends."""

from __future__ import annotations

import random

import msgspec
import pytest
from site_bench import Bench
from test_site_feeding import BUILDING_W, Car, bench_of, live

from controlplane.grid_events import WISH_HOLD_MS, GridWish
from controlplane.ids import FeederId
from controlplane.site.messages import CapChanged
from controlplane.site.state import SiteState
from controlplane.units import MS_PER_HOUR

FEEDER = FeederId("street")


def cap(bench: Bench, cap_id: int, wish_w: int | None = None, *, cap_a: float = 200) -> None:
    """The feeder speaks."""
    until_ms = bench.now_ms + WISH_HOLD_MS
    wish = None if wish_w is None else GridWish(wish_w, until_ms, bench.now_ms + MS_PER_HOUR)
    bench.tell(CapChanged(FEEDER, cap_id, round(cap_a * 1_000), wish))


def wishing(wish_w: int = BUILDING_W - 6_900) -> tuple[Bench, list[Car]]:
    bench = bench_of("A", "B", feeder=FEEDER)
    cap(bench, 1)
    cars = [Car(bench, "A"), Car(bench, "B")]
    bench.settle(40_000)
    cap(bench, 2, wish_w, cap_a=45)
    live(bench, *cars)
    return bench, cars


def fed_w(cars: list[Car]) -> float:
    return sum(car.feed_a for car in cars) * 690


def test_a_site_says_what_it_needs_and_what_it_can_spare() -> None:
    bench = bench_of("A", "B", feeder=FEEDER)
    cap(bench, 1)
    cars = [Car(bench, "A"), Car(bench, "B", reserve_percent=None)]
    bench.settle(40_000)
    for car in cars:
        car.measure()
    bench.advance(5_000)
    said = bench.reports[-1].feed_in
    assert said is not None
    assert said.needed_w == BUILDING_W, "both can wait"
    assert said.spare_w == pytest.approx(11_040, rel=0.01), "of the one whose driver agreed"
    assert said.spare[0].price_per_kwh == "0.30"


def test_what_is_wished_is_fed_in_and_reported() -> None:
    bench, cars = wishing()
    assert fed_w(cars) == pytest.approx(6_900, rel=0.02)
    bench.advance(5_000)
    report = bench.reports[-1]
    assert report.measured_w == pytest.approx(BUILDING_W - 6_900, rel=0.01)
    assert report.feed_in is not None
    assert report.feed_in.allowed_w <= BUILDING_W - 6_900
    assert report.cap_id == 2
    assert report.liability_ma <= 45_000


@pytest.mark.parametrize("ending", ["taken back", "lapsed", "another feeder"])
def test_it_ends_at_once(ending: str) -> None:
    bench, cars = wishing()
    if ending == "taken back":
        cap(bench, 3)
    elif ending == "lapsed":
        bench.settle(WISH_HOLD_MS)
    else:
        config = msgspec.json.decode(bench.view().config)
        bench.configure({**config, "feeder": "lane"})
    bench.settle(3_000)
    assert all((car.limit_a() or 0) >= 0 for car in cars)


def test_the_same_told_again_goes_on_and_older_news_do_not_end_it() -> None:
    bench, cars = wishing()
    for _ in range(4):
        bench.settle(25_000)
        cap(bench, 2, BUILDING_W - 6_900, cap_a=45)
        cap(bench, 1)
        for car in cars:
            car.measure()
    live(bench, *cars)
    assert fed_w(cars) == pytest.approx(6_900, rel=0.02)


def test_a_clock_ahead_makes_no_wish_last_longer() -> None:
    bench = bench_of("A", feeder=FEEDER)
    cap(bench, 1)
    car = Car(bench, "A")
    bench.settle(40_000)
    far_ms = bench.now_ms + 10 * WISH_HOLD_MS
    bench.tell(CapChanged(FEEDER, 2, 45_000, GridWish(0, far_ms)))
    live(bench, car)
    assert car.limit_a() is None or car.limit_a() >= 0  # type: ignore[operator]


def test_a_host_that_takes_over_knows_it() -> None:
    bench, cars = wishing()
    bench.crash()
    for name in ("A", "B"):
        bench.online(name)
    for car in cars:
        car.says()
        car.measure()
    live(bench, *cars, rounds=1)
    assert fed_w(cars) == pytest.approx(6_900, rel=0.02)


def test_a_snapshot_of_an_older_version_is_read() -> None:
    bench, _ = wishing()
    assert bench.snapshot is not None
    document = msgspec.msgpack.decode(bench.snapshot)
    del document["wish"]
    state = SiteState.restore(msgspec.msgpack.encode(document))
    assert state.asked_w(bench.now_ms) is None


@pytest.mark.parametrize("seed", range(4))
def test_whatever_is_wished_rows_for_export_hold(seed: int) -> None:
    drawn = random.Random(seed)
    panel = {"id": "panel", "parent": "supply", "rating_a": 100, "export_a": 20}
    bench = bench_of("A", "B", "C", feeder=FEEDER, panels=[panel])
    config = msgspec.json.decode(bench.view().config)
    for charger in config["chargers"][:2]:
        charger["circuit"] = "panel"
    bench.configure(config)
    for charger in config["chargers"]:
        bench.online(charger["id"])
    cap(bench, 1)
    cars = [Car(bench, name) for name in ("A", "B", "C")]
    bench.settle(40_000)
    highest_a = 0.0
    for number in range(12):
        cap(bench, 2 + number, drawn.choice([None, drawn.randint(-60_000, BUILDING_W)]))
        for _ in range(3):
            bench.settle(drawn.choice([1_000, 10_000]))
            told_a = [max(0.0, -(car.limit_a() or 0.0)) for car in cars]
            for car, feed_a in zip(cars, told_a, strict=True):
                car.feed_a = feed_a
                car.measure()
            site = bench.actor._site
            assert site is not None
            may_a = [entry.feed_ma / 1_000 for entry in site.entries]
            assert may_a[0] + may_a[1] <= 20, "what may be fed in through the panel"
            highest_a = max(highest_a, may_a[0] + may_a[1])
    assert highest_a > 15, "it was asked for more than that"
