"""What a site knows of the hours to come: prices, its building, its sun, its visitors, and the
billing period's peak so far.

It learns from what the site's actor sees and takes what others push; `inputs` is what a plan starts
from. A part of the site's durable state that is encoded by itself, as it changes by the hour where
the site's ledger changes by the second. What others say of building or sun counts before what was
learned. Invariant: everything is bounded, and what is guessed is named in `SiteInputs.stale`."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import tzinfo
from functools import cached_property, partial
from typing import Final

import msgspec

from controlplane.network_tariff import TariffConfig
from controlplane.planning.arrivals import Arrivals
from controlplane.planning.history import HELD_MAX_MS, Calendar, Hours, Mean, hour_of
from controlplane.planning.inputs import SiteInputs
from controlplane.planning.month_ahead import MonthAhead, stepped
from controlplane.planning.peaks import Peaks
from controlplane.planning.problem import DemandCharge
from controlplane.planning.scores import SessionScore
from controlplane.planning.series import Interval, Series
from controlplane.planning.tariff import Tariff, month_of
from controlplane.units import MS_PER_HOUR, MS_PER_S

__all__ = ["NEED_PERCENT", "STAY_PERCENT", "Expectation", "Outlook", "Power", "calendar_of"]

STAY_PERCENT: Final = 25
NEED_PERCENT: Final = 75
"""The quantiles at which stays and energies of sessions are forecast; see `site/forecast.py`."""

_MS_PER_MINUTE = 60 * MS_PER_S

SILENT_MS = 2 * MS_PER_HOUR
"""A building or plant that was heard before and not for so long is named as silent."""

FADES_PERCENT = 70
"""Of how far the last measurement lies from what was expected, what is left an hour later."""

_EXPECTED_PERCENT = 50


def calendar_of(tariff: TariffConfig | None, zone: tzinfo) -> Calendar:
    """A site's calendar; holidays are those of its tariff."""
    return Calendar(zone, () if tariff is None else tariff.holidays)


class Expectation(msgspec.Struct, frozen=True):
    """What was forecast of a session when it began: the quantiles `STAY_PERCENT` of its stay and
    `NEED_PERCENT` of its energy."""

    stay_ms: int
    need_wh: int


class Power(msgspec.Struct, array_like=True):
    """One power over time: what was measured of it, and what others expect."""

    hours: Hours = msgspec.field(default_factory=Hours)
    running: Mean = msgspec.field(default_factory=Mean)
    told: Series = msgspec.field(default_factory=Series)
    """Forecasts that were pushed, in W."""

    def observe(self, power_w: int, at_ms: int) -> bool:
        """Take a measurement in; whether an hour is over by it."""
        over = self.running.observe(max(0, power_w), at_ms)
        if over is not None:
            self.hours.keep(*over)
        return over is not None

    def learned_w(self, hour: int, percent: int, *, before: int, calendar: Calendar) -> int | None:
        """What was learned of an hour, as a quantile; None where too little is known."""
        found = self.hours.expected(hour, (percent,), before=before, calendar=calendar)
        return None if found is None else found[0]

    def fresh_w(self, now_ms: int) -> int | None:
        """The last measurement, where it is no older than one counts."""
        running = self.running
        fresh = running.at_ms and 0 <= now_ms - running.at_ms <= HELD_MAX_MS
        return running.power_w if fresh else None

    def expected_w(
        self,
        start_ms: int,
        *,
        now_ms: int,
        slot_s: int,
        slots: int,
        calendar: Calendar,
        percent: int = _EXPECTED_PERCENT,
    ) -> list[int]:
        """What is expected in each slot from `start_ms` on, the first of which may be running.

        Where nobody says, an hour is as those that were learned, moved by what was measured last;
        where nothing was learned yet, as what was measured last.
        """
        now_hour, slot_ms = hour_of(now_ms), slot_s * MS_PER_S
        by_hour: dict[int, int | None] = {}

        def learned(hour: int) -> int | None:
            if hour not in by_hour:
                by_hour[hour] = self.learned_w(hour, percent, before=now_hour, calendar=calendar)
            return by_hour[hour]

        fresh_w = self.fresh_w(now_ms)
        last_w = self.running.power_w if fresh_w is None else fresh_w
        off_w = self._off_w(fresh_w, now_hour, calendar)
        expected = []
        for begins_ms in range(start_ms, start_ms + slots * slot_ms, slot_ms):
            told_w = self.told.mean(max(begins_ms, now_ms), begins_ms + slot_ms)
            if told_w is None:
                middle_ms = begins_ms + slot_ms // 2
                base_w = learned(hour_of(middle_ms))
                if base_w is None:
                    told_w = last_w
                else:
                    ahead_h = max(0, middle_ms - now_ms) / MS_PER_HOUR
                    told_w = max(0, base_w + int(off_w * (FADES_PERCENT / 100) ** ahead_h))
            expected.append(told_w)
        return expected

    def _off_w(self, fresh_w: int | None, now_hour: int, calendar: Calendar) -> int:
        """How far the last measurement lies from what was expected of its hour."""
        if fresh_w is None:
            return 0
        measured_hour = hour_of(self.running.at_ms)
        then_w = self.learned_w(
            measured_hour,
            _EXPECTED_PERCENT,
            before=min(measured_hour, now_hour),
            calendar=calendar,
        )
        return 0 if then_w is None else fresh_w - then_w

    def silent_words(self, what: str, now_ms: int) -> str:
        """That what was heard before is silent, in words; empty where it is not."""
        silent_ms = now_ms - self.running.at_ms
        if not self.running.at_ms or silent_ms <= SILENT_MS:
            return ""
        hours = silent_ms // MS_PER_HOUR
        return f"{what} was last heard {hours} hours ago: it is assumed to be as usual"


