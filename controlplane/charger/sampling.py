"""Samples that a site wants before the station would take the next by itself.

The invariant: one question waits or is in flight at a time, and a station that does not take it is
not asked again on the same connection. Sources: OCPP 1.6 section 5.17; 2.0.1 part 2 F06.FR.07, by
which a TransactionEvent carries the transaction's own measurands and MeterValues those of the
clock-aligned ones."""

from __future__ import annotations

from controlplane.charger.commands import Order, Origin
from controlplane.charger.line import Line
from controlplane.charger.messages import SampleWanted
from controlplane.charger.turn import Turn
from controlplane.ocpp.commands import CommandResult, CommandState, Trigger

__all__ = ["Sampling"]


class Sampling:
    """Asks one station for samples."""

    __slots__ = ("_line", "_unwilling")

    def __init__(self, line: Line) -> None:
        self._line = line
        self._unwilling = False

    def disconnected(self) -> None:
        """A station that comes back may have learned."""
        self._unwilling = False

    def wanted(self, turn: Turn, message: SampleWanted) -> None:
        """The site wants to know what flows."""
        dialect = self._line.dialect
        if self._unwilling or not self._line.connection or dialect is None:
            return
        if self._line.queue.pending(Origin.LEARNING):
            return
        name = "MeterValues" if dialect.version == "ocpp1.6" else "TransactionEvent"
        self._line.order(turn, dialect, Trigger(name, message.connector_id), Origin.LEARNING)

    def concluded(self, order: Order, result: CommandResult) -> None:
        """What became of an order of ours."""
        if order.origin is Origin.LEARNING and isinstance(order.command, Trigger):
            self._unwilling |= result.state in (CommandState.REJECTED, CommandState.ERROR)
