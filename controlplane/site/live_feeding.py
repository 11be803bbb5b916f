"""What the grid, or a plan, wants fed in at a site at this moment, and who does.

Not durable: what was told stands in the ledger, and the rest is worked out in every round. Who must
charge now does so, whatever the grid asks, and others feed in the more for it. Invariant: nobody is
asked to feed in while what the site may draw leaves room for those who charge."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from controlplane.config import ActorSettings
from controlplane.network import SiteConfig
from controlplane.site.demand import Demand
from controlplane.site.feeding import NOBODY, Ability, Feeding, ability, share_out
from controlplane.site.state import SiteState
from controlplane.site.tree import Leaf, SiteTree
from controlplane.units import w_from_ma

if TYPE_CHECKING:
    from controlplane.site.live import LiveConnector

__all__ = ["LiveFeeding"]

_SAMPLES_MISSED_MAX = 3
"""A vehicle whose meter was silent for so many samples feeds in no longer."""
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
        self.fresh_ms = _SAMPLES_MISSED_MAX * settings.meter_interval_ms
        self.feeding: Feeding = NOBODY
        self.waits: frozenset[int] = frozenset()

    def consider(self, building_ma: Sequence[int], now_ms: int) -> None:
        """Work out who feeds in; once in each round, before it is solved.

        Args:
            building_ma: the building's load, per row.
        """
        self.feeding, self.waits = NOBODY, frozenset()
        if self._config.vehicle_to_grid is None:
            return
        limit_w = self._state.grid.limit_w()
        targets_ma = {
            position: connector.demand.target_ma or 0
            for position, connector in enumerate(self._connectors)
            if connector.demand is not None
        }
        planned_ma = {position: -ma for position, ma in targets_ma.items() if ma < 0}
        wanted_ma = 0
        if limit_w is not None:
            over_w = self._needed_w(building_ma, now_ms) - limit_w
            if over_w > 0:
                wanted_ma = over_w * _ABOVE_PERMILLE // self._config.voltage_v
                self.waits = frozenset(self._waiting(now_ms))
        if not (wanted_ma or planned_ma):
            return
        able = self.abilities(building_ma, now_ms)
        entries = [connector.entry for connector in self._connectors]
        self.feeding = share_out(
            self._tree, entries, able, wanted_ma=wanted_ma, planned_ma=planned_ma
        )

    def abilities(self, building_ma: Sequence[int], now_ms: int) -> dict[int, Ability]:
        """What each connector can feed in at this moment, by position; those that must charge now
        are left out."""
        refill = self._refill_ma(building_ma)
        busy_until_ms = self._state.grid.limited_until_ms(now_ms)
        found = {}
        for position, connector in enumerate(self._connectors):
            leaf, demand = connector.leaf, connector.demand
            if demand is None or demand.session.reserve_percent is None:
                continue
            if now_ms - connector.measured_at_ms > self.fresh_ms or _must_charge(
                leaf, demand, now_ms
            ):
                continue
            share_w = w_from_ma(
                min(refill[row] for row in leaf.rows),
                voltage_v=self._config.voltage_v,
                phases=len(leaf.phases),
            )
            able = ability(
                leaf,
                connector.entry,
                demand,
                voltage_v=self._config.voltage_v,
                refill_w=max(0, min(share_w, demand.power_max_w(leaf))),
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

    def _needed_w(self, building_ma: Sequence[int], now_ms: int) -> int:
        """What the site draws with everybody paused who can wait."""
        voltage_v = self._config.voltage_v
        needed_ma = sum(building_ma[row] for row in self._tree.supply_rows)
        needed_w = w_from_ma(needed_ma, voltage_v=voltage_v, phases=1)
        for connector in self._connectors:
            entry, leaf, demand = connector.entry, connector.leaf, connector.demand
            if entry.idle:
                continue
            metered_w = connector.metered_w(now_ms=now_ms, stale_ms=self.fresh_ms)
            steered = demand is not None and entry.online and entry.settled and not entry.stuck
            if demand is None or not steered:
                may_w = w_from_ma(
                    entry.liability_ma, voltage_v=voltage_v, phases=len(leaf.phases)
                )
                needed_w += may_w if metered_w is None else max(0, metered_w)
            elif _must_charge(leaf, demand, now_ms):
                most_ma = demand.current_max_ma(leaf)
                free = not entry.settling and (entry.asked_ma or 0) >= most_ma
                wants_w = demand.power_max_w(leaf)
                needed_w += metered_w if free and metered_w is not None else wants_w
        return needed_w

    def _waiting(self, now_ms: int) -> Iterator[int]:
        for position, connector in enumerate(self._connectors):
            demand = connector.demand
            if demand is not None and not _must_charge(connector.leaf, demand, now_ms):
                yield position

    def _refill_ma(self, building_ma: Sequence[int]) -> list[int]:
        """What every row leaves each session below it, were they all to charge at once."""
        tree = self._tree
        sessions = tree.row_sums(
            [0 if each.demand is None else 1 for each in self._connectors]
        )
        return [
            max(0, tree.rating_ma[row] - tree.margin_ma[row] - building_ma[row])
            // max(1, sessions[row])
            for row in range(tree.lines)
        ]


def _must_charge(leaf: Leaf, demand: Demand, now_ms: int) -> bool:
    """Whether a session goes on charging whatever the grid asks: it is guaranteed to, somebody put
    it first, or it would not be ready otherwise."""
    if demand.holding:
        return False
    return demand.boosted or bool(demand.terms.guaranteed_ma) or demand.urgent(leaf, now_ms)
