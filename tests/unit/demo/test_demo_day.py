"""The demonstration's day: what it is made of, that its judge can find fault, and how it looks."""

from __future__ import annotations

import asyncio
import io
from dataclasses import dataclass, replace
from itertools import pairwise

import pytest
from rich.console import Console

from controlplane.demo.audit import Audit, StoredSession
from controlplane.demo.grounds import Grounds
from controlplane.demo.reports import SessionReport, SiteReport
from controlplane.demo.scenario import Scenario, make_scenario
from controlplane.demo.view import Scene, line, picture, render
from controlplane.errors import InvalidInput
from controlplane.network import NetworkConfig
from controlplane.network_yaml import dump_network

HOUR_MS = 3_600_000
NOWHERE = "ws://127.0.0.1:9/ocpp"


@dataclass
class HandClock:
    """A clock that is set by hand."""

    at_ms: int
    speed: float
    may_jump = False

    def now_ms(self) -> int:
        return self.at_ms


@pytest.fixture(scope="module")
def scenario() -> Scenario:
    return make_scenario(duration_s=180, seed=1)


def test_the_day_is_the_same_for_everybody_who_asks(scenario: Scenario) -> None:
    assert make_scenario(duration_s=180, seed=1) == scenario
    assert make_scenario(duration_s=180, seed=2).visits != scenario.visits


def test_a_late_start_puts_off_the_whole_day(scenario: Scenario) -> None:
    late = make_scenario(duration_s=180, seed=1, late_ms=60_000)
    assert (late.start_ms, late.end_ms) == (scenario.start_ms + 60_000, scenario.end_ms + 60_000)
    assert late.clock_start_ms == scenario.clock_start_ms
    assert late.network == scenario.network
    for before, after in zip(scenario.visits, late.visits, strict=True):
        assert after.arrival_ms == before.arrival_ms + 60_000
        assert after.departure_ms == before.departure_ms + 60_000
        assert after.could_take_wh == before.could_take_wh
    at_ms = scenario.start_ms + HOUR_MS
    office, put_off = scenario.buildings["office"], late.buildings["office"]
    assert put_off.power_w(at_ms + 60_000) == office.power_w(at_ms)


def test_the_network_is_what_the_demonstration_promises(scenario: Scenario) -> None:
    office, depot = scenario.network.sites
    assert len(scenario.network.feeders) == 1
    assert len(office.chargers) == 10
    assert set(scenario.version_of.values()) == {"1.6", "2.0.1"}
    assert {charger.current_type for charger in depot.chargers} == {"ac", "dc"}
    assert {charger.limit_unit for charger in office.chargers} == {"A", "W"}
    lines = {charger.connectors[0].phases for charger in office.chargers}
    assert len([phases for phases in lines if len(phases) == 1]) == 3
    parking = next(circuit for circuit in office.circuits if circuit.id == "parking")
    full_a = sum(
        charger.connectors[0].current_max_a
        for charger in office.chargers
        if "L1" in charger.connectors[0].phases
    )
    assert parking.rating_a == full_a / 2
    assert NetworkConfig.model_validate(scenario.network.model_dump()) == scenario.network
    assert "feeder-1" in dump_network(scenario.network)


@pytest.mark.parametrize("seed", range(5))
def test_visits_are_real_possible_and_one_after_the_other(seed: int) -> None:
    scenario = make_scenario(duration_s=180, seed=seed)
    assert len([visit for visit in scenario.visits if visit.leaves_in_time]) >= 20
    for visit in scenario.visits:
        assert scenario.start_ms <= visit.arrival_ms < visit.departure_ms <= scenario.end_ms
        assert 0 < visit.arrival_soc < 1
        assert visit.could_take_wh > 0
    for charger_id in scenario.version_of:
        here = sorted(
            (visit for visit in scenario.visits if visit.charger_id == charger_id),
            key=lambda visit: visit.arrival_ms,
        )
        assert all(before.departure_ms < after.arrival_ms for before, after in pairwise(here))


def test_all_ten_are_there_at_once(scenario: Scenario) -> None:
    at_ms = scenario.start_ms + HOUR_MS
    present = [
        visit
        for visit in scenario.visits
        if visit.site_id == "office" and visit.arrival_ms <= at_ms < visit.departure_ms
    ]
    assert len(present) == 10


