"""A host in virtual time: it drives the production actors as `runtime/host.py` does, over a store
in memory, and can die.

Invariants kept, the same as in production: an actor sees one message at a time; what leaves the
host is released only after the records of the same batch were committed; a crash before the commit
leaves no trace, one after it loses what was to be sent; all that survives a crash is the
store."""

from __future__ import annotations

import hashlib
import heapq
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from itertools import count

import msgspec

from controlplane.actor import (
    Actor,
    Answer,
    Ask,
    CancelTimer,
    Effect,
    Emit,
    Message,
    Persist,
    Send,
    SetTimer,
    TimerFired,
)
from controlplane.charger.messages import StationConnected, StationDisconnected
from controlplane.config import ActorSettings
from controlplane.ids import ActorKind, ActorRef
from controlplane.runtime.actors import create_actor
from controlplane.runtime.residents import READINGS_EACH, Metered
from controlplane.runtime.wire import StationMessage
from controlplane.store.records import (
    ActorSnapshot,
    MeterSample,
    QuarantineRecord,
    Record,
    SessionRecord,
)

__all__ = ["Scheduler", "VirtualHost", "VirtualStore"]

_BATCH_STEPS_MAX = 10_000
_BETWEEN_SHARDS_MS = 5


class Scheduler:
    """Virtual time: what is due, in order of its instant and then of its planning."""

    def __init__(self, start_ms: int) -> None:
        self.now_ms = start_ms
        self._due: list[tuple[int, int, Callable[[], None]]] = []
        self._numbers = count()

    def after(self, delay_ms: int, action: Callable[[], None]) -> None:
        heapq.heappush(self._due, (self.now_ms + max(0, delay_ms), next(self._numbers), action))

    def run_until(self, end_ms: int) -> None:
        """Do everything that is due before `end_ms`, and arrive there."""
        while self._due and self._due[0][0] < end_ms:
            self.now_ms, _, action = heapq.heappop(self._due)
            action()
        self.now_ms = end_ms


@dataclass
class VirtualStore:
    """The tables that outlive a host."""

    snapshots: dict[ActorRef, bytes] = field(default_factory=dict)
    sessions: dict[str, SessionRecord] = field(default_factory=dict)
    samples: dict[str, deque[MeterSample]] = field(default_factory=dict)
    """The latest of each session."""
    quarantine: list[QuarantineRecord] = field(default_factory=list)

    def latest(self, session_id: str) -> Iterable[MeterSample]:
        """The samples of a session that a new host reads back, in the order of receipt."""
        return self.samples.get(session_id, ())

    def commit(self, records: list[Record]) -> None:
        for record in records:
            match record:
                case ActorSnapshot():
                    self.snapshots[record.ref] = record.state
                case SessionRecord():
                    self.sessions[record.session_id] = record
                case MeterSample(session_id=str(session_id)):
                    kept = self.samples.setdefault(session_id, deque(maxlen=READINGS_EACH))
                    kept.append(record)
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
        loses: Callable[[], bool],
    ) -> None:
        self.store = VirtualStore()
        self.up = True
        self._scheduler = scheduler
        self._settings = settings
        self._released = released
        self._loses = loses
        self._actors: dict[ActorRef, Actor] = {}
        self._timers: dict[tuple[ActorRef, str], int] = {}
        self._timer_numbers = count()
        self._asks: dict[str, Callable[[msgspec.Struct], None]] = {}
        self._ask_numbers = count()
        self._introduced: dict[ActorRef, str] = {}
        self._dies: str = ""
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

    def crash_soon(self, when: str, died: Callable[[], None]) -> None:
        """Die in the next batch, `before` or `after` its commit, and call `died`."""
        self._dies, self._died = when, died

    def recover(self) -> None:
        """Come back with nothing but the store: sites and feeders at once, chargers with the first
        message for each."""
        self.up = True
        stored = [ref for ref in self.store.snapshots if ref.kind is not ActorKind.CHARGER]
        refs = sorted(stored, key=lambda ref: (ref.kind.value, ref.id))
        self._batch(deque(), [(ref, effect) for ref in refs for effect in self._activate(ref)])

    def _activate(self, ref: ActorRef) -> list[Effect]:
        actor = create_actor(ref, self._settings, self.store.snapshots.get(ref))
        if isinstance(actor, Metered):
            sessions = actor.open_sessions
            actor.restore_readings([s for each in sessions for s in self.store.latest(each)])
        self._actors[ref] = actor
        return actor.activate(self._scheduler.now_ms)

    def _step(self, ref: ActorRef, message: Message) -> list[Effect]:
        effects = [] if ref in self._actors else self._activate(ref)
        return effects + self._actors[ref].step(message, self._scheduler.now_ms)

    def _batch(
        self,
        messages: deque[tuple[ActorRef, Message]],
        effects: list[tuple[ActorRef, Effect]],
    ) -> None:
        """Steps until the shard is quiet, then the commit, then the release."""
        steps = 0
        collected: list[tuple[ActorRef, Effect]] = []
        while True:
            for ref, effect in effects:
                if isinstance(effect, Send) and _share_a_shard(ref, effect.to):
                    messages.append((effect.to, effect.message))
                else:
                    collected.append((ref, effect))
            if not messages:
                break
            steps += 1
            ref, message = messages.popleft()
            if steps > _BATCH_STEPS_MAX:
                raise RuntimeError(f"actors do not come to rest: {ref} hears {message}")
            effects = [(ref, effect) for effect in self._step(ref, message)]
        self._finish(collected)

    def _finish(self, collected: list[tuple[ActorRef, Effect]]) -> None:
        if self._dies == "before":
            self._die()
            return
        for ref, effect in collected:
            self._digest.update(self._encoder.encode((ref, effect)))
        self.store.commit([effect.record for _, effect in collected if isinstance(effect, Persist)])
        if self._dies == "after":
            self._die()
            return
        for ref, effect in collected:
            self._carry_out(ref, effect)

    def _carry_out(self, ref: ActorRef, effect: Effect) -> None:
        match effect:
            case Persist() | Emit():
                pass
            case SetTimer(key, at_ms):
                number = next(self._timer_numbers)
                self._timers[ref, key] = number
                self._scheduler.after(
                    at_ms - self._scheduler.now_ms, lambda: self._fire(ref, key, number)
                )
            case CancelTimer(key):
                self._timers.pop((ref, key), None)
            case Send(to, message):
                if not self._loses():
                    self._scheduler.after(_BETWEEN_SHARDS_MS, lambda: self.tell(to, message))
            case Answer(ask_id, response):
                if (answered := self._asks.pop(ask_id, None)) is not None:
                    answered(response)
            case _:
                self._released(effect)

    def _fire(self, ref: ActorRef, key: str, number: int) -> None:
        if self._timers.get((ref, key)) == number:
            del self._timers[ref, key]
            self.tell(ref, TimerFired(key))

    def _die(self) -> None:
        self._dies, self.up = "", False
        self._actors, self._timers, self._asks, self._introduced = {}, {}, {}, {}
        self._died()


def _share_a_shard(one: ActorRef, other: ActorRef) -> bool:
    """Chargers live with their site, feeders elsewhere; every world has one charging shard."""
    return (one.kind is ActorKind.FEEDER) == (other.kind is ActorKind.FEEDER)
