"""What stops a connector from being given more: the words that a plan is explained with."""

from __future__ import annotations

from enum import Enum, auto

import msgspec

__all__ = ["Cause", "Why"]


class Cause(Enum):
    """What stops a connector from being given more."""

    NO_SESSION = auto()
    UNSTEERED = auto()
    """The charger is offline, not settled, unknown, or refuses limits."""
    OWN_MAXIMUM = auto()
    VEHICLE_MAXIMUM = auto()
    """The vehicle said that it takes no more."""
    HABIT = auto()
    """It draws less; the rest is lent."""
    HOLDING = auto()
    NUDGED = auto()
    """It sleeps: offered nothing for a moment, so that the next offer wakes it."""
    ROW = auto()
    PAUSED = auto()
    TIGHT = auto()
    STALE = auto()
    CLOSED = auto()
    """Outside opening hours, and no rule serves it then."""
    UNAUTHORISED = auto()
    """Its token is refused, or not judged yet."""
    OVERRIDE = auto()
    """An operator's limit on its connector."""
    EXTERNAL = auto()
    """A limit that another system has set on its charger."""
    PLAN = auto()
    """The plan wants no more of it at present."""
    SURPLUS = auto()
    """The sun does not give more, and the session is not urgent."""
    FEEDS = auto()
    """It feeds in."""
    GRID = auto()
    """The grid wants the site to draw less than its building does, and the session can wait."""


class Why(msgspec.Struct, frozen=True):
    """The cause, and the row where one is to blame."""

    cause: Cause
    row: int = -1
