"""What an actor is: a pure state machine. Messages in, effects out; nothing else.

An actor has no clock, randomness, socket, database, asyncio or Ray inside. The runtime
(`runtime/host.py`) gives it messages one at a time with the instant at which they count, and
carries out what it returns; the simulator (`sim/`) does the same with a virtual clock. Whatever
leaves the host (`Reply`, `Call`, `Answer`) is held back until the records of the same batch are
committed, so nothing is ever acknowledged before it is durable; actor state in memory that was not
committed is thrown away with the actor when a commit fails."""

from __future__ import annotations

from typing import Any, Protocol

import msgspec

from controlplane.ids import ActorRef
from controlplane.planning.schedule import PlanQuestion, Schedule
from controlplane.store.queries import Query, QueryAnswer
from controlplane.store.records import Record

__all__ = [
    "Actor",
    "Answer",
    "Ask",
    "Call",
    "CancelTimer",
    "CloseSocket",
    "Effect",
    "Emit",
    "LookUp",
    "LookedUp",
    "Message",
    "Persist",
    "PlanFound",
    "PlanWanted",
    "Reply",
    "ReplyError",
    "Send",
    "SetTimer",
    "TimerFired",
]


class Message(msgspec.Struct, frozen=True):
    """Base of everything an actor can be told."""


class TimerFired(Message, frozen=True, tag="timer"):
    """The timer named `key` has come due. A timer fires once; setting it again replaces it."""

    key: str


class Ask(Message, frozen=True, tag="ask"):
    """A request that wants exactly one `Answer` with the same `ask_id`; the asker bounds the
    wait."""

    ask_id: str
    request: Any


class LookedUp(Message, frozen=True, tag="looked_up"):
    """The answer to a `LookUp`; None where the store could not be read. It may never come: the
    asker bounds the wait."""

    look_up_id: str
    answer: QueryAnswer | None


class PlanFound(Message, frozen=True, tag="plan_found"):
    """The answer to a `PlanWanted`; None where there is none, and `fault` says why. It may never
    come: the asker bounds the wait."""

    plan_id: str
    answer: Schedule | None
    fault: str = ""


class Effect(msgspec.Struct, frozen=True):
    """Base of everything an actor can ask of its runtime."""


class Send(Effect, frozen=True, tag="send"):
    """Deliver `message` to another actor. Actors of one site share a shard: delivered in order, in
    the same batch. To another shard: at most once, in order per pair; the receiver must tolerate
    loss."""

    to: ActorRef
    message: Message


class Reply(Effect, frozen=True, tag="reply"):
    """CALLRESULT to the station, for the CALL `message_id` that came on `connection`."""

    connection: str
    message_id: str
    payload: dict[str, Any]


class ReplyError(Effect, frozen=True, tag="reply_error"):
    """CALLERROR to the station."""

    connection: str
    message_id: str
    code: str
    description: str


class Call(Effect, frozen=True, tag="call"):
    """CALL to the station; the result comes back as a message with the same `message_id`."""

    connection: str
    message_id: str
    action: str
    payload: dict[str, Any]


class CloseSocket(Effect, frozen=True, tag="close"):
    """Close the station's WebSocket with a close code of RFC 6455."""

    connection: str
    code: int
    reason: str


class Persist(Effect, frozen=True, tag="persist"):
    """Write `record` in the commit of this batch."""

    record: Record


class Emit(Effect, frozen=True, tag="emit"):
    """Append a domain event to the journal in the commit of this batch. `kind` is lower-case words
    with dots, such as `session.started`; `data` holds JSON values only."""

    kind: str
    data: dict[str, Any]


class LookUp(Effect, frozen=True, tag="look_up"):
    """Read the store once this batch is committed, so what this step persisted is in the answer;
    `LookedUp` with the same `look_up_id` follows."""

    look_up_id: str
    query: Query


class PlanWanted(Effect, frozen=True, tag="plan_wanted"):
    """Work out a plan beside the actors, once this batch is committed; `PlanFound` with the same
    `plan_id` follows. A question that still waits when the same actor asks again is dropped."""

    plan_id: str
    question: PlanQuestion


class SetTimer(Effect, frozen=True, tag="set_timer"):
    """Deliver `TimerFired(key)` to this actor at `at_ms`, or at once if that has passed."""

    key: str
    at_ms: int


class CancelTimer(Effect, frozen=True, tag="cancel_timer"):
    key: str


class Answer(Effect, frozen=True, tag="answer"):
    """The answer to an `Ask`: a struct that the asker knows, or an `errors.Refusal`."""

    ask_id: str
    response: msgspec.Struct


class Actor(Protocol):
    """A state machine with an address."""

    ref: ActorRef

    def activate(self, now_ms: int) -> list[Effect]:
        """Called once, before the first message, after the state was loaded: set timers, resume
        what was pending."""

    def step(self, message: Message, now_ms: int) -> list[Effect]:
        """Take one message at the instant `now_ms`; change the state; say what is to be done."""
