"""A wish of the grid, from its receipt to what became of it."""

from __future__ import annotations

import msgspec
import pytest

from controlplane.actor import Effect, Emit, Persist
from controlplane.errors import Refusal
from controlplane.grid_events import (
    BASELINE_MS,
    EVENTS_MAX,
    LATE_MAX_MS,
    SAMPLES_MAX,
    CancelGridEvent,
    CreateGridEvent,
    GridEvent,
    GridEventKind,
    GridEvents,
    GridEventState,
    Observation,
)
from controlplane.ids import ActorKind, ActorRef
from controlplane.store.records import GridEventRecord

REF = ActorRef(ActorKind.FEEDER, "north")
START_MS = 1_700_000_040_000
MINUTE_MS = 60_000


class Book:
    """The events of one target, and a meter that the test turns."""

    def __init__(self) -> None:
        self.events = GridEvents()
        self.ref = REF
        self.now_ms = START_MS
        self.measured_w = 0
        self.allowed_w = 0
        self.told: list[str] = []
        self.records: dict[str, GridEvent] = {}

    def take(self, effects: list[Effect]) -> None:
        for effect in effects:
            match effect:
                case Emit(kind=kind):
                    self.told.append(kind.removeprefix("grid.event_"))
                case Persist(record=GridEventRecord() as record):
                    event = msgspec.json.decode(record.event, type=GridEvent)
                    assert record.open == event.open
                    self.records[record.event_id] = event

    def create(
        self,
        id: str,
        kind: GridEventKind = GridEventKind.LIMIT,
        power_w: int | None = 0,
        **values: object,
    ) -> GridEvent | Refusal:
        wish = CreateGridEvent(id, kind, power_w, **values)  # type: ignore[arg-type]
        answer, effects = self.events.answer(wish, self.ref, self.now_ms)
        self.take(effects)
        self.advance()
        return answer

    def advance(self, duration_ms: int = 0) -> None:
        self.now_ms += duration_ms
        self.take(self.events.advance(self.seen(), self.ref))

    def observe(self, *, reducing: bool = False) -> None:
        self.take(self.events.observe(self.seen(reducing=reducing), self.ref))

    def seen(self, *, reducing: bool = False) -> Observation:
        return Observation(self.now_ms, self.measured_w, self.allowed_w, reducing)

    def run(self, duration_ms: int, *, every_ms: int = 5_000) -> None:
        for _ in range(duration_ms // every_ms):
            self.now_ms += every_ms
            self.take(self.events.advance(self.seen(), self.ref))
            self.observe()


def test_a_limit_is_followed_from_its_receipt_to_the_meter() -> None:
    book = Book()
    book.measured_w = book.allowed_w = 80_000
    book.create("a", power_w=50_000)
    book.observe(reducing=True)
    assert book.events.limit_w() == 50_000
    book.now_ms += 2_000
    book.allowed_w = 50_000
    book.observe()
    book.now_ms += 3_000
    book.measured_w = 49_000
    book.observe()
    book.now_ms += 1_000
    book.measured_w = 51_000
    book.observe()
    event = book.events.get("a")
    assert event is not None
    assert event.state is GridEventState.MET
    assert (event.received_ms, event.applied_ms) == (START_MS, START_MS)
    assert (event.acknowledged_ms, event.met_ms) == (START_MS + 2_000, START_MS + 5_000)
    assert (event.measured_w, event.measured_max_w) == (51_000, 51_000), "what came later shows"
    assert book.told == ["created", "started", "applied", "acknowledged", "met"]
    assert book.records["a"].state is GridEventState.MET


def test_where_nothing_is_to_be_reduced_everything_is_reached_at_once() -> None:
    book = Book()
    book.measured_w, book.allowed_w = 10_000, 40_000
    book.create("a", power_w=50_000)
    book.observe()
    assert book.told == ["created", "started", "applied", "acknowledged", "met"]


def test_a_reduction_is_against_the_quarter_hour_before_and_frozen() -> None:
    book = Book()
    book.measured_w = 90_000
    book.run(BASELINE_MS)
    book.measured_w = 30_000
    book.run(BASELINE_MS // 3)
    book.create("a", GridEventKind.REDUCE_BY, 20_000)
    event = book.events.get("a")
    assert event is not None
    # Ten minutes at 90 kW and five at 30 kW, give or take the step in which it changed.
    assert event.baseline_w == pytest.approx(70_000, rel=0.01)
    assert event.limit_w == (event.baseline_w or 0) - 20_000
    book.measured_w = 10_000
    book.run(BASELINE_MS)
    assert event.baseline_w == pytest.approx(70_000, rel=0.01), "stays as it was at the start"
    assert event.reduced_wh == pytest.approx(60_000 / 4, rel=0.02)


def test_a_reduction_is_counted_from_the_baseline_that_was_agreed_on() -> None:
    book = Book()
    book.measured_w = 40_000
    book.run(BASELINE_MS)
    book.create("a", GridEventKind.REDUCE_BY, 60_000, baseline_w=100_000)
    book.run(BASELINE_MS)
    event = book.events.get("a")
    assert event is not None
    assert (event.baseline_w, event.limit_w) == (100_000, 40_000)
    assert event.reduced_wh == pytest.approx(15_000, rel=0.01), "60 kW for a quarter of an hour"


def test_a_reduction_by_more_than_is_drawn_asks_to_feed_in_the_rest() -> None:
    book = Book()
    book.measured_w = 5_000
    book.create("a", GridEventKind.REDUCE_BY, 20_000)
    assert book.events.limit_w() == -15_000


def test_an_increase_is_met_when_so_much_more_is_drawn_and_limits_nothing() -> None:
    book = Book()
    book.ref = ActorRef(ActorKind.SITE, "depot")
    book.measured_w = 10_000
    book.run(BASELINE_MS)
    book.create("a", GridEventKind.INCREASE_BY, 20_000)
    event = book.events.get("a")
    assert event is not None
    assert (event.aim_w, event.limit_w, book.events.limit_w()) == (30_000, None, None)
    assert book.events.aim_w() == 30_000
    book.observe()
    assert event.applied_ms is None and event.met_ms is None
    book.measured_w = book.allowed_w = 29_700
    book.run(BASELINE_MS)
    assert event.state is GridEventState.MET
    assert event.increased_wh == pytest.approx(19_700 / 4, rel=0.02)
    assert event.reduced_wh == 0


def test_only_a_site_can_be_asked_for_more() -> None:
    refused = Book().create("a", GridEventKind.INCREASE_BY, 20_000)
    assert isinstance(refused, Refusal) and refused.reason == "INCREASE_NOT_POSSIBLE"


def test_the_lowest_limit_in_force_counts() -> None:
    book = Book()
    book.create("a", power_w=50_000)
    book.create("b", power_w=30_000, start_ms=START_MS + MINUTE_MS, end_ms=START_MS + 2 * MINUTE_MS)
    assert book.events.limit_w() == 50_000
    assert book.events.next_due_ms(book.now_ms) is not None
    book.advance(MINUTE_MS)
    assert book.events.limit_w() == 30_000
    book.advance(MINUTE_MS)
    assert book.events.limit_w() == 50_000
    assert book.records["b"].state is GridEventState.ENDED
    assert book.records["b"].finished_ms == book.now_ms


def test_restore_ends_what_the_same_source_asked() -> None:
    book = Book()
    book.create("a", power_w=50_000, source="utility")
    book.create("b", power_w=60_000, source="aggregator")
    book.create("c", power_w=70_000, source="utility", start_ms=START_MS + MINUTE_MS)
    book.create("d", GridEventKind.RESTORE, None, source="utility")
    assert book.events.limit_w() == 60_000
    assert book.records["a"].state is GridEventState.ENDED
    assert book.records["c"].state is GridEventState.SCHEDULED, "a plan for later stands"
    book.create("e", GridEventKind.RESTORE, None)
    assert book.events.limit_w() is None
    assert [each.event_id for each in book.events.events] == ["c"]


def test_what_is_called_off_before_it_began_never_was_in_force() -> None:
    book = Book()
    book.create("a", power_w=0, start_ms=START_MS + MINUTE_MS)
    _, effects = book.events.answer(CancelGridEvent("a"), REF, book.now_ms)
    book.take(effects)
    book.advance(2 * MINUTE_MS)
    assert book.events.limit_w() is None
    assert book.told == ["created", "cancelled"]
    answer, effects = book.events.answer(CancelGridEvent("a"), REF, book.now_ms)
    assert isinstance(answer, Refusal)
    assert (answer.reason, effects) == ("EVENT_UNKNOWN", [])


def test_long_events_keep_few_samples_of_their_whole_course() -> None:
    book = Book()
    book.create("a", power_w=0)
    book.run(48 * 60 * MINUTE_MS, every_ms=MINUTE_MS)
    event = book.events.get("a")
    assert event is not None
    assert SAMPLES_MAX // 3 < len(event.samples) <= SAMPLES_MAX
    assert event.samples[0].at_ms <= START_MS + MINUTE_MS
    assert event.samples[-1].at_ms >= book.now_ms - event.sample_interval_ms
    assert len(book.events.minutes) <= 17


def test_an_event_survives_with_its_course() -> None:
    book = Book()
    book.measured_w = 9_000
    book.run(5 * MINUTE_MS)
    book.create("a", GridEventKind.REDUCE_BY, 1_000)
    book.observe()
    again = msgspec.msgpack.decode(msgspec.msgpack.encode(book.events), type=GridEvents)
    assert again == book.events


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({"id": "known"}, "EVENT_EXISTS"),
        ({"power_w": None}, "POWER_MISSING"),
        ({"power_w": -1}, "POWER_MISSING"),
        ({"start_ms": START_MS - LATE_MAX_MS - 1}, "EVENT_PAST"),
        ({"end_ms": START_MS}, "EVENT_PAST"),
        ({"start_ms": START_MS + 2, "end_ms": START_MS + 1}, "EVENT_PAST"),
    ],
)
def test_what_makes_no_sense_is_refused(values: dict[str, object], reason: str) -> None:
    book = Book()
    book.create("known")
    book.told.clear()
    answer = book.create(**{"id": "a", **values})  # type: ignore[arg-type]
    assert isinstance(answer, Refusal)
    assert answer.reason == reason
    assert book.told == []


def test_a_target_holds_so_many_events() -> None:
    book = Book()
    for number in range(EVENTS_MAX):
        assert isinstance(book.create(str(number), start_ms=START_MS + MINUTE_MS), GridEvent)
    refusal = book.create("one more")
    assert isinstance(refusal, Refusal)
    assert (refusal.kind, refusal.reason) == ("exhausted", "EVENTS_FULL")


def test_an_event_that_came_late_counts_from_now_on() -> None:
    book = Book()
    book.create("a", power_w=7_000, start_ms=START_MS - MINUTE_MS)
    assert book.events.limit_w() == 7_000
