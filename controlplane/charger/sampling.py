"""Samples that are wanted before the station would take the next by itself, and what they prove.

A sample that arrives after the answer to a limit may have waited in the station for minutes, and
the stamp on it proves nothing: clocks are up to a minute apart before anybody corrects for it.
One that the station was asked for after it took the limit is newer than that, whatever clocks show.

The invariants: one question waits or is in flight at a time, and a station that does not take it is
not asked again on the same connection; questions are answered in the order in which they were put,
so one whose answer was lost leaves each later answer to the question before, and where one is given
up the others prove nothing any more and the next ones need the clock's word for a while; no sample
is called fresh that may answer a question from before the limit in force, be it one of a host or a
connection that is gone; and a fresh one counts as taken when its question left, the earliest that
it can have been. Sources: OCPP 1.6 section 5.17; 2.0.1 part 2 F06.FR.07, by which a
TransactionEvent carries the transaction's own measurands and MeterValues those of the clock-aligned
ones; `Trigger` of ReadingContext (1.6 section 7.31, 2.0.1 part 2 3.71)."""

from __future__ import annotations

from typing import Final, NamedTuple

from controlplane.charger.commands import CommandQueue, Order, Origin
from controlplane.charger.line import Line
from controlplane.charger.memory import ChargerMemory
from controlplane.charger.messages import SampleWanted
from controlplane.charger.turn import Turn
from controlplane.ocpp.commands import CommandResult, CommandState, SetLimit, Trigger

__all__ = ["TRIGGERED", "Asked", "Sampling"]

TRIGGERED: Final = "Trigger"
"""The reading context of a sample that was asked for."""

_SAMPLES: Final = frozenset({"MeterValues", "TransactionEvent"})
_QUESTIONS_MAX: Final = 32
"""Of one connector; more than a site puts before the first is given up."""
_LOST_MS: Final = 120_000
"""A question so old is not answered any more. A station repeats what it could not deliver after
half a minute."""
_UNCLEAR_MS: Final = 10_000
"""How often a station is asked at most because a sample of it has no place in time."""
_OTHERS_MS: Final = 40_000
"""For so long a station may owe an answer to the host before; one still older is told late."""


class _Question(NamedTuple):
    asked_ms: int
    """When it left."""
    since_limit: bool
    """Whether the station had taken its present limit by then."""


