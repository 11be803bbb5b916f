"""Plans a feeder's sites together, and gives each its part of what the feeder will carry.

Sites say what they plan with. The highest feeder has a plan worked out for all sites below it, and
hands down what each may plan with; a feeder below another one passes on what its sites say, with
what it carries itself, and what comes back. Where no feeder could be full, everybody may draw the
most, and nothing is worked out. A site that has said nothing for long counts with what it may draw.

Invariant: nothing here limits anybody. Caps are divided as ever, by what is wanted at the moment;
a wrong allotment costs money, never safety. Not durable: who takes over hears everybody again
within an interval."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import msgspec
import numpy as np

from controlplane.actor import (
    CancelTimer,
    Effect,
    Message,
    PlanFound,
    PlanWanted,
    Send,
    SetTimer,
    TimerFired,
)
from controlplane.config import ActorSettings
from controlplane.feeder.messages import OVERTAKEN_MAX_MS
from controlplane.feeder.plan_messages import (
    Allotted,
    FeederPlanSite,
    FeederPlanView,
    FeedersAhead,
    FeederSlots,
    PlannedBelow,
    SiteAhead,
    SiteSlots,
)
from controlplane.feeder.state import FeederState
from controlplane.ids import ActorKind, ActorRef, FeederId, SiteId
from controlplane.network import FeederConfig
from controlplane.planning.joint import (
    Currents,
    FeederAhead,
    Joint,
    SitePart,
    full_rows,
    missing_wh,
)
from controlplane.planning.schedule import Schedule
from controlplane.rows_ahead import SLOT_S, events_w, slots_at, windows_limit
from controlplane.site.messages import PlanRowView, PlanState
from controlplane.units import MS_PER_S, datetime_from_ms, ma_from_w, w_from_ma

__all__ = ["Planning"]

SETTLE_MS = 3_000
"""Sites that speak together are planned together."""

PAUSE_MS = 60_000
"""The least time between two plans; what a site hears of others can wait so long."""

LIMIT_PAUSE_MS = 10_000
"""The same where the feeder's own limits have changed."""

PATIENCE_MS = 60_000
"""A plan that has not come by then is late, and the next one is asked for."""

HEARD_MAX_MS = 3_600_000
"""What a site said counts for so long; then it is known no better than by its reports."""

VEHICLES_MAX = 20_000
"""More are not planned together: it would take longer than plans last. Their sites plan alone."""

_WORTH_MIN = 1e-6


class _Open(msgspec.Struct):
    """A plan that is being worked out."""

    plan_id: str
    asked_ms: int
    joint: Joint


