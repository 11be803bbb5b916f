"""Dynamic profiles and priority: what a 2.1 station asks of its limits while it charges.

The invariant: a station is never told a value that lets it draw more than it acknowledged on the
connector and than the site wants of it now. The ledger counts at least the former, so an answer to
a pull can lower a limit before its profile arrives, and never raise one."""

from __future__ import annotations

from typing import Final, Literal

import msgspec

from controlplane.charger.limits import limit_command
from controlplane.charger.memory import ChargerMemory, DynamicProfile
from controlplane.charger.steering import profile_form
from controlplane.charger.turn import Turn
from controlplane.ocpp.commands import LimitPurpose, SetPowerProfile, UpdateSchedule
from controlplane.ocpp.dialect import Answer, ScheduleAnswer, limit_value, profile_of
from controlplane.ocpp.v2x import PhaseValues, ProfileKind, ScheduleAsked, ScheduleValues

__all__ = ["limit_granted", "profile_set", "schedule_asked", "schedule_updated"]

_PROFILES_MAX: Final = 32


def schedule_asked(turn: Turn, memory: ChargerMemory, event: ScheduleAsked) -> Answer:
    """K28: the present values of a dynamic profile, or that there is none to give."""
    values = _present_values(memory, event.profile_id)
    turn.emit(
        "charger.schedule_pulled",
        profile_id=event.profile_id,
        given=None if values is None else msgspec.to_builtins(values),
    )
    return ScheduleAnswer(values)


def _present_values(memory: ChargerMemory, profile_id: int) -> ScheduleValues | None:
    known = memory.dynamic_profiles.get(profile_id)
    if known is not None:
        running = memory.open_session_on(known.connector_id) is not None
        purpose = LimitPurpose.TRANSACTION if running else LimitPurpose.DEFAULT
        allowed = _allowed(memory, known.connector_id, purpose, known.unit)
        # Whatever an operator's profile says, while the site has it feed in nothing is drawn.
        return None if allowed is None else _capped(known.values, max(0, allowed), known.phases)
    connector_id, ours = profile_of(profile_id)
    if connector_id == 0 or ours is None or memory.described is None:
        return None
    allowed = _allowed(memory, connector_id, ours, profile_form(memory).unit)
    if allowed is None or allowed >= 0:
        return None if allowed is None else ScheduleValues(limit=PhaseValues(allowed))
    feeds = PhaseValues(allowed)
    return ScheduleValues(limit=PhaseValues(0), discharge_limit=feeds, setpoint=feeds)


def _allowed(
    memory: ChargerMemory, connector_id: int, purpose: LimitPurpose, unit: Literal["A", "W"]
) -> float | None:
    """What the connector may draw: amperes a phase, or watts; None while that is not certain."""
    connector = memory.connectors.get(connector_id)
    if connector is None:
        return None
    if purpose is LimitPurpose.DEFAULT:
        allowed_ma = connector.default_certain_ma
    elif purpose is LimitPurpose.TRANSACTION and memory.open_session_on(connector_id) is not None:
        allowed_ma = connector.limit_ma
        if allowed_ma is not None and connector.wanted_ma is not None:
            allowed_ma = min(allowed_ma, connector.wanted_ma)
    else:
        return None
    if allowed_ma is None:
        return None
    command = limit_command(memory, connector_id, allowed_ma, purpose=purpose)
    return None if command is None else limit_value(msgspec.structs.replace(command, unit=unit))


def _capped(values: ScheduleValues, allowed: float, phases: int) -> ScheduleValues:
    """`values` with nothing above `allowed`; what a vehicle gives back needs no cap."""

    def cap(given: PhaseValues | None) -> PhaseValues | None:
        if given is None:
            return None
        if given.l2 is None and given.l3 is None:
            return PhaseValues(min(given.first, allowed))
        each = allowed / phases
        return PhaseValues(
            min(given.first, each),
            None if given.l2 is None else min(given.l2, each),
            None if given.l3 is None else min(given.l3, each),
        )

    limit = cap(values.limit) or PhaseValues(allowed)
    return msgspec.structs.replace(values, limit=limit, setpoint=cap(values.setpoint))


def limit_granted(memory: ChargerMemory, connector_id: int, limit_ma: int) -> None:
    """The site wants this of the running session from now on. It rides along in snapshots and is
    never written for its own sake: after a restart nothing is told until the station has
    acknowledged a limit anew."""
    connector = memory.connector(connector_id)
    if connector is not None:
        connector.wanted_ma = limit_ma


def profile_set(turn: Turn, memory: ChargerMemory, command: SetPowerProfile) -> None:
    """The station has a profile from now on; of a dynamic one it will ask the values."""
    profile = command.profile
    known = memory.dynamic_profiles.pop(profile.profile_id, None)
    if profile.kind is ProfileKind.DYNAMIC:
        if len(memory.dynamic_profiles) >= _PROFILES_MAX:
            del memory.dynamic_profiles[next(iter(memory.dynamic_profiles))]
        described = memory.described
        connector = None if described is None else described.connector(command.connector_id)
        memory.dynamic_profiles[profile.profile_id] = DynamicProfile(
            command.connector_id,
            profile.unit,
            profile.periods[0].values,
            # Amperes are each phase's own, however many there are.
            1 if profile.unit == "A" or connector is None else connector.phases,
        )
    turn.changed |= known is not None or profile.kind is ProfileKind.DYNAMIC


def schedule_updated(turn: Turn, memory: ChargerMemory, command: UpdateSchedule) -> None:
    """The station took new values; those that were not given stay."""
    known = memory.dynamic_profiles.get(command.profile_id)
    if known is not None:
        given = {
            name: value
            for name in command.values.__struct_fields__
            if (value := getattr(command.values, name)) is not None
        }
        known.values = msgspec.structs.replace(known.values, **given)
        turn.changed = True
