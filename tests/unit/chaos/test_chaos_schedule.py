"""What goes wrong follows from the seed alone."""

from __future__ import annotations

from itertools import islice

import pytest

from controlplane.chaos.schedule import CUTS, Fault, FaultKind, parse_kinds, schedule
from controlplane.errors import InvalidInput


def first(count: int, seed: int, kinds: frozenset[FaultKind] = frozenset(FaultKind)) -> list[Fault]:
    return list(islice(schedule(seed, kinds, nodes=3, hosts=2), count))


def test_a_seed_gives_the_same_faults_again_and_another_seed_others() -> None:
    assert first(200, 7) == first(200, 7)
    assert first(200, 7) != first(200, 8)


def test_two_hundred_faults_are_of_every_kind_and_strike_every_node_and_host() -> None:
    faults = first(200, 1)
    assert {fault.kind for fault in faults} == set(FaultKind)
    assert {(fault.node, fault.host) for fault in faults} == {
        (n, h) for n in (0, 1, 2) for h in (0, 1)
    }
    assert any(fault.on_top for fault in faults)
    assert not faults[0].on_top


def test_only_the_kinds_that_are_wanted_come() -> None:
    assert {fault.kind for fault in first(50, 1, CUTS)} == CUTS


def test_a_clock_is_set_back_and_forward() -> None:
    steps_s = {fault.step_s for fault in first(100, 1, frozenset({FaultKind.CLOCK_STEPPED}))}
    assert min(steps_s) < 0 < max(steps_s)
    assert 0 not in steps_s


def test_kinds_are_named() -> None:
    assert parse_kinds("all") == frozenset(FaultKind)
    assert parse_kinds("host_killed,node_cut") == {FaultKind.HOST_KILLED, FaultKind.NODE_CUT}
    with pytest.raises(InvalidInput, match="no such fault: earthquake"):
        parse_kinds("host_killed,earthquake")


def test_a_fault_tells_where_it_strikes_and_for_how_long() -> None:
    fault = Fault(4, FaultKind.HOST_FROZEN, 1, 0, lasts_s=3.25, pause_s=1.0, on_top=True)
    assert str(fault) == "4: host frozen, node 1, for 3.2 s, on top of the last one"
