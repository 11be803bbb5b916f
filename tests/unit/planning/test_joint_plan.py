"""Sites below one feeder are planned together, and what each may plan with adds up."""

from __future__ import annotations

from decimal import Decimal

import msgspec
import numpy as np
import pytest

from controlplane.planning import Desk, Horizon, Meter, Node, PlanQuestion, Vehicle, solve
from controlplane.planning.joint import FeederAhead, Joint, SitePart, missing_wh

SLOT_MS = 900_000
START_MS = 1_700_000_100_000 // SLOT_MS * SLOT_MS
SLOTS = 16


def part(
    site: str,
    vehicles: int,
    *,
    need_wh: int,
    leaves: int,
    feeder: str = "street",
    prices: tuple[str, ...] = ("0.40",) * 8 + ("0.10",) * 8,
    lines: tuple[int, ...] = (1, 2, 3),
    load_ma: int = 0,
    start_ms: int = START_MS,
) -> SitePart:
    """Vehicles of 32 A that are there from the beginning and leave after so many slots."""
    horizon = Horizon(
        slots=SLOTS,
        slot_s=900,
        nodes=(Node(id="supply", kind="circuit", import_ma=(200_000,) * 3),),
        meters=(
            Meter(id="meter", node="supply", import_price_per_kwh=tuple(map(Decimal, prices))),
        ),
        vehicles=tuple(
            Vehicle(
                id=f"v{at}",
                node="supply",
                lines=lines,
                departure_s=leaves * 900,
                need_wh=need_wh,
                room_wh=need_wh,
                charge_permille=1_000,
            )
            for at in range(vehicles)
        ),
    )
    return SitePart(
        site_id=site,
        feeder_id=feeder,
        question=PlanQuestion(horizon=horizon, start_ms=start_ms),
        load_ma=(load_ma,) * SLOTS,
        able_ma=200_000,
    )


def feeder(
    name: str = "street", limit_a: int = 64, *, parent: str | None = None, kept_a: int = 0
) -> FeederAhead:
    return FeederAhead(
        feeder_id=name,
        parent=parent,
        voltage_v=230,
        start_ms=START_MS,
        limit_ma=(limit_a * 1_000,) * SLOTS,
        kept_ma=kept_a * 1_000,
    )


def shared(joint: Joint) -> tuple[np.ndarray, np.ndarray]:
    schedule = Desk().answer("test", joint.question()) if joint.binds else None
    planned_ma = joint.planned_ma(schedule)
    return planned_ma, joint.allotted_ma(planned_ma)


def test_who_leaves_first_has_the_feeder_first_and_it_costs_least() -> None:
    """64 A for twice two vehicles: those that leave after two hours need all of it in the dear
    hours, and the others can wait for the cheap ones."""
    parts = [
        part("early", 2, need_wh=40_000, leaves=8),
        part("late", 2, need_wh=40_000, leaves=16),
    ]
    joint = Joint("street", parts, {"street": feeder()}, START_MS)
    assert joint.binds
    schedule = Desk().answer("test", joint.question())
    assert not schedule.shortfalls
    assert schedule.cost == pytest.approx(80 * 0.40 + 80 * 0.10, rel=2e-3)
    planned_ma = joint.planned_ma(schedule)
    assert planned_ma[1, :8].max() < 4_000
    alone = part("early", 2, need_wh=40_000, leaves=8).question.horizon
    half = Node(id="supply", import_ma=(32_000,) * 3)
    short = solve(msgspec.structs.replace(alone, nodes=(half,)))
    assert sum(each.missing_wh for each in short.shortfalls) > 30_000, "with half of it each"


def test_allotments_hold_the_plan_and_never_more_than_the_feeder() -> None:
    parts = [
        part("early", 2, need_wh=40_000, leaves=8, load_ma=2_000),
        part("late", 2, need_wh=40_000, leaves=16),
    ]
    joint = Joint("street", parts, {"street": feeder(kept_a=10)}, START_MS)
    planned_ma, allotted_ma = shared(joint)
    assert (allotted_ma >= planned_ma).all()
    assert (allotted_ma.sum(axis=0) <= 54_000).all()
    assert (allotted_ma.sum(axis=0) >= 53_990).all(), "what is left over is lent"


