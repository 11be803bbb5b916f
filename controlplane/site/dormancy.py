"""Which vehicles have stopped of their own accord, and stay so whatever their station says while we
pause them.

A station whose vehicle is full says SuspendedEV while it offers something and SuspendedEVSE while
it offers nothing, which is what it says of one that would charge, too. Taken at its word, a full
vehicle would be offered current and be taken it again for ever. So what was seen while it was
offered its minimum is remembered.

A vehicle may wake without being able to show it at 0 A. So it is offered its minimum again from
time to time, less and less often, and all that are due at the same instants: their neighbours are
moved once for all of them.

Invariant: a vehicle is probed once in `Pace.probe_ms` at most, with no more than its minimum."""

from __future__ import annotations

from dataclasses import dataclass

from controlplane.site.urgency import Pace, Turn

__all__ = ["Dormancy"]

_WAITS_MAX = 4
"""The longest wait for a probe, in `Pace.probe_ms`."""


@dataclass(slots=True)
class Dormancy:
    """What is remembered of one session's vehicle. Let time pass before every round."""

    asleep: bool = False
    """It was offered its minimum, took nothing and said so."""
    probed: bool = False
    """It is offered its minimum, or waits for that as all do, to see whether it draws (again)."""
    stopped: bool = False
    """It had drawn what it wanted: nobody's pause put it to sleep."""
    rests: bool = False
    """It was paused lately: it is not given what is left over, which may be gone in a moment."""
    declined: bool = False
    """Lately it took nothing of an offer below what its vehicle is known to begin at."""
    trying: bool = False
    """It has such an offer, and may still begin."""
    _waits: int = 1
    _offered_since_ms: int | None = None
    _declined_ms: int = 0

    def wake(self, *, probe: bool = False) -> None:
        """It charges, or somebody wants more for it.

        Args:
            probe: its station says that it takes nothing, so its minimum has to do at first.
        """
        self.asleep, self.probed, self.stopped, self.rests = False, probe, False, False
        self.declined = self.trying = False
        self._waits, self._offered_since_ms = 1, None

    def see_try(self, *, declines: bool, since_ms: int, now_ms: int, pace: Pace) -> None:
        """Let time pass for one that may be offered less than its vehicle is known to begin at.

        Args:
            declines: it is offered that, and its station says that it takes nothing: many say so
                for a moment before a vehicle begins.
            since_ms: when its charger took the offer.
        """
        self.trying = declines and 0 <= now_ms - since_ms < pace.ramp_ms
        if declines and not self.trying:
            self.declined, self._declined_ms = True, now_ms
        elif not 0 <= now_ms - self._declined_ms < pace.probe_ms:
            self.declined = False

    def consider(
        self,
        *,
        idle: bool,
        offered: bool,
        stopped: bool,
        satisfied: bool,
        turn: Turn,
        now_ms: int,
        pace: Pace,
    ) -> None:
        """Let time pass.

        Args:
            idle: its station says that it takes nothing.
            offered: it has had at least its minimum, by its charger's word, and draws nothing.
            stopped: it drew, and was not paused since.
            satisfied: it has what its driver asked for.
        """
        known = self.asleep or self.probed
        if offered and (idle or known):
            if self._offered_since_ms is None or self._offered_since_ms > now_ms:
                self._offered_since_ms = now_ms
                if not known:
                    # It keeps its place until it is known to need none.
                    self.probed, self.stopped = True, stopped
            # Who may only have been put to sleep is nudged first (`behaviour`).
            ramps = 2 if self.stopped else 6
            if not self.asleep and now_ms - self._offered_since_ms >= ramps * pace.ramp_ms:
                self.asleep, self.probed = True, False
        else:
            self._offered_since_ms = None
        self.rests = False
        if turn.on:
            return
        if self.asleep or satisfied:
            self.rests = now_ms < _due_ms(turn, 1, pace)
        missed = (self.asleep or idle) and not (self.probed or satisfied)
        if missed and now_ms >= _due_ms(turn, self._waits, pace):
            self.asleep, self.probed = False, True
            self._waits = min(2 * self._waits, _WAITS_MAX)
            # It waits for room from now on, like one that has just come.
            turn.since_ms = now_ms


def _due_ms(turn: Turn, waits: int, pace: Pace) -> int:
    """The first of the instants that all share, once it has been paused for a while."""
    grid_ms = waits * pace.probe_ms
    return -(-(turn.since_ms + pace.probe_ms // 2) // grid_ms) * grid_ms