class Planning:
    """The plans of one feeder."""

    def __init__(self, ref: ActorRef, settings: ActorSettings) -> None:
        self._id = FeederId(ref.id)
        self._patience_ms = 3 * settings.site_report_interval_ms
        self._valid_ms = 3 * settings.plan_interval_ms
        self._heard: dict[SiteId, tuple[int, SiteAhead]] = {}
        """Of every site below, when it was heard, and what."""
        self._feeders: dict[str, FeederAhead] = {}
        """Those below, as they were last heard of."""
        self._plan: PlannedBelow | None = None
        """The last plan, or what of it concerns this feeder."""
        self._plan_ms = 0
        """When it came."""
        self._open: _Open | None = None
        self._unanswered_ms: int | None = None
        """When the first plan was asked for that has not come, nor any since."""
        self._fault = ""
        self._due_ms: int | None = None
        self._planned_ms: int | None = None
        """When this feeder planned last."""

    # --- what is heard ----------------------------------------------------------------------------

    def hear(
        self, state: FeederState, config: FeederConfig, message: Message, now_ms: int
    ) -> list[Effect]:
        """Take in what concerns the plan."""
        match message:
            case SiteAhead():
                return self._heard_of(state, config, message, now_ms)
            case FeedersAhead():
                return self.moved(state, config, now_ms, message)
            case PlannedBelow() if config.parent is not None:
                return self._take(message, now_ms)
            case PlanFound():
                return self._found(config, message, now_ms)
            case TimerFired(key="plan"):
                return self._plan_all(state, config, now_ms)
            case _:
                # A timer of an older version, or news for another kind of actor: no harm.
                return []

    def _heard_of(
        self, state: FeederState, config: FeederConfig, message: SiteAhead, now_ms: int
    ) -> list[Effect]:
        """A site below says what it plans with."""
        before = self._heard.get(message.site_id)
        if before is not None and 0 < before[1].at_ms - message.at_ms <= OVERTAKEN_MAX_MS:
            return []
        self._heard[message.site_id] = now_ms, message
        for feeder in message.feeders:
            self._feeders[feeder.feeder_id] = feeder
        if config.parent is None:
            return self._soon(now_ms, PAUSE_MS)
        feeders = (*message.feeders, self.ahead(state, config, now_ms))
        return [_up(config.parent, msgspec.structs.replace(message, feeders=feeders))]

    def moved(
        self,
        state: FeederState,
        config: FeederConfig,
        now_ms: int,
        message: FeedersAhead | None = None,
    ) -> list[Effect]:
        """What this feeder, or one below, will carry has changed."""
        below = () if message is None else message.feeders
        for feeder in below:
            self._feeders[feeder.feeder_id] = feeder
        if not self._heard:
            return []
        if config.parent is None:
            return self._soon(now_ms, LIMIT_PAUSE_MS)
        return [_up(config.parent, FeedersAhead((*below, self.ahead(state, config, now_ms))))]

    def forget(self, member: ActorRef) -> None:
        """A site, or a feeder with all below it, has left."""
        self._heard = {
            site_id: (at_ms, message)
            for site_id, (at_ms, message) in self._heard.items()
            if member.id not in (site_id, *(each.feeder_id for each in message.feeders))
        }

    def close(self) -> list[Effect]:
        """The feeder is no more."""
        return [CancelTimer("plan")]

    def _soon(self, now_ms: int, pause_ms: int) -> list[Effect]:
        at_ms = now_ms + SETTLE_MS
        if self._planned_ms is not None and self._planned_ms <= now_ms:
            at_ms = max(at_ms, self._planned_ms + pause_ms)
        if self._due_ms is not None and now_ms <= self._due_ms <= at_ms:
            return []
        self._due_ms = at_ms
        return [SetTimer("plan", at_ms)]

    # --- planning ---------------------------------------------------------------------------------

    def ahead(self, state: FeederState, config: FeederConfig, now_ms: int) -> FeederAhead:
        """What this feeder will carry."""
        self._heard = {
            site_id: (at_ms, message)
            for site_id, (at_ms, message) in self._heard.items()
            if 0 <= now_ms - at_ms < HEARD_MAX_MS
        }
        slots = slots_at(now_ms)
        limit_w = np.full(slots.count, config.power_max_w, np.int64)
        limit_w = np.minimum(limit_w, windows_limit(state.windows, slots))
        if state.grid.events:
            limit_w = np.minimum(limit_w, events_w(state.grid.events, slots, self._planned_w))
        return FeederAhead(
            feeder_id=config.id,
            parent=config.parent,
            voltage_v=config.voltage_v,
            start_ms=slots.start_ms,
            limit_ma=tuple(
                ma_from_w(each, voltage_v=config.voltage_v, phases=3) for each in limit_w.tolist()
            ),
            kept_ma=self._kept_ma(state, now_ms),
        )

    def _kept_ma(self, state: FeederState, now_ms: int) -> int:
        """What is kept for those right below who do not plan: what they want, or where they are
        silent what they may draw."""
        planning: set[str] = set(self._heard)
        planning |= {
            each.feeder_id for _, message in self._heard.values() for each in message.feeders
        }
        kept_ma = 0
        for member, account in state.members().items():
            if member.id in planning:
                continue
            silent = account.silent(now_ms=now_ms, patience_ms=self._patience_ms)
            wanted_ma = max(account.floor_ma, account.wanted_ma)
            kept_ma += account.counted_ma if silent else min(account.counted_ma, wanted_ma)
        return kept_ma

    def _planned_w(self, at_ms: int) -> int | None:
        """What this feeder carries at an instant by the last plan."""
        plan = self._plan
        own = None if plan is None else _slots_of(plan, self._id)
        if plan is None or own is None:
            return None
        slot = (at_ms - plan.start_ms) // (plan.slot_s * MS_PER_S)
        if not 0 <= slot < len(own.planned_ma):
            return None
        return w_from_ma(own.planned_ma[slot], voltage_v=own.voltage_v, phases=3)

    def _plan_all(self, state: FeederState, config: FeederConfig, now_ms: int) -> list[Effect]:
        """The timer fired: plan for all that were heard."""
        self._due_ms = None
        if config.parent is not None:
            return []
        own = self.ahead(state, config, now_ms)
        if self._open is not None and 0 <= now_ms - self._open.asked_ms < PATIENCE_MS:
            return self._soon(now_ms, PAUSE_MS)
        self._fault = self._unable()
        parts = [] if self._fault else list(self._parts())
        if not parts:
            return []
        self._planned_ms = now_ms
        names = {each.feeder_id for _, said in self._heard.values() for each in said.feeders}
        feeders = {name: self._feeders[name] for name in sorted(names)}
        joint = Joint(config.id, parts, {config.id: own} | feeders, now_ms)
        if not joint.binds or len(joint.parts) == 1:
            self._open = self._unanswered_ms = None
            return self._share_out(config, joint, None, now_ms)
        self._open = _Open(f"{now_ms}", now_ms, joint)
        if self._unanswered_ms is None:
            self._unanswered_ms = now_ms
        return [PlanWanted(self._open.plan_id, joint.question())]

    def _unable(self) -> str:
        """Why the sites below cannot be planned together; empty where they can."""
        messages = [message for _, message in self._heard.values()]
        vehicles = sum(message.vehicles for message in messages)
        if vehicles > VEHICLES_MAX:
            return f"{vehicles} vehicles are more than the {VEHICLES_MAX} that are planned together"
        currencies = sorted({message.currency for message in messages})
        if len(currencies) > 1:
            return f"its sites pay in {' and '.join(currencies)}"
        return ""

    def _parts(self) -> Iterator[SitePart]:
        for _, (_, message) in sorted(self._heard.items()):
            try:
                yield msgspec.msgpack.decode(message.part, type=SitePart)
            except msgspec.MsgspecError:
                # A host of another version: its site plans alone, and says so.
                continue

    def _found(self, config: FeederConfig, message: PlanFound, now_ms: int) -> list[Effect]:
        """An answer came."""
        asked = self._open
        if asked is None or message.plan_id != asked.plan_id or config.parent is not None:
            return []
        self._open, self._unanswered_ms, self._fault = None, None, message.fault
        if message.answer is None:
            return []
        return self._share_out(config, asked.joint, message.answer, now_ms)

    def _share_out(
        self, config: FeederConfig, joint: Joint, schedule: Schedule | None, now_ms: int
    ) -> list[Effect]:
        planned_ma = joint.planned_ma(schedule)
        allotted_ma = joint.allotted_ma(planned_ma)
        worth = {} if schedule is None else _worth(joint, schedule)
        plan = PlannedBelow(
            planner_id=FeederId(config.id),
            at_ms=self._planned_ms or now_ms,
            start_ms=joint.start_ms,
            slot_s=SLOT_S,
            currency=next(message.currency for _, message in self._heard.values()),
            joint=schedule is not None,
            cost=0.0 if schedule is None else schedule.cost,
            bound=0.0 if schedule is None else schedule.bound,
            feeders=tuple(
                FeederSlots(
                    feeder_id=FeederId(name),
                    parent=None if (above := joint.parent(name)) is None else FeederId(above),
                    voltage_v=each.voltage_v,
                    limit_ma=_series(joint.limit_ma[name]),
                    planned_ma=_series(joint.below_ma(name, planned_ma)),
                    load_ma=_series(joint.below_ma(name, joint.load_ma)),
                    worth=worth.get(name, ()),
                )
                for name, each in joint.feeders.items()
            ),
            sites=tuple(self._sites(joint, schedule, planned_ma, allotted_ma, worth)),
        )
        return self._take(plan, now_ms)

    def _sites(
        self,
        joint: Joint,
        schedule: Schedule | None,
        planned_ma: Currents,
        allotted_ma: Currents,
        worth: Mapping[str, tuple[float, ...]],
    ) -> Iterator[SiteSlots]:
        lacking_wh = {} if schedule is None else missing_wh(schedule)
        for at, part in enumerate(joint.parts):
            missing = lacking_wh.get(part.site_id, [])
            yield SiteSlots(
                site_id=SiteId(part.site_id),
                feeder_id=FeederId(part.feeder_id),
                told_ms=self._told_ms(part),
                vehicles=len(joint.horizons[at].vehicles),
                planned_ma=_series(planned_ma[at]),
                allotted_ma=_series(allotted_ma[at]),
                short=len(missing),
                missing_wh=sum(missing),
                full=max(
                    (name for name in joint.above(part) if name in worth),
                    key=lambda name: sum(worth[name]),
                    default="",
                ),
            )

    def _told_ms(self, part: SitePart) -> int:
        heard = self._heard.get(SiteId(part.site_id))
        return 0 if heard is None else heard[1].at_ms

    # --- handing down -----------------------------------------------------------------------------

    def _take(self, plan: PlannedBelow, now_ms: int) -> list[Effect]:
        """Keep a plan, tell sites what is theirs, and feeders what concerns them."""
        if self._plan is not None and 0 < self._plan.at_ms - plan.at_ms <= OVERTAKEN_MAX_MS:
            return []
        self._plan, self._plan_ms = plan, now_ms
        effects: list[Effect] = [
            Send(
                ActorRef(ActorKind.SITE, site.site_id),
                Allotted(self._id, plan.at_ms, plan.start_ms, site.allotted_ma, site.full),
            )
            for site in plan.sites
            if site.feeder_id == self._id
        ]
        for feeder in plan.feeders:
            if feeder.parent == self._id:
                below = _below(plan, feeder.feeder_id)
                part = msgspec.structs.replace(
                    plan,
                    feeders=tuple(each for each in plan.feeders if each.feeder_id in below),
                    sites=tuple(each for each in plan.sites if each.feeder_id in below),
                )
                effects.append(Send(ActorRef(ActorKind.FEEDER, feeder.feeder_id), part))
        return effects

    # --- what is said -----------------------------------------------------------------------------

    def view(self, now_ms: int) -> FeederPlanView:
        """The plan at an instant."""
        plan = self._plan
        state, words = self._standing(now_ms)
        own = None if plan is None else _slots_of(plan, self._id)
        if plan is None or own is None:
            return FeederPlanView(self._id, now_ms, state, words)

        def watts(series: tuple[int, ...]) -> tuple[int, ...]:
            return tuple(w_from_ma(each, voltage_v=own.voltage_v, phases=3) for each in series)

        return FeederPlanView(
            feeder_id=self._id,
            at_ms=now_ms,
            state=state,
            words=words,
            planner_id=plan.planner_id,
            plan_ms=plan.at_ms,
            start_ms=plan.start_ms,
            slot_s=plan.slot_s,
            currency=plan.currency,
            cost=plan.cost,
            bound=plan.bound,
            limit_w=watts(own.limit_ma),
            planned_w=watts(own.planned_ma),
            load_w=watts(own.load_ma),
            full_rows=tuple(_full(plan)),
            sites=tuple(
                FeederPlanSite(
                    site_id=site.site_id,
                    feeder_id=site.feeder_id,
                    told_ms=site.told_ms,
                    vehicles=site.vehicles,
                    short=site.short,
                    missing_wh=site.missing_wh,
                    planned_w=watts(site.planned_ma),
                    allotted_w=watts(site.allotted_ma),
                )
                for site in plan.sites
            ),
        )

    def _standing(self, now_ms: int) -> tuple[PlanState, str]:
        plan = self._plan
        holds = plan is not None and now_ms - self._plan_ms < self._valid_ms
        if self._fault:
            return PlanState.LATE, f"sites plan alone: {self._fault}"
        asked_ms = self._unanswered_ms
        if asked_ms is not None and now_ms - asked_ms >= PATIENCE_MS:
            asked = datetime_from_ms(asked_ms)
            words = f"the plan that was asked for at {asked:%H:%M} has not come"
            if holds:
                return PlanState.FOLLOWED, f"{words}; the last one holds for a while"
            return PlanState.LATE, f"{words}; sites plan alone"
        if plan is None:
            if not self._heard:
                return PlanState.NONE, ""
            return PlanState.AWAITED, "the first plan is being worked out"
        if not holds:
            return PlanState.LATE, "no plan has come for long; sites plan alone"
        if not plan.joint:
            return PlanState.FOLLOWED, "nothing could be full: every site plans for itself"
        return PlanState.FOLLOWED, ""


