"""Feeders, sites and the limits for chargers in one chain: nothing waits for an interval when less
is to be drawn, and nothing is given before it is free."""

from __future__ import annotations

from collections import Counter, deque
from typing import Any

import msgspec

from controlplane.actor import Actor, Answer, Ask, Effect, Emit, Message, Send, SetTimer, TimerFired
from controlplane.charger.messages import ApplyLimit
from controlplane.config import ActorSettings
from controlplane.feeder.actor import FeederActor
from controlplane.feeder.messages import (
    ConfigureFeeder,
    FeederReport,
    FeederView,
    GetFeeder,
)
from controlplane.grid_events import (
    CreateGridEvent,
    GetGridEvent,
    GridEvent,
    GridEventKind,
    GridEventState,
)
from controlplane.ids import ActorKind, ActorRef, ChargerId, SessionId
from controlplane.network import SiteConfig
from controlplane.ocpp.commands import CommandState
from controlplane.ocpp.events import ConnectorStatus
from controlplane.site.actor import SiteActor
from controlplane.site.messages import (
    CapChanged,
    ChargerPresence,
    ConfigureSite,
    ConnectorMetered,
    ConnectorState,
    LimitOutcome,
    SessionDemand,
)

W_PER_A = 3 * 230


class Network:
    """Real feeders and sites; chargers obey at once, vehicles draw all they may."""

    def __init__(self) -> None:
        self.now_ms = 1_700_000_000_000
        self.actors: dict[ActorRef, Actor] = {}
        self.timers: dict[tuple[ActorRef, str], int] = {}
        self.chargers: dict[str, ActorRef] = {}
        self.limits_ma: dict[str, int] = {}
        self.waiting: deque[tuple[ActorRef, Message]] = deque()
        self.delivered: Counter[str] = Counter()
        self.events: list[Emit] = []
        self.deaf: set[ActorRef] = set()
        """Who is cut off."""
        self.stubborn: set[str] = set()
        """Chargers that answer nothing."""

    def feeder(self, id: str, power_a: int, parent: str | None = None) -> ActorRef:
        ref = ActorRef(ActorKind.FEEDER, id)
        self.actors[ref] = FeederActor(ref, ActorSettings(), None)
        config = {"id": id, "power_max_w": power_a * W_PER_A, "parent": parent}
        self.ask(ref, ConfigureFeeder(msgspec.json.encode(config)))
        return ref

    def site(self, id: str, feeder: str, *, chargers: int, offline_a: float = 0) -> ActorRef:
        ref = ActorRef(ActorKind.SITE, id)
        self.actors[ref] = SiteActor(ref, ActorSettings(), None)
        described = SiteConfig.model_validate(
            {
                "id": id,
                "feeder": feeder,
                "margin_percent": 0,
                "circuits": [{"id": "supply", "rating_a": 32 * chargers}],
                "chargers": [
                    {"id": f"{id}-{n}", "circuit": "supply", "offline_current_a": offline_a}
                    for n in range(chargers)
                ],
            }
        )
        self.ask(ref, ConfigureSite(described.model_dump_json().encode()))
        for charger in described.chargers:
            self.chargers[charger.id] = ref
            default_ma = int(offline_a * 1_000)
            self.tell(ref, ChargerPresence(ChargerId(charger.id), True, True, default_ma))
        return ref

    def plug_all(self) -> None:
        for charger_id, ref in self.chargers.items():
            session = SessionDemand(SessionId(charger_id), self.now_ms, 0, None, None, True)
            status = ConnectorStatus.CHARGING
            self.tell(ref, ConnectorState(ChargerId(charger_id), 1, status, session))

    def meter_all(self) -> None:
        for charger_id, ref in self.chargers.items():
            drawn_ma = self.limits_ma.get(charger_id, 0)
            currents = (drawn_ma, drawn_ma, drawn_ma)
            sample = ConnectorMetered(
                ChargerId(charger_id), 1, self.now_ms, currents, None, None, None, fresh=True
            )
            self.tell(ref, sample)

    # --- how it runs ------------------------------------------------------------------------------

    def take(self, ref: ActorRef, effects: list[Effect]) -> list[Answer]:
        answers = []
        for effect in effects:
            match effect:
                case SetTimer(key=key, at_ms=at_ms):
                    self.timers[ref, key] = at_ms
                case Emit():
                    self.events.append(effect)
                case Answer():
                    answers.append(effect)
                case Send(to=to, message=ApplyLimit() as limit):
                    self.delivered["ApplyLimit"] += 1
                    self.limit(ref, to.id, limit)
                case Send(to=to, message=message) if to in self.actors:
                    if not {ref, to} & self.deaf:
                        self.waiting.append((to, message))
        return answers

    def limit(self, site: ActorRef, charger_id: str, limit: ApplyLimit) -> None:
        if charger_id in self.stubborn:
            return
        self.limits_ma[charger_id] = limit.limit_ma
        outcome = LimitOutcome(ChargerId(charger_id), 1, limit.limit_id, CommandState.ACCEPTED)
        self.waiting.append((site, outcome))

    def flow(self) -> None:
        """Deliver until nothing is under way; no time passes."""
        while self.waiting:
            ref, message = self.waiting.popleft()
            self.delivered[type(message).__name__] += 1
            self.take(ref, self.actors[ref].step(message, self.now_ms))

    def tell(self, ref: ActorRef, message: Message) -> None:
        self.waiting.append((ref, message))
        self.flow()

    def ask(self, ref: ActorRef, request: msgspec.Struct) -> Any:
        answers = self.take(ref, self.actors[ref].step(Ask("ask", request), self.now_ms))
        self.flow()
        return answers[0].response

    def advance(self, duration_ms: int, *, meters_ms: int = 10_000) -> None:
        until_ms = self.now_ms + duration_ms
        metered_ms = self.now_ms
        while True:
            (ref, key), at_ms = min(self.timers.items(), key=lambda each: each[1])
            if metered_ms + meters_ms <= min(at_ms, until_ms):
                self.now_ms = metered_ms = metered_ms + meters_ms
                self.meter_all()
            elif at_ms <= until_ms:
                self.now_ms = max(self.now_ms, at_ms)
                del self.timers[ref, key]
                self.tell(ref, TimerFired(key))
            else:
                break
        self.now_ms = until_ms

    def drawn_a(self, site: str = "") -> float:
        return (
            sum(
                limit_ma
                for charger_id, limit_ma in self.limits_ma.items()
                if not site or self.chargers[charger_id].id == site
            )
            / 1_000
        )

    def view(self, ref: ActorRef) -> FeederView:
        view: FeederView = self.ask(ref, GetFeeder())
        return view