def test_where_nothing_can_be_full_nothing_is_planned() -> None:
    parts = [part(name, 2, need_wh=40_000, leaves=8) for name in ("one", "other")]
    joint = Joint("street", parts, {"street": feeder(limit_a=200)}, START_MS)
    assert not joint.binds
    _, allotted_ma = shared(joint)
    assert allotted_ma.tolist() == [[100_000] * SLOTS] * 2


def test_a_feeder_below_another_keeps_to_both() -> None:
    parts = [
        part("a", 2, need_wh=40_000, leaves=16, feeder="lane"),
        part("b", 2, need_wh=40_000, leaves=16, feeder="lane"),
        part("c", 2, need_wh=40_000, leaves=16, feeder="town"),
    ]
    feeders = {
        "town": feeder("town", 110),
        "lane": feeder("lane", 70, parent="town", kept_a=4),
    }
    joint = Joint("town", parts, feeders, START_MS)
    planned_ma, allotted_ma = shared(joint)
    assert (allotted_ma >= planned_ma).all()
    assert (allotted_ma[:2].sum(axis=0) <= 66_000).all()
    assert (allotted_ma.sum(axis=0) <= 106_000).all()
    assert (joint.below_ma("town", planned_ma) <= 110_000).all()


def test_uneven_lines_are_cut_to_what_the_feeder_counts() -> None:
    """A feeder counts every site with its fullest line; a plan by lines may be too much for it."""
    parts = [
        part("one", 1, need_wh=25_000, leaves=16, lines=(1,)),
        part("two", 1, need_wh=25_000, leaves=16, lines=(2,)),
    ]
    joint = Joint("street", parts, {"street": feeder(limit_a=40)}, START_MS)
    _, allotted_ma = shared(joint)
    assert (allotted_ma.sum(axis=0) <= 40_000).all()
    assert allotted_ma.min() >= 8_000


def test_what_was_said_in_an_earlier_slot_is_moved() -> None:
    """Half of the last slot has gone by as well: what is left of it carries half as much."""
    parts = [
        part("fresh", 2, need_wh=20_000, leaves=8, start_ms=START_MS),
        part("older", 2, need_wh=20_000, leaves=8, start_ms=START_MS - 2 * SLOT_MS),
    ]
    joint = Joint("street", parts, {"street": feeder()}, START_MS + SLOT_MS // 2)
    assert joint.slots == SLOTS - 2
    older = joint.horizons[1]
    assert {each.departure_s for each in older.vehicles} == {6 * 900}
    assert {each.arrival_s for each in older.vehicles} == {450}
    assert older.meters[0].import_price_per_kwh[:7] == (Decimal("0.40"),) * 6 + (Decimal("0.10"),)
    schedule = Desk().answer("test", joint.question())
    assert (joint.below_ma("street", joint.planned_ma(schedule)) <= 64_010).all()


def test_shortfalls_are_told_by_site() -> None:
    parts = [
        part("early", 4, need_wh=40_000, leaves=8),
        part("late", 1, need_wh=10_000, leaves=16),
    ]
    joint = Joint("street", parts, {"street": feeder()}, START_MS)
    lacking = missing_wh(Desk().answer("test", joint.question()))
    assert list(lacking) == ["early"]
    assert sum(lacking["early"]) == pytest.approx(160_000 - 64 * 0.69 * 2_000, rel=0.02)


def test_a_site_whose_clock_is_ahead_is_planned_for_from_now_on() -> None:
    parts = [
        part("here", 2, need_wh=20_000, leaves=8),
        part("ahead", 2, need_wh=20_000, leaves=8, start_ms=START_MS + SLOT_MS),
    ]
    joint = Joint("street", parts, {"street": feeder()}, START_MS + SLOT_MS - 1_000)
    assert joint.slots == SLOTS
    planned_ma, allotted_ma = shared(joint)
    assert (allotted_ma[:, 1:] >= planned_ma[:, 1:]).all()
    assert (allotted_ma.sum(axis=0) <= 64_000).all()
