"""The actor of one site: hears chargers, building meter, feeder and owner, and keeps the ledger;
`rounds.py` says when its rounds run and what they send.

Invariant: every limit that leaves is in the ledger, and the ledger in a snapshot of the same step,
so it is durable before a charger can hear of it. Many meter samples a second arrive: they cost
little, and write nothing unless they change what counts."""

from __future__ import annotations

import msgspec

from controlplane.actor import (
    Answer,
    Ask,
    CancelTimer,
    Effect,
    Emit,
    Message,
    Persist,
    PlanFound,
    Send,
    SetTimer,
    TimerFired,
)
from controlplane.config import ActorSettings
from controlplane.errors import Refusal
from controlplane.feeder.messages import SiteLeft
from controlplane.feeder.plan_messages import Allotted
from controlplane.feeder.reporting import Reports
from controlplane.grid_events import CancelGridEvent, CreateGridEvent, GetGridEvent, GridEvent
from controlplane.ids import ActorRef, ConnectorKey, SiteId
from controlplane.site import planning
from controlplane.site.budget import Budget
from controlplane.site.configure import (
    assignment,
    busy_refusal,
    description_effects,
    feeder_ref,
    passed_on,
    refusal,
    removal_effects,
    validated,
)
from controlplane.site.demand import Pace
from controlplane.site.explain import explanation
from controlplane.site.flexibility import DURATION_MAX_MS, DURATION_MIN_MS, offer
from controlplane.site.flexibility_more import offer_more
from controlplane.site.foresight import (
    answer_foresight,
    see_building,
    see_solar,
    session_began,
)
from controlplane.site.foresight_messages import GetForecasts, PushForecast, PushPrices
from controlplane.site.limiting import take_limit
from controlplane.site.live import LiveSite
from controlplane.site.messages import (
    CURRENT_MAX_MA,
    POWER_MAX_W,
    CapChanged,
    ChargerPresence,
    ConfigureSite,
    ConnectorExplanation,
    ConnectorMetered,
    ConnectorState,
    DeleteSite,
    ExplainConnector,
    FlexibilityOffer,
    GetFlexibility,
    GetPlan,
    GetSite,
    LimitOutcome,
    LoadTaken,
    PhaseCurrents,
    ReportBuildingLoad,
    ReportMeterState,
    ReportSitePower,
    SetCircuitLimit,
    SetConnectorLimit,
    SetSiteLimit,
    SiteConfigured,
    SiteDeleted,
    SiteView,
    TokensChanged,
)
from controlplane.site.plan_view import plan_view
from controlplane.site.rounds import Rounds
from controlplane.site.state import BuildingLoad, SiteState
from controlplane.store.records import ActorSnapshot

__all__ = ["SiteActor"]

FUTURE_MAX_MS = 60_000
"""How far ahead of our clock a building meter may be."""