def street(sites: int, chargers: int, *, top_a: int, below_a: int) -> Network:
    """Two feeders below one, with `sites` each."""
    network = Network()
    network.feeder("top", top_a)
    for name in ("left", "right"):
        network.feeder(name, below_a, "top")
        for number in range(sites):
            network.site(f"{name}-{number}", name, chargers=chargers)
    network.advance(20_000)
    network.plug_all()
    network.advance(120_000)
    return network


TOP = ActorRef(ActorKind.FEEDER, "top")
LEFT = ActorRef(ActorKind.FEEDER, "left")


def test_capacity_is_shared_through_feeders_below() -> None:
    network = street(2, 2, top_a=100, below_a=80)
    assert network.drawn_a() >= 94
    view = network.view(TOP)
    assert [share.id for share in view.feeders] == ["left", "right"]
    assert sum(share.cap_ma or 0 for share in view.feeders) <= 100_000
    assert all(share.acknowledged for share in view.feeders)
    assert abs(network.drawn_a("left-0") - 25) <= 2


def test_a_feeder_below_keeps_to_its_own_limit_and_leaves_the_rest_to_others() -> None:
    network = Network()
    network.feeder("top", 150)
    network.feeder("left", 30, "top")
    network.site("small", "left", chargers=4)
    network.site("large", "top", chargers=4)
    network.advance(20_000)
    network.plug_all()
    network.advance(120_000)
    assert 27 <= network.drawn_a("small") <= 30
    assert network.drawn_a("large") >= 112


