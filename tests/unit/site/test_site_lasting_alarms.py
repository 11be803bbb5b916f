"""What nobody announces: it is told because it lasts."""

from __future__ import annotations

from typing import Any

import pytest
from site_bench import Bench, charger, site

from controlplane.grid_events import CancelGridEvent, CreateGridEvent, GridEvent, GridEventKind

LOAD: dict[str, Any] = {"circuit": "supply", "stale_after_s": 60}
OCPP_METER = {"kind": "ocpp", "charger": "A"}


def messages(bench: Bench, alarm: str) -> list[tuple[str, bool]]:
    return [
        (event.data["message"], event.data["active"])
        for event in bench.events
        if event.data.get("alarm") == alarm
    ]


@pytest.mark.parametrize("load", [{}, {"meter": OCPP_METER, "assumed_a": 10}])
def test_a_meter_that_never_speaks_is_an_alarm_until_it_does(load: dict[str, Any]) -> None:
    bench = Bench(site([charger("A")], building_load=LOAD | load))
    bench.plug("A")
    bench.settle(50_000)
    assert bench.alarms() == []
    bench.settle(40_000)
    assert bench.alarms() == ["building_meter_unheard"]
    bench.crash()
    bench.online("A")
    bench.plug("A")
    bench.settle(20_000)
    assert len(messages(bench, "building_meter_unheard")) == 1, "it goes on after a crash"
    bench.building(10, 10, 10)
    bench.settle(5_000)
    assert bench.alarms() == []


def test_a_load_that_is_only_assumed_awaits_no_meter() -> None:
    bench = Bench(site([charger("A")], building_load=LOAD | {"assumed_a": 20}))
    bench.plug("A")
    bench.settle(200_000)
    assert bench.alarms() == []


def test_a_meter_that_was_just_moved_has_its_time_to_speak() -> None:
    panels = [{"id": "panel", "parent": "supply", "rating_a": 100}]
    bench = Bench(site([charger("A")], panels=panels, building_load=LOAD))
    bench.building(10, 10, 10)
    bench.plug("A")
    for _ in range(4):
        bench.settle(30_000)
        bench.building(10, 10, 10)
    bench.configure(site([charger("A")], panels=panels, building_load=LOAD | {"circuit": "panel"}))
    bench.settle(30_000)
    assert bench.alarms() == []


def test_a_charger_that_takes_no_default_profile_is_named() -> None:
    bench = Bench(site([charger("A", offline_a=6), charger("B", offline_a=6)], supply_a=40))
    bench.plug("A")
    bench.online("B", default_a=None)
    bench.settle(60_000)
    assert bench.alarms() == ["default_unknown"]
    (said,) = messages(bench, "default_unknown")
    assert said[0] == "B has not taken its default profile: it counts with its rating of 32 A"
    bench.online("B")
    bench.settle(5_000)
    assert bench.alarms() == []


def test_a_grid_event_that_cannot_be_met_is_an_alarm_until_it_ends() -> None:
    bench = Bench(site([charger("A")], building_load=LOAD | {"stale_after_s": 600}))
    bench.building(30, 30, 30)
    bench.plug("A")
    bench.settle(10_000)
    bench.ask(CreateGridEvent("peak", GridEventKind.LIMIT, 6_900), GridEvent)
    bench.settle(50_000)
    assert bench.alarms() == [], "letting go takes its time"
    bench.settle(40_000)
    assert bench.alarms() == ["grid_event_unmet"]
    (said,) = messages(bench, "grid_event_unmet")
    assert said[0] == (
        "grid event peak asks for no more than 6900 W, and up to 20700 W may still be drawn"
    )
    bench.ask(CancelGridEvent("peak"), GridEvent)
    bench.settle(5_000)
    assert bench.alarms() == []


def test_a_grid_event_that_is_met_is_none() -> None:
    bench = Bench(site([charger("A")]))
    bench.plug("A")
    bench.settle(10_000)
    bench.ask(CreateGridEvent("peak", GridEventKind.LIMIT, 6_900), GridEvent)
    bench.settle(200_000)
    assert bench.alarms() == []
