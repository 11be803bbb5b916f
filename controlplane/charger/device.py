"""The charger as a device: what it says of itself, what it warns of, and how its make deviates; put
together for the actor.

The invariant: whatever a quirk changes is changed here or in `steering.py`, and nowhere else asks
which make a charger is."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from controlplane.charger.alarms import Alarms
from controlplane.charger.capability import Capability
from controlplane.charger.inventory import Inventory, identity
from controlplane.charger.limits import limit_answered
from controlplane.charger.memory import ChargerMemory, Learned, Report
from controlplane.charger.steering import limit_answered_by
from controlplane.charger.turn import Turn
from controlplane.ocpp import commands
from controlplane.ocpp.commands import Command, CommandResult, CommandState, SetLimit
from controlplane.ocpp.relabel import registers_in_kwh
from controlplane.ocpp.typed import MeterValues

__all__ = ["Device"]

_NUMBERED: Final = (
    commands.GetBaseReport,
    commands.GetMonitoringReport,
    commands.GetReport,
)
_PASSWORD_KEY: Final = "AuthorizationKey"


class Device:
    """One charger. `patience_ms` is how long a part of a report may take."""

    __slots__ = ("_memory", "alarms", "inventory")

    def __init__(self, memory: ChargerMemory, patience_ms: int) -> None:
        self._memory = memory
        self.inventory = Inventory(memory, patience_ms)
        self.alarms = Alarms(memory, self.inventory.value)

    def booted(self, turn: Turn, before: tuple[str, str, str, str]) -> None:
        """It booted and is now what the memory says; `before` is what it was. New firmware may have
        learned; new hardware may be smaller."""
        memory = self._memory
        now = identity(memory)
        if before == now:
            return
        vendor, model, _, serial_number = before
        if (vendor, model, serial_number) != (now[0], now[1], now[3]):
            memory.capability = Capability()
        names, _ = memory.quirks()
        memory.report = Report(complete_ms=memory.report.complete_ms)
        memory.learned = Learned()
        turn.changed = True
        if names:
            turn.emit("charger.quirks", profiles=list(names))

    def corrected(self, payload: dict[str, Any] | MeterValues) -> dict[str, Any] | MeterValues:
        """What it says, in the units that it means."""
        if self._memory.quirks()[1].register_unit != "kWh":
            return payload
        return registers_in_kwh(payload if isinstance(payload, dict) else payload.untyped())

    def worded(self, turn: Turn, command: Command) -> Command:
        """The command as this charger takes it: reports have a number, a password has its form."""
        if isinstance(command, _NUMBERED) and command.request_id == 0:
            return msgspec.structs.replace(command, request_id=self.inventory.number(turn))
        if (
            isinstance(command, commands.SetSettings)
            and _PASSWORD_KEY in command.settings
            and self._memory.quirks()[1].password_form == "hex"
        ):
            password = command.settings[_PASSWORD_KEY].encode().hex()
            return commands.SetSettings({**command.settings, _PASSWORD_KEY: password})
        return command

    def settings_max(self, command: Command) -> int | None:
        """How many settings it takes in one message."""
        capability = self._memory.capability
        reported = capability.settings_set_max
        if isinstance(command, commands.GetSettings):
            reported = capability.settings_get_max
        return self._memory.quirks()[1].settings_per_message or reported

    def reset_unanswered(self, command: Command | None) -> bool:
        """Whether a restart is the answer to this command."""
        quirks = self._memory.quirks()[1]
        return isinstance(command, commands.Reset) and quirks.reset_answered is False

    def answered(
        self, turn: Turn, command: Command, result: CommandResult, *, settling: bool
    ) -> SetLimit | None:
        """Take in what it answered; the limit to send at once in another form, if any."""
        if not isinstance(command, SetLimit):
            self.inventory.answered(turn, command, result, settling=settling)
            return None
        limit_answered(turn, self._memory, command, result.state)
        if settling and self.inventory.wanted() and result.state is not CommandState.ACCEPTED:
            # What it will say of itself is worth more than what can be tried.
            return None
        return limit_answered_by(turn, self._memory, command, result)
