"""When what a site or feeder tells the feeder above it cannot wait for the next interval.

Invariant: the first report after a cap in which the liability is within it leaves at once, because
others wait for it; and before the first cap, every rise does."""

from __future__ import annotations

from typing import Generic, TypeVar

import msgspec

from controlplane.feeder.messages import FeederReport, SiteReport

__all__ = ["Reports"]

Report = TypeVar("Report", SiteReport, FeederReport)

STEP_MA = 1_000


class Reports(Generic[Report]):
    """Remembers what the feeder above was told last."""

    def __init__(self) -> None:
        self._last: Report | None = None

    def stamped(self, report: Report) -> Report:
        """The report as it leaves now: later than all before it, though the clock have not moved on
        or have been set back."""
        if self._last is not None and report.at_ms <= self._last.at_ms:
            report = msgspec.structs.replace(report, at_ms=self._last.at_ms + 1)
        self._last = report
        return report

    def unmet(self, cap_ma: int | None) -> bool:
        """Whether the feeder above was told of meters that show more than the cap."""
        return self._last is not None and cap_ma is not None and self._last.measured_ma > cap_ma

    def urgent(self, report: Report, cap_ma: int | None) -> bool:
        """Whether the feeder should hear this now: the sender came within its cap, outgrew it, its
        meters show that it did, it wants something clearly different, or can shed clearly less."""
        last = self._last
        if last is None:
            return True
        if report.cap_id == 0 and report.liability_ma > last.liability_ma:
            # The feeder above listens until it divides: what it has not heard of it gives away.
            return True
        if cap_ma is not None:
            within = report.liability_ma <= cap_ma
            was_within = last.cap_id == report.cap_id and last.liability_ma <= cap_ma
            if within != was_within:
                return within or last.cap_id == report.cap_id
            if self.unmet(cap_ma) and report.measured_ma <= cap_ma:
                # Whoever asked for the reduction waits for the meters to show it.
                return True
        elif last.cap_id != report.cap_id:
            return True
        step_ma = max(STEP_MA, last.wanted_ma // 10)
        return (
            abs(report.wanted_ma - last.wanted_ma) > step_ma
            or report.floor_ma > last.floor_ma + step_ma
        )
