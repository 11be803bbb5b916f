"""Stations that restart when they are told what to measure.

The invariant: a station that has restarted twice in a row soon after its sampling was set is not
told again for a day, or until its firmware is another: it measures what it likes, and charges."""

from __future__ import annotations

from typing import Final

import msgspec

from controlplane.units import MS_PER_HOUR

__all__ = ["Probing"]

_SOON_MS: Final = 180_000
_BOOTS_MAX: Final = 2
_PEACE_MS: Final = 24 * MS_PER_HOUR


class Probing(msgspec.Struct, array_like=True):
    """What became of one station when its sampling was set."""

    told_ms: int = 0
    """When it was told last; 0 where a restart has been put down to that already."""
    boots: int = 0
    """Restarts in a row soon after that."""
    booted_ms: int = 0
    firmware: str = ""

    @property
    def forbidden(self) -> bool:
        """Whether its sampling is to be left alone."""
        return self.boots >= _BOOTS_MAX

    def told(self, now_ms: int) -> None:
        """It was told what to measure, whatever it answered."""
        self.told_ms = now_ms

    def booted(self, now_ms: int, firmware: str) -> bool:
        """It restarted; whether this is when its sampling becomes forbidden."""
        before = self.forbidden
        soon = self.told_ms and now_ms - self.told_ms <= _SOON_MS
        if firmware != self.firmware or now_ms - self.booted_ms > _PEACE_MS:
            self.boots = 0
        if soon:
            self.boots += 1
        elif not self.forbidden:
            self.boots = 0
        self.told_ms, self.booted_ms, self.firmware = 0, now_ms, firmware
        return self.forbidden and not before
