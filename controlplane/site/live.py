"""A described site in memory: its durable state and everything that is derived from it.

Invariant: positions agree everywhere. Connector `i` of the tree, of the ledger's entries and of a
plan is the same connector, in the order of the description."""

from __future__ import annotations

from dataclasses import dataclass, field

import msgspec

from controlplane.config import ActorSettings
from controlplane.ids import ChargerId
from controlplane.limit_schedule import limit_at, next_change_ms
from controlplane.network import SiteConfig
from controlplane.site.check import LedgerCheck
from controlplane.site.demand import Demand
from controlplane.site.ledger import Entry
from controlplane.site.live_power import LivePower
from controlplane.site.messages import (
    CURRENT_MAX_MA,
    ConnectorMetered,
    PhaseCurrents,
    SiteView,
)
from controlplane.site.policy import Policy
from controlplane.site.release import Calm
from controlplane.site.round import Budget, Cause, Plan, budget
from controlplane.site.state import SiteState
from controlplane.site.tree import Leaf, SiteTree
from controlplane.site.view import Picture, site_view
from controlplane.units import ma_from_w

__all__ = ["LiveConnector", "LiveSite"]


@dataclass(slots=True)
class LiveConnector:
    """What is known of a connector beside its account; not durable."""

    leaf: Leaf
    entry: Entry
    demand: Demand | None = None
    calm: Calm = field(default_factory=Calm)
    measured_ma: PhaseCurrents | None = None
    """On the lines of the site."""

    def take_sample(self, sample: ConnectorMetered, *, voltage_v: int) -> tuple[int | None, bool]:
        """Keep a sample per line; give the highest conductor in mA (None: the sample has no
        current) and whether it can confirm a decrease.

        A current worked out from power spreads it evenly over the conductors, which a vehicle may
        not do; only with one conductor, or behind a rectifier, it must. Direct current says
        nothing of what the charger draws.
        """
        leaf = self.leaf
        conductors = [] if leaf.direct_current else list(sample.current_ma[: len(leaf.phases)])
        known = [current for current in conductors if current is not None]
        if known:
            currents = [current or 0 for current in conductors]
            confirms = len(known) == len(leaf.phases)
        elif sample.power_w is not None:
            even_ma = ma_from_w(sample.power_w, voltage_v=voltage_v, phases=len(leaf.phases))
            currents = [even_ma] * len(leaf.phases)
            confirms = leaf.direct_current or len(leaf.phases) == 1
        else:
            return None, False
        currents = [max(-CURRENT_MAX_MA, min(each, CURRENT_MAX_MA)) for each in currents]
        lines = [0, 0, 0]
        for column, current_ma in zip(leaf.phases, currents, strict=True):
            lines[column] = current_ma
        self.measured_ma = (lines[0], lines[1], lines[2])
        return max(0, *currents), confirms


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
        self.power = LivePower(state, self.config, self.tree, self.connectors, settings)
        self.plan: Plan | None = None
        self.waiting: dict[int, int] = {}

    def inherit(self, before: LiveSite) -> None:
        """Take over what is not durable from the description that this one replaces."""
        self.power.inherit(before.power)
        for key, connector in self.by_key.items():
            if key in before.by_key:
                connector.demand = before.by_key[key].demand
                connector.measured_ma = before.by_key[key].measured_ma

    def clock_set(self, change_ms: int, now_ms: int) -> None:
        """The clock was set by so much, and shows `now_ms`. Set forward, it must not confirm what
        vehicles have yet to follow; set back, nothing may lie ahead of it."""
        for connector in self.connectors:
            if change_ms < 0 or connector.entry.settling:
                connector.entry.clock_set(change_ms)
            if change_ms < 0:
                connector.calm = Calm()
                if connector.demand is not None:
                    turn = connector.demand.turn
                    turn.since_ms = min(turn.since_ms, now_ms)
        building = self.state.building
        if change_ms < 0 and building is not None:
            self.state.building = msgspec.structs.replace(
                building, at_ms=building.at_ms + change_ms
            )
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

    @property
    def restless(self) -> bool:
        """Whether the next round can come out differently though nothing was heard: an answer or a
        vehicle is awaited, a change waits until it has lasted, somebody waits for a turn."""
        if self.plan is None:
            return True
        for entry, target_ma, why in zip(
            self.entries, self.plan.target_ma, self.plan.why, strict=True
        ):
            if entry.settling or entry.failures or why.cause is Cause.PAUSED:
                return True
            if target_ma is not None and target_ma != entry.asked_ma:
                return True
        return False

    def take_terms(self, now_ms: int) -> None:
        """Give every session what rules, hours, boosts and operators say at this instant."""
        overrides = self.state.overrides
        for connector in self.connectors:
            demand = connector.demand
            if demand is not None:
                session = demand.session
                demand.terms = self.policy.terms(session.id_token, now_ms)
                demand.boosted = (session.boost_until_ms or 0) > now_ms
                demand.override_ma = overrides.connector_ma(connector.leaf.key, now_ms)

    def next_change_ms(self, now_ms: int) -> int | None:
        """The next instant at which limits, hours or boosts are others than now."""
        instants = [
            next_change_ms(self.state.windows, now_ms),
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
        l1, l2, l3 = (max(floor_ma, current_ma) for current_ma in building.current_ma)
        return self.tree.building_ma((l1, l2, l3))

    def budget(self, now_ms: int) -> Budget:
        state = self.state
        limits = [limit_at(state.windows, now_ms), state.cap_ma]
        building_ma = self.building_ma(now_ms)
        return budget(
            self.tree,
            self.entries,
            building_ma=building_ma,
            supply_limit_ma=min((each for each in limits if each is not None), default=None),
            capped=self.config.feeder is None or state.cap_id > 0,
            contract_ma=self.power.contract_ma(now_ms, building_ma),
            surplus_ma=self.power.surplus_ma(now_ms, building_ma),
            circuit_limits_ma=self.circuit_limits_ma(now_ms),
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

    def picture(self, now_ms: int) -> Picture:
        """All that views and explanations are drawn from."""
        return Picture(
            state=self.state,
            tree=self.tree,
            entries=self.entries,
            demands=self.demands,
            measured_ma=[connector.measured_ma for connector in self.connectors],
            rows=self.budget(now_ms),
            plan=self.plan,
            waiting=self.waiting,
            limit_ma=limit_at(self.state.windows, now_ms),
            stale=self.stale(now_ms),
            power=self.power.view(
                now_ms, building_ma=self.building_ma(now_ms), stale=self.stale(now_ms)
            ),
            circuit_limits_ma=self.circuit_limits_ma(now_ms),
            override_ma=[
                self.state.overrides.connector_ma(connector.leaf.key, now_ms)
                for connector in self.connectors
            ],
            opens=self.policy.opens(now_ms),
        )

    def view(self, now_ms: int) -> SiteView:
        return site_view(self.picture(now_ms), now_ms)