class Asked:
    """The questions of one connection that may yet be answered, by connector, the oldest first."""

    __slots__ = (
        "_begun_ms",
        "_early",
        "_memory",
        "_others_until_ms",
        "_questions",
        "_queue",
        "_unclear_ms",
    )

    def __init__(self, memory: ChargerMemory, queue: CommandQueue) -> None:
        self._memory = memory
        self._queue = queue
        self._early: Order | None = None
        """The question in flight, where a sample came before the station said that it takes it."""
        self._begun_ms = self._others_until_ms = 0
        """Since when samples are known to come in order: the connection's begin, or when a question
        was given up."""
        self._questions: dict[int, list[_Question]] = {}
        self._unclear_ms = 0

    def forget(self) -> None:
        """The connection is gone."""
        self._questions.clear()

    def begin(self, now_ms: int, *, resumed: bool) -> None:
        """A connection begins, or goes on under another host: the one before may have asked, and
        for a while a sample may be the answer to that."""
        self._begun_ms = now_ms
        self._others_until_ms = now_ms + _OTHERS_MS if resumed else now_ms

    def put(self, order: Order, now_ms: int) -> None:
        """The station may have taken a question, about one connector or all."""
        command = order.command
        if not isinstance(command, Trigger) or command.message not in _SAMPLES:
            return
        if order is self._early:
            return
        connector_id = command.connector_id
        for each in self._memory.connectors if connector_id is None else (connector_id,):
            waiting = self._waiting(each, now_ms)
            self._questions[each] = [*waiting, _Question(order.sent_ms, since_limit=True)]

    def _waiting(self, connector_id: int, now_ms: int) -> list[_Question]:
        """The questions about a connector without those that are too old, or too many. The answers
        to these may come all the same, and would be taken for those to the others."""
        questions = self._questions.get(connector_id, [])
        young = [each for each in questions if now_ms - each.asked_ms <= _LOST_MS]
        young = young[1 - _QUESTIONS_MAX :]
        if len(young) == len(questions):
            return questions
        self._begun_ms = now_ms
        self._questions[connector_id] = [each._replace(since_limit=False) for each in young]
        return self._questions[connector_id]

    def limited(self, connector_id: int) -> None:
        """The station may have taken another limit."""
        questions = self._questions.get(connector_id, ())
        self._questions[connector_id] = [each._replace(since_limit=False) for each in questions]

    def answered(self, connector_id: int, at_ms: int | None, now_ms: int) -> int | None:
        """A sample came that was asked for; its station's clock shows `at_ms`. When it can have
        been taken at the earliest, if that is after the limit in force was; None: nobody can
        tell."""
        in_flight = self._queue.in_flight
        if in_flight is not None and self._memory.clock.explains(at_ms, now_ms):
            # Some stations send the sample before they say that they will.
            self.put(in_flight, now_ms)
            self._early = in_flight
        questions = self._waiting(connector_id, now_ms)
        if not questions:
            return None
        (asked_ms, since_limit), *self._questions[connector_id] = questions
        return None if not since_limit or self._from_before(at_ms, now_ms) else asked_ms

    def unclear(self, turn: Turn, connector_id: int) -> None:
        """A sample seems older than one that was told before: it was told late, or its station's
        clock was set back. What the station is asked for now is the newest either way."""
        if self._steady(turn.now_ms) and turn.now_ms - self._unclear_ms >= _UNCLEAR_MS:
            self._unclear_ms, turn.sample_wanted = turn.now_ms, connector_id

    def _steady(self, now_ms: int) -> bool:
        """Whether samples have come in order for so long that none can come any more which has
        waited in its station since before."""
        return now_ms - self._begun_ms >= _LOST_MS

    def _from_before(self, at_ms: int | None, now_ms: int) -> bool:
        """Whether a sample may have waited in its station since before all that is known here: it
        would be told late."""
        if self._steady(now_ms):
            return False
        return now_ms < self._others_until_ms or not self._memory.clock.explains(at_ms, now_ms)


class Sampling:
    """Asks one station for samples, and notes in `asked` who was asked."""

    __slots__ = ("_asked", "_line", "_unwilling")

    def __init__(self, line: Line, asked: Asked) -> None:
        self._line = line
        self._asked = asked
        self._unwilling = False

    def disconnected(self) -> None:
        """A station that comes back may have learned."""
        self._unwilling = False
        self._asked.forget()

    def connected(self, turn: Turn, *, resumed: bool) -> None:
        """It has a connection; `resumed`: that of the host before."""
        self._asked.begin(turn.now_ms, resumed=resumed)

    def wanted(self, turn: Turn, message: SampleWanted) -> None:
        """The site wants to know what flows."""
        dialect = self._line.dialect
        if self._unwilling or not self._line.connection or dialect is None:
            return
        if self._line.queue.pending(Origin.LEARNING):
            return
        name = "MeterValues" if dialect.version == "ocpp1.6" else "TransactionEvent"
        self._line.order(turn, dialect, Trigger(name, message.connector_id), Origin.LEARNING)

    def concluded(self, turn: Turn, order: Order, result: CommandResult) -> None:
        """What became of an order, ours or another's."""
        refused = result.state in (CommandState.REJECTED, CommandState.ERROR)
        command = order.command
        if isinstance(command, SetLimit) and order.sent:
            self._asked.limited(command.connector_id)
        if not isinstance(command, Trigger):
            return
        if order.origin is Origin.LEARNING:
            self._unwilling |= refused
        if order.sent and not refused:
            self._asked.put(order, turn.now_ms)
