"""When a site plans, whom it asks, and what is said where no plan comes.

Planned is every few minutes, and soon after anything happens that a plan starts from: somebody
comes or leaves or needs something else, prices, limits and events change. Many such things together
are one plan. Under a feeder that plans for all its sites, the question goes to the feeder; where
that is silent for long, the site plans alone.

Invariant: without a plan that holds, everything is as if there were none, and the alarm `plan_late`
says so."""

from __future__ import annotations

from datetime import datetime

from controlplane.actor import CancelTimer, Effect, PlanFound, PlanWanted, SetTimer
from controlplane.config import ActorSettings
from controlplane.ids import ActorRef
from controlplane.site.horizon import question
from controlplane.site.live import LiveSite
from controlplane.site.rows_ahead import SLOT_S, SLOTS, slots_at
from controlplane.site.targets import Sought
from controlplane.units import MS_PER_S

__all__ = ["TIMER", "Planning"]

TIMER = "plan"

SETTLE_MS = 1_000
"""What happens together is planned together."""

PAUSE_MS = 10_000
"""The least time between two plans of one site."""

CAP_PAUSE_MS = 60_000
CAP_CHANGE_PARTS = 10
"""A cap that moved by a tenth is another."""

PATIENCE_MS = 60_000
"""A plan that has not come by then is late."""

VALID_INTERVALS = 3
"""A plan is followed for so many intervals; after that too much of it is no longer true."""

_OPEN_MAX = 4
"""How many questions are remembered that have not been answered."""


class Planning:
    """The plans of one site. Not durable: who takes over asks anew."""

    def __init__(self, ref: ActorRef, settings: ActorSettings) -> None:
        self.fault = ""
        """Why the last question could not be answered."""
        self._ref = ref
        self._interval_ms = settings.plan_interval_ms
        self._due_ms: int | None = None
        self._asked_ms: int | None = None
        """When a plan was asked for last."""
        self._cap_ma: int | None = None
        """The feeder's cap as of then."""
        self._anew = False
        """Whether the next plan is followed from its first moment on."""
        self._open: dict[str, tuple[Sought, bool]] = {}
        """By the ids of the questions; and whether the answers are to be followed at once."""

    # --- when -------------------------------------------------------------------------------------

    def soon(
        self, site: LiveSite, now_ms: int, *, anew: bool = False, pause_ms: int = PAUSE_MS
    ) -> list[Effect]:
        """Something has changed: plan, no sooner than `pause_ms` after the last time.

        Args:
            anew: what everybody is given at present may no longer be right.
        """
        if site.config.tariff is None:
            return []
        at_ms = now_ms + SETTLE_MS
        if self._asked_ms is not None and self._asked_ms <= now_ms:
            at_ms = max(at_ms, self._asked_ms + pause_ms)
        self._anew |= anew
        return self._by(at_ms)

    def cap_changed(self, site: LiveSite, now_ms: int) -> list[Effect]:
        """The feeder's cap moves all the time; a clearly other one is worth a plan now and then."""
        cap_ma, before_ma = site.state.cap_ma, self._cap_ma
        if (
            cap_ma is not None
            and before_ma is not None
            and abs(cap_ma - before_ma) * CAP_CHANGE_PARTS <= before_ma
        ):
            return []
        return self.soon(site, now_ms, anew=True, pause_ms=CAP_PAUSE_MS)

    def due(self, site: LiveSite, now_ms: int) -> list[Effect]:
        """The timer fired: ask for a plan, where there is somebody to plan for."""
        self._due_ms = None
        slots = slots_at(now_ms)
        inputs = site.inputs(now_ms, start_ms=slots.start_ms, slot_s=SLOT_S, slots=SLOTS)
        if inputs is None or not _wanted(site):
            self.forget(site)
            return []
        next_ms = now_ms + self._interval_ms
        asked, sought = question(
            site,
            inputs,
            now_ms,
            next_ms=next_ms,
            drawn_wh=site.drawn_wh(slots.start_ms),
            capped=True,
        )
        plan_id = f"{now_ms}"
        self._asked_ms, self._cap_ma = now_ms, site.state.cap_ma
        while len(self._open) >= _OPEN_MAX:
            del self._open[next(iter(self._open))]
        self._open[plan_id] = sought, self._anew
        self._anew = False
        return [PlanWanted(plan_id, asked), *self._by(next_ms)]

    def found(self, site: LiveSite, message: PlanFound) -> bool:
        """An answer came; whether another plan is followed from now on."""
        if message.plan_id not in self._open:
            return False
        sought, anew = self._open[message.plan_id]
        # Answers to older questions tell nothing any more.
        self._open = {key: each for key, each in self._open.items() if key > message.plan_id}
        self.fault = message.fault
        if message.answer is None:
            return False
        valid_until_ms = sought.asked_ms + VALID_INTERVALS * self._interval_ms
        site.targets.adopt(message.answer, sought, valid_until_ms=valid_until_ms, anew=anew)
        return True

    def forget(self, site: LiveSite) -> None:
        """There is nothing to plan."""
        self._open.clear()
        self.fault = ""
        self._asked_ms = None
        site.targets.drop()

    def clock_set(self, site: LiveSite, now_ms: int) -> list[Effect]:
        """The clock was set: of what was asked and planned before, nothing is known to hold."""
        if site.config.tariff is None:
            return []
        self.forget(site)
        self._due_ms = None
        return self.soon(site, now_ms)

    def close(self) -> list[Effect]:
        """The site is no more."""
        self._due_ms = None
        return [CancelTimer(TIMER)]

    def _by(self, at_ms: int) -> list[Effect]:
        if self._due_ms is not None and self._due_ms <= at_ms:
            return []
        self._due_ms = at_ms
        return [SetTimer(TIMER, at_ms)]

    # --- what is said -----------------------------------------------------------------------------

    def late_words(self, site: LiveSite, now_ms: int) -> str:
        """What is wrong with the site's plan; empty where one is followed or none is wanted."""
        if site.config.tariff is None or not _wanted(site):
            return ""
        if self.fault:
            words = f"no plan could be made: {self.fault}"
        else:
            oldest = next((sought for sought, _ in self._open.values()), None)
            if oldest is None or now_ms - oldest.asked_ms < PATIENCE_MS:
                return ""
            asked = datetime.fromtimestamp(oldest.asked_ms // MS_PER_S, site.zone)
            words = f"the plan that was asked for at {asked:%H:%M} has not come"
        if site.targets.followed(now_ms):
            until = datetime.fromtimestamp(site.targets.valid_until_ms // MS_PER_S, site.zone)
            return f"{words}; the last one is followed until {until:%H:%M}"
        return f"{words}; vehicles share by urgency"

    def news(self, site: LiveSite, now_ms: int) -> bool:
        """Whether the alarm of a late plan is to begin or end."""
        if site.config.tariff is None:
            return False
        on = ("plan_late", site.config.id) in site.state.alarms
        return on != bool(self.late_words(site, now_ms))

    def waiting_words(self, site: LiveSite) -> str:
        """What a site that follows no plan waits for, where nothing is wrong."""
        if not _wanted(site):
            return "nobody is there who wants to charge"
        return "the first plan is being worked out"


def _wanted(site: LiveSite) -> bool:
    """Whether anybody is there whom a plan could serve."""
    return any(demand is not None and not demand.holding for demand in site.demands)
