"""How long recovery took, by kind of fault, of whom the fault reached and nothing else struck."""

from __future__ import annotations

from controlplane.chaos.measures import Measures
from controlplane.chaos.reach import Affected
from controlplane.chaos.schedule import Fault, FaultKind


def fault(number: int, kind: FaultKind = FaultKind.NODE_CUT) -> Fault:
    return Fault(number, kind, node=0, host=0, lasts_s=0.0, pause_s=1.0, on_top=False)


def test_stations_that_must_dial_again_are_counted_apart() -> None:
    measures = Measures()
    measures.struck(fault(1))
    affected = Affected(all=frozenset({"A", "B", "C", "D"}), redialling=frozenset({"D"}))
    waited_s = {"A": 1.0, "B": 2.0, "C": 9.0, "D": 20.0}
    assert "3 waited 9.0 s at most" in measures.recovered(fault(1), affected, waited_s, 1)
    times = measures.times()
    assert times["recovery_timed"] == {"node_cut": 3}
    assert times["recovery_p50_s"] == {"node_cut": 2.0}
    assert times["recovery_p99_s"] == times["recovery_max_s"] == {"node_cut": 9.0}
    assert times["redial_p99_s"] == {"node_cut": 20.0}
    assert times["sockets_lost"] == {"node_cut": 1}


def test_what_another_fault_came_on_top_of_is_not_timed() -> None:
    measures = Measures()
    affected = Affected(all=frozenset({"A"}), redialling=frozenset())
    measures.struck(fault(1))
    measures.spoil()
    measures.struck(fault(2, FaultKind.HOST_KILLED))
    measures.recovered(fault(1), affected, {"A": 5.0}, 0)
    assert measures.counted()["faults"] == {"node_cut": 1, "host_killed": 1}
    assert measures.times()["recovery_timed"] == {}
