"""What a session will probably need and when it will probably leave, from sessions that have ended.

The driver's own visits come first, the site's typical ones of the same kind of day and time of day
next. A forecast is made so that it is wrong to the vehicle's disadvantage in about one case of
four, in time and in energy: it departs at the quarter quantile of stays and needs the three-quarter
quantile of energies. It never replaces what driver or vehicle said, never makes anybody count as
served, and a vehicle that outstays it is forecast anew from those that stayed longer.

Everything is bounded: the drivers remembered, the visits of each, the visits of the site.
Invariant: what stands here only orders sessions; it limits nobody and grants nothing."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, tzinfo

import msgspec

from controlplane.planning.outlook import NEED_PERCENT, STAY_PERCENT
from controlplane.units import MS_PER_HOUR, MS_PER_S, datetime_from_ms

__all__ = ["Driver", "Forecast", "History", "Vehicle", "Visit"]

DRIVERS_MAX = 300
"""Drivers that are remembered; who has not come for longest is forgotten first."""

VISITS_MAX = 8
"""The latest visits of one driver."""

SITE_VISITS_MAX = 40
"""The latest visits of the site for one kind of day and time of day."""

VISITS_MIN = 3
"""Of fewer visits of one driver nothing is concluded."""

SITE_VISITS_MIN = 8
"""The same for the site."""

STAY_MIN_MS = 5 * 60 * MS_PER_S
STAY_MAX_MS = 7 * 24 * MS_PER_HOUR
"""Visits outside these bounds teach nothing: a failed start, a forgotten cable."""

_HOURS = 24
_MS_PER_MINUTE = 60 * MS_PER_S
_ENERGY_UNIT_WH = 100
_ENERGY_MAX_WH = 500_000
_TOKEN_MAX = 64


class Visit(msgspec.Struct, frozen=True, array_like=True):
    """One ended session, as coarse as it can be without loss for a forecast."""

    slot: int
    """Kind of day and time of day of the arrival; see `History.slot`."""
    stay_minutes: int
    energy_100wh: int


class Vehicle(msgspec.Struct, frozen=True, array_like=True):
    """What was learned of a driver's vehicle: the first guess at its next visit. None: nothing."""

    start_ma: int | None = None
    """The least limit at which it is known to begin."""
    phases: int | None = None
    """Conductors that it uses."""
    power_max_w: int | None = None
    """The most it drew when it was free to draw more."""
    ramp_ms: int | None = None
    """From a raise to drawing it."""
    sleeps: bool = False
    """It did not resume after a pause."""
    faults: bool = False
    """Its connector faulted when it was paused: it is not paused for another's turn."""


class Driver(msgspec.Struct, array_like=True):
    """What is remembered of one id token."""

    visits: list[Visit] = []
    vehicle: Vehicle = Vehicle()


class Forecast(msgspec.Struct, frozen=True):
    """What a session is expected to be. `own` tells whether from the driver's own visits."""

    departure_ms: int | None
    need_wh: int | None
    own: bool


class History(msgspec.Struct):
    """The visits of one site. Part of its durable state."""

    drivers: dict[str, Driver] = {}
    """By id token, who came longest ago leading."""
    site: dict[int, list[Visit]] = {}
    """By slot."""

    def snapshot(self) -> bytes:
        return msgspec.msgpack.encode(self)

    @classmethod
    def restore(cls, snapshot: bytes) -> History:
        """Read a snapshot; an empty one knows nobody.

        Raises:
            msgspec.ValidationError: these bytes are no history.
        """
        return msgspec.msgpack.decode(snapshot, type=cls) if snapshot else cls()

    def ended(
        self,
        id_token: str | None,
        *,
        started_ms: int,
        ended_ms: int,
        energy_wh: int,
        zone: tzinfo,
        vehicle: Vehicle | None = None,
    ) -> bool:
        """Learn from a session that is over; False where it teaches nothing."""
        if not STAY_MIN_MS <= ended_ms - started_ms <= STAY_MAX_MS:
            return False
        if not 0 < energy_wh <= _ENERGY_MAX_WH:
            return False
        visit = Visit(
            self.slot(started_ms, zone),
            (ended_ms - started_ms) // _MS_PER_MINUTE,
            -(-energy_wh // _ENERGY_UNIT_WH),
        )
        _keep(self.site.setdefault(visit.slot, []), visit, SITE_VISITS_MAX)
        if id_token is not None and len(id_token) <= _TOKEN_MAX:
            driver = self.drivers.pop(id_token, None) or Driver()
            _keep(driver.visits, visit, VISITS_MAX)
            if vehicle is not None:
                driver.vehicle = vehicle
            self.drivers[id_token] = driver
            while len(self.drivers) > DRIVERS_MAX:
                del self.drivers[next(iter(self.drivers))]
        return True

    def vehicle(self, id_token: str | None) -> Vehicle:
        """What was learned of the driver's vehicle."""
        driver = None if id_token is None else self.drivers.get(id_token)
        return Vehicle() if driver is None else driver.vehicle

    def forecast(
        self, id_token: str | None, *, started_ms: int, now_ms: int, zone: tzinfo
    ) -> Forecast | None:
        """What to expect of a session that began at `started_ms` and still runs; None where too
        little is known. `departure_ms` is always ahead of `now_ms`, or None where nobody ever
        stayed so long."""
        slot = self.slot(started_ms, zone)
        driver = None if id_token is None else self.drivers.get(id_token)
        visits, own = _typical(driver.visits if driver else (), slot), True
        if visits is None:
            typical = self.site.get(slot, ())
            if len(typical) < SITE_VISITS_MIN:
                return None
            visits, own = typical, False
        stays = [
            started_ms + visit.stay_minutes * _MS_PER_MINUTE
            for visit in visits
            if started_ms + visit.stay_minutes * _MS_PER_MINUTE > now_ms
        ]
        energies = [visit.energy_100wh * _ENERGY_UNIT_WH for visit in visits]
        return Forecast(
            departure_ms=_quantile(stays, STAY_PERCENT) if stays else None,
            need_wh=_quantile(energies, NEED_PERCENT),
            own=own,
        )

    @staticmethod
    def slot(at_ms: int, zone: tzinfo) -> int:
        """0 to 23 for the hours of a working day, 24 to 47 for those of a weekend, on the site's
        own clock."""
        local: datetime = datetime_from_ms(at_ms).astimezone(zone)
        return local.hour + (_HOURS if local.weekday() >= 5 else 0)


def _typical(visits: Sequence[Visit], slot: int) -> Sequence[Visit] | None:
    """Those of a driver's visits that began at about this time of such a day; else those of such a
    day; None where there are too few."""
    same_day = [visit for visit in visits if visit.slot // _HOURS == slot // _HOURS]
    alike = [visit for visit in same_day if abs(visit.slot - slot) <= 1]
    return next((each for each in (alike, same_day) if len(each) >= VISITS_MIN), None)


def _keep(visits: list[Visit], visit: Visit, maximum: int) -> None:
    """Append, and forget the oldest beyond `maximum`."""
    visits.append(visit)
    del visits[:-maximum]


def _quantile(values: Sequence[int], percent: int) -> int:
    """The smallest value that `percent` per cent of `values` do not exceed; values are not
    empty."""
    ordered = sorted(values)
    return ordered[max(0, -(-len(ordered) * percent // 100) - 1)]
