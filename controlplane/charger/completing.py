"""What only the charger's actor can add to a command before it is sent: numbers that never repeat,
and what it knows of the transaction."""

from __future__ import annotations

import msgspec

from controlplane.charger.memory import ChargerMemory
from controlplane.charger.turn import Turn
from controlplane.ocpp.commands import Command, RemoteStart, ReportCommand, UpdateCost

__all__ = ["completed"]

_NUMBER_MAX = 2**31 - 1


def completed(turn: Turn, memory: ChargerMemory, command: Command) -> Command:
    """The command with what the asker left to us."""
    replace = msgspec.structs.replace
    if isinstance(command, RemoteStart) and command.remote_start_id == 0:
        memory.remote_start_id += 1
        turn.changed = True
        return replace(command, remote_start_id=memory.remote_start_id)
    if isinstance(command, ReportCommand) and command.request_id == 0:
        memory.report_number = memory.report_number % _NUMBER_MAX + 1
        turn.changed = True
        return replace(command, request_id=memory.report_number)
    if isinstance(command, UpdateCost) and command.meter_wh is None:
        for session in memory.open_sessions():
            if session.transaction_id == command.transaction_id:
                return replace(command, meter_wh=session.register.last_wh)
    return command
