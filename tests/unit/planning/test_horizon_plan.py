"""Plans with names in and sentences out."""

from collections.abc import Callable
from decimal import Decimal

import msgspec
import pytest

from controlplane.errors import InvalidInput
from controlplane.planning import (
    Cap,
    DemandCharge,
    Horizon,
    Meter,
    Node,
    Schedule,
    ShortfallReason,
    Vehicle,
    solve,
)

DEAR, CHEAP = Decimal("0.30"), Decimal("0.10")


def _horizon(*vehicles: Vehicle) -> Horizon:
    """A panel of 32 A for four hours, of which the last two are cheap."""
    return Horizon(
        slots=4,
        slot_s=3_600,
        nodes=(
            Node(id="S1", kind="site", import_ma=(63_000,) * 3),
            Node(id="P1", parent="S1", kind="panel", import_ma=(32_000,) * 3),
        ),
        meters=(Meter(id="M1", node="S1", import_price_per_kwh=(DEAR, DEAR, CHEAP, CHEAP)),),
        vehicles=vehicles,
    )


def _vehicle(name: str = "V1", **given: object) -> Vehicle:
    usual = {"node": "P1", "departure_s": 14_400, "need_wh": 10_000, "room_wh": 30_000}
    return msgspec.convert({"id": name, **usual, **given}, Vehicle)


def test_energy_is_drawn_in_the_cheap_hours() -> None:
    plan = solve(_horizon(_vehicle()))
    drawn_ma = plan.current_ma["V1"]
    assert drawn_ma[:2].sum() == 0
    assert drawn_ma[2:].sum() * 690 * 0.92 / 1e6 == pytest.approx(10, abs=0.001)
    assert plan.cost == pytest.approx(10 / 0.92 * 0.10, rel=2e-3)
    assert plan.gap <= 1e-3
    assert plan.shortfalls == ()


def test_a_demand_charge_spreads_what_is_drawn() -> None:
    horizon = _horizon(_vehicle())
    charge = DemandCharge(price_per_kw=Decimal(15), so_far_w=2_000)
    meter = msgspec.structs.replace(horizon.meters[0], demand=(charge,))
    plan = solve(msgspec.structs.replace(horizon, meters=(meter,)))
    drawn_w = plan.current_ma["V1"] * 690 / 1_000
    assert drawn_w.max() == pytest.approx(10_000 / 0.92 / 4, rel=0.01)


def test_a_grid_event_is_kept_and_has_a_price() -> None:
    horizon = _horizon(_vehicle(need_wh=40_000, room_wh=60_000))
    event = Cap(from_slot=2, until_slot=4, import_ma=(8_000,) * 3)
    nodes = (msgspec.structs.replace(horizon.nodes[0], caps=(event,)), horizon.nodes[1])
    plan = solve(msgspec.structs.replace(horizon, nodes=nodes))
    assert plan.current_ma["V1"][2:].max() <= 8_000
    assert plan.row_price("S1", 1)[2:].sum() > 0
    assert plan.row_price("P1", 1).sum() == pytest.approx(0, abs=1e-3)


def test_what_is_missing_is_said_with_its_reason() -> None:
    horizon = _horizon(
        _vehicle("short stay", departure_s=1_800, need_wh=20_000),
        _vehicle("crowded", arrival_s=3_600, max_ma=64_000, need_wh=90_000, room_wh=99_000),
        _vehicle("choosy", need_wh=5_000, tier=1),
    )
    penalties = (Decimal(10), Decimal("0.01"))
    plan = solve(msgspec.structs.replace(horizon, tier_penalties_per_kwh=penalties))
    told = {each.vehicle: each for each in plan.shortfalls}
    assert told["short stay"].reason is ShortfallReason.STAY
    assert told["crowded"].reason is ShortfallReason.ROW
    assert "panel P1 is full phase L" in told["crowded"].words
    assert told["choosy"].missing_wh == 5_000