def _up(parent: str, message: SiteAhead | FeedersAhead) -> Send:
    return Send(ActorRef(ActorKind.FEEDER, parent), message)


def _series(values: Currents) -> tuple[int, ...]:
    return tuple(values.tolist())


def _slots_of(plan: PlannedBelow, feeder_id: FeederId) -> FeederSlots | None:
    return next((each for each in plan.feeders if each.feeder_id == feeder_id), None)


def _below(plan: PlannedBelow, feeder_id: FeederId) -> set[FeederId]:
    """A feeder and all below it."""
    found = {feeder_id}
    while more := {each.feeder_id for each in plan.feeders if each.parent in found} - found:
        found |= more
    return found


def _worth(joint: Joint, schedule: Schedule) -> dict[str, tuple[float, ...]]:
    """By feeder that is ever full, what one more kilowatt would be worth in each slot."""
    found = {}
    for name, row in full_rows(schedule).items():
        kw = 3 * joint.feeders[name].voltage_v / 1_000
        found[name] = tuple(each / kw for each in row.price)
    return found


def _full(plan: PlannedBelow) -> Iterator[PlanRowView]:
    for feeder in plan.feeders:
        worths = tuple(
            (plan.start_ms + slot * plan.slot_s * MS_PER_S, price)
            for slot, price in enumerate(feeder.worth)
            if price > _WORTH_MIN
        )
        if worths:
            yield PlanRowView(subject=feeder.feeder_id, kind="feeder", line=0, worths=worths)
