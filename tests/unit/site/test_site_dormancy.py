"""Vehicles that are full, or have what their driver asked for, are in nobody's way, and wake."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

import pytest
from site_bench import Bench, charger, site

from controlplane.demand_curve import TIER_LAST
from controlplane.ids import FeederId
from controlplane.ocpp.events import ConnectorStatus
from controlplane.site.messages import CapChanged, SetSiteLimit, SiteView, VehicleLimits

STEP_MS = 15_000
VOLTS = 690
"""Three phases."""


@dataclass
class Parked:
    """A vehicle at a station that says SuspendedEV while it offers something that the vehicle does
    not take, and SuspendedEVSE while it offers nothing."""

    name: str
    left_wh: float
    most_a: float = 32.0
    need_wh: int | None = None
    mute: bool = False
    """Its station says what it always said: only the meter shows that it draws again."""
    has_wh: float = 0.0
    drawn_a: float = 0.0
    status: ConnectorStatus | None = None

    def live(self, bench: Bench, limit_a: float) -> None:
        self.drawn_a = min(limit_a, self.most_a) if limit_a >= 6 and self.left_wh > 0 else 0.0
        energy_wh = min(self.left_wh, self.drawn_a * VOLTS * STEP_MS / 3_600_000)
        self.left_wh -= energy_wh
        self.has_wh += energy_wh
        status = ConnectorStatus.CHARGING
        if not self.drawn_a:
            status = ConnectorStatus.SUSPENDED_EV if limit_a else ConnectorStatus.SUSPENDED_EVSE
        if self.mute and self.status is ConnectorStatus.SUSPENDED_EV:
            status = self.status
        if status is not self.status:
            self.status = status
            self.tell(bench)
        bench.meter(self.name, self.drawn_a, self.drawn_a, self.drawn_a, energy_wh=int(self.has_wh))

    def tell(self, bench: Bench) -> None:
        bench.plug(
            self.name,
            status=self.status,
            charging=self.status is not ConnectorStatus.SUSPENDED_EV,
            energy_wh=int(self.has_wh),
            need_wh=self.need_wh,
        )


class CarPark:
    def __init__(self, vehicles: list[Parked], *, supply_a: float, **values: Any) -> None:
        self.vehicles = {each.name: each for each in vehicles}
        chargers = [charger(name) for name in self.vehicles]
        self.bench = Bench(site(chargers, supply_a=supply_a, **values))
        self.limits: Counter[str] = Counter()
        self.offered_ms: Counter[str] = Counter()
        self.paused: Counter[str] = Counter()
        for vehicle in vehicles:
            self.bench.plug(vehicle.name, need_wh=vehicle.need_wh)

    def live(self, *, minutes: float) -> None:
        until_ms = self.bench.now_ms + int(minutes * 60_000)
        while self.bench.now_ms < until_ms:
            for name, limit_a in self.bench.answer():
                self.limits[name] += 1
                self.paused[name] += limit_a == 0
            for name, limit_a in zip(self.vehicles, self.limits_a, strict=True):
                self.vehicles[name].live(self.bench, limit_a)
                self.offered_ms[name] += STEP_MS if limit_a else 0
            self.bench.advance(STEP_MS)
        assert self.bench.view().violations == 0

    @property
    def limits_a(self) -> list[float]:
        return [limit_a or 0.0 for limit_a in self.bench.limits_a()]

    def limit_a(self, name: str) -> float:
        return dict(zip(self.vehicles, self.limits_a, strict=True))[name]


def full(name: str) -> Parked:
    """Charges for a minute or two, and then no more."""
    return Parked(name, left_wh=100)


def hungry(name: str) -> Parked:
    return Parked(name, left_wh=1e9)


def test_who_stops_between_two_samples_is_not_told_two_limits_in_turn() -> None:
    """A draws 14 A by its last sample when its station says that it takes nothing any more; B waits
    for room. At 0 A that station says what it would say if the vehicle wanted to go on."""
    bench = Bench(site([charger("A", priority=3), charger("B", current_min_a=10)], supply_a=14))
    bench.plug("A")
    bench.settle(5_000)
    bench.meter("A", 14, 14, 14)
    bench.plug("B")
    bench.settle(15_000)
    bench.meter("A", 14, 14, 14)
    told, offered = 0, True
    for _ in range(12):
        status = ConnectorStatus.SUSPENDED_EV if offered else ConnectorStatus.SUSPENDED_EVSE
        bench.plug("A", status=status, charging=not offered)
        told += sum(name == "A" for name, _ in bench.answer())
        offered = bool(bench.connector("A").limit_ma)
        bench.advance(2_000)
    assert told <= 2


def test_full_vehicles_give_way_and_get_it_back() -> None:
    park = CarPark(
        [*(full(f"F{each}") for each in range(4)), hungry("A"), hungry("B")], supply_a=60
    )
    park.live(minutes=6)
    assert [park.limit_a(f"F{each}") for each in range(4)] == [0.0] * 4
    assert [park.limit_a(name) for name in "AB"] == [30.0, 30.0], "24 A more than beside four"
    assert "where others leave room" in park.bench.connector("F0").reason
    park.vehicles.pop("B").drawn_a = 0
    park.bench.unplug("B")
    park.vehicles["B"] = Parked("B", 0.0, status=ConnectorStatus.SUSPENDED_EVSE)
    park.bench.settle(15 * 60_000)
    assert park.limits_a[:5] == [6.0, 6.0, 6.0, 6.0, 32.0], "there is room again"


def test_a_full_vehicle_gives_way_in_part_only_where_it_must() -> None:
    park = CarPark([full("F"), full("G"), hungry("A")], supply_a=39)
    park.live(minutes=20)
    assert park.limit_a("A") == 32.0
    assert [park.limit_a("F"), park.limit_a("G")] == [6.0, 0.0]


def test_who_has_what_the_driver_asked_for_gives_way() -> None:
    served = Parked("S", left_wh=1e9, need_wh=2_000)
    park = CarPark([served, hungry("A")], supply_a=32)
    park.live(minutes=30)
    assert served.has_wh < 2_300
    assert [park.limit_a("S"), park.limit_a("A")] == [0.0, 32.0]
    served.need_wh = 6_000
    served.tell(park.bench)
    park.live(minutes=2)
    assert [park.limit_a("S"), park.limit_a("A")] == [16.0, 16.0], "a raised need counts at once"


def test_nothing_flaps_beside_a_full_vehicle() -> None:
    """Two hours in which its station changes its word with every limit."""
    park = CarPark([full("F"), hungry("A"), hungry("B")], supply_a=40)
    park.live(minutes=10)
    park.limits.clear()
    park.offered_ms.clear()
    park.live(minutes=120)
    # Probed after ten and twenty minutes, then every forty: on and off.
    assert park.limits["F"] <= 10
    assert max(park.limits["A"], park.limits["B"]) <= 2 * 10
    assert park.offered_ms["F"] <= 12 * 60_000
    assert park.offered_ms["F"] >= 60_000


def test_a_park_of_full_vehicles_moves_its_neighbours_once_for_all() -> None:
    fulls = [full(f"F{each}") for each in range(13)]
    park = CarPark([*fulls, *(hungry(name) for name in "ABCDEFGH")], supply_a=203)
    park.live(minutes=20)
    park.limits.clear()
    park.live(minutes=120)
    assert max(park.limits.values()) <= 24, "limits per charger in two hours"


def test_nothing_flaps_where_not_all_minimums_fit() -> None:
    """A full vehicle is not taken for one that waits: it would be paused and resumed for ever."""
    park = CarPark([*(full(f"F{each}") for each in range(3)), *map(hungry, "ABCDEF")], supply_a=45)
    park.live(minutes=20)
    park.limits.clear()
    park.offered_ms.clear()
    park.live(minutes=120)
    assert max(park.limits[f"F{each}"] for each in range(3)) <= 16
    assert max(park.offered_ms[f"F{each}"] for each in range(3)) <= 24 * 60_000
    assert min(park.offered_ms[name] for name in "ABCDEF") >= 100 * 60_000


def test_who_stops_for_a_moment_is_not_paused_for_it() -> None:
    sleeper = full("F")
    park = CarPark([sleeper, hungry("A"), hungry("B")], supply_a=40)
    park.live(minutes=1)
    assert sleeper.status is ConnectorStatus.SUSPENDED_EV
    park.live(minutes=0.5)
    assert park.limit_a("F") == 6.0
    sleeper.left_wh = 1e9
    park.live(minutes=2)
    assert park.paused["F"] == 0
    assert min(park.limits_a) >= 13.0


@pytest.mark.parametrize("mute", [False, True])
def test_a_sleeping_vehicle_is_probed_and_wakes(mute: bool) -> None:
    sleeper = full("F")
    sleeper.mute = mute
    park = CarPark([sleeper, hungry("A"), hungry("B")], supply_a=40)
    park.live(minutes=6)
    assert park.limit_a("F") == 0.0
    sleeper.left_wh = 20_000
    park.live(minutes=16)
    assert sleeper.has_wh > 200
    if not mute:
        park.live(minutes=2)
        assert min(park.limits_a) >= 13.0


def test_it_is_probed_though_not_all_minimums_fit() -> None:
    sleeper = full("F")
    park = CarPark([sleeper, hungry("A")], supply_a=10)
    park.live(minutes=30)
    assert [park.limit_a("F"), park.limit_a("A")] == [0.0, 10.0]
    sleeper.left_wh = 20_000
    had_wh = sleeper.has_wh
    park.live(minutes=60)
    assert sleeper.has_wh > had_wh + 200, "it had to wait for a turn, as others do"


def test_who_says_more_is_offered_more_at_once() -> None:
    sleeper = full("F")
    park = CarPark([sleeper, hungry("A"), hungry("B")], supply_a=40)
    park.live(minutes=6)
    assert park.limit_a("F") == 0.0
    sleeper.left_wh = 20_000
    sleeper.need_wh = 15_000
    sleeper.tell(park.bench)
    park.live(minutes=2)
    assert park.limit_a("F") >= 13.0


def test_a_vehicle_that_speaks_is_awake() -> None:
    park = CarPark([full("F"), hungry("A"), hungry("B")], supply_a=40)
    park.live(minutes=6)
    assert park.limit_a("F") == 0.0
    park.bench.plug(
        "F",
        status=ConnectorStatus.SUSPENDED_EVSE,
        vehicle=VehicleLimits(need_wh=20_000, said_ms=park.bench.now_ms),
    )
    park.bench.settle(60_000)
    assert park.limit_a("F") >= 13.0


def test_a_pause_of_ours_makes_nobody_dormant() -> None:
    park = CarPark([hungry("A"), hungry("B")], supply_a=40)
    park.live(minutes=5)
    park.bench.ask(SetSiteLimit(0), SiteView)
    park.live(minutes=30)
    assert [each.status for each in park.vehicles.values()] == [ConnectorStatus.SUSPENDED_EVSE] * 2
    park.bench.ask(SetSiteLimit(None), SiteView)
    park.live(minutes=2)
    assert park.limits_a == [20.0, 20.0]


def test_a_fallback_that_is_kept_anyway_stays_offered() -> None:
    chargers = [charger("F", offline_a=6), charger("A"), charger("B")]
    bench = Bench(site(chargers, supply_a=40))
    bench.plug("F", charging=False, status=ConnectorStatus.SUSPENDED_EV)
    for name in "AB":
        bench.plug(name)
    for _ in range(40):
        bench.meter("F", 0, 0, 0)
        bench.settle(30_000)
    assert bench.limits_a() == [6.0, 17.0, 17.0]


def test_a_feeder_hears_of_full_vehicles_last() -> None:
    park = CarPark([*map(full, "FGH"), *map(hungry, "AB")], supply_a=100, feeder="feeder-1")
    park.bench.tell(CapChanged(FeederId("feeder-1"), 1, 100_000))
    park.live(minutes=5)
    assert park.limits_a == [6.0, 6.0, 6.0, 32.0, 32.0]
    report = park.bench.reports[-1]
    assert report.wanted_ma == 64_000
    assert [stage.tier == TIER_LAST for stage in report.curve] == [False, False, True]
    assert report.curve[-1].points[0][1] == 64_000
    assert report.curve[-1].points[-1][1] == 82_000
    park.bench.tell(CapChanged(FeederId("feeder-1"), 2, 70_000))
    park.live(minutes=2)
    assert park.limits_a[3:] == [32.0, 32.0], "nobody who charges gives way for them"
    assert sum(park.limits_a[:3]) == 6.0


def test_full_vehicles_take_no_sun_from_others() -> None:
    solar = {"mode": "surplus"}
    park = CarPark([*map(full, "FG"), hungry("A")], supply_a=100, solar=solar)
    for _ in range(40):
        park.bench.sun(int(20 * VOLTS))
        park.live(minutes=0.5)
    assert park.limits_a[:2] == [0.0, 0.0]
    assert park.limit_a("A") >= 19.0
