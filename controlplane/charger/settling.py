"""What a station is told once it has settled after a boot or a reconnect.

First the default profile of every connector, because it is what makes silence safe: the site counts
a charger without one with its hardware's rating. Then sampling: how often, and which measurands,
from the fullest list to the shortest, since there are stations that refuse a list for one entry. A
refusal never keeps a station from being settled."""

from __future__ import annotations

from collections.abc import Iterator

from controlplane.charger.limits import limit_command
from controlplane.charger.memory import ChargerMemory
from controlplane.config import ActorSettings
from controlplane.ocpp.commands import Command, LimitPurpose, SetSettings
from controlplane.ocpp.dialect import Dialect
from controlplane.units import MS_PER_S

__all__ = ["default_limits", "preparations", "seconds", "simpler_sampling"]


def seconds(duration_ms: int) -> int:
    """A duration as stations are told it: whole seconds, at least 1."""
    return max(1, duration_ms // MS_PER_S)


def default_limits(memory: ChargerMemory) -> Iterator[Command]:
    """The default profile of every described connector: what it may draw when nobody steers it."""
    described = memory.described
    if described is None:
        return
    for connector in described.connectors:
        command = limit_command(
            memory,
            connector.id,
            min(described.offline_ma, connector.current_max_ma),
            purpose=LimitPurpose.DEFAULT,
        )
        if command is not None:
            yield command


def preparations(
    memory: ChargerMemory, dialect: Dialect, settings: ActorSettings
) -> Iterator[Command]:
    """The commands, in order; none for a charger that belongs to no site."""
    if memory.described is None:
        return
    yield from default_limits(memory)
    yield dialect.sampling(seconds(settings.meter_interval_ms))
    yield SetSettings({dialect.measurands_setting: dialect.measurands[0]})


def simpler_sampling(dialect: Dialect, refused: Command) -> Command | None:
    """The next list of measurands after one was refused; None after the last, or if it was
    something else that was refused."""
    if not isinstance(refused, SetSettings):
        return None
    tried = refused.settings.get(dialect.measurands_setting)
    if tried not in dialect.measurands:
        return None
    rest = dialect.measurands[dialect.measurands.index(tried) + 1 :]
    return SetSettings({dialect.measurands_setting: rest[0]}) if rest else None
