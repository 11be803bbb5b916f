"""A described site in memory: its durable state and everything that is derived from it.

Invariant: positions agree everywhere. Connector `i` of the tree, of the ledger's entries and of a
plan is the same connector, in the order of the description."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from zoneinfo import ZoneInfo

import msgspec

from controlplane.config import ActorSettings
from controlplane.ids import ChargerId
from controlplane.limit_schedule import limit_at, next_change_ms, still_in_force
from controlplane.network import SiteConfig
from controlplane.ocpp.events import ConnectorStatus
from controlplane.planning.inputs import SiteInputs
from controlplane.planning.outlook import Outlook
from controlplane.rows_ahead import slots_at
from controlplane.site.behaviour import NOT_NUDGED, Behaviour
from controlplane.site.budget import Budget, budget, moved, uncapped
from controlplane.site.check import LedgerCheck
from controlplane.site.demand import Demand, Pace, Turn
from controlplane.site.forecast import History, Vehicle
from controlplane.site.foresight import expectation, inherit_outlook, session_ended
from controlplane.site.ledger import Entry
from controlplane.site.live_feeding import LiveFeeding
from controlplane.site.live_power import LivePower
from controlplane.site.messages import (
    ConnectorMetered,
    ConnectorState,
    PhaseCurrents,
    SiteView,
)
from controlplane.site.plan_words import plan_words
from controlplane.site.policy import Policy
from controlplane.site.raising import raise_targets
from controlplane.site.release import Calm
from controlplane.site.round import Plan, plan
from controlplane.site.solve import Answers
from controlplane.site.state import SiteState
from controlplane.site.targets import Targets
from controlplane.site.tree import Leaf, SiteTree
from controlplane.site.view import Picture, site_view
from controlplane.units import ma_from_w, w_from_ma

__all__ = ["LiveConnector", "LiveSite"]


@dataclass(slots=True)
class LiveConnector:
    """What is known of a connector beside its account; not durable."""

    leaf: Leaf
    entry: Entry
    demand: Demand | None = None
    status: ConnectorStatus | None = None
    """As its station said last; None while it has not."""
    calm: Calm = field(default_factory=Calm)
    measured_ma: PhaseCurrents | None = None
    """On the lines of the site; below 0: it feeds in."""
    measured_w: int | None = None
    measured_at_ms: int = 0
    sample_asked_ms: int = 0
    """When its station was asked to measure, beside what it does by itself."""
    renewed_ms: int = 0
    """When it is to be told again to feed in."""

    @property
    def fed_ma(self) -> int:
        """What it fed in when it was measured last, on the conductor that carries most."""
        return 0 if self.measured_ma is None else max(0, -min(self.measured_ma))

    def metered_w(self, *, now_ms: int, stale_ms: int) -> int | None:
        """What it draws by its last sample, if that is not older than `stale_ms`; None where it may
        draw whatever it is allowed. Without a session it draws nothing."""
        entry = self.entry
        if not (entry.online and entry.settled):
            return None
        if entry.session_id is None:
            return 0
        fresh = now_ms - self.measured_at_ms <= stale_ms
        return self.measured_w if fresh else None

    def take_sample(
        self, sample: ConnectorMetered, *, voltage_v: int, now_ms: int
    ) -> tuple[int | None, bool]:
        """Keep a sample per line, below 0 what is fed in; give the highest conductor in mA (None:
        the sample has no current) and whether it can confirm a decrease.

        A current worked out from power spreads it evenly over the conductors, which a vehicle may
        not do; only with one conductor, or behind a rectifier, it must. Direct current says
        nothing of what the charger draws.
        """
        direct, phases, power_w = self.leaf.direct_current, self.leaf.phases, sample.power_w
        lines = [0, 0, 0]
        known = 0
        if not direct:
            for column, current_ma in zip(phases, sample.current_ma, strict=False):
                if current_ma is not None:
                    lines[column] = current_ma
                    known += 1
        if known:
            confirms = known == len(phases)
        elif power_w is not None:
            even_ma = ma_from_w(power_w, voltage_v=voltage_v, phases=len(phases))
            for column in phases:
                lines[column] = even_ma
            confirms = direct or len(phases) == 1
        else:
            return None, False
        self.measured_ma = l1_ma, l2_ma, l3_ma = lines[0], lines[1], lines[2]
        if power_w is not None and power_w < 0 and min(lines) >= 0:
            # There are meters that have no sign on currents, or none of what is fed in.
            even_ma = ma_from_w(-power_w, voltage_v=voltage_v, phases=len(phases))
            for column in phases:
                lines[column] = -(lines[column] or even_ma)
            self.measured_ma = l1_ma, l2_ma, l3_ma = lines[0], lines[1], lines[2]
        if power_w is None:
            power_w = w_from_ma(l1_ma + l2_ma + l3_ma, voltage_v=voltage_v, phases=1)
        self.measured_w = power_w
        self.measured_at_ms = now_ms
        return max(0, l1_ma, l2_ma, l3_ma), confirms


class LiveSite:
    """A described site: the durable state and what is derived from it."""

    def __init__(self, state: SiteState, settings: ActorSettings) -> None:
        self.state = state
        self.config = SiteConfig.model_validate_json(state.config)
        self.tree = SiteTree(self.config)
        self.policy = Policy(self.config)
        self.check = LedgerCheck(self.config)
        self.connectors = [
            LiveConnector(leaf, entry)
            for leaf, (_, entry) in zip(self.tree.leaves, state.entries, strict=True)
        ]
        self.by_key = {connector.leaf.key: connector for connector in self.connectors}
        self.entries = [connector.entry for connector in self.connectors]
        self.chargers: dict[ChargerId, list[LiveConnector]] = {}
        for connector in self.connectors:
            self.chargers.setdefault(connector.leaf.key.charger_id, []).append(connector)
        self.history = History.restore(state.history)
        self.outlook = Outlook.restore(state.outlook)
        self.zone = ZoneInfo(self.config.time_zone)
        self.power = LivePower(state, self.config, self.tree, self.connectors, settings)
        self.feed = LiveFeeding(state, self.config, self.tree, self.connectors, settings)
        self._answers, self._uncapped_answers = Answers(), Answers()
        self.plan: Plan | None = None
        self.targets = Targets()
        self.delivered_wh = 0
        """What meters have counted while this host looked on."""
        self._slot_wh = (0, 0)
        """The beginning of a slot, and what had been delivered then."""
        self.efficiency_permille = {
            ChargerId(charger.id): charger.efficiency_permille for charger in self.config.chargers
        }
        """What of the grid's energy the meter of a charger counts."""
        self.waiting: dict[int, int] = {}

    def inherit(self, before: LiveSite) -> None:
        """Take over what is not durable from the description that this one replaces."""
        self.power.inherit(before.power)
        self.targets = before.targets
        self.delivered_wh, self._slot_wh = before.delivered_wh, before._slot_wh
        inherit_outlook(self, before)
        for key, connector in self.by_key.items():
            if key in before.by_key:
                connector.demand = before.by_key[key].demand
                connector.status = before.by_key[key].status
                connector.measured_ma = before.by_key[key].measured_ma
                connector.measured_w = before.by_key[key].measured_w
                connector.measured_at_ms = before.by_key[key].measured_at_ms

    # --- what vehicles want -----------------------------------------------------------------------

    def take_state(
        self, connector: LiveConnector, message: ConnectorState, now_ms: int, pace: Pace
    ) -> tuple[bool, bool]:
        """Take in the status and the session of a connector. Whether another round could come out
        differently, and whether something was learned that is durable."""
        before, session = connector.demand, message.session
        had_session, learned = before is not None, False
        connector.status = message.status
        if before is not None and (
            session is None or before.session.session_id != session.session_id
        ):
            learned = self._ended(before, now_ms)
            connector.demand = before = None
        if session is None:
            connector.demand = connector.measured_ma = connector.measured_w = None
            # The status alone of a connector that stays without a session changes no round.
            return had_session, learned
        if before is None:
            running = (connector.entry.acknowledged_ma or 0) >= connector.leaf.min_ma
            demand = Demand(
                message.status, session, session.energy_wh, Behaviour(), Turn(running, now_ms)
            )
            demand.exported_wh = session.exported_wh
        else:
            demand = replace(
                before,
                status=message.status,
                session=session,
                energy_wh=session.energy_wh,
                exported_wh=session.exported_wh,
            )
            demand.spoke(before)
            faulted = ConnectorStatus.FAULTED
            if message.status is faulted and before.status is not faulted:
                demand.behaviour.faulted(now_ms=now_ms, pace=pace)
        demand.external_ma = message.external_ma
        if message.status is not ConnectorStatus.SUSPENDED_EV:
            demand.idle_since_ms = None
        elif demand.idle_since_ms is None:
            demand.idle_since_ms = now_ms
        connector.demand = demand
        if before is None or before.session.id_token != session.id_token:
            self._forecast(demand, now_ms)
            demand.expected = expectation(demand)
            if demand.behaviour.known == Vehicle():
                # Whose it is may be said only after it was plugged in.
                demand.behaviour.known = self.history.vehicle(session.id_token)
        said = None if before is None else before.session.vehicle
        if session.vehicle is not None and session.vehicle != said:
            # K15.FR.08, K17.FR.08: its station is told a limit within a minute, be it the same.
            connector.calm.again = True
        return before is None or before.differs(demand), learned

    def consider(self, now_ms: int, pace: Pace) -> None:
        """Let time pass for every session, before a round."""
        for connector in self.connectors:
            demand = connector.demand
            if demand is None:
                continue
            expected = demand.forecast
            if (
                expected is not None
                and expected.departure_ms is not None
                and expected.departure_ms <= now_ms
            ):
                self._forecast(demand, now_ms)
            connector.calm.again |= demand.consider(
                connector.leaf, connector.entry, now_ms=now_ms, pace=pace
            )

    def observe(self, now_ms: int) -> None:
        """Note who charges and who is paused, after a round; a nudge is no pause."""
        for connector in self.connectors:
            demand = connector.demand
            if demand is not None:
                on = (connector.entry.asked_ma or 0) >= max(1, connector.leaf.min_ma)
                nudged = demand.behaviour.nudge is not NOT_NUDGED
                demand.turn.observe(on=on or (nudged and demand.turn.on), now_ms=now_ms)

    def _forecast(self, demand: Demand, now_ms: int) -> None:
        session = demand.session
        demand.forecast = self.history.forecast(
            session.id_token, started_ms=session.started_ms, now_ms=now_ms, zone=self.zone
        )

    def _ended(self, demand: Demand, now_ms: int) -> bool:
        session = demand.session
        learned = self.history.ended(
            session.id_token,
            started_ms=session.started_ms,
            ended_ms=now_ms,
            energy_wh=demand.energy_wh,
            zone=self.zone,
            vehicle=demand.behaviour.known,
        )
        if learned:
            self.state.history = self.history.snapshot()
        return session_ended(self, demand, now_ms) or learned

    # --- the rows ---------------------------------------------------------------------------------

    def clock_set(self, change_ms: int, now_ms: int) -> None:
        """The clock was set by so much, and shows `now_ms`. Set forward, it must not confirm what
        vehicles have yet to follow; set back, nothing may lie ahead of it."""
        for connector in self.connectors:
            demand = connector.demand
            if change_ms < 0 or connector.entry.settling:
                connector.entry.clock_set(change_ms)
                if demand is not None and demand.idle_since_ms is not None:
                    demand.idle_since_ms += change_ms
            if change_ms < 0:
                connector.calm = Calm()
                connector.measured_at_ms += change_ms
                connector.sample_asked_ms += change_ms
                if demand is not None:
                    demand.turn.since_ms = min(demand.turn.since_ms, now_ms)
                    known, nudges = demand.behaviour.known, demand.behaviour.nudges
                    demand.behaviour = Behaviour(known=known, nudges=nudges)
        building = self.state.building
        if change_ms < 0 and building is not None:
            self.state.building = msgspec.structs.replace(
                building, at_ms=building.at_ms + change_ms
            )
        if change_ms < 0:
            state, before_ms = self.state, now_ms - change_ms
            state.windows = still_in_force(state.windows, before_ms=before_ms, now_ms=now_ms)
            state.overrides.clock_set_back(before_ms=before_ms, now_ms=now_ms)
        self.power.clock_set(change_ms)

    @property
    def latest_ms(self) -> int:
        """The latest instant of which the durable state tells; 0 where it tells of none."""
        building = self.state.building
        instants = [
            max(entry.acknowledged_ms, entry.measured_ms, *[each.sent_ms for each in entry.pending])
            for entry in self.entries
        ]
        return max([*instants, 0 if building is None else building.at_ms])

    @property
    def busy(self) -> bool:
        """Whether the next round can find anything changed without being told."""
        return any(entry.session_id is not None or entry.settling for entry in self.entries)

    def take_terms(self, now_ms: int, pace: Pace) -> None:
        """Give every session what rules, hours, boosts, operators and the plan say now."""
        overrides = self.state.overrides
        for connector in self.connectors:
            demand = connector.demand
            if demand is not None:
                session = demand.session
                demand.terms = self.policy.terms(session.id_token, now_ms)
                demand.boosted = (session.boost_until_ms or 0) > now_ms
                demand.override_ma = overrides.connector_ma(connector.leaf.key, now_ms)
        self.drawn_wh(slots_at(now_ms).start_ms)
        self.targets.follow(self.connectors, now_ms, pace)
        raise_targets(self, now_ms)

    def drawn_wh(self, start_ms: int) -> int:
        """What vehicles have drawn since a slot began, as far as it was looked at then."""
        if self._slot_wh[0] != start_ms:
            self._slot_wh = (start_ms, self.delivered_wh)
        return self.delivered_wh - self._slot_wh[1]

    def inputs(self, now_ms: int, *, start_ms: int, slot_s: int, slots: int) -> SiteInputs | None:
        """What the site's plan starts from; None without a tariff, and then nothing is planned."""
        tariff = self.config.tariff
        if tariff is None:
            return None
        return self.outlook.inputs(
            tariff,
            start_ms=start_ms,
            slot_s=slot_s,
            slots=slots,
            zone=self.zone,
            now_ms=now_ms,
        )

    def next_change_ms(self, now_ms: int) -> int | None:
        """The next instant at which limits, hours or boosts are others than now."""
        wish = self.state.wish
        instants = [
            next_change_ms(self.state.windows, now_ms),
            None if wish is None else wish.until_ms,
            self.state.overrides.next_change_ms(now_ms),
            self.policy.standing(now_ms).until_ms,
            *(demand.session.boost_until_ms for demand in self.demands if demand is not None),
        ]
        return min((each for each in instants if each is not None and each > now_ms), default=None)

    @property
    def demands(self) -> list[Demand | None]:
        return [connector.demand for connector in self.connectors]

    def stale(self, now_ms: int) -> bool:
        """Whether the building was heard before, and not lately."""
        building = self.state.building
        return building is not None and now_ms - building.at_ms > self.tree.stale_after_ms

    def building_ma(self, now_ms: int) -> list[int]:
        """The building's load per row; a stale one counts at least as assumed. What it feeds back
        is never netted against what chargers draw."""
        assumed_ma = self.tree.building_assumed_ma
        building = self.state.building
        if building is None:
            return self.tree.building_ma((assumed_ma, assumed_ma, assumed_ma))
        floor_ma = assumed_ma if self.stale(now_ms) else 0
        l1, l2, l3 = building.current_ma
        return self.tree.building_ma((max(floor_ma, l1), max(floor_ma, l2), max(floor_ma, l3)))

    def limit_ma(self, now_ms: int, *, wished: bool = True) -> int | None:
        """The lower of what was set and of what the grid asked of this site, by its feeder's wish
        where `wished`; None: neither."""
        state = self.state
        if not (state.windows or state.grid.events or state.wish):
            return None
        asked_w = state.asked_w(now_ms) if wished else state.grid.limit_w()
        limits = [limit_at(state.windows, now_ms), self._line_ma(asked_w)]
        return min((each for each in limits if each is not None), default=None)

    def grid_ma(self, now_ms: int) -> int | None:
        """What the grid asked this site to stay below, per phase; None: nothing."""
        return self._line_ma(self.state.asked_w(now_ms))

    def _line_ma(self, power_w: int | None) -> int | None:
        if power_w is None:
            return None
        return ma_from_w(power_w, voltage_v=self.config.voltage_v, phases=3)

    def limits(self, now_ms: int) -> tuple[int | None, dict[int, int]]:
        """What limits the rows below their ratings at this instant, but for building and sun: the
        site as a whole (None: nothing), and its circuits by node. What the grid asks of a site that
        may feed in is counted apart."""
        state = self.state
        lowest = state.cap_ma
        if state.windows or state.grid.events or state.wish is not None:
            limits = [limit_at(state.windows, now_ms), lowest]
            if not self.feed.possible:
                limits.append(self.grid_ma(now_ms))
            lowest = min([each for each in limits if each is not None], default=None)
        return lowest, self.circuit_limits_ma(now_ms)

    @property
    def _capped(self) -> bool:
        return self.config.feeder is None or self.state.cap_id > 0

    def budget(self, now_ms: int) -> Budget:
        """The rows as they are now."""
        supply_limit_ma, circuit_limits_ma = self.limits(now_ms)
        building_ma = self.building_ma(now_ms)
        grid_ma = self.grid_ma(now_ms) if self.feed.possible else None
        return budget(
            self.tree,
            self.entries,
            building_ma=building_ma,
            supply_limit_ma=supply_limit_ma,
            capped=self._capped,
            grid_limit_ma=grid_ma,
            proven_feed_ma=None if grid_ma is None else self.feed.proven_ma(now_ms),
            contract_ma=self.power.contract_ma(now_ms, building_ma),
            surplus_ma=self.power.surplus_ma(now_ms, building_ma),
            circuit_limits_ma=circuit_limits_ma,
        )

    def moved(self, rows: Budget, now_ms: int) -> Budget:
        """The `rows` of lately, where only the building's load and the cap have changed since."""
        supply_limit_ma, circuit_limits_ma = self.limits(now_ms)
        return moved(
            self.tree,
            rows,
            self.building_ma(now_ms),
            supply_limit_ma=supply_limit_ma,
            capped=self._capped,
            circuit_limits_ma=circuit_limits_ma,
        )

    def uncapped(self, rows: Budget, now_ms: int) -> Budget:
        """The rows of `budget` as if the feeder had no say."""
        return uncapped(
            self.tree,
            rows,
            limit_ma=self.limit_ma(now_ms, wished=False),
            circuit_limits_ma=self.circuit_limits_ma(now_ms),
        )

    def solve(
        self,
        rows: Budget,
        *,
        now_ms: int,
        pace: Pace,
        narrowed: bool = False,
        last: Plan | None = None,
    ) -> Plan:
        """What every connector should draw within `rows`; see `round.plan`."""
        return plan(
            self.tree,
            self.entries,
            self.demands,
            rows,
            stale=self.stale(now_ms),
            now_ms=now_ms,
            pace=pace,
            answers=self._uncapped_answers if narrowed else self._answers,
            exempt=self.power.exempt(now_ms) if rows.surplus_ma is not None else (),
            feed_ma=self.feed.feeding.feed_ma,
            waits=self.feed.waits,
            narrowed=narrowed,
            last=last,
        )

    def circuit_limits_ma(self, now_ms: int) -> dict[int, int]:
        """The operators' limits in force, by node."""
        overrides = self.state.overrides
        if not overrides.circuits:
            return {}
        found = (
            (node, overrides.circuit_ma(circuit.id, now_ms))
            for node, circuit in enumerate(self.config.circuits)
        )
        return {node: limit_ma for node, limit_ma in found if limit_ma is not None}

    def picture(self, now_ms: int, rows: Budget) -> Picture:
        """All that views and explanations are drawn from; `rows` as they are now."""
        return Picture(
            state=self.state,
            tree=self.tree,
            entries=self.entries,
            demands=self.demands,
            measured_ma=[connector.measured_ma for connector in self.connectors],
            statuses=[connector.status for connector in self.connectors],
            rows=rows,
            plan=self.plan,
            waiting=self.waiting,
            limit_ma=self.limit_ma(now_ms),
            grid_ma=self.grid_ma(now_ms),
            stale=self.stale(now_ms),
            power=self.power.view(now_ms, building_ma=rows.building_ma, stale=self.stale(now_ms)),
            circuit_limits_ma=self.circuit_limits_ma(now_ms),
            override_ma=[
                self.state.overrides.connector_ma(connector.leaf.key, now_ms)
                for connector in self.connectors
            ],
            opens=self.policy.opens(now_ms),
            plan_words=lambda position: plan_words(self, self.connectors[position], now_ms),
        )

    def view(self, now_ms: int, rows: Budget | None = None) -> SiteView:
        """The site as people see it; `rows` as they are now, where they are known already."""
        return site_view(self.picture(now_ms, rows or self.budget(now_ms)), now_ms)
