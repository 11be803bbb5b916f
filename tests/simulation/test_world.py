"""The production actors in the deterministic world: a few seeds with every fault, one without, and
proof that the checkers see what they are there for."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import msgspec
import pytest

from controlplane.errors import InvalidInput
from controlplane.network import FeederConfig
from controlplane.sim.building import BuildingLoad
from controlplane.sim.buildings import Buildings
from controlplane.sim.checkers import AnswerChecker, EnergyChecker
from controlplane.sim.network_faults import FAULTS
from controlplane.sim.optimum import OptimumWatch, shortfalls
from controlplane.sim.row_checker import RowChecker
from controlplane.sim.vehicle import Draw, Vehicle, VehicleSpec
from controlplane.sim.violations import Violations
from controlplane.sim.virtual_quirks import Quirks
from controlplane.sim.wear import WearWatch
from controlplane.sim.world import World, run
from controlplane.units import MS_PER_HOUR


def test_without_faults_vehicles_charge_and_nothing_is_violated() -> None:
    result = run(seed=1, hours=2.0, chargers=10, faults="none")
    assert result["violations"] == 0, result
    assert result["sessions"] > 5
    assert result["delivered_wh"] > 20_000
    assert result["utilisation_max"] > 0.7, "the rows must have been worth guarding"


@pytest.mark.parametrize("first", range(1, 51, 5))
def test_small_networks_with_every_fault_are_never_violated(first: int) -> None:
    for seed in range(first, first + 5):
        result = run(seed=seed, hours=0.75, chargers=6, faults="all")
        assert result["violations"] == 0, f"{result['details']}\nreplay: {result['replay']}"
        assert result["messages"] > 100


@pytest.mark.parametrize("fault", FAULTS)
def test_each_fault_alone_is_survived(fault: str) -> None:
    result = run(seed=7, hours=1.0, chargers=6, faults=fault)
    assert result["violations"] == 0, f"{result['details']}\nreplay: {result['replay']}"


def test_sites_that_plan_are_never_violated_under_every_fault() -> None:
    for seed in range(1, 5):
        result = run(seed=seed, hours=0.75, chargers=6, faults="all", planned=True)
        assert result["violations"] == 0, f"{result['details']}\nreplay: {result['replay']}"
        assert result["delivered_wh"] > 1_000
    assert result["digest"] == run(seed=4, hours=0.75, chargers=6, planned=True)["digest"]


def test_a_seed_decides_everything_in_every_process() -> None:
    program = (
        "import json; from controlplane.sim.world import run;"
        "print(json.dumps(run(seed=5, hours=0.5, chargers=6)['digest']))"
    )
    digests = {
        subprocess.run(
            [sys.executable, "-c", program],
            env=os.environ | {"PYTHONHASHSEED": hash_seed},
            check=True,
            capture_output=True,
            timeout=60,
        ).stdout
        for hash_seed in ("1", "2")
    }
    assert digests == {json.dumps(run(seed=5, hours=0.5, chargers=6)["digest"]).encode() + b"\n"}
    assert run(seed=6, hours=0.5, chargers=6)["digest"] != json.loads(digests.pop())


@pytest.mark.parametrize("faults", ["drop,unknown", "", "ALL"])
def test_an_unknown_fault_is_refused_with_the_known_ones(faults: str) -> None:
    with pytest.raises(InvalidInput, match=r"known: .*drop"):
        run(seed=1, hours=1.0, faults=faults)


def _world() -> World:
    return World(seed=1, chargers=4, faults=frozenset())


def _row_checker(
    world: World, violations: Violations, hours_w: tuple[float, ...] = (0.0,)
) -> RowChecker:
    """Of a world whose only building draws so much at each full hour from the instant 0 on."""
    return RowChecker(
        list(world.sites.values()),
        [FeederConfig(id="feeder0", power_max_w=10**6)],
        world.stations,
        violations,
        buildings=Buildings([BuildingLoad(start_ms=0, hours_w=hours_w)]),
        grace_ms=60_000,
    )


def test_the_row_checker_sees_one_ampere_too_much_once() -> None:
    world, violations = _world(), Violations()
    site = world.sites["site0"]
    rows = _row_checker(world, violations)
    charger = site.chargers[0]
    station = world.stations[charger.id]
    panel_a = next(circuit.rating_a for circuit in site.circuits if circuit.id == charger.circuit)

    def draw(current_a: float) -> None:
        station.outlet.draw = Draw(current_a=current_a, phases=1, power_w=0.0, energy_wh=0.0)
        rows.watch(station, station.outlet)

    draw(panel_a)
    rows.check(0)
    rows.settle()
    assert violations.found == []
    for at_ms in (1_000, 2_000):
        draw(panel_a + 1.0)
        rows.check(at_ms)
    draw(0.0)
    assert [violation.at_ms for violation in violations.found] == [1_000]


def test_the_row_checker_sees_the_tick_at_which_a_building_takes_too_much() -> None:
    world, violations = _world(), Violations()
    full_w = world.sites["site0"].supply.rating_a * 230 * 3
    rows = _row_checker(world, violations, (0.0, 2 * full_w, 0.0))
    for at_ms in range(0, 2 * MS_PER_HOUR + 1_000, 1_000):
        rows.check(at_ms)
    rows.settle()
    # Half of the rise, and so much more as a checker takes for rounding.
    assert {violation.at_ms for violation in violations.found} == {1_801_000}
    assert "site0/supply L2" in violations.found[1].detail
    assert rows.utilisation_max == pytest.approx(2.0)


def test_the_highest_load_is_found_on_both_sides_of_a_full_hour() -> None:
    buildings = Buildings([BuildingLoad(start_ms=0, hours_w=(0.0, 690.0, 0.0))])
    around_ms = range(MS_PER_HOUR - 2_500, MS_PER_HOUR + 2_500, 1_000)
    assert buildings.highest_a(around_ms[0], around_ms[-1])[0, 0] == pytest.approx(1.0)
    assert buildings.highest_a(0, 1_800_000)[0, 0] == pytest.approx(0.5)


def test_what_may_be_drawn_counts_as_if_it_flowed() -> None:
    world, violations = _world(), Violations()
    rows = _row_checker(world, violations)
    outlet = world.stations["CP0"].outlet
    outlet.offered_a = outlet.promised_a = 1_000.0
    rows.watch(world.stations["CP0"], outlet)
    rows.check(0)
    rows.settle()
    assert {violation.rule for violation in violations.found} == {"row over its rating"}


def test_a_lie_is_no_fault_of_the_row_but_wants_an_alarm() -> None:
    world, violations = _world(), Violations()
    rows = _row_checker(world, violations)
    station = world.stations["CP0"]
    station.quirks, station.connection = Quirks(ignores=1.0), "CP0#1"
    outlet = station.outlet
    outlet.offered_a, outlet.promised_a = 1_000.0, 6.0
    outlet.draw = Draw(current_a=1_000.0, phases=1, power_w=0.0, energy_wh=0.0)
    rows.watch(station, outlet)
    for at_ms in range(0, 70_000, 1_000):
        rows.check(at_ms)
    assert [violation.rule for violation in violations.found] == [
        "no alarm about a station that lies"
    ]
    rows.alarmed.add("CP0")
    rows.check(200_000)
    rows.settle()
    assert len(violations.found) == 1


def test_room_that_nobody_makes_for_a_lie_is_seen() -> None:
    world, violations = _world(), Violations()
    rows = _row_checker(world, violations)
    rows.alarmed |= {"CP0"}
    liar, other = world.stations["CP0"], world.stations["CP2"]
    liar.quirks = Quirks(ignores=1.0)
    for station in (liar, other):
        station.connection = "open"
    liar.outlet.offered_a, liar.outlet.promised_a = 1_000.0, 6.0
    liar.outlet.draw = Draw(current_a=1_000.0, phases=3, power_w=0.0, energy_wh=0.0)
    other.outlet.offered_a = other.outlet.promised_a = 12.0
    for station in (liar, other):
        rows.watch(station, station.outlet)
    for at_ms in range(0, 200_000, 1_000):
        rows.check(at_ms)
    assert "no room made for a lie" in {violation.rule for violation in violations.found}
    assert any("CP2 at 12 A" in violation.detail for violation in violations.found)


def test_the_oracle_sees_room_that_is_left() -> None:
    world = _world()
    station = world.stations["CP0"]
    spec = VehicleSpec(battery_wh=60_000, current_max_a=16, current_min_a=6)
    station.plug(Vehicle(spec, soc=0.3, outlet_phases=len(station.outlet.spec.lines)), "CARD")
    station.outlet.offered_a = 16.0
    assert shortfalls(world.moment(), lent=False) == {}
    station.outlet.offered_a = 8.0
    assert "left on all its rows" in shortfalls(world.moment(), lent=False)["CP0/1"]


def test_the_oracle_sees_a_row_that_is_full() -> None:
    world = _world()
    station, charger = world.stations["CP0"], world.sites["site0"].chargers[0]
    spec = VehicleSpec(battery_wh=60_000, current_max_a=16, current_min_a=6)
    station.plug(Vehicle(spec, soc=0.3, outlet_phases=len(station.outlet.spec.lines)), "CARD")
    station.outlet.offered_a = 8.0
    full = world.sites["site0"].model_copy(
        update={
            "circuits": tuple(
                circuit.model_copy(update={"rating_a": 9.0})
                if circuit.id == charger.circuit
                else circuit
                for circuit in world.sites["site0"].circuits
            )
        }
    )
    world.sites["site0"] = full
    assert shortfalls(world.moment(), lent=False) == {}


def test_room_counts_as_left_once_the_meter_no_longer_shows_it_taken() -> None:
    world, violations = _world(), Violations()
    station = world.stations["CP0"]
    spec = VehicleSpec(battery_wh=60_000, current_max_a=16, current_min_a=6)
    station.plug(Vehicle(spec, soc=0.3, outlet_phases=len(station.outlet.spec.lines)), "CARD")
    station.outlet.offered_a = 8.0
    watch = OptimumWatch(
        "less than the optimum", violations, lent=False, within_ms=60_000, seldom_metered=True
    )
    watch.begin(0, world.moment())
    world.stations["CP2"].outlet.shows_excess = True
    watch.look(300_000, world.moment())
    world.stations["CP2"].outlet.shows_excess = False
    watch.look(360_000, world.moment())
    assert violations.found == []
    watch.look(361_000, world.moment())
    assert [violation.rule for violation in violations.found] == ["less than the optimum"]


def test_a_station_that_is_told_limits_in_turn_is_seen() -> None:
    world, violations = _world(), Violations()
    watch = WearWatch(world.stations, violations)
    watch.begin(0)
    for now_ms in range(0, 300_000, 5_000):
        world.stations["CP0"].told[1] += 2
        # What is told in the first minute settles what faults left behind.
        world.stations["CP1"].told[1] += 5 if now_ms < 60_000 else 0
        watch.look(now_ms)
    assert [str(each) for each in violations.found] == [
        "1970-01-01T00:01:35.000Z told too often: CP0/1 was told 14 limits within 35 s"
    ]
    assert watch.most == 24


def test_the_answer_checker_sees_silence_and_chatter() -> None:
    violations = Violations()
    answers = AnswerChecker(violations)
    answers.called("CP1#1", "a", 0)
    answers.called("CP1#1", "b", 0)
    answers.called("CP2#1", "c", 0)
    answers.answered("CP1#1", "a", 5)
    answers.closed("CP2#1")
    answers.check(60_000)
    assert [violation.rule for violation in violations.found] == ["not answered"]
    answers.answered("CP1#1", "a", 60_001)
    assert violations.found[-1].rule == "answered without being asked"


def test_the_energy_checker_sees_a_watt_hour_that_went_missing() -> None:
    world = _world()
    world.live(2.0)
    assert world.violations.found == []
    sessions = list(world.host.store.sessions.values())
    charged = next(session for session in sessions if session.energy_wh > 0)
    others = [session for session in sessions if session is not charged]

    def faults(*stored: object) -> list[str]:
        violations = Violations()
        EnergyChecker(violations).check(0, world.stations.values(), [*others, *stored])  # type: ignore[list-item]
        return [violation.rule for violation in violations.found]

    assert faults(charged) == []
    less = msgspec.structs.replace(charged, energy_wh=charged.energy_wh - 1)
    assert faults(less) == ["energy not conserved"]
    assert faults() == ["energy not conserved"]
    twice = msgspec.structs.replace(charged, session_id="again")
    assert faults(charged, twice) == ["energy not conserved"]
    invented = msgspec.structs.replace(charged, transaction_id="unheard-of")
    assert faults(charged, invented) == ["session without a transaction"]
