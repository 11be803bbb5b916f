"""Caps from demand curves are what one solve over the whole tree would give, without the feeder
knowing more of a site than its curve: feeder, sites, circuits and connectors at once."""

from __future__ import annotations

import random
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from controlplane import _core
from controlplane.actor import Ask, Send
from controlplane.config import ActorSettings
from controlplane.demand_curve import (
    POINTS_MAX,
    RISES,
    Curve,
    Part,
    demand_curve,
    levelled,
    plain_curve,
    rise,
    shares,
    summed,
)
from controlplane.feeder.ledger import divide, fair_shares
from controlplane.feeder.messages import SiteReport
from controlplane.ids import ActorKind, ActorRef, ChargerId, FeederId, SessionId
from controlplane.network import SiteConfig
from controlplane.site.actor import SiteActor
from controlplane.site.messages import (
    CapChanged,
    ChargerPresence,
    ConfigureSite,
    ConnectorState,
    SessionDemand,
)

NOW_MS = 1_700_000_000_000
STEP_MA = 100


def described(rand: random.Random, number: int, *, offline: bool) -> dict[str, Any]:
    """A site with a few panels, some of them too small for their chargers."""
    panels: list[dict[str, Any]] = [
        {"id": f"panel-{each}", "parent": "supply", "rating_a": rand.choice([20, 40, 63, 200])}
        for each in range(rand.randint(1, 3))
    ]
    chargers = [
        {
            "id": f"CP-{number}-{each}",
            "circuit": rand.choice(panels)["id"],
            "offline_current_a": rand.choice([0, 6]) if offline else 0,
            "connectors": [
                {
                    "id": 1,
                    "current_min_a": 6,
                    "current_max_a": rand.choice([10, 16, 32]),
                    "priority": rand.choice([0, 5, 5]),
                    "weight": rand.choice([1, 1, 2, 5]),
                }
            ],
        }
        for each in range(rand.randint(1, 6))
    ]
    for panel in panels if offline else []:
        # Default profiles come first on their panel, which one solve for all does not know.
        count = sum(each["circuit"] == panel["id"] for each in chargers)
        panel["rating_a"] = max(panel["rating_a"], 6 * count)
    return {
        "id": f"site-{number}",
        "feeder": "feeder",
        "margin_percent": 0,
        "circuits": [{"id": "supply", "rating_a": rand.choice([63, 125, 400])}, *panels],
        "chargers": chargers,
    }


class Reporter:
    """A real site: its chargers come online, some with a session, and it reports."""

    def __init__(self, config: dict[str, Any], rand: random.Random) -> None:
        self.config = SiteConfig.model_validate(config)
        self.actor = SiteActor(ActorRef(ActorKind.SITE, config["id"]), ActorSettings(), None)
        self.report: SiteReport | None = None
        self.tell(Ask("a", ConfigureSite(self.config.model_dump_json().encode())))
        for charger in self.config.chargers:
            default_ma = int(charger.offline_current_a * 1_000)
            self.tell(ChargerPresence(ChargerId(charger.id), True, True, default_ma))
            if rand.random() < 0.8:
                demand = SessionDemand(SessionId(charger.id), NOW_MS, 0, None, None, True)
                self.tell(ConnectorState(ChargerId(charger.id), 1, None, demand))
        # Told twice, the second time as if its report had been lost: it reports as it is now.
        self.tell(CapChanged(FeederId("feeder"), 1, 0))
        self.tell(CapChanged(FeederId("feeder"), 1, 0))

    def tell(self, message: Any) -> None:
        for effect in self.actor.step(message, NOW_MS + 60_000):
            if isinstance(effect, Send) and isinstance(effect.message, SiteReport):
                self.report = effect.message

    @property
    def told(self) -> SiteReport:
        assert self.report is not None
        return self.report


def whole_tree(reporters: list[Reporter], capacity_ma: int) -> list[int]:
    """What each site draws per phase where one solve knows every connector."""
    parents, ratings = [-1], [capacity_ma]
    nodes, mins, maxs, weights, tiers, fixed, tops = [], [], [], [], [], [], []
    for reporter in reporters:
        live = reporter.actor._site
        assert live is not None
        first = len(parents)
        index = {circuit.id: first + n for n, circuit in enumerate(live.config.circuits)}
        tops.append(first)
        parents += [
            0 if each.parent is None else index[each.parent] for each in live.config.circuits
        ]
        ratings += [each.rating_ma for each in live.config.circuits]
        for connector, (_, charger, described) in zip(
            live.connectors, live.config.connectors(), strict=True
        ):
            wants = connector.entry.session_id is not None
            nodes.append(index[charger.circuit])
            mins.append(6_000 if wants else 0)
            maxs.append(connector.leaf.max_ma if wants else 0)
            weights.append(described.weight)
            tiers.append(described.priority)
            fixed.append(0 if wants else int(charger.offline_current_a * 1_000))
    network = _core.Network(
        node_parent=np.array(parents, dtype=np.int32),
        leaf_node=np.array(nodes, dtype=np.int32),
        leaf_phases=np.full(len(nodes), 7, dtype=np.uint8),
    )
    count = len(nodes)
    solved = _core.allocate(
        network,
        _core.Capacity(import_ma=np.repeat(np.array([ratings], dtype=np.int64).T, 3, axis=1)),
        _core.Demand(
            min_ma=np.array(mins, dtype=np.int64),
            max_ma=np.array(maxs, dtype=np.int64),
            step_ma=np.full(count, STEP_MA, dtype=np.int64),
            weight=np.array(weights, dtype=np.int64),
            tier=np.array(tiers, dtype=np.uint8),
            rank=np.arange(count, dtype=np.int64),
            liability_ma=np.array(fixed, dtype=np.int64),
        ),
    )
    return [int(solved.row_load_ma[node][0]) for node in tops]


