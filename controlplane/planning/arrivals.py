"""Who will come: how many sessions begin in each hour, and how long those that came in such an hour
stayed, what they took and how fast.

Invariant: everything is bounded, and the sum of what is expected over a day is the sum of the
hourly means: fractions of sessions are carried on from hour to hour until they make one."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from controlplane.planning.history import DAY_H, Calendar, Hours, hour_of
from controlplane.planning.inputs import ExpectedSession
from controlplane.units import MS_PER_HOUR, MS_PER_S

__all__ = ["EXPECTED_MAX", "Arrivals", "Visit"]

EXPECTED_MAX = 2_000
"""Sessions that are expected over one horizon."""

VISITS_MAX = 16
"""The latest visits that are remembered of one kind of day and hour."""

VISITS_MIN = 4
"""Of fewer nothing is concluded, and visits of other hours count."""

STAY_MIN_MS = 5 * 60 * MS_PER_S
STAY_MAX_MS = 7 * 24 * MS_PER_HOUR
"""Visits outside these bounds teach nothing: a failed start, a forgotten cable."""

_MS_PER_MINUTE = 60 * MS_PER_S
_ENERGY_UNIT_WH = 100
_ENERGY_MAX_WH = 500_000
_POWER_UNIT_W = 100
_POWER_MAX_W = 1_000_000


class Visit(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One ended session, as coarse as it can be without loss for a plan."""

    stay_minutes: int
    energy_100wh: int
    power_100w: int
    """The most it took."""

    @property
    def stay_ms(self) -> int:
        return self.stay_minutes * _MS_PER_MINUTE

    @property
    def energy_wh(self) -> int:
        return self.energy_100wh * _ENERGY_UNIT_WH

    @property
    def power_w(self) -> int:
        return self.power_100w * _POWER_UNIT_W


class Arrivals(msgspec.Struct, array_like=True):
    """What is remembered of a site's visitors; part of a durable state."""

    counts: Hours = msgspec.field(default_factory=Hours)
    """Sessions that began in each hour."""
    visits: dict[int, list[Visit]] = {}
    """The latest, by kind of day and hour."""

    def passed(self, at_ms: int) -> None:
        """The site lives: hours in which nobody came count, from the first arrival on."""
        counts, hour = self.counts, hour_of(at_ms)
        if counts.values and hour >= counts.end:
            missing = min(hour + 1 - counts.end, DAY_H * 7)
            for each in range(hour + 1 - missing, hour + 1):
                counts.keep(each, 0)

    def arrived(self, at_ms: int) -> None:
        """A session began."""
        self.passed(at_ms)
        hour = hour_of(at_ms)
        known = self.counts.at(hour)
        if known is None:
            if hour < self.counts.end:
                # Told late, or the clock was set back: what was counted since is worth more.
                return
            self.counts.keep(hour, 1)
        else:
            self.counts.values[hour - self.counts.first] = known + 1

    def ended(
        self,
        *,
        started_ms: int,
        ended_ms: int,
        energy_wh: int,
        power_max_w: int,
        calendar: Calendar,
    ) -> bool:
        """Learn from a session that is over; False where it teaches nothing."""
        if not STAY_MIN_MS <= ended_ms - started_ms <= STAY_MAX_MS:
            return False
        if not 0 < energy_wh <= _ENERGY_MAX_WH:
            return False
        stay_h = (ended_ms - started_ms) / MS_PER_HOUR
        least_w = int(energy_wh / stay_h)
        visit = Visit(
            (ended_ms - started_ms) // _MS_PER_MINUTE,
            -(-energy_wh // _ENERGY_UNIT_WH),
            -(-min(max(power_max_w, least_w), _POWER_MAX_W) // _POWER_UNIT_W),
        )
        visits = self.visits.setdefault(_slot(started_ms, calendar), [])
        visits.append(visit)
        del visits[:-VISITS_MAX]
        return True

    def typical(self, at_ms: int, calendar: Calendar) -> list[Visit]:
        """Visits that began as one that begins at an instant would: at this hour of such a day;
        else at the hours beside it; else at any."""
        slot = _slot(at_ms, calendar)
        day, hour = divmod(slot, DAY_H)
        near = [day * DAY_H + (hour + step) % DAY_H for step in (-1, 0, 1)]
        found: list[Visit] = []
        for slots in ([slot], near, list(self.visits)):
            found = [visit for each in slots for visit in self.visits.get(each, ())]
            if len(found) >= VISITS_MIN:
                break
        return found

    def expected(self, start_ms: int, end_ms: int, calendar: Calendar) -> list[ExpectedSession]:
        """Sessions that will probably begin between two instants, the first of which is now."""
        now_hour, carried = hour_of(start_ms), 0.0
        found: list[ExpectedSession] = []
        for hour in range(now_hour, hour_of(end_ms - 1) + 1):
            mean = self.counts.mean(hour, before=now_hour, calendar=calendar) or 0.0
            begins_ms = max(start_ms, hour * MS_PER_HOUR)
            length_ms = min(end_ms, (hour + 1) * MS_PER_HOUR) - begins_ms
            wanted = carried + mean * length_ms / MS_PER_HOUR
            # Half a session is one: it comes when more than half of it is due.
            number = int(wanted + 0.5)
            carried = wanted - number
            found += self._spread(begins_ms, length_ms, number, calendar)
            if len(found) >= EXPECTED_MAX:
                break
        return found[:EXPECTED_MAX]

    def _spread(
        self, begins_ms: int, length_ms: int, number: int, calendar: Calendar
    ) -> Iterator[ExpectedSession]:
        """So many sessions of an hour, as different as those that came: each stands for an equal
        part of them, in order of energy, so that a stay goes with the energy that was taken in
        it."""
        visits = sorted(self.typical(begins_ms, calendar), key=lambda each: each.energy_100wh)
        for each in range(number if visits else 0):
            arrival_ms = begins_ms + length_ms * (2 * each + 1) // (2 * number)
            visit = visits[len(visits) * (2 * each + 1) // (2 * number)]
            yield ExpectedSession(
                arrival_ms=arrival_ms,
                departure_ms=arrival_ms + visit.stay_ms,
                need_wh=visit.energy_wh,
                power_max_w=visit.power_w,
            )


def _slot(at_ms: int, calendar: Calendar) -> int:
    day, hour = calendar.place(hour_of(at_ms))
    return calendar.kind(day) * DAY_H + hour
