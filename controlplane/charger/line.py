"""The line to one station: the connection and the language spoken on it, and whatever is to be said
there.

Every part of the actor that wants something of the station says it here, so that a command is
worded for the charger's make, checked against the schemas and queued in one place. The invariant: a
limit that gives way to a newer one, or to the end of its session, is reported to the site."""

from __future__ import annotations

from typing import Final

from controlplane.actor import CancelTimer, SetTimer
from controlplane.charger.bidirectional import limit_granted
from controlplane.charger.commands import CommandQueue, Order, Origin, write_calls
from controlplane.charger.device import Device
from controlplane.charger.limits import limit_sent, limit_wanted, tell_outcome
from controlplane.charger.memory import ChargerMemory
from controlplane.charger.messages import ApplyLimit
from controlplane.charger.own_profiles import own_profile_sent
from controlplane.charger.turn import Turn
from controlplane.errors import Refusal
from controlplane.ocpp.commands import Command, CommandState, SetLimit
from controlplane.ocpp.dialect import Dialect
from controlplane.ocpp.framing import Fault
from controlplane.ocpp.versions import DIALECTS

__all__ = ["CALL_TIMER", "Line"]

CALL_TIMER: Final = "call"


class Line:
    """See the module's docstring. `timeout_ms` is how long the station may take to answer."""

    __slots__ = ("_device", "_memory", "last_seen_ms", "queue")

    def __init__(self, memory: ChargerMemory, device: Device, timeout_ms: int) -> None:
        self._memory = memory
        self._device = device
        self.queue = CommandQueue(timeout_ms)
        self.last_seen_ms: int | None = None
        """When the station was heard last; None until it is."""

    @property
    def connection(self) -> str:
        """Empty while there is none."""
        return self.queue.connection

    @property
    def dialect(self) -> Dialect | None:
        """None for a charger that has never been connected."""
        return DIALECTS.get(self._memory.ocpp_version)

    def refusal(self) -> Refusal | None:
        """Why nothing can be sent at the moment."""
        charger: dict[str, str] = {"charger_id": self._memory.charger_id}
        if not self.connection or self.dialect is None:
            return Refusal("unavailable", "CHARGER_OFFLINE", "the charger is offline", charger)
        if self.queue.full:
            return Refusal(
                "exhausted", "CHARGER_BUSY", "too many commands wait for the charger", charger
            )
        return None

    # --- commands ---------------------------------------------------------------------------------

    def order(
        self,
        turn: Turn,
        dialect: Dialect,
        command: Command,
        origin: Origin,
        *,
        ask_id: str = "",
        until_ms: int | None = None,
        limit: ApplyLimit | None = None,
        urgent: bool = False,
    ) -> Fault | None:
        """Queue a command; the fault if this version cannot say it."""
        command = self._device.worded(turn, command)
        calls = write_calls(
            dialect, command, turn.now_ms, settings_max=self._device.settings_max(command)
        )
        if isinstance(calls, Fault):
            return calls
        replaced = self.queue.put(
            Order(command, origin, calls, ask_id, until_ms, limit, urgent=urgent)
        )
        if replaced is not None and replaced.limit is not None:
            tell_outcome(turn, replaced.limit, CommandState.OFFLINE, superseded=True)
        return None

    def send_next(self, turn: Turn, *, settled: bool) -> bool:
        """Send if nothing is in flight, and see that time-outs are noticed. Whether what leaves may
        raise a default profile."""
        before, raises = self.queue.in_flight, False
        self.queue.send_next(turn, settled=settled)
        order = self.queue.in_flight
        if order is not None and order is not before:
            if isinstance(order.command, SetLimit):
                raises = limit_sent(turn, self._memory, order.command)
            else:
                raises = own_profile_sent(turn, self._memory, order.command)
        rearm, due_ms = self.queue.rearm()
        if rearm:
            turn.effects.append(
                CancelTimer(CALL_TIMER) if due_ms is None else SetTimer(CALL_TIMER, due_ms)
            )
        return raises

    # --- limits -----------------------------------------------------------------------------------

    def apply_limit(self, turn: Turn, message: ApplyLimit) -> None:
        """Tell the station a limit of its site; a reduction goes before what else waits."""
        dialect = self.dialect
        if not self.connection or dialect is None:
            tell_outcome(turn, message, CommandState.OFFLINE)
            return
        command = limit_wanted(self._memory, message)
        if command is None:
            tell_outcome(turn, message, CommandState.REJECTED)
            return
        if message.session_id is not None:
            limit_granted(self._memory, message.connector_id, message.limit_ma)
        connector = self._memory.connector(message.connector_id)
        in_force_ma = None if connector is None else connector.limit_ma
        # What is drawn is reduced, or what is fed in ends.
        urgent = in_force_ma is None or message.limit_ma < in_force_ma or in_force_ma < 0
        fault = self.order(turn, dialect, command, Origin.LIMIT, limit=message, urgent=urgent)
        if fault is not None:
            tell_outcome(turn, message, CommandState.REJECTED)

    def try_again(self, turn: Turn, refused: Order, limit: SetLimit) -> bool:
        """Send a refused limit in another form, unless a newer one waits; whether it is under way,
        so that nobody need be told yet."""
        dialect = self.dialect
        if not self.connection or dialect is None or self.queue.waits_for(refused.limit):
            return False
        fault = self.order(
            turn,
            dialect,
            limit,
            refused.origin,
            ask_id=refused.ask_id,
            until_ms=refused.until_ms,
            limit=refused.limit,
            urgent=True,
        )
        return fault is None

    def drop_stale_limits(self, turn: Turn) -> None:
        """Forget the limits that wait for sessions that have ended."""
        running = {session.session_id for session in self._memory.open_sessions()}
        for order in self.queue.take_out_limits(running):
            if order.limit is not None:
                tell_outcome(turn, order.limit, CommandState.OFFLINE, superseded=True)
