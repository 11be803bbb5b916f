"""Energy of a session from a register that may lie.

A session's energy is the sum of the register's *plausible* steps. A step that is negative, or
larger than the hardware could have delivered in the time, is reported for quarantine and adds
nothing: after it either the register comes back to where it was (a single wild value) or goes on
from where it jumped to (a reset, or a first reading of 0 before the real one), and energy is
counted on from there. So energy is never negative, never physically impossible, and never lost by
one bad value."""

from __future__ import annotations

from collections.abc import Sequence
from operator import le
from typing import Final

import msgspec

from controlplane.units import MS_PER_HOUR

__all__ = ["POWER_UNKNOWN_W", "Register", "deliverable_wh"]

POWER_UNKNOWN_W: Final = 4_000_000
"""Taken as the hardware's power while nobody has described it: above any connector built."""

_GRANULARITY_WH: Final = 1_000
"""Registers that count whole kilowatt-hours step by as much at once."""

_KWH_MIN: Final = 10
"""Below this a reading says too little to be taken for kilowatt-hours."""

_JITTER_WH: Final = 10
"""A register that is this little behind was rounded otherwise, not turned back."""


class Register(msgspec.Struct, array_like=True):
    """The register of one session. Instants are milliseconds UTC, energies watt-hours."""

    energy_wh: int = 0
    first_wh: int | None = None
    first_ms: int = 0
    last_wh: int = 0
    last_ms: int = 0
    last_received_ms: int = 0
    doubtful_wh: int | None = None
    doubtful_ms: int = 0
    begun: bool = False
    """The first reading is the one at the transaction's start; nothing before it counts."""
    in_kwh: bool = False
    """Some readings of it are kilowatt-hours that are called watt-hours."""
    unset_ms: int | None = None
    """The latest reading's time, if the clock had not been set."""
    floor_wh: int | None = None
    """Where the register began anew after it was turned back; None while it never was."""
    untimed: bool = False
    """The times of some readings were not the station's own, or were corrected."""

    def take(
        self,
        wh: int,
        at_ms: int,
        received_ms: int,
        *,
        power_max_w: int,
        begins: bool = False,
        unset_ms: int | None = None,
    ) -> str | None:
        """Take a reading into account; None, or why it is doubtful. `unset_ms` is what a clock
        showed that had not been set: from one such reading to the next it measures time all the
        same.

        Readings may come in any order: an earlier one than the first extends the session
        backwards until the one that `begins` it is there, one in between changes nothing.
        """
        unset_ms, self.unset_ms = self.unset_ms, unset_ms
        if at_ms < self.first_ms and self.begun:
            return None
        self.begun = self.begun or begins
        if self.first_wh is None:
            self.first_wh = self.last_wh = wh
            self.first_ms = self.last_ms = at_ms
            self.last_received_ms = received_ms
            return None
        if at_ms < self.first_ms:
            return self._extend_back(self.first_wh, wh, at_ms, power_max_w)
        if at_ms < self.last_ms:
            return None
        elapsed_ms = max(at_ms - self.last_ms, received_ms - self.last_received_ms)
        if unset_ms is not None and self.unset_ms is not None:
            elapsed_ms = max(elapsed_ms, self.unset_ms - unset_ms)
        step_wh = wh - self.last_wh
        if -_JITTER_WH <= step_wh < 0:
            self.doubtful_wh = None
            return None
        if 0 <= step_wh <= deliverable_wh(power_max_w, elapsed_ms):
            self._go_on(wh, at_ms, received_ms, step_wh)
            return None
        if self._goes_on_from_doubt(wh, at_ms, received_ms, power_max_w):
            return None
        if step_wh < 0 and self._known_before(wh):
            return "register_decreased"
        if self._goes_on_in_kwh(wh, at_ms, received_ms, power_max_w):
            return None
        decreased = wh < self.last_wh
        self.doubtful_wh, self.doubtful_ms = wh, at_ms
        return "register_decreased" if decreased else "register_jumped"

    def restore(
        self, readings: Sequence[tuple[int, int, int]], *, power_max_w: int, believed: bool
    ) -> None:
        """Take readings into account, in the order of their receipt, that were taken before and
        since this was written. The last one says it all where none of them was doubtful.

        Args:
            readings: the register, when it was read, and when that was received; at least one.
            believed: this would have been written if one of them had been doubtful.
        """
        last_wh, last_ms, received_ms = readings[-1]
        registers, times_ms, _ = zip(*readings, strict=True)
        one_will_do = (
            believed
            and self.doubtful_wh is None
            and times_ms[0] >= self.first_ms
            and all(map(le, registers, registers[1:]))
            and all(map(le, times_ms, times_ms[1:]))
            and self.goes_on(last_wh, last_ms, received_ms, power_max_w=power_max_w)
        )
        for wh, at_ms, heard_ms in readings[-1:] if one_will_do else readings:
            self.take(wh, at_ms, heard_ms, power_max_w=power_max_w)

    def _goes_on_from_doubt(self, wh: int, at_ms: int, received_ms: int, power_max_w: int) -> bool:
        """Count on from the reading that was doubtful, where this one follows it."""
        if self.doubtful_wh is None:
            return False
        step_wh = wh - self.doubtful_wh
        elapsed_ms = max(at_ms - self.doubtful_ms, received_ms - self.last_received_ms)
        if not 0 <= step_wh <= deliverable_wh(power_max_w, elapsed_ms):
            return False
        if self.doubtful_wh < self.last_wh:
            self.floor_wh = self.doubtful_wh
        self._go_on(wh, at_ms, received_ms, step_wh)
        return True

    def _goes_on_in_kwh(self, wh: int, at_ms: int, received_ms: int, power_max_w: int) -> bool:
        """Take a reading in kilowatt-hours, cut to whole ones, between readings in watt-hours."""
        if wh < _KWH_MIN:
            return False
        step_wh = wh * 1_000 - self.last_wh
        elapsed_ms = max(at_ms - self.last_ms, received_ms - self.last_received_ms)
        if not -1_000 < step_wh <= deliverable_wh(power_max_w, elapsed_ms):
            return False
        self.in_kwh = True
        if step_wh > 0:
            self._go_on(wh * 1_000, at_ms, received_ms, step_wh)
        return True

    def _known_before(self, wh: int) -> bool:
        """Whether the register stood there earlier in the session. A reading from then may come
        late under a time that a wrong clock gave it; to count on from it would count twice what
        came after. A register that was turned back stands below everything it began at."""
        floor_wh = self.first_wh if self.floor_wh is None else self.floor_wh
        return floor_wh is not None and wh >= floor_wh

    def settle(self, stop_wh: int, *, power_max_w: int, elapsed_ms: int) -> None:
        """The session is over and the register stood at `stop_wh`. Where the clock was wrong, a
        step between two readings may look too large for the time it was given and be right all the
        same; a register that ran through from the transaction's start to its end says by itself
        what was delivered.

        Args:
            elapsed_ms: the longest that the session can have lasted.
        """
        ran_through = self.begun and self.floor_wh is None and not self.in_kwh
        if self.first_wh is None or not (self.untimed and ran_through):
            return
        total_wh = stop_wh - self.first_wh
        known = power_max_w < POWER_UNKNOWN_W
        if known and 0 <= total_wh <= deliverable_wh(power_max_w, elapsed_ms):
            self.energy_wh = total_wh
            self.last_wh = stop_wh
            self.doubtful_wh = None

    def goes_on(self, wh: int, at_ms: int, received_ms: int, *, power_max_w: int) -> bool:
        """Whether a reading would be believed as the next one."""
        if self.first_wh is None:
            return False
        elapsed_ms = max(at_ms - self.last_ms, received_ms - self.last_received_ms)
        return 0 <= wh - self.last_wh <= deliverable_wh(power_max_w, elapsed_ms)

    def shift(self, change_ms: int) -> None:
        """The station's clock turned out to be wrong: its readings were taken that much later."""
        self.untimed = True
        self.first_ms += change_ms
        self.last_ms += change_ms
        self.doubtful_ms += change_ms

    def take_back(self, offset_ms: int, since_ms: int) -> None:
        """What was received since then was not told by a clock that is that much ahead: the last
        reading was taken when the station said. Else all that follow would come before it."""
        if self.first_wh is not None and self.last_received_ms >= since_ms:
            self.untimed = True
            self.last_ms = max(self.first_ms, self.last_ms + offset_ms)
            self.doubtful_ms += offset_ms

    def _go_on(self, wh: int, at_ms: int, received_ms: int, step_wh: int) -> None:
        self.energy_wh += step_wh
        self.last_wh, self.last_ms, self.last_received_ms = wh, at_ms, received_ms
        self.doubtful_wh = None

    def _extend_back(self, first_wh: int, wh: int, at_ms: int, power_max_w: int) -> str | None:
        step_wh = first_wh - wh
        if not 0 <= step_wh <= deliverable_wh(power_max_w, self.first_ms - at_ms):
            return "register_decreased" if step_wh < 0 else "register_jumped"
        self.energy_wh += step_wh
        self.first_wh, self.first_ms = wh, at_ms
        return None


def deliverable_wh(power_max_w: int, elapsed_ms: int) -> int:
    """The most that can have passed in the time, with a quarter to spare for clocks and meters."""
    return power_max_w * elapsed_ms * 5 // (4 * MS_PER_HOUR) + _GRANULARITY_WH
