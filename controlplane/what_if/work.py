"""Works out one half of a question: a description, replayed and bounded, and what had to be
assumed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from zoneinfo import ZoneInfo

import numpy as np

from controlplane.network import SiteConfig
from controlplane.planning.outlook import calendar_of
from controlplane.rows_ahead import SLOT_S
from controlplane.site.plan_terms import penalties
from controlplane.site.tree import SiteTree
from controlplane.units import MS_PER_S, datetime_from_ms
from controlplane.what_if.money import AHEAD, Money
from controlplane.what_if.optimum import PARTS, least
from controlplane.what_if.question import Half, Outcome, Progress, Question, Visit
from controlplane.what_if.replay import Replayed, replay
from controlplane.what_if.rows import Rows
from controlplane.what_if.stays import Placed, place, unseen

__all__ = ["SHORT_PERCENT", "answer"]

SHORT_PERCENT = 1
"""Who misses no more than this of what it wanted is ready: meters and batteries are no better."""

_SLOT_MS = SLOT_S * MS_PER_S
_STEPS_A_SLOT = 3
_REPLAY_PERCENT = 92.0
"""Of the work, the replay; the bound takes the rest."""


def answer(question: Question, told: Callable[[Progress], None], *, what_if: bool) -> Half:
    """What came or, where `what_if`, what would have come: each of the two by itself.

    Raises:
        InvalidInput: the planner refuses what is described.
    """
    as_is = SiteConfig.model_validate_json(question.as_is)
    site = SiteConfig.model_validate_json(question.what_if) if what_if else as_is
    zone = ZoneInfo(as_is.time_zone)
    calendar = calendar_of(as_is.tariff, zone)
    away, unknown_hours = unseen(
        question.visits,
        connectors=sum(1 for _ in as_is.connectors()),
        start_ms=question.start_ms,
        end_ms=question.end_ms,
        calendar=calendar,
    )
    away = [visit for visit in away if visit.departure_ms <= question.end_ms]
    visits = [*question.visits, *away]
    return Half(
        outcome=_Case(question, site, visits, told=told).outcome(),
        assumptions=tuple(_assumptions(question, len(away), unknown_hours)),
    )


class _Case:
    """One of the two descriptions."""

    def __init__(
        self,
        question: Question,
        site: SiteConfig,
        visits: Sequence[Visit],
        *,
        told: Callable[[Progress], None],
    ) -> None:
        self._question, self._told = question, told
        self._tree = SiteTree(site)
        self._zone = ZoneInfo(site.time_zone)
        self._placed: Placed = place(self._tree, visits)
        slots = (question.end_ms - question.start_ms) // _SLOT_MS
        building_w, solar_w = (
            self._by_slot(week, slots + AHEAD) for week in (question.building_w, question.solar_w)
        )
        base_w = [draws - gives for draws, gives in zip(building_w, solar_w, strict=True)]
        assert site.tariff is not None  # whoever asks sees to that
        self._money = Money(
            site.tariff,
            self._zone,
            start_ms=question.start_ms,
            slots=slots,
            base_w=base_w,
            market=question.prices,
        )
        self._rows = Rows(self._tree, building_w=building_w, base_w=base_w)

    def _by_slot(self, week: Sequence[int], slots: int) -> list[int]:
        """A usual week over the time of the question."""
        if not week:
            return [0] * slots
        found = []
        for slot in range(slots):
            at_ms = self._question.start_ms + slot * _SLOT_MS
            local = datetime_from_ms(at_ms).astimezone(self._zone)
            found.append(week[local.weekday() * 24 + local.hour])
        return found

    def _progress(self, slot: int, done_percent: float) -> None:
        at_ms = self._question.start_ms + slot * _SLOT_MS - 1
        day = datetime_from_ms(at_ms).astimezone(self._zone).date()
        self._told(Progress(done_percent=round(done_percent, 2), day=day))

    def outcome(self) -> Outcome:
        money, slots = self._money, self._money.slots
        stays = self._placed.stays
        replayed = replay(
            self._rows,
            money,
            stays,
            self._question.before,
            told=lambda slot: self._progress(slot, _REPLAY_PERCENT * slot / slots),
        )
        got_wh = [round(each) for each in replayed.got_wh.tolist()]
        missing_wh = [max(0, each.want_wh - got) for each, got in zip(stays, got_wh, strict=True)]
        holds = least(
            self._rows,
            money,
            stays,
            missing_wh=sum(missing_wh),
            price_max=penalties(money.inputs(0, slots, peaks_w={}))[0],
            told=lambda parts: self._progress(
                slots, _REPLAY_PERCENT + (100 - _REPLAY_PERCENT) * parts / PARTS
            ),
        )
        bill = money.bill(replayed.step_wh)
        away = self._placed.turned_away
        peak_w, peak_at_ms, charging_w = self._peak(replayed)
        return Outcome(
            connectors=len(self._tree.leaves),
            sessions=len(stays),
            turned_away=len(away),
            turned_away_estimated=sum(visit.estimated for visit in away),
            estimated=sum(each.visit.estimated for each in stays),
            wanted_wh=sum(each.want_wh for each in stays),
            delivered_wh=sum(got_wh),
            missing_wh=sum(missing_wh),
            missing_least_wh=holds.missing_wh,
            short=sum(
                missing * 100 > each.want_wh * SHORT_PERCENT
                for each, missing in zip(stays, missing_wh, strict=True)
            ),
            peak_w=peak_w,
            peak_at_ms=peak_at_ms,
            charging_peak_w=charging_w,
            currency=money.tariff.currency,
            energy_cost=bill.energy_cost,
            demand_cost=bill.demand_cost,
            cost=bill.cost,
            cost_least=min(bill.cost, holds.cost + money.base_cost()),
            months=bill.months,
            plans=replayed.plans,
            stale=money.stale,
        )

    def _peak(self, replayed: Replayed) -> tuple[int, int | None, int]:
        """The highest quarter of an hour: what flows, when, and the highest of chargers alone."""
        money = self._money
        charged_w = replayed.step_wh.reshape(-1, _STEPS_A_SLOT).sum(axis=1) * 3_600 / SLOT_S
        flows_w = charged_w + np.array(self._rows.base_w[: money.slots])
        at = int(flows_w.argmax())
        peak_w = round(float(flows_w[at]))
        at_ms = money.start_ms + at * _SLOT_MS if peak_w > 0 else None
        return max(0, peak_w), at_ms, round(float(charged_w.max()))


# --- what had to be assumed -----------------------------------------------------------------------


def _assumptions(question: Question, away: int, unknown_hours: int) -> Iterator[str]:
    """What the answer takes for granted, in words."""
    if away:
        yield (
            f"{away} sessions are estimated to have found no free connector: as many as came at "
            "such hours while one was free"
        )
    elif not unknown_hours:
        yield "nobody is taken to have found no free connector: one was always free"
    if unknown_hours:
        yield (
            f"in {unknown_hours} hours all connectors were taken whenever anything is known of "
            "such an hour: nobody can tell who was turned away in them"
        )
    unknown = sum(visit.power_max_w is None for visit in question.visits)
    if unknown:
        yield (
            f"of {unknown} of {len(question.visits)} sessions no samples are kept: they are taken "
            "to draw as much as their connectors give"
        )
    if not question.building_w:
        yield "nothing is known of a building: chargers alone count"
    else:
        yield "building and sun are those of a usual week, as the site expects its next one"
    told = sum(visit.need_wh is not None for visit in question.visits)
    yield (
        f"what {told} of {len(question.visits)} drivers said of their need was said on arrival; "
        "the others want what they took"
    )
