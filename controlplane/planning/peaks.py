"""The highest mean power of a billing period so far, for each demand charge of a tariff.

Windows of the clock, as the grid's meter counts them; see `site/power.py` for the contract, which
limits and must err to the high side. Here nothing may: a peak that was not drawn would make the
plan believe that drawing as much again costs nothing. Invariant: only windows that were measured
nearly throughout count."""

from __future__ import annotations

from datetime import tzinfo

import msgspec

from controlplane.network_tariff import TariffConfig
from controlplane.planning.tariff import Tariff, month_of
from controlplane.units import MS_PER_S

__all__ = ["Peak", "Peaks"]

MEASURED_MIN_PERCENT = 90
"""Of a window that counts, so much was measured at least."""

HELD_MAX_MS = 120_000
"""A measurement counts for so long where no other follows."""


class Peak(msgspec.Struct, array_like=True):
    """Of one demand charge."""

    month: int
    """As `tariff.month_of` counts."""
    power_w: int
    at_ms: int
    """When its window began."""


class Peaks(msgspec.Struct, array_like=True):
    """See the module's docstring; part of a durable state."""

    by_charge: dict[str, Peak] = {}
    at_ms: int = 0
    """Of the last measurement."""
    power_w: int = 0
    energy_w_ms: int = 0
    """Of the running window."""
    measured_ms: int = 0

    def observe(
        self, power_w: int, *, measured: bool, at_ms: int, tariff: TariffConfig, zone: tzinfo
    ) -> bool:
        """Take in what the site draws from the grid; whether a peak rose.

        Args:
            power_w: below 0 where it feeds in, which counts as nothing.
            measured: False where meters are silent; the time since the last measurement then counts
                as unknown.
        """
        window_ms = tariff.window_s * MS_PER_S
        start_ms = self.at_ms - self.at_ms % window_ms
        rose = False
        if at_ms < self.at_ms:
            self.energy_w_ms = self.measured_ms = 0
        elif at_ms < start_ms + window_ms:
            self._count(at_ms, power_w, measured=measured)
        else:
            edge_ms = start_ms + window_ms
            if at_ms - self.at_ms <= HELD_MAX_MS:
                self._count(edge_ms, power_w, measured=measured)
            rose = self._close(start_ms, window_ms, tariff, zone)
            self.energy_w_ms = self.measured_ms = 0
            if at_ms - self.at_ms <= HELD_MAX_MS:
                self._count(at_ms, power_w, measured=measured)
        self.at_ms, self.power_w = at_ms, max(0, power_w)
        return rose

    def highest_w(self, charge: str, month: int) -> int:
        """The highest of a month so far; 0 where nothing was measured in it."""
        peak = self.by_charge.get(charge)
        return peak.power_w if peak is not None and peak.month == month else 0

    def _count(self, until_ms: int, power_w: int, *, measured: bool) -> None:
        length_ms = until_ms - self.at_ms
        if measured and length_ms <= HELD_MAX_MS:
            self.energy_w_ms += (self.power_w + max(0, power_w)) * length_ms // 2
            self.measured_ms += length_ms
        self.at_ms = until_ms

    def _close(self, start_ms: int, window_ms: int, tariff: TariffConfig, zone: tzinfo) -> bool:
        if self.measured_ms * 100 < window_ms * MEASURED_MIN_PERCENT:
            return False
        mean_w, rose = self.energy_w_ms // self.measured_ms, False
        month, clock = month_of(start_ms, zone), Tariff(tariff, zone)
        names = {charge.name for charge in tariff.demand_charges}
        self.by_charge = {name: peak for name, peak in self.by_charge.items() if name in names}
        for charge in tariff.demand_charges:
            if not clock.measured(charge.hours, start_ms=start_ms, length_ms=window_ms):
                continue
            peak = self.by_charge.get(charge.name)
            if peak is not None and peak.month == month and peak.power_w >= mean_w:
                continue
            self.by_charge[charge.name] = Peak(month, mean_w, start_ms)
            rose = True
        return rose