def test_a_limit_reaches_every_charger_before_any_time_passes() -> None:
    network = street(5, 4, top_a=2_000, below_a=1_000)
    assert network.drawn_a() == 40 * 32
    network.delivered.clear()
    event = network.ask(TOP, CreateGridEvent("a", GridEventKind.LIMIT, 640 * W_PER_A))
    assert network.drawn_a() <= 640, "no timer has fired"
    assert event.limit_w == 640 * W_PER_A
    assert network.delivered["ApplyLimit"] == 40, "one limit for each charger"
    assert network.delivered["CapChanged"] == 12, "one cap for each site and feeder"
    assert network.delivered["SiteReport"] + network.delivered["FeederReport"] == 0
    network.advance(40_000)
    found: GridEvent = network.ask(TOP, GetGridEvent("a"))
    assert found.state is GridEventState.MET
    assert found.applied_ms == found.received_ms
    assert found.acknowledged_ms is not None
    assert found.acknowledged_ms >= found.received_ms
    assert found.measured_w <= 640 * W_PER_A
    assert [share.acknowledged for share in network.view(TOP).feeders] == [True, True]


def test_a_site_event_reaches_its_chargers_at_once_and_its_feeder_lends_the_rest() -> None:
    network = Network()
    network.feeder("top", 100)
    a = network.site("a", "top", chargers=3)
    network.site("b", "top", chargers=3)
    network.advance(20_000)
    network.plug_all()
    network.advance(120_000)
    network.ask(a, CreateGridEvent("less", GridEventKind.LIMIT, 20 * W_PER_A))
    assert network.drawn_a("a") <= 20
    network.advance(120_000)
    assert network.drawn_a("b") >= 75
    event: GridEvent = network.ask(a, GetGridEvent("less"))
    assert event.state is GridEventState.MET
    assert event.measured_w <= 20 * W_PER_A
    network.ask(a, CreateGridEvent("back", GridEventKind.RESTORE, None))
    network.advance(120_000)
    assert abs(network.drawn_a("a") - network.drawn_a("b")) <= 6


def test_a_reduction_is_against_what_the_meters_showed() -> None:
    network = street(2, 2, top_a=1_000, below_a=500)
    network.advance(900_000, meters_ms=30_000)
    event: GridEvent = network.ask(TOP, CreateGridEvent("a", GridEventKind.REDUCE_BY, 56 * W_PER_A))
    assert event.baseline_w == 8 * 32 * W_PER_A
    assert event.limit_w == (8 * 32 - 56) * W_PER_A
    network.advance(60_000)
    found: GridEvent = network.ask(TOP, GetGridEvent("a"))
    assert found.state is GridEventState.MET
    assert 0 < found.reduced_wh <= 56 * W_PER_A // 60 + 1


def test_what_an_idle_site_drew_before_is_no_baseline() -> None:
    network = Network()
    network.feeder("top", 100)
    a = network.site("a", "top", chargers=1)
    network.advance(20_000)
    network.plug_all()
    network.advance(62_000)
    network.tell(a, ConnectorState(ChargerId("a-0"), 1, ConnectorStatus.AVAILABLE, None))
    network.limits_ma.clear()
    network.advance(900_000, meters_ms=1_000_000)
    event: GridEvent = network.ask(a, CreateGridEvent("less", GridEventKind.REDUCE_BY, 1_000))
    assert event.baseline_w == 0


