"""What the grid wishes of a feeder or a site, and what was made of it.

Part of the actor of either: it keeps the events of one target, says which limit they come to, and
records when each was received, applied, acknowledged by everybody who draws, and met by the meters.

Invariants: the lowest limit in force counts, and before any wish for more; a reduction or an
increase is measured against a baseline that is frozen when it starts; every change of state is one
journal event and one record in the same commit; what is kept is bounded, and an event that is over
leaves the actor and stays in the store."""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple

import msgspec

from controlplane.actor import Effect, Emit, Persist
from controlplane.errors import Refusal
from controlplane.ids import ActorKind, ActorRef
from controlplane.store.records import GridEventRecord
from controlplane.units import MS_PER_HOUR

__all__ = [
    "BASELINE_MS",
    "EVENTS_MAX",
    "LATE_MAX_MS",
    "SAMPLES_MAX",
    "WISH_HOLD_MS",
    "CancelGridEvent",
    "CreateGridEvent",
    "GetGridEvent",
    "GridEvent",
    "GridEventKind",
    "GridEventSample",
    "GridEventState",
    "GridEvents",
    "GridWish",
    "Observation",
]

EVENTS_MAX = 100
"""Events to come or in force at one target."""
FINISHED_MAX = 100
"""Ids of events that are over which an actor still knows, so as not to take them in again."""
SAMPLES_MAX = 240
SAMPLE_INTERVAL_MS = 60_000
BASELINE_MS = 900_000
OBSERVE_INTERVAL_MS = 5_000
_MINUTE_MS = 60_000
_AIM_PERCENT = 2
"""Of the increase that is asked for, so much may be missing."""

LATE_MAX_MS = 3_600_000
"""How long ago an event that is taken in may have begun."""

WISH_HOLD_MS = 60_000
"""For how long a feeder's wish holds that is not told again."""


class GridEventKind(StrEnum):
    LIMIT = "limit"
    REDUCE_BY = "reduce_by"
    INCREASE_BY = "increase_by"
    RESTORE = "restore"


class GridEventState(StrEnum):
    SCHEDULED = "scheduled"
    ACTIVE = "active"
    MET = "met"
    ENDED = "ended"
    CANCELLED = "cancelled"


class GridEventSample(msgspec.Struct, frozen=True, array_like=True):
    """One moment of an event: what was drawn, and what might have been."""

    at_ms: int
    measured_w: int
    allowed_w: int


class GridEvent(msgspec.Struct, tag="grid_event"):
    """A wish and what was made of it; an instant that has not come is None. See `grid.proto`."""

    event_id: str
    kind: GridEventKind
    power_w: int | None
    start_ms: int
    end_ms: int | None
    source: str
    received_ms: int
    state: GridEventState = GridEventState.SCHEDULED
    baseline_w: int | None = None
    limit_w: int | None = None
    applied_ms: int | None = None
    acknowledged_ms: int | None = None
    met_ms: int | None = None
    finished_ms: int | None = None
    measured_w: int = 0
    measured_max_w: int = 0
    reduced_w_ms: int = 0
    """Energy below the baseline, in watt-milliseconds."""
    observed_ms: int | None = None
    samples: list[GridEventSample] = []
    sample_interval_ms: int = SAMPLE_INTERVAL_MS
    aim_w: int | None = None
    """What is to be drawn at least; only of an increase."""
    fed_w_ms: int = 0
    """Energy that vehicles fed in meanwhile, as far as it was measured, in watt-milliseconds."""
    fed_w: int = 0

    @property
    def in_force(self) -> bool:
        return self.state in {GridEventState.ACTIVE, GridEventState.MET}

    @property
    def open(self) -> bool:
        return self.in_force or self.state is GridEventState.SCHEDULED

    @property
    def fed_wh(self) -> int:
        return self.fed_w_ms // MS_PER_HOUR

    @property
    def reduced_wh(self) -> int:
        return max(0, self.reduced_w_ms) // MS_PER_HOUR

    @property
    def increased_wh(self) -> int:
        """Energy above the baseline; 0 where less was drawn on the whole."""
        return max(0, -self.reduced_w_ms) // MS_PER_HOUR

    @property
    def met_w(self) -> int | None:
        """From what is drawn on an increase is met: stations take whole steps."""
        if self.aim_w is None:
            return None
        return self.aim_w - (self.power_w or 0) * _AIM_PERCENT // 100

    def copy(self) -> GridEvent:
        """As it is now, for an answer that is written later."""
        return msgspec.structs.replace(self, samples=list(self.samples))

    @property
    def sample_ms(self) -> int:
        """When the next sample is due."""
        return self.samples[-1].at_ms + self.sample_interval_ms if self.samples else self.start_ms


