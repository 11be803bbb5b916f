"""Need and departure, who says so, and who is ready when it leaves."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import dataclass
from typing import Any

import pytest
from site_bench import START_MS, Bench, charger, site

from controlplane.ocpp.events import ConnectorStatus
from controlplane.site import demand
from controlplane.site.demand import TIER_BOOST, TIER_HOLDING, tier_of
from controlplane.site.messages import SetSiteLimit, SiteView, VehicleLimits
from controlplane.site.urgency import STEP_UNKNOWN, STEPS
from controlplane.units import MS_PER_HOUR

MINUTE_MS = 60_000


@dataclass
class Guest:
    """A vehicle: when it comes and goes, what it needs, how much it takes."""

    name: str
    comes_ms: int
    leaves_ms: int
    need_wh: int
    most_a: float = 32.0
    has_wh: float = 0.0


class Afternoon:
    """Guests at the chargers of one site; chargers obey, meters tell every minute."""

    def __init__(self, guests: list[Guest], *, supply_a: float) -> None:
        self.guests = guests
        names = [guest.name for guest in guests]
        self.bench = Bench(site([charger(name) for name in names], supply_a=supply_a))
        self.here: set[str] = set()
        self.limits: Counter[tuple[str, int]] = Counter()
        """Limits sent, by charger and hour."""
        self.switched_off = 0

    def live(self, until_ms: int) -> None:
        bench = self.bench
        while bench.now_ms < until_ms:
            hour = (bench.now_ms - START_MS) // MS_PER_HOUR
            for name, limit_a in bench.answer():
                self.limits[name, hour] += 1
                self.switched_off += limit_a == 0
            limits = dict(zip((each.name for each in self.guests), bench.limits_a(), strict=True))
            for guest in self.guests:
                self._live(guest, limits[guest.name] or 0.0)
            bench.advance(MINUTE_MS)

    def _live(self, guest: Guest, limit_a: float) -> None:
        bench = self.bench
        if guest.name not in self.here:
            if guest.comes_ms <= bench.now_ms < guest.leaves_ms:
                self.here.add(guest.name)
                self.tell(guest)
            return
        if bench.now_ms >= guest.leaves_ms:
            self.here.discard(guest.name)
            bench.unplug(guest.name)
            return
        drawn_a = min(limit_a, guest.most_a) if limit_a >= 6 else 0.0
        guest.has_wh += drawn_a * 690 / 60
        bench.meter(guest.name, drawn_a, drawn_a, drawn_a, energy_wh=int(guest.has_wh))

    def tell(self, guest: Guest) -> None:
        self.bench.plug(guest.name, need_wh=guest.need_wh, departure_ms=guest.leaves_ms)

    @property
    def late(self) -> list[str]:
        return [each.name for each in self.guests if each.has_wh < each.need_wh]


def ten() -> list[Guest]:
    """Ten at once, with capacity for five: 110 kW for 396 kWh within five hours."""
    hours = [2, 2.5, 3, 3.5, 4, 4.5, 4.5, 5, 5, 5]
    needs_kwh = [42, 42, 40, 40, 40, 40, 38, 38, 38, 38]
    return [
        Guest(f"CP{number}", START_MS, START_MS + int(hour * MS_PER_HOUR), kwh * 1_000)
        for number, (hour, kwh) in enumerate(zip(hours, needs_kwh, strict=True))
    ]


def test_ten_vehicles_with_room_for_five_are_all_ready(monkeypatch: pytest.MonkeyPatch) -> None:
    world = Afternoon(ten(), supply_a=160)
    world.live(START_MS + 5 * MS_PER_HOUR)
    assert world.late == []
    assert world.bench.view().violations == 0
    monkeypatch.setattr(demand, "urgency_step", lambda *_, **__: STEP_UNKNOWN)
    alike = Afternoon(ten(), supply_a=160)
    alike.live(START_MS + 5 * MS_PER_HOUR)
    assert "CP0" in alike.late, "sharing alike is not enough"


def test_limits_do_not_flap_in_an_afternoon() -> None:
    """Thirty vehicles with every kind of hurry, on a supply that is short all the time."""
    rng = random.Random(7)
    guests = []
    for number in range(30):
        comes_ms = START_MS + rng.randrange(3 * 60) * MINUTE_MS
        stays_ms = rng.randrange(60, 360) * MINUTE_MS
        need_wh = rng.randrange(4_000, 40_000)
        guests.append(Guest(f"CP{number}", comes_ms, comes_ms + stays_ms, need_wh))
    world = Afternoon(guests, supply_a=100)
    world.live(START_MS + 5 * MS_PER_HOUR)
    here_h = (
        sum(
            max(0, min(each.leaves_ms, START_MS + 5 * MS_PER_HOUR) - each.comes_ms)
            for each in guests
        )
        / MS_PER_HOUR
    )
    assert sum(world.limits.values()) / here_h < 5, "limits per vehicle and hour"
    assert max(world.limits.values()) <= 15, "of one charger in one hour"
    assert world.switched_off <= len(guests), "once each, on average"


# --- who says so ----------------------------------------------------------------------------------


def sources(bench: Bench, name: str = "A") -> tuple[int | None, str | None, str | None]:
    found = bench.connector(name)
    return found.energy_needed_wh, found.need_source, found.departure_source


def test_the_driver_goes_before_the_vehicle_and_the_vehicle_before_a_forecast() -> None:
    bench = Bench(site([charger("A")]))
    for _ in range(4):
        bench.plug("A", session=f"s{bench.now_ms}", id_token="ann")
        bench.advance(MS_PER_HOUR)
        bench.meter("A", 16, 16, 16, energy_wh=11_000)
        bench.unplug("A")
        bench.advance(23 * MS_PER_HOUR)
        if (bench.now_ms // (24 * MS_PER_HOUR) + 3) % 7 >= 5:
            bench.advance(48 * MS_PER_HOUR)
    begin_ms = bench.now_ms
    bench.plug("A", session="last", id_token="ann", started_ms=begin_ms)
    assert sources(bench) == (11_000, "forecast", "forecast")
    assert bench.connector("A").departure_ms == begin_ms + MS_PER_HOUR
    vehicle = VehicleLimits(need_wh=30_000, departure_ms=begin_ms + 5 * MS_PER_HOUR)
    bench.plug("A", session="last", id_token="ann", started_ms=begin_ms, vehicle=vehicle)
    assert sources(bench) == (30_000, "vehicle", "vehicle")
    bench.plug(
        "A", session="last", id_token="ann", started_ms=begin_ms, vehicle=vehicle, need_wh=8_000
    )
    assert sources(bench) == (8_000, "driver", "vehicle")


def test_a_forecast_survives_a_crash() -> None:
    bench = Bench(site([charger("A")]))
    for _ in range(3):
        bench.plug("A", session=f"s{bench.now_ms}", id_token="ann")
        bench.advance(MS_PER_HOUR // 2)
        bench.meter("A", 16, 16, 16, energy_wh=5_000)
        bench.unplug("A")
    bench.crash()
    bench.online("A")
    bench.plug("A", session="last", id_token="ann")
    assert sources(bench) == (5_000, "forecast", "forecast")


def test_a_forecast_serves_nobody_off_and_goes_behind_who_is_in_a_hurry() -> None:
    bench = Bench(site([charger("A"), charger("B")], supply_a=40))
    for _ in range(3):
        bench.plug("A", session=f"s{bench.now_ms}", id_token="ann")
        bench.advance(MS_PER_HOUR // 3)
        bench.meter("A", 16, 16, 16, energy_wh=5_000)
        bench.unplug("A")
    bench.plug("A", session="last", id_token="ann")
    bench.plug("B", need_wh=20_000, departure_ms=bench.now_ms + MS_PER_HOUR)
    bench.settle()
    assert bench.limits_a() == [8.0, 32.0]
    bench.unplug("B")
    bench.settle()
    bench.meter("A", 32, 32, 32, energy_wh=9_000)
    bench.settle()
    assert bench.limits_a()[0] == 32.0, "it has more than was expected, and still charges"


def test_a_departure_that_has_passed_gives_no_hurry() -> None:
    bench = Bench(site([charger("A"), charger("B")], supply_a=40))
    bench.plug("A", need_wh=90_000, departure_ms=bench.now_ms + MS_PER_HOUR)
    bench.plug("B")
    bench.settle()
    assert bench.limits_a() == [32.0, 8.0]
    bench.advance(MS_PER_HOUR)
    bench.settle()
    assert bench.limits_a() == [20.0, 20.0]


def test_what_a_vehicle_says_narrows_its_offer_and_its_pace() -> None:
    bench = Bench(site([charger("A"), charger("B")], supply_a=40))
    vehicle = VehicleLimits(
        current_min_ma=8_000,
        current_max_ma=16_000,
        phases=1,
        need_wh=14_720,
        departure_ms=bench.now_ms + 5 * MS_PER_HOUR,
        said_ms=bench.now_ms,
    )
    bench.plug("A", vehicle=vehicle)
    bench.plug("B")
    bench.settle()
    assert bench.limits_a() == [16.0, 24.0]
    assert bench.connector("A").reason == "the vehicle's own maximum of 16 A"
    laxity_ms = bench.connector("A").laxity_ms
    assert laxity_ms is not None
    assert 0.9 < laxity_ms / MS_PER_HOUR < 1.01, "four hours at 3.68 kW"
    bench.ask(SetSiteLimit(13_000), SiteView)
    bench.settle()
    assert bench.limits_a() in ([13.0, 0.0], [0.0, 13.0]), "8 A and 6 A do not fit"


def test_a_station_that_asks_for_a_vehicle_hears_a_limit_though_none_changed() -> None:
    bench = Bench(site([charger("A")]))
    bench.plug("A")
    bench.settle()
    assert bench.limits == []
    bench.plug("A", vehicle=VehicleLimits(current_max_ma=32_000, said_ms=bench.now_ms))
    bench.advance(2_000)
    assert bench.pending() == {"A": 32}
    bench.settle()
    bench.advance(60_000)
    assert bench.limits == [], "once"


def test_who_is_urgent() -> None:
    bench = Bench(site([charger("A")]))

    def urgent(**values: Any) -> bool:
        bench.plug("A", **values)
        assert bench.actor._site is not None
        connector = bench.actor._site.connectors[0]
        assert connector.demand is not None
        return connector.demand.urgent(connector.leaf, bench.now_ms)

    soon_ms = bench.now_ms + MS_PER_HOUR
    assert urgent(need_wh=10_000, departure_ms=soon_ms)
    assert not urgent(
        need_wh=10_000, departure_ms=soon_ms, status=ConnectorStatus.SUSPENDED_EV, charging=False
    )
    assert not urgent(need_wh=10_000, departure_ms=soon_ms + 3 * MS_PER_HOUR)
    assert not urgent(need_wh=10_000)


def test_tiers_leave_room_on_both_sides() -> None:
    tiers = [tier_of(priority, step) for priority in range(10) for step in range(STEPS)]
    assert tiers == sorted(set(tiers)), "a priority goes before any urgency of the next"
    assert tiers[0] > TIER_BOOST
    assert tiers[-1] < TIER_HOLDING < 256
