"""A host in virtual time: it drives the production actors as `runtime/host.py` does, over a store
in memory, and can die.

Invariants kept, the same as in production: an actor sees one message at a time; what leaves the
host is released only after the records of the same steps were committed; a commit may end between
any two steps of a cascade, so a crash leaves the first so many of them in the store, of which the
first so many have been told to the world; all that survives a crash is the store. News between
shards may be lost or late, and keeps its order per pair."""

from __future__ import annotations

import hashlib
import heapq
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import partial
from itertools import count
from random import Random
from typing import Any, Final

import msgspec

from controlplane.actor import (
    Actor,
    Answer,
    Ask,
    CancelTimer,
    Effect,
    Emit,
    LookedUp,
    LookUp,
    Message,
    Persist,
    PlanFound,
    PlanWanted,
    Send,
    SetTimer,
    TimerFired,
)
from controlplane.charger.messages import StationConnected, StationDisconnected
from controlplane.config import ActorSettings
from controlplane.errors import InvalidInput
from controlplane.ids import ActorKind, ActorRef
from controlplane.planning import Desk
from controlplane.runtime.actors import create_actor
from controlplane.runtime.residents import READINGS_EACH, Metered
from controlplane.runtime.wire import StationMessage
from controlplane.store.queries import Query, QueryAnswer, TokenFound, TokenQuery
from controlplane.store.records import (
    ActorSnapshot,
    MeterSample,
    QuarantineRecord,
    Record,
    SessionRecord,
    SessionState,
    TokenRecord,
)
from controlplane.tokens import PENDING, Token, TokenStatus

__all__ = ["Scheduler", "VirtualHost", "VirtualStore"]

_BATCH_STEPS_MAX = 10_000
_PLAN_MS = 1_000
"""How long a plan takes here, whatever it takes."""
_FEEDER: Final = ActorKind.FEEDER


class Scheduler:
    """Virtual time: what is due, in order of its instant and then of its planning."""

    def __init__(self, start_ms: int) -> None:
        self.now_ms = start_ms
        self._due: dict[int, list[Callable[[], None]]] = {}
        """By instant, in order of planning."""
        self._instants: list[int] = []
        """A heap of the keys of `_due`."""

    def after(self, delay_ms: int, action: Callable[[], None]) -> None:
        at_ms = self.now_ms + delay_ms if delay_ms > 0 else self.now_ms
        due = self._due.get(at_ms)
        if due is None:
            self._due[at_ms] = [action]
            heapq.heappush(self._instants, at_ms)
        else:
            due.append(action)

    def run_until(self, end_ms: int) -> None:
        """Do everything that is due before `end_ms`, and arrive there."""
        instants = self._instants
        while instants and instants[0] < end_ms:
            self.now_ms = instants[0]
            # What is planned for this instant meanwhile is appended, and done as well.
            for action in self._due[self.now_ms]:
                action()
            del self._due[heapq.heappop(instants)]
        self.now_ms = end_ms


@dataclass
class VirtualStore:
    """The tables that outlive a host."""

    snapshots: dict[ActorRef, bytes] = field(default_factory=dict)
    sessions: dict[str, SessionRecord] = field(default_factory=dict)
    samples: dict[str, deque[MeterSample]] = field(default_factory=dict)
    """The latest of each session."""
    quarantine: list[QuarantineRecord] = field(default_factory=list)
    tokens: dict[str, TokenRecord] = field(default_factory=dict)

    def latest(self, session_id: str) -> Iterable[MeterSample]:
        """The samples of a session that a new host reads back, in the order of receipt."""
        return self.samples.get(session_id, ())

    def look_up(self, query: Query) -> QueryAnswer | None:
        """What an actor asks; None for what no world has."""
        if not isinstance(query, TokenQuery):
            return None
        stored = self.tokens.get(query.token_key)
        token = None if stored is None else msgspec.json.decode(stored.token, type=Token)
        running = (
            session.session_id
            for session in self.sessions.values()
            if session.token_key == query.token_key
            and session.state is SessionState.ACTIVE
            and session.token_status in (None, PENDING, TokenStatus.ACCEPTED)
        )
        bounded = token is not None and token.concurrent_max is not None
        return TokenFound(token, tuple(running) if bounded else ())

    def commit(self, record: Record) -> None:
        match record:
            case ActorSnapshot():
                self.snapshots[record.ref] = record.state
            case MeterSample(session_id=str(session_id)):
                kept = self.samples.setdefault(session_id, deque(maxlen=READINGS_EACH))
                kept.append(record)
            case SessionRecord():
                self.sessions[record.session_id] = record
            case TokenRecord():
                self.tokens[record.token_key] = record
            case QuarantineRecord():
                self.quarantine.append(record)