def test_a_short_demonstration_shows_a_shorter_day() -> None:
    short = make_scenario(duration_s=30, seed=1)
    assert short.end_ms - short.start_ms == 4 * HOUR_MS
    assert not all(visit.leaves_in_time for visit in short.visits)
    with pytest.raises(InvalidInput):
        make_scenario(duration_s=1, seed=1)


async def uncontrolled(scenario: Scenario, *, hours: int) -> tuple[Audit, dict[str, SiteReport]]:
    """The day at both sites with nobody who limits anything: no line ever comes up."""
    audit = Audit(scenario)
    reports: dict[str, SiteReport] = {}
    for site in scenario.network.sites:
        clock = HandClock(scenario.start_ms, scenario.speed)
        grounds = Grounds(scenario, site.id, url=NOWHERE, clock=clock, seed=1, patience_s=0)
        while clock.at_ms < scenario.start_ms + hours * HOUR_MS:
            clock.at_ms += round(100 * scenario.speed)
            report = grounds.tick()
            audit.observe(report)
        reports[site.id] = report
    return audit, reports


async def test_without_control_the_judge_finds_the_overload(scenario: Scenario) -> None:
    audit, _ = await uncontrolled(scenario, hours=2)
    assert audit.overloads > 0
    assert audit.max_row_utilisation > 1.3
    assert audit.faults


async def test_the_judge_knows_who_got_what(scenario: Scenario) -> None:
    _, reports = await uncontrolled(scenario, hours=12)
    sessions = [session for report in reports.values() for session in report.sessions]
    verdicts = Audit(scenario).verdicts(sessions)
    assert len(sessions) == len(scenario.visits)
    # Nobody was held back, so everybody got what was asked for or what the vehicle could take.
    late = [verdict for verdict in verdicts if verdict.visit.leaves_in_time and not verdict.met]
    assert not late
    none = Audit(scenario).verdicts([])
    assert not any(verdict.met for verdict in none)


def test_differences_between_the_books_are_named() -> None:
    session = SessionReport("CP", 1, "EV1", "7", 0, 1, 1_000)
    stored = StoredSession("CP", "7", ended=True, energy_wh=1_000)
    assert Audit.reconcile([session], [stored]) == []
    for books, complaint in (
        ([], "lost"),
        ([replace(stored, energy_wh=999)], "999 Wh stored"),
        ([replace(stored, ended=False)], "active"),
        ([stored, replace(stored, transaction_id="8")], "never was"),
    ):
        (difference,) = Audit.reconcile([session], books)
        assert complaint in difference


@pytest.mark.parametrize(("width", "height"), [(100, 36), (60, 20), (40, 10), (200, 60)])
def test_the_view_fits_the_terminal(scenario: Scenario, width: int, height: int) -> None:
    audit, reports = asyncio.run(uncontrolled(scenario, hours=1))
    now_ms = scenario.start_ms + HOUR_MS
    scene = Scene(scenario, audit, now_ms=now_ms, reports=reports)
    output = io.StringIO()
    console = Console(file=output, width=width, height=height, color_system=None)
    console.print(render(scene, width=width, height=height))
    rows = output.getvalue().splitlines()
    assert max(len(row) for row in rows) <= width
    assert "08:00" in output.getvalue()
    if (width, height) in ((100, 36), (200, 60)):
        assert len(rows) <= height
        assert "OFFICE-10" in output.getvalue()
        assert "DEPOT-06" in output.getvalue()
    assert "office" in line(scene)


def test_the_view_has_something_to_show_before_the_first_report(scenario: Scenario) -> None:
    scene = Scene(scenario, Audit(scenario), now_ms=scenario.clock_start_ms)
    drawn = picture(scene, width=100, height=36)
    assert "Office" in drawn
    assert "http" not in drawn.replace("http://www.w3.org/2000/svg", "").replace(
        "https://www.textualize.io", ""
    )
    console = Console(file=io.StringIO(), width=100, height=36)
    console.print(render(scene, width=100, height=36))
    assert "starting" in line(scene)
