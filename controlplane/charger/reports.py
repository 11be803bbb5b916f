"""Answers that a station gives in several messages of its own (`ReportCommand`).

The invariants: every part is answered and journalled, asked for or not; whoever asked has exactly
one answer, once the last part is there, or with the parts there are when the time or the connection
is over; what is kept of a report is bounded. Parts that overtake the answer to the question count
as well: the two directions of a connection know no order."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final

import msgspec

from controlplane.actor import Answer, CancelTimer, SetTimer
from controlplane.charger.commands import Order
from controlplane.charger.turn import Turn
from controlplane.ocpp.commands import Command, CommandResult, CommandState, ReportCommand
from controlplane.ocpp.events import ReportReceived

__all__ = ["REPORT_TIMER", "Reports"]

REPORT_TIMER: Final = "report"

_REPORTS_MAX: Final = 16
_PARTS_MAX: Final = 512
_BYTES_MAX: Final = 1_000_000
"""Of the parts of one report, as JSON; what is beyond is journalled only."""
_JOURNAL_MAX_BYTES: Final = 8_192


@dataclass(slots=True, eq=False)
class _Report:
    """A report that is awaited; `result` is what became of the question, None while it is open."""

    ask_id: str
    until_ms: int
    result: CommandResult | None = None
    parts: list[dict[str, Any]] = field(default_factory=list)
    bytes: int = 0
    whole: bool = False


class Reports:
    """The reports that one charger is asked for."""

    __slots__ = ("_armed_ms", "_awaited")

    def __init__(self) -> None:
        self._awaited: dict[int, _Report] = {}
        self._armed_ms: int | None = None

    def expect(self, turn: Turn, command: ReportCommand, ask_id: str, until_ms: int) -> bool:
        """The question is on its way, and its report may begin at any moment; False if too many are
        awaited already."""
        given_up = [
            number
            for number, each in self._awaited.items()
            if each.result is None and turn.now_ms >= each.until_ms
        ]
        for number in given_up:
            del self._awaited[number]
        if len(self._awaited) >= _REPORTS_MAX:
            return False
        self._awaited[command.request_id] = _Report(ask_id, until_ms)
        return True

    def withdraw(self, command: Command) -> None:
        """The question is not sent after all."""
        if isinstance(command, ReportCommand):
            self._awaited.pop(command.request_id, None)

    def holds(self, turn: Turn, order: Order, result: CommandResult) -> bool:
        """The question was answered: whether its asker is to wait for the report."""
        command = order.command
        if not isinstance(command, ReportCommand):
            return False
        report = self._awaited.get(command.request_id)
        if report is None:
            return False
        # A station that has nothing to report says so with another word, and nothing follows.
        follows = result.state is CommandState.ACCEPTED and result.status == "Accepted"
        if not follows or not command.awaits_report or not order.ask_id:
            del self._awaited[command.request_id]
            return False
        report.result = result
        if report.whole:
            self._answer(turn, command.request_id, CommandState.ACCEPTED)
        self._arm(turn)
        return True

    def part(self, turn: Turn, event: ReportReceived) -> None:
        """A part has come."""
        report = self._awaited.get(event.request_id)
        data = None if event.personal else event.data
        size = len(msgspec.json.encode(event.data))
        if data is not None and size > _JOURNAL_MAX_BYTES:
            data = {"left_out_bytes": size}
        turn.emit(
            "charger.report",
            action=event.action,
            request_id=event.request_id,
            more=event.more,
            asked=report is not None,
            data=data,
        )
        if report is None:
            return
        report.bytes += size
        if report.bytes <= _BYTES_MAX and len(report.parts) < _PARTS_MAX:
            report.parts.append(event.data)
        report.whole = not event.more
        if report.whole and report.result is not None:
            self._answer(turn, event.request_id, CommandState.ACCEPTED)
            self._arm(turn)

    def due(self, turn: Turn) -> None:
        """The timer has fired."""
        self._armed_ms = None
        for request_id, report in list(self._awaited.items()):
            if turn.now_ms >= report.until_ms and report.result is not None:
                self._answer(turn, request_id, CommandState.TIMED_OUT)
        self._arm(turn)

    def hang_up(self, turn: Turn) -> None:
        """The connection is gone, and with it whatever else would have come."""
        for request_id, report in list(self._awaited.items()):
            if report.result is not None:
                self._answer(turn, request_id, CommandState.OFFLINE)
        self._awaited.clear()
        self._arm(turn)

    def _answer(self, turn: Turn, request_id: int, state: CommandState) -> None:
        report = self._awaited.pop(request_id)
        if report.result is not None:
            result = msgspec.structs.replace(report.result, state=state, report=tuple(report.parts))
            turn.effects.append(Answer(report.ask_id, result))

    def _arm(self, turn: Turn) -> None:
        waiting = [each.until_ms for each in self._awaited.values() if each.result is not None]
        due_ms = min(waiting, default=None)
        if due_ms == self._armed_ms:
            return
        self._armed_ms = due_ms
        turn.effects.append(
            CancelTimer(REPORT_TIMER) if due_ms is None else SetTimer(REPORT_TIMER, due_ms)
        )