class VirtualHost:
    """The actors of a world. `released` is called with every effect that leaves the host."""

    def __init__(
        self,
        scheduler: Scheduler,
        settings: ActorSettings,
        *,
        released: Callable[[Effect], None],
        between_shards_ms: Callable[[], int | None] = lambda: 5,
        noticed: Callable[[ActorRef, Emit], None] = lambda _, __: None,
        random: Random | None = None,
    ) -> None:
        self.store = VirtualStore()
        self.up = True
        self._scheduler = scheduler
        self._settings = settings
        self._released = released
        self._between_shards_ms = between_shards_ms
        self._noticed = noticed
        self._random = random or Random(0)
        self._clock_off_ms = 0
        self._arrivals_ms: dict[tuple[ActorRef, ActorRef], int] = {}
        self._actors: dict[ActorRef, Actor] = {}
        self._timers: dict[tuple[ActorRef, str], int] = {}
        self._timer_numbers = count()
        self._asks: dict[str, Callable[[msgspec.Struct], None]] = {}
        self._ask_numbers = count()
        self._introduced: dict[ActorRef, str] = {}
        self._desk = Desk()
        self._dies = False
        self._died: Callable[[], None] = lambda: None
        self._digest = hashlib.blake2b(digest_size=16)
        self._encoder = msgspec.msgpack.Encoder()

    @property
    def digest(self) -> str:
        """A fingerprint of every effect so far; equal for equal runs."""
        return self._digest.hexdigest()

    def tell(self, ref: ActorRef, message: Message) -> None:
        """Deliver a message and carry out what follows, as one batch; a host that is down hears
        nothing."""
        if self.up:
            self._batch(deque([(ref, message)]), [])

    def from_station(self, ref: ActorRef, message: StationMessage) -> None:
        """Deliver news of a socket, if it is the one that this host was introduced to last."""
        known = self._introduced.get(ref)
        if isinstance(message, StationConnected):
            self._introduced[ref] = message.connection
        elif known != message.connection:
            return
        elif isinstance(message, StationDisconnected):
            del self._introduced[ref]
        self.tell(ref, message)

    def ask(
        self, ref: ActorRef, request: msgspec.Struct, answered: Callable[[msgspec.Struct], None]
    ) -> None:
        """Put a request to an actor; `answered` gets its answer unless the host dies first."""
        if not self.up:
            return
        ask_id = f"ask-{next(self._ask_numbers)}"
        self._asks[ask_id] = answered
        self.tell(ref, Ask(ask_id=ask_id, request=request))

    def crash_soon(self, died: Callable[[], None]) -> None:
        """Die within the next cascade, and call `died`."""
        self._dies, self._died = True, died

    def spare(self) -> None:
        """Do not die after all."""
        self._dies = False

    def recover(self, *, clock_off_ms: int = 0) -> None:
        """Come back with nothing but the store, on a machine whose clock is off by so much: sites
        and feeders at once, chargers with the first message for each."""
        self.up = True
        self._clock_off_ms = clock_off_ms
        stored = [ref for ref in self.store.snapshots if ref.kind is not ActorKind.CHARGER]
        refs = sorted(stored, key=lambda ref: (ref.kind.value, ref.id))
        self._batch(deque(), [(ref, self._activate(ref)) for ref in refs])

    @property
    def _now_ms(self) -> int:
        """What the clock of this host shows."""
        return self._scheduler.now_ms + self._clock_off_ms

    def _activate(self, ref: ActorRef) -> list[Effect]:
        actor = create_actor(ref, self._settings, self.store.snapshots.get(ref))
        if isinstance(actor, Metered):
            sessions = actor.open_sessions
            actor.restore_readings([s for each in sessions for s in self.store.latest(each)])
        self._actors[ref] = actor
        return actor.activate(self._now_ms)

    def _step(self, ref: ActorRef, message: Message) -> list[Effect]:
        actor = self._actors.get(ref)
        if actor is None:
            activated = self._activate(ref)
            return activated + self._actors[ref].step(message, self._now_ms)
        return actor.step(message, self._scheduler.now_ms + self._clock_off_ms)

    def _batch(
        self,
        messages: deque[tuple[ActorRef, Message]],
        steps: list[tuple[ActorRef, list[Effect]]],
    ) -> None:
        """Steps until the shard is quiet, then the commit, then the release."""
        collected: list[list[tuple[ActorRef, Effect]]] = []
        while True:
            for ref, effects in steps:
                if not effects:
                    continue
                kept: list[tuple[ActorRef, Effect]] = []
                # Chargers live with their site, feeders elsewhere; every world has one charging
                # shard.
                feeder = ref.kind is _FEEDER
                for effect in effects:
                    if type(effect) is Send and (effect.to.kind is _FEEDER) is feeder:
                        messages.append((effect.to, effect.message))
                    else:
                        kept.append((ref, effect))
                if kept:
                    collected.append(kept)
            if not messages:
                break
            ref, message = messages.popleft()
            if len(collected) > _BATCH_STEPS_MAX:
                raise RuntimeError(f"actors do not come to rest: {ref} hears {message}")
            steps = [(ref, self._step(ref, message))]
        self._finish(collected)

    def _finish(self, collected: list[list[tuple[ActorRef, Effect]]]) -> None:
        """Commit and release. A host that dies has committed the first steps, and released the
        first of those."""
        committed = released = len(collected)
        if self._dies:
            committed = self._random.randint(0, len(collected))
            released = self._random.randint(0, committed)
        for step in collected[:committed]:
            self._digest.update(self._encoder.encode(step))
            for _, effect in step:
                if type(effect) is Persist:
                    self.store.commit(effect.record)
        dies, self._dies = self._dies, False
        if dies:
            # Before its last words arrive: what they bring about finds nobody here.
            self.up = False
        for step in collected[:released]:
            for ref, effect in step:
                if type(effect) is not Persist:
                    self._carry_out(ref, effect)
        if dies:
            self._die()

    def _carry_out(self, ref: ActorRef, effect: Effect) -> None:
        """Whatever is to be done besides the commit."""
        carry_out = _CARRIED_OUT.get(type(effect))
        if carry_out is None:
            self._released(effect)
        else:
            carry_out(self, ref, effect)

    def _set_timer(self, ref: ActorRef, effect: SetTimer) -> None:
        key, number = effect.key, next(self._timer_numbers)
        self._timers[ref, key] = number
        delay_ms = effect.at_ms - self._now_ms
        self._scheduler.after(delay_ms, partial(self._fire, ref, key, number))

    def _cancel_timer(self, ref: ActorRef, effect: CancelTimer) -> None:
        self._timers.pop((ref, effect.key), None)

    def _emit(self, ref: ActorRef, effect: Emit) -> None:
        self._noticed(ref, effect)

    def _look_up(self, ref: ActorRef, effect: LookUp) -> None:
        answer = LookedUp(effect.look_up_id, self.store.look_up(effect.query))
        # As slow, and as often lost, as news between shards.
        delay_ms = self._between_shards_ms()
        if delay_ms is not None:
            self._scheduler.after(delay_ms, partial(self.tell, ref, answer))

    def _answer(self, _: ActorRef, effect: Answer) -> None:
        answered = self._asks.pop(effect.ask_id, None)
        if answered is not None:
            answered(effect.response)

    def _plan(self, ref: ActorRef, wanted: PlanWanted) -> None:
        """Worked out at once, by steps and not by time, and heard of later."""
        try:
            found = PlanFound(wanted.plan_id, self._desk.answer(ref, wanted.question))
        except InvalidInput as error:
            found = PlanFound(wanted.plan_id, None, error.message)
        self._scheduler.after(_PLAN_MS, partial(self.tell, ref, found))

    def _post(self, sender: ActorRef, effect: Send) -> None:
        """News for another shard."""
        to, message = effect.to, effect.message
        delay_ms = self._between_shards_ms()
        if delay_ms is None:
            return
        now_ms = self._scheduler.now_ms
        at_ms = max(now_ms + delay_ms, self._arrivals_ms.get((sender, to), 0))
        self._arrivals_ms[sender, to] = at_ms
        self._scheduler.after(at_ms - now_ms, partial(self.tell, to, message))

    def _fire(self, ref: ActorRef, key: str, number: int) -> None:
        if self._timers.get((ref, key)) == number:
            del self._timers[ref, key]
            self.tell(ref, TimerFired(key))

    def _die(self) -> None:
        self._actors, self._timers, self._asks, self._introduced = {}, {}, {}, {}
        self._desk = Desk()
        self._died()


_CARRIED_OUT: Final[dict[type[Effect], Callable[[VirtualHost, ActorRef, Any], None]]] = {
    Answer: VirtualHost._answer,
    CancelTimer: VirtualHost._cancel_timer,
    Emit: VirtualHost._emit,
    LookUp: VirtualHost._look_up,
    PlanWanted: VirtualHost._plan,
    Send: VirtualHost._post,
    SetTimer: VirtualHost._set_timer,
}
"""What a host sees to by itself; the rest leaves it."""