def network_of(seed: int, *, offline: bool) -> tuple[random.Random, list[Reporter]]:
    rand = random.Random(seed)
    sites = [described(rand, number, offline=offline) for number in range(rand.randint(1, 6))]
    return rand, [Reporter(config, rand) for config in sites]


@settings(max_examples=150, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_fair_shares_are_those_of_one_solve_over_the_whole_tree(seed: int) -> None:
    rand, reporters = network_of(seed, offline=True)
    floors = [reporter.told.floor_ma for reporter in reporters]
    curves = [reporter.told.curve for reporter in reporters]
    least_ma = sum(floors) + sum(
        stage.points[-1][1] - stage.points[0][1]
        for curve in curves
        for stage in curve
        if stage.admits
    )
    most_ma = sum(floors) + sum(map(rise, curves))
    capacity_ma = rand.randint(least_ma, most_ma + 10_000)
    fair = fair_shares(floors, curves, capacity_ma=capacity_ma)
    best = whole_tree(reporters, capacity_ma)
    for reporter, ours_ma, best_ma in zip(reporters, fair, best, strict=True):
        # One step for every connector: the core rounds what it gives to whole steps.
        tolerance_ma = STEP_MA * (len(reporter.config.chargers) + 1)
        assert abs(ours_ma - best_ma) <= tolerance_ma, (fair, best, capacity_ma)
    caps = divide(floors, curves, capacity_ma=capacity_ma)
    assert sum(caps) <= capacity_ma
    assert all(cap >= each for cap, each in zip(caps, fair, strict=True))


@settings(max_examples=100, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_where_not_all_minimums_fit_as_many_vehicles_are_admitted(seed: int) -> None:
    """Which of them is each site's own choice; how many there are is not."""
    rand, reporters = network_of(seed, offline=False)
    curves = [reporter.told.curve for reporter in reporters]
    minimums_ma = sum(
        stage.points[-1][1] - stage.points[0][1]
        for curve in curves
        for stage in curve
        if stage.admits
    )
    capacity_ma = rand.randint(0, max(0, minimums_ma - 1))
    fair = fair_shares([0] * len(curves), curves, capacity_ma=capacity_ma)
    admitted = sum(each // 6_000 for each in fair)
    assert admitted == min(capacity_ma, minimums_ma) // 6_000


@settings(max_examples=100, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_a_feeder_between_changes_nothing_but_its_own_limit(seed: int) -> None:
    rand, reporters = network_of(seed, offline=False)
    curves = [reporter.told.curve for reporter in reporters]
    middle = rand.randint(0, len(curves))
    below = summed(curves[:middle], floor_ma=0, most_ma=10**9)
    room_ma = rand.randint(0, sum(map(rise, curves)) + 1_000)
    direct = shares(curves, room_ma)
    through = shares([below, *curves[middle:]], room_ma)
    # Which vehicles are admitted last may differ.
    assert abs(sum(direct[:middle]) - through[0]) <= 6_000 * len(curves)
    assert abs(sum(direct) - sum(through)) <= 10, "but for milliamperes that rounding leaves"
    cut_ma = rand.randint(0, rise(below))
    assert rise(summed(curves[:middle], floor_ma=0, most_ma=cut_ma)) <= cut_ma


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), balanced=st.booleans())
def test_curves_are_bounded_and_near(seed: int, balanced: bool) -> None:
    """A large site with vehicles that all differ: few points, and each level off by a little."""
    rand = random.Random(seed)
    parts = []
    for _ in range(rand.randint(1, 200)):
        min_ma = rand.choice([0, rand.randint(1_000, 6_000)])
        parts.append(
            Part(
                lines=(0, 1, 2) if balanced else tuple(rand.sample(range(3), rand.randint(1, 3))),
                base_ma=0,
                weight=rand.randint(1, 9),
                tier=rand.randint(0, 1),
                min_ma=min_ma,
                top_ma=rand.randint(min_ma, 32_000),
            )
        )
    floor_ma, curve = demand_curve([0, 0, 0], parts)
    assert floor_ma == 0
    check_course(curve)
    for stage in curve:
        if stage.admits:
            continue
        rises_ma = stage.points[-1][1] - stage.points[0][1]
        for level in [rand.randint(0, stage.points[-1][0]) for _ in range(20)]:
            exact_ma = loads(parts, stage.tier, level) - loads(parts, stage.tier, 0)
            off_ma = abs(stage.risen_ma(level) - exact_ma)
            assert off_ma <= rises_ma / RISES + len(parts), (level, exact_ma)


def loads(parts: list[Part], tier: int, level: int) -> int:
    """The most loaded phase where the tiers before are done and this one is at a level."""
    lines = [0, 0, 0]
    for part in parts:
        given = part.min_ma if part.top_ma else 0
        if part.tier < tier:
            given = part.top_ma
        elif part.tier == tier:
            given = min(part.top_ma, max(given, part.weight * level // 1_000))
        for line in part.lines:
            lines[line] += given
    return max(lines)


def check_course(curve: Curve) -> None:
    keys = [stage.key for stage in curve]
    assert keys == sorted(set(keys))
    reached_ma = 0
    for stage in curve:
        assert len(stage.points) <= POINTS_MAX
        assert stage.points[0][1] == reached_ma
        assert list(stage.points) == sorted(stage.points)
        assert [each for _, each in stage.points] == sorted(each for _, each in stage.points)
        reached_ma = stage.points[-1][1]


def test_a_guaranteed_minimum_comes_before_all_priorities() -> None:
    urgent = Part((0, 1, 2), base_ma=0, min_ma=6_000, top_ma=32_000, tier=0)
    promised = Part((0, 1, 2), base_ma=0, min_ma=8_000, top_ma=32_000, tier=9, first=True)
    curves = [demand_curve([0, 0, 0], [part])[1] for part in (urgent, promised)]
    assert shares(curves, 8_000) == [0, 8_000]
    assert shares(curves, 14_000) == [6_000, 8_000]
    assert shares(curves, 20_000) == [12_000, 8_000]


def test_who_wants_nothing_at_present_comes_after_all_growth() -> None:
    hungry = Part((0, 1, 2), base_ma=0, min_ma=6_000, top_ma=32_000, tier=90)
    full = Part((0, 1, 2), base_ma=0, min_ma=6_000, top_ma=6_000, tier=200, last=True)
    here = demand_curve([0, 0, 0], [full, full, hungry])[1]
    there = demand_curve([0, 0, 0], [hungry])[1]
    check_course(here)
    assert shares([here, there], 40_000) == [20_000, 20_000]
    assert shares([here, there], 64_000) == [32_000, 32_000]
    assert shares([here, there], 70_000) == [38_000, 32_000]
    assert shares([summed([here, there], floor_ma=0, most_ma=70_000), there], 96_000) == [
        64_000,
        32_000,
    ]
    assert shares([here, there], 100_000) == [44_000, 32_000]


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_those_who_want_nothing_take_nothing_from_another_site(seed: int) -> None:
    """Served vehicles in some sites change nothing for others while there is not room for all."""
    rand = random.Random(seed)
    _, reporters = network_of(seed, offline=False)
    floors = [reporter.told.floor_ma for reporter in reporters]
    before = [reporter.told.curve for reporter in reporters]
    guests = [rand.randint(0, 4) for _ in reporters]
    dormant = Part((0, 1, 2), base_ma=0, min_ma=6_000, top_ma=6_000, tier=200, last=True)
    after = [
        (*curve, *(beside(curve, [dormant] * count) if count else ()))
        for curve, count in zip(before, guests, strict=True)
    ]
    wanted_ma = sum(map(rise, before))
    capacity_ma = sum(floors) + rand.randint(0, wanted_ma + 20_000)
    plain = fair_shares(floors, before, capacity_ma=capacity_ma)
    served = fair_shares(floors, after, capacity_ma=capacity_ma)
    if capacity_ma - sum(floors) <= wanted_ma:
        assert served == plain
    else:
        assert all(more >= each for more, each in zip(served, plain, strict=True))
        assert sum(served) <= capacity_ma
    for curve in after:
        check_course(curve)


def beside(curve: Curve, parts: list[Part]) -> Curve:
    """The stages that parts without a floor add above a curve."""
    return demand_curve([rise(curve)] * 3, parts)[1]


@pytest.mark.parametrize("count", [1, 300])
def test_a_report_is_small(count: int) -> None:
    rand = random.Random(count)
    parts = [
        Part(
            (0, 1, 2),
            base_ma=0,
            min_ma=rand.randint(1, 6_000),
            tier=rand.randint(0, 10),
            top_ma=rand.randint(6_000, 80_000),
        )
        for _ in range(count)
    ]
    _, curve = demand_curve([0, 0, 0], parts)
    assert len(msgspec.msgpack.encode(curve)) < 8_192


@given(
    least_ma=st.lists(st.integers(0, 60), max_size=8),
    most_ma=st.integers(0, 50),
    room_ma=st.integers(-5, 200),
)
def test_what_is_lent_is_what_plain_curves_would_share(
    least_ma: list[int], most_ma: int, room_ma: int
) -> None:
    curves = [plain_curve(each_ma, max(most_ma, each_ma)) for each_ma in least_ma]
    assert levelled(least_ma, most_ma, room_ma) == shares(curves, room_ma)
