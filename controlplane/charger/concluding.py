"""What becomes of an order: answered, refused, timed out, or never sent.

The invariants: whoever wanted something of the station hears of it exactly once, and in time, even
if the station answers later; an answer to a CALL that is not in flight changes nothing."""

from __future__ import annotations

from controlplane.actor import Answer
from controlplane.charger.access import Access
from controlplane.charger.commands import Order, Origin
from controlplane.charger.device import Device
from controlplane.charger.firmware import Firmware
from controlplane.charger.healing import Healer
from controlplane.charger.limits import tell_outcome
from controlplane.charger.line import Line
from controlplane.charger.memory import ChargerMemory
from controlplane.charger.messages import StationFailed, StationReplied
from controlplane.charger.needs import Needs
from controlplane.charger.outcomes import command_answered
from controlplane.charger.own_profiles import own_profile_answered
from controlplane.charger.preparing import Preparation
from controlplane.charger.reports import Reports
from controlplane.charger.sampling import Sampling
from controlplane.charger.schedule_check import ScheduleCheck
from controlplane.charger.security import Security
from controlplane.charger.turn import Turn
from controlplane.errors import Refusal
from controlplane.ocpp.commands import (
    CommandResult,
    CommandState,
    SetLimit,
    SetPassword,
    UsePriority,
)

__all__ = ["Conclusions"]


