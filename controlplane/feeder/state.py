"""What a feeder must not forget, and the sums over all below it.

Invariant: a cap that left, and a report by which somebody counts for more, are in a snapshot of the
same commit, so a host that takes over counts at least what the lost one did."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import msgspec

from controlplane.demand_curve import Curve, plain_curve, summed
from controlplane.feeder.feeding import below, renewed, wishes_w
from controlplane.feeder.ledger import Account
from controlplane.feeder.messages import FeederReport, FeedIn
from controlplane.feeder.overload import Overloads
from controlplane.grid_events import WISH_HOLD_MS, GridEvents, GridWish, Observation
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
    parent_wish: GridWish | None = None
    """What the feeder above wished last of all below this one."""

    def members(self) -> dict[ActorRef, Account]:
        """All accounts, sites first."""
        site, feeder = ActorKind.SITE, ActorKind.FEEDER
        members = {ActorRef(site, site_id): account for site_id, account in self.sites.items()}
        for feeder_id, account in self.feeders.items():
            members[ActorRef(feeder, feeder_id)] = account
        return members

    def forget(self, member: ActorRef) -> None:
        """Close an account."""
        if member.kind is ActorKind.SITE:
            self.sites.pop(SiteId(member.id), None)
        else:
            self.feeders.pop(FeederId(member.id), None)

    def asked_w(self, config: FeederConfig, now_ms: int) -> int | None:
        """What the grid wants all below to stay below together, by the feeder's own events and by
        the wish of the one above; None: nothing. Below 0 it is fed in, within the rating."""
        asked = [self.grid.limit_w()]
        if self.parent_wish is not None and self.parent_wish.in_force(now_ms):
            asked.append(self.parent_wish.power_w)
        lowest = min((each for each in asked if each is not None), default=None)
        return None if lowest is None else max(lowest, -config.power_max_w)

    def _asked_until_ms(self, now_ms: int) -> tuple[int | None, int]:
        """When what the grid asks ends (None: there is no telling), and until when it surely
        holds."""
        ends_ms, until_ms = self.grid.limited_until_ms(now_ms), now_ms + WISH_HOLD_MS
        wish = self.parent_wish
        if wish is not None and wish.in_force(now_ms):
            known = ends_ms is not None and wish.end_ms is not None
            ends_ms = max(ends_ms or 0, wish.end_ms or 0) if known else None
            if self.grid.limit_w() is None:
                until_ms = wish.until_ms
        return ends_ms, until_ms if ends_ms is None else min(until_ms, ends_ms)

    def wishes(
        self, config: FeederConfig, *, now_ms: int, patience_ms: int
    ) -> dict[ActorRef, GridWish] | None:
        """What is wished of those who can feed in; None where the caps alone do what the grid
        asks."""
        limit_w = self.asked_w(config, now_ms)
        if limit_w is None:
            return None
        members = self.members()
        found = wishes_w(
            members,
            limit_w=limit_w,
            voltage_v=config.voltage_v,
            now_ms=now_ms,
            patience_ms=patience_ms,
        )
        if found is None:
            return None
        ends_ms, until_ms = self._asked_until_ms(now_ms)
        return {
            member: renewed(
                members[member].wish, power_w, ends_ms=ends_ms, until_ms=until_ms, now_ms=now_ms
            )
            for member, power_w in found.items()
        }

    def own_capacity_ma(self, config: FeederConfig, now_ms: int, *, asked: bool = True) -> int:
        """The balanced per-phase current that the feeder itself carries at an instant.

        Args:
            asked: what its own events ask for counts as well.
        """
        limits = [limit_at(self.windows, now_ms), config.power_max_w]
        limits.append(self.grid.limit_w() if asked else None)
        power_w = max(0, min(limit for limit in limits if limit is not None))
        return ma_from_w(power_w, voltage_v=config.voltage_v, phases=3)

    def capacity_ma(
        self, config: FeederConfig, sums: Sums | None, now_ms: int, *, asked: bool = True
    ) -> int:
        """What it may let its sites draw: no more than the feeder above allows, and as long as that
        has not spoken, only what cannot be shed.

        Args:
            sums: None is enough for a feeder that none supplies.
            asked: what the grid asks for counts as well, by the wish of the one above too.
        """
        own_ma = self.own_capacity_ma(config, now_ms, asked=asked)
        if config.parent is None or sums is None:
            return own_ma
        asked_w = self.asked_w(config, now_ms) if asked else None
        if asked_w is not None:
            asked_ma = ma_from_w(asked_w, voltage_v=config.voltage_v, phases=3)
            own_ma = max(0, min(own_ma, asked_ma))
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
    """Less what is surely fed in by those of whom that is wished."""
    fed_w: int = 0
    feed_in: FeedIn | None = None

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
        voltage_v = config.voltage_v
        own_ma = state.own_capacity_ma(config, now_ms)
        return cls(
            at_ms=now_ms,
            floor_ma=floor_ma,
            wanted_ma=max(floor_ma, min(wanted_ma, own_ma)),
            counted_ma=counted_ma,
            measured_ma=measured_ma,
            measured_w=measured_w,
            allowed_w=sum(
                account.allowed_w(voltage_v=voltage_v, now_ms=now_ms, patience_ms=patience_ms)
                for account in members
            ),
            fed_w=sum(each.feed_in.fed_w for each in members if each.feed_in is not None),
            feed_in=below(
                members,
                power_max_w=config.power_max_w,
                voltage_v=voltage_v,
                limit_w=state.grid.limit_w(),
                now_ms=now_ms,
                patience_ms=patience_ms,
            ),
        )

    def observation(self, *, reducing: bool = False) -> Observation:
        return Observation(self.at_ms, self.measured_w, self.allowed_w, reducing, self.fed_w)

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
            feed_in=self.feed_in,
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
