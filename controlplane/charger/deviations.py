"""What a station does another way than its specification has it: told once, and kept where it
carries a transaction.

The invariant: a station that repeats a fault for ever fills neither the journal nor the
quarantine."""

from __future__ import annotations

import zlib
from typing import Final

from controlplane.charger.memory import ChargerMemory
from controlplane.charger.messages import StationGarbled
from controlplane.charger.turn import Turn

__all__ = ["Deviations"]

_TOLD_MAX: Final = 128
_GARBLED_MAX: Final = 16


class Deviations:
    """The deviations of one charger. What was told is told again by the next host."""

    __slots__ = ("_memory", "_told")

    def __init__(self, memory: ChargerMemory) -> None:
        self._memory = memory
        self._told: set[str] = set()

    def mended(self, turn: Turn, action: str, names: tuple[str, ...]) -> None:
        """A message was mended before it could be taken."""
        for name in names:
            what, _, where = name.partition(":")
            place = f"{action}.{where}" if where else action
            if len(self._told) < _TOLD_MAX and f"{what}:{place}" not in self._told:
                self._told.add(f"{what}:{place}")
                turn.deviation(what, place=place)

    def garbled(self, turn: Turn, message: StationGarbled) -> None:
        """A message about a transaction could not be read; it is quarantined once."""
        check_sum = zlib.crc32(message.text.encode())
        memory = self._memory
        if check_sum in memory.garbled:
            return
        memory.garbled = [*memory.garbled[-_GARBLED_MAX + 1 :], check_sum]
        turn.changed = True
        turn.quarantine_text(message.action, message.text, message.fault)
