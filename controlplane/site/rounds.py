"""When a site's rounds run, and what each of them sends and tells.

Invariant: every limit that leaves is in the ledger before it does, and `durable` asks for the
snapshot that holds it in the same step."""

from __future__ import annotations

from zlib import crc32

from controlplane.actor import (
    Effect,
    Persist,
    Send,
    SetTimer,
)
from controlplane.charger.messages import ApplyLimit, SampleWanted
from controlplane.config import ActorSettings
from controlplane.demand_curve import Curve
from controlplane.feeder.messages import SiteReport
from controlplane.feeder.reporting import Reports
from controlplane.grid_events import GridWish
from controlplane.ids import ActorRef, ConnectorKey
from controlplane.site.alarms import Alarms, alarm_changes, lasting_alarms, present_alarms
from controlplane.site.budget import Budget
from controlplane.site.configure import (
    charger_ref,
    feeder_ref,
)
from controlplane.site.demand import Pace
from controlplane.site.feeding import HOLD_MS, SAMPLES_MISSED_MAX
from controlplane.site.foresight import see_draw
from controlplane.site.live import LiveConnector, LiveSite
from controlplane.site.live_power import window_event
from controlplane.site.messages import CapChanged
from controlplane.site.planning import Planning
from controlplane.site.release import release
from controlplane.site.report import (
    CurveQuestion,
    completed,
    curve_question,
    feed_in,
    site_curve,
    site_observation,
    site_report,
)
from controlplane.site.round import Plan, stands_under
from controlplane.site.state import BuildingLoad
from controlplane.site.view import decision_words
from controlplane.site.waking import (
    QUIET_ROUNDS_MAX,
    RAISE_ROUNDS,
    SAMPLE_ASKED_MS,
    SAMPLE_PAUSE_MS,
    wake_ms,
)
from controlplane.store.records import LimitDecision
from controlplane.units import MS_PER_S

__all__ = ["Rounds"]

WINDOW_SAVE_MS = 60_000
"""A contract's window is written at least so often while rounds run."""

LATE_DIVISOR = 10
"""A host that fires a round's timer later than this part of the interval has more to do than it
can: when a whole network comes back, every station is news to its site, and where all sites of a
host work out a round for each, stations wait for their answers."""

BUILDING_STEP_MA = 500
"""A change of the building load that is worth a snapshot."""

STALL_ROUNDS_MAX = 10
"""A site whose vehicles follow a lower limit hears its own timer within this; a quiet one sleeps
for `QUIET_ROUNDS_MAX` more. Where more went by unheard, no more than one round is known to have
passed for vehicles: the clock may have been set."""


RESUMED_SPREAD_ROUNDS = 2
"""Over so many intervals the first rounds of sites that were brought back are spread."""