def test_a_silent_site_counts_with_what_it_may_draw() -> None:
    network = Network()
    network.feeder("top", 1_000)
    a = network.site("a", "top", chargers=2)
    network.site("b", "top", chargers=2)
    network.advance(20_000)
    network.plug_all()
    network.advance(60_000)
    before = network.view(TOP).measured_w
    assert before == 4 * 32 * W_PER_A
    network.deaf.add(a)
    network.advance(30_000)
    cap_ma = next(share.cap_ma for share in network.view(TOP).sites if share.id == "a")
    assert cap_ma is not None
    silent_w = network.view(TOP).measured_w
    assert silent_w == 2 * 32 * W_PER_A + cap_ma * W_PER_A // 1_000


def test_who_cannot_shed_is_named_and_others_make_room() -> None:
    network = Network()
    network.feeder("top", 1_000)
    a = network.site("a", "top", chargers=2)
    network.site("b", "top", chargers=2)
    network.advance(20_000)
    network.plug_all()
    network.advance(60_000)
    for charger_id in ("a-0", "a-1"):
        # They keep what they have, and are out of reach.
        network.tell(a, ChargerPresence(ChargerId(charger_id), False, False, 0))
    network.ask(TOP, CreateGridEvent("a", GridEventKind.LIMIT, 70 * W_PER_A))
    network.advance(5_000)
    assert network.drawn_a("b") <= 6
    network.ask(TOP, CreateGridEvent("b", GridEventKind.LIMIT, 50 * W_PER_A))
    network.advance(30_000)
    assert network.view(TOP).overload is None, "letting go takes its time"
    network.advance(60_000)
    overload = network.view(TOP).overload
    assert overload is not None
    assert overload.excess_ma >= 14_000
    assert (overload.shares[0].member.id, overload.shares[0].cause) == ("a", "floor")
    assert any(event.kind == "feeder.overloaded" for event in network.events)
    network.ask(TOP, CreateGridEvent("c", GridEventKind.RESTORE, None))
    network.advance(30_000)
    assert network.view(TOP).overload is None
    assert [event.kind for event in network.events].count("feeder.overload_ended") == 1


def test_a_feeder_without_word_from_above_gives_only_what_cannot_be_shed() -> None:
    network = Network()
    network.feeder("left", 500, "top")
    network.site("a", "left", chargers=2, offline_a=10)
    network.advance(20_000)
    network.plug_all()
    network.advance(60_000)
    assert network.drawn_a() <= 20
    network.feeder("top", 500)
    network.advance(60_000)
    assert network.drawn_a() == 64


def test_a_feeder_that_moves_takes_leave_of_the_one_before() -> None:
    network = street(1, 1, top_a=100, below_a=80)
    other = network.feeder("other", 300)
    moved = msgspec.json.encode({"id": "left", "power_max_w": 80 * W_PER_A, "parent": "other"})
    network.ask(LEFT, ConfigureFeeder(moved))
    assert [share.id for share in network.view(TOP).feeders] == ["right"]
    network.advance(30_000)
    assert [share.id for share in network.view(other).feeders] == ["left"]
    assert network.view(LEFT).cap_ma == network.view(other).feeders[0].cap_ma
    network.tell(LEFT, CapChanged("top", 999, 5_000))  # type: ignore[arg-type]
    assert network.view(LEFT).cap_ma != 5_000, "it has no say any more"


def test_reports_carry_curves_upwards() -> None:
    network = street(2, 2, top_a=100, below_a=80)
    effects = network.actors[LEFT].step(TimerFired("report"), network.now_ms)
    (report,) = (
        effect.message
        for effect in effects
        if isinstance(effect, Send) and isinstance(effect.message, FeederReport)
    )
    # Four vehicles are admitted with 6 A each, and rise until the feeder is full.
    assert [stage.points[-1][1] for stage in report.curve] == [24_000, 80_000]
    assert report.measured_w is not None
    assert report.measured_w > 0