class Outlook(msgspec.Struct, dict=True):
    """See the module's docstring. What is only derived is not part of a snapshot."""

    prices: Series = msgspec.field(default_factory=Series)
    """Day-ahead prices, in millionths of the currency per kilowatt-hour."""
    building: Power = msgspec.field(default_factory=Power)
    sun: Power = msgspec.field(default_factory=Power)
    arrivals: Arrivals = msgspec.field(default_factory=Arrivals)
    peaks: Peaks = msgspec.field(default_factory=Peaks)
    stays: SessionScore = msgspec.field(default_factory=SessionScore)
    """How far forecasts of stays were off, in minutes."""
    needs: SessionScore = msgspec.field(default_factory=SessionScore)
    """The same of energies, in Wh."""

    def snapshot(self) -> bytes:
        return msgspec.msgpack.encode(self)

    @classmethod
    def restore(cls, snapshot: bytes) -> Outlook:
        """Read a snapshot; an empty one knows nothing.

        Raises:
            msgspec.ValidationError: these bytes are no outlook.
        """
        return msgspec.msgpack.decode(snapshot, type=cls) if snapshot else cls()

    # --- what the site sees -----------------------------------------------------------------------

    def observe_building(self, power_w: int, at_ms: int) -> bool:
        """What the building draws; whether there is something new worth keeping."""
        return self.building.observe(power_w, at_ms)

    def observe_solar(self, power_w: int, at_ms: int) -> bool:
        """What the solar plant gives, 0 and up; whether there is something new worth keeping."""
        return self.sun.observe(power_w, at_ms)

    def observe_draw(
        self, power_w: int, *, measured: bool, at_ms: int, tariff: TariffConfig, zone: tzinfo
    ) -> bool:
        """What the whole site draws from the grid; whether the billing period's peak rose."""
        return self.peaks.observe(power_w, measured=measured, at_ms=at_ms, tariff=tariff, zone=zone)

    def arrived(self, at_ms: int) -> None:
        """A session began."""
        self.arrivals.arrived(at_ms)

    def ended(
        self,
        *,
        started_ms: int,
        ended_ms: int,
        energy_wh: int,
        power_max_w: int,
        calendar: Calendar,
        expected: Expectation | None = None,
    ) -> bool:
        """A session is over; whether that teaches anything.

        Args:
            power_max_w: the most it took; 0 where that is not known.
            expected: what was forecast of it when it began.
        """
        seen = [visit for visits in self.arrivals.visits.values() for visit in visits]
        learned = self.arrivals.ended(
            started_ms=started_ms,
            ended_ms=ended_ms,
            energy_wh=energy_wh,
            power_max_w=power_max_w,
            calendar=calendar,
        )
        if learned and expected is not None and seen:
            self.stays.add(
                (ended_ms - started_ms) // _MS_PER_MINUTE,
                expected.stay_ms // _MS_PER_MINUTE,
                [visit.stay_minutes for visit in seen],
                STAY_PERCENT,
            )
            self.needs.add(
                energy_wh, expected.need_wh, [visit.energy_wh for visit in seen], NEED_PERCENT
            )
        return learned

    # --- what others say --------------------------------------------------------------------------

    def pushed(self, prices: Sequence[Interval], now_ms: int) -> int:
        """Day-ahead prices came; how many of them are in use."""
        return self.prices.push(prices, now_ms)

    def told(self, power: Power, forecast: Sequence[Interval], now_ms: int) -> int:
        """A forecast of building or sun came; how many of its intervals are in use. What is past
        is left out, so that a forecast that was told is judged by what it said beforehand."""
        now_s = now_ms // MS_PER_S
        ahead = [
            Interval(max(each.start_s, now_s), each.end_s - max(each.start_s, now_s), each.value)
            for each in forecast
            if each.end_s > now_s
        ]
        return power.told.push(ahead, now_ms)

    # --- what a plan starts from ------------------------------------------------------------------

    def inputs(
        self,
        tariff: TariffConfig,
        *,
        start_ms: int,
        slot_s: int,
        slots: int,
        zone: tzinfo,
        now_ms: int | None = None,
    ) -> SiteInputs:
        """What is known and expected of so many slots.

        Args:
            start_ms: when the first one begins: now, or at most one slot ago.
            now_ms: from here on something is expected; `start_ms` where it is not given.
        """
        now_ms = max(start_ms, start_ms if now_ms is None else now_ms)
        calendar, clock = calendar_of(tariff, zone), Tariff(tariff, zone)
        found = clock.prices(start_ms=start_ms, slot_s=slot_s, slots=slots, pushed=self.prices)
        building, sun = (
            power.expected_w(start_ms, now_ms=now_ms, slot_s=slot_s, slots=slots, calendar=calendar)
            for power in (self.building, self.sun)
        )
        base = tuple(draws - gives for draws, gives in zip(building, sun, strict=True))
        end_ms = start_ms + slots * slot_s * MS_PER_S
        words = (
            *found.stale,
            self.building.silent_words("the building", now_ms),
            self.sun.silent_words("the solar plant", now_ms),
        )
        return SiteInputs(
            start_ms=start_ms,
            slot_s=slot_s,
            slots=slots,
            currency=tariff.currency,
            import_price_per_kwh=found.import_price_per_kwh,
            export_price_per_kwh=found.export_price_per_kwh,
            base_w=base if any(base) else (),
            demand=self._demand(
                clock, calendar, start_ms=start_ms, slot_s=slot_s, slots=slots, now_ms=now_ms
            ),
            expected=tuple(self.arrivals.expected(now_ms, end_ms, calendar)),
            stale=tuple(each for each in words if each),
        )

    @cached_property
    def _ahead(self) -> MonthAhead:
        return MonthAhead()

    def _base_w(self, hour: int, *, before: int, calendar: Calendar) -> float:
        """What building less sun will have in an hour; nothing where nothing is known of it."""
        building, sun = (
            power.learned_w(hour, _EXPECTED_PERCENT, before=before, calendar=calendar)
            for power in (self.building, self.sun)
        )
        return max(0, (building or 0) - (sun or 0))

    def _demand(
        self,
        clock: Tariff,
        calendar: Calendar,
        *,
        start_ms: int,
        slot_s: int,
        slots: int,
        now_ms: int,
    ) -> tuple[DemandCharge, ...]:
        """Each charge for every month that the horizon touches, as months do not share peaks: what
        a kilowatt costs that raises its peak today; see `month_peak`."""
        base_w = partial(self._base_w, before=hour_of(now_ms), calendar=calendar)
        slot_ms = slot_s * MS_PER_S
        starts = range(start_ms, start_ms + slots * slot_ms, slot_ms)
        months = [month_of(at, clock.zone) for at in starts]
        found: list[DemandCharge] = []
        for charge in clock.config.demand_charges:
            counted = [
                clock.measured(charge.hours, start_ms=at, length_ms=slot_ms) for at in starts
            ]
            for month in dict.fromkeys(months):
                in_month = tuple(
                    counts and each == month for counts, each in zip(counted, months, strict=True)
                )
                if not any(in_month):
                    continue
                whole = DemandCharge(
                    price_per_kw=charge.price_per_kw,
                    so_far_w=self.peaks.highest_w(charge.name, month),
                    slots=() if all(in_month) else in_month,
                )
                steps = self._ahead.steps(
                    charge,
                    month,
                    clock=clock,
                    calendar=calendar,
                    arrivals=self.arrivals,
                    base_w=base_w,
                    pushed=self.prices,
                    now_ms=now_ms,
                )
                found += stepped(whole, steps)
        return tuple(found)
