"""Grid events are brought into line with wishes, and nothing is done twice."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st
from openadr_events import at_ms

from controlplane.integrations.openadr.mapping import Kind, Wish
from controlplane.integrations.openadr.reconcile import (
    HORIZON_MS,
    OPEN_MAX,
    Creation,
    Held,
    Plan,
    grid_event_id,
    missing,
    plan,
)
from controlplane.integrations.openadr.timing import FOREVER_MS

NOW_MS = at_ms(12)
WISH = Wish(
    source="openadr:p/e/0",
    event_id="e",
    interval_id=0,
    payload_type="IMPORT_CAPACITY_LIMIT",
    version="1",
    priority=0,
    kind=Kind.LIMIT,
    power_w=100_000,
    start_ms=at_ms(13),
    end_ms=at_ms(14),
    immediate=False,
)
RUNNING = replace(WISH, start_ms=at_ms(11))


def taken_in(creation: Creation, *, now_ms: int = NOW_MS, baseline_w: int | None = None) -> Held:
    """What Loadstar makes of a creation."""
    assert creation.power_w is not None
    return Held(
        event_id=creation.event_id,
        source=creation.source,
        kind=creation.kind,
        power_w=creation.power_w,
        start_ms=now_ms if creation.start_ms is None else creation.start_ms,
        end_ms=FOREVER_MS if creation.end_ms is None else creation.end_ms,
        begun=creation.start_ms is None or creation.start_ms <= now_ms,
        baseline_w=baseline_w,
    )


def created(*wishes: Wish) -> list[Held]:
    return [taken_in(creation) for creation in plan(wishes, [], now_ms=NOW_MS).create]


def test_a_wish_to_come_is_created_as_it_is() -> None:
    (creation,) = plan([WISH], [], now_ms=NOW_MS).create
    assert (creation.start_ms, creation.end_ms) == (WISH.start_ms, WISH.end_ms)
    assert creation.event_id == grid_event_id(WISH)


def test_a_wish_that_has_begun_begins_at_once() -> None:
    (creation,) = plan([RUNNING], [], now_ms=NOW_MS).create
    assert (creation.start_ms, creation.end_ms) == (None, RUNNING.end_ms)


def test_a_wish_without_end_has_none() -> None:
    (creation,) = plan([replace(WISH, end_ms=FOREVER_MS)], [], now_ms=NOW_MS).create
    assert creation.end_ms is None


def test_what_is_past_or_far_away_is_left() -> None:
    past = replace(WISH, start_ms=at_ms(1), end_ms=NOW_MS)
    far = replace(WISH, source="far", start_ms=NOW_MS + HORIZON_MS, end_ms=FOREVER_MS)
    assert plan([past, far], [], now_ms=NOW_MS) == Plan(waiting=1)


def test_what_stands_is_left_alone() -> None:
    assert plan([WISH, RUNNING], created(WISH, RUNNING), now_ms=NOW_MS) == Plan()


def test_the_same_wish_written_anew_is_left_alone() -> None:
    anew = [replace(WISH, version="2"), replace(RUNNING, version="2", source="running")]
    held = created(WISH, replace(RUNNING, source="running"))
    assert plan(anew, held, now_ms=NOW_MS) == Plan()


def test_a_change_is_created_before_the_old_is_called_off() -> None:
    changed = replace(RUNNING, power_w=50_000, version="2")
    (old,) = created(RUNNING)
    found = plan([changed], [old], now_ms=NOW_MS, past={old.source: [old]})
    assert [creation.power_w for creation in found.create] == [50_000]
    assert [(each.event_id, each.replaced) for each in found.cancel] == [(old.event_id, True)]


def test_what_nobody_asks_for_is_called_off_and_restored() -> None:
    (old,) = created(WISH)
    (withdrawal,) = plan([], [old], now_ms=NOW_MS).cancel
    assert (withdrawal.event_id, withdrawal.replaced) == (old.event_id, False)


def test_what_is_not_known_stays() -> None:
    held = created(WISH)
    assert plan([], held, now_ms=NOW_MS, untouched={WISH.source}) == Plan()


def test_what_was_asked_last_and_is_over_is_not_begun_again() -> None:
    (closed,) = created(RUNNING)
    found = plan([RUNNING], [], now_ms=NOW_MS, past={RUNNING.source: [closed]})
    assert found == Plan(settled=(RUNNING,))


def test_what_came_back_after_something_else_is_created_under_another_id() -> None:
    (first,) = created(RUNNING)
    other = replace(first, event_id="openadr-other")
    found = plan([RUNNING], [], now_ms=NOW_MS, past={RUNNING.source: [first, other]})
    (creation,) = found.create
    assert creation.event_id == f"{grid_event_id(RUNNING)}.1"
    held = taken_in(creation)
    assert plan([RUNNING], [held], now_ms=NOW_MS) == Plan()
    again = plan([RUNNING], [], now_ms=NOW_MS, past={RUNNING.source: [first, other, held]})
    assert again.settled == (RUNNING,)


def test_a_reduction_that_is_changed_in_force_counts_from_its_old_baseline() -> None:
    wish = replace(RUNNING, kind=Kind.REDUCE_BY, power_w=40_000)
    old = taken_in(plan([wish], [], now_ms=NOW_MS).create[0], baseline_w=300_000)
    past = [old]
    for power_w in (60_000, 400_000):
        wish = replace(wish, power_w=power_w, version=str(power_w))
        (creation,) = plan([wish], [old], now_ms=NOW_MS, past={wish.source: past}).create
        assert (creation.kind, creation.power_w) == (Kind.REDUCE_BY, power_w)
        assert creation.baseline_w == 300_000
        old = taken_in(creation, baseline_w=creation.baseline_w)
        past.append(old)
        assert plan([wish], [old], now_ms=NOW_MS) == Plan()


def test_a_reduction_that_came_back_counts_from_what_is_drawn_then() -> None:
    wish = replace(RUNNING, kind=Kind.REDUCE_BY, power_w=40_000)
    old = taken_in(plan([wish], [], now_ms=NOW_MS).create[0], baseline_w=300_000)
    restored = replace(old, event_id=f"restore-{old.event_id}", kind=Kind.RESTORE)
    past = {wish.source: [old, restored]}
    (creation,) = plan([wish], [], now_ms=NOW_MS, past=past).create
    assert (creation.kind, creation.power_w) == (Kind.REDUCE_BY, 40_000)
    assert creation.event_id == f"{old.event_id}.1"


def test_one_that_begins_after_the_last_had_ended_counts_from_what_is_drawn_then() -> None:
    wish = replace(RUNNING, kind=Kind.REDUCE_BY, power_w=40_000)
    old = taken_in(plan([wish], [], now_ms=NOW_MS).create[0], baseline_w=300_000)
    ended = replace(old, start_ms=at_ms(1), end_ms=NOW_MS - 1)
    wish = replace(wish, version="later")
    (creation,) = plan([wish], [], now_ms=NOW_MS, past={wish.source: [ended]}).create
    assert creation.baseline_w is None


def test_room_is_left_for_others() -> None:
    wishes = [
        replace(WISH, source=f"s{number}", start_ms=WISH.start_ms - number)
        for number in range(OPEN_MAX + 7)
    ]
    found = plan(wishes, [], now_ms=NOW_MS)
    assert len(found.create) == OPEN_MAX
    assert found.waiting == 7
    starts = [creation.start_ms for creation in found.create]
    assert starts == sorted(starts, key=lambda start_ms: start_ms or 0), "the next ones first"


@given(
    st.lists(
        st.builds(
            lambda source, power_w, start, lasts, version, reduces: replace(
                WISH,
                source=f"s{source}",
                power_w=power_w,
                start_ms=at_ms(start),
                end_ms=at_ms(start + lasts),
                version=str(version),
                kind=Kind.REDUCE_BY if reduces else Kind.LIMIT,
            ),
            st.integers(0, 3),
            st.sampled_from([0, 10, 20]),
            st.sampled_from([10.0, 11.5, 12.5, 20.0]),
            st.sampled_from([1.0, 3.0]),
            st.integers(0, 1),
            st.booleans(),
        ),
        max_size=4,
        unique_by=lambda wish: wish.source,
    ),
    st.data(),
)
def test_one_step_is_enough_and_the_next_does_nothing(
    wishes: list[Wish], data: st.DataObject
) -> None:
    """Whatever was held before: after the changes every wish of the moment stands, and no other."""
    before = created(*data.draw(st.lists(st.sampled_from(wishes or [WISH]), max_size=3)))
    before = list({event.source: replace(event, power_w=7) for event in before}.values())
    past = {event.source: [event] for event in before}
    found = plan(wishes, before, now_ms=NOW_MS, past=past)
    cancelled = {each.event_id for each in found.cancel}
    after = [event for event in before if event.event_id not in cancelled]
    after += [taken_in(creation) for creation in found.create]
    assert {event.source for event in after} == {
        wish.source for wish in wishes if wish.end_ms > NOW_MS and wish not in found.settled
    }
    again = plan(wishes, after, now_ms=NOW_MS, past=past)
    assert (again.create, again.cancel) == ((), ())
    assert {wish.source for wish in missing(wishes, after, now_ms=NOW_MS)} == {
        wish.source for wish in found.settled
    }
