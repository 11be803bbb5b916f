"""A feeder divides what it has, and gives nothing that is not free."""

from __future__ import annotations

from typing import TypeVar

import msgspec
import pytest

from controlplane.actor import Answer, Ask, Effect, Message, Persist, Send, SetTimer, TimerFired
from controlplane.config import ActorSettings
from controlplane.errors import Refusal
from controlplane.feeder.actor import FeederActor
from controlplane.feeder.messages import (
    ConfigureFeeder,
    DeleteFeeder,
    FeederConfigured,
    FeederDeleted,
    FeederReport,
    FeederView,
    GetFeeder,
    SetFeederLimit,
    SiteLeft,
    SiteReport,
)
from controlplane.ids import ActorKind, ActorRef, SiteId
from controlplane.site.messages import CapChanged
from controlplane.store.records import ActorSnapshot, FeederRecord, FeederRemoved

Response = TypeVar("Response", bound=msgspec.Struct)

START_MS = 1_700_000_000_000
REF = ActorRef(ActorKind.FEEDER, "feeder-1")
W_PER_A = 3 * 230


class FeederBench:
    """A feeder of `capacity_a` per phase; the test is its sites."""

    def __init__(self, capacity_a: int, *, configured: bool = True) -> None:
        self.now_ms = START_MS
        self.actor = FeederActor(REF, ActorSettings(), None)
        self.timers: dict[str, int] = {}
        self.caps: list[tuple[str, CapChanged]] = []
        self.effects: list[Effect] = []
        self.snapshot: bytes | None = None
        if configured:
            self.ask(configure(capacity_a * W_PER_A), FeederConfigured)
            self.advance(5_000)

    def take(self, effects: list[Effect]) -> None:
        self.effects += effects
        for effect in effects:
            match effect:
                case SetTimer(key=key, at_ms=at_ms):
                    self.timers[key] = at_ms
                case Persist(record=ActorSnapshot(state=state)):
                    self.snapshot = state
                case Send(to=to, message=CapChanged() as cap):
                    self.caps.append((to.id, cap))

    def tell(self, message: Message) -> None:
        self.take(self.actor.step(message, self.now_ms))

    def ask(self, request: msgspec.Struct, response: type[Response]) -> Response:
        effects = self.actor.step(Ask("ask", request), self.now_ms)
        self.take(effects)
        answer = next(each for each in effects if isinstance(each, Answer))
        assert isinstance(answer.response, response), answer.response
        return answer.response

    def advance(self, duration_ms: int) -> None:
        until_ms = self.now_ms + duration_ms
        while self.timers:
            key, at_ms = min(self.timers.items(), key=lambda each: each[1])
            if at_ms > until_ms:
                break
            self.now_ms = max(self.now_ms, at_ms)
            del self.timers[key]
            self.tell(TimerFired(key))
        self.now_ms = until_ms

    def report(
        self, site: str, *, cap_id: int = 0, floor: int = 0, wanted: int = 0, liability: int = 0
    ) -> None:
        """A report in amperes; time passes so that the feeder takes it up at once."""
        self.advance(200)
        self.tell(
            SiteReport(SiteId(site), cap_id, floor * 1_000, wanted * 1_000, liability * 1_000, 0)
        )

    def new_caps(self) -> dict[str, float]:
        """Amperes of the caps sent since the last call."""
        caps, self.caps = self.caps, []
        return {site: (cap.cap_ma or 0) / 1_000 for site, cap in caps}

    def share(self, site: str) -> tuple[float | None, bool]:
        view = self.ask(GetFeeder(), FeederView)
        share = next(each for each in view.sites if each.id == site)
        return (None if share.cap_ma is None else share.cap_ma / 1_000, share.acknowledged)

    def cap_id(self, site: str) -> int:
        assert self.actor._state is not None
        return self.actor._state.sites[SiteId(site)].cap_id


def configure(power_max_w: int, **flags: bool) -> ConfigureFeeder:
    config = {"id": "feeder-1", "power_max_w": power_max_w}
    return ConfigureFeeder(msgspec.json.encode(config), **flags)


def test_a_site_alone_gets_everything() -> None:
    bench = FeederBench(200)
    bench.report("a", floor=20, wanted=120, liability=20)
    assert bench.new_caps() == {"a": 200}
    assert bench.share("a") == (200, False)
    bench.report("a", cap_id=bench.cap_id("a"), floor=20, wanted=120, liability=120)
    assert bench.share("a") == (200, True)