class Rounds:
    """The rounds of one site. `effects` and `durable` are those of the actor's step."""

    def __init__(self, ref: ActorRef, settings: ActorSettings) -> None:
        self.effects: list[Effect] = []
        self.durable = False
        """Whether this step changed something that must outlive the host."""
        self.quiet = False
        """Whether nothing was heard since the last round that could change the next."""
        self.heard_ms: int | None = None
        """When the last message was heard."""
        self.next_ms: int | None = None
        """The instant for which the next round's timer is set."""
        self.window_end_ms: int | None = None
        """The end of a contract's window for which the timer is set."""
        self.undescribed: set[ConnectorKey] = set()
        """Connectors with a session that the description does not have."""
        self.building_saved: BuildingLoad | None = None
        """The building's load as the store holds it."""
        self.reports: Reports[SiteReport] = Reports()
        self.planning = Planning(ref, settings)
        self._ref = ref
        self._settings = settings
        self._pace = Pace(settings.ramp_ms)
        self._rounded_ms: int | None = None
        self._late = False
        """Whether the last timer of a round fired late."""
        self.listens_since_ms: int | None = None
        """Since when the building's meter could have been heard; None: from the next round on."""
        self._window_saved_ms = 0
        self._rows: tuple[Budget, LiveSite, tuple[object, ...]] | None = None
        """The rows that the last round left, of which site, and under which circumstances."""
        self._curve: tuple[int, Curve] = (0, ())
        """What the feeder was told last of the site's wants."""
        self._curve_of: CurveQuestion | None = None
        """What that followed from, where it is known."""

    # --- when -------------------------------------------------------------------------------------

    def mind_clock(self, site: LiveSite, now_ms: int, *, since_crash: bool = False) -> None:
        """Notice that the clock was set. Durations that began before go on from where they were,
        and timers that were set by the old clock are set anew."""
        heard_ms, self.heard_ms = self.heard_ms, now_ms
        if heard_ms is None:
            return
        elapsed_ms, interval_ms = now_ms - heard_ms, self._settings.round_interval_ms
        if -interval_ms < elapsed_ms <= STALL_ROUNDS_MAX * interval_ms:
            return
        stalled = elapsed_ms > (STALL_ROUNDS_MAX + QUIET_ROUNDS_MAX) * interval_ms or (
            elapsed_ms > 0 and any(entry.draining_ma or entry.receding_ma for entry in site.entries)
        )
        if stalled and not since_crash:
            site.clock_set(elapsed_ms - interval_ms, now_ms)
            self.durable |= any(entry.settling for entry in site.entries)
            self.effects += self.planning.clock_set(site, now_ms)
            self.quiet = False
        elif elapsed_ms <= -interval_ms:
            site.clock_set(elapsed_ms, now_ms)
            self.durable = True
            self.quiet = False
            self.building_saved = None
            self._rounded_ms = self.next_ms = self.window_end_ms = None
            self._window_saved_ms = 0
            self.by(now_ms + interval_ms)
            self.set_limit_timer(site, now_ms)
            self.set_report_timer(site, now_ms)
            self.effects += self.planning.clock_set(site, now_ms)

    def resumed(self, now_ms: int) -> None:
        """The site was brought back, and its chargers follow: one round when they have had time to
        come, and not one for each. Until then everybody keeps the limit there is. The sites of a
        host come back at once; each takes a moment of its own, so that their rounds do not keep
        chargers waiting that are still to come."""
        interval_ms = self._settings.round_interval_ms
        self._rounded_ms, self._late = now_ms, True
        spread_ms = crc32(self._ref.id.encode()) % (RESUMED_SPREAD_ROUNDS * interval_ms)
        self.by(now_ms + interval_ms + spread_ms)

    def soon(self, site: LiveSite, now_ms: int, *, critical: bool = False) -> None:
        """A round at once, unless one has just been: then a tenth of the interval after it, so
        that a hundred chargers that answer together cost two rounds and not a hundred. What others
        must make room for is `critical` and waits a twentieth of that. On a host that is late, the
        regular rounds must do."""
        gap_ms = self._settings.round_interval_ms
        if not self._late:
            gap_ms //= 200 if critical else 10
        if self._rounded_ms is None or now_ms - self._rounded_ms >= gap_ms:
            self.run(site, now_ms)
        else:
            self.by(self._rounded_ms + gap_ms)

    def due(self, site: LiveSite, now_ms: int) -> None:
        """The timer of a round fired."""
        late_ms = 0 if self.next_ms is None else now_ms - self.next_ms
        self._late = late_ms * LATE_DIVISOR > self._settings.round_interval_ms
        self.next_ms = None
        self.run(site, now_ms, known=self._known(site, now_ms))

    def by(self, at_ms: int) -> None:
        """A round at `at_ms` at the latest."""
        if self.next_ms is None or at_ms < self.next_ms:
            self.next_ms = at_ms
            self.effects.append(SetTimer("round", at_ms))

    def rows(self, site: LiveSite, now_ms: int) -> Budget:
        """The rows as they are now: those that the last round left where nothing was heard since
        that could change them."""
        known = self._known(site, now_ms)
        return site.budget(now_ms) if known is None else known

    def _known(self, site: LiveSite, now_ms: int) -> Budget | None:
        if not self.quiet or self._rows is None or site.tree.power_row is not None:
            return None
        if site.feed.active(now_ms):
            # What is fed in moves with everything that is measured.
            return None
        rows, of, circumstances = self._rows
        return rows if of is site and circumstances == _circumstances(site, now_ms) else None

    def building_moved(self, site: LiveSite, load: BuildingLoad, now_ms: int) -> Budget:
        """Take in the building's load; the rows after that."""
        before = None if site.stale(now_ms) else self._known(site, now_ms)
        site.state.building = load
        self.save_building(site, load)
        return self._moved(site, before, now_ms)

    def cap_moved(self, site: LiveSite, cap: CapChanged, now_ms: int) -> None:
        """Take in what the feeder allows the site, and wishes of it."""
        before = self._known(site, now_ms)
        wished = (site.state.wish, cap.wish) != (None, None)
        site.state.cap_id, site.state.cap_ma, site.state.wish = cap.cap_id, cap.cap_ma, cap.wish
        self.durable = True
        if wished:
            self.quiet = False
            self.set_limit_timer(site, now_ms)
            self.run(site, now_ms)
            return
        rows = self._moved(site, before, now_ms)
        if self.quiet and not any(rows.over(site.tree.lines)):
            self.report(site, rows, now_ms, only_urgent=True)
        else:
            self.run(site, now_ms)

    def wish_prolonged(self, site: LiveSite, wish: GridWish | None, now_ms: int) -> None:
        """The feeder told its wish again."""
        known = site.state.wish
        if wish is None or known is None or wish.until_ms <= known.until_ms:
            return
        lapsed = not known.in_force(now_ms)
        site.state.wish = wish
        self.durable = True
        self.set_limit_timer(site, now_ms)
        if lapsed:
            self.quiet = False
            self.run(site, now_ms)

    def _moved(self, site: LiveSite, before: Budget | None, now_ms: int) -> Budget:
        """The rows under another load of the building or another cap than those `before` (None:
        unknown). The plan stands where they leave everybody all that they would take."""
        if before is not None and site.plan is not None:
            rows = site.moved(before, now_ms)
            same = rows.capacity_ma == before.capacity_ma
            calm = not (site.waiting or site.state.alarms)
            if same or (calm and stands_under(site.plan, site.tree, before, rows)):
                self._keep_rows(site, rows, now_ms)
                return rows
        self.quiet = False
        return site.budget(now_ms)

    def _keep_rows(self, site: LiveSite, rows: Budget, now_ms: int) -> None:
        self._rows = (rows, site, _circumstances(site, now_ms))

    # --- what -------------------------------------------------------------------------------------

    def run(self, site: LiveSite, now_ms: int, *, known: Budget | None = None) -> None:
        """Work a round out now, and send what it releases.

        Args:
            known: the rows, where nothing was heard since the last round that could change them.
                Where the plan stands as well, little is left to do.
        """
        settings = self._settings
        site.state.round += 1
        self._rounded_ms = now_ms
        if self._expire(site, now_ms):
            known = None
        self._keep_window(site, now_ms)
        rows = site.budget(now_ms) if known is None else known
        site.take_terms(now_ms, self._pace)
        if site.targets.unknown(site.connectors):
            self.effects += self.planning.soon(site, now_ms)
        site.consider(now_ms, self._pace)
        site.feed.consider(rows, site.plan, now_ms)
        self._renew_feeds(site, now_ms)
        last = None if known is None or site.feed.active(now_ms) else site.plan
        site.plan = site.solve(rows, now_ms=now_ms, pace=self._pace, last=last)
        stands = site.plan is last
        self.quiet = True
        limits = self._release(site, site.plan, rows, now_ms)
        self._ask_meters(site, rows, now_ms)
        site.observe(now_ms)
        left = site.budget(now_ms) if limits else rows
        lasting, news = self._lasting(site, now_ms)
        if limits or not stands or news or self.planning.news(site, now_ms):
            self._look(site, site.plan, left, lasting, now_ms)
        self._keep_rows(site, left, now_ms)
        # Of an idle site, nothing is heard until somebody comes.
        if site.state.grid.wants_observation(now_ms) or not (stands or site.busy):
            self.observe_grid(site, left, now_ms, reducing=bool(limits))
        if limits or not stands or self.reports.unmet(site.state.cap_ma):
            self.report(site, left, now_ms, only_urgent=True)
        self.next_ms = None
        if site.busy:
            self.by(wake_ms(site, settings=settings, pace=self._pace, now_ms=now_ms))
        if self.reports.unmet(site.state.cap_ma):
            # The feeder waits to hear that what is drawn is within the cap.
            self.by(now_ms + settings.round_interval_ms)

    def _expire(self, site: LiveSite, now_ms: int) -> bool:
        """Let time pass for every account; whether that changed one."""
        settings, changed = self._settings, False
        for entry in site.entries:
            if entry.pending or entry.draining_ma or entry.receding_ma or entry.fading_ma:
                changed |= entry.expired(
                    now_ms=now_ms,
                    ramp_ms=settings.ramp_ms,
                    answer_ms=4 * settings.call_timeout_ms,
                    backoff_ms=2 * settings.round_interval_ms,
                    backoff_max_ms=settings.call_timeout_ms,
                )
        self.durable |= changed
        return changed

    def _release(self, site: LiveSite, plan: Plan, rows: Budget, now_ms: int) -> int:
        """Send what may be sent; how many limits that were."""
        settings = self._settings
        released = release(
            site.tree,
            site.entries,
            plan,
            rows,
            [connector.calm for connector in site.connectors],
            awaited=frozenset(site.waiting.values()),
            now_ms=now_ms,
            patience_ms=settings.ramp_ms,
            raise_interval_ms=RAISE_ROUNDS * settings.round_interval_ms,
        )
        site.waiting = released.waiting
        picture = site.picture(now_ms, rows) if released.limits else None
        for position, limit_ma in released.limits:
            reason = "" if picture is None else decision_words(picture, position, limit_ma)
            self._send_limit(site, site.connectors[position], limit_ma, reason, now_ms)
        return len(released.limits)

    def _lasting(self, site: LiveSite, now_ms: int) -> tuple[Alarms, bool]:
        """See `lasting_alarms`."""
        if self.listens_since_ms is None or now_ms < self.listens_since_ms:
            self.listens_since_ms = now_ms
        grace_ms = self._settings.call_timeout_ms + self._settings.ramp_ms
        return lasting_alarms(
            site.state, site.tree, since_ms=self.listens_since_ms, now_ms=now_ms, grace_ms=grace_ms
        )

    def _look(self, site: LiveSite, plan: Plan, rows: Budget, lasting: Alarms, now_ms: int) -> None:
        """See what the ledger comes to, and tell of alarms that begin or end."""
        overloads = site.check.overloads(site.entries, rows.building_ma)
        if any(overload.ours for overload in overloads):
            site.state.violations += 1
            self.durable = True
        events = alarm_changes(
            site.state.alarms,
            present_alarms(
                site.tree,
                site.entries,
                overloads=overloads,
                undescribed=self.undescribed,
                stale=site.stale(now_ms),
                plan=plan,
                meter_fault=site.state.meter_fault,
                contract=site.power.contract_words(now_ms, rows.building_ma),
                late=self.planning.late_words(site, now_ms),
                lasting=lasting,
            ),
        )
        self.durable |= bool(events)
        self.effects += events

    def _renew_feeds(self, site: LiveSite, now_ms: int) -> None:
        """What feeds in ends by itself unless it is told to go on."""
        for position in site.feed.feeding.feed_ma:
            connector = site.connectors[position]
            if (connector.entry.asked_ma or 0) < 0:
                connector.calm.again |= now_ms >= connector.renewed_ms

    def _ask_meters(self, site: LiveSite, rows: Budget, now_ms: int) -> None:
        """Have those measured again who count with more than they may draw, because the meter
        showed it, or because they are still following a lower limit and others wait for what they
        give back. Their next sample by themselves may be half a minute away, and only one that was
        asked for proves what they draw since."""
        for connector in site.connectors:
            entry, since_ms = connector.entry, now_ms - connector.sample_asked_ms
            if entry.session_id is None or since_ms < SAMPLE_PAUSE_MS:
                continue
            if now_ms - entry.acknowledged_ms < SAMPLE_PAUSE_MS:
                continue
            present = entry.online and entry.settled
            follows = entry.draining_ma > 0 and present
            follows = follows and (bool(site.waiting) or any(rows.over(site.tree.lines)))
            if present and site.feed.awaited and (entry.asked_ma or 0) < 0:
                # Who must charge waits for what is seen to be fed in.
                follows = follows or entry.measured_ms <= entry.acknowledged_ms
            told = now_ms - entry.measured_ms < SAMPLE_PAUSE_MS or since_ms < SAMPLE_ASKED_MS
            if follows or (
                not told and entry.outdated(now_ms=now_ms, ramp_ms=self._settings.ramp_ms)
            ):
                connector.sample_asked_ms = now_ms
                key = connector.leaf.key
                wanted = SampleWanted(key.connector_id)
                self.effects.append(Send(charger_ref(key.charger_id), wanted))

    def _keep_window(self, site: LiveSite, now_ms: int) -> None:
        """Count the contract's energy; tell of windows that ended. The window rides in any
        snapshot, and has one of its own as seldom as a lost minute may matter."""
        building_ma, stale = site.building_ma(now_ms), site.stale(now_ms)
        closed = site.power.keep_window(now_ms, building_ma=building_ma, stale=stale)
        self.durable |= see_draw(site, building_ma, now_ms, stale=stale)
        self.effects += [window_event(window) for window in closed]
        end_ms = site.power.window_end_ms
        if end_ms is None:
            return
        if closed or now_ms - self._window_saved_ms >= WINDOW_SAVE_MS:
            self.durable = True
            self._window_saved_ms = now_ms
        if end_ms != self.window_end_ms:
            self.window_end_ms = end_ms
            self.effects.append(SetTimer("window", end_ms))

    def save_building(self, site: LiveSite, load: BuildingLoad) -> None:
        """Write the load when it moved, or when the saved one is about to look stale."""
        saved = self.building_saved
        if saved is not None:
            moved_ma = max(
                abs(new - old) for new, old in zip(load.current_ma, saved.current_ma, strict=True)
            )
            aged_ms = load.at_ms - saved.at_ms
            if moved_ma < BUILDING_STEP_MA and aged_ms < site.tree.stale_after_ms // 2:
                return
        self.building_saved = load
        self.durable = True

    def _send_limit(
        self, site: LiveSite, connector: LiveConnector, limit_ma: int, reason: str, now_ms: int
    ) -> None:
        site.state.limit_id += 1
        before_ma = connector.entry.asked_ma
        connector.entry.sent(site.state.limit_id, limit_ma, now_ms=now_ms)
        connector.calm.again = False
        hold_ms = None
        if limit_ma < 0:
            position = site.tree.index[connector.leaf.key]
            hold_ms = site.feed.feeding.hold_ms.get(position, HOLD_MS)
            connector.renewed_ms = now_ms + hold_ms // 2
        self.durable = True
        key = connector.leaf.key
        message = ApplyLimit(
            connector_id=key.connector_id,
            limit_id=site.state.limit_id,
            limit_ma=limit_ma,
            session_id=connector.entry.session_id,
            hold_s=None if hold_ms is None else hold_ms // MS_PER_S,
        )
        self.effects.append(Send(charger_ref(key.charger_id), message))
        decision = LimitDecision(
            charger_id=key.charger_id,
            connector_id=key.connector_id,
            session_id=connector.entry.session_id,
            at_ms=now_ms,
            limit_ma=limit_ma,
            before_ma=before_ma,
            reason=reason,
        )
        self.effects.append(Persist(decision))

    # --- the feeder and the grid ------------------------------------------------------------------

    def report(
        self, site: LiveSite, rows: Budget, now_ms: int, *, only_urgent: bool = False
    ) -> None:
        if site.config.feeder is None:
            return
        report = site_report(site, rows, now_ms=now_ms)
        if only_urgent and not self.reports.urgent(report, site.state.cap_ma):
            return
        now = site_observation(site, rows, now_ms=now_ms, stale_ms=self._sample_stale_ms)
        curve = None if site.plan is None else self._site_curve(site, site.plan, rows, now_ms)
        report = completed(report, now, curve, feed_in(site, rows, now))
        report = self.reports.stamped(report)
        self.effects.append(Send(feeder_ref(site.config.feeder), report))

    def _site_curve(
        self, site: LiveSite, plan: Plan, rows: Budget, now_ms: int
    ) -> tuple[int, Curve]:
        """The floor and the curve of the site: those of before where they follow from the same."""
        uncapped = site.uncapped(rows, now_ms) if plan.order or self.quiet else rows
        question = curve_question(site, plan, rows, uncapped) if self.quiet else None
        if question is None or question != self._curve_of:
            self._curve = site_curve(site, plan, rows, uncapped, now_ms=now_ms, pace=self._pace)
            self._curve_of = question
        return self._curve

    def advance_grid(self, site: LiveSite, now_ms: int) -> None:
        now = site_observation(
            site, site.budget(now_ms), now_ms=now_ms, stale_ms=self._sample_stale_ms
        )
        effects = site.state.grid.advance(now, self._ref)
        self.effects += effects
        self.durable |= bool(effects)

    def observe_grid(
        self, site: LiveSite, rows: Budget, now_ms: int, *, reducing: bool = False
    ) -> None:
        """Tell the grid's events what is drawn and may be drawn."""
        now = site_observation(
            site, rows, now_ms=now_ms, stale_ms=self._sample_stale_ms, reducing=reducing
        )
        effects = site.state.grid.observe(now, self._ref)
        self.effects += effects
        self.durable |= bool(effects)
        self.set_grid_timer(site, now_ms)

    # --- timers -----------------------------------------------------------------------------------

    def set_limit_timer(self, site: LiveSite, now_ms: int) -> None:
        at_ms = site.next_change_ms(now_ms)
        if at_ms is not None:
            self.effects.append(SetTimer("limit", at_ms))

    def set_grid_timer(self, site: LiveSite, now_ms: int) -> None:
        at_ms = site.state.grid.next_due_ms(now_ms)
        if at_ms is not None:
            self.effects.append(SetTimer("grid", at_ms))

    def set_report_timer(self, site: LiveSite, now_ms: int) -> None:
        if site.config.feeder is not None:
            self.effects.append(SetTimer("report", now_ms + self._settings.site_report_interval_ms))

    @property
    def _sample_stale_ms(self) -> int:
        return SAMPLES_MISSED_MAX * self._settings.meter_interval_ms


def _circumstances(site: LiveSite, now_ms: int) -> tuple[object, ...]:
    """What else the rows of a site follow from that may change by the passing of time alone."""
    return site.stale(now_ms), site.limits(now_ms)
