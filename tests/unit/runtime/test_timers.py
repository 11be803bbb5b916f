from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from controlplane.ids import ActorKind, ActorRef
from controlplane.runtime.timers import Timers

A, B = ActorRef(ActorKind.SITE, "A"), ActorRef(ActorKind.SITE, "B")


def test_timers_fire_once_in_order() -> None:
    timers = Timers()
    timers.set(A, "late", 30)
    timers.set(B, "early", 10)
    timers.set(A, "same", 10)
    assert timers.next_ms() == 10
    assert timers.due(9, 100) == []
    assert timers.due(10, 100) == [(B, "early"), (A, "same")]
    assert timers.due(100, 100) == [(A, "late")]
    assert timers.due(1_000, 100) == []
    assert timers.next_ms() is None


def test_as_many_fire_as_are_wanted_and_the_others_next() -> None:
    timers = Timers()
    for at_ms, key in ((3, "c"), (1, "a"), (2, "b")):
        timers.set(A, key, at_ms)
    assert timers.due(10, 2) == [(A, "a"), (A, "b")]
    assert timers.next_ms() == 3
    assert timers.due(10, 2) == [(A, "c")]


def test_setting_again_replaces() -> None:
    timers = Timers()
    timers.set(A, "x", 10)
    timers.set(A, "x", 50)
    assert timers.due(20, 100) == []
    assert timers.due(50, 100) == [(A, "x")]


def test_dropping_an_actor_drops_its_timers_only() -> None:
    timers = Timers()
    timers.set(A, "x", 10)
    timers.set(A, "y", 10)
    timers.set(B, "x", 10)
    timers.drop(A)
    assert len(timers) == 1
    assert timers.due(10, 100) == [(B, "x")]


steps = st.lists(
    st.tuples(
        st.sampled_from(["set", "cancel", "drop", "due"]),
        st.sampled_from([A, B]),
        st.sampled_from(["x", "y", "z"]),
        st.integers(0, 100),
    ),
    max_size=60,
)


@given(steps)
def test_behaves_like_a_dictionary_of_instants(steps: list[tuple[str, ActorRef, str, int]]) -> None:
    timers = Timers()
    expected: dict[tuple[ActorRef, str], int] = {}
    for step, ref, key, instant in steps:
        match step:
            case "set":
                timers.set(ref, key, instant)
                expected[ref, key] = instant
            case "cancel":
                timers.cancel(ref, key)
                expected.pop((ref, key), None)
            case "drop":
                timers.drop(ref)
                expected = {entry: at for entry, at in expected.items() if entry[0] != ref}
            case "due":
                due = {entry for entry, at in expected.items() if at <= instant}
                assert set(timers.due(instant, 100)) == due
                expected = {entry: at for entry, at in expected.items() if entry not in due}
        assert len(timers) == len(expected)


def test_replaced_timers_do_not_pile_up() -> None:
    timers = Timers()
    for instant in range(100_000):
        timers.set(A, "round", instant)
    assert len(timers._heap) < 5_000
    assert timers.due(100_000, 100) == [(A, "round")]