@pytest.mark.parametrize("hours", [1, 2, 4])
@pytest.mark.parametrize("late", [0, 900])
def test_a_battery_that_takes_less_as_it_fills_needs_a_longer_stay(hours: int, late: int) -> None:
    """Alone, at all that its battery takes; with four hours it is nearly full, and with less need
    it is ready."""
    vehicle = _vehicle(
        arrival_s=late,
        departure_s=hours * 3_600,
        need_wh=30_000,
        taper_from_wh=5_000,
        taper_ma=500,
    )
    plan = solve(_horizon(vehicle))
    (short,) = plan.shortfalls
    assert short.words.endswith("its stay is too short even at full power")
    enough = msgspec.structs.replace(vehicle, need_wh=30_000 - short.missing_wh - 200)
    assert solve(_horizon(enough)).shortfalls == ()
    scarce = msgspec.structs.replace(enough, tier=1)
    horizon = _horizon(scarce)
    penalties = (Decimal(10), Decimal("0.01"))
    horizon = msgspec.structs.replace(horizon, tier_penalties_per_kwh=penalties)
    (short,) = solve(horizon).shortfalls
    assert short.reason is ShortfallReason.PRICE


def test_a_vehicle_feeds_in_when_that_pays_and_leaves_as_full_as_it_must() -> None:
    horizon = _horizon(_vehicle(need_wh=0, discharge_ma=16_000, spare_wh=5_000))
    nodes = tuple(msgspec.structs.replace(node, export_ma=(32_000,) * 3) for node in horizon.nodes)
    sells = (Decimal("0.29"), Decimal("0.29"), Decimal("0.05"), Decimal("0.05"))
    meter = msgspec.structs.replace(horizon.meters[0], export_price_per_kwh=sells)
    horizon = msgspec.structs.replace(horizon, nodes=nodes, meters=(meter,))
    plan = solve(horizon)
    assert plan.cost < 0
    assert plan.current_ma["V1"][:2].sum() * 690 / 0.92 / 1e6 == pytest.approx(-5, abs=0.01)
    assert plan.current_ma["V1"][2:].sum() * 690 * 0.92 / 1e6 == pytest.approx(5, abs=0.01)
    below_reserve = _vehicle(need_wh=0, discharge_ma=16_000, spare_wh=-1)
    kept = solve(msgspec.structs.replace(horizon, vehicles=(below_reserve,)))
    assert kept.current_ma["V1"].min() == 0


def test_a_row_that_carries_no_more_of_what_is_fed_in_has_a_price() -> None:
    horizon = _horizon(_vehicle(need_wh=0, room_wh=0, discharge_ma=16_000, spare_wh=20_000))
    panel = msgspec.structs.replace(horizon.nodes[1], export_ma=(4_000,) * 3)
    site = msgspec.structs.replace(horizon.nodes[0], export_ma=(63_000,) * 3)
    meter = msgspec.structs.replace(
        horizon.meters[0], export_price_per_kwh=(DEAR, CHEAP, Decimal(0), Decimal(0))
    )
    horizon = msgspec.structs.replace(horizon, nodes=(site, panel), meters=(meter,))
    told = Schedule.of(solve(horizon), 0)
    assert told.rows == ()
    assert {(row.node, row.line) for row in told.export_rows} <= {("P1", n) for n in (1, 2, 3)}
    worth = sum(row.price[0] for row in told.export_rows)
    # An ampere more on all lines for the dearest hour, drawn again in a cheap one with both losses.
    assert worth == pytest.approx(0.690 * (0.30 - 0.10 / 0.92**2), rel=0.02)


def test_the_last_plan_serves_the_next_by_name() -> None:
    many = [_vehicle(f"V{n}", need_wh=4_000 + 500 * n, arrival_s=300 * n) for n in range(8)]
    first = solve(_horizon(*many))
    others = _horizon(_vehicle("new", need_wh=3_000), *reversed(many))
    warm, cold = solve(others, last=first), solve(others)
    assert warm.bound <= cold.cost + 1e-9
    assert cold.bound <= warm.cost + 1e-9
    later = solve(_horizon(*many), last=first, slots_since=1)
    assert later.gap <= 1e-3


