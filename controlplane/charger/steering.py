"""In which form a charger takes charging profiles, and what it is asked to measure.

Every field of a form is taken from the first of these that speaks of it:

1. the description: `limit_unit`, and the profiles of quirks that it names;
2. what was learned: the charger refused one form and accepted another;
3. the profiles of quirks that match what it said when it booted;
4. what it reports of itself;
5. the form that the specifications lead one to expect.

Learning is bounded: a charger that has never accepted a profile and refuses for the second time is
sent the refused one in other forms, each once for one firmware; what is accepted is remembered and
journalled. One refusal teaches nothing: chargers refuse for passing reasons, too. The invariant: a
form changes only with a boot, a description, a report, or a refusal."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, Literal

import msgspec

from controlplane.charger.memory import ChargerMemory
from controlplane.charger.quirks import Quirks
from controlplane.charger.turn import Turn
from controlplane.ocpp.commands import CommandResult, CommandState, LimitPurpose, SetLimit
from controlplane.ocpp.dialect import Dialect, limit_value

__all__ = [
    "FORM_ERRORS",
    "ProfileForm",
    "limit_answered_by",
    "measurand_lists",
    "profile_form",
    "quirk_sources",
]

_REFUSALS_MIN: Final = 2
"""Refusals in a row after which other forms are tried."""
_TRANSACTION_REFUSALS_MIN: Final = 8
"""Profiles of transactions refused by a charger that never took one, after which the default
profile is used instead."""
_TRANSACTION_AGE_MS: Final = 60_000
"""There are chargers that refuse the profile of a transaction that has just begun, and every one
refuses that of a transaction which it only tells of late."""

FORM_ERRORS: Final = frozenset(
    {
        "FormationViolation",
        "FormatViolation",
        "OccurenceConstraintViolation",
        "OccurrenceConstraintViolation",
        "PropertyConstraintViolation",
        "TypeConstraintViolation",
    }
)
"""Error codes by which a charger says that it does not take a profile like this. NotSupported, be
it a status or a code, and NotImplemented mean that it takes none."""

_SIMPLER: Final = (
    Quirks(decimals=0),
    Quirks(phases="left_out"),
    Quirks(profile_kind="absolute"),
    Quirks(profile_kind="absolute", phases="left_out", decimals=0),
    Quirks(unit="W"),
    Quirks(unit="A"),
    Quirks(unit="W", profile_kind="absolute"),
    Quirks(stack_level=1),
    Quirks(clear_before_set=True),
)
"""What is tried, one after the other, where a profile was refused and none was ever accepted."""


class ProfileForm(msgspec.Struct, frozen=True):
    """How a charger takes charging profiles; the fields are those of `SetLimit`."""

    unit: Literal["A", "W"] = "A"
    stack_level: int = 0
    relative: bool = True
    by_default: bool = False
    """A running transaction is limited by the default profile."""
    decimals: int = 1
    phases_stated: bool = True
    clear_first: bool = False

    def written(self, command: SetLimit) -> SetLimit:
        """The command in this form; its purpose stays."""
        return msgspec.structs.replace(
            command,
            unit=self.unit,
            stack_level=self.stack_level,
            relative=self.relative,
            decimals=self.decimals,
            phases_stated=self.phases_stated,
            clear_first=self.clear_first,
        )


def quirk_sources(memory: ChargerMemory) -> Iterator[Quirks]:
    """What deviates, the sources that go first before the others."""
    described = memory.described
    _, quirks = memory.quirks()
    learned = msgspec.convert(memory.learned.form, Quirks)
    if described is not None and described.unit is not None:
        yield Quirks(unit=described.unit.value)
    if described is not None and described.quirks:
        yield quirks
        yield learned
    else:
        yield learned
        yield quirks


def profile_form(memory: ChargerMemory, trial: Quirks | None = None) -> ProfileForm:
    """The form for this charger; with a `trial`, the form that is tried instead."""
    sources = list(quirk_sources(memory))
    if trial is not None:
        # The owner's word is not tried against.
        overriding = (
            0
            if memory.described is None
            else bool(memory.described.unit) + bool(memory.described.quirks)
        )
        sources.insert(overriding, trial)
    unit: Literal["A", "W"] | None = None
    stack_level: int | None = None
    kind = steer_by = phases = None
    decimals: int | None = None
    clear: bool | None = None
    for said in reversed(sources):
        unit = said.unit or unit
        stack_level = stack_level if said.stack_level is None else said.stack_level
        kind = said.profile_kind or kind
        steer_by = said.steer_by or steer_by
        phases = said.phases or phases
        decimals = decimals if said.decimals is None else said.decimals
        clear = clear if said.clear_before_set is None else said.clear_before_set
    capability = memory.capability
    if unit is None:
        unit = "W" if capability.units == ("W",) else "A"
    highest = capability.stack_level_max
    level = stack_level or 0
    return ProfileForm(
        unit=unit,
        stack_level=level if highest is None else min(level, highest),
        relative=kind != "absolute",
        by_default=steer_by == "default",
        decimals=1 if decimals is None else decimals,
        phases_stated=phases != "left_out",
        clear_first=bool(clear),
    )


# --- learning -------------------------------------------------------------------------------------


def limit_answered_by(
    turn: Turn, memory: ChargerMemory, command: SetLimit, result: CommandResult
) -> SetLimit | None:
    """Learn from what became of a limit; the same limit in another form, if one is to be tried at
    once."""
    if result.state is CommandState.ACCEPTED:
        _accepted(turn, memory, command)
        return None
    refused = (result.state is CommandState.REJECTED and result.status != "NotSupported") or (
        result.state is CommandState.ERROR and result.error_code in FORM_ERRORS
    )
    if not refused or _said(memory, "learn") is False:
        return None
    learned = memory.learned
    if learned.proven:
        if command.purpose is LimitPurpose.TRANSACTION and not learned.steers_transactions:
            return _transaction_refused(turn, memory, command)
        return None
    learned.refused += 1
    turn.changed = True
    return _next_form(turn, memory, command) if learned.refused >= _REFUSALS_MIN else None


def _said(memory: ChargerMemory, field: str) -> object:
    """What the first source that speaks of a field says."""
    for source in quirk_sources(memory):
        value = getattr(source, field)
        if value is not None:
            return value
    return None


def _accepted(turn: Turn, memory: ChargerMemory, command: SetLimit) -> None:
    learned = memory.learned
    if command.purpose is LimitPurpose.TRANSACTION:
        # Written with the next snapshot; the next profile of a transaction says it again.
        learned.steers_transactions = True
    if learned.proven:
        return
    learned.proven = turn.changed = True
    learned.refused = 0
    for trial in _SIMPLER[: learned.tried]:
        form = profile_form(memory, trial)
        if form.written(command) == command and form != profile_form(memory):
            _learn(turn, memory, trial)
            return


def _learn(turn: Turn, memory: ChargerMemory, quirk: Quirks) -> None:
    said: dict[str, str | int | bool] = {
        name: value
        for name in Quirks.__struct_fields__
        if isinstance(value := getattr(quirk, name), str | int)
    }
    memory.learned.form |= said
    turn.changed = True
    turn.emit("charger.quirk_learned", **said)


def _next_form(turn: Turn, memory: ChargerMemory, command: SetLimit) -> SetLimit | None:
    """The refused limit in the next form that differs from all that were tried."""
    learned = memory.learned
    seen = {
        _looks(profile_form(memory, trial).written(command))
        for trial in (None, *_SIMPLER[: learned.tried])
    }
    while learned.tried < len(_SIMPLER):
        wanted = profile_form(memory, _SIMPLER[learned.tried]).written(command)
        learned.tried += 1
        turn.changed = True
        if _looks(wanted) not in seen:
            return wanted
    return None


def _looks(command: SetLimit) -> tuple[object, ...]:
    """What of a limit is seen on the wire."""
    phases = command.phases if command.phases < 3 and command.phases_stated else None
    return (
        command.unit,
        float(limit_value(command)),
        command.stack_level,
        command.relative,
        phases,
        command.clear_first,
    )


def _transaction_refused(turn: Turn, memory: ChargerMemory, command: SetLimit) -> SetLimit | None:
    """A charger that takes default profiles, never took one of a transaction, and refuses it again
    and again while the transaction runs, is steered by the default one."""
    session = memory.open_session_on(command.connector_id)
    if (
        session is None
        or session.transaction_id != command.transaction_id
        or session.history
        or turn.now_ms - max(session.started_ms, session.started_received_ms) < _TRANSACTION_AGE_MS
    ):
        return None
    learned = memory.learned
    learned.refused += 1
    turn.changed = True
    if learned.refused < _TRANSACTION_REFUSALS_MIN:
        return None
    _learn(turn, memory, Quirks(steer_by="default"))
    learned.refused = 0
    return msgspec.structs.replace(command, purpose=LimitPurpose.DEFAULT)


# --- measurands -----------------------------------------------------------------------------------

_BY_NEED: Final = (
    "Energy.Active.Import.Register",
    "Power.Active.Import",
    "Current.Import",
    "SoC",
    "Energy.Active.Export.Register",
    "Power.Active.Export",
    "Current.Export",
)
"""What is left away last, first, where a charger takes only so many."""


def measurand_lists(memory: ChargerMemory, dialect: Dialect) -> tuple[str, ...]:
    """The lists of measurands that a charger is asked for, the best first; the next is tried where
    it refuses one. None where its list is left alone: it cannot be changed, or must not be."""
    capability = memory.capability
    _, quirks = memory.quirks()
    if quirks.sampling == "leave" or capability.measurands_fixed:
        return ()
    if quirks.measurands:
        return (",".join(quirks.measurands),)
    lists = [
        [name for name in text.split(",") if name not in quirks.measurands_never]
        for text in dialect.measurands
    ]
    if capability.measurands:
        lists = [[name for name in lists[0] if name in capability.measurands]]
    else:
        direct_current = memory.described is not None and memory.described.direct_current
        feeds_in = bool(capability.bidirectional)
        sufficient = [
            name
            for name in lists[0]
            if (direct_current or feeds_in or name != "SoC") and (feeds_in or "Export" not in name)
        ]
        if sufficient and set(sufficient) <= set(capability.measurands_set):
            # It has these: nothing is tried out on a charger that may restart for it.
            lists = [sufficient]
    texts = dict.fromkeys(_fitting(memory, names) for names in lists)
    found = tuple(text for text in texts if text)
    accepted = memory.learned.measurands
    return found[found.index(accepted) :] if accepted in found else found


def _fitting(memory: ChargerMemory, names: list[str]) -> str:
    """As much of a list as the charger takes."""
    capability = memory.capability
    items_max = capability.measurands_items_max or len(names)
    chars_max = capability.measurands_chars_max
    kept = sorted(names, key=lambda name: _BY_NEED.index(name) if name in _BY_NEED else 99)
    kept = kept[:items_max]
    while kept and chars_max is not None and len(",".join(kept)) > chars_max:
        kept.pop()
    return ",".join(name for name in names if name in kept)
