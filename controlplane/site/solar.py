"""Solar surplus: what may be charged from sun and battery by those who are in no hurry.

Surplus is an economic limit. It is never netted on a row that protects a conductor, because a cloud
is faster than a vehicle, and it holds back nobody who is urgent or guaranteed. Invariant: without a
fresh report there is no surplus."""

from __future__ import annotations

from dataclasses import dataclass

from controlplane.network_power import BatteryConfig, SolarConfig
from controlplane.site.demand import Demand, Pace
from controlplane.site.messages import ReportSitePower
from controlplane.site.power import Smoothed
from controlplane.site.tree import Leaf
from controlplane.units import MS_PER_S, w_from_ma

__all__ = ["SolarInput", "exempt_from_surplus"]

BATTERY_HOLD_H = 4
"""The battery is asked for no more than it could give for a quarter of an hour: 1 / 4 h."""


def exempt_from_surplus(leaf: Leaf, demand: Demand, now_ms: int, pace: Pace) -> bool:
    """Whether a session charges without sun as well: it is served before all others, or would soon
    be too late for its departure. What a rule guarantees is kept in any case."""
    if demand.boosted or demand.priority(leaf) == 0:
        return True
    laxity_ms = demand.laxity_ms(leaf, now_ms)
    return laxity_ms is not None and laxity_ms < 2 * pace.turn_ms


@dataclass(slots=True)
class SolarInput:
    """What was reported of solar plant and battery, and the surplus that follows, smoothed. Not
    durable: a host that takes over knows of no sun until it is told."""

    report: ReportSitePower | None = None
    received_ms: int = 0
    surplus: Smoothed | None = None
    """In W; what `follow` found last."""

    def take(self, report: ReportSitePower, *, now_ms: int) -> bool:
        """Keep a report, unless a newer one is known. One that is stamped ahead of our clock counts
        as of now, so that a fast clock cannot keep it fresh."""
        before = self.report
        if before is not None and report.at_ms < before.at_ms <= now_ms:
            return False
        at_ms = min(report.at_ms, now_ms)
        self.report = ReportSitePower(
            at_ms, report.solar_w, report.battery_w, report.battery_soc_percent
        )
        self.received_ms = now_ms
        return True

    def fresh(self, now_ms: int, solar: SolarConfig | None) -> ReportSitePower | None:
        """The last report, unless it is stale."""
        report = self.report
        stale_after_s = SolarConfig().stale_after_s if solar is None else solar.stale_after_s
        if report is None or now_ms - report.at_ms > stale_after_s * MS_PER_S:
            return None
        return report

    def feeding_w(self, now_ms: int, solar: SolarConfig | None) -> int:
        """What plant and battery feed into the site, as far as it is known."""
        report = self.fresh(now_ms, solar)
        return 0 if report is None else max(0, report.solar_w) + max(0, -report.battery_w)

    def hidden_ma(
        self, now_ms: int, solar: SolarConfig | None, *, voltage_v: int
    ) -> tuple[int, int, int]:
        """By how much each line of a meter of the whole supply may show too little, because plant
        and battery feed in behind it."""
        if solar is None and self.report is None:
            return (0, 0, 0)
        config = solar or SolarConfig()
        report = self.fresh(now_ms, solar)
        fed_w = config.power_max_w if report is None else self.feeding_w(now_ms, solar)
        share_ma = -(-fed_w * 1_000 // (voltage_v * len(config.phases)))
        lines = [0, 0, 0]
        for phase in config.phases:
            lines[phase.column] = share_ma
        return (lines[0], lines[1], lines[2])

    def follow(
        self,
        now_ms: int,
        *,
        solar: SolarConfig,
        battery: BatteryConfig | None,
        building_ma: int,
        voltage_v: int,
        pace: Pace,
    ) -> int:
        """What may be charged at `now_ms`, in W: the surplus, smoothed so that a cloud dims
        vehicles instead of switching them, and the power that may come from the grid.

        Args:
            building_ma: what the building draws, summed over its lines.
        """
        report = self.fresh(now_ms, solar)
        building_w = w_from_ma(building_ma, voltage_v=voltage_v, phases=1)
        raw_w = 0 if report is None else surplus_w(report, battery, building_w=building_w)
        if self.surplus is None:
            self.surplus = Smoothed(lag_ms=2 * pace.habit_ms)
        smooth = self.surplus.reset if report is None else self.surplus.follow
        return smooth(raw_w, now_ms) + solar.grid_power_w


def surplus_w(report: ReportSitePower, battery: BatteryConfig | None, *, building_w: int) -> int:
    """What sun and battery leave over beside the building, 0 and up, in W.

    The building's load includes what the battery charges. Above its reserve the battery yields that
    to vehicles, and gives of its own what it could keep up for a quarter of an hour.
    """
    given_w = 0
    soc_percent = report.battery_soc_percent
    if battery is not None and soc_percent is not None and soc_percent > battery.reserve_percent:
        above_wh = int(battery.capacity_wh * (soc_percent - battery.reserve_percent) / 100)
        given_w = min(battery.discharge_max_w, above_wh * BATTERY_HOLD_H)
        given_w += max(0, report.battery_w)
    return max(0, max(0, report.solar_w) - building_w + given_w)