class SiteActor:
    """One site. See the module's docstring."""

    def __init__(self, ref: ActorRef, settings: ActorSettings, snapshot: bytes | None) -> None:
        self.ref = ref
        self._settings = settings
        self._pace = Pace(settings.ramp_ms)
        self._site = LiveSite(SiteState.restore(snapshot), settings) if snapshot else None
        self._rounds = Rounds(ref, settings)

    # --- the runtime's side -----------------------------------------------------------------------

    @property
    def rounds(self) -> int:
        """How many rounds were worked out, ever."""
        return 0 if self._site is None else self._site.state.round

    def standing_alarms(self) -> list[str]:
        """The names of the alarms that stand; one that concerns two circuits is in it twice."""
        return [] if self._site is None else [name for name, _ in self._site.state.alarms]

    def activate(self, now_ms: int) -> list[Effect]:
        """Resume: the ledger stands as it was, chargers count as offline until they report. They
        are told their description once more, because the host before may have gone down between
        writing it and their taking it."""
        self._rounds.effects = []
        if self._site is not None:
            self._rounds.heard_ms = self._site.latest_ms
            self._rounds.mind_clock(self._site, now_ms, since_crash=True)
            for entry in self._site.entries:
                entry.resumed(now_ms)
            config = self._site.config
            self._rounds.effects += [
                assignment(config, charger, again=True) for charger in config.chargers
            ]
            self._rounds.resumed(now_ms)
            self._rounds.set_limit_timer(self._site, now_ms)
            self._rounds.set_grid_timer(self._site, now_ms)
            if self._site.config.feeder is not None:
                self._rounds.effects.append(SetTimer("report", now_ms))
            self._plan_soon(self._site, now_ms)
        return self._rounds.effects

    def step(self, message: Message, now_ms: int) -> list[Effect]:
        """Take one message; see `controlplane.actor.Actor`."""
        self._rounds.effects = []
        self._rounds.durable = False
        quiet = self._rounds.quiet
        if self._site is not None:
            self._rounds.mind_clock(self._site, now_ms)
        if isinstance(message, Ask):
            answer = self._answer(message.request, now_ms)
            self._rounds.effects.append(Answer(message.ask_id, answer))
        elif self._site is not None:
            self._hear(self._site, message, now_ms)
        elif isinstance(message, CapChanged):
            self._leave(message, now_ms)
        if quiet and not self._rounds.quiet and self._site is not None:
            self._rounds.by(now_ms + self._settings.round_interval_ms)
        if self._rounds.durable and self._site is not None:
            state = self._site.state.snapshot()
            self._rounds.effects.append(Persist(ActorSnapshot(self.ref, state)))
        return self._rounds.effects

    def _hear(self, site: LiveSite, message: Message, now_ms: int) -> None:
        if isinstance(message, ConnectorMetered):
            # Nearly all that a site ever hears.
            self._metered(site, message, now_ms)
            return
        match message:
            case LimitOutcome():
                self._outcome(site, message, now_ms)
            case ConnectorState():
                self._connector_state(site, message, now_ms)
            case ChargerPresence():
                self._presence(site, message, now_ms)
            case TokensChanged():
                self._rounds.effects += passed_on(site.config, message)
            case CapChanged():
                self._cap_changed(site, message, now_ms)
            case Allotted():
                self._rounds.effects += self._rounds.planning.allotted(site, message, now_ms)
            case PlanFound():
                if self._rounds.planning.found(site, message):
                    self._rounds.run(site, now_ms)
            case TimerFired(key):
                self._timer(site, key, now_ms)
            case _:
                # News for another kind of actor: no harm.
                pass

    def _timer(self, site: LiveSite, key: str, now_ms: int) -> None:
        """A timer came due; one of an older version does no harm."""
        match key:
            case "round":
                self._rounds.due(site, now_ms)
            case "limit":
                self._limit_due(site, now_ms)
            case "window":
                self._rounds.window_end_ms = None
                self._rounds.run(site, now_ms)
            case "grid":
                self._rounds.advance_grid(site, now_ms)
                self._rounds.run(site, now_ms)
            case planning.TIMER:
                self._rounds.effects += self._rounds.planning.due(site, now_ms)
            case "report":
                self._rounds.report(site, self._rounds.rows(site, now_ms), now_ms)
                self._rounds.set_report_timer(site, now_ms)

    def _answer(self, request: object, now_ms: int) -> msgspec.Struct:
        if isinstance(request, ConfigureSite):
            return self._configure(request, now_ms)
        site = self._site
        if site is None:
            return refusal("not_found", "SITE_UNKNOWN", f"no site {self.ref.id}", self.ref.id)
        match request:
            case GetSite() | GetPlan() | ExplainConnector():
                return self._shown(site, request, now_ms)
            case ReportBuildingLoad():
                return self._building_load(site, request, now_ms)
            case ReportMeterState():
                return self._meter_state(site, request, now_ms)
            case ReportSitePower():
                return self._site_power(site, request, now_ms)
            case SetSiteLimit() | SetCircuitLimit() | SetConnectorLimit():
                return self._set_limit(site, request, now_ms)
            case GetFlexibility():
                return self._flexibility(site, request, now_ms)
            case CreateGridEvent() | CancelGridEvent() | GetGridEvent():
                return self._grid_event(site, request, now_ms)
            case PushPrices() | PushForecast() | GetForecasts():
                return self._foresight(site, request, now_ms)
            case DeleteSite():
                return self._delete(site, now_ms)
        return refusal(
            "invalid_input", "REQUEST_UNKNOWN", "a site does not know this request", self.ref.id
        )

    def _shown(
        self, site: LiveSite, request: GetSite | GetPlan | ExplainConnector, now_ms: int
    ) -> msgspec.Struct:
        if isinstance(request, GetSite):
            return site.view(now_ms)
        if isinstance(request, GetPlan):
            return plan_view(site, self._rounds.planning, now_ms)
        return self._explain(site, request, now_ms)

    # --- from the owner ---------------------------------------------------------------------------

    def _configure(self, request: ConfigureSite, now_ms: int) -> SiteConfigured | Refusal:
        before = self._site
        config = validated(request, self.ref.id, before)
        if isinstance(config, Refusal):
            return config
        answer = SiteConfigured(SiteId(config.id))
        if before is not None and before.config == config:
            return answer
        state = SiteState(config=b"") if before is None else before.state
        if before is not None and before.config.feeder != config.feeder:
            state.cap_id, state.cap_ma, state.wish = 0, None, None
            self._rounds.reports = Reports()
            self._rounds.planning.feeder_changed()
        load = config.building_load
        load_before = None if before is None else before.config.building_load
        if load is None or load != load_before:
            state.meter_fault, self._rounds.building_saved = "", None
        if load is None or load_before is None or load.circuit != load_before.circuit:
            # Where only the meter is another, what was measured last counts until it speaks.
            state.building = self._rounds.listens_since_ms = None
        state.describe(config)
        site = self._site = LiveSite(state, self._settings)
        self._rounds.undescribed -= site.by_key.keys()
        if before is not None:
            site.inherit(before)
        self._rounds.durable = True
        self._rounds.effects += description_effects(
            None if before is None else before.config, config, stored=state.config, now_ms=now_ms
        )
        event = {"site_id": config.id, "chargers": len(config.chargers)}
        self._rounds.effects.append(Emit("site.configured", event))
        self._rounds.set_report_timer(site, now_ms)
        self._plan_soon(site, now_ms, anew=True)
        self._limit_due(site, now_ms)
        return answer

    def _delete(self, site: LiveSite, now_ms: int) -> SiteDeleted | Refusal:
        busy = busy_refusal(site.connectors, self.ref.id)
        if busy is not None:
            return busy
        self._rounds.effects += site.state.grid.close(self.ref, now_ms)
        self._rounds.effects += removal_effects(site.config, now_ms=now_ms)
        self._rounds.effects.append(Persist(ActorSnapshot(ref=self.ref, state=b"")))
        timers = ("round", "limit", "grid", "report", "window")
        self._rounds.effects += [CancelTimer(key) for key in timers]
        self._rounds.effects += self._rounds.planning.close()
        self._rounds.effects.append(Emit("site.deleted", {"site_id": self.ref.id}))
        self._site = self._rounds.window_end_ms = None
        return SiteDeleted(SiteId(self.ref.id))

    def _explain(
        self, site: LiveSite, request: ExplainConnector, now_ms: int
    ) -> ConnectorExplanation | Refusal:
        connectors = site.chargers.get(request.charger_id, [])
        if request.connector_id == 0 and len(connectors) == 1:
            key = connectors[0].leaf.key
        else:
            key = ConnectorKey(request.charger_id, request.connector_id)
        if key not in site.by_key:
            known = ", ".join(str(each.leaf.key) for each in connectors) or "none of this charger"
            what = (
                "which connector is meant" if request.connector_id == 0 else f"no connector {key}"
            )
            words = f"{what}: site {self.ref.id} has {known}"
            return refusal("not_found", "CONNECTOR_UNKNOWN", words, self.ref.id)
        return explanation(site.picture(now_ms, site.budget(now_ms)), site.tree.index[key], now_ms)

    def _set_limit(
        self,
        site: LiveSite,
        request: SetSiteLimit | SetCircuitLimit | SetConnectorLimit,
        now_ms: int,
    ) -> SiteView | Refusal:
        event = take_limit(site, request, now_ms)
        if isinstance(event, Refusal):
            return event
        self._rounds.durable = True
        self._rounds.effects.append(event)
        self._limit_due(site, now_ms)
        self._plan_soon(site, now_ms, anew=True)
        return site.view(now_ms)

    def _plan_soon(self, site: LiveSite, now_ms: int, *, anew: bool = False) -> None:
        """Something has changed that a plan starts from; see `Planning.soon`."""
        self._rounds.effects += self._rounds.planning.soon(site, now_ms, anew=anew)

    def _limit_due(self, site: LiveSite, now_ms: int) -> None:
        self._rounds.set_limit_timer(site, now_ms)
        self._rounds.run(site, now_ms)

    def _flexibility(
        self, site: LiveSite, request: GetFlexibility, now_ms: int
    ) -> FlexibilityOffer | Refusal:
        duration_ms = request.duration_ms
        if not DURATION_MIN_MS <= duration_ms <= DURATION_MAX_MS:
            words = "duration_ms is five minutes to a day"
            return refusal("invalid_input", "DURATION_INVALID", words, self.ref.id)
        rows = site.budget(now_ms)
        if request.more:
            return offer_more(site, rows, now_ms=now_ms, duration_ms=duration_ms, pace=self._pace)
        return offer(site, rows, now_ms=now_ms, duration_ms=duration_ms)

    def _grid_event(
        self,
        site: LiveSite,
        request: CreateGridEvent | CancelGridEvent | GetGridEvent,
        now_ms: int,
    ) -> GridEvent | Refusal:
        answer, effects = site.state.grid.answer(request, self.ref, now_ms)
        self._rounds.effects += effects
        self._rounds.durable |= bool(effects)
        if effects:
            self._rounds.advance_grid(site, now_ms)
            self._rounds.run(site, now_ms)
            self._plan_soon(site, now_ms, anew=True)
        return answer if isinstance(answer, Refusal) else answer.copy()

    def _foresight(
        self, site: LiveSite, request: PushPrices | PushForecast | GetForecasts, now_ms: int
    ) -> msgspec.Struct:
        answer, effects = answer_foresight(site, request, now_ms)
        self._rounds.effects += effects
        self._rounds.durable |= bool(effects)
        if effects:
            self._plan_soon(site, now_ms, anew=True)
        return answer

    def _building_load(
        self, site: LiveSite, request: ReportBuildingLoad, now_ms: int
    ) -> SiteView | LoadTaken | Refusal:
        if site.config.building_load is None:
            return refusal(
                "precondition",
                "BUILDING_LOAD_UNDESCRIBED",
                "the site's description has no building_load",
                self.ref.id,
            )
        if request.at_ms > now_ms + FUTURE_MAX_MS:
            return refusal(
                "invalid_input", "AT_IN_FUTURE", "at_ms is ahead of Loadstar's clock", self.ref.id
            )
        rows = self._building_measured(
            site, request.current_ma, None, at_ms=request.at_ms, now_ms=now_ms
        )
        if not request.view:
            return LoadTaken(SiteId(self.ref.id))
        return site.view(now_ms, rows)

    def _building_measured(
        self,
        site: LiveSite,
        current_ma: PhaseCurrents,
        power_w: int | None,
        *,
        at_ms: int,
        now_ms: int,
    ) -> Budget | None:
        """Take in what the building's meter shows, from wherever it came; see `BuildingLoad.follow`
        on its stamps. The rows after that, where they are known."""
        last = site.state.building
        l1, l2, l3 = (max(-CURRENT_MAX_MA, min(each, CURRENT_MAX_MA)) for each in current_ma)
        current_ma = (l1, l2, l3)
        load = BuildingLoad.follow(
            last,
            site.power.building(current_ma, power_w, at_ms=at_ms, now_ms=now_ms),
            at_ms=at_ms,
            now_ms=now_ms,
        )
        if load is None:
            return None
        rows = self._rounds.building_moved(site, load, now_ms)
        self._rounds.durable |= see_building(site, load)
        if any(rows.over(site.tree.lines)):
            self._rounds.run(site, now_ms)
            return None
        quiet = self._rounds.quiet
        if site.state.grid.awaiting or (quiet and site.state.grid.wants_observation(now_ms)):
            self._rounds.observe_grid(site, rows, now_ms)
        if quiet:
            self._rounds.report(site, rows, now_ms, only_urgent=True)
        else:
            self._rounds.by(now_ms + self._settings.round_interval_ms)
        return rows

    def _site_power(
        self, site: LiveSite, request: ReportSitePower, now_ms: int
    ) -> SiteView | Refusal:
        if not request.plausible:
            return refusal(
                "invalid_input",
                "POWER_INVALID",
                f"solar_w is 0 to {POWER_MAX_W}, battery_w at most that in magnitude, "
                "battery_soc_percent 0 to 100",
                self.ref.id,
            )
        if request.at_ms > now_ms + FUTURE_MAX_MS:
            return refusal(
                "invalid_input", "AT_IN_FUTURE", "at_ms is ahead of Loadstar's clock", self.ref.id
            )
        if site.power.solar.take(request, now_ms=now_ms):
            self._rounds.durable |= see_solar(site, request.solar_w, min(request.at_ms, now_ms))
            self._rounds.quiet = False
            if self._rounds.next_ms is None:
                self._rounds.by(now_ms + self._settings.round_interval_ms)
        return site.view(now_ms)

    def _meter_state(self, site: LiveSite, request: ReportMeterState, now_ms: int) -> SiteView:
        if bool(request.fault) != bool(site.state.meter_fault):
            site.state.meter_fault = request.fault
            self._rounds.durable = True
            self._rounds.run(site, now_ms)
        return site.view(now_ms)

    # --- from chargers ----------------------------------------------------------------------------

    def _metered(self, site: LiveSite, message: ConnectorMetered, now_ms: int) -> None:
        message = message.believed()
        if site.power.reads(message.charger_id, message.connector_id):
            lines = site.power.metered_lines(message)
            if lines is not None:
                self._building_measured(
                    site, lines, message.power_w, at_ms=message.at_ms, now_ms=now_ms
                )
            return
        connector = site.by_key.get(ConnectorKey(message.charger_id, message.connector_id))
        if connector is None:
            return
        demand = connector.demand
        if demand is not None:
            before_wh = demand.energy_wh
            demand.energy_wh = message.energy_wh or before_wh
            site.delivered_wh += max(0, demand.energy_wh - before_wh)
            if message.soc_percent is not None:
                demand.soc_percent = message.soc_percent
            demand.exported_wh = message.exported_wh or demand.exported_wh
            # What its battery holds decides what it feeds in.
            self._rounds.quiet &= not site.feed.concerns(demand)
        highest_ma, confirms = connector.take_sample(
            message, voltage_v=site.config.voltage_v, now_ms=now_ms
        )
        if highest_ma is None:
            return
        entry = connector.entry
        counted = (entry.liability_ma, entry.feed_ma)
        changed = entry.metered(
            highest_ma,
            at_ms=message.at_ms,
            now_ms=now_ms,
            ramp_ms=self._settings.ramp_ms,
            confirms=confirms and message.fresh,
            fed_ma=connector.fed_ma,
        )
        self._rounds.durable |= changed
        if demand is not None and demand.behaviour.metered(
            connector.leaf, entry, message, now_ms=now_ms, pace=self._pace
        ):
            self._rounds.by(now_ms + self._settings.round_interval_ms)
        if changed and (entry.liability_ma, entry.feed_ma) != counted:
            self._rounds.quiet = False
            self._rounds.soon(site, now_ms)
        elif site.state.grid.awaiting:
            self._rounds.observe_grid(site, site.budget(now_ms), now_ms)

    def _outcome(self, site: LiveSite, message: LimitOutcome, now_ms: int) -> None:
        connector = site.by_key.get(ConnectorKey(message.charger_id, message.connector_id))
        if connector is None:
            return
        entry = connector.entry
        counted_ma, asked_ma, failures = entry.liability_ma, entry.asked_ma, entry.failures
        changed = entry.outcome(
            message.limit_id,
            message.state,
            superseded=message.superseded,
            now_ms=now_ms,
            backoff_ms=2 * self._settings.round_interval_ms,
            backoff_max_ms=self._settings.call_timeout_ms,
        )
        self._rounds.durable |= changed
        if entry.liability_ma < counted_ma or entry.asked_ma != asked_ma:
            self._rounds.quiet = False
            self._rounds.soon(site, now_ms)
        elif changed:
            # Where it was taken, all that counts is as it was.
            self._rounds.quiet &= (entry.liability_ma, entry.failures) == (counted_ma, failures)
            self._rounds.by(now_ms + self._settings.round_interval_ms)

    def _connector_state(self, site: LiveSite, message: ConnectorState, now_ms: int) -> None:
        key = ConnectorKey(message.charger_id, message.connector_id)
        connector = site.by_key.get(key)
        if connector is None:
            self._undescribed_state(site, key, running=message.session is not None, now_ms=now_ms)
            return
        session = message.session
        matters = connector.entry.session(None if session is None else session.session_id)
        if matters and session is not None:
            session_began(site, session, now_ms)
        differs, learned = site.take_state(connector, message, now_ms, self._pace)
        self._rounds.durable |= matters or learned
        if session is not None and session.boost_until_ms is not None:
            self._rounds.set_limit_timer(site, now_ms)
        if matters and session is not None and not session.authorised:
            # Its token is judged in a moment. Until then it has what its default profile allows,
            # for which there is room: nobody need be told anything twice.
            self._rounds.quiet = False
            self._rounds.by(now_ms + self._settings.round_interval_ms // 10)
        elif matters or differs:
            self._rounds.quiet = False
            self._rounds.soon(site, now_ms, critical=True)
            self._plan_soon(site, now_ms)
        elif connector.demand is not None:
            self._rounds.by(now_ms + self._settings.round_interval_ms)

    def _undescribed_state(
        self, site: LiveSite, key: ConnectorKey, *, running: bool, now_ms: int
    ) -> None:
        """News of a connector that nobody described; a charger invents no more than it may."""
        if running and key.charger_id in site.chargers:
            self._rounds.undescribed.add(key)
        else:
            self._rounds.undescribed.discard(key)
        self._rounds.quiet = False
        self._rounds.soon(site, now_ms)

    def _presence(self, site: LiveSite, message: ChargerPresence, now_ms: int) -> None:
        changed = False
        for connector in site.chargers.get(message.charger_id, ()):
            number = connector.leaf.key.connector_id
            changed |= connector.entry.presence(
                online=message.online,
                settled=message.settled,
                default_ma=message.lower_ma.get(number, message.default_ma),
                now_ms=now_ms,
            )
        if changed:
            self._rounds.durable = True
            self._rounds.quiet = False
            self._rounds.soon(site, now_ms, critical=True)

    # --- from the feeder --------------------------------------------------------------------------

    def _leave(self, message: CapChanged, now_ms: int) -> None:
        """Tell a feeder that this is none of its sites, again if it did not hear that before."""
        left = SiteLeft(SiteId(self.ref.id), now_ms)
        self._rounds.effects.append(Send(feeder_ref(message.feeder_id), left))

    def _cap_changed(self, site: LiveSite, message: CapChanged, now_ms: int) -> None:
        state = site.state
        if message.feeder_id != site.config.feeder:
            self._leave(message, now_ms)
            return
        if message.cap_id == state.cap_id:
            self._rounds.wish_prolonged(site, message.wish, now_ms)
            # The feeder did not hear our report.
            self._rounds.report(site, site.budget(now_ms), now_ms)
        if message.cap_id <= state.cap_id:
            return
        wish_w = None if message.wish is None else message.wish.power_w
        wished_w = None if state.wish is None else state.wish.power_w
        if (state.cap_ma, wished_w) != (message.cap_ma, wish_w) or state.cap_id == 0:
            news = {"cap_ma": message.cap_ma, "wish_w": wish_w}
            self._rounds.effects.append(Emit("site.cap_changed", news))
        self._rounds.cap_moved(site, message, now_ms)
        self._rounds.effects += self._rounds.planning.cap_changed(site, now_ms)
