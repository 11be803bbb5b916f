"""When a site plans, whom it asks, and what is said where no plan comes.

Planned is every few minutes, and soon after anything happens that a plan starts from: somebody
comes or leaves or needs something else, prices, limits and events change. Many such things together
are one plan. The feeder above is told what the site plans with and answers with an allotment, the
site's part of a plan for all its sites; within that the site plans for itself. Where the feeder is
silent for long, it plans within the cap that it has at the moment.

Invariant: without a plan that holds, everything is as if there were none, and the alarm `plan_late`
says so; it also says where the feeder's part is missing."""

from __future__ import annotations

from datetime import datetime

import msgspec
import numpy as np

from controlplane.actor import CancelTimer, Effect, PlanFound, PlanWanted, Send, SetTimer
from controlplane.config import ActorSettings
from controlplane.feeder.messages import OVERTAKEN_MAX_MS
from controlplane.feeder.plan_messages import Allotted, SiteAhead
from controlplane.ids import ActorKind, ActorRef, SiteId
from controlplane.planning.joint import SitePart
from controlplane.rows_ahead import SLOT_S, SLOTS, Limits, Slots, slots_at
from controlplane.site.horizon import Above, question
from controlplane.site.live import LiveSite
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

FEEDER_PATIENCE_INTERVALS = 2
"""A feeder that was told so long ago and has allotted nothing is late."""

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
        self._unanswered_ms: int | None = None
        """When the first question was asked that has had no answer, nor any asked after it."""
        self._allotted: Allotted | None = None
        """What the feeder allotted last."""
        self._allotted_ms = 0
        """When that came."""
        self._told_ms: int | None = None
        """When the feeder was told last."""
        self._unheard_ms: int | None = None
        """When it was told first of what it has not answered."""
        self._news = True
        """Whether something has changed since that the feeder does not know."""

    # --- when -------------------------------------------------------------------------------------

    def soon(
        self, site: LiveSite, now_ms: int, *, anew: bool = False, pause_ms: int = PAUSE_MS
    ) -> list[Effect]:
        """Something has changed: plan, no sooner than `pause_ms` after the last time.

        Args:
            anew: what everybody is given at present may no longer be right.
        """
        if site.config.tariff is None:
            # What was planned with one that is described no more holds nobody back.
            self.forget(site)
            return []
        self._news = True
        return self._soon(now_ms, anew=anew, pause_ms=pause_ms)

    def _soon(self, now_ms: int, *, anew: bool, pause_ms: int) -> list[Effect]:
        at_ms = now_ms + SETTLE_MS
        if self._asked_ms is not None and self._asked_ms <= now_ms:
            at_ms = max(at_ms, self._asked_ms + pause_ms)
        self._anew |= anew
        return self._by(at_ms)

    def cap_changed(self, site: LiveSite, now_ms: int) -> list[Effect]:
        """The feeder's cap moves all the time; a clearly other one is worth a plan now and then,
        where there is no allotment to plan with."""
        cap_ma, before_ma = site.state.cap_ma, self._cap_ma
        if site.config.tariff is None or self._holds(site, now_ms) is not None:
            return []
        if (
            cap_ma is not None
            and before_ma is not None
            and abs(cap_ma - before_ma) * CAP_CHANGE_PARTS <= before_ma
        ):
            return []
        return self._soon(now_ms, anew=True, pause_ms=CAP_PAUSE_MS)

    def allotted(self, site: LiveSite, message: Allotted, now_ms: int) -> list[Effect]:
        """The feeder has planned for all its sites: plan with what is allotted to this one."""
        before = self._allotted
        if message.feeder_id != site.config.feeder or site.config.tariff is None:
            return []
        if before is not None and 0 <= before.at_ms - message.at_ms <= OVERTAKEN_MAX_MS:
            # Told twice, or overtaken.
            return []
        self._allotted, self._allotted_ms, self._unheard_ms = message, now_ms, None
        slots = slots_at(now_ms)
        if not _wanted(site) or (before is not None and _same(before, message, slots)):
            return []
        return self._soon(now_ms, anew=before is None, pause_ms=PAUSE_MS)

    def feeder_changed(self) -> None:
        """The site hangs on another feeder, which knows nothing of it yet."""
        self._allotted = self._told_ms = self._unheard_ms = None

    def due(self, site: LiveSite, now_ms: int) -> list[Effect]:
        """The timer fired: ask for a plan, where there is somebody to plan for."""
        self._due_ms = None
        slots = slots_at(now_ms)
        inputs = site.inputs(now_ms, start_ms=slots.start_ms, slot_s=SLOT_S, slots=SLOTS)
        if inputs is None:
            self.forget(site)
            return []
        next_ms = now_ms + self._interval_ms
        asked, part, sought = question(
            site,
            inputs,
            now_ms,
            next_ms=next_ms,
            drawn_wh=site.drawn_wh(slots.start_ms),
            above=self._above(site, slots, now_ms),
        )
        effects = [] if part is None else self._tell(part, inputs.currency, now_ms)
        if not _wanted(site):
            self.forget(site)
            # Whoever is expected needs a part of the feeder as well.
            return [*effects, *([] if part is None else self._by(next_ms))]
        plan_id = f"{now_ms}"
        self._asked_ms, self._cap_ma = now_ms, site.state.cap_ma
        while len(self._open) >= _OPEN_MAX:
            del self._open[next(iter(self._open))]
        self._open[plan_id] = sought, self._anew
        self._anew = False
        if self._unanswered_ms is None:
            self._unanswered_ms = now_ms
        return [*effects, PlanWanted(plan_id, asked), *self._by(next_ms)]

    def _tell(self, part: SitePart, currency: str, now_ms: int) -> list[Effect]:
        """Tell the feeder what the site plans with, where that is news or was told long ago."""
        told_ms = self._told_ms
        if not self._news and told_ms is not None and 0 <= now_ms - told_ms < self._interval_ms:
            return []
        self._told_ms, self._news = now_ms, False
        if self._unheard_ms is None:
            self._unheard_ms = now_ms
        message = SiteAhead(
            site_id=SiteId(part.site_id),
            at_ms=now_ms,
            currency=currency,
            vehicles=len(part.question.horizon.vehicles),
            part=msgspec.msgpack.encode(part),
        )
        return [Send(ActorRef(ActorKind.FEEDER, part.feeder_id), message)]

    def _holds(self, site: LiveSite, now_ms: int) -> Allotted | None:
        """The allotment, while it counts."""
        allotted = self._allotted
        if allotted is None or allotted.feeder_id != site.config.feeder:
            return None
        valid_until_ms = self._allotted_ms + VALID_INTERVALS * self._interval_ms
        return allotted if now_ms < valid_until_ms else None

    def _above(self, site: LiveSite, slots: Slots, now_ms: int) -> Above | None:
        """What the feeder leaves the site: its allotment, or else the cap of this moment."""
        if site.config.feeder is None:
            return None
        allotted = self._holds(site, now_ms)
        if allotted is not None:
            return Above(allotted.full or site.config.feeder, _over(allotted, slots), allotted=True)
        if site.state.cap_ma is None:
            return None
        cap_ma = np.full(slots.count, site.state.cap_ma, np.int64)
        return Above(site.config.feeder, cap_ma)

    def found(self, site: LiveSite, message: PlanFound) -> bool:
        """An answer came; whether another plan is followed from now on."""
        if message.plan_id not in self._open:
            return False
        sought, anew = self._open[message.plan_id]
        # Answers to older questions tell nothing any more.
        self._open = {key: each for key, each in self._open.items() if key > message.plan_id}
        self._unanswered_ms = min((each.asked_ms for each, _ in self._open.values()), default=None)
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
        self._asked_ms = self._unanswered_ms = None
        site.targets.drop()

    def clock_set(self, site: LiveSite, now_ms: int) -> list[Effect]:
        """The clock was set: of what was asked and planned before, nothing is known to hold."""
        if site.config.tariff is None:
            return []
        self.forget(site)
        self._due_ms = None
        self.feeder_changed()
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
            since_ms = self._unanswered_ms
            if since_ms is None or now_ms - since_ms < PATIENCE_MS:
                return self._alone_words(site, now_ms)
            asked = datetime.fromtimestamp(since_ms // MS_PER_S, site.zone)
            words = f"the plan that was asked for at {asked:%H:%M} has not come"
        if site.targets.followed(now_ms):
            until = datetime.fromtimestamp(site.targets.valid_until_ms // MS_PER_S, site.zone)
            return f"{words}; the last one is followed until {until:%H:%M}"
        return f"{words}; vehicles share by urgency"

    def _alone_words(self, site: LiveSite, now_ms: int) -> str:
        """That the feeder's part is missing; empty where it is not."""
        since_ms = self._unheard_ms
        patience_ms = FEEDER_PATIENCE_INTERVALS * self._interval_ms
        if (
            site.config.feeder is None
            or since_ms is None
            or now_ms - since_ms < patience_ms
            or self._holds(site, now_ms) is not None
        ):
            return ""
        since = datetime.fromtimestamp(since_ms // MS_PER_S, site.zone)
        return (
            f"feeder {site.config.feeder} has allotted nothing since {since:%H:%M}; "
            "the site plans alone, within the cap that it has at the moment"
        )

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


def _over(allotted: Allotted, slots: Slots) -> Limits:
    """What is allotted in these slots; in those beyond what was planned, as in the last."""
    since = (slots.start_ms - allotted.start_ms) // slots.slot_ms
    places = np.arange(slots.count) + since
    values = np.array(allotted.current_ma, np.int64)
    return np.asarray(values[np.clip(places, 0, len(values) - 1)])


def _same(before: Allotted, after: Allotted, slots: Slots) -> bool:
    """Whether two allotments come to the same from now on, as far as both say."""
    first_ms = max(slots.start_ms, before.start_ms, after.start_ms)
    one, other = (
        each.current_ma[(first_ms - each.start_ms) // slots.slot_ms :] for each in (before, after)
    )
    shared = min(len(one), len(other))
    return before.full == after.full and one[:shared] == other[:shared]