def test_a_new_feeder_hears_everybody_before_it_gives() -> None:
    bench = FeederBench(100, configured=False)
    bench.ask(configure(100 * W_PER_A), FeederConfigured)
    bench.report("a", floor=10, wanted=90, liability=10)
    assert bench.new_caps() == {}
    bench.report("b", floor=40, wanted=90, liability=40)
    bench.advance(5_000)
    assert bench.new_caps() == {"a": 50, "b": 50}


def two_sites() -> FeederBench:
    """`a` has and uses everything; `b` has come and waits."""
    bench = FeederBench(200)
    bench.report("a", floor=20, wanted=180, liability=20)
    bench.report("a", cap_id=bench.cap_id("a"), floor=20, wanted=180, liability=180)
    bench.new_caps()
    bench.report("b", floor=20, wanted=180, liability=20)
    return bench


def test_debit_before_credit_among_sites() -> None:
    bench = two_sites()
    assert bench.new_caps() == {"a": 100, "b": 20}
    bench.report("a", cap_id=bench.cap_id("a"), floor=20, wanted=180, liability=150)
    bench.report("b", cap_id=bench.cap_id("b"), floor=20, wanted=180, liability=20)
    bench.advance(4_000)
    assert "b" not in bench.new_caps(), "the room of a is not free yet"
    bench.report("a", cap_id=bench.cap_id("a"), floor=20, wanted=180, liability=100)
    assert bench.new_caps() == {"b": 100}


def test_a_confirmation_of_an_older_cap_frees_nothing() -> None:
    bench = two_sites()
    bench.new_caps()
    bench.report("a", cap_id=bench.cap_id("a") - 1, floor=20, wanted=180, liability=90)
    assert "b" not in bench.new_caps()


def test_what_one_does_not_want_goes_to_the_other() -> None:
    bench = FeederBench(200)
    bench.report("a", floor=10, wanted=40, liability=10)
    bench.report("a", cap_id=bench.cap_id("a"), floor=10, wanted=40, liability=10)
    bench.report("b", floor=10, wanted=150, liability=10)
    bench.report("a", cap_id=bench.cap_id("a"), floor=10, wanted=40, liability=10)
    bench.report("b", cap_id=bench.cap_id("b"), floor=10, wanted=150, liability=10)
    (a, _), (b, _) = bench.share("a"), bench.share("b")
    assert a is not None and b is not None
    assert b >= 150
    assert a >= 40
    assert a + b <= 200


def test_a_lower_capacity_lowers_caps_at_once() -> None:
    bench = two_sites()
    bench.report("a", cap_id=bench.cap_id("a"), floor=20, wanted=180, liability=100)
    bench.report("b", cap_id=bench.cap_id("b"), floor=20, wanted=180, liability=100)
    bench.new_caps()
    view = bench.ask(SetFeederLimit(100 * W_PER_A), FeederView)
    assert view.limit_ma == 100_000
    assert bench.new_caps() == {"a": 50, "b": 50}


def test_a_scheduled_limit_comes_and_goes() -> None:
    bench = FeederBench(200)
    bench.report("a", floor=10, wanted=180, liability=10)
    bench.report("a", cap_id=bench.cap_id("a"), floor=10, wanted=180, liability=180)
    bench.new_caps()
    start = bench.now_ms + 10_000
    bench.ask(SetFeederLimit(60 * W_PER_A, start, start + 10_000), FeederView)
    bench.advance(9_000)
    assert bench.new_caps() == {}
    bench.advance(1_100)
    assert bench.new_caps() == {"a": 60}
    bench.report("a", cap_id=bench.cap_id("a"), floor=10, wanted=180, liability=60)
    bench.advance(10_000)
    assert bench.new_caps() == {"a": 200}


def test_floors_come_first() -> None:
    bench = FeederBench(100)
    bench.report("a", floor=70, wanted=90, liability=70)
    bench.report("b", floor=10, wanted=90, liability=10)
    for _ in range(3):
        bench.report("a", cap_id=bench.cap_id("a"), floor=70, wanted=90, liability=70)
        bench.report("b", cap_id=bench.cap_id("b"), floor=10, wanted=90, liability=10)
    assert bench.share("a") == (70, True)
    assert bench.share("b") == (30, True)


