"""What is wanted of a station, one CALL at a time.

OCPP-J allows one outstanding CALL per direction (1.6 section 4.1.1, 2.0.1 part 4 section 4.1.1).
Everything else waits here in a bounded queue: what prepares the station first, reductions of
current next, the rest in order. The invariants: at most one CALL is in flight; every `Order` comes
out exactly once, with its result; a newer limit for a connector and purpose takes the place of one
that still waits; nothing survives the connection it was meant for."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from enum import Enum
from itertools import islice
from typing import Any, Final, TypeVar

from controlplane.actor import Call
from controlplane.charger.messages import ApplyLimit
from controlplane.charger.turn import Turn
from controlplane.ids import SessionId
from controlplane.ocpp.commands import (
    Command,
    CommandResult,
    CommandState,
    GetInstalledCertificates,
    GetSettings,
    SetSettings,
    Trigger,
)
from controlplane.ocpp.dialect import Dialect
from controlplane.ocpp.framing import Fault
from controlplane.ocpp.schemas import check_command

__all__ = ["CommandQueue", "Order", "Origin", "write_calls"]

_QUEUE_MAX: Final = 32
"""Orders of the API that wait; limits are bounded by the number of connectors."""
_LATE_MAX: Final = 8

Item = TypeVar("Item")

WrittenCall = tuple[Command, str, dict[str, Any]]


class Origin(Enum):
    """Who wants it, and so who hears of it."""

    SETTLING = "settling"
    LIMIT = "limit"
    HEALING = "healing"
    LEARNING = "learning"
    API = "api"
    LIST = "list"
    """The local list, behind everything else."""


@dataclass(slots=True, eq=False)
class Order:
    """One thing wanted of the station: one CALL, or several in a row that count as one."""

    command: Command
    origin: Origin
    calls: deque[WrittenCall]
    ask_id: str = ""
    until_ms: int | None = None
    """When the asker stops waiting."""
    limit: ApplyLimit | None = None
    urgent: bool = False
    sent: bool = False
    sent_ms: int = 0
    """When the last of its CALLs left."""
    results: list[tuple[Command, CommandResult]] = field(default_factory=list)

    def result(self) -> CommandResult:
        """The result of the only call; of several, the first that was not accepted, with every
        setting's own status in the payload."""
        if len(self.results) == 1:
            return self.results[0][1]
        first = next(
            (result for _, result in self.results if result.state is not CommandState.ACCEPTED),
            self.results[-1][1],
        )
        payload = _joined(self.results)
        if isinstance(self.command, GetInstalledCertificates):
            payload = {"certificateHashDataChain": []}
            for _, result in self.results:
                found = result.payload.get("certificateHashDataChain", ())
                payload["certificateHashDataChain"] += found
        return CommandResult(
            first.state,
            first.status,
            payload,
            first.error_code,
            first.error_description,
        )


def _joined(results: list[tuple[Command, CommandResult]]) -> dict[str, Any]:
    """The payload of several answers: their lists one after the other, and where they have none the
    status of each setting."""
    lists: dict[str, Any] = {}
    for _, result in results:
        for name, value in result.payload.items():
            if isinstance(value, list):
                lists.setdefault(name, []).extend(value)
    if lists:
        return lists
    return {
        "results": {
            key: result.status or result.state.value
            for command, result in results
            for key in getattr(command, "settings", {})
        }
    }


def write_calls(
    dialect: Dialect, command: Command, now_ms: int, *, settings_max: int | None = None
) -> deque[WrittenCall] | Fault:
    """The CALLs of a command, each checked against its schema; or why the station's version cannot
    be told this. Settings go `settings_max` at a time, where the station takes only so many."""
    calls: deque[WrittenCall] = deque()
    for part in (part for few in _split(command, settings_max) for part in dialect.parts(few)):
        written = dialect.call(part, now_ms)
        if isinstance(written, Fault):
            return written
        action, payload = written
        fault = check_command(dialect.version, action, payload)
        if fault is not None:
            return fault
        calls.append((part, action, payload))
    return calls


def _split(command: Command, settings_max: int | None) -> list[Command]:
    if settings_max is None:
        return [command]
    if isinstance(command, GetSettings) and len(command.keys) > settings_max:
        return [GetSettings(keys) for keys in _batched(command.keys, settings_max)]
    if isinstance(command, SetSettings) and len(command.settings) > settings_max:
        return [
            SetSettings(dict(items)) for items in _batched(command.settings.items(), settings_max)
        ]
    return [command]


