"""Vehicles that feed in: who is asked to, how much, and when it ends."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from site_bench import Bench, charger, site

from controlplane.errors import Refusal
from controlplane.grid_events import CancelGridEvent, CreateGridEvent, GridEvent, GridEventKind
from controlplane.ids import ChargerId
from controlplane.network import SiteConfig
from controlplane.ocpp.commands import CommandState
from controlplane.ocpp.events import DischargeAbility
from controlplane.planning import Desk, Horizon, Meter, Node, Vehicle, solve
from controlplane.site.ledger import Entry
from controlplane.site.live import LiveConnector
from controlplane.site.messages import (
    FlexibilityOffer,
    GetFlexibility,
    GetPlan,
    PlanState,
    PlanView,
    SetCircuitLimit,
    SetConnectorLimit,
    SiteView,
    VehicleLimits,
)
from controlplane.units import MS_PER_HOUR

TERMS = {"credit_per_kwh": "0.30", "currency": "EUR"}
BUILDING_A = 40.0
BUILDING_W = 40 * 3 * 230


def vehicle(**values: Any) -> VehicleLimits:
    """Seventy kilowatt-hours that may be given back at 11 kW."""
    ability = DischargeAbility(power_max_w=values.pop("power_w", 11_040))
    return VehicleLimits(capacity_wh=70_000, discharge=ability, **values)


class Car:
    """A driver who agrees, unless told otherwise, with hours to spare."""

    def __init__(self, bench: Bench, id: str, **values: Any) -> None:
        self.bench, self.id = bench, id
        self.said = {
            "need_wh": 5_000,
            "departure_ms": bench.now_ms + 12 * MS_PER_HOUR,
            "vehicle": vehicle(),
            "reserve_percent": 40,
            **values,
        }
        bench.plug(id, **self.said)
        self.soc_percent = 80.0
        self.feed_a = 0.0
        self.measure()

    def says(self, **values: Any) -> None:
        self.said |= values
        self.bench.plug(self.id, **self.said)

    def measure(self) -> None:
        self.bench.meter(
            self.id,
            *(-self.feed_a for _ in range(3)),
            power_w=round(-self.feed_a * 690),
            soc_percent=self.soc_percent,
        )

    def limit_a(self) -> float | None:
        limit_ma = self.bench.connector(self.id).limit_ma
        return None if limit_ma is None else limit_ma / 1_000


def bench_of(*ids: str, **values: Any) -> Bench:
    chargers = [charger(name, current_max_a=32, current_min_a=6) for name in ids]
    bench = Bench(
        site(
            chargers,
            supply_a=values.pop("supply_a", 200),
            building_load={"circuit": "supply", "assumed_a": BUILDING_A, "stale_after_s": 600},
            **{"vehicle_to_grid": TERMS, **values},
        )
    )
    bench.building(BUILDING_A, BUILDING_A, BUILDING_A)
    return bench


def ask(bench: Bench, power_w: int, *, hours: int = 2, id: str = "E") -> None:
    """The grid wants the site to draw no more than this."""
    wish = CreateGridEvent(
        event_id=id,
        kind=GridEventKind.LIMIT,
        power_w=power_w,
        end_ms=bench.now_ms + hours * MS_PER_HOUR,
    )
    bench.ask(wish, GridEvent)


def live(bench: Bench, *cars: Car, rounds: int = 4) -> None:
    """Everybody obeys and is measured."""
    for _ in range(rounds):
        bench.settle(10_000)
        for car in cars:
            car.feed_a = max(0.0, -(car.limit_a() or 0.0))
            car.measure()


def test_what_pausing_does_not_give_is_fed_in_by_those_who_agreed() -> None:
    bench = bench_of("A", "B", "C")
    cars = [Car(bench, "A"), Car(bench, "B"), Car(bench, "C", reserve_percent=None)]
    bench.settle(40_000)
    ask(bench, BUILDING_W - 6_900)
    live(bench, *cars)
    fed_a = [car.feed_a for car in cars]
    assert fed_a[2] == 0
    assert sum(fed_a) * 690 == pytest.approx(6_900, rel=0.02)
    assert fed_a[0] == pytest.approx(fed_a[1], rel=0.02), "both can spare as much"
    assert cars[2].limit_a() == 0, "who has time is paused meanwhile"
    assert "feeds in" in bench.connector("A").reason
    assert "waits" in bench.connector("C").reason


def test_what_each_feeds_in_follows_what_it_can_spare() -> None:
    bench = bench_of("A", "B")
    cars = [Car(bench, "A", reserve_percent=60), Car(bench, "B", reserve_percent=40)]
    bench.settle(40_000)
    ask(bench, BUILDING_W - 6_900)
    live(bench, *cars)
    assert cars[1].feed_a == pytest.approx(2 * cars[0].feed_a, rel=0.1)


@pytest.mark.parametrize(
    "lacks",
    [
        {"reserve_percent": None},
        {"vehicle": VehicleLimits(capacity_wh=70_000)},
        {"vehicle": VehicleLimits(discharge=DischargeAbility(power_max_w=11_000))},
        {"need_wh": None},
        {"departure_ms": None},
        {"reserve_percent": 80},
    ],
    ids=["consent", "ability", "capacity", "need", "departure", "reserve"],
)
def test_nobody_feeds_in_of_whom_something_is_not_known(lacks: dict[str, Any]) -> None:
    bench = bench_of("A")
    car = Car(bench, "A", **lacks)
    bench.settle(40_000)
    ask(bench, BUILDING_W - 6_900)
    live(bench, car)
    assert car.limit_a() == 0


def test_a_site_without_terms_feeds_nothing_in() -> None:
    bench = bench_of("A", vehicle_to_grid=None)
    car = Car(bench, "A")
    bench.settle(40_000)
    ask(bench, BUILDING_W - 6_900)
    live(bench, car)
    assert car.limit_a() == 0


def test_time_to_charge_again_is_kept() -> None:
    """After the event it has half an hour, 22 kW for some minutes: 4 kWh can be charged again."""
    bench = bench_of("A")
    leaves_ms = bench.now_ms + 5 * MS_PER_HOUR // 2
    car = Car(bench, "A", need_wh=1, departure_ms=leaves_ms)
    bench.settle(40_000)
    ask(bench, BUILDING_W - 6_900)
    live(bench, car)
    assert car.feed_a > 9
    car.says(exported_wh=4_500)
    car.measure()
    bench.settle(5_000)
    assert car.limit_a() == 0


def test_who_would_not_be_ready_charges_on_and_others_feed_in_the_more() -> None:
    bench = bench_of("A", "B")
    cars = [Car(bench, "A"), Car(bench, "B", need_wh=18_000, reserve_percent=None)]
    cars[1].says(departure_ms=bench.now_ms + MS_PER_HOUR)
    bench.settle(40_000)
    bench.meter("B", 16, 16, 16, soc_percent=50)
    ask(bench, BUILDING_W - 2_300)
    for _ in range(8):
        live(bench, cars[0], rounds=1)
        limit_a = cars[1].limit_a() or 0
        bench.meter("B", *(limit_a for _ in range(3)), soc_percent=50)
    assert (cars[1].limit_a() or 0) >= 6, "it charges, though the building alone draws too much"
    assert cars[0].feed_a * 690 > 2_300 + 6 * 690 * 0.9


def test_an_empty_battery_gives_nothing_though_the_driver_keeps_no_reserve() -> None:
    bench = bench_of("A")
    car = Car(bench, "A", reserve_percent=0)
    car.soc_percent = 1.0
    car.measure()
    bench.settle(40_000)
    ask(bench, BUILDING_W - 6_900)
    live(bench, car)
    assert car.feed_a > 1
    car.soc_percent = 0.0
    live(bench, car)
    assert car.feed_a == 0


@pytest.mark.parametrize(
    "ending", ["cancelled", "withdrawn", "reserve", "limit", "circuit", "silent meter"]
)
def test_it_ends_at_once(ending: str) -> None:
    bench = bench_of("A")
    car = Car(bench, "A")
    bench.settle(40_000)
    ask(bench, BUILDING_W - 6_900)
    live(bench, car)
    assert car.feed_a > 9
    bench.limits.clear()
    if ending == "cancelled":
        bench.ask(CancelGridEvent("E"), GridEvent)
    elif ending == "withdrawn":
        car.says(reserve_percent=None)
    elif ending == "reserve":
        car.soc_percent = 40.0
        car.measure()
        bench.advance(1_500)
    elif ending == "limit":
        bench.ask(SetConnectorLimit(ChargerId("A"), 1, 0), SiteView)
    elif ending == "circuit":
        bench.ask(SetCircuitLimit("supply", 0), SiteView)
    else:
        bench.advance(95_000)
    assert bench.limits[0][1].limit_ma == 0


def test_a_station_that_is_away_counts_with_its_default_profile_at_once() -> None:
    chargers = [charger("A", offline_a=6), charger("B")]
    bench = Bench(
        site(
            chargers,
            building_load={"circuit": "supply", "assumed_a": BUILDING_A, "stale_after_s": 600},
            vehicle_to_grid=TERMS,
        )
    )
    bench.building(BUILDING_A, BUILDING_A, BUILDING_A)
    car = Car(bench, "A")
    bench.settle(40_000)
    ask(bench, BUILDING_W - 6_900)
    live(bench, car)
    assert car.feed_a > 9
    assert bench.counted_a("A") == 6, "what it may draw when it stops feeding in"
    bench.offline("A", default_a=6)
    assert bench.counted_a("A") == 6


def test_what_is_fed_in_is_never_netted_against_what_others_draw() -> None:
    """The supply has room for 20 A besides the building; that A gives 10 A makes it no more."""
    bench = bench_of("A", "B", supply_a=60)
    cars = [Car(bench, "A"), Car(bench, "B", reserve_percent=None, need_wh=30_000)]
    cars[1].says(departure_ms=bench.now_ms + MS_PER_HOUR)
    bench.settle(40_000)
    ask(bench, BUILDING_W - 6_900)
    for _ in range(6):
        live(bench, cars[0], rounds=1)
        bench.meter("B", *((cars[1].limit_a() or 0) for _ in range(3)), soc_percent=30)
        drawn_a = sum(bench.counted_a(name) for name in ("A", "B"))
        assert BUILDING_A + drawn_a <= 60
    assert bench.alarms() == []


def test_rows_for_export_are_kept_debit_before_credit() -> None:
    panel = {"id": "panel", "parent": "supply", "rating_a": 100, "export_a": 12}
    chargers = [charger("A", "panel"), charger("B", "panel")]
    bench = Bench(
        site(
            chargers,
            supply_a=200,
            panels=[panel],
            building_load={"circuit": "supply", "assumed_a": BUILDING_A, "stale_after_s": 600},
            vehicle_to_grid=TERMS,
        )
    )
    bench.building(BUILDING_A, BUILDING_A, BUILDING_A)
    cars = [Car(bench, "A")]
    bench.settle(40_000)
    ask(bench, 0)
    live(bench, *cars)
    assert cars[0].feed_a == 12
    bench.plug("B")
    bench.settle(3_000)
    cars.append(Car(bench, "B"))
    bench.answer()
    cars[1].measure()
    bench.advance(3_000)
    told = bench.pending()
    assert told["A"] == pytest.approx(-6, abs=0.2)
    assert told.get("B", 0) >= 0, "A has not confirmed yet"
    live(bench, *cars, rounds=6)
    assert sum(car.feed_a for car in cars) == pytest.approx(12, abs=0.2)
    assert cars[1].feed_a > 5
    assert bench.alarms() == ["grid_event_unmet"], "the row leaves less than the grid asks for"


def test_it_is_told_to_go_on_before_the_station_ends_it() -> None:
    bench = bench_of("A")
    car = Car(bench, "A")
    bench.settle(40_000)
    ask(bench, BUILDING_W - 6_900, hours=4)
    live(bench, car)
    held_s = []
    for _ in range(60):
        bench.advance(20_000)
        car.measure()
        held_s += [limit.hold_s for _, limit in bench.limits if limit.limit_ma < 0]
        bench.answer()
    assert len(held_s) >= 2
    assert all(hold_s is not None and 60 <= hold_s <= 900 for hold_s in held_s)


def test_a_plan_may_have_one_vehicle_feed_in(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = bench_of("A", "B")
    cars = [Car(bench, "A"), Car(bench, "B")]
    bench.settle(40_000)
    site_of = bench.actor._site
    assert site_of is not None

    def follow(connectors: list[LiveConnector], *_: object) -> None:
        if connectors[0].demand is not None:
            connectors[0].demand.target_ma = -8_000

    monkeypatch.setattr(site_of.targets, "follow", follow)
    live(bench, *cars)
    assert cars[0].feed_a == 8
    assert (cars[1].limit_a() or 0) > 0, "the others charge as they did"


def test_a_plan_feeds_in_while_power_is_dear_and_charges_again() -> None:
    """Six hours at 0.10, one at 0.90, five at 0.10; the need is there when it leaves."""
    bench = bench_of("A")
    car = Car(bench, "A", need_wh=5_000)
    site_of = bench.actor._site
    assert site_of is not None
    terms = site_of.feed.plan_terms(0, bench.now_ms)
    assert terms is not None
    car.says(reserve_percent=None)
    assert site_of.feed.plan_terms(0, bench.now_ms) is None
    prices = [Decimal("0.10")] * 6 + [Decimal("0.90")] + [Decimal("0.10")] * 5
    found = solve(
        Horizon(
            slots=12,
            slot_s=3_600,
            nodes=(Node(id="supply", import_ma=(32_000,) * 3, export_ma=(32_000,) * 3),),
            meters=(
                Meter(
                    id="m",
                    node="supply",
                    import_price_per_kwh=tuple(prices),
                    export_price_per_kwh=tuple(prices),
                    base_w=(BUILDING_W,) * 12,
                ),
            ),
            vehicles=(
                Vehicle(
                    id="A",
                    node="supply",
                    departure_s=12 * 3_600,
                    wear_price_per_kwh=Decimal(TERMS["credit_per_kwh"]),
                    **terms._asdict(),
                ),
            ),
        )
    )
    current_ma = found.current_ma["A"].tolist()
    assert current_ma[6] == -16_000
    assert min(current_ma[:6] + current_ma[7:]) >= 0, "no price but the peak's pays for the wear"
    charged_wh = sum(each for each in current_ma if each > 0) * 690 // 1_000
    assert charged_wh * 0.92 >= 5_000 + 11_040 / 0.8 - 50


def test_what_is_left_of_a_slot_is_fed_in_at_full_power() -> None:
    """It is 22:13, and the plan has its vehicle feed in until midnight: so it does, not only from
    the next slot on."""
    tariff = {
        "currency": "EUR",
        "import_price_per_kwh": "0.60",
        "export_price_per_kwh": "0.55",
        "periods": [
            {
                "hours": [{"from": "00:00", "to": "06:00"}],
                "import_price_per_kwh": "0.10",
                "export_price_per_kwh": "0.05",
            }
        ],
    }
    bench = bench_of("A", tariff=tariff)
    bench.desk = Desk()
    Car(bench, "A")
    bench.settle(20_000)
    view = bench.ask(GetPlan(), PlanView)
    assert view.start_ms is not None and bench.now_ms < view.start_ms + 900_000
    limit_ma = bench.connector("A").limit_ma
    assert limit_ma is not None and -16_000 <= limit_ma <= -15_800


@pytest.mark.parametrize(
    ("said", "energy_wh"),
    [
        pytest.param({"need_wh": 60_000}, 0, id="more than fits in"),
        pytest.param({"reserve_percent": 75}, 10_000, id="had more than it needs"),
        pytest.param(
            {"vehicle": VehicleLimits(need_wh=2**31), "need_wh": None, "reserve_percent": None},
            0,
            id="more than any battery holds",
        ),
        pytest.param({"departure_ms": 10**17}, 0, id="leaves in three million years"),
    ],
)
def test_whatever_one_driver_says_others_are_planned_for(
    said: dict[str, Any], energy_wh: int
) -> None:
    tariff = {"currency": "EUR", "import_price_per_kwh": "0.40"}
    tariff["periods"] = [  # type: ignore[assignment]
        {"hours": [{"from": "00:00", "to": "06:00"}], "import_price_per_kwh": "0.10"}
    ]
    bench = bench_of("A", "B", tariff=tariff)
    bench.desk = Desk()
    Car(bench, "A", **said)
    bench.meter("A", 0, 0, 0, soc_percent=80, energy_wh=energy_wh)
    bench.plug("B", need_wh=5_000, departure_ms=bench.now_ms + 9 * MS_PER_HOUR)
    bench.settle(40_000)
    view = bench.ask(GetPlan(), PlanView)
    assert (view.state, view.words) == (PlanState.FOLLOWED, "")
    assert "waits for cheaper power until 00:00" in bench.connector("B").reason


def test_a_credit_below_the_wear_is_refused() -> None:
    bench = bench_of("A")
    described = SiteConfig.model_validate_json(bench.view().config).model_dump(mode="json")
    described["vehicle_to_grid"] = {"credit_per_kwh": 0.02, "currency": "EUR"}
    with pytest.raises(ValueError, match="less than wear_per_kwh"):
        SiteConfig.model_validate(described)


# --- what is offered ----------------------------------------------------------------------------


def offered(bench: Bench, *, minutes: int) -> dict[str, tuple[int, int]]:
    found = bench.ask(GetFlexibility(minutes * 60_000), FlexibilityOffer)
    return {part.kind: (part.power_w, part.sessions) for part in found.parts}


def test_an_offer_is_who_can_wait_and_what_can_be_spared_for_so_long() -> None:
    bench = bench_of("A", "B", "C")
    Car(bench, "A", need_wh=20_000)
    Car(bench, "B", need_wh=20_000, reserve_percent=None)
    late = Car(bench, "C", need_wh=20_000, reserve_percent=None)
    late.says(departure_ms=bench.now_ms + MS_PER_HOUR)
    for name in ("A", "B", "C"):
        bench.meter(name, 16, 16, 16, soc_percent=80)
    short, long = offered(bench, minutes=60), offered(bench, minutes=600)
    assert short["pause"] == (2 * 16 * 690, 2), "C has no time to wait"
    assert short["feed_in"] == (11_040 - 11_040 % 69, 1)
    assert long["pause"][1] == 2
    assert long["feed_in"][0] < 2_600, "what is above the reserve, over ten hours"


def test_what_is_fed_in_already_is_not_on_offer_again() -> None:
    bench = bench_of("A", "B")
    cars = [Car(bench, name) for name in "AB"]
    bench.settle(40_000)
    whole = offered(bench, minutes=60)["feed_in"]
    ask(bench, BUILDING_W - 6_900)
    live(bench, *cars)
    fed_w = round(sum(car.feed_a for car in cars) * 690)
    assert fed_w >= 6_900
    left_w, sessions = offered(bench, minutes=60)["feed_in"]
    assert left_w == pytest.approx(whole[0] - fed_w, abs=70)
    assert sessions == 2
    ask(bench, BUILDING_W - whole[0], id="F")
    live(bench, *cars)
    assert offered(bench, minutes=60)["feed_in"][0] < 140, "a step or so of each"


def test_who_was_told_to_pause_is_not_on_offer_again() -> None:
    bench = bench_of("A", "B", vehicle_to_grid=None)
    cars = [Car(bench, name, need_wh=20_000) for name in "AB"]
    live(bench, *cars)
    for name in "AB":
        bench.meter(name, 16, 16, 16, soc_percent=80)
    assert offered(bench, minutes=60) == {"pause": (2 * 16 * 690, 2)}
    ask(bench, BUILDING_W + 16 * 690)
    bench.advance(1_000)
    assert offered(bench, minutes=60)["pause"][0] <= 16 * 690, "both still draw as before"


def test_an_offer_over_no_time_is_refused() -> None:
    bench = bench_of("A")
    assert bench.refused(GetFlexibility(60_000)).reason == "DURATION_INVALID"


def test_a_site_without_terms_offers_pauses_alone() -> None:
    bench = bench_of("A", vehicle_to_grid=None)
    Car(bench, "A", need_wh=20_000)
    bench.meter("A", 10, 10, 10, soc_percent=80)
    assert offered(bench, minutes=60) == {"pause": (6_900, 1)}


# --- the ledger -----------------------------------------------------------------------------------


def entry() -> Entry:
    account = Entry(hardware_ma=32_000, offline_ma=6_000)
    account.presence(online=True, settled=True, default_ma=6_000, now_ms=0)
    account.session("S")  # type: ignore[arg-type]
    return account


def outcome(account: Entry, limit_id: int, state: CommandState, *, now_ms: int) -> None:
    account.outcome(
        limit_id, state, superseded=False, now_ms=now_ms, backoff_ms=1, backoff_max_ms=10
    )


def test_more_counts_from_sending_and_less_once_it_is_seen() -> None:
    account = entry()
    account.sent(1, -10_000, now_ms=0)
    assert (account.feed_ma, account.liability_ma) == (10_000, 6_000)
    outcome(account, 1, CommandState.ACCEPTED, now_ms=1_000)
    account.metered(0, at_ms=30_000, now_ms=30_000, ramp_ms=30_000, confirms=True, fed_ma=9_800)
    assert account.proven_feed_ma(now_ms=30_000, fresh_ms=90_000) == 9_800
    account.sent(2, -4_000, now_ms=31_000)
    assert account.feed_ma == 10_000
    assert account.proven_feed_ma(now_ms=31_000, fresh_ms=90_000) == 4_000
    outcome(account, 2, CommandState.ACCEPTED, now_ms=32_000)
    assert account.feed_ma == 10_000, "the vehicle follows"
    account.metered(0, at_ms=34_000, now_ms=34_000, ramp_ms=30_000, confirms=True, fed_ma=4_000)
    assert account.feed_ma == 4_000


def test_an_end_that_failed_leaves_it_in_doubt() -> None:
    account = entry()
    account.sent(1, -10_000, now_ms=0)
    outcome(account, 1, CommandState.ACCEPTED, now_ms=1_000)
    account.sent(2, 0, now_ms=2_000)
    outcome(account, 2, CommandState.TIMED_OUT, now_ms=3_000)
    assert account.feed_ma == 10_000
    account.recovered()
    assert (account.feed_ma, account.liability_ma) == (10_000, 6_000)
    account.session(None)
    assert account.feed_ma == 0


def test_more_than_it_was_told_is_an_alarm() -> None:
    bench = bench_of("A")
    car = Car(bench, "A")
    bench.settle(40_000)
    ask(bench, BUILDING_W - 6_900)
    live(bench, car)
    car.feed_a += 4
    car.measure()
    bench.advance(2_000)
    assert bench.alarms() == ["limit_exceeded"]
    assert isinstance(bench.refused(CancelGridEvent("none")), Refusal)
