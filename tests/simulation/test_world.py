"""The production actors in the deterministic world: a few seeds with every fault, one without, and
proof that the checkers see what they are there for."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import msgspec
import numpy as np
import pytest

from controlplane.errors import InvalidInput
from controlplane.network import FeederConfig
from controlplane.sim.checkers import AnswerChecker, EnergyChecker
from controlplane.sim.network_faults import FAULTS
from controlplane.sim.optimum import shortfalls
from controlplane.sim.row_checker import RowChecker
from controlplane.sim.vehicle import Draw
from controlplane.sim.violations import Violations
from controlplane.sim.virtual_quirks import Quirks
from controlplane.sim.world import World, run


def test_without_faults_vehicles_charge_and_nothing_is_violated() -> None:
    result = run(seed=1, hours=2.0, chargers=10, faults="none")
    assert result["violations"] == 0, result
    assert result["sessions"] > 5
    assert result["delivered_wh"] > 20_000
    assert result["utilisation_max"] > 0.7, "the rows must have been worth guarding"


@pytest.mark.parametrize("first", range(1, 51, 10))
def test_small_networks_with_every_fault_are_never_violated(first: int) -> None:
    for seed in range(first, first + 10):
        result = run(seed=seed, hours=0.75, chargers=6, faults="all")
        assert result["violations"] == 0, f"{result['details']}\nreplay: {result['replay']}"
        assert result["messages"] > 100


@pytest.mark.parametrize("fault", FAULTS)
def test_each_fault_alone_is_survived(fault: str) -> None:
    result = run(seed=7, hours=1.0, chargers=6, faults=fault)
    assert result["violations"] == 0, f"{result['details']}\nreplay: {result['replay']}"


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


def _row_checker(world: World, violations: Violations) -> RowChecker:
    sites = list(world.sites.values())
    feeder = FeederConfig(id="feeder0", power_max_w=10**6)
    return RowChecker(sites, [feeder], world.stations, violations, grace_ms=60_000)


def test_the_row_checker_sees_one_ampere_too_much_once() -> None:
    world, violations = _world(), Violations()
    site = world.sites["site0"]
    rows = _row_checker(world, violations)
    charger = site.chargers[0]
    station = world.stations[charger.id]
    panel_a = next(circuit.rating_a for circuit in site.circuits if circuit.id == charger.circuit)
    building_a = np.zeros((1, 3))

    def draw(current_a: float) -> None:
        station.outlet.draw = Draw(current_a=current_a, phases=1, power_w=0.0, energy_wh=0.0)
        rows.watch(station, station.outlet)

    draw(panel_a)
    rows.check(0, building_a)
    assert violations.found == []
    for at_ms in (1_000, 2_000):
        draw(panel_a + 1.0)
        rows.check(at_ms, building_a)
    assert [violation.at_ms for violation in violations.found] == [1_000]
    draw(0.0)
    building_a[0, 1] = site.supply.rating_a + 1.0
    rows.check(3_000, building_a)
    assert "supply L2" in violations.found[-1].detail


def test_what_may_be_drawn_counts_as_if_it_flowed() -> None:
    world, violations = _world(), Violations()
    rows = _row_checker(world, violations)
    outlet = world.stations["CP0"].outlet
    outlet.offered_a = outlet.promised_a = 1_000.0
    rows.watch(world.stations["CP0"], outlet)
    rows.check(0, np.zeros((1, 3)))
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
        rows.check(at_ms, np.zeros((1, 3)))
    assert [violation.rule for violation in violations.found] == [
        "no alarm about a station that lies"
    ]
    rows.alarmed.add("CP0")
    rows.check(200_000, np.zeros((1, 3)))
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
        rows.check(at_ms, np.zeros((1, 3)))
    assert "no room made for a lie" in {violation.rule for violation in violations.found}
    assert any("CP2 at 12 A" in violation.detail for violation in violations.found)


def test_the_oracle_sees_room_that_is_left_and_favours() -> None:
    world = _world()
    world.live(1.0)
    moment = world.moment()
    assert shortfalls(moment, lent=False) == {}
    outlet = next(
        outlet
        for station in world.stations.values()
        for outlet in station.outlets
        if outlet.vehicle is not None and outlet.vehicle.usable_a() > 6 and outlet.offered_a > 9
    )
    outlet.offered_a = 0.0
    words = shortfalls(moment, lent=False)
    assert any("left on all its rows" in each for each in words.values())


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