def test_a_long_chain_of_plans_does_not_lead_astray() -> None:
    def horizon(vehicles: int, moved: int) -> Horizon:
        price = (CHEAP,) * 40 + (DEAR,) * 56
        peak = DemandCharge(price_per_kw=Decimal(100), so_far_w=60_000)
        return Horizon(
            slots=96,
            slot_s=300,
            nodes=(Node(id="S1", power_max_w=150_000),),
            meters=(Meter(id="M1", node="S1", import_price_per_kwh=price, demand=(peak,)),),
            vehicles=tuple(
                _vehicle(
                    f"V{n}",
                    node="S1",
                    lines=(1,),
                    voltage_v=208,
                    departure_s=300 * (30 + (7 * n + moved) % 60),
                    need_wh=8_000 + 500 * (n % 9),
                    room_wh=8_000 + 500 * (n % 9),
                    charge_permille=1_000,
                )
                for n in range(vehicles)
            ),
            tier_penalties_per_kwh=(DEAR,),
            late_price_per_kwh=Decimal("0.000002"),
        )

    last, widest = None, 0.0
    for moved in range(110):
        few_or_many = 1 + moved % 2 if moved < 80 else 50 + moved % 3
        last = solve(horizon(few_or_many, moved), last=last, gap=3e-4, steps=400)
        widest = max(widest, last.gap)
    assert widest <= 0.05


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (lambda h: _replaced(h, "vehicles", need_wh=40_000), "vehicle 'V1': need_wh is 40000"),
        (lambda h: _replaced(h, "vehicles", node="P9"), "vehicle 'V1': there is no node 'P9'"),
        (lambda h: _replaced(h, "vehicles", departure_s=0), "vehicle 'V1': departure_s is 0"),
        (lambda h: _replaced(h, "vehicles", lines=(1, 1)), "vehicle 'V1': lines are"),
        (lambda h: _replaced(h, "meters", base_w=(1,)), "meter 'M1': base_w has 1 slots of 4"),
        (
            lambda h: _replaced(h, "meters", export_price_per_kwh=(DEAR, DEAR, DEAR, CHEAP)),
            "meter 'M1' slot 2: export_price is 300000, must be",
        ),
        (lambda h: _replaced(h, "nodes", import_ma=(-1, 0, 0)), "node 'S1' L1 slot 0: import_ma"),
        (lambda h: _replaced(h, "nodes", parent="P1"), "node_parent"),
        (lambda h: _replaced(h, "vehicles", max_ma=2**63), "vehicle 'V1': max_ma is 9"),
        (lambda h: _replaced(h, "nodes", power_max_w=-(2**70)), "node 'S1' slot 0: import_w is -9"),
        (lambda h: _replaced(h, "meters", base_w=(2**64,) * 4), "meter 'M1' slot 0: base_w is 9"),
        (lambda h: msgspec.structs.replace(h, slots=10**12), "slots is 1000000000000, must be"),
        (lambda h: msgspec.structs.replace(h, slot_s=2**64), "slot_s is 18446744073709551616"),
        (
            lambda h: _replaced(h, "nodes", caps=(Cap(from_slot=3, until_slot=5),)),
            "node 'S1': there are no slots 3 to 5",
        ),
    ],
)
def test_what_is_impossible_is_refused_by_name(
    spoil: Callable[[Horizon], Horizon], told: str
) -> None:
    spoilt = spoil(_horizon(_vehicle()))
    with pytest.raises(InvalidInput) as refused:
        solve(spoilt)
    assert told in refused.value.message


@pytest.mark.parametrize(
    "effort",
    [
        {"timeout_s": float("nan")},
        {"timeout_s": -1.0},
        {"gap": float("nan")},
        {"gap": -1e-3},
        {"steps": -1},
        {"steps": 2**32},
        {"threads": 0},
        {"threads": 1_000_000},
    ],
)
def test_an_effort_that_cannot_be_is_refused_by_name(effort: dict[str, float]) -> None:
    with pytest.raises(InvalidInput) as refused:
        solve(_horizon(_vehicle()), **effort)  # type: ignore[arg-type]
    assert f"{next(iter(effort))} is " in refused.value.message


def _replaced(horizon: Horizon, what: str, **changes: object) -> Horizon:
    """The horizon with its first node, meter or vehicle changed."""
    first, *others = getattr(horizon, what)
    changed = msgspec.structs.replace(first, **changes)
    return msgspec.structs.replace(horizon, **{what: (changed, *others)})