def _batched(items: Iterable[Item], size: int) -> Iterator[tuple[Item, ...]]:
    """The items in tuples of at most `size`."""
    iterator = iter(items)
    while batch := tuple(islice(iterator, size)):
        yield batch


class CommandQueue:
    """The orders of one charger on its present connection."""

    __slots__ = (
        "_armed_ms",
        "_counter",
        "_late",
        "_message_id",
        "_prefix",
        "_slow",
        "_timeout_ms",
        "_until_ms",
        "_waiting",
        "connection",
        "in_flight",
    )

    def __init__(self, timeout_ms: int) -> None:
        self.connection = ""
        """Empty while there is none."""
        self.in_flight: Order | None = None
        self._waiting: dict[Origin, deque[Order]] = {}
        self._message_id = ""
        self._until_ms = 0
        self._timeout_ms = timeout_ms
        self._slow = False
        """Whether an answer came after its time: this station is given all of it."""
        self._prefix = ""
        self._counter = 0
        self._late: dict[str, str] = {}
        self._armed_ms: int | None = None

    # --- the connection ---------------------------------------------------------------------------

    def connect(self, connection: str, now_ms: int, epoch: int = 0) -> None:
        """Serve a connection. Message ids begin with the epoch and the instant, so that they never
        repeat on a connection that outlives this actor's host, wherever clocks stand; and who hears
        a station's socket can tell under which epoch a command was sent."""
        self.connection = connection
        self._prefix = f"{epoch:x}.{now_ms:x}" if epoch else f"{now_ms:x}"

    def disconnect(self) -> list[Order]:
        """Every order there was; none has an answer any more."""
        orders = [] if self.in_flight is None else [self.in_flight]
        orders.extend(self._orders())
        self.connection = ""
        self.in_flight = None
        self._waiting = {}
        self._late = {}
        return orders

    # --- what waits -------------------------------------------------------------------------------

    @property
    def full(self) -> bool:
        return len(self._waiting.get(Origin.API, ())) >= _QUEUE_MAX

    def put(self, order: Order) -> Order | None:
        """Let an order wait its turn; returned is the limit it makes superfluous."""
        waiting = self._waiting.setdefault(order.origin, deque())
        replaced = None
        if order.limit is not None:
            replaced = next((each for each in waiting if _same_limit(each, order)), None)
            if replaced is not None:
                waiting.remove(replaced)
        if order.urgent:
            # In front of everything but the urgent ones that were there before.
            place = sum(1 for each in waiting if each.urgent)
            waiting.insert(place, order)
        else:
            waiting.append(order)
        return replaced

    def waits_for(self, limit: ApplyLimit | None) -> bool:
        """Whether a newer limit for the same connector and purpose waits."""
        if limit is None:
            return False
        return any(
            order.limit is not None and _same_purpose(order.limit, limit)
            for order in self._waiting.get(Origin.LIMIT, ())
        )

    def take_out_limits(self, running: set[SessionId]) -> list[Order]:
        """The limits that wait for a session that runs no more; they are taken out. A station that
        does not compare transaction ids would apply them to the next one."""
        waiting = self._waiting.get(Origin.LIMIT)
        stale = [
            order
            for order in waiting or ()
            if order.limit is not None
            and order.limit.session_id is not None
            and order.limit.session_id not in running
        ]
        for order in stale:
            self._waiting[Origin.LIMIT].remove(order)
        return stale

    def withdraw(self, ask_id: str) -> Order | None:
        """The order of this asker that waits; it is taken out."""
        order = next((each for each in self._orders() if each.ask_id == ask_id), None)
        if order is not None:
            self._waiting[order.origin].remove(order)
        return order

    def waits(self, ask_id: str) -> bool:
        """Whether an order of this asker waits."""
        return any(order.ask_id == ask_id for order in self._orders())

    def pending(self, origin: Origin) -> bool:
        """Whether an order of this origin waits or is in flight."""
        in_flight = self.in_flight is not None and self.in_flight.origin is origin
        return in_flight or bool(self._waiting.get(origin))

    def _orders(self) -> Iterator[Order]:
        for waiting in self._waiting.values():
            yield from waiting

    def _next(self, *, settled: bool) -> Order | None:
        settling = self._waiting.get(Origin.SETTLING)
        if settling:
            return settling.popleft()
        if not settled:
            return None
        limits = self._waiting.get(Origin.LIMIT)
        if limits and limits[0].urgent:
            return limits.popleft()
        for origin in (Origin.HEALING, Origin.LEARNING, Origin.API):
            waiting = self._waiting.get(origin)
            if waiting and not (limits and origin is Origin.API and self._counter % 2):
                return waiting.popleft()
        if limits:
            return limits.popleft()
        lists = self._waiting.get(Origin.LIST)
        return lists.popleft() if lists else None

    # --- what is sent and answered ----------------------------------------------------------------

    def send_next(self, turn: Turn, *, settled: bool) -> None:
        """Send if nothing is in flight; before the station has settled only what settles it."""
        if self.in_flight is None and self._waiting and self.connection:
            order = self._next(settled=settled)
            if order is not None:
                if not any(self._waiting.values()):
                    self._waiting = {}
                self.in_flight = order
                self._send(turn, order)

    def _send(self, turn: Turn, order: Order) -> None:
        _, action, payload = order.calls[0]
        order.sent, order.sent_ms = True, turn.now_ms
        self._counter += 1
        self._message_id = f"{self._prefix}-{self._counter:x}"
        self._until_ms = turn.now_ms + self._patience_ms(order)
        turn.effects.append(Call(self.connection, self._message_id, action, payload))

    def _patience_ms(self, order: Order) -> int:
        """How long the station may take. Others wait for what becomes of a limit, and of a question
        what flows, and nearly every station answers at once: where the answer is lost, that is to
        be known soon."""
        asks_sample = order.origin is Origin.LEARNING and isinstance(order.command, Trigger)
        hurry = (order.limit is not None or asks_sample) and not self._slow
        return self._timeout_ms * 2 // 3 if hurry else self._timeout_ms

    def expects(self, message_id: str) -> bool:
        return self.in_flight is not None and message_id == self._message_id

    def conclude(self, turn: Turn, result: CommandResult) -> Order | None:
        """The CALL in flight is over; the order, once all its CALLs are."""
        order = self.in_flight
        if order is None:
            return None
        command, action, _ = order.calls.popleft()
        order.results.append((command, result))
        if result.state is CommandState.TIMED_OUT:
            if len(self._late) >= _LATE_MAX:
                del self._late[next(iter(self._late))]
            self._late[self._message_id] = action
        over = result.state in (CommandState.TIMED_OUT, CommandState.ERROR)
        if order.calls and not over:
            self._send(turn, order)
            return None
        self.in_flight = None
        return order

    def late_action(self, message_id: str) -> str | None:
        """The action of a CALL that had timed out; None for an id that was never sent."""
        action = self._late.pop(message_id, None)
        self._slow |= action is not None
        return action

    # --- time -------------------------------------------------------------------------------------

    def overdue(self, now_ms: int) -> bool:
        """Whether the station has had its time to answer the CALL in flight."""
        return self.in_flight is not None and now_ms >= self._until_ms

    def given_up(self, now_ms: int) -> list[Order]:
        """The orders that waited as long as their asker would; they are taken out."""
        late = [
            order
            for order in self._orders()
            if order.until_ms is not None and now_ms >= order.until_ms
        ]
        for order in late:
            self._waiting[order.origin].remove(order)
        return late

    def next_deadline_ms(self) -> int | None:
        """When the next time-out is due; None while nothing waits."""
        instants = [order.until_ms for order in self._orders() if order.until_ms is not None]
        if self.in_flight is not None:
            instants.append(self._until_ms)
            if self.in_flight.until_ms is not None:
                instants.append(self.in_flight.until_ms)
        return min(instants, default=None)

    def rearm(self) -> tuple[bool, int | None]:
        """Whether the timer must be set anew, and to when."""
        if self.in_flight is None and not self._waiting and self._armed_ms is None:
            return False, None
        due_ms = self.next_deadline_ms()
        changed = due_ms != self._armed_ms
        self._armed_ms = due_ms
        return changed, due_ms

    def timer_fired(self) -> None:
        self._armed_ms = None


def _same_limit(waiting: Order, newer: Order) -> bool:
    first, second = waiting.limit, newer.limit
    return first is not None and second is not None and _same_purpose(first, second)


def _same_purpose(first: ApplyLimit, second: ApplyLimit) -> bool:
    return first.connector_id == second.connector_id and (first.session_id is None) == (
        second.session_id is None
    )