class Conclusions:
    """Where the orders of one charger end, and everybody who wants to know of it."""

    __slots__ = (
        "_access",
        "_device",
        "_firmware",
        "_healer",
        "_line",
        "_memory",
        "_needs",
        "_preparation",
        "_reports",
        "_sampling",
        "_schedule_check",
        "_security",
    )

    def __init__(
        self,
        memory: ChargerMemory,
        line: Line,
        preparation: Preparation,
        *,
        device: Device,
        access: Access,
        reports: Reports,
        security: Security,
        firmware: Firmware,
        healer: Healer,
        needs: Needs,
        sampling: Sampling,
        schedule_check: ScheduleCheck,
    ) -> None:
        self._memory = memory
        self._line = line
        self._preparation = preparation
        self._device = device
        self._access = access
        self._reports = reports
        self._security = security
        self._firmware = firmware
        self._healer = healer
        self._needs = needs
        self._sampling = sampling
        self._schedule_check = schedule_check

    # --- what the station answers -----------------------------------------------------------------

    def replied(self, turn: Turn, message: StationReplied) -> None:
        """CALLRESULT."""
        awaited = self._is_awaited(turn, message)
        dialect = self._line.dialect
        order = self._line.queue.in_flight
        if not awaited or order is None or dialect is None:
            return
        self._line.last_seen_ms = turn.now_ms
        self._healer.answered(turn)
        self.conclude(turn, dialect.result(order.calls[0][0], message.payload))

    def failed(self, turn: Turn, message: StationFailed) -> None:
        """CALLERROR, or a CALLRESULT against its schema."""
        if not self._is_awaited(turn, message):
            return
        self._line.last_seen_ms = turn.now_ms
        self._healer.answered(turn)
        self.conclude(
            turn,
            CommandResult(
                CommandState.ERROR,
                error_code=message.code,
                error_description=message.description,
            ),
        )

    def _is_awaited(self, turn: Turn, message: StationReplied | StationFailed) -> bool:
        """Whether this answers the CALL in flight; an answer that comes too late is journalled."""
        queue = self._line.queue
        if message.connection != queue.connection:
            return False
        if queue.expects(message.message_id):
            return True
        action = queue.late_action(message.message_id)
        turn.emit("command.late", message_id=message.message_id[:64], action=action)
        return False

    # --- what becomes of it -----------------------------------------------------------------------

    def restarted(self, turn: Turn) -> None:
        """The station is gone or has booted; with some makes that is how they answer a Reset."""
        order = self._line.queue.in_flight
        if order is not None and self._device.reset_unanswered(order.command):
            self.conclude(turn, CommandResult(CommandState.ACCEPTED, "Rebooted"))

    def connected(self, turn: Turn, *, resumed: bool) -> None:
        """There is a connection; `resumed`: on it the host before may have wanted something."""
        self._sampling.connected(turn, resumed=resumed)

    def disconnected(self, turn: Turn) -> None:
        """Whatever was wanted of the station on its connection ends here."""
        self._sampling.disconnected()
        self._schedule_check.disconnected()
        for order in self._line.queue.disconnect():
            self._finish(turn, order, CommandResult(CommandState.OFFLINE))

    def conclude(self, turn: Turn, result: CommandResult) -> None:
        """The CALL in flight is over, and perhaps its order."""
        order = self._line.queue.conclude(turn, result)
        if order is not None:
            self._finish(turn, order, order.result())

    def _finish(self, turn: Turn, order: Order, result: CommandResult) -> None:
        """Tell whoever wanted it what became of it."""
        defaults_ma = self._memory.defaults_ma()
        settling = order.origin is Origin.SETTLING
        if order.sent:
            limit = self._device.answered(turn, order.command, result, settling=settling)
            if limit is not None and self._line.try_again(turn, order, limit):
                return
            own_profile_answered(turn, self._memory, order.command, result)
        if isinstance(order.command, SetPassword):
            result = self._security.password_answered(turn, result, sent=order.sent)
        self._security.handed_over(turn, order.command, result, sent=order.sent)
        accepted = result.state is CommandState.ACCEPTED
        if order.origin in (Origin.API, Origin.HEALING) or not accepted:
            turn.emit(
                "command.finished",
                command=type(order.command).__name__,
                origin=order.origin.value,
                state=result.state.value,
                status=result.status,
                error_code=result.error_code,
                error_description=result.error_description[:255],
            )
        response = self._access.concluded(turn, order, result)
        held = self._reports.holds(turn, order, result)
        if order.ask_id and not held:
            turn.effects.append(Answer(order.ask_id, response))
        command_answered(turn, self._memory, order.command, result)
        if isinstance(order.command, UsePriority) and accepted:
            self._needs.prioritise(turn, order.command.transaction_id, active=order.command.active)
        self._firmware.asked(turn, order.command, result, sent=order.sent)
        self._sampling.concluded(turn, order, result)
        self._schedule_check.concluded(turn, order, result)
        if isinstance(order.command, SetLimit) and accepted:
            self._schedule_check.limit_accepted(turn, order.command)
        if order.limit is not None:
            tell_outcome(turn, order.limit, result.state)
            if not accepted:
                self._preparation.default_doubted(turn)
        if not settling and defaults_ma != self._memory.defaults_ma():
            self._preparation.tell_presence(turn)
        if order.origin is Origin.HEALING:
            self._healer.concluded(turn, result)
        if settling:
            self._preparation.answered(turn, order, result)

    # --- time -------------------------------------------------------------------------------------

    def call_due(self, turn: Turn) -> None:
        """The station, or an asker, has waited for as long as it may."""
        queue = self._line.queue
        queue.timer_fired()
        if queue.overdue(turn.now_ms):
            self._healer.timed_out(turn)
            self.conclude(turn, CommandResult(CommandState.TIMED_OUT))
        order = queue.in_flight
        if order is not None and order.until_ms is not None and turn.now_ms >= order.until_ms:
            # The asker waits no longer; the station may still answer.
            late = self._access.unanswered(order, CommandResult(CommandState.TIMED_OUT))
            turn.effects.append(Answer(order.ask_id, late))
            order.ask_id, order.until_ms = "", None
        for order in queue.given_up(turn.now_ms):
            offline = CommandResult(CommandState.OFFLINE)
            self._access.concluded(turn, order, offline)
            self._security.handed_over(turn, order.command, offline, sent=False)
            if isinstance(order.command, SetPassword):
                self._security.password_answered(turn, offline, sent=False)
            turn.effects.append(
                Answer(
                    order.ask_id,
                    Refusal(
                        "unavailable",
                        "CHARGER_BUSY",
                        "the charger was busy for the whole time; nothing was sent to it",
                        {"charger_id": self._memory.charger_id},
                    ),
                )
            )
