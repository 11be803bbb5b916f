"""One level up: whatever is lost between a feeder and its sites, and whoever crashes, the sites
together never may draw more than the feeder carries."""

from __future__ import annotations

import random
from dataclasses import dataclass

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from controlplane.actor import Ask, Effect, Message, Persist, Send, SetTimer, TimerFired
from controlplane.config import ActorSettings
from controlplane.feeder.actor import FeederActor
from controlplane.feeder.messages import ConfigureFeeder, SiteReport
from controlplane.ids import ActorKind, ActorRef, SiteId
from controlplane.site.messages import CapChanged
from controlplane.store.records import ActorSnapshot

CAPACITY_MA = 300_000
REF = ActorRef(ActorKind.FEEDER, "feeder-1")


@dataclass
class Site:
    """A site that keeps to its cap: it grows into it at once and shrinks to it in its own time."""

    floor_ma: int
    wanted_ma: int
    cap_id: int = 0
    cap_ma: int = 0
    liability_ma: int = 0
    shrinks_ms: int = 0

    def may_ma(self) -> int:
        return max(self.floor_ma, self.cap_ma if self.cap_id else 0)


class FeederWorld:
    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.now_ms = 1_700_000_000_000
        self.timers: dict[str, int] = {}
        self.snapshot: bytes | None = None
        self.faults = True
        floors = [self.random.randint(0, 50_000) for _ in range(self.random.randint(1, 6))]
        self.sites = {
            SiteId(f"site-{number}"): Site(floor, floor, liability_ma=floor)
            for number, floor in enumerate(floors)
        }
        self.actor = FeederActor(REF, ActorSettings(), None)
        config = {"id": "feeder-1", "power_max_w": CAPACITY_MA * 690 // 1_000}
        self.tell(Ask("a", ConfigureFeeder(msgspec.json.encode(config))))
        for site_id, site in self.sites.items():
            self.report(site_id, site)

    def take(self, effects: list[Effect]) -> None:
        for effect in effects:
            match effect:
                case Persist(record=ActorSnapshot(state=state)):
                    self.snapshot = state
                case SetTimer(key=key, at_ms=at_ms):
                    self.timers[key] = at_ms
                case Send(to=to, message=CapChanged() as cap):
                    if not self.faults or self.random.random() < 0.8:
                        self.hear(self.sites[SiteId(to.id)], cap)

    def tell(self, message: Message) -> None:
        self.take(self.actor.step(message, self.now_ms))

    def hear(self, site: Site, cap: CapChanged) -> None:
        if cap.cap_id > site.cap_id and cap.cap_ma is not None:
            site.cap_id, site.cap_ma = cap.cap_id, cap.cap_ma
            if site.liability_ma > site.may_ma():
                delay_ms = self.random.randint(0, 60_000) if self.faults else 0
                site.shrinks_ms = self.now_ms + delay_ms

    def advance(self, duration_ms: int) -> None:
        until_ms = self.now_ms + duration_ms
        while self.timers:
            key, at_ms = min(self.timers.items(), key=lambda each: each[1])
            if at_ms > until_ms:
                break
            self.now_ms = max(self.now_ms, at_ms)
            del self.timers[key]
            self.tell(TimerFired(key))
            self.check()
        self.now_ms = until_ms

    def live(self, site_id: SiteId) -> None:
        """One site moves, and says so unless the message is lost."""
        site = self.sites[site_id]
        if self.faults and self.random.random() < 0.3:
            site.wanted_ma = site.floor_ma + self.random.randint(0, 200_000)
        if site.liability_ma <= site.may_ma():
            site.liability_ma = max(site.floor_ma, min(site.wanted_ma, site.may_ma()))
        elif self.now_ms >= site.shrinks_ms:
            site.liability_ma = site.may_ma()
        self.check()
        if not self.faults or self.random.random() < 0.8:
            self.report(site_id, site)
        self.check()

    def report(self, site_id: SiteId, site: Site) -> None:
        self.tell(
            SiteReport(
                site_id,
                site.cap_id,
                site.floor_ma,
                site.wanted_ma,
                site.liability_ma,
                site.liability_ma,
            )
        )

    def crash(self) -> None:
        self.timers.clear()
        self.actor = FeederActor(REF, ActorSettings(), self.snapshot)
        self.take(self.actor.activate(self.now_ms))

    def check(self) -> None:
        total_ma = sum(max(site.liability_ma, site.may_ma()) for site in self.sites.values())
        assert total_ma <= CAPACITY_MA, f"{total_ma} mA: {self.sites}"


def run(world: FeederWorld, events: int) -> None:
    for _ in range(events):
        if world.faults and world.random.random() < 0.05:
            world.crash()
        world.live(world.random.choice(list(world.sites)))
        world.advance(world.random.choice([10, 200, 1_500, 20_000] if world.faults else [200]))


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_sites_together_never_exceed_their_feeder(seed: int) -> None:
    run(FeederWorld(seed), 150)


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_once_nothing_is_lost_the_capacity_is_used(seed: int) -> None:
    world = FeederWorld(seed)
    run(world, 60)
    world.faults = False
    run(world, 400)
    drawn_ma = sum(site.liability_ma for site in world.sites.values())
    wanted_ma = sum(site.wanted_ma for site in world.sites.values())
    calm_ma = 6_000 * len(world.sites)
    assert drawn_ma >= min(wanted_ma, CAPACITY_MA) - calm_ma, world.sites