class CreateGridEvent(msgspec.Struct, frozen=True, tag="create_grid_event"):
    """Take a wish in; `start_ms` None means now, `end_ms` None until it is restored or called off.
    `baseline_w` is what it is counted from, below 0 where more was given than drawn; None: what was
    drawn in the quarter of an hour before it begins. Answered with `GridEvent`."""

    event_id: str
    kind: GridEventKind
    power_w: int | None
    start_ms: int | None = None
    end_ms: int | None = None
    source: str = ""
    baseline_w: int | None = None


class CancelGridEvent(msgspec.Struct, frozen=True, tag="cancel_grid_event"):
    """Call an event off, or end it early. Answered with `GridEvent`; refused as unknown where it is
    over."""

    event_id: str


class GetGridEvent(msgspec.Struct, frozen=True, tag="get_grid_event"):
    """Answered with `GridEvent`, or refused where it is unknown or over."""

    event_id: str


class GridWish(msgspec.Struct, frozen=True, array_like=True):
    """What a feeder wishes of somebody below it in an event, beside the cap: to draw no more than
    `power_w` in all, building included and less what is fed in; below 0: to give as much.

    A cap bounds what may be drawn and never counts what is fed in; a wish does, and so ends by
    itself: it holds until `until_ms`, unless told again, and not beyond `WISH_HOLD_MS`, whatever
    clocks show. `end_ms` is when the event ends, None where nobody knows.
    """

    power_w: int
    until_ms: int
    end_ms: int | None = None

    def in_force(self, now_ms: int) -> bool:
        """Whether it still holds."""
        return now_ms < self.until_ms <= now_ms + WISH_HOLD_MS


class Observation(NamedTuple):
    """What a target draws at an instant, and what it may draw, in W."""

    at_ms: int
    measured_w: int
    allowed_w: int
    reducing: bool = False
    """Lower caps or limits have just left."""
    fed_w: int = 0
    """What vehicles feed in, by their meters; taken off `measured_w` already."""


class _Minute(msgspec.Struct, array_like=True):
    """What was drawn in one minute, as far as it was observed."""

    minute: int
    w_ms: int = 0
    ms: int = 0


