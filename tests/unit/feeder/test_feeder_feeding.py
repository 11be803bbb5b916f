"""A grid event that pausing cannot meet: who is wished to feed in, how much, and until when."""

from __future__ import annotations

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st
from test_feeder_actor import REF, W_PER_A, FeederBench

from controlplane.actor import Send, TimerFired
from controlplane.config import ActorSettings
from controlplane.feeder.actor import FeederActor
from controlplane.feeder.feeding import wishes_w
from controlplane.feeder.ledger import Account
from controlplane.feeder.messages import (
    ConfigureFeeder,
    FeederConfigured,
    FeederReport,
    FeederView,
    FeedIn,
    GetFeeder,
    SiteReport,
    Spare,
)
from controlplane.grid_events import (
    WISH_HOLD_MS,
    CancelGridEvent,
    CreateGridEvent,
    GetGridEvent,
    GridEvent,
    GridEventKind,
    GridEventState,
    GridWish,
)
from controlplane.ids import FeederId, SiteId
from controlplane.site.messages import CapChanged

NOW_MS = 1_700_000_000_000
HOUR_MS = 3_600_000


def account(needed_w: int, *offers: tuple[int, str], floor_ma: int = 0) -> Account:
    """Somebody who reports now."""
    spare = tuple(Spare(power_w, price) for power_w, price in offers)
    said = FeedIn(needed_w, floor_ma, needed_w, 0, spare) if offers else None
    floor_ma = floor_ma or needed_w * 1_000 // (3 * 230)
    return Account(floor_ma=floor_ma, reported_ms=NOW_MS, measured_w=needed_w, feed_in=said)


def wished(limit_w: int, **accounts: Account) -> dict[str, int] | None:
    return wishes_w(accounts, limit_w=limit_w, voltage_v=230, now_ms=NOW_MS, patience_ms=15_000)


# --- who gives how much ---------------------------------------------------------------------------


def test_what_one_must_draw_others_feed_in() -> None:
    found = wished(10_000, a=account(20_000), b=account(5_000, (40_000, "0.3")))
    assert found is not None
    assert found.keys() == {"b"}, "nobody else can"
    assert 20_000 + found["b"] <= 10_000
    assert 20_000 + found["b"] >= 8_500, "with what the building of a may rise by meanwhile"


def test_the_cheapest_come_first_and_those_alike_in_proportion() -> None:
    found = wished(
        0,
        dear=account(10_000, (30_000, "0.40")),
        small=account(10_000, (10_000, "0.3")),
        large=account(10_000, (30_000, "0.30")),
    )
    assert found is not None
    assert found["dear"] == 10_000, "it draws what it needs, and feeds nothing in"
    given_w = {name: 10_000 - wish_w for name, wish_w in found.items()}
    assert abs(given_w["large"] - 3 * given_w["small"]) <= 3
    assert 30_000 <= sum(given_w.values()) <= 30_300


def test_where_pausing_is_enough_nothing_is_wished() -> None:
    assert wished(40_000, a=account(20_000, (10_000, "0.3")), b=account(15_000)) is None
    assert wished(10_000, a=account(20_000), b=account(15_000)) is None, "nobody could"


def test_who_is_silent_is_counted_with_what_it_may_draw_and_given_no_wish() -> None:
    silent = account(1_000, (50_000, "0.3"))
    silent.reported_ms, silent.cap_ma = NOW_MS - 60_000, 100_000
    found = wished(60_000, silent=silent, b=account(5_000, (40_000, "0.3")))
    assert found is not None
    assert found.keys() == {"b"}
    assert found["b"] <= 60_000 - 69_000


def test_what_moves_by_a_little_is_told_to_nobody() -> None:
    a, b = account(20_000, (30_000, "0.3")), account(20_000, (30_000, "0.3"))
    first = wished(10_000, a=a, b=b)
    assert first is not None
    for each, wish_w in zip((a, b), first.values(), strict=True):
        each.wish = GridWish(wish_w, NOW_MS + 30_000)
    a.feed_in = FeedIn(20_300, 0, 0, 0, (Spare(30_500, "0.3"),))
    assert wished(10_000, a=a, b=b) == first
    a.feed_in = FeedIn(20_300, 0, 0, 0, (Spare(2_000, "0.3"),))
    assert wished(10_000, a=a, b=b) != first, "it can no longer"


