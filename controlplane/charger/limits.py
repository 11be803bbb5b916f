"""A limit on its way to the station and back: which profile it becomes, and what is known to be in
force once the station has spoken.

The invariant: `Connector.limit_ma` is what the station acknowledged, and None as soon as that is in
doubt. `default_ma` is the default profile that it acknowledged, None while it may have any, and
`default_sent_ma` holds what it may have instead, from before a profile leaves until it is answered:
a host that dies meanwhile leaves that to the next one."""

from __future__ import annotations

from typing import Final

from controlplane.charger.memory import ChargerMemory
from controlplane.charger.messages import ApplyLimit
from controlplane.charger.steering import ProfileForm, profile_form
from controlplane.charger.turn import Turn
from controlplane.ocpp.commands import CommandState, LimitPurpose, SetLimit
from controlplane.site.messages import LimitOutcome
from controlplane.units import w_from_ma

__all__ = ["limit_answered", "limit_command", "limit_sent", "limit_wanted", "tell_outcome"]

_DOUBTS_MAX: Final = 8
"""Default profiles in doubt that are told apart."""


def limit_command(
    memory: ChargerMemory,
    connector_id: int,
    limit_ma: int,
    *,
    purpose: LimitPurpose,
    transaction_id: str | None = None,
    hold_s: int | None = None,
    form: ProfileForm | None = None,
) -> SetLimit | None:
    """A limit in the form that the charger takes, or in `form` where that is known; None for a
    connector nobody described.

    `limit_ma` is the grid's side, where rows are counted; watts are what the vehicle may get of it,
    or below 0 has to give for it, rounded towards 0.
    """
    described = memory.described
    connector = None if described is None else described.connector(connector_id)
    if described is None or connector is None:
        return None
    grid_w = w_from_ma(abs(limit_ma), voltage_v=described.voltage_v, phases=connector.phases)
    limit_w = grid_w * described.efficiency_permille // 1_000
    if limit_ma < 0:
        limit_w = -(grid_w * 1_000 // described.efficiency_permille)
    command = SetLimit(
        connector_id=connector_id,
        purpose=purpose,
        limit_ma=limit_ma,
        limit_w=limit_w,
        unit="A",
        phases=connector.phases,
        transaction_id=transaction_id,
        hold_s=hold_s if limit_ma < 0 else None,
    )
    return (form or profile_form(memory)).written(command)


def limit_wanted(memory: ChargerMemory, wanted: ApplyLimit) -> SetLimit | None:
    """The command that brings a site's limit into force; None where there is no such connector, or
    its session is over, or it is to feed in by its default profile, which would outlive it."""
    if wanted.session_id is None:
        return limit_command(
            memory, wanted.connector_id, wanted.limit_ma, purpose=LimitPurpose.DEFAULT
        )
    session = memory.session(wanted.session_id)
    if session is None or session.ended_ms is not None:
        return None
    if session.connector_id != wanted.connector_id:
        return None
    form = profile_form(memory)
    if form.by_default and wanted.limit_ma < 0:
        return None
    return limit_command(
        memory,
        wanted.connector_id,
        wanted.limit_ma,
        purpose=LimitPurpose.DEFAULT if form.by_default else LimitPurpose.TRANSACTION,
        transaction_id=session.transaction_id,
        hold_s=wanted.hold_s,
        form=form,
    )


def limit_sent(turn: Turn, memory: ChargerMemory, command: SetLimit) -> bool:
    """A limit leaves for the station. Whether its default profile may be higher by that."""
    connector = memory.connector(command.connector_id)
    if connector is None or command.purpose is not LimitPurpose.DEFAULT:
        return False
    if connector.default_ma is None or connector.default_certain_ma == command.limit_ma:
        return False
    before_ma, doubts_ma = connector.default_most_ma, connector.default_sent_ma
    if len(doubts_ma) >= _DOUBTS_MAX:
        doubts_ma = (max(doubts_ma),)
    connector.default_sent_ma = (*doubts_ma, command.limit_ma)
    turn.changed = True
    return connector.default_most_ma != before_ma


def limit_answered(
    turn: Turn, memory: ChargerMemory, command: SetLimit, state: CommandState
) -> None:
    """Take in what became of a limit. A rejected one leaves in force what was, unless that had to
    be cleared before; anything else but an acceptance leaves it unknown."""
    connector = memory.connector(command.connector_id)
    if connector is None:
        return
    if state is CommandState.REJECTED and not command.clear_first:
        doubts_ma = connector.default_sent_ma
        if command.purpose is LimitPurpose.DEFAULT and doubts_ma[-1:] == (command.limit_ma,):
            # The same may be in doubt from before: this one alone is known not to be in force.
            connector.default_sent_ma = doubts_ma[:-1]
            turn.changed = True
        return
    accepted = state is CommandState.ACCEPTED
    known_ma = command.limit_ma if accepted else None
    if command.purpose is not LimitPurpose.DEFAULT:
        connector.limit_ma = known_ma
        return
    before = (connector.default_ma, connector.default_sent_ma)
    if accepted or command.clear_first:
        connector.default_ma, connector.default_sent_ma = known_ma, ()
    # Else the profile has replaced the one before, or has not: nothing else can be in force.
    turn.changed |= before != (connector.default_ma, connector.default_sent_ma)
    if command.transaction_id is not None or memory.open_session_on(connector.id) is None:
        connector.limit_ma = known_ma


def tell_outcome(
    turn: Turn, limit: ApplyLimit, state: CommandState, *, superseded: bool = False
) -> None:
    """Tell the site what became of a limit; `superseded`: it was no longer wanted."""
    turn.tell_site(
        LimitOutcome(turn.charger_id, limit.connector_id, limit.limit_id, state, superseded)
    )
