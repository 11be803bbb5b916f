"""What a site tells its feeder, and when that cannot wait for the next interval.

Invariant: the first report after a cap in which the liability is within it leaves at once, because
other sites wait for it."""

from __future__ import annotations

from controlplane.feeder.messages import SiteReport
from controlplane.ids import SiteId
from controlplane.site.live import LiveSite
from controlplane.site.round import Budget
from controlplane.site.view import measured_rows

__all__ = ["FeederReports", "site_report"]

WANTED_STEP_MA = 1_000


class FeederReports:
    """Remembers what the feeder was told last."""

    def __init__(self) -> None:
        self._last: SiteReport | None = None

    def sent(self, report: SiteReport) -> None:
        self._last = report

    def urgent(self, report: SiteReport, cap_ma: int | None) -> bool:
        """Whether the feeder should hear this now: the site came within its cap, outgrew it, or
        wants something clearly different."""
        last = self._last
        if last is None:
            return True
        if cap_ma is not None:
            within = report.liability_ma <= cap_ma
            was_within = last.cap_id == report.cap_id and last.liability_ma <= cap_ma
            if within != was_within:
                return within or last.cap_id == report.cap_id
        elif last.cap_id != report.cap_id:
            return True
        return abs(report.wanted_ma - last.wanted_ma) > max(WANTED_STEP_MA, last.wanted_ma // 10)


def site_report(site: LiveSite, rows: Budget) -> SiteReport:
    """The site's sums on its worst phase, building included."""
    tree = site.tree
    wanted = rows.reserve_ma if site.plan is None else tree.row_sums(site.plan.wanted_ma)
    measured = measured_rows(tree, [connector.measured_ma for connector in site.connectors])
    supply = tree.supply_rows

    def worst(sums: list[int]) -> int:
        return max(rows.building_ma[row] + sums[row] for row in supply)

    floor_ma = worst(rows.fallback_ma)
    able_ma = max(tree.rating_ma[row] - tree.margin_ma[row] for row in supply)
    return SiteReport(
        site_id=SiteId(tree.config.id),
        cap_id=site.state.cap_id,
        floor_ma=floor_ma,
        wanted_ma=max(floor_ma, min(worst(wanted), able_ma)),
        liability_ma=worst(rows.liability_ma),
        measured_ma=worst(measured),
    )
