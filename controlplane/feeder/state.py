"""What a feeder must not forget, and the sums over all below it.

Invariant: a cap that left, and a report by which somebody counts for more, are in a snapshot of the
same commit, so a host that takes over counts at least what the lost one did."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import msgspec

from controlplane.demand_curve import Curve, plain_curve, summed
from controlplane.feeder.ledger import Account
from controlplane.feeder.messages import FeederReport
from controlplane.feeder.overload import Overloads
from controlplane.grid_events import GridEvents, Observation
from controlplane.ids import ActorKind, ActorRef, FeederId, SiteId
from controlplane.limit_schedule import LimitWindow, limit_at
from controlplane.network import FeederConfig
from controlplane.units import ma_from_w, w_from_ma

__all__ = ["FeederState", "Sums"]


class FeederState(msgspec.Struct):
    """The durable state of a feeder."""

    config: bytes
    """`network.FeederConfig` as JSON."""
    sites: dict[SiteId, Account] = {}
    feeders: dict[FeederId, Account] = {}
    """The feeders that it supplies."""
    cap_id: int = 0
    """The last one given out; never given out again."""
    windows: tuple[LimitWindow, ...] = ()
    """Limits in watts."""
    listens_until_ms: int = 0
    """A new feeder first lets everybody report once: what a site that was not heard draws by its
    floor must not be given to another."""
    parent_cap_id: int = 0
    """The last one taken in; 0 until the feeder above has spoken."""
    parent_cap_ma: int | None = None
    grid: GridEvents = msgspec.field(default_factory=GridEvents)
    overloads: Overloads = msgspec.field(default_factory=Overloads)

    def members(self) -> dict[ActorRef, Account]:
        """All accounts, sites first."""
        return {
            ActorRef(ActorKind.SITE, site_id): account for site_id, account in self.sites.items()
        } | {
            ActorRef(ActorKind.FEEDER, feeder_id): account
            for feeder_id, account in self.feeders.items()
        }

    def forget(self, member: ActorRef) -> None:
        """Close an account."""
        if member.kind is ActorKind.SITE:
            self.sites.pop(SiteId(member.id), None)
        else:
            self.feeders.pop(FeederId(member.id), None)

    def own_capacity_ma(self, config: FeederConfig, now_ms: int) -> int:
        """The balanced per-phase current that the feeder itself carries at an instant."""
        limits = [limit_at(self.windows, now_ms), self.grid.limit_w(), config.power_max_w]
        power_w = min(limit for limit in limits if limit is not None)
        return ma_from_w(power_w, voltage_v=config.voltage_v, phases=3)

    def capacity_ma(self, config: FeederConfig, sums: Sums | None, now_ms: int) -> int:
        """What it may let its sites draw: no more than the feeder above allows, and as long as that
        has not spoken, only what cannot be shed.

        Args:
            sums: None is enough for a feeder that none supplies.
        """
        own_ma = self.own_capacity_ma(config, now_ms)
        if config.parent is None or sums is None:
            return own_ma
        if self.parent_cap_id == 0:
            return min(own_ma, sums.floor_ma)
        return own_ma if self.parent_cap_ma is None else min(own_ma, self.parent_cap_ma)


@dataclass(frozen=True, slots=True)
class Sums:
    """Everything below a feeder together, per phase, at an instant. Who is silent counts with what
    it may draw."""

    at_ms: int
    floor_ma: int
    wanted_ma: int
    counted_ma: int
    measured_ma: int
    measured_w: int
    allowed_w: int

    @classmethod
    def of(cls, state: FeederState, config: FeederConfig, *, now_ms: int, patience_ms: int) -> Sums:
        members = [*state.sites.values(), *state.feeders.values()]
        floor_ma = wanted_ma = counted_ma = measured_ma = measured_w = 0
        for account in members:
            silent = account.silent(now_ms=now_ms, patience_ms=patience_ms)
            may_ma = account.counted_ma
            least_ma = may_ma if silent else account.floor_ma
            floor_ma += least_ma
            wanted_ma += max(least_ma, 0 if silent else account.wanted_ma)
            counted_ma += may_ma
            measured_ma += account.measured_ma
            if silent or account.measured_w is None:
                measured_w += w_from_ma(may_ma, voltage_v=config.voltage_v, phases=3)
            else:
                measured_w += account.measured_w
        own_ma = state.own_capacity_ma(config, now_ms)
        return cls(
            at_ms=now_ms,
            floor_ma=floor_ma,
            wanted_ma=max(floor_ma, min(wanted_ma, own_ma)),
            counted_ma=counted_ma,
            measured_ma=measured_ma,
            measured_w=measured_w,
            allowed_w=w_from_ma(counted_ma, voltage_v=config.voltage_v, phases=3),
        )

    def observation(self, *, reducing: bool = False) -> Observation:
        return Observation(self.at_ms, self.measured_w, self.allowed_w, reducing)

    def report(self, state: FeederState, config: FeederConfig) -> FeederReport:
        """What the feeder above is told, but for the curve."""
        return FeederReport(
            feeder_id=FeederId(config.id),
            cap_id=state.parent_cap_id,
            floor_ma=self.floor_ma,
            wanted_ma=self.wanted_ma,
            liability_ma=self.counted_ma,
            measured_ma=self.measured_ma,
            measured_w=self.measured_w,
            at_ms=self.at_ms,
        )

    def curve(
        self,
        state: FeederState,
        config: FeederConfig,
        curves: Mapping[ActorRef, Curve],
        *,
        patience_ms: int,
    ) -> Curve:
        """How all below get from their floor to what they want, as far as this feeder carries."""
        heard = [
            curves.get(member) or plain_curve(account.floor_ma, account.wanted_ma)
            for member, account in state.members().items()
            if not account.silent(now_ms=self.at_ms, patience_ms=patience_ms)
        ]
        most_ma = state.own_capacity_ma(config, self.at_ms)
        return summed(heard, floor_ma=self.floor_ma, most_ma=most_ma)
