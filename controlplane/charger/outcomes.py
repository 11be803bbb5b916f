"""What follows for a charger's memory once the station has accepted a command."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from controlplane.charger import bidirectional, der_controls, event_streams
from controlplane.charger.memory import ChargerMemory
from controlplane.charger.turn import Turn
from controlplane.ocpp import answers, commands
from controlplane.ocpp.commands import Command, CommandResult, CommandState

__all__ = ["command_answered"]


def command_answered(
    turn: Turn, memory: ChargerMemory, command: Command, result: CommandResult
) -> None:
    """Take in a command that the station accepted, or what it has none of; any other changes
    nothing."""
    if result.status == "NotFound" and isinstance(command, _ABOUT_CONTROLS):
        der_controls.none_found(turn, memory, command)
    take = _TAKEN.get(type(command))
    if take is not None and result.state is CommandState.ACCEPTED:
        take(turn, memory, command, result.payload)


def _profile_set(
    turn: Turn, memory: ChargerMemory, command: commands.SetPowerProfile, _: dict[str, Any]
) -> None:
    bidirectional.profile_set(turn, memory, command)


def _schedule_updated(
    turn: Turn, memory: ChargerMemory, command: commands.UpdateSchedule, _: dict[str, Any]
) -> None:
    bidirectional.schedule_updated(turn, memory, command)


def _control_cleared(
    turn: Turn, memory: ChargerMemory, command: commands.ClearDerControl, _: dict[str, Any]
) -> None:
    der_controls.control_cleared(turn, memory, command)


def _report_promised(
    turn: Turn, memory: ChargerMemory, command: commands.GetDerControls, _: dict[str, Any]
) -> None:
    der_controls.report_promised(turn, memory, command)


def _rate_adjusted(
    turn: Turn, memory: ChargerMemory, command: commands.AdjustStream, _: dict[str, Any]
) -> None:
    event_streams.rate_adjusted(turn, memory, command)


def _streams_told(
    turn: Turn, memory: ChargerMemory, _: commands.GetStreams, payload: dict[str, Any]
) -> None:
    event_streams.streams_told(turn, memory, answers.streams_answered(payload))


def _default_tariff_set(
    turn: Turn, _: ChargerMemory, command: commands.SetDefaultTariff, __: dict[str, Any]
) -> None:
    turn.emit(
        "tariff.default_set",
        connector_id=command.connector_id,
        tariff_id=command.tariff.tariff_id,
        currency=command.tariff.currency,
    )


def _transaction_tariff_changed(
    turn: Turn, _: ChargerMemory, command: commands.ChangeTransactionTariff, __: dict[str, Any]
) -> None:
    turn.emit(
        "tariff.transaction_changed",
        transaction_id=command.transaction_id,
        tariff_id=command.tariff.tariff_id,
        currency=command.tariff.currency,
    )


def _tariffs_cleared(
    turn: Turn, _: ChargerMemory, command: commands.ClearTariffs, __: dict[str, Any]
) -> None:
    turn.emit(
        "tariff.cleared",
        connector_id=command.connector_id,
        tariff_ids=list(command.tariff_ids),
    )


_ABOUT_CONTROLS: Final = (commands.ClearDerControl, commands.GetDerControls)
_TAKEN: Final[dict[type[Command], Callable[[Turn, ChargerMemory, Any, dict[str, Any]], None]]] = {
    commands.AdjustStream: _rate_adjusted,
    commands.ChangeTransactionTariff: _transaction_tariff_changed,
    commands.ClearDerControl: _control_cleared,
    commands.ClearTariffs: _tariffs_cleared,
    commands.GetStreams: _streams_told,
    commands.SetDefaultTariff: _default_tariff_set,
    commands.GetDerControls: _report_promised,
    commands.SetDerControl: der_controls.control_set,
    commands.SetPowerProfile: _profile_set,
    commands.UpdateSchedule: _schedule_updated,
}