@settings(max_examples=150, deadline=None)
@given(
    limit_w=st.integers(-200_000, 200_000),
    members=st.lists(
        st.tuples(
            st.integers(0, 100_000),
            st.lists(
                st.tuples(st.integers(1, 50_000), st.sampled_from(["0.1", "0.25"])),
                min_size=1,
                max_size=3,
            ),
        ),
        min_size=1,
        max_size=6,
    ),
)
def test_nobody_is_asked_for_more_than_it_can_and_all_give_what_is_missing(
    limit_w: int, members: list[tuple[int, list[tuple[int, str]]]]
) -> None:
    accounts = {str(at): account(needed, *offers) for at, (needed, offers) in enumerate(members)}
    found = wished(limit_w, **accounts)
    needed_w = sum(needed for needed, _ in members)
    spare_w = sum(power_w for _, offers in members for power_w, _ in offers)
    if found is None:
        assert needed_w <= limit_w
        return
    given_w = 0
    for name, wish_w in found.items():
        said = accounts[name].feed_in
        assert said is not None
        assert 0 <= said.needed_w - wish_w <= said.spare_w
        given_w += said.needed_w - wish_w
    assert given_w >= min(spare_w, needed_w - limit_w)


def test_what_its_own_event_takes_a_site_does_not_offer_again() -> None:
    said = FeedIn(20_000, 30_000, 0, 0, (Spare(8_000, "0.2"), Spare(9_000, "0.3")))
    left = said.beyond(10_000)
    assert (left.needed_w, left.spare) == (10_000, (Spare(7_000, "0.3"),))
    assert said.beyond(25_000) == said
    assert said.beyond(-50_000).spare == ()


# --- the actor ------------------------------------------------------------------------------------


def reports(bench: FeederBench, *, fed_w: int = 0) -> None:
    """Two sites of which `a` can feed in; both keep to their caps."""
    for name, needed_w, spare_w in (("a", 10_350, 40_000), ("b", 20_700, 0)):
        state = bench.actor._state
        known = None if state is None else state.sites.get(SiteId(name))
        floor_ma = needed_w * 1_000 // 690
        fed = fed_w if spare_w else 0
        said = FeedIn(needed_w, floor_ma, needed_w - fed, fed, (Spare(spare_w, "0.3"),))
        bench.now_ms += 200
        bench.tell(
            SiteReport(
                SiteId(name),
                0 if known is None else known.cap_id,
                floor_ma,
                floor_ma + 100_000,
                floor_ma,
                floor_ma,
                needed_w - fed,
                (),
                bench.now_ms,
                said if spare_w else None,
            )
        )


def running(limit_w: int = 10_000) -> FeederBench:
    bench = FeederBench(200)
    reports(bench)
    bench.advance(1_000)
    reports(bench)
    bench.new_caps()
    wish = CreateGridEvent("E", GridEventKind.LIMIT, limit_w, end_ms=bench.now_ms + HOUR_MS)
    bench.ask(wish, GridEvent)
    return bench


def last_cap(bench: FeederBench, site: str) -> CapChanged:
    return next(cap for name, cap in reversed(bench.caps) if name == site)


def test_an_event_leaves_as_wish_and_caps_in_the_same_step() -> None:
    bench = running()
    wish = last_cap(bench, "a").wish
    assert wish is not None
    assert 20_700 + wish.power_w <= 10_000
    assert wish.end_ms == bench.now_ms + HOUR_MS
    assert last_cap(bench, "b").wish is None
    for site, needed_a in (("a", 15), ("b", 30)):
        assert needed_a <= (last_cap(bench, site).cap_ma or 0) / 1_000 <= needed_a + 2


def test_compliance_counts_what_is_surely_fed_in() -> None:
    bench = running()
    reports(bench)
    event = bench.ask(GetGridEvent("E"), GridEvent)
    assert (event.acknowledged_ms, event.met_ms) == (None, None)
    for _ in range(3):
        reports(bench, fed_w=22_500)
    event = bench.ask(GetGridEvent("E"), GridEvent)
    assert event.state is GridEventState.MET
    assert event.acknowledged_ms is not None
    bench.advance(60_000)
    assert bench.ask(GetGridEvent("E"), GridEvent).fed_wh > 0


