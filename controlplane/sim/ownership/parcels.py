"""What hosts and gateways of the model tell each other: `runtime/wire.py`, reduced to what
ownership depends on. A station stands for a shard."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from controlplane.sim.ownership.host import Host

__all__ = [
    "Announcement",
    "Call",
    "Connection",
    "Heard",
    "Introduced",
    "Reintroduce",
    "ToStation",
    "Withdrawal",
]


class Connection(NamedTuple):
    """One socket of a station."""

    gateway: str
    incarnation: str
    serial: int


class Announcement(NamedTuple):
    """Host to gateway."""

    host: Host
    epochs: Mapping[int, int]
    serial: int


class Withdrawal(NamedTuple):
    """Host to gateway."""

    host: Host
    shards: frozenset[int]
    serial: int


class Heard(NamedTuple):
    """Gateway to host."""

    serial: int


class Reintroduce(NamedTuple):
    """Host to gateway."""

    host: Host
    shards: frozenset[int]


class ToStation(NamedTuple):
    """Host to gateway: the answer to event `number`, or a command."""

    shard: int
    epoch: int
    connection: Connection
    number: int
    command: bool


class Introduced(NamedTuple):
    """Gateway to host."""

    shard: int
    connection: Connection


class Call(NamedTuple):
    """Gateway to host: event `number` of a station, which counts them."""

    shard: int
    connection: Connection
    number: int
