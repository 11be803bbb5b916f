"""What the grid, or a plan, wants fed in at a site at this moment, and who does.

Not durable: what was told stands in the ledger, and the rest is worked out in every round. Who must
charge now does so, whatever the grid asks, and others feed in the more for it. Invariant: nobody is
asked to feed in while what the site may draw leaves room for those who charge."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import TYPE_CHECKING

from controlplane.config import ActorSettings
from controlplane.network import SiteConfig
from controlplane.site.budget import Budget
from controlplane.site.demand import Demand
from controlplane.site.feeding import (
    ALL_MA,
    GUARD_MS,
    NOBODY,
    SAMPLES_MISSED_MAX,
    Ability,
    Feeding,
    PlanTerms,
    ability,
    plan_terms,
    share_out,
)
from controlplane.site.state import SiteState
from controlplane.site.tree import SiteTree
from controlplane.site.why import Cause
from controlplane.units import MS_PER_HOUR, w_from_ma

if TYPE_CHECKING:
    from controlplane.site.live import LiveConnector
    from controlplane.site.round import Plan

__all__ = ["LiveFeeding"]

_ABOVE_PERMILLE = 1_005
"""So much of what is wanted is aimed at: setpoints are rounded down, and meters are not exact."""


class LiveFeeding:
    """See the module's docstring. `feeding` is what the present round wants, `waits` are the
    positions that are paused meanwhile."""

    def __init__(
        self,
        state: SiteState,
        config: SiteConfig,
        tree: SiteTree,
        connectors: Sequence[LiveConnector],
        settings: ActorSettings,
    ) -> None:
        self._state = state
        self._config = config
        self._tree = tree
        self._connectors = connectors
        self.fresh_ms = SAMPLES_MISSED_MAX * settings.meter_interval_ms
        self.feeding: Feeding = NOBODY
        self.waits: frozenset[int] = frozenset()
        self.awaited = False
        """Whether somebody who must charge draws only what others feed in."""

    @property
    def possible(self) -> bool:
        """Whether the site's owner has terms for it."""
        return self._config.vehicle_to_grid is not None

    def active(self, now_ms: int) -> bool:
        """Whether somebody feeds in, or may have to at any moment."""
        if not self.possible:
            return False
        feeds = self.feeding.feed_ma or any(each.entry.feed_ma for each in self._connectors)
        return bool(feeds) or self._state.asked_w(now_ms) is not None

    def consider(self, rows: Budget, last: Plan | None, now_ms: int) -> None:
        """Work out who feeds in; once in each round, before it is solved.

        Args:
            last: the plan of the round before.
        """
        building_ma = rows.building_ma
        self.feeding, self.waits, self.awaited = NOBODY, frozenset(), False
        if not self.possible:
            return
        limit_w = self._state.asked_w(now_ms)
        targets_ma = {
            position: connector.demand.target_ma or 0
            for position, connector in enumerate(self._connectors)
            if connector.demand is not None
        }
        planned_ma = {position: -ma for position, ma in targets_ma.items() if ma < 0}
        if limit_w is None and not planned_ma:
            return
        refills_w = self._refills_w(building_ma)
        must = self._must_charge(refills_w, now_ms)
        wanted_ma = 0
        if limit_w is not None:
            over_w = self._needed_w(building_ma, must, last, now_ms) - limit_w
            if over_w > 0:
                wanted_ma = over_w * _ABOVE_PERMILLE // self._config.voltage_v
                self.waits = frozenset(targets_ma.keys() - must)
                self.awaited = bool(must)
        if not (wanted_ma or planned_ma):
            return
        able = self._abilities(refills_w, must, now_ms)
        entries = [connector.entry for connector in self._connectors]
        self.feeding = share_out(
            self._tree,
            entries,
            able,
            wanted_ma=wanted_ma,
            planned_ma=planned_ma,
            export_ma=rows.export_ma,
        )

    def plan_terms(self, position: int, now_ms: int) -> PlanTerms | None:
        """What a plan needs to know of a connector's vehicle that may feed in; None where it may
        not."""
        connector = self._connectors[position]
        demand = connector.demand
        if not self.possible or demand is None:
            return None
        if now_ms - connector.measured_at_ms > self.fresh_ms:
            return None
        return plan_terms(
            connector.leaf,
            connector.entry,
            demand,
            voltage_v=self._config.voltage_v,
            sample_ms=connector.measured_at_ms,
            now_ms=now_ms,
        )

    def concerns(self, demand: Demand) -> bool:
        """Whether what is measured of a session changes who feeds in."""
        active = bool(self.waits or self.feeding.feed_ma)
        return active and demand.session.reserve_percent is not None

    def abilities(
        self, building_ma: Sequence[int], now_ms: int, *, until_ms: int | None = None
    ) -> dict[int, Ability]:
        """What each connector can feed in at this moment, by position; those that must charge now
        are left out.

        Args:
            until_ms: nobody could charge again before.
        """
        refills_w = self._refills_w(building_ma)
        must = self._must_charge(refills_w, now_ms)
        return self._abilities(refills_w, must, now_ms, until_ms=until_ms)

    def who_waits(
        self, building_ma: Sequence[int], now_ms: int, *, until_ms: int
    ) -> frozenset[int]:
        """Who could draw nothing until then and still be ready, by the word of driver or vehicle:
        of whom nobody knows that, nothing is offered."""
        refills_w = self._refills_w(building_ma)
        must = self._must_charge(refills_w, until_ms)
        known = {
            position
            for position in refills_w
            if (demand := self._connectors[position].demand) is not None
            and (promised := demand.promised(now_ms)) is not None
            and promised.departure_ms > until_ms
        }
        return frozenset(known - must)

    def _abilities(
        self,
        refills_w: Mapping[int, int],
        must: AbstractSet[int],
        now_ms: int,
        *,
        until_ms: int | None = None,
    ) -> dict[int, Ability]:
        busy_until_ms = self._state.asked_until_ms(now_ms)
        if busy_until_ms is not None and until_ms is not None:
            busy_until_ms = max(busy_until_ms, until_ms)
        found = {}
        for position, refill_w in refills_w.items():
            connector = self._connectors[position]
            demand = connector.demand
            if demand is None or demand.session.reserve_percent is None or position in must:
                continue
            if now_ms - connector.measured_at_ms > self.fresh_ms:
                continue
            able = ability(
                connector.leaf,
                connector.entry,
                demand,
                voltage_v=self._config.voltage_v,
                refill_w=refill_w,
                busy_until_ms=busy_until_ms,
                sample_ms=connector.measured_at_ms,
                now_ms=now_ms,
            )
            if able is not None:
                found[position] = able
        return found

    def proven_ma(self, now_ms: int) -> list[int] | None:
        """What is surely fed in at the moment on every row: acknowledged and measured; None where
        nothing is."""
        proven = [
            connector.entry.proven_feed_ma(now_ms=now_ms, fresh_ms=self.fresh_ms)
            for connector in self._connectors
        ]
        return self._tree.row_sums(proven) if any(proven) else None

    def standing(self, rows: Budget, last: Plan | None, now_ms: int) -> tuple[int, list[int], int]:
        """What the site would draw with everybody paused who can wait, in W; of that, what those
        who must charge draw, per connector and phase, in mA; and what all who can would feed in
        together, in W."""
        refills_w = self._refills_w(rows.building_ma)
        must = self._must_charge(refills_w, now_ms)
        drawn_w = self._drawn_w(must, last, now_ms)
        phases = [len(connector.leaf.phases) for connector in self._connectors]
        voltage_v = self._config.voltage_v
        must_ma = [
            -(-drawn_w.get(position, 0) * 1_000 // (voltage_v * lines)) if position in must else 0
            for position, lines in enumerate(phases)
        ]
        shared = share_out(
            self._tree,
            [connector.entry for connector in self._connectors],
            self._abilities(refills_w, must, now_ms),
            wanted_ma=ALL_MA,
            planned_ma={},
            export_ma=rows.export_ma,
        )
        spare_w = sum(
            w_from_ma(feed_ma, voltage_v=voltage_v, phases=phases[position])
            for position, feed_ma in shared.feed_ma.items()
        )
        return self._needed_w(rows.building_ma, must, last, now_ms), must_ma, spare_w

    def _needed_w(
        self, building_ma: Sequence[int], must: AbstractSet[int], last: Plan | None, now_ms: int
    ) -> int:
        """What the site draws with everybody paused who can wait."""
        building_w = w_from_ma(
            sum(building_ma[row] for row in self._tree.supply_rows),
            voltage_v=self._config.voltage_v,
            phases=1,
        )
        return building_w + sum(self._drawn_w(must, last, now_ms).values())

    def _drawn_w(self, must: AbstractSet[int], last: Plan | None, now_ms: int) -> dict[int, int]:
        """What connectors draw, by position, with everybody paused who can wait. Who must charge
        counts with what it wants where the grid's wish alone keeps it from that, else with what it
        draws or is given."""
        voltage_v = self._config.voltage_v
        drawn_w = {}
        for position, connector in enumerate(self._connectors):
            entry, leaf, demand = connector.entry, connector.leaf, connector.demand
            if entry.idle:
                continue
            metered_w = connector.metered_w(now_ms=now_ms, stale_ms=self.fresh_ms)
            if demand is None or not (entry.online and entry.settled) or entry.stuck:
                may_w = w_from_ma(entry.liability_ma, voltage_v=voltage_v, phases=len(leaf.phases))
                drawn_w[position] = may_w if metered_w is None else max(0, metered_w)
            elif position in must:
                drawn_w[position] = self._wants_w(position, last, metered_w)
        return drawn_w

    def _wants_w(self, position: int, last: Plan | None, metered_w: int | None) -> int:
        """What a session that must charge would draw, were it not for the grid's wish."""
        connector = self._connectors[position]
        entry, leaf, demand = connector.entry, connector.leaf, connector.demand
        wants_w = 0 if demand is None else demand.power_max_w(leaf)
        given_ma = None if last is None else last.target_ma[position]
        if last is None or given_ma is None or given_ma < 0:
            return wants_w
        why = last.why[position]
        if why.cause is Cause.GRID or why.row in self._tree.supply_rows:
            return wants_w
        given_w = w_from_ma(given_ma, voltage_v=self._config.voltage_v, phases=len(leaf.phases))
        follows = entry.settling or entry.asked_ma != given_ma
        if metered_w is None or follows or entry.measured_ms < entry.acknowledged_ms:
            return min(wants_w, given_w)
        return max(0, metered_w)

    def _must_charge(self, refills_w: Mapping[int, int], now_ms: int) -> frozenset[int]:
        """Who goes on charging whatever the grid asks: who is guaranteed to, was put first, or
        would not be ready otherwise, charging no faster than all others together let it."""
        must = set()
        for position, refill_w in refills_w.items():
            demand = self._connectors[position].demand
            if demand is None or demand.holding:
                continue
            if demand.boosted or demand.terms.guaranteed_ma:
                must.add(position)
                continue
            promised = demand.promised(now_ms)
            if promised is None or promised.missing_wh <= 0:
                continue
            charges_ms = promised.missing_wh * MS_PER_HOUR // max(1, refill_w)
            if promised.departure_ms - now_ms - charges_ms < GUARD_MS:
                must.add(position)
        return frozenset(must)

    def _refills_w(self, building_ma: Sequence[int]) -> dict[int, int]:
        """At what power each session could charge, were all to charge at once."""
        tree, voltage_v = self._tree, self._config.voltage_v
        counts = tree.row_sums([0 if each.demand is None else 1 for each in self._connectors])
        share_ma = [
            max(0, tree.rating_ma[row] - tree.margin_ma[row] - building_ma[row])
            // max(1, counts[row])
            for row in range(tree.lines)
        ]
        found = {}
        for position, connector in enumerate(self._connectors):
            leaf, demand = connector.leaf, connector.demand
            if demand is not None:
                may_ma = min(share_ma[row] for row in leaf.rows)
                may_w = w_from_ma(may_ma, voltage_v=voltage_v, phases=len(leaf.phases))
                found[position] = min(may_w, demand.power_max_w(leaf))
        return found
