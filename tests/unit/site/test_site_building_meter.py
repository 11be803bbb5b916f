"""The building's load from meters: a charger's own, one that speaks OCPP, one that sees the whole
supply; and meters that lie, repeat themselves or fall silent."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from site_bench import Bench, charger, site

from controlplane.charger.messages import ChargerAssigned
from controlplane.ids import ChargerId
from controlplane.network import SiteConfig
from controlplane.site.building import building_from_supply, line_currents
from controlplane.site.messages import ConnectorMetered, LoadTaken, ReportBuildingLoad

MAIN = {"kind": "ocpp", "charger": "A"}
PUSHED = {"circuit": "supply", "stale_after_s": 60}


def metered(**values: Any) -> Bench:
    building = {"circuit": "supply", "meter": MAIN} | values.pop("building", {})
    return Bench(site([charger("A"), charger("B")], building_load=building, **values))


def main_meter(
    bench: Bench,
    *currents_a: float | None,
    power_w: int | None = None,
    at_ms: int | None = None,
    id: str = "A",
    connector_id: int = 0,
) -> None:
    padded = [None if each is None else int(each * 1_000) for each in currents_a]
    padded += [None] * (3 - len(padded))
    bench.tell(
        ConnectorMetered(
            ChargerId(id),
            connector_id,
            bench.now_ms if at_ms is None else at_ms,
            (padded[0], padded[1], padded[2]),
            power_w,
            None,
            None,
        )
    )


def building_a(bench: Bench) -> list[float]:
    return [each / 1_000 for each in bench.view().circuits[0].building_ma]


def test_the_main_meter_of_a_charger_tells_the_buildings_load() -> None:
    bench = metered()
    main_meter(bench, 100, 90, 80)
    assert building_a(bench) == [100, 90, 80]
    main_meter(bench, 50, 50, 50, id="B")
    assert building_a(bench) == [100, 90, 80], "another charger's meter is none of the building's"
    bench.plug("B")
    bench.settle(5_000)
    assert bench.connector("B").limit_ma == 32_000
    main_meter(bench, 150, 90, 80)
    assert bench.pending() == {"B": 10}, "a rise is answered at once"


def test_a_dedicated_meter_that_speaks_ocpp() -> None:
    meter = {"id": "M", "circuit": "supply", "meter_only": True}
    described = site(
        [charger("A"), meter],
        building_load={"circuit": "supply", "meter": {"kind": "ocpp", "charger": "M"}},
    )
    bench = Bench(described)
    assert len(bench.view().connectors) == 1
    main_meter(bench, 40, 30, 20, id="M", connector_id=1)
    assert building_a(bench) == [40, 30, 20], "whatever it calls its one connector"


def test_power_without_currents_may_flow_on_any_line() -> None:
    bench = metered()
    main_meter(bench, power_w=6_900)
    assert building_a(bench) == [30, 30, 30]
    main_meter(bench, 10, None, None, power_w=6_900)
    assert building_a(bench) == [30, 30, 30], "the same stamp: the larger of both counts"
    bench.advance(1_000)
    main_meter(bench, 10, None, None, power_w=6_900)
    assert building_a(bench) == [10, 20, 20]
    balanced = metered(building={"meter": MAIN | {"balanced": True}})
    main_meter(balanced, power_w=6_900)
    assert building_a(balanced) == [10, 10, 10]


@given(
    currents=st.tuples(*[st.none() | st.integers(0, 100_000)] * 3),
    hidden=st.tuples(*[st.integers(0, 100_000)] * 3),
)
def test_lines_are_never_counted_below_what_flows(
    currents: tuple[int | None, int | None, int | None], hidden: tuple[int, int, int]
) -> None:
    true_ma = [
        each if known is None else known for known, each in zip(currents, hidden, strict=True)
    ]
    power_w = -(-sum(true_ma) * 230 // 1_000)
    found = line_currents(currents, power_w, voltage_v=230, balanced=False)
    assert found is not None
    assert all(counted >= true for counted, true in zip(found, true_ma, strict=True))


def test_a_sample_of_energy_alone_says_nothing() -> None:
    bench = metered()
    main_meter(bench, 10, 10, 10)
    bench.advance(1_000)
    main_meter(bench)
    assert building_a(bench) == [10, 10, 10]


def test_the_charger_that_reads_the_meter_is_told_so() -> None:
    described = site([charger("A"), charger("B")], building_load={"circuit": "supply"})
    bench = Bench(described)
    bench.sent.clear()
    bench.configure(described | {"building_load": {"circuit": "supply", "meter": MAIN}})
    told = [(send.to.id, send.message) for send in bench.sent]
    assert [charger_id for charger_id, _ in told] == ["A"]
    assert isinstance(told[0][1], ChargerAssigned)
    assert told[0][1].main_meter_interval_s == 15, "four times before it is stale"


# --- a meter of the whole supply ------------------------------------------------------------------

SUPPLY = {"circuit": "supply", "stale_after_s": 60, "measures": "supply"}


def test_chargers_are_taken_off_a_meter_that_sees_them() -> None:
    bench = Bench(site([charger("A"), charger("B")], building_load=SUPPLY))
    bench.plug("A")
    bench.settle(35_000)
    bench.meter("A", 30, 30, 30)
    bench.advance(1_000)
    bench.building(50, 45, 40)
    assert building_a(bench) == [20, 15, 10]


def test_a_charger_without_a_sample_is_not_taken_off() -> None:
    bench = Bench(site([charger("A")], building_load=SUPPLY))
    bench.plug("A")
    bench.settle(35_000)
    bench.building(50, 45, 40)
    assert building_a(bench) == [50, 45, 40]
    bench.meter("A", 30, 30, 30)
    bench.advance(1_000)
    bench.building(50, 45, 40)
    assert building_a(bench) == [20, 15, 10]
    bench.advance(80_000)
    bench.building(50, 45, 40)
    assert building_a(bench) == [50, 45, 40], "a sample of long ago proves nothing"


def test_a_raise_does_not_look_like_a_building_that_rises() -> None:
    """Between a raise and the next sample the meter shows what nobody has explained yet."""
    bench = Bench(site([charger("A"), charger("B")], supply_a=60, building_load=SUPPLY))
    bench.plug("B")
    bench.settle(35_000)
    bench.meter("B", 32, 32, 32)
    bench.building(42, 42, 42)
    assert building_a(bench) == [10, 10, 10]
    bench.plug("A")
    bench.answer()
    bench.meter("A", 0, 0, 0)
    bench.settle(40_000)
    for _ in range(5):
        bench.meter("B", 25, 25, 25)
        bench.advance(5_000)
        bench.building(60, 60, 60)
    assert building_a(bench) == [10, 10, 10], "A may draw 25 A of it"
    bench.meter("A", 25, 25, 25)
    bench.advance(1_000)
    bench.building(65, 65, 65)
    assert building_a(bench) == [15, 15, 15], "now the building must have risen"


def test_what_the_sun_hides_is_added() -> None:
    bench = Bench(
        site([charger("A")], building_load=SUPPLY, solar={"mode": "off", "power_max_w": 13_800})
    )
    bench.building(10, 10, 10)
    assert building_a(bench) == [30, 30, 30], "nobody knows of the sun: it may all be hidden"
    bench.advance(1_000)
    bench.sun(6_900)
    bench.building(10, 10, 10)
    assert building_a(bench) == [20, 20, 20]


@given(
    building=st.tuples(*[st.integers(0, 50_000)] * 3),
    draws=st.lists(
        st.tuples(st.integers(0, 32_000), st.integers(0, 5_000), st.integers(0, 5_000)), max_size=6
    ),
    before=st.none() | st.tuples(*[st.integers(0, 50_000)] * 3),
)
def test_the_estimate_lies_between_what_meters_allow(
    building: tuple[int, int, int],
    draws: list[tuple[int, int, int]],
    before: tuple[int, int, int] | None,
) -> None:
    """Where every charger draws between its least and its most, the estimate errs by no more than
    these differ, and by nothing where they agree."""
    flows = sum(each for each, _, _ in draws)
    supply = (building[0] + flows, building[1] + flows, building[2] + flows)
    ranges = [((max(0, ma - less),) * 3, (ma + more,) * 3) for ma, less, more in draws]
    found = building_from_supply(supply, (0, 0, 0), ranges, before)
    spread = sum(min(ma, less) + more for ma, less, more in draws)
    for line in range(3):
        assert found[line] >= 0
        assert abs(found[line] - building[line]) <= spread
        if before is None:
            assert found[line] >= building[line]


# --- meters that lie or fall silent ---------------------------------------------------------------


def running(**building: Any) -> Bench:
    """A alone draws 32 A beside a building of 20 A, and B has just come."""
    bench = Bench(site([charger("A"), charger("B")], supply_a=60, building_load=PUSHED | building))
    bench.building(20, 20, 20)
    bench.plug("A")
    bench.settle(5_000)
    return bench


def test_a_fast_clock_does_not_keep_a_silent_meter_fresh() -> None:
    bench = running()
    bench.building(20, 20, 20, at_ms=bench.now_ms + 50_000)
    bench.advance(61_000)
    assert bench.view().building_load_stale
    assert bench.alarms() == ["building_meter_stale"]


def test_a_meter_whose_clock_was_ahead_is_heard_once_it_is_right() -> None:
    bench = running()
    bench.building(20, 20, 20, at_ms=bench.now_ms + 50_000)
    bench.advance(5_000)
    bench.building(10, 10, 10)
    assert building_a(bench) == [10, 10, 10]


def test_a_slow_clock_makes_a_meter_stale() -> None:
    bench = running()
    for _ in range(13):
        bench.advance(5_000)
        bench.building(5, 5, 5, at_ms=bench.now_ms - 120_000)
    assert bench.view().building_load_stale
    assert building_a(bench) == [20, 20, 20]


def test_a_meter_that_repeats_its_stamp_grows_stale() -> None:
    bench = running()
    at_ms = bench.now_ms
    for load_a in (20, 25, 5):
        bench.building(load_a, load_a, load_a, at_ms=at_ms)
        bench.advance(5_000)
    assert building_a(bench) == [25, 25, 25], "the worst of what it said of that moment"
    bench.advance(50_000)
    assert bench.view().building_load_stale


@pytest.mark.parametrize("kind", ["pushed", "ocpp"])
def test_a_stale_meter_raises_nobody_until_it_speaks_again(kind: str) -> None:
    meter = {"meter": MAIN} if kind == "ocpp" else {}
    bench = Bench(site([charger("A"), charger("B")], supply_a=60, building_load=PUSHED | meter))

    def tell(load_a: float) -> None:
        if kind == "ocpp":
            main_meter(bench, load_a, load_a, load_a)
        else:
            bench.building(load_a, load_a, load_a)

    tell(30)
    bench.plug("A")
    bench.settle(5_000)
    assert bench.connector("A").limit_ma == 30_000
    bench.settle(62_000)
    assert bench.view().building_load_stale
    bench.unplug("A")
    bench.plug("B")
    bench.settle(10_000)
    assert bench.connector("B").target_ma == 0
    assert bench.connector("B").reason == "building meter is stale: nobody is raised"
    tell(30)
    bench.settle(5_000)
    assert bench.connector("B").limit_ma == 30_000
    assert bench.alarms() == []


# --- descriptions ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("meter", "words"),
    [
        ({"kind": "ocpp", "charger": "X"}, "unknown charger 'X'"),
        ({"kind": "ocpp", "charger": "A", "connector": 1}, "feeds a vehicle"),
        ({"kind": "mbus"}, "mbus"),
        ({"kind": "modbus", "host": "m", "registers": {"l1": 0, "l2": 2}}, "l3"),
        (
            {
                "kind": "modbus",
                "host": "m",
                "registers": {"l1": 0, "l2": 2, "l3": 4},
                "interval_s": 60,
            },
            "lower interval_s",
        ),
        (
            {"kind": "modbus", "host": "m", "registers": {"l1": 0, "l2": 2, "l3": 65_535}},
            "two registers",
        ),
    ],
)
def test_a_meter_that_cannot_be_is_named(meter: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        SiteConfig.model_validate(
            site([charger("A")], building_load={"circuit": "supply", "meter": meter})
        )


def test_a_report_needs_a_described_building() -> None:
    bench = Bench(site([charger("A")]))
    refused = bench.refused(ReportBuildingLoad(bench.now_ms, (0, 0, 0)))
    assert refused.reason == "BUILDING_LOAD_UNDESCRIBED"


def test_a_report_whose_answer_nobody_reads_is_answered_in_few_words() -> None:
    bench = Bench(site([charger("A")], building_load={"circuit": "supply"}))
    taken = bench.ask(ReportBuildingLoad(bench.now_ms, (7_000, 0, 0), view=False), LoadTaken)
    assert taken.site_id == bench.view().site_id
    assert building_a(bench) == [7, 0, 0]