def test_a_wish_is_told_again_while_it_lasts_and_taken_back_at_its_end() -> None:
    bench = running()
    first = last_cap(bench, "a")
    assert first.wish is not None
    for _ in range(12):
        reports(bench, fed_w=22_500)
        bench.advance(4_600)
    again = last_cap(bench, "a")
    assert again.wish is not None
    assert again.cap_id == first.cap_id, "it is the same"
    assert again.wish.until_ms > bench.now_ms
    bench.ask(CancelGridEvent("E"), GridEvent)
    assert last_cap(bench, "a").wish is None
    assert last_cap(bench, "a").cap_id > first.cap_id


def test_a_wish_outlives_no_event() -> None:
    bench = FeederBench(200)
    reports(bench)
    bench.advance(1_000)
    reports(bench)
    ends_ms = bench.now_ms + 20_000
    bench.ask(CreateGridEvent("E", GridEventKind.LIMIT, 0, end_ms=ends_ms), GridEvent)
    wish = last_cap(bench, "a").wish
    assert wish is not None
    assert wish.until_ms == ends_ms


def test_a_host_that_takes_over_knows_what_was_wished() -> None:
    bench = running()
    wish = last_cap(bench, "a").wish
    bench.actor = FeederActor(REF, ActorSettings(), bench.snapshot)
    bench.take(bench.actor.activate(bench.now_ms))
    view = bench.ask(GetFeeder(), FeederView)
    assert wish is not None
    assert [share.wish_w for share in view.sites] == [wish.power_w, None]
    assert [share.spare_w for share in view.sites] == [40_000, 0]


def test_a_snapshot_of_an_older_version_is_read() -> None:
    bench = FeederBench(200)
    bench.report("a", floor=20, wanted=120, liability=20)
    assert bench.snapshot is not None
    document = msgspec.msgpack.decode(bench.snapshot)
    document.pop("parent_wish")
    document["sites"] = {name: fields[:13] for name, fields in document["sites"].items()}
    bench.actor = FeederActor(REF, ActorSettings(), msgspec.msgpack.encode(document))
    assert bench.share("a") == (200, False)


def below_another() -> FeederBench:
    """The feeder hangs on `town`."""
    bench = FeederBench(200)
    config = {"id": REF.id, "power_max_w": 200 * W_PER_A, "parent": "town"}
    bench.ask(ConfigureFeeder(msgspec.json.encode(config)), FeederConfigured)
    bench.tell(CapChanged(FeederId("town"), 1, 200_000))
    reports(bench)
    bench.advance(1_000)
    reports(bench)
    return bench


def test_a_feeder_says_what_all_below_it_say_and_passes_on_what_is_wished() -> None:
    bench = below_another()
    bench.advance(10_000)
    sent = [each.message for each in bench.effects if isinstance(each, Send)]
    report = [each for each in sent if isinstance(each, FeederReport)][-1]
    assert report.feed_in is not None
    assert (report.feed_in.needed_w, report.feed_in.spare_w) == (32_085, 40_000)
    reports(bench)
    bench.new_caps()
    wish = GridWish(10_000, bench.now_ms + WISH_HOLD_MS, bench.now_ms + HOUR_MS)
    bench.tell(CapChanged(FeederId("town"), 2, 60_000, wish))
    passed_on = last_cap(bench, "a").wish
    assert passed_on is not None
    assert 20_700 + passed_on.power_w <= 10_000
    assert (passed_on.until_ms, passed_on.end_ms) == (wish.until_ms, wish.end_ms)
    bench.tell(CapChanged(FeederId("town"), 3, 200_000))
    assert last_cap(bench, "a").wish is None


def test_a_feeder_cut_off_from_the_one_above_lets_its_wish_lapse() -> None:
    bench = below_another()
    wish = GridWish(10_000, bench.now_ms + WISH_HOLD_MS)
    bench.tell(CapChanged(FeederId("town"), 2, 200_000, wish))
    for _ in range(14):
        reports(bench, fed_w=22_500)
        bench.advance(4_600)
    assert last_cap(bench, "a").wish is None
    bench.tell(TimerFired("divide"))
    assert last_cap(bench, "a").wish is None
