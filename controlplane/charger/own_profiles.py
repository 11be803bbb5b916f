"""An operator's own charging profiles, as far as the site's account of what may be drawn has to
know them.

A default profile of an operator's goes before Loadstar's, which has a lower stack level, and says
what silence allows as long as it is in the station. The invariants: none is accepted that would
take the place of one of Loadstar's, or that the station is about to lose because what others left
in it is cleared; one that the station may have counts from before it leaves until it surely is
gone, with the most that it ever allows. Sources: OCPP 1.6 section 3.13.2, 2.0.1 part 2 K01."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Final

from controlplane.charger.memory import ChargerMemory, OwnDefault
from controlplane.charger.steering import FORM_ERRORS, profile_form
from controlplane.charger.turn import Turn
from controlplane.errors import Refusal
from controlplane.ocpp.commands import (
    ChargingProfile,
    ClearProfile,
    Command,
    CommandResult,
    CommandState,
    ProfilePurpose,
    SetProfile,
)

__all__ = ["own_profile_answered", "own_profile_refusal", "own_profile_sent"]

_PROFILES_MAX: Final = 16
_DOUBTS_MAX: Final = 4
_NOT_TAKEN: Final = FORM_ERRORS | {"NotImplemented", "NotSupported"}
_ANYTHING: Final = OwnDefault(0, "A", 10**9, None)
"""As much as the hardware can."""


def own_profile_refusal(memory: ChargerMemory, command: Command) -> Refusal | None:
    """Why the station is not told this."""
    if not isinstance(command, SetProfile):
        return None
    profile, form = command.profile, profile_form(memory)
    facts: dict[str, str] = {"charger_id": memory.charger_id}
    if profile.purpose is ProfilePurpose.DEFAULT:
        if not memory.cleared:
            words = (
                "default profiles that a charger holds are removed when it is prepared for the "
                "first time, which it has not been yet"
            )
            return Refusal("precondition", "CHARGER_NOT_PREPARED", words, facts)
        if form.by_default:
            words = "this charger's sessions are limited by its default profile"
            return Refusal("precondition", "DEFAULT_PROFILE_STEERS", words, facts)
        known = memory.own_defaults
        if len(known) >= _PROFILES_MAX and profile.profile_id not in known:
            words = f"the charger has {_PROFILES_MAX} default profiles of yours; clear one"
            return Refusal("exhausted", "OWN_PROFILES_FULL", words, facts)
    of_loadstar = profile.purpose in (ProfilePurpose.DEFAULT, ProfilePurpose.TRANSACTION)
    if of_loadstar and profile.stack_level == form.stack_level:
        words = (
            f"stack level {form.stack_level} is that of Loadstar's profiles of this purpose, whose "
            "place it would take"
        )
        return Refusal("invalid_input", "STACK_LEVEL_TAKEN", words, facts)
    return None


def own_profile_sent(turn: Turn, memory: ChargerMemory, command: Command) -> bool:
    """A command leaves for the station. Whether a connector may default to more by that."""
    if not isinstance(command, SetProfile) or command.profile.purpose is not ProfilePurpose.DEFAULT:
        return False
    before = memory.defaults_ma()
    number = command.profile.profile_id
    known = (*memory.own_defaults.get(number, ()), _counted(command.connector_id, command.profile))
    memory.own_defaults[number] = known if len(known) <= _DOUBTS_MAX else (_ANYTHING,)
    turn.changed = True
    return before != memory.defaults_ma()


def own_profile_answered(
    turn: Turn, memory: ChargerMemory, command: Command, result: CommandResult
) -> None:
    """What became of a command that was sent. Without a clear word the profile may be there, or
    may not, and counts."""
    accepted = result.state is CommandState.ACCEPTED
    if isinstance(command, ClearProfile):
        if accepted or result.status == "Unknown":
            _keep(turn, memory, command.profile_id, ())
        return
    if not isinstance(command, SetProfile) or command.profile.purpose is not ProfilePurpose.DEFAULT:
        return
    number = command.profile.profile_id
    known = memory.own_defaults.get(number, ())
    refused = result.state is CommandState.REJECTED or result.error_code in _NOT_TAKEN
    if accepted:
        _keep(turn, memory, number, (_counted(command.connector_id, command.profile),))
    elif refused and known != (_ANYTHING,):
        _keep(turn, memory, number, known[:-1])


def _keep(turn: Turn, memory: ChargerMemory, profile_id: int, known: Iterable[OwnDefault]) -> None:
    kept = tuple(known)
    turn.changed |= memory.own_defaults.get(profile_id, ()) != kept
    if kept:
        memory.own_defaults[profile_id] = kept
    else:
        memory.own_defaults.pop(profile_id, None)


def _counted(connector_id: int, profile: ChargingProfile) -> OwnDefault:
    """The highest of its limits, as if it were for the fewest of its phases; when it is in force
    is not looked at."""
    highest = max(period.limit for period in profile.periods)
    phases = min((each.phases for each in profile.periods if each.phases), default=None)
    limit = math.ceil(highest * 1_000 if profile.unit == "A" else highest)
    return OwnDefault(connector_id, profile.unit, limit, phases)