def test_where_not_even_the_floors_fit_nobody_gets_more_than_its_floor() -> None:
    bench = FeederBench(100)
    bench.report("a", floor=30, wanted=90, liability=30)
    bench.report("a", cap_id=bench.cap_id("a"), floor=30, wanted=90, liability=30)
    bench.report("b", floor=90, wanted=90, liability=90)
    assert bench.new_caps()["a"] <= 30


def test_a_silent_site_keeps_what_it_has() -> None:
    bench = two_sites()
    bench.report("a", cap_id=bench.cap_id("a"), floor=20, wanted=180, liability=100)
    for _ in range(5):
        bench.advance(4_000)
        bench.report("b", cap_id=bench.cap_id("b"), floor=20, wanted=180, liability=100)
    bench.report("c", floor=10, wanted=180, liability=10)
    caps = bench.new_caps()
    assert caps["b"] == 50, "half of what a leaves"
    assert bench.share("a")[0] == 100


def test_a_lost_cap_is_sent_again() -> None:
    bench = two_sites()
    first = {site: cap.cap_id for site, cap in bench.caps}
    bench.caps.clear()
    bench.advance(5_500)
    assert {site: cap.cap_id for site, cap in bench.caps} == first


def test_a_silent_site_is_asked_whether_it_is_still_there() -> None:
    bench = two_sites()
    bench.report("a", cap_id=bench.cap_id("a"), floor=20, wanted=180, liability=100)
    bench.new_caps()
    bench.advance(15_000)
    assert "a" not in bench.new_caps(), "it has confirmed its cap and is not late yet"
    bench.advance(6_000)
    assert bench.new_caps()["a"] == 100


def test_a_site_that_has_lost_its_cap_is_told_again() -> None:
    bench = two_sites()
    bench.report("a", cap_id=bench.cap_id("a"), floor=20, wanted=180, liability=100)
    bench.new_caps()
    bench.report("a", cap_id=0, floor=20, wanted=180, liability=20)
    assert bench.share("a") == (100, False)
    bench.advance(6_000)
    assert bench.new_caps()["a"] == 100


