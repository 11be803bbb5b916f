"""What a station is told once it has settled after a boot or a reconnect.

First the default profile of every connector, because it is what makes silence safe: the site counts
a charger without one with its hardware's rating. Before the first, whatever another system left
behind is cleared: a profile of a higher stack level would go before ours, and a 2.0.1 station
refuses a second one of the same level (part 2 K01.FR.52 and 53). That is done once and never again:
to clear our own default profile would let vehicles draw what the hardware can until the next one is
in force, and an acknowledgement that was lost is no reason for that. Then sampling: how often,
and which measurands, from the fullest list to the shortest, since there are stations that refuse a
list for one entry. Before that, how it authorises by itself, where its site says so. Last the main
meter, where it measures the building. A refusal never keeps a station from being settled."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from enum import Enum
from typing import Final

from controlplane.actor import CancelTimer, SetTimer
from controlplane.charger.inventory import INVENTORY_TIMER, Inventory
from controlplane.charger.limits import limit_command
from controlplane.charger.memory import ChargerMemory
from controlplane.charger.offline import access_wanted
from controlplane.charger.steering import ProfileForm, measurand_lists, profile_form
from controlplane.charger.turn import Turn
from controlplane.config import ActorSettings
from controlplane.ocpp.commands import (
    ClearLimits,
    Command,
    CommandState,
    LimitPurpose,
    SetLimit,
    SetSettings,
)
from controlplane.ocpp.dialect import Dialect
from controlplane.units import MS_PER_S

__all__ = ["DEFAULT_TIMER", "SETTLE_TIMER", "Settling", "seconds"]

SETTLE_TIMER: Final = "settle"
DEFAULT_TIMER: Final = "default"

_DEFAULT_REFUSALS_MAX: Final = 8
"""After so many refusals on one connection a default profile is not tried again; each one doubles
the pause. Silence does not: it is the line's fault more often than the station's."""

_REPLAY_MAX_SETTLINGS: Final = 15
"""How much longer than usual a station may replay its history before it is sent a command."""


def seconds(duration_ms: int) -> int:
    """A duration as stations are told it: whole seconds, at least 1."""
    return max(1, duration_ms // MS_PER_S)


def _default_limits(memory: ChargerMemory) -> Iterator[SetLimit]:
    """The default profile of every described connector: what it may draw when nobody steers it."""
    described = memory.described
    if described is None:
        return
    for connector in described.connectors:
        if _steered_by_default(memory, connector.id):
            continue
        command = limit_command(
            memory,
            connector.id,
            min(described.offline_ma, connector.current_max_ma),
            purpose=LimitPurpose.DEFAULT,
        )
        if command is not None:
            yield command


def _steered_by_default(memory: ChargerMemory, connector_id: int) -> bool:
    """Whether the default profile of a connector holds the limit of a running session."""
    if memory.open_session_on(connector_id) is None or not profile_form(memory).by_default:
        return False
    connector = memory.connectors.get(connector_id)
    return connector is not None and connector.limit_ma is not None


def _default_missing(memory: ChargerMemory) -> bool:
    """Whether some described connector has not acknowledged the default profile it is to have."""
    for wanted in _default_limits(memory):
        connector = memory.connectors.get(wanted.connector_id)
        if connector is None or connector.default_certain_ma != wanted.limit_ma:
            return True
    return False


def _metering(
    memory: ChargerMemory, dialect: Dialect, settings: ActorSettings
) -> Iterator[Command]:
    """What a station is told to measure, in order; nothing for one that belongs to no site."""
    if memory.described is None:
        return
    access = access_wanted(memory.described.authorisation)
    if access is not None:
        yield access
    if memory.probing.forbidden:
        return
    if not memory.capability.interval_fixed:
        interval_s = seconds(settings.meter_interval_ms)
        least_s = memory.quirks()[1].sample_interval_min_s or 1
        yield dialect.sampling(max(interval_s, least_s))
    for measurands in measurand_lists(memory, dialect)[:1]:
        yield SetSettings({dialect.measurands_setting: measurands})
    if memory.described.main_meter_interval_s is not None:
        yield dialect.main_meter(memory.described.main_meter_interval_s)


class Phase(Enum):
    """How far a station is on its connection."""

    RESTING = "resting"
    """It is left in peace, or there is no connection."""
    PREPARING = "preparing"
    SETTLED = "settled"


class Settling:
    """How far one station is, and what it is told next."""

    __slots__ = (
        "_default_refusals",
        "_default_refused",
        "_form",
        "_inventory",
        "_memory",
        "_metering_due",
        "_phase",
        "_refused",
        "_rest_until_ms",
        "_settings",
    )

    def __init__(
        self, memory: ChargerMemory, settings: ActorSettings, inventory: Inventory
    ) -> None:
        self._memory = memory
        self._settings = settings
        self._inventory = inventory
        self._metering_due = False
        self._refused = False
        self._form = ProfileForm()
        self._phase = Phase.RESTING
        self._default_refusals = 0
        self._default_refused = False
        """Whether the latest attempt was refused for some connector."""
        self._rest_until_ms = 0

    @property
    def settled(self) -> bool:
        return self._phase is Phase.SETTLED

    def rest(self, turn: Turn, connection: str) -> None:
        """Leave the station in peace for a while; then it is prepared, by the next host if need
        be."""
        self._phase = Phase.RESTING
        if self._memory.settled_connection == connection:
            self._memory.settled_connection = ""
            turn.changed = True
        settle_ms = self._settings.settle_ms
        self._rest_until_ms = turn.now_ms + _REPLAY_MAX_SETTLINGS * settle_ms
        turn.effects.append(SetTimer(SETTLE_TIMER, turn.now_ms + settle_ms))

    def replayed(self, turn: Turn) -> None:
        """The station is still telling what happened before it was connected: none of that is to be
        steered, so it is left in peace a little longer, within bounds."""
        if self._phase is not Phase.RESTING or not self._rest_until_ms:
            return
        at_ms = min(turn.now_ms + self._settings.settle_ms, self._rest_until_ms)
        turn.effects.append(SetTimer(SETTLE_TIMER, at_ms))

    def stop(self, turn: Turn) -> None:
        """The connection is gone."""
        if self._phase is Phase.RESTING:
            turn.effects.append(CancelTimer(SETTLE_TIMER))
        self._phase = Phase.RESTING
        self._inventory.forget(turn)

    def resume(self, turn: Turn) -> None:
        """The station has noticed nothing: it is as settled as it was on the host before."""
        self._phase = Phase.SETTLED
        self._default_refusals = 0
        self._retry_default_later(turn)
        if self._inventory.wanted():
            # What had come of its report went with the host before.
            self._metering_due = True
            turn.effects.append(SetTimer(INVENTORY_TIMER, turn.now_ms + self._settings.settle_ms))

    def rested(self, turn: Turn) -> Iterable[Command]:
        """The station has had its peace; returned is what it is told now."""
        if self._phase is not Phase.RESTING:
            return ()
        self._phase = Phase.PREPARING
        self._metering_due = True
        memory = self._memory
        self._form = profile_form(memory)
        question = (self._inventory.question(turn),) if self._inventory.wanted() else ()
        if memory.described is None or memory.cleared:
            return (*_default_limits(memory), *question)
        for connector in memory.connectors.values():
            connector.default_ma, connector.default_sent_ma = None, ()
        turn.changed = True
        return (ClearLimits(LimitPurpose.DEFAULT), *_default_limits(memory), *question)

    def metering(self, dialect: Dialect) -> Iterable[Command]:
        """The rest of what it is told, once it is known what it can be asked to measure: by its
        report, or because none comes."""
        if not self._metering_due or self._inventory.collecting or self._phase is Phase.RESTING:
            return ()
        self._metering_due = self._refused = False
        told = tuple(_metering(self._memory, dialect, self._settings))
        if self._form != profile_form(self._memory) and _default_missing(self._memory):
            # It said how it takes profiles after the default ones had been refused.
            return (*_default_limits(self._memory), *told)
        return told

    def report_overdue(self, turn: Turn) -> Iterable[Command]:
        """The report is late: go on without it, or ask anew on the next host."""
        if self._inventory.overdue(turn) or not (self.settled and self._inventory.wanted()):
            return ()
        return (self._inventory.question(turn),)

    def answered(self, turn: Turn, dialect: Dialect, command: Command, state: CommandState) -> None:
        """Take in what the station said to one of the preparations."""
        silent = state in (CommandState.TIMED_OUT, CommandState.OFFLINE)
        if isinstance(command, ClearLimits) and not silent:
            self._memory.cleared = turn.changed = True
        if isinstance(command, SetLimit) and state is not CommandState.ACCEPTED and self.settled:
            if not silent and not self._default_refused:
                self._default_refused = True
                self._default_refusals += 1
            self._retry_default_later(turn)
        if not isinstance(command, SetSettings) or state is not CommandState.ACCEPTED:
            return
        accepted = command.settings.get(dialect.measurands_setting)
        if accepted is not None and self._refused:
            self._memory.learned.measurands = accepted
            turn.changed = True
            turn.emit("charger.quirk_learned", measurands=accepted)

    def prepared(self, turn: Turn, connection: str) -> bool:
        """Everything it was told has been answered; whether it is settled by that."""
        if self._phase is not Phase.PREPARING:
            return False
        self._phase = Phase.SETTLED
        self._memory.settled_connection = connection
        turn.changed = True
        turn.emit(
            "charger.settled", default_ma=max(self._memory.defaults_ma().values(), default=None)
        )
        self._default_refusals = 0
        self._retry_default_later(turn)
        return True

    def default_doubted(self, turn: Turn) -> None:
        """A limit that was to be a default profile has failed."""
        if self.settled:
            self._retry_default_later(turn)

    def default_due(self, turn: Turn) -> Iterable[Command]:
        """Time to try the default profiles again, if they are still missing."""
        if not (self.settled and _default_missing(self._memory)):
            return ()
        self._default_refused = False
        return _default_limits(self._memory)

    def _retry_default_later(self, turn: Turn) -> None:
        """A connector without a default profile counts with its hardware's rating, one that keeps
        an older profile with the larger: worth asking again, but not for ever."""
        missing = _default_missing(self._memory)
        if missing and self._default_refusals < _DEFAULT_REFUSALS_MAX:
            pause_ms = self._settings.call_timeout_ms // 2 << self._default_refusals
            turn.effects.append(SetTimer(DEFAULT_TIMER, turn.now_ms + pause_ms))

    def simpler_sampling(self, dialect: Dialect, refused: Command) -> Command | None:
        """The next list of measurands after one was refused; None after the last, or if it was
        something else that was refused."""
        if not isinstance(refused, SetSettings):
            return None
        tried = refused.settings.get(dialect.measurands_setting)
        lists = measurand_lists(self._memory, dialect)
        if tried not in lists:
            return None
        self._refused = True
        rest = lists[lists.index(tried) + 1 :]
        return SetSettings({dialect.measurands_setting: rest[0]}) if rest else None