class GridEvents(msgspec.Struct):
    """The events of one target that are to come or in force, and its last quarter hour."""

    events: list[GridEvent] = []
    finished: list[str] = []
    minutes: list[_Minute] = []
    observed: GridEventSample | None = None

    # --- what the actor asks ----------------------------------------------------------------------

    def limit_w(self) -> int | None:
        """The lowest limit in force, or None."""
        if not self.events:
            return None
        limits = [each.limit_w for each in self.events if each.in_force]
        return min((each for each in limits if each is not None), default=None)

    def aim_w(self) -> int | None:
        """The most that is to be drawn at least, or None."""
        if not self.events:
            return None
        aims = [each.aim_w for each in self.events if each.in_force]
        return max((each for each in aims if each is not None), default=None)

    def limited_until_ms(self, now_ms: int) -> int | None:
        """Until when a limit is in force at the latest, `now_ms` where none is; None: there is no
        telling."""
        until_ms = now_ms
        for event in self.events:
            if event.in_force and event.limit_w is not None:
                if event.end_ms is None:
                    return None
                until_ms = max(until_ms, event.end_ms)
        return until_ms

    @property
    def awaiting(self) -> bool:
        """An event in force is not met yet: every observation counts."""
        return any(each.state is GridEventState.ACTIVE for each in self.events)

    def wants_observation(self, now_ms: int) -> bool:
        """Whether it is time for an observation: at every chance while an event is in force, now
        and then for the mean of the quarter hour."""
        last = self.observed
        return (
            last is None
            or not 0 <= now_ms - last.at_ms < OBSERVE_INTERVAL_MS
            or any(each.in_force for each in self.events)
        )

    def next_due_ms(self, now_ms: int) -> int | None:
        """When `advance` or `observe` is to be called next, at the latest."""
        due: list[int] = []
        for event in self.events:
            if event.in_force:
                due.append(max(event.sample_ms, now_ms + 1))
                due += [] if event.end_ms is None else [event.end_ms]
            else:
                due.append(event.start_ms)
        return min(due, default=None)

    def listed(self) -> tuple[GridEvent, ...]:
        """The events by their start, without their samples, for a view."""
        return tuple(
            msgspec.structs.replace(event, samples=[])
            for event in sorted(self.events, key=lambda each: (each.start_ms, each.event_id))
        )

    def get(self, event_id: str) -> GridEvent | None:
        return next((each for each in self.events if each.event_id == event_id), None)

    def answer(
        self, request: CreateGridEvent | CancelGridEvent | GetGridEvent, ref: ActorRef, now_ms: int
    ) -> tuple[GridEvent | Refusal, list[Effect]]:
        """What a request comes to. Where there are effects, `advance` is to follow."""
        match request:
            case CreateGridEvent():
                return self.create(request, ref, now_ms)
            case CancelGridEvent():
                return self.cancel(request, ref, now_ms)
            case GetGridEvent():
                return self.get(request.event_id) or _unknown(request.event_id, ref), []

    # --- what the actor tells ---------------------------------------------------------------------

    def create(
        self, request: CreateGridEvent, ref: ActorRef, now_ms: int
    ) -> tuple[GridEvent | Refusal, list[Effect]]:
        """Take an event in. It begins with the next `advance`, if it is to begin now."""
        refusal = self._refusal(request, ref, now_ms)
        if refusal is not None:
            return refusal, []
        event = GridEvent(
            event_id=request.event_id,
            kind=request.kind,
            power_w=None if request.kind is GridEventKind.RESTORE else request.power_w,
            start_ms=now_ms if request.start_ms is None else request.start_ms,
            end_ms=request.end_ms,
            source=request.source,
            received_ms=now_ms,
            baseline_w=request.baseline_w,
        )
        self.events.append(event)
        return event, [*_effects("created", event, ref)]

    def cancel(
        self, request: CancelGridEvent, ref: ActorRef, now_ms: int
    ) -> tuple[GridEvent | Refusal, list[Effect]]:
        """Call an event off, or end it early."""
        event = self.get(request.event_id)
        if event is None:
            return _unknown(request.event_id, ref), []
        return event, self._finish(event, ref, now_ms)

    def close(self, ref: ActorRef, now_ms: int) -> list[Effect]:
        """The target is no more: everything is over."""
        return [
            effect for event in list(self.events) for effect in self._finish(event, ref, now_ms)
        ]

    def advance(self, now: Observation, ref: ActorRef) -> list[Effect]:
        """Begin and end what is due. `now` is what is drawn before any of it takes effect."""
        self._note(now)
        effects: list[Effect] = []
        for event in sorted(self.events, key=lambda each: each.start_ms):
            if event.state is GridEventState.SCHEDULED and event.start_ms <= now.at_ms:
                effects += self._start(event, ref, now.at_ms)
            if event.open and event.end_ms is not None and event.end_ms <= now.at_ms:
                effects += self._finish(event, ref, now.at_ms)
        return effects

    def observe(self, now: Observation, ref: ActorRef) -> list[Effect]:
        """Take in what is drawn and may be drawn; find out what was reached by it."""
        self._note(now)
        effects: list[Effect] = []
        for event in self.events:
            if event.in_force:
                effects += _observed(event, now, ref)
        return effects

    # --- inside -----------------------------------------------------------------------------------

    def _refusal(self, request: CreateGridEvent, ref: ActorRef, now_ms: int) -> Refusal | None:
        about = {"event_id": request.event_id}
        if request.event_id in self.finished or self.get(request.event_id) is not None:
            return Refusal(
                "already_exists", "EVENT_EXISTS", f"event {request.event_id} exists", about
            )
        if request.kind is not GridEventKind.RESTORE and (
            request.power_w is None or request.power_w < 0
        ):
            return Refusal("invalid_input", "POWER_MISSING", "power_w must be 0 or above", about)
        if request.kind is GridEventKind.INCREASE_BY and ref.kind is not ActorKind.SITE:
            words = "only a site can be asked to draw more"
            return Refusal("precondition", "INCREASE_NOT_POSSIBLE", words, about)
        start_ms = now_ms if request.start_ms is None else request.start_ms
        if start_ms < now_ms - LATE_MAX_MS:
            return Refusal(
                "invalid_input", "EVENT_PAST", "the event began more than an hour ago", about
            )
        if request.end_ms is not None and request.end_ms <= max(start_ms, now_ms):
            return Refusal(
                "invalid_input", "EVENT_PAST", "end_ms is not after start_ms and now", about
            )
        if len(self.events) >= EVENTS_MAX:
            return Refusal("exhausted", "EVENTS_FULL", f"{ref} holds {EVENTS_MAX} events", about)
        return None

    def _start(self, event: GridEvent, ref: ActorRef, now_ms: int) -> list[Effect]:
        if event.kind is GridEventKind.RESTORE:
            effects: list[Effect] = []
            for other in list(self.events):
                asked = not event.source or event.source == other.source
                if other.in_force and asked:
                    effects += self._finish(other, ref, now_ms)
            event.state = GridEventState.ACTIVE
            event.applied_ms = event.acknowledged_ms = event.met_ms = now_ms
            return [*effects, *self._finish(event, ref, now_ms)]
        event.state = GridEventState.ACTIVE
        if event.baseline_w is None:
            event.baseline_w = self._baseline_w(now_ms)
        power_w = event.power_w or 0
        if event.kind is GridEventKind.LIMIT:
            event.limit_w = power_w
        elif event.kind is GridEventKind.INCREASE_BY:
            event.aim_w = (event.baseline_w or 0) + power_w
        elif event.baseline_w is None:
            # Where nothing was ever measured, not even a reduction to nothing is too much.
            event.limit_w = 0
        else:
            # Below 0 where more is asked for than was drawn: the rest is to be fed in.
            event.limit_w = event.baseline_w - power_w
        event.observed_ms = now_ms
        event.measured_w = 0 if self.observed is None else self.observed.measured_w
        return _effects("started", event, ref)

    def _finish(self, event: GridEvent, ref: ActorRef, now_ms: int) -> list[Effect]:
        begun = event.in_force
        event.state = GridEventState.ENDED if begun else GridEventState.CANCELLED
        event.finished_ms = now_ms
        self.events.remove(event)
        self.finished = [*self.finished, event.event_id][-FINISHED_MAX:]
        return _effects("ended" if begun else "cancelled", event, ref)

    def _note(self, now: Observation) -> None:
        """Count what was drawn since the last observation for the mean of the quarter hour."""
        last = self.observed
        self.observed = GridEventSample(now.at_ms, now.measured_w, now.allowed_w)
        if last is None or now.at_ms <= last.at_ms:
            return
        from_ms = max(last.at_ms, now.at_ms - BASELINE_MS)
        while from_ms < now.at_ms:
            minute = from_ms // _MINUTE_MS
            until_ms = min(now.at_ms, (minute + 1) * _MINUTE_MS)
            if not self.minutes or self.minutes[-1].minute != minute:
                self.minutes.append(_Minute(minute))
            self.minutes[-1].w_ms += last.measured_w * (until_ms - from_ms)
            self.minutes[-1].ms += until_ms - from_ms
            from_ms = until_ms
        # No minute counts that began before the quarter hour.
        oldest = -((BASELINE_MS - now.at_ms) // _MINUTE_MS)
        if self.minutes[0].minute < oldest:
            self.minutes = [each for each in self.minutes if each.minute >= oldest]

    def baseline_w(self, now_ms: int) -> int | None:
        """Against what a reduction that begins now is measured; None where nothing was."""
        return self._baseline_w(now_ms)

    def _baseline_w(self, now_ms: int) -> int | None:
        known_ms = sum(each.ms for each in self.minutes)
        if known_ms:
            return sum(each.w_ms for each in self.minutes) // known_ms
        return None if self.observed is None else self.observed.measured_w


def _observed(event: GridEvent, now: Observation, ref: ActorRef) -> list[Effect]:
    reached: list[str] = []
    if event.baseline_w is not None and event.observed_ms is not None:
        passed_ms = max(0, now.at_ms - event.observed_ms)
        event.reduced_w_ms += (event.baseline_w - event.measured_w) * passed_ms
        event.fed_w_ms += event.fed_w * passed_ms
    event.fed_w = now.fed_w
    event.observed_ms = now.at_ms
    event.measured_w = now.measured_w
    applied, acknowledged, met = _reached(event, now)
    if event.applied_ms is None and applied:
        event.applied_ms = now.at_ms
        reached.append("applied")
    if event.acknowledged_ms is None and acknowledged:
        event.acknowledged_ms = now.at_ms
        reached.append("acknowledged")
    if event.met_ms is None and met:
        event.met_ms = now.at_ms
        event.state = GridEventState.MET
        reached.append("met")
    if event.met_ms is not None:
        event.measured_max_w = max(event.measured_max_w, now.measured_w)
    sampled = now.at_ms >= event.sample_ms
    if sampled:
        _sample(event, now)
    if reached:
        return [effect for what in reached for effect in _effects(what, event, ref)]
    return [Persist(_record(event, ref))] if sampled else []


def _reached(event: GridEvent, now: Observation) -> tuple[bool, bool, bool]:
    """Whether an event is applied, acknowledged and met."""
    if event.met_w is not None:
        allowed = now.allowed_w >= event.met_w
        return allowed, allowed, now.measured_w >= event.met_w
    limit_w = event.limit_w or 0
    allowed = now.allowed_w <= limit_w
    return now.reducing or allowed, allowed, now.measured_w <= limit_w


def _sample(event: GridEvent, now: Observation) -> None:
    if len(event.samples) >= SAMPLES_MAX:
        event.samples = event.samples[::2]
        event.sample_interval_ms *= 2
        if now.at_ms < event.sample_ms:
            return
    event.samples.append(GridEventSample(now.at_ms, now.measured_w, now.allowed_w))


def _effects(what: str, event: GridEvent, ref: ActorRef) -> list[Effect]:
    data = {
        "event_id": event.event_id,
        "event_kind": event.kind.value,
        "state": event.state.value,
        "source": event.source,
        "power_w": event.power_w,
        "limit_w": event.limit_w,
        "baseline_w": event.baseline_w,
        "measured_w": event.measured_w,
    }
    return [Emit(f"grid.event_{what}", data), Persist(_record(event, ref))]


def _record(event: GridEvent, ref: ActorRef) -> GridEventRecord:
    return GridEventRecord(
        event_id=event.event_id,
        target_kind=ref.kind,
        target_id=ref.id,
        open=event.open,
        start_ms=event.start_ms,
        event=msgspec.json.encode(event),
    )


def _unknown(event_id: str, ref: ActorRef) -> Refusal:
    return Refusal(
        "not_found",
        "EVENT_UNKNOWN",
        f"{ref} has no event {event_id!r} to come or in force",
        {"event_id": event_id},
    )