def test_small_changes_are_not_sent() -> None:
    bench = FeederBench(200)
    bench.report("a", floor=20, wanted=100, liability=20)
    bench.new_caps()
    for wanted in (100, 101, 99, 100):
        bench.report("a", cap_id=bench.cap_id("a"), floor=20, wanted=wanted, liability=50)
    bench.ask(SetFeederLimit(199_500 * W_PER_A // 1_000), FeederView)
    assert bench.new_caps() == {"a": 199.5}, "a lower capacity is no small change"


def test_who_is_held_back_by_its_cap_is_raised_for_an_ampere() -> None:
    """Two of 150 amperes are less than a change that is worth a message to others."""
    bench = FeederBench(300)
    for site in "ab":
        bench.report(site, floor=20, wanted=140, liability=20)
    for site in "ab":
        bench.report(site, cap_id=bench.cap_id(site), floor=20, wanted=140, liability=140)
    assert [bench.share(site) for site in "ab"] == [(150, True), (150, True)]
    bench.new_caps()
    bench.report("a", cap_id=bench.cap_id("a"), floor=20, wanted=152, liability=150)
    bench.report("b", cap_id=bench.cap_id("b"), floor=20, wanted=120, liability=120)
    bench.advance(10_000)
    bench.report("b", cap_id=bench.cap_id("b"), floor=20, wanted=120, liability=120)
    bench.advance(10_000)
    cap_a, _ = bench.share("a")
    assert cap_a is not None
    assert cap_a >= 152


def test_a_site_that_leaves_frees_its_share() -> None:
    bench = two_sites()
    bench.report("b", cap_id=bench.cap_id("b"), floor=20, wanted=180, liability=20)
    bench.new_caps()
    bench.tell(SiteLeft(SiteId("a")))
    assert bench.new_caps() == {"b": 200}


def test_after_a_crash_caps_stand() -> None:
    bench = two_sites()
    last_id = max(cap.cap_id for _, cap in bench.caps)
    bench.actor = FeederActor(REF, ActorSettings(), bench.snapshot)
    bench.timers.clear()
    bench.caps.clear()
    bench.take(bench.actor.activate(bench.now_ms))
    assert bench.share("a") == (100, False)
    bench.report("b", cap_id=bench.cap_id("b"), floor=20, wanted=180, liability=20)
    assert "b" not in bench.new_caps(), "a counts with the cap it had"
    bench.report("a", cap_id=bench.cap_id("a"), floor=20, wanted=180, liability=100)
    caps = dict(bench.caps)
    assert (caps["b"].cap_ma, caps["b"].cap_id > last_id) == (100_000, True)


def test_after_a_crash_what_a_site_grew_by_before_it_had_a_cap_is_not_given_away() -> None:
    bench = FeederBench(100, configured=False)
    bench.ask(configure(100 * W_PER_A), FeederConfigured)
    bench.report("a", floor=0, wanted=0, liability=0)
    bench.report("a", floor=60, wanted=60, liability=60)
    bench.report("b", floor=10, wanted=90, liability=10)
    bench.actor = FeederActor(REF, ActorSettings(), bench.snapshot)
    bench.timers.clear()
    bench.take(bench.actor.activate(bench.now_ms))
    bench.advance(5_000)
    assert bench.new_caps()["b"] == 40


def test_before_its_first_cap_a_feeder_tells_the_one_above_of_the_least_rise() -> None:
    bench = FeederBench(0, configured=False)
    config = {"id": "feeder-1", "power_max_w": 200 * W_PER_A, "parent": "feeder-0"}
    bench.ask(ConfigureFeeder(msgspec.json.encode(config)), FeederConfigured)
    bench.report("a", floor=100, wanted=100, liability=100)
    bench.report("b", floor=1, wanted=1, liability=1)
    told = [
        effect.message.liability_ma
        for effect in bench.effects
        if isinstance(effect, Send) and isinstance(effect.message, FeederReport)
    ]
    assert told[-1] == 101_000


def test_after_a_long_outage_sites_have_their_usual_time_to_report() -> None:
    bench = two_sites()
    bench.caps.clear()
    bench.now_ms += 600_000
    bench.actor = FeederActor(REF, ActorSettings(), bench.snapshot)
    bench.take(bench.actor.activate(bench.now_ms))
    bench.ask(SetFeederLimit(100 * W_PER_A), FeederView)
    assert bench.new_caps()["a"] == 50, "not taken for silent"


def test_ids_go_on_where_sites_have_seen_them() -> None:
    bench = FeederBench(100)
    bench.report("a", cap_id=41, floor=10, wanted=50, liability=10)
    assert bench.cap_id("a") == 42


def test_description_and_deletion() -> None:
    bench = FeederBench(0, configured=False)
    assert bench.ask(GetFeeder(), Refusal).reason == "FEEDER_UNKNOWN"
    bench.report("a", floor=10, wanted=50, liability=10)
    assert bench.new_caps() == {}, "nothing is known of its capacity"
    bench.ask(configure(69_000), FeederConfigured)
    records = [each.record for each in bench.effects if isinstance(each, Persist)]
    assert any(isinstance(each, FeederRecord) for each in records)
    bench.report("a", floor=10, wanted=50, liability=10)
    bench.advance(5_000)
    assert bench.new_caps() == {"a": 100}
    assert bench.ask(DeleteFeeder(), Refusal).reason == "SITES_REPORT"
    bench.tell(SiteLeft(SiteId("a")))
    bench.ask(DeleteFeeder(), FeederDeleted)
    records = [each.record for each in bench.effects if isinstance(each, Persist)]
    assert any(isinstance(each, FeederRemoved) for each in records)
    assert bench.snapshot == b""
    assert bench.ask(GetFeeder(), Refusal).kind == "not_found"


@pytest.mark.parametrize(
    ("request_", "kind"),
    [
        (configure(1_000, create_only=True), "already_exists"),
        (configure(0), "invalid_input"),
        (ConfigureFeeder(b'{"id": "other", "power_max_w": 5}'), "invalid_input"),
        (ConfigureFeeder(b"nonsense"), "invalid_input"),
        (SetFeederLimit(-5), "invalid_input"),
        (SetFeederLimit(5, None, START_MS - 1), "invalid_input"),
        (FeederDeleted(feeder_id="x"), "invalid_input"),  # type: ignore[arg-type]
    ],
)
def test_bad_requests_are_refused(request_: msgspec.Struct, kind: str) -> None:
    assert FeederBench(100).ask(request_, Refusal).kind == kind
